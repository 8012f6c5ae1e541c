# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The convolutional networks that classify cutouts."""

from __future__ import annotations

__all__ = ("PAPER_SIZE", "build_modern_network", "build_paper_network", "modern_shapes", "paper_shapes")

from typing import Any

from ..networks import import_keras

PAPER_SIZE = 23
"""Side of the cutouts of Buchanan et al. 2022, pixels."""


def build_paper_network(seed: int, *, dropout: float = 0.2) -> Any:
    """Build the network of Buchanan et al. 2022 (sec. 4.3 and their released program).

    Convolutions of 128 and 64 kernels of 3x3 pixels without padding, each with a maximum over 2x2
    pixels, and dense layers of 800, 400 and 200; 1,296,074 weights.

    Parameters
    ----------
    seed
        Seed of the first weights and of the dropout.
    dropout
        Share of the first two dense layers' outputs that are dropped in training.

    Returns
    -------
    model
        Keras model from (n, 23, 23, 1) to the probabilities (n, 2) of unblended and blended.
    """
    keras = import_keras()
    layers = keras.layers
    seeds = _Seeds(seed)

    def glorot() -> Any:
        return keras.initializers.GlorotUniform(seed=seeds.next())

    return keras.Sequential(
        [
            keras.Input((PAPER_SIZE, PAPER_SIZE, 1), name="cutout"),
            layers.Conv2D(128, 3, activation="relu", kernel_initializer=glorot(), name="conv_1"),
            layers.MaxPooling2D(2, name="pool_1"),
            layers.Conv2D(64, 3, activation="relu", kernel_initializer=glorot(), name="conv_2"),
            layers.MaxPooling2D(2, name="pool_2"),
            layers.Flatten(name="flatten"),
            layers.Dense(800, activation="relu", kernel_initializer=glorot(), name="dense_1"),
            layers.Dropout(dropout, seed=seeds.next(), name="dropout_1"),
            layers.Dense(400, activation="relu", kernel_initializer=glorot(), name="dense_2"),
            layers.Dropout(dropout, seed=seeds.next(), name="dropout_2"),
            layers.Dense(200, activation="relu", kernel_initializer=glorot(), name="dense_3"),
            layers.Dense(2, activation="softmax", kernel_initializer=glorot(), name="output"),
        ],
        name="buchanan2022",
    )


def build_modern_network(
    size: int,
    channels: int,
    n_features: int,
    n_classes: int,
    seed: int,
    *,
    width: int = 16,
    dropout: float = 0.2,
) -> Any:
    """Build a small network of padded convolutions whose features are pooled within the footprint.

    Parameters
    ----------
    size
        Side of the cutouts, pixels.
    channels
        Number of images of each footprint; the last one is its mask.
    n_features
        Number of scalar features, standardised; they join before the dense layers.
    n_classes
        Number of classes.
    seed
        Seed of the first weights and of the dropout.
    width
        Kernels of the first convolution; later ones have two and three times as many.
    dropout
        Share of the dense layers' outputs that are dropped in training.

    Returns
    -------
    model
        Keras model from (n, size, size, channels), and (n, n_features) if there are any, to
        probabilities (n, n_classes).
    """
    keras = import_keras()
    layers = keras.layers
    seeds = _Seeds(seed)

    def convolve(x: Any, kernels: int, name: str) -> Any:
        initializer = keras.initializers.HeNormal(seed=seeds.next())
        return layers.Conv2D(
            kernels, 3, padding="same", activation="relu", kernel_initializer=initializer, name=name
        )(x)

    def connect(x: Any, units: int, name: str) -> Any:
        initializer = keras.initializers.HeNormal(seed=seeds.next())
        x = layers.Dense(units, activation="relu", kernel_initializer=initializer, name=name)(x)
        return layers.Dropout(dropout, seed=seeds.next(), name=f"{name}_dropout")(x)

    cutout = keras.Input((size, size, channels), name="cutout")
    x = convolve(cutout, width, "conv_1")
    x = layers.MaxPooling2D(2, name="pool_1")(x)
    x = convolve(x, 2 * width, "conv_2")
    x = layers.MaxPooling2D(2, name="pool_2")(x)
    x = convolve(x, 3 * width, "conv_3")
    x = convolve(x, 3 * width, "conv_4")
    # Neighbours matter as context only: what is pooled is weighted by each cell's share of the footprint.
    mask = layers.AveragePooling2D(4, name="mask")(cutout[:, :, :, channels - 1 :])
    inside = layers.Multiply(name="inside")([x, mask])
    pooled = [
        layers.GlobalMaxPooling2D(name="maximum")(inside),
        layers.GlobalAveragePooling2D(name="sum")(inside),
        layers.GlobalAveragePooling2D(name="mean")(x),
    ]
    inputs = [cutout]
    if n_features:
        inputs.append(keras.Input((n_features,), name="features"))
        pooled.append(inputs[-1])
    x = layers.Concatenate(name="joined")(pooled)
    x = connect(x, 8 * width, "dense_1")
    x = connect(x, 4 * width, "dense_2")
    initializer = keras.initializers.GlorotUniform(seed=seeds.next())
    output = layers.Dense(n_classes, activation="softmax", kernel_initializer=initializer, name="output")(x)
    return keras.Model(inputs if n_features else cutout, output, name="modern")


def paper_shapes() -> dict[str, tuple[int, ...]]:
    """List the weights of `build_paper_network`, without Keras.

    Returns
    -------
    shapes : `dict` [`str`, `tuple`]
        Shape of each by the name that `.networks.get_arrays` gives it.
    """
    # What is left of the cutout after two convolutions and two maxima.
    flat = (((PAPER_SIZE - 2) // 2 - 2) // 2) ** 2 * 64
    return _with_biases(
        {
            "conv_1": (3, 3, 1, 128),
            "conv_2": (3, 3, 128, 64),
            "dense_1": (flat, 800),
            "dense_2": (800, 400),
            "dense_3": (400, 200),
            "output": (200, 2),
        }
    )


def modern_shapes(
    channels: int, n_features: int, n_classes: int, *, width: int
) -> dict[str, tuple[int, ...]]:
    """List the weights of `build_modern_network`, without Keras.

    Parameters
    ----------
    channels, n_features, n_classes, width
        As of `build_modern_network`.

    Returns
    -------
    shapes : `dict` [`str`, `tuple`]
        Shape of each by the name that `.networks.get_arrays` gives it.
    """
    w = width
    return _with_biases(
        {
            "conv_1": (3, 3, channels, w),
            "conv_2": (3, 3, w, 2 * w),
            "conv_3": (3, 3, 2 * w, 3 * w),
            "conv_4": (3, 3, 3 * w, 3 * w),
            "dense_1": (3 * 3 * w + n_features, 8 * w),
            "dense_2": (8 * w, 4 * w),
            "output": (4 * w, n_classes),
        }
    )


def _with_biases(kernels: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Kernels and biases of layers."""
    return {
        f"{layer}_{name}": shape
        for layer, kernel in kernels.items()
        for name, shape in (("kernel", kernel), ("bias", kernel[-1:]))
    }


class _Seeds:
    """Different seeds, counted from one."""

    def __init__(self, seed: int) -> None:
        self._value = 1000 * seed

    def next(self) -> int:
        """Give the next seed."""
        self._value += 1
        return self._value

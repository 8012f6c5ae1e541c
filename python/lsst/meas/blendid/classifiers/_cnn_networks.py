# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Networks on cutouts: built with Keras for their training, and run without it."""

from __future__ import annotations

__all__ = (
    "PAPER_SIZE",
    "CutoutNetwork",
    "build_modern_network",
    "build_paper_network",
    "modern_shapes",
    "paper_shapes",
)

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import softmax

from ..networks import import_keras
from ..networks.convolution import ProductWeights, TileWeights, convolve_images

PAPER_SIZE = 23
"""Side of the cutouts of Buchanan et al. 2022, pixels."""


def build_paper_network(seed: int, *, dropout: float = 0.2) -> Any:
    """Build the network of Buchanan et al. 2022 (sec. 4.3 and their released program).

    Convolutions of 128 and 64 kernels of 3x3 pixels without padding, each with a maximum over 2x2 pixels,
    and dense layers of 800, 400 and 200, of which the first two drop a share of their outputs in training;
    1,296,074 weights. The Keras model is from (n, 23, 23, 1) to the probabilities (n, 2) of unblended and
    blended.
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

    The Keras model is from images (n, size, size, channels), the last of which is the mask, and
    standardised features (n, n_features) if there are any, which join before the dense layers, to
    probabilities (n, n_classes).  The first convolution has ``width`` kernels, later ones two and three
    times as many.
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
    """Shapes of the weights of `build_paper_network` by name (`.networks.get_arrays`), without Keras."""
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
    """Shapes of the weights of `build_modern_network` by name (`.networks.get_arrays`), without Keras."""
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


_BATCH = 64
"""Cutouts that are worked on at a time: what lies between layers stays in the processor's cache."""


class CutoutNetwork:
    """A trained network of an architecture, ``buchanan2022`` or ``modern``, by the names of its weights."""

    def __init__(self, architecture: str, arrays: Mapping[str, np.ndarray]) -> None:
        self._is_modern = architecture == "modern"
        get = {name: np.asarray(array, np.float32) for name, array in arrays.items()}

        def layers(start: str) -> list[tuple[np.ndarray, np.ndarray]]:
            """Kernel and bias of layers, in order."""
            names = sorted(name for name in get if name.startswith(start) and name.endswith("_kernel"))
            return [(get[name], get[name.removesuffix("kernel") + "bias"]) for name in names]

        first, *others = layers("conv")
        # Cutouts have too few channels for Winograd's algorithm.
        self._first = ProductWeights.make(*first, fill=False)
        self._others = [TileWeights.make(kernel, bias) for kernel, bias in others]
        self._width = len(others[-1][1])
        self._dense = [*layers("dense"), *layers("output")]

    def run(self, images: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Probabilities (n, classes), float64, of cutouts (n, s, s, channels) and scaled features."""
        see = self._see_modern if self._is_modern else self._see_paper
        seen = [
            see(np.asarray(images[first : first + _BATCH], np.float32))
            for first in range(0, len(images), _BATCH)
        ]
        if not seen:
            return np.zeros((0, len(self._dense[-1][1])))
        x = np.hstack([np.concatenate(seen), features])
        for i, (kernel, bias) in enumerate(self._dense):
            if i > 0:
                np.maximum(x, 0.0, out=x)
            x = x @ kernel + bias
        return softmax(x.astype(np.float64), axis=1)

    def _see_paper(self, x: np.ndarray) -> np.ndarray:
        """All pixels after the convolutions, float32 of shape (n, 1024)."""
        x = _take_largest(convolve_images(x, self._first, is_padded=False))
        for weights in self._others:
            x = _take_largest(convolve_images(x, weights, is_padded=False))
        return x[..., : self._width].reshape(len(x), -1)

    def _see_modern(self, x: np.ndarray) -> np.ndarray:
        """Largest and mean value of the last channels within the footprint, and their mean: (n, 3 c)."""
        second, third, fourth = self._others
        mask = _average(x[..., -1])
        x = _take_largest(convolve_images(x, self._first))
        x = _take_largest(convolve_images(x, second))
        x = convolve_images(convolve_images(x, third), fourth)[..., : self._width]
        inside = x * mask[..., None]
        return np.hstack([inside.max(axis=(1, 2)), inside.mean(axis=(1, 2)), x.mean(axis=(1, 2))])


def _take_largest(x: np.ndarray) -> np.ndarray:
    """Largest value of 2 x 2 pixels; what is left over of an odd side is left out."""
    ny, nx = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    x = np.maximum(x[:, 0:ny:2], x[:, 1:ny:2])
    return np.maximum(x[:, :, 0:nx:2], x[:, :, 1:nx:2])


def _average(mask: np.ndarray) -> np.ndarray:
    """Mean of 4 x 4 pixels."""
    n, ny, nx = mask.shape[0], mask.shape[1] // 4, mask.shape[2] // 4
    return mask[:, : 4 * ny, : 4 * nx].reshape(n, ny, 4, nx, 4).mean(axis=(2, 4))

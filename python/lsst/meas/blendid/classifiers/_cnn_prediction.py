# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The convolutional networks that classify cutouts, without Keras."""

from __future__ import annotations

__all__ = ("CutoutNetwork",)

from collections.abc import Mapping

import numpy as np
from scipy.special import softmax

from ..networks.convolution import ProductWeights, TileWeights, convolve_images

_BATCH = 64
"""Cutouts that are worked on at a time: what lies between layers stays in the processor's cache."""


class CutoutNetwork:
    """A trained network of `._cnn_networks`.

    Parameters
    ----------
    architecture
        Which: ``buchanan2022`` or ``modern``.
    arrays
        Its weights, by the names of `._cnn_networks.paper_shapes` or `._cnn_networks.modern_shapes`.
    """

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
        """Compute probabilities.

        Parameters
        ----------
        images : `numpy.ndarray`, shape (n, s, s, channels)
            Cutouts.
        features : `numpy.ndarray`, shape (n, k), float32
            Scaled features.

        Returns
        -------
        probabilities : `numpy.ndarray`, shape (n, classes), float64
            Probability of each class.
        """
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

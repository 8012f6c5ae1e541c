# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Convolution with the Gaussian approximation of the PSF."""

from __future__ import annotations

__all__ = ("dilate_square", "gaussian_kernel", "kernel_size", "smooth")

import numpy as np

from .._jit import njit


def kernel_size(sigma: float, n_sigma: float = 7.0) -> int:
    """Full width of the smoothing kernel, as `SourceDetectionTask` computes it.

    Parameters
    ----------
    sigma
        Standard deviation of the Gaussian [pixel].
    n_sigma
        Full width in units of ``sigma``.

    Returns
    -------
    size
        Odd number of pixels.
    """
    return (int(sigma * n_sigma + 0.5) // 2) * 2 + 1


def gaussian_kernel(sigma: float, size: int) -> np.ndarray:
    """Gaussian sampled at pixel centres, with sum 1.

    Parameters
    ----------
    sigma
        Standard deviation [pixel].
    size
        Odd number of pixels.

    Returns
    -------
    kernel
        One-dimensional kernel, float64 ``(size,)``.
    """
    x = np.arange(size) - size // 2
    kernel = np.exp(-0.5 * (x / sigma) ** 2)
    return kernel / kernel.sum()


@njit(nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _convolve_row(row: np.ndarray, kernel: np.ndarray, out: np.ndarray) -> None:
    """Symmetric kernel along a row; out is written where the kernel fits."""
    r = kernel.size // 2
    n = row.size - 2 * r
    inner = out[r : r + n]
    center = row[r : r + n]
    for i in range(n):
        inner[i] = kernel[r] * center[i]
    for j in range(1, r + 1):
        left = row[r - j : r - j + n]
        right = row[r + j : r + j + n]
        k = kernel[r + j]
        for i in range(n):
            inner[i] += k * (left[i] + right[i])


@njit(nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _smooth(image: np.ndarray, kernel: np.ndarray, out: np.ndarray) -> None:
    """Convolve rows into a ring of rows that stays in cache, and that along columns."""
    ny, nx = image.shape
    size = kernel.size
    r = size // 2
    ring = np.zeros((size, nx), np.float32)
    for y in range(min(r, ny)):
        out[y] = 0.0
        out[ny - 1 - y] = 0.0
    for y in range(ny):
        _convolve_row(image[y], kernel, ring[y % size])
        if y >= size - 1:
            target = out[y - r]
            center = ring[(y - r) % size]
            for i in range(nx):
                target[i] = kernel[r] * center[i]
            for j in range(1, r + 1):
                above = ring[(y - r - j) % size]
                below = ring[(y - r + j) % size]
                k = kernel[r + j]
                for i in range(nx):
                    target[i] += k * (above[i] + below[i])


def smooth(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve an image with the outer square of a symmetric kernel.

    Parameters
    ----------
    image
        Image, float32 ``(ny, nx)``, finite.
    kernel
        Symmetric one-dimensional kernel of odd size, ``(size,)``.

    Returns
    -------
    smoothed
        Convolved image, float32 ``(ny, nx)``; 0 in the border of half a
        kernel, where it does not fit.
    """
    out = np.empty(image.shape, np.float32)
    _smooth(image, kernel.astype(np.float32), out)
    return out


@njit(nogil=True)
def dilate_square(mask: np.ndarray, radius: int) -> np.ndarray:
    """Dilate a mask by a square.

    Parameters
    ----------
    mask
        Bool ``(ny, nx)``.
    radius
        Half of the side of the square, which is ``2 * radius + 1``.

    Returns
    -------
    dilated
        True within ``radius`` in both x and y of a true pixel.
    """
    ny, nx = mask.shape
    out = np.zeros((ny, nx), np.bool_)
    until = np.full(nx, -1, np.int64)  # last row reached from above, in each column
    # Rows are widened once each, when they enter the window from below.
    for y in range(ny + radius):
        if y < ny:
            reach = -1
            for x in range(nx):
                if mask[y, x]:
                    for k in range(max(0, x - radius, reach + 1), min(nx, x + radius + 1)):
                        until[k] = y + radius
                    reach = min(nx, x + radius + 1) - 1
        target = y - radius
        if target >= 0:
            for x in range(nx):
                out[target, x] = until[x] >= target
    return out

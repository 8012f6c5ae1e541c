# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The smoothed image, and the signal to noise of its pixels."""

from __future__ import annotations

__all__ = (
    "border_slices",
    "dilate_square",
    "divide_by_root",
    "eligible_pixels",
    "gaussian_kernel",
    "kernel_size",
    "make_significance",
    "make_smoothed",
    "noise_at",
    "significance_image",
    "smooth",
    "smooth_variance",
)

from typing import TYPE_CHECKING

import numpy as np

from .._jit import njit

if TYPE_CHECKING:
    from .noise import NoiseEstimate


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


def border_slices(radius: int) -> list[tuple[slice, slice]]:
    """Slices of the four strips along the edges of an image, ``radius`` wide; none if it is 0."""
    if radius == 0:
        return []
    every = slice(None)
    return [
        (slice(None, radius), every),
        (slice(-radius, None), every),
        (every, slice(None, radius)),
        (every, slice(-radius, None)),
    ]


def smooth_variance(variance: np.ndarray, bad: np.ndarray | None, kernel: np.ndarray) -> np.ndarray | float:
    """Variance of the smoothed image if the noise of its pixels is independent.

    Parameters
    ----------
    variance
        Variance of each pixel ``(ny, nx)``.
    bad
        Pixels without a meaningful variance, bool ``(ny, nx)``; `None` if
        there are none.
    kernel
        One-dimensional smoothing kernel, ``(size,)``.

    Returns
    -------
    smoothed
        float32 ``(ny, nx)``, 0 in the border; a number if the variance is the
        same in all pixels, which saves a convolution.
    """
    # The first row decides in most cases, without a pass over the image.
    first = variance[0, 0]
    if bad is None and bool((variance[0] == first).all()) and bool((variance == first).all()):
        return float(first) * float((kernel**2).sum()) ** 2
    plane = np.asarray(variance, dtype=np.float32)
    if bad is not None:
        plane = np.where(bad, np.float32(0.0), plane)
    return smooth(plane, kernel**2)


def eligible_pixels(bad: np.ndarray, radius: int) -> np.ndarray:
    """Pixels at least a half-kernel away from bad ones and the edge.

    Parameters
    ----------
    bad
        Pixels without a value, bool ``(ny, nx)``.
    radius
        Half-width of the smoothing kernel [pixel].

    Returns
    -------
    eligible
        Bool ``(ny, nx)``.
    """
    near = dilate_square(bad, radius) if bad.any() else np.zeros(bad.shape, dtype=bool)
    for edge in border_slices(radius):
        near[edge] = True
    return np.logical_not(near, out=near)


def _smooth_divided(image: np.ndarray, bad: np.ndarray, kernel: np.ndarray, exponent: int) -> np.ndarray:
    """Divide an image by a power of two and smooth it, with 0 where a pixel is not eligible."""
    smoothed = smooth(np.ldexp(image, -exponent) if exponent else image, kernel)
    if bad.any():
        smoothed[dilate_square(bad, kernel.size // 2)] = 0.0
    return smoothed


def make_smoothed(
    image: np.ndarray, bad: np.ndarray, kernel: np.ndarray, exponent: int, *, rows: slice = slice(None)
) -> np.ndarray:
    """Smooth an image, with 0 where a pixel is not eligible.

    Parameters
    ----------
    image
        Background-subtracted image, bad pixels 0, float32 ``(ny, nx)``.
    bad
        Pixels without a value, bool ``(ny, nx)``.
    kernel
        One-dimensional smoothing kernel, ``(size,)``.
    exponent
        Binary exponent of what the image is divided by meanwhile.
    rows
        Rows that are wanted.

    Returns
    -------
    smoothed
        These rows, float32 ``(ny, nx)``.
    """
    first, last, _ = rows.indices(image.shape[0])
    # Rows within the reach of the kernel count too.
    low, high = max(first - kernel.size // 2, 0), last + kernel.size // 2
    smoothed = _smooth_divided(image[low:high], bad[low:high], kernel, exponent)[first - low : last - low]
    return np.ldexp(smoothed, exponent, out=smoothed) if exponent else smoothed


def make_significance(
    image: np.ndarray,
    variance: np.ndarray | None,
    bad: np.ndarray,
    kernel: np.ndarray,
    exponent: int,
    noise: NoiseEstimate,
    correct: bool,
) -> np.ndarray:
    """Signal to noise of each pixel of the smoothed image, from the image itself.

    Parameters
    ----------
    image, bad, kernel, exponent
        As for `make_smoothed`.
    variance
        Variance of each pixel of the divided image ``(ny, nx)``, if it is the
        source of the noise.
    noise, correct
        As for `significance_image`, of the divided image.

    Returns
    -------
    significance
        float32 ``(ny, nx)``, NaN where a pixel is not eligible.
    """
    significance = _smooth_divided(image, bad, kernel, exponent)
    smoothed_variance = None
    if variance is not None:
        smoothed_variance = smooth_variance(variance, bad if bad.any() else None, kernel)
    significance_image(significance, smoothed_variance, noise, correct, out=significance)
    significance[~eligible_pixels(bad, kernel.size // 2)] = np.nan
    return significance


@njit(nogil=True)
def _divide_by_root(image: np.ndarray, variance: np.ndarray, factor: float, out: np.ndarray) -> None:
    scale = np.float32(factor)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            v = variance[y, x]
            out[y, x] = image[y, x] * scale / np.sqrt(v) if v > 0 else np.float32(0.0)


def divide_by_root(
    image: np.ndarray, variance: np.ndarray, factor: float = 1.0, out: np.ndarray | None = None
) -> np.ndarray:
    """Divide an image by the root of its variance.

    Parameters
    ----------
    image, variance
        Image and variance, float32 ``(ny, nx)``.
    factor
        Factor on the image.
    out
        Where the result goes, which may be the image; a new array if `None`.

    Returns
    -------
    ratio
        float32 ``(ny, nx)``; 0 where the variance is 0.
    """
    out = np.empty(image.shape, np.float32) if out is None else out
    _divide_by_root(image, variance, factor, out)
    return out


def significance_image(
    smoothed: np.ndarray,
    smoothed_variance: np.ndarray | float | None,
    noise: NoiseEstimate,
    correct: bool,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Signal to noise of each pixel of the smoothed image.

    Parameters
    ----------
    smoothed
        Smoothed image, float32 ``(ny, nx)``.
    smoothed_variance
        Its variance, where it differs from pixel to pixel.
    noise
        Noise estimate.
    correct
        Whether the variance is to be corrected for correlated noise; the
        number in ``noise`` already is.
    out
        Where the result goes, which may be ``smoothed``; a new array if
        `None`.

    Returns
    -------
    significance
        float32 ``(ny, nx)``.
    """
    if isinstance(smoothed_variance, np.ndarray):
        return divide_by_root(smoothed, smoothed_variance, 1.0 / (noise.correlation if correct else 1.0), out)
    return np.multiply(smoothed, np.float32(1.0 / noise.smoothed_sigma), out=out)


def noise_at(
    x: np.ndarray,
    y: np.ndarray,
    smoothed_variance: np.ndarray | float | None,
    noise: NoiseEstimate,
    correct: bool,
) -> np.ndarray:
    """Noise of the smoothed image at pixels.

    Parameters
    ----------
    x, y
        Pixels, integer ``(k,)``.
    smoothed_variance, noise, correct
        As for `significance_image`.

    Returns
    -------
    sigma
        float64 ``(k,)``.
    """
    if isinstance(smoothed_variance, np.ndarray):
        scale = noise.correlation if correct else 1.0
        return np.sqrt(smoothed_variance[y, x].astype(float)) * scale
    return np.full(x.size, noise.smoothed_sigma)

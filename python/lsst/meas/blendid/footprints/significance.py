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
    """Full width of the smoothing kernel, an odd number of pixels, as `SourceDetectionTask` computes it."""
    return (int(sigma * n_sigma + 0.5) // 2) * 2 + 1


def gaussian_kernel(sigma: float, size: int) -> np.ndarray:
    """Gaussian of width sigma [pixel] sampled at the centres of an odd number of pixels, sum 1: (size,)."""
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
    """Convolve an image, float32 (ny, nx), with a symmetric kernel (size,) in x and y.

    It is 0 in the border of half a kernel, where the kernel does not fit.
    """
    out = np.empty(image.shape, np.float32)
    _smooth(image, kernel.astype(np.float32), out)
    return out


@njit(nogil=True)
def dilate_square(mask: np.ndarray, radius: int) -> np.ndarray:
    """Dilate a mask, bool (ny, nx), by a square of side ``2 * radius + 1``."""
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
    # With radius 0 the slices from -0 would be the whole image.
    every = slice(None)
    return [
        (slice(None, radius), every),
        (slice(-radius, None), every),
        (every, slice(None, radius)),
        (every, slice(-radius, None)),
    ]


def smooth_variance(variance: np.ndarray, bad: np.ndarray | None, kernel: np.ndarray) -> np.ndarray | float:
    """Variance of the smoothed image if the noise of its pixels is independent.

    float32 (ny, nx), 0 in the border and without what bad pixels would add; a number if the variance is the
    same in all pixels, which saves a convolution.
    """
    # The first row decides in most cases, without a pass over the image.
    first = variance[0, 0]
    if bad is None and bool((variance[0] == first).all()) and bool((variance == first).all()):
        return float(first) * float((kernel**2).sum()) ** 2
    plane = np.asarray(variance, dtype=np.float32)
    if bad is not None:
        plane = np.where(bad, np.float32(0.0), plane)
    # The variance of a weighted sum of independent pixels has squared weights.
    return smooth(plane, kernel**2)


def eligible_pixels(bad: np.ndarray, radius: int) -> np.ndarray:
    """Pixels at least a half-kernel of ``radius`` pixels away from bad ones and the edge: bool (ny, nx)."""
    # The kernel is square, and so is the reach of a bad pixel.
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
    """Smooth some rows of a background-subtracted image: float32, 0 where a pixel is not eligible.

    The image is divided by 2 to the power of ``exponent`` meanwhile, in whose unit squares have a finite sum.
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
    """Signal to noise of each smoothed pixel, from the image itself: NaN where it is not eligible.

    The variance (ny, nx), where that is the source of the noise, and ``noise`` are those of the image divided
    by 2 to the power of ``exponent``.
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
    """Divide an image times a factor by the root of its variance, float32 (ny, nx); 0 where that is 0."""
    # In one loop: NumPy would hold the root and the quotient of the whole image besides.
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
    """Signal to noise of each pixel of the smoothed image, float32 (ny, nx).

    ``correct`` is whether a variance that differs from pixel to pixel is corrected for correlated noise; the
    number in ``noise`` already is.
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
    """Noise of the smoothed image at pixels x and y (k,), float64 (k,), as for `significance_image`."""
    if isinstance(smoothed_variance, np.ndarray):
        scale = noise.correlation if correct else 1.0
        return np.sqrt(smoothed_variance[y, x].astype(float)) * scale
    return np.full(x.size, noise.smoothed_sigma)

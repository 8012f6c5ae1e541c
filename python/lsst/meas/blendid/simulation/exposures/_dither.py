# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Undoing the sub-pixel part of a dither, and what that does to noise and PSF.

An exposure that was taken with its sky moved by (dx, dy) pixels is moved back by
bilinear interpolation. Along each axis the value of a pixel becomes
(1 - f) e[i + n] + f e[i + n + 1], where n and f are the whole and the fractional
part of the dither. White noise of variance 1 gets variance (1 - f)² + f², on average
2/3, and covariance f (1 - f), on average 1/6, between neighbours.
"""

from __future__ import annotations

__all__ = ("add_undithered", "effective_kernel", "noise_covariance")

import math

import numpy as np

from ..._jit import njit
from ...psf import KOLMOGOROV_K0_FWHM


def split_shift(shift: float) -> tuple[int, float]:
    """Split a shift into its whole part, rounded down, and its fraction in [0, 1)."""
    whole = math.floor(shift)
    return whole, shift - whole


def add_undithered(total: np.ndarray, exposure: np.ndarray, dx: float, dy: float, margin: int) -> None:
    """Add an exposure, its dither undone, to a sum.

    Parameters
    ----------
    total
        Sum, float64, shape (h, w); changed in place.
    exposure
        Exposure, shape (h + 2 margin, w + 2 margin); pixel (i, j) of the sum was at
        (i + margin + dy, j + margin + dx).
    dx, dy
        Dither, pixels.
    margin
        Extra pixels around the exposure, at least one more than the dither.
    """
    (nx, fx), (ny, fy) = split_shift(dx), split_shift(dy)
    _add_bilinear(total, exposure, margin + nx, margin + ny, fx, fy)


@njit()
def _add_bilinear(total: np.ndarray, exposure: np.ndarray, x0: int, y0: int, fx: float, fy: float) -> None:
    for i in range(total.shape[0]):
        for j in range(total.shape[1]):
            below = (1.0 - fx) * exposure[i + y0, j + x0] + fx * exposure[i + y0, j + x0 + 1]
            above = (1.0 - fx) * exposure[i + y0 + 1, j + x0] + fx * exposure[i + y0 + 1, j + x0 + 1]
            total[i, j] += (1.0 - fy) * below + fy * above


def noise_covariance(dx: float, dy: float) -> np.ndarray:
    """Compute the covariance of white noise after `add_undithered`.

    Parameters
    ----------
    dx, dy
        Dither, pixels.

    Returns
    -------
    covariance
        Covariance of a pixel with those around it for noise of variance 1, shape (3, 3);
        its variance in the middle.
    """

    def axis(shift: float) -> np.ndarray:
        _, f = split_shift(shift)
        return np.array([f * (1.0 - f), (1.0 - f) ** 2 + f**2, f * (1.0 - f)])

    return axis(dy)[:, None] * axis(dx)[None, :]


def effective_kernel(
    fwhm: np.ndarray, dx: np.ndarray, dy: np.ndarray, *, diffusion: float = 0.0, size: int = 41
) -> np.ndarray:
    """Compute the PSF of the mean of exposures.

    Parameters
    ----------
    fwhm
        FWHM of the Kolmogorov PSF of each exposure, pixels, shape (n,).
    dx, dy
        Dither of each, pixels, shape (n,).
    diffusion
        Standard deviation of the Gaussian by which charge diffuses, pixels.
    size
        Width of the image, odd, pixels.

    Returns
    -------
    kernel
        Mean image of a star in the middle of a pixel: PSF, diffusion, pixel and
        interpolation; float64, shape (size, size), sum 1.

    Notes
    -----
    Interpolation is linear in the pixels, so that a star anywhere else has the same
    image, sampled elsewhere. It is computed from the transforms.
    """
    n = 1 << max(8, math.ceil(math.log2(6 * size)))
    total = np.zeros((n, n // 2 + 1), dtype=np.complex128)
    base_y, base_x = np.fft.fftfreq(n), np.fft.rfftfreq(n)
    # Frequencies beyond Nyquist fold back when the profile is sampled at pixel centres.
    for iy in (-1, 0, 1):
        for ix in (-1, 0, 1):
            fx, fy = base_x + ix, base_y + iy
            k = 2.0 * np.pi * np.hypot(fx[None, :], fy[:, None])
            k_53 = k ** (5.0 / 3.0)
            mean = np.zeros_like(total)
            for width, shift_x, shift_y in zip(fwhm, dx, dy, strict=True):
                shifts = _shift_transform(fy, shift_y)[:, None] * _shift_transform(fx, shift_x)[None, :]
                mean += np.exp(-k_53 * (width / KOLMOGOROV_K0_FWHM) ** (5.0 / 3.0)) * shifts
            pixel = np.sinc(fx)[None, :] * np.sinc(fy)[:, None]
            total += mean * pixel * np.exp(-0.5 * (k * diffusion) ** 2)
    full = np.fft.fftshift(np.fft.irfft2(total, s=(n, n)))
    c, r = n // 2, size // 2
    kernel = full[c - r : c + r + 1, c - r : c + r + 1]
    return kernel / kernel.sum()


def _shift_transform(frequency: np.ndarray, shift: float) -> np.ndarray:
    """Transform of the bilinear weights at their places relative to the pixel, along one axis."""
    _, f = split_shift(shift)
    phase = 2.0j * np.pi * frequency
    return (1.0 - f) * np.exp(-phase * f) + f * np.exp(phase * (1.0 - f))

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Gain of χ² by another point source at each pixel of a footprint, compiled."""

from __future__ import annotations

__all__ = ("scan_kernel", "scan_residual")

import numpy as np

from .._jit import njit
from ._two_component_fit import FAST, solve_spd

# Part of the information on a source's flux that must be left after the other parameters are free.
_LEAST_SHARE = 0.02


def scan_kernel(sigma: float) -> np.ndarray:
    """Make a Gaussian, to be multiplied in x and y to a point source.

    Parameters
    ----------
    sigma
        Width [pixel].

    Returns
    -------
    kernel
        Values at -r…r, sum 1, float64 ``(2 r + 1,)``.
    """
    radius = max(1, int(np.ceil(2.5 * sigma)))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return kernel / kernel.sum()


@njit(nogil=True, fastmath=FAST)
def _convolve(  # pragma: no cover - compiled
    source: np.ndarray, kernel: np.ndarray, height: int, width: int, buffer: np.ndarray, out: np.ndarray
) -> None:
    """Convolve a padded window with a separable symmetric kernel; out is not padded."""
    taps = kernel.size
    for y in range(height + taps - 1):
        line, row = buffer[y], source[y]
        for x in range(width):
            line[x] = 0.0
        for t in range(taps):
            value = kernel[t]
            for x in range(width):
                line[x] += value * row[x + t]
    for y in range(height):
        row = out[y]
        for x in range(width):
            row[x] = 0.0
        for t in range(taps):
            line = buffer[y + t]
            value = kernel[t]
            for x in range(width):
                row[x] += value * line[x]


@njit(nogil=True, fastmath=FAST)
def scan_residual(  # pragma: no cover - compiled
    rows: np.ndarray,
    root: np.ndarray,
    residual: np.ndarray,
    slopes: np.ndarray,
    m: int,
    normal: np.ndarray,
    kernel: np.ndarray,
) -> tuple[float, float, float, float, float]:
    """Find the best place for another source, the parameters of the present ones free in linear order.

    With J the derivatives of the model, W the weights, r the residual and t a
    source of unit flux: flux = tᵀWr / b and S/N = tᵀWr / √b, where
    b = tᵀWt − tᵀWJ (JᵀWJ)⁻¹ JᵀWt.

    Parameters
    ----------
    rows
        Runs of pixels: y, x of the first, length, index of the first, int64 ``(k, 4)``.
    root
        Roots of the weights ``(n,)``.
    residual, slopes
        Weighted residuals ``(n,)`` and derivatives ``(≥ m, n)``.
    m
        Number of derivatives.
    normal
        Their normal matrix.
    kernel
        Profile of a point source in one coordinate.

    Returns
    -------
    snr, x, y, flux
        The best positive source; NaN without any.
    negative_snr
        S/N of the most significant negative one, as a positive number.
    """
    radius = kernel.size // 2
    x0, x1 = rows[0, 1], rows[0, 1]
    y0, y1 = rows[0, 0], rows[0, 0]
    for i in range(rows.shape[0]):
        x0, x1 = min(x0, rows[i, 1]), max(x1, rows[i, 1] + rows[i, 2] - 1)
        y0, y1 = min(y0, rows[i, 0]), max(y1, rows[i, 0])
    height, width = y1 - y0 + 1, x1 - x0 + 1
    padded = np.zeros((height + 2 * radius, width + 2 * radius))
    buffer = np.empty((height + 2 * radius, width))
    maps = np.empty((m + 2, height, width))
    for j in range(m + 2):
        for i in range(rows.shape[0]):
            line = padded[rows[i, 0] - y0 + radius]
            shift = rows[i, 1] - x0 + radius - rows[i, 3]
            first = rows[i, 3]
            last = first + rows[i, 2]
            if j < m:
                slope = slopes[j]
                for k in range(first, last):
                    line[k + shift] = root[k] * slope[k]
            elif j == m:
                for k in range(first, last):
                    line[k + shift] = root[k] * residual[k]
            else:
                for k in range(first, last):
                    line[k + shift] = root[k] * root[k]
        _convolve(padded, kernel if j <= m else kernel * kernel, height, width, buffer, maps[j])

    factor = np.empty((m, m))
    for i in range(m):
        for j in range(m):
            factor[i, j] = normal[i, j]
        factor[i, i] *= 1.0 + 1e-9
    z = np.zeros(m)
    snr, best_x, best_y, flux, negative = np.nan, np.nan, np.nan, np.nan, np.nan
    if not solve_spd(factor, z, m, z):
        return snr, best_x, best_y, flux, negative
    best, worst = 0.0, 0.0
    for i in range(rows.shape[0]):
        y = rows[i, 0] - y0
        for x in range(rows[i, 1] - x0, rows[i, 1] - x0 + rows[i, 2]):
            free = maps[m + 1, y, x]
            left = free
            for j in range(m):
                value = maps[j, y, x]
                for k in range(j):
                    value -= factor[j, k] * z[k]
                z[j] = value / factor[j, j]
                left -= z[j] * z[j]
            if not left > _LEAST_SHARE * free:
                continue
            signal = maps[m, y, x] / np.sqrt(left)
            if signal > best:
                best = signal
                snr, flux = signal, maps[m, y, x] / left
                best_x, best_y = x + x0, y + y0
            elif -signal > worst:
                worst = -signal
    return snr, best_x, best_y, flux, worst

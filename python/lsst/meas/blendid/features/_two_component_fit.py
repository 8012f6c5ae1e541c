# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Fits of one or two sources to the pixels of a footprint, and what another one would gain, compiled."""

from __future__ import annotations

__all__ = ("FREE", "add_source", "fit_sources", "scan_kernel", "scan_residual")

import numpy as np

from .._jit import njit

FREE = 6
"""Parameters of a source: flux, x, y, and xx, xy, yy of its shape; a point source uses the first three."""

_FAST = {"arcp", "contract", "nsz", "reassoc"}
"""Freedom of the compiler in sums; not-a-number stays one."""

_LEAST_SHARE = 0.02
"""Part of the information on a source's flux that must be left after the other parameters are free."""

_MAX_FREE = 2 * FREE
_TWO_PI = 2.0 * np.pi


@njit(nogil=True, fastmath=_FAST)
def add_source(  # pragma: no cover - compiled
    rows: np.ndarray,
    p: np.ndarray,
    psf: np.ndarray,
    parts: np.ndarray,
    extended: bool,
    model: np.ndarray,
    slopes: np.ndarray,
) -> None:
    """Add a source to a model (n,), and write its derivatives, (6, n) with a shape or (3, n) without.

    ``rows`` are runs of pixels: y, x of the first, length, index of the first, int64 (m, 4); ``p`` is flux,
    x, y and the shape xx, xy, yy [pixel²]; ``psf`` moments xx, xy, yy of the PSF [pixel²]; ``parts`` share,
    multiple of the shape and of the PSF moments of each Gaussian (k, 3).  Along a row of pixels a Gaussian is
    a product of factors whose ratio is constant: two exponentials a row and two products a pixel.
    """
    n = model.size
    flux, cx, cy = p[0], p[1], p[2]
    s0, s1, s2, s3, s4, s5 = slopes[0], slopes[1], slopes[2], slopes[0], slopes[0], slopes[0]
    n_free = 3
    if extended:
        s3, s4, s5 = slopes[3], slopes[4], slopes[5]
        n_free = 6
    for k in range(n_free):
        slopes[k, :n] = 0.0
    for j in range(parts.shape[0]):
        b, c = parts[j, 1], parts[j, 2]
        sxx = b * p[3] + c * psf[0]
        sxy = b * p[4] + c * psf[1]
        syy = b * p[5] + c * psf[2]
        det = sxx * syy - sxy * sxy
        pxx, pxy, pyy = syy / det, -sxy / det, sxx / det
        norm = parts[j, 0] / (_TWO_PI * np.sqrt(det))
        rho = np.exp(-pxx)
        half = 0.5 * b
        for i in range(rows.shape[0]):
            dy = rows[i, 0] - cy
            # Beyond, the row has less than exp(-30) of the peak.
            if dy * dy > 60.0 * syy:
                continue
            dx = rows[i, 1] - cx
            g = norm * np.exp(-0.5 * (pxx * dx * dx + 2.0 * pxy * dx * dy + pyy * dy * dy))
            ratio = np.exp(-pxx * (dx + 0.5) - pxy * dy)
            ux = pxx * dx + pxy * dy
            uy = pxy * dx + pyy * dy
            first = rows[i, 3]
            for k in range(first, first + rows[i, 2]):
                gx = g * ux
                gy = g * uy
                s0[k] += g
                s1[k] += gx
                s2[k] += gy
                if extended:
                    s3[k] += half * (gx * ux - g * pxx)
                    s4[k] += b * (gx * uy - g * pxy)
                    s5[k] += half * (gy * uy - g * pyy)
                g *= ratio
                ratio *= rho
                ux += pxx
                uy += pxy
    for k in range(n):
        model[k] += flux * s0[k]
    for j in range(1, n_free):
        slope = slopes[j]
        for k in range(n):
            slope[k] *= flux


@njit(nogil=True)
def _solve_spd(a: np.ndarray, b: np.ndarray, m: int, x: np.ndarray) -> bool:  # pragma: no cover - compiled
    """Solve a x = b in m unknowns by Cholesky factors, which replace the lower half of a.

    Tells whether the matrix is positive definite; if not, there is no solution.
    """
    for i in range(m):
        for j in range(i + 1):
            s = a[i, j]
            for k in range(j):
                s -= a[i, k] * a[j, k]
            if i == j:
                if not s > 1e-14 * abs(a[i, i]):
                    return False
                a[i, i] = np.sqrt(s)
            else:
                a[i, j] = s / a[j, j]
    _back_substitute(a, b, m, x)
    return True


@njit(nogil=True)
def _back_substitute(
    a: np.ndarray, b: np.ndarray, m: int, x: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Solve L Lᵀ x = b for the factor L in the lower half of a."""
    for i in range(m):
        s = b[i]
        for k in range(i):
            s -= a[i, k] * x[k]
        x[i] = s / a[i, i]
    for i in range(m - 1, -1, -1):
        s = x[i]
        for k in range(i + 1, m):
            s -= a[k, i] * x[k]
        x[i] = s / a[i, i]


@njit(nogil=True)
def _clip_shape(p: np.ndarray, most: float) -> None:  # pragma: no cover - compiled
    """Move the eigenvalues of a shape into [0, most]."""
    mean = 0.5 * (p[3] + p[5])
    difference = 0.5 * (p[3] - p[5])
    spread = np.sqrt(difference * difference + p[4] * p[4])
    high, low = mean + spread, mean - spread
    if low >= 0.0 and high <= most:
        return
    high, low = min(max(high, 0.0), most), min(max(low, 0.0), most)
    scale = 0.5 * (high - low) / spread if spread > 0.0 else 0.0
    mean = 0.5 * (high + low)
    p[3] = mean + scale * difference
    p[5] = mean - scale * difference
    p[4] *= scale


@njit(nogil=True, fastmath=_FAST)
def _linearise(  # pragma: no cover - compiled
    rows: np.ndarray,
    data: np.ndarray,
    root: np.ndarray,
    p: np.ndarray,
    extended: np.ndarray,
    psf: np.ndarray,
    galaxy: np.ndarray,
    point: np.ndarray,
    residual: np.ndarray,
    slopes: np.ndarray,
) -> float:
    """Weighted residuals and derivatives of a model of one or two sources; gives χ²."""
    n = data.size
    residual[:n] = 0.0
    m = 0
    for s in range(p.shape[0]):
        add_source(rows, p[s], psf, galaxy if extended[s] else point, extended[s], residual, slopes[m:])
        m += 6 if extended[s] else 3
    chi2 = 0.0
    for k in range(n):
        residual[k] = root[k] * (data[k] - residual[k])
        chi2 += residual[k] * residual[k]
    for j in range(m):
        slope = slopes[j]
        for k in range(n):
            slope[k] *= root[k]
    return chi2


@njit(nogil=True, fastmath=_FAST)
def _products(  # pragma: no cover - compiled
    slopes: np.ndarray, residual: np.ndarray, n: int, m: int, normal: np.ndarray, right: np.ndarray
) -> None:
    """Normal matrix and right side of the linear problem."""
    for i in range(m):
        si = slopes[i]
        for j in range(i + 1):
            sj = slopes[j]
            total = 0.0
            for k in range(n):
                total += si[k] * sj[k]
            normal[i, j] = total
            normal[j, i] = total
        total = 0.0
        for k in range(n):
            total += si[k] * residual[k]
        right[i] = total


@njit(nogil=True)
def fit_sources(  # pragma: no cover - compiled
    rows: np.ndarray,
    data: np.ndarray,
    root: np.ndarray,
    p: np.ndarray,
    extended: np.ndarray,
    psf: np.ndarray,
    galaxy: np.ndarray,
    point: np.ndarray,
    reach: float,
    max_steps: int,
    tolerance: float,
    residual: np.ndarray,
    slopes: np.ndarray,
    trial_residual: np.ndarray,
    trial_slopes: np.ndarray,
    normal: np.ndarray,
    right: np.ndarray,
) -> float:
    """Fit one or two sources by Levenberg–Marquardt steps; gives χ², NaN if it is not finite.

    ``data`` and ``root`` are values and roots of their weights (n,) on ``rows`` (`add_source`); ``p`` (s, 6)
    is start and result, ``extended`` (s,) which sources have a shape.  Centres stay within ``reach`` pixels
    of the origin; the fit ends after ``max_steps``, or where χ² gains less than ``tolerance``.  Written are
    the weighted residuals (n,) and derivatives (m, n) at the result, scratch of the same shapes, and the
    normal matrix (12, 12) with its right side (12,).
    """
    n = data.size
    n_sources = p.shape[0]
    m = 0
    for s in range(n_sources):
        m += 6 if extended[s] else 3
    chi2 = _linearise(rows, data, root, p, extended, psf, galaxy, point, residual, slopes)
    _products(slopes, residual, n, m, normal, right)
    matrix = np.empty((_MAX_FREE, _MAX_FREE))
    step = np.empty(_MAX_FREE)
    trial = np.empty_like(p)
    damping = 1e-3
    swapped = False
    for _ in range(max_steps):
        for i in range(m):
            for j in range(m):
                matrix[i, j] = normal[i, j]
            matrix[i, i] *= 1.0 + damping
        if not _solve_spd(matrix, right, m, step):
            damping = 10.0 * damping + 1e-3
            continue
        predicted = 0.0
        for i in range(m):
            predicted += step[i] * right[i]
        if predicted < tolerance:
            break
        trial[:] = p
        k = 0
        positive = True
        for s in range(n_sources):
            width = 6 if extended[s] else 3
            for j in range(width):
                trial[s, j] += step[k + j]
            k += width
            positive &= trial[s, 0] > 0.0
            for j in range(1, 3):
                trial[s, j] = min(max(trial[s, j], -reach), reach)
            if extended[s]:
                _clip_shape(trial[s], reach * reach)
        new = np.inf
        if positive:
            new = _linearise(
                rows, data, root, trial, extended, psf, galaxy, point, trial_residual, trial_slopes
            )
        if new < chi2:
            gain = chi2 - new
            p[:] = trial
            chi2 = new
            residual, trial_residual = trial_residual, residual
            slopes, trial_slopes = trial_slopes, slopes
            swapped = not swapped
            _products(slopes, residual, n, m, normal, right)
            damping *= 0.1
            if gain < tolerance:
                break
        else:
            damping = 10.0 * damping + 1e-2
            if damping > 1e4:
                break
    if swapped:
        # The arrays of the caller hold the last trial; the result is in the scratch.
        trial_residual[:n] = residual[:n]
        trial_slopes[:m, :n] = slopes[:m, :n]
    return chi2


def scan_kernel(sigma: float) -> np.ndarray:
    """Make a Gaussian of width sigma [pixel] at -r … r, sum 1, to be multiplied in x and y: (2 r + 1,)."""
    radius = max(1, int(np.ceil(2.5 * sigma)))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return kernel / kernel.sum()


@njit(nogil=True, fastmath=_FAST)
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


@njit(nogil=True, fastmath=_FAST)
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
    b = tᵀWt − tᵀWJ (JᵀWJ)⁻¹ JᵀWt.  Residuals (n,) and the m derivatives are weighted.

    Gives S/N, x, y and flux of the best positive source, NaN without any, and the S/N of the most significant
    negative one, as a positive number.
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
    if not _solve_spd(factor, z, m, z):
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

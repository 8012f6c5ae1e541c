# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Is there room for a second galaxy in a footprint? Fits of one and of two sources to its pixels.

In each footprint, in a window about its brightest peak, these are fitted to
the pixels: one galaxy (an elliptical exponential profile, convolved with the
PSF), the galaxy and a second point source, and a pair of point sources. How
much better two are than one tells of a companion that makes no peak of its
own.

All profiles are sums of concentric Gaussians, the PSF too, so that convolution
adds moments (Hogg & Lang 2013, PASP 125, 719).
"""

from __future__ import annotations

__all__ = (
    "TWO_COMPONENT_COLUMNS",
    "TWO_COMPONENT_DOCS",
    "PsfMixture",
    "fit_psf_mixture",
    "two_component_test",
)

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._jit import njit
from .._progress import report_progress
from ._two_component_fit import fit_sources, scan_kernel, scan_residual
from .columns import as_table, record_type

if TYPE_CHECKING:
    from ..footprints import DetectionResult


# Start: shares and squared scales (in units of the moments) of the core, the shoulder and the wing of a
# Kolmogorov profile.
_START_SHARES = (0.55, 0.38, 0.07)
_START_SCALES = (0.75, 1.5, 5.0)
_ITERATIONS = 30


@dataclass(frozen=True)
class PsfMixture:
    """Sum of Gaussians with one centre and moments that are multiples of the same.

    Parameters
    ----------
    moments
        xx, xy, yy of the adaptive moments [pixel²], float64 ``(3,)``.
    shares
        Flux of each Gaussian, sum 1, float64 ``(g,)``.
    scales
        Moments of each Gaussian in units of ``moments``, float64 ``(g,)``.
    """

    moments: np.ndarray
    shares: np.ndarray
    scales: np.ndarray

    def draw(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Evaluate at offsets from the centre [pixel]: flux per pixel, for a total flux of 1."""
        xx, xy, yy = self.moments
        det = xx * yy - xy * xy
        q = (yy * x * x - 2.0 * xy * x * y + xx * y * y) / det
        parts = (
            share / (2.0 * np.pi * scale * np.sqrt(det)) * np.exp(-0.5 * q / scale)
            for share, scale in zip(self.shares, self.scales, strict=True)
        )
        return np.sum(list(parts), axis=0)


def _adaptive_moments(image: np.ndarray, x: np.ndarray, y: np.ndarray, sigma: float) -> np.ndarray:
    """Moments xx, xy, yy of the Gaussian that matches an image about the origin (Hirata & Seljak 2003).

    Those of a round Gaussian of width ``sigma``, the first guess, where there is no solution.
    """
    moments = np.array([sigma * sigma, 0.0, sigma * sigma])
    for _ in range(100):
        xx, xy, yy = moments
        det = xx * yy - xy * xy
        weighted = image * np.exp(-0.5 * (yy * x * x - 2.0 * xy * x * y + xx * y * y) / det)
        total = weighted.sum()
        if total <= 0.0:
            return np.array([sigma * sigma, 0.0, sigma * sigma])
        new = 2.0 * np.array([(weighted * v).sum() for v in (x * x, x * y, y * y)]) / total
        if not np.isfinite(new).all() or new[0] * new[2] - new[1] ** 2 <= 1e-6 or new[0] <= 0.0:
            return np.array([sigma * sigma, 0.0, sigma * sigma])
        change = np.abs(new - moments).max()
        moments = new
        if change < 1e-9 * sigma * sigma:
            break
    return moments


def fit_psf_mixture(image: np.ndarray, sigma: float) -> PsfMixture:
    """Fit a sum of three Gaussians to a PSF, sum 1 and odd sides, by Gauss–Newton steps.

    It is a single Gaussian of width ``sigma`` [pixel], the first guess, where none converges.
    """
    image = np.asarray(image, dtype=np.float64)
    y, x = np.indices(image.shape, dtype=np.float64)
    x -= (image.shape[1] - 1) // 2
    y -= (image.shape[0] - 1) // 2
    moments = _adaptive_moments(image, x, y, sigma)
    xx, xy, yy = moments
    det = xx * yy - xy * xy
    # In units of the moments the kernel is round, and a profile of q.
    q = ((yy * x * x - 2.0 * xy * x * y + xx * y * y) / det).ravel()
    inside = q < 64.0
    q, target = q[inside], image.ravel()[inside] * 2.0 * np.pi * np.sqrt(det)

    shares, logs = np.array(_START_SHARES), np.log(_START_SCALES)
    damping = 1e-3
    profiles, residual = _evaluate(q, target, shares, logs)
    for _ in range(_ITERATIONS):
        scales = np.exp(logs)
        slopes = profiles * shares * (0.5 * q[:, None] / scales - 1.0)
        jacobian = np.concatenate([profiles, slopes], axis=1)
        normal = jacobian.T @ jacobian
        normal[np.diag_indices(6)] *= 1.0 + damping
        step = np.linalg.lstsq(normal, jacobian.T @ residual, rcond=None)[0]
        new_shares, new_logs = shares + step[:3], np.clip(logs + step[3:], -3.0, 4.0)
        new_profiles, new_residual = _evaluate(q, target, new_shares, new_logs)
        before, after = residual @ residual, new_residual @ new_residual
        if after < before and (new_shares > 0.0).all():
            shares, logs, profiles, residual = new_shares, new_logs, new_profiles, new_residual
            damping *= 0.3
            if before - after < 1e-8 * before:
                break
        else:
            damping *= 10.0
    total = shares.sum()
    if not (np.isfinite(total) and np.isfinite(logs).all() and total > 0.0):
        return PsfMixture(np.array([sigma**2, 0.0, sigma**2]), np.ones(1), np.ones(1))
    return PsfMixture(moments, shares / total, np.exp(logs))


def _evaluate(
    q: np.ndarray, target: np.ndarray, shares: np.ndarray, logs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Profile of each Gaussian for unit flux ``(m, 3)``, and target minus their sum ``(m,)``."""
    scales = np.exp(logs)
    profiles = np.exp(-0.5 * q[:, None] / scales) / scales
    return profiles, target - profiles @ shares


TWO_COMPONENT_DOCS: dict[str, str] = {
    "two_flux_snr": "log10 of the flux of the galaxy over the pixel noise",
    "two_size": "Half-light radius of the galaxy before seeing (geometric mean of the axes) over PSF sigma",
    "two_ellipticity": "Difference over sum of the squared axes of the galaxy before seeing",
    "two_major": "Half-light radius along the major axis over PSF sigma",
    "two_offset": "Distance of the fitted galaxy from the brightest peak, in PSF sigmas",
    "two_chi2": "log of chi² per pixel of the fit of one galaxy",
    "two_scan_snr": "S/N of the best point source in the residual of one galaxy",
    "two_negative_snr": "S/N of the most significant negative one, as a positive number",
    "two_scan_distance": "Distance of the best point source from the galaxy, in PSF sigmas",
    "two_gain": "log(1 + gain of chi² by a free second point source)",
    "two_share": "Share of the second source in the flux of both",
    "two_second_flux": "Flux of the second source over its error in empty sky",
    "two_separation": "Distance of the two, in PSF sigmas",
    "two_alignment": "Squared cosine of the angle between the second source and the major axis",
    "two_size_beside": "Half-light radius of the galaxy beside the second source over PSF sigma",
    "two_pair_gain": "asinh of the gain of chi² by two point sources in place of a galaxy",
    "two_pair_separation": "Distance of these two, in PSF sigmas",
    "two_pair_share": "Share of the fainter one in their flux",
}
"""What the columns of `two_component_test` are."""

TWO_COMPONENT_COLUMNS: tuple[str, ...] = tuple(TWO_COMPONENT_DOCS)
"""Names of the columns of `two_component_test`."""

# Two Gaussians for an exponential profile, fitted after convolution with Gaussians of variance 0.05…4 in
# squared half-light radii: within 0.6 % of the peak from 0.2 on. Shares, variances.
_EXPONENTIAL = ((0.36080246, 0.23521192), (0.63919754, 1.42435519))
_MEAN_VARIANCE = sum(share * variance for share, variance in _EXPONENTIAL)
# Beside the widest Gaussian of the PSF, the galaxy's profile makes no difference.
_WING = 4.0

_MODEL_ERROR = 0.05
"""Error of the profiles beside the noise, as a part of the value: bright galaxies are no exponentials."""
_LEAST_PIXELS = 12
"""Good pixels that a footprint must have in the window: twice the parameters of a galaxy."""
_WINDOW = 7.5
"""Half the side of the window [PSF sigma]."""
_TOLERANCE = 0.02
"""Improvement of chi² at which a fit stops."""
_STEPS_ONE = 12
_STEPS_TWO = 8
_STEPS_PAIR = 8
"""Most steps of the fits of a galaxy, of a galaxy and a point source, and of two point sources."""
_ROUNDING = 1e-12
"""Square of an axis ratio that rounding errors alone can make."""


def _parts(mixture: PsfMixture) -> tuple[np.ndarray, np.ndarray]:
    """Gaussians (share, multiple of the shape, multiple of the PSF moments) of a galaxy and a point."""
    galaxy: list[tuple[float, float, float]] = []
    for share, scale in zip(mixture.shares, mixture.scales, strict=True):
        if scale > _WING:
            galaxy.append((share, _MEAN_VARIANCE, scale))
        else:
            galaxy.extend((share * weight, variance, scale) for weight, variance in _EXPONENTIAL)
    point = [(share, 0.0, scale) for share, scale in zip(mixture.shares, mixture.scales, strict=True)]
    return np.array(galaxy), np.array(point)


@njit(nogil=True)
def _gather(  # pragma: no cover - compiled
    image: np.ndarray,
    bad: np.ndarray,
    spans: np.ndarray,
    first: int,
    last: int,
    px: int,
    py: int,
    half: int,
    scale: float,
    level: float,
    rows: np.ndarray,
    data: np.ndarray,
    root: np.ndarray,
) -> tuple[int, int, int]:
    """Pixels of a footprint in the window about (px, py); numbers of runs, of pixels and of good ones."""
    m, n, good = 0, 0, 0
    for i in range(first, last):
        y = spans[i, 1]
        if abs(y - py) > half:
            continue
        x0, x1 = max(spans[i, 2], px - half), min(spans[i, 3], px + half)
        if x1 < x0:
            continue
        rows[m, 0], rows[m, 1], rows[m, 2], rows[m, 3] = y - py, x0 - px, x1 - x0 + 1, n
        m += 1
        for x in range(x0, x1 + 1):
            value = image[y, x] * scale - level
            if np.isfinite(value) and not (bad.size and bad[y, x]):
                data[n] = value
                error = _MODEL_ERROR * max(value, 0.0)
                root[n] = 1.0 / np.sqrt(1.0 + error * error)
                good += 1
            else:
                data[n] = 0.0
                root[n] = 0.0
            n += 1
    return m, n, good


@njit(nogil=True)
def _start(  # pragma: no cover - compiled
    rows: np.ndarray, data: np.ndarray, root: np.ndarray, x: float, y: float, psf: np.ndarray, p: np.ndarray
) -> None:
    """First guess: moments under a Gaussian weight about the peak, less those of the PSF."""
    weight = 4.0 * np.sqrt(psf[0] * psf[2] - psf[1] * psf[1])
    total, wx, wy, wxx, wxy, wyy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(rows.shape[0]):
        dy = rows[i, 0] - y
        for k in range(rows[i, 2]):
            dx = rows[i, 1] + k - x
            j = rows[i, 3] + k
            if root[j] == 0.0:
                continue
            value = data[j] * np.exp(-0.5 * (dx * dx + dy * dy) / weight)
            total += value
            wx += value * dx
            wy += value * dy
            wxx += value * dx * dx
            wxy += value * dx * dy
            wyy += value * dy * dy
    p[0], p[1], p[2] = max(total, 1.0), x, y
    small = 0.1 * weight / 4.0
    p[3], p[4], p[5] = small, 0.0, small
    if not total > 0.0:
        return
    wx, wy = wx / total, wy / total
    sxx, sxy, syy = wxx / total - wx * wx, wxy / total - wx * wy, wyy / total - wy * wy
    det = sxx * syy - sxy * sxy
    if not (sxx > 0.0 and det > 0.0):
        return
    axx, axy, ayy = syy / det - 1.0 / weight, -sxy / det, sxx / det - 1.0 / weight
    det = axx * ayy - axy * axy
    if axx > 0.0 and det > 0.02 / (weight * weight):
        p[3], p[4], p[5] = ayy / det - psf[0], -axy / det - psf[1], axx / det - psf[2]
    else:
        p[3], p[5] = weight, weight
    # Eigenvalues at least small.
    mean, difference = 0.5 * (p[3] + p[5]), 0.5 * (p[3] - p[5])
    spread = np.sqrt(difference * difference + p[4] * p[4])
    most = 4.0 * weight
    high, low = min(max(mean + spread, small), most), min(max(mean - spread, small), most)
    ratio = 0.5 * (high - low) / spread if spread > 0.0 else 0.0
    p[3] = 0.5 * (high + low) + ratio * difference
    p[5] = 0.5 * (high + low) - ratio * difference
    p[4] *= ratio
    p[0] = 2.0 * total


@njit(nogil=True)
def _mean_axis(mean: float, spread: float) -> float:  # pragma: no cover - compiled
    """Geometric mean of the axes, from the mean and half the difference of their squares.

    A fit may end at a line without width, whose rounding errors have a fourth root of a thousandth.
    """
    high, low = mean + spread, mean - spread
    return (high * low) ** 0.25 if low > _ROUNDING * high else 0.0


@njit(nogil=True)
def _test_all(  # pragma: no cover - compiled
    image: np.ndarray,
    bad: np.ndarray,
    spans: np.ndarray,
    first_span: np.ndarray,
    peaks: np.ndarray,
    scale: float,
    level: float,
    psf: np.ndarray,
    galaxy: np.ndarray,
    point: np.ndarray,
    point_error: float,
    kernel: np.ndarray,
    half: int,
    out: np.ndarray,
) -> None:
    """Test each footprint; peaks are array x, y, or NaN for none."""
    side = 2 * half + 1
    sigma2 = np.sqrt(psf[0] * psf[2] - psf[1] * psf[1])
    sigma = np.sqrt(sigma2)
    all_rows = np.empty((side * (half + 1), 4), np.int64)
    all_data, all_root = np.empty(side * side), np.empty(side * side)
    all_residual, all_trial = np.empty(side * side), np.empty(side * side)
    store, trial_store = np.empty(12 * side * side), np.empty(12 * side * side)
    normal, right = np.empty((12, 12)), np.empty(12)
    one_flag, two_flags = np.array([True]), np.array([True, False])
    pair_flags = np.array([False, False])
    one, two, pair = np.zeros((1, 6)), np.zeros((2, 6)), np.zeros((2, 6))
    reach = float(half)
    for i in range(out.size):
        if not (np.isfinite(peaks[i, 0]) and np.isfinite(peaks[i, 1])):
            continue
        px, py = int(np.rint(peaks[i, 0])), int(np.rint(peaks[i, 1]))
        m, n, good = _gather(
            image, bad, spans, first_span[i], first_span[i + 1], px, py, half, scale, level,
            all_rows, all_data, all_root,
        )  # fmt: skip
        if good < _LEAST_PIXELS:
            continue
        rows, data, root = all_rows[:m], all_data[:n], all_root[:n]
        residual, trial = all_residual[:n], all_trial[:n]
        slopes, trial_slopes = store[: 12 * n].reshape(12, n), trial_store[: 12 * n].reshape(12, n)

        _start(rows, data, root, peaks[i, 0] - px, peaks[i, 1] - py, psf, one[0])
        chi2_one = fit_sources(
            rows, data, root, one, one_flag, psf, galaxy, point, reach, _STEPS_ONE, _TOLERANCE,
            residual, slopes, trial, trial_slopes, normal, right,
        )  # fmt: skip
        if not (np.isfinite(chi2_one) and one[0, 0] > 0.0):
            continue
        mean, difference = 0.5 * (one[0, 3] + one[0, 5]), 0.5 * (one[0, 3] - one[0, 5])
        spread = np.sqrt(difference * difference + one[0, 4] * one[0, 4])
        row = out[i]
        row.two_flux_snr = np.log10(one[0, 0])
        row.two_size = _mean_axis(mean, spread) / sigma
        row.two_ellipticity = spread / mean if mean > 0.0 else 0.0
        row.two_major = np.sqrt(mean + spread) / sigma
        dx, dy = one[0, 1] - (peaks[i, 0] - px), one[0, 2] - (peaks[i, 1] - py)
        row.two_offset = np.sqrt(dx * dx + dy * dy) / sigma
        row.two_chi2 = np.log(chi2_one / good + 1e-3)

        snr, x, y, flux, negative = scan_residual(rows, root, residual, slopes, 6, normal, kernel)
        row.two_negative_snr = negative
        cos2, sin2 = 1.0, 0.0
        if spread > 0.0:
            cos2, sin2 = difference / spread, one[0, 4] / spread
        if np.isfinite(snr):
            row.two_scan_snr = snr
            row.two_scan_distance = np.sqrt((x - one[0, 1]) ** 2 + (y - one[0, 2]) ** 2) / sigma
            two[0] = one[0]
            two[1] = 0.0
            two[1, 0], two[1, 1], two[1, 2] = flux, x, y
            chi2_two = fit_sources(
                rows, data, root, two, two_flags, psf, galaxy, point, reach, _STEPS_TWO, _TOLERANCE,
                residual, slopes, trial, trial_slopes, normal, right,
            )  # fmt: skip
            row.two_gain = np.log1p(max(chi2_one - chi2_two, 0.0))
            row.two_share = two[1, 0] / (abs(two[0, 0]) + abs(two[1, 0]))
            row.two_second_flux = two[1, 0] / point_error
            dx, dy = two[1, 1] - two[0, 1], two[1, 2] - two[0, 2]
            d2 = dx * dx + dy * dy
            row.two_separation = np.sqrt(d2) / sigma
            if d2 > 0.0:
                row.two_alignment = 0.5 + 0.5 * (cos2 * (dx * dx - dy * dy) + sin2 * 2.0 * dx * dy) / d2
            half_difference = 0.5 * (two[0, 3] - two[0, 5])
            row.two_size_beside = (
                _mean_axis(
                    0.5 * (two[0, 3] + two[0, 5]),
                    np.sqrt(half_difference * half_difference + two[0, 4] * two[0, 4]),
                )
                / sigma
            )

        # A pair on the major axis with the moments of the galaxy.
        apart = max(np.sqrt(max(mean + spread, 0.0)), 0.7 * sigma)
        ax, ay = np.sqrt(0.5 * (1.0 + cos2)), np.sqrt(0.5 * (1.0 - cos2))
        if sin2 < 0.0:
            ay = -ay
        pair[:] = 0.0
        for k in range(2):
            sign = 1.0 - 2.0 * k
            pair[k, 0] = 0.5 * one[0, 0]
            pair[k, 1] = min(max(one[0, 1] + sign * apart * ax, -reach), reach)
            pair[k, 2] = min(max(one[0, 2] + sign * apart * ay, -reach), reach)
        chi2_pair = fit_sources(
            rows, data, root, pair, pair_flags, psf, galaxy, point, reach, _STEPS_PAIR, _TOLERANCE,
            residual, slopes, trial, trial_slopes, normal, right,
        )  # fmt: skip
        row.two_pair_gain = np.arcsinh(chi2_one - chi2_pair)
        dx, dy = pair[1, 1] - pair[0, 1], pair[1, 2] - pair[0, 2]
        row.two_pair_separation = np.sqrt(dx * dx + dy * dy) / sigma
        row.two_pair_share = min(pair[0, 0], pair[1, 0]) / (abs(pair[0, 0]) + abs(pair[1, 0]))


_CHUNK = 1000
"""Footprints between two reports of how far the test is."""


def two_component_test(result: DetectionResult) -> np.ndarray:
    """Test each footprint of an image for a second source.

    Parameters
    ----------
    result
        Footprints and the background-subtracted image, its noise and its PSF.

    Returns
    -------
    columns : `numpy.ndarray`, shape (n, columns), float32
        `TWO_COMPONENT_COLUMNS` of each footprint; NaN where a fit was not possible: fewer than 12 good
        pixels, no peak, no flux, noise that is not positive.
    """
    footprints = result.footprints
    n = len(footprints)
    out = np.full(n, np.nan, record_type(TWO_COMPONENT_DOCS))
    sigma = float(result.noise.sigma)
    if n == 0 or result.image.size == 0 or not (np.isfinite(sigma) and sigma > 0.0):
        return as_table(out)
    level = float(result.sky_level) if np.isfinite(result.sky_level) else 0.0
    mixture = fit_psf_mixture(result.psf.image, result.psf.sigma)
    galaxy, point = _parts(mixture)
    psf_sigma = float((mixture.moments[0] * mixture.moments[2] - mixture.moments[1] ** 2) ** 0.25)
    half = int(np.clip(np.rint(_WINDOW * psf_sigma), 8, 24))

    has_peak = footprints.n_peaks > 0
    peaks = np.full((n, 2), np.nan)
    brightest = footprints.peaks[footprints.peak_start[:-1][has_peak]]
    x0, y0 = footprints.xy0
    peaks[has_peak, 0] = brightest["f_x"] - x0
    peaks[has_peak, 1] = brightest["f_y"] - y0
    spans = footprints.spans.astype(np.int64)
    spans[:, 1] -= y0
    spans[:, 2:] -= x0
    first_span = np.searchsorted(spans[:, 0], np.arange(1, n + 2))

    bad = result.bad if result.bad.shape == result.image.shape else np.zeros((0, 0), dtype=bool)
    for start in range(0, n, _CHUNK):
        report_progress("pairs of sources", start / n)
        chunk = slice(start, start + _CHUNK)
        _test_all(
            np.asarray(result.image),
            bad,
            spans,
            first_span[start : start + _CHUNK + 1],
            peaks[chunk],
            1.0 / sigma,
            level,
            mixture.moments,
            galaxy,
            point,
            1.0 / float(np.sqrt((np.asarray(result.psf.image) ** 2).sum())),
            scan_kernel(psf_sigma),
            half,
            out[chunk],
        )
    return as_table(out)

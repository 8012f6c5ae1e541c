# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""The core around the main peak: windowed moments, and what an elliptical Gaussian or a star leaves."""

from __future__ import annotations

__all__ = ("CORE_COLUMNS", "measure_core")

import numpy as np

from .._jit import njit
from ..footprints.significance import gaussian_kernel, kernel_size
from .columns import Group, Record, flatten_columns, join_records, name_columns, record_type
from .peaks import MainPeaks
from .planes import Planes

_WINDOWS = (1.5, 3.0)
"""Sigmas of the Gaussian windows [PSF sigma]."""

_STAR_STEPS = 8
"""Samples of a star's profile per PSF sigma."""

_STAR_REACH = 6.0
"""Radius where it ends [PSF sigma]."""


_WINDOW: Group = {
    "size": "Mean squared radius of the {where} [PSF sigma²].",
    "ellipticity": "Quadrupole of the {where} over its mean squared radius.",
    "shift": "Distance of the centroid of the {where} from the peak [PSF sigma].",
    "m31": "Modulus of the mean of z|z|², z = x + iy, of the {where} [PSF sigma³].",
    "m33": "Modulus of the mean of z³ of the {where} [PSF sigma³].",
    "m40": "Mean of |z|⁴ of the {where} over the square of that of |z|², 20 at most.",
    "m44": "Modulus of the mean of z⁴ of the {where} [PSF sigma⁴].",
    "snr": "S/N of the {where}.",
}
"""What is measured in each window."""

_GAUSS = "the elliptical Gaussian with the height and the windowed moments of the main peak"
_STAR = "a star with the height of the main peak"

_RESIDUALS: Group = {
    "gauss_residual": f"Highest S/N of the smoothed light less {_GAUSS}.",
    "gauss_distance": "Distance of that place from the main peak [PSF sigma].",
    "gauss_share": f"Positive part of the smoothed light less {_GAUSS}, over all light.",
    "gauss_deficit": f"Lowest S/N of the smoothed light less {_GAUSS}.",
    "gauss_across": "Distance of that place from the major axis of the Gaussian [PSF sigma].",
    "star_residual": f"Highest S/N of the smoothed light less {_STAR}.",
    "star_distance": "Distance of that place from the main peak [PSF sigma].",
    "star_peaks": f"Number of peaks of S/N 3 or more of the smoothed light less {_STAR}.",
    "star_share": f"Smoothed light less {_STAR}, over all light.",
}

CORE_COLUMNS: dict[str, str] = {
    f"window_{name}_{w:g}": described.format(
        where=f"light in a Gaussian window of {w:g} PSF sigma at the main peak"
    )
    for w in _WINDOWS
    for name, described in flatten_columns(_WINDOW).items()
} | flatten_columns(_RESIDUALS)
"""Name and description of each column of `measure_core`."""


@njit()
def _measure_window(
    pixels: np.ndarray,
    labels: np.ndarray,
    label: int,
    px: float,
    py: float,
    sigma: float,
    window: float,
    row: Record,
    second: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Moments; ``second`` (3,) gets the second moments of light times window [PSF sigma²]."""
    ny, nx = labels.shape
    # Gaussian weights bound the noise of moments, which grows without end with the aperture (Bernstein &
    # Jarvis 2002, AJ 123, 583).
    width = window * sigma
    reach = 3.0 * width
    total = noise = 0.0
    x_low, x_high = max(int(np.ceil(px - reach)), 0), min(int(np.floor(px + reach)), nx - 1)
    # The window is a product of one along x and one along y, which saves most exponentials.
    along_x = np.empty(max(x_high - x_low + 1, 0))
    for x in range(x_low, x_high + 1):
        along_x[x - x_low] = np.exp(-0.5 * ((x - px) / width) ** 2)
    zr = zi = rr = q2r = q2i = m31r = m31i = m33r = m33i = r4 = m44r = m44i = 0.0
    for y in range(max(int(np.ceil(py - reach)), 0), min(int(np.floor(py + reach)), ny - 1) + 1):
        dy = (y - py) / sigma
        along_y = np.exp(-0.5 * ((y - py) / width) ** 2)
        for x in range(x_low, x_high + 1):
            if labels[y, x] != label:
                continue
            dx = (x - px) / sigma
            r2 = dx * dx + dy * dy
            if r2 > 9.0 * window * window:
                continue
            weight = along_x[x - x_low] * along_y
            w = weight * pixels[y, x]
            a, b = dx * dx - dy * dy, 2.0 * dx * dy
            total += w
            noise += weight * weight
            # Polar moments by order of rotation: m = 2 is ellipticity, 3 a triangle, 4 a cross. One star has
            # none; a companion excites them in proportion to its distance to the power of the order.
            zr += w * dx
            zi += w * dy
            rr += w * r2
            q2r += w * a
            q2i += w * b
            m31r += w * dx * r2
            m31i += w * dy * r2
            m33r += w * (dx * a - dy * b)
            m33i += w * (dx * b + dy * a)
            r4 += w * r2 * r2
            m44r += w * (a * a - b * b)
            m44i += w * 2.0 * a * b
    if noise > 0.0:
        row.snr = total / np.sqrt(noise)
    # Light that noise alone could make has no shape worth dividing by.
    if not total > 0.5 * np.sqrt(noise):
        return
    # A lower bound, as noise can make the second moment negative.
    size = max(rr / total, 0.05)
    row.size = size
    row.ellipticity = min(np.hypot(q2r, q2i) / total / size, 2.0)
    row.shift = np.hypot(zr, zi) / total
    row.m31 = np.hypot(m31r, m31i) / total
    row.m33 = np.hypot(m33r, m33i) / total
    row.m40 = min(max(r4 / total / size**2, 0.0), 20.0)
    row.m44 = np.hypot(m44r, m44i) / total
    second[0] = 0.5 * (rr + q2r) / total
    second[1] = 0.5 * (rr - q2r) / total
    second[2] = 0.5 * q2i / total


@njit()
def _gaussian_of(
    second: np.ndarray, window: float, inverse: np.ndarray, axis: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Inverse covariance [PSF sigma⁻²] of the smoothed light from windowed moments.

    The product of a Gaussian of covariance C and the window has C' with 1/C' = 1/C + 1/window²; smoothing
    adds 1 to C.  The widths are kept between a star's and 4 PSF sigma.
    """
    qxx, qyy, qxy = second[0], second[1], second[2]
    trace, spread = qxx + qyy, np.hypot(qxx - qyy, 2.0 * qxy)
    angle = 0.5 * np.arctan2(2.0 * qxy, qxx - qyy)
    axis[0], axis[1] = np.cos(angle), np.sin(angle)
    lengths = np.empty(2)
    for j in range(2):
        windowed = 0.5 * (trace + spread) if j == 0 else 0.5 * (trace - spread)
        # Undoes the window; noise can make this negative, which stands for very wide.
        precision = 1.0 / max(windowed, 0.05) - 1.0 / (window * window)
        unwindowed = 1.0 / precision if precision > 1.0 / 16.0 else 16.0
        lengths[j] = 1.0 / (max(unwindowed, 1.0) + 1.0)
    c, s = axis[0], axis[1]
    inverse[0] = c * c * lengths[0] + s * s * lengths[1]
    inverse[1] = s * s * lengths[0] + c * c * lengths[1]
    inverse[2] = c * s * (lengths[0] - lengths[1])


@njit()
def _star_at(profile: np.ndarray, r: float, steps: float) -> float:  # pragma: no cover - compiled
    """Profile of a smoothed star at a radius [PSF sigma]."""
    t = r * steps
    j = int(t)
    if j + 1 >= profile.size:
        return 0.0
    return profile[j] + (t - j) * (profile[j + 1] - profile[j])


@njit()
def _measure_residuals(
    band: np.ndarray,
    spans: np.ndarray,
    a: int,
    b: int,
    px: float,
    py: float,
    peak: float,
    sigma: float,
    inverse: np.ndarray,
    axis: np.ndarray,
    profile: np.ndarray,
    steps: float,
    scratch: np.ndarray,
    row: Record,
) -> None:  # pragma: no cover - compiled
    """Differences; ``scratch`` is an image to write into."""
    best = star_best = -np.inf
    lowest = np.inf
    best_x = best_y = star_x = star_y = 0.0
    light = excess = star_light = 0.0
    for k in range(a, b):
        y = spans[k, 1]
        dy = (y - py) / sigma
        for x in range(spans[k, 2], spans[k, 3] + 1):
            dx = (x - px) / sigma
            v = np.float64(band[y, x])
            light += max(v, 0.0)
            exponent = 0.5 * (inverse[0] * dx * dx + inverse[1] * dy * dy + 2.0 * inverse[2] * dx * dy)
            # e⁻²⁰ of the peak is far below the noise: exponentials are the cost of this loop.
            rest = v - peak * np.exp(-exponent) if exponent < 20.0 else v
            excess += max(rest, 0.0)
            lowest = min(lowest, rest)
            if rest > best:
                best, best_x, best_y = rest, dx, dy
            rest = v - peak * _star_at(profile, np.hypot(dx, dy), steps)
            scratch[y, x] = rest
            star_light += max(rest, 0.0)
            if rest > star_best:
                star_best, star_x, star_y = rest, dx, dy
    row.gauss_residual = best
    row.gauss_distance = np.hypot(best_x, best_y)
    row.gauss_share = excess / max(light, 1e-3)
    row.gauss_deficit = lowest
    # A companion on the major axis is what stretched the Gaussian; a residual across it is of something else.
    row.gauss_across = abs(best_y * axis[0] - best_x * axis[1])
    row.star_residual = star_best
    row.star_distance = np.hypot(star_x, star_y)
    row.star_share = star_light / max(light, 1e-3)
    for k in range(a, b):
        y = spans[k, 1]
        for x in range(spans[k, 2], spans[k, 3] + 1):
            v = scratch[y, x]
            if (
                v >= 3.0
                and v >= scratch[y, x + 1]
                and v > scratch[y, x - 1]
                and v > scratch[y - 1, x]
                and v >= scratch[y + 1, x]
                and v > scratch[y - 1, x - 1]
                and v > scratch[y - 1, x + 1]
                and v >= scratch[y + 1, x - 1]
                and v >= scratch[y + 1, x + 1]
            ):
                row.star_peaks += 1.0
    # Neighbours must find what they would have found alone.
    for k in range(a, b):
        for x in range(spans[k, 2], spans[k, 3] + 1):
            scratch[spans[k, 1], x] = -np.inf


@njit()
def _measure(
    pixels: np.ndarray,
    band: np.ndarray,
    labels: np.ndarray,
    spans: np.ndarray,
    first: np.ndarray,
    px: np.ndarray,
    py: np.ndarray,
    peak: np.ndarray,
    sigma: float,
    windows: np.ndarray,
    profile: np.ndarray,
    steps: float,
    scratch: np.ndarray,
    in_windows: np.ndarray,
    residuals: np.ndarray,
) -> None:  # pragma: no cover - compiled
    second, inverse, axis = np.zeros(3), np.zeros(3), np.zeros(2)
    for i in range(residuals.size):
        for j in range(windows.size - 1, -1, -1):
            second[0] = second[1] = 0.5
            second[2] = 0.0
            _measure_window(pixels, labels, i + 1, px[i], py[i], sigma, windows[j], in_windows[i, j], second)
        # The narrowest window came last.
        _gaussian_of(second, windows[0], inverse, axis)
        _measure_residuals(
            band, spans, first[i], first[i + 1], px[i], py[i], peak[i], sigma,
            inverse, axis, profile, steps, scratch, residuals[i],
        )  # fmt: skip


def _star_profile(psf: np.ndarray, sigma: float) -> np.ndarray:
    """Radial profile of the PSF smoothed by its Gaussian, 1 at the centre, in steps of sigma / 8."""
    # Smoothed once more, since the image that it is compared with is.
    kernel = gaussian_kernel(sigma, max(kernel_size(sigma), 3))
    smoothed = np.apply_along_axis(np.convolve, 0, psf, kernel)
    smoothed = np.apply_along_axis(np.convolve, 1, smoothed, kernel)
    cy, cx = smoothed.shape[0] // 2, smoothed.shape[1] // 2
    y, x = np.indices(smoothed.shape)
    radius = np.hypot(x - cx, y - cy).ravel() / sigma
    order = np.argsort(radius, kind="stable")
    # Pixels of one radius are averaged, and the profile is interpolated between radii.
    radii, index = np.unique(np.round(radius[order], 6), return_inverse=True)
    mean = np.bincount(index, smoothed.ravel()[order]) / np.bincount(index)
    grid = np.arange(int(_STAR_REACH * _STAR_STEPS) + 1) / _STAR_STEPS
    profile = np.interp(grid, radii, mean / mean[0], right=0.0)
    return np.ascontiguousarray(profile)


def measure_core(planes: Planes, main: MainPeaks, psf: np.ndarray) -> np.ndarray:
    """Measure the surroundings of main peaks, with the image of the PSF: records (n,) of `CORE_COLUMNS`."""
    in_windows = np.zeros((main.x.size, len(_WINDOWS)), record_type(_WINDOW))
    residuals = np.zeros(main.x.size, record_type(_RESIDUALS))
    _measure(
        planes.pixels,
        planes.bands["psf"],
        planes.labels,
        planes.spans,
        planes.first,
        main.fx,
        main.fy,
        main.value,
        planes.sigma,
        np.array(_WINDOWS),
        _star_profile(np.asarray(psf, dtype=np.float64), planes.sigma),
        float(_STAR_STEPS),
        np.full(planes.pixels.shape, -np.inf, dtype=np.float32),
        in_windows,
        residuals,
    )
    return name_columns(CORE_COLUMNS, join_records([in_windows, residuals]))

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""Light of footprints: fluxes, moments, concentration and asymmetry."""

from __future__ import annotations

__all__ = ("LIGHT_COLUMNS", "measure_light")

import numpy as np

from .._jit import njit
from .peaks import MainPeaks
from .planes import Planes

_APERTURES = (1.0, 2.0, 3.0, 4.5, 6.5)
"""Radii of apertures [PSF sigma]."""

LIGHT_COLUMNS: dict[str, str] = {
    "flux": "Sum of the pixels in units of their noise: the S/N of the flux is this over √(pixels).",
    "flux_snr": "S/N of the sum of the pixels.",
    "surface_brightness": "Mean S/N of the pixels.",
    "brightest_pixel": "S/N of the brightest pixel.",
    "peak_sharpness": "S/N of the main peak smoothed by half a PSF sigma over that smoothed by one.",
    "light_size": "Root of half the trace of the second moments of the smoothed light [PSF sigma].",
    "light_ellipticity": "(1 - q²) / (1 + q²), q the axis ratio of the second moments of the smoothed light.",
    "skewness_major": "Skewness of the smoothed light along its major axis, without sign.",
    "skewness_minor": "Skewness of the smoothed light along its minor axis, without sign.",
    "kurtosis_major": "Kurtosis of the smoothed light along its major axis (3 for a Gaussian).",
    "kurtosis_minor": "Kurtosis of the smoothed light along its minor axis (3 for a Gaussian).",
    "light_offset": "Distance of the centroid of the smoothed light from the main peak [PSF sigma].",
    "footprint_offset": "Distance of the centroid of the smoothed light from that of the pixels [PSF sigma].",
    "squared_size": "As light_size, of the square of the smoothed light.",
    **{
        f"share_{r:g}": f"Flux within {r:g} PSF sigma of the main peak over that of the footprint."
        for r in _APERTURES
    },
    "concentration": "Flux within 1 over that within 3 PSF sigma of the main peak.",
    "aperture_snr": "S/N of the flux within 3 PSF sigma of the main peak.",
    "asymmetry": (
        "Sum of the squared differences of the smoothed light from that turned by 180° about the main peak, "
        "less the noise's, over the sum of squares."
    ),
    "asymmetry_peak": "Highest S/N of the smoothed light less that turned by 180° about the main peak.",
    "asymmetry_distance": "Distance of that place from the main peak [PSF sigma].",
    "asymmetry_share": "Light that has no counterpart on the other side of the main peak over all light.",
}
"""Name and description of each column of `measure_light`."""


@njit()
def _axes(qxx: float, qyy: float, qxy: float) -> tuple[float, float]:  # pragma: no cover - compiled
    """Cosine and sine of the direction of the major axis of second moments."""
    angle = 0.5 * np.arctan2(2.0 * qxy, qxx - qyy)
    return np.cos(angle), np.sin(angle)


@njit()
def _measure_moments(
    band: np.ndarray, spans: np.ndarray, a: int, b: int, px: float, py: float, sigma: float, row: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Nine columns: moments of the light over zero."""
    total = sx = sy = 0.0
    gx = gy = 0.0
    area = 0
    s2 = s2x = s2y = s2r = 0.0
    sxx = syy = sxy = 0.0
    for k in range(a, b):
        dy = spans[k, 1] - py
        for x in range(spans[k, 2], spans[k, 3] + 1):
            w = max(np.float64(band[spans[k, 1], x]), 0.0)
            dx = x - px
            area += 1
            gx += dx
            gy += dy
            total += w
            sx += w * dx
            sy += w * dy
            sxx += w * dx * dx
            syy += w * dy * dy
            sxy += w * dx * dy
            s2 += w * w
            s2x += w * w * dx
            s2y += w * w * dy
            s2r += w * w * (dx * dx + dy * dy)
    if not total > 0.0:
        return
    mx, my = sx / total, sy / total
    qxx = max(sxx / total - mx * mx, 0.0)
    qyy = max(syy / total - my * my, 0.0)
    qxy = sxy / total - mx * my
    trace = qxx + qyy
    row[0] = np.sqrt(0.5 * trace) / sigma
    row[6] = np.hypot(mx, my) / sigma
    row[7] = np.hypot(mx - gx / area, my - gy / area) / sigma
    square = s2r / s2 - (s2x / s2) ** 2 - (s2y / s2) ** 2
    row[8] = np.sqrt(max(0.5 * square, 0.0)) / sigma
    if not trace > 1e-6:
        return
    row[1] = np.sqrt((qxx - qyy) ** 2 + 4.0 * qxy**2) / trace
    c, s = _axes(qxx, qyy, qxy)
    u2 = u3 = u4 = v2 = v3 = v4 = 0.0
    for k in range(a, b):
        dy = spans[k, 1] - py - my
        for x in range(spans[k, 2], spans[k, 3] + 1):
            w = max(np.float64(band[spans[k, 1], x]), 0.0)
            dx = x - px - mx
            u, v = c * dx + s * dy, c * dy - s * dx
            u2 += w * u * u
            u3 += w * u * u * u
            u4 += w * u * u * u * u
            v2 += w * v * v
            v3 += w * v * v * v
            v4 += w * v * v * v * v
    if u2 > 1e-6 * total:
        row[2] = abs(u3 / total) / (u2 / total) ** 1.5
        row[4] = u4 * total / u2**2
    if v2 > 1e-6 * total:
        row[3] = abs(v3 / total) / (v2 / total) ** 1.5
        row[5] = v4 * total / v2**2


@njit()
def _measure_asymmetry(
    band: np.ndarray,
    labels: np.ndarray,
    label: int,
    spans: np.ndarray,
    a: int,
    b: int,
    px: float,
    py: float,
    sigma: float,
    row: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Four columns: what a half turn about the peak changes; pixels beyond the footprint count as dark."""
    ny, nx = labels.shape
    # The centre is moved to the middle or edge of a pixel, so that pixels turn into pixels.
    tx, ty = int(np.rint(2.0 * px)), int(np.rint(2.0 * py))
    squares = light = excess = differences = 0.0
    pairs = 0
    best = best_x = best_y = 0.0
    for k in range(a, b):
        y = spans[k, 1]
        oy = ty - y
        for x in range(spans[k, 2], spans[k, 3] + 1):
            ox = tx - x
            v = np.float64(band[y, x])
            other = 0.0
            inside = 0 <= oy < ny and 0 <= ox < nx and labels[oy, ox] == label
            if inside:
                other = np.float64(band[oy, ox])
            difference = v - other
            differences += difference * difference
            pairs += 2 if inside else 1
            squares += v * v
            light += max(v, 0.0)
            excess += max(difference, 0.0)
            if difference > best:
                best, best_x, best_y = difference, x - 0.5 * tx, y - 0.5 * ty
    # The noise alone has as many squares as pixels, and its differences have twice as many.
    row[0] = (differences - pairs) / max(squares, 0.5 * pairs)
    row[1] = best * np.sqrt(0.5)
    row[2] = np.hypot(best_x, best_y) / sigma
    if light > 0.0:
        row[3] = excess / light


@njit()
def _measure(
    pixels: np.ndarray,
    band: np.ndarray,
    fine: np.ndarray,
    labels: np.ndarray,
    spans: np.ndarray,
    first: np.ndarray,
    px: np.ndarray,
    py: np.ndarray,
    peak_x: np.ndarray,
    peak_y: np.ndarray,
    sigma: float,
    radii: np.ndarray,
    n_columns: int,
) -> np.ndarray:  # pragma: no cover - compiled
    n, n_radii = first.size - 1, radii.size
    out = np.zeros((n, n_columns), np.float32)
    inside = np.zeros(n_radii)
    members = np.zeros(n_radii)
    limits = np.square(radii * sigma)
    for i in range(n):
        a, b = first[i], first[i + 1]
        flux, area, brightest = 0.0, 0, -np.inf
        inside[:] = 0.0
        members[:] = 0.0
        for k in range(a, b):
            y = spans[k, 1]
            for x in range(spans[k, 2], spans[k, 3] + 1):
                v = np.float64(pixels[y, x])
                flux += v
                area += 1
                brightest = max(brightest, v)
                r2 = (x - px[i]) ** 2 + (y - py[i]) ** 2
                for j in range(n_radii):
                    if r2 <= limits[j]:
                        inside[j] += v
                        members[j] += 1.0
        row = out[i]
        row[0] = flux
        row[1] = flux / np.sqrt(area)
        row[2] = flux / area
        row[3] = brightest
        peak = band[peak_y[i], peak_x[i]]
        row[4] = fine[peak_y[i], peak_x[i]] / peak if peak > 0.0 else 0.0
        _measure_moments(band, spans, a, b, px[i], py[i], sigma, row[5:14])
        # Noise may leave less in the footprint than in a part of it.
        scale = max(flux, np.sqrt(area))
        for j in range(n_radii):
            row[14 + j] = min(max(inside[j] / scale, -2.0), 5.0)
        c = 14 + n_radii
        row[c] = min(max(inside[0] / max(inside[2], np.sqrt(members[2]), 1e-3), -2.0), 5.0)
        row[c + 1] = inside[2] / np.sqrt(max(members[2], 1.0))
        _measure_asymmetry(band, labels, i + 1, spans, a, b, px[i], py[i], sigma, row[c + 2 : c + 6])
    return out


def measure_light(planes: Planes, main: MainPeaks) -> np.ndarray:
    """Measure fluxes, moments, concentration and asymmetry.

    Parameters
    ----------
    planes
        Images with n footprints.
    main
        The brightest place of each footprint.

    Returns
    -------
    columns : `numpy.ndarray`, shape (n, columns), float32
        `LIGHT_COLUMNS`.
    """
    return _measure(
        planes.pixels,
        planes.bands["psf"],
        planes.bands["fine"],
        planes.labels,
        planes.spans,
        planes.first,
        main.fx,
        main.fy,
        main.x,
        main.y,
        planes.sigma,
        np.array(_APERTURES),
        len(LIGHT_COLUMNS),
    )

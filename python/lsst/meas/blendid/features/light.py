# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""Light of footprints: fluxes, moments, concentration and asymmetry."""

from __future__ import annotations

__all__ = ("ISOPHOTE_COLUMNS", "LIGHT_COLUMNS", "measure_isophotes", "measure_light")

import numpy as np

from .._jit import njit
from .columns import Group, Record, as_table, flatten_columns, name_columns, record_type
from .peaks import MainPeaks
from .planes import Planes

_APERTURES = (1.0, 2.0, 3.0, 4.5, 6.5)
"""Radii of apertures [PSF sigma]."""

_FIELDS: Group = {
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
    "shares": {
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

LIGHT_COLUMNS: dict[str, str] = flatten_columns(_FIELDS)
"""Name and description of each column of `measure_light`."""

_FRACTIONS = (0.75, 0.5, 0.3, 0.15)
"""Levels, as fractions of the main peak; from the highest to the lowest."""

_LEAST_LEVEL = 2.0
"""S/N that no level is lower than."""


_ISOPHOTE: Group = {
    "area": "Area {where} [PSF sigma²].",
    "parts": "Number of connected parts of the area {where}.",
    "ellipticity": "As footprint_ellipticity, of the part with the peak {where}.",
    "spread": "As footprint_spread, of the part with the peak {where}.",
    "offset": "Distance of the centroid of that part from the peak, {where} [PSF sigma].",
}
"""What is measured at each level."""

ISOPHOTE_COLUMNS: dict[str, str] = {
    f"iso_{name}_{f:g}": described.format(
        where=f"where the smoothed light is over {f:g} of the main peak (and S/N {_LEAST_LEVEL:g})"
    )
    for f in _FRACTIONS
    for name, described in flatten_columns(_ISOPHOTE).items()
}
"""Name and description of each column of `measure_isophotes`."""


@njit()
def _axes(qxx: float, qyy: float, qxy: float) -> tuple[float, float]:  # pragma: no cover - compiled
    """Cosine and sine of the direction of the major axis of second moments."""
    angle = 0.5 * np.arctan2(2.0 * qxy, qxx - qyy)
    return np.cos(angle), np.sin(angle)


@njit()
def _measure_moments(
    band: np.ndarray, spans: np.ndarray, a: int, b: int, px: float, py: float, sigma: float, row: Record
) -> None:  # pragma: no cover - compiled
    """Moments of the light over zero."""
    total = sx = sy = 0.0
    gx = gy = 0.0
    area = 0
    s2 = s2x = s2y = s2r = 0.0
    sxx = syy = sxy = 0.0
    for k in range(a, b):
        dy = spans[k, 1] - py
        for x in range(spans[k, 2], spans[k, 3] + 1):
            # Negative pixels would let moments of faint footprints diverge; what noise adds is the same for
            # all.
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
    row.light_size = np.sqrt(0.5 * trace) / sigma
    row.light_offset = np.hypot(mx, my) / sigma
    row.footprint_offset = np.hypot(mx - gx / area, my - gy / area) / sigma
    # Weighted by the square of the light, moments are of the bright part: a second galaxy widens them less
    # than the halo of one.
    square = s2r / s2 - (s2x / s2) ** 2 - (s2y / s2) ** 2
    row.squared_size = np.sqrt(max(0.5 * square, 0.0)) / sigma
    if not trace > 1e-6:
        return
    row.light_ellipticity = np.sqrt((qxx - qyy) ** 2 + 4.0 * qxy**2) / trace
    # Skewness along the axis through two galaxies tells that one is fainter, kurtosis that they are apart.
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
        row.skewness_major = abs(u3 / total) / (u2 / total) ** 1.5
        row.kurtosis_major = u4 * total / u2**2
    if v2 > 1e-6 * total:
        row.skewness_minor = abs(v3 / total) / (v2 / total) ** 1.5
        row.kurtosis_minor = v4 * total / v2**2


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
    row: Record,
) -> None:  # pragma: no cover - compiled
    """What a half turn about the peak changes; pixels beyond the footprint count as dark."""
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
            # A pixel whose partner lies outside is met once, others from both sides.
            pairs += 2 if inside else 1
            squares += v * v
            light += max(v, 0.0)
            excess += max(difference, 0.0)
            if difference > best:
                best, best_x, best_y = difference, x - 0.5 * tx, y - 0.5 * ty
    # The noise alone has as many squares as pixels, and its differences have twice as many.
    row.asymmetry = (differences - pairs) / max(squares, 0.5 * pairs)
    row.asymmetry_peak = best * np.sqrt(0.5)
    row.asymmetry_distance = np.hypot(best_x, best_y) / sigma
    if light > 0.0:
        row.asymmetry_share = excess / light


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
    out: np.ndarray,
) -> None:  # pragma: no cover - compiled
    n_radii = radii.size
    inside = np.zeros(n_radii)
    members = np.zeros(n_radii)
    # Squared once here rather than a root for each pixel.
    limits = np.square(radii * sigma)
    for i in range(out.size):
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
        row.flux = flux
        row.flux_snr = flux / np.sqrt(area)
        row.surface_brightness = flux / area
        row.brightest_pixel = brightest
        peak = band[peak_y[i], peak_x[i]]
        row.peak_sharpness = fine[peak_y[i], peak_x[i]] / peak if peak > 0.0 else 0.0
        _measure_moments(band, spans, a, b, px[i], py[i], sigma, row)
        # Noise may leave less in the footprint than in a part of it.
        scale = max(flux, np.sqrt(area))
        for j in range(n_radii):
            row.shares[j] = min(max(inside[j] / scale, -2.0), 5.0)
        row.concentration = min(max(inside[0] / max(inside[2], np.sqrt(members[2]), 1e-3), -2.0), 5.0)
        row.aperture_snr = inside[2] / np.sqrt(max(members[2], 1.0))
        _measure_asymmetry(band, labels, i + 1, spans, a, b, px[i], py[i], sigma, row)


def measure_light(planes: Planes, main: MainPeaks) -> np.ndarray:
    """Measure fluxes, moments, concentration and asymmetry: records (n,) of `LIGHT_COLUMNS`."""
    out = np.zeros(main.x.size, record_type(_FIELDS))
    _measure(
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
        out,
    )
    return name_columns(LIGHT_COLUMNS, as_table(out))


@njit()
def _fill(
    band: np.ndarray,
    labels: np.ndarray,
    label: int,
    level: float,
    code: int,
    x: int,
    y: int,
    seen: np.ndarray,
    stack: np.ndarray,
    sums: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Mark the 8-connected part that a pixel is in; ``sums`` (6,) gets its moments about that pixel."""
    sums[:] = 0.0
    # A stack of its own: compiled code has no room for deep recursion.
    stack[0, 0], stack[0, 1] = y, x
    seen[y, x] = code
    depth = 1
    while depth:
        depth -= 1
        cy, cx = stack[depth, 0], stack[depth, 1]
        dx, dy = float(cx - x), float(cy - y)
        sums[0] += 1.0
        sums[1] += dx
        sums[2] += dy
        sums[3] += dx * dx
        sums[4] += dy * dy
        sums[5] += dx * dy
        for ny in range(cy - 1, cy + 2):
            for nx in range(cx - 1, cx + 2):
                if labels[ny, nx] == label and seen[ny, nx] < code and band[ny, nx] >= level:
                    seen[ny, nx] = code
                    stack[depth, 0], stack[depth, 1] = ny, nx
                    depth += 1


@njit()
def _measure_levels(
    band: np.ndarray,
    labels: np.ndarray,
    spans: np.ndarray,
    first: np.ndarray,
    area: np.ndarray,
    px: np.ndarray,
    py: np.ndarray,
    fx: np.ndarray,
    fy: np.ndarray,
    peak: np.ndarray,
    fractions: np.ndarray,
    least: float,
    sigma: float,
    seen: np.ndarray,
    out: np.ndarray,
) -> None:  # pragma: no cover - compiled
    n, n_levels = out.shape
    stack = np.empty((max(area.max(), 1), 2), np.int64)
    sums = np.empty(6)
    for i in range(n):
        for j in range(n_levels):
            # Isophotes under a least S/N are those of the noise.
            level = max(fractions[j] * peak[i], least)
            row = out[i, j]
            # What was seen at a higher level is looked at again.
            code = j + 1
            if not peak[i] >= level:
                continue
            _fill(band, labels, i + 1, level, code, px[i], py[i], seen, stack, sums)
            total, parts = sums[0], 1
            mx, my = sums[1] / sums[0], sums[2] / sums[0]
            # The second moments of a pixel's own square are 1/12.
            qxx = sums[3] / sums[0] - mx * mx + 1.0 / 12.0
            qyy = sums[4] / sums[0] - my * my + 1.0 / 12.0
            qxy = sums[5] / sums[0] - mx * my
            row.ellipticity = np.sqrt((qxx - qyy) ** 2 + 4.0 * qxy**2) / (qxx + qyy)
            # 1 for a disc; a neck between two galaxies raises it.
            row.spread = (qxx + qyy) * 2.0 * np.pi / sums[0]
            row.offset = np.hypot(mx + px[i] - fx[i], my + py[i] - fy[i]) / sigma
            for k in range(first[i], first[i + 1]):
                y = spans[k, 1]
                for x in range(spans[k, 2], spans[k, 3] + 1):
                    if seen[y, x] < code and band[y, x] >= level:
                        _fill(band, labels, i + 1, level, code, x, y, seen, stack, sums)
                        total += sums[0]
                        parts += 1
            row.area = total / sigma**2
            row.parts = parts


def measure_isophotes(planes: Planes, main: MainPeaks) -> np.ndarray:
    """Measure isophotes: records (n,) of `ISOPHOTE_COLUMNS`."""
    out = np.zeros((main.x.size, len(_FRACTIONS)), record_type(_ISOPHOTE))
    if main.x.size == 0:
        return name_columns(ISOPHOTE_COLUMNS, as_table(out))
    lengths = planes.spans[:, 3] - planes.spans[:, 2] + 1
    area = np.bincount(planes.spans[:, 0] - 1, lengths, minlength=main.x.size).astype(np.int64)
    _measure_levels(
        planes.bands["psf"],
        planes.labels,
        planes.spans,
        planes.first,
        area,
        main.x,
        main.y,
        main.fx,
        main.fy,
        main.value,
        np.array(_FRACTIONS),
        _LEAST_LEVEL,
        planes.sigma,
        np.zeros(planes.labels.shape, dtype=np.uint8),
        out,
    )
    return name_columns(ISOPHOTE_COLUMNS, as_table(out))

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Shapes of footprints and how they lie among others, whatever light is in them."""

from __future__ import annotations

__all__ = ("GEOMETRY_COLUMNS", "NEIGHBOR_COLUMNS", "measure_geometry", "measure_neighbors")

from typing import TYPE_CHECKING

import numpy as np

from .._jit import njit
from .columns import record_type
from .planes import Planes

if TYPE_CHECKING:
    from ..footprints import DetectionResult

GEOMETRY_COLUMNS: dict[str, str] = {
    "area": "Area after growth [PSF sigma²].",
    "area_detected": "Area over the threshold, before growth [PSF sigma²].",
    "detected_share": "Area over the threshold over the area after growth.",
    "bbox_long": "Longer side of the bounding box [PSF sigma].",
    "bbox_short": "Shorter side of the bounding box [PSF sigma].",
    "bbox_fill": "Area over that of the bounding box.",
    "footprint_ellipticity": "(1 - q²) / (1 + q²), q the axis ratio of the unweighted second moments.",
    "footprint_spread": "Trace of the unweighted second moments over that of a disc of the same area.",
    "compactness": "4π area over the square of the perimeter, counted along the edges of pixels.",
    "perimeter_excess": "Perimeter over that of the bounding box: 1 for a shape without bays.",
    "convexity": "Area over that of the convex hull of the pixels.",
}
"""Name and description of each column of `measure_geometry`."""

NEIGHBOR_COLUMNS: dict[str, str] = {
    "nearest_footprint": "Distance of the centroid from that of the nearest footprint [PSF sigma].",
    "nearest_gap": "Least such distance less the radii of discs of the two areas [PSF sigma].",
    "neighbors": "Number of other footprints with their centroid within 40 PSF sigma.",
    "neighbor_cover": "Area of those footprints over that of the circle.",
}
"""Name and description of each column of `measure_neighbors`."""

_FAR = 100.0
"""Distance [PSF sigma] where a footprint has no neighbour any more."""

_REACH = 40.0
"""Radius of the surroundings [PSF sigma]."""


@njit()
def _cross(ax: int, ay: int, bx: int, by: int, cx: int, cy: int) -> int:  # pragma: no cover - compiled
    return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)


@njit()
def _half_hull(
    px: np.ndarray, py: np.ndarray, n: int, sign: int, hx: np.ndarray, hy: np.ndarray
) -> int:  # pragma: no cover - compiled
    """One side of the convex hull of points sorted by y (Andrew 1979)."""
    m = 0
    for i in range(n):
        while m >= 2 and sign * _cross(hx[m - 2], hy[m - 2], hx[m - 1], hy[m - 1], px[i], py[i]) <= 0:
            m -= 1
        hx[m] = px[i]
        hy[m] = py[i]
        m += 1
    return m


@njit()
def _hull_area(spans: np.ndarray, a: int, b: int) -> float:  # pragma: no cover - compiled
    """Area of the convex hull of all pixels (their corners) of spans that are sorted by y."""
    n = 2 * (b - a)
    lx, ly = np.empty(n, np.int64), np.empty(n, np.int64)
    rx, ry = np.empty(n, np.int64), np.empty(n, np.int64)
    for i in range(a, b):
        k = 2 * (i - a)
        for j in range(2):
            lx[k + j], ly[k + j] = spans[i, 2], spans[i, 1] + j
            rx[k + j], ry[k + j] = spans[i, 3] + 1, spans[i, 1] + j
    # Corners come in order of y but for spans of one row, whose lower corners precede their upper ones.
    order = np.argsort(ly, kind="mergesort")
    lx, ly, rx, ry = lx[order], ly[order], rx[order], ry[order]
    hx, hy = np.empty(n, np.int64), np.empty(n, np.int64)
    area = 0.0
    for side in range(2):
        if side == 0:
            # Of points of one y only the outermost counts; sort within by keeping the extreme.
            m = _reduce_rows(lx, ly, n, -1)
            m = _half_hull(lx, ly, m, -1, hx, hy)
        else:
            m = _reduce_rows(rx, ry, n, 1)
            m = _half_hull(rx, ry, m, 1, hx, hy)
        strip = 0.0
        for i in range(m - 1):
            strip += 0.5 * (hx[i] + hx[i + 1]) * (hy[i + 1] - hy[i])
        area += strip if side else -strip
    return area


@njit()
def _reduce_rows(x: np.ndarray, y: np.ndarray, n: int, sign: int) -> int:  # pragma: no cover - compiled
    """Keep the point with the greatest ``sign * x`` of each y, in place."""
    m = 0
    for i in range(n):
        if m and y[m - 1] == y[i]:
            if sign * x[i] > sign * x[m - 1]:
                x[m - 1] = x[i]
        else:
            x[m], y[m] = x[i], y[i]
            m += 1
    return m


@njit()
def _measure(
    labels: np.ndarray,
    spans: np.ndarray,
    first: np.ndarray,
    detected: np.ndarray,
    sigma: float,
    out: np.ndarray,
) -> None:  # pragma: no cover - compiled
    for i in range(out.size):
        a, b = first[i], first[i + 1]
        x_low, x_high = spans[a, 2], spans[a, 3]
        y_low, y_high = spans[a, 1], spans[b - 1, 1]
        area = 0
        sx = sy = sxx = syy = sxy = 0.0
        perimeter = 0
        for k in range(a, b):
            y, x0, x1 = spans[k, 1], spans[k, 2], spans[k, 3]
            x_low, x_high = min(x_low, x0), max(x_high, x1)
            perimeter += 2
            for x in range(x0, x1 + 1):
                perimeter += (labels[y - 1, x] != i + 1) + (labels[y + 1, x] != i + 1)
                # From a pixel of the footprint, so that squares of coordinates lose no digits.
                dx, dy = float(x - spans[a, 2]), float(y - y_low)
                area += 1
                sx += dx
                sy += dy
                sxx += dx * dx
                syy += dy * dy
                sxy += dx * dy
        mx, my = sx / area, sy / area
        # The second moments of a pixel's own square are 1/12.
        qxx = sxx / area - mx * mx + 1.0 / 12.0
        qyy = syy / area - my * my + 1.0 / 12.0
        qxy = sxy / area - mx * my
        trace = qxx + qyy
        width, height = x_high - x_low + 1, y_high - y_low + 1
        row = out[i]
        row.area = area / sigma**2
        row.area_detected = detected[i] / sigma**2
        row.detected_share = detected[i] / area
        row.bbox_long = max(width, height) / sigma
        row.bbox_short = min(width, height) / sigma
        row.bbox_fill = area / (width * height)
        row.footprint_ellipticity = np.sqrt((qxx - qyy) ** 2 + 4.0 * qxy**2) / trace
        # 1 for a disc, whose second moments sum to area / 2π; more for anything less compact.
        row.footprint_spread = trace * 2.0 * np.pi / area
        # Polsby & Popper (1991); in pixels a disc has π²/16 instead of 1, since its steps count in full.
        row.compactness = 4.0 * np.pi * area / perimeter**2
        # 1 for every shape without a dent along x or y, however it is stretched.
        row.perimeter_excess = perimeter / (2.0 * (width + height))
        row.convexity = area / _hull_area(spans, a, b)


def measure_geometry(result: DetectionResult, planes: Planes) -> np.ndarray:
    """Measure the shapes of footprints: records (n,) of `GEOMETRY_COLUMNS`."""
    detected = result.footprints.area_detected.astype(np.float64)
    out = np.zeros(len(detected), record_type(GEOMETRY_COLUMNS))
    _measure(planes.labels, planes.spans, planes.first, detected, planes.sigma, out)
    return out


def measure_neighbors(result: DetectionResult) -> np.ndarray:
    """Measure how near and how dense other footprints are: records (n,) of `NEIGHBOR_COLUMNS`."""
    from scipy.spatial import cKDTree

    footprints, sigma = result.footprints, float(result.psf.sigma)
    n = len(footprints)
    out = np.zeros(n, record_type(NEIGHBOR_COLUMNS))
    out["nearest_footprint"] = out["nearest_gap"] = _FAR
    if n < 2:
        return out
    # In units of the PSF, as all lengths of features, so that models carry over to other seeing.
    position = (footprints.centroid - np.asarray(footprints.xy0)) / sigma
    area = footprints.area / sigma**2
    radius = np.sqrt(area / np.pi)
    tree = cKDTree(position)
    distance, _ = tree.query(position, k=2)
    out["nearest_footprint"] = np.minimum(distance[:, 1], _FAR)
    pairs = tree.query_pairs(_REACH, output_type="ndarray")
    one, other = pairs[:, 0], pairs[:, 1]
    gap = np.hypot(*(position[one] - position[other]).T) - radius[one] - radius[other]
    for rows in (one, other):
        np.minimum.at(out["nearest_gap"], rows, gap.astype(np.float32))
    out["neighbors"] = np.bincount(one, minlength=n) + np.bincount(other, minlength=n)
    covered = np.bincount(one, area[other], minlength=n) + np.bincount(other, area[one], minlength=n)
    out["neighbor_cover"] = covered / (np.pi * _REACH**2)
    return out

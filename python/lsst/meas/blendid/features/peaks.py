# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""Peaks of smoothed and band-pass images within footprints."""

from __future__ import annotations

__all__ = ("PEAK_COLUMNS", "MainPeaks", "measure_peaks")

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._jit import njit
from .columns import Group, flatten_columns, join_records, name_columns, record_type
from .planes import Planes

if TYPE_CHECKING:
    from ..footprints import DetectionResult

_THRESHOLDS: dict[str, tuple[float, ...]] = {
    "psf": (3.0, 5.0, 8.0, 12.0, 20.0),
    "fine": (3.0, 5.0, 8.0, 12.0),
    "dog_fine": (3.0, 4.0, 5.0, 8.0),
    "dog_mid": (2.0, 3.0, 5.0, 8.0),
    "dog_wide": (2.0, 3.0, 5.0, 8.0),
}
"""Least S/N of the peaks that are counted in each image."""

_PHRASES = {
    "psf": "the image smoothed like the PSF",
    "fine": "the image smoothed by half a PSF sigma",
    "dog_fine": "the difference of Gaussians of 0.5 and 1 PSF sigma",
    "dog_mid": "the difference of Gaussians of 0.75 and 1.5 PSF sigma",
    "dog_wide": "the difference of Gaussians of 1 and 2 PSF sigma",
}


_DETECTED: Group = {
    "n_peaks": "Number of peaks that the detection found.",
    "max_significance": "Significance of the most significant peak of the detection; 0 without one.",
    "second_significance": "Significance of the second-brightest peak; 0 with fewer than two.",
}


def _band_fields(band: str) -> Group:
    """What is measured in an image."""
    where = _PHRASES[band]
    of_one = {
        "first": f"S/N of the highest peak in {where}; 0 without one.",
        "second": f"S/N of the second-highest peak in {where}; 0 without one.",
        "third": f"S/N of the third-highest peak in {where}; 0 without one.",
        "ratio": f"Second-highest over highest peak in {where}; 0 without one.",
        "separation": f"Distance of the two highest peaks in {where} [PSF sigma]; 0 without two.",
        "saddle": f"Least value between the two highest peaks in {where} over the lower one; 1 without two.",
    }
    return {
        "counts": {
            f"n_{band}_{t:g}": f"Number of peaks of S/N {t:g} or more in {where}." for t in _THRESHOLDS[band]
        },
        **{field: {f"{field}_{band}": described} for field, described in of_one.items()},
    }


PEAK_COLUMNS: dict[str, str] = flatten_columns(_DETECTED)
for _band in _THRESHOLDS:
    PEAK_COLUMNS |= flatten_columns(_band_fields(_band))
"""Name and description of each column of `measure_peaks`."""


@dataclass(frozen=True)
class MainPeaks:
    """The brightest place of each footprint in the image smoothed like the PSF.

    Parameters
    ----------
    x, y
        Its pixel, indices of the padded images, int64 ``(n,)``.
    fx, fy
        The same refined below a pixel, float64 ``(n,)``.
    value
        S/N there, float64 ``(n,)``; that of the highest pixel in a footprint without a peak.
    """

    x: np.ndarray
    y: np.ndarray
    fx: np.ndarray
    fy: np.ndarray
    value: np.ndarray


@njit()
def _bilinear(plane: np.ndarray, x: float, y: float) -> float:  # pragma: no cover - compiled
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    fx, fy = x - x0, y - y0
    low = (1.0 - fx) * plane[y0, x0] + fx * plane[y0, x0 + 1]
    high = (1.0 - fx) * plane[y0 + 1, x0] + fx * plane[y0 + 1, x0 + 1]
    return (1.0 - fy) * low + fy * high


@njit()
def _line_minimum(
    plane: np.ndarray, x0: int, y0: int, x1: int, y1: int
) -> float:  # pragma: no cover - compiled
    """Least value on the line between two pixels, in steps of about half a pixel."""
    steps = int(np.ceil(2.0 * np.hypot(x1 - x0, y1 - y0)))
    low = min(plane[y0, x0], plane[y1, x1])
    for j in range(1, steps):
        f = j / steps
        low = min(low, _bilinear(plane, x0 + f * (x1 - x0), y0 + f * (y1 - y0)))
    return low


@njit()
def _measure_band(
    plane: np.ndarray,
    spans: np.ndarray,
    first: np.ndarray,
    thresholds: np.ndarray,
    sigma: float,
    top: np.ndarray,
    out: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Columns of one image; ``top`` (n, 3) gets pixel and value of each highest peak or pixel."""
    n_thresholds = thresholds.size
    value, px, py = np.zeros(3), np.zeros(3, np.int64), np.zeros(3, np.int64)
    for i in range(out.size):
        row = out[i]
        value[:] = -np.inf
        highest = -np.inf
        for k in range(first[i], first[i + 1]):
            y = spans[k, 1]
            for x in range(spans[k, 2], spans[k, 3] + 1):
                v = plane[y, x]
                if v > highest:
                    highest = v
                    top[i, 0], top[i, 1], top[i, 2] = x, y, v
                # Of equal neighbours the first in raster order is the peak.
                if not (
                    v > 0.0
                    and v >= plane[y, x + 1]
                    and v > plane[y, x - 1]
                    and v > plane[y - 1, x]
                    and v >= plane[y + 1, x]
                    and v > plane[y - 1, x - 1]
                    and v > plane[y - 1, x + 1]
                    and v >= plane[y + 1, x - 1]
                    and v >= plane[y + 1, x + 1]
                ):
                    continue
                for j in range(n_thresholds):
                    if v >= thresholds[j]:
                        row.counts[j] += 1.0
                j = 3
                # Insertion into a list of three: sorting all peaks would need memory that nobody knows the
                # size of.
                while j > 0 and v > value[j - 1]:
                    j -= 1
                if j < 3:
                    for m in range(2, j, -1):
                        value[m], px[m], py[m] = value[m - 1], px[m - 1], py[m - 1]
                    value[j], px[j], py[j] = v, x, y
        if value[0] > 0.0:
            top[i, 0], top[i, 1], top[i, 2] = px[0], py[0], value[0]
        row.first = max(value[0], 0.0)
        row.second = max(value[1], 0.0)
        row.third = max(value[2], 0.0)
        # Without a second peak there is no valley.
        row.saddle = 1.0
        if value[1] > 0.0:
            row.ratio = value[1] / value[0]
            row.separation = np.hypot(px[1] - px[0], py[1] - py[0]) / sigma
            # Along the straight line: the true saddle of two round profiles lies on it.
            row.saddle = _line_minimum(plane, px[0], py[0], px[1], py[1]) / value[1]


@njit()
def _refine(plane: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:  # pragma: no cover - compiled
    """Summits of the parabolas along x and y through pixels, (n, 2); half a pixel away at most."""
    out = np.empty((x.size, 2))
    for i in range(x.size):
        px, py = x[i], y[i]
        middle = plane[py, px]
        for axis in range(2):
            low = plane[py, px - 1] if axis == 0 else plane[py - 1, px]
            high = plane[py, px + 1] if axis == 0 else plane[py + 1, px]
            curvature = low - 2.0 * middle + high
            shift = 0.5 * (low - high) / curvature if curvature < 0.0 else 0.0
            out[i, axis] = (px if axis == 0 else py) + min(max(shift, -0.5), 0.5)
    return out


def measure_peaks(result: DetectionResult, planes: Planes) -> tuple[np.ndarray, MainPeaks]:
    """Find and compare peaks: records (n,) of `PEAK_COLUMNS`, and the brightest place of each footprint."""
    footprints = result.footprints
    n = len(footprints)
    start = footprints.peak_start
    detected = np.zeros(n, record_type(_DETECTED))
    detected["n_peaks"] = np.diff(start)
    significance = np.asarray(footprints.peaks["significance"], dtype=np.float32)
    detected["max_significance"] = np.nan_to_num(footprints.max_significance)
    several = np.diff(start) > 1
    detected["second_significance"][several] = significance[start[:-1][several] + 1]
    parts, main = [detected], np.zeros((n, 3))
    for band, thresholds in _THRESHOLDS.items():
        top, out = np.zeros((n, 3)), np.zeros(n, record_type(_band_fields(band)))
        _measure_band(
            planes.bands[band], planes.spans, planes.first, np.array(thresholds), planes.sigma, top, out
        )
        parts.append(out)
        if band == "psf":
            main = top
    x, y = main[:, 0].astype(np.int64), main[:, 1].astype(np.int64)
    refined = _refine(planes.bands["psf"], x, y)
    columns = name_columns(PEAK_COLUMNS, join_records(parts))
    return columns, MainPeaks(x, y, refined[:, 0], refined[:, 1], main[:, 2])

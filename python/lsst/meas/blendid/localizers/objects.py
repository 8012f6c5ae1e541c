# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Objects that may be in footprints, and the columns that tell how probable each is.

An object is a detected peak, with the candidate that means the same galaxy if there is one, or a candidate
without a detected peak.
"""

from __future__ import annotations

__all__ = (
    "OBJECT_COLUMNS",
    "Objects",
    "describe_objects",
    "list_objects",
    "match_in_footprints",
)

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._jit import njit
from ..centers import CONTEXT_NAMES, Candidates
from ..centers.candidates import split_candidates
from ..centers.inputs import measure_context
from ..footprints import DetectionResult
from ..samples import SceneContext

_KIND = ("is_detected", "has_candidate", "is_second")
_OWN = (
    "logit",
    "total",
    "match_distance",
    "spread",
    "log_significance",
    "significance_ratio",
    "rank",
    "significance_rank",
)
_OTHERS = (
    "n_objects",
    "n_likely",
    "sum_others",
    "sum_near",
    "nearest_distance",
    "nearest_logit",
    "nearest_log_significance",
    "nearest_detected_distance",
    "brighter_distance",
)
_FOOTPRINT = ("log_area", "log_area_detected", "n_peaks", "log_max_significance", "rim_distance")
OBJECT_COLUMNS = (*_KIND, *_OWN, *_OTHERS, *_FOOTPRINT, *CONTEXT_NAMES)
"""What `describe_objects` gives of each object: whether it was detected, has a candidate and is the second of
a pair of them; the logit of the map's probability and the number of centres of the candidate, distance of
peak and candidate [PSF sigma], log10 of the spread of the candidate [PSF sigma], log10 of the significance
and its ratio to the footprint's largest, ranks by probability and by significance; number of objects of the
footprint and of those over 0.5, the sum of the other probabilities and of those within 3 PSF sigma, distance
[PSF sigma], logit and significance of the nearest other object, distance of the nearest other detected one
and of the nearest more significant one; areas of the footprint [PSF sigma²], its peaks and their largest
significance, distance from the rim of its box [PSF sigma]; and numbers of the image
(`.centers.CONTEXT_NAMES`).  NaN where there is none."""
_NEAR = 3.0
"""Others closer than this are near [PSF sigma]."""
_FLOOR = 1e-3
"""Least probability of an object whose logit is taken, and least significance."""


@njit(nogil=True)
def _list_pairs(
    start: np.ndarray,
    other_start: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    other_x: np.ndarray,
    other_y: np.ndarray,
    limit: float,
    first: np.ndarray,
    second: np.ndarray,
    square: np.ndarray,
) -> int:
    """List the pairs that are close enough, as far as there is room; their number."""
    found = 0
    for row in range(start.size - 1):
        for i in range(start[row], start[row + 1]):
            for j in range(other_start[row], other_start[row + 1]):
                distance = (x[i] - other_x[j]) ** 2 + (y[i] - other_y[j]) ** 2
                if distance <= limit:
                    if found < first.size:
                        first[found], second[found], square[found] = i, j, distance
                    found += 1
    return found


@njit(nogil=True)
def _take(
    order: np.ndarray, first: np.ndarray, second: np.ndarray, partner: np.ndarray, taken: np.ndarray
) -> None:
    """Give partners, the closest pair first."""
    for k in order:
        i, j = first[k], second[k]
        if partner[i] < 0 and not taken[j]:
            partner[i] = j
            taken[j] = True


def match_in_footprints(
    start: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    other_start: np.ndarray,
    other_x: np.ndarray,
    other_y: np.ndarray,
    radius: float,
) -> np.ndarray:
    """Match two lists of places one to one, each within its footprint, the closest pair first.

    ``start`` (n + 1,) has the first place of each footprint, and their number m; x and y (m,) and the
    radius are in pixels.  Gives the index into the other list, int64 (m,), -1 for none.  No place of one
    list and place of the other that are both left alone are closer than the radius.
    """
    start, other_start = (np.ascontiguousarray(s, dtype=np.int64) for s in (start, other_start))
    x, y, other_x, other_y = (np.ascontiguousarray(v, dtype=np.float64) for v in (x, y, other_x, other_y))
    limit = float(radius) ** 2
    room = 0
    while True:
        first, second = np.empty(room, np.int64), np.empty(room, np.int64)
        square = np.empty(room)
        found = _list_pairs(start, other_start, x, y, other_x, other_y, limit, first, second, square)
        if found <= room:
            break
        room = found
    partner, taken = np.full(len(x), -1, np.int64), np.zeros(len(other_x), bool)
    # Of equal distances the first ones of the lists.
    order = np.lexsort((second[:found], first[:found], square[:found]))
    _take(order, first, second, partner, taken)
    return partner


@dataclass(frozen=True)
class Objects:
    """Objects of the n footprints of an image, sorted by footprint, detected peaks first.

    Parameters
    ----------
    row : `numpy.ndarray`, shape (m,), int64
        Footprint of each, from 0.
    start : `numpy.ndarray`, shape (n + 1,), int64
        First object of each footprint, and m.
    x, y : `numpy.ndarray`, shape (m,), float64
        Positions, parent pixels: of the detected peak where there is one.
    peak : `numpy.ndarray`, shape (m,), int64
        Detected peak that each is; -1 for none.
    has_candidate : `numpy.ndarray`, shape (m,), bool
        Whether it is a candidate, too.
    is_second : `numpy.ndarray`, shape (m,), bool
        Whether the candidate is the second of a pair (`.centers.candidates.split_candidates`).
    probability, total : `numpy.ndarray`, shape (m,), float64
        Probability and expected number of centres of the candidate; 0 for none.
    offset : `numpy.ndarray`, shape (m,), float64
        Distance of the detected peak from its candidate, pixels; NaN without either.
    spread : `numpy.ndarray`, shape (m, 3), float64
        Variances of x and y and their covariance as far as the candidate tells, about the position: that of
        its places, and the product of its offsets from a detected peak; NaN without candidate.
    candidate_x, candidate_y : `numpy.ndarray`, shape (m,), float64
        Position of the candidate, parent pixels; NaN without one.
    """

    row: np.ndarray
    start: np.ndarray
    x: np.ndarray
    y: np.ndarray
    peak: np.ndarray
    has_candidate: np.ndarray
    is_second: np.ndarray
    probability: np.ndarray
    total: np.ndarray
    offset: np.ndarray
    spread: np.ndarray
    candidate_x: np.ndarray
    candidate_y: np.ndarray

    def __len__(self) -> int:
        return len(self.row)


def list_objects(result: DetectionResult, candidates: Candidates | None, *, match_radius: float) -> Objects:
    """List detected peaks and candidates (in parent pixels; `None` for peaks alone), each object once.

    Peaks and candidates that are closer than ``match_radius`` [PSF sigma] mean the same galaxy: they are
    matched one to one in each footprint, the closest pair first.
    """
    footprints = result.footprints
    peaks = footprints.peaks
    k = len(peaks)
    row = peaks["footprint_id"].astype(np.int64) - 1
    columns = {
        "x": peaks["f_x"].astype(np.float64),
        "y": peaks["f_y"].astype(np.float64),
        "peak": np.arange(k),
        "has_candidate": np.zeros(k, dtype=bool),
        "is_second": np.zeros(k, dtype=bool),
        "probability": np.zeros(k),
        "total": np.zeros(k),
        "offset": np.full(k, np.nan),
        "spread": np.full((k, 3), np.nan),
        "candidate_x": np.full(k, np.nan),
        "candidate_y": np.full(k, np.nan),
    }
    if candidates is not None:
        candidates, second = split_candidates(candidates)
        found = {
            "x": candidates.x.astype(np.float64),
            "y": candidates.y.astype(np.float64),
            "peak": np.full(len(second), -1),
            "has_candidate": np.ones(len(second), dtype=bool),
            "is_second": second,
            "probability": candidates.probability.astype(np.float64),
            "total": candidates.total.astype(np.float64),
            "offset": np.full(len(second), np.nan),
            "spread": np.column_stack([candidates.xx, candidates.yy, candidates.xy]).astype(np.float64),
            "candidate_x": candidates.x.astype(np.float64),
            "candidate_y": candidates.y.astype(np.float64),
        }
        x, y = columns["x"], columns["y"]
        radius = match_radius * result.psf.sigma
        partner = match_in_footprints(
            footprints.peak_start, x, y, candidates.start, found["x"], found["y"], radius
        )
        has = np.flatnonzero(partner >= 0)
        which = partner[has]
        matched = (
            "has_candidate",
            "is_second",
            "probability",
            "total",
            "spread",
            "candidate_x",
            "candidate_y",
        )
        for name in matched:
            columns[name][has] = found[name][which]
        dx, dy = found["x"][which] - x[has], found["y"][which] - y[has]
        columns["offset"][has] = np.hypot(dx, dy)
        # What is as far from the truth as it is from the candidate errs by that, too.
        columns["spread"][has] += np.column_stack([dx * dx, dy * dy, dx * dy])
        alone = np.ones(len(second), dtype=bool)
        alone[which] = False
        row = np.concatenate([row, candidates.row[alone].astype(np.int64)])
        columns = {name: np.concatenate([columns[name], found[name][alone]]) for name in columns}
        order = np.argsort(row, kind="stable")
        row, columns = row[order], {name: values[order] for name, values in columns.items()}
    start = np.searchsorted(row, np.arange(len(footprints) + 1)).astype(np.int64)
    return Objects(row, start, **columns)


@njit(nogil=True)
def _describe_others(
    start: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    significance: np.ndarray,
    detected: np.ndarray,
    near: float,
    ranks: np.ndarray,
    sums: np.ndarray,
    nearest: np.ndarray,
    distances: np.ndarray,
) -> None:
    """Ranks by p and significance; sums of p; index of the nearest other; distances, squared."""
    for row in range(start.size - 1):
        first, last = start[row], start[row + 1]
        total = 0.0
        likely = 0
        for i in range(first, last):
            total += p[i]
            likely += p[i] > 0.5
        for i in range(first, last):
            sums[i, 0], sums[i, 1] = last - first, likely
            sums[i, 2] = total - p[i]
            for j in range(first, last):
                if j == i:
                    continue
                square = (x[i] - x[j]) ** 2 + (y[i] - y[j]) ** 2
                ranks[i, 0] += p[j] > p[i] or (p[j] == p[i] and j < i)
                brighter = significance[j] > significance[i] or (significance[j] == significance[i] and j < i)
                ranks[i, 1] += brighter
                if square < near:
                    sums[i, 3] += p[j]
                if square < distances[i, 0]:
                    distances[i, 0] = square
                    nearest[i] = j
                if detected[j] and square < distances[i, 1]:
                    distances[i, 1] = square
                if brighter and square < distances[i, 2]:
                    distances[i, 2] = square


def describe_objects(
    result: DetectionResult,
    context: SceneContext,
    objects: Objects,
    significance: np.ndarray,
    names: Sequence[str] = OBJECT_COLUMNS,
) -> np.ndarray:
    """Describe m objects by all that tells whether they are galaxies: columns ``names``, float32 (m, names).

    ``significance`` (m,) is the point-source S/N of the smoothed image at each object.
    """
    footprints, sigma = result.footprints, result.psf.sigma
    m = len(objects)
    has, detected, p = objects.has_candidate, objects.peak >= 0, objects.probability
    clipped = np.clip(p, _FLOOR, 1.0 - _FLOOR)
    logit = np.where(has, np.log(clipped) - np.log1p(-clipped), np.nan)
    s = np.where(np.isfinite(significance), significance, 0.0).astype(np.float64)
    ranks, sums = np.zeros((m, 2)), np.zeros((m, 4))
    nearest, distances = np.full(m, -1), np.full((m, 3), np.inf)
    _describe_others(
        objects.start,
        objects.x,
        objects.y,
        p,
        s,
        detected,
        (_NEAR * sigma) ** 2,
        ranks,
        sums,
        nearest,
        distances,
    )
    distance = np.where(np.isfinite(distances), np.sqrt(distances), np.nan) / sigma
    log_s = np.log10(np.maximum(s, _FLOOR))
    other = nearest >= 0
    top = np.fmax(np.asarray(footprints.max_significance, dtype=np.float64)[objects.row], 1.0)
    variance = sigma**2
    trace = objects.spread[:, 0] + objects.spread[:, 1]
    box = footprints.bbox[objects.row].astype(np.float64)
    rim = np.minimum(
        np.minimum(objects.x - box[:, 0], box[:, 2] - objects.x),
        np.minimum(objects.y - box[:, 1], box[:, 3] - objects.y),
    )
    columns = {
        "is_detected": detected,
        "has_candidate": has,
        "is_second": objects.is_second,
        "logit": logit,
        "total": np.where(has, objects.total, np.nan),
        "match_distance": objects.offset / sigma,
        "spread": 0.5 * np.log10(np.where(has, np.maximum(trace, 1e-6), np.nan)) - np.log10(sigma),
        "log_significance": log_s,
        "significance_ratio": s / top,
        "rank": ranks[:, 0],
        "significance_rank": ranks[:, 1],
        "n_objects": sums[:, 0],
        "n_likely": sums[:, 1],
        "sum_others": sums[:, 2],
        "sum_near": sums[:, 3],
        "nearest_distance": distance[:, 0],
        "nearest_logit": np.where(other, logit[nearest], np.nan),
        "nearest_log_significance": np.where(other, log_s[nearest], np.nan),
        "nearest_detected_distance": distance[:, 1],
        "brighter_distance": distance[:, 2],
        "log_area": np.log10(footprints.area[objects.row] / variance),
        "log_area_detected": np.log10(np.maximum(footprints.area_detected[objects.row], 1) / variance),
        "n_peaks": footprints.n_peaks[objects.row],
        "log_max_significance": np.log10(top),
        "rim_distance": rim / sigma,
        **dict(zip(CONTEXT_NAMES, measure_context(result, context), strict=True)),
    }
    table = np.empty((m, len(names)), np.float32)
    for k, name in enumerate(names):
        table[:, k] = columns[name]
    return table

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""From what a localiser and a classifier say of an image to its peaks and the number of objects."""

from __future__ import annotations

__all__ = (
    "locate_peaks",
    "merge_peaks",
)

import dataclasses

import numpy as np

from ..footprints import DetectionResult
from ..located_peaks import PEAK_FIELDS, LocatedPeaks, take_detected
from ..samples import FootprintSamples
from .base import BlendLocalizer, Positions
from .consistency import expected_counts, several_mean, tilt_probabilities
from .objects import match_in_footprints


def merge_peaks(
    result: DetectionResult,
    positions: Positions,
    *,
    match_radius: float,
    min_probability: float,
    max_inferred: int,
    usable: np.ndarray | None = None,
) -> LocatedPeaks:
    """Put detected peaks and positions of a localiser together: one object is one peak.

    Parameters
    ----------
    result
        An image with its n footprints.
    positions
        What a localiser says of them.
    match_radius
        Largest distance between a peak and a position that mean the same object, PSF sigma.
    min_probability
        Positions without a detected peak become inferred peaks from this probability on.
    max_inferred
        Most inferred peaks of a footprint.
    usable : `numpy.ndarray`, shape (n,), bool, optional
        Footprints that probabilities are given for; all by default.  The peaks of the others stay, with NaN.

    Returns
    -------
    located
        The peaks.

    Notes
    -----
    Peaks and positions are matched one to one within each footprint, the closest pair first.  A detected peak
    keeps its place and takes the probability and covariance of its partner; without a partner it has the
    probability 0: the localiser knows of nothing there.  A position outside the pixels of its footprint, as
    at a ragged rim, is left out.
    """
    footprints = result.footprints
    n = len(footprints)
    usable = np.ones(n, dtype=bool) if usable is None else usable
    if len(positions) and positions.row[-1] >= n:
        raise ValueError(f"there are positions for footprint {positions.row[-1]}, and {n} footprints")
    peaks = take_detected(result)
    start = np.searchsorted(positions.row, np.arange(n + 1))
    partner = match_in_footprints(
        footprints.peak_start,
        peaks["f_x"],
        peaks["f_y"],
        start,
        positions.x,
        positions.y,
        match_radius * result.psf.sigma,
    )
    has, known = partner >= 0, usable[peaks["footprint_id"] - 1]
    peaks["probability"][known] = 0.0
    for name in ("probability", "xx", "yy", "xy"):
        peaks[name][has & known] = getattr(positions, name)[partner[has & known]]
    for axis in "xy":
        place = getattr(positions, f"candidate_{axis}")
        place = getattr(positions, axis) if place is None else place
        peaks[f"candidate_{axis}"][has & known] = place[partner[has & known]]
    alone = np.ones(len(positions), dtype=bool)
    alone[partner[has]] = False
    alone &= usable[positions.row] & (positions.probability >= min_probability)
    chosen = np.flatnonzero(alone)
    column = np.rint(positions.x[chosen]).astype(np.int64) - result.xy0[0]
    line = np.rint(positions.y[chosen]).astype(np.int64) - result.xy0[1]
    ny, nx = footprints.shape
    inside = (column >= 0) & (column < nx) & (line >= 0) & (line < ny)
    inside[inside] = footprints.labels[line[inside], column[inside]] == positions.row[chosen[inside]] + 1
    chosen, column, line = chosen[inside], column[inside], line[inside]
    order = np.lexsort((-positions.probability[chosen], positions.row[chosen]))
    chosen, column, line = chosen[order], column[order], line[order]
    row = positions.row[chosen]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    too_many = np.zeros(n, dtype=bool)
    too_many[row[rank >= max_inferred]] = True
    kept = rank < max_inferred
    chosen, column, line = chosen[kept], column[kept], line[kept]
    inferred = np.zeros(len(chosen), PEAK_FIELDS)
    inferred["footprint_id"] = positions.row[chosen] + 1
    inferred["i_x"], inferred["i_y"] = column + result.xy0[0], line + result.xy0[1]
    inferred["f_x"], inferred["f_y"] = positions.x[chosen], positions.y[chosen]
    inferred["candidate_x"], inferred["candidate_y"] = inferred["f_x"], inferred["f_y"]
    for name in ("probability", "xx", "yy", "xy"):
        inferred[name] = getattr(positions, name)[chosen]
    inferred["is_inferred"] = True
    if len(chosen):
        inferred["peak_value"] = result.smoothed[line, column]
        inferred["significance"] = result.significance[line, column]
    return LocatedPeaks(np.concatenate([peaks, inferred]), too_many)


def locate_peaks(
    localizer: BlendLocalizer,
    samples: FootprintSamples,
    *,
    p_n: np.ndarray | None,
    usable: np.ndarray,
) -> tuple[LocatedPeaks, np.ndarray | None]:
    """Give the peaks of an image probabilities that agree with P(N).

    Parameters
    ----------
    localizer
        What tells where objects may be.
    samples
        The n footprints of one image.
    p_n : `numpy.ndarray`, shape (n, 5), or `None`
        P(N) of the primary classifier, if it gives that; without it probabilities stay as they are.
    usable : `numpy.ndarray`, shape (n,), bool
        Footprints that were classified.

    Returns
    -------
    located
        The peaks, with NaN for those of other footprints.
    n_expected : `numpy.ndarray`, shape (n,), or `None`
        Expected number of objects: P(N), with the mean of N >= 4 from the peaks and what they miss; the sum
        of the peaks' probabilities without P(N).

    Raises
    ------
    ValueError
        Raised if the localiser gives something that makes no sense.
    """
    (positions,) = localizer.locate(samples)
    located = merge_peaks(
        samples.results[0],
        positions,
        match_radius=localizer.settings.match_radius,
        min_probability=localizer.config.minProbability,
        max_inferred=localizer.config.maxInferredPeaks,
        usable=usable,
    )
    row = located.peaks["footprint_id"].astype(np.int64) - 1
    order = np.argsort(row, kind="stable")
    order = order[usable[row[order]]]
    start = np.searchsorted(row[order], np.arange(len(samples) + 1))
    probability = located.peaks["probability"][order]
    if p_n is None:
        total = np.bincount(row[order], probability, minlength=len(samples))
        return located, np.where(usable, total, np.nan)
    several = localizer.expect_several(samples, several_mean(probability, start))
    expected = expected_counts(p_n, several)
    peaks = located.peaks.copy()
    peaks["probability"][order] = tilt_probabilities(probability, start, expected)
    return dataclasses.replace(located, peaks=peaks), expected

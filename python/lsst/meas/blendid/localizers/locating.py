# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""From what a localiser and a classifier say of an image to its peaks and the number of objects."""

from __future__ import annotations

__all__ = ("locate_peaks",)

import dataclasses

import numpy as np

from ..located_peaks import LocatedPeaks
from ..samples import FootprintSamples
from .base import BlendLocalizer
from .consistency import expected_counts, several_mean, tilt_probabilities
from .merging import merge_peaks


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

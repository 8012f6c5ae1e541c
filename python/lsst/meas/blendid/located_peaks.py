# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Peaks with the probability that an object is there, detected ones and inferred ones."""

from __future__ import annotations

__all__ = ("PEAK_FIELDS", "LocatedPeaks", "take_detected")

from dataclasses import dataclass

import numpy as np

from .footprints import PEAK_DTYPE, DetectionResult

PEAK_FIELDS = np.dtype(
    [
        *PEAK_DTYPE.descr,
        ("probability", "f8"),
        ("is_inferred", "?"),
        ("xx", "f8"),
        ("yy", "f8"),
        ("xy", "f8"),
        ("candidate_x", "f8"),
        ("candidate_y", "f8"),
    ]
)
"""Columns of a located peak: those of a detected one, the probability that an object is there, whether it was
inferred, the covariance of its position, pix², and where the localiser would put the object by itself."""


@dataclass(frozen=True)
class LocatedPeaks:
    """Peaks of the n footprints of an image with their probabilities.

    Parameters
    ----------
    peaks
        Structured array of `PEAK_FIELDS`, parent pixels: all detected peaks as they were, sorted by
        footprint, then the inferred ones, sorted by footprint and falling probability.
    too_many : `numpy.ndarray`, shape (n,), bool
        Footprints from which inferred peaks were left out because there were too many.
    """

    peaks: np.ndarray
    too_many: np.ndarray

    @classmethod
    def without_localizer(cls, result: DetectionResult) -> LocatedPeaks:
        """Take the detected peaks alone.

        Parameters
        ----------
        result
            An image with its n footprints.

        Returns
        -------
        located
            Its peaks, without probabilities.
        """
        return cls(take_detected(result), np.zeros(len(result.footprints), dtype=bool))


def take_detected(result: DetectionResult) -> np.ndarray:
    """Take the detected peaks of an image.

    Parameters
    ----------
    result
        An image with its footprints.

    Returns
    -------
    peaks
        Structured array of `PEAK_FIELDS`, with NaN for what only a localiser knows.
    """
    detected = result.footprints.peaks
    peaks = np.zeros(len(detected), PEAK_FIELDS)
    for name in PEAK_DTYPE.names or ():
        peaks[name] = detected[name]
    for name in ("probability", "xx", "yy", "xy", "candidate_x", "candidate_y"):
        peaks[name] = np.nan
    return peaks

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What finds peaks in footprints, to be compared."""

from __future__ import annotations

__all__ = (
    "AGGRESSIVE_CONTRAST",
    "AGGRESSIVE_LEVELS",
    "find_candidates",
    "find_detected",
    "find_with_sep",
    "make_found",
)

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._sep import BLENDHUNTER_CONTRAST, BLENDHUNTER_LEVELS, BLENDHUNTER_THRESHOLD, extract
from ..footprints import DetectionResult
from ..labels import owners
from ..peak_matching import GalaxyList, PeakList
from ..samples import FootprintSamples
from .peak_comparison import FoundPeaks

if TYPE_CHECKING:
    from astropy.table import Table

    from ..classifiers import CentersClassifier

AGGRESSIVE_LEVELS = 64
"""Number of deblending levels of a run of SEP that splits wherever it can."""
AGGRESSIVE_CONTRAST = 1e-4
"""Least share of the flux for an object to be split in that run; BlendHunter's is fifty times as large."""

_SUB_OBJECTS = 1 << 16


def _join(samples: FootprintSamples, find: Callable[[DetectionResult], PeakList]) -> PeakList:
    """Find the peaks of one image after the other."""
    sizes = [len(result.footprints) for result in samples.results]
    return PeakList.join([find(result) for result in samples.results], sizes)


def find_detected(samples: FootprintSamples) -> PeakList:
    """Take the peaks that the footprints were found with.

    Parameters
    ----------
    samples
        The n footprints.

    Returns
    -------
    peaks
        Peaks over the threshold, without probabilities.
    """
    return _join(samples, lambda result: PeakList.from_footprints(result.footprints))


def find_candidates(classifier: CentersClassifier, samples: FootprintSamples) -> PeakList:
    """Take the candidates of a centre map as they are.

    Parameters
    ----------
    classifier
        Classifier with its model.
    samples
        The n footprints, with images.

    Returns
    -------
    peaks
        Candidates with their probabilities, which are not calibrated.
    """
    found = classifier.find_candidates(samples)
    sizes = [len(result.footprints) for result in samples.results]
    return PeakList.join([PeakList.from_candidates(candidates) for candidates in found], sizes)


def find_with_sep(
    samples: FootprintSamples,
    *,
    threshold: float = BLENDHUNTER_THRESHOLD,
    levels: int = BLENDHUNTER_LEVELS,
    contrast: float = BLENDHUNTER_CONTRAST,
) -> PeakList:
    """Take the objects that SExtractor finds in footprints, through SEP.

    Parameters
    ----------
    samples
        The n footprints, with images.
    threshold
        Detection threshold per pixel, in units of the noise of a pixel.
    levels, contrast
        Number of deblending levels and least share of the flux for an object to be split.

    Returns
    -------
    peaks
        Objects whose centroid lies in a footprint, the brightest of each first, without probabilities.

    Raises
    ------
    MissingSepError
        Raised if SEP is not installed.
    """

    def find(result: DetectionResult) -> PeakList:
        empty = np.zeros(0)
        if not len(result.footprints):
            return PeakList(empty.astype(np.int64), empty, empty, empty)
        objects = extract(
            result.image,
            threshold,
            noise=result.noise.sigma,
            levels=levels,
            contrast=contrast,
            sub_objects=_SUB_OBJECTS,
            pixels=max(result.image.size, 1),
        )
        x, y = (np.asarray(objects[name], dtype=np.float64) for name in ("x", "y"))
        x, y = x + result.xy0[0], y + result.xy0[1]
        owner = owners(result.footprints, x, y)
        order = np.lexsort((-np.asarray(objects["flux"]), owner))
        order = order[owner[order] > 0]
        return PeakList(owner[order] - 1, x[order], y[order], np.full(len(order), np.nan))

    return _join(samples, find)


def make_found(
    samples: FootprintSamples,
    truths: Sequence[Table],
    sky: np.ndarray,
    lists: Mapping[str, PeakList],
    *,
    expected: Mapping[str, np.ndarray] | None = None,
    snr_min: float = 5.0,
) -> FoundPeaks:
    """Put lists of peaks beside the true galaxies of their footprints.

    Parameters
    ----------
    samples
        The n footprints of several images; images are not looked at.
    truths
        True objects of each image: ``x``, ``y`` (parent pixels), ``snr``, and ``mag`` if known.
    sky : `numpy.ndarray`, shape (n,)
        Piece of sky of each footprint.
    lists
        Peaks in these footprints, by name.
    expected
        Number of galaxies that P(N) expects, of shape (n,), for those of the lists that come with it.
    snr_min
        Fainter objects do not count.

    Returns
    -------
    found
        All of it.
    """
    sizes = [len(result.footprints) for result in samples.results]
    galaxies = [
        GalaxyList.from_truth(result.footprints, truth, snr_min=snr_min)
        for result, truth in zip(samples.results, truths, strict=True)
    ]
    x, y = samples.centroid.T
    return FoundPeaks(
        dict(lists),
        GalaxyList.join(galaxies, sizes),
        np.asarray(samples.n_peaks),
        dict(expected or {}),
        x,
        y,
        np.asarray(sky),
    )

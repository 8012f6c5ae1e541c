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
    "CandidateFinder",
    "LocalizerFinder",
    "PeakFinder",
    "find_candidates",
    "find_detected",
    "make_found",
    "with_magnitudes",
)

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..classifiers import BlendClassifier, CentersClassifier, split_probabilities
from ..footprints import PEAK_DTYPE, DetectionResult
from ..footprints.measurements import peak_fluxes
from ..images.zero_points import to_magnitudes
from ..labels import N_CLASSES
from ..localizers import BlendLocalizer, locate_peaks
from ..peak_matching import GalaxyList, PeakList
from ..samples import FootprintSamples
from .peak_comparison import FoundPeaks

if TYPE_CHECKING:
    from astropy.table import Table


class PeakFinder(Protocol):
    """What gives peaks with probabilities, to be scored."""

    @property
    def name(self) -> str:
        """What its peaks are called."""

    def find(self, samples: FootprintSamples) -> tuple[PeakList, np.ndarray | None]:
        """Find peaks in n footprints with images, and the numbers of galaxies that P(N) expects, if any."""


@dataclass(frozen=True)
class CandidateFinder:
    """Candidates of a centre map as they are.

    Parameters
    ----------
    model
        Name of the model.
    classifier
        The classifier with this model.
    """

    model: str
    classifier: CentersClassifier

    @property
    def name(self) -> str:
        """What they are called."""
        return f"candidates of {self.model}"

    def find(self, samples: FootprintSamples) -> tuple[PeakList, np.ndarray | None]:
        """Find the candidates.

        Parameters
        ----------
        samples
            The n footprints, with images.

        Returns
        -------
        peaks
            Candidates with their probabilities, which are not calibrated.
        expected : `numpy.ndarray`, shape (n,), or `None`
            Number of galaxies that P(N) of the same model expects; its last class counts as 4.
        """
        p_n = split_probabilities(self.classifier.probabilities(samples))[1]
        expected = None if p_n is None else p_n @ np.arange(N_CLASSES)
        return find_candidates(self.classifier, samples), expected


@dataclass(frozen=True)
class LocalizerFinder:
    """Peaks of a localiser, which agree with the P(N) of a classifier, as in the tables of the task.

    Parameters
    ----------
    name
        What they are called.
    localizer
        The localiser with its model.
    classifier
        What gives P(N); the probabilities of peaks stay as they are if it is `None`, or gives none.
    """

    name: str
    localizer: BlendLocalizer
    classifier: BlendClassifier | None = None

    def find(self, samples: FootprintSamples) -> tuple[PeakList, np.ndarray | None]:
        """Find the peaks.

        Parameters
        ----------
        samples
            The n footprints, with images.

        Returns
        -------
        peaks
            Detected and inferred peaks.
        expected : `numpy.ndarray`, shape (n,), or `None`
            Number of galaxies that P(N) expects.
        """
        # One image at a time; what was computed of a single one is kept.
        images = [samples]
        if len(samples.results) > 1:
            pairs = zip(samples.results, samples.contexts, strict=True)
            images = [FootprintSamples([result], [context]) for result, context in pairs]
        lists, numbers = [], []
        for image in images:
            p_n = None
            if self.classifier is not None:
                p_n = split_probabilities(self.classifier.probabilities(image))[1]
            usable = np.ones(len(image), dtype=bool) if p_n is None else np.isfinite(p_n).all(axis=1)
            located, expected = locate_peaks(self.localizer, image, p_n=p_n, usable=usable)
            lists.append(_from_located(located.peaks))
            numbers.append(expected)
        sizes = [len(image) for image in images]
        known = [number for number in numbers if number is not None]
        return PeakList.join(lists, sizes), np.concatenate(known) if len(known) == len(images) else None


def _from_located(peaks: np.ndarray) -> PeakList:
    """Peaks that were located in an image, sorted by footprint, detected ones first."""
    order = np.argsort(peaks["footprint_id"], kind="stable")
    peaks = peaks[order]
    return PeakList(
        peaks["footprint_id"].astype(np.int64) - 1,
        peaks["f_x"],
        peaks["f_y"],
        peaks["probability"],
        peaks["is_inferred"],
        np.column_stack([peaks[name] for name in ("xx", "yy", "xy")]),
    )


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


def with_magnitudes(peaks: PeakList, samples: FootprintSamples) -> PeakList:
    """Give peaks the magnitude that a point source there would have.

    Parameters
    ----------
    peaks
        Peaks in these footprints.
    samples
        The n footprints, with images.

    Returns
    -------
    peaks
        The same with magnitudes, as in the table of peaks (`.fluxes.peak_fluxes`); NaN where the zero
        point of an image is not known, or a peak lies where nothing could be searched.
    """
    magnitude = np.full(len(peaks), np.nan)
    bounds = np.searchsorted(peaks.footprint, samples.offsets)
    for result, context, start, stop in zip(
        samples.results, samples.contexts, bounds[:-1], bounds[1:], strict=True
    ):
        if context.zero_point is None or start == stop:
            continue
        rows = np.zeros(stop - start, PEAK_DTYPE)
        rows["footprint_id"] = peaks.footprint[start:stop] - peaks.footprint[start] + 1
        for axis in "xy":
            place = getattr(peaks, axis)[start:stop]
            rows[f"f_{axis}"], rows[f"i_{axis}"] = place, np.rint(place)
        x, y = rows["i_x"] - result.xy0[0], rows["i_y"] - result.xy0[1]
        inside = (x >= 0) & (x < result.image.shape[1]) & (y >= 0) & (y < result.image.shape[0])
        for first, strip in result.smoothed_strips():
            here = inside & (y >= first) & (y < first + len(strip))
            rows["peak_value"][here] = strip[y[here] - first, x[here]]
        moved = result.with_footprints(dataclasses.replace(result.footprints, peaks=rows))
        magnitude[start:stop] = to_magnitudes(peak_fluxes(moved), context.zero_point)
    return dataclasses.replace(peaks, magnitude=magnitude)


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

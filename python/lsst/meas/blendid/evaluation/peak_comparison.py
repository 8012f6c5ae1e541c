# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Lists of peaks scored on the same footprints, in all and in bins."""

from __future__ import annotations

__all__ = (
    "DETECTED",
    "PEAKS_SHOWN",
    "FoundPeaks",
    "PeakBins",
    "PeakComparison",
    "PeakRow",
    "bin_peaks",
    "compare_peaks",
    "nearest_before",
    "nearest_other",
)

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._jit import njit
from ..peak_matching import LIKELY, MATCH_RADIUS, GalaxyList, PeakList
from .bootstrap import choose_units, resampled_weights
from .breakdown import bin_names
from .comparison import format_columns, format_value
from .peak_scores import PEAK_METRICS, FootprintFacts, PeakCurve, PeakScorer

_MAGNITUDES = (-np.inf, 21.0, 22.0, 23.0, 24.0, 25.0, 26.0, np.inf)
_SEPARATIONS = (0.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, np.inf)


@dataclass(frozen=True)
class PeakBins:
    """Scores in bins of one quantity; arrays of shape (bins,), NaN where there is nothing to score."""

    key: str
    label: str
    """What galaxies are sorted by."""
    peak_label: str
    """What peaks are sorted by."""
    names: tuple[str, ...]
    n_galaxies: np.ndarray
    completeness: dict[str, np.ndarray]
    """Share of the galaxies that have a peak over the threshold, by list."""
    n_peaks: dict[str, np.ndarray]
    """Number of peaks over the threshold."""
    purity: dict[str, np.ndarray]
    """Share of them that are galaxies."""
    mean_p: dict[str, np.ndarray]
    """Mean probability of all peaks, by list that has probabilities."""
    share: dict[str, np.ndarray]
    """Share of all peaks that are galaxies, which should be the same."""

    def to_dict(self) -> dict[str, Any]:
        """Describe them for JSON; what is not finite is `None`."""

        def plain(values: np.ndarray) -> list[float | None]:
            return [round(float(v), 5) if np.isfinite(v) else None for v in values]

        return {
            "label": self.label,
            "peak_label": self.peak_label,
            "names": list(self.names),
            "n_galaxies": self.n_galaxies.tolist(),
            "lists": {
                name: {
                    "completeness": plain(self.completeness[name]),
                    "n_peaks": self.n_peaks[name].tolist(),
                    "purity": plain(self.purity[name]),
                    "mean_p": plain(self.mean_p[name]) if name in self.mean_p else None,
                    "share": plain(self.share[name]) if name in self.share else None,
                }
                for name in self.completeness
            },
        }


@njit(nogil=True)
def _nearest(footprint: np.ndarray, x: np.ndarray, y: np.ndarray, rank: np.ndarray, out: np.ndarray) -> None:
    """Distance from the nearest one of the same footprint with a smaller rank."""
    size = footprint.size
    first = 0
    for i in range(size):
        if footprint[i] != footprint[first]:
            first = i
        j = first
        while j < size and footprint[j] == footprint[i]:
            if rank[j] < rank[i]:
                out[i] = min(out[i], np.hypot(x[i] - x[j], y[i] - y[j]))
            j += 1


def nearest_before(footprint: np.ndarray, x: np.ndarray, y: np.ndarray, priority: np.ndarray) -> np.ndarray:
    """Find how far the nearest one is that comes before, in the same footprint: float64 (m,), pixels.

    Footprints (m,) rise; what has the greater priority comes before, and of equals the earlier one.  Infinite
    for the first of a footprint.
    """
    rank = np.empty(len(footprint), dtype=np.int64)
    rank[np.lexsort((-np.asarray(priority, dtype=np.float64), footprint))] = np.arange(len(footprint))
    out = np.full(len(footprint), np.inf)
    _nearest(
        np.ascontiguousarray(footprint, dtype=np.int64),
        np.ascontiguousarray(x, dtype=np.float64),
        np.ascontiguousarray(y, dtype=np.float64),
        rank,
        out,
    )
    return out


def nearest_other(footprint: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance from the nearest one of the same footprint; infinite for what is alone."""
    order = np.arange(len(footprint), dtype=np.float64)
    return np.minimum(*(nearest_before(footprint, x, y, priority) for priority in (order, -order)))


def _index(values: np.ndarray, edges: tuple[float, ...], first: bool) -> np.ndarray:
    """Bin of each value, -1 for none; what is infinite is in a bin of its own, the last, if ``first``."""
    limits = np.asarray(edges)
    index = np.clip(np.searchsorted(limits, values, side="right") - 1, 0, len(limits) - 2)
    if first:
        index = np.where(np.isposinf(values), len(limits) - 1, index)
    return np.where(np.isnan(values), -1, index)


def _mean(values: np.ndarray, index: np.ndarray, n_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Number and mean of values in each bin."""
    use = index >= 0
    n = np.bincount(index[use], minlength=n_bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        return n, np.bincount(index[use], values[use].astype(np.float64), minlength=n_bins) / n


def bin_peaks(scorers: Mapping[str, PeakScorer], thresholds: Mapping[str, float]) -> list[PeakBins]:
    """Score lists of peaks on the same footprints in bins of magnitude, where it is known, and of distance.

    Of galaxies it is that from the nearest other one that counts, of peaks from the nearest more probable one
    of the footprint.  Thresholds are the least probability that completeness and purity are of, NaN for all.
    """
    galaxies = next(iter(scorers.values())).galaxies
    apart = nearest_other(galaxies.footprint, galaxies.x, galaxies.y)
    found: list[PeakBins] = []
    for key, label, peak_label, edges, extra, values in (
        (
            "magnitude",
            "magnitude of the galaxy",
            "magnitude of the peak",
            _MAGNITUDES,
            None,
            galaxies.magnitude,
        ),
        (
            "separation",
            "distance of the nearest other galaxy [pix]",
            "distance of the nearest more probable peak [pix]",
            _SEPARATIONS,
            "alone",
            apart,
        ),
    ):
        if not np.isfinite(values).any() and key == "magnitude":
            continue
        n_bins = len(edges) - 1 + (extra is not None)
        index = _index(values, edges, extra is not None)
        n_galaxies = np.bincount(index[index >= 0], minlength=n_bins)
        completeness, n_peaks, purity, mean_p, share = ({} for _ in range(5))  # type: ignore[var-annotated]
        for name, scorer in scorers.items():
            threshold = thresholds.get(name, np.nan)
            threshold = threshold if np.isfinite(threshold) else -1.0
            completeness[name] = _mean(scorer.found_at >= threshold, index, n_bins)[1]
            peaks = scorer.peaks
            if key == "magnitude":
                of_peaks = np.full(len(peaks), np.nan) if peaks.magnitude is None else peaks.magnitude
            else:
                of_peaks = nearest_before(peaks.footprint, peaks.x, peaks.y, scorer.p)
            peak_index = _index(of_peaks, edges, extra is not None)
            kept = np.where(scorer.p >= threshold, peak_index, -1)
            n_peaks[name], purity[name] = _mean(scorer.matches.is_true, kept, n_bins)
            if scorer.has_probabilities:
                told = np.where(scorer.p >= 0.0, peak_index, -1)
                mean_p[name] = _mean(scorer.p, told, n_bins)[1]
                share[name] = _mean(scorer.matches.is_true, told, n_bins)[1]
        names = (*bin_names(np.asarray(edges)), *([extra] if extra else []))
        found.append(
            PeakBins(key, label, peak_label, names, n_galaxies, completeness, n_peaks, purity, mean_p, share)
        )
    return found


DETECTED = "5σ peaks"
"""Name of the peaks that footprints were found with: others are stated at their purity."""

PEAKS_SHOWN = (
    "purity",
    "completeness",
    "fainter",
    "fainter_one_peak",
    "offset",
    "inferred_purity",
    "slope",
    "ece",
)
"""Scores that are printed."""


@dataclass(frozen=True)
class FoundPeaks:
    """Peaks of n footprints by several finders, and the galaxies that are there.

    Parameters
    ----------
    lists
        Peaks by name of what found them; those of `DETECTED` are the reference.
    galaxies
        Galaxies that count.
    n_detected : `numpy.ndarray`, shape (n,)
        Number of detected peaks of each footprint.
    expected
        Number of galaxies that P(N) expects, of shape (n,), for those of the ``lists`` that come with it.
    x, y : `numpy.ndarray`, shape (n,)
        Where each footprint is, pixels.
    sky : `numpy.ndarray`, shape (n,)
        Piece of sky of each; noise draws of one are the same.
    """

    lists: Mapping[str, PeakList]
    galaxies: GalaxyList
    n_detected: np.ndarray
    expected: Mapping[str, np.ndarray]
    x: np.ndarray
    y: np.ndarray
    sky: np.ndarray

    @classmethod
    def join(cls, parts: Sequence[FoundPeaks]) -> FoundPeaks:
        """Put scenes together.

        Parameters
        ----------
        parts
            What was found in each.

        Returns
        -------
        found
            All of it; finders that some scene lacks are left out.
        """
        sizes = [len(part.n_detected) for part in parts]

        def common(name: str) -> list[str]:
            first, *others = (getattr(part, name) for part in parts)
            return [key for key in first if all(key in other for other in others)]

        return cls(
            {key: PeakList.join([part.lists[key] for part in parts], sizes) for key in common("lists")},
            GalaxyList.join([part.galaxies for part in parts], sizes),
            np.concatenate([part.n_detected for part in parts]),
            {key: np.concatenate([part.expected[key] for part in parts]) for key in common("expected")},
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("x", "y", "sky")),
        )


@dataclass(frozen=True)
class PeakRow:
    """Scores of one list of peaks."""

    name: str
    n_peaks: int
    values: dict[str, float]
    """By the keys of `.peak_scores.PEAK_METRICS`."""
    errors: dict[str, float]
    """Standard deviations over resamples of blocks of sky; empty without bootstrap."""
    curve: PeakCurve | None
    """Purity and completeness against probability; `None` for a list without probabilities."""
    p: np.ndarray
    """Probabilities of the peaks that have one."""
    is_true: np.ndarray
    """Whether each of these is a galaxy."""
    draws: dict[str, np.ndarray]
    """Scores of the resamples, the same for all lists."""


@dataclass(frozen=True)
class PeakComparison:
    """Scores of lists of peaks on the same footprints."""

    rows: dict[str, PeakRow]
    purity: float
    """Purity of the detected peaks, at which the others are stated; NaN if these are not among the lists."""
    bins: tuple[PeakBins, ...]
    n_footprints: int
    n_galaxies: int
    radius: float
    """Radius of the matching, pixels."""
    likely: float
    """Probability over which a peak is taken for a galaxy."""
    n_blocks: int
    n_draws: int
    block_size: int | None

    def __getitem__(self, name: str) -> PeakRow:
        return self.rows[name]

    def difference(self, key: str, name: str, other: str) -> tuple[float, float]:
        """Compare a score of two lists.

        Parameters
        ----------
        key
            A key of `.peak_scores.PEAK_METRICS`.
        name, other
            The lists.

        Returns
        -------
        difference, error
            Score of the first less that of the other, and its standard deviation over resamples, in which
            both see the same sky; NaN without bootstrap.
        """
        one, two = self.rows[name], self.rows[other]
        error = math.nan
        if key in one.draws and key in two.draws:
            error = _spread(one.draws[key] - two.draws[key], self.n_blocks)
        return one.values[key] - two.values[key], error

    def to_dict(self) -> dict[str, Any]:
        """Make a description for JSON.

        Returns
        -------
        description
            Facts, scores with errors by list, and bins; what is not finite is `None`.
        """

        def plain(value: float) -> float | None:
            return round(value, 6) if math.isfinite(value) else None

        return {
            "purity": plain(self.purity),
            "n_footprints": self.n_footprints,
            "n_galaxies": self.n_galaxies,
            "radius": self.radius,
            "likely": self.likely,
            "n_blocks": self.n_blocks,
            "n_draws": self.n_draws,
            "block_size": self.block_size,
            "lists": {
                name: {
                    "n_peaks": row.n_peaks,
                    "scores": {key: plain(value) for key, value in row.values.items()},
                    "errors": {key: plain(value) for key, value in row.errors.items()},
                }
                for name, row in self.rows.items()
            },
            "bins": {one.key: one.to_dict() for one in self.bins},
        }

    def format(self, keys: Sequence[str] = PEAKS_SHOWN) -> str:
        """Make a table to print.

        Parameters
        ----------
        keys
            Scores to show.

        Returns
        -------
        text
            A line for each list.
        """
        metrics = [metric for metric in PEAK_METRICS if metric.key in keys]
        lines = [["peaks", *(metric.label for metric in metrics)]]
        for name, row in self.rows.items():
            cells = [name]
            for metric in metrics:
                text = format_value(row.values[metric.key], metric.digits)
                error = row.errors.get(metric.key, math.nan)
                cells.append(
                    f"{text} ± {format_value(error, metric.digits)}" if math.isfinite(error) else text
                )
            lines.append(cells)
        return format_columns(lines)


def compare_peaks(
    found: FoundPeaks,
    *,
    bootstrap: int = 200,
) -> PeakComparison:
    """Score lists of peaks on the same footprints.

    Parameters
    ----------
    found
        The lists and the truth.
    bootstrap
        Resamples of blocks of sky (`.bootstrap.choose_units`) that errors are from, the same for all
        lists; 0 for none.

    Returns
    -------
    comparison
        Scores of each list.  Those with probabilities are cut where they are as pure as the detected peaks,
        in each resample anew, if these are among the lists, and not at all otherwise.

    Raises
    ------
    ValueError
        Raised if there is no list or no galaxy.
    """
    if not found.lists:
        raise ValueError("no list of peaks was given to compare")
    if not len(found.galaxies):
        raise ValueError("no galaxy that counts lies in a footprint; there is nothing that peaks could find")
    units = choose_units(found.x, found.y, found.sky)
    n_draws = bootstrap if units.n > 1 else 0
    weights = resampled_weights(units.index, draws=n_draws) if n_draws else np.zeros((0, 0))
    scorers = {
        name: PeakScorer(peaks, found.galaxies, FootprintFacts(found.n_detected, found.expected.get(name)))
        for name, peaks in found.lists.items()
    }
    reference = scorers.get(DETECTED)

    def purity(w: np.ndarray | None) -> float | None:
        return None if reference is None else reference(w)["purity"]

    # Lists with probabilities can be cut anywhere; at the purity of the detected peaks they are compared like
    # with like.
    goal = purity(None)
    # In each resample at its own purity, or errors would have the scatter of the reference in them twice.
    goals = [purity(draw[units.index]) for draw in weights]
    rows = {}
    for name, scorer in scorers.items():
        scores = [
            scorer(draw[units.index], purity=at, errors_only=True)
            for draw, at in zip(weights, goals, strict=True)
        ]
        draws = {key: np.array([score[key] for score in scores]) for key in (scores[0] if scores else ())}
        errors = {key: _spread(values, units.n) for key, values in draws.items()}
        # -1 stands for a peak without a probability.
        p = scorer.p[scorer.p >= 0.0]
        rows[name] = PeakRow(
            name,
            len(scorer.peaks),
            scorer(purity=goal),
            {key: error for key, error in errors.items() if math.isfinite(error)},
            scorer.curve() if scorer.has_probabilities else None,
            p,
            scorer.matches.is_true[scorer.p >= 0.0],
            draws,
        )
    return PeakComparison(
        rows,
        math.nan if goal is None else goal,
        tuple(bin_peaks(scorers, {name: row.values["threshold"] for name, row in rows.items()})),
        len(found.n_detected),
        len(found.galaxies),
        MATCH_RADIUS,
        LIKELY,
        units.n,
        n_draws,
        units.size,
    )


def _spread(values: np.ndarray, n: int) -> float:
    """Error by resamples of n units, whose scatter is about their own mean; NaN where there are too few."""
    if np.isfinite(values).sum() < 2:
        return math.nan
    return float(np.nanstd(values)) * math.sqrt(n / (n - 1))

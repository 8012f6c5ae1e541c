# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Peaks in parts: by magnitude, and by how near the next galaxy or peak is."""

from __future__ import annotations

__all__ = ("PeakBins", "bin_peaks", "nearest_before", "nearest_other")

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._jit import njit
from .breakdown import bin_names
from .peak_scores import PeakScorer

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

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""How good peaks are: what they find, how much of them is true, whether their probabilities are."""

from __future__ import annotations

__all__ = (
    "ELLIPSE",
    "PEAK_METRICS",
    "FootprintFacts",
    "PeakCurve",
    "PeakScorer",
    "probability_curve",
)

from dataclasses import dataclass

import numpy as np

from ..metrics import calibration_line, expected_calibration_error
from ..peak_matching import LIKELY, MATCH_RADIUS, GalaxyList, PeakList, match_peaks
from .comparison import Metric

ELLIPSE = -2.0 * np.log(1.0 - 0.68)
"""Squared Mahalanobis distance that 68 % of positions are within, in two dimensions."""

PEAK_METRICS: tuple[Metric, ...] = (
    Metric("purity", "purity", 3, 1, "Share of the peaks that are galaxies, over the threshold."),
    Metric("completeness", "completeness", 3, 1, "Share of the galaxies that these peaks find."),
    Metric("fainter", "fainter of two", 3, 1, "The same of the fainter galaxy of blends of two."),
    Metric("fainter_one_peak", "fainter, one 5σ peak", 3, 1, "The same of blends with one detected peak."),
    Metric("offset", "median offset [pix]", 3, -1, "Median distance of these peaks from their galaxies."),
    Metric("threshold", "threshold", 3, 0, "Probability over which the purity is that of the reference."),
    Metric("likely_purity", f"purity, p > {LIKELY:g}", 3, 1, "Share of likely peaks that are galaxies."),
    Metric("likely_completeness", f"completeness, p > {LIKELY:g}", 3, 1, "Share of galaxies that they find."),
    Metric(
        "inferred_purity", "purity of inferred", 3, 1, "Share of likely inferred peaks that are galaxies."
    ),
    Metric("slope", "calibration slope", 3, 0, "Slope of the logit of the probabilities; 1 is calibrated."),
    Metric("intercept", "intercept", 3, 0, "Intercept of the logit; 0 is calibrated."),
    Metric("ece", "ECE", 4, -1, "Expected calibration error, noise floor subtracted."),
    Metric("ellipse", "in the 68 % ellipse", 3, 0, "Share of galaxies in that ellipse of their likely peak."),
    Metric(
        "sum_excess", "Σp against P(N)", 4, 0, "Sum of the probabilities, relative to that of P(N), less 1."
    ),
    Metric("sum_rms", "rms by footprint", 3, -1, "Root mean square of the difference of the two."),
    Metric("expected_excess", "P(N) against truth", 4, 0, "Sum of P(N), relative to the truth, less 1."),
    Metric("singles_split", "singles split", 4, -1, "Share of one-peak single galaxies that are split."),
    Metric("pairs_split", "pairs split", 3, 1, "Share of one-peak blends of two that are split rightly."),
)
"""Scores of peaks, in the order of their table."""


@dataclass(frozen=True)
class FootprintFacts:
    """What is known of n footprints beside their peaks.

    Parameters
    ----------
    n_detected : `numpy.ndarray`, shape (n,)
        Number of detected peaks.
    n_expected : `numpy.ndarray`, shape (n,), optional
        Number of galaxies that P(N) expects; NaN where there is none.
    """

    n_detected: np.ndarray
    n_expected: np.ndarray | None = None


@dataclass(frozen=True)
class PeakCurve:
    """Purity and completeness as functions of the least probability; arrays of one length.

    Thresholds fall; purity and completeness are of the peaks of at least that probability.
    """

    threshold: np.ndarray
    purity: np.ndarray
    completeness: np.ndarray


def probability_curve(
    p: np.ndarray,
    is_true: np.ndarray,
    found_at: np.ndarray,
    weights: np.ndarray | None = None,
    galaxy_weights: np.ndarray | None = None,
) -> PeakCurve:
    """Follow purity and completeness down in probability.

    Parameters
    ----------
    p : `numpy.ndarray`, shape (m,)
        Probabilities of the peaks, finite.
    is_true : `numpy.ndarray`, shape (m,), bool
        Whether each is a galaxy.
    found_at : `numpy.ndarray`, shape (k,)
        Probability from which on downwards each galaxy is found; -inf for never.
    weights : `numpy.ndarray`, shape (m,), optional
        Weights of the peaks.
    galaxy_weights : `numpy.ndarray`, shape (k,), optional
        Weights of the galaxies.

    Returns
    -------
    curve
        A point for each distinct probability of a peak that counts.
    """
    if weights is None:
        weights = np.ones(len(p))
    else:
        p, is_true, weights = (values[weights > 0.0] for values in (p, is_true, weights))
    galaxy_weights = np.ones(len(found_at)) if galaxy_weights is None else galaxy_weights
    # A threshold between equal probabilities does not exist: points are where they change.
    order = np.argsort(-p, kind="stable")
    falling = p[order]
    ends = np.flatnonzero(np.append(np.diff(falling) != 0.0, True)) if len(p) else np.zeros(0, dtype=int)
    everything = np.cumsum(weights[order])[ends]
    true = np.cumsum((weights * is_true)[order])[ends]
    found = np.sort(-found_at)
    # Galaxies by the threshold at which they are found, which a matching per threshold would give at a
    # hundred times the cost.
    sums = np.cumsum(np.append(0.0, galaxy_weights[np.argsort(-found_at, kind="stable")]))
    threshold = falling[ends]
    with np.errstate(invalid="ignore", divide="ignore"):
        completeness = sums[np.searchsorted(found, -threshold, side="right")] / sums[-1]
    return PeakCurve(threshold, true / everything, completeness)


def _share(mask: np.ndarray, weights: np.ndarray) -> float:
    """Weighted share; NaN of nothing."""
    total = float(weights.sum())
    return float(weights @ mask) / total if total > 0.0 else float("nan")


def _median(values: np.ndarray, weights: np.ndarray) -> float:
    """Value at which half of the weight is reached, between two values where it is reached exactly."""
    use = weights > 0.0
    values, weights = values[use], weights[use]
    if not len(values):
        return float("nan")
    order = np.argsort(values, kind="stable")
    reached, half = np.cumsum(weights[order]), 0.5 * float(weights.sum())
    # Halves of floating-point sums differ in the last bit: reached exactly is within 1e-12.
    low = int(np.searchsorted(reached, half * (1.0 - 1e-12)))
    high = int(np.searchsorted(reached, half * (1.0 + 1e-12), side="right"))
    return 0.5 * float(values[order[low]] + values[order[min(high, len(values) - 1)]])


class PeakScorer:
    """Scores of a list of peaks as a function of the weights of footprints.

    What does not depend on the weights is done once, so that a bootstrap is quick.

    Parameters
    ----------
    peaks
        Peaks of n footprints.
    galaxies
        Galaxies in them that count.
    facts
        What else is known of the n footprints.
    likely
        Probability over which a peak is taken for a galaxy.
    radius
        Radius of the matching, pixels.

    Attributes
    ----------
    matches
        Partners of the peaks (`.peak_matching.PeakMatches`).
    p : `numpy.ndarray`, shape (m,)
        Probabilities; -1 for a peak that has none.
    found_at : `numpy.ndarray`, shape (k,)
        Least probability over which each galaxy is found; -inf for never.
    """

    def __init__(
        self,
        peaks: PeakList,
        galaxies: GalaxyList,
        facts: FootprintFacts,
        *,
        likely: float = LIKELY,
        radius: float = MATCH_RADIUS,
    ) -> None:
        self.peaks, self.galaxies, self.facts, self.radius = peaks, galaxies, facts, radius
        n = len(facts.n_detected)
        if max(peaks.footprint.max(initial=-1), galaxies.footprint.max(initial=-1)) >= n:
            raise ValueError(f"there are peaks or galaxies of more than the {n} footprints")
        self.matches = match_peaks(peaks, galaxies, radius=radius)
        self.p = np.where(np.isfinite(peaks.probability), peaks.probability, -1.0)
        finder = self.matches.finder
        self.found_at = np.where(finder >= 0, np.append(self.p, 0.0)[finder], -np.inf)
        self.counts = np.bincount(galaxies.footprint, minlength=n)
        # Within a footprint the brightest is the first.
        rank = np.arange(len(galaxies)) - np.searchsorted(galaxies.footprint, galaxies.footprint)
        self._fainter = (self.counts[galaxies.footprint] == 2) & (rank == 1)
        self._fainter_one_peak = self._fainter & (np.asarray(facts.n_detected)[galaxies.footprint] == 1)
        self._likely = self.p > likely
        self._near = match_peaks(peaks, galaxies, radius=radius, keep=self._likely)
        self._within, self._known = self._ellipses()
        self._split, self._found_both = self._splits()

    def _ellipses(self) -> tuple[np.ndarray, np.ndarray]:
        """Whether the galaxy of a likely peak is in its 68 % ellipse, and where that can be told."""
        within, known = (np.zeros(len(self.peaks), dtype=bool) for _ in range(2))
        if self.peaks.covariance is None:
            return within, known
        xx, yy, xy = np.asarray(self.peaks.covariance, dtype=np.float64).T
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            determinant = xx * yy - xy**2
            known = self._near.is_true & (determinant > 0.0) & (xx > 0.0)
            dx = self.peaks.x - np.append(self.galaxies.x, np.nan)[self._near.galaxy]
            dy = self.peaks.y - np.append(self.galaxies.y, np.nan)[self._near.galaxy]
            # Mahalanobis' distance squared, which is that of chi-squared with two degrees of freedom.
            within = known & ((yy * dx**2 - 2.0 * xy * dx * dy + xx * dy**2) / determinant < ELLIPSE)
        return within, known

    def _splits(self) -> tuple[np.ndarray, np.ndarray]:
        """Footprints with more than one peak to deblend by, and those of them whose two galaxies have one."""
        n = len(self.counts)
        keep = self._likely if self.has_probabilities else np.ones(len(self.peaks), dtype=bool)
        if self.peaks.is_inferred is not None:
            # A pipeline has its own peaks as well, whatever their probability.
            keep = keep | ~self.peaks.is_inferred
        taken = np.bincount(self.peaks.footprint[keep], minlength=n)
        matches = match_peaks(self.peaks, self.galaxies, radius=self.radius, keep=keep)
        found = np.bincount(self.galaxies.footprint[matches.finder >= 0], minlength=n)
        return taken > 1, (taken > 1) & (found == self.counts)

    @property
    def has_probabilities(self) -> bool:
        """Whether any peak has a probability."""
        return self.peaks.has_probabilities

    def curve(self, weights: np.ndarray | None = None) -> PeakCurve:
        """Follow purity and completeness down in probability; a list without has one point.

        Parameters
        ----------
        weights : `numpy.ndarray`, shape (n,), optional
            Weights of the footprints.

        Returns
        -------
        curve
            The curve.
        """
        w = np.ones(len(self.counts)) if weights is None else weights
        return probability_curve(
            self.p,
            self.matches.is_true,
            self.found_at,
            w[self.peaks.footprint],
            w[self.galaxies.footprint],
        )

    def find_threshold(self, purity: float, weights: np.ndarray | None = None) -> float:
        """Find the least probability over which peaks are as pure as is asked for.

        Parameters
        ----------
        purity
            Share of the peaks that are to be galaxies.
        weights : `numpy.ndarray`, shape (n,), optional
            Weights of the footprints.

        Returns
        -------
        threshold
            That probability; NaN if there is none.
        """
        curve = self.curve(weights)
        # The last point, not the first: purity is no monotonic function of the threshold.
        good = np.flatnonzero(curve.purity >= purity)
        return float(curve.threshold[good[-1]]) if len(good) else float("nan")

    def __call__(
        self, weights: np.ndarray | None = None, *, purity: float | None = None, errors_only: bool = False
    ) -> dict[str, float]:
        """Score the peaks by the keys of `PEAK_METRICS`; NaN for what these peaks do not tell.

        ``weights`` (n,) are how often each footprint counts.  Completeness and offsets are stated at a
        purity; all peaks count without one, or if they have no probabilities.  ``errors_only`` leaves out
        what a resample has no use for: the expected calibration error.
        """
        w = np.ones(len(self.counts)) if weights is None else np.asarray(weights, dtype=np.float64)
        of_peaks, of_galaxies = w[self.peaks.footprint], w[self.galaxies.footprint]
        some = self.has_probabilities
        # Under any probability, so that peaks without one count.
        threshold = -1.0
        if some and purity is not None:
            threshold = self.find_threshold(purity, w)
        kept, found = self.p >= threshold, self.found_at >= threshold
        scores = dict.fromkeys((metric.key for metric in PEAK_METRICS), float("nan"))
        if np.isfinite(threshold):
            scores |= {
                "purity": _share(self.matches.is_true, of_peaks * kept),
                "completeness": _share(found, of_galaxies),
                "fainter": _share(found, of_galaxies * self._fainter),
                "fainter_one_peak": _share(found, of_galaxies * self._fainter_one_peak),
                "offset": self._offset(threshold, of_peaks),
                "threshold": threshold if some else float("nan"),
            }
        one_peak = w * (np.asarray(self.facts.n_detected) == 1)
        scores["singles_split"] = _share(self._split, one_peak * (self.counts == 1))
        scores["pairs_split"] = _share(self._found_both, one_peak * (self.counts == 2))
        if some:
            scores |= self._score_probabilities(w, of_peaks, of_galaxies, errors_only)
        return scores

    def _offset(self, threshold: float, of_peaks: np.ndarray) -> float:
        """Median distance of the peaks of at least a probability from their galaxies."""
        # Less probable peaks can make these hand galaxies over.
        matches = match_peaks(self.peaks, self.galaxies, radius=self.radius, keep=self.p >= threshold)
        return _median(matches.distance[matches.is_true], of_peaks[matches.is_true])

    def _score_probabilities(
        self, w: np.ndarray, of_peaks: np.ndarray, of_galaxies: np.ndarray, errors_only: bool
    ) -> dict[str, float]:
        """Scores that need probabilities."""
        likely, is_true = self._likely, self.matches.is_true
        known = self.p >= 0.0
        truth, weights = is_true[known], of_peaks[known]
        slope, intercept = calibration_line(self.p[known], truth, weights)
        scores = {
            "likely_purity": _share(is_true, of_peaks * likely),
            "likely_completeness": _share(self._near.finder >= 0, of_galaxies),
            "slope": slope,
            "intercept": intercept,
            "ellipse": _share(self._within, of_peaks * self._known),
        }
        if not errors_only:
            error, floor = expected_calibration_error(self.p[known], truth, weights)
            scores["ece"] = max(error - floor, 0.0)
        if self.peaks.is_inferred is not None:
            scores["inferred_purity"] = _share(is_true, of_peaks * (likely & self.peaks.is_inferred))
        if self.facts.n_expected is not None:
            scores |= self._compare_sums(w, known)
        return scores

    def _compare_sums(self, w: np.ndarray, known: np.ndarray) -> dict[str, float]:
        """Set the sums of the probabilities beside the numbers that P(N) expects."""
        expected = np.asarray(self.facts.n_expected, dtype=np.float64)
        use = np.isfinite(expected)
        total = np.bincount(self.peaks.footprint[known], self.p[known], minlength=len(expected))
        # By footprint, before squares are taken: the rms shows what cancels in the sum.
        difference = np.where(use, total - np.where(use, expected, 0.0), 0.0)
        weight, whole = w * use, float((w * use) @ np.where(use, expected, 0.0))
        if not whole > 0.0:
            return {}
        true = float(weight @ self.counts)
        return {
            "sum_excess": float(weight @ difference) / whole,
            "sum_rms": float(np.sqrt(weight @ difference**2 / weight.sum())),
            "expected_excess": whole / true - 1.0 if true > 0.0 else float("nan"),
        }

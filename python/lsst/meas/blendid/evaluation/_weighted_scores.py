# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Scores of resampled footprints, fast enough for a bootstrap of many models."""

from __future__ import annotations

__all__ = ("WeightedScores",)

import numpy as np

from ._inputs import EPS
from .metrics import calibration_line

_MAX_STEPS = 25


class _Ranking:
    """What does not change with the weights in the area under a ROC curve and in recalls.

    Parameters
    ----------
    p : `numpy.ndarray`, shape (n,)
        Scores.
    blended : `numpy.ndarray`, shape (n,), bool
        Truth.
    """

    def __init__(self, p: np.ndarray, blended: np.ndarray) -> None:
        values, group = np.unique(p, return_inverse=True)
        self._n_groups = len(values)
        self._group = group.ravel()
        self._blended = blended
        self._order = np.flatnonzero(~blended)[np.argsort(-p[~blended], kind="stable")]

    def auc(self, weights: np.ndarray) -> float:
        """Area under the curve, as of `.metrics.roc_auc`."""
        positive = np.bincount(self._group, weights * self._blended, minlength=self._n_groups)
        negative = np.bincount(self._group, weights * ~self._blended, minlength=self._n_groups)
        below = np.cumsum(negative) - negative
        pairs = positive.sum() * negative.sum()
        return float(positive @ (below + 0.5 * negative) / pairs) if pairs > 0.0 else float("nan")

    def recall(self, weights: np.ndarray, rate: float) -> float:
        """Recall at a false rate, as of `.metrics.recall_at_false_rate` with rows repeated."""
        singles = np.cumsum(weights[self._order])
        of_blends = weights * self._blended
        total = float(of_blends.sum())
        if not singles.size or singles[-1] <= 0.0 or total <= 0.0:
            return float("nan")
        first = int(np.searchsorted(singles, np.floor(rate * singles[-1] + 1e-9), side="right"))
        if first >= len(singles):
            return 1.0
        return float(of_blends[self._group > self._group[self._order[first]]].sum() / total)


class WeightedScores:
    """Scores of one set of probabilities as a function of weights.

    Gives what `.metrics.score` and `.metrics.score_one_peak` give, with all that
    does not depend on the weights done once.

    Parameters
    ----------
    p : `numpy.ndarray`, shape (n,)
        P(blended), finite.
    counts : `numpy.ndarray`, shape (n,)
        True number of galaxies.
    n_peaks : `numpy.ndarray`, shape (n,)
        Number of peaks.
    """

    def __init__(self, p: np.ndarray, counts: np.ndarray, n_peaks: np.ndarray) -> None:
        p, counts = np.asarray(p, dtype=np.float64), np.asarray(counts)
        clipped = np.clip(p, EPS, 1.0 - EPS)
        self._blended = counts > 1
        self._logit = np.log(clipped / (1.0 - clipped))
        self._log_loss = -np.log(np.clip(np.where(self._blended, p, 1.0 - p), EPS, None))
        self._occupied = np.flatnonzero(counts > 0)
        self._p = clipped[self._occupied]
        self._truth = self._blended[self._occupied]
        self._ranking = _Ranking(p[self._occupied], self._truth)
        self._one_peak = np.flatnonzero((counts > 0) & (np.asarray(n_peaks) == 1))
        self._one_ranking = _Ranking(p[self._one_peak], self._blended[self._one_peak])
        slope, intercept = calibration_line(p, self._blended)
        self._line = np.array([intercept, slope])

    def __call__(self, weights: np.ndarray) -> dict[str, float]:
        """Score.

        Parameters
        ----------
        weights : `numpy.ndarray`, shape (n,)
            Number of times that each footprint counts, from 0.

        Returns
        -------
        scores
            By the names of `.comparison.METRICS`; NaN where one kind is missing.  The
            expected calibration error is not among them: a resample adds noise to it.
        """
        w = weights[self._occupied]
        w_blended, w_single = w * self._truth, w * ~self._truth
        n_blended, n_single = float(w_blended.sum()), float(w_single.sum())
        slope, intercept = self._calibration(weights)
        ones = weights[self._one_peak]
        scores = {
            "natural_cross_entropy": float(weights @ self._log_loss / max(weights.sum(), EPS)),
            "calibration_slope": slope,
            "calibration_intercept": intercept,
            "auc": self._ranking.auc(w),
            "one_peak_auc": self._one_ranking.auc(ones),
            "one_peak_recall_1": self._one_ranking.recall(ones, 0.01),
            "one_peak_recall_5": self._one_ranking.recall(ones, 0.05),
        }
        balanced = ("balanced_accuracy", "accuracy_blended", "accuracy_unblended", "cross_entropy")
        if n_blended <= 0.0 or n_single <= 0.0:
            return scores | dict.fromkeys(balanced, float("nan"))
        odds = n_single / n_blended * self._p / (1.0 - self._p)
        right = (odds > 1.0) == self._truth
        loss = np.log1p(np.where(self._truth, 1.0 / odds, odds))
        found, kept = float(w_blended @ right) / n_blended, float(w_single @ right) / n_single
        cross_entropy = 0.5 * (float(w_blended @ loss) / n_blended + float(w_single @ loss) / n_single)
        return scores | dict(zip(balanced, (0.5 * (found + kept), found, kept, cross_entropy), strict=True))

    def _calibration(self, weights: np.ndarray) -> tuple[float, float]:
        """Slope and intercept by Newton's method from those of equal weights."""
        nothing = (float("nan"), float("nan"))
        line, total = self._line.copy(), float(weights.sum())
        if not np.all(np.isfinite(line)) or total <= 0.0:
            return nothing
        x, w = self._logit, weights / total
        for _ in range(_MAX_STEPS):
            fitted = 0.5 * (1.0 + np.tanh(0.5 * (line[0] + line[1] * x)))
            excess, curvature = w * (self._blended - fitted), w * fitted * (1.0 - fitted)
            a, b, c = curvature.sum(), curvature @ x, (curvature * x) @ x
            determinant = a * c - b * b
            if not determinant > 1e-14:
                return nothing
            g0, g1 = excess.sum(), excess @ x
            step = np.array([c * g0 - b * g1, a * g1 - b * g0]) / determinant
            line += step
            if np.abs(step).max() < 1e-7:
                return float(line[1]), float(line[0])
        return nothing

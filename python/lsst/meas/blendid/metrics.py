# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Scores of probabilities that footprints are blended.

Class-balanced scores are over the footprints with at least one galaxy, and
first move the probabilities from the natural share of blends to an even one.
Scores of calibration are over all footprints as they come, empty ones
included.
"""

from __future__ import annotations

__all__ = (
    "EPS",
    "BlendScorer",
    "OnePeakScores",
    "Scores",
    "calibration_line",
    "expected_calibration_error",
    "recall_at_false_rate",
    "roc_auc",
    "score",
    "score_one_peak",
)

from dataclasses import dataclass

import numpy as np

EPS = 1e-7
"""Probabilities are kept this far from 0 and 1, so that logarithms are finite."""

_NO_LINE = (float("nan"), float("nan"))


@dataclass(frozen=True)
class Scores:
    """Scores of one set of probabilities.

    Balanced accuracy, accuracies, ``cross_entropy`` and ``auc`` are over
    footprints with N >= 1 (``n`` of them, ``prior`` of which are blended); all
    but ``auc`` with probabilities moved to an even prior.  The others are over
    all footprints with the probabilities as given.  ``ece`` has its noise floor
    ``ece_floor`` subtracted.
    """

    n: int
    prior: float
    balanced_accuracy: float
    accuracy_blended: float
    accuracy_unblended: float
    cross_entropy: float
    auc: float
    natural_cross_entropy: float
    calibration_slope: float
    calibration_intercept: float
    ece: float
    ece_floor: float
    n_missing: int


@dataclass(frozen=True)
class OnePeakScores:
    """Scores of the footprints with exactly one peak: the unrecognised blends."""

    n: int
    blended_share: float
    auc: float
    recall_at_1_percent: float
    recall_at_5_percent: float


def _check(p: np.ndarray, blended: np.ndarray, weights: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    """Give what is to be scored as float64, bool and float64 (n,), or say what is wrong with it."""
    p, blended = np.asarray(p, dtype=np.float64), np.asarray(blended, dtype=bool)
    weights = np.ones(p.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if p.ndim != 1 or p.shape != blended.shape or p.shape != weights.shape:
        raise ValueError(
            f"lengths differ: {p.shape} probabilities, {blended.shape} truths, {weights.shape} weights"
        )
    # NaN would rank as the surest blend.
    if not np.all(np.isfinite(p)):
        raise ValueError(
            f"{np.count_nonzero(~np.isfinite(p))} of {p.size} probabilities are NaN or infinite; "
            "leave out what was not classified"
        )
    if not np.all(np.isfinite(weights)) or np.any(weights < 0.0):
        raise ValueError("weights must be finite numbers from 0")
    return p, blended, weights


def _logit(p: np.ndarray) -> np.ndarray:
    # Not infinite where a model is certain: one wrong certainty would decide every mean.
    clipped = np.clip(p, EPS, 1.0 - EPS)
    return np.log(clipped / (1.0 - clipped))


class _Ranking:
    """Scores (n,) and truths in the order that ROC curves need, whatever the footprints weigh."""

    def __init__(self, p: np.ndarray, blended: np.ndarray) -> None:
        # Equal scores are one point of the curve, whatever their order.
        values, group = np.unique(p, return_inverse=True)
        self._n_groups = len(values)
        self._group = group.ravel()
        self._blended = blended
        self._order = np.flatnonzero(~blended)[np.argsort(-p[~blended], kind="stable")]

    # scikit-learn's roc_auc_score sorts anew for each resample, which takes ten times as long as all else.
    def auc(self, weights: np.ndarray) -> float:
        """Area under the curve, ties counting half; NaN if there is one kind only."""
        # Mann & Whitney (1947): the share of pairs in the right order, counted from sums over groups of ties.
        positive = np.bincount(self._group, weights * self._blended, minlength=self._n_groups)
        negative = np.bincount(self._group, weights * ~self._blended, minlength=self._n_groups)
        below = np.cumsum(negative) - negative
        pairs = positive.sum() * negative.sum()
        return float(positive @ (below + 0.5 * negative) / pairs) if pairs > 0.0 else float("nan")

    def recall(self, weights: np.ndarray, rate: float) -> float:
        """Recall at a false rate, a footprint counting ``weights`` times; NaN if there is one kind only."""
        # False alarms by falling score; the threshold is the last that the rate allows.
        singles = np.cumsum(weights[self._order])
        of_blends = weights * self._blended
        total = float(of_blends.sum())
        if not singles.size or singles[-1] <= 0.0 or total <= 0.0:
            return float("nan")
        # Rounding must not turn 1 % of 300 footprints into two.
        first = int(np.searchsorted(singles, np.floor(rate * singles[-1] + 1e-9), side="right"))
        if first >= len(singles):
            return 1.0
        return float(of_blends[self._group > self._group[self._order[first]]].sum() / total)


def roc_auc(p: np.ndarray, blended: np.ndarray) -> float:
    """Area under the ROC curve; ties count half.

    Parameters
    ----------
    p : `numpy.ndarray`, shape (n,)
        Scores: higher is more blended.
    blended : `numpy.ndarray`, shape (n,), bool
        Truth.

    Returns
    -------
    auc
        Chance that a blended footprint has the higher score; NaN if there is
        one kind only.
    """
    p, blended, ones = _check(p, blended)
    return _Ranking(p, blended).auc(ones)


def recall_at_false_rate(p: np.ndarray, blended: np.ndarray, rate: float) -> float:
    """Share of blends that are found where a share of the others is called blended too.

    Parameters
    ----------
    p : `numpy.ndarray`, shape (n,)
        Scores: higher is more blended.
    blended : `numpy.ndarray`, shape (n,), bool
        Truth.
    rate
        Largest share of unblended footprints that may be called blended.

    Returns
    -------
    recall
        The share found with the lowest threshold that keeps to ``rate``; NaN if
        there is one kind only.
    """
    p, blended, ones = _check(p, blended)
    return _Ranking(p, blended).recall(ones, rate)


def calibration_line(
    p: np.ndarray, blended: np.ndarray, weights: np.ndarray | None = None
) -> tuple[float, float]:
    """Fit logit P(truth) = intercept + slope x logit p by maximum likelihood.

    Parameters
    ----------
    p : `numpy.ndarray`, shape (n,)
        P(blended).
    blended : `numpy.ndarray`, shape (n,), bool
        Truth.
    weights : `numpy.ndarray`, shape (n,), optional
        Weights.

    Returns
    -------
    slope, intercept
        1 and 0 for calibrated probabilities; a slope below 1 means that they
        are too sure.  NaN where the likelihood has no maximum: only one kind,
        one probability for all, or kinds that a threshold separates.

    Notes
    -----
    Cox (1958), Biometrika 45, 562; solved by Newton's method, with the step
    halved until the likelihood rises.  Probabilities are clipped to
    [1e-7, 1 - 1e-7] first: one that is exactly 0 or 1 has the logit -16.1 or
    16.1.
    """
    p, blended, weights = _check(p, blended, weights)
    return _fit_line(_logit(p), blended, weights)


def _fit_line(
    logit: np.ndarray, blended: np.ndarray, weights: np.ndarray, start: tuple[float, float] = _NO_LINE
) -> tuple[float, float]:
    """Fit slope and intercept of the truth against logits (n,), from a line that is near or from none."""
    used = weights > 0.0
    logit, blended, weights = logit[used], blended[used], weights[used]
    one, other = logit[blended], logit[~blended]
    # Kinds that a threshold separates can be told apart by ever steeper lines.
    if not one.size or not other.size or not (one.min() < other.max() and other.min() < one.max()):
        return _NO_LINE
    # So that the tolerances below are those of a mean, whatever the number of footprints.
    weights = weights / weights.sum()
    share = float(weights @ blended)
    # A resample is near all footprints: from their line two or three steps do.
    slope, intercept = start if np.isfinite(start[0]) else (0.0, float(np.log(share / (1.0 - share))))
    sign = np.where(blended, 1.0, -1.0)

    def log_likelihood(slope: float, intercept: float) -> float:
        return -float(weights @ np.logaddexp(0.0, -sign * (intercept + slope * logit)))

    value = log_likelihood(slope, intercept)
    for _ in range(100):
        # tanh, because the logistic function overflows far from its middle.
        fitted = 0.5 * (1.0 + np.tanh(0.5 * (intercept + slope * logit)))
        excess, curvature = weights * (blended - fitted), weights * fitted * (1.0 - fitted)
        a, b, c = float(curvature.sum()), float(curvature @ logit), float((curvature * logit) @ logit)
        determinant = a * c - b * b
        # The squared trace over the determinant is the condition number.
        if not determinant > 1e-14 * (a + c) ** 2:
            return _NO_LINE
        g0, g1 = float(excess.sum()), float(excess @ logit)
        up, along = (c * g0 - b * g1) / determinant, (a * g1 - b * g0) / determinant
        # Newton's step overshoots where probabilities are near 0 or 1 and the likelihood is flat.
        while (new := log_likelihood(slope + along, intercept + up)) < value and max(
            abs(up), abs(along)
        ) > 1e-12:
            up, along = 0.5 * up, 0.5 * along
        slope, intercept, value = slope + along, intercept + up, max(new, value)
        if max(abs(up), abs(along)) < 1e-9:
            return slope, intercept
    return _NO_LINE


def expected_calibration_error(
    p: np.ndarray, blended: np.ndarray, weights: np.ndarray | None = None, *, bins: int = 15
) -> tuple[float, float]:
    r"""Mean gap between what is said and what is, in equal-width bins.

    Parameters
    ----------
    p : `numpy.ndarray`, shape (n,)
        P(blended).
    blended : `numpy.ndarray`, shape (n,), bool
        Truth.
    weights : `numpy.ndarray`, shape (n,), optional
        Weights.
    bins
        Number of bins of probability.

    Returns
    -------
    error, floor
        The measured error, and what perfect probabilities would have with as
        many footprints.

    Notes
    -----
    In a bin with n footprints the sum of the truths of a perfect model has the
    variance :math:`V = \sum p(1-p)`, and the mean of the absolute gap is
    :math:`\sqrt{2V/\pi}/n`.
    """
    p, blended, weights = _check(p, blended, weights)
    total = float(weights.sum())
    if total <= 0.0:
        return float("nan"), float("nan")
    index = np.clip((p * bins).astype(np.int64), 0, bins - 1)
    gap = np.bincount(index, weights * (blended - p), minlength=bins)
    # Of a sum of Bernoulli truths; weights that repeat footprints do not make it more certain.
    variance = np.bincount(index, np.square(weights) * p * (1.0 - p), minlength=bins)
    return float(np.abs(gap).sum() / total), float(np.sqrt(2.0 * variance / np.pi).sum() / total)


class BlendScorer:
    """Scores of one set of probabilities as a function of what footprints weigh.

    What does not depend on the weights is done once, so that a bootstrap is quick.

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
        counts, n_peaks = np.asarray(counts), np.asarray(n_peaks)
        p, self._blended, ones = _check(p, counts > 1)
        self._logit = _logit(p)
        self._log_loss = -np.log(np.clip(np.where(self._blended, p, 1.0 - p), EPS, None))
        self._line = _fit_line(self._logit, self._blended, ones)
        self._occupied = np.flatnonzero(counts > 0)
        self._p = np.clip(p, EPS, 1.0 - EPS)[self._occupied]
        self._truth = self._blended[self._occupied]
        self._ranking = _Ranking(p[self._occupied], self._truth)
        self._one_peak = np.flatnonzero((counts > 0) & (n_peaks == 1))
        self._one_ranking = _Ranking(p[self._one_peak], self._blended[self._one_peak])

    def __call__(self, weights: np.ndarray) -> dict[str, float]:
        """Score, with the number of times (n,) that each footprint counts; NaN where one kind is missing.

        By the names of `.evaluation.comparison.METRICS`, but for the expected calibration error, to which a
        resample adds noise.
        """
        w = weights[self._occupied]
        w_blended, w_single = w * self._truth, w * ~self._truth
        n_blended, n_single = float(w_blended.sum()), float(w_single.sum())
        slope, intercept = _NO_LINE
        if np.isfinite(self._line[0]):
            slope, intercept = _fit_line(self._logit, self._blended, weights, self._line)
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
        # Odds at an even prior.
        # Dividing by the odds of the prior moves probabilities to an even one (Bayes' rule for a changed
        # prior).
        odds = n_single / n_blended * self._p / (1.0 - self._p)
        right = (odds > 1.0) == self._truth
        # -log of the probability of the truth, written in odds so that nothing is lost near 0 and 1.
        loss = np.log1p(np.where(self._truth, 1.0 / odds, odds))
        found, kept = float(w_blended @ right) / n_blended, float(w_single @ right) / n_single
        cross_entropy = 0.5 * (float(w_blended @ loss) / n_blended + float(w_single @ loss) / n_single)
        return scores | dict(zip(balanced, (0.5 * (found + kept), found, kept, cross_entropy), strict=True))


def score(p: np.ndarray, counts: np.ndarray) -> Scores:
    """Score probabilities against the true numbers of galaxies.

    Parameters
    ----------
    p : `numpy.ndarray`, shape (n,)
        P(blended) under the natural prior; rows with NaN are left out and
        counted in ``n_missing``.
    counts : `numpy.ndarray`, shape (n,)
        True number of galaxies in each footprint.

    Returns
    -------
    scores
        The scores.

    Raises
    ------
    ValueError
        Raised if lengths differ or there is no blended or no unblended
        footprint.
    """
    p, counts = np.asarray(p, dtype=np.float64), np.asarray(counts)
    if p.shape != counts.shape:
        raise ValueError(f"lengths differ: {p.shape} probabilities, {counts.shape} counts")
    known = np.isfinite(p)
    p, counts = p[known], counts[known]
    blended, occupied = counts > 1, counts > 0
    prior = float(np.mean(blended[occupied])) if occupied.any() else float("nan")
    if not 0.0 < prior < 1.0:
        raise ValueError(f"the share of blended footprints is {prior}; both kinds are needed")
    values = BlendScorer(p, counts, np.zeros(p.shape))(np.ones(p.shape))
    ece, floor = expected_calibration_error(p, blended)
    return Scores(
        n=int(np.count_nonzero(occupied)),
        prior=prior,
        ece=max(ece - floor, 0.0),
        ece_floor=floor,
        n_missing=int(np.count_nonzero(~known)),
        **{key: value for key, value in values.items() if not key.startswith("one_peak")},
    )


def score_one_peak(p: np.ndarray, counts: np.ndarray, n_peaks: np.ndarray) -> OnePeakScores:
    """Score the footprints with one galaxy or more and exactly one peak.

    Parameters
    ----------
    p : `numpy.ndarray`, shape (n,)
        P(blended); rows with NaN are left out.
    counts, n_peaks : `numpy.ndarray`, shape (n,)
        True number of galaxies and number of peaks in each footprint.

    Returns
    -------
    scores
        The scores; NaN where there are none to score.
    """
    p, counts = np.asarray(p, dtype=np.float64), np.asarray(counts)
    use = np.isfinite(p) & (counts > 0) & (np.asarray(n_peaks) == 1)
    p, blended = p[use], counts[use] > 1
    ranking, ones = _Ranking(p, blended), np.ones(p.shape)
    return OnePeakScores(
        n=int(p.size),
        blended_share=float(blended.mean()) if p.size else float("nan"),
        auc=ranking.auc(ones),
        recall_at_1_percent=ranking.recall(ones, 0.01),
        recall_at_5_percent=ranking.recall(ones, 0.05),
    )

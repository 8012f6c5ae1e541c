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
included.  Every score takes weights, so that `.bootstrap` can use the same code.
"""

from __future__ import annotations

__all__ = (
    "BinnedAccuracy",
    "OnePeakScores",
    "Scores",
    "accuracy_by_bins",
    "calibration_line",
    "expected_calibration_error",
    "recall_at_false_rate",
    "roc_auc",
    "score",
    "score_one_peak",
    "to_even_prior",
)

from dataclasses import dataclass

import numpy as np

from ._calibration import calibration_line, expected_calibration_error
from ._inputs import EPS, check, classified


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


@dataclass(frozen=True)
class BinnedAccuracy:
    """Accuracy in bins of some quantity; arrays of one length."""

    low: np.ndarray
    high: np.ndarray
    n: np.ndarray
    accuracy: np.ndarray


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    """Weighted mean; NaN of nothing."""
    total = float(weights.sum())
    return float(values @ weights) / total if total > 0.0 else float("nan")


def to_even_prior(p: np.ndarray, prior: float) -> np.ndarray:
    r"""Move probabilities from a share of blends to an even one.

    Parameters
    ----------
    p : `numpy.ndarray`, shape (n,)
        P(blended) where a share ``prior`` is blended.
    prior
        That share.

    Returns
    -------
    q : `numpy.ndarray`, shape (n,)
        :math:`(p/\pi) / (p/\pi + (1-p)/(1-\pi))`: P(blended) where half are.

    Raises
    ------
    ValueError
        Raised if the share is not between 0 and 1.
    """
    if not 0.0 < prior < 1.0:
        raise ValueError(f"the share of blended footprints is {prior}; both kinds are needed")
    odds_blended, odds_single = p / prior, (1.0 - p) / (1.0 - prior)
    return odds_blended / (odds_blended + odds_single)


def roc_auc(p: np.ndarray, blended: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Area under the ROC curve; ties count half.

    Parameters
    ----------
    p : `numpy.ndarray`, shape (n,)
        Scores: higher is more blended.
    blended : `numpy.ndarray`, shape (n,), bool
        Truth.
    weights : `numpy.ndarray`, shape (n,), optional
        Weights.

    Returns
    -------
    auc
        Chance that a blended footprint has the higher score; NaN if there is
        one kind only.
    """
    p, blended, weights = check(p, blended, weights)
    _, group = np.unique(p, return_inverse=True)
    positive = np.bincount(group, weights * blended)
    negative = np.bincount(group, weights * ~blended)
    below = np.cumsum(negative) - negative
    pairs = positive.sum() * negative.sum()
    return float(positive @ (below + 0.5 * negative) / pairs) if pairs > 0.0 else float("nan")


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
    p, blended, _ = check(p, blended, None)
    single = np.sort(p[~blended])[::-1]
    if single.size == 0 or single.size == p.size:
        return float("nan")
    allowed = int(np.floor(rate * single.size + 1e-9))
    threshold = single[allowed] if allowed < single.size else -np.inf
    return float(np.mean(p[blended] > threshold))


def score(p: np.ndarray, counts: np.ndarray, weights: np.ndarray | None = None) -> Scores:
    """Score probabilities against the true numbers of galaxies.

    Parameters
    ----------
    p : `numpy.ndarray`, shape (n,)
        P(blended) under the natural prior; rows with NaN are left out and
        counted in ``n_missing``.
    counts : `numpy.ndarray`, shape (n,)
        True number of galaxies in each footprint.
    weights : `numpy.ndarray`, shape (n,), optional
        Weights.

    Returns
    -------
    scores
        The scores.  Those that compare the kinds are NaN if the weights of one
        kind are all 0, as may be in a resample.

    Raises
    ------
    ValueError
        Raised if lengths differ or there is no blended or no unblended
        footprint.
    """
    counts = np.asarray(counts)
    n_all = np.size(p)
    p, counts, weights = classified(
        p, counts, np.ones(n_all) if weights is None else np.asarray(weights, dtype=np.float64)
    )
    p, blended, weights = check(p, counts > 1, weights)
    log_loss = -np.log(np.clip(np.where(blended, p, 1.0 - p), EPS, None))
    slope, intercept = calibration_line(p, blended, weights)
    ece, floor = expected_calibration_error(p, blended, weights)
    occupied = counts > 0
    p, truth, w = p[occupied], blended[occupied], weights[occupied]
    prior = _mean(truth.astype(np.float64), w)
    if truth.all() or not truth.any():
        raise ValueError(f"the share of blended footprints is {prior}; both kinds are needed")
    # A resample may lack one kind that the data have: its scores are NaN.
    q = to_even_prior(np.clip(p, EPS, 1.0 - EPS), prior) if 0.0 < prior < 1.0 else np.full(p.shape, np.nan)
    w_blended, w_single = w * truth, w * ~truth
    right = ((q > 0.5) == truth).astype(np.float64)
    loss = -np.log(np.where(truth, q, 1.0 - q))
    accuracy_blended, accuracy_unblended = _mean(right, w_blended), _mean(right, w_single)
    return Scores(
        n=int(np.count_nonzero(occupied)),
        prior=prior,
        balanced_accuracy=0.5 * (accuracy_blended + accuracy_unblended),
        accuracy_blended=accuracy_blended,
        accuracy_unblended=accuracy_unblended,
        cross_entropy=0.5 * (_mean(loss, w_blended) + _mean(loss, w_single)),
        auc=roc_auc(p, truth, w),
        natural_cross_entropy=_mean(log_loss, weights),
        calibration_slope=slope,
        calibration_intercept=intercept,
        ece=max(ece - floor, 0.0),
        ece_floor=floor,
        n_missing=n_all - blended.size,
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
    return OnePeakScores(
        n=int(p.size),
        blended_share=float(blended.mean()) if p.size else float("nan"),
        auc=roc_auc(p, blended),
        recall_at_1_percent=recall_at_false_rate(p, blended, 0.01),
        recall_at_5_percent=recall_at_false_rate(p, blended, 0.05),
    )


def accuracy_by_bins(
    p: np.ndarray, counts: np.ndarray, values: np.ndarray, edges: np.ndarray
) -> BinnedAccuracy:
    """Balanced accuracy in bins of some quantity, such as the magnitude of the brightest galaxy.

    Parameters
    ----------
    p : `numpy.ndarray`, shape (n,)
        P(blended); rows with NaN are left out.
    counts : `numpy.ndarray`, shape (n,)
        True number of galaxies.
    values : `numpy.ndarray`, shape (n,)
        The quantity; NaN is in no bin.
    edges : `numpy.ndarray`, shape (bins + 1,)
        Edges of the bins, increasing; the lower one belongs to a bin.

    Returns
    -------
    accuracy
        Accuracies; NaN where a bin lacks one kind.

    Raises
    ------
    ValueError
        Raised if lengths differ or no footprint, or all, are blended.
    """
    counts, values, edges = np.asarray(counts), np.asarray(values, dtype=np.float64), np.asarray(edges)
    if values.shape != np.shape(p):
        raise ValueError(f"{values.size} values were given for {np.size(p)} footprints")
    p, counts, values = classified(p, counts, values)
    p, blended, _ = check(p, counts > 1, None)
    use = (counts > 0) & (values >= edges[0]) & (values < edges[-1])
    everywhere = counts > 0
    q = to_even_prior(np.clip(p, EPS, 1.0 - EPS), float(np.mean(blended[everywhere])))
    right, truth = ((q > 0.5) == blended)[use], blended[use]
    n_bins = len(edges) - 1
    index = np.searchsorted(edges, values[use], side="right") - 1
    n = np.bincount(index, minlength=n_bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = [
            np.bincount(index, right & kind, minlength=n_bins) / np.bincount(index, kind, minlength=n_bins)
            for kind in (truth, ~truth)
        ]
    return BinnedAccuracy(np.asarray(edges[:-1]), np.asarray(edges[1:]), n, 0.5 * (shares[0] + shares[1]))

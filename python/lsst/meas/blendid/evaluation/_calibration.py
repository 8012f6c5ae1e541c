# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Whether probabilities mean what they say."""

from __future__ import annotations

__all__ = ("calibration_line", "expected_calibration_error")

import numpy as np

from ._inputs import EPS, check


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
    p, blended, weights = check(p, blended, weights)
    clipped = np.clip(p, EPS, 1.0 - EPS)
    logit = np.log(clipped / (1.0 - clipped))
    used = weights > 0.0
    logit, blended, weights = logit[used], blended[used], weights[used]
    if not _overlap(logit[blended], logit[~blended]):
        return float("nan"), float("nan")
    weights = weights / weights.sum()
    design = np.column_stack([np.ones_like(logit), logit])
    share = float(weights @ blended)
    line = np.array([np.log(share / (1.0 - share)), 0.0])

    def log_likelihood(at: np.ndarray) -> float:
        margin = np.where(blended, 1.0, -1.0) * (design @ at)
        return -float(weights @ np.logaddexp(0.0, -margin))

    value = log_likelihood(line)
    for _ in range(100):
        # tanh, because the logistic function overflows far from its middle.
        fitted = 0.5 * (1.0 + np.tanh(0.5 * (design @ line)))
        gradient = design.T @ (weights * (blended - fitted))
        hessian = (design * (weights * fitted * (1.0 - fitted))[:, None]).T @ design
        if not np.linalg.cond(hessian) < 1e14:
            return float("nan"), float("nan")
        step = np.linalg.solve(hessian, gradient)
        while (new := log_likelihood(line + step)) < value and np.abs(step).max() > 1e-12:
            step = 0.5 * step
        line, value = line + step, max(new, value)
        if np.abs(step).max() < 1e-9:
            return float(line[1]), float(line[0])
    return float("nan"), float("nan")


def _overlap(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether no threshold separates two sets of scores: a logistic regression then has a maximum."""
    if not one.size or not other.size:
        return False
    return bool(one.min() < other.max() and other.min() < one.max())


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
    p, blended, weights = check(p, blended, weights)
    total = float(weights.sum())
    if total <= 0.0:
        return float("nan"), float("nan")
    index = np.clip((p * bins).astype(np.int64), 0, bins - 1)
    gap = np.bincount(index, weights * (blended - p), minlength=bins)
    variance = np.bincount(index, np.square(weights) * p * (1.0 - p), minlength=bins)
    return float(np.abs(gap).sum() / total), float(np.sqrt(2.0 * variance / np.pi).sum() / total)

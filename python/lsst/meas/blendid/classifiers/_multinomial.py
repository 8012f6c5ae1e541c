# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Parts of multinomial logistic regression that do not depend on what the inputs are."""

from __future__ import annotations

__all__ = ("fit_forms", "softmax", "standardize", "usable_scale")

import numpy as np

from ..labels import N_CLASSES

_ABSENT = -60.0
"""Logit of a class that training never saw: a probability of about 1e-26."""


def fit_forms(
    inputs: np.ndarray,
    classes: np.ndarray,
    regularization: float,
    weights: np.ndarray | None = None,
    *,
    n_classes: int = N_CLASSES,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a logistic regression to its very minimum.

    Newton's method ends there whatever the last bits of sums are; a quasi-Newton method ends on its way,
    where other last bits give coefficients that differ by a percent.

    Parameters
    ----------
    inputs : `numpy.ndarray`, shape (n, k)
        Standardised inputs.
    classes : `numpy.ndarray`, shape (n,), int
        Classes from 0 on, one or more of them.
    regularization
        Inverse strength of the L2 penalty.
    weights : `numpy.ndarray`, shape (n,), optional
        Weights.
    n_classes
        Number of classes; those that are not there get next to no probability.

    Returns
    -------
    coefficients, intercepts : `numpy.ndarray`, shapes (k, n_classes) and (n_classes,)
        Of the logits, as a matrix product needs them.
    """
    from sklearn.linear_model import LogisticRegression

    known = np.unique(classes)
    coefficients, intercepts = np.zeros((inputs.shape[1], n_classes)), np.full(n_classes, _ABSENT)
    if len(known) == 1:
        intercepts[known] = 0.0
        return coefficients, intercepts
    regression = LogisticRegression(C=regularization, solver="newton-cholesky", tol=1e-9, max_iter=200)
    regression.fit(inputs, classes, sample_weight=weights)
    slopes, constants = regression.coef_, regression.intercept_
    if len(known) == 2:
        # With two classes scikit-learn keeps the logit of the second against the first.
        slopes, constants = np.vstack([np.zeros_like(slopes), slopes]), np.append(0.0, constants)
    coefficients[:, known], intercepts[known] = slopes.T, constants
    return coefficients, intercepts


def softmax(logits: np.ndarray) -> np.ndarray:
    """Turn logits of classes into probabilities.

    Parameters
    ----------
    logits : `numpy.ndarray`, shape (n, 5)
        Logits, up to a constant for each row.

    Returns
    -------
    probabilities : `numpy.ndarray`, shape (n, 5)
        Rows that sum to 1.
    """
    odds = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return odds / odds.sum(axis=1, keepdims=True)


def standardize(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find what columns have to be shifted and divided by to have mean 0 and scatter 1.

    Parameters
    ----------
    inputs : `numpy.ndarray`, shape (n, k)
        Finite columns.

    Returns
    -------
    center, scale : `numpy.ndarray`, shape (k,)
        Mean and standard deviation; 1 of a column that is one number.
    """
    center = inputs.mean(axis=0)
    return center, usable_scale(center, inputs.std(axis=0))


def usable_scale(center: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Put 1 for the scatter of columns that are one number.

    Parameters
    ----------
    center, scale : `numpy.ndarray`, shape (k,)
        Mean and standard deviation of columns.

    Returns
    -------
    scale : `numpy.ndarray`, shape (k,)
        What they can be divided by.
    """
    # A column that is one number has a scatter of rounding errors alone, which may be those of float32.
    return np.where(scale <= 1e-6 * np.maximum(np.abs(center), 1.0), 1.0, scale)

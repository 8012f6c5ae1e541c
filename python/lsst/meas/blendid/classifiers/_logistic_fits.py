# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Logistic regressions of classes: standardised columns, fits by scikit-learn, and fits towards a model."""

from __future__ import annotations

__all__ = (
    "fit_centred",
    "fit_forms",
    "fit_line",
    "standardize",
    "usable_scale",
)

import numpy as np
from scipy.special import expit, log_softmax

from ..labels import N_CLASSES

_SLOPE_SPREAD = 0.3
"""Standard deviation of the slope about 1 that is expected before any label is seen."""

_SHIFT_SPREAD = 1.5
"""The same of the shift about 0."""

_ABSENT = -60.0
"""Logit of a class that training never saw: a probability of about 1e-26."""
_STRENGTHS = tuple(10.0 ** np.arange(-1.0, 4.5, 0.5))
"""Penalties to choose from: precisions of a Gaussian prior of the changes, on standardised inputs."""
_FREE_STRENGTH = 0.1
"""Penalty of what differs most between data, and is left nearly free: the intercepts, which go with the
shares of the classes, and a common factor on all old coefficients, which goes with how well they separate."""
_FOLDS = 5
"""Parts of the cross-validation."""


def fit_forms(
    inputs: np.ndarray,
    classes: np.ndarray,
    regularization: float,
    weights: np.ndarray | None = None,
    *,
    n_classes: int = N_CLASSES,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a logistic regression of classes (n,) on standardised inputs (n, k) to its very minimum.

    Newton's method ends there whatever the last bits of sums are; a quasi-Newton method ends on its way,
    where other last bits give coefficients that differ by a percent.  ``regularization`` is the inverse
    strength of the L2 penalty.  Gives coefficients (k, n_classes) and intercepts (n_classes,) of the
    logits; classes that are not there get next to no probability.
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


def standardize(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation, (k,), of finite columns (n, k), the latter usable (`usable_scale`)."""
    center = inputs.mean(axis=0)
    return center, usable_scale(center, inputs.std(axis=0))


def usable_scale(center: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The scatter (k,) of columns with a mean (k,), or 1 for those that are one number."""
    # A column that is one number has a scatter of rounding errors alone, which may be those of float32.
    return np.where(scale <= 1e-6 * np.maximum(np.abs(center), 1.0), 1.0, scale)


def fit_centred(
    inputs: np.ndarray,
    classes: np.ndarray,
    coefficients: np.ndarray,
    intercepts: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    seed: int = 1,
) -> tuple[np.ndarray, np.ndarray, float]:
    r"""Fit coefficients with a Gaussian prior about a multiple of old ones.

    With :math:`W = s W_0 + D` minimises :math:`-\sum_i w_i \ln P(c_i | x_i) + \frac{\lambda}{2} \|D\|^2 +
    \frac{\lambda_0}{2} (\|b - b_0\|^2 + (s - 1)^2)`, the posterior mode under a Gaussian prior about the
    old model (Chelba & Acero 2006, Computer Speech & Language 20, 382) that is stretched.  Of several
    :math:`\lambda` the one with the least cross-entropy in five-fold cross-validation is taken.  Inputs (n,
    k) are standardised, classes (n,) are 0 to m - 1; gives coefficients (k, m), intercepts (m,) and the
    penalty.
    """
    from threadpoolctl import threadpool_limits

    weights = np.ones(len(classes)) if weights is None else np.asarray(weights, dtype=np.float64)
    # Changes are penalised in units of the scatter of these inputs, which may be another one than in the data
    # of the old model; what is one number here stays as it is.
    center, scale = standardize(inputs)
    inputs = (inputs - center) / scale
    intercepts = intercepts + center @ coefficients
    coefficients = coefficients * scale[:, None]
    folds = np.random.default_rng(seed).permutation(len(classes)) % _FOLDS
    losses = np.zeros((len(_STRENGTHS), len(classes)))
    # One thread: the matrices are small, and the result is the same to the bit every time.
    with threadpool_limits(limits=1):
        for fold in range(_FOLDS):
            out = folds == fold
            args = (inputs[~out], classes[~out], weights[~out], coefficients, intercepts)
            start = None
            for i in reversed(range(len(_STRENGTHS))):
                new, start = _fit(*args, _STRENGTHS[i], start)
                losses[i, out] = _losses(inputs[out], classes[out], *new)
        strength = _STRENGTHS[int(np.argmin(losses @ weights))]
        args = (inputs, classes, weights, coefficients, intercepts)
        (coefficients, intercepts), _ = _fit(*args, strength, None, tolerance=1e-12)
    coefficients = coefficients / scale[:, None]
    return coefficients, intercepts - center @ coefficients, float(strength)


def _losses(
    inputs: np.ndarray, classes: np.ndarray, coefficients: np.ndarray, intercepts: np.ndarray
) -> np.ndarray:
    """Cross-entropy of each row."""
    logs = log_softmax(inputs @ coefficients + intercepts, axis=1)
    return -logs[np.arange(len(classes)), classes]


def _fit(
    inputs: np.ndarray,
    classes: np.ndarray,
    weights: np.ndarray,
    old: np.ndarray,
    old_intercepts: np.ndarray,
    strength: float,
    start: np.ndarray | None,
    *,
    tolerance: float = 1e-7,
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """New coefficients and intercepts, and both as the vector that another fit can start from."""
    from scipy.optimize import minimize

    shape = (len(old) + 1, len(old_intercepts))
    design = np.column_stack([inputs, np.ones(len(inputs))])
    slopes = inputs @ old
    penalty = np.full(shape, strength)
    penalty[-1] = _FREE_STRENGTH
    penalties = np.append(penalty.ravel(), _FREE_STRENGTH)
    truth = np.zeros((len(classes), shape[1]))
    truth[np.arange(len(classes)), classes] = 1.0

    def objective(change: np.ndarray) -> tuple[float, np.ndarray]:
        delta, stretch = change[:-1].reshape(shape), change[-1]
        logs = log_softmax((1.0 + stretch) * slopes + old_intercepts + design @ delta, axis=1)
        residual = weights[:, None] * (np.exp(logs) - truth)
        gradient = np.append((design.T @ residual).ravel(), np.sum(residual * slopes)) + penalties * change
        value = -float(weights @ (logs * truth).sum(axis=1)) + 0.5 * float(penalties @ change**2)
        return value, gradient

    found = minimize(
        objective,
        np.zeros(penalties.size) if start is None else start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 2000, "ftol": tolerance, "gtol": 1e-3 * tolerance**0.5 * max(len(classes), 1)},
    )
    delta, stretch = found.x[:-1].reshape(shape), found.x[-1]
    return ((1.0 + stretch) * old + delta[:-1], old_intercepts + delta[-1]), found.x


def fit_line(
    logit: np.ndarray, label: np.ndarray, weights: np.ndarray, *, with_slope: bool
) -> tuple[float, float]:
    """Slope and shift of a logit with the greatest posterior probability, by Newton steps."""
    slope, shift = 1.0, 0.0
    precision = np.array([1.0 / _SLOPE_SPREAD**2, 1.0 / _SHIFT_SPREAD**2])

    def loss(a: float, b: float) -> float:
        value = a * logit + b
        nll = np.sum(weights * (np.logaddexp(0.0, value) - label * value))
        return float(nll + 0.5 * precision @ np.square([a - 1.0, b]))

    design = np.stack([logit if with_slope else np.zeros_like(logit), np.ones_like(logit)])
    current = loss(slope, shift)
    for _ in range(100):
        p = expit(slope * logit + shift)
        gradient = design @ (weights * (p - label)) + precision * [slope - 1.0, shift]
        hessian = (design * (weights * p * (1.0 - p))) @ design.T + np.diag(precision)
        step = np.linalg.solve(hessian, gradient)
        factor = 1.0
        while (new := loss(slope - factor * step[0], shift - factor * step[1])) > current and factor > 1e-6:
            factor *= 0.5
        slope, shift = slope - factor * step[0], shift - factor * step[1]
        if current - new < 1e-10 * max(abs(current), 1.0):
            break
        current = new
    # A model that is worse than none is not turned upside down.
    return max(slope, 0.05), shift

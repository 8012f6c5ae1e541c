# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""Fine-tuning of boosted trees on few footprints of another kind."""

from __future__ import annotations

__all__ = ("tune_trees",)

import numpy as np
from scipy.special import expit

from ..labels import N_CLASSES
from ._tree_scores import BLENDED, EMPTY, SEVERAL, nested_probabilities, raw_scores

_SLOPE_SPREAD = 0.3
"""Standard deviation of the slope about 1 that is expected before any label is seen."""

_SHIFT_SPREAD = 1.5
"""The same of the shift about 0."""


def _fit_line(
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


def _fold_factors(arrays: dict[str, np.ndarray], x: np.ndarray) -> dict[str, np.ndarray]:
    """Move factors on the odds of classes into the baseline, so that tuning starts from their probabilities.

    What they do to the logit of being blended differs a little from footprint to footprint; this takes
    the mean.
    """
    factors = arrays["class_factors"]
    if np.all(factors == 1.0):
        return arrays
    scores = raw_scores(arrays, x)
    blended = np.clip(nested_probabilities(scores, factors)[:, 2:].sum(axis=1), 1e-12, 1.0 - 1e-12)
    baseline = np.array(arrays["baseline"], dtype=np.float64)
    baseline[BLENDED] += np.mean(np.log(blended / (1.0 - blended)) - scores[:, BLENDED])
    baseline[EMPTY] += np.log(factors[0] / factors[1])
    baseline[SEVERAL:] += np.log(factors[2:])
    return arrays | {"baseline": baseline, "class_factors": np.ones_like(factors)}


def tune_trees(
    arrays: dict[str, np.ndarray],
    x: np.ndarray,
    classes: np.ndarray,
    *,
    weights: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Move the scores of trees to other footprints.

    The logit of being blended gets a slope and a shift, that of being empty a shift; how many galaxies are in
    a blend stays.  Priors keep both near 1 and 0, so that a handful of labels does no harm.

    Parameters
    ----------
    arrays
        Trees to start from.
    x : `numpy.ndarray`, shape (n, features), float32
        Features of the new footprints.
    classes : `numpy.ndarray`, shape (n,), int
        Numbers of galaxies in them.
    weights : `numpy.ndarray`, shape (n,), optional
        Weights.

    Returns
    -------
    arrays
        Trees with other leaves and another baseline, without factors on the odds of classes.
    """
    arrays = _fold_factors(arrays, x)
    scores = raw_scores(arrays, x)
    classes = np.minimum(classes, N_CLASSES - 1)
    weights = np.ones(classes.size) if weights is None else np.asarray(weights, dtype=np.float64)
    slope, shift = _fit_line(scores[:, BLENDED], (classes > 1).astype(float), weights, with_slope=True)
    rest = classes < 2
    _, shift_empty = _fit_line(
        scores[rest, EMPTY], (classes[rest] == 0).astype(float), weights[rest], with_slope=False
    )
    baseline = np.array(arrays["baseline"], dtype=np.float64)
    baseline[BLENDED] = slope * baseline[BLENDED] + shift
    baseline[EMPTY] += shift_empty
    score = np.repeat(arrays["tree_score"], np.diff(arrays["tree_start"]))
    chosen = (arrays["node_feature"] < 0) & (score == BLENDED)
    value = np.array(arrays["node_value"], dtype=np.float32)
    value[chosen] *= np.float32(slope)
    return arrays | {"node_value": value, "baseline": baseline}

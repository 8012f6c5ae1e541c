# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Regression towards old coefficients."""

from __future__ import annotations

import numpy as np
from lsst.meas.blendid.classifiers import _logistic_fits
from lsst.meas.blendid.classifiers._logistic_fits import fit_centred


def draw(
    n: int, coefficients: np.ndarray, intercepts: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, len(coefficients)))
    logits = x @ coefficients + intercepts
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return x, (rng.random(n)[:, None] > np.cumsum(p, axis=1)).sum(axis=1)


RNG = np.random.default_rng(0)
OLD, OLD_INTERCEPTS = RNG.normal(size=(6, 5)), RNG.normal(size=5)


def loss(x: np.ndarray, classes: np.ndarray, coefficients: np.ndarray, intercepts: np.ndarray) -> float:
    return float(_logistic_fits._losses(x, classes, coefficients, intercepts).mean())


def test_labels_of_the_same_kind_change_little() -> None:
    x, classes = draw(200, OLD, OLD_INTERCEPTS, 1)
    new, intercepts, strength = fit_centred(x, classes, OLD, OLD_INTERCEPTS)
    assert strength >= 3.0
    assert np.abs(new - OLD).max() < 0.6
    test = draw(20_000, OLD, OLD_INTERCEPTS, 2)
    assert loss(*test, new, intercepts) < loss(*test, OLD, OLD_INTERCEPTS) + 0.03


def test_a_shift_is_learned_from_few_labels() -> None:
    shifted, intercepts = OLD.copy(), OLD_INTERCEPTS.copy()
    shifted[0] *= 0.2
    intercepts[1] += 2.0
    x, classes = draw(100, shifted, intercepts, 3)
    new = fit_centred(x, classes, OLD, OLD_INTERCEPTS)
    scratch = fit_centred(x, classes, np.zeros_like(OLD), np.zeros(5))
    test = draw(20_000, shifted, intercepts, 4)
    before, after = loss(*test, OLD, OLD_INTERCEPTS), loss(*test, *new[:2])
    best = loss(*test, shifted, intercepts)
    assert after < best + 0.5 * (before - best)
    assert after < loss(*test, *scratch[:2])


def test_many_labels_give_the_maximum_likelihood() -> None:
    shifted = np.random.default_rng(11).normal(size=OLD.shape)
    x, classes = draw(8000, shifted, OLD_INTERCEPTS, 5)
    new, intercepts, _ = fit_centred(x, classes, OLD, OLD_INTERCEPTS)
    from sklearn.linear_model import LogisticRegression

    free = LogisticRegression(C=np.inf, max_iter=10_000, tol=1e-8).fit(x, classes)
    test = draw(40_000, shifted, OLD_INTERCEPTS, 9)
    assert abs(loss(*test, new, intercepts) - loss(*test, free.coef_.T, free.intercept_)) < 2e-3


def test_weights_count_like_repeated_rows() -> None:
    x, classes = draw(300, -OLD, OLD_INTERCEPTS, 6)
    weights = np.random.default_rng(7).integers(1, 4, 300)
    args = (OLD, OLD_INTERCEPTS, 1.0, None)
    one, _ = _logistic_fits._fit(x, classes, weights.astype(float), *args, tolerance=1e-12)
    x, classes = np.repeat(x, weights, axis=0), np.repeat(classes, weights)
    other, _ = _logistic_fits._fit(x, classes, np.ones(len(x)), *args, tolerance=1e-12)
    np.testing.assert_allclose(one[0], other[0], atol=2e-4)


def test_a_class_may_lack_and_the_result_is_reproducible() -> None:
    x, classes = draw(200, OLD, OLD_INTERCEPTS, 8)
    classes = np.minimum(classes, 2)
    first, second = (fit_centred(x, classes, OLD, OLD_INTERCEPTS, seed=4) for _ in range(2))
    assert np.isfinite(first[0]).all() and np.isfinite(first[1]).all()
    np.testing.assert_array_equal(first[0], second[0])

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the scores, against scikit-learn and simulations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.calibration import move_prior
from lsst.meas.blendid.metrics import (
    BlendScorer,
    calibration_line,
    expected_calibration_error,
    recall_at_false_rate,
    roc_auc,
    score,
    score_one_peak,
)
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score, roc_curve


def draw(n: int = 4000, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities and counts drawn from them."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.6, 1.0, n)
    counts = np.where(rng.random(n) < p, rng.integers(2, 5, n), (rng.random(n) < 0.97).astype(int))
    return p, counts


def test_scores_agree_with_scikit_learn() -> None:
    p, counts = draw()
    result = score(p, counts)
    one = counts > 0
    truth, q = counts[one] > 1, move_prior(p[one], (counts[one] > 1).mean(), 0.5)
    assert result.n == one.sum() and result.prior == pytest.approx(truth.mean())
    assert result.balanced_accuracy == pytest.approx(balanced_accuracy_score(truth, q > 0.5))
    assert result.balanced_accuracy == pytest.approx(
        0.5 * (result.accuracy_blended + result.accuracy_unblended)
    )
    balanced = np.where(truth, 0.5 / truth.mean(), 0.5 / (1 - truth.mean()))
    assert result.cross_entropy == pytest.approx(log_loss(truth, q, sample_weight=balanced))
    assert result.auc == pytest.approx(roc_auc_score(truth, p[one]))
    assert result.natural_cross_entropy == pytest.approx(log_loss(counts > 1, p))


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), st.booleans()), min_size=2, max_size=40)
)
@settings(max_examples=100, deadline=None)
def test_auc_with_ties(pairs: list[tuple[float, bool]]) -> None:
    p, truth = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
    if truth.all() or not truth.any():
        assert np.isnan(roc_auc(p, truth))
    else:
        assert roc_auc(p, truth) == pytest.approx(roc_auc_score(truth, p))


def test_recall_at_false_rate_against_the_roc_curve() -> None:
    p, counts = draw()
    truth = counts > 1
    false, true, _ = roc_curve(truth, p, drop_intermediate=False)
    for rate in (0.01, 0.05, 0.3):
        assert recall_at_false_rate(p, truth, rate) == pytest.approx(true[false <= rate].max())
    assert recall_at_false_rate(p, truth, 1.0) == 1.0
    assert np.isnan(recall_at_false_rate(p, np.zeros(p.size, bool), 0.1))


def test_calibration_line_agrees_with_scikit_learn() -> None:
    p, counts = draw()
    truth = counts > 1
    logit = np.log(p / (1 - p))
    reference = LogisticRegression(C=np.inf, tol=1e-8).fit(np.clip(logit, -16, 16)[:, None], truth)
    slope, intercept = calibration_line(p, truth)
    assert slope == pytest.approx(reference.coef_[0, 0], rel=1e-3)
    assert intercept == pytest.approx(reference.intercept_[0], abs=1e-3)
    assert slope == pytest.approx(1.0, abs=0.1)


def test_calibration_line_sees_overconfidence_and_shift() -> None:
    p, counts = draw(20_000)
    logit = np.log(p / (1 - p))
    distorted = 1 / (1 + np.exp(-(2.0 * logit + 1.0)))
    slope, intercept = calibration_line(distorted, counts > 1)
    assert slope == pytest.approx(0.5, abs=0.03) and intercept == pytest.approx(-0.5, abs=0.06)


@pytest.mark.parametrize("slope", [0.1, 0.3, 0.35, 1.0, 2.0, -0.5])
@pytest.mark.parametrize("share", [0.5, 0.03])
def test_calibration_line_of_any_slope_is_that_of_scikit_learn(slope: float, share: float) -> None:
    rng = np.random.default_rng(8)
    logit = rng.normal(0.0, 4.0, 20_000)
    truth = rng.random(logit.size) < 1 / (1 + np.exp(-(slope * logit + np.log(share / (1 - share)))))
    p = 1 / (1 + np.exp(-logit))
    clipped = np.clip(p, 1e-7, 1 - 1e-7)
    x = np.log(clipped / (1 - clipped))[:, None]
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000, solver="newton-cholesky").fit(x, truth)
    fitted, intercept = calibration_line(p, truth)
    assert fitted == pytest.approx(reference.coef_[0, 0], rel=1e-4)
    assert intercept == pytest.approx(reference.intercept_[0], abs=1e-4)
    assert fitted == pytest.approx(slope, rel=0.15)


@given(st.lists(st.tuples(st.integers(-9, 9), st.booleans(), st.integers(0, 3)), min_size=2, max_size=30))
@settings(max_examples=100, deadline=None)
def test_calibration_line_is_at_a_maximum_or_nan(rows: list[tuple[int, bool, int]]) -> None:
    logit, truth, weights = (np.array(column) for column in zip(*rows, strict=True))
    slope, intercept = calibration_line(1 / (1 + np.exp(-logit.astype(float))), truth, weights)
    one, other = logit[truth & (weights > 0)], logit[~truth & (weights > 0)]
    overlap = one.size and other.size and one.min() < other.max() and other.min() < one.max()
    assert np.isfinite(slope) == np.isfinite(intercept) == bool(overlap)
    if overlap:
        residual = weights * (truth - 1 / (1 + np.exp(-(intercept + slope * logit))))
        assert abs(residual.sum()) < 1e-6 and abs(residual @ logit) < 1e-5


def test_calibration_line_with_certain_probabilities() -> None:
    """Exactly 0 and 1 count as 1e-7 away from them."""
    p, counts = draw(500)
    truth = counts > 1
    p[:20], p[20:40] = 0.0, 1.0
    line = calibration_line(p, truth)
    assert np.isfinite(line).all()
    assert line == calibration_line(np.clip(p, 1e-7, 1 - 1e-7), truth)


def test_calibration_line_without_maximum_is_nan() -> None:
    truth = np.array([False, False, True, True])
    assert np.isnan(calibration_line(np.array([0.1, 0.2, 0.8, 0.9]), truth)).all()
    assert np.isnan(calibration_line(np.full(4, 0.5), truth)).all()


def test_noise_floor_of_calibration_error_against_simulation() -> None:
    p, _ = draw(3000)
    rng = np.random.default_rng(5)
    simulated = [expected_calibration_error(p, rng.random(p.size) < p)[0] for _ in range(200)]
    floor = expected_calibration_error(p, rng.random(p.size) < p)[1]
    assert floor == pytest.approx(np.mean(simulated), rel=0.05)


def test_calibration_error_of_a_wrong_model() -> None:
    error, floor = expected_calibration_error(np.full(10_000, 0.5), np.arange(10_000) < 3000)
    assert error == pytest.approx(0.2) and floor < 0.005
    assert score(*draw(20_000)).ece < 0.004


def test_rows_without_probability_are_left_out_and_counted() -> None:
    p, counts = draw(1000)
    with_nan = np.concatenate([p, [np.nan, np.nan]])
    result = score(with_nan, np.concatenate([counts, [1, 3]]))
    assert result.n_missing == 2
    assert result.balanced_accuracy == score(p, counts).balanced_accuracy


@pytest.mark.parametrize("function", [roc_auc, calibration_line, expected_calibration_error])
def test_nan_is_no_rank(function: Callable[[np.ndarray, np.ndarray], object]) -> None:
    p, counts = draw(100)
    p[3] = np.nan
    with pytest.raises(ValueError, match="1 of 100 probabilities are NaN"):
        function(p, counts > 1)
    with pytest.raises(ValueError, match="1 of 100 probabilities are NaN"):
        recall_at_false_rate(p, counts > 1, 0.05)
    with pytest.raises(ValueError, match="weights must be finite"):
        calibration_line(np.zeros(3), np.zeros(3, bool), np.array([1.0, np.nan, 1.0]))


@pytest.mark.parametrize("kind", [True, False])
def test_weights_without_one_kind_give_nan(kind: bool) -> None:
    p, counts = draw(500)
    result = BlendScorer(p, counts, np.ones(500))(((counts > 1) == kind).astype(float))
    compared = ("balanced_accuracy", "cross_entropy", "auc", "calibration_slope")
    assert np.isnan([result[key] for key in compared]).all()
    assert np.isfinite(result["natural_cross_entropy"])


@pytest.mark.parametrize("counts", [np.ones(5, int), np.full(5, 2)])
def test_one_class_is_a_clear_error(counts: np.ndarray) -> None:
    with pytest.raises(ValueError, match="both kinds are needed"):
        score(np.linspace(0.1, 0.9, 5), counts)


def test_mismatched_lengths() -> None:
    with pytest.raises(ValueError, match="lengths differ"):
        score(np.zeros(3), np.zeros(4, int))


def test_one_peak_scores() -> None:
    p, counts = draw()
    n_peaks = np.random.default_rng(2).integers(0, 3, p.size)
    result = score_one_peak(p, counts, n_peaks)
    use = (n_peaks == 1) & (counts > 0)
    assert result.n == use.sum()
    assert result.auc == pytest.approx(roc_auc_score(counts[use] > 1, p[use]))
    assert result.blended_share == pytest.approx((counts[use] > 1).mean())
    assert result.recall_at_1_percent <= result.recall_at_5_percent
    assert np.isnan(score_one_peak(p, counts, np.zeros(p.size, int)).auc)

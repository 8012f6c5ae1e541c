# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of calibration and of changes of the prior."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from lsst.meas.blendid.calibration import (
    CALIBRATION_METHODS,
    Calibration,
    calibration_from_dict,
    fit_calibration,
    move_prior,
    replace_blended,
)
from lsst.meas.blendid.metrics import calibration_line
from scipy.special import expit, logit


def draw(n: int = 20_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are too sure, and truths."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(-0.5, 1.5, n)
    return expit(1.8 * truth + 0.4), rng.random(n) < expit(truth)


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
@given(p=hnp.arrays(np.float64, st.integers(0, 30), elements=st.floats(0.0, 1.0)))
def test_map_is_monotone_and_gives_probabilities(method: str, p: np.ndarray) -> None:
    calibration = fit_calibration(*draw(500), method)
    q = calibration.apply(np.sort(p))
    assert np.all((q > 0.0) & (q < 1.0)) and np.all(np.diff(q) >= -1e-12)
    assert np.isnan(calibration.apply(np.array([np.nan, 0.5]))).tolist() == [True, False]


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
def test_json_round_trip(method: str) -> None:
    p, blended = draw(2000)
    calibration = fit_calibration(p, blended, method)
    again = calibration_from_dict(json.loads(json.dumps(calibration.to_dict())))
    assert again == calibration
    np.testing.assert_array_equal(again.apply(p), calibration.apply(p))
    assert calibration.blended_share == pytest.approx(blended.mean(), abs=1e-8)


@pytest.mark.parametrize("method", ["platt", "beta", "isotonic"])
def test_calibrated_probabilities_are_calibrated(method: str) -> None:
    calibration = fit_calibration(*draw(), method)
    p, blended = draw(seed=1)
    assert calibration_line(p, blended)[0] == pytest.approx(1 / 1.8, abs=0.03)
    slope, intercept = calibration_line(calibration.apply(p), blended)
    assert slope == pytest.approx(1.0, abs=0.04) and intercept == pytest.approx(0.0, abs=0.04)


def test_temperature_is_what_the_logits_were_divided_by() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0.0, 1.5, 40_000)
    calibration = fit_calibration(expit(2.0 * x), rng.random(len(x)) < expit(x), "temperature")
    assert calibration.parameters[0] == pytest.approx(2.0, abs=0.06)
    np.testing.assert_allclose(calibration.apply(np.array([0.9])), expit(logit(0.9) / calibration.parameters))


def test_platt_is_logistic_regression_on_the_logit() -> None:
    p, blended = draw(3000)
    slope, intercept = calibration_line(p, blended)
    calibration = fit_calibration(p, blended, "platt")
    np.testing.assert_allclose(calibration.parameters, (slope, intercept), atol=1e-5)


def test_platt_is_that_of_scikit_learn_without_its_smoothed_targets() -> None:
    from sklearn.calibration import _SigmoidCalibration

    p, blended = draw(50_000)
    theirs = _SigmoidCalibration().fit(logit(p), blended)
    np.testing.assert_allclose(
        fit_calibration(p, blended, "platt").apply(p), theirs.predict(logit(p)), atol=1e-4
    )


def test_beta_is_logistic_regression_on_two_logarithms() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(2)
    p = rng.beta(0.8, 1.2, 20_000)
    blended = rng.random(len(p)) < expit(0.6 * np.log(p) - 1.4 * np.log1p(-p) + 0.3)
    regression = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    regression.fit(np.column_stack([np.log(p), -np.log1p(-p)]), blended)
    calibration = fit_calibration(p, blended, "beta")
    expected = [*regression.coef_[0], regression.intercept_[0]]
    np.testing.assert_allclose(calibration.parameters, expected, atol=1e-3)
    np.testing.assert_allclose(calibration.parameters, [0.6, 1.4, 0.3], atol=0.15)


def test_beta_has_no_negative_exponent() -> None:
    """Where the best is one, the map would not be monotone."""
    rng = np.random.default_rng(3)
    p = rng.uniform(0.02, 0.98, 20_000)
    blended = rng.random(len(p)) < expit(1.5 * np.log(p) + 0.7 * np.log1p(-p) + 0.5)
    a, b, _ = fit_calibration(p, blended, "beta").parameters
    assert a > 0.5 and b == 0.0


def test_isotonic_is_that_of_scikit_learn() -> None:
    from sklearn.isotonic import IsotonicRegression

    p, blended = draw(3000)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(p, blended).predict(p)
    edge = 1.0 / 3002.0
    np.testing.assert_allclose(
        fit_calibration(p, blended, "isotonic").apply(p), np.clip(theirs, edge, 1 - edge), atol=1e-12
    )


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
def test_what_is_not_known_is_left_out(method: str) -> None:
    p, blended = draw(400)
    padded = fit_calibration(np.append(p, [np.nan, np.nan]), np.append(blended, [True, False]), method)
    assert padded == fit_calibration(p, blended, method)


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
def test_separated_kinds_give_a_finite_map(method: str) -> None:
    p = np.array([0.0, 0.1, 0.2, 0.8, 0.9, 1.0])
    q = fit_calibration(p, p > 0.5, method).apply(p)
    assert np.all(np.isfinite(q)) and np.all(np.diff(q) >= 0.0) and q[0] < 0.2 and q[-1] > 0.8


@pytest.mark.parametrize(
    ("p", "blended", "method", "match"),
    [
        ([0.1, 0.9], [0, 1], "sigmoid", "unknown calibration 'sigmoid'; there are isotonic, platt"),
        ([0.1, 0.9], [0, 1, 1], "beta", "one probability and truth per footprint"),
        ([0.1, 0.9], [1, 1], "beta", "2 of the 2 footprints to calibrate with are blended"),
        ([0.1, np.nan], [0, 1], "beta", "0 of the 1 footprints"),
        ([0.1, 1.2], [0, 1], "beta", r"outside of \[0, 1\]"),
        ([], [], "beta", "0 of the 0 footprints"),
    ],
)
def test_bad_fits(p: list[float], blended: list[int], method: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        fit_calibration(np.array(p), np.array(blended, bool), method)


@pytest.mark.parametrize(
    "description",
    [
        None,
        [],
        {},
        {"method": "beta"},
        {"parameters": [1.0, 1.0, 0.0]},
        {"method": "magic", "parameters": [1.0]},
        {"method": 3, "parameters": [1.0]},
        {"method": "beta", "parameters": [1.0, 1.0]},
        {"method": "beta", "parameters": [1.0, -1.0, 0.0]},
        {"method": "beta", "parameters": [1.0, None, 0.0]},
        {"method": "beta", "parameters": [1.0, "1", 0.0]},
        {"method": "beta", "parameters": "110"},
        {"method": "platt", "parameters": [float("nan"), 0.0]},
        {"method": "platt", "parameters": [-1.0, 0.0]},
        {"method": "temperature", "parameters": [0.0]},
        {"method": "isotonic", "parameters": []},
        {"method": "isotonic", "parameters": [0.1, 0.2, 0.3]},
        {"method": "isotonic", "parameters": [0.2, 0.1, 0.3, 0.4]},
        {"method": "isotonic", "parameters": [0.1, 0.2, 0.4, 0.3]},
        {"method": "isotonic", "parameters": [0.1, 1.2, 0.3, 0.4]},
        {"method": "isotonic", "parameters": [0.1, 0.2, 0.0, 0.4]},
        {"method": "platt", "parameters": [1.0, 0.0], "blended_share": 1.5},
        {"method": "platt", "parameters": [1.0, 0.0], "blended_share": "0.4"},
    ],
)
def test_damaged_descriptions(description: object) -> None:
    with pytest.raises(ValueError, match="calibration"):
        calibration_from_dict(description)  # type: ignore[arg-type]


def distributions(n: int = 200, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet([0.3, 2.0, 1.0, 0.5, 0.2], n)


def test_prior_is_moved_as_bayes_says() -> None:
    """Against densities that are known: the posterior for one prior becomes that for the other."""
    x = np.linspace(-4.0, 5.0, 50)
    single, blended = np.exp(-0.5 * x**2), np.exp(-0.5 * (x - 1.0) ** 2)

    def posterior(share: float) -> np.ndarray:
        return share * blended / (share * blended + (1.0 - share) * single)

    np.testing.assert_allclose(move_prior(posterior(0.36), 0.36, 0.1), posterior(0.1))
    np.testing.assert_allclose(move_prior(posterior(0.36), 0.36, 0.5), blended / (blended + single))


@pytest.mark.parametrize("make", [lambda: draw(300)[0], distributions], ids=["blended", "counts"])
@given(trained=st.floats(0.01, 0.99), wanted=st.floats(0.01, 0.99))
def test_prior_can_be_moved_back(make: Callable[[], np.ndarray], trained: float, wanted: float) -> None:
    p = make()
    there = move_prior(p, trained, wanted)
    np.testing.assert_allclose(move_prior(there, wanted, trained), p, atol=1e-9)
    np.testing.assert_allclose(move_prior(p, trained, trained), p, atol=1e-12)
    if p.ndim == 2:
        np.testing.assert_allclose(there.sum(axis=1), 1.0)
        np.testing.assert_allclose(
            there[:, 2:].sum(axis=1), move_prior(p[:, 2:].sum(axis=1), trained, wanted)
        )
        np.testing.assert_allclose(there[:, 3] * p[:, 2], there[:, 2] * p[:, 3], atol=1e-12)


def test_certain_and_missing_probabilities_stay() -> None:
    np.testing.assert_array_equal(move_prior(np.array([0.0, 1.0, np.nan]), 0.4, 0.1), [0.0, 1.0, np.nan])
    rows = np.array([[0.1, 0.9, 0, 0, 0], [0, 0, 0.5, 0.5, 0], [np.nan] * 5])
    np.testing.assert_allclose(move_prior(rows, 0.4, 0.1), rows)


@pytest.mark.parametrize(
    ("trained", "wanted"), [(0.0, 0.5), (1.0, 0.5), (0.5, 0.0), (0.5, 1.0), (0.5, np.nan)]
)
def test_impossible_priors(trained: float, wanted: float) -> None:
    with pytest.raises(ValueError, match="not between 0 and 1"):
        move_prior(np.array([0.5]), trained, wanted)


def test_replaced_blended_probability() -> None:
    p = distributions()
    wanted = np.random.default_rng(1).random(len(p))
    new = replace_blended(p, wanted)
    np.testing.assert_allclose(new[:, 2:].sum(axis=1), wanted)
    np.testing.assert_allclose(new.sum(axis=1), 1.0)
    np.testing.assert_allclose(new[:, 0] * p[:, 1], new[:, 1] * p[:, 0])
    assert replace_blended(p[:, 0], wanted) is not p and np.array_equal(
        replace_blended(p[:, 0], wanted), wanted
    )
    # Where a row says nothing of the one kind, it is the likeliest number.
    rows = np.array([[0.5, 0.5, 0, 0, 0], [0, 0, 0, 1.0, 0], [np.nan] * 5, [0.2, 0.2, 0.6, 0, 0]])
    expected = [[0.375, 0.375, 0.25, 0, 0], [0, 0.75, 0, 0.25, 0], [np.nan] * 5, [np.nan] * 5]
    np.testing.assert_allclose(replace_blended(rows, np.array([0.25, 0.25, 0.25, np.nan])), expected)


def test_a_calibration_of_no_method() -> None:
    with pytest.raises(ValueError, match="unknown calibration 'x'"):
        Calibration("x", (1.0,))

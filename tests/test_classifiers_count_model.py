# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the mean of large numbers, and of P(N) from P(blended), against independent fits."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.classifiers import BlendClassifier, FitOptions, LabelledSamples
from lsst.meas.blendid.classifiers.count_model import (
    FIRST_OF_TAIL,
    TAIL_COLUMNS,
    ShareModel,
    TailModel,
    tail_inputs,
)
from lsst.meas.blendid.labels import N_CLASSES
from lsst.meas.blendid.model_package import ModelPackage, ModelPackageError
from lsst.meas.blendid.samples import FootprintSamples
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from toy_samples import make_samples

K = len(TAIL_COLUMNS)


def make_tail(n: int = 3000, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Columns, and numbers of at least 4 whose excess is Poisson with a mean that follows two of them."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(n, K)) * np.linspace(0.5, 3.0, K) + np.arange(K)
    mean = np.exp(0.3 + 0.4 * inputs[:, 0] - 0.1 * inputs[:, 3])
    return inputs, FIRST_OF_TAIL + rng.poisson(mean)


def test_tail_is_the_most_likely_poisson_regression() -> None:
    inputs, counts = make_tail()
    model = TailModel.fit(inputs, counts)
    assert model is not None
    x = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    design = np.column_stack([x, np.ones(len(x))])

    def loss(beta: np.ndarray) -> float:
        form = design @ beta
        return float(np.mean(np.exp(form) - (counts - 4) * form) + 0.5e-3 * np.sum(beta[:-1] ** 2))

    reference = minimize(loss, np.zeros(K + 1), method="BFGS", options={"gtol": 1e-9}).x
    np.testing.assert_allclose(model.coefficients, reference, atol=1e-5)
    # It is what the numbers were drawn from, and unbiased on what it was fitted to.
    true = 4.0 + np.exp(0.3 + 0.4 * inputs[:, 0] - 0.1 * inputs[:, 3])
    assert np.corrcoef(model.mean(inputs), true)[0, 1] > 0.97
    assert model.mean(inputs).mean() == pytest.approx(counts.mean(), rel=1e-9)


def test_only_footprints_of_the_tail_count() -> None:
    inputs, counts = make_tail(400)
    others = np.random.default_rng(2).normal(size=(300, K))
    model = TailModel.fit(inputs, counts)
    mixed = TailModel.fit(
        np.vstack([inputs, others, np.full((1, K), np.nan)]),
        np.concatenate([counts, np.arange(300) % 4, [9]]),
    )
    assert model is not None
    assert mixed is not None
    np.testing.assert_allclose(mixed.coefficients, model.coefficients, rtol=1e-9)
    assert TailModel.fit(inputs[:49], counts[:49]) is None


def test_weights_count_as_repetitions() -> None:
    inputs, counts = make_tail(300)
    weights = np.random.default_rng(3).integers(0, 4, len(counts))
    weighted = TailModel.fit(inputs, counts, weights)
    repeated = TailModel.fit(np.repeat(inputs, weights, axis=0), np.repeat(counts, weights))
    assert weighted is not None
    assert repeated is not None
    # Columns are standardised without weights, which the small penalty sees.
    np.testing.assert_allclose(weighted.mean(inputs), repeated.mean(inputs), rtol=1e-3)


@given(st.lists(st.floats(-1e9, 1e9), min_size=K, max_size=K))
def test_any_columns_give_a_mean_within_what_was_seen(row: list[float]) -> None:
    inputs, counts = make_tail(200)
    model = TailModel.fit(inputs, counts)
    assert model is not None
    (mean,) = model.mean(np.array([row]))
    assert 4.0 < mean <= 4.0 + np.exp(10.0)
    # Beyond the range nothing changes any more.
    far = np.where(np.array(row) > model.center, 1e12, -1e12)
    edge = np.where(np.array(row) > model.center, model.high, model.low)
    assert model.mean(far[None])[0] == pytest.approx(
        4.0 + np.exp(min(edge @ model.coefficients[:-1] + model.coefficients[-1], 10.0))
    )


def test_descriptions_make_the_same_models() -> None:
    inputs, counts = make_tail(500)
    tail = TailModel.fit(inputs, counts)
    shares = ShareModel.fit(inputs, np.arange(500) % 7)
    assert tail is not None
    assert shares is not None
    again = TailModel.from_dict(json.loads(json.dumps(tail.to_dict())))
    np.testing.assert_allclose(again.mean(inputs), tail.mean(inputs), rtol=1e-6)
    other = ShareModel.from_dict(json.loads(json.dumps(shares.to_dict())))
    p = np.linspace(0.0, 1.0, 500)
    np.testing.assert_allclose(other.divide(p, inputs), shares.divide(p, inputs), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"columns": ["log_peaks", "colour"]}, "columns that this release does not have"),
        ({"columns": ["log_peaks"]}, "center has shape"),
        ({"scale": [0.0] * K}, "scale is not positive"),
        ({"center": [0.0]}, "center has shape"),
        ({"low": "x"}, "low is no list of numbers"),
        ({"coefficients": [float("nan")] * (K + 1)}, "coefficients is not finite"),
        ({"high": None}, "high"),
    ],
)
def test_damaged_descriptions_are_refused(change: dict[str, Any], match: str) -> None:
    tail = TailModel.fit(*make_tail(100))
    assert tail is not None
    with pytest.raises(ValueError, match=match):
        TailModel.from_dict(tail.to_dict() | change)
    incomplete = {key: value for key, value in tail.to_dict().items() if key != "scale"}
    with pytest.raises(ValueError, match="lacks scale"):
        TailModel.from_dict(incomplete)


def make_shares(n: int = 2000, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(n, 3))
    counts = np.clip(np.rint(1.5 + inputs[:, 0] + rng.normal(size=n)), 0, 9).astype(int)
    return inputs, counts


def test_shares_are_two_logistic_regressions() -> None:
    inputs, counts = make_shares()
    model = ShareModel.fit(inputs, counts)
    assert model is not None
    x = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    p = np.random.default_rng(1).uniform(size=len(x))
    p_n = model.divide(p, inputs)
    classes = np.minimum(counts, 4)
    for rows, columns, total in ((counts < 2, [0, 1], 1.0 - p), (counts > 1, [2, 3, 4], p)):
        reference = LogisticRegression(C=0.03, tol=1e-8, max_iter=10_000).fit(x[rows], classes[rows])
        np.testing.assert_allclose(p_n[:, columns], total[:, None] * reference.predict_proba(x), atol=1e-5)


@given(st.floats(0.0, 1.0), st.integers(0, 1999))
def test_shares_leave_p_blended_alone(p: float, row: int) -> None:
    inputs, counts = make_shares()
    model = ShareModel.fit(inputs[:200], counts[:200])
    assert model is not None
    (p_n,) = model.divide(np.array([p]), inputs[row : row + 1])
    assert p_n.min() >= 0.0
    assert p_n.sum() == pytest.approx(1.0)
    assert p_n[2:].sum() == pytest.approx(p, abs=1e-12)


def test_rows_without_numbers_and_numbers_that_never_were() -> None:
    inputs, counts = make_shares()
    counts = np.clip(counts, 1, 3)
    model = ShareModel.fit(np.vstack([inputs, [[np.nan] * 3]]), np.append(counts, 4))
    assert model is not None
    p_n = model.divide(np.array([0.4, 0.4, np.nan]), np.array([[0.0] * 3, [np.nan] * 3, [0.0] * 3]))
    assert p_n[0, [0, 4]] == pytest.approx([0.0, 0.0], abs=1e-20)
    assert p_n[0, 1] == pytest.approx(0.6)
    assert np.isnan(p_n[1:]).all()
    assert ShareModel.fit(inputs, np.ones(len(inputs), dtype=int)) is None
    with pytest.raises(ValueError, match="told by 3 numbers"):
        model.divide(np.array([0.4]), np.zeros((1, 2)))


def test_columns_of_images_do_not_depend_on_other_images() -> None:
    first, _ = make_samples(6, seed=1)
    second, _ = make_samples(9, seed=2)
    together = tail_inputs(FootprintSamples.join([first, second]))
    np.testing.assert_allclose(together, np.vstack([tail_inputs(first), tail_inputs(second)]))
    assert np.isfinite(together).all()
    assert tail_inputs(FootprintSamples([])).shape == (0, K)
    # Of a usual image, with the share and the mean of what is in this one.
    share, mean = (list(TAIL_COLUMNS).index(name) for name in ("log_multi_peak_share", "mean_log_area"))
    one = FootprintSamples(first.results[:1])
    log_area = np.log10(one.area / one.psf_sigma**2)
    n, several = len(one), int((one.n_peaks > 1).sum())
    assert tail_inputs(one)[0, share] == pytest.approx(np.log10((several + 20 * 0.27) / (n + 20)))
    single = one.n_peaks == 1
    expected = (log_area[single].sum() + 20 * 1.65) / (single.sum() + 20)
    assert tail_inputs(one)[0, mean] == pytest.approx(expected)


# In a classifier


class TwoClasses(BlendClassifier):
    """Gives P(blended) alone: by the area."""

    name = "two_classes"

    @property
    def gives_counts(self) -> bool:
        return False

    def _fit(self, train: LabelledSamples, validation: LabelledSamples | None, options: FitOptions) -> None:
        self._state = {}

    def predict(self, samples: FootprintSamples) -> np.ndarray:
        return np.clip((samples.area - 60.0) / 200.0, 0.01, 0.99)


@pytest.fixture(scope="module")
def crowded() -> LabelledSamples:
    samples, counts = make_samples(22)
    # Toy images have up to 5 galaxies in a footprint.
    assert np.count_nonzero(counts >= 4) > 40
    many = np.where(counts >= 4, counts + np.arange(len(counts)) % 3, counts)
    return LabelledSamples(samples=samples, counts=many)


def test_two_classes_become_five(crowded: LabelledSamples) -> None:
    samples, counts = crowded.samples, crowded.counts
    classifier = TwoClasses()
    classifier.fit(crowded)
    assert classifier.probabilities(samples).ndim == 1
    classifier.fit_counts(crowded)
    p_n = classifier.probabilities(samples)
    assert p_n.shape == (len(samples), N_CLASSES)
    np.testing.assert_allclose(p_n[:, 2:].sum(axis=1), classifier.predict(samples))
    # They know more than the shares of the numbers do.
    rows, classes = np.arange(len(samples)), np.minimum(counts, 4)
    shares = np.bincount(classes, minlength=5) / len(classes)
    p = classifier.predict(samples)
    plain = np.column_stack(
        [(1.0 - p)[:, None] * shares[:2] / shares[:2].sum(), p[:, None] * shares[2:] / shares[2:].sum()]
    )
    assert np.log(p_n[rows, classes]).mean() > np.log(plain[rows, classes]).mean() + 0.05


def test_packages_take_the_numbers_along(crowded: LabelledSamples) -> None:
    samples, counts = crowded.samples, crowded.counts
    classifier = TwoClasses()
    classifier.fit(crowded)
    # A model of an older release does not tell: the peaks are counted.
    old = TwoClasses(package=classifier.to_package())
    np.testing.assert_array_equal(old.tail_mean(samples), np.maximum(samples.n_peaks, 4))
    assert old.probabilities(samples).ndim == 1
    classifier.fit_counts(crowded)
    package = ModelPackage.from_bytes(classifier.to_package().to_bytes())
    again = TwoClasses(package=package)
    np.testing.assert_allclose(again.probabilities(samples), classifier.probabilities(samples), atol=1e-6)
    np.testing.assert_allclose(again.tail_mean(samples), classifier.tail_mean(samples), rtol=1e-6)
    tail = counts >= 4
    assert again.tail_mean(samples)[tail].mean() == pytest.approx(counts[tail].mean(), rel=1e-6)
    # A few footprints of other data tell nothing of numbers; another fit starts from nothing.
    expected = again.tail_mean(samples)
    again.fine_tune(crowded)
    np.testing.assert_array_equal(again.tail_mean(samples), expected)
    assert again.probabilities(samples).ndim == 2
    again.fit(crowded)
    assert again.probabilities(samples).ndim == 1
    for damage in ({"tail": {}}, {"tail": 3}, {"shares": {"center": []}}, 7):
        package.metadata["counts"] = damage
        with pytest.raises(ModelPackageError, match="train it anew"):
            TwoClasses(package=package)

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of PCA + logistic regression, against scikit-learn itself."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from lsst.meas.blendid.classifiers import (
    LabelledSamples,
    LogisticClassifier,
    LogisticSettings,
    split_probabilities,
)
from lsst.meas.blendid.classifiers._logistic_fits import standardize
from lsst.meas.blendid.cutouts import CutoutSettings
from lsst.meas.blendid.features.facts import FACT_NAMES, FACTS_VERSION
from lsst.meas.blendid.model_package import ModelPackageError
from lsst.meas.blendid.model_settings import SettingsError
from lsst.meas.blendid.samples import FootprintSamples
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from toy_samples import make_result, make_samples


def make_fitted(**values: Any) -> tuple[LogisticClassifier, FootprintSamples, np.ndarray]:
    samples, counts = make_samples(12)
    classifier = LogisticClassifier(settings=LogisticSettings(**values))
    classifier.fit(LabelledSamples(samples=samples, counts=counts))
    return classifier, samples, counts


def test_probabilities_are_those_of_scikit_learn() -> None:
    classifier, samples, counts = make_fitted(n_components=6, features=(), regularization=0.7)
    other, _ = make_samples(8, seed=9)
    reference = make_pipeline(
        PCA(6, svd_solver="covariance_eigh"),
        StandardScaler(),
        LogisticRegression(C=0.7, tol=1e-6, max_iter=10_000),
    )
    rows = samples.cutouts(classifier.settings.cutout).reshape(len(samples), -1).astype(float)
    reference.fit(rows, np.minimum(counts, 4))
    new_rows = other.cutouts(classifier.settings.cutout).reshape(len(other), -1).astype(float)
    np.testing.assert_allclose(classifier.predict(other), reference.predict_proba(new_rows), atol=2e-4)


def test_regression_on_its_own_inputs_is_that_of_scikit_learn() -> None:
    classifier, samples, counts = make_fitted()
    inputs = classifier.inputs(samples)
    assert inputs.shape == (len(samples), 16 + len(FACT_NAMES))
    np.testing.assert_allclose(inputs.mean(axis=0), 0.0, atol=1e-6)
    np.testing.assert_allclose(inputs.std(axis=0), 1.0, atol=1e-6)
    assert list(classifier.settings.features) == list(FACT_NAMES)
    reference = LogisticRegression(C=1.0, tol=1e-6, max_iter=10_000).fit(inputs, np.minimum(counts, 4))
    np.testing.assert_allclose(classifier.predict(samples), reference.predict_proba(inputs), atol=1e-4)


def test_standardize_leaves_a_column_that_is_one_number() -> None:
    rng = np.random.default_rng(4)
    inputs = np.column_stack([rng.normal(3.0, 2.0, 50), np.full(50, 1e6 / 3.0), np.zeros(50)])
    center, scale = standardize(inputs)
    np.testing.assert_allclose(center, inputs.mean(axis=0))
    np.testing.assert_allclose(scale, [inputs[:, 0].std(), 1.0, 1.0])


def test_feature_that_is_one_number_does_not_matter() -> None:
    """Its scatter is one of rounding errors alone, which must not become its unit."""
    samples, counts = make_samples(4)
    other, other_counts = make_samples(8, seed=9)
    # The sums of this number are not exact.
    known, new = (
        FootprintSamples([dataclasses.replace(r, sky_level=level) for r in s.results], s.contexts)
        for s, level in ((samples, 0.1), (other, 0.2))
    )
    assert 0.0 < np.full((len(counts), 2), 0.1).std(axis=0)[0] < 1e-9
    classifier = LogisticClassifier(settings=LogisticSettings())
    classifier.fit(LabelledSamples(samples=known, counts=counts))
    p = classifier.predict(new)[:, 2:].sum(axis=1)
    assert p.mean() == pytest.approx(np.mean(other_counts > 1), abs=0.1)


def test_fit_is_the_same_to_the_bit() -> None:
    first, second = (make_fitted()[0].to_package("m").to_bytes() for _ in range(2))
    assert first == second


def test_weights_balance_the_fit_and_not_the_prior() -> None:
    samples, counts = make_samples(12)
    settings = LogisticSettings(n_components=2, features=())
    weighted, plain = (LogisticClassifier(settings=settings) for _ in range(2))
    plain.fit(LabelledSamples(samples=samples, counts=counts))
    weighted.fit(LabelledSamples(samples=samples, counts=counts, weights=np.full(len(counts), 1.0)))
    np.testing.assert_allclose(weighted.predict(samples), plain.predict(samples), atol=1e-6)
    weighted.fit(LabelledSamples(samples=samples, counts=counts, weights=np.where(counts > 1, 4.0, 1.0)))
    # Another fit, but of the same shares.
    assert np.abs(weighted.predict(samples) - plain.predict(samples)).max() > 0.005
    share = np.bincount(np.minimum(counts, 4), minlength=5) / len(counts)
    np.testing.assert_allclose(weighted.predict(samples).mean(axis=0), share, atol=1e-6)
    prior = weighted.to_package().metadata["prior"]
    assert prior["blended"] == pytest.approx(np.mean(counts > 1), abs=1e-6)
    np.testing.assert_allclose(prior["n"], share, atol=1e-6)


def test_weights_on_other_footprints_keep_the_share_of_blends() -> None:
    samples, counts = make_samples(12)
    other, other_counts = make_samples(20, seed=6)
    weighted = LogisticClassifier(settings=LogisticSettings())
    weighted.fit(LabelledSamples(samples=samples, counts=counts, weights=np.where(counts > 1, 4.0, 1.0)))
    p = weighted.predict(other)[:, 2:].sum(axis=1)
    assert p.mean() == pytest.approx(np.mean(other_counts > 1), abs=0.04)


def test_class_whose_weights_are_all_zero_is_refused() -> None:
    samples, counts = make_samples(12)
    with pytest.raises(ValueError, match="all footprints with N = 3 have weight 0"):
        LogisticClassifier(settings=LogisticSettings()).fit(
            LabelledSamples(samples=samples, counts=counts, weights=np.where(counts == 3, 0.0, 1.0))
        )


def test_model_of_other_features_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    package = make_fitted()[0].to_package("old")
    assert package.inputs["version"] == FACTS_VERSION
    LogisticClassifier.from_package(package)
    monkeypatch.setattr(LogisticClassifier, "inputs_version", FACTS_VERSION + 1)
    with pytest.raises(ModelPackageError, match=r"version \d of the inputs of 'logistic'.*train it anew"):
        LogisticClassifier.from_package(package)


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_scale_that_is_not_positive_is_refused(scale: float) -> None:
    package = make_fitted()[0].to_package()
    package.arrays["input_scale"][3] = scale
    with pytest.raises(ModelPackageError, match="input_scale is not positive"):
        LogisticClassifier.from_package(package)


def test_classes_that_training_lacks_have_no_probability() -> None:
    samples, counts = make_samples(12)
    classifier = LogisticClassifier(settings=LogisticSettings())
    classifier.fit(LabelledSamples(samples=samples, counts=np.where(counts > 1, 2, 1)))
    p = classifier.predict(samples)
    assert p[:, [0, 3, 4]].max() < 1e-12
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    assert p[counts > 1, 2].mean() > 0.8


def test_it_learns() -> None:
    classifier, samples, counts = make_fitted()
    other, other_counts = make_samples(12, seed=5)
    p = classifier.predict(other)[:, 2:].sum(axis=1)
    assert np.mean((p > 0.5) == (other_counts > 1)) > 0.85


def test_row_with_nan_is_nan_alone() -> None:
    classifier, samples, counts = make_fitted()
    image = np.array(samples.results[0].image)
    image[samples.results[0].footprints.labels == 7] = np.nan
    result = make_result(
        image, samples.results[0].footprints.labels, peaks=samples.results[0].footprints.peaks
    )
    p = classifier.predict(FootprintSamples([result]))
    assert np.flatnonzero(~np.isfinite(p).all(axis=1)).tolist() == [6]
    np.testing.assert_allclose(
        np.delete(p, 6, 0), np.delete(classifier.predict(samples)[: len(p)], 6, 0), atol=1e-6
    )
    # Such a row is left out of a fit.
    mixed = FootprintSamples([result, samples.results[1]])
    classifier.fit(LabelledSamples(samples=mixed, counts=counts))
    assert np.isfinite(classifier.predict(mixed)).sum() == 5 * (len(counts) - 1)


def test_too_few_footprints() -> None:
    samples, counts = make_samples(2)
    counts[0], counts[1] = 1, 2
    with pytest.raises(ValueError, match="8 usable footprints are too few for 16 components"):
        LogisticClassifier(settings=LogisticSettings()).fit(LabelledSamples(samples=samples, counts=counts))


def test_settings_refuse() -> None:
    with pytest.raises(SettingsError, match="features is 'log_aera' .did you mean 'log_area'"):
        LogisticSettings(features=("log_aera",))
    with pytest.raises(SettingsError, match="features has repeated names"):
        LogisticSettings(features=("log_area", "log_area"))
    with pytest.raises(SettingsError, match="n_components is 30, more than the 25 pixels"):
        LogisticSettings(n_components=30, cutout=CutoutSettings(size=5))


def test_fine_tuning_learns_what_has_changed_and_keeps_the_counts() -> None:
    """Of other data: every galaxy has a second one that nobody sees."""
    classifier, _, _ = make_fitted()
    samples, counts = make_samples(30, seed=2)
    train = LabelledSamples(samples=samples, counts=counts)
    classifier.fit_counts(train)
    classifier.fit_calibration(samples, counts)
    tail = classifier.tail_model
    other, other_counts = make_samples(8, seed=3)
    changed = LabelledSamples(samples=other, counts=2 * other_counts)
    before = split_probabilities(classifier.predict(other))[0].mean()
    classifier.fine_tune(changed)
    assert classifier.tail_model is tail is not None and classifier.calibration is None
    after = split_probabilities(classifier.predict(other))[0].mean()
    assert before < 0.6 and after > 0.8


def test_fine_tuning_needs_a_model() -> None:
    samples, counts = make_samples(8)
    with pytest.raises(RuntimeError, match="has no model"):
        LogisticClassifier(settings=LogisticSettings()).fine_tune(
            LabelledSamples(samples=samples, counts=counts)
        )


def test_scikit_learn_is_not_imported_to_predict() -> None:
    code = (
        "import sys; from lsst.meas.blendid.classifiers import LogisticClassifier; LogisticClassifier();"
        "sys.exit('sklearn' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

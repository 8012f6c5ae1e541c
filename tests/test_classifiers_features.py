# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""Tests of the classifier of footprint features."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lsst.meas.blendid.classifiers import (
    FeaturesClassifier,
    FeaturesConfig,
    FitOptions,
    LabelledSamples,
    classifier_registry,
)
from lsst.meas.blendid.classifiers.trees import TREE_ARRAYS, predict_trees
from lsst.meas.blendid.features import FEATURE_NAMES, FEATURES_VERSION, REFERENCE_FEATURES, measure_features
from lsst.meas.blendid.footprints import FootprintConfig, detect
from lsst.meas.blendid.metrics import score
from lsst.meas.blendid.model_package import ModelPackage, ModelPackageError
from lsst.meas.blendid.psf import kolmogorov_kernel, summarize_psf
from lsst.meas.blendid.samples import FootprintSamples
from lsst.meas.blendid.training import SimulatedScene
from lsst.pex.config import FieldValidationError
from toy_samples import make_samples


def make_config(**fields: object) -> FeaturesConfig:
    config = FeaturesConfig()
    settings = {
        "modelPackage": "",
        "features": list(REFERENCE_FEATURES),
        "iterations": 30,
        "leastSamples": 10,
    }
    for name, value in (settings | fields).items():
        setattr(config, name, value)
    return config


@pytest.fixture(scope="module")
def data() -> tuple[FootprintSamples, np.ndarray]:
    return make_samples(14)


@pytest.fixture(scope="module")
def fitted(data: tuple[FootprintSamples, np.ndarray]) -> FeaturesClassifier:
    classifier = FeaturesClassifier(make_config())
    classifier.fit(*data)
    return classifier


def test_probabilities_are_those_of_the_trees(
    fitted: FeaturesClassifier, data: tuple[FootprintSamples, np.ndarray]
) -> None:
    samples, counts = data
    x = measure_features(samples, REFERENCE_FEATURES)
    np.testing.assert_array_equal(fitted.inputs(samples), x)
    p = fitted.predict(samples)
    arrays = fitted.to_package().arrays
    assert set(arrays) == set(TREE_ARRAYS)
    np.testing.assert_array_equal(p, predict_trees(arrays, x))
    assert p.shape == (len(counts), 5)
    np.testing.assert_allclose(p.sum(axis=1), 1.0)


def test_it_learns(fitted: FeaturesClassifier) -> None:
    samples, counts = make_samples(14, seed=8)
    p = fitted.predict(samples)[:, 2:].sum(axis=1)
    scores = score(p, counts)
    assert scores.auc > 0.85
    assert p.mean() == pytest.approx(np.mean(counts > 1), abs=0.08)


def test_package_holds_everything(
    fitted: FeaturesClassifier, data: tuple[FootprintSamples, np.ndarray]
) -> None:
    package = ModelPackage.from_bytes(fitted.to_package("toy").to_bytes(), "toy")
    assert package.inputs["version"] == FEATURES_VERSION
    again = FeaturesClassifier.from_package(package)
    assert list(again.config.features) == list(REFERENCE_FEATURES)
    np.testing.assert_array_equal(again.predict(data[0]), fitted.predict(data[0]))


def test_all_features_are_the_default(data: tuple[FootprintSamples, np.ndarray]) -> None:
    assert list(FeaturesConfig().features) == list(FEATURE_NAMES)
    classifier = FeaturesClassifier(make_config(features=list(FEATURE_NAMES), iterations=3))
    classifier.fit(*data)
    assert np.isfinite(classifier.predict(data[0])).all()


def test_prepared_samples_need_no_images(
    fitted: FeaturesClassifier, data: tuple[FootprintSamples, np.ndarray]
) -> None:
    samples, _ = make_samples(4, seed=2)
    expected = fitted.predict(samples)
    assert fitted.prepare(samples)
    np.testing.assert_array_equal(fitted.predict(samples.without_images()), expected)


def test_the_same_trees_run_once(fitted: FeaturesClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    samples, _ = make_samples(4, seed=3)
    expected = fitted.predict(samples)
    again = FeaturesClassifier.from_package(fitted.to_package())
    other = fitted.to_package()
    other.arrays["baseline"] = other.arrays["baseline"] + 0.5
    with monkeypatch.context() as patch:
        patch.setattr("lsst.meas.blendid.classifiers.features.predict_trees", pytest.fail)
        first = again.predict(samples)
        np.testing.assert_array_equal(first, expected)
        # Whatever is done to what one has got, the next one gets the same.
        first[:] = 0.0
        np.testing.assert_array_equal(again.predict(samples), expected)
        one = samples.alone(1)
        np.testing.assert_array_equal(again.predict(one), expected[-len(one) :])
    assert not np.allclose(FeaturesClassifier.from_package(other).predict(samples), expected)


def test_weights_change_the_fit_and_not_the_prior(data: tuple[FootprintSamples, np.ndarray]) -> None:
    samples, counts = data
    weights = np.where(counts > 1, 5.0, 1.0)
    weighted = FeaturesClassifier(make_config(learningRate=0.02))
    weighted.fit(samples, counts, weights=weights)
    p = weighted.predict(samples)[:, 2:].sum(axis=1)
    assert p.mean() == pytest.approx(np.mean(counts > 1), abs=1e-4)
    uncorrected = predict_trees(
        weighted.to_package().arrays | {"class_factors": np.ones(5)}, weighted.inputs(samples)
    )
    assert uncorrected[:, 2:].sum(axis=1).mean() > p.mean() + 0.1


def test_validation_stops_and_is_noted(data: tuple[FootprintSamples, np.ndarray]) -> None:
    held_out = LabelledSamples(*make_samples(8, seed=4))
    lines: list[str] = []
    classifier = FeaturesClassifier(
        make_config(learningRate=1.0, iterations=100, patience=2, members=2, regularization=0.0)
    )
    classifier.fit(*data, options=FitOptions(validation=held_out, report=lines.append))
    assert len(classifier.history["blended_validation_loss"]) < 100
    assert "blended_validation_loss_1" in classifier.history
    assert len(lines) == 6


def test_members_are_averaged(data: tuple[FootprintSamples, np.ndarray]) -> None:
    def fit(seed: int, members: int) -> np.ndarray:
        classifier = FeaturesClassifier(make_config(members=members, featureShare=0.2))
        classifier.fit(*data, options=FitOptions(seed=seed))
        p = classifier.predict(data[0])[:, 2:].sum(axis=1)
        return np.log(p / (1.0 - p))

    np.testing.assert_allclose(fit(3, 2), 0.5 * (fit(3, 1) + fit(4, 1)), atol=1e-4)


def test_fine_tuning_goes_on_from_a_model(
    fitted: FeaturesClassifier, data: tuple[FootprintSamples, np.ndarray]
) -> None:
    samples, counts = make_samples(12, seed=6)
    # Another universe: half of what was blended is called so.
    rng = np.random.default_rng(0)
    fewer = np.where((counts > 1) & (rng.random(counts.size) < 0.5), 1, counts)
    tuned = FeaturesClassifier(make_config())
    tuned.fit(samples, fewer, options=FitOptions(start=fitted.to_package()))
    before = fitted.predict(samples)[:, 2:].sum(axis=1)
    after = tuned.predict(samples)[:, 2:].sum(axis=1)
    assert abs(after.mean() - np.mean(fewer > 1)) < 0.5 * abs(before.mean() - np.mean(fewer > 1))
    # The order of footprints is that of the model it comes from.
    assert np.all(np.diff(after[np.argsort(before)]) >= -1e-6)
    other = FeaturesClassifier(make_config(features=["area"]))
    with pytest.raises(ValueError, match="other features"):
        other.fit(samples, fewer, options=FitOptions(start=fitted.to_package()))


def test_footprint_that_cannot_be_measured_gives_nan(fitted: FeaturesClassifier) -> None:
    samples, _ = make_samples(4, seed=2)
    result = samples.results[0]
    image = result.image.copy()
    image[result.footprints.labels == 2] = np.nan
    broken = FootprintSamples([dataclasses.replace(result, image=image)])
    p = fitted.predict(broken)
    assert np.flatnonzero(np.isnan(p).any(axis=1)).tolist() == [1] and np.isnan(p[1]).all()
    counts = np.tile([1, 2], 8)
    classifier = FeaturesClassifier(make_config(leastSamples=2))
    with pytest.raises(ValueError, match="at least 10"):
        classifier.fit(broken, counts)


def test_fits_of_two_components_alone_do_not_classify(data: tuple[FootprintSamples, np.ndarray]) -> None:
    classifier = FeaturesClassifier(make_config(features=["area", "depth", "two_gain"], iterations=2))
    classifier.fit(*data)
    samples, _ = make_samples(4, seed=2)
    result = samples.results[0]
    image = result.image.copy()
    y, x = np.argwhere(result.footprints.labels == 3)[4]
    image[y, x] = np.nan
    broken = FootprintSamples([dataclasses.replace(result, image=image)])
    assert np.isfinite(classifier.inputs(broken)[2, 2])
    assert np.flatnonzero(np.isnan(classifier.predict(broken)).all(axis=1)).tolist() == [2]


def test_fine_tuning_with_weights_keeps_the_shares(data: tuple[FootprintSamples, np.ndarray]) -> None:
    samples, counts = data
    weights = np.where(counts > 1, 5.0, 1.0)
    start = FeaturesClassifier(make_config(learningRate=0.02))
    start.fit(samples, counts, weights=weights)
    share = np.mean(counts > 1)
    for again in (weights, None):
        tuned = FeaturesClassifier(make_config(learningRate=0.02))
        tuned.fit(samples, counts, weights=again, options=FitOptions(start=start.to_package()))
        p = tuned.predict(samples)[:, 2:].sum(axis=1)
        assert p.mean() == pytest.approx(share, abs=0.02)


def test_labels_of_one_kind_are_refused(data: tuple[FootprintSamples, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="are blended"):
        FeaturesClassifier(make_config()).fit(data[0], np.ones(len(data[0]), int))
    few = np.ones(len(data[0]), int)
    few[:3] = 2
    with pytest.raises(ValueError, match="3 of 392 usable"):
        FeaturesClassifier(make_config()).fit(data[0], few)


def test_no_model_is_an_error(data: tuple[FootprintSamples, np.ndarray]) -> None:
    with pytest.raises(RuntimeError, match="has no model"):
        FeaturesClassifier(make_config()).predict(data[0])


def test_damaged_package_is_refused(fitted: FeaturesClassifier) -> None:
    package = fitted.to_package()
    feature = package.arrays["node_feature"].copy()
    feature[0] = 49
    damaged = dataclasses.replace(package, arrays=package.arrays | {"node_feature": feature})
    with pytest.raises(ModelPackageError, match="does not exist"):
        FeaturesClassifier.from_package(damaged)
    fewer = dataclasses.replace(package, arrays=package.arrays | {"n_features": np.array([60])})
    with pytest.raises(ModelPackageError, match="the config names 49"):
        FeaturesClassifier.from_package(fewer)
    gone = {k: v for k, v in package.arrays.items() if k != "tree_start"}
    with pytest.raises(ModelPackageError, match="tree_start"):
        FeaturesClassifier.from_package(dataclasses.replace(package, arrays=gone))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learningRate", 0.0),
        ("iterations", 0),
        ("leaves", 1),
        ("featureShare", 1.5),
        ("features", ["colour"]),
    ],
)
def test_settings_that_make_no_sense_are_refused(field: str, value: object) -> None:
    with pytest.raises(FieldValidationError):
        make_config(**{field: value}).validate()


def test_lists_of_features_are_checked() -> None:
    with pytest.raises(ValueError, match="empty"):
        make_config(features=[]).validate()
    with pytest.raises(ValueError, match="repeated"):
        make_config(features=["area", "area"]).validate()


def test_it_is_registered_and_predicts_without_scikit_learn(
    fitted: FeaturesClassifier, tmp_path: Path
) -> None:
    assert classifier_registry["features"] is FeaturesClassifier
    path = str(tmp_path / "toy.blendid")
    fitted.to_package("toy").write(path)
    program = (
        "import sys\n"
        "from lsst.meas.blendid.classifiers import FeaturesClassifier\n"
        "from lsst.meas.blendid.model_package import ModelPackage\n"
        "from toy_samples import make_samples\n"
        f"classifier = FeaturesClassifier.from_package(ModelPackage.read({path!r}))\n"
        "print(classifier.predict(make_samples(2)[0]).shape, 'sklearn' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
    )
    assert done.stdout.split("\n")[0] == "(8, 5) False"


def test_last_digits_of_the_psf_do_not_move_probabilities() -> None:
    """Whoever computes the kernel of the PSF, the shipped model says the same."""
    pytest.importorskip("galsim")
    config = FeaturesConfig()
    assert config.modelPackage == "features-i-1"
    classifier = FeaturesClassifier(config)
    scene = SimulatedScene(seed=5, size=(512, 512)).load()

    def probabilities(change: float) -> np.ndarray:
        psf = summarize_psf(kolmogorov_kernel(3.5 * (1.0 + change), 29))
        found = detect(scene.masked_image, psf=psf, config=FootprintConfig())
        return classifier.probabilities(FootprintSamples([found], [scene.context]))

    reference = probabilities(0.0)
    assert len(reference) > 100
    for change in (1e-9, -1e-9, 3e-8):
        np.testing.assert_allclose(probabilities(change), reference, atol=1e-12)

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
from typing import Any

import numpy as np
import pytest
from lsst.meas.blendid.classifiers import (
    FeaturesClassifier,
    FeaturesConfig,
    FeaturesSettings,
    FitOptions,
    LabelledSamples,
    classifier_registry,
)
from lsst.meas.blendid.classifiers.trees import TREE_ARRAYS, TreeSettings, predict_trees
from lsst.meas.blendid.features import FEATURE_NAMES, FEATURES_VERSION, REFERENCE_FEATURES, measure_features
from lsst.meas.blendid.footprints import FootprintConfig, detect
from lsst.meas.blendid.images.psf import kolmogorov_kernel, summarize_psf
from lsst.meas.blendid.metrics import score
from lsst.meas.blendid.model_package import ModelPackage, ModelPackageError
from lsst.meas.blendid.model_settings import SettingsError
from lsst.meas.blendid.samples import FootprintSamples
from lsst.meas.blendid.training import SimulatedScene
from toy_samples import make_samples


def make_settings(
    *, features: tuple[str, ...] = REFERENCE_FEATURES, n_members: int = 1, **trees: Any
) -> FeaturesSettings:
    values = {"n_trees": 30, "min_samples": 10} | trees
    return FeaturesSettings(features=features, n_members=n_members, trees=TreeSettings(**values))


def make_labelled(n_side: int = 14, *, seed: int = 0) -> LabelledSamples:
    samples, counts = make_samples(n_side, seed=seed)
    return LabelledSamples(samples=samples, counts=counts)


@pytest.fixture(scope="module")
def data() -> LabelledSamples:
    return make_labelled()


@pytest.fixture(scope="module")
def fitted(data: LabelledSamples) -> FeaturesClassifier:
    classifier = FeaturesClassifier(settings=make_settings())
    classifier.fit(data)
    return classifier


def test_probabilities_are_those_of_the_trees(fitted: FeaturesClassifier, data: LabelledSamples) -> None:
    samples, counts = data.samples, data.counts
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


def test_package_holds_everything(fitted: FeaturesClassifier, data: LabelledSamples) -> None:
    package = ModelPackage.from_bytes(fitted.to_package("toy").to_bytes(), "toy")
    assert package.inputs["version"] == FEATURES_VERSION
    again = FeaturesClassifier.from_package(package)
    assert again.settings == make_settings()
    np.testing.assert_array_equal(again.predict(data.samples), fitted.predict(data.samples))


def test_all_features_are_the_default(data: LabelledSamples) -> None:
    assert FeaturesSettings().features == FEATURE_NAMES
    classifier = FeaturesClassifier(settings=make_settings(features=FEATURE_NAMES, n_trees=3))
    classifier.fit(data)
    assert np.isfinite(classifier.predict(data.samples)).all()


def test_prepared_samples_need_no_images(fitted: FeaturesClassifier, data: LabelledSamples) -> None:
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


def test_weights_change_the_fit_and_not_the_prior(data: LabelledSamples) -> None:
    samples, counts = data.samples, data.counts
    weights = np.where(counts > 1, 5.0, 1.0)
    weighted = FeaturesClassifier(settings=make_settings(learning_rate=0.02))
    weighted.fit(dataclasses.replace(data, weights=weights))
    p = weighted.predict(samples)[:, 2:].sum(axis=1)
    assert p.mean() == pytest.approx(np.mean(counts > 1), abs=1e-4)
    uncorrected = predict_trees(
        weighted.to_package().arrays | {"class_factors": np.ones(5)}, weighted.inputs(samples)
    )
    assert uncorrected[:, 2:].sum(axis=1).mean() > p.mean() + 0.1


def test_validation_stops_and_is_noted(data: LabelledSamples) -> None:
    held_out = make_labelled(8, seed=4)
    lines: list[str] = []
    classifier = FeaturesClassifier(
        settings=make_settings(learning_rate=1.0, n_trees=100, patience=2, n_members=2, regularization=0.0)
    )
    classifier.fit(data, held_out, FitOptions(report=lines.append))
    assert len(classifier.history["blended_validation_loss"]) < 100
    assert "blended_validation_loss_1" in classifier.history
    assert len(lines) == 6


def test_members_are_averaged(data: LabelledSamples) -> None:
    def fit(seed: int, members: int) -> np.ndarray:
        classifier = FeaturesClassifier(settings=make_settings(n_members=members, feature_share=0.2))
        classifier.fit(data, options=FitOptions(seed=seed))
        p = classifier.predict(data.samples)[:, 2:].sum(axis=1)
        return np.log(p / (1.0 - p))

    np.testing.assert_allclose(fit(3, 2), 0.5 * (fit(3, 1) + fit(4, 1)), atol=1e-4)


def test_fine_tuning_goes_on_from_a_model(fitted: FeaturesClassifier, data: LabelledSamples) -> None:
    samples, counts = make_samples(12, seed=6)
    # Other labels: half of what was blended is called so.
    rng = np.random.default_rng(0)
    fewer = np.where((counts > 1) & (rng.random(counts.size) < 0.5), 1, counts)
    tuned = FeaturesClassifier.from_package(fitted.to_package())
    lines: list[str] = []
    tuned.fine_tune(LabelledSamples(samples=samples, counts=fewer), options=FitOptions(report=lines.append))
    assert lines == [f"fine-tuned on {len(samples)} footprints"]
    assert tuned.to_package().metadata["prior"]["blended"] == pytest.approx(np.mean(fewer > 1), abs=1e-6)
    before = fitted.predict(samples)[:, 2:].sum(axis=1)
    after = tuned.predict(samples)[:, 2:].sum(axis=1)
    assert abs(after.mean() - np.mean(fewer > 1)) < 0.5 * abs(before.mean() - np.mean(fewer > 1))
    # The order of footprints is that of the model it comes from.
    assert np.all(np.diff(after[np.argsort(before)]) >= -1e-6)


def test_footprint_that_cannot_be_measured_gives_nan(fitted: FeaturesClassifier) -> None:
    samples, _ = make_samples(4, seed=2)
    result = samples.results[0]
    image = result.image.copy()
    image[result.footprints.labels == 2] = np.nan
    broken = FootprintSamples([dataclasses.replace(result, image=image)])
    p = fitted.predict(broken)
    assert np.flatnonzero(np.isnan(p).any(axis=1)).tolist() == [1] and np.isnan(p[1]).all()
    counts = np.tile([1, 2], 8)
    classifier = FeaturesClassifier(settings=make_settings(min_samples=2))
    with pytest.raises(ValueError, match="at least 10"):
        classifier.fit(LabelledSamples(samples=broken, counts=counts))


def test_fits_of_two_components_alone_do_not_classify(data: LabelledSamples) -> None:
    classifier = FeaturesClassifier(settings=make_settings(features=("area", "depth", "two_gain"), n_trees=2))
    classifier.fit(data)
    samples, _ = make_samples(4, seed=2)
    result = samples.results[0]
    image = result.image.copy()
    y, x = np.argwhere(result.footprints.labels == 3)[4]
    image[y, x] = np.nan
    broken = FootprintSamples([dataclasses.replace(result, image=image)])
    assert np.isfinite(classifier.inputs(broken)[2, 2])
    assert np.flatnonzero(np.isnan(classifier.predict(broken)).all(axis=1)).tolist() == [2]


def test_fine_tuning_with_weights_keeps_the_shares(data: LabelledSamples) -> None:
    samples, counts = data.samples, data.counts
    weights = np.where(counts > 1, 5.0, 1.0)
    start = FeaturesClassifier(settings=make_settings(learning_rate=0.02))
    start.fit(dataclasses.replace(data, weights=weights))
    share = np.mean(counts > 1)
    for again in (weights, None):
        tuned = FeaturesClassifier.from_package(start.to_package())
        tuned.fine_tune(dataclasses.replace(data, weights=again))
        p = tuned.predict(samples)[:, 2:].sum(axis=1)
        assert p.mean() == pytest.approx(share, abs=0.02)


def test_labels_of_one_kind_are_refused(data: LabelledSamples) -> None:
    classifier = FeaturesClassifier(settings=make_settings())
    with pytest.raises(ValueError, match="are blended"):
        classifier.fit(dataclasses.replace(data, counts=np.ones_like(data.counts)))
    few = np.ones_like(data.counts)
    few[:3] = 2
    with pytest.raises(ValueError, match="3 of 392 usable"):
        classifier.fit(dataclasses.replace(data, counts=few))


def test_no_model_is_an_error(data: LabelledSamples) -> None:
    with pytest.raises(RuntimeError, match="has no model"):
        FeaturesClassifier(settings=make_settings()).predict(data.samples)


def test_damaged_package_is_refused(fitted: FeaturesClassifier) -> None:
    package = fitted.to_package()
    feature = package.arrays["node_feature"].copy()
    feature[0] = 49
    damaged = dataclasses.replace(package, arrays=package.arrays | {"node_feature": feature})
    with pytest.raises(ModelPackageError, match="does not exist"):
        FeaturesClassifier.from_package(damaged)
    fewer = dataclasses.replace(package, arrays=package.arrays | {"n_features": np.array([60])})
    with pytest.raises(ModelPackageError, match="the settings name 49"):
        FeaturesClassifier.from_package(fewer)
    gone = {k: v for k, v in package.arrays.items() if k != "tree_start"}
    with pytest.raises(ModelPackageError, match="tree_start"):
        FeaturesClassifier.from_package(dataclasses.replace(package, arrays=gone))


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"learning_rate": 0.0}, r"learning_rate is 0\.0; it has to be more than 0"),
        ({"n_trees": 0}, "n_trees is 0; it has to be at least 1"),
        ({"n_leaves": 1}, "n_leaves is 1; it has to be at least 2"),
        ({"feature_share": 1.5}, r"feature_share is 1\.5; it has to be at most 1"),
        ({"features": ("colour",)}, "features is 'colour'.*one of .* names"),
        ({"features": ()}, "features has 0 values"),
        ({"features": ("area", "area")}, "features has repeated names"),
        ({"n_members": 0}, "n_members is 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        make_settings(**settings)


def test_package_of_format_1_gives_the_same(fitted: FeaturesClassifier, data: LabelledSamples) -> None:
    package = fitted.to_package()
    trees = package.metadata.pop("settings")["trees"]
    package.metadata["config"] = {
        "features": list(REFERENCE_FEATURES),
        "iterations": 30,
        "learningRate": trees["learning_rate"],
        "leaves": trees["n_leaves"],
        "depth": trees["max_depth"],
        "leastSamples": 10,
        "regularization": trees["regularization"],
        "featureShare": trees["feature_share"],
        "patience": trees["patience"],
        "members": 1,
    }
    again = FeaturesClassifier.from_package(package)
    assert again.settings == fitted.settings
    np.testing.assert_array_equal(again.predict(data.samples), fitted.predict(data.samples))


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
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])},
    )
    assert done.stdout.split("\n")[0] == "(8, 5) False"


def test_last_digits_of_the_psf_do_not_move_probabilities() -> None:
    """Whoever computes the kernel of the PSF, the shipped model says the same."""
    pytest.importorskip("galsim")
    config = FeaturesConfig()
    assert config.modelPackage == "features-2"
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

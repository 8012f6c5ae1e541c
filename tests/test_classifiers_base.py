# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of what all classifiers share."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from lsst.meas.blendid.calibration import CALIBRATION_METHODS, move_prior, replace_blended
from lsst.meas.blendid.classifiers import (
    BlendClassifier,
    BlendClassifierConfig,
    FitOptions,
    LabelledSamples,
    LogisticClassifier,
    LogisticSettings,
    PeaksClassifier,
    PeaksConfig,
    PeaksSettings,
    split_probabilities,
)
from lsst.meas.blendid.flags import flag_names
from lsst.meas.blendid.model_package import ModelPackage, ModelPackageError, point_source_depth
from lsst.meas.blendid.samples import FootprintSamples, SceneContext
from toy_samples import make_result, make_samples


def make_fitted(name: str, **settings: Any) -> tuple[BlendClassifier, FootprintSamples, np.ndarray]:
    samples, counts = make_samples(12)
    cls = {"peaks": PeaksClassifier, "logistic": LogisticClassifier}[name]
    classifier = cls(settings=cls.SettingsClass(**settings))
    classifier.fit(LabelledSamples(samples=samples, counts=counts))
    return classifier, samples, counts


class ConstantClassifier(BlendClassifier):
    """A classifier that learns nothing."""

    name = "constant"

    def _fit(self, train: LabelledSamples, validation: LabelledSamples | None, options: FitOptions) -> None:
        self._state = {}

    def predict(self, samples: FootprintSamples) -> np.ndarray:
        return np.full(len(samples), 0.5)


class SelectiveClassifier(ConstantClassifier):
    """A classifier that learns from the first hundred footprints."""

    name = "selective"

    def _fit(
        self, train: LabelledSamples, validation: LabelledSamples | None, options: FitOptions
    ) -> np.ndarray:
        super()._fit(train, validation, options)
        return np.arange(len(train.counts)) < 100


@pytest.mark.parametrize("name", ["peaks", "logistic"])
def test_package_round_trip_gives_the_same_numbers(name: str) -> None:
    classifier, samples, _ = make_fitted(name)
    package = ModelPackage.from_bytes(classifier.to_package("m").to_bytes())
    for config in (None, classifier.config):
        again = type(classifier).from_package(package, config)
        assert again.settings == classifier.settings
        np.testing.assert_array_equal(again.predict(samples), classifier.predict(samples))
    assert again.to_package("m").to_bytes() == classifier.to_package("m").to_bytes()
    assert package.metadata["prior"]["blended"] == pytest.approx(np.mean(make_samples(12)[1] > 1), abs=1e-6)


@pytest.mark.parametrize("name", ["peaks", "logistic"])
def test_prediction_is_a_calibrated_distribution(name: str) -> None:
    classifier, samples, counts = make_fitted(name)
    p_blended, p_n = split_probabilities(classifier.predict(samples))
    assert p_n is not None and p_n.shape == (len(samples), 5)
    np.testing.assert_allclose(p_n.sum(axis=1), 1.0)
    np.testing.assert_allclose(p_blended, p_n[:, 2:].sum(axis=1))
    shares = np.bincount(np.minimum(counts, 4), minlength=5) / len(counts)
    np.testing.assert_allclose(p_n.mean(axis=0), shares, atol=0.01)


@pytest.mark.parametrize("name", ["peaks", "logistic"])
def test_no_footprints_give_no_probabilities(name: str) -> None:
    classifier, _, _ = make_fitted(name)
    empty = make_result(np.zeros((40, 40)), np.zeros((40, 40), np.int32))
    for samples in (FootprintSamples([]), FootprintSamples([empty])):
        assert classifier.predict(samples).shape == (0, 5)
        assert all(flag.shape == (0,) for flag in classifier.find_flags(samples).values())


@pytest.mark.parametrize("cls", [PeaksClassifier, LogisticClassifier])
def test_without_model(cls: type[BlendClassifier]) -> None:
    samples, _ = make_samples(3)
    config = cls.ConfigClass()
    config.modelPackage = ""
    for classifier in (cls(config), cls(settings=cls.SettingsClass())):
        assert classifier.package is None
        with pytest.raises(RuntimeError, match=r"has no model: set config\.modelPackage"):
            classifier.predict(samples)
        with pytest.raises(RuntimeError, match="has no model"):
            classifier.to_package()
        with pytest.raises(RuntimeError, match="has no model"):
            classifier.fine_tune(LabelledSamples(samples=samples, counts=np.arange(len(samples)) % 3))


@pytest.mark.parametrize("cls", [PeaksClassifier, LogisticClassifier])
def test_default_config_names_a_shipped_model_that_fits(cls: type[BlendClassifier]) -> None:
    samples, counts = make_samples(12)
    classifier = cls()
    assert classifier.package is not None and classifier.package.name == cls.ConfigClass().modelPackage
    p, _ = split_probabilities(classifier.predict(samples))
    assert np.isfinite(p).all() and p[counts > 1].mean() > p[counts == 1].mean()


@pytest.mark.parametrize("name", ["peaks", "logistic"])
def test_labels_of_one_kind_are_refused(name: str) -> None:
    classifier, samples, counts = make_fitted(name)
    expected = classifier.predict(samples)
    for labels, n_blended in [(np.ones_like(counts), 0), (np.full_like(counts, 2), 288)]:
        labelled = LabelledSamples(samples=samples, counts=labels)
        for call in (classifier.fit, classifier.fine_tune):
            with pytest.raises(ValueError, match=f"{n_blended} of the 288 training footprints are blended"):
                call(labelled)
    # What it had learned is left as it was.
    np.testing.assert_array_equal(classifier.predict(samples), expected)


def test_package_of_another_classifier() -> None:
    package = make_fitted("peaks")[0].to_package("m")
    with pytest.raises(ModelPackageError, match="classifier 'peaks', not of 'logistic'"):
        LogisticClassifier.from_package(package)


def test_a_package_brings_its_settings() -> None:
    classifier, samples, _ = make_fitted("logistic", n_components=5, features=("log_area",))
    again = LogisticClassifier.from_package(classifier.to_package("m"))
    assert again.settings == LogisticSettings(n_components=5, features=("log_area",))
    np.testing.assert_array_equal(again.predict(samples), classifier.predict(samples))
    with pytest.raises(ValueError, match="the settings that it was trained with; give no others"):
        LogisticClassifier(settings=LogisticSettings(), package=classifier.to_package("m"))


@pytest.mark.parametrize("name", ["peaks", "logistic"])
def test_packages_of_format_1_are_read(name: str) -> None:
    """They have a config, with the names of pex_config and some fields that are of no training."""
    classifier, samples, _ = make_fitted(name, **({} if name == "peaks" else {"n_components": 5}))
    old = classifier.to_package("m")
    del old.metadata["settings"]
    old.metadata["config"] = (
        {"threshold": 5.0, "maxCount": 6}
        if name == "peaks"
        else {
            "cutout.size": 23,
            "cutout.zeroOutside": True,
            "cutout.normalization": "l2",
            "nComponents": 5,
            "regularization": 1.0,
            "features": list(classifier.settings.features),
        }
    )
    again = type(classifier).from_package(old)
    assert again.settings == classifier.settings
    np.testing.assert_array_equal(again.predict(samples), classifier.predict(samples))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"novelty": 3}, "novelty: there is no such setting"),
        ({"n_component": 3}, r"n_component: .*did you mean 'n_components'"),
        ({"n_components": "many"}, "n_components is 'many', not an integer"),
        ({"cutout": {"shape": "round"}}, r"cutout\.shape: there is no such setting"),
        ({"cutout": {"size": 22}}, r"cutout\.size is 22, an even number"),
        ({"cutout": 3}, "cutout is 3, not a group of settings"),
    ],
)
def test_settings_of_another_release_are_named(change: dict[str, object], match: str) -> None:
    package = make_fitted("logistic")[0].to_package("m")
    package.metadata["settings"] |= change
    with pytest.raises(ModelPackageError, match=f"{match}.*Upgrade lsst-meas-blendid or the plugin"):
        LogisticClassifier.from_package(package)


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        (["log_area"], "not groups facts"),
        ({"facts": ["log_area"], "colours": []}, "not groups facts"),
        ({"facts": "log_area"}, "not a list of different names"),
        ({"facts": ["log_area", "log_area"]}, "not a list of different names"),
        ({"facts": ["log_aera"]}, "no column 'log_aera' of facts.*log_area"),
        ({"facts": [[1]]}, "no column .* of facts"),
    ],
)
def test_columns_of_another_release_are_named(columns: object, match: str) -> None:
    package = make_fitted("peaks")[0].to_package("m")
    assert "log_area" in package.metadata["columns"]["facts"]
    package.metadata["columns"] = columns
    with pytest.raises(ModelPackageError, match=match):
        PeaksClassifier.from_package(package)


def test_a_package_names_its_columns_in_its_order() -> None:
    package = make_fitted("peaks")[0].to_package("m")
    package.metadata["columns"] = {"facts": ["n_peaks", "log_area"]}
    classifier = PeaksClassifier.from_package(package)
    samples, _ = make_samples(4)
    facts = classifier.count_inputs(samples)
    np.testing.assert_array_equal(facts[:, 0], np.minimum(samples.n_peaks, 5))
    assert facts.shape == (len(samples), 2)
    assert classifier.to_package("m").metadata["columns"] == package.metadata["columns"]
    # One made before packages named columns looks at all that there were.
    del package.metadata["columns"]
    assert PeaksClassifier.from_package(package).columns == dict(PeaksClassifier.known_columns)


@pytest.mark.parametrize("name", ["peaks", "logistic"])
def test_unusable_arrays_are_refused(name: str) -> None:
    classifier, _, _ = make_fitted(name)
    package = classifier.to_package("m")
    key = next(iter(package.arrays))
    missing = ModelPackage(
        package.classifier, package.metadata, {k: v for k, v in package.arrays.items() if k != key}
    )
    with pytest.raises(ModelPackageError, match=f"lacks array '{key}'"):
        type(classifier).from_package(missing)
    cut = ModelPackage(
        package.classifier, package.metadata, package.arrays | {key: package.arrays[key][..., 1:]}
    )
    with pytest.raises(ModelPackageError, match="unusable arrays"):
        type(classifier).from_package(cut)


def test_columns_of_a_newer_release_are_named() -> None:
    package = make_fitted("peaks")[0].to_package("m")
    package.metadata["columns"] = {"facts": ["log_areas"]}
    match = r"no column 'log_areas' of facts \(did you mean 'log_area'\?\)\. Upgrade lsst-meas-blendid"
    with pytest.raises(ModelPackageError, match=match):
        PeaksClassifier.from_package(package)


@pytest.mark.parametrize("name", ["peaks", "logistic"])
def test_a_fit_that_fails_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, samples, counts = make_fitted(name)
    classifier.fit_counts(LabelledSamples(samples=samples, counts=counts))
    classifier.fit_calibration(samples, np.minimum(counts, 1) + (counts > 2))
    before, package = classifier.probabilities(samples), classifier.to_package("m").to_bytes()

    def fail(counts: np.ndarray) -> None:
        raise MemoryError

    # The last step of a fit.
    monkeypatch.setattr(classifier, "_record_prior", fail)
    half = LabelledSamples(samples=samples, counts=counts).select(np.arange(len(counts)) % 2 == 0)
    with pytest.raises(MemoryError):
        classifier.fit(half)
    np.testing.assert_array_equal(classifier.probabilities(samples), before)
    assert classifier.to_package("m").to_bytes() == package


def test_flag_outside_the_trained_range() -> None:
    classifier, samples, _ = make_fitted("peaks")
    result = samples.results[0]
    depth = point_source_depth(1.0, result.psf.image)
    cases = [
        ({"psf_sigma": [1.5, 1.6], "depth": None}, False),
        ({"psf_sigma": [2.5, 2.6], "depth": None}, True),
        ({"psf_sigma": [1.6, 1.6], "depth": [depth - 0.1, depth]}, False),
        ({"psf_sigma": [1.6, 1.6], "depth": [depth + 0.5, depth + 1.0]}, True),
    ]
    for inputs, outside in cases:
        loaded = PeaksClassifier.from_package(classifier.to_package("m", inputs=inputs))
        flags = loaded.find_flags(FootprintSamples([result], [SceneContext(zero_point=31.4)]))
        assert set(flags) <= set(flag_names())
        assert flags["outside_model_range"].tolist() == [outside] * len(result.footprints)
    # Without a zero point the depth is unknown, and not looked at.
    assert not loaded.find_flags(FootprintSamples([result]))["outside_model_range"].any()


def test_logistic_flags_large_footprints() -> None:
    classifier, _, _ = make_fitted("logistic")
    labels = np.zeros((80, 80), np.int32)
    labels[2:6, 2:6], labels[10:60, 30] = 1, 2
    flags = classifier.find_flags(FootprintSamples([make_result(np.ones((80, 80)), labels)]))
    assert flags["too_large"].tolist() == [False, True] and set(flags) <= set(flag_names())


def test_a_classifier_without_state_can_be_packed() -> None:
    samples, counts = make_samples(3)
    classifier = ConstantClassifier()
    classifier.fit(LabelledSamples(samples=samples, counts=counts))
    package = ModelPackage.from_bytes(classifier.to_package("c").to_bytes())
    again = ConstantClassifier.from_package(package)
    p, p_n = split_probabilities(again.predict(samples))
    assert p_n is None and (p == 0.5).all()


def test_split_probabilities_marks_rows_that_are_not_finite() -> None:
    p, p_n = split_probabilities(np.array([0.2, np.nan, 1.0 + 1e-9]))
    assert p_n is None
    np.testing.assert_array_equal(p, [0.2, np.nan, 1.0])
    rows = np.array([[0.1, 0.2, 0.3, 0.2, 0.2], [0.0, 1.0, np.nan, 0.0, 0.0]])
    p, p_n = split_probabilities(rows)
    assert p_n is not None and p[0] == pytest.approx(0.7) and np.isnan(p[1]) and np.isnan(p_n[1]).all()


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (np.zeros((3, 4)), "shape"),
        (np.zeros(()), "shape"),
        (np.array([1.5]), "not in"),
        (np.array([-0.1]), "not in"),
        (np.full((2, 5), 0.1), "sum to 1"),
    ],
)
def test_split_probabilities_refuses(bad: np.ndarray, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        split_probabilities(bad)


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
def test_calibration_travels_with_the_model(method: str) -> None:
    classifier, samples, counts = make_fitted("logistic")
    other, other_counts = make_samples(12, seed=1)
    calibration = classifier.fit_calibration(other, other_counts, method=method)
    again = type(classifier).from_package(ModelPackage.from_bytes(classifier.to_package("m").to_bytes()))
    assert again.calibration == calibration
    raw, p_n = again.predict(samples), again.probabilities(samples)
    np.testing.assert_allclose(p_n.sum(axis=1), 1.0)
    np.testing.assert_allclose(p_n[:, 2:].sum(axis=1), calibration.apply(raw[:, 2:].sum(axis=1)))
    again.config.doCalibrate = False
    np.testing.assert_array_equal(again.probabilities(samples), raw)


def test_stated_prior_is_that_of_the_probabilities() -> None:
    """From the shares that the calibration was fitted with, or those of the training without one."""
    classifier, samples, counts = make_fitted("logistic")
    natural = float(np.mean(counts > 1))
    assert classifier.describe_probabilities() == {
        "prior": "natural",
        "calibration": "none",
        "prior_blended": pytest.approx(natural, abs=1e-5),
    }
    classifier.config.priorBlended = 0.1
    expected = move_prior(classifier.predict(samples), natural, 0.1)
    np.testing.assert_allclose(classifier.probabilities(samples), expected, atol=1e-5)
    other, other_counts = make_samples(12, seed=1)
    used = np.ones(len(other_counts), dtype=bool)
    used[np.flatnonzero(other_counts > 1)[::2]] = False
    calibration = classifier.fit_calibration(other.select(used), other_counts[used], method="beta")
    share = calibration.blended_share
    assert share is not None and share < natural - 0.05
    raw = classifier.predict(samples)
    calibrated = replace_blended(raw, calibration.apply(raw[:, 2:].sum(axis=1)))
    np.testing.assert_allclose(classifier.probabilities(samples), move_prior(calibrated, share, 0.1))
    assert classifier.describe_probabilities() == {
        "prior": "stated",
        "calibration": "beta",
        "prior_blended": 0.1,
    }


def test_damaged_calibration_is_refused() -> None:
    classifier, _, _ = make_fitted("peaks")
    package = classifier.to_package("m")
    package.metadata["calibration"] = {"method": "beta", "parameters": [1.0]}
    with pytest.raises(ModelPackageError, match="calibration 'beta' has 1 parameters, not 3"):
        PeaksClassifier.from_package(package)


@pytest.mark.parametrize("prior", [0.0, 1.0, -0.1, 1.1])
def test_impossible_prior_is_refused(prior: float) -> None:
    with pytest.raises(ValueError):
        PeaksConfig().priorBlended = prior


def test_stated_prior_needs_a_known_one() -> None:
    config = BlendClassifierConfig()
    config.priorBlended = 0.2
    with pytest.raises(ValueError, match="does not tell its prior; leave out priorBlended"):
        ConstantClassifier(config).probabilities(make_samples(3)[0])
    assert ConstantClassifier().describe_probabilities() == {"prior": "natural", "calibration": "none"}


# What `fit` and `fine_tune` of the base class do


def test_prior_is_that_of_what_was_learned_from() -> None:
    samples, counts = make_samples(12)
    classifier = SelectiveClassifier()
    classifier.fit(LabelledSamples(samples=samples, counts=counts))
    shares = np.bincount(np.minimum(counts[:100], 4), minlength=5) / 100.0
    np.testing.assert_allclose(classifier.to_package().metadata["prior"]["n"], shares, atol=1e-6)


def test_a_fit_forgets_what_was_known_of_another_one() -> None:
    classifier, _, _ = make_fitted("peaks")
    samples, counts = make_samples(25, seed=3)
    labelled = LabelledSamples(samples=samples, counts=counts)
    classifier.fit(labelled)
    classifier.fit_calibration(samples, counts)
    classifier.fit_counts(dataclasses.replace(labelled, counts=counts + 3 * (counts > 2)))
    assert classifier.tail_model is not None
    loaded = PeaksClassifier.from_package(classifier.to_package("m"))
    loaded.fit(labelled)
    assert (loaded.package, loaded.calibration, loaded.tail_model) == (None, None, None)
    np.testing.assert_allclose(loaded.predict(samples), classifier.predict(samples))


@pytest.mark.parametrize(("n_images", "method"), [(1, "platt"), (2, "beta")])
def test_fine_tuning_calibrates_what_cannot_learn_on(n_images: int, method: str) -> None:
    """Probabilities that are off are mended, and all else stays."""
    classifier, _, _ = make_fitted("peaks")
    samples, counts = make_samples(25, seed=3)
    crowded = counts + 3 * (counts > 2)
    classifier.fit_calibration(samples, counts)
    classifier.fit_counts(LabelledSamples(samples=samples, counts=crowded))
    loaded = PeaksClassifier.from_package(classifier.to_package("m"))
    raw, tail = loaded.predict(samples), loaded.tail_mean(samples)
    rng = np.random.default_rng(0)
    # Elsewhere most galaxies of blends are too faint to count.
    fewer = np.where((counts > 1) & (rng.random(len(counts)) < 0.6), 1, counts)
    few = samples.scene_index < n_images
    lines: list[str] = []
    loaded.fine_tune(
        LabelledSamples(samples=samples, counts=fewer).select(few), options=FitOptions(report=lines.append)
    )
    assert loaded.package is None
    assert loaded.calibration is not None
    assert loaded.calibration.method == method
    assert lines == [f"peaks cannot be fitted further: its probabilities are calibrated anew ({method})"]
    p, _ = split_probabilities(loaded.probabilities(samples))
    assert p[few].mean() == pytest.approx(np.mean(fewer[few] > 1), abs=0.02)
    # The old calibration is gone, what the model learned is not.
    np.testing.assert_array_equal(loaded.predict(samples), raw)
    np.testing.assert_array_equal(loaded.tail_mean(samples), tail)
    again = PeaksClassifier.from_package(loaded.to_package("t"))
    np.testing.assert_array_equal(again.probabilities(samples), loaded.probabilities(samples))


def test_a_fine_tuning_that_fails_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, samples, counts = make_fitted("logistic")
    calibration = classifier.fit_calibration(samples, counts)
    before = classifier.probabilities(samples)

    def fail(*_args: object) -> None:
        raise ValueError("none is usable")

    monkeypatch.setattr(classifier, "_fine_tune", fail)
    with pytest.raises(ValueError, match="none is usable"):
        classifier.fine_tune(LabelledSamples(samples=samples, counts=counts))
    assert classifier.calibration is calibration
    np.testing.assert_array_equal(classifier.probabilities(samples), before)


def test_weights_do_not_move_the_shares() -> None:
    classifier, samples, counts = make_fitted("peaks")
    labelled = LabelledSamples(samples=samples, counts=counts)
    weighted = dataclasses.replace(labelled, weights=np.where(counts > 1, 3.0, 1.0))
    other = PeaksClassifier(settings=PeaksSettings())
    other.fit(weighted)
    np.testing.assert_allclose(
        other.predict(samples).mean(axis=0), classifier.predict(samples).mean(axis=0), atol=0.03
    )

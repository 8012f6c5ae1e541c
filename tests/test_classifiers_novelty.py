# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of how unlike those of training footprints are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.classifiers import (
    FeaturesClassifier,
    FeaturesSettings,
    LabelledSamples,
    classifier_registry,
)
from lsst.meas.blendid.classifiers import novelty as module
from lsst.meas.blendid.classifiers.novelty import MAX_NOVELTY, NoveltyModel, novelty_columns
from lsst.meas.blendid.classifiers.trees import TreeSettings
from lsst.meas.blendid.features import CONTEXT_FEATURES, FEATURE_NAMES, TWO_COMPONENT_COLUMNS
from lsst.meas.blendid.features.facts import FACT_NAMES
from lsst.meas.blendid.model_package import ModelPackage, ModelPackageError
from lsst.meas.blendid.samples import FootprintSamples, SceneContext
from scipy.stats import norm
from sklearn.neighbors import NearestNeighbors
from toy_samples import make_result, make_samples, make_toy

COLUMNS = ("a", "b", "c", "d")


def draw(n: int, seed: int) -> np.ndarray:
    """Skewed, correlated and discrete columns, (n, 4)."""
    rng = np.random.default_rng(seed)
    size = rng.lognormal(1.0, 0.8, n)
    return np.column_stack(
        [size, size**2 * rng.lognormal(0.0, 0.1, n), rng.poisson(size), rng.normal(0.0, 1.0, n)]
    )


def fit(n: int = 40_000, seed: int = 1) -> NoveltyModel:
    groups = np.arange(n) % 20
    model = NoveltyModel.fit(draw(n, seed), COLUMNS, groups, np.random.default_rng(0))
    assert model is not None
    return model


def test_novelty_is_a_false_alarm_rate() -> None:
    novelty = fit().judge(draw(60_000, 2))
    assert novelty.min() >= 0.0 and novelty.max() <= MAX_NOVELTY
    for level in (0.3, 1.0, 2.0, 3.0):
        rate = 10.0**-level
        # The noise of both halves of the training and of the test, and of references that are few.
        assert np.mean(novelty >= level) == pytest.approx(rate, rel=0.1, abs=5.0 * np.sqrt(rate / 20_000))


def test_what_lies_outside_is_novel() -> None:
    model = fit()
    usual = np.median(draw(1000, 3), axis=0)
    rows = np.array([usual] * 4)
    # Each value is usual by itself, but not with the others.
    rows[1, :2] = 12.0, 9.0
    rows[2, 3] = 9.0
    rows[3, 3] = np.nan
    found = model.judge(rows)
    assert found[0] < 1.0
    assert found[1] > 3.0 and found[2] > 3.0
    assert np.isnan(found[3])


def test_farther_is_not_less_novel() -> None:
    model = fit(8000)
    rows = np.tile(np.median(draw(1000, 3), axis=0), (40, 1))
    rows[:, 3] = np.linspace(0.0, 30.0, 40)
    found = model.judge(rows)
    assert np.all(np.diff(found[5:]) >= -1e-6) and found[-1] > 4.0


def test_few_footprints_tell_nothing() -> None:
    rng = np.random.default_rng(0)
    one_sky = np.zeros(5000, dtype=int)
    assert NoveltyModel.fit(draw(5000, 1), COLUMNS, one_sky, rng) is None
    assert NoveltyModel.fit(draw(300, 1), COLUMNS, np.arange(300) % 4, rng) is None


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 400), st.integers(1, 8))
def test_distances_are_those_of_scikit_learn(seed: int, n: int, axes: int) -> None:
    rng = np.random.default_rng(seed)
    references = rng.normal(size=(n, axes)).astype(np.float32)
    places = rng.normal(size=(37, axes)).astype(np.float32)
    expected = NearestNeighbors(n_neighbors=3).fit(references).kneighbors(places)[0][:, 2]
    np.testing.assert_allclose(module._distances(places, references), expected, rtol=1e-3, atol=2e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(200, 3000))
def test_columns_become_normal(seed: int, n: int) -> None:
    x = np.random.default_rng(seed).lognormal(0.0, 1.0, (n, 1))
    normal = module._make_normal(x, *module._find_quantiles(x))
    # Between 65 quantiles the ranks are nearly those of each value.
    order = np.argsort(x[:, 0])
    middle = slice(n // 10, -n // 10)
    expected = norm.ppf((np.arange(n) + 0.5) / n)
    np.testing.assert_allclose(normal[order, 0][middle], expected[middle], atol=0.15)
    assert np.all(np.diff(normal[order, 0]) >= 0.0)


def test_columns_of_classifiers() -> None:
    assert novelty_columns(()) == FACT_NAMES
    chosen = novelty_columns(FEATURE_NAMES)
    assert "area" in chosen and not {*CONTEXT_FEATURES, *TWO_COMPONENT_COLUMNS} & set(chosen)
    # With nothing but what is left out, what is known anyway.
    assert novelty_columns(CONTEXT_FEATURES) == FACT_NAMES
    for name in ("features", "muygps", "cnn", "ensemble"):
        cls = classifier_registry[name]
        assert set(cls(settings=cls.SettingsClass()).novelty_columns) <= set(FEATURE_NAMES)


@pytest.fixture(scope="module")
def model() -> FeaturesClassifier:
    """A classifier that learned from two pieces of sky."""
    parts = [make_samples(16, seed=seed) for seed in (1, 2, 4, 5)]
    samples = FootprintSamples.join([part[0] for part in parts])
    data = LabelledSamples(samples=samples, counts=np.concatenate([part[1] for part in parts]))
    classifier = FeaturesClassifier(settings=FeaturesSettings(trees=TreeSettings(n_trees=3, min_samples=10)))
    classifier.fit(data)
    classifier.fit_novelty(data)
    return classifier


def test_a_package_keeps_it(model: FeaturesClassifier) -> None:
    samples, _ = make_samples(8, seed=6)
    before = model.novelty(samples)
    assert np.isfinite(before).all() and before.max() < 4.0
    package = ModelPackage.from_bytes(model.to_package("kept").to_bytes())
    after = FeaturesClassifier.from_package(package).novelty(samples)
    np.testing.assert_allclose(after, before, atol=0.01)


def test_light_of_another_kind_is_novel(model: FeaturesClassifier) -> None:
    detection, _ = make_toy(8, seed=7)
    # Rows of a bright track through all, as of a satellite.
    image = detection.image.copy()
    image[::4] += 400.0
    strange = FootprintSamples([make_result(image, detection.footprints.labels)], [SceneContext("i", 31.4)])
    assert np.median(model.novelty(strange)) > 3.0


def test_without_a_model_nothing_is_said() -> None:
    classifier = FeaturesClassifier(settings=FeaturesSettings())
    samples, _ = make_samples(3, seed=1)
    assert np.isnan(classifier.novelty(samples)).all()


def test_damaged_packages(model: FeaturesClassifier) -> None:
    package = model.to_package("damaged")

    def changed(columns: object = None, **arrays: np.ndarray) -> ModelPackage:
        metadata = dict(package.metadata)
        if columns is not None:
            metadata["novelty"] = columns
        return ModelPackage(package.classifier, metadata, package.arrays | arrays)

    columns = package.metadata["novelty"]
    with pytest.raises(ModelPackageError, match="no column 'areas' of novelty.*area"):
        FeaturesClassifier.from_package(changed(["areas", *columns[1:]]))
    with pytest.raises(ModelPackageError, match="list of different names"):
        FeaturesClassifier.from_package(changed([columns[0]] * len(columns)))
    with pytest.raises(ModelPackageError, match="novelty_knots has shape"):
        FeaturesClassifier.from_package(changed(columns[1:]))
    with pytest.raises(ModelPackageError, match="novelty_tail does not increase"):
        FeaturesClassifier.from_package(changed(novelty_tail=package.arrays["novelty_tail"][::-1]))
    with pytest.raises(ModelPackageError, match="novelty_references is not finite"):
        references = np.full_like(package.arrays["novelty_references"], np.inf)
        FeaturesClassifier.from_package(changed(novelty_references=references))
    lacking = dataclasses.replace(
        changed(), arrays={k: v for k, v in package.arrays.items() if "tail" not in k}
    )
    with pytest.raises(ModelPackageError, match="lacks array 'novelty_tail'"):
        FeaturesClassifier.from_package(lacking)

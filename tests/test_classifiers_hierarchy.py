# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of P(N) by a hierarchy of yes-or-no questions."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.classifiers import (
    FeaturesSettings,
    FitOptions,
    HierarchyClassifier,
    HierarchySettings,
    LabelledSamples,
    LogisticClassifier,
    LogisticSettings,
    split_probabilities,
)
from lsst.meas.blendid.classifiers.hierarchy import QUESTIONS, combine_answers
from lsst.meas.blendid.classifiers.trees import TreeSettings
from lsst.meas.blendid.cutouts import CutoutSettings
from lsst.meas.blendid.features import REFERENCE_FEATURES
from lsst.meas.blendid.model_package import ModelPackage, ModelPackageError
from lsst.meas.blendid.model_settings import ModelSettings, SettingsError
from toy_samples import make_samples

_P = st.floats(0.0, 1.0)


@given(_P, _P, _P, _P)
def test_answers_make_probabilities(several: float, one: float, three: float, four: float) -> None:
    """The products along the tree of questions, written out as all ways through it."""
    (p,) = combine_answers(
        dict(zip(QUESTIONS, (np.array([v]) for v in (several, one, three, four)), strict=True))
    )
    assert p.min() >= 0.0
    assert p.sum() == pytest.approx(1.0)
    expected = np.zeros(5)
    for yes in itertools.product((True, False), repeat=4):
        weight = np.prod([v if y else 1.0 - v for v, y in zip((several, one, three, four), yes, strict=True)])
        answers = dict(zip(QUESTIONS, yes, strict=True))
        if not answers["several"]:
            n = 1 if answers["one"] else 0
        elif not answers["three"]:
            n = 2
        else:
            n = 4 if answers["four"] else 3
        expected[n] += weight
    np.testing.assert_allclose(p, expected, atol=1e-12)


def test_questions_are_asked_where_the_number_is_open() -> None:
    samples, _ = make_samples(3)
    counts = np.resize(np.arange(7), len(samples))
    weights = 1.0 + np.arange(len(samples))
    labelled = LabelledSamples(samples=samples, counts=counts, weights=weights, sky=np.arange(len(samples)))
    about = {"several": (0, 2), "one": (0, 1), "three": (2, 3), "four": (3, 4)}
    assert set(QUESTIONS) == set(about)
    for name, (low, first_yes) in about.items():
        asked = QUESTIONS[name].ask(labelled)
        rows = (counts >= low) & ((counts < 2) | (name != "one"))
        assert asked.sky is not None
        np.testing.assert_array_equal(asked.sky, np.flatnonzero(rows))
        np.testing.assert_array_equal(asked.weights, weights[rows])
        np.testing.assert_array_equal(asked.samples.bbox, samples.bbox[rows])
        # As a classifier of blends is taught it: two galaxies mean yes.
        np.testing.assert_array_equal(asked.counts, np.where(counts[rows] >= first_yes, 2, 1))


def test_an_answer_that_is_not_there_leaves_nothing() -> None:
    answers = {name: np.array([0.5, 0.5]) for name in QUESTIONS}
    answers["four"] = np.array([np.nan, 0.5])
    p = combine_answers(answers)
    assert np.isnan(p[0]).all()
    assert np.isfinite(p[1]).all()


MEMBER = LogisticSettings(n_components=6)


def make_labelled(n_side: int, *, seed: int = 0) -> LabelledSamples:
    samples, counts = make_samples(n_side, seed=seed)
    return LabelledSamples(samples=samples, counts=counts)


def make_untrained(member: str = "logistic", member_settings: ModelSettings = MEMBER) -> HierarchyClassifier:
    return HierarchyClassifier(settings=HierarchySettings(member=member, member_settings=member_settings))


@pytest.fixture(scope="module")
def data() -> LabelledSamples:
    return make_labelled(22)


@pytest.fixture(scope="module")
def fitted(data: LabelledSamples) -> HierarchyClassifier:
    classifier = make_untrained()
    classifier.fit(data)
    return classifier


def test_each_question_is_the_member_fitted_to_it(fitted: HierarchyClassifier, data: LabelledSamples) -> None:
    other, _ = make_samples(8, seed=3)
    answers = {}
    for name, question in QUESTIONS.items():
        member = LogisticClassifier(settings=MEMBER)
        member.fit(question.ask(data))
        answers[name] = split_probabilities(member.predict(other))[0]
    p_n = fitted.predict(other)
    np.testing.assert_allclose(p_n, combine_answers(answers), atol=1e-12)
    # P(blended) is that of the classifier itself.
    np.testing.assert_allclose(p_n[:, 2:].sum(axis=1), answers["several"])


def test_it_is_as_good_as_the_direct_way(fitted: HierarchyClassifier, data: LabelledSamples) -> None:
    samples, counts = make_samples(16, seed=4)
    direct = LogisticClassifier(settings=MEMBER)
    direct.fit(data)
    rows, classes = np.arange(len(counts)), np.minimum(counts, 4)
    scores = [np.log(model.predict(samples)[rows, classes]).mean() for model in (fitted, direct)]
    shares = np.bincount(np.minimum(data.counts, 4)) / len(data.counts)
    assert scores[0] > np.log(shares[classes]).mean() + 0.2
    assert scores[0] > scores[1] - 0.05


def test_package_holds_the_members(fitted: HierarchyClassifier, data: LabelledSamples) -> None:
    samples = data.samples
    package = ModelPackage.from_bytes(fitted.to_package("toy").to_bytes())
    assert sorted(package.metadata["members"]) == sorted(QUESTIONS)
    again = HierarchyClassifier.from_package(package)
    np.testing.assert_allclose(again.predict(samples), fitted.predict(samples))
    assert set(again.find_flags(samples)) >= {"too_large", "outside_model_range"}
    assert again.prepare(samples)
    del package.metadata["members"]["three"]
    with pytest.raises(ModelPackageError, match="shares do not answer"):
        HierarchyClassifier.from_package(package)
    del package.metadata["members"]
    with pytest.raises(ModelPackageError, match="no members"):
        HierarchyClassifier.from_package(package)
    package.metadata["members"] = {"several": fitted.to_package().metadata}
    with pytest.raises(ModelPackageError, match="lacks member 'several'"):
        HierarchyClassifier.from_package(package)


def test_a_model_is_prepared_as_its_members_were(data: LabelledSamples) -> None:
    """Its settings are those of the members, so that a copy without any computes what they need of pixels."""
    settings = LogisticSettings(n_components=6, cutout=CutoutSettings(size=15))
    classifier = make_untrained(member_settings=settings)
    classifier.fit(data)
    package = ModelPackage.from_bytes(classifier.to_package("toy").to_bytes())
    again = HierarchyClassifier.settings_from_package(package)
    assert again.member_settings == settings
    samples, _ = make_samples(6, seed=9)
    expected = classifier.predict(samples)
    samples, _ = make_samples(6, seed=9)
    assert HierarchyClassifier(settings=again).prepare(samples)
    bare = samples.without_images()
    np.testing.assert_array_equal(HierarchyClassifier.from_package(package).predict(bare), expected)


def test_fine_tuning_needs_nothing_of_the_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    classifier = HierarchyClassifier(settings=HierarchySettings(member="cnn"))
    with pytest.raises(ImportError):
        classifier.check_fit()
    classifier.check_fit(goes_on=True)


def test_settings_of_another_member_are_refused() -> None:
    with pytest.raises(SettingsError, match="^member_settings are no MuyGpsSettings"):
        HierarchySettings(member="muygps", member_settings=LogisticSettings())


def test_questions_with_few_answers_get_their_share(data: LabelledSamples) -> None:
    samples, counts = data.samples, data.counts
    few = np.where(counts == 0, 1, counts)
    few[np.flatnonzero(few >= 3)[5:]] = 2
    classifier = make_untrained()
    said: list[str] = []
    classifier.fit(LabelledSamples(samples=samples, counts=few), options=FitOptions(report=said.append))
    package = ModelPackage.from_bytes(classifier.to_package().to_bytes())
    assert sorted(package.metadata["members"]) == ["several"]
    p_n = HierarchyClassifier.from_package(package).predict(samples)
    n_one, n_several = int((few == 1).sum()), int((few > 1).sum())
    np.testing.assert_allclose(p_n[:, 0] / p_n[:, :2].sum(axis=1), 1.0 / (n_one + 2))
    np.testing.assert_allclose(p_n[:, 3:].sum(axis=1) / p_n[:, 2:].sum(axis=1), 6.0 / (n_several + 2))
    assert sum("too few to learn from" in line for line in said) == 3


def test_validation_is_that_of_the_question(data: LabelledSamples, tmp_path: Path) -> None:
    """Members that stop early look at validation footprints that their question is about."""
    samples, counts = data.samples, data.counts
    trees = FeaturesSettings(features=REFERENCE_FEATURES, trees=TreeSettings(n_trees=20, min_samples=5))
    classifier = make_untrained("features", trees)
    validation = make_labelled(12, seed=6)
    assert classifier.prepare(samples)
    bare = LabelledSamples(samples=samples.without_images(), counts=counts, sky=np.arange(len(counts)) % 7)
    classifier.fit(bare, validation, FitOptions(folder=tmp_path))
    assert {"several_blended_loss", "three_blended_loss"} <= set(classifier.history)
    p_n = classifier.predict(validation.samples)
    np.testing.assert_allclose(p_n.sum(axis=1), 1.0)
    # Each question has a folder of its own.
    assert {path.name for path in tmp_path.iterdir()} == set(QUESTIONS)
    # Members do not depend on where they lie in an image that others were chosen of.
    again = make_untrained("features", trees)
    again.fit(data, validation)
    np.testing.assert_allclose(again.predict(validation.samples), p_n)


def test_weights_do_not_move_the_prior(data: LabelledSamples) -> None:
    samples, counts = data.samples, data.counts
    classifier = make_untrained()
    classifier.fit(dataclasses.replace(data, weights=np.where(counts > 1, 3.0, 1.0)))
    shares = np.bincount(np.minimum(counts, 4), minlength=5) / len(counts)
    np.testing.assert_allclose(classifier.predict(samples).mean(axis=0), shares, atol=0.02)


def test_fine_tuning_calibrates_anew(fitted: HierarchyClassifier, data: LabelledSamples) -> None:
    tuned = HierarchyClassifier.from_package(fitted.to_package("m"))
    rng = np.random.default_rng(0)
    fewer = np.where((data.counts > 1) & (rng.random(len(data.counts)) < 0.5), 1, data.counts)
    tuned.fine_tune(dataclasses.replace(data, counts=fewer))
    p, _ = split_probabilities(tuned.probabilities(data.samples))
    assert p.mean() == pytest.approx(np.mean(fewer > 1), abs=0.02)
    np.testing.assert_array_equal(tuned.predict(data.samples), fitted.predict(data.samples))


@pytest.mark.parametrize(
    ("member", "match"),
    [
        ("logistics", "^member: unknown classifier .logistics. .did you mean .logistic."),
        ("hierarchy", "does not learn from labels"),
        ("ensemble", "does not learn from labels"),
        ("centers", "does not learn from labels"),
    ],
)
def test_members_that_cannot_answer_are_refused(member: str, match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        HierarchySettings(member=member)


def test_no_model_is_an_error(data: LabelledSamples) -> None:
    with pytest.raises(RuntimeError, match="has no model"):
        HierarchyClassifier().predict(data.samples)
    with pytest.raises(ValueError, match="blended"):
        make_untrained().fit(dataclasses.replace(data, counts=np.ones_like(data.counts)))

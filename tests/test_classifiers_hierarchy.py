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

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.classifiers import (
    FeaturesConfig,
    FitOptions,
    HierarchyClassifier,
    HierarchyConfig,
    LabelledSamples,
    LogisticClassifier,
    LogisticConfig,
    split_probabilities,
)
from lsst.meas.blendid.classifiers.hierarchy import QUESTIONS, combine_answers
from lsst.meas.blendid.features import REFERENCE_FEATURES
from lsst.meas.blendid.model_package import ModelPackage, ModelPackageError
from lsst.meas.blendid.samples import FootprintSamples
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
    counts = np.arange(7)
    asked = {name: counts[question.concerns(counts)].tolist() for name, question in QUESTIONS.items()}
    assert asked == {
        "several": [0, 1, 2, 3, 4, 5, 6],
        "one": [0, 1],
        "three": [2, 3, 4, 5, 6],
        "four": [3, 4, 5, 6],
    }
    yes = {name: counts[question.label(counts) > 1].min() for name, question in QUESTIONS.items()}
    assert yes == {"several": 2, "one": 1, "three": 3, "four": 4}


def test_an_answer_that_is_not_there_leaves_nothing() -> None:
    answers = {name: np.array([0.5, 0.5]) for name in QUESTIONS}
    answers["four"] = np.array([np.nan, 0.5])
    p = combine_answers(answers)
    assert np.isnan(p[0]).all()
    assert np.isfinite(p[1]).all()


def member_config() -> LogisticConfig:
    config = LogisticConfig()
    config.modelPackage = ""
    config.nComponents = 6
    return config


@pytest.fixture(scope="module")
def data() -> tuple[FootprintSamples, np.ndarray]:
    return make_samples(22)


@pytest.fixture(scope="module")
def fitted(data: tuple[FootprintSamples, np.ndarray]) -> HierarchyClassifier:
    classifier = HierarchyClassifier(member_config=member_config())
    classifier.fit(*data)
    return classifier


def test_each_question_is_the_member_fitted_to_it(
    fitted: HierarchyClassifier, data: tuple[FootprintSamples, np.ndarray]
) -> None:
    samples, counts = data
    other, _ = make_samples(8, seed=3)
    answers = {}
    for name, question in QUESTIONS.items():
        rows = question.concerns(counts)
        member = LogisticClassifier(member_config())
        member.fit(samples.select(rows), question.label(counts[rows]))
        answers[name] = split_probabilities(member.predict(other))[0]
    p_n = fitted.predict(other)
    np.testing.assert_allclose(p_n, combine_answers(answers), atol=1e-12)
    # P(blended) is that of the classifier itself.
    np.testing.assert_allclose(p_n[:, 2:].sum(axis=1), answers["several"])


def test_it_is_as_good_as_the_direct_way(
    fitted: HierarchyClassifier, data: tuple[FootprintSamples, np.ndarray]
) -> None:
    samples, counts = make_samples(16, seed=4)
    direct = LogisticClassifier(member_config())
    direct.fit(*data)
    rows, classes = np.arange(len(counts)), np.minimum(counts, 4)
    scores = [np.log(model.predict(samples)[rows, classes]).mean() for model in (fitted, direct)]
    shares = np.bincount(np.minimum(data[1], 4)) / len(data[1])
    assert scores[0] > np.log(shares[classes]).mean() + 0.2
    assert scores[0] > scores[1] - 0.05


def test_package_holds_the_members(
    fitted: HierarchyClassifier, data: tuple[FootprintSamples, np.ndarray]
) -> None:
    samples, _ = data
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


def test_questions_with_few_answers_get_their_share(data: tuple[FootprintSamples, np.ndarray]) -> None:
    samples, counts = data
    few = np.where(counts == 0, 1, counts)
    few[np.flatnonzero(few >= 3)[5:]] = 2
    classifier = HierarchyClassifier(member_config=member_config())
    said: list[str] = []
    classifier.fit(samples, few, options=FitOptions(report=said.append))
    package = ModelPackage.from_bytes(classifier.to_package().to_bytes())
    assert sorted(package.metadata["members"]) == ["several"]
    p_n = HierarchyClassifier.from_package(package).predict(samples)
    n_one, n_several = int((few == 1).sum()), int((few > 1).sum())
    np.testing.assert_allclose(p_n[:, 0] / p_n[:, :2].sum(axis=1), 1.0 / (n_one + 2))
    np.testing.assert_allclose(p_n[:, 3:].sum(axis=1) / p_n[:, 2:].sum(axis=1), 6.0 / (n_several + 2))
    assert sum("too few to learn from" in line for line in said) == 3


def test_options_are_those_of_the_question(data: tuple[FootprintSamples, np.ndarray]) -> None:
    """Members that stop early look at validation footprints that their question is about."""
    samples, counts = data
    config = FeaturesConfig()
    config.modelPackage, config.features = "", list(REFERENCE_FEATURES)
    config.iterations, config.leastSamples = 20, 5
    chosen = HierarchyConfig()
    chosen.member = "features"
    classifier = HierarchyClassifier(chosen, member_config=config)
    validation = LabelledSamples(*make_samples(12, seed=6))
    options = FitOptions(validation=validation, sky=np.arange(len(counts)) % 7)
    assert classifier.prepare(samples)
    classifier.fit(samples.without_images(), counts, options=options)
    assert {"several_blended_loss", "three_blended_loss"} <= set(classifier.history)
    p_n = classifier.predict(validation.samples)
    np.testing.assert_allclose(p_n.sum(axis=1), 1.0)
    # Members do not depend on where they lie in an image that others were chosen of.
    again = HierarchyClassifier(chosen, member_config=config)
    again.fit(samples, counts, options=dataclasses.replace(options, sky=None))
    np.testing.assert_allclose(again.predict(validation.samples), p_n)


def test_weights_do_not_move_the_prior(data: tuple[FootprintSamples, np.ndarray]) -> None:
    samples, counts = data
    classifier = HierarchyClassifier(member_config=member_config())
    classifier.fit(samples, counts, weights=np.where(counts > 1, 3.0, 1.0))
    shares = np.bincount(np.minimum(counts, 4), minlength=5) / len(counts)
    np.testing.assert_allclose(classifier.predict(samples).mean(axis=0), shares, atol=0.02)


@pytest.mark.parametrize(
    ("member", "match"),
    [
        ("nothing", "no classifier 'nothing'"),
        ("hierarchy", "does not learn from labels"),
        ("ensemble", "does not learn from labels"),
        ("centers", "does not learn from labels"),
    ],
)
def test_members_that_cannot_answer_are_refused(member: str, match: str) -> None:
    config = HierarchyConfig()
    config.member = member
    with pytest.raises(ValueError, match=match):
        config.validate()


def test_no_model_is_an_error(data: tuple[FootprintSamples, np.ndarray]) -> None:
    with pytest.raises(RuntimeError, match="has no model"):
        HierarchyClassifier().predict(data[0])
    with pytest.raises(ValueError, match="blended"):
        HierarchyClassifier(member_config=member_config()).fit(data[0], np.ones(len(data[0]), dtype=int))

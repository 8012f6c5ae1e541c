# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of SExtractor's deblending as a classifier."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
from lsst.meas.blendid._sep import MissingSepError
from lsst.meas.blendid.classifiers import (
    LabelledSamples,
    SepClassifier,
    SepSettings,
    classifier_registry,
    split_probabilities,
)
from lsst.meas.blendid.metrics import score
from lsst.meas.blendid.model_package import ModelPackage
from lsst.meas.blendid.model_settings import SettingsError
from lsst.meas.blendid.samples import FootprintSamples
from toy_samples import make_result, make_samples

sep = pytest.importorskip("sep")


def make_pairs(separations: list[float], *, xy0: tuple[int, int] = (0, 0)) -> FootprintSamples:
    """Two equal galaxies in each footprint, some pixels apart."""
    size = 48
    image, labels = (
        np.zeros((size, size * len(separations))),
        np.zeros((size, size * len(separations)), np.int32),
    )
    y, x = np.mgrid[:size, : size * len(separations)]
    for i, separation in enumerate(separations):
        middle = size * i + size / 2
        for side in (-0.5, 0.5):
            image += 60.0 * np.exp(-0.5 * ((x - middle - side * separation) ** 2 + (y - 24.0) ** 2) / 1.6**2)
        labels[np.hypot(x - middle, y - 24.0) < 18.0] = i + 1
    image += np.random.default_rng(0).normal(size=image.shape)
    return FootprintSamples([make_result(image, labels, xy0=xy0)])


def fitted(seed: int = 0) -> tuple[SepClassifier, FootprintSamples, np.ndarray]:
    samples, counts = make_samples(12, seed=seed)
    classifier = SepClassifier()
    classifier.fit(LabelledSamples(samples=samples, counts=counts))
    return classifier, samples, counts


@pytest.mark.parametrize("xy0", [(0, 0), (-70, 1000)])
def test_objects_are_counted_in_their_footprints(xy0: tuple[int, int]) -> None:
    classifier = SepClassifier(settings=SepSettings(threshold=5.0))
    assert classifier.count(make_pairs([0.0, 12.0, 2.0, 16.0], xy0=xy0)).tolist() == [1, 2, 1, 2]


def test_objects_outside_of_footprints_count_nowhere() -> None:
    samples = make_pairs([0.0, 12.0])
    result = samples.results[0]
    labels = np.where(result.footprints.labels == 2, 1, 0).astype(np.int32)
    classifier = SepClassifier(settings=SepSettings(threshold=5.0))
    assert classifier.count(FootprintSamples([make_result(result.image, labels)])).tolist() == [2]


def test_default_is_what_blendhunter_was_compared_with() -> None:
    """The same objects as SEP's own function gives with Table 2 of Farrens et al. 2022."""
    samples, _ = make_samples(6)
    expected = []
    for result in samples.results:
        objects = sep.extract(result.image, 1.5, err=1.0, deblend_nthresh=32, deblend_cont=0.005)
        labels = result.footprints.labels[
            np.rint(objects["y"]).astype(int), np.rint(objects["x"]).astype(int)
        ]
        expected.append([np.count_nonzero(labels == i + 1) for i in range(len(result.footprints))])
    np.testing.assert_array_equal(SepClassifier().count(samples), np.concatenate(expected))


def test_parameters_reach_sep() -> None:
    samples, _ = make_samples(8)
    usual = SepClassifier().count(samples)
    for changed in (
        SepSettings(threshold=20.0),
        SepSettings(min_area=60),
        SepSettings(deblend_levels=1),
        SepSettings(deblend_contrast=1.0),
    ):
        assert SepClassifier(settings=changed).count(samples).sum() < usual.sum(), changed


def test_it_knows_blends() -> None:
    classifier, _, _ = fitted()
    samples, counts = make_samples(12, seed=1)
    p, p_n = split_probabilities(classifier.probabilities(samples))
    assert p_n is not None and p_n.shape == (len(samples), 5)
    # The toy pairs are too close for most to be split.
    assert score(p, counts).balanced_accuracy > 0.55


def test_package_round_trip() -> None:
    samples, counts = make_samples(12)
    settings = SepSettings(threshold=3.0, max_count=4)
    classifier = SepClassifier(settings=settings)
    classifier.fit(LabelledSamples(samples=samples, counts=counts))
    package = ModelPackage.from_bytes(classifier.to_package("m").to_bytes())
    again = SepClassifier.from_package(package)
    np.testing.assert_array_equal(again.predict(samples), classifier.predict(samples))
    # The settings are those of the model.
    assert again.settings == settings != SepSettings()
    assert classifier_registry["sep"] is SepClassifier


def test_package_of_format_1_has_a_config() -> None:
    classifier, samples, _ = fitted()
    package = classifier.to_package("m")
    metadata = {key: value for key, value in package.metadata.items() if key != "settings"}
    config = {"threshold": 1.5, "minArea": 10, "deblendLevels": 32, "deblendContrast": 0.005, "maxCount": 6}
    again = SepClassifier.from_package(
        ModelPackage(package.classifier, metadata | {"config": config}, package.arrays)
    )
    assert again.settings == SepSettings(min_area=10)
    with pytest.raises(SettingsError, match="there is no such setting"):
        SepSettings.from_config({"minAera": 10})


def test_images_may_be_forgotten_after_preparation() -> None:
    classifier, samples, _ = fitted()
    fresh, _ = make_samples(12)
    assert classifier.prepare(fresh)
    np.testing.assert_array_equal(classifier.predict(fresh.without_images()), classifier.predict(samples))
    with pytest.raises(ValueError, match="was not prepared"):
        classifier.predict(make_samples(12)[0].without_images())


def test_limits_of_sep_are_left_as_they_were() -> None:
    before = sep.get_sub_object_limit(), sep.get_extract_pixstack()
    fitted()
    assert (sep.get_sub_object_limit(), sep.get_extract_pixstack()) == before


def test_no_footprints_and_no_objects() -> None:
    classifier, _, _ = fitted()
    empty = make_result(np.zeros((40, 40)), np.zeros((40, 40), np.int32))
    labels = np.zeros((40, 40), np.int32)
    labels[10:20, 10:20] = 1
    assert classifier.predict(FootprintSamples([])).shape == (0, 5)
    assert classifier.predict(FootprintSamples([empty])).shape == (0, 5)
    dark = dataclasses.replace(make_result(np.zeros((40, 40)), labels))
    np.testing.assert_allclose(classifier.predict(FootprintSamples([dark])).sum(axis=1), 1.0)


def test_without_sep(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, samples, _ = fitted()
    monkeypatch.setitem(sys.modules, "sep", None)
    with pytest.raises(MissingSepError, match=r"pip install 'lsst-meas-blendid\[baselines\]'"):
        classifier.predict(samples)

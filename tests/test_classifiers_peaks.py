# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of peak counting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lsst.meas.blendid.classifiers import LabelledSamples, PeaksClassifier, PeaksSettings, split_probabilities
from lsst.meas.blendid.model_package import ModelPackageError
from lsst.meas.blendid.model_settings import SettingsError
from toy_samples import make_samples


def test_table_is_that_of_the_training_set() -> None:
    samples, counts = make_samples(20)
    classifier = PeaksClassifier(settings=PeaksSettings(threshold=10.0, max_count=3))
    classifier.fit(LabelledSamples(samples=samples, counts=counts))
    p = classifier.predict(samples)
    n_peaks = np.minimum(samples.count_peaks(10.0), 3)
    share = np.bincount(np.minimum(counts, 4), minlength=5) / len(counts)
    for n in range(4):
        use = n_peaks == n
        expected = (np.bincount(np.minimum(counts[use], 4), minlength=5) + share) / (use.sum() + 1)
        np.testing.assert_allclose(p[use], np.broadcast_to(expected, p[use].shape))
    assert (p > 0.0).all()


def test_number_of_peaks_that_was_never_seen_gives_the_prior() -> None:
    samples, counts = make_samples(20)
    classifier = PeaksClassifier(settings=PeaksSettings(max_count=50))
    classifier.fit(LabelledSamples(samples=samples, counts=counts))
    table = classifier.to_package().arrays["table"]
    share = np.bincount(np.minimum(counts, 4), minlength=5) / len(counts)
    np.testing.assert_allclose(table[50], share)


def test_weights_balance_the_fit_and_not_the_prior() -> None:
    samples, counts = make_samples(20)
    plain, weighted = (PeaksClassifier(settings=PeaksSettings()) for _ in range(2))
    plain.fit(LabelledSamples(samples=samples, counts=counts))
    weighted.fit(LabelledSamples(samples=samples, counts=counts, weights=np.where(counts > 1, 4.0, 1.0)))
    p, _ = split_probabilities(weighted.predict(samples))
    assert p.mean() == pytest.approx(np.mean(counts > 1), abs=0.01)
    assert weighted.to_package().metadata["prior"] == plain.to_package().metadata["prior"]
    # Weights that differ within a class do more than balance.
    weighted.fit(
        LabelledSamples(
            samples=samples, counts=counts, weights=np.where(weighted.count(samples) == 1, 4.0, 1.0)
        )
    )
    assert np.abs(weighted.predict(samples) - plain.predict(samples)).max() > 0.01


@pytest.mark.parametrize(
    ("change", "match"), [(-0.1, "negative values"), (np.nan, "table is not finite")], ids=["negative", "nan"]
)
def test_damaged_table_is_refused(change: float, match: str) -> None:
    samples, counts = make_samples(20)
    classifier = PeaksClassifier(settings=PeaksSettings())
    classifier.fit(LabelledSamples(samples=samples, counts=counts))
    package = classifier.to_package()
    # Rows still sum to 1.
    package.arrays["table"][2] = [change, 1.0 - change, 0.0, 0.0, 0.0]
    with pytest.raises(ModelPackageError, match=match):
        PeaksClassifier.from_package(package)


def test_more_peaks_are_more_blended() -> None:
    samples, counts = make_samples(20)
    classifier = PeaksClassifier(settings=PeaksSettings())
    classifier.fit(LabelledSamples(samples=samples, counts=counts))
    p, _ = split_probabilities(classifier.predict(samples))
    n = classifier.count(samples)
    assert p[n == 1].max() < 0.5 < p[n == 2].min()


@pytest.mark.parametrize(("field", "value"), [("threshold", 0.0), ("max_count", 1)])
def test_settings_refuse(field: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"{field} is .*it has to be"):
        PeaksSettings(**{field: value})

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of learning from stamps."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from lsst.meas.blendid.classifiers import classifier_registry, split_probabilities
from lsst.meas.blendid.cutouts import CutoutSettings
from lsst.meas.blendid.footprints import FootprintConfig
from lsst.meas.blendid.training import train_classifier
from lsst.meas.blendid.training.stamps import add_noise, label_stamps
from scipy import ndimage
from toy_stamps import toy_stamps


def test_a_stamp_is_a_footprint_with_its_label() -> None:
    stamps = toy_stamps(30).with_noise(10.0)
    labelled = label_stamps(stamps)
    assert np.array_equal(labelled.counts, stamps.stamps["n_objects"])
    assert np.array_equal(labelled.sky, stamps.stamps["stamp_id"])
    samples = labelled.samples
    assert len(samples) == 30
    assert (samples.area == stamps.size**2).all()
    assert (samples.area_detected < samples.area).all() and (samples.area_detected > 20).all()
    # The galaxies are bright and far apart: the peaks are theirs.
    assert np.array_equal(samples.count_peaks(20.0), labelled.counts)
    cutouts = samples.cutouts(CutoutSettings(size=stamps.size, normalization="l2"))
    for i in (0, 7, 29):
        expected = stamps.images[i] / np.linalg.norm(stamps.images[i])
        assert cutouts[i] == pytest.approx(expected, abs=1e-5)


def test_found_footprints_have_the_galaxies_in_them() -> None:
    stamps = toy_stamps(30, size=61, flux=2000.0, separation=24.0).with_noise(10.0)
    labelled = label_stamps(stamps, unit="footprint")
    # Far enough apart to be footprints of their own.
    assert len(labelled.counts) == 45 and (labelled.counts == 1).all()
    assert labelled.inside == (1.0,)
    assert np.array_equal(np.bincount(labelled.sky), stamps.stamps["n_objects"])
    close = label_stamps(toy_stamps(30, separation=5.0).with_noise(10.0), unit="footprint")
    assert np.array_equal(np.sort(close.counts), np.repeat([1, 2], 15))


def test_order_is_that_of_the_sets_also_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsst.meas.blendid.training.stamps._PER_SCENE", 7)
    clean = toy_stamps(20)
    sets = [clean.with_noise(5.0), clean.with_noise(9.0).select(np.arange(19, -1, -1))]
    seen: list[int] = []
    labelled = label_stamps(sets, progress=lambda done, total: seen.append(done))
    assert labelled.sky.tolist() == [*range(20), *range(19, -1, -1)]
    assert np.array_equal(labelled.counts, np.concatenate([s.stamps["n_objects"] for s in sets]))
    assert len(labelled.samples.results) == 6 and seen[-1] == 40
    noise = [facts["stamp_noise"][0] for facts in labelled.provenance]
    assert noise == [5.0] * 3 + [9.0] * 3


@pytest.mark.parametrize("name", ["peaks", "logistic"])
def test_classifiers_learn_from_stamps(name: str) -> None:
    clean = toy_stamps(200, size=25, separation=7.0)
    train, test = (label_stamps(clean.with_noise(10.0, k)) for k in range(2))
    package = train_classifier(name, train, validation=test)
    assert package.metadata["validation"]["scores"]["balanced_accuracy"] > 0.95
    classifier = classifier_registry[name].from_package(package)
    p, _ = split_probabilities(classifier.predict(test.samples))
    assert np.array_equal(p > 0.5, test.counts > 1)


def test_threshold_knows_that_noise_is_correlated() -> None:
    """Noise that is smooth over pixels makes no footprints at the threshold of white noise."""
    stamps = toy_stamps(40, flux=1e-3).with_noise(10.0)
    images = ndimage.gaussian_filter(stamps.images, (0.0, 1.0, 1.0))
    smooth = dataclasses.replace(stamps, images=images * np.float32(10.0 / images.std()))
    white = FootprintConfig()
    n_white, n = (len(label_stamps(smooth, c, unit="footprint").counts) for c in (white, None))
    assert n_white > 10 * max(n, 1)


def test_settings_of_footprints_are_kept() -> None:
    config = FootprintConfig()
    config.thresholdValue = 8.0
    labelled = label_stamps(toy_stamps(6).with_noise(10.0), config)
    config.thresholdValue = 3.0
    assert labelled.footprints[0].thresholdValue == 8.0


def test_errors() -> None:
    with pytest.raises(ValueError, match="have no noise"):
        label_stamps(toy_stamps(3))
    with pytest.raises(ValueError, match="no stamp was given"):
        label_stamps([])
    with pytest.raises(ValueError, match="unit is 'pixel'"):
        label_stamps(toy_stamps(3).with_noise(1.0), unit="pixel")  # type: ignore[arg-type]


def test_noise_is_dealt_out_or_refused() -> None:
    clean = toy_stamps(10)
    with pytest.raises(ValueError, match="have no noise; give -c stampNoise=SIGMA"):
        add_noise(clean)
    assert [one.noise.tolist() for one in add_noise(clean, (3.0, 4.0))] == [[3.0] * 10, [4.0] * 10]
    named = dataclasses.replace(clean, metadata={"noise_levels": [3.0, 4.0, "much", -1]})
    parts = add_noise(named)
    assert [one.noise[0] for one in parts] == [3.0, 4.0]
    ids = np.concatenate([one.stamps["stamp_id"] for one in parts])
    assert sorted(ids.tolist()) == clean.stamps["stamp_id"].tolist()
    # The same pixels as with that noise alone.
    assert np.array_equal(parts[0].images[0], clean.with_noise(3.0).images[0])
    noisy = clean.with_noise(5.0)
    assert add_noise(noisy, (3.0,)) == [noisy]


def test_truths_of_stamps_without_snr_are_refused() -> None:
    stamps = toy_stamps(10).with_noise(3.0)
    truth = stamps.truth.copy()
    truth["snr"][2] = np.nan
    with pytest.raises(ValueError, match="column snr of the truth of .* has rows that are no numbers"):
        dataclasses.replace(stamps, truth=truth)

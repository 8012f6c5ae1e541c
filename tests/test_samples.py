# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the footprints that classifiers see."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.meas.blendid.cutouts import CutoutSettings, cutout_flags, extract_cutouts
from lsst.meas.blendid.footprints import FootprintConfig, build_footprints
from lsst.meas.blendid.samples import FootprintSamples, SceneContext
from toy_samples import make_psf, make_result, make_samples, make_toy


def test_columns_are_those_of_the_images_in_turn() -> None:
    first, _ = make_toy(4, seed=1)
    second, _ = make_toy(5, seed=2, xy0=(300, 400))
    samples = FootprintSamples([first, second])
    assert len(samples) == 16 + 25
    assert samples.offsets.tolist() == [0, 16, 41]
    np.testing.assert_array_equal(samples.scene_index, np.repeat([0, 1], [16, 25]))
    for name in ("area", "area_detected", "n_peaks", "max_significance", "bbox", "centroid"):
        expected = np.concatenate([getattr(r.footprints, name) for r in (first, second)])
        np.testing.assert_array_equal(getattr(samples, name), expected)


def test_planes_can_be_forgotten() -> None:
    samples, _ = make_samples(4)
    settings = CutoutSettings()
    samples.compute_each("sum", lambda result, _: result.significance.sum(keepdims=True))
    cut = samples.without_planes()
    assert all(r.significance.size == r.smoothed.size == r.bad.size == 0 for r in cut.results)
    np.testing.assert_array_equal(cut.cutouts(settings), samples.cutouts(settings))
    for one, other in zip(
        cut.compute_each("sum", pytest.fail), samples.compute_each("sum", pytest.fail), strict=True
    ):
        assert one.size == 1
        np.testing.assert_array_equal(one, other)
    assert cut.contexts == samples.contexts


def test_count_peaks_against_a_loop() -> None:
    samples, _ = make_samples(5)
    for threshold in (0.0, 12.0, 25.0, 1e9):
        expected = [
            sum(p["footprint_id"] == i + 1 and p["significance"] >= threshold for p in r.footprints.peaks)
            for r in samples.results
            for i in range(len(r.footprints))
        ]
        assert samples.count_peaks(threshold).tolist() == expected
    np.testing.assert_array_equal(samples.count_peaks(0.0), samples.n_peaks)


def test_second_peak_and_sky_level() -> None:
    samples, _ = make_samples(5)
    second, level = samples.second_significance, samples.sky_level
    for i, result in enumerate(samples.results):
        footprints = result.footprints
        for k in range(len(footprints)):
            own = footprints.peaks["significance"][footprints.peaks["footprint_id"] == k + 1]
            expected = np.sort(own)[::-1][1] if own.size > 1 else np.nan
            np.testing.assert_equal(second[samples.offsets[i] + k], expected)
        sky = np.median(result.image[footprints.labels == 0]) / result.noise.sigma
        np.testing.assert_array_equal(samples.psf_sigma[samples.scene_index == i], result.psf.sigma)
        np.testing.assert_allclose(level[samples.scene_index == i], sky, atol=0.05)
    full = make_result(np.ones((8, 8)), np.ones((8, 8), np.int32))
    assert FootprintSamples([full]).sky_level.tolist() == [0.0]


def test_sky_level_leaves_out_what_was_not_searched() -> None:
    rng = np.random.default_rng(6)
    image = rng.normal(0.3, 1.0, (300, 300))
    image[:, :180] = np.nan
    image[200:204, 240:244] = 60.0
    config = FootprintConfig()
    config.update(noiseSource="clipped", thresholdValue=10.0)
    result = build_footprints(image, psf=make_psf(), config=config)
    assert len(result.footprints) == 1
    assert result.sky_level == pytest.approx(0.3, abs=0.05)
    assert result.metadata["sky_level"] == result.sky_level
    assert FootprintSamples([result]).sky_level.tolist() == [result.sky_level]


def test_cutouts_are_kept_and_cannot_be_written_into() -> None:
    samples, _ = make_samples(4)
    settings = CutoutSettings()
    cutouts = samples.cutouts(settings)
    np.testing.assert_array_equal(
        cutouts, np.concatenate([extract_cutouts(r, settings) for r in samples.results])
    )
    assert samples.cutouts(CutoutSettings()) is cutouts
    with pytest.raises(ValueError, match="read-only"):
        cutouts[0] = 0.0
    other = CutoutSettings(normalization="snr")
    assert samples.cutouts(other) is not cutouts
    np.testing.assert_array_equal(
        samples.cutout_flags(other)["too_large"],
        np.concatenate([cutout_flags(r, other)["too_large"] for r in samples.results]),
    )


def test_nothing_to_see() -> None:
    empty = make_result(np.zeros((9, 9)), np.zeros((9, 9), np.int32))
    for samples in (FootprintSamples([]), FootprintSamples([empty])):
        assert len(samples) == 0
        assert samples.cutouts(CutoutSettings()).shape == (0, 23, 23)
        assert samples.count_peaks(5.0).shape == samples.area.shape == samples.scene_index.shape == (0,)
        assert samples.bbox.shape == (0, 4) and samples.centroid.shape == (0, 2)
        assert samples.cutout_flags(CutoutSettings())["too_large"].shape == (0,)


def test_contexts_must_match() -> None:
    result, _ = make_toy(3)
    assert FootprintSamples([result]).contexts == (SceneContext(),)
    with pytest.raises(ValueError, match="2 contexts were given for 1 images"):
        FootprintSamples([result], [SceneContext(), SceneContext()])

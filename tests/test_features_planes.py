# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""Tests of measuring an image in strips: nothing may depend on where it is cut."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.ndimage as nd
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.features import CONTEXT_FEATURES, FEATURE_NAMES, measure_features
from lsst.meas.blendid.features.planes import split_into_strips
from lsst.meas.blendid.footprints import DetectionResult
from lsst.meas.blendid.samples import FootprintSamples, SceneContext
from toy_samples import make_result, make_toy

ROWS = "lsst.meas.blendid.features.planes._ROWS"
XY0 = (300, 4000)


def make_scene(seed: int, shape: tuple[int, int] = (90, 70)) -> DetectionResult:
    """Noise with footprints of any shape, numbered from the top."""
    rng = np.random.default_rng(seed)
    image = 3.0 * rng.normal(size=shape)
    over = nd.gaussian_filter(image, 2.0) > 0.3
    labels, n = nd.label(over, np.ones((3, 3), dtype=int))
    _, first = np.unique(labels, return_index=True)
    number = np.zeros(n + 1, np.int32)
    number[1 + np.argsort(first[1:])] = np.arange(1, n + 1)
    return make_result(image, number[labels], xy0=XY0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 100), margin=st.integers(0, 20))
def test_each_footprint_is_in_one_strip_with_what_is_around_it(seed: int, rows: int, margin: int) -> None:
    scene = make_scene(seed)
    whole = scene.footprints
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ROWS, rows)
        strips = list(split_into_strips(scene, margin))
    start = 0
    for strip in strips:
        part = strip.footprints
        n = len(part)
        rows_of = slice(start, start + n)
        assert n > 0 and strip.xy0 == part.xy0 and strip.xy0[0] == XY0[0]
        top, bottom = strip.xy0[1] - XY0[1], strip.xy0[1] - XY0[1] + strip.image.shape[0]
        np.testing.assert_array_equal(strip.image, scene.image[top:bottom])
        first, last = int(part.bbox[:, 1].min()) - XY0[1], int(part.bbox[:, 3].max()) - XY0[1]
        assert top == max(first - margin, 0) and bottom == min(last + margin + 1, scene.image.shape[0])
        for name in ("bbox", "area", "area_detected", "centroid", "n_peaks", "max_significance"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[rows_of])
        chosen = (whole.spans[:, 0] > start) & (whole.spans[:, 0] <= start + n)
        np.testing.assert_array_equal(part.spans, whole.spans[chosen] - [start, 0, 0, 0])
        np.testing.assert_array_equal(part.peaks["footprint_id"], np.repeat(np.arange(n) + 1, part.n_peaks))
        start += n
    assert start == len(whole)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_features_do_not_depend_on_the_strips(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_scene(seed, (230, 60))
    scene.image[scene.footprints.labels == 5] = np.nan
    values = {}
    for rows in (10_000, 40, 1):
        monkeypatch.setattr(ROWS, rows)
        samples = FootprintSamples([scene], [SceneContext("i", 31.4)])
        values[rows] = measure_features(samples)
    assert len(list(split_into_strips(scene, 10))) > 5
    assert np.isnan(values[1][4, 0]) and np.isfinite(values[1][5, 0])
    assert np.isfinite(values[1][:, [FEATURE_NAMES.index(CONTEXT_FEATURES[0])]]).sum() == len(samples) - 1
    for rows in (40, 1):
        # Positions are counted from another row, so that the last digit may differ.
        np.testing.assert_allclose(values[rows], values[10_000], rtol=2e-6, atol=2e-6)


def test_footprints_not_numbered_from_the_top_come_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_scene(3)
    n = len(scene.footprints)
    labels = np.where(scene.footprints.labels > 0, n + 1 - scene.footprints.labels, 0)
    turned = make_result(scene.image, labels.astype(np.int32))
    monkeypatch.setattr(ROWS, 5)
    assert list(split_into_strips(turned, 3)) == [turned]


def test_image_without_footprints_comes_whole() -> None:
    scene = make_result(np.zeros((30, 40)), np.zeros((30, 40), np.int32))
    assert list(split_into_strips(scene, 3)) == [scene]
    assert measure_features(FootprintSamples([scene])).shape == (0, len(FEATURE_NAMES))


def test_label_image_is_not_needed() -> None:
    scene, _ = make_toy(n_side=4)
    bare = dataclasses.replace(scene, footprints=scene.footprints.without_labels())
    np.testing.assert_array_equal(
        measure_features(FootprintSamples([bare])), measure_features(FootprintSamples([scene]))
    )

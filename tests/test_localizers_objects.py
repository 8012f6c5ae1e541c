# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the objects of footprints: matched peaks and candidates, and their columns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.localizers.objects import (
    OBJECT_COLUMNS,
    Objects,
    describe_objects,
    list_objects,
    match_in_footprints,
)
from lsst.meas.blendid.samples import SceneContext
from toy_objects import make_candidates, make_scene
from toy_samples import make_result


def match_slowly(
    start: np.ndarray, a: np.ndarray, other_start: np.ndarray, b: np.ndarray, radius: float
) -> np.ndarray:
    """Take the closest pair that is left, again and again."""
    partner = np.full(len(a), -1)
    distance = np.hypot(*(a[:, None] - b[None]).transpose(2, 0, 1))
    row = np.searchsorted(start, np.arange(len(a)), side="right")
    other_row = np.searchsorted(other_start, np.arange(len(b)), side="right")
    distance[row[:, None] != other_row[None]] = np.inf
    distance[distance > radius] = np.inf
    while distance.size and np.isfinite(distance).any():
        i, j = np.unravel_index(np.argmin(distance), distance.shape)
        partner[i] = j
        distance[i] = distance[:, j] = np.inf
    return partner


@given(st.integers(0, 2**32 - 1), st.integers(0, 4), st.floats(0.0, 8.0))
def test_the_closest_pairs_of_each_footprint_are_taken(seed: int, n: int, radius: float) -> None:
    rng = np.random.default_rng(seed)
    starts = [np.concatenate([[0], np.cumsum(rng.integers(0, 5, n))]) for _ in range(2)]
    a, b = (rng.uniform(0.0, 12.0, (s[-1], 2)) for s in starts)
    partner = match_in_footprints(starts[0], *a.T, starts[1], *b.T, radius)
    np.testing.assert_array_equal(partner, match_slowly(starts[0], a, starts[1], b, radius))
    some = partner[partner >= 0]
    assert len(np.unique(some)) == len(some)


def test_equal_distances_are_decided_by_order() -> None:
    start = np.array([0, 2])
    zero = np.zeros(2)
    partner = match_in_footprints(
        start, np.array([0.0, 2.0]), zero, np.array([0, 1]), np.ones(1), np.zeros(1), 3.0
    )
    assert partner.tolist() == [0, -1]


def columns_of(result, objects: Objects, significance: np.ndarray) -> dict[str, np.ndarray]:  # type: ignore[no-untyped-def]
    table = describe_objects(result, SceneContext("i", 31.4), objects, significance)
    assert table.shape == (len(objects), len(OBJECT_COLUMNS)) and table.dtype == np.float32
    assert not np.isinf(table).any()
    return dict(zip(OBJECT_COLUMNS, table.T, strict=True))


def test_each_peak_and_candidate_is_one_object() -> None:
    result, _, candidates = make_scene(xy0=(500, 20))
    objects = list_objects(result, candidates, match_radius=1.5)
    peaks = result.footprints.peaks
    detected = objects.peak >= 0
    assert np.sort(objects.peak[detected]).tolist() == list(range(len(peaks)))
    # A detected peak stays where it is.
    np.testing.assert_array_equal(objects.x[detected], peaks["f_x"][objects.peak[detected]])
    n_matched = np.sum(detected & objects.has_candidate)
    assert len(objects) == len(peaks) + len(candidates.row) - n_matched and n_matched > 20
    assert np.all(objects.offset[detected & objects.has_candidate] <= 1.5 * result.psf.sigma)
    assert np.all(np.diff(objects.row) >= 0)
    np.testing.assert_array_equal(np.diff(objects.start), np.bincount(objects.row, minlength=64))
    # Detected peaks come first in each footprint.
    for a, b in zip(objects.start, objects.start[1:], strict=False):
        assert np.all(np.diff((objects.peak[a:b] < 0).astype(int)) >= 0)


def test_without_candidates_the_peaks_are_all() -> None:
    result, _, _ = make_scene()
    objects = list_objects(result, None, match_radius=1.5)
    assert objects.peak.tolist() == list(range(len(result.footprints.peaks)))
    assert not objects.has_candidate.any() and np.isnan(objects.spread).all()


def test_columns_of_a_known_footprint() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[5:30, 5:30] = 1
    peaks = np.zeros(1, make_result(np.zeros((9, 9)), np.zeros((9, 9), np.int32)).footprints.peaks.dtype)
    peaks[0] = (1, 10, 10, 10.0, 10.0, 40.0, 40.0)
    result = make_result(np.zeros((40, 40)), labels, peaks=peaks, psf_sigma=2.0)
    x, y, p = np.array([[11.0, 10.0, 0.9], [18.0, 10.0, 0.6], [10.0, 24.0, 0.2]]).T
    candidates = make_candidates(np.zeros(3, int), x, y, p, 1)
    objects = list_objects(result, candidates, match_radius=1.5)
    found = columns_of(result, objects, np.array([40.0, 10.0, np.nan]))
    assert found["is_detected"].tolist() == [1, 0, 0] and found["has_candidate"].tolist() == [1, 1, 1]
    np.testing.assert_allclose(found["match_distance"], [0.5, np.nan, np.nan])
    np.testing.assert_allclose(found["logit"], np.log(np.array([9.0, 1.5, 0.25])), rtol=1e-5)
    assert found["rank"].tolist() == found["significance_rank"].tolist() == [0, 1, 2]
    np.testing.assert_allclose(found["significance_ratio"], [1.0, 0.25, 0.0])
    np.testing.assert_allclose(found["sum_others"], [0.8, 1.1, 1.5], rtol=1e-6)
    np.testing.assert_allclose(found["sum_near"], [0.0, 0.0, 0.0])
    np.testing.assert_allclose(found["nearest_distance"], [4.0, 4.0, 7.0])
    np.testing.assert_allclose(found["nearest_detected_distance"], [np.nan, 4.0, 7.0])
    np.testing.assert_allclose(found["brighter_distance"], [np.nan, 4.0, 7.0])
    assert found["n_objects"].tolist() == [3, 3, 3] and found["n_likely"].tolist() == [2, 2, 2]
    np.testing.assert_allclose(found["log_area"], np.log10(625 / 4.0), rtol=1e-6)
    # Spread of the detected one: that of its candidate, and what it is away from it.
    np.testing.assert_allclose(objects.spread[0], [0.2 + 1.0, 0.2, 0.0], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_columns_do_not_depend_on_the_unit_of_the_image(scale: float) -> None:
    result, _, candidates = make_scene()
    objects = list_objects(result, candidates, match_radius=1.5)
    significance = np.linspace(3.0, 50.0, len(objects))
    reference = columns_of(result, objects, significance)
    other = make_result(
        result.image * scale, result.footprints.labels, peaks=result.footprints.peaks, sigma=scale
    )
    found = columns_of(other, list_objects(other, candidates, match_radius=1.5), significance)
    for name in set(OBJECT_COLUMNS) - {"depth"}:
        np.testing.assert_allclose(found[name], reference[name], rtol=1e-5, err_msg=name)


def test_no_footprints() -> None:
    empty = make_result(np.zeros((30, 30)), np.zeros((30, 30), np.int32))
    none = make_candidates(*np.zeros((4, 0)), 0)
    objects = list_objects(empty, none, match_radius=1.5)
    assert len(objects) == 0 and columns_of(empty, objects, np.zeros(0))["logit"].shape == (0,)

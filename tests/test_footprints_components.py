# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of runs of pixels, their components, and growth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from lsst.meas.blendid.footprints.components import (
    find_runs,
    grow_apart,
    grow_merged,
    growth_radius,
    label_runs,
    paint_runs,
    select_components,
    stencil_half_widths,
)
from scipy import ndimage

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=16))


def same_partition(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two label images differ by their numbering only."""
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1)
    return all(np.unique(column).size == column.size for column in pairs)


def dense_mask(seed: int, fraction: float) -> np.ndarray:
    return np.random.default_rng(seed).random((200, 220)) < fraction


@given(masks)
def test_labels_match_scipy(mask: np.ndarray) -> None:
    runs = find_runs(mask.astype(np.float32), 0.5)
    labels, n = label_runs(runs)
    image = paint_runs(runs, labels)
    expected, n_expected = ndimage.label(mask, structure=np.ones((3, 3)))
    assert n == n_expected
    # scipy numbers in raster order too.
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("fraction", [0.2, 0.35, 0.45, 0.6, 0.9])
def test_labels_of_large_images(fraction: float) -> None:
    mask = dense_mask(3, fraction)
    runs = find_runs(mask.astype(np.float32), 0.5)
    labels, n = label_runs(runs)
    expected, n_expected = ndimage.label(mask, structure=np.ones((3, 3)))
    assert n == n_expected
    assert same_partition(paint_runs(runs, labels), expected)


@given(
    arrays(
        np.float32,
        array_shapes(min_dims=2, max_dims=2, max_side=12),
        elements=st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 4.9, 5.0, 5.1]),
    )
)
def test_runs_cover_what_is_over_the_threshold(values: np.ndarray) -> None:
    runs = find_runs(values, 5.0)
    np.testing.assert_array_equal(paint_runs(runs, np.ones(len(runs), np.int32)) > 0, values >= 5.0)
    assert runs.length.sum() == np.count_nonzero(values >= 5.0)
    # Runs are maximal: two in a row are apart.
    same_row = np.diff(runs.y) == 0
    assert (runs.x0[1:][same_row] > runs.x1[:-1][same_row] + 1).all()


@given(masks, st.integers(1, 5))
def test_small_components_are_counted(mask: np.ndarray, min_pixels: int) -> None:
    runs = find_runs(mask.astype(np.float32), 0.5)
    labels, n = label_runs(runs)
    kept, kept_labels, n_kept, dropped = select_components(
        runs, labels, n, mask.astype(np.float32), min_pixels=min_pixels, include_threshold=None
    )
    sizes = np.bincount(paint_runs(runs, labels).ravel(), minlength=n + 1)[1:]
    assert n_kept == np.count_nonzero(sizes >= min_pixels)
    assert dropped["n_dropped_below_min_pixels"] == n - n_kept
    kept_sizes = np.bincount(paint_runs(kept, kept_labels).ravel(), minlength=n_kept + 1)[1:]
    np.testing.assert_array_equal(kept_sizes, sizes[sizes >= min_pixels])


def test_include_threshold() -> None:
    values = np.zeros((5, 12), np.float32)
    values[2, 1:4] = 5, 9, 6
    values[2, 6:9] = 5, 7, 6
    values[2, 11] = 8
    runs = find_runs(values, 5.0)
    labels, n = label_runs(runs)
    kept, _, n_kept, dropped = select_components(runs, labels, n, values, min_pixels=1, include_threshold=8.0)
    assert n_kept == 2
    assert kept.x0.tolist() == [1, 11]
    assert dropped["n_dropped_below_include_threshold"] == 1


def structure(radius: int, isotropic: bool) -> np.ndarray:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return x**2 + y**2 <= radius**2 if isotropic else np.abs(x) + np.abs(y) <= radius


def grow(mask: np.ndarray, radius: int, isotropic: bool, merge: bool = True) -> np.ndarray:
    runs = find_runs(mask.astype(np.float32), 0.5)
    component, _ = label_runs(runs)
    half_widths = stencil_half_widths(radius, isotropic)
    return paint_runs(*grow_merged(runs, half_widths)) if merge else grow_apart(runs, component, half_widths)


@given(
    arrays(
        bool,
        array_shapes(min_dims=2, max_dims=2, max_side=20),
        elements=st.sampled_from([True] + 6 * [False]),
    ),
    st.integers(0, 6),
    st.booleans(),
)
def test_growth_matches_scipy(mask: np.ndarray, radius: int, isotropic: bool) -> None:
    labels = grow(mask, radius, isotropic)
    expected = ndimage.binary_dilation(mask, structure(radius, isotropic)) if radius else mask
    np.testing.assert_array_equal(labels > 0, expected)
    np.testing.assert_array_equal(labels, ndimage.label(expected, np.ones((3, 3)))[0])


@pytest.mark.parametrize("isotropic", [True, False])
def test_growth_of_large_image(isotropic: bool) -> None:
    mask = np.random.default_rng(1).random((300, 400)) < 0.004
    labels = grow(mask, 4, isotropic)
    expected = ndimage.binary_dilation(mask, structure(4, isotropic))
    np.testing.assert_array_equal(labels > 0, expected)
    np.testing.assert_array_equal(labels, ndimage.label(expected, np.ones((3, 3)))[0])


def test_without_merging_the_nearest_wins() -> None:
    mask = np.zeros((9, 20), dtype=bool)
    mask[4, 5] = mask[4, 10] = True
    labels = grow(mask, 4, True, merge=False)
    np.testing.assert_array_equal(labels > 0, grow(mask, 4, True) > 0)
    assert labels[4, 7] == 1
    assert labels[4, 8] == 2
    assert grow(mask, 4, True).max() == 1


def test_without_merging_nothing_is_nothing() -> None:
    assert not grow(np.zeros((5, 5), dtype=bool), 2, True, merge=False).any()


@pytest.mark.parametrize(
    ("sigma", "n_sigma", "expected"), [(1.598, 2.4, 4), (1.8, 2.4, 4), (0.8, 2.4, 2), (3.0, 0, 0)]
)
def test_radius(sigma: float, n_sigma: float, expected: int) -> None:
    assert growth_radius(sigma, n_sigma) == expected

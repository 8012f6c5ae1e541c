# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from lsst.meas.blendid.footprints.components import find_runs, label_runs, paint_runs
from lsst.meas.blendid.footprints.growth import grow_apart, grow_merged, growth_radius, stencil_half_widths
from scipy import ndimage


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

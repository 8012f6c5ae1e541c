# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the matching of peaks and positions."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.localizers.matching import match_in_footprints


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

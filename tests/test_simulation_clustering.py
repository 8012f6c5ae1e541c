# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of pair counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.simulation import SimulationError
from lsst.meas.blendid.simulation.catalogs.clustering import count_pairs


def test_pairs_are_counted_once() -> None:
    x, y = np.array([0.0, 3.0, 3.0, 50.0]), np.array([0.0, 0.0, 4.0, 50.0])
    counts = count_pairs(x, y, np.array([2.5, 3.5, 4.5, 5.5]), (100, 100))
    assert counts.pairs.tolist() == [1.0, 1.0, 1.0]
    # Positions outside of the field are no part of it.
    beyond = count_pairs(np.append(x, [-1.0, 100.0]), np.append(y, [0.0, 3.0]), counts.edges, (100, 100))
    np.testing.assert_array_equal(beyond.pairs, counts.pairs)
    np.testing.assert_array_equal(beyond.expected, counts.expected)


@given(st.integers(0, 5), st.sampled_from([(400, 400), (300, 900)]))
def test_random_places_have_no_excess(seed: int, size: tuple[int, int]) -> None:
    """Up to most of the width of the field, where its border takes a third of the pairs."""
    rng = np.random.default_rng(seed)
    x, y = (rng.uniform(-0.5, length - 0.5, 3000) for length in size)
    counts = count_pairs(x, y, np.array([0.0, 20.0, 60.0, 150.0, 290.0]), size)
    assert (np.abs(counts.excess) < 6.0 / np.sqrt(counts.expected) + 0.02).all()


def test_fields_add_up() -> None:
    rng = np.random.default_rng(0)
    edges = np.array([1.0, 5.0, 20.0])
    one, two = (count_pairs(*rng.uniform(0, 99, (2, n)), edges, (100, 100)) for n in (50, 80))
    both = one + two
    np.testing.assert_array_equal(both.pairs, one.pairs + two.pairs)
    np.testing.assert_allclose(both.excess, both.pairs / (one.expected + two.expected) - 1.0)
    other = count_pairs(np.zeros(2), np.zeros(2), np.array([1.0, 5.0, 21.0]), (100, 100))
    with pytest.raises(SimulationError, match="different separations"):
        one + other


@pytest.mark.parametrize("edges", [[1.0], [2.0, 1.0], [-1.0, 1.0], [1.0, np.nan]])
def test_impossible_separations_are_refused(edges: list[float]) -> None:
    with pytest.raises(SimulationError, match="separations"):
        count_pairs(np.zeros(3), np.zeros(3), np.array(edges), (100, 100))
    with pytest.raises(SimulationError, match="less than the field of 100 × 50"):
        count_pairs(np.zeros(3), np.zeros(3), np.array([1.0, 60.0]), (100, 50))

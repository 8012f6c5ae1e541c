# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the random streams of the simulator."""

from __future__ import annotations

import numpy as np
from lsst.meas.blendid.simulation._random import random_stream


def test_stream_is_that_of_numpy() -> None:
    expected = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(3, 7))).uniform(size=4)
    np.testing.assert_array_equal(random_stream(5, 3, 7).uniform(size=4), expected)


def test_streams_differ() -> None:
    keys = [(5, ()), (6, ()), (5, (1,)), (5, (2,)), (5, (1, 0)), (5, (0, 1))]
    drawn = {random_stream(seed, *key).uniform() for seed, key in keys}
    assert len(drawn) == len(keys)

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Random streams: each purpose, and each thing that is drawn, has one of its own."""

from __future__ import annotations

__all__ = ("random_stream",)

import numpy as np


def random_stream(seed: int, *key: int) -> np.random.Generator:
    """Make the random numbers of one purpose.

    Parameters
    ----------
    seed
        Seed of everything, not negative.
    *key
        Numbers of the purpose, and of what it is drawn for: a cell, say, or a stamp. Not
        negative.

    Returns
    -------
    rng
        Numbers that are independent of those of every other key.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))

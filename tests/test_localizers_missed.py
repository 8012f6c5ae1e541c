# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the share of objects that positions miss."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.meas.blendid.localizers.missed import MISSED_ARRAYS, MissedShare


def make_images(n: int = 60, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of images, of which the third tells the share that is missed."""
    rng = np.random.default_rng(seed)
    context = rng.normal(3.0, 2.0, (n, 9))
    share = np.clip(0.05 + 0.01 * (context[:, 2] - 3.0), 0.0, None)
    found = rng.integers(2000, 5000, n)
    return context, found, np.round(found * (1.0 + share)).astype(int)


def test_the_share_is_learned_and_holds_elsewhere() -> None:
    share = MissedShare.fit(*make_images())
    context, found, galaxies = make_images(seed=2)
    np.testing.assert_allclose(share.predict(context), galaxies / found - 1.0, atol=0.01)
    # What is not known is taken as usual, and nothing is missed less often than never.
    unknown = share.predict(np.full((1, 9), np.nan))
    assert unknown[0] == pytest.approx(0.05, abs=0.005)
    assert share.predict(np.full((1, 9), -100.0))[0] >= 0.0


def test_one_image_is_enough_and_none_is_no_error() -> None:
    context, found, galaxies = (v[:1] for v in make_images())
    assert MissedShare.fit(context, found, galaxies).predict(context)[0] == pytest.approx(
        galaxies[0] / found[0] - 1.0
    )
    assert MissedShare.fit(context, found, galaxies).predict(np.zeros((0, 9))).shape == (0,)


def test_arrays_are_checked() -> None:
    share = MissedShare.fit(*make_images())
    assert share.arrays.keys() == MISSED_ARRAYS.keys()
    context, _, _ = make_images(seed=3)
    np.testing.assert_array_equal(MissedShare(share.arrays).predict(context), share.predict(context))
    for name, array in share.arrays.items():
        for wrong in (array[:-1], array * np.nan):
            with pytest.raises(ValueError, match=name):
                MissedShare(share.arrays | {name: wrong})

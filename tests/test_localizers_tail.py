# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the number of objects in footprints with at least four."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.meas.blendid.localizers.tail import TAIL_ARRAYS, TailFactor

N_IMAGES = 60


def make_footprints(seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means of independent peaks, numbers of images, of which the third tells what is missed, and counts."""
    rng = np.random.default_rng(seed)
    context = np.repeat(rng.normal(3.0, 2.0, (N_IMAGES, 9)), 200, axis=0)
    mean = 4.0 + rng.exponential(2.0, len(context))
    true = mean * (1.05 + 0.02 * (context[:, 2] - 3.0))
    return mean, context, np.maximum(rng.poisson(true), 0)


def test_the_factor_is_learned_and_holds_elsewhere() -> None:
    mean, context, counts = make_footprints()
    # All have at least four here; those that happen to have fewer would be left out.
    counts = np.maximum(counts, 4)
    factor = TailFactor.fit(mean, context, counts)
    assert factor.predict(mean, context).sum() == pytest.approx(counts.sum(), rel=1e-3)
    other_mean, other, true = make_footprints(seed=2)
    true = np.maximum(true, 4)
    expected = factor.predict(other_mean, other)
    assert expected.sum() == pytest.approx(true.sum(), rel=0.01)
    few = other[:, 2] < np.quantile(other[:, 2], 0.3)
    for rows in (few, ~few):
        assert expected[rows].sum() == pytest.approx(true[rows].sum(), rel=0.02)
    # Without it they are too few where more is missed.
    assert other_mean[~few].sum() < 0.95 * true[~few].sum()


def test_what_is_not_known_is_as_usual_and_nothing_is_less_than_four() -> None:
    factor = TailFactor.fit(*make_footprints())
    usual = factor.predict(np.array([6.0]), np.full((1, 9), np.nan))[0]
    assert usual == pytest.approx(factor.predict(np.array([6.0]), np.full((1, 9), 3.0))[0], rel=0.03)
    assert (factor.predict(np.array([4.0, 4.0]), np.array([[-1e9] * 9, [1e9] * 9])) >= 4.0).all()


def test_fewer_than_four_are_left_out_and_none_is_no_error() -> None:
    mean, context, counts = make_footprints()
    counts = np.where(np.arange(len(counts)) % 2 == 0, np.maximum(counts, 4), 1)
    np.testing.assert_allclose(
        TailFactor.fit(mean, context, counts).predict(mean, context),
        TailFactor.fit(mean[::2], context[::2], counts[::2]).predict(mean, context),
    )
    nothing = TailFactor.fit(mean, context, np.ones(len(mean)))
    np.testing.assert_array_equal(nothing.predict(mean, context), mean)
    assert nothing.predict(mean[:0], context[:0]).shape == (0,)


def test_arrays_are_checked() -> None:
    factor = TailFactor.fit(*make_footprints())
    assert factor.arrays.keys() == TAIL_ARRAYS.keys()
    mean, context, _ = make_footprints(seed=3)
    again = TailFactor(factor.arrays, context.shape[1]).predict(mean, context)
    np.testing.assert_array_equal(again, factor.predict(mean, context))
    for name, array in factor.arrays.items():
        for wrong in (array[:-1], array * np.nan):
            with pytest.raises(ValueError, match=name):
                TailFactor(factor.arrays | {name: wrong}, context.shape[1])

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of how many objects there are, by P(N) and by peaks."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.localizers import expected_counts, several_mean, tilt_probabilities
from lsst.meas.blendid.localizers.consistency import TAIL_ARRAYS, TailFactor
from scipy.optimize import brentq
from scipy.special import expit, logit

PROBABILITIES = st.lists(st.lists(st.floats(0.001, 0.999), max_size=8), min_size=1, max_size=4)


def join(lists: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([np.array(p, float) for p in lists]), np.cumsum([0, *map(len, lists)])


@given(PROBABILITIES)
def test_mean_of_several_is_that_of_all_cases(lists: list[list[float]]) -> None:
    p, start = join(lists)
    means = several_mean(p, start)
    for mean, one in zip(means, lists, strict=True):
        cases = np.array(list(product([0, 1], repeat=len(one))), float)
        weights = np.prod(np.where(cases == 1, one, 1.0 - np.array(one)), axis=1)
        n = cases.sum(axis=1)
        share = weights[n >= 4].sum()
        if share > 1e-6:
            assert mean == pytest.approx((weights * n)[n >= 4].sum() / share, rel=1e-6)
        else:
            assert 4.0 <= mean <= max(len(one), 4)


def test_expected_counts() -> None:
    p_n = np.array([[0.1, 0.2, 0.3, 0.25, 0.15], [0.0, 1.0, 0.0, 0.0, 0.0]])
    np.testing.assert_allclose(expected_counts(p_n, np.array([6.0, 4.0])), [0.2 + 0.6 + 0.75 + 0.9, 1.0])


@given(PROBABILITIES, st.floats(0.05, 0.95))
def test_tilt_is_one_factor_on_the_odds(lists: list[list[float]], share: float) -> None:
    p, start = join(lists)
    target = share * np.diff(start)
    tilted = tilt_probabilities(p, start, target)
    for a, b, wanted in zip(start, start[1:], target, strict=False):
        if a == b:
            continue
        shift = brentq(lambda t: expit(logit(p[a:b]) + t).sum() - wanted, -30.0, 30.0, xtol=1e-13)  # noqa: B023
        if abs(shift) < 29.0:
            np.testing.assert_allclose(tilted[a:b], expit(logit(p[a:b]) + shift), atol=1e-7)
            assert tilted[a:b].sum() == pytest.approx(wanted, abs=1e-7)
        # The order stays.
        np.testing.assert_array_equal(
            np.argsort(tilted[a:b], kind="stable"), np.argsort(p[a:b], kind="stable")
        )


def test_what_cannot_be_reached_is_approached() -> None:
    p, start = np.array([0.5, 0.5, 0.9, 0.0, 1.0]), np.array([0, 2, 2, 3, 5])
    tilted = tilt_probabilities(p, start, np.array([5.0, 1.0, np.nan, 0.3]))
    assert np.all(tilted[:2] > 0.999999)
    assert tilted[2] == 0.9
    # A probability of 0 stays next to nothing, and the other takes what there is to take.
    assert tilted[3] < 1e-6 and tilted[3:].sum() == pytest.approx(0.3)


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

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of how P(N) and the probabilities of peaks are made to agree."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.localizers import expected_counts, several_mean, tilt_probabilities
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

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of random numbers that are functions of their key."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.simulation.random_streams import add_poisson_noise, noise_key, random_stream
from scipy import stats


def test_stream_is_that_of_numpy() -> None:
    expected = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(3, 7))).uniform(size=4)
    np.testing.assert_array_equal(random_stream(5, 3, 7).uniform(size=4), expected)


def test_streams_differ() -> None:
    keys = [(5, ()), (6, ()), (5, (1,)), (5, (2,)), (5, (1, 0)), (5, (0, 1))]
    drawn = {random_stream(seed, *key).uniform() for seed, key in keys}
    assert len(drawn) == len(keys)


def _draw(mean: float, shape: tuple[int, int], key: int = 7, x0: int = 0, y0: int = 0) -> np.ndarray:
    image = np.full(shape, float(mean))
    add_poisson_noise(image, np.uint64(key), x0, y0)
    return image


@pytest.mark.parametrize("mean", [0.3, 3.0, 9.9, 10.0, 14.0, 90.0, 1000.0])
def test_numbers_are_poisson(mean: float) -> None:
    """Chi-squared of the counts of each number."""
    drawn = _draw(mean, (400, 500))
    assert (drawn == np.rint(drawn)).all() and drawn.min() >= 0
    edges = np.unique(stats.poisson.ppf(np.linspace(0.001, 0.999, 40), mean))
    found = np.histogram(drawn, np.concatenate([[-np.inf], edges + 0.5, [np.inf]]))[0]
    cumulative = np.concatenate([[0.0], stats.poisson.cdf(edges, mean), [1.0]])
    keep = np.diff(cumulative) * drawn.size > 10
    expected = np.diff(cumulative)[keep] * drawn.size
    chi2 = ((found[keep] - expected) ** 2 / expected).sum()
    assert stats.chi2.sf(chi2, keep.sum() - 1) > 1e-4


@pytest.mark.parametrize("mean", [5e5, 2e7])
def test_moments_at_large_means(mean: float) -> None:
    pull = (_draw(mean, (1000, 500)) - mean) / np.sqrt(mean)
    n = pull.size
    assert pull.mean() == pytest.approx(0.0, abs=4 / np.sqrt(n))
    assert pull.var() == pytest.approx(1.0, abs=4 * np.sqrt(2 / n))
    assert stats.kurtosis(pull.ravel()) == pytest.approx(0.0, abs=4 * np.sqrt(24 / n))
    assert stats.kstest(pull.ravel(), "norm").pvalue > 1e-4


def test_no_light_no_noise() -> None:
    assert not _draw(0.0, (20, 20)).any()


def test_pixels_are_independent() -> None:
    pull = (_draw(1e4, (512, 512)) - 1e4) / 100.0
    spectrum = np.abs(np.fft.fft2(pull)) ** 2 / pull.size
    # White: no mode stands out, rows and columns least of all.
    assert spectrum.max() < 25.0
    assert spectrum[0].mean() == pytest.approx(1.0, abs=0.25)
    assert spectrum[:, 0].mean() == pytest.approx(1.0, abs=0.25)


@settings(deadline=None, max_examples=50)
@given(
    x0=st.integers(-(10**6), 10**6),
    y0=st.integers(-(10**6), 10**6),
    dx=st.integers(0, 20),
    dy=st.integers(0, 20),
    key=st.integers(0, 2**64 - 1),
    mean=st.sampled_from([2.0, 30.0, 5e5]),
)
def test_noise_is_a_function_of_the_place(x0: int, y0: int, dx: int, dy: int, key: int, mean: float) -> None:
    whole = _draw(mean, (32, 40), key, x0, y0)
    part = _draw(mean, (8, 9), key, x0 + dx, y0 + dy)
    np.testing.assert_array_equal(part, whole[dy : dy + 8, dx : dx + 9])
    # Not of its neighbours' brightness.
    other = np.full((32, 40), 7.0 * mean)
    other[dy, dx] = mean
    add_poisson_noise(other, np.uint64(key), x0, y0)
    assert other[dy, dx] == whole[dy, dx]


def test_keys_differ() -> None:
    keys = {int(noise_key(seed, band)) for seed in range(20) for band in "ugrizy"}
    assert len(keys) == 120
    assert noise_key(3, "i") == noise_key(3, "i")
    one, two = _draw(1e4, (64, 64), 1), _draw(1e4, (64, 64), 2)
    assert np.corrcoef(one.ravel(), two.ravel())[0, 1] == pytest.approx(0.0, abs=4 / 64)

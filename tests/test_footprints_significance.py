# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The smoothed image, and its signal to noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from lsst.meas.blendid.footprints import NoiseEstimate
from lsst.meas.blendid.footprints.significance import (
    border_slices,
    dilate_square,
    gaussian_kernel,
    kernel_size,
    noise_at,
    significance_image,
    smooth,
    smooth_variance,
)
from scipy import ndimage


@pytest.mark.parametrize("shape", [(64, 80), (13, 13), (13, 40), (40, 13)])
@pytest.mark.parametrize("size", [1, 3, 13])
def test_smoothing_matches_scipy(shape: tuple[int, int], size: int) -> None:
    image = np.random.default_rng(2).normal(10.0, 3.0, shape).astype(np.float32)
    kernel = gaussian_kernel(1.8, size)
    smoothed = smooth(image, kernel)
    expected = ndimage.convolve(image.astype(float), np.outer(kernel, kernel))
    r = size // 2
    inner = (slice(r, shape[0] - r), slice(r, shape[1] - r))
    np.testing.assert_allclose(smoothed[inner], expected[inner], rtol=2e-6)
    outside = np.ones(shape, dtype=bool)
    outside[inner] = False
    assert not smoothed[outside & (np.arange(shape[0]) < r)[:, None]].any()


def test_border_is_zero() -> None:
    smoothed = smooth(np.ones((30, 40), np.float32), gaussian_kernel(1.5, 11))
    assert not smoothed[:5].any()
    assert not smoothed[-5:].any()
    assert not smoothed[:, :5].any()
    assert not smoothed[:, -5:].any()
    np.testing.assert_allclose(smoothed[5:-5, 5:-5], 1.0, rtol=1e-6)


@pytest.mark.parametrize(("sigma", "expected"), [(1.597418, 11), (1.8, 13), (0.1, 1), (3.0, 21)])
def test_kernel_size(sigma: float, expected: int) -> None:
    assert kernel_size(sigma) == expected
    kernel = gaussian_kernel(sigma, expected)
    assert kernel.sum() == pytest.approx(1.0)
    np.testing.assert_array_equal(kernel, kernel[::-1])


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=20)), st.integers(0, 8))
def test_square_dilation_matches_scipy(mask: np.ndarray, radius: int) -> None:
    expected = ndimage.binary_dilation(mask, np.ones((2 * radius + 1,) * 2))
    np.testing.assert_array_equal(dilate_square(mask, radius), expected)


KERNEL = gaussian_kernel(1.6, 11)
NOISE = NoiseEstimate(sigma=2.0, smoothed_sigma=0.5, correlation=1.25, source="variance")


@pytest.mark.parametrize("radius", [0, 1, 3])
def test_border(radius: int) -> None:
    mask = np.ones((9, 11), dtype=bool)
    for edge in border_slices(radius):
        mask[edge] = False
    assert mask.sum() == (9 - 2 * radius) * (11 - 2 * radius)


def test_variance_of_smoothed_noise() -> None:
    variance = np.full((400, 400), 4.0, np.float32)
    variance[:, 200:] = 25.0
    noise = np.random.default_rng(1).normal(0, 1, variance.shape).astype(np.float32) * np.sqrt(variance)
    scatter = smooth(noise, KERNEL)
    expected = smooth_variance(variance, None, KERNEL)
    assert isinstance(expected, np.ndarray)
    for columns in (slice(10, 190), slice(210, 390)):
        assert scatter[10:-10, columns].std() ** 2 == pytest.approx(expected[200, columns.start], rel=0.06)


def test_constant_variance_is_one_number() -> None:
    constant = np.full((40, 40), 4.0, np.float32)
    number = smooth_variance(constant, None, KERNEL)
    assert isinstance(number, float)
    varying = constant.copy()
    varying[0, 0] = 4.1
    plane = smooth_variance(varying, None, KERNEL)
    assert isinstance(plane, np.ndarray)
    assert plane[20, 20] == pytest.approx(number, rel=1e-5)


@pytest.mark.parametrize("correct", [False, True])
def test_significance_and_noise_agree(correct: bool) -> None:
    rng = np.random.default_rng(3)
    smoothed = rng.normal(0, 1, (30, 40)).astype(np.float32)
    variance = rng.uniform(0.1, 2.0, (30, 40)).astype(np.float32)
    y, x = np.mgrid[:30, :40]
    for plane in (variance, None):
        significance = significance_image(smoothed, plane, NOISE, correct)
        sigma = noise_at(x.ravel(), y.ravel(), plane, NOISE, correct).reshape(30, 40)
        np.testing.assert_allclose(significance * sigma, smoothed, rtol=1e-5, atol=1e-7)

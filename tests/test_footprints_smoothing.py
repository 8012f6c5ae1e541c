# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from lsst.meas.blendid.footprints.smoothing import dilate_square, gaussian_kernel, kernel_size, smooth
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

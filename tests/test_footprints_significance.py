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
from lsst.meas.blendid.footprints import NoiseEstimate
from lsst.meas.blendid.footprints.significance import (
    border_slices,
    noise_at,
    significance_image,
    smooth_variance,
)
from lsst.meas.blendid.footprints.smoothing import gaussian_kernel, smooth

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

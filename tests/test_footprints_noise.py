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
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.footprints import FootprintConfig
from lsst.meas.blendid.footprints.noise import clipped_statistics
from lsst.meas.blendid.footprints.significance import estimate_noise
from lsst.meas.blendid.footprints.smoothing import gaussian_kernel, smooth
from scipy.ndimage import shift
from scipy.stats import sigmaclip

KERNEL = gaussian_kernel(1.6, 11)


@pytest.fixture(scope="module")
def white() -> np.ndarray:
    return np.random.default_rng(5).normal(300.0, 25.0, (1024, 1024)).astype(np.float32)


def test_white_noise_within_one_percent(white: np.ndarray) -> None:
    statistics = clipped_statistics(white)
    assert statistics.gaussian_sigma == pytest.approx(25.0, rel=0.005)
    assert statistics.tail_sigma == pytest.approx(25.0, rel=0.01)
    assert statistics.mean == pytest.approx(300.0, abs=0.1)
    assert statistics.median == pytest.approx(300.0, abs=0.1)


def test_matches_clipping_of_the_values(white: np.ndarray) -> None:
    rng = np.random.default_rng(6)
    image = white.copy()
    image.flat[rng.integers(0, image.size, 20000)] += rng.exponential(500.0, 20000).astype(np.float32)
    kept = sigmaclip(image.ravel().astype(float), 3.0, 3.0).clipped
    statistics = clipped_statistics(image)
    assert statistics.sigma == pytest.approx(kept.std(), rel=1e-3)
    assert statistics.mean == pytest.approx(kept.mean(), abs=0.03)
    assert statistics.n == pytest.approx(kept.size, rel=1e-4)


def test_three_iterations_follow_afw(white: np.ndarray) -> None:
    values = white.ravel().astype(float)
    q1, middle, q3 = np.percentile(values, (25, 50, 75))
    center, width = middle, 3 * 0.741301109 * (q3 - q1)
    for _ in range(3):
        kept = values[np.abs(values - center) < width]
        center, width = kept.mean(), 3 * kept.std()
    statistics = clipped_statistics(white, n_iterations=3)
    assert statistics.sigma == pytest.approx(kept.std(), rel=1e-4)


def test_skipped_pixels_and_margin(white: np.ndarray) -> None:
    image = white.copy()
    skip = np.zeros(image.shape, dtype=bool)
    skip[:, ::3] = True
    image[skip] = np.nan
    image[:7] = image[-7:] = 1e30
    image[:, :7] = image[:, -7:] = -1e30
    statistics = clipped_statistics(image, skip, margin=7)
    assert statistics.gaussian_sigma == pytest.approx(25.0, rel=0.01)


@pytest.mark.parametrize("value", [0.0, 7.0, -1e20])
def test_constant_image(value: float) -> None:
    statistics = clipped_statistics(np.full((20, 20), value, np.float32))
    assert statistics.mean == pytest.approx(value, rel=1e-5, abs=1e-30)
    assert statistics.sigma <= 1e-5 * abs(value) + 1e-30


def test_nothing_left() -> None:
    statistics = clipped_statistics(np.ones((9, 9), np.float32), np.ones((9, 9), dtype=bool))
    assert statistics.n == 0
    assert np.isnan(statistics.sigma)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(-1e6, 1e6),
    st.floats(1e-3, 1e6),
)
def test_never_fails(seed: int, ny: int, nx: int, mean: float, sigma: float) -> None:
    rng = np.random.default_rng(seed)
    image = rng.standard_cauchy((ny, nx)) * sigma + mean
    statistics = clipped_statistics(image.astype(np.float32), rng.random((ny, nx)) < 0.3)
    assert statistics.n == 0 or (np.isfinite(statistics.mean) and statistics.sigma >= 0.0)


def _noise(image: np.ndarray, **fields: object):
    config = FootprintConfig()
    config.update(noiseSource="clipped", **fields)
    return estimate_noise(image, smooth(image, KERNEL), None, None, None, KERNEL, config)


def test_no_correlation_in_white_noise(white: np.ndarray) -> None:
    noise = _noise(white - 300)
    assert noise.sigma == pytest.approx(25.0, rel=0.01)
    assert noise.correlation == pytest.approx(1.0, abs=0.02)
    assert noise.smoothed_sigma == pytest.approx(smooth(white - 300, KERNEL)[9:-9, 9:-9].std(), rel=0.01)


@pytest.mark.parametrize("fraction", [0.5, 0.3])
def test_resampled_noise_is_corrected(white: np.ndarray, fraction: float) -> None:
    image = shift(white - 300, (fraction, fraction), order=1, mode="wrap").astype(np.float32)
    actual = smooth(image, KERNEL)[9:-9, 9:-9].std()
    assert _noise(image).smoothed_sigma < 0.9 * actual
    corrected = _noise(image, doCorrectCorrelatedNoise=True)
    assert corrected.smoothed_sigma == pytest.approx(actual, rel=0.03)
    assert corrected.correlation > 1.1


def test_variance_plane() -> None:
    image = np.random.default_rng(8).normal(0, 3, (300, 300)).astype(np.float32)
    variance = np.full(image.shape, 9.0, np.float32)
    white = float((KERNEL**2).sum())
    constant = estimate_noise(
        image, smooth(image, KERNEL), variance, 9.0 * white**2, None, KERNEL, FootprintConfig()
    )
    varying = estimate_noise(
        image, smooth(image, KERNEL), variance, smooth(variance, KERNEL**2), None, KERNEL, FootprintConfig()
    )
    for noise in (constant, varying):
        assert noise.source == "variance"
        assert noise.sigma == pytest.approx(3.0)
        assert noise.smoothed_sigma == pytest.approx(3.0 * white, rel=1e-5)
        assert noise.correlation == pytest.approx(1.0, abs=0.03)

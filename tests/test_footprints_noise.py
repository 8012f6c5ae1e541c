# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.footprints import FootprintConfig, NoNoiseError, build_footprints
from lsst.meas.blendid.footprints.measurements import find_footprint_flags
from lsst.meas.blendid.footprints.noise import clipped_statistics, estimate_noise
from lsst.meas.blendid.footprints.significance import gaussian_kernel, smooth, smooth_variance
from lsst.meas.blendid.images.psf import PsfSummary
from scipy import ndimage
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
    assert _noise(image, maxNoiseCorrelation=10.0).smoothed_sigma < 0.9 * actual
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


@pytest.mark.parametrize("pattern", ["pixels", "half", "stripes"])
def test_correlation_with_uneven_variance(pattern: str) -> None:
    # Noise twice as high in 30 % or half of the pixels is still white.
    rng = np.random.default_rng(11)
    shape = (1000, 1000)
    high = rng.random(shape) < 0.3
    if pattern != "pixels":
        high[:] = False
        high[: 500 if pattern == "half" else 300] = True
    sigma = np.where(high, 2.0, 1.0)
    image = rng.normal(0.0, sigma).astype(np.float32)
    variance = (sigma**2).astype(np.float32)
    noise = estimate_noise(
        image, smooth(image, KERNEL), variance, smooth_variance(variance, None, KERNEL), None, KERNEL,
        FootprintConfig(),
    )  # fmt: skip
    assert noise.correlation == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("share", [0.55, 0.9, 1.0])
@pytest.mark.parametrize("value", [0.0, -3.5])
def test_padding_is_no_noise(share: float, value: float) -> None:
    rng = np.random.default_rng(12)
    image = rng.normal(value, 1.0, (400, 400)).astype(np.float32)
    image[: round(400 * share)] = value
    statistics = clipped_statistics(image)
    assert (statistics.sigma, statistics.tail_sigma, statistics.median) == (0.0, 0.0, value)
    for fields in ({}, {"thresholdType": "stdev"}, {"doCorrectCorrelatedNoise": True}):
        with pytest.raises(NoNoiseError, match=rf"more than half .* one value \({value:g}\).*NO_DATA"):
            _noise(image, **fields)


def test_masked_padding_does_no_harm(white: np.ndarray) -> None:
    image = white - 300
    skip = np.zeros(image.shape, dtype=bool)
    skip[:, :700] = True
    image[skip] = 0.0
    config = FootprintConfig()
    config.update(noiseSource="clipped")
    noise = estimate_noise(image, smooth(image, KERNEL), None, None, skip, KERNEL, config)
    assert noise.sigma == pytest.approx(25.0, rel=0.01)
    assert noise.correlation == pytest.approx(1.0, abs=0.03)


def test_nothing_is_left_for_the_noise() -> None:
    image = np.random.default_rng(13).normal(size=(60, 60)).astype(np.float32)
    skip = np.ones(image.shape, dtype=bool)
    skip[0] = False  # in the border, where there is no smoothed image
    config = FootprintConfig()
    config.update(noiseSource="clipped")
    with pytest.raises(NoNoiseError, match="statsMask"):
        estimate_noise(image, smooth(image, KERNEL), None, None, skip, KERNEL, config)
    variance = np.random.default_rng(14).uniform(1.0, 2.0, image.shape).astype(np.float32)
    arguments = (
        image, smooth(image, KERNEL), variance, smooth(variance, KERNEL**2), skip, KERNEL
    )  # fmt: skip
    noise = estimate_noise(*arguments, FootprintConfig())
    assert np.isnan(noise.correlation)
    assert 1.0 < noise.sigma < 1.5
    config = FootprintConfig()
    config.update(doCorrectCorrelatedNoise=True)
    with pytest.raises(NoNoiseError, match="statsMask"):
        estimate_noise(*arguments, config)


def _smoothed_noise(width: float) -> np.ndarray:
    return ndimage.gaussian_filter(np.random.default_rng(8).normal(size=(300, 300)), width).astype("f4")


def test_correlated_noise_is_corrected_without_a_variance_plane() -> None:
    image = _smoothed_noise(1.0)
    noise = _noise(image, maxNoiseCorrelation=100.0)
    assert noise.correlation > 2.0
    assert not noise.is_correlated
    assert not noise.is_corrected
    corrected = _noise(image)
    assert corrected.is_correlated
    assert corrected.is_corrected
    assert corrected.correlation == noise.correlation
    assert corrected.smoothed_sigma == pytest.approx(noise.smoothed_sigma * noise.correlation)
    # White noise of this sigma would scatter as much.
    assert corrected.sigma == pytest.approx(noise.sigma * noise.correlation)


def test_ordinary_noise_is_not_corrected(white: np.ndarray) -> None:
    noise = _noise(white)
    assert not noise.is_correlated
    assert not noise.is_corrected


def test_few_pixels_do_not_tell() -> None:
    assert not _noise(_smoothed_noise(1.0)[:90, :90]).is_correlated


@pytest.mark.parametrize("slope", [0.0, 1e-3])
def test_correlated_noise_with_a_variance_plane_is_told(slope: float) -> None:
    """It is trusted, and a plane that is too small is no correlation."""
    image = _smoothed_noise(1.0)
    scatter = 1.0 + slope * np.arange(300, dtype=np.float32)
    image = image / image.std() * scatter
    variance = np.broadcast_to(scatter**2, image.shape)
    psf = PsfSummary(np.ones((1, 1)), 1.6, 1.6, 1.6, 0.0, 1)
    result = build_footprints(image, psf=psf, variance=variance)
    assert result.noise.is_correlated
    assert not result.noise.is_corrected
    assert len(result.footprints) > 10
    flags = find_footprint_flags(result, max_peaks=600, max_masked_fraction=0.5)
    assert flags["correlated_noise"].all()
    white = np.random.default_rng(8).normal(size=(300, 300)).astype("f4")
    small = build_footprints(white * scatter, psf=psf, variance=0.3 * variance)
    assert small.noise.correlation > 1.7
    assert not small.noise.is_correlated


def test_pure_correlated_noise_has_no_footprints(shared_cases: Path, tmp_path: Path) -> None:
    """By command: 5 sigma is 5 sigma, and the correction is told."""
    subprocess.run([sys.executable, shared_cases / "08_correlated_noise.py", tmp_path], check=True)
    for name, told in (("white", False), ("drizzled", True)):
        arguments = ["run", str(tmp_path / f"{name}.fits"), "--out", str(tmp_path), "--psf-fwhm", "0.7"]
        arguments += ["--pixel-scale", "0.2", "--classifier", "peaks", "--localizer", "none"]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        assert len(Table.read(tmp_path / f"{name}.blend.parquet")) == 0
        assert ("The noise is correlated" in result.output) == told

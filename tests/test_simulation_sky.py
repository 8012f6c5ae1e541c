# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the sky of coadds: brightness, residuals, over-subtraction and correlated noise."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.footprints import FootprintConfig, detect
from lsst.meas.blendid.images.psf import kolmogorov_kernel, summarize_psf
from lsst.meas.blendid.simulation import get_survey, simulate_scene
from lsst.meas.blendid.simulation.coadds.sky import (
    add_correlated_noise,
    brightened,
    filter_loss,
    over_subtraction,
    sky_residual,
)
from lsst.meas.blendid.simulation.config import SceneConfig
from lsst.meas.blendid.simulation.random_streams import add_poisson_noise, noise_key
from lsst.pex.config import FieldValidationError

pytest.importorskip("galsim")

SURVEY = get_survey("i")
EMPTY = Table({"x": [5.0], "y": [5.0], "mag": [30.0]})


def _config(**fields: float) -> SceneConfig:
    config = SceneConfig(doSubtractBackground=False)
    config.sky.update(**fields)
    return config


@pytest.mark.parametrize("correlation", [1.1, 1.3, 1.5])
def test_correlated_noise_has_the_variance_and_the_sums(correlation: float) -> None:
    """The scatter of pixels is that of white noise, that of sums over squares greater by the factor."""
    mean = np.full((1024, 1024), 1e4)
    noise = add_correlated_noise(mean, noise_key(3, "i"), 0, 0, correlation) - mean
    n = noise.size
    assert noise.mean() == pytest.approx(0.0, abs=4 * 100 * correlation / np.sqrt(n))
    assert noise.std() == pytest.approx(100.0, rel=6 / np.sqrt(2 * n))
    # The border of a square of 32 pixels has a part of its correlation outside: exactly, by its window.
    sums = noise.reshape(32, 32, 32, 32).sum(axis=(1, 3))
    window = np.ones((32, 32))
    expected = 100 * 32 * filter_loss(window, correlation)
    assert 0.95 * correlation < filter_loss(window, correlation) < correlation
    assert sums.std() == pytest.approx(expected, rel=4 / np.sqrt(2 * 1024))
    # Symmetric: as much along x as along y.
    lags = [(noise[:, 1:] * noise[:, :-1]).mean(), (noise[1:] * noise[:-1]).mean()]
    np.testing.assert_allclose(lags[0], lags[1], atol=6 * 1e4 / np.sqrt(n))
    assert min(lags) > 0


def test_correlated_noise_follows_the_variance_of_each_pixel() -> None:
    mean = np.full((256, 256), 1e3)
    mean[:, 128:] = 1e6
    draws = [add_correlated_noise(mean, noise_key(seed, "i"), 0, 0, 1.4) for seed in range(30)]
    pull = (np.stack(draws) - mean) / np.sqrt(mean)
    scatter = pull.std(axis=(0, 1))
    assert np.abs(scatter - 1).max() < 5 / np.sqrt(2 * 30 * 256)


def test_noise_without_correlation_is_that_of_pixels() -> None:
    mean = np.random.default_rng(1).uniform(1.0, 1e4, (30, 40))
    key, poisson = noise_key(3, "i"), mean.copy()
    add_poisson_noise(poisson, key, 7, 9)
    np.testing.assert_allclose(add_correlated_noise(mean, key, 7, 9, 1.0), poisson, rtol=1e-9)


def test_noise_of_overlapping_images_agrees() -> None:
    """But for a border of a pixel."""
    mean = np.random.default_rng(1).uniform(1e3, 1e5, (60, 80))
    key = noise_key(3, "i")
    whole = add_correlated_noise(mean, key, 0, 0, 1.3)
    part = add_correlated_noise(mean[10:50, 20:70].copy(), key, 20, 10, 1.3)
    np.testing.assert_array_equal(part[1:-1, 1:-1], whole[11:49, 21:69])
    # The border is drawn with the mean of its own pixels, which hardly matters.
    np.testing.assert_allclose(part, whole[10:50, 20:70], rtol=1e-3)


def test_footprints_measure_the_correlation() -> None:
    """The estimator of the footprint code sees what a matched filter sees."""
    for correlation in (1.0, 1.5):
        coadd = simulate_scene(EMPTY, size=(512, 512), config=_config(noiseCorrelation=correlation)).coadd
        config = FootprintConfig(doCorrectCorrelatedNoise=True)
        found = detect(coadd, psf=summarize_psf(coadd.psf, coadd.bbox), config=config)
        loss = filter_loss(kolmogorov_kernel(3.5, 41), correlation)
        assert found.noise.correlation == pytest.approx(loss, rel=0.03)
    assert loss > 1.3


def test_snr_is_the_error_of_the_matched_filter() -> None:
    """The scatter of matched-filter fluxes of equal stars in correlated noise is flux / S/N."""
    psf = kolmogorov_kernel(3.5, 41)
    y, x = (48 * np.mgrid[:4, :4] + 24).reshape(2, 16).astype(float)
    stars = Table({"x": x, "y": y, "mag": np.full(16, 26.5), "is_star": np.ones(16, dtype=bool)})
    fluxes = []
    for seed in range(25):
        scene = simulate_scene(stars, size=(192, 192), noise_seed=seed, config=_config(noiseCorrelation=1.4))
        for column, row in zip(x.astype(int), y.astype(int), strict=True):
            cut = scene.coadd.image.array[row - 20 : row + 21, column - 20 : column + 21]
            fluxes.append(float((cut * psf).sum() / (psf**2).sum()))
    flux, snr = float(scene.truth["flux"][0]), float(scene.truth["snr"][0])
    assert np.std(fluxes) == pytest.approx(flux / snr, rel=4 / np.sqrt(2 * len(fluxes)))
    white = simulate_scene(stars, size=(192, 192), config=_config()).truth
    assert 1.25 < white["snr"][0] / snr < 1.4
    assert (scene.coadd.variance.array.min()) == pytest.approx(SURVEY.sky_sigma**2, rel=1e-3)


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    amplitude=st.floats(0.0, 1e3),
    seed=st.integers(0, 2**32),
)
def test_residual_has_its_amplitude(height: int, width: int, amplitude: float, seed: int) -> None:
    residual = sky_residual((height, width), amplitude, np.random.default_rng(seed))
    assert residual.shape == (height, width)
    assert abs(residual.mean()) <= 1e-9 * max(amplitude, 1.0)
    if height * width > 1:
        assert np.ptp(residual) == pytest.approx(amplitude, rel=1e-9, abs=1e-12)


def test_gradient_of_a_scene() -> None:
    """In units of the noise, and nothing else moves; another band has another one."""
    plain = simulate_scene(EMPTY, size=(128, 128), config=_config())
    slopes = []
    for band in "ir":
        plain = simulate_scene(EMPTY, size=(128, 128), band=band, config=_config())
        found = simulate_scene(EMPTY, size=(128, 128), band=band, config=_config(gradient=3.0))
        added = found.coadd.image.array - plain.coadd.image.array
        assert np.ptp(added) == pytest.approx(3.0 * get_survey(band).sky_sigma, rel=1e-3)
        np.testing.assert_array_equal(found.coadd.variance.array, plain.coadd.variance.array)
        slopes.append(added / np.ptp(added))
    assert np.abs(slopes[0] - slopes[1]).max() > 0.1


@settings(max_examples=30)
@given(height=st.integers(1, 50), width=st.integers(1, 50), size=st.integers(8, 30), level=st.floats(0, 4))
def test_flat_light_is_no_background(height: int, width: int, size: int, level: float) -> None:
    np.testing.assert_allclose(over_subtraction(np.full((height, width), level), 1.0, size), 0.0, atol=1e-12)


def test_over_subtraction_is_a_bowl_around_bright_sources() -> None:
    """The means of the squares are those of the clipped light; far from sources it is nothing."""
    light = np.zeros((320, 352))
    light[150:170, 150:170] = 3.0
    light[160, 160] = 1e9
    bowl = over_subtraction(light, 1.0, 32)
    y, x = np.unravel_index(bowl.argmax(), bowl.shape)
    assert (y, x) == pytest.approx((160, 160), abs=16)
    # The squares have rows 128-159 and 160-191, and so the columns; their middle pixels have the mean.
    share = light[128:160, 128:160].mean()
    assert bowl[143:145, 143:145].mean() == pytest.approx(share, rel=0.05)
    assert np.abs(bowl[:64]).max() < 0.05 * bowl.max()
    # No pixel counts with more than five times the noise.
    assert bowl.max() < 2 * (100 * 3.0 + 5.0) / 32**2


def test_over_subtraction_of_a_scene() -> None:
    star = Table({"x": [192.0], "y": [192.0], "mag": [15.0], "is_star": [True]})
    plain = simulate_scene(star, size=(384, 384), config=_config())
    found = simulate_scene(star, size=(384, 384), config=_config(overSubtraction=0.5, backgroundSize=64))
    taken = plain.coadd.image.array - found.coadd.image.array
    sigma = SURVEY.sky_sigma
    assert taken[192, 192] > 0.3 * sigma and abs(taken[:32]).max() < 0.1 * sigma
    full = simulate_scene(star, size=(384, 384), config=_config(overSubtraction=1.0, backgroundSize=64))
    np.testing.assert_allclose(
        plain.coadd.image.array - full.coadd.image.array, 2 * taken, atol=2e-3 * sigma, rtol=1e-2
    )


@pytest.mark.parametrize("factor", [0.01, 4.0])
def test_brightness_of_the_sky(factor: float) -> None:
    """Variance, noise, S/N and metadata follow; read noise stays."""
    scene = simulate_scene(EMPTY, size=(128, 128), config=_config(brightness=factor))
    plain = simulate_scene(EMPTY, size=(128, 128), config=_config())
    sigma = SURVEY.sky_sigma * np.sqrt(factor)
    assert scene.truth.meta["sky_sigma"] == pytest.approx(sigma)
    np.testing.assert_allclose(scene.coadd.variance.array[30:], sigma**2, rtol=0.01)
    assert scene.coadd.image.array[30:].std() == pytest.approx(sigma, rel=0.03)
    assert scene.truth["snr"][0] * np.sqrt(factor) == pytest.approx(plain.truth["snr"][0], rel=1e-5)
    u = get_survey("u")
    read = u.n_exposures * u.read_noise**2
    expected = read + factor * (u.sky_electrons - read)
    assert brightened(u, factor).sky_electrons == pytest.approx(expected)
    assert brightened(u, 1.0) is u


@pytest.mark.parametrize(("field", "value"), [("noiseCorrelation", 1.2), ("overSubtraction", 0.3)])
def test_full_mode_refuses_what_it_cannot_do(field: str, value: float) -> None:
    config = SceneConfig(mode="full")
    config.sky.gradient = 2.0
    config.sky.brightness = 0.5
    config.validate()
    setattr(config.sky, field, value)
    with pytest.raises(FieldValidationError, match="mode fast"):
        config.validate()

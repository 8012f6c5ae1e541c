# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the light of bright stars beyond the PSF, and of their mask."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from lsst.meas.blendid.simulation import get_survey, simulate_scene
from lsst.meas.blendid.simulation.coadds.lines import add_line
from lsst.meas.blendid.simulation.coadds.starlight import (
    BRIGHT_OBJECT,
    add_starlight,
    bright_star_mask,
    has_starlight,
    starlight_reach,
)
from lsst.meas.blendid.simulation.config import SceneConfig
from lsst.meas.blendid.simulation.defect_config import StarlightConfig
from scipy import integrate

SURVEY = get_survey("i")
OPTICS = {"fwhm": 0.7, "pixel_scale": 0.2}


def _stars(x: float, y: float, flux: float = 1.0, **columns: object) -> Table:
    star = {"x": x, "y": y, "flux": flux, "is_star": True} | columns
    return Table({name: [value] for name, value in star.items()})


def _draw(config: StarlightConfig, star: Table, size: int = 801, noise: float = 1e-12) -> np.ndarray:
    image = np.zeros((size, size))
    add_starlight(image, star, config, **OPTICS, noise=noise)
    return image


@pytest.mark.parametrize("slope", [1.5, 2.0, 3.0])
def test_halo_has_its_share_of_the_light_and_its_slope(slope: float) -> None:
    config = StarlightConfig(haloFraction=0.05, haloSlope=slope, haloCore=2.0, haloRadius=70.0)
    image = _draw(config, _stars(400.3, 399.6, 1e6))
    assert image.sum() == pytest.approx(0.05 * 1e6, rel=1e-3)
    # By numerical integration of the law, less its value at the edge.
    edge = (1 + 35.0**2) ** (-slope / 2)

    def law(r: Any) -> Any:
        return (1 + (r / 10.0) ** 2) ** (-slope / 2) - edge

    norm, _ = integrate.quad(lambda r: 2 * math.pi * r * law(r), 0, 350)
    radius = np.hypot(*(np.indices(image.shape) - np.array([399.6, 400.3])[:, None, None]))
    inside = radius < 349
    np.testing.assert_allclose(image[inside], 0.05e6 * law(radius[inside]) / norm, rtol=1e-6, atol=1e-9)
    assert not image[radius > 350].any()


def test_ghost_is_a_flat_disc() -> None:
    config = StarlightConfig(ghostFraction=0.02, ghostRadius=40.0)
    image = _draw(config, _stars(400.0, 400.0, 1e6))
    assert image.sum() == pytest.approx(2e4, rel=1e-3)
    radius = np.hypot(*(np.indices(image.shape) - 400))
    np.testing.assert_allclose(image[radius < 199], 2e4 / (math.pi * 200**2))
    assert not image[radius > 201].any()


@pytest.mark.parametrize("spread", [0.0, 3.0])
@pytest.mark.parametrize("angle", [0.0, 30.0, 45.0, 100.0])
def test_spikes_have_their_share_of_the_light(angle: float, spread: float) -> None:
    """Four arms, whose light within a distance is that of the Lorentzian."""
    config = StarlightConfig(spikeFraction=0.03, spikeAngle=angle, spikeSpread=spread, spikeScale=2.0)
    image = _draw(config, _stars(401.2, 398.7, 1e6))
    y, x = np.indices(image.shape) - np.array([398.7, 401.2])[:, None, None]
    inside = np.hypot(x, y) < 390
    expected = 3e4 * 2 / math.pi * math.atan(390 / 10)
    assert image[inside].sum() == pytest.approx(expected, rel=3e-3)
    # Light beyond the core is near one of the four directions.
    off = np.abs((np.rad2deg(np.arctan2(y, x)) - angle + 45) % 90 - 45)
    far = inside & (np.hypot(x, y) > 60)
    near = far & (off < (4.0 if spread == 0.0 else 12.0))
    assert image[near].sum() > 0.999 * image[far].sum()
    arm = (np.rad2deg(np.arctan2(y, x)) - angle + 45) % 360 // 90
    arms = [image[near & (arm == k)].sum() for k in range(4)]
    np.testing.assert_allclose(arms, np.mean(arms), rtol=0.02)


@pytest.mark.parametrize("angle", [0.3, 1.2, 2.0, 3.0])
def test_a_line_is_a_gaussian_across(angle: float) -> None:
    """Every pixel, beside the formula for all pixels at once."""
    image = np.zeros((60, 80))
    add_line(image, 33.3, 21.7, angle, 5.0, 2.0, 15.0, 0.05, 1e3)
    y, x = np.indices(image.shape) - np.array([21.7, 33.3])[:, None, None]
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    width = np.hypot(2.0, 0.05 * along)
    profile = np.exp(-0.5 * (across / width) ** 2) / width / math.sqrt(2 * math.pi)
    expected = 5.0 / (1 + (along / 15) ** 2) * profile
    np.testing.assert_allclose(image, expected, atol=5e-6)


def test_only_stars_shine() -> None:
    config = StarlightConfig(haloFraction=0.05, spikeFraction=0.03)
    assert has_starlight(config) and not has_starlight(StarlightConfig(maskRadius=5.0))
    galaxy, knot = _stars(40.0, 40.0), _stars(40.0, 40.0, is_knot=True)
    galaxy["is_star"] = False
    assert not _draw(config, galaxy, 81).any() and not _draw(config, knot, 81).any()
    assert not _draw(StarlightConfig(), _stars(40.0, 40.0), 81).any()


def test_light_outside_of_the_reach_is_below_the_noise() -> None:
    """What is left out is faint; a star outside of the image shines into it."""
    config = StarlightConfig(haloFraction=0.05, spikeFraction=0.02, spikeAngle=0.0)
    star = _stars(-60.0, 200.0, 1e5)
    full, cut = _draw(config, star, 401), _draw(config, star, 401, noise=10.0)
    assert cut.any() and np.abs(full - cut).max() < 2.1 * 0.005 * 10.0
    reach = starlight_reach(np.array([1e5, 1e2]), config, **OPTICS, noise=10.0)
    assert (reach[0, [0, 2]] > 60).all() and not reach[1].any() and not reach[:, 1].any()


def test_mask_follows_the_law_of_hsc() -> None:
    """Radii within 15 % of 200 · 10^(0.25 (7 - m)) + 12 · 10^(0.05 (16 - m)) arcsec at 12 to 18 mag."""
    config = StarlightConfig(maskRadius=10.0)
    for mag in (12.0, 14.0, 16.0, 18.0):
        star = _stars(300.4, 301.0, mag=mag)
        mask = bright_star_mask((601, 601), star, config, 0.2)
        radius = 0.2 * math.sqrt(mask.sum() / math.pi)
        hsc = 200 * 10 ** (0.25 * (7 - mag)) + 12 * 10 ** (0.05 * (16 - mag))
        assert radius == pytest.approx(hsc, rel=0.15)
        assert radius == pytest.approx(10 * 10 ** (0.08 * (18 - mag)), rel=0.01)
        rows, columns = np.nonzero(mask)
        assert (rows.mean(), columns.mean()) == pytest.approx((301.0, 300.4), abs=0.2)
    assert not bright_star_mask((50, 50), _stars(25.0, 25.0, mag=18.1), config, 0.2).any()


def test_scene_with_bright_stars() -> None:
    """Pixels, variance and mask of a scene; nothing else moves."""
    pytest.importorskip("galsim")
    stars = Table({"x": [64.0, 20.0], "y": [64.0, 100.0], "mag": [15.0, 25.0], "is_star": [True, False]})
    config = SceneConfig(doSubtractBackground=False)
    plain = simulate_scene(stars, size=(128, 128), config=config)
    config.starlight.haloFraction = 0.05
    config.starlight.maskRadius = 3.0
    found = simulate_scene(stars, size=(128, 128), config=config)
    light = np.zeros((128, 128))
    row = Table({"x": [64.0], "y": [64.0], "flux": [plain.truth["flux"][0]], "is_star": [True]})
    add_starlight(light, row, config.starlight, **OPTICS, noise=SURVEY.sky_sigma)
    extra = found.coadd.image.array - plain.coadd.image.array
    np.testing.assert_allclose(extra.mean(), light.mean(), rtol=0.01)
    more = found.coadd.variance.array - plain.coadd.variance.array
    np.testing.assert_allclose(more[100:], (light / SURVEY.electrons_per_njy)[100:], rtol=0.01)
    np.testing.assert_array_equal(found.truth["snr"], plain.truth["snr"])
    mask = found.coadd.mask.get(BRIGHT_OBJECT)
    expected = bright_star_mask((128, 128), found.truth, config.starlight, 0.2)
    assert mask.any() and (mask == expected).all()
    assert BRIGHT_OBJECT not in plain.coadd.mask.schema.names


def test_full_mode_has_starlight() -> None:
    pytest.importorskip("galsim")
    stars = Table({"x": [32.0], "y": [32.0], "mag": [17.0], "is_star": [True]})
    survey = dataclasses.replace(SURVEY, n_exposures=2)
    config = SceneConfig(mode="full", doSubtractBackground=False)
    config.exposures.sensor = ""
    plain = simulate_scene(stars, size=(64, 64), band=survey, config=config)
    config.starlight.haloFraction = 1.0
    found = simulate_scene(stars, size=(64, 64), band=survey, config=config)
    light = np.zeros((64, 64))
    row = Table({"x": [32.0], "y": [32.0], "flux": [plain.truth["flux"][0]], "is_star": [True]})
    add_starlight(light, row, config.starlight, **OPTICS, noise=survey.sky_sigma)
    extra = found.coadd.image.array - plain.coadd.image.array
    assert extra.sum() == pytest.approx(light.sum(), rel=0.01)
    pull = (extra - light) / np.sqrt(light / survey.electrons_per_njy)
    assert pull.std() == pytest.approx(1.0, abs=0.06)

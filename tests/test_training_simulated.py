# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Randomised scenes, and scenes like a coadd."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import astropy.io.fits
import numpy as np
import pytest

pytest.importorskip("galsim", reason="GalSim, which draws the galaxies, is not installed")

from lsst.meas.blendid.simulation import get_survey, simulate_scene
from lsst.meas.blendid.training import like_scenes, measure_coadd

SURVEY = dataclasses.replace(get_survey("i"), fwhm=0.93, n_exposures=30)


@pytest.fixture(scope="module")
def coadd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("like") / "coadd.fits"
    simulate_scene("parametric", size=(400, 400), seed=3, size_model="large", band=SURVEY).write(path)
    return path


@pytest.fixture(scope="module")
def plain(coadd: Path) -> Path:
    """The same pixels without unit and variance, one count being 2.5 nJy."""
    from lsst.meas.blendid.images import read_image

    pixels = read_image(coadd).masked_image.image.array / 2.5
    path = coadd.with_name("plain.fits")
    astropy.io.fits.writeto(path, pixels.astype(np.float32))
    return path


def test_seeing_and_noise_are_measured(coadd: Path) -> None:
    found = measure_coadd(coadd)
    assert found.band == "i" and found.has_variance
    assert found.fwhm == pytest.approx(0.93, rel=0.003)
    assert found.pixel_scale == pytest.approx(0.2, rel=1e-4)
    # The variance plane has the photon noise of galaxies in it, a little even in the median.
    assert found.noise_sigma == pytest.approx(SURVEY.sky_sigma, rel=0.03)
    assert measure_coadd(coadd, band="r").band == "r"


def test_scenes_are_like_it(coadd: Path) -> None:
    found = measure_coadd(coadd)
    scenes = like_scenes(found, 12, seed=4, size=300)
    surveys = [s.survey for s in scenes if not isinstance(s.survey, str)]
    assert len(surveys) == 12
    widths = np.array([s.fwhm for s in surveys]) / found.fwhm
    depths = -2.5 * np.log10(np.array([s.sky_sigma for s in surveys]) / found.noise_sigma)
    assert 0.97 <= widths.min() < 0.99 and 1.01 < widths.max() <= 1.03
    assert -0.1 <= depths.min() < -0.03 and 0.03 < depths.max() <= 0.1
    # Their galaxies are drawn anew for each.
    assert len({str(s.size_model) for s in scenes}) > 6
    assert [s.survey for s in like_scenes(found, 3, seed=4, size=300)] == [s.survey for s in scenes[:3]]
    scene = scenes[0].load()
    assert np.sqrt(np.median(scene.masked_image.variance.array)) == pytest.approx(
        surveys[0].sky_sigma, rel=0.05
    )


def test_a_coadd_without_unit(plain: Path) -> None:
    found = measure_coadd(plain, psf_fwhm=0.93, pixel_scale=0.2)
    assert found.noise_sigma is None and not found.has_variance
    (scene,) = like_scenes(found, 1, seed=4, size=300, scatter=False)
    assert not isinstance(scene.survey, str)
    assert scene.survey.sky_sigma == get_survey("i").sky_sigma
    assert scene.survey.fwhm == pytest.approx(0.93, rel=0.003)
    # With its zero point, and less what faint galaxies add to the scatter of the pixels.
    found = measure_coadd(plain, psf_fwhm=0.93, pixel_scale=0.2, zero_point=31.4 - 2.5 * np.log10(2.5))
    assert found.noise_sigma == pytest.approx(SURVEY.sky_sigma, rel=0.05)


def test_noise_that_cannot_be_simulated(tmp_path: Path) -> None:
    image = np.zeros((300, 300), np.float32)
    astropy.io.fits.writeto(tmp_path / "flat.fits", image)
    with pytest.raises(ValueError, match=r"flat\.fits|noise"):
        measure_coadd(tmp_path / "flat.fits", psf_fwhm=0.7, pixel_scale=0.2)

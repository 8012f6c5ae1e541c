# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the simulated survey: units, sky and depth."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.images.psf import kolmogorov_kernel
from lsst.meas.blendid.simulation import (
    BANDS,
    SimulationError,
    get_survey,
    mag_to_njy,
    njy_to_mag,
)
from lsst.meas.blendid.simulation.survey import EFFECTIVE_AREA, EFFECTIVE_DIAMETER


@given(st.floats(10.0, 35.0))
def test_conversions_are_inverse(mag: float) -> None:
    survey = get_survey("i")
    assert njy_to_mag(mag_to_njy(mag)) == pytest.approx(mag, abs=1e-9)
    # As many photons in an exposure as a source of that magnitude gives.
    photons = mag_to_njy(mag) * survey.electrons_per_njy / survey.n_exposures
    assert survey.photons_to_mag(photons) == pytest.approx(mag, abs=1e-9)


def test_units_agree() -> None:
    """One source in electrons, photons per exposure and nJy."""
    survey = get_survey("i")
    assert mag_to_njy(8.90) == pytest.approx(1e9, rel=1e-9)
    # Zero point: one electron a second, so 30 in an exposure and 3000 in the coadd.
    assert survey.photons_to_mag(30.0) == pytest.approx(27.8)
    assert mag_to_njy(27.8) * survey.electrons_per_njy == pytest.approx(3000.0)


def test_sky_and_depth_are_those_of_the_i_band() -> None:
    """Sky of 20.47 mag/arcsec² in 100 × 30 s, and the depth that it leaves."""
    survey = get_survey("i")
    electrons = 10 ** (-0.4 * (20.47 - 27.8)) * 0.2**2 * 3000
    assert survey.sky_electrons == pytest.approx(electrons)
    assert survey.sky_sigma * survey.electrons_per_njy == pytest.approx(math.sqrt(electrons))
    # One exposure has the 5σ depth of the LSST Science Requirements Document (LPM-17), i = 24.0.
    visit = dataclasses.replace(survey, n_exposures=1)
    psf = kolmogorov_kernel(visit.fwhm / visit.pixel_scale, 41)
    depth = float(njy_to_mag(5 * visit.sky_sigma / math.sqrt((psf**2).sum())))
    assert depth == pytest.approx(24.0, abs=0.1)


def test_noise_falls_with_the_root_of_the_exposures() -> None:
    survey = get_survey("i")
    one = dataclasses.replace(survey, n_exposures=1)
    assert one.sky_sigma / survey.sky_sigma == pytest.approx(10.0)


def test_unknown_band_is_named() -> None:
    with pytest.raises(SimulationError, match="unknown band 'q'; known bands: u, g, r, i, z, y"):
        get_survey("q")


# Limiting magnitudes of a visit of two exposures of 15 s in SMTN-002 version 1.0.
SMTN_DEPTH = {"u": 23.42, "g": 24.77, "r": 24.34, "i": 23.89, "z": 23.33, "y": 22.42}
SMTN_FWHM_EFF = {"u": 0.92, "g": 0.87, "r": 0.83, "i": 0.80, "z": 0.78, "y": 0.76}


@pytest.mark.parametrize("band", SMTN_DEPTH)
def test_visit_has_the_published_depth(band: str) -> None:
    """The technote's limiting magnitude follows from zero point, sky, seeing and read noise."""
    # Two read-outs of 9 electrons in the technote.
    visit = dataclasses.replace(get_survey(band), n_exposures=1, read_noise=math.sqrt(2) * 9.0)
    kernel = kolmogorov_kernel(visit.fwhm / visit.pixel_scale, 61)
    depth = float(njy_to_mag(5 * visit.sky_sigma / math.sqrt((kernel**2).sum())))
    assert depth == pytest.approx(SMTN_DEPTH[band], abs=0.12)


@pytest.mark.parametrize("band", BANDS)
def test_bands(band: str) -> None:
    survey = get_survey(band)
    assert survey.band == band and survey.exposure_time == 30.0 and survey.pixel_scale == 0.2
    # FWHM of the technote, of its effective one.
    assert survey.fwhm == pytest.approx(0.822 * SMTN_FWHM_EFF[band] + 0.052, abs=0.011)
    assert (survey.read_noise == 0.0) == (band == "i")


def test_i_band_is_that_of_the_paper() -> None:
    survey = get_survey("i")
    assert (survey.zero_point, survey.sky_brightness, survey.fwhm) == (27.8, 20.47, 0.7)
    assert (survey.n_exposures, survey.exposure_time, survey.read_noise) == (100, 30.0, 0.0)


@pytest.mark.parametrize("band", BANDS)
def test_zero_points_are_those_of_the_throughputs(band: str) -> None:
    """GalSim's throughputs and the effective aperture give about the zero points."""
    galsim = pytest.importorskip("galsim")
    bandpass = galsim.Bandpass(f"LSST_{band}.dat", "nm").withZeropoint("AB")
    expected = bandpass.zeropoint + 2.5 * math.log10(EFFECTIVE_AREA)
    assert get_survey(band).zero_point == pytest.approx(expected, abs=0.11 if band == "u" else 0.05)
    # A source of that many photons, by GalSim's own integral.
    sed = galsim.SED("1", "nm", "fphotons").withMagnitude(24.0, bandpass)
    mag = get_survey(band).photon_flux_to_mag(sed.calculateFlux(bandpass))
    assert mag == pytest.approx(24.0, abs=0.11 if band == "u" else 0.05)


def test_photon_flux_is_that_of_the_aperture() -> None:
    """One photon a second in the whole aperture of 642.3 cm is the zero point."""
    assert EFFECTIVE_DIAMETER == 642.3
    area = math.pi * (642.3 / 2) ** 2
    assert get_survey("r").photon_flux_to_mag(1.0 / area) == pytest.approx(28.13)
    two = get_survey("r").photon_flux_to_mag(np.array([1.0, 100.0]) / area)
    np.testing.assert_allclose(two, [28.13, 23.13])


def test_read_noise_adds_its_variance() -> None:
    survey = dataclasses.replace(get_survey("i"), read_noise=10.0)
    assert survey.sky_electrons == pytest.approx(get_survey("i").sky_electrons + 100 * 10.0**2)
    with pytest.raises(SimulationError, match="read_noise"):
        dataclasses.replace(survey, read_noise=-1.0)


@pytest.mark.parametrize("setting", ["fwhm", "pixel_scale", "n_exposures", "exposure_time"])
@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf])
def test_impossible_settings_are_refused(setting: str, value: float) -> None:
    with pytest.raises(SimulationError, match=setting):
        dataclasses.replace(get_survey("i"), **{setting: value})  # type: ignore[arg-type]

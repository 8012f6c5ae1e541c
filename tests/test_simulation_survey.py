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
from lsst.meas.blendid.simulation import (
    SimulationError,
    get_survey,
    kolmogorov_psf,
    mag_to_njy,
    njy_to_mag,
)


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
    psf = kolmogorov_psf(visit.fwhm, visit.pixel_scale)
    depth = float(njy_to_mag(5 * visit.sky_sigma / math.sqrt((psf**2).sum())))
    assert depth == pytest.approx(24.0, abs=0.1)


def test_noise_falls_with_the_root_of_the_exposures() -> None:
    survey = get_survey("i")
    one = dataclasses.replace(survey, n_exposures=1)
    assert one.sky_sigma / survey.sky_sigma == pytest.approx(10.0)


def test_unknown_band_is_named() -> None:
    with pytest.raises(SimulationError, match="unknown band 'q'; known bands: i"):
        get_survey("q")


@pytest.mark.parametrize("setting", ["fwhm", "pixel_scale", "n_exposures", "exposure_time"])
@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf])
def test_impossible_settings_are_refused(setting: str, value: float) -> None:
    with pytest.raises(SimulationError, match=setting):
        dataclasses.replace(get_survey("i"), **{setting: value})  # type: ignore[arg-type]

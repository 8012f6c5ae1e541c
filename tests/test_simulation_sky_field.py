# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the tangent plane of a field."""

from __future__ import annotations

import astropy.wcs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.simulation.catalogs.sky_field import SkyField, mean_position


def _wcs(center: tuple[float, float], size: tuple[int, int]) -> astropy.wcs.WCS:
    wcs = astropy.wcs.WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = list(center)
    wcs.wcs.crpix = [0.5 * (n + 1) for n in size]
    wcs.wcs.cdelt = [-0.2 / 3600, 0.2 / 3600]
    return wcs


@settings(max_examples=60, deadline=None)
@given(
    ra=st.floats(0.0, 360.0),
    dec=st.floats(-90.0, 90.0),
    width=st.integers(1, 30000),
    height=st.integers(1, 30000),
    margin=st.integers(0, 200),
    seed=st.integers(0, 1000),
)
def test_field_agrees_with_astropy(
    ra: float, dec: float, width: int, height: int, margin: int, seed: int
) -> None:
    """Positions, the box around the field and the direction of north."""
    field = SkyField((ra, dec), (width, height), 0.2, margin)
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.uniform(-margin, width - 1 + margin, 20), [0, width - 1, 0, width - 1]])
    y = np.concatenate([rng.uniform(-margin, height - 1 + margin, 20), [0, 0, height - 1, height - 1]])
    sky_ra, sky_dec = _wcs((ra, dec), (width, height)).all_pix2world(x, y, 0)
    back_x, back_y = field.to_pixels(sky_ra, sky_dec)
    np.testing.assert_allclose(back_x, x, atol=1e-5)
    np.testing.assert_allclose(back_y, y, atol=1e-5)
    assert field.contains(back_x, back_y).all()
    middle, half, low, high = field.bounds()
    assert (sky_dec >= low - 1e-9).all() and (sky_dec <= high + 1e-9).all()
    assert (np.abs((sky_ra - middle + 180) % 360 - 180) <= half + 1e-9).all()
    away = np.abs(sky_dec) < 89.9
    step_x, step_y = field.to_pixels(sky_ra, sky_dec + 1e-5)
    angle = np.arctan2(-(step_x - back_x), step_y - back_y)
    difference = angle - field.north_angle(sky_ra, sky_dec)
    np.testing.assert_allclose(np.exp(1j * difference[away]), 1.0, atol=1e-3)
    # The other side of the sky has no place in a tangent plane.
    assert np.isnan(field.to_pixels(np.array([ra + 180.0]), np.array([-dec]))[0]).all()


def test_mean_position_crosses_the_zero_of_right_ascension() -> None:
    ra, dec = mean_position(np.array([359.0, 1.0]), np.array([10.0, 10.0]))
    assert min(ra, 360 - ra) == pytest.approx(0.0, abs=1e-9)
    assert dec == pytest.approx(10.0, abs=0.01)

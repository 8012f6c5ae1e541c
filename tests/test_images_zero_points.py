# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the magnitudes of one unit of the pixels."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.images.zero_points import ab_zero_point, calibration_zero_point

_PER_STERADIAN = 1e15 * (0.2 / 206264.806) ** 2
"""nJy in a pixel of 0.2 arcsec of 1 MJy/sr."""


@pytest.mark.parametrize(
    ("unit", "scale", "nanojansky"),
    [
        ("nJy", None, 1.0),
        ("uJy", None, 1e3),
        ("mJy", 0.2, 1e6),
        ("Jy", None, 1e9),
        ("nJy / pix", None, 1.0),
        ("10 nJy", None, 10.0),
        ("erg / (s cm2 Hz)", None, 1e32),
        ("W / (m2 Hz)", None, 1e35),
        ("AB", None, 3630.78e9),
        ("nmgy", None, 3630.78),
        ("nanomaggy", None, 3630.78),
        ("mgy", None, 3630.78e9),
        ("MJy / sr", 0.2, _PER_STERADIAN),
        ("nmgy / arcsec2", 0.2, 3630.78 * 0.04),
        ("MJy / sr", None, None),
        ("MJy / sr", float("nan"), None),
        ("erg / (s cm2 Angstrom)", 0.2, None),
        ("mag(AB)", None, None),
        ("electron", 0.2, None),
        ("electron / s", None, None),
        ("", 0.2, None),
    ],
)
def test_zero_point_of_every_unit_of_flux_density(
    unit: str, scale: float | None, nanojansky: float | None
) -> None:
    zero_point = ab_zero_point(u.Unit(unit), scale)
    if nanojansky is None:
        assert zero_point is None
    else:
        assert zero_point == pytest.approx(31.4 - 2.5 * np.log10(nanojansky), abs=1e-4)


def test_no_unit_has_no_zero_point() -> None:
    assert ab_zero_point(None) is None


@given(st.floats(1e-6, 1e6))
def test_zero_point_of_a_calibration(mean: float) -> None:
    """A pixel of one unit has as many nJy as the mean says."""
    zero_point = calibration_zero_point(mean)
    assert zero_point is not None
    assert 10.0 ** (0.4 * (31.4 - zero_point)) == pytest.approx(mean, rel=1e-9)


@pytest.mark.parametrize("mean", [0.0, -1.0, np.nan, np.inf])
def test_no_zero_point_without_calibration(mean: float) -> None:
    assert calibration_zero_point(mean) is None

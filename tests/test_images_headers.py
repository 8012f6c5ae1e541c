# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""Bands, from the names that cameras and surveys give to filters."""

from __future__ import annotations

from pathlib import Path

import astropy.io.fits
import numpy as np
import pytest
from lsst.meas.blendid.images import read_image
from lsst.meas.blendid.images._headers import parse_band, read_band
from lsst.meas.blendid.images._input_image import Notes


@pytest.mark.parametrize(
    ("band", "names"),
    [
        ("u", ("u", "u_SDSS", "CFHT MegaCam u")),
        ("g", ("g", "g DECam SDSS c0001 4720.0 1520.0", "HSC-G", "gp", "g.00000")),
        (
            "r",
            (
                "r",
                "SDSS r",
                "SDSS R",
                "sdss_r",
                "r_57",
                "HSC-R2",
                "r.MP9601",
                "r_G0303",
                "Sloan r'",
                "ZTF_r",
                "r'",
            ),
        ),
        ("i", ("DECam i", "i_39", "HSC-I2", "LSST i", "i.MP9702", "Pan-STARRS i", "sdss-i'", "PS1 i")),
        ("z", ("z", "HSC-Z", "z DECam SDSS c0004 9260.0 1520.0")),
        ("y", ("y", "Y", "HSC-Y", "Y DECam c0005 10095.0 1130.0", "PS1 y")),
        (
            None,
            ("F814W", "R", "I", "V", "Bessell R", "H", "NIR_Y", "g+r", "VR", "N708", "Halpha", "", "white"),
        ),
    ],
)
def test_names(band: str | None, names: tuple[str, ...]) -> None:
    assert {name: parse_band(name) for name in names} == dict.fromkeys(names, band)


@pytest.mark.parametrize(
    ("cards", "band"),
    [
        ({"FILTER": "r"}, "r"),
        ({"BAND": "i"}, "i"),
        ({"FILTER01": "HSC-R"}, "r"),
        ({"FILTER1": "open1-6", "FILTER2": "r_G0326"}, "r"),
        ({"FILTNAM1": "CLEAR1L", "FILTNAM2": "SDSS i"}, "i"),
        ({"FILTERX": "g"}, "g"),
        ({"HIERARCH ESO INS FILT1 NAME": "r_SDSS"}, "r"),
        ({"HIERARCH FPA.FILTERID": "i.00000"}, "i"),
        ({"FILTER": "SDSS r", "BAND": "r"}, "r"),
    ],
)
def test_cards(cards: dict[str, str], band: str) -> None:
    header, notes = astropy.io.fits.Header(), Notes()
    header.update(cards)
    assert read_band([header], notes) == band
    assert notes == []


@pytest.mark.parametrize(
    ("cards", "match"),
    [
        ({}, "the band is not known (no FILTER or BAND card)"),
        ({"FILTER": "F814W"}, "filter 'F814W' is none of the bands ugrizy"),
        ({"FILTER1": "g", "FILTER2": "r"}, "the header names the filters 'g' and 'r'"),
        ({"FILTNM": 2, "BANDWID": "r"}, "no FILTER or BAND card"),
    ],
)
def test_a_band_that_is_not_known_is_told(cards: dict[str, object], match: str) -> None:
    notes = Notes()
    assert read_band([cards], notes) is None
    assert match in notes[0]
    assert notes.decisive == notes


def test_header_of_the_file_tells_it_too(tmp_path: Path) -> None:
    path = tmp_path / "image.fits"
    primary = astropy.io.fits.PrimaryHDU()
    primary.header["FILTER"] = "i"
    image = astropy.io.fits.ImageHDU(np.random.default_rng(1).normal(size=(30, 30)))
    astropy.io.fits.HDUList([primary, image]).writeto(path)
    assert read_image(path, psf_fwhm=0.7, pixel_scale=0.2).band == "i"

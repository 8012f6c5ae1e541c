# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""The band of an image, from what cameras and surveys write into headers."""

from __future__ import annotations

__all__ = ("parse_band", "read_band")

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ._input_image import Notes

_BANDS = frozenset("ugrizy")

_CARD = re.compile(
    r"(.*\W)?(FILT(ER|NAM|NAME|ERS|ERID|ERX|NM)?|(PASS|PHOT)?BAND|BANDNAME)[ _]?\d*( NAME| ID)?"
)
"""Cards that name the filter: FILTER, FILTER1, FILTER01, FILTNAM1, BAND, HIERARCH FPA.FILTERID, …"""

_OPEN = re.compile(
    r"(CLEAR|OPEN|NONE|EMPTY|N/?A|NULL|NO[ _]?FILTER|HOLE|AIR|_?UNKNOWN)\w*(-\d+)?", re.IGNORECASE
)
"""Places of a filter wheel where no filter is."""

_SURVEY = (
    r"(?:SDSS|SLOAN|PS1?|PAN-?STARRS1?|HSC|DECAM|DES|LSST(?:CAM|COMCAM)?|RUBIN|ZTF|KIDS|VST|OMEGACAM|CFHT"
    r"|MEGACAM)"
)
_SURVEY_FIRST = re.compile(rf"{_SURVEY}[-_. ]*([UGRIZY])2?(?:'|P|PRIME)?", re.IGNORECASE)
_SURVEY_LAST = re.compile(rf"([UGRIZY])'?[-_. ]+{_SURVEY}\b.*", re.IGNORECASE)
"""Surveys with the bands of the Sloan system, whose letters may be written large."""

_LETTER = re.compile(r"([ugrizy])(?:'|p|_prime)?")


def parse_band(text: str) -> str | None:
    """Tell a band of Rubin from the name of a filter.

    Parameters
    ----------
    text
        Name of a filter, as ``r``, ``DECam i``, ``HSC-R``, ``i.MP9702`` or ``r_57``.  Large letters
        alone are those of Johnson, Cousins and Bessell and are no bands here, but for ``Y``.

    Returns
    -------
    band
        One of ugrizy; `None` if it is none of them.
    """
    text = text.strip().strip('"')
    if text == "Y":
        return "y"
    for pattern in (_SURVEY_FIRST, _SURVEY_LAST):
        if match := pattern.fullmatch(text):
            return match[1].lower()
    letters = set()
    for word in re.split(r"[^A-Za-z0-9']+", text):
        if match := _LETTER.fullmatch(word):
            letters.add(match[1])
    return letters.pop() if len(letters) == 1 else None


def read_band(headers: Iterable[Mapping[str, Any]], notes: Notes) -> str | None:
    """Find the band of an image in its headers.

    Parameters
    ----------
    headers
        Headers that may tell it, that of the image first.
    notes
        Told if it is not known.

    Returns
    -------
    band
        One of ugrizy, if it is known.
    """
    texts: list[str] = []
    for header in headers:
        for key, value in header.items():
            text = value.strip() if isinstance(value, str) else ""
            if text and _CARD.fullmatch(key.upper()) and not _OPEN.fullmatch(text) and text not in texts:
                texts.append(text)
    bands = {band for text in texts if (band := parse_band(text))}
    if len(bands) == 1:
        return bands.pop()
    named = " and ".join(map(repr, texts))
    if len(bands) > 1:
        notes.decide(
            f"the band is not known, as the header names the filters {named}; that of the models is assumed"
        )
    elif texts:
        notes.decide(f"filter {named} is none of the bands ugrizy; the band of the models is assumed")
    else:
        notes.decide("the band is not known (no FILTER or BAND card); that of the models is assumed")
    return None

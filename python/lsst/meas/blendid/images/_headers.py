# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What headers tell: the sky projection, the size of a pixel, the band."""

from __future__ import annotations

__all__ = (
    "SkyPlacement",
    "image_scale",
    "parse_band",
    "projection_scale",
    "read_band",
    "read_projection",
)

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import astropy.io.fits
import astropy.units as u
import astropy.wcs
import numpy as np
from astropy.coordinates import ICRS, SkyCoord
from astropy.wcs.utils import fit_wcs_from_points, wcs_to_celestial_frame

from lsst.images import Box, GeneralFrame, MaskedImage, SkyProjection

from ._input_image import Notes

_MAX_FRAME_ERROR = 0.005
"""Largest error of a change of the celestial frame, arcsec."""

_MAX_ERROR = 0.1
"""Largest difference from astropy's reading of a WCS that goes unsaid, pixels."""

_DEGREES = (None, 2, 3, 5)
"""Degrees of the polynomials that are tried, none for a plain projection."""


@dataclass(frozen=True)
class SkyPlacement:
    """Where an image lies on the sky.

    Parameters
    ----------
    projection
        From parent pixels to ICRS, if it is known.
    pixel_scale
        Pixel size at the centre of the image in arcsec: the root of its area.
    problem
        Why it is not known, if there is a WCS that cannot be used.
    """

    projection: SkyProjection[Any] | None = None
    pixel_scale: float | None = None
    problem: str | None = None


def read_projection(
    header: astropy.io.fits.Header, box: Box, notes: Notes, hdu_list: astropy.io.fits.HDUList | None = None
) -> SkyPlacement:
    """Read the FITS WCS of a header.

    What `SkyProjection` makes of the cards is compared with astropy's reading; where they differ, as with
    tables of distortions in other HDUs, astropy's is taken, approximated by a polynomial.

    Parameters
    ----------
    header
        Header of the image HDU.
    box
        Parent pixels of the image.
    notes
        Told if there is no WCS, or one that cannot be used or is not taken as it stands.
    hdu_list
        The open file, for tables of distortions.

    Returns
    -------
    sky
        Projection and pixel size, or why there are none.
    """
    try:
        wcs = astropy.wcs.WCS(_read_scamp(header, notes), hdu_list)
        if wcs.has_celestial and wcs.naxis > 2:
            # Not `celestial`, which turns the image if latitude comes first.
            wcs = wcs.sub(sorted((wcs.wcs.lng + 1, wcs.wcs.lat + 1)))
        if not wcs.has_celestial:
            notes.decide("no celestial WCS: ra and dec are NaN")
            return SkyPlacement()
        # Checked against astropy at once: a silent difference would be wrong positions.
        projection = _project(wcs, header, box, notes)
        scale = projection_scale(projection, box)
        if not (np.isfinite(scale) and scale > 0.0):
            raise ValueError("it has no finite pixel size")
    except Exception as err:  # wcslib and AST raise many classes for a bad header.
        problem = " ".join(str(err).split())[:200]
        notes.decide(f"the WCS cannot be used ({problem}): ra and dec are NaN")
        return SkyPlacement(problem=problem)
    return SkyPlacement(projection, scale)


def _read_scamp(header: astropy.io.fits.Header, notes: Notes) -> astropy.io.fits.Header:
    """Call a TAN projection with the polynomial of old versions of SCAMP what it is, TPV.

    The standard takes these cards, of which some are near 1, for places of the projection's origin.
    Astropy renames the projection itself where there are terms that the standard lacks.
    """
    axes = [str(header.get(f"CTYPE{i}", "")).strip() for i in (1, 2)]
    linear = [header.get(f"PV{i}_1", 0.0) for i in (1, 2)]
    if not all(axis.endswith("-TAN") for axis in axes) or not all(0.5 < term < 2.0 for term in linear):
        return header
    notes.decide(
        "the WCS is not standard: TAN with PV cards is read as TPV, as old versions of SCAMP meant it"
    )
    header = header.copy()
    for i, axis in enumerate(axes, 1):
        header[f"CTYPE{i}"] = f"{axis[:-3]}TPV"
    return header


def _project(
    wcs: astropy.wcs.WCS, header: astropy.io.fits.Header, box: Box, notes: Notes
) -> SkyProjection[Any]:
    """Turn a WCS into a projection that agrees with it, or raise a ValueError if there is none."""
    # Corners, edges and the middle, where distortions differ most.
    x, y = _grid(box, 3)
    sky = _positions(wcs, x, y)
    if not np.isfinite(sky.ra.deg).all():
        raise ValueError("it gives no positions for all of the image")
    scale = _mean_scale(wcs, box)
    if not scale > 0.0:
        raise ValueError("it has no finite pixel size")
    differs: float | None = None
    try:
        projection = _from_fits_wcs(_to_icrs(wcs, header), box)
        differs = _difference(projection, sky, x, y, box) / scale
    except Exception as err:
        reason = " ".join(str(err).split())[:200]
    else:
        if differs <= _MAX_ERROR:
            return projection
        reason = f"its cards alone would be off by {differs:.3g} pixels"
    projection, error = _fit(wcs, box, scale, reason)
    if differs is None:
        notes.append(f"the WCS is approximated by a polynomial, to {error:.1g} pixels ({reason})")
    else:
        notes.decide(
            f"the WCS is not standard, or has distortions outside its cards: read plainly it would be up to "
            f"{differs:.3g} pixels off; ra and dec follow astropy, to {error:.1g} pixels"
        )
    return projection


def _from_fits_wcs(wcs: astropy.wcs.WCS, box: Box) -> SkyProjection[Any]:
    """Make a projection of parent pixels from a WCS in ICRS."""
    return SkyProjection.from_fits_wcs(
        wcs, GeneralFrame(unit=u.pix), pixel_bounds=box, x0=box.x.min, y0=box.y.min
    )


def _grid(box: Box, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Array coordinates of n × n points from corner to corner of an image."""
    x, y = np.meshgrid(np.linspace(0.0, box.x.size - 1.0, n), np.linspace(0.0, box.y.size - 1.0, n))
    return x.ravel(), y.ravel()


def _positions(wcs: astropy.wcs.WCS, x: np.ndarray, y: np.ndarray) -> SkyCoord:
    """What astropy makes of array coordinates."""
    return wcs.pixel_to_world(x, y).icrs


def _mean_scale(wcs: astropy.wcs.WCS, box: Box) -> float:
    """Pixel size at the centre of the image in arcsec, by astropy."""
    x, y = 0.5 * (box.x.size - 1.0), 0.5 * (box.y.size - 1.0)
    sky = _positions(wcs, np.array([x, x + 1.0, x]), np.array([y, y, y + 1.0]))
    return _root_area(sky)


def _difference(
    projection: SkyProjection[Any], sky: SkyCoord, x: np.ndarray, y: np.ndarray, box: Box
) -> float:
    """Largest distance of what a projection gives from true positions, arcsec."""
    found = projection.pixel_to_sky(x=x + box.x.min, y=y + box.y.min)
    distance = float(found.separation(sky).arcsec.max())
    return distance if np.isfinite(distance) else np.inf


def _fit(wcs: astropy.wcs.WCS, box: Box, scale: float, reason: str) -> tuple[SkyProjection[Any], float]:
    """Fit a TAN projection with a polynomial (SIP) to astropy's positions; it, and its error in pixels."""
    # Of a narrow image some pixels beside it, so that the fit has a second dimension.
    margin = [max(0.0, 10.0 - size) for size in (box.x.size, box.y.size)]
    points = []
    for n in (16, 23):
        x, y = np.meshgrid(
            np.linspace(-margin[0], box.x.size - 1.0 + margin[0], n),
            np.linspace(-margin[1], box.y.size - 1.0 + margin[1], n),
        )
        points.append((x.ravel(), y.ravel()))
    sky, check = (_positions(wcs, *point) for point in points)
    best: tuple[SkyProjection[Any], float] | None = None
    # As low as suffices: higher polynomials run away between points.
    for degree in _DEGREES:
        fitted = fit_wcs_from_points(points[0], sky, sip_degree=degree)
        projection = _from_fits_wcs(fitted, box)
        error = _difference(projection, check, *points[1], box) / scale
        if best is None or error < best[1]:
            best = projection, error
        if error < 0.01 * _MAX_ERROR:
            break
    if best is None or not best[1] <= _MAX_ERROR:
        raise ValueError(f"{reason}, and no polynomial comes near; resample the image to a plain projection")
    return best


def projection_scale(projection: SkyProjection[Any], box: Box) -> float:
    """Pixel size in arcsec at the centre of a box: the root of the pixel's area."""
    x, y = (box.x.min + box.x.max) / 2.0, (box.y.min + box.y.max) / 2.0
    return _root_area(projection.pixel_to_sky(x=np.array([x, x + 1.0, x]), y=np.array([y, y, y + 1.0])))


def image_scale(image: MaskedImage) -> float | None:
    """Pixel size in arcsec at the centre of an image; `None` if it has no sky projection."""
    projection = image.sky_projection
    return None if projection is None else projection_scale(projection, image.bbox)


def _root_area(sky: SkyCoord) -> float:
    """Root of the area of a pixel in arcsec, from the positions of a point, its right and its upper one."""
    # Across 0h the difference is taken the short way round.
    d_ra = ((sky.ra.deg[1:] - sky.ra.deg[0] + 180.0) % 360.0 - 180.0) * np.cos(sky.dec.rad[0])
    d_dec = sky.dec.deg[1:] - sky.dec.deg[0]
    return float(3600.0 * np.sqrt(abs(d_ra[0] * d_dec[1] - d_ra[1] * d_dec[0])))


def _to_icrs(wcs: astropy.wcs.WCS, header: astropy.io.fits.Header) -> astropy.wcs.WCS:
    """Express a celestial WCS in ICRS, which `SkyProjection` takes it to be in.

    Another frame that is turned against ICRS moves the reference point and turns the native pole of the
    projection.  Raises a ValueError if the result is off by more than 5 mas: frames that are not just turned
    (FK4), or projections without a single reference point.
    """
    frame = wcs_to_celestial_frame(wcs)
    if isinstance(frame, ICRS):
        return wcs
    reference = SkyCoord(*wcs.wcs.crval, unit=u.deg, frame=frame)
    # The direction of north turns with the frame.
    north = reference.directional_offset_by(0.0 * u.deg, 10.0 * u.arcsec)
    angle = reference.icrs.position_angle(north.icrs).deg
    turned = wcs.deepcopy()
    turned.wcs.crval = [reference.icrs.ra.deg, reference.icrs.dec.deg]
    turned.wcs.ctype = [
        prefix + ctype[4:] for prefix, ctype in zip(("RA--", "DEC-"), wcs.wcs.ctype, strict=True)
    ]
    turned.wcs.radesys = "ICRS"
    turned.wcs.equinox = np.nan
    turned.wcs.lonpole = wcs.wcs.lonpole + angle
    turned.wcs.set()
    # On the diagonal, whose ends are farthest from the reference point.
    pixels = [(float(header[f"NAXIS{i}"]) - 1.0) * np.array([0.0, 0.5, 1.0]) for i in (1, 2)]
    error = turned.pixel_to_world(*pixels).separation(wcs.pixel_to_world(*pixels).icrs).arcsec.max()
    if not error <= _MAX_FRAME_ERROR:
        raise ValueError(f"its frame {frame.name} cannot be turned into ICRS; reproject the image")
    return turned


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
    """Tell a band of Rubin from the name of a filter, as ``r``, ``DECam i``, ``HSC-R`` or ``i.MP9702``.

    Large letters alone are those of Johnson, Cousins and Bessell and are no bands here, but for ``Y``.
    """
    text = text.strip().strip('"')
    # No band of Johnson, Cousins or Bessell is called Y.
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

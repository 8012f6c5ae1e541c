# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Sky projections from FITS headers."""

from __future__ import annotations

__all__ = ("projection_scale", "read_projection")

from typing import Any

import astropy.io.fits
import astropy.units as u
import astropy.wcs
import numpy as np
from astropy.coordinates import ICRS, SkyCoord
from astropy.wcs.utils import wcs_to_celestial_frame

from lsst.images import Box, GeneralFrame, SkyProjection

_MAX_FRAME_ERROR = 0.005
"""Largest error of a change of the celestial frame, arcsec."""


def read_projection(
    header: astropy.io.fits.Header, box: Box, notes: list[str]
) -> tuple[SkyProjection[Any] | None, float | None]:
    """Sky projection and pixel size from the FITS WCS of a header.

    Parameters
    ----------
    header
        Header of the image HDU.
    box
        Parent pixels of the image.
    notes
        Appended to if the file has a WCS that cannot be used.

    Returns
    -------
    projection
        From parent pixels to ICRS; none if the header has no celestial WCS.
    pixel_scale
        Pixel size at the centre of the image in arcsec: the root of its area.
    """
    try:
        wcs = astropy.wcs.WCS(header)
        if wcs.naxis > 2:
            wcs = wcs.celestial
        if not wcs.has_celestial:
            return None, None
        projection: SkyProjection[Any] = SkyProjection.from_fits_wcs(
            _to_icrs(wcs, header), GeneralFrame(unit=u.pix), pixel_bounds=box, x0=box.x.min, y0=box.y.min
        )
        scale = projection_scale(projection, box)
    except Exception as err:  # wcslib and AST raise many classes for a bad header.
        notes.append(f"the WCS cannot be used ({' '.join(str(err).split())[:200]}); no sky positions")
        return None, None
    if not (np.isfinite(scale) and scale > 0.0):
        notes.append("the WCS has no finite pixel size; no sky positions")
        return None, None
    return projection, scale


def projection_scale(projection: SkyProjection[Any], box: Box) -> float:
    """Pixel size in arcsec at the centre of a box: the root of the pixel's area."""
    x, y = (box.x.min + box.x.max) / 2.0, (box.y.min + box.y.max) / 2.0
    sky = projection.pixel_to_sky(x=np.array([x, x + 1.0, x]), y=np.array([y, y, y + 1.0]))
    d_ra = ((sky.ra.deg[1:] - sky.ra.deg[0] + 180.0) % 360.0 - 180.0) * np.cos(sky.dec.rad[0])
    d_dec = sky.dec.deg[1:] - sky.dec.deg[0]
    return float(3600.0 * np.sqrt(abs(d_ra[0] * d_dec[1] - d_ra[1] * d_dec[0])))


def _to_icrs(wcs: astropy.wcs.WCS, header: astropy.io.fits.Header) -> astropy.wcs.WCS:
    """Express a celestial WCS in ICRS, which `SkyProjection` takes it to be in.

    Another frame that is turned against ICRS moves the reference point and
    turns the native pole of the projection.

    Raises
    ------
    ValueError
        Raised if the result is off by more than 5 mas: frames that are not
        just turned (FK4), or projections without a single reference point.
    """
    frame = wcs_to_celestial_frame(wcs)
    if isinstance(frame, ICRS):
        return wcs
    reference = SkyCoord(*wcs.wcs.crval, unit=u.deg, frame=frame)
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
    pixels = [(float(header[f"NAXIS{i}"]) - 1.0) * np.array([0.0, 0.5, 1.0]) for i in (1, 2)]
    error = turned.pixel_to_world(*pixels).separation(wcs.pixel_to_world(*pixels).icrs).arcsec.max()
    if not error <= _MAX_FRAME_ERROR:
        raise ValueError(f"its frame {frame.name} cannot be turned into ICRS; reproject the image")
    return turned

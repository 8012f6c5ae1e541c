# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The projection of a simulated tract."""

from __future__ import annotations

__all__ = ("DEFAULT_CENTER", "make_sky_projection")

import math

import astropy.wcs

from lsst.images import Box, SkyProjection, TractFrame

from .._errors import SimulationError

DEFAULT_CENTER = (55.064, -29.783)
"""ICRS right ascension and declination of the middle of a tract, degrees: the middle
of the wide area of DC2 (LSST DESC 2021)."""


def make_sky_projection(
    tract_bbox: Box,
    *,
    skymap: str,
    tract: int,
    pixel_scale: float,
    center: tuple[float, float] = DEFAULT_CENTER,
) -> SkyProjection[TractFrame]:
    """Make the tangent-plane projection of a tract, north up and east left.

    Parameters
    ----------
    tract_bbox
        Bounding box of the tract; its middle is the tangent point.
    skymap
        Name of the skymap.
    tract
        Number of the tract.
    pixel_scale
        Size of a pixel, arcsec.
    center
        ICRS right ascension and declination of the tangent point, degrees.

    Returns
    -------
    sky_projection
        The projection.

    Raises
    ------
    SimulationError
        Raised if there is no such place on the sky.
    """
    if not (math.isfinite(center[0]) and abs(center[1]) <= 90.0):
        raise SimulationError(f"the middle of a tract must be a place on the sky, not {center}")
    wcs = astropy.wcs.WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = list(center)
    # FITS counts pixels from 1, here pixel 0 is 0.
    wcs.wcs.crpix = [
        0.5 * (tract_bbox.x.min + tract_bbox.x.max) + 1.0,
        0.5 * (tract_bbox.y.min + tract_bbox.y.max) + 1.0,
    ]
    wcs.wcs.cdelt = [-pixel_scale / 3600.0, pixel_scale / 3600.0]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.radesys = "ICRS"
    frame = TractFrame(skymap=skymap, tract=tract, bbox=tract_bbox)
    return SkyProjection.from_fits_wcs(wcs, frame, pixel_bounds=tract_bbox)

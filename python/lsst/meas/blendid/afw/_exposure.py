# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Conversion of afw exposures."""

from __future__ import annotations

__all__ = ("from_legacy_exposure",)

from typing import TYPE_CHECKING, Any

import astropy.units as u

from lsst.images import Box, GeneralFrame, MaskedImage, SkyProjection
from lsst.images.psfs import PointSpreadFunction

from ..masks import legacy_mask_planes

if TYPE_CHECKING:
    try:
        from lsst.afw.image import Exposure
    except ImportError:
        type Exposure = Any  # type: ignore[no-redef]


def from_legacy_exposure(exposure: Exposure) -> tuple[MaskedImage, PointSpreadFunction | None]:
    """Convert an `lsst.afw.image.Exposure`.

    Parameters
    ----------
    exposure
        Coadd as the DRP pipelines of 2026 keep it.

    Returns
    -------
    masked_image : `lsst.images.MaskedImage`
        Image (pixels shared), mask and variance with the sky projection, if
        there is one.  The unit is nJy where the photometric calibration says
        so.  Mask planes that lsst.images has no name for keep theirs.
    psf : `lsst.images.psfs.PointSpreadFunction` or `None`
        Its PSF.
    """
    bbox = Box.from_legacy(exposure.getBBox())
    wcs = exposure.getWcs()
    projection = (
        None if wcs is None else SkyProjection.from_legacy(wcs, GeneralFrame(unit=u.pix), pixel_bounds=bbox)
    )
    legacy = exposure.getMaskedImage()
    # Not left to lsst.images to guess: it refuses a plane that it does not know.
    planes = legacy_mask_planes(legacy.getMask().getMaskPlaneDict())
    calibration = exposure.getPhotoCalib()
    calibrated = calibration is not None and calibration.getCalibrationMean() == 1.0
    masked_image = MaskedImage.from_legacy(
        legacy, unit=u.nJy if calibrated else None, plane_map=planes, sky_projection=projection
    )
    psf = exposure.getPsf()
    return masked_image, None if psf is None else PointSpreadFunction.from_legacy(psf, bounds=bbox)

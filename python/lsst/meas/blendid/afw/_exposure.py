# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Conversion of afw exposures."""

from __future__ import annotations

__all__ = ("LegacyCoadd", "from_legacy_exposure")

from typing import TYPE_CHECKING, Any, NamedTuple

import astropy.units as u
import numpy as np

from lsst.images import Box, GeneralFrame, MaskedImage, SkyProjection
from lsst.images.psfs import PointSpreadFunction

from ..images.masks import legacy_mask_planes
from ..images.zero_points import calibration_zero_point
from ._psf import from_legacy_psf

if TYPE_CHECKING:
    try:
        from lsst.afw.image import Exposure
    except ImportError:
        type Exposure = Any  # type: ignore[no-redef]


class LegacyCoadd(NamedTuple):
    """What an exposure of lsst.afw is to the task."""

    masked_image: MaskedImage
    """Image (pixels shared), mask and variance with the sky projection, if there is one.  The unit is nJy
    where the photometric calibration says so.  Mask planes that lsst.images has no name for keep theirs."""
    psf: PointSpreadFunction | np.ndarray | None
    """Its PSF (`from_legacy_psf`)."""
    zero_point: float | None
    """AB magnitude of one unit of the pixels, by the mean of the photometric calibration, if there is one."""


def from_legacy_exposure(exposure: Exposure) -> LegacyCoadd:
    """Convert an `lsst.afw.image.Exposure`.

    Parameters
    ----------
    exposure
        Coadd as the DRP pipelines of 2026 keep it.

    Returns
    -------
    coadd
        Image, PSF and zero point.

    Raises
    ------
    UnusablePsfError
        Raised if the PSF is defined nowhere in the image.
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
    mean = None if calibration is None else float(calibration.getCalibrationMean())
    masked_image = MaskedImage.from_legacy(
        legacy, unit=u.nJy if mean == 1.0 else None, plane_map=planes, sky_projection=projection
    )
    psf = exposure.getPsf()
    return LegacyCoadd(
        masked_image,
        None if psf is None else from_legacy_psf(psf, bbox),
        None if mean is None else calibration_zero_point(mean),
    )

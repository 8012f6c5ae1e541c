# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Exposures of lsst.afw and their PSFs, as images and PSFs of lsst.images."""

from __future__ import annotations

__all__ = ("LegacyCoadd", "from_legacy_exposure", "from_legacy_psf", "read_legacy_psf")

from typing import TYPE_CHECKING, Any, NamedTuple

import astropy.units as u
import numpy as np

from lsst.images import Box, GeneralFrame, MaskedImage, SkyProjection
from lsst.images.cells import CellPointSpreadFunction
from lsst.images.psfs import GaussianPointSpreadFunction, PointSpreadFunction

from ..errors import UnusablePsfError
from ..images.masks import legacy_mask_planes
from ..images.psf import sample_places, stack_kernels
from ..images.zero_points import calibration_zero_point

if TYPE_CHECKING:
    try:
        from lsst.afw.detection import Psf
        from lsst.afw.image import Exposure
    except ImportError:
        type Psf = Any  # type: ignore[no-redef]
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
    """Convert an `lsst.afw.image.Exposure`, or raise `UnusablePsfError` if its PSF is defined nowhere."""
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


def from_legacy_psf(psf: Psf, bbox: Box) -> PointSpreadFunction | np.ndarray:
    """Convert an `lsst.afw.detection.Psf` of any class for an image with a box of parent pixels.

    Its cells or its Gaussian if it is made of them, else its kernels at places of a 3×3 grid, shape (n, odd,
    odd), without those where it is not defined, such as places of a coadd without inputs; the one at its
    average position if it is defined at none of them.  Raises `UnusablePsfError` if it is defined nowhere.
    """
    # By name: the packages of PSFs that an image does not have need not be there.
    classes = {cls.__name__ for cls in type(psf).__mro__}
    if "StitchedPsf" in classes:
        return CellPointSpreadFunction.from_legacy(psf, bbox)
    if "GaussianPsf" in classes:
        size = psf.getDimensions()
        return GaussianPointSpreadFunction(psf.getSigma(), bounds=bbox, stamp_size=max(size.x, size.y) | 1)
    return _sample_kernels(psf, bbox)


def _sample_kernels(psf: Psf, bbox: Box) -> np.ndarray:
    """Kernels of a PSF at several places, of one size."""
    from lsst.geom import Point2D
    from lsst.pex.exceptions import Exception as LegacyError

    kernels: list[np.ndarray] = []
    centers: list[tuple[int, int]] = []
    problem = ""

    def add(x: float, y: float) -> None:
        nonlocal problem
        try:
            image = psf.computeKernelImage(Point2D(x, y))
        except LegacyError as err:
            problem = " ".join(str(err).split())[:200]
            return
        kernel = np.array(image.array, dtype=float)
        if np.isfinite(kernel).all() and kernel.sum() > 0.0:
            kernels.append(kernel)
            # The origin of parent pixels is the centre of the PSF.
            centers.append((-image.getX0(), -image.getY0()))
        else:
            problem = "its kernel is not finite or has no positive sum"

    for place in sample_places(bbox):
        add(*place)
    if not kernels:
        average = psf.getAveragePosition()
        add(average.x, average.y)
    if not kernels:
        raise UnusablePsfError(
            f"the PSF ({type(psf).__name__}) is defined nowhere in the image ({problem})",
            psf_type=type(psf).__name__,
        )
    return stack_kernels(kernels, centers)


def read_legacy_psf(path: str, bbox: Box) -> PointSpreadFunction | np.ndarray:
    """Read the PSF of an exposure in a file by lsst.afw, as of `from_legacy_psf`.

    Raises an ImportError if lsst.afw does not import, `UnusablePsfError` if the file has no PSF that lsst.afw
    can read, or one that is defined nowhere.
    """
    from lsst.afw.image import ExposureFitsReader
    from lsst.pex.exceptions import Exception as LegacyError

    try:
        psf = ExposureFitsReader(path).readPsf()
    except LegacyError as err:
        raise UnusablePsfError(f"lsst.afw cannot read the PSF ({' '.join(str(err).split())[:200]})") from err
    if psf is None:
        raise UnusablePsfError("lsst.afw finds no PSF in the file")
    return from_legacy_psf(psf, bbox)

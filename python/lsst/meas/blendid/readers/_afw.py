# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Exposures written by lsst.afw, read without lsst.afw.

The pixels lie in three image HDUs: ``IMAGE``, ``MASK`` and ``VARIANCE``, told
by ``EXTNAME``, in files before 2016 only by ``EXTTYPE``, or by their order.
PSF, filter and photometric calibration lie in an archive of tables that
`AfwArchive` reads.
"""

from __future__ import annotations

__all__ = ("is_afw", "read_afw")

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import astropy.io.fits
import astropy.units as u
import numpy as np

from lsst.images import (
    Box,
    Mask,
    MaskedImage,
    MaskPlane,
    MaskSchema,
)
from lsst.images.psfs import PointSpreadFunction

from ..masks import legacy_mask_planes
from ..zero_points import calibration_zero_point
from ._afw_archive import AfwArchive, LegacyPsfError, UnreadablePsfError
from ._band import read_band
from ._input_image import InputImage, Notes, ReadError
from ._pixels import PsfSource, find_unit, make_image, native_array, read_origin
from ._wcs import read_projection

_PLANES = ("IMAGE", "MASK", "VARIANCE")
_MAX_BIT = 63
_NO_DATA = MaskPlane("NO_DATA", "The pixel is marked in a mask without named planes.")


def is_afw(hdu_list: astropy.io.fits.HDUList) -> bool:
    """Whether an open file has an image with a mask or a variance beside it, as lsst.afw writes them."""
    planes = _find_planes(hdu_list)
    return "IMAGE" in planes and len(planes) > 1


def read_afw(
    hdu_list: astropy.io.fits.HDUList,
    name: str,
    psf_source: PsfSource,
    open_file: Callable[[str], AbstractContextManager[astropy.io.fits.HDUList]],
) -> InputImage:
    """Read an exposure or masked image.

    Parameters
    ----------
    hdu_list
        The open file.
    name
        Its name, for messages.
    psf_source
        Where the PSF comes from; by default the file.
    open_file
        Opens another file by its path.

    Returns
    -------
    image
        The image in parent pixels, mask planes under their names of
        lsst.images.

    Raises
    ------
    ReadError
        Raised if the planes do not fit together, or the PSF is missing or
        needs lsst.afw, which does not import.
    """
    notes = Notes()
    planes = _find_planes(hdu_list)
    hdu = planes["IMAGE"]
    array = native_array(hdu, "the image plane", name)
    x0, y0 = read_origin(hdu.header)
    box = Box.from_shape(array.shape, start=(y0, x0))
    sky = read_projection(hdu.header, box, notes, hdu_list)
    archive = AfwArchive(hdu_list)
    mean = archive.read_calibration()
    calibration = None if mean is None else calibration_zero_point(mean)
    unit = find_unit(hdu.header, notes) if calibration is None else u.nJy if mean == 1.0 else None
    image = make_image(array, box, unit, sky.projection)
    mask = _read_mask(planes.get("MASK"), box, name, notes)

    variance = None
    if "VARIANCE" in planes:
        pixels = native_array(planes["VARIANCE"], "the variance plane", name)
        if pixels.shape != array.shape:
            raise ReadError(f"{name}: image {array.shape} and variance {pixels.shape} differ in shape")
        if (pixels != 0.0).any():
            variance = make_image(pixels, box, None if image.unit is None else image.unit**2, None)
        else:
            notes.decide("the variance plane is zero everywhere: the noise is estimated from the pixels")
    else:
        notes.append("no variance plane: the noise is estimated from the pixels")

    psf: PointSpreadFunction | np.ndarray | None = psf_source.read(name, box, sky, notes, None, open_file)
    if psf is not None:
        if archive.psf_name is not None:
            notes.append(f"the {archive.psf_name} of the file is replaced by the given PSF")
    else:
        psf = _read_psf(archive, hdu_list.filename(), name, box)
    band = archive.read_band() or read_band([hdu.header, hdu_list[0].header], notes)
    return InputImage(
        masked_image=MaskedImage(image, mask=mask, variance=variance),
        psf=psf,
        band=band,
        kind="afw",
        has_variance=variance is not None,
        notes=notes,
        decisive=notes.decisive,
        calibration=calibration,
    )


def _read_psf(archive: AfwArchive, path: str | None, name: str, box: Box) -> PointSpreadFunction | np.ndarray:
    """Read the PSF of the file, by lsst.afw if nothing else can and it is there."""
    from ..afw import read_legacy_psf
    from ..errors import UnusablePsfError

    try:
        return archive.read_psf(box)
    except LegacyPsfError as err:
        problem = f"{name}: {err}"
        try:
            if path is None:
                raise ImportError
            return read_legacy_psf(path, box)
        except ImportError:
            raise ReadError(
                f"{problem}, which takes lsst.afw to compute, and that does not import here; give an image "
                "of it with --psf FILE or its width with --psf-fwhm ARCSEC, or run where lsst.afw imports"
            ) from err
        except UnusablePsfError as error:
            raise ReadError(f"{problem}: {error}; give --psf FILE or --psf-fwhm ARCSEC") from error
    except UnreadablePsfError as err:
        raise ReadError(f"{name}: {err}; give --psf-fwhm ARCSEC") from err


def _find_planes(hdu_list: astropy.io.fits.HDUList) -> dict[str, Any]:
    """Return the HDUs that hold image, mask and variance, by plane."""
    images = [h for h in hdu_list if h.is_image and h.header.get("NAXIS", 0) > 0]
    for key in ("EXTNAME", "EXTTYPE"):
        found: dict[str, Any] = {}
        for hdu in images:
            label = str(hdu.header.get(key, "")).strip().upper()
            if label in _PLANES and label not in found:
                found[label] = hdu
        if "IMAGE" in found and len(found) > 1:
            return found
    if (
        len(images) == 3
        and images[1].header.get("BITPIX", 0) > 0
        and any(keyword.startswith("MP_") for keyword in images[1].header)
    ):
        return dict(zip(_PLANES, images, strict=True))
    return {}


def _read_mask(hdu: Any, box: Box, name: str, notes: Notes) -> Mask:
    """Read a mask, renaming its planes; planes that lsst.images does not know keep their name."""
    if hdu is None:
        notes.append("no mask plane: no pixel is masked")
        return Mask(0, schema=MaskSchema([]), bbox=box)
    bits = native_array(hdu, "the mask plane", name)
    if bits.shape != box.shape:
        raise ReadError(f"{name}: image {tuple(box.shape)} and mask {bits.shape} differ in shape")
    if bits.dtype.kind not in "iu":
        raise ReadError(f"{name}: the mask plane holds {bits.dtype}, not integers")
    legacy = MaskPlane.read_legacy(hdu.header, strip=False)
    planes: list[tuple[MaskPlane, int]] = []
    for (legacy_name, plane), bit in zip(legacy_mask_planes(legacy).items(), legacy.values(), strict=True):
        if isinstance(bit, bool) or not isinstance(bit, int) or not 0 <= bit <= _MAX_BIT:
            raise ReadError(f"{name}: mask plane {legacy_name} has bit {bit!r}, not 0 to {_MAX_BIT}")
        planes.append((plane, bit))
    if not planes and bits.any():
        notes.decide(
            f"the mask has no named planes (MP_ cards): its nonzero pixels "
            f"({100.0 * (bits != 0).mean():.2g} %) are taken for pixels without data"
        )
        mask = Mask(0, schema=MaskSchema([_NO_DATA]), bbox=box)
        mask.set("NO_DATA", bits != 0)
        return mask
    mask = Mask(0, schema=MaskSchema([plane for plane, _ in planes]), bbox=box)
    for plane, bit in planes:
        # A plane beyond the width of the stored integers is set nowhere.
        if bit < 8 * bits.dtype.itemsize:
            mask.set(plane.name, ((bits >> bit) & 1).astype(bool))
    return mask

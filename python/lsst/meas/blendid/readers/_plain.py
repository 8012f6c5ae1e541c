# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Plain two-dimensional FITS images."""

from __future__ import annotations

__all__ = ("read_plain",)

from typing import Any

import astropy.io.fits
import numpy as np

from lsst.images import Box, Mask, MaskedImage, MaskPlane, MaskSchema

from ._input_image import InputImage, ReadError
from ._pixels import find_unit, make_image, make_psf, native_array, read_origin
from ._wcs import read_projection

_SCHEMA = MaskSchema([MaskPlane("NO_DATA", "The pixel is not finite in the file, or padding.")])

_PADDING_SHARE = 0.01
"""Where a larger share of the pixels of a floating-point image is exactly 0, zeros are taken for padding:
noise makes them about as rare as any other single number, and left in they make the noise look smaller."""


def read_plain(
    hdu_list: astropy.io.fits.HDUList,
    name: str,
    psf_fwhm: float | None,
    pixel_scale: float | None,
    hdu: int | str | tuple[str, int] | None,
) -> InputImage:
    """Read one HDU as an image without mask, variance or PSF.

    Parameters
    ----------
    hdu_list
        The open file.
    name
        Its name, for messages.
    psf_fwhm
        Seeing in arcsec.
    pixel_scale
        Pixel size in arcsec; by default from the WCS.
    hdu
        Index or ``EXTNAME``; by default the first HDU with an image.

    Returns
    -------
    image
        The image; pixels that are not finite, or exactly 0 where that is padding, are masked as ``NO_DATA``.

    Raises
    ------
    ReadError
        Raised if there is no such image, or the PSF is missing.
    """
    notes: list[str] = []
    chosen = _choose(hdu_list, name, hdu, notes)
    array = native_array(chosen, "the image", name)
    x0, y0 = read_origin(chosen.header)
    if (x0, y0) != (0, 0):
        notes.append(f"the first pixel is ({x0}, {y0}) of the parent image (LTV1, LTV2)")
    box = Box.from_shape(array.shape, start=(y0, x0))
    projection, wcs_scale = read_projection(chosen.header, box, notes)
    if projection is None:
        notes.append("no celestial WCS: ra and dec are NaN")
    if psf_fwhm is None:
        raise ReadError(f"{name}: a plain FITS image has no PSF; give --psf-fwhm ARCSEC")
    image = make_image(array, box, find_unit(chosen.header, notes), projection)
    mask = Mask(0, schema=_SCHEMA, bbox=box)
    mask.set("NO_DATA", ~np.isfinite(image.array) | _find_padding(array, notes))
    notes.append("no variance plane: the noise is estimated from the pixels")
    return InputImage(
        masked_image=MaskedImage(image, mask=mask),
        psf=make_psf(name, psf_fwhm, pixel_scale, wcs_scale, notes),
        band=None,
        kind="plain",
        has_variance=False,
        notes=notes,
    )


def _find_padding(array: np.ndarray, notes: list[str]) -> np.ndarray:
    """Pixels without data that are filled with zeros, as around a mosaic: bool (ny, nx)."""
    zero = array == 0
    share = zero.mean()
    # Padding comes in areas; zeros of coarsely rounded noise stand among other values.
    pairs = zero[:, 1:] & zero[:, :-1]
    is_area = (pairs[1:] & pairs[:-1]).mean() > 0.9 * share
    if array.dtype.kind != "f" or not _PADDING_SHARE < share < 1.0 or not is_area:
        return np.zeros(array.shape, dtype=bool)
    notes.append(f"{100 * share:.0f} % of the pixels are exactly 0; they are taken for padding without data")
    return zero


def _name(hdu: Any) -> str:
    """Name of an HDU, with its version if that is not the first."""
    return f"{hdu.name},{hdu.ver}" if hdu.name and hdu.ver > 1 else str(hdu.name)


def _show(hdu: int | str | tuple[str, int]) -> str:
    """What the user gave for an HDU."""
    return repr(",".join(map(str, hdu)) if isinstance(hdu, tuple) else hdu)


def _choose(
    hdu_list: astropy.io.fits.HDUList, name: str, hdu: int | str | tuple[str, int] | None, notes: list[str]
) -> Any:
    """Return the HDU to read."""
    if hdu is not None:
        try:
            chosen = hdu_list[hdu]
        except (IndexError, KeyError) as err:
            known = ", ".join(f"{i} {_name(h)}".strip() for i, h in enumerate(hdu_list))
            raise ReadError(f"{name}: has no HDU {_show(hdu)}; it has {known}") from err
        if not chosen.is_image:
            raise ReadError(f"{name}: HDU {_show(hdu)} is a table; choose an image with --hdu")
        return chosen
    images = [h for h in hdu_list if h.is_image and h.header.get("NAXIS", 0) > 0]
    if not images:
        raise ReadError(f"{name}: has no image, all its HDUs are empty or tables; give a file with an image")
    if len(images) > 1:
        notes.append(f"{len(images)} images in the file; the first is used (--hdu chooses another)")
    return images[0]

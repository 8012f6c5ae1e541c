# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Checks and conversions of pixels, units, WCS and PSF shared by the readers."""

from __future__ import annotations

__all__ = (
    "check_pixels",
    "find_unit",
    "make_image",
    "make_psf",
    "native_array",
    "read_origin",
)

from typing import Any

import astropy.io.fits
import astropy.units as u
import numpy as np

from lsst.images import Box, Image, SkyProjection
from lsst.images.fits import parse_legacy_bunit

from ..psf import FWHM_PIXELS, kolmogorov_kernel
from ._input_image import InputImage, ReadError


def native_array(hdu: Any, what: str, name: str) -> np.ndarray:
    """Pixels of an HDU as a two-dimensional array in native byte order.

    Axes of length one are dropped.

    Parameters
    ----------
    hdu
        Image HDU of astropy.
    what
        What the HDU is, for messages.
    name
        Name of the file, for messages.

    Returns
    -------
    array : `numpy.ndarray`, shape (ny, nx)
        A copy, independent of the file.

    Raises
    ------
    ReadError
        Raised if there are no pixels or too many axes.
    """
    data = hdu.data
    if data is None or data.size == 0:
        raise ReadError(f"{name}: {what} is empty; give the image with --hdu if it is in another HDU")
    shape = data.shape
    while data.ndim > 2 and 1 in data.shape:
        data = data.squeeze(axis=data.shape.index(1))
    if data.ndim != 2:
        raise ReadError(
            f"{name}: {what} has {len(shape)} axes ({' × '.join(map(str, shape[::-1]))}); "
            "a two-dimensional image is needed, extract one plane"
        )
    return np.array(data, dtype=data.dtype.newbyteorder("="))


def make_image(
    array: np.ndarray, box: Box, unit: u.UnitBase | None, projection: SkyProjection[Any] | None
) -> Image:
    """Wrap pixels of any number type into an image of floats.

    Parameters
    ----------
    array : `numpy.ndarray`, shape (ny, nx)
        Pixels; integers become 32-bit floats, or 64-bit where these would
        round them.
    box
        Parent pixels that they cover.
    unit
        Their unit.
    projection
        Their sky projection.

    Returns
    -------
    image
        The image.
    """
    if array.dtype.kind != "f":
        array = array.astype(np.float32 if array.dtype.itemsize <= 2 else np.float64)
    return Image(array, bbox=box, unit=unit, sky_projection=projection)


def find_unit(header: astropy.io.fits.Header, notes: list[str]) -> u.UnitBase | None:
    """Unit of an image from its ``BUNIT`` card; none, with a note, if it is not understood."""
    text = header.get("BUNIT")
    if not isinstance(text, str) or not text.strip():
        return None
    try:
        return parse_legacy_bunit(text.strip())
    except (ValueError, TypeError):
        notes.append(f"unit {text.strip()!r} (BUNIT) is not understood; the image is taken as without unit")
        return None


def read_origin(header: astropy.io.fits.Header) -> tuple[int, int]:
    """Parent coordinates (x0, y0) of the first pixel, from ``LTV1`` and ``LTV2``.

    A subimage that was also binned or shifted by parts of a pixel has no
    origin in whole parent pixels and counts from 0.
    """
    try:
        offset = (-float(header.get("LTV1", 0.0)), -float(header.get("LTV2", 0.0)))
        scale = (float(header.get("LTM1_1", 1.0)), float(header.get("LTM2_2", 1.0)))
    except (TypeError, ValueError):
        return 0, 0
    if scale != (1.0, 1.0) or not all(np.isfinite(v) and v == round(v) and abs(v) < 2**30 for v in offset):
        return 0, 0
    return int(offset[0]), int(offset[1])


def make_psf(
    name: str, psf_fwhm: float, pixel_scale: float | None, wcs_scale: float | None, notes: list[str]
) -> np.ndarray:
    """Image of a Kolmogorov PSF convolved with the pixel.

    Parameters
    ----------
    name
        Name of the file, for messages.
    psf_fwhm
        Full width at half maximum of the seeing in arcsec.
    pixel_scale, wcs_scale
        Pixel size in arcsec as given by the user and by the WCS; the first
        one wins.
    notes
        Appended to if the two differ.

    Returns
    -------
    psf : `numpy.ndarray`, shape (odd, odd)
        Kernel with sum 1.

    Raises
    ------
    ReadError
        Raised if there is no pixel size or the width in pixels is absurd.
    """
    scale = pixel_scale if pixel_scale is not None else wcs_scale
    if scale is None:
        raise ReadError(f"{name}: has no WCS to take the pixel scale from; give --pixel-scale ARCSEC")
    if pixel_scale is not None and wcs_scale is not None and abs(pixel_scale / wcs_scale - 1.0) > 0.02:
        notes.append(
            f"the WCS has pixels of {wcs_scale:.4g} arcsec; the given {pixel_scale:g} arcsec are used"
        )
    # Rounded, so that the kernel does not depend on the last digits of a WCS.
    fwhm = round(psf_fwhm / scale, 6)
    if not FWHM_PIXELS[0] <= fwhm <= FWHM_PIXELS[1]:
        raise ReadError(
            f"{name}: a PSF FWHM of {psf_fwhm:g} arcsec is {fwhm:.3g} pixels of {scale:.4g} arcsec, not "
            f"{FWHM_PIXELS[0]:g} to {FWHM_PIXELS[1]:g}; check --psf-fwhm and --pixel-scale, both in arcsec"
        )
    return kolmogorov_kernel(fwhm)


def check_pixels(image: InputImage, name: str) -> InputImage:
    """Refuse an image that nothing can be measured on.

    Parameters
    ----------
    image
        The image.
    name
        Name of the file, for messages.

    Returns
    -------
    image
        The same image.

    Raises
    ------
    ReadError
        Raised if no pixel is finite, or if finite pixels that are not masked as
        ``NO_DATA`` have negative variance.
    """
    masked = image.masked_image
    if masked.image.array.size == 0:
        raise ReadError(f"{name}: the image is empty")
    finite = np.isfinite(masked.image.array)
    if not finite.any():
        raise ReadError(f"{name}: no pixel is finite, so nothing can be detected; give another image")
    if image.has_variance:
        negative = finite & (masked.variance.array < 0.0)
        if negative.any() and "NO_DATA" in masked.mask.schema.names:
            negative &= ~masked.mask.get("NO_DATA")
        if n := int(np.count_nonzero(negative)):
            raise ReadError(
                f"{name}: {n} pixel{'s have' if n > 1 else ' has'} negative variance; "
                "repair the variance plane, or set such pixels to NaN or the mask plane NO_DATA"
            )
    return image

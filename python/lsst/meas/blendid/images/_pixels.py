# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Checks and conversions of pixels and units shared by the readers."""

from __future__ import annotations

__all__ = (
    "check_pixels",
    "find_hdu",
    "find_unit",
    "make_image",
    "native_array",
    "parse_unit",
    "pixel_flux_factor",
    "read_origin",
    "show_hdu",
    "squeezed_shape",
    "unit_variance",
)

import re
from collections.abc import Sequence
from typing import Any

import astropy.io.fits
import astropy.units as u
import numpy as np

from lsst.images import Box, Image, SkyProjection
from lsst.images.fits import parse_legacy_bunit

from ._input_image import HduKey, InputImage, Notes, ReadError

_PER_PIXEL = re.compile(r"\s*(/|\bper\b)\s*(pix|pixel|px)$", re.IGNORECASE)
"""End of a unit that says nothing more than that it is one of pixels."""

_SPELLINGS = {
    "nanomaggies": "nmgy",
    "nanomaggie": "nmgy",
    "nanomaggy": "nmgy",
    "nanomgy": "nmgy",
    "nmgy": "nmgy",
    "maggies": "mgy",
    "maggie": "mgy",
    "maggy": "mgy",
    "jy": "Jy",
    "njy": "nJy",
    "ujy": "uJy",
    "microjy": "uJy",
    "microjansky": "uJy",
    "nanojansky": "nJy",
    "jansky": "Jy",
}
"""Units that surveys write otherwise than the standard, in small letters."""


def native_array(hdu: Any, what: str, name: str) -> np.ndarray:
    """Copy the pixels of an HDU as an array (ny, nx) in native byte order, without axes of length one.

    ``what`` and ``name`` are HDU and file for messages.  Raises `ReadError` if there are no pixels or too
    many axes.
    """
    data = hdu.data
    if data is None or data.size == 0:
        raise ReadError(f"{name}: {what} is empty; give the image with --hdu if it is in another HDU")
    shape = data.shape
    data = data.reshape(squeezed_shape(shape))
    if data.ndim != 2:
        raise ReadError(
            f"{name}: {what} has {len(shape)} axes ({' × '.join(map(str, shape[::-1]))}); "
            "a two-dimensional image is needed, extract one plane"
        )
    array = np.array(data, dtype=data.dtype.newbyteorder("="))
    # What the file was mapped or unpacked into takes as much memory again.
    del data, hdu.data
    return array


def unit_variance(image: Image) -> Image:
    """Variance of 1 for an image without, as lsst.images would make it, but that takes no memory."""
    ones = np.broadcast_to(np.float32(1.0), image.array.shape)
    return Image(ones, bbox=image.bbox, unit=None if image.unit is None else image.unit**2)


def squeezed_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Drop axes of length one of a shape as long as more than two are left."""
    sides = list(shape)
    while len(sides) > 2 and 1 in sides:
        sides.remove(1)
    return tuple(sides)


def find_hdu(hdu_list: astropy.io.fits.HDUList, key: HduKey, name: str) -> Any:
    """Find an image HDU by what the user gave, or raise `ReadError` if there is none, or it is a table."""
    try:
        hdu = hdu_list[key]
    except (IndexError, KeyError) as err:
        known = ", ".join(f"{i} {_name(h)}".strip() for i, h in enumerate(hdu_list))
        raise ReadError(f"{name}: has no HDU {_quote(key)}; it has {known}") from err
    if not hdu.is_image:
        raise ReadError(f"{name}: HDU {_quote(key)} is a table; choose an image")
    return hdu


def _name(hdu: Any) -> str:
    """Name of an HDU, with its version if that is not the first."""
    return f"{hdu.name},{hdu.ver}" if hdu.name and hdu.ver > 1 else str(hdu.name)


def _quote(key: HduKey) -> str:
    """Write an HDU, in quotes if it is a name."""
    return str(key) if isinstance(key, int) else repr(show_hdu(key))


def show_hdu(key: HduKey) -> str:
    """Write an HDU as a user gives it, as ``SCI,2``."""
    return ",".join(map(str, key)) if isinstance(key, tuple) else str(key)


def make_image(
    array: np.ndarray, box: Box, unit: u.UnitBase | None, projection: SkyProjection[Any] | None
) -> Image:
    """Wrap pixels (ny, nx) of any number type into an image of floats of a box of parent pixels.

    Integers become 32-bit floats, or 64-bit where these would round them.
    """
    if array.dtype.kind != "f":
        # 16 bits fit into the 24 of single precision.
        array = array.astype(np.float32 if array.dtype.itemsize <= 2 else np.float64)
    return Image(array, bbox=box, unit=unit, sky_projection=projection)


def find_unit(header: astropy.io.fits.Header, notes: Notes) -> u.UnitBase | None:
    """Unit of an image from its ``BUNIT`` card; none, with a note, if it is not understood."""
    text = header.get("BUNIT")
    unit = parse_unit(text)
    if unit is None and isinstance(text, str) and text.strip():
        notes.append(f"unit {text.strip()!r} (BUNIT) is not understood; the image is taken as without unit")
    return unit


def parse_unit(text: Any) -> u.UnitBase | None:
    """Unit that a card names, as surveys write it too; `None` if it names none or is not understood."""
    if not isinstance(text, str) or not text.strip():
        return None
    # Per pixel is what an image's unit means anyway.
    text = _PER_PIXEL.sub("", text.strip())
    try:
        return parse_legacy_bunit("MJy/sr" if text == "MJY/SR" else _SPELLINGS.get(text.lower(), text))
    except (ValueError, TypeError):
        return None


def pixel_flux_factor(
    unit: u.UnitBase | None, pixel_scale: float | None, notes: Notes
) -> tuple[u.UnitBase | None, float]:
    """Turn a surface brightness into the flux density of a pixel of a scale [arcsec], and note it.

    Gives the unit of the pixels times the factor, and the factor, 1 for anything else.
    """
    if unit is None or not unit.is_equivalent(u.MJy / u.sr):
        return unit, 1.0
    if pixel_scale is None:
        notes.decide(f"unit {unit} needs the pixel size for fluxes; the depth is not checked")
        return unit, 1.0
    # Surface brightness times the area of a pixel.
    factor = float((1.0 * unit * (pixel_scale * u.arcsec) ** 2).to_value(u.nJy))
    notes.append(f"pixels in {unit} are multiplied by their area, to nJy")
    return u.nJy, factor


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


def check_pixels(image: InputImage, name: str) -> InputImage:
    """Refuse an image that nothing can be measured on.

    Raises `ReadError` if no pixel is finite, or if finite pixels that are not masked as ``NO_DATA`` have
    negative variance.
    """
    masked = image.masked_image
    if masked.image.array.size == 0:
        raise ReadError(f"{name}: the image is empty")
    finite = np.isfinite(masked.image.array)
    if not finite.any():
        raise ReadError(f"{name}: no pixel is finite, so nothing can be detected; give another image")
    if image.has_variance:
        # Finite pixels count: negative variance where there are no data is how some programs say so.
        negative = finite & (masked.variance.array < 0.0)
        if negative.any() and "NO_DATA" in masked.mask.schema.names:
            negative &= ~masked.mask.get("NO_DATA")
        if n := int(np.count_nonzero(negative)):
            raise ReadError(
                f"{name}: {n} pixel{'s have' if n > 1 else ' has'} negative variance; "
                "repair the variance plane, or set such pixels to NaN or the mask plane NO_DATA"
            )
    return image

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Plain two-dimensional FITS images, and the padding around what was observed."""

from __future__ import annotations

__all__ = (
    "find_blank",
    "find_padding",
    "read_plain",
)

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import astropy.io.fits
import astropy.units as u
import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter, uniform_filter

from lsst.images import Box, Mask, MaskedImage, MaskPlane, MaskSchema

from ._companions import AUXILIARY, counting_variance, find_role, read_companions
from ._headers import read_band, read_projection
from ._input_image import HduKey, InputImage, Notes, PlaneSource, ReadError
from ._pixels import (
    find_hdu,
    find_unit,
    make_image,
    native_array,
    pixel_flux_factor,
    read_origin,
    squeezed_shape,
    unit_variance,
)
from ._psf_sources import PsfSource
from .psf import adaptive_sigma

_PADDING_SHARE = 0.005
"""Share of the pixels that a constant needs to be looked at as padding."""

_SAMPLE = 40_000
_MAX_CONSTANTS = 4

_SIDES = (3, 5, 9, 17, 33)
"""Sides of the squares of one value that padding is told by, pixels."""

_MAX_DATA_SHARE = 0.7
"""Where more of the data have the value too, as most pixels of a photon-counting image are 0, it is data."""

_MAX_ALONE = 0.01
"""Share of the other pixels that may stand alone among pixels of the value."""

_CHANCE = 1e-3
"""Number of squares of one value by chance that is none."""

_EXTREME = 20.0
"""Height over the noise, in sigma, of what surrounds a saturated core."""


def find_blank(array: np.ndarray, header: Any) -> np.ndarray | None:
    """Find pixels (ny, nx) that have the value that the header gives to those without data.

    Astropy turns them into NaN, but for unsigned integers.
    """
    raw = header.get("BLANK", header.get("ZBLANK"))
    if array.dtype.kind != "u" or isinstance(raw, bool) or not isinstance(raw, int):
        return None
    value = raw * header.get("BSCALE", 1) + header.get("BZERO", 0)
    # Some writers give the value of the pixels, not that of the integers in the file.
    return (array == value) | (array == raw)


def find_padding(array: np.ndarray, bad: np.ndarray, notes: Notes) -> np.ndarray:
    """Find areas of pixels (ny, nx) of any type that are filled with a constant, and note them."""
    padding = np.zeros(array.shape, dtype=bool)
    step = max(1, math.isqrt(array.size // _SAMPLE))
    # Candidates from a sample: a value that fills an area shows in it many times.
    sample = array[::step, ::step][~bad[::step, ::step]]
    values, counts = np.unique(sample[np.isfinite(sample)], return_counts=True)
    common = np.argsort(-counts, kind="stable")[:_MAX_CONSTANTS]
    for value in values[common[counts[common] > _PADDING_SHARE * sample.size]]:
        area = _solid_area((array == value) & ~bad, bad | padding)
        # Saturated cores are constant too, but bright pixels lie around them.
        if not area.any() or _is_saturated(array, area, bad, float(value)):
            continue
        share = 100.0 * area.mean()
        if (area | bad).all():  # An image of one value has no data to tell padding from.
            continue
        notes.decide(f"{share:.0f} % of the pixels are {float(value):.6g}, taken for padding without data")
        padding |= area
    return padding


def _solid_area(constant: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Those pixels of one value that stand together in a way that they would not by chance.

    Parameters
    ----------
    constant
        Pixels that have the value.
    known
        Pixels without data.
    """
    nothing = np.zeros(constant.shape, dtype=bool)
    data = ~constant & ~known
    n_data = int(np.count_nonzero(data))
    if n_data == 0:
        return nothing
    # How often data have the value is told by the neighbours of other data, of which padding has few.
    # Of nine pixels the middle one is no candidate: eight neighbours.
    neighbours = uniform_filter(constant.astype(np.float32), 3, mode="nearest")[data] * (9.0 / 8.0)
    chance = float(neighbours.mean())
    # Photons that stand alone among zeros, of which padding has none.
    alone = np.count_nonzero(neighbours > 0.99) / n_data
    if chance > _MAX_DATA_SHARE or alone > _MAX_ALONE:
        return nothing
    # Small squares first, which follow the rim of padding more closely.
    for side in _SIDES:
        if min(constant.shape) < side:
            break
        if constant.size * max(chance, 1.0 / n_data) ** (side * side) > _CHANCE:
            continue
        solid = maximum_filter(
            minimum_filter(constant, side, mode="constant", cval=1), side, mode="constant", cval=0
        )
        solid &= constant
        # Where no data have the value, single pixels of it are padding too.
        others = ~maximum_filter(solid, 5) & ~known
        n_alone, n_others = int(np.count_nonzero(constant & others)), int(np.count_nonzero(others))
        return constant if solid.any() and n_alone < _CHANCE * n_others else solid
    return nothing


def _is_saturated(array: np.ndarray, area: np.ndarray, bad: np.ndarray, value: float) -> bool:
    """Whether areas of a large value are cores of stars, which bright pixels surround."""
    rim = maximum_filter(area, 3) & ~area & ~bad
    data = ~area & ~bad
    if not rim.any():
        return False
    values = array[data].astype(float)
    values = values[np.isfinite(values)]
    # Quartiles, as sources are part of what surrounds.
    q1, median, q3 = np.percentile(values, (25.0, 50.0, 75.0))
    around = array[rim].astype(float)
    level = float(np.median(around[np.isfinite(around)]))
    return value > median and level > median + _EXTREME * 0.7413 * (q3 - q1)


_SCHEMA = MaskSchema([MaskPlane("NO_DATA", "The pixel is not finite in the file, masked there, or padding.")])

_SCIENCE = ("SCI", "SCIENCE", "IMAGE", "DATA")
"""Names of HDUs that hold the image, whatever lies before them."""


def read_plain(
    hdu_list: astropy.io.fits.HDUList,
    name: str,
    psf: PsfSource,
    hdu: HduKey | None,
    *,
    planes: dict[str, PlaneSource],
    mask_bits: int | None,
    automatic: bool,
    open_file: Callable[[str], AbstractContextManager[astropy.io.fits.HDUList]],
) -> InputImage:
    """Read one HDU as an image, and what belongs to it.

    By default that which is named as an image, else the first two-dimensional one; ``planes`` are variance,
    error, weight and mask as the user gave them, others are taken by their usual names if ``automatic``.
    Pixels that are not finite, masked, or padding, are masked as ``NO_DATA``.  Raises `ReadError` if there is
    no such image, or the PSF is missing.
    """
    notes = Notes()
    chosen = _choose(hdu_list, name, hdu)
    blank = {key: chosen.header.get(key) for key in ("BLANK", "ZBLANK", "BSCALE", "BZERO")}
    array = native_array(chosen, "the image", name)
    x0, y0 = read_origin(chosen.header)
    if (x0, y0) != (0, 0):
        notes.append(f"the first pixel is ({x0}, {y0}) of the parent image (LTV1, LTV2)")
    box = Box.from_shape(array.shape, start=(y0, x0))
    sky = read_projection(chosen.header, box, notes, hdu_list)
    kernel = psf.read(name, box, sky, notes, hdu_list if automatic else None, open_file)
    if kernel is None:
        raise ReadError(f"{name}: a plain FITS image has no PSF; give --psf-fwhm ARCSEC, or --psf FILE")
    bad = ~np.isfinite(array)
    if (of_header := find_blank(array, blank)) is not None and of_header.any():
        bad |= of_header
        notes.append(f"{100.0 * of_header.mean():.2g} % of the pixels are blank (BLANK)")
    bad |= find_padding(array, bad, notes)
    companions = read_companions(
        hdu_list,
        chosen,
        array,
        name,
        notes,
        sources=planes,
        mask_bits=mask_bits,
        automatic=automatic,
        open_file=open_file,
        bad=bad,
    )
    # After the planes were chosen, so that what remains is what nobody looks at.
    if automatic:
        _tell_unused(hdu_list, chosen, companions.used, hdu, notes)
    variance = companions.variance
    if variance is None and (
        of_counts := counting_variance(array, companions.bad, adaptive_sigma(kernel), notes)
    ):
        # The noise of counts is that of the sky alone: a photon of a source makes no pixel worse.
        variance = np.full(array.shape, of_counts, dtype=np.float32)
    elif variance is None:
        notes.append("no variance plane: the noise is estimated from the pixels")
    scale = sky.pixel_scale if psf.pixel_scale is None else psf.pixel_scale
    unit, factor = pixel_flux_factor(find_unit(chosen.header, notes), scale, notes)
    image = make_image(array, box, unit, sky.projection)
    if factor != 1.0:
        image.array *= factor
        variance = None if variance is None else variance * factor**2
    # Memory of zeros that nobody wrote to takes no room.
    mask = Mask(np.zeros((*box.shape, _SCHEMA.mask_size), _SCHEMA.dtype), schema=_SCHEMA, bbox=box)
    if companions.bad.any():
        mask.set("NO_DATA", companions.bad)
    return InputImage(
        masked_image=MaskedImage(
            image,
            mask=mask,
            variance=(
                unit_variance(image) if variance is None else make_image(variance, box, _square(unit), None)
            ),
        ),
        psf=kernel,
        band=read_band([chosen.header, hdu_list[0].header], notes),
        kind="plain",
        has_variance=variance is not None,
        notes=notes,
        decisive=notes.decisive,
    )


def _square(unit: u.UnitBase | None) -> u.UnitBase | None:
    """Unit of the variance of what has a unit."""
    return None if unit is None else unit**2


def _is_flat(hdu: Any) -> bool:
    """Whether an image HDU is two-dimensional, but for axes of length one."""
    return len(squeezed_shape(hdu.shape)) == 2


def _choose(hdu_list: astropy.io.fits.HDUList, name: str, key: HduKey | None) -> Any:
    """Return the HDU to read."""
    if key is not None:
        return find_hdu(hdu_list, key, name)
    images = [h for h in hdu_list if h.is_image and h.header.get("NAXIS", 0) > 0]
    if not images:
        raise ReadError(f"{name}: has no image, all its HDUs are empty or tables; give a file with an image")
    # Previews and cubes are not what somebody means by the image.
    flat = [h for h in images if _is_flat(h) and h.name.upper() not in AUXILIARY]
    science = [h for h in flat if find_role(h) is None]
    named = [h for h in science if h.name.upper() in _SCIENCE]
    return (named or science or flat or images)[0]


def _tell_unused(
    hdu_list: astropy.io.fits.HDUList, chosen: Any, used: tuple[Any, ...], key: HduKey | None, notes: Notes
) -> None:
    """Say which images of a file are not looked at."""
    others = [
        (i, h)
        for i, h in enumerate(hdu_list)
        if h.is_image
        and h.header.get("NAXIS", 0) > 0
        and h is not chosen
        and not any(h is one for one in used)
        and h.name.upper() not in AUXILIARY
    ]
    if not others:
        return
    shown = ", ".join(
        f"{i}{f' {h.name}' if h.name else ''} ({' × '.join(map(str, h.shape[::-1]))})" for i, h in others
    )
    text = f"HDU {shown} of the file {'is' if len(others) == 1 else 'are'} not used"
    if key is not None or all(len(squeezed_shape(h.shape)) < 2 for _, h in others):
        # The user chose, or there was nothing to choose.
        notes.append(text)
        return
    index = next(i for i, h in enumerate(hdu_list) if h is chosen)
    label = f"{index} {chosen.name}".strip()
    notes.decide(f"the image is HDU {label}; {text} (--hdu, --variance, --error, --weight and --mask choose)")

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Images of NumPy, astropy and lsst.images in the form that the task takes."""

from __future__ import annotations

__all__ = ("ImageInputs",)

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import astropy.wcs
import numpy as np
from astropy.nddata import NDData, UnknownUncertainty, VarianceUncertainty

from lsst.images import Box, Image, Mask, MaskedImage, MaskPlane, MaskSchema, SkyProjection
from lsst.images.psfs import PointSpreadFunction

from .images import Notes, projection_scale, read_band, read_projection
from .images.psf import FWHM_PIXELS, kolmogorov_kernel

_SCHEMA = MaskSchema([MaskPlane("NO_DATA", "The pixel is masked.")])


@dataclass(frozen=True)
class ImageInputs:
    """An image in the form that the task takes.

    Parameters
    ----------
    masked_image
        Image, mask and variance, with the sky projection if there is one.
    psf
        Its PSF, or an image of it.
    band
        Its band, if known.
    has_variance
        Whether its variance is known.
    has_sky
        Whether the sky background may still be in it.
    """

    masked_image: MaskedImage
    psf: PointSpreadFunction | np.ndarray
    band: str | None
    has_variance: bool
    has_sky: bool

    @classmethod
    def make(
        cls,
        image: Any,
        variance: Any,
        mask: Any,
        psf: PointSpreadFunction | np.ndarray | None,
        psf_fwhm: float | u.Quantity | None,
        pixel_scale: float | u.Quantity | None,
        wcs: astropy.wcs.WCS | SkyProjection[Any] | None,
        band: str | None,
    ) -> ImageInputs:
        """Take the parts of an image, of whatever kind, and put those that are given in their place.

        The parameters are those of `.identify.identify_blends`.
        """
        if psf is not None and psf_fwhm is not None:
            raise ValueError("psf= and psf_fwhm= are both given; give one of them")
        parts = _take_parts(image)
        pixels = _as_pixels(parts.pixels)
        box = Box.from_shape(pixels.shape) if parts.box is None else parts.box
        unit = parts.unit
        if variance is None:
            variance = parts.variance
        spread = None if variance is None else _as_variance(variance, unit, pixels.shape)
        hidden = [
            _as_mask(name, plane, pixels.shape)
            for name, plane in (("mask", mask), ("the mask of the image", parts.mask))
            if plane is not None
        ]
        if isinstance(parts.pixels, np.ma.MaskedArray):
            hidden.append(np.ma.getmaskarray(parts.pixels))
        projection = parts.projection
        if wcs is not None:
            projection = wcs if isinstance(wcs, SkyProjection) else _project(wcs, box)
        flags = parts.flags if parts.flags is not None else Mask(0, schema=_SCHEMA, bbox=box)
        if hidden:
            bad = np.logical_or.reduce(hidden)
            if parts.flags is None:
                flags.set("NO_DATA", bad)
            else:  # The mask of somebody else is left alone; not finite is as good.
                pixels = np.where(bad, np.nan, pixels)
        if not np.isfinite(pixels).any() or (hidden and bad.all()):
            raise ValueError(
                "every pixel of the image is masked or not finite, so nothing can be found in it"
            )
        plane = Image(pixels, bbox=box, unit=unit, sky_projection=projection)
        masked = MaskedImage(plane, mask=flags, variance=None if spread is None else Image(spread, bbox=box))
        has_variance = spread is not None
        facts = (band or parts.band, has_variance, parts.has_sky or not has_variance)
        if psf_fwhm is not None:
            kernel = kolmogorov_kernel(_fwhm_in_pixels(psf_fwhm, pixel_scale, projection, box))
            return cls(masked, kernel, *facts)
        chosen = parts.psf() if psf is None else psf
        if chosen is None:
            raise ValueError(
                f"there is no PSF with the image ({type(image).__name__}); give psf=, an image of it, or "
                "psf_fwhm=, its width in pixels"
            )
        return cls(masked, _as_psf(chosen), *facts)


@dataclass(frozen=True)
class _Parts:
    """What an image of some kind brings along."""

    pixels: Any
    unit: u.UnitBase | None = None
    variance: Any = None
    mask: Any = None
    flags: Mask | None = None
    box: Box | None = None
    projection: SkyProjection[Any] | None = None
    band: str | None = None
    psf: Callable[[], Any] = lambda: None
    has_sky: bool = True


def _take_parts(image: Any) -> _Parts:
    """Take an image of any kind that is understood apart."""
    if isinstance(image, MaskedImage):
        band = getattr(image, "band", None)
        return _Parts(
            image.image.array,
            unit=image.unit,
            variance=image.variance.array,
            flags=image.mask,
            box=image.bbox,
            projection=image.sky_projection,
            band=band if isinstance(band, str) else None,
            psf=lambda: getattr(image, "psf", None),
            # As a file of it: coadds of the pipelines have lost their sky.
            has_sky=False,
        )
    if isinstance(image, Image):
        return _Parts(image.array, unit=image.unit, box=image.bbox, projection=image.sky_projection)
    if isinstance(image, NDData):
        variance = None
        if image.uncertainty is not None:
            if isinstance(image.uncertainty, UnknownUncertainty):
                raise ValueError("the uncertainty of the image is of unknown kind; give variance=")
            variance = image.uncertainty.represent_as(VarianceUncertainty).quantity
            if image.unit is None:
                variance = variance.value
        pixels = np.asanyarray(image.data)
        projection = None
        if image.wcs is not None and pixels.ndim == 2:
            try:
                projection = _project(image.wcs, Box.from_shape(pixels.shape))
            except ValueError as err:
                warnings.warn(f"{err}; there will be no positions on the sky", stacklevel=4)
        return _Parts(
            pixels,
            unit=image.unit,
            variance=variance,
            mask=image.mask,
            projection=projection,
            band=read_band([{str(key): value for key, value in image.meta.items()}], Notes()),
            psf=lambda: getattr(image, "psf", None),
        )
    if isinstance(image, u.Quantity):
        return _Parts(image.value, unit=image.unit)
    if isinstance(image, np.ndarray | list | tuple):
        return _Parts(image if isinstance(image, np.ma.MaskedArray) else np.asarray(image))
    raise TypeError(
        f"an image is an array, a Quantity, an NDData or CCDData, or one of lsst.images, not a "
        f"{type(image).__name__}; give its pixels as an array"
    )


def _as_pixels(values: Any) -> np.ndarray:
    """Pixels as floats in native byte order, without what is masked."""
    array = np.ma.getdata(values)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"the image holds {array.dtype}, no real numbers; convert it with astype(float)")
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"the image has shape {array.shape}; a two-dimensional one is needed, such as image[0] of a cube"
        )
    if array.dtype.kind == "f":
        return np.asarray(array, dtype=array.dtype.newbyteorder("=") if array.itemsize >= 4 else np.float32)
    # Larger integers than 16 bits would be rounded to single precision.
    return array.astype(np.float32 if array.dtype.itemsize <= 2 else np.float64)


def _as_variance(variance: Any, unit: u.UnitBase | None, shape: tuple[int, ...]) -> np.ndarray:
    """Variance plane in the square of the image's unit, NaN where it is masked."""
    if isinstance(variance, u.Quantity):
        try:
            variance = variance.to_value((unit or u.dimensionless_unscaled) ** 2)
        except u.UnitConversionError:
            raise ValueError(
                f"the variance is in {variance.unit}, the image in {unit or 'no unit'}; give it in the "
                "square of the image's unit"
            ) from None
    if not isinstance(variance, np.ma.MaskedArray):
        variance = np.asarray(variance)
    if variance.dtype.kind not in "fiu":
        raise ValueError(
            f"the variance holds {variance.dtype}, no real numbers; convert it with astype(float)"
        )
    plane = np.ma.filled(variance.astype(np.float64 if variance.itemsize > 4 else np.float32), np.nan)
    if plane.ndim == 0:
        plane = np.full(shape, plane)
    if plane.shape != shape:
        raise ValueError(
            f"the variance has shape {plane.shape}, the image {shape}; give one of the same shape"
        )
    if not (plane > 0.0).any():
        raise ValueError(
            "the variance is nowhere positive; leave it out to estimate the noise from the pixels"
        )
    return plane


def _as_mask(name: str, mask: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Mask as booleans."""
    array = np.asarray(mask)
    if array.dtype.kind not in "biu":
        raise ValueError(f"{name} holds {array.dtype}; it must hold booleans, true for pixels to leave out")
    if array.ndim and array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, the image {shape}; give one of the same shape")
    return np.broadcast_to(array != 0, shape)


def _as_psf(psf: Any) -> PointSpreadFunction | np.ndarray:
    """PSF of lsst.images as it is, or an image of one after a look at it."""
    if isinstance(psf, PointSpreadFunction):
        return psf
    array = np.asarray(psf.value if isinstance(psf, u.Quantity) else psf)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"psf is a {type(psf).__name__}; give an image of the PSF, or a PSF of lsst.images")
    if array.ndim != 2 or array.shape[0] % 2 == 0 or array.shape[1] % 2 == 0:
        raise ValueError(
            f"the image of the PSF has shape {array.shape}; it needs two odd sides, with the peak on the "
            "pixel in the middle"
        )
    return array.astype(float)


def _project(wcs: Any, box: Box) -> SkyProjection[Any]:
    """Sky projection of a celestial WCS of astropy."""
    problem: str | None = None
    if isinstance(wcs, astropy.wcs.WCS):
        # With its tables of distortions, if it has some.
        hdu_list = wcs.to_fits(relax=True)
        header = hdu_list[0].header.copy()
        for key, value in (("NAXIS", 2), ("NAXIS1", box.x.size), ("NAXIS2", box.y.size)):
            header[key] = value
        sky = read_projection(header, box, Notes(), hdu_list)
        if sky.projection is not None:
            return sky.projection
        problem = sky.problem
    raise ValueError(f"the WCS cannot be used: {problem or 'it is no celestial WCS of astropy'}")


def _fwhm_in_pixels(
    fwhm: float | u.Quantity,
    pixel_scale: float | u.Quantity | None,
    projection: SkyProjection[Any] | None,
    box: Box,
) -> float:
    """Width of the PSF in pixels."""
    value: float
    if isinstance(fwhm, u.Quantity) and fwhm.unit.is_equivalent(u.arcsec):
        if pixel_scale is not None:
            scale = pixel_scale if isinstance(pixel_scale, u.Quantity) else pixel_scale * u.arcsec
            if scale.unit.is_equivalent(u.arcsec / u.pix):
                scale = scale * u.pix
            arcsec = float(scale.to_value(u.arcsec))
            if not 0.0 < arcsec < float("inf"):
                raise ValueError(f"pixel_scale is {pixel_scale}; it must be positive and finite")
        elif projection is not None:
            arcsec = projection_scale(projection, box)
        else:
            raise ValueError(
                f"psf_fwhm is {fwhm}, an angle, but the pixel size is not known; give pixel_scale=, or "
                "psf_fwhm in pixels"
            )
        value = float(fwhm.to_value(u.arcsec)) / arcsec
    elif isinstance(fwhm, u.Quantity):
        try:
            value = float(fwhm.to_value(u.pix))
        except u.UnitConversionError:
            raise ValueError(f"psf_fwhm is in {fwhm.unit}; give it in pixels or as an angle") from None
    else:
        value = float(fwhm)
    if not 0.0 < value < float("inf"):
        raise ValueError(f"psf_fwhm is {fwhm}; it must be positive and finite")
    low, high = FWHM_PIXELS
    if not low <= value <= high:
        raise ValueError(f"psf_fwhm is {value:.3g} pixels; it must be from {low:g} to {high:g}")
    # Rounded, so that the kernel does not depend on the last digits of a WCS.
    return round(value, 6)

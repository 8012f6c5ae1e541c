# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""AB magnitudes: of one unit of the pixels, from their unit or a photometric calibration, and of fluxes."""

from __future__ import annotations

__all__ = (
    "NJY_ZERO_POINT",
    "ab_zero_point",
    "calibration_zero_point",
    "to_magnitudes",
)

import astropy.units as u
import numpy as np

NJY_ZERO_POINT = 31.4
"""AB magnitude of 1 nJy."""


def ab_zero_point(unit: u.UnitBase | None, pixel_scale: float | None = None) -> float | None:
    """Compute the AB magnitude of one image unit.

    Parameters
    ----------
    unit
        Unit of the pixels: a flux density per unit of frequency, maggies, or one of these by solid angle
        or pixel.
    pixel_scale
        Pixel size, the root of the pixel's area, arcsec; needed for units by solid angle.

    Returns
    -------
    zero_point
        31.4 for nJy, 22.5 for nanomaggies; `None` if the unit is none of flux density (or one by
        wavelength, whose AB magnitude depends on the filter), or the pixel size is needed and not known.
    """
    if unit is None or isinstance(unit, u.function.FunctionUnitBase):
        # A magnitude is equivalent to a flux for astropy, but pixels of magnitudes do not add up.
        return None
    value = 1.0 * unit
    candidates = [value, value * u.pix]
    if pixel_scale is not None and np.isfinite(pixel_scale) and pixel_scale > 0.0:
        candidates.append(value * (pixel_scale * u.arcsec) ** 2)
    for flux in candidates:
        if flux.unit.is_equivalent(u.nJy):
            return float(flux.to_value(u.ABmag))
        if flux.unit.is_equivalent(u.mgy):
            # A maggy is the flux of magnitude 0.
            return float(-2.5 * np.log10(flux.to_value(u.mgy)))
    return None


def calibration_zero_point(mean: float) -> float | None:
    """Compute the AB magnitude of one image unit from a photometric calibration of lsst.afw.

    Parameters
    ----------
    mean
        Its mean: nJy for one unit of the pixels.

    Returns
    -------
    zero_point
        31.4 for 1; `None` if the mean is not positive and finite, as that of an image that was never
        calibrated.
    """
    if not (np.isfinite(mean) and mean > 0.0):
        return None
    return ab_zero_point(u.Unit(float(mean) * u.nJy))


def to_magnitudes(fluxes: np.ndarray, zero_point: float | None) -> np.ndarray:
    """Turn fluxes into AB magnitudes.

    Parameters
    ----------
    fluxes
        Fluxes of any shape.
    zero_point
        AB magnitude of a flux of 1, if known.

    Returns
    -------
    magnitudes
        NaN without zero point and where the flux is not positive.
    """
    positive = np.asarray(fluxes) > 0.0
    if zero_point is None:
        return np.full(positive.shape, np.nan)
    return np.where(positive, zero_point - 2.5 * np.log10(np.where(positive, fluxes, 1.0)), np.nan)

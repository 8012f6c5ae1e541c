# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""Pixels without data that are filled with a constant, as around a mosaic."""

from __future__ import annotations

__all__ = ("find_blank", "find_padding")

import math
from typing import Any

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter, uniform_filter

from ._input_image import Notes

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
    """Find pixels that have the value that the header gives to those without data.

    Astropy turns them into NaN, but for unsigned integers.

    Parameters
    ----------
    array : `numpy.ndarray`, shape (ny, nx)
        Pixels.
    header
        Header as it is in the file.

    Returns
    -------
    blank : `numpy.ndarray`, shape (ny, nx) or `None`
        Which pixels have it.
    """
    raw = header.get("BLANK", header.get("ZBLANK"))
    if array.dtype.kind != "u" or isinstance(raw, bool) or not isinstance(raw, int):
        return None
    value = raw * header.get("BSCALE", 1) + header.get("BZERO", 0)
    # Some writers give the value of the pixels, not that of the integers in the file.
    return (array == value) | (array == raw)


def find_padding(array: np.ndarray, bad: np.ndarray, notes: Notes) -> np.ndarray:
    """Find areas that are filled with a constant.

    Parameters
    ----------
    array : `numpy.ndarray`, shape (ny, nx)
        Pixels of any number type.
    bad : `numpy.ndarray`, shape (ny, nx)
        Pixels that are known to have no data.
    notes
        Told what was found.

    Returns
    -------
    padding : `numpy.ndarray`, shape (ny, nx)
        Which pixels are padding.
    """
    padding = np.zeros(array.shape, dtype=bool)
    step = max(1, math.isqrt(array.size // _SAMPLE))
    sample = array[::step, ::step][~bad[::step, ::step]]
    values, counts = np.unique(sample[np.isfinite(sample)], return_counts=True)
    common = np.argsort(-counts, kind="stable")[:_MAX_CONSTANTS]
    for value in values[common[counts[common] > _PADDING_SHARE * sample.size]]:
        area = _solid_area((array == value) & ~bad, bad | padding)
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
    neighbours = uniform_filter(constant.astype(np.float32), 3, mode="nearest")[data] * (9.0 / 8.0)
    chance = float(neighbours.mean())
    # Photons that stand alone among zeros, of which padding has none.
    alone = np.count_nonzero(neighbours > 0.99) / n_data
    if chance > _MAX_DATA_SHARE or alone > _MAX_ALONE:
        return nothing
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
    q1, median, q3 = np.percentile(values, (25.0, 50.0, 75.0))
    around = array[rim].astype(float)
    level = float(np.median(around[np.isfinite(around)]))
    return value > median and level > median + _EXTREME * 0.7413 * (q3 - q1)

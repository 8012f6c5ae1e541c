# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Footprints that are given, as by a catalogue, and what the image says of them."""

from __future__ import annotations

__all__ = ("measure_given",)

import dataclasses
from collections.abc import Callable

import numpy as np

from .components import Runs
from .footprint_set import PEAK_DTYPE, FootprintSet, sum_in_spans
from .peaks import Peaks, refine_peaks


def measure_given(
    given: FootprintSet,
    smoothed: np.ndarray,
    over: Runs,
    noise_at: Callable[[np.ndarray, np.ndarray], np.ndarray],
    *,
    exponent: int,
    xy0: tuple[int, int],
) -> FootprintSet:
    """Measure the peaks of given footprints, and how many of their pixels are over the threshold.

    Parameters
    ----------
    given
        Footprints of the image.
    smoothed
        The smoothed image, float32 ``(ny, nx)``.
    over
        Its pixels over the threshold.
    noise_at
        Noise of the smoothed image at pixels x and y of the array.
    exponent
        Binary exponent of what the image was divided by.
    xy0
        Parent coordinates of the first pixel.

    Returns
    -------
    footprints
        The same footprints; their peaks have the values of this image and are
        sorted by them.  A position that is a whole pixel, as lsst.afw gives
        it, is refined below a pixel.

    Raises
    ------
    ValueError
        If they are those of an image of another size or place.
    """
    xy0 = (int(xy0[0]), int(xy0[1]))
    if given.shape != smoothed.shape or given.xy0 != xy0:
        raise ValueError(
            f"the given footprints are those of an image of shape {given.shape} at {given.xy0}, not of shape "
            f"{smoothed.shape} at {xy0}"
        )
    names = PEAK_DTYPE.descr + ([] if given.peak_ids is None else [("peak_id", "i8")])
    table = np.zeros(len(given.peaks), names)
    for name in PEAK_DTYPE.names or ():
        table[name] = given.peaks[name]
    if given.peak_ids is not None:
        table["peak_id"] = given.peak_ids
    x, y = (table[f"i_{axis}"] - xy0[k] for k, axis in enumerate("xy"))
    value = smoothed[y, x]
    refined = refine_peaks(
        Peaks(table["footprint_id"], x, y, value, x.astype(float), y.astype(float)), smoothed
    )
    # Where nothing was searched the smoothed image is 0 and has no summit.
    whole = (table["f_x"] == table["i_x"]) & (table["f_y"] == table["i_y"]) & (value > 0.0)
    table["f_x"][whole] = refined.fx[whole] + xy0[0]
    table["f_y"][whole] = refined.fy[whole] + xy0[1]
    table["peak_value"] = np.ldexp(value, exponent)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        table["significance"] = np.where(value == 0.0, 0.0, value / noise_at(x, y))
    area = sum_in_spans(given, over.to_image()).astype(np.int32)
    return dataclasses.replace(given.with_peaks(table), area_detected=area)

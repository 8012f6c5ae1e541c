# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""Noise of photon-counting images, most of whose pixels are 0."""

from __future__ import annotations

__all__ = ("counting_variance",)

import numpy as np
from scipy.special import pdtrc

from ._input_image import Notes

_ZERO_SHARE = 0.5
"""Share of pixels that are 0 from which on the noise cannot be measured as scatter."""

_BLOCK = 32

_CHANCE = 2.87e-7
"""Chance that a Gaussian is more than 5 sigma high."""


def counting_variance(array: np.ndarray, bad: np.ndarray, psf_sigma: float, notes: Notes) -> float | None:
    """Variance of a pixel of sparse photon counts.

    With some photons in the area of a PSF, their number is far from Gaussian; the variance is that of the
    Gaussian that reaches 5 sigma as seldom as the photons of the sky do.

    Parameters
    ----------
    array : `numpy.ndarray`, shape (ny, nx)
        Pixels.
    bad : `numpy.ndarray`, shape (ny, nx)
        Pixels without data.
    psf_sigma
        Width of the PSF, pixels.
    notes
        Told what was assumed.

    Returns
    -------
    variance
        Variance of each pixel; `None` if these are no sparse counts.
    """
    good = array[~bad]
    if good.size == 0 or not np.count_nonzero(good == 0) > _ZERO_SHARE * good.size:
        return None
    if good.min() < 0 or good.max() == 0 or (good.dtype.kind == "f" and not (good == np.rint(good)).all()):
        return None
    means = []
    for y in range(0, array.shape[0], _BLOCK):
        for x in range(0, array.shape[1], _BLOCK):
            block = (slice(y, y + _BLOCK), slice(x, x + _BLOCK))
            if (keep := ~bad[block]).mean() > 0.5:
                means.append(float(array[block][keep].astype(np.float64).mean()))
    # Sources are in some of the blocks only; with hardly a photon in any, they do not stand out.
    sky = (float(np.median(means)) if means else 0.0) or float(good.astype(np.float64).mean())
    area = 4.0 * np.pi * psf_sigma**2
    photons = sky * area
    n = int(np.ceil(photons))
    while pdtrc(n - 1, photons) > _CHANCE:
        n += 1
    # The background, a mode, is 0 and leaves the sky in.
    sigma = n / 5.0
    notes.decide(
        f"photon counts, {100.0 * np.count_nonzero(good == 0) / good.size:.0f} % of them 0: the noise is "
        f"that of {sky:.3g} counts a pixel, and the models were not trained on such images"
    )
    return sigma**2 / area

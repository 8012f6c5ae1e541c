# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""How many true galaxies lie in each footprint.

A galaxy counts when its centre lies in the footprint and its true
point-source signal-to-noise ratio reaches a limit; a star counts as well.  A
footprint is blended when it holds more than one.
"""

from __future__ import annotations

__all__ = (
    "N_CLASSES",
    "SNR_MIN",
    "count_galaxies",
    "counted_objects",
    "matched_snr",
    "paper_counts",
    "paper_psf",
)

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from astropy.table import Table

    from .footprints import FootprintSet

N_CLASSES = 5
"""Number of classes of P(N): N = 0, 1, 2, 3 and 4 or more."""

SNR_MIN = 5.0
"""Point-source S/N from which on an object counts: that of the threshold of footprints, as in Buchanan et al.
(2022)."""


def matched_snr(flux: np.ndarray, psf: np.ndarray, sky_sigma: float) -> np.ndarray:
    r"""Point-source signal-to-noise ratio of the PSF-matched filter.

    Parameters
    ----------
    flux : `numpy.ndarray`, shape (n,)
        Total fluxes, image units.
    psf : `numpy.ndarray`, shape (ny, nx)
        PSF kernel; normalised here to sum 1.
    sky_sigma
        Noise of one pixel from the sky alone, image units.

    Returns
    -------
    snr : `numpy.ndarray`, shape (n,)
        flux / :math:`\sigma_f`.

    Raises
    ------
    ValueError
        Raised if the noise is not positive or the PSF has no sum.

    Notes
    -----
    :math:`\sigma_f = \sigma_\mathrm{sky} / \sqrt{\sum \phi^2}` is the error of
    the optimal flux of an isolated point source in white noise.
    """
    total = float(np.sum(psf))
    if not (np.isfinite(total) and total > 0.0):
        raise ValueError(f"the PSF kernel sums to {total}; a positive sum is needed")
    if not (np.isfinite(sky_sigma) and sky_sigma > 0.0):
        raise ValueError(f"sky_sigma is {sky_sigma}; a positive pixel noise is needed")
    norm = float(np.sqrt(np.sum(np.square(np.asarray(psf, dtype=np.float64) / total))))
    return np.asarray(flux, dtype=np.float64) * norm / sky_sigma


def paper_psf(fwhm: float) -> np.ndarray:
    """Gaussian sampled at pixel centres, with sum 1: the PSF of Buchanan et al. 2022.

    Parameters
    ----------
    fwhm
        Full width at half maximum, pixels.

    Returns
    -------
    kernel : `numpy.ndarray`, shape (size, size)
        The kernel; it reaches 3 FWHM, 7 standard deviations, from the centre.

    Raises
    ------
    ValueError
        Raised if the width is not positive and finite.
    """
    if not 0.0 < fwhm < np.inf:
        raise ValueError(f"a Gaussian kernel needs a positive and finite fwhm, not {fwhm}")
    size = 2 * int(np.ceil(3.0 * fwhm)) + 1
    offset = np.arange(size) - size // 2
    profile = np.exp(-4.0 * np.log(2.0) * np.square(offset / fwhm))
    kernel = np.outer(profile, profile)
    return kernel / kernel.sum()


def _column(truth: Table, name: str) -> np.ndarray:
    """Column of a truth table as float64, NaN where masked, with an error that names what is missing."""
    if name not in truth.colnames:
        raise KeyError(f"the truth table has no column {name!r}; it has {', '.join(truth.colnames)}")
    return np.ma.filled(np.ma.asarray(truth[name]).astype(np.float64), np.nan)


def counted_objects(truth: Table, snr_min: float = SNR_MIN) -> np.ndarray:
    """Choose the galaxies that count, wherever they are.

    Parameters
    ----------
    truth
        As for `count_galaxies`.
    snr_min
        Fainter galaxies do not count.

    Returns
    -------
    objects : `numpy.ndarray`, shape (m, 3), float64
        Columns x, y (parent pixels) and S/N of the rows in which none of them is masked or NaN.

    Raises
    ------
    KeyError
        Raised if a column is missing.
    """
    objects = np.column_stack([_column(truth, name) for name in ("x", "y", "snr")])
    with np.errstate(invalid="ignore"):
        return objects[np.isfinite(objects[:, :2]).all(axis=1) & (objects[:, 2] >= snr_min)]


def count_galaxies(
    footprints: FootprintSet,
    truth: Table,
    *,
    snr_min: float = SNR_MIN,
    one_per_pixel: bool = False,
    position: Literal["rint", "truncate"] = "rint",
) -> np.ndarray:
    """Count the galaxies that are centred in each footprint.

    Parameters
    ----------
    footprints
        The n footprints.
    truth
        Table with the columns ``x``, ``y`` (centre, parent pixels) and ``snr``
        (point-source S/N from the sky alone). Rows in which one of them is
        masked or NaN do not count.
    snr_min
        Fainter galaxies do not count.
    one_per_pixel
        Count all galaxies with one pixel as one.
    position
        Pixel of a centre: the nearest (``rint``), or the one of the truncated
        coordinates, as Buchanan et al. 2022 take it.

    Returns
    -------
    counts : `numpy.ndarray`, shape (n,), int32
        Number of galaxies in each footprint.

    Raises
    ------
    KeyError
        Raised if a column is missing.
    ValueError
        Raised if ``position`` is unknown.
    """
    if position not in ("rint", "truncate"):
        raise ValueError(f"position is {position!r}; it can be 'rint' or 'truncate'")
    x, y, _ = counted_objects(truth, snr_min).T
    to_pixel = np.rint if position == "rint" else np.trunc
    column = to_pixel(x).astype(np.int64) - footprints.xy0[0]
    row = to_pixel(y).astype(np.int64) - footprints.xy0[1]
    height, width = footprints.labels.shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    pixels = row[inside] * width + column[inside]
    if one_per_pixel:
        pixels = np.unique(pixels)
    labels = footprints.labels.ravel()[pixels]
    return np.bincount(labels, minlength=len(footprints) + 1)[1:].astype(np.int32)


def paper_counts(
    footprints: FootprintSet,
    truth: Table,
    *,
    sky_sigma: float,
    pixel_scale: float = 0.2,
) -> np.ndarray:
    """Count galaxies as Buchanan et al. 2022 did.

    Galaxies from an S/N of 5 on count.  It is that of a Gaussian of FWHM 0.7 arcsec, centres are truncated
    to pixels, and galaxies with one pixel count as one.

    Parameters
    ----------
    footprints
        The n footprints.
    truth
        Table with the columns ``x``, ``y`` (parent pixels) and ``flux`` (image
        units). Rows in which one of them is masked or NaN do not count.
    sky_sigma
        Noise of one pixel from the sky alone, image units.
    pixel_scale
        Side of a pixel, arcsec.

    Returns
    -------
    counts : `numpy.ndarray`, shape (n,), int32
        Number of galaxies in each footprint.

    Raises
    ------
    KeyError
        Raised if a column is missing.
    ValueError
        Raised if the pixel scale or the noise is not positive.
    """
    if not pixel_scale > 0.0:
        raise ValueError(f"pixel_scale is {pixel_scale}; it must be positive, in arcsec")
    relabelled = truth.copy(copy_data=False)
    relabelled["snr"] = matched_snr(_column(truth, "flux"), paper_psf(0.7 / pixel_scale), sky_sigma)
    return count_galaxies(footprints, relabelled, one_per_pixel=True, position="truncate")

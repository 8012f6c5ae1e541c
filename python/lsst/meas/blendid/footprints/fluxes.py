# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Fluxes of footprints and peaks, in the unit of the image, and whether a core is unresolved."""

from __future__ import annotations

__all__ = (
    "are_cores_unresolved",
    "footprint_fluxes",
    "peak_fluxes",
)

import numpy as np

from .footprint_set import sum_in_spans
from .result import DetectionResult
from .smoothing import gaussian_kernel

_MIN_SHARPNESS = 0.85
"""Share of a point source's curvature that a core must have to count as unresolved.  A Gaussian galaxy as
wide as the PSF has two thirds, one half as wide .89, which bright ones rarely are; a star has .86 where the
given seeing is 15 % too small."""


def footprint_fluxes(detection: DetectionResult) -> np.ndarray:
    """Sum the pixels of each footprint.

    Parameters
    ----------
    detection
        An image with its n footprints.

    Returns
    -------
    fluxes : `numpy.ndarray`, shape (n,)
        Sums over the background-subtracted image, bad pixels 0, in its unit.
    """
    return sum_in_spans(detection.footprints, detection.image)


def peak_fluxes(detection: DetectionResult, peaks: np.ndarray | None = None) -> np.ndarray:
    """Give the flux of a point source that alone would make the smoothed image what it is at each peak.

    Parameters
    ----------
    detection
        An image with its peaks.
    peaks : `numpy.ndarray`, shape (k,), optional
        Structured array with the columns of `.PEAK_DTYPE`, in parent pixels; the detected peaks
        by default.

    Returns
    -------
    fluxes : `numpy.ndarray`, shape (k,)
        In the unit of the image.  Light of close neighbours is part of it.
    """
    peaks = detection.footprints.peaks if peaks is None else peaks
    height, curvature = _response(detection)
    offset = (peaks["f_x"] - peaks["i_x"]) ** 2 + (peaks["f_y"] - peaks["i_y"]) ** 2
    # The smoothed image of a point source is nearly Gaussian, and highest between the pixels.
    return peaks["peak_value"].astype(float) / height * np.exp(0.5 * curvature.mean() * offset)


def are_cores_unresolved(detection: DetectionResult, asked: np.ndarray | None = None) -> np.ndarray:
    """Tell which footprints are as sharp at their most significant peak as a point source.

    The curvature of the logarithm of the smoothed image, which does not depend on where in its pixel a source
    lies, is compared with that of the PSF along both axes.

    Parameters
    ----------
    detection
        An image with its n footprints.
    asked : `numpy.ndarray`, shape (n,), bool, optional
        The footprints to look at; all by default.

    Returns
    -------
    unresolved : `numpy.ndarray`, shape (n,), bool
        False for others, for footprints without peak, or where a pixel next to the peak is not positive.
    """
    footprints = detection.footprints
    unresolved = np.zeros(len(footprints), dtype=bool)
    has = np.flatnonzero((footprints.n_peaks > 0) if asked is None else asked & (footprints.n_peaks > 0))
    if not has.size:
        return unresolved
    _, expected = _response(detection)
    first = footprints.peaks[footprints.peak_start[has]]
    x, y = first["i_x"] - detection.xy0[0], first["i_y"] - detection.xy0[1]
    ny, nx = detection.image.shape
    within = (x > 0) & (x < nx - 1) & (y > 0) & (y < ny - 1)
    has, x, y = has[within], x[within], y[within]
    steps = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    x, y = x + steps[:, :1], y + steps[:, 1:]
    values = np.zeros(x.shape)
    for first, rows in detection.smoothed_strips():
        here = (y >= first) & (y < first + len(rows))
        values[here] = rows[y[here] - first, x[here]]
    good = (values > 0.0).all(axis=0)
    centre, right, left, above, below = np.log(np.where(good, values, 1.0))
    sharp = (2.0 * centre - right - left > _MIN_SHARPNESS * expected[0]) & (
        2.0 * centre - above - below > _MIN_SHARPNESS * expected[1]
    )
    unresolved[has] = good & sharp
    return unresolved


def _response(detection: DetectionResult) -> tuple[float, np.ndarray]:
    """What smoothing makes of a point source of unit flux in the middle of a pixel.

    Its height there, and how much its logarithm is curved per squared pixel along x and y; NaN for an image
    of a PSF that is not positive in its middle.
    """
    psf = detection.psf.image
    kernel = gaussian_kernel(detection.psf.sigma, int(detection.metadata["kernel_size"]))
    # A frame of zeros, so that the kernel fits around the middle of the PSF and one pixel beside it.
    reach = kernel.size // 2 + 1
    padded = np.pad(psf, reach)
    cy, cx = (n // 2 for n in padded.shape)

    def at(dx: int, dy: int) -> float:
        half = kernel.size // 2
        part = padded[cy + dy - half : cy + dy + half + 1, cx + dx - half : cx + dx + half + 1]
        return float(kernel @ part @ kernel)

    values = np.array([at(*step) for step in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))])
    if not (values > 0.0).all():
        return np.nan, np.full(2, np.nan)
    centre, right, left, above, below = np.log(values)
    return float(values[0]), np.array([2.0 * centre - right - left, 2.0 * centre - above - below])

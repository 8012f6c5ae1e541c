# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""A PSF from an image of it."""

from __future__ import annotations

__all__ = ("prepare_psf",)

import numpy as np
from scipy.ndimage import shift

from ..psf import adaptive_sigma
from ._input_image import Notes, ReadError

_OFF_CENTRE = 0.05
"""Distance of the PSF from the middle of a pixel that is mended, pixels."""

_RIM = 0.02
"""Level on the rim, as a share of the peak, from which on it is told."""


def prepare_psf(array: np.ndarray, name: str, notes: Notes) -> np.ndarray:
    """Make a kernel of the image of a PSF.

    Parameters
    ----------
    array : `numpy.ndarray`, shape (ny, nx)
        Image of the PSF, with the pixels of the image that it belongs to.
    name
        Where it is from, for messages.
    notes
        Told what was done.

    Returns
    -------
    psf : `numpy.ndarray`, shape (odd, odd)
        The PSF in the middle of the middle pixel, with sum 1.

    Raises
    ------
    ReadError
        Raised if it is no image of a PSF.
    """
    psf = array.astype(np.float64)
    if not np.isfinite(psf).all():
        raise ReadError(f"{name}: the PSF has pixels that are not finite; set them to 0")
    if min(psf.shape) < 3:
        raise ReadError(
            f"{name}: a PSF of {psf.shape[1]} × {psf.shape[0]} pixels is too small; give at least 3 × 3"
        )
    if not psf.sum() > 0.0 or not psf.max() > 0.0:
        raise ReadError(
            f"{name}: the PSF has no positive sum; give an image of a star without its background"
        )
    y, x = _centre(psf)
    whole_y, whole_x = round(y), round(x)
    if max(abs(y - whole_y), abs(x - whole_x)) > _OFF_CENTRE:
        psf = shift(psf, (whole_y - y, whole_x - x), order=3, mode="constant")
        notes.append(
            f"the PSF of {name} is moved by ({whole_x - x:.2f}, {whole_y - y:.2f}) pixels onto a pixel"
        )
    half = min(whole_y, whole_x, psf.shape[0] - 1 - whole_y, psf.shape[1] - 1 - whole_x)
    if half < 1:
        raise ReadError(
            f"{name}: the brightest pixel of the PSF is on its rim; give an image with it in the middle"
        )
    if psf.shape != (2 * half + 1, 2 * half + 1):
        psf = psf[whole_y - half : whole_y + half + 1, whole_x - half : whole_x + half + 1]
        notes.append(f"the PSF of {name} is cut to {2 * half + 1} × {2 * half + 1} pixels about its centre")
    psf = psf / psf.sum()
    try:
        sigma = adaptive_sigma(psf)
    except ValueError as err:
        raise ReadError(f"{name}: cannot be used as a PSF: {err}") from err
    if 2.0 * sigma > half:
        raise ReadError(
            f"{name}: the PSF is too wide for its image: a sigma of {sigma:.2f} pixels in {2 * half + 1} × "
            f"{2 * half + 1}; give a larger one, without background"
        )
    rim = np.concatenate([psf[0], psf[-1], psf[:, 0], psf[:, -1]])
    level = float(np.median(rim) / psf.max())
    if abs(level) > _RIM:
        notes.decide(
            f"the PSF of {name} has {100.0 * level:.1f} % of its peak on the rim; it may hold background, or "
            "be cut"
        )
    notes.append(f"PSF from {name}: sigma {sigma:.3f} pixels")
    return psf


def _centre(psf: np.ndarray) -> tuple[float, float]:
    """Centroid (y, x) of the core, under a Gaussian weight that follows it."""
    peak = np.unravel_index(int(np.argmax(psf)), psf.shape)
    y, x = (float(c) for c in peak)
    # The width of the weight is that of the core, by the area over half of the peak.
    width = max(1.0, float(np.sqrt(np.count_nonzero(psf > 0.5 * psf.max()) / np.pi)))
    grid_y, grid_x = np.mgrid[: psf.shape[0], : psf.shape[1]]
    for _ in range(50):
        weight = psf * np.exp(-0.5 * ((grid_y - y) ** 2 + (grid_x - x) ** 2) / width**2)
        total = weight.sum()
        if not total > 0.0:
            break
        # The weighted shift is about half of the real one.
        dy, dx = (2.0 * float((weight * (grid - c)).sum() / total) for grid, c in ((grid_y, y), (grid_x, x)))
        y, x = (float(np.clip(c + d, 0, n - 1)) for c, d, n in ((y, dy, psf.shape[0]), (x, dx, psf.shape[1])))
        if max(abs(dy), abs(dx)) < 1e-6:
            break
    return y, x

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Checks and copies of the arrays that come in."""

from __future__ import annotations

__all__ = ("check_inputs", "clean_image", "mark_variance", "native")

import numba
import numpy as np

from ..psf import PsfSummary
from .config import FootprintConfig


@numba.njit(cache=True, nogil=True)
def clean_image(image: np.ndarray, bad: np.ndarray, out: np.ndarray) -> int:
    """Copy an image, zero in bad pixels; mark pixels that are not finite as bad and count them.

    Values over 1e30 count as not finite: sums and squares of them would not be.
    """
    ny, nx = image.shape
    n = 0
    for y in range(ny):
        for x in range(nx):
            v = np.float32(image[y, x])
            finite = np.abs(v) < np.float32(1e30)
            n += not finite
            bad[y, x] |= not finite
            out[y, x] = np.float32(0.0) if bad[y, x] else v
    return n


@numba.njit(cache=True, nogil=True)
def mark_variance(variance: np.ndarray, bad: np.ndarray) -> int:
    """Mark pixels whose variance is not positive and finite as bad and count them."""
    ny, nx = variance.shape
    n = 0
    for y in range(ny):
        for x in range(nx):
            usable = (variance[y, x] > 0) & (variance[y, x] < np.float32(1e30))
            n += not usable
            bad[y, x] |= not usable
    return n


def native(array: np.ndarray) -> np.ndarray:
    """The array as contiguous float32 in the machine's byte order."""
    array = np.asarray(array)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"an image must hold real numbers, not {array.dtype}")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


def check_inputs(
    image: np.ndarray,
    psf: PsfSummary,
    config: FootprintConfig,
    planes: dict[str, np.ndarray | None],
) -> None:
    """Raise ValueError for arrays that do not fit."""
    if image.ndim != 2:
        raise ValueError(f"the image must have two dimensions, not {image.ndim}")
    if image.size == 0:
        raise ValueError(f"the image is empty: its shape is {image.shape}")
    for name, plane in planes.items():
        if plane is not None and plane.shape != image.shape:
            raise ValueError(f"{name} has shape {plane.shape}; the image has {image.shape}")
    if not (np.isfinite(psf.sigma) and psf.sigma > 0.0):
        raise ValueError(f"the PSF's sigma must be positive and finite, not {psf.sigma}")
    if (
        planes["variance"] is None
        and config.noiseSource == "variance"
        and config.thresholdType == "pixel_stdev"
    ):
        raise ValueError(
            "noiseSource='variance' needs a variance plane; set noiseSource='clipped' without one"
        )

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Checks and copies of the arrays that come in."""

from __future__ import annotations

__all__ = ("check_inputs", "clean_image", "find_pedestal", "mark_variance", "native")

import numpy as np

from .._jit import njit
from ..psf import PsfSummary
from .config import FootprintConfig


@njit(nogil=True)
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


@njit(nogil=True)
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


def find_pedestal(image: np.ndarray) -> float:
    """Level of an image that is so high over its scatter that single precision loses the latter, or 0.

    The limit is a rounding error of a hundredth of the scatter.
    """
    array = np.asarray(image)
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "fiu" or array.dtype.itemsize < 4:
        return 0.0
    if array.dtype.kind == "f" and array.dtype.itemsize == 4:
        return 0.0  # It is lost already.
    step = max(1, int(np.sqrt(array.size / 40_000)))
    sample = array[::step, ::step].astype(float)
    if isinstance(image, np.ma.MaskedArray):
        sample = sample[~np.ma.getmaskarray(image)[::step, ::step]]
    sample = sample[np.abs(sample) < 1e30]
    if sample.size == 0:
        return 0.0
    q1, median, q3 = np.percentile(sample, (25.0, 50.0, 75.0))
    rounding = abs(float(median)) * float(np.finfo(np.float32).eps)
    return float(median) if 0.0 < 0.741301 * (q3 - q1) < 100.0 * rounding else 0.0


def native(array: np.ndarray, pedestal: float = 0.0) -> np.ndarray:
    """The array less a pedestal as contiguous float32 in the machine's byte order, NaN where it is masked."""
    if np.asarray(array).dtype.kind not in "fiub":
        raise ValueError(f"an image must hold real numbers, not {np.asarray(array).dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        if pedestal:
            array = array - np.float64(pedestal)
        if isinstance(array, np.ma.MaskedArray):
            array = np.ma.filled(array.astype(np.float32), np.nan)
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

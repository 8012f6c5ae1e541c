# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Checks and copies of the arrays that come in."""

from __future__ import annotations

__all__ = ("Scale", "check_inputs", "clean_image", "find_pedestal", "find_scale", "mark_variance", "native")

from dataclasses import dataclass

import numpy as np

from .._jit import njit
from ..images.psf import PsfSummary
from .config import FootprintConfig
from .result import NoUsablePixelsError

# Binary exponents of the noise between which an image is measured as it is.
_ORDINARY = 20

# Those between which single precision can hold an image: 1e-32 to 1e34.
_LEAST, _MOST = -106, 113

# Values of more than this times the noise, or than single precision has room for, are bad pixels.
# The first is low enough for 1e30, with which many programs mark blank pixels, to be one at any usual noise.
_LARGEST_RATIO, _LARGEST = 1e25, 1e37


@dataclass(frozen=True)
class Scale:
    """The power of two that an image is divided by before anything is measured on it.

    Squares and sums of an image in units of 1e-21 or 1e17 of its noise leave
    the range of single precision. Division by a power of two is exact.

    Parameters
    ----------
    exponent
        Binary exponent of the divisor; 0 for an ordinary image.
    limit, variance_limit
        Least absolute values, after the division, at which a pixel and its
        variance count as not finite.
    """

    exponent: int
    limit: float
    variance_limit: float

    def undo(self, value: float) -> float:
        """Give a value of the divided image in the unit of the original one."""
        return float(np.ldexp(value, self.exponent))

    def undo_inplace(self, array: np.ndarray) -> None:
        """Bring a divided image back to the unit of the original one."""
        if self.exponent:
            np.ldexp(array, self.exponent, out=array)


def find_scale(image: np.ndarray, variance: np.ndarray | None) -> Scale:
    """Find the scale of an image (ny, nx) from its median variance, where that is the source of the noise.

    Otherwise from the median difference of neighbouring pixels that differ at all, which neither sources nor
    padding move.  Raises `NoUsablePixelsError` if the noise is too large or too small for single precision.
    """
    noise = float("nan")
    if variance is not None:
        values = _grid(variance)[0]
        values = values[(values > 0.0) & np.isfinite(values)]
        noise = float(np.sqrt(np.median(values))) if values.size else noise
    if not noise > 0.0:
        first, second = _grid(image)
        with np.errstate(over="ignore", invalid="ignore"):
            steps = np.abs(second - first)
        steps = steps[np.isfinite(steps) & (steps > 0.0)]
        # An image without noise has differences in the far wings of its sources that say nothing.
        noise = float(max(np.median(steps), 1e-6 * np.percentile(steps, 99.0))) if steps.size else 1.0
    exponent = round(float(np.log2(noise)))
    if not _LEAST <= exponent <= _MOST:
        raise NoUsablePixelsError(
            f"values of about {noise:.1g} are too {'small' if exponent < 0 else 'large'} for single "
            "precision; multiply the image by a constant"
        )
    used = exponent if abs(exponent) > _ORDINARY else 0
    rest = exponent - used
    limits = _LARGEST_RATIO * 2.0**rest, _LARGEST * 2.0**-used, _LARGEST_RATIO * 4.0**rest
    return Scale(used, min(limits[:2]), limits[2])


def _grid(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels on a grid of some 40,000 and their right neighbours, float64."""
    ny, nx = array.shape
    step = max(1, int(np.sqrt(ny * max(nx - 1, 1) / 40_000)))
    pair = array[::step, : max(nx - 1, 1) : step], array[::step, min(1, nx - 1) :: step]
    first, second = (
        np.ma.filled(v.astype(float), np.nan) if isinstance(v, np.ma.MaskedArray) else np.asarray(v, float)
        for v in pair
    )
    return first.ravel(), second.ravel()


@njit(nogil=True)
def clean_image(image: np.ndarray, bad: np.ndarray, out: np.ndarray, limit: float) -> int:
    """Copy an image, zero in bad pixels; mark pixels that are not finite as bad and count them.

    Absolute values from the limit on count as not finite: sums of them would not be.
    """
    ny, nx = image.shape
    n = 0
    largest = np.float32(limit)
    for y in range(ny):
        for x in range(nx):
            v = np.float32(image[y, x])
            finite = np.abs(v) < largest
            # Only what changes is written: memory of zeros that nobody wrote to takes no room.
            if not finite:
                n += 1
                bad[y, x] = True
            out[y, x] = np.float32(0.0) if bad[y, x] else v
    return n


@njit(nogil=True)
def mark_variance(variance: np.ndarray, bad: np.ndarray, limit: float) -> int:
    """Mark pixels whose variance is not positive and under the limit as bad and count them."""
    ny, nx = variance.shape
    n = 0
    largest = np.float32(limit)
    for y in range(ny):
        for x in range(nx):
            usable = (variance[y, x] > 0) & (variance[y, x] < largest)
            if not usable:
                n += 1
                bad[y, x] = True
    return n


def find_pedestal(image: np.ndarray, scale: Scale) -> float:
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
    sample = sample[np.abs(sample) < scale.undo(scale.limit)]
    if sample.size == 0:
        return 0.0
    q1, median, q3 = np.percentile(sample, (25.0, 50.0, 75.0))
    rounding = abs(float(median)) * float(np.finfo(np.float32).eps)
    return float(median) if 0.0 < 0.741301 * (q3 - q1) < 100.0 * rounding else 0.0


def native(array: np.ndarray, pedestal: float = 0.0, exponent: int = 0) -> np.ndarray:
    """The array less a pedestal as contiguous float32 in the machine's byte order, NaN where it is masked.

    It is divided by two to the power of ``exponent``.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if pedestal:
            array = array - np.float64(pedestal)
        if exponent:
            whole = array.astype(float) if array.dtype.kind != "f" else array
            array = np.ldexp(whole, -exponent)
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
    for plane in (image, planes["variance"]):
        if plane is not None and np.asarray(plane).dtype.kind not in "fiub":
            raise ValueError(f"an image must hold real numbers, not {np.asarray(plane).dtype}")
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

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Square cutouts of footprints: centred, normalised, zero outside.

The cutouts of Buchanan et al. 2022 are 23x23 pixels centred on the bounding
box, with the pixels outside the footprint set to zero.  Normalisations that
divide by the pixel noise keep the absolute signal-to-noise ratio, which a
unit norm throws away.
"""

from __future__ import annotations

__all__ = ("CutoutSettings", "cutout_flags", "extract_cutouts", "normalize_cutouts")

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ._jit import njit
from .model_settings import ModelSettings, SettingsError, setting

if TYPE_CHECKING:
    from .footprints import DetectionResult, FootprintSet


@dataclass(frozen=True, kw_only=True)
class CutoutSettings(ModelSettings):
    """How cutouts are made."""

    size: int = setting(
        23,
        "Side of the square cutout in pixels, at most 255; odd, so that it has a central pixel.",
        at_least=1,
        at_most=255,
    )
    center: str = setting(
        "bbox",
        "What lies in the central pixel: the centre of the bounding box, the unweighted centroid of the "
        "footprint, or the brightest peak (the centre of the bounding box if there is none).",
        choices=("bbox", "centroid", "peak"),
    )
    normalization: str = setting(
        "l2",
        "What pixel values are divided by: nothing (none), the noise of one pixel (snr; asinh of the ratio), "
        "the Euclidean norm of the cutout (l2), or its largest pixel (max).",
        choices=("none", "snr", "asinh", "l2", "max"),
    )
    zero_outside: bool = setting(True, "Whether pixels outside the footprint are zero.")

    def check(self) -> None:
        if self.size % 2 != 1:
            raise SettingsError(f"size is {self.size}, an even number; it has to be odd")


@njit()
def _cut_spans(  # pragma: no cover - compiled
    image: np.ndarray, spans: np.ndarray, x0: np.ndarray, y0: np.ndarray, size: int, out: np.ndarray
) -> None:
    """Copy the pixels of spans (array indices) that fall into each footprint's window."""
    for k in range(spans.shape[0]):
        i = spans[k, 0] - 1
        row = spans[k, 1] - y0[i]
        if row < 0 or row >= size:
            continue
        first = max(spans[k, 2], x0[i])
        last = min(spans[k, 3], x0[i] + size - 1)
        for x in range(first, last + 1):
            out[i, row, x - x0[i]] = image[spans[k, 1], x]


@njit()
def _cut_windows(  # pragma: no cover - compiled
    image: np.ndarray, x0: np.ndarray, y0: np.ndarray, size: int, out: np.ndarray
) -> None:
    """Copy all pixels of each window that lie in the image."""
    height, width = image.shape
    for i in range(out.shape[0]):
        for y in range(max(y0[i], 0), min(y0[i] + size, height)):
            for x in range(max(x0[i], 0), min(x0[i] + size, width)):
                out[i, y - y0[i], x - x0[i]] = image[y, x]


@njit()
def _divide_rows(cutouts: np.ndarray, use_norm: bool) -> None:  # pragma: no cover - compiled
    """Divide each row by its Euclidean norm or its largest value; rows without one become zero."""
    n, m = cutouts.shape
    for i in range(n):
        scale = 0.0
        for j in range(m):
            value = cutouts[i, j]
            if use_norm:
                scale += np.float64(value) * value
            elif value > scale or np.isnan(value):
                scale = value
        if use_norm:
            scale = np.sqrt(scale)
        if scale == 0.0:
            cutouts[i] = 0.0
            continue
        factor = np.float32(1.0 / scale)
        for j in range(m):
            cutouts[i, j] *= factor


def _centers(footprints: FootprintSet, center: str) -> tuple[np.ndarray, np.ndarray]:
    """Central pixels (x, y), parent coordinates, int64 of shape (n,)."""
    bbox = footprints.bbox.astype(np.int64)
    x, y = (bbox[:, 0] + bbox[:, 2]) // 2, (bbox[:, 1] + bbox[:, 3]) // 2
    if center == "centroid":
        rounded = np.rint(footprints.centroid).astype(np.int64)
        x, y = rounded[:, 0], rounded[:, 1]
    elif center == "peak":
        start = footprints.peak_start
        has_peak = start[1:] > start[:-1]
        brightest = start[:-1][has_peak]
        x[has_peak] = footprints.peaks["i_x"][brightest]
        y[has_peak] = footprints.peaks["i_y"][brightest]
    return x, y


def normalize_cutouts(cutouts: np.ndarray, normalization: str, noise_sigma: float) -> np.ndarray:
    """Normalise cutouts, in place if they are contiguous float32.

    Parameters
    ----------
    cutouts : `numpy.ndarray`, shape (n, s, s), float32
        Cutouts in image units.
    normalization
        One of the choices of `CutoutSettings.normalization`.
    noise_sigma
        Noise of one pixel, image units.

    Returns
    -------
    cutouts : `numpy.ndarray`, shape (n, s, s), float32
        The normalised cutouts.  One without a positive scale is all zero.

    Raises
    ------
    ValueError
        Raised if the normalisation is unknown or needs noise that is not
        positive.
    """
    cutouts = np.ascontiguousarray(cutouts, dtype=np.float32)
    if normalization == "none":
        return cutouts
    if normalization in ("snr", "asinh"):
        if not (np.isfinite(noise_sigma) and noise_sigma > 0.0):
            raise ValueError(
                f"pixel noise is {noise_sigma}; normalization {normalization!r} needs it positive"
            )
        cutouts *= np.float32(1.0 / noise_sigma)
        return np.arcsinh(cutouts, out=cutouts) if normalization == "asinh" else cutouts
    if normalization in ("l2", "max"):
        _divide_rows(
            cutouts.reshape(cutouts.shape[0], cutouts.shape[1] * cutouts.shape[2]), normalization == "l2"
        )
        return cutouts
    raise ValueError(f"unknown normalization {normalization!r}; choose none, snr, asinh, l2 or max")


def extract_cutouts(result: DetectionResult, settings: CutoutSettings | None = None) -> np.ndarray:
    """Cut out all footprints of an image.

    Parameters
    ----------
    result
        An image with its n footprints.
    settings
        Size, centre and normalisation.

    Returns
    -------
    cutouts : `numpy.ndarray`, shape (n, s, s), float32
        Normalised cutouts.  Pixels beyond the image, and outside the footprint
        if the settings say so, are zero.

    Raises
    ------
    ValueError
        Raised if the normalisation needs a noise that the image has not.
    """
    settings = CutoutSettings() if settings is None else settings
    footprints, size = result.footprints, settings.size
    image = np.ascontiguousarray(result.image, dtype=np.float32)
    out = np.zeros((len(footprints), size, size), dtype=np.float32)
    if len(footprints) == 0:
        return out
    center_x, center_y = _centers(footprints, settings.center)
    array_x0, array_y0 = footprints.xy0
    x0, y0 = center_x - size // 2 - array_x0, center_y - size // 2 - array_y0
    if settings.zero_outside:
        spans = footprints.spans - np.array([0, array_y0, array_x0, array_x0], dtype=np.int32)
        _cut_spans(image, spans, x0, y0, size, out)
    else:
        _cut_windows(image, x0, y0, size, out)
    return normalize_cutouts(out, settings.normalization, result.noise.sigma)


def cutout_flags(result: DetectionResult, settings: CutoutSettings | None = None) -> dict[str, np.ndarray]:
    """Flags that the cutouts give rise to.

    Parameters
    ----------
    result
        An image with its n footprints.
    settings
        Size and centre.

    Returns
    -------
    flags : `dict` [`str`, `numpy.ndarray`]
        ``too_large``, bool of shape (n,): part of the footprint's bounding box
        lies outside the cutout.
    """
    settings = CutoutSettings() if settings is None else settings
    footprints, half = result.footprints, settings.size // 2
    x, y = _centers(footprints, settings.center)
    bbox = footprints.bbox
    too_large = (
        (bbox[:, 0] < x - half) | (bbox[:, 2] > x + half) | (bbox[:, 1] < y - half) | (bbox[:, 3] > y + half)
    )
    return {"too_large": too_large}

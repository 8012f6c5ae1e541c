# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Images that features are measured on: smoothed and band-pass images in units of their noise.

A large image is measured in strips, so that they stay small and in the processor's cache.
"""

from __future__ import annotations

__all__ = ("BANDS", "Planes", "make_planes", "plane_margin", "split_into_strips")

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._jit import njit
from ..footprints.footprint_set import spans_to_labels
from ..footprints.significance import gaussian_kernel, kernel_size, smooth

if TYPE_CHECKING:
    from ..footprints import DetectionResult

BANDS: dict[str, tuple[float, float | None]] = {
    "psf": (1.0, None),
    "fine": (0.5, None),
    "dog_fine": (0.5, 1.0),
    "dog_mid": (0.75, 1.5),
    "dog_wide": (1.0, 2.0),
}
"""Smoothing of each plane, in PSF sigmas: a Gaussian, or the difference of two."""

_WIDTHS = [w for pair in BANDS.values() for w in pair if w is not None]
"""All of these widths, as often as they are used."""

_N_SIGMA = 7.0
"""Full width of the kernels, in units of their sigma."""

_ROWS = 256
"""Rows that the first rows of the footprints of a strip span at most."""


@dataclass(frozen=True)
class Planes:
    """An image as the features need it.

    Parameters
    ----------
    pixels
        Signal to noise of each pixel, float32 ``(ny + 2 pad, nx + 2 pad)``.
    bands
        Smoothed images by name, each in units of the noise that it has where the pixels' noise is
        independent, of the same shape.
    labels
        Label image of the same shape, 0 in the margin.
    pad
        Width of the margin of zeros on each side, so that kernels fit everywhere.
    spans
        Runs of each footprint [footprint, y, x0, x1], indices of the padded arrays, int64 ``(m, 4)``.
    first
        First run of each footprint and the total, int64 ``(n + 1,)``.
    sigma
        Width of the PSF [pixel].
    unusable
        Footprints with a pixel that is not finite, bool ``(n,)``.
    """

    pixels: np.ndarray
    bands: dict[str, np.ndarray]
    labels: np.ndarray
    pad: int
    spans: np.ndarray
    first: np.ndarray
    sigma: float
    unusable: np.ndarray


@njit()
def _pad_scaled(
    image: np.ndarray, pad: int, factor: float, out: np.ndarray
) -> bool:  # pragma: no cover - compiled
    """Write the image times a factor, not finite pixels 0, into a margin; tell whether there are such."""
    ny, nx = image.shape
    scale = np.float32(factor)
    n_bad = 0
    for y in range(ny):
        for x in range(nx):
            value = image[y, x]
            # One NaN would spread over the reach of every kernel.
            good = np.isfinite(value)
            out[y + pad, x + pad] = value * scale if good else np.float32(0.0)
            n_bad += not good
    return n_bad > 0


@njit()
def _scale(image: np.ndarray, factor: float) -> None:  # pragma: no cover - compiled
    """Multiply an image by a factor, in place."""
    ny, nx = image.shape
    scale = np.float32(factor)
    for y in range(ny):
        for x in range(nx):
            image[y, x] *= scale


@njit()
def _subtract(
    narrow: np.ndarray, wide: np.ndarray, factor: float, out: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Write the first minus the second image, times a factor, into a third, which may be one of them."""
    ny, nx = narrow.shape
    scale = np.float32(factor)
    for y in range(ny):
        for x in range(nx):
            out[y, x] = scale * (narrow[y, x] - wide[y, x])


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Sum of the product of two kernels about their middle; its square is that in two dimensions."""
    if first.size > second.size:
        first, second = second, first
    start = (second.size - first.size) // 2
    return float(first @ second[start : start + first.size])


def _kernel_size(width: float) -> int:
    """Size of the kernel of a width [pixel]."""
    return max(kernel_size(width, _N_SIGMA), 3)


def plane_margin(sigma: float) -> int:
    """Rows around a pixel that its neighbourhood in the planes depends on: half the widest kernel and one."""
    return _kernel_size(max(_WIDTHS) * sigma) // 2 + 1


def make_planes(result: DetectionResult) -> Planes:
    """Make the images that features are measured on, or raise a ValueError if the noise is not positive."""
    noise = result.noise.sigma
    if not (np.isfinite(noise) and noise > 0.0):
        raise ValueError(f"pixel noise is {noise}; features need it positive")
    footprints, sigma = result.footprints, float(result.psf.sigma)
    kernels = {w: gaussian_kernel(w * sigma, _kernel_size(w * sigma)) for w in sorted(set(_WIDTHS))}
    pad = plane_margin(sigma)
    pixels = np.zeros([length + 2 * pad for length in result.image.shape], dtype=np.float32)
    has_bad = _pad_scaled(result.image, pad, 1.0 / noise, pixels)
    # Each width once, for several bands share them.
    smoothed = {w: smooth(pixels, kernel) for w, kernel in kernels.items()}
    overlaps = {(a, b): _overlap(kernels[a], kernels[b]) ** 2 for a in kernels for b in kernels}
    bands: dict[str, np.ndarray] = {}
    # Differences come first: they may overwrite what nothing else needs, and want it not scaled.
    for name, (narrow, wide) in BANDS.items():
        if wide is not None:
            out = smoothed[wide] if _WIDTHS.count(wide) == 1 else np.empty_like(pixels)
            # Of the difference of two smoothed images of the same white noise, which are correlated.
            variance = overlaps[narrow, narrow] + overlaps[wide, wide] - 2.0 * overlaps[narrow, wide]
            _subtract(smoothed[narrow], smoothed[wide], 1.0 / np.sqrt(variance), out)
            bands[name] = out
    for name, (narrow, wide) in BANDS.items():
        if wide is None:
            _scale(smoothed[narrow], 1.0 / np.sqrt(overlaps[narrow, narrow]))
            bands[name] = smoothed[narrow]
    x0, y0 = footprints.xy0
    spans = footprints.spans.astype(np.int64) + np.array([0, pad - y0, pad - x0, pad - x0])
    first = np.searchsorted(spans[:, 0], np.arange(1, len(footprints) + 2)).astype(np.int64)
    labels = spans_to_labels(spans, (pixels.shape[0], pixels.shape[1]))
    unusable = np.zeros(len(footprints), dtype=bool)
    if has_bad:
        hit = labels[pad:-pad, pad:-pad][~np.isfinite(result.image)]
        # Their neighbours see the pixels as 0, as they see the sky.
        unusable[hit[hit > 0] - 1] = True
    return Planes(pixels, bands, labels, pad, spans, first, sigma, unusable)


def split_into_strips(result: DetectionResult, margin: int) -> Iterator[DetectionResult]:
    """Cut an image into strips of whole footprints, with ``margin`` rows above and below these.

    Each footprint is in one of them, in order; they have no label image and no other images.  If footprints
    are not numbered by their first row, the image comes back whole.
    """
    top = result.footprints.bbox[:, 1]
    if top.size == 0 or np.any(np.diff(top) < 0):
        yield result
        return
    start = 0
    while start < top.size:
        end = int(np.searchsorted(top, int(top[start]) + _ROWS))
        yield _cut(result, start, end, margin)
        start = end


def _cut(result: DetectionResult, start: int, end: int, margin: int) -> DetectionResult:
    """Footprints ``start`` to ``end``, renumbered from 1, and the rows of the image around them."""
    old = result.footprints
    x0, y0 = old.xy0
    bbox = old.bbox[start:end]
    low = max(int(bbox[0, 1]) - y0 - margin, 0)
    high = int(bbox[:, 3].max()) - y0 + margin + 1
    first, last = np.searchsorted(old.spans[:, 0], [start + 1, end + 1])
    peak_start = old.peak_start[start : end + 1]
    spans = old.spans[first:last].copy()
    peaks = old.peaks[peak_start[0] : peak_start[-1]].copy()
    spans[:, 0] -= start
    peaks["footprint_id"] -= start
    footprints = dataclasses.replace(
        old.without_labels(),
        xy0=(x0, y0 + low),
        spans=spans,
        bbox=bbox,
        area=old.area[start:end],
        area_detected=old.area_detected[start:end],
        centroid=old.centroid[start:end],
        peaks=peaks,
        peak_start=peak_start - peak_start[0],
        ids=None,
        peak_ids=None,
    )
    return dataclasses.replace(
        result.without_planes(), footprints=footprints, image=result.image[low:high], xy0=footprints.xy0
    )

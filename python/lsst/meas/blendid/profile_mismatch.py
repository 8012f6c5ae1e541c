# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Bright sources that are as compact as a star and whose wings the PSF of the image lacks."""

from __future__ import annotations

__all__ = ("find_profile_mismatches",)

import numpy as np
from scipy import ndimage

from .footprints import DetectionResult

_LEAST_SIGNIFICANCE = 100.0
"""Point-source S/N under which wings are lost in the noise."""

_RINGS = (1.0, 2.0, 3.0, 4.0)
"""Radii that bound the core, the flank, and the ring in the wings, in units of the PSF's sigma."""

# The flank and the ring over those of the PSF fitted to the core: 1.0 to 1.33 and 1.5 to 3.2 for stars whose
# PSF is taken 15 % too narrow, is sheared by 8 % or has the wings of a Moffat profile of beta = 2.5. Galaxies
# with such a flank have a brighter ring.
_STAR_FLANK, _COMPACT_FLANK = 1.1, 1.35
_LEAST_RING, _STAR_RING = 1.5, 3.2
_RING_ERRORS = 2.5


def find_profile_mismatches(detection: DetectionResult) -> np.ndarray:
    """Find bright, compact sources that the PSF doesn't explain.

    Parameters
    ----------
    detection
        An image with its n footprints.

    Returns
    -------
    mismatch : `numpy.ndarray`, shape (n,), bool
        Whether the core at the most significant peak is like that of a star,
        and the median of a ring in its wings is more than the PSF has there.
        False where bad pixels or the edge are within that ring.
    """
    footprints = detection.footprints
    mismatch = np.zeros(len(footprints), dtype=bool)
    sigma, noise = detection.psf.sigma, detection.noise.sigma
    half = int(np.ceil(_RINGS[-1] * sigma)) + 1
    kernel = _cut_kernel(detection.psf.image, half)
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    ny, nx = detection.image.shape
    for row in np.flatnonzero(footprints.max_significance >= _LEAST_SIGNIFICANCE):
        peak = footprints.peaks[footprints.peak_start[row]]
        px, py = int(peak["i_x"]) - detection.xy0[0], int(peak["i_y"]) - detection.xy0[1]
        if not (half <= px < nx - half and half <= py < ny - half):
            continue
        window = (slice(py - half, py + half + 1), slice(px - half, px + half + 1))
        if detection.bad[window].any():
            continue
        dx, dy = float(peak["f_x"]) - int(peak["i_x"]), float(peak["f_y"]) - int(peak["i_y"])
        model = ndimage.shift(kernel, (dy, dx), order=3, mode="nearest")
        radius = np.hypot(x - dx, y - dy) / sigma
        mismatch[row] = _is_mismatch(detection.image[window].astype(float) / noise, model, radius)
    return mismatch


def _cut_kernel(image: np.ndarray, half: int) -> np.ndarray:
    """The middle of a PSF image, zero beyond it, (2 half + 1, 2 half + 1)."""
    grow = [max(0, half - size // 2) for size in image.shape]
    padded = np.pad(image, [(g, g) for g in grow])
    cy, cx = (size // 2 for size in padded.shape)
    return padded[cy - half : cy + half + 1, cx - half : cx + half + 1]


def _is_mismatch(pixels: np.ndarray, model: np.ndarray, radius: np.ndarray) -> bool:
    """Compare core, flank and ring of a source, in units of the noise, with those of a PSF."""
    core = radius < _RINGS[0]
    flank = (radius >= _RINGS[0]) & (radius < _RINGS[1])
    ring = (radius >= _RINGS[2]) & (radius < _RINGS[3])
    fits = []
    for part in (core, flank):
        norm = (model[part] ** 2).sum()
        fits.append((pixels[part] * model[part]).sum() / norm if norm > 0.0 else np.nan)
    expected = fits[0] * np.median(model[ring])
    if not (expected > 0.0 and np.isfinite(fits).all()):
        return False
    # A median errs by 1.25 times as much as a mean.
    excess = np.median(pixels[ring]) - expected
    if not excess > _RING_ERRORS * 1.25 / np.sqrt(np.count_nonzero(ring)):
        return False
    ratio, steepness = 1.0 + excess / expected, fits[1] / fits[0]
    if ratio < _LEAST_RING:
        return False
    return bool(steepness < _STAR_FLANK or (steepness < _COMPACT_FLANK and ratio < _STAR_RING))

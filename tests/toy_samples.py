# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Small made-up detections that tests of classifiers share."""

from __future__ import annotations

import numpy as np
from lsst.meas.blendid.footprints import PEAK_DTYPE, DetectionResult, FootprintSet, NoiseEstimate
from lsst.meas.blendid.images.psf import PsfSummary
from lsst.meas.blendid.labels import paper_psf
from lsst.meas.blendid.samples import FootprintSamples, SceneContext

STEP = 32
"""Distance of toy footprints, pixels."""


def make_psf(sigma: float = 1.6) -> PsfSummary:
    return PsfSummary(paper_psf(2.3548 * sigma), sigma, sigma, sigma, 0.0, 1)


def make_result(
    image: np.ndarray,
    labels: np.ndarray,
    *,
    xy0: tuple[int, int] = (0, 0),
    peaks: np.ndarray | None = None,
    sigma: float = 1.0,
    psf_sigma: float = 1.6,
) -> DetectionResult:
    """Wrap an image and its label image as a detection."""
    image = np.asarray(image, dtype=np.float32)
    sky = image[np.asarray(labels) == 0]
    return DetectionResult(
        footprints=FootprintSet.from_labels(labels, xy0=xy0, peaks=peaks),
        image=image,
        smoothed=image,
        significance=image / np.float32(sigma),
        eligible=np.ones(image.shape, dtype=bool),
        bad=np.zeros(image.shape, dtype=bool),
        noise=NoiseEstimate(sigma, sigma / 5.0, 1.0, "clipped"),
        sky_level=float(np.median(sky)) / sigma if sky.size else 0.0,
        psf=make_psf(psf_sigma),
        growth=4,
        metadata={},
        xy0=xy0,
        timings={},
    )


def make_toy(
    n_side: int = 20, *, seed: int = 0, xy0: tuple[int, int] = (0, 0), sigma: float = 1.0
) -> tuple[DetectionResult, np.ndarray]:
    """Discs on a grid with 0 to 4 Gaussian galaxies each, and these numbers."""
    rng = np.random.default_rng(seed)
    n, size = n_side**2, n_side * STEP
    counts = rng.choice(6, size=n, p=[0.03, 0.57, 0.25, 0.1, 0.03, 0.02])
    y, x = np.mgrid[:STEP, :STEP] - STEP // 2
    image, labels, peaks = np.zeros((size, size)), np.zeros((size, size), np.int32), []
    for i, count in enumerate(counts):
        x0, y0 = i % n_side * STEP, i // n_side * STEP
        stamp = np.zeros((STEP, STEP))
        for k in range(count):
            dx, dy = np.clip(rng.normal(0.0, 2.5, 2), -3.0, 3.0)
            flux = rng.uniform(15.0, 60.0)
            stamp += flux * np.exp(-0.5 * ((x - dx) ** 2 + (y - dy) ** 2) / 1.6**2)
            if k == 0 or rng.random() < 0.6:
                px, py = x0 + STEP // 2 + round(dx), y0 + STEP // 2 + round(dy)
                peaks.append((i + 1, px + xy0[0], py + xy0[1], px + xy0[0], py + xy0[1], flux, flux / 2.0))
        radius = 5.0 + 0.8 * count + rng.normal(0.0, 0.5)
        labels[y0 : y0 + STEP, x0 : x0 + STEP][x**2 + y**2 <= radius**2] = i + 1
        image[y0 : y0 + STEP, x0 : x0 + STEP] = sigma * (stamp + rng.normal(size=stamp.shape))
    return make_result(image, labels, xy0=xy0, peaks=np.array(peaks, PEAK_DTYPE), sigma=sigma), counts


def make_samples(
    n_side: int = 20, *, seed: int = 0, zero_point: float | None = None
) -> tuple[FootprintSamples, np.ndarray]:
    """Two toy images as samples, and the numbers of galaxies."""
    pairs = [make_toy(n_side, seed=2 * seed + k) for k in range(2)]
    context = SceneContext(band="i", zero_point=zero_point)
    return FootprintSamples([r for r, _ in pairs], [context, context]), np.concatenate([c for _, c in pairs])

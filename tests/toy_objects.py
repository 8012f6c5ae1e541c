# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Small made-up images with pairs of point sources of which often one only is a detected peak."""

from __future__ import annotations

import numpy as np
from lsst.meas.blendid.centers import Candidates
from lsst.meas.blendid.footprints import PEAK_DTYPE, DetectionResult
from lsst.meas.blendid.samples import FootprintSamples, SceneContext
from toy_samples import make_result

STEP = 24
"""Distance of footprints, pixels."""


def make_candidates(row: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray, n: int) -> Candidates:
    """Candidates in parent pixels, sorted as the map's are."""
    order = np.lexsort((-p, row))
    row, x, y, p = (np.asarray(v)[order] for v in (row, x, y, p))
    zero = np.zeros(len(row), np.float32)
    small = np.full(len(row), 0.2, np.float32)
    return Candidates(
        row.astype(np.int32),
        x.astype(np.float32),
        y.astype(np.float32),
        p.astype(np.float32),
        p.astype(np.float32),
        zero,
        zero,
        small,
        small,
        zero,
        np.searchsorted(row, np.arange(n + 1)).astype(np.int64),
    )


def make_scene(
    n_side: int = 8, *, seed: int = 0, xy0: tuple[int, int] = (0, 0)
) -> tuple[DetectionResult, np.ndarray, Candidates]:
    """Squares with one or two sources: image, true places with S/N, and candidates, some of them wrong."""
    rng = np.random.default_rng(seed)
    n, size = n_side**2, n_side * STEP
    image = rng.normal(size=(size, size))
    labels = np.zeros(image.shape, np.int32)
    y, x = np.mgrid[:size, :size]
    peaks, galaxies, candidates = [], [], []
    for i in range(n):
        left, low = i % n_side * STEP, i // n_side * STEP
        labels[low + 2 : low + STEP - 2, left + 2 : left + STEP - 2] = i + 1
        for k in range(1 + (rng.random() < 0.5)):
            cx, cy = left + rng.uniform(6.0, STEP - 7.0), low + rng.uniform(6.0, STEP - 7.0)
            flux = rng.uniform(30.0, 60.0) if k == 0 else rng.uniform(10.0, 30.0)
            image += flux * np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / 1.6**2)
            galaxies.append((cx + xy0[0], cy + xy0[1], flux))
            px, py = round(cx) + xy0[0], round(cy) + xy0[1]
            if k == 0 or rng.random() < 0.3:
                peaks.append((i + 1, px, py, px, py, flux, flux))
            if rng.random() < 0.95:
                place = np.array(galaxies[-1][:2]) + rng.normal(0.0, 0.4, 2)
                candidates.append((i, *place, rng.beta(6.0, 1.5)))
        if rng.random() < 0.4:
            place = (
                left + rng.uniform(4.0, STEP - 5.0) + xy0[0],
                low + rng.uniform(4.0, STEP - 5.0) + xy0[1],
            )
            candidates.append((i, *place, rng.beta(1.5, 6.0)))
    result = make_result(image, labels, xy0=xy0, peaks=np.array(peaks, PEAK_DTYPE))
    row, cx, cy, p = np.array(candidates).T
    return result, np.array(galaxies, np.float32), make_candidates(row, cx, cy, p, n)


def make_samples(n: int = 4) -> tuple[FootprintSamples, list[np.ndarray], list[Candidates]]:
    """Footprints, true places and candidates of several images."""
    scenes = [make_scene(seed=k, xy0=(100 * k, 7)) for k in range(n)]
    samples = FootprintSamples([s[0] for s in scenes], [SceneContext("i", 31.4)] * n)
    return samples, [s[1] for s in scenes], [s[2] for s in scenes]

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Small made-up images with the true places of their galaxies, for tests of the centre network."""

from __future__ import annotations

from typing import Any

import numpy as np
from lsst.meas.blendid.centers import NetworkSettings, TrainingSettings
from lsst.meas.blendid.classifiers import CentersSettings, LabelledSamples
from lsst.meas.blendid.footprints import PEAK_DTYPE, DetectionResult
from lsst.meas.blendid.samples import FootprintSamples, SceneContext
from toy_samples import make_result

STEP = 16
"""Distance of footprints, pixels."""


def make_scene(
    n_side: int = 6, *, seed: int = 0, xy0: tuple[int, int] = (0, 0), extra: int = 0
) -> tuple[DetectionResult, np.ndarray, np.ndarray]:
    """Squares with 0 to 3 point sources each; their numbers; and places and S/N of the sources.

    ``extra`` pixels of noise are added at the right and the top.
    """
    rng = np.random.default_rng(seed)
    size = n_side * STEP
    counts = rng.choice(4, size=n_side**2, p=[0.05, 0.5, 0.35, 0.1])
    image = rng.normal(size=(size + extra, size + extra))
    labels = np.zeros(image.shape, np.int32)
    y, x = np.mgrid[: size + extra, : size + extra]
    peaks, centers = [], []
    for i, count in enumerate(counts):
        left, low = i % n_side * STEP, i // n_side * STEP
        labels[low + 2 : low + STEP - 2, left + 2 : left + STEP - 2] = i + 1
        for k in range(count):
            cx, cy = left + rng.uniform(3.0, STEP - 4.0), low + rng.uniform(3.0, STEP - 4.0)
            flux = rng.uniform(20.0, 60.0)
            image += flux * np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / 1.2**2)
            centers.append((cx + xy0[0], cy + xy0[1], flux))
            if k == 0:
                px, py = round(cx) + xy0[0], round(cy) + xy0[1]
                peaks.append((i + 1, px, py, px, py, flux, flux))
    result = make_result(image, labels, xy0=xy0, peaks=np.array(peaks, PEAK_DTYPE), psf_sigma=1.2)
    return result, counts, np.array(centers, dtype=np.float32).reshape(-1, 3)


def make_scenes(
    n: int = 2, *, n_side: int = 6, seed: int = 0
) -> tuple[FootprintSamples, np.ndarray, tuple[np.ndarray, ...]]:
    """Samples, numbers of galaxies, and their places."""
    scenes = [make_scene(n_side, seed=100 * seed + k, xy0=(1000 * k, 10)) for k in range(n)]
    samples = FootprintSamples([s[0] for s in scenes], [SceneContext("i", 31.4)] * n)
    return samples, np.concatenate([s[1] for s in scenes]), tuple(s[2] for s in scenes)


def make_labelled(n: int = 2, *, n_side: int = 6, seed: int = 0) -> LabelledSamples:
    """The same with their labels."""
    samples, counts, centers = make_scenes(n, n_side=n_side, seed=seed)
    return LabelledSamples(samples=samples, counts=counts, centers=centers)


def make_settings(*, widths: tuple[int, ...] = (6, 8), **training: Any) -> CentersSettings:
    """A network that trains in a second, with some settings of the training."""
    values: dict[str, Any] = {
        "steps": 8,
        "steps_per_epoch": 4,
        "warmup_steps": 2,
        "batch_size": 2,
        "crop_size": 32,
        "max_footprints": 16,
        "mixed_precision": False,
        "averaging": 0.9,
    }
    return CentersSettings(
        network=NetworkSettings(widths=widths, blocks=(1,) * len(widths), embedding=5, hidden=(12,)),
        training=TrainingSettings(**(values | training)),
    )

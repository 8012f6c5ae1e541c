# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Small made-up scenes with predictions that tests of comparisons share."""

from __future__ import annotations

import dataclasses

import numpy as np
from astropy.table import Table
from lsst.meas.blendid.evaluation.peak_comparison import DETECTED
from lsst.meas.blendid.evaluation.peak_finders import find_detected
from lsst.meas.blendid.evaluation.scored_scenes import ScoredScenes
from lsst.meas.blendid.footprints import FootprintConfig
from lsst.meas.blendid.samples import FootprintSamples, SceneContext
from lsst.meas.blendid.training import LabelledScenes
from toy_samples import STEP, make_toy

N_SIDE = 36
"""Footprints along a side of a toy scene, of which there are two."""


def toy_truth(counts: np.ndarray, rng: np.random.Generator) -> Table:
    """Objects in the discs of a toy scene, faint ones and some outside included."""
    rows = []
    for i, count in enumerate(counts):
        x, y = i % N_SIDE * STEP + STEP // 2, i // N_SIDE * STEP + STEP // 2
        for _ in range(count):
            rows.append((x + rng.uniform(-2.4, 2.4), y + rng.uniform(-2.4, 2.4), rng.uniform(5.0, 60.0)))
        if rng.random() < 0.2:
            rows.append((x, y, rng.uniform(4.0, 4.9)))
        if rng.random() < 0.1:
            rows.append((x - STEP // 2, y, 20.0))
    truth = Table(np.array(rows), names=("x", "y", "snr"))
    truth["mag"] = 27.0 - 2.5 * np.log10(truth["snr"] / 5.0)
    truth["is_star"] = rng.random(len(truth)) < 0.1
    truth["n_knots"] = np.where(truth["is_star"], 0, rng.integers(0, 2, len(truth)))
    return truth


def toy_scored(*, count: int | None = None, images: bool = True) -> ScoredScenes:
    """Two scenes on two skies with the models "good", "noisy" and "counts".

    Parameters
    ----------
    count
        True number of objects in all footprints, instead of a mix.
    images
        Whether to keep images.
    """
    rng = np.random.default_rng(8)
    pairs = [make_toy(N_SIDE, seed=k) for k in range(2)]
    samples = FootprintSamples([r for r, _ in pairs], [SceneContext("i", 31.4)] * 2)
    counts = np.concatenate([c for _, c in pairs]).astype(np.int32)
    truths = tuple(toy_truth(c, rng) for _, c in pairs)
    if count is not None:
        counts[:] = count
    logit = 2.5 * np.where(counts > 1, 1.0, -1.0) + rng.normal(0.0, 1.8, len(counts))
    good = 1.0 / (1.0 + np.exp(-logit))
    noisy = 1.0 / (1.0 + np.exp(-0.8 * logit - rng.normal(0.0, 2.0, len(counts))))
    p_n = np.stack([0.02 * (1.0 - good), 0.98 * (1.0 - good), 0.7 * good, 0.2 * good, 0.1 * good], axis=1)
    if not images:
        samples = samples.without_images()
    labelled = LabelledScenes(
        samples=samples,
        counts=counts,
        sky=np.repeat([0, 1], [len(c) for _, c in pairs]),
        inside=(0.9, 0.9),
        provenance=tuple({"source": "parametric", "seed": k} for k in range(2)),
        footprints=(FootprintConfig(),) * 2,
        snr_min=5.0,
        truths=truths,
    )
    nowhere = np.zeros(len(counts), dtype=bool)
    predictions = {"good": good, "noisy": noisy, "counts": p_n}
    return ScoredScenes("toy", labelled, predictions, {name: nowhere for name in predictions})


def with_peaks(scored: ScoredScenes) -> ScoredScenes:
    """Scenes whose detected peaks have probabilities in a second list."""
    detected = find_detected(scored.labelled.samples)
    rng = np.random.default_rng(3)
    sure = dataclasses.replace(detected, probability=rng.uniform(0.2, 1.0, len(detected)))
    expected = {"sure": np.bincount(detected.footprint, minlength=len(scored.labelled.counts)).astype(float)}
    return dataclasses.replace(scored, peaks={"sure": sure, DETECTED: detected}, expected=expected)

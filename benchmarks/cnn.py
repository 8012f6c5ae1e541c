# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The networks of classifier ``cnn`` beside each other: accuracy on validation sky, and speed on one core.

The network of Buchanan et al. 2022 with cutouts of norm one (its PCA 8 + logistic regression too) and
with cutouts that keep the signal-to-noise ratio, and the modern network without and with features.
All learn from the same randomised scenes and stop early on the validation scenes, where they
are scored: class-balanced cross-entropy, slope of the calibration and AUC of footprints with one peak
for each model of galaxy sizes.  Speed is that of predictions for a scene of 2048 x 2048 pixels, from
its footprints on, in processor seconds of one thread, the start of Keras aside.

    python benchmarks/cnn.py --truths ../shared/data --scenes 24 --epochs 6
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from lsst.meas.blendid.classifiers import (
    BlendClassifier,
    CnnClassifier,
    CnnSettings,
    LogisticClassifier,
    LogisticSettings,
    paper_settings,
    split_probabilities,
)
from lsst.meas.blendid.footprints import FootprintConfig
from lsst.meas.blendid.metrics import score, score_one_peak
from lsst.meas.blendid.samples import FootprintSamples
from lsst.meas.blendid.simulation import SKY_SPLIT, find_truth_scene
from lsst.meas.blendid.training import clipped_footprints, label_scenes, randomized_scenes, simulated_scenes
from lsst.meas.blendid.training.labelling import PrepareAll

SIZES = ("cosmodc2", "1.6x", "large")


def make_models(epochs: int) -> dict[str, BlendClassifier]:
    """Make the untrained classifiers that are compared."""
    models: dict[str, BlendClassifier] = {}
    linear = LogisticSettings(n_components=8, features=())
    models["PCA 8 + LR, l2"] = LogisticClassifier(settings=linear)
    paper = paper_settings()
    for name, settings in (
        ("buchanan2022, l2", replace(paper, cutout=replace(paper.cutout, normalization="l2"))),
        ("buchanan2022, asinh", paper),
        ("modern, no features", CnnSettings(features=())),
        ("modern", CnnSettings()),
    ):
        training = replace(settings.training, epochs=epochs)
        models[name] = CnnClassifier(settings=replace(settings, training=training))
    return models


def measure_speed(classifier: BlendClassifier, samples: FootprintSamples, repeats: int) -> float:
    """Processor seconds of a prediction, nothing of it kept from the last one; the least of several."""
    seconds = []
    for _ in range(repeats + 1):
        fresh = FootprintSamples(samples.results, samples.contexts)
        start = time.process_time()
        classifier.predict(fresh)
        seconds.append(time.process_time() - start)
    # The first one compiles.
    return min(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--truths", help="folder of the truth scenes; that of $BLENDID_DATA by default")
    parser.add_argument("--scenes", type=int, default=24, help="training scenes (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=6, help="epochs at most (default: %(default)s)")
    parser.add_argument("--size", type=int, default=2048, help="side of a scene (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="repeats when timing (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()

    # Keras is imported later, and reads them then.
    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    models = make_models(options.epochs)

    prepare = PrepareAll([model.prepare for model in models.values()])
    truths = {
        split: [find_truth_scene(scene, options.truths) for scene in SKY_SPLIT[split]]
        for split in ("train", "validation")
    }
    train = label_scenes(
        randomized_scenes(
            options.scenes, seed=71_000, truths=truths["train"], split="train", size=options.size
        ),
        (clipped_footprints(), FootprintConfig()),
        prepare=prepare,
    )
    scenes = simulated_scenes(
        truths["validation"], size_models=SIZES, size=options.size, seed=72_000, split="validation"
    )
    validation = label_scenes(scenes, (clipped_footprints(),), prepare=prepare)
    timed = label_scenes(scenes[:1], (clipped_footprints(),)).samples
    which = np.array([SIZES.index(scene.size_model) for scene in scenes])[validation.samples.scene_index]
    print(f"{len(train.counts)} footprints to learn from, {len(validation.counts)} for validation")
    print(f"{'':22}" + "".join(f"{size:>24}" for size in SIZES) + f"{f'{len(timed)} footprints':>18}")
    figures: dict[str, dict[str, object]] = {}
    for name, model in models.items():
        start = time.process_time()
        model.fit(train, validation)
        fitted = time.process_time() - start
        p, _ = split_probabilities(model.predict(validation.samples))
        columns, numbers = [], {}
        for i, size in enumerate(SIZES):
            rows = which == i
            scores = score(p[rows], validation.counts[rows])
            one = score_one_peak(p[rows], validation.counts[rows], validation.samples.n_peaks[rows])
            numbers[size] = [scores.cross_entropy, scores.calibration_slope, one.auc]
            columns.append(f"{scores.cross_entropy:10.3f} {scores.calibration_slope:6.2f} {one.auc:6.3f}")
        seconds = measure_speed(model, timed, options.repeats)
        figures[name] = {"sizes": numbers, "seconds": seconds, "fit_seconds": fitted}
        print(f"{name:22}" + "".join(columns) + f"{seconds:16.2f} s", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

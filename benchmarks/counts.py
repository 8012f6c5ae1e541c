# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""How many galaxies: log scores of P(N), and the bias of the expected number, on sky that nobody trained on.

For each model of galaxy sizes classifiers are fitted to renders of the training sky with those sizes, with
five classes (``direct``) and as hierarchies of yes-or-no questions (``hierarchy``), which is what a
classifier with two classes can have; the counts of peaks with their confusion stand beside them. The
shipped models are told nothing. All see the same footprints.

The log score is the mean of - ln P(N), lower is better. The bias of N is the mean of ``n_expected`` over
the true mean number of galaxies, less 1; that of min(N, 4) has 4 for all larger numbers and leaves out what
is said of "four or more". The expected calibration error (ECE) is that of each P(N = k), with its noise floor
subtracted. Errors are by bootstrap over 512² blocks of sky.

    python benchmarks/counts.py --truths FOLDER [--split validation] [--models NAME ...] [--text FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from lsst.meas.blendid.classifiers import (
    BlendClassifier,
    FeaturesSettings,
    HierarchyClassifier,
    HierarchySettings,
    LogisticSettings,
    PeaksClassifier,
    PeaksSettings,
    TreeSettings,
    classifier_registry,
    split_probabilities,
)
from lsst.meas.blendid.evaluation.bootstrap import choose_units, resampled_weights
from lsst.meas.blendid.features import REFERENCE_FEATURES
from lsst.meas.blendid.labels import N_CLASSES
from lsst.meas.blendid.localizers import expected_counts
from lsst.meas.blendid.metrics import expected_calibration_error
from lsst.meas.blendid.simulation import SIZE_MODELS
from lsst.meas.blendid.training import LabelledScenes
from skies import label, list_scenes, read_models

SHIPPED = ("peaks-i-1", "logistic-i-1", "muygps-i-1", "features-i-1")
"""Shipped models that need no map of centres."""
WANTED_BIAS = 0.01
"""Largest bias of the expected number that is wanted."""


def load(
    split: str, size_model: str, draws: int, models: Sequence[BlendClassifier], args: argparse.Namespace
) -> LabelledScenes:
    """Simulate and label the scenes of one part of the sky; keep what the models need."""
    return label(list_scenes(split, size_model, draws, args.truths, size=args.size), models)


def unfitted() -> dict[str, BlendClassifier]:
    """Classifiers that are fitted to each size of galaxies: each direct and as a hierarchy."""
    trees = TreeSettings(n_trees=150, learning_rate=0.06, n_leaves=15, min_samples=40)
    models: dict[str, BlendClassifier] = {
        "5 sigma peaks, with their confusion": PeaksClassifier(settings=PeaksSettings())
    }
    for name, settings in (
        ("logistic", LogisticSettings()),
        ("features", FeaturesSettings(features=REFERENCE_FEATURES, trees=trees)),
    ):
        models[f"{name}, direct"] = classifier_registry[name](settings=settings)
        models[f"{name}, hierarchy"] = HierarchyClassifier(
            settings=HierarchySettings(member=name, member_settings=settings)
        )
    return models


def score(p_n: np.ndarray, expected: np.ndarray, counts: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """Log score, biases and calibration errors of footprints with weights."""
    classes = np.minimum(counts, p_n.shape[1] - 1)
    logs = -np.log(np.clip(p_n[np.arange(len(counts)), classes], 1e-12, 1.0))
    total = float(weights @ counts)
    errors = {}
    for k in range(p_n.shape[1]):
        error, floor = expected_calibration_error(p_n[:, k], classes == k, weights)
        errors[f"ece_{k}"] = max(error - floor, 0.0)
    return errors | {
        "log_score": float(weights @ logs / weights.sum()),
        "bias": float(weights @ expected) / total - 1.0,
        "bias_capped": float(weights @ (p_n @ np.arange(p_n.shape[1]))) / float(weights @ classes) - 1.0,
    }


def run_sizes(
    size_model: str, shipped: dict[str, BlendClassifier], args: argparse.Namespace
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Fit and score all at one size of galaxies; print the tables."""
    fitted = {} if args.no_fit else unfitted()
    if fitted:
        train = load("train", size_model, args.train_draws, list(fitted.values()), args)
        for model in fitted.values():
            model.fit(train)
            model.fit_counts(train)
    models = fitted | shipped
    test = load(args.split, size_model, args.test_draws, list(models.values()), args)
    samples = test.samples
    units = choose_units(samples.centroid[:, 0], samples.centroid[:, 1], test.sky)
    draws = resampled_weights(units.index, draws=args.bootstrap)
    table, unknown = {}, []
    for name, model in models.items():
        _, p_n = split_probabilities(model.probabilities(samples))
        if p_n is None:
            unknown.append(name)
            continue
        good = np.isfinite(p_n).all(axis=1)
        expected = expected_counts(p_n, model.tail_mean(samples))
        parts = p_n[good], expected[good], test.counts[good]
        values = score(*parts, np.ones(np.count_nonzero(good)))
        spread = [score(*parts, times[units.index[good]]) for times in draws]
        errors = {f"{key}_error": float(np.std([one[key] for one in spread])) for key in values}
        table[name] = values | errors
    lines = [
        f"{size_model}: {len(test.counts)} footprints, {test.counts.mean():.3f} galaxies in one, "
        f"{100.0 * np.mean(test.counts >= N_CLASSES - 1):.1f} % with four or more",
        f"{'':36}{'log score':>17}{'bias of N, %':>16}{'of min(N, 4), %':>17}",
    ]
    for name, entry in table.items():
        cells = [f"{entry['log_score']:.4f} ± {entry['log_score_error']:.4f}"]
        cells += [f"{100 * entry[k]:+.2f} ± {100 * entry[k + '_error']:.2f}" for k in ("bias", "bias_capped")]
        met = ""
        if name in shipped:
            met = "  ok" if abs(entry["bias"]) <= WANTED_BIAS else "  MISSED"
        lines.append(f"{name:36}{cells[0]:>17}{cells[1]:>16}{cells[2]:>17}{met}")
    numbers = [f"N = {k}" for k in range(N_CLASSES - 1)] + [f"N >= {N_CLASSES - 1}"]
    lines.append(f"{'ECE, 1e-3':36}" + "".join(f"{number:>13}" for number in numbers))
    for name, entry in table.items():
        cells = [
            f"{1e3 * entry[f'ece_{k}']:.1f} ± {1e3 * entry[f'ece_{k}_error']:.1f}" for k in range(N_CLASSES)
        ]
        lines.append(f"{name:36}" + "".join(f"{cell:>13}" for cell in cells))
    lines += [f"{name} gives no P(N)" for name in unknown]
    print("\n" + "\n".join(lines), flush=True)
    return table, lines


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--truths", help="folder that holds buchanan2022/scene_00.fits")
    parser.add_argument("--models", nargs="*", default=list(SHIPPED), help="trained models, by name or path")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZE_MODELS), default=list(SIZE_MODELS))
    parser.add_argument("--split", choices=("validation", "test"), default="test", help="what is scored")
    parser.add_argument("--no-fit", action="store_true", help="score the trained models alone")
    parser.add_argument("--train-draws", type=int, default=2, help="renders of each training truth")
    parser.add_argument("--test-draws", type=int, default=2, help="renders of each truth that is scored")
    parser.add_argument("--size", type=int, default=2048, help="side of a scene, pixels")
    parser.add_argument("--bootstrap", type=int, default=200, help="resamples")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--text", type=Path, help="file to write the tables to")
    args = parser.parse_args()
    start = time.perf_counter()
    shipped = read_models(args.models)
    results, lines = {}, []
    try:
        for size_model in args.sizes:
            results[size_model], found = run_sizes(size_model, shipped, args)
            lines += ["", *found]
    except FileNotFoundError as err:
        print(
            f"the truths of Buchanan et al. 2022 are not at hand ({err}); give their folder with --truths",
            file=sys.stderr,
        )
        return 1
    print(f"\n{args.split} sky, {time.perf_counter() - start:.0f} s")
    if args.json is not None:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    if args.text is not None:
        args.text.write_text("\n".join(lines).lstrip("\n") + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

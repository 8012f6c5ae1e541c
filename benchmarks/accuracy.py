# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Accuracy of classifiers on sky that nobody trained on, beside baselines.

For each model of galaxy sizes: the mix of footprints, and class-balanced
accuracy, cross-entropy at even prior and ROC AUC of 5-sigma peak counting,
area alone, area and peak counts (boosted trees) and PCA + logistic regression.
All are trained on scenes 1, 2, 3 and 5 of Buchanan et al. 2022 and scored on
0, 6 and 9, in one run; ``shipped`` are the models that come with the package,
one for all sizes.  Errors are from a bootstrap over blocks of 512 x 512 pixels.

``reference`` are the figures of an independent implementation on the same truths
(other splits, renders and code; noise from the clipped variance; +- .003).
After each table the figures that are required are listed with what was
reached.  They are required of footprints with that noise and of the test sky.

    python benchmarks/accuracy.py --truths ../shared/data --json accuracy.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from lsst.meas.blendid.classifiers import (
    BlendClassifier,
    LogisticClassifier,
    LogisticSettings,
    PeaksClassifier,
    PeaksSettings,
    split_probabilities,
)
from lsst.meas.blendid.evaluation.baselines import area_and_peaks, area_only
from lsst.meas.blendid.evaluation.comparison import compare
from lsst.meas.blendid.footprints import FootprintConfig
from lsst.meas.blendid.model_package import ModelPackage, list_shipped
from lsst.meas.blendid.simulation import SIZE_MODELS
from lsst.meas.blendid.training import LabelledScenes, clipped_footprints, label_scenes
from skies import list_scenes

REFERENCE: dict[str, dict[str, tuple[float, ...]]] = {
    "cosmodc2": {
        "mix": (0.86, 0.36, 0.024),
        "5-sigma peaks": (0.890,),
        "area only": (0.843, 0.349, 0.925),
        "area + peak counts": (0.897, 0.242, 0.959),
        "PCA 8 + LR, l2 cutouts": (0.902, 0.255, 0.957),
    },
    "1.6x": {
        "mix": (0.80, 0.37, 0.016),
        "5-sigma peaks": (0.871,),
        "area only": (0.828, 0.375, 0.913),
        "area + peak counts": (0.880, 0.270, 0.947),
        "PCA 8 + LR, l2 cutouts": (0.887, 0.286, 0.946),
    },
    "large": {
        "mix": (0.59, 0.41, 0.007),
        "5-sigma peaks": (0.799,),
        "area only": (0.786, 0.453, 0.865),
        "area + peak counts": (0.821, 0.383, 0.893),
        "PCA 8 + LR, l2 cutouts": (0.821, 0.403, 0.891),
    },
}
"""Shares inside, blended and empty; balanced accuracy, cross-entropy and AUC of models."""
REQUIRED_LOGISTIC = {"cosmodc2": (0.90, 0.26), "large": (0.82, 0.41)}
"""Least balanced accuracy and greatest cross-entropy of logistic regression."""
TOLERANCE = 0.01


def load(split: str, size_model: str, draws: int, args: argparse.Namespace) -> LabelledScenes:
    """Simulate and label the scenes of one part of the sky."""
    scenes = list_scenes(split, size_model, draws, args.truths)
    config = FootprintConfig() if args.noise == "variance" else clipped_footprints()
    return label_scenes(scenes, [config], keep_planes=False)


def fit(classifier: BlendClassifier, train: LabelledScenes, test: LabelledScenes) -> np.ndarray:
    """P(blended) of the test footprints by a classifier fitted to the training ones."""
    classifier.fit(train)
    return split_probabilities(classifier.predict(test.samples))[0]


def predictions(train: LabelledScenes, test: LabelledScenes) -> dict[str, np.ndarray]:
    """P(blended) of the test footprints by all models."""
    plain = LogisticSettings(n_components=8, features=())
    found = {
        "5-sigma peaks": fit(PeaksClassifier(settings=PeaksSettings()), train, test),
        "area only": area_only(train.samples, train.counts, test.samples),
        "area + peak counts": area_and_peaks(train.samples, train.counts, test.samples),
        "PCA 8 + LR, l2 cutouts": fit(LogisticClassifier(settings=plain), train, test),
        "logistic": fit(LogisticClassifier(settings=LogisticSettings()), train, test),
    }
    for name in list_shipped("classifier"):
        package = ModelPackage.read(name)
        for cls in (PeaksClassifier, LogisticClassifier):
            if package.classifier == cls.name:
                prediction = cls.from_package(package).predict(test.samples)
                found[f"shipped {name}"] = split_probabilities(prediction)[0]
    return found


def requirements(
    size_model: str, mix: dict[str, float], inside: float, table: dict[str, dict[str, float]]
) -> list[tuple[str, float, str, bool]]:
    """What is required: name, what was reached, what is asked for, and whether it is met."""
    reference = REFERENCE[size_model]
    inside_wanted, blended_wanted, empty_wanted = reference["mix"]
    # The reference has two digits.
    least = inside_wanted - TOLERANCE
    rows = [("share inside, the more the better", inside, f">= {least:.2f}", round(inside, 3) >= least)]
    for name, wanted in (("blended", blended_wanted), ("empty", empty_wanted)):
        met = abs(round(mix[name], 3) - wanted) <= TOLERANCE + 1e-9
        rows.append((f"share {name}", mix[name], f"{wanted:g} ± {TOLERANCE:g}", met))
    for name in ("5-sigma peaks", "shipped peaks-i-1"):
        if name in table:
            least = reference["5-sigma peaks"][0] - TOLERANCE
            rows.append(
                (f"{name}, accuracy", table[name]["ba"], f">= {least:.3f}", table[name]["ba"] >= least)
            )
    least, most = REQUIRED_LOGISTIC[size_model]
    for name in ("logistic", "shipped logistic-i-1"):
        if name in table:
            accuracy, loss = round(table[name]["ba"], 3), round(table[name]["ce"], 3)
            rows.append((f"{name}, accuracy", accuracy, f">= {least:g}", accuracy >= least))
            rows.append((f"{name}, cross-entropy", loss, f"<= {most:g}", loss <= most))
    return rows


def report(size_model: str, train: LabelledScenes, test: LabelledScenes, args: argparse.Namespace) -> dict:
    """Print the table of one model of galaxy sizes; return it."""
    probabilities = predictions(train, test)
    compared = compare(test, probabilities, bootstrap=args.bootstrap)
    mix, inside = compared.mix, compared.inside
    print(
        f"\n{size_model}: {len(test.counts)} footprints, {len(test.counts) / len(test.inside):.0f} a scene; "
        f"inside {inside:.3f}, blended {mix['blended']:.3f}, unblended {mix['unblended']:.3f}, "
        f"empty {mix['empty']:.3f} "
        + "(reference: inside {:g}, blended {:g}, empty {:g})".format(*REFERENCE[size_model]["mix"])
    )
    columns = (
        "balanced acc.",
        "cross-entropy",
        "AUC",
        "natural CE",
        "slope",
        "ECE",
        "1-peak AUC",
        "at 1%",
        "at 5%",
    )
    print(f"{'':26}" + "".join(f"{c:>18}" for c in columns[:3]) + "".join(f"{c:>11}" for c in columns[3:]))
    table: dict[str, dict[str, float]] = {}
    for name, row in compared.rows.items():
        s, one = row.scores, row.one_peak
        main = [(s.balanced_accuracy, "ba"), (s.cross_entropy, "ce"), (s.auc, "auc")]
        errors = {
            key: row.errors.get(metric, np.nan)
            for key, metric in (("ba", "balanced_accuracy"), ("ce", "cross_entropy"), ("auc", "auc"))
        }
        others = [
            s.natural_cross_entropy,
            s.calibration_slope,
            s.ece,
            one.auc,
            one.recall_at_1_percent,
            one.recall_at_5_percent,
        ]
        print(
            f"{name:26}"
            + "".join(f"{f'{v:.4f} ± {errors[k]:.4f}':>18}" for v, k in main)
            + "".join(f"{v:11.3f}" for v in others)
        )
        reference = REFERENCE[size_model].get(name)
        if reference is not None:
            print(f"{'    reference':26}" + "".join(f"{f'{v:.3f}        ':>18}" for v in reference))
        table[name] = {k: v for v, k in main} | {f"{k}_error": e for k, e in errors.items()}
        table[name] |= dict(
            zip(("natural_ce", "slope", "ece", "one_peak_auc", "at_1", "at_5"), others, strict=True)
        )
    found = {"inside": inside, "mix": mix, "n": len(test.counts), "models": table}
    if size_model in REQUIRED_LOGISTIC and args.noise == "clipped" and args.split == "test":
        rows = requirements(size_model, mix, inside, table)
        print("required:")
        for name, value, wanted, met in rows:
            print(f"    {name:38}{value:8.3f}   {wanted:14} {'ok' if met else 'MISSED'}")
        found["required"] = [list(row) for row in rows]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--truths", help="folder that holds buchanan2022/scene_00.fits (default: $BLENDID_DATA)"
    )
    parser.add_argument("--sizes", nargs="+", choices=list(SIZE_MODELS), default=list(SIZE_MODELS))
    parser.add_argument("--split", choices=("validation", "test"), default="test", help="what is scored")
    parser.add_argument(
        "--noise", choices=("clipped", "variance"), default="clipped", help="noise of the footprints"
    )
    parser.add_argument("--train-draws", type=int, default=3, help="renders of each training truth")
    parser.add_argument("--test-draws", type=int, default=3, help="renders of each test truth")
    parser.add_argument("--bootstrap", type=int, default=200, help="resamples")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    args = parser.parse_args()
    start, results = time.perf_counter(), {}
    try:
        for size_model in args.sizes:
            train = load("train", size_model, args.train_draws, args)
            test = load(args.split, size_model, args.test_draws, args)
            results[size_model] = report(size_model, train, test, args)
    except FileNotFoundError as err:
        print(
            f"the truths of Buchanan et al. 2022 are not at hand ({err}).\nGive their folder with --truths, "
            "or train on the built-in catalogue instead: blendid train --help",
            file=sys.stderr,
        )
        return 1
    checks = [row for result in results.values() for row in result.get("required", [])]
    if checks:
        print(f"\n{sum(row[-1] for row in checks)} of {len(checks)} required figures met")
    print(f"\n{args.noise} noise, {args.split} sky, {time.perf_counter() - start:.0f} s")
    if args.json is not None:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

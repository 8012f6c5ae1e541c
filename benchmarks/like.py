# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""A model for one coadd beside one model for all: what ``blendid train --like`` wins.

A coadd is simulated at other seeing and depth than those of the survey.  One model is trained on
scenes like it (``--like``), another one on as many randomised scenes, or is
given as a package.  Both are scored on the validation sky of Buchanan et al. 2022, with that seeing and
depth and galaxies of several sizes, which neither is told.  Differences are paired, their errors from a
bootstrap over blocks of 512 x 512 pixels.

    python benchmarks/like.py --truths ../shared/data --classifier logistic
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from lsst.meas.blendid.classifiers import BlendClassifier, classifier_registry
from lsst.meas.blendid.evaluation.comparison import compare
from lsst.meas.blendid.model_package import ModelPackage
from lsst.meas.blendid.simulation import SKY_SPLIT, find_truth_scene, get_survey, simulate_scene
from lsst.meas.blendid.training import (
    LabelledScenes,
    SceneSource,
    footprint_settings,
    label_scenes,
    like_scenes,
    measure_coadd,
    randomized_scenes,
    simulated_scenes,
    train_classifier,
)

SEEDS = {"coadd": 7_000, "like": 7_001, "randomized": 7_002, "test": 7_100}
SIZES = ("cosmodc2", "1.6x", "large")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--truths", help="folder that holds buchanan2022/scene_00.fits (default: $BLENDID_DATA)"
    )
    parser.add_argument("--classifier", action="append", help="classifier; repeat for several (logistic)")
    parser.add_argument("--package", action="append", default=[], help="package to compare with as well")
    parser.add_argument("--scenes", type=int, default=24, help="scenes that each model is trained on")
    parser.add_argument("--fwhm", type=float, default=1.0, help="seeing of the coadd, arcsec")
    parser.add_argument("--exposures", type=int, default=25, help="exposures of the coadd")
    parser.add_argument("--draws", type=int, default=200, help="resamples of the bootstrap")
    parser.add_argument("--json", type=Path, help="write the scores there")
    args = parser.parse_args()
    names = args.classifier or ["logistic"]
    classes = [classifier_registry[name] for name in names]
    packages = [ModelPackage.read(name) for name in args.package]
    preparers = [cls(settings=cls.SettingsClass()) for cls in classes]
    preparers += [classifier_registry[p.classifier].from_package(p) for p in packages]
    survey = dataclasses.replace(get_survey("i"), fwhm=args.fwhm, n_exposures=args.exposures)

    def label(name: str, scenes: list[SceneSource], noise: str) -> LabelledScenes:
        start = time.perf_counter()
        found = label_scenes(
            scenes,
            footprint_settings(noise),
            keep_planes=any(p.needs_planes for p in preparers),
            prepare=lambda part: all([p.prepare(part) for p in preparers]),
        )
        print(
            f"{name}: {len(scenes)} scenes, {len(found.counts)} footprints, "
            f"{time.perf_counter() - start:.0f} s",
            flush=True,
        )
        return found

    truths = [find_truth_scene(scene, args.truths) for scene in SKY_SPLIT["validation"]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coadd.fits"
        simulate_scene("parametric", seed=SEEDS["coadd"], size_model="1.6x", band=survey).write(path)
        coadd = measure_coadd(path)
    print(
        f"coadd: simulated with {survey.fwhm} arcsec and {survey.sky_sigma:.2f} nJy, "
        f"measured {coadd.fwhm:.3f} arcsec and {coadd.noise_sigma:.2f} nJy"
    )
    train = {
        "like": label("like", list(like_scenes(coadd, args.scenes, seed=SEEDS["like"])), "variance"),
        "randomized": label(
            "randomized", list(randomized_scenes(args.scenes, seed=SEEDS["randomized"])), "both"
        ),
    }
    test = {
        sizes: label(
            f"test, {sizes}",
            list(
                simulated_scenes(
                    truths,
                    size_models=[sizes],
                    seed=SEEDS["test"] + 10 * i,
                    split="validation",
                    survey=survey,
                )
            ),
            "variance",
        )
        for i, sizes in enumerate(SIZES)
    }
    results: dict[str, Any] = {}
    models: dict[str, BlendClassifier] = {}
    for name, cls in zip(names, classes, strict=True):
        for way, labelled in train.items():
            start = time.process_time()
            package = train_classifier(name, labelled)
            models[f"{name}, {way}"] = cls.from_package(package)
            print(f"{name}, {way}: fitted in {time.process_time() - start:.0f} s of one core", flush=True)
    for package in packages:
        models[f"{package.name} (package)"] = classifier_registry[package.classifier].from_package(package)
    print(
        f"\n{'':28}" + "".join(f"{sizes + ': CE':>18}{'AUC':>8}{'1-peak':>8}{'slope':>8}" for sizes in SIZES)
    )
    predictions = {
        sizes: {name: model.probabilities(labelled.samples) for name, model in models.items()}
        for sizes, labelled in test.items()
    }
    compared = {sizes: compare(test[sizes], p, bootstrap=0) for sizes, p in predictions.items()}
    for name in models:
        line = f"{name:28}"
        for sizes, comparison in compared.items():
            found, one = comparison[name].scores, comparison[name].one_peak
            results.setdefault(name, {})[sizes] = dataclasses.asdict(found) | {"one_peak_auc": one.auc}
            line += f"{found.cross_entropy:18.3f}{found.auc:8.3f}{one.auc:8.3f}{found.calibration_slope:8.2f}"
        print(line)
    print("\nlike - randomized, cross-entropy at even prior, with its 95 % interval")
    for name in names:
        for sizes, labelled in test.items():
            like, other = f"{name}, like", f"{name}, randomized"
            pair = {key: predictions[sizes][key] for key in (like, other)}
            both = compare(labelled, pair, reference=other, bootstrap=args.draws)
            gap = both[like].differences["cross_entropy"]
            results[f"{name}: like - randomized, {sizes}"] = [gap.value, gap.low, gap.high]
            print(f"{name:12}{sizes:10}{gap.value:+.4f}  ({gap.low:+.4f} to {gap.high:+.4f})")
    if args.json is not None:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

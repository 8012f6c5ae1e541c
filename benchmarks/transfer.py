# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What a few labelled footprints of other galaxies win back.

A model is trained on galaxies of the sizes of cosmoDC2 at 0.7 arcsec and 100 exposures, and
applied to galaxies of the sizes of those in HST images at 1.0 arcsec.  Then footprints of one
coadd of those galaxies are labelled, chosen at random, and the model goes on from them
(``blendid train --from``).  Beside it: the model as it was, its probabilities calibrated anew on
these labels and nothing else, a model trained on these labels from nothing, and one trained on
whole scenes of those galaxies.  Scores are those of the validation sky of Buchanan et al. 2022;
the error is that of the mean over draws of the labelled footprints.

    python benchmarks/transfer.py --truths ../shared/data --classifier logistic
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from lsst.meas.blendid.calibration import fit_calibration
from lsst.meas.blendid.classifiers import (
    BlendClassifier,
    FitOptions,
    classifier_registry,
    split_probabilities,
)
from lsst.meas.blendid.metrics import score, score_one_peak
from lsst.meas.blendid.simulation import SKY_SPLIT, Survey, find_truth_scene, get_survey
from lsst.meas.blendid.training import (
    LabelledScenes,
    SceneSource,
    clipped_footprints,
    fine_tune,
    label_scenes,
    simulated_scenes,
)

SEEDS = {"source": 4_000, "pool": 5_000, "test": 6_000}
COLUMNS = ("cross_entropy", "natural_cross_entropy", "auc", "one_peak_auc", "calibration_slope")


def scenes_of(
    split: str, sizes: str, survey: Survey, n: int, seed: int, truths: str | None
) -> list[SceneSource]:
    """Scenes of the truths of one part of the sky, in turn."""
    paths = [find_truth_scene(scene, truths) for scene in SKY_SPLIT[split]]
    draws = -(-n // len(paths))
    scenes = simulated_scenes(paths, size_models=[sizes], draws=draws, seed=seed, split=split, survey=survey)
    # Draw by draw, so that few scenes are of different sky.
    return [scenes[k % len(paths) * draws + k // len(paths)] for k in range(n)]


def choose(pool: LabelledScenes, n: int, rng: np.random.Generator) -> LabelledScenes:
    """Label n footprints of one scene, chosen at random; of several scenes if one has fewer."""
    order = rng.permutation(len(pool.samples.results))
    rows = np.zeros(len(pool.counts), dtype=bool)
    for scene in order:
        left = n - int(rows.sum())
        candidates = np.flatnonzero(pool.samples.scene_index == scene)
        rows[rng.choice(candidates, min(left, len(candidates)), replace=False)] = True
        if rows.sum() == n:
            break
    return dataclasses.replace(
        pool, samples=pool.samples.select(rows), counts=pool.counts[rows], sky=pool.sky[rows]
    )


def scores_of(predict: Callable[[Any], np.ndarray], test: LabelledScenes) -> list[float]:
    """Scores by `COLUMNS`."""
    p, _ = split_probabilities(predict(test.samples))
    found = dataclasses.asdict(score(p, test.counts))
    found["one_peak_auc"] = score_one_peak(p, test.counts, test.samples.n_peaks).auc
    return [found[name] for name in COLUMNS]


def from_nothing(cls: type[BlendClassifier], labelled: LabelledScenes, seed: int) -> BlendClassifier:
    """A classifier fitted to labelled footprints alone."""
    classifier = cls(settings=cls.SettingsClass())
    with warnings.catch_warnings():
        # Of so few footprints some classes are rare.
        warnings.simplefilter("ignore")
        classifier.fit(labelled, options=FitOptions(seed=seed))
    return classifier


def compare(
    cls: type[BlendClassifier],
    source: LabelledScenes,
    pool: LabelledScenes,
    test: LabelledScenes,
    sizes: list[int],
    draws: int,
) -> dict[str, np.ndarray]:
    """Scores by row of the table: (draws, columns)."""
    old = from_nothing(cls, source, 1)
    package = old.to_package("source")
    rows = {"as it was": np.array([scores_of(old.predict, test)])}
    for n in sizes:
        found: dict[str, list[list[float]]] = {
            f"{n} labels, probabilities calibrated anew": [],
            f"{n} labels, trained further": [],
            f"{n} labels, trained from nothing": [],
        }
        for draw in range(draws):
            few = choose(pool, n, np.random.default_rng([7, n, draw]))
            recalibrated = cls.from_package(package)
            raw, _ = split_probabilities(recalibrated.predict(few.samples))
            recalibrated.calibration = fit_calibration(raw, few.counts > 1, "platt")
            further = fine_tune(package, few, options=FitOptions(seed=draw + 1))
            ways = (recalibrated, further, None)
            for way, into in zip(ways, found.values(), strict=True):
                try:
                    classifier = from_nothing(cls, few, draw + 1) if way is None else way
                except ValueError as err:
                    print(f"{n} labels: {err}", file=sys.stderr)
                    into.append([np.nan] * len(COLUMNS))
                    continue
                into.append(scores_of(classifier.probabilities, test))
        rows |= {name: np.array(values) for name, values in found.items()}
    rows["trained on all of its scenes"] = np.array([scores_of(from_nothing(cls, pool, 1).predict, test)])
    return rows


def print_table(name: str, rows: dict[str, np.ndarray]) -> None:
    """Mean and error of the mean of each column."""
    width = max(map(len, rows))
    titles = ("CE, even prior", "CE, natural", "AUC", "one-peak AUC", "slope")
    print(f"\n{name}\n{'':{width}}  " + "  ".join(f"{title:>14}" for title in titles))
    for row, values in rows.items():
        cells = []
        for column in values.T:
            error = f" ± {column.std(ddof=1) / len(column) ** 0.5:.3f}" if len(column) > 1 else ""
            cells.append(f"{column.mean():.3f}{error}")
        print(f"{row:{width}}  " + "  ".join(f"{cell:>14}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--truths", help="folder that holds buchanan2022/scene_00.fits (default: $BLENDID_DATA)"
    )
    parser.add_argument("--classifier", action="append", help="classifier; repeat for several (logistic)")
    parser.add_argument("--source-scenes", type=int, default=12, help="scenes of the first kind")
    parser.add_argument("--pool-scenes", type=int, default=12, help="scenes of the other kind")
    parser.add_argument("--test-scenes", type=int, default=3, help="scenes to score on")
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 300, 1000], help="numbers of labels")
    parser.add_argument("--draws", type=int, default=8, help="draws of the labelled footprints")
    parser.add_argument("--sizes", default="large", help="galaxy sizes of the other kind")
    parser.add_argument("--fwhm", type=float, default=1.0, help="its seeing, arcsec")
    parser.add_argument("--json", type=Path, help="write the scores there")
    args = parser.parse_args()
    names = args.classifier or ["logistic"]
    classes = [classifier_registry[name] for name in names]
    nominal = get_survey("i")
    other = dataclasses.replace(nominal, fwhm=args.fwhm)
    kinds = {
        "source": ("train", "cosmodc2", nominal, args.source_scenes),
        "pool": ("train", args.sizes, other, args.pool_scenes),
        "test": ("validation", args.sizes, other, args.test_scenes),
    }
    preparers = [cls(settings=cls.SettingsClass()) for cls in classes]
    labelled = {}
    start = time.perf_counter()
    for name, (split, sizes, survey, n) in kinds.items():
        scenes = scenes_of(split, sizes, survey, n, SEEDS[name], args.truths)
        labelled[name] = label_scenes(
            scenes,
            [clipped_footprints()],
            keep_planes=any(cls.needs_planes for cls in classes),
            # All of them, not only up to the first that needs the images.
            prepare=lambda part: all([p.prepare(part) for p in preparers]),
        )
        mix = labelled[name].mix
        print(
            f"{name}: {n} scenes, {sizes}, {survey.fwhm} arcsec: {len(labelled[name].counts)} footprints, "
            f"{mix['blended']:.3f} blended ({time.perf_counter() - start:.0f} s)",
            flush=True,
        )
    results = {}
    for name, cls in zip(names, classes, strict=True):
        rows = compare(cls, labelled["source"], labelled["pool"], labelled["test"], args.labels, args.draws)
        print_table(name, rows)
        results[name] = {
            row: {column: list(map(float, v)) for column, v in zip(COLUMNS, values.T, strict=True)}
            for row, values in rows.items()
        }
    if args.json is not None:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

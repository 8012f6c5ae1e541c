# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Which galaxies are found, and where: the peaks of the task beside others on sky that nobody trained on.

All find peaks in the same footprints of scenes 0, 6 and 9 (galaxies of three models of sizes; then other
seeing and depth): the 5 sigma peaks that footprints come with, SEP with two settings, the candidates of the
centre map as they are, and the task with its localiser.  Peaks and galaxies of S/N >= 5 in footprints are
matched one to one within a radius.  What has probabilities is cut where it is as pure as the 5 sigma peaks.
Errors are from a bootstrap over 512 x 512 blocks of sky; nothing is fitted here.

    python benchmarks/peaks.py --truths FOLDER                 quick: one render of each scene
    python benchmarks/peaks.py --truths FOLDER --renders 9     all figures
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from blendhunter_sep import AGGRESSIVE_CONTRAST, AGGRESSIVE_LEVELS, find_with_sep
from lsst.meas.blendid import BlendIdentificationConfig, BlendIdentificationTask
from lsst.meas.blendid.classifiers import BlendClassifier, classifier_registry, split_probabilities
from lsst.meas.blendid.evaluation.peak_comparison import DETECTED, FoundPeaks, PeakComparison, compare_peaks
from lsst.meas.blendid.evaluation.peak_finders import (
    LocalizerFinder,
    find_candidates,
    find_detected,
    make_found,
    with_magnitudes,
)
from lsst.meas.blendid.footprints import detect
from lsst.meas.blendid.labels import N_CLASSES, count_galaxies
from lsst.meas.blendid.model_package import ModelPackage
from lsst.meas.blendid.peak_matching import LIKELY, MATCH_RADIUS, PeakList
from lsst.meas.blendid.samples import FootprintSamples
from lsst.meas.blendid.simulation import SIZE_MODELS, SKY_SPLIT, find_truth_scene, get_survey
from lsst.meas.blendid.training import Scene, clipped_footprints, simulated_scenes

SEP, HOT_SEP = "SEP", "SEP, aggressive"
CANDIDATES = "candidates of {}"
OWN = "task"
"""P(N) of the task."""
PEAK_COUNT = "peaks-i-1"
"""Model whose P(N) is the share of each N among footprints with as many peaks: their confusion."""
SEED = 3_000
PIXEL = 0.2
"""Pixel size of the scenes, arcsec."""
CONDITIONS: dict[str, dict[str, float]] = {
    "": {},
    "PSF 1.0″": {"fwhm": 1.0},
    "half depth": {"n_exposures": 50},
    "quarter depth": {"n_exposures": 25},
}
FOUND = (
    "purity",
    "completeness",
    "fainter",
    "fainter_one_peak",
    "offset",
    "likely_completeness",
    "likely_purity",
    "inferred_purity",
)
TRUSTED = (
    "slope",
    "intercept",
    "ece",
    "ellipse",
    "sum_excess",
    "sum_rms",
    "expected_excess",
    "singles_split",
    "pairs_split",
)


@dataclass
class Counting:
    """P(N) of models beside the true numbers, scene by scene."""

    true: list[np.ndarray] = field(default_factory=list)
    p_n: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def log_scores(self) -> dict[str, float]:
        """Mean of -log P(true N) over the footprints that all models gave P(N) of."""
        true = np.minimum(np.concatenate(self.true), N_CLASSES - 1)
        joined = {name: np.concatenate(parts) for name, parts in self.p_n.items()}
        use = np.all([np.isfinite(p).all(axis=1) for p in joined.values()], axis=0)
        rows = np.arange(len(true))
        return {
            name: float(-np.log(np.maximum(p[rows, true], 1e-7))[use].mean()) for name, p in joined.items()
        }


class Finders:
    """Everything that is run on a scene."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.centers, self.candidates = read_model(args.candidates), CANDIDATES.format(args.candidates)
        self.counters = {name: read_model(name) for name in (PEAK_COUNT, *args.counts)}
        self.task, self.task_name = make_task(args)
        self.checked = False

    def __call__(self, scene: Scene, counting: Counting) -> FoundPeaks:
        """Find the peaks of a scene by all means; note P(N)."""
        config = self.task.config.footprints
        result = detect(scene.masked_image, psf=scene.psf, config=config)
        samples = FootprintSamples([result], [scene.context])
        lists = {DETECTED: find_detected(samples)}
        expected: dict[str, np.ndarray] = {}
        if not self.args.no_sep:
            lists[SEP] = find_with_sep(samples)
            lists[HOT_SEP] = find_with_sep(samples, levels=AGGRESSIVE_LEVELS, contrast=AGGRESSIVE_CONTRAST)
        lists[self.candidates] = find_candidates(self.centers, samples)  # type: ignore[arg-type]
        counting.true.append(count_galaxies(result.footprints, scene.truth))
        p_n = {self.args.candidates: np.asarray(self.centers.probabilities(samples))}
        expected[self.candidates] = p_n[self.args.candidates] @ np.arange(N_CLASSES)
        for model, classifier in self.counters.items():
            if (
                model not in p_n
                and (given := split_probabilities(classifier.probabilities(samples))[1]) is not None
            ):
                p_n[model] = given
        (primary,) = self.task.models.select(scene.context.band).values()
        localizer = self.task.models.select_localizer(scene.context.band)
        assert localizer is not None
        finder = LocalizerFinder(self.task_name, localizer, primary)
        lists[self.task_name], expected[self.task_name] = finder.find(samples)  # type: ignore[assignment]
        if not self.checked:
            self.compare_with_task(scene, lists[self.task_name])
            self.checked = True
        p_n[OWN] = split_probabilities(primary.probabilities(samples))[1]
        for model, values in p_n.items():
            counting.p_n.setdefault(model, []).append(values)
        lists = {
            key: peaks if peaks.magnitude is not None else with_magnitudes(peaks, samples)
            for key, peaks in lists.items()
        }
        sky = np.full(len(samples), int(Path(str(scene.sky)).stem.rsplit("_", 1)[-1]))
        return make_found(samples, [scene.truth], sky, lists, expected=expected)

    def compare_with_task(self, scene: Scene, peaks: PeakList) -> None:
        """Make sure that these are the peaks of the task's table.

        The task would run the map of centres anew in every scene, most of the time.
        """
        struct = self.task.run(
            scene.masked_image, band=scene.context.band, zero_point=scene.context.zero_point
        )
        written = PeakList.from_table(struct.blendPeak)
        if len(written) != len(peaks):
            raise RuntimeError(f"the task has {len(written)} peaks where its localiser has {len(peaks)}")
        known = np.isfinite(written.probability)
        for name in ("x", "y", "probability"):
            values = getattr(written, name)[known], getattr(peaks, name)[known]
            # The table has single precision.
            np.testing.assert_allclose(*values, rtol=1e-5, atol=1e-5, err_msg=name)


def read_model(name: str) -> BlendClassifier:
    """Read a model."""
    package = ModelPackage.read(name)
    return classifier_registry[package.classifier].from_package(package)


def make_task(args: argparse.Namespace) -> tuple[BlendIdentificationTask, str]:
    """Make the task with its localiser, and name its peaks."""
    config = BlendIdentificationConfig()
    config.footprints = clipped_footprints()
    if args.localizer is not None:
        config.localizer.name = args.localizer
    # Others than the primary one have no part in the peaks.
    config.classifiers.names = [config.primaryClassifier]
    if args.primary is not None:
        config.classifiers.names, config.primaryClassifier = [args.primary], args.primary
    return BlendIdentificationTask(config=config), f"task, localiser {config.localizer.name}"


def scenes(size_model: str, condition: str, renders: int, args: argparse.Namespace) -> Iterator[Scene]:
    """Simulate the scenes of one kind, one after the other."""
    survey = dataclasses.replace(get_survey("i"), **CONDITIONS[condition])  # type: ignore[arg-type]
    seed = SEED + 100 * list(SIZE_MODELS).index(size_model) + 10_000 * list(CONDITIONS).index(condition)
    sources = simulated_scenes(
        [find_truth_scene(scene, args.truths) for scene in SKY_SPLIT[args.split]],
        size_models=[size_model],
        draws=renders,
        seed=seed,
        size=args.size,
        split=args.split,
    )
    for source in sources:
        yield dataclasses.replace(source, survey=survey).load()


def measure(
    size_model: str, condition: str, renders: int, finders: Finders, args: argparse.Namespace
) -> tuple[PeakComparison, dict[str, float]]:
    """Run everything on the scenes of one kind."""
    counting, parts = Counting(), []
    for scene in scenes(size_model, condition, renders, args):
        start = time.perf_counter()
        parts.append(finders(scene, counting))
        print(
            f"    {scene.name}: {len(parts[-1].n_detected)} footprints, {time.perf_counter() - start:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    comparison = compare_peaks(FoundPeaks.join(parts), bootstrap=args.bootstrap)
    return comparison, counting.log_scores()


@dataclass(frozen=True)
class Check:
    """Something that is asked of the task's peaks."""

    name: str
    value: str
    wanted: str
    met: bool


def requirements(
    condition: str, comparison: PeakComparison, logs: dict[str, float], task: str, candidates: str
) -> list[Check]:
    """What is asked of the task's peaks, and whether it is met."""
    checks: list[Check] = []
    values, errors = comparison[task].values, comparison[task].errors

    def check(name: str, value: float, error: float, wanted: str, met: bool, digits: int = 4) -> None:
        text = f"{value:.{digits}f}" + (f" ± {error:.{digits}f}" if math.isfinite(error) else "")
        checks.append(Check(name, text, wanted, bool(met)))

    def within(name: str, key: str, low: float, high: float) -> None:
        wanted = f"{low:g} to {high:g}"
        if low == -math.inf:
            wanted = f"<= {high:g}"
        elif high == math.inf:
            wanted = f">= {low:g}"
        check(name, values[key], errors.get(key, math.nan), wanted, low <= values[key] <= high)

    low, high = (0.9, 1.1) if condition else (0.95, 1.05)
    within("calibration slope of peaks", "slope", low, high)
    if condition:
        return checks
    for key, name in (
        ("completeness", "completeness"),
        ("fainter", "fainter galaxy of blends of two"),
        ("fainter_one_peak", "the same with one 5σ peak"),
    ):
        gap, error = comparison.difference(key, task, candidates)
        name = f"{name}, less that of {candidates}"
        # Not below, as far as that can be told.
        check(name, gap, error, ">= 0 ± 1σ", gap >= 0.0 or gap >= -error)
    gap, error = comparison.difference("offset", task, DETECTED)
    check(
        "median offset, less that of 5σ peaks, arcsec",
        PIXEL * gap,
        PIXEL * error,
        "<= 0.02",
        PIXEL * gap <= 0.02,
    )
    within(f"purity of inferred peaks over {comparison.likely:g}", "inferred_purity", 0.9, math.inf)
    within("galaxies in 68 % ellipses", "ellipse", 0.66, 0.70)
    within("Σp of peaks against P(N), relative", "sum_excess", -0.01, 0.01)
    within("the same by footprint, rms", "sum_rms", -math.inf, 0.1)
    within("galaxies expected against truth, relative", "expected_excess", -0.01, 0.01)
    for name, value in logs.items():
        if name != OWN:
            check(
                f"log score of P(N) against {name}",
                logs[OWN],
                math.nan,
                f"<= {value:.4f}",
                logs[OWN] <= value + 5e-5,
            )
    within("one-peak single galaxies that are split", "singles_split", -math.inf, 0.01)
    return checks


def report(title: str, comparison: PeakComparison, logs: dict[str, float], checks: list[Check]) -> list[str]:
    """Print what was found for scenes of one kind; return its lines."""
    offsets = {name: PIXEL * row.values["offset"] for name, row in comparison.rows.items()}
    lines = [
        f"{title}: {comparison.n_galaxies} galaxies in {comparison.n_footprints} footprints; purity of the "
        f"5σ peaks {comparison.purity:.3f}; errors from {comparison.n_blocks} blocks",
        comparison.format(FOUND),
        "",
        comparison.format(TRUSTED),
        "",
        f"median offset, arcsec: {', '.join(f'{name} {value:.3f}' for name, value in offsets.items())}",
        f"log score of P(N): {', '.join(f'{name} {value:.4f}' for name, value in logs.items())}",
    ]
    for one in checks:
        lines.append(f"    {one.name:76}{one.value:>20}   {one.wanted:16} {'MET' if one.met else 'MISSED'}")
    print("\n" + "\n".join(lines), flush=True)
    return ["", *lines]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--truths", help="folder that holds buchanan2022/scene_00.fits (default: $BLENDID_DATA)"
    )
    parser.add_argument("--split", choices=("validation", "test"), default="test", help="what is scored")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZE_MODELS), default=list(SIZE_MODELS))
    parser.add_argument("--renders", type=int, default=1, help="renders of each scene; 9 for all figures")
    parser.add_argument(
        "--condition-renders",
        type=int,
        default=0,
        help="the same at other seeing and depth; 0 leaves them out",
    )
    parser.add_argument("--size", type=int, default=2048, help="side of a scene, pixels")
    parser.add_argument("--candidates", default="centers-i-1", help="model whose candidates are shown")
    parser.add_argument("--counts", nargs="*", default=["features-i-1"], help="models whose P(N) is compared")
    parser.add_argument("--localizer", help="localiser of the task (default: its own)")
    parser.add_argument("--primary", help="classifier that gives P(N) of the task (default: its own)")
    parser.add_argument("--no-sep", action="store_true", help="leave SEP out")
    parser.add_argument("--bootstrap", type=int, default=200, help="resamples")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--text", type=Path, help="file to write the tables to")
    args = parser.parse_args()
    start = time.perf_counter()
    results: dict[str, Any] = {}
    lines: list[str] = []
    try:
        finders = Finders(args)
        for condition in CONDITIONS:
            renders = args.condition_renders if condition else args.renders
            for size_model in args.sizes if renders else ():
                title = f"{size_model}, {condition}" if condition else size_model
                comparison, logs = measure(size_model, condition, renders, finders, args)
                checks = requirements(condition, comparison, logs, finders.task_name, finders.candidates)
                lines += report(title, comparison, logs, checks)
                results[title] = comparison.to_dict() | {
                    "log_scores": logs,
                    "requirements": [dataclasses.asdict(one) for one in checks],
                }
    except FileNotFoundError as err:
        print(
            f"the truths of Buchanan et al. 2022 are not at hand ({err}); give their folder with --truths",
            file=sys.stderr,
        )
        return 1
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    print(
        f"\n{args.split} sky, matched within {MATCH_RADIUS} pixels, likely above {LIKELY}; "
        f"{time.perf_counter() - start:.0f} s, at most {memory:.0f} MB"
    )
    if args.json is not None:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    if args.text is not None:
        args.text.write_text("\n".join(lines).lstrip("\n") + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

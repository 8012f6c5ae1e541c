# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Models for any band beside those before them, and beside specialists, on sky that nobody trained on.

Sections, each of which can be asked for by name:

``i``
    The test sky in i, nine renders of each size of galaxies: cross-entropy, one-peak AUC and the log score of
    P(N), each paired with the model of the same classifier for i alone.
``bands``
    The test sky in g, r, z and y, beside a `features` model that is trained on renders of the training sky
    and of the parametric catalogue in that band alone, with all three sizes of galaxies.

Differences are bootstrapped over 512² blocks of sky.  The log score is the mean of - ln P(N).

    python benchmarks/generations.py --truths FOLDER [--models NAME ...] [--sections NAME ...] [--text FILE]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from counts import score as score_counts
from lsst.meas.blendid.classifiers import (
    BlendClassifier,
    FeaturesClassifier,
    FeaturesSettings,
    FitOptions,
    split_probabilities,
)
from lsst.meas.blendid.evaluation.bootstrap import choose_units, resampled_weights
from lsst.meas.blendid.evaluation.comparison import compare
from lsst.meas.blendid.labels import N_CLASSES
from lsst.meas.blendid.localizers import expected_counts
from lsst.meas.blendid.simulation import SIZE_MODELS
from lsst.meas.blendid.training import LabelledScenes, SimulatedScene, simulated_scenes
from skies import label, list_scenes, read_models

_PARAMETRIC_SEED = 5_000
BANDS = "grzy"
MODELS = ("features-i-1", "features-2")


def render(
    split: str, sizes: Sequence[str], draws: int, band: str, args: argparse.Namespace
) -> list[SimulatedScene]:
    """Renders of one part of the sky in one band, with galaxies of some sizes."""
    return [
        scene
        for size_model in sizes
        for scene in list_scenes(split, size_model, draws, args.truths, survey=band, size=args.size)
    ]


def find_before(name: str, models: Sequence[str]) -> str | None:
    """Name of the model that another is set beside: that of the same classifier for i alone."""
    kind = name.rsplit("-", 1)[0]
    return before if (before := f"{kind}-i-1") in models and name != before else None


def score_p_n(
    models: dict[str, BlendClassifier], p_n: dict[str, np.ndarray], test: LabelledScenes, draws: int
) -> dict[str, list[dict[str, float]]]:
    """Scores of P(N) by model: of all footprints, and then of each resample."""
    samples = test.samples
    units = choose_units(samples.centroid[:, 0], samples.centroid[:, 1], test.sky)
    weights = [np.ones(len(samples)), *(w[units.index] for w in resampled_weights(units.index, draws=draws))]
    found = {}
    for name, model in models.items():
        good = np.isfinite(p_n[name]).all(axis=1)
        expected = expected_counts(p_n[name], model.tail_mean(samples))
        found[name] = [
            score_counts(p_n[name][good], expected[good], test.counts[good], w[good]) for w in weights
        ]
    return found


def make_table(
    title: str, models: dict[str, BlendClassifier], test: LabelledScenes, beside: dict[str, str], draws: int
) -> list[str]:
    """Score models; those with a model to be set beside get paired differences in per cent."""
    p, p_n = {}, {}
    for name, model in models.items():
        p[name], several = split_probabilities(model.probabilities(test.samples))
        if several is not None:
            p_n[name] = several
    counts = score_p_n({name: models[name] for name in p_n}, p_n, test, draws)
    tables = {
        reference: compare(test, p, reference=reference, bootstrap=draws)
        for reference in sorted(set(beside.values())) or [next(iter(models))]
    }
    lines = [
        f"{title}: {len(test.counts)} footprints, blended {test.mix['blended']:.3f}",
        f"{'':24}{'CE':>9}{'change, %':>24}{'slope':>9}{'ECE':>9}{'1-peak AUC':>12}{'change':>21}"
        f"{'log score':>11}{'change, %':>22}{'worst ECE of k':>16}{'ΣN, %':>9}",
    ]
    for name in models:
        reference = beside.get(name)
        row = tables[reference or next(iter(tables))].rows[name]
        cells = ["", ""]
        if reference is not None:
            loss = row.value("cross_entropy") - row.differences["cross_entropy"].value
            one, auc = row.differences["cross_entropy"], row.differences["one_peak_auc"]
            cells = [
                f"{100 * one.value / loss:+.2f} [{100 * one.low / loss:+.2f}, {100 * one.high / loss:+.2f}]",
                f"{auc.value:+.4f} ± {(auc.high - auc.low) / 4:.4f}",
            ]
        line = (
            f"{name[:23]:24}{row.value('cross_entropy'):9.4f}{cells[0]:>24}"
            f"{row.value('calibration_slope'):9.3f}{row.value('ece'):9.4f}{row.value('one_peak_auc'):12.4f}"
            f"{cells[1]:>21}"
        )
        if name in counts:
            all_of, *resampled = counts[name]
            change = ""
            if reference in counts:
                ratio = [
                    100.0 * (one["log_score"] / other["log_score"] - 1.0)
                    for one, other in zip(counts[name], counts[reference], strict=True)
                ]
                change = f"{ratio[0]:+.2f} ± {np.std(ratio[1:]):.2f}"
            worst = max(range(N_CLASSES), key=lambda k: all_of[f"ece_{k}"])
            line += f"{all_of['log_score']:11.4f}{change:>22}"
            line += f"{all_of[f'ece_{worst}']:10.4f} (N={worst})"
            spread = np.std([one["bias"] for one in resampled])
            line += f"{100 * all_of['bias']:+9.2f} ± {100 * spread:.2f}"
        lines.append(line)
    print("\n" + "\n".join(lines), flush=True)
    return ["", *lines]


def run_i(models: dict[str, BlendClassifier], args: argparse.Namespace) -> list[str]:
    """The test sky in i."""
    beside = {name: before for name in models if (before := find_before(name, list(models))) is not None}
    lines = []
    for size_model in args.sizes:
        scenes = render(args.split, [size_model], args.draws, "i", args)
        test = label(scenes, list(models.values()), args.jobs)
        lines += make_table(f"i, {size_model}", models, test, beside, args.bootstrap)
    return lines


def run_bands(models: dict[str, BlendClassifier], args: argparse.Namespace) -> list[str]:
    """The test sky in other bands, beside a specialist."""
    lines = []
    for band in args.bands:
        specialist = FeaturesClassifier(settings=FeaturesSettings())
        scenes = render("train", list(SIZE_MODELS), args.train_draws, band, args)
        scenes += simulated_scenes(
            [],
            n_scenes=len(scenes) // len(SIZE_MODELS),
            size_models=list(SIZE_MODELS),
            seed=_PARAMETRIC_SEED,
            survey=band,
            size=args.size,
        )
        train = label(scenes, [specialist], args.jobs)
        held_out = label(render("validation", list(SIZE_MODELS), 1, band, args), [specialist], args.jobs)
        specialist.fit(train, held_out, FitOptions(seed=1))
        specialist.fit_counts(train)
        every = {f"specialist for {band}": specialist, **models}
        tested = render(args.split, args.sizes, args.band_draws, band, args)
        test = label(tested, list(every.values()), args.jobs)
        beside = dict.fromkeys(models, f"specialist for {band}")
        title = f"{band} (specialist: {len(scenes)} scenes, {len(train.counts)} footprints)"
        lines += make_table(title, every, test, beside, args.bootstrap)
    return lines


SECTIONS = {"i": run_i, "bands": run_bands}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--truths", help="folder that holds buchanan2022/scene_00.fits")
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="trained models, by name or path")
    parser.add_argument("--sections", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--sizes", nargs="+", choices=list(SIZE_MODELS), default=list(SIZE_MODELS))
    parser.add_argument("--bands", nargs="+", choices=list(BANDS), default=list(BANDS))
    parser.add_argument("--split", choices=("validation", "test"), default="test", help="what is scored")
    parser.add_argument("--draws", type=int, default=3, help="renders of each truth in i")
    parser.add_argument("--band-draws", type=int, default=1, help="renders of each truth in other bands")
    parser.add_argument("--train-draws", type=int, default=2, help="renders of each truth for specialists")
    parser.add_argument("--size", type=int, default=2048, help="side of a scene, pixels")
    parser.add_argument("--bootstrap", type=int, default=200, help="resamples")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="processes that simulate scenes")
    parser.add_argument("--text", type=Path, help="file to write the tables to")
    args = parser.parse_args()
    start = time.perf_counter()
    models = read_models(args.models)
    lines: list[str] = []
    try:
        for section in args.sections:
            lines += SECTIONS[section](models, args)
    except FileNotFoundError as err:
        print(
            f"the truths of Buchanan et al. 2022 are not at hand ({err}); give their folder with --truths",
            file=sys.stderr,
        )
        return 1
    lines += ["", f"{args.split} sky, {time.perf_counter() - start:.0f} s"]
    print(f"\n{lines[-1]}")
    if args.text is not None:
        args.text.write_text("\n".join(lines).strip() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Where probabilities hold: models in the corners of their domain, and on sky of kinds that no training has.

Sections, each of which can be asked for by name:

``grid``
    Calibration in the corners of band × seeing × depth × sizes of galaxies, and of clumpiness × family of the
    PSF in i.
``structures``
    Clumpy galaxies, spirals, galaxies of all structures, galaxies of HST, each beside smooth ones.
``populations``
    Broader sizes, doubled clustering, compact groups, bright galaxies.
``stars``
    Isolated stars, S/N 10 to 3,000, of five profiles, one of them unknown to all training; each with its PSF
    and with a Kolmogorov one of its FWHM, as somebody has who knows no more than the seeing.
``bright``
    Isolated bright galaxies, S/N 1,000 to 10,000: ellipticals, smooth discs, spirals and barred ones with
    rings and lanes of dust.
``novelty``
    The error of probabilities by the novelty of the footprints, over all sections that were run.

Scenes are those of the parametric catalogue, of seeds that no training uses.

    python benchmarks/where_it_holds.py [--models NAME ...] [--sections NAME ...] [-j N] [--text FILE]
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from held_out import CompactGroups, RealScene
from lsst.meas.blendid.classifiers import BlendClassifier, split_probabilities
from lsst.meas.blendid.images.psf import kolmogorov_kernel, summarize_psf
from lsst.meas.blendid.localizers.consistency import expected_counts
from lsst.meas.blendid.metrics import score, score_one_peak
from lsst.meas.blendid.simulation import SIZE_MODELS, SceneConfig, get_survey
from lsst.meas.blendid.training import Scene, SceneSource, SimulatedScene
from skies import label, read_models

SEED = 70_000_000
"""Far from the seeds of any training."""
MODELS = ("features-i-1", "features-2")
GRID: dict[str, dict[str, Any]] = {
    "band": {band: band for band in "grizy"},
    "seeing": {"0.6″": 0.6, "1.4″": 1.4},
    "visits": {"10": 10, "400": 400},
    "sizes": {"small": "cosmodc2", "large": "large"},
}
PROFILES: dict[str, dict[str, Any]] = {
    "kolmogorov": {},
    "moffat 2.5": {"profile": "moffat", "beta": 2.5},
    "moffat 4": {"profile": "moffat", "beta": 4.0},
    "optics": {"profile": "optics", "opticsShare": 0.8},
    "double-gaussian": {"profile": "double-gaussian"},
}
STRUCTURES = ("barFraction", "spiralFraction", "ringFraction", "dustFraction", "tailFraction")
NOVELTY_EDGES = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, np.inf)


@dataclasses.dataclass
class Scored:
    """Footprints of some scenes with what models say of them."""

    counts: np.ndarray
    """Number of galaxies, (n,)."""
    n_peaks: np.ndarray
    """Number of detected peaks, (n,)."""
    p_n: dict[str, np.ndarray]
    """P(N) by model, (n, 5)."""
    expected: dict[str, np.ndarray]
    """Expected number by model, (n,)."""
    novelty: dict[str, np.ndarray]
    """Novelty by model, (n,); NaN for models that do not tell."""


def make_config(**groups: dict[str, Any]) -> SceneConfig:
    """Config of a scene, by groups: ``population={"clumpyFraction": 0.5}`` and so on."""
    config = SceneConfig()
    for name, fields in groups.items():
        group = config
        for part in name.split("__"):
            group = getattr(group, part)
        group.update(**fields)
    return config


def run_models(
    scenes: Sequence[SceneSource], models: dict[str, BlendClassifier], processes: int = 1
) -> Scored:
    """Label the footprints of scenes and ask the models."""
    labelled = label(scenes, list(models.values()), processes)
    samples = labelled.samples
    scored = Scored(labelled.counts, samples.n_peaks, {}, {}, {})
    for name, model in models.items():
        _, p_n = split_probabilities(model.probabilities(samples))
        if p_n is None:
            raise ValueError(f"{name} gives no P(N)")
        scored.p_n[name] = p_n
        scored.expected[name] = expected_counts(p_n, model.tail_mean(samples))
        scored.novelty[name] = model.novelty(samples)
    return scored


class Report:
    """Prints lines, and remembers them and all that was scored."""

    def __init__(self, models: dict[str, BlendClassifier], processes: int = 1) -> None:
        self.models, self.processes = models, processes
        self.lines: list[str] = []
        self.scored: list[Scored] = []

    def say(self, line: str = "") -> None:
        """Print a line."""
        self.lines.append(line)
        print(line, flush=True)

    def head(self, title: str) -> None:
        """Begin a table."""
        self.say()
        self.say(title)
        columns = ("CE", "slope", "intercept", "ECE", "1-peak AUC", "ΣN, %", "novel, %")
        self.say(f"{'':46}{'n':>7}{'blended':>9}" + "".join(f"{name:>11}" for name in columns))

    def row(self, title: str, scenes: Sequence[SceneSource]) -> Scored:
        """Score all models on some scenes, a line each."""
        scored = run_models(scenes, self.models, self.processes)
        self.scored.append(scored)
        blended = scored.counts > 1
        for name in self.models:
            p = scored.p_n[name][:, 2:].sum(axis=1)
            use = np.isfinite(p)
            found = score(p, scored.counts)
            one_peak = score_one_peak(p, scored.counts, scored.n_peaks)
            bias = 100.0 * (scored.expected[name][use].sum() / max(scored.counts[use].sum(), 1) - 1.0)
            novel = scored.novelty[name]
            share = 100.0 * np.mean(novel > 3.0) if np.isfinite(novel).any() else np.nan
            self.say(
                f"{title[:27]:28}{name[:17]:18}{use.sum():7d}{blended.mean():9.3f}{found.cross_entropy:11.4f}"
                f"{found.calibration_slope:11.3f}{found.calibration_intercept:11.3f}{found.ece:11.4f}"
                f"{one_peak.auc:11.3f}{bias:11.2f}{share:11.2f}"
            )
        return scored


def make_scenes(
    n: int,
    size: int,
    key: int,
    *,
    size_model: Any = "1.6x",
    source: Any = "parametric",
    band: str = "i",
    config: SceneConfig | None = None,
    **survey: Any,
) -> list[SimulatedScene]:
    """Some scenes of one kind, that do not tell their band."""
    settings = dataclasses.replace(get_survey(band), **survey)
    return [
        SimulatedScene(
            source,
            size_model,
            SEED + 100 * key + i,
            (size, size),
            survey=settings,
            config=config,
            for_any_band=True,
        )
        for i in range(n)
    ]


def run_grid(report: Report, args: argparse.Namespace) -> None:
    """Corners of the grid."""
    report.head("Corners of band × seeing × visits × sizes")
    slopes: dict[str, list[float]] = {name: [] for name in report.models}
    for key, corner in enumerate(itertools.product(*(values.items() for values in GRID.values()))):
        (_, band), (_, seeing), (_, visits), (_, sizes) = corner
        scenes = make_scenes(
            args.scenes, args.size, key, size_model=sizes, band=band, fwhm=seeing, n_exposures=visits
        )
        scored = report.row(" ".join(name for name, _ in corner), scenes)
        for name in slopes:
            slopes[name].append(slope_of(scored, name))
    for name, values in slopes.items():
        report.say(f"{name}: slopes {min(values):.3f} to {max(values):.3f}, scatter {np.std(values):.3f}")
    report.head("Clumpiness × family of the PSF, in i")
    for key, ((name, fields), clumpy) in enumerate(itertools.product(PROFILES.items(), (0.0, 0.5))):
        config = make_config(psf=fields, population={"clumpyFraction": clumpy})
        scenes = make_scenes(args.scenes, args.size, 200 + key, config=config)
        report.row(f"{name}, clumpy {clumpy:g}", scenes)


def slope_of(scored: Scored, name: str) -> float:
    """Slope of the calibration of a model."""
    p = scored.p_n[name][:, 2:].sum(axis=1)
    return float(score(p, scored.counts).calibration_slope)


def run_structures(report: Report, args: argparse.Namespace) -> None:
    """Galaxies that are not smooth."""
    report.head("Structures of galaxies (sizes: large)")
    kinds: dict[str, SceneConfig] = {
        "smooth": make_config(),
        "a quarter clumpy": make_config(population={"clumpyFraction": 0.25}),
        "half of them clumpy": make_config(population={"clumpyFraction": 0.5}),
        "spirals": make_config(population__structures={"spiralFraction": 1.0}),
        "all structures": make_config(population__structures=dict.fromkeys(STRUCTURES, 0.4)),
        "Sérsic": make_config(population__structures={"sersicFraction": 1.0}),
        "mergers": make_config(population={"mergerFraction": 0.2}),
    }
    for title, config in kinds.items():
        # The same sky in all, so that rows differ by structures alone.
        report.row(title, make_scenes(args.scenes, args.size, 300, size_model="large", config=config))
    folder = Path(args.data or os.environ.get("BLENDID_DATA", "")) / "cosmos_real"
    if not folder.is_dir():
        report.say(f"no galaxies of HST: there is no {folder}")
        return
    for sizes in ("cosmodc2", "large"):
        scenes = make_scenes(args.scenes, args.size, 320, size_model=sizes)
        report.row(f"parametric, {sizes}", scenes)
        report.row(f"HST galaxies, {sizes} below 25.2", [RealScene(scene, folder) for scene in scenes])


def run_populations(report: Report, args: argparse.Namespace) -> None:
    """Populations beside those of training."""
    report.head("Populations")
    broad = dataclasses.replace(SIZE_MODELS["1.6x"], name="broad", scatter=0.3)
    rows: dict[str, list[SimulatedScene]] = {
        "as usual": make_scenes(args.scenes, args.size, 400),
        "sizes broader by half": make_scenes(args.scenes, args.size, 400, size_model=broad),
        "clustering × 2": make_scenes(
            args.scenes, args.size, 400, config=make_config(population={"clustering": 2.0})
        ),
        "compact groups": make_scenes(args.scenes, args.size, 410, source=CompactGroups()),
        "bright galaxies": make_scenes(
            args.scenes, args.size, 420, config=make_config(population={"brightDensity": 5.0})
        ),
    }
    for title, scenes in rows.items():
        report.row(title, scenes)


def star_scene(profile: dict[str, Any], seed: int) -> tuple[SimulatedScene, np.ndarray]:
    """A hundred isolated stars, S/N 10 to 3,000, and their S/N."""
    step, side = 80, 10
    survey = get_survey("i")
    rng = np.random.default_rng(seed)
    x, y = (np.repeat(np.arange(side), side), np.tile(np.arange(side), side))
    ratio = np.geomspace(10.0, 3000.0, side)[np.repeat(np.arange(side), side)]
    # Flux of S/N 1 is that of 5σ depth over five, at the depth of the band of 26.50.
    flux = ratio / 5.0 * 10.0 ** (0.4 * (31.4 - 26.50))
    table = Table(
        {
            "x": (x + 0.5) * step + rng.uniform(-1.0, 1.0, side**2),
            "y": (y + 0.5) * step + rng.uniform(-1.0, 1.0, side**2),
            "flux_i": flux,
            "is_star": np.ones(side**2, dtype=bool),
        }
    )
    scene = SimulatedScene(
        table,
        "cosmodc2",
        seed,
        (side * step, side * step),
        None,
        survey,
        make_config(psf=profile),
        for_any_band=True,
    )
    return scene, ratio


BRIGHT: dict[str, dict[str, float]] = {
    "ellipticals": {"bulge_fraction": 1.0, "bulge_sersic": 4.0},
    "discs": {"bulge_fraction": 0.1},
    "spirals": {"bulge_fraction": 0.15, "n_arms": 2.0, "arm_fraction": 0.4},
    "barred, rings, dust": {
        "bulge_fraction": 0.1,
        "bar_fraction": 0.3,
        "ring_fraction": 0.15,
        "n_arms": 2.0,
        "arm_fraction": 0.3,
        "dust_depth": 0.3,
    },
}


def bright_scene(form: dict[str, float], seed: int) -> SimulatedScene:
    """A hundred isolated galaxies of one form, point-source S/N 1,000 to 10,000, as large as galaxies are."""
    step, side = 200, 10
    rng = np.random.default_rng(seed)
    ratio = np.geomspace(1000.0, 10_000.0, side)[np.repeat(np.arange(side), side)]
    mag = 26.50 - 2.5 * np.log10(ratio / 5.0)
    model = SIZE_MODELS["large"]
    table = Table(
        {
            "x": (np.repeat(np.arange(side), side) + 0.5) * step + rng.uniform(-1.0, 1.0, side**2),
            "y": (np.tile(np.arange(side), side) + 0.5) * step + rng.uniform(-1.0, 1.0, side**2),
            "mag_i": mag,
            "half_light_radius": np.minimum(model.radius_24 * 10.0 ** (model.slope * (mag - 24.0)), 4.0),
            "axis_ratio": rng.uniform(0.5, 1.0, side**2),
            "position_angle": rng.uniform(0.0, 180.0, side**2),
        }
        | {name: np.full(side**2, value) for name, value in form.items()}
    )
    return SimulatedScene(table, "cosmodc2", seed, (side * step,) * 2, None, "i", for_any_band=True)


def run_bright(report: Report, args: argparse.Namespace) -> None:
    """Isolated bright galaxies."""
    report.say()
    report.say("Isolated bright galaxies: mean P(blended), share over .5, share of these with novelty over 3")
    for key, (name, form) in enumerate(BRIGHT.items()):
        scored = run_models([bright_scene(form, SEED + 950 + key)], report.models)
        say_isolated(report, name, scored)


def say_isolated(report: Report, title: str, scored: Scored) -> None:
    """A line a model on footprints with one object each."""
    alone = scored.counts == 1
    for model in report.models:
        p = scored.p_n[model][alone, 2:].sum(axis=1)
        over = p > 0.5
        known = f"{np.mean(scored.novelty[model][alone][over] > 3.0):.2f}" if over.any() else "–"
        report.say(
            f"{title:34}{model:16}{len(p):4d} alone   mean {np.nanmean(p):.3f}   over .5 "
            f"{np.mean(over):.3f}   of them novel {known}"
        )


@dataclasses.dataclass(frozen=True)
class ToldSeeing:
    """A scene whose PSF is told as a Kolmogorov one of its FWHM."""

    scene: SimulatedScene

    def load(self) -> Scene:
        """Simulate the scene."""
        survey = self.scene.survey
        survey = get_survey(survey) if isinstance(survey, str) else survey
        kernel = kolmogorov_kernel(survey.fwhm / survey.pixel_scale, 41)
        return dataclasses.replace(self.scene.load(), psf=summarize_psf(kernel))


def run_stars(report: Report, args: argparse.Namespace) -> None:
    """Isolated stars, told the PSF of their image, and told a Kolmogorov profile of the same width."""
    report.say()
    report.say("Isolated stars: mean P(blended), share over .5, and share of these with novelty over 3")
    for (name, profile), told in itertools.product(PROFILES.items(), ("its PSF", "the seeing")):
        scene, _ = star_scene(profile, SEED + 900)
        scored = run_models([scene if told == "its PSF" else ToldSeeing(scene)], report.models)
        say_isolated(report, f"{name}, told {told}", scored)


def run_novelty(report: Report, args: argparse.Namespace) -> None:
    """Error by novelty, of all footprints so far."""
    report.say()
    report.say("Error by novelty: excess of the cross-entropy over what the probabilities themselves expect")
    curves: dict[str, list[tuple[float, float, float]]] = {}
    for name in report.models:
        novelty = np.concatenate([one.novelty[name] for one in report.scored])
        if not np.isfinite(novelty).any():
            report.say(f"{name} does not tell its novelty")
            continue
        p = np.clip(
            np.concatenate([one.p_n[name][:, 2:].sum(axis=1) for one in report.scored]), 1e-6, 1.0 - 1e-6
        )
        blended = np.concatenate([one.counts for one in report.scored]) > 1
        loss = -np.where(blended, np.log(p), np.log1p(-p))
        expected = -(p * np.log(p) + (1.0 - p) * np.log1p(-p))
        curves[name] = []
        for low, high in itertools.pairwise(NOVELTY_EDGES):
            use = (novelty >= low) & (novelty < high) & np.isfinite(loss)
            if use.sum() < 20:
                continue
            excess = loss[use] - expected[use]
            error = float(np.std(excess) / np.sqrt(use.sum()))
            bias = np.mean(p[use]) - np.mean(blended[use])
            curves[name].append((float(np.mean(novelty[use])), float(np.mean(excess)), error))
            report.say(
                f"{name:18}{low:4g} to {high:4g}{use.sum():9d}   CE {np.mean(loss[use]):.4f}   excess "
                f"{np.mean(excess):+.4f} ± {error:.4f}   mean p - blended {bias:+.4f}"
            )
    if args.figure is not None:
        draw_novelty(curves, args.figure)


def draw_novelty(curves: dict[str, list[tuple[float, float, float]]], path: Path) -> None:
    """Draw the error of probabilities by novelty: points (novelty, excess, its error) by model."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.0, 3.6), layout="constrained")
    for name, points in curves.items():
        x, y, error = np.array(points).T
        axes.errorbar(x, y, error, marker="o", capsize=3, label=name)
    axes.axhline(0.0, color="0.6", linewidth=0.8)
    axes.axvline(3.0, color="0.6", linewidth=0.8, linestyle="--")
    axes.annotate("maxNovelty", (3.0, axes.get_ylim()[1]), xytext=(4, -12), textcoords="offset points")
    axes.set_xlabel("novelty")
    axes.set_ylabel("cross-entropy above what p expects")
    axes.legend(loc="upper left", frameon=False)
    figure.savefig(path, dpi=130)


SECTIONS = {
    "grid": run_grid,
    "structures": run_structures,
    "populations": run_populations,
    "stars": run_stars,
    "bright": run_bright,
    "novelty": run_novelty,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="names or paths")
    parser.add_argument("--sections", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--data", help="folder of the public data, with cosmos_real (default: $BLENDID_DATA)")
    parser.add_argument("--scenes", type=int, default=1, help="scenes of each row")
    parser.add_argument("--size", type=int, default=1024, help="side of a scene, pixels")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="processes that simulate scenes")
    parser.add_argument("--text", type=Path, help="file to write the tables to")
    parser.add_argument("--figure", type=Path, help="file to draw the error by novelty in")
    args = parser.parse_args()
    start = time.perf_counter()
    report = Report(read_models(args.models), args.jobs)
    for name in args.sections:
        SECTIONS[name](report, args)
    print(f"\n{time.perf_counter() - start:.0f} s", file=sys.stderr)
    if args.text is not None:
        args.text.write_text("\n".join(report.lines).lstrip("\n") + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

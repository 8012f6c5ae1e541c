# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What a deblender makes of blends with the 5 sigma peaks, with the peaks of the task and with the truth.

Footprints of simulated scenes that truly hold two galaxies or more of S/N >= 5 are deblended with scarlet2
three times, with nothing but the peaks changed.  Sources and galaxies are matched one to one, within 2.5
pixels.  Errors are from a bootstrap over blends, paired where two sets of peaks are compared.  Each blend is
kept in a file as soon as it is done, and a run that was stopped goes on from there.

    python benchmarks/deblend.py                                          200 blends of a parametric sky
    python benchmarks/deblend.py --blends 5 --records few.jsonl           a first look
    python benchmarks/deblend.py --scenes 4 7 8 --truths FOLDER           blends of the validation sky
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# One thread, as everything is timed and compared; before JAX is imported.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import numpy as np
from astropy.table import Table
from lsst.meas.blendid import IdentifiedBlends, identify_blends
from lsst.meas.blendid.deblending import (
    BlendStamp,
    DeblendedSources,
    cut_stamp,
    deblend_stamp,
    peaks_to_deblend,
)
from lsst.meas.blendid.evaluation.drawing import BLENDED, INK, MUTED, SINGLE, new_figure, styled
from lsst.meas.blendid.peak_matching import GalaxyList, PeakList, match_peaks
from lsst.meas.blendid.simulation import (
    SIZE_MODELS,
    PsfModel,
    SimulatedCoadd,
    draw_galaxies,
    find_truth_scene,
    simulate_scene,
)

DETECTED, OURS, TRUE = "5σ peaks", "our peaks", "true positions"
SETS = (DETECTED, OURS, TRUE)
COLORS = {DETECTED: MUTED, OURS: BLENDED, TRUE: SINGLE}
SEED = 61_000
PIXEL = 0.2
"""Pixel size of the scenes, arcsec."""
WRONG = 0.75
"""A flux that is off by more than this, magnitudes, is wrong: that of two galaxies taken for one."""
LONGEST = 57
"""Longest box of a footprint that is deblended, pixels."""
ROWS = {
    "found": "galaxies that have a source",
    "lost": "galaxies without one, or with a wrong flux",
    "missed_flux": "flux of galaxies without a source",
    "bias": "brightest: median Δm",
    "scatter": "brightest: scatter of Δm",
    "error": "brightest: mean |Δm|",
    "wrong": f"brightest: |Δm| > {WRONG}",
    "shape": "brightest: median residual of ellipticity",
    "second_found": "second: has a source",
    "second_recovered": f"second: and |Δm| < {WRONG}",
    "second_bias": "second: median Δm",
    "second_scatter": "second: scatter of Δm",
    "spurious": "sources without a galaxy, a blend",
}
GROUPS = {"all blends": "", "blends with one 5σ peak": "one", "blends with more 5σ peaks": "more"}


@dataclass(frozen=True)
class Outcomes:
    """What became of the g galaxies of n blends.

    Parameters
    ----------
    blend, rank
        Blend of each galaxy and its place in it by brightness, from 0, int ``(g,)``.
    flux
        True flux, ``(g,)``.
    separation
        Distance from the brightest galaxy of the blend, pixels, ``(g,)``.
    one_peak
        Whether a blend has one 5 sigma peak, bool ``(n,)``.
    found
        By set of peaks, the flux of the source of each galaxy, NaN for none, ``(g,)``.
    shape
        By set of peaks, the distance of its ellipticity from the true one, NaN for none, ``(g,)``.
    spurious
        By set of peaks, the number of sources without a galaxy, ``(n,)``.
    """

    blend: np.ndarray
    rank: np.ndarray
    flux: np.ndarray
    separation: np.ndarray
    one_peak: np.ndarray
    found: dict[str, np.ndarray]
    shape: dict[str, np.ndarray]
    spurious: dict[str, np.ndarray]

    @classmethod
    def from_records(cls, records: list[dict[str, Any]]) -> Outcomes:
        """Take blends as they were kept."""
        rows = [(i, r, rank) for i, r in enumerate(records) for rank in range(len(r["flux"]))]

        def gather(value: Callable[[dict[str, Any], int], float]) -> np.ndarray:
            return np.array([value(record, rank) for _, record, rank in rows])

        def partner(name: str, values: str) -> Callable[[dict[str, Any], int], Any]:
            def get(record: dict[str, Any], rank: int) -> Any:
                own = record["sets"][name]
                return own[values][own["galaxy"].index(rank)] if rank in own["galaxy"] else None

            return get

        def distance(name: str) -> Callable[[dict[str, Any], int], float]:
            def get(record: dict[str, Any], rank: int) -> float:
                e = partner(name, "e")(record, rank)
                return np.nan if e is None else float(np.hypot(*np.subtract(e, record["e"][rank])))

            return get

        return cls(
            blend=np.array([i for i, _, _ in rows]),
            rank=np.array([rank for _, _, rank in rows]),
            flux=gather(lambda r, k: r["flux"][k]),
            separation=gather(lambda r, k: np.hypot(r["x"][k] - r["x"][0], r["y"][k] - r["y"][0])),
            one_peak=np.array([r["n_peaks"] == 1 for r in records]),
            found={
                name: np.array(
                    [np.nan if (v := partner(name, "flux")(r, k)) is None else v for _, r, k in rows]
                )
                for name in SETS
            },
            shape={name: gather(distance(name)) for name in SETS},
            spurious={
                name: np.array([r["sets"][name]["galaxy"].count(-1) for r in records], dtype=float)
                for name in SETS
            },
        )

    def dm(self, name: str) -> np.ndarray:
        """Magnitude of each galaxy's source less the true one; NaN without a source."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return -2.5 * np.log10(self.found[name] / self.flux)


def quantile(values: np.ndarray, weights: np.ndarray, q: float) -> float:
    """Quantile of weighted values, of those that are numbers."""
    use = np.isfinite(values) & (weights > 0.0)
    if not use.any():
        return np.nan
    values, weights = values[use], weights[use]
    # Equal values in an order of their own, so that theirs does not matter.
    order = np.lexsort((weights, values))
    place = (np.cumsum(weights[order]) - 0.5 * weights[order]) / weights.sum()
    return float(np.interp(q, place, values[order]))


def score(outcomes: Outcomes, name: str, times: np.ndarray) -> dict[str, float]:
    """Score a set of peaks.

    Parameters
    ----------
    outcomes
        The blends.
    name
        The set.
    times
        Weight of each blend, ``(n,)``.

    Returns
    -------
    scores
        Value of each of `ROWS`; NaN where there is nothing to tell it from.
    """
    weight = times[outcomes.blend]
    dm, has = outcomes.dm(name), np.isfinite(outcomes.found[name])
    wrong = ~has | ~(np.abs(np.where(has, dm, 0.0)) <= WRONG)

    def share(of: np.ndarray, among: np.ndarray) -> float:
        total = weight[among].sum()
        return float(weight[among & of].sum() / total) if total > 0.0 else np.nan

    everything = np.ones(len(weight), dtype=bool)
    first, second = outcomes.rank == 0, outcomes.rank == 1
    bright = first & has
    flux = weight * outcomes.flux

    def spread(among: np.ndarray) -> float:
        low, high = (quantile(dm[among], weight[among], q) for q in (0.16, 0.84))
        return 0.5 * (high - low)

    return {
        "found": share(has, everything),
        "lost": share(wrong, everything),
        "missed_flux": float(flux[~has].sum() / flux.sum()) if flux.sum() > 0.0 else np.nan,
        "bias": quantile(dm[bright], weight[bright], 0.5),
        "scatter": spread(bright),
        "error": float(np.average(np.abs(dm[bright]), weights=weight[bright]))
        if weight[bright].sum() > 0.0
        else np.nan,
        "wrong": share(wrong, bright),
        "shape": quantile(outcomes.shape[name][bright], weight[bright], 0.5),
        "second_found": share(has, second),
        "second_recovered": share(~wrong, second),
        "second_bias": quantile(dm[second & has], weight[second & has], 0.5),
        "second_scatter": spread(second & has),
        "spurious": float(times @ outcomes.spurious[name] / times.sum()),
    }


def compare(outcomes: Outcomes, use: np.ndarray, draws: int) -> dict[str, dict[str, tuple[float, float]]]:
    """Score all sets on the blends to use, with errors; also what is better with our peaks, paired."""
    rng = np.random.default_rng(20220101)
    rows = np.flatnonzero(use)
    samples = [use.astype(float)]
    for _ in range(draws):
        chosen = rng.choice(rows, len(rows))
        samples.append(np.bincount(chosen, minlength=len(use)).astype(float))
    values = {
        name: {key: np.array([s[key] for s in scores]) for key in ROWS}
        for name in SETS
        for scores in [[score(outcomes, name, times) for times in samples]]
    }
    values["ours - 5σ"] = {key: values[OURS][key] - values[DETECTED][key] for key in ROWS}

    def error(resampled: np.ndarray) -> float:
        known = resampled[np.isfinite(resampled)]
        return float(known.std(ddof=1)) if len(known) > 1 else np.nan

    return {
        name: {key: (float(v[0]), error(v[1:])) for key, v in own.items()} for name, own in values.items()
    }


def report(outcomes: Outcomes, draws: int) -> tuple[str, dict[str, Any]]:
    """Write the tables; also give their numbers."""
    lines, numbers = [], {}
    masks = {"": np.ones_like(outcomes.one_peak), "one": outcomes.one_peak, "more": ~outcomes.one_peak}
    for title, which in GROUPS.items():
        use = masks[which]
        if not use.any():
            continue
        table = compare(outcomes, use, draws)
        galaxies = int(np.count_nonzero(use[outcomes.blend]))
        lines += ["", f"{title}: {np.count_nonzero(use)} with {galaxies} galaxies"]
        lines.append(f"{'':44}" + "".join(f"{name:>18}" for name in table))
        for key, text in ROWS.items():
            cells = "".join(
                f"{value:>10.3f} ± {error:.3f}" for value, error in (t[key] for t in table.values())
            )
            lines.append(f"{text:44}{cells}")
        numbers[title] = {name: {key: list(v) for key, v in own.items()} for name, own in table.items()}
    return "\n".join(lines[1:]), numbers


def weighted_ellipticity(image: np.ndarray, x: float, y: float, sigma: float) -> tuple[float, float]:
    """Ellipticity of an image about a place, from moments under a round Gaussian."""
    rows, columns = np.indices(image.shape, dtype=float)
    dx, dy = columns - x, rows - y
    weight = image * np.exp(-(dx**2 + dy**2) / (2.0 * sigma**2))
    xx, yy, xy = (float((weight * m).sum()) for m in (dx * dx, dy * dy, dx * dy))
    return (xx - yy) / (xx + yy), 2.0 * xy / (xx + yy)


def scenes(args: argparse.Namespace) -> Iterator[tuple[str, SimulatedCoadd]]:
    """Simulate scenes, one after the other, for as long as more are wanted."""
    sources = [find_truth_scene(scene, args.truths) for scene in args.scenes] or ["parametric"]
    seed = args.seed
    while True:
        for source in sources:
            made = simulate_scene(
                source,
                size=(args.size, args.size),
                seed=seed,
                size_model=args.size_model,
                split="validation" if args.scenes else None,
            )
            yield f"{made.truth.meta['source']}-{seed}", made
            seed += 1


def choose_blends(blends: IdentifiedBlends, galaxies: GalaxyList) -> tuple[np.ndarray, int]:
    """Find the blends that are deblended, and how many are too long or cut by the edge."""
    footprints = blends.detection.footprints
    box = footprints.bbox
    (ny, nx), (x0, y0) = footprints.shape, footprints.xy0
    blended = np.bincount(galaxies.footprint, minlength=len(footprints)) >= 2
    whole = (box[:, 0] > x0) & (box[:, 1] > y0) & (box[:, 2] < x0 + nx - 1) & (box[:, 3] < y0 + ny - 1)
    whole &= (box[:, 2:] - box[:, :2]).max(axis=1) < LONGEST
    return np.flatnonzero(blended & whole), int(np.count_nonzero(blended & ~whole))


class Deblending:
    """The blends of a scene, deblended with each set of peaks."""

    def __init__(self, made: SimulatedCoadd, steps: int) -> None:
        self.blends = identify_blends(made.coadd)
        self.truth, self.steps = made.truth, steps
        self.galaxies = GalaxyList.from_truth(self.blends.detection.footprints, made.truth)
        self.chosen, self.left_out = choose_blends(self.blends, self.galaxies)
        self.peaks = peaks_to_deblend(self.blends)
        # Wide enough that the shape of small galaxies is not that of the weight.
        self.sigma = 1.5 * self.blends.detection.psf.sigma

    def places(self, row: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Give each set of peaks of a footprint."""
        footprints = self.blends.detection.footprints
        detected = footprints.peaks[footprints.peak_start[row] : footprints.peak_start[row + 1]]
        ours = self.peaks[np.asarray(self.peaks["footprint_id"]) == row + 1]
        own = self.galaxies.footprint == row
        return {
            DETECTED: (detected["f_x"], detected["f_y"]),
            OURS: (np.asarray(ours["x"]), np.asarray(ours["y"])),
            TRUE: (self.galaxies.x[own], self.galaxies.y[own]),
        }

    def __call__(self, row: int) -> dict[str, Any]:
        """Deblend a footprint with each set; give what is kept."""
        own = np.flatnonzero(self.galaxies.footprint == row)
        x, y = self.galaxies.x[own], self.galaxies.y[own]
        truth = self.truth[[self._find(*place) for place in zip(x, y, strict=True)]]
        order = np.argsort(-np.asarray(truth["flux"], dtype=float), kind="stable")
        truth, x, y = truth[order], x[order], y[order]
        stamp = cut_stamp(self.blends.detection, row + 1)
        record: dict[str, Any] = {
            "footprint": row + 1,
            "n_peaks": len(self.places(row)[DETECTED][0]),
            "x": x.tolist(),
            "y": y.tolist(),
            "flux": np.asarray(truth["flux"], dtype=float).tolist(),
            "snr": np.asarray(truth["snr"], dtype=float).tolist(),
            "e": [self._true_shape(truth[k : k + 1], stamp) for k in range(len(truth))],
            "sets": {},
        }
        pictures = {"image": stamp.image, "place": [stamp.x0, stamp.y0]}
        zeros = np.zeros(len(x), np.int64)
        listed = GalaxyList(zeros, x, y, np.asarray(truth["snr"], dtype=float), np.full(len(x), np.nan))
        for name, (peak_x, peak_y) in self.places(row).items():
            sources = deblend_stamp(stamp, peak_x, peak_y, steps=self.steps)
            none = np.full(len(sources), np.nan)
            matches = match_peaks(
                PeakList(np.zeros(len(sources), np.int64), sources.x, sources.y, none), listed
            )
            record["sets"][name] = {
                "x": sources.x.tolist(),
                "y": sources.y.tolist(),
                "flux": sources.flux.tolist(),
                "e": self._shapes(sources, stamp),
                "chi2": sources.chi2,
                "galaxy": matches.galaxy.tolist(),
            }
            pictures[name] = sources.models.sum(axis=0)
        if record["n_peaks"] == 1 and len(x) == 2 and len(stamp.image) == 33:
            # For the figure, which shows one of these.
            record["pictures"] = {k: np.round(np.asarray(v, float), 2).tolist() for k, v in pictures.items()}
        return record

    def _find(self, x: float, y: float) -> int:
        return int(np.argmin(np.hypot(self.truth["x"] - x, self.truth["y"] - y)))

    def _true_shape(self, galaxy: Table, stamp: BlendStamp) -> tuple[float, float]:
        """Ellipticity of a galaxy alone, without noise, as seen through the PSF."""
        galaxy = galaxy.copy()
        galaxy["x"] -= float(stamp.x0)
        galaxy["y"] -= float(stamp.y0)
        image = draw_galaxies(
            galaxy,
            size=stamp.image.shape[::-1],
            psf=PsfModel(self.truth.meta["psf_fwhm"]),
            pixel_scale=PIXEL,
            noise=self.truth.meta["sky_sigma"],
        )
        return weighted_ellipticity(image, float(galaxy["x"][0]), float(galaxy["y"][0]), self.sigma)

    def _shapes(self, sources: DeblendedSources, stamp: BlendStamp) -> list[tuple[float, float]]:
        return [
            weighted_ellipticity(model, x - stamp.x0, y - stamp.y0, self.sigma)
            for model, x, y in zip(sources.models, sources.x, sources.y, strict=True)
        ]


def read_records(path: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Read the blends of a run that was stopped; a line that was cut is left out.

    Raises
    ------
    SystemExit
        Raised if they were made with other settings.
    """
    if not path.exists():
        return []
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            kept.append(json.loads(line))
        except ValueError:
            break
    if kept and kept[0] != settings:
        raise SystemExit(f"{path} has blends of other settings, {kept[0]}; remove it or name another file")
    return kept[1:]


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Deblend as many blends as are wanted, those that are kept from before included."""
    names = ("scenes", "size", "size_model", "seed", "steps")
    settings = {name: getattr(args, name) for name in names}
    records = read_records(args.records, settings)
    with args.records.open("w", encoding="utf-8") as file:
        for line in (settings, *records):
            print(json.dumps(line), file=file, flush=True)
        done = {(r["scene"], r["footprint"]) for r in records}
        for name, made in scenes(args) if len(records) < args.blends else ():
            deblending = Deblending(made, args.steps)
            for row in deblending.chosen.tolist():
                if len(records) >= args.blends:
                    break
                if (name, row + 1) not in done:
                    records.append({"scene": name, "left_out": deblending.left_out} | deblending(row))
                    print(json.dumps(records[-1]), file=file, flush=True)
            print(f"{name}: {len(records)} blends so far", file=sys.stderr, flush=True)
            if len(records) >= args.blends:
                break
    return records[: args.blends]


@styled
def draw(outcomes: Outcomes, records: list[dict[str, Any]]) -> Any:
    """Draw an example, the error of the brightest galaxy, and which second galaxies are recovered."""
    figure = new_figure(9.0, 6.0)
    grid = figure.add_gridspec(2, 4, height_ratios=(1.0, 1.25))
    shown = [r for r in records if "pictures" in r and set(r["sets"][OURS]["galaxy"]) == {0, 1}]
    if shown:
        best = max(shown, key=lambda r: r["snr"][1])
        pictures = {k: np.array(v) for k, v in best["pictures"].items()}
        image, (x0, y0) = pictures["image"], pictures["place"]
        high = 0.5 * float(image.max())
        for k, name in enumerate(("image", *SETS)):
            axes = figure.add_subplot(grid[0, k])
            shown_image = image if name == "image" else image - pictures[name]
            axes.imshow(shown_image, origin="lower", cmap="gray_r", vmin=-0.3 * high, vmax=high)
            axes.set_axis_off()
            axes.set_title("image, galaxies" if name == "image" else f"residual, {name}", fontsize=9.5)
            own = best if name == "image" else best["sets"][name]
            mark = "+" if name == "image" else "x"
            color = SINGLE if name == "image" else COLORS[name]
            axes.plot(np.array(own["x"]) - x0, np.array(own["y"]) - y0, mark, color=color, ms=9, mew=1.6)
    axes = figure.add_subplot(grid[1, :2])
    one = outcomes.one_peak[outcomes.blend] & (outcomes.rank == 0)
    edges = np.linspace(-1.2, 0.8, 21)
    for name in SETS:
        values = np.clip(outcomes.dm(name)[one], edges[0], edges[-1])
        axes.hist(values[np.isfinite(values)], edges, histtype="step", color=COLORS[name], lw=1.8, label=name)
    axes.axvline(0.0, color=INK, lw=0.8)
    axes.set_xlabel("Δm of the brighter galaxy (too bright: negative)")
    axes.set_ylabel("blends with one 5σ peak")
    axes.legend(loc="upper left")
    axes = figure.add_subplot(grid[1, 2:])
    axes.yaxis.tick_right()
    bins = np.array([0.0, 4.0, 6.0, 8.0, 11.0, 30.0])
    second = outcomes.rank == 1
    for k, name in enumerate(SETS):
        good = np.abs(outcomes.dm(name)) <= WRONG
        x, share, errors = [], [], []
        for low, high in zip(bins[:-1], bins[1:], strict=True):
            own = second & (outcomes.separation >= low) & (outcomes.separation < high)
            if (n := np.count_nonzero(own)) >= 3:
                p = np.count_nonzero(good & own) / n
                x.append(float(np.median(outcomes.separation[own])) + 0.12 * (k - 1))
                share.append(p)
                errors.append(np.sqrt((p * (1.0 - p) + 0.25 / n) / n))
        axes.errorbar(x, share, errors, color=COLORS[name], marker="o", ms=4, lw=1.5, label=name)
    axes.set_ylim(-0.02, 1.05)
    axes.set_xlabel("separation from the brightest galaxy, pixels")
    axes.set_title(f"second galaxies with |Δm| < {WRONG}", fontsize=9.5)
    return figure


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blends", type=int, default=200, help="number of blends")
    parser.add_argument("--size", type=int, default=768, help="side of a scene, pixels")
    parser.add_argument("--size-model", choices=list(SIZE_MODELS), default="1.6x", help="sizes of galaxies")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of the first scene")
    parser.add_argument(
        "--scenes",
        type=int,
        nargs="*",
        default=[],
        choices=(4, 7, 8),
        help="truth scenes of the validation sky instead of a parametric sky",
    )
    parser.add_argument(
        "--truths", help="folder that holds buchanan2022/scene_04.fits (default: $BLENDID_DATA)"
    )
    parser.add_argument("--steps", type=int, default=200, help="steps of the optimiser")
    parser.add_argument("--bootstrap", type=int, default=200, help="resamples")
    parser.add_argument(
        "--records", type=Path, default=Path("deblend.jsonl"), help="file that blends are kept in"
    )
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--text", type=Path, help="file to write the tables to")
    parser.add_argument("--figure", type=Path, help="picture to write")
    args = parser.parse_args()
    records = run(args)
    outcomes = Outcomes.from_records(records)
    left_out = sum({r["scene"]: r["left_out"] for r in records}.values())
    n_scenes = len({r["scene"] for r in records})
    sky = f"{'the validation' if args.scenes else 'a parametric'} sky, sizes {args.size_model}"
    title = (
        f"{len(records)} blends of {n_scenes} scenes of {args.size}² pixels of {sky}\n"
        f"({left_out} others there are longer than {LONGEST} pixels or cut by the edge)"
    )
    text, numbers = report(outcomes, args.bootstrap)
    print(f"{title}\n\n{text}")
    if args.text:
        args.text.write_text(f"{title}\n\n{text}\n", encoding="utf-8")
    if args.json:
        args.json.write_text(json.dumps(numbers, indent=1), encoding="utf-8")
    if args.figure:
        draw(outcomes, records).savefig(args.figure, dpi=100)
    return 0


if __name__ == "__main__":
    sys.exit(main())

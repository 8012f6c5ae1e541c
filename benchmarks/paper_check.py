# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

r"""Simulated scenes beside the statistics that Buchanan et al. 2022 publish for theirs.

The true positions and fluxes of the paper's ten training scenes are drawn with each
model of galaxy sizes, and footprints are found as ``config/buchanan2022.py`` has it:
noise from the clipped variance, growth by 2.4 times the width of the PSF. The first table
gives, per scene, the galaxies with true S/N >= 5, their share inside footprints, the
number of footprints, and the shares of those that are blended, unblended and empty:
means over the scenes, and the scatter between scenes. Galaxies are counted in two
ways: ``matched``, the S/N from the actual PSF, and ``paper``, that of a Gaussian of
FWHM 0.7 arcsec, centres truncated to pixels and one galaxy per pixel.

A second table takes the noise from the clipped scatter of the smoothed image. A third one
changes one thing at a time, for galaxies of the sizes of cosmoDC2 at 5 sigma and the
paper's count: the mean differences from the first row, scene by scene, say what that does.
The last column is the threshold in units of the noise that the sky alone would leave in
the smoothed image, were it white.

Nothing is trained or tuned, so that all ten scenes may be used.

    python benchmarks/paper_check.py --truths ../shared/data \
        --rst doc/lsst.meas.blendid/measured/paper_check.rst
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table
from lsst.meas.blendid.footprints import DetectionResult, FootprintConfig, build_footprints
from lsst.meas.blendid.footprints.significance import gaussian_kernel
from lsst.meas.blendid.images.psf import PsfSummary, summarize_psf
from lsst.meas.blendid.labels import count_galaxies, matched_snr, paper_counts, paper_psf
from lsst.meas.blendid.simulation import (
    SIZE_MODELS,
    SimulatedCoadd,
    SimulationError,
    find_truth_scene,
    get_survey,
    simulate_scene,
)
from lsst.meas.blendid.simulation.config import SceneConfig
from lsst.meas.blendid.training import clipped_footprints

PUBLISHED = "6,725", ".660", "2,430", "38.0", "61.7", "0.25"
"""Statistics of the paper; blended and unblended as the released calibration arrays have them."""
COLUMNS = "galaxies ≥ 5σ", "inside", "footprints", "blended %", "unblended %", "empty %"
SIZES = (*SIZE_MODELS, "cosmodc2-galaxies")
BRIGHT, FAINT = 21.0, 27.25
"""Galaxies brighter than the first make the largest footprints; those fainter than the second have
half the S/N limit."""


@dataclasses.dataclass(frozen=True)
class Statistics:
    """What the paper publishes, of one scene."""

    galaxies: float
    """Galaxies over the S/N limit."""
    inside: float
    """Share of them inside footprints."""
    footprints: float
    """Number of footprints."""
    blended: float
    """Share with more than one galaxy, per cent."""
    unblended: float
    """Share with one galaxy, per cent."""
    empty: float
    """Share with none, per cent."""
    threshold: float
    """Threshold over the noise that the known sky leaves in the smoothed image."""

    @property
    def row(self) -> tuple[float, ...]:
        """The columns of the table."""
        return dataclasses.astuple(self)[:6]


def render(
    scene: int, size_model: str, args: argparse.Namespace, *, noise_seed: int = 0, shape_seed: int = 0
) -> SimulatedCoadd:
    """Simulate one of the scenes, without subtracting a background."""
    config = SceneConfig()
    config.doSubtractBackground = False
    # The photon counts of the truths are those of lensed galaxies.
    config.population.doLensing = False
    seed = args.seed + scene
    return simulate_scene(
        find_truth_scene(scene, args.truths),
        seed=seed + 1_000 * shape_seed,
        noise_seed=seed + 1_000 * noise_seed,
        size_model=size_model,
        config=config,
    )


def find(
    simulated: SimulatedCoadd,
    config: FootprintConfig,
    *,
    variance: float | None = None,
    sigma: float | None = None,
    offset: float = 0.0,
) -> DetectionResult:
    """Find footprints.

    Parameters
    ----------
    simulated
        The scene.
    config
        Settings.
    variance
        Variance of each pixel, for settings that take it from a plane.
    sigma
        Width of the Gaussian kernel, pixels, if not that of the PSF.
    offset
        Added to the image, nJy.
    """
    coadd = simulated.coadd
    psf = summarize_psf(coadd.psf, coadd.bbox)
    if sigma is not None:
        psf = PsfSummary(psf.image, sigma, sigma, sigma, 0.0, psf.n_cells)
    image = coadd.image.array
    return build_footprints(
        image + np.float32(offset),
        psf=psf,
        config=config,
        variance=None if variance is None else np.full(image.shape, variance, dtype=np.float32),
    )


def count(result: DetectionResult, truth: Table, definition: str) -> Statistics:
    """Count the galaxies of each footprint."""
    sky = get_survey("i").sky_sigma
    if definition == "matched":
        counts = count_galaxies(result.footprints, truth)
        galaxies = int(np.count_nonzero(truth["snr"] >= 5.0))
    else:
        counts = paper_counts(result.footprints, truth, sky_sigma=sky)
        bright = matched_snr(truth["flux"], paper_psf(3.5), sky) >= 5.0
        pixels = np.stack([np.trunc(truth["x"][bright]), np.trunc(truth["y"][bright])], axis=1)
        galaxies = len(np.unique(pixels, axis=0))
    n = len(counts)
    blended, unblended, empty = (
        100.0 * np.count_nonzero(c) / n for c in (counts > 1, counts == 1, counts == 0)
    )
    inside = float(counts.sum()) / galaxies
    kernel = gaussian_kernel(result.psf.sigma, int(result.metadata["kernel_size"]))
    known = sky * float(np.sum(np.square(kernel)))
    threshold = float(result.metadata["threshold"]) * result.noise.smoothed_sigma / known
    return Statistics(galaxies, inside, n, blended, unblended, empty, threshold)


def settings(threshold: float = 5.0, **fields: object) -> FootprintConfig:
    """Footprints as ``config/buchanan2022.py`` has them, but for some fields."""
    config = clipped_footprints()
    config.thresholdValue = threshold
    config.update(**fields)
    return config


def without(simulated: SimulatedCoadd, drop: np.ndarray, noise_seed: int) -> SimulatedCoadd:
    """Draw a scene again without some of its galaxies; the truth stays whole."""
    columns = (
        *("id", "x", "y", "mag", "is_star", "half_light_radius", "disc_radius", "bulge_radius"),
        *("axis_ratio", "bulge_axis_ratio", "position_angle", "bulge_fraction"),
    )
    config = SceneConfig()
    config.doSubtractBackground = False
    # The magnitudes of the truth are the observed ones.
    config.population.doLensing = False
    left = simulated.truth[list(columns)][~drop]
    again = simulate_scene(left, noise_seed=noise_seed, config=config)
    return SimulatedCoadd(again.coadd, simulated.truth)


def shift_back(simulated: SimulatedCoadd, seed: int, n: int = 100) -> SimulatedCoadd:
    """Give the image what exposures that are dithered and shifted back bilinearly have.

    The mean kernel of ``n`` random shifts blurs the image; the mean power of the kernels
    is that of the noise, which is Gaussian here. Both act on a noiseless image, so that
    the scene is one whose noise is replaced.
    """
    rng = np.random.default_rng([seed, 7])
    survey = get_survey("i")
    coadd = simulated.coadd
    height, width = coadd.image.array.shape
    expected = np.maximum(coadd.variance.array * survey.electrons_per_njy**2 - survey.sky_electrons, 0.0)
    kernels = []
    for frequency in (np.fft.fftfreq(height), np.fft.rfftfreq(width)):
        k, t = 2.0 * np.pi * frequency, rng.uniform(size=(n, 1))
        # Shifted by t of a pixel, then interpolated between two pixels.
        kernels.append(np.exp(1j * k * t) * ((1.0 - t) + t * np.exp(-1j * k)))
    along_y, along_x = kernels
    mean = along_y.T @ along_x / n
    power = (np.abs(along_y) ** 2).T @ (np.abs(along_x) ** 2) / n
    noise = rng.standard_normal((height, width)) * np.sqrt(expected + survey.sky_electrons)
    electrons = np.fft.irfft2(
        np.fft.rfft2(expected) * mean + np.fft.rfft2(noise) * np.sqrt(power), s=(height, width)
    )
    image = (electrons / survey.electrons_per_njy).astype(np.float32)
    coadd = coadd.copy()
    coadd.image.array[...] = image
    return SimulatedCoadd(coadd, simulated.truth)


type Rows = dict[str, list[Statistics]]
"""Statistics of each scene, by the name of a row."""


def main_tables(args: argparse.Namespace) -> tuple[Rows, Rows]:
    """Statistics for all sizes, thresholds and definitions; and with the noise of the smoothed image."""
    found: Rows = {}
    smoothed: Rows = {}
    for size_model in args.sizes:
        for scene in args.scenes:
            simulated = render(scene, size_model, args)
            for threshold in args.thresholds:
                result = find(simulated, settings(threshold))
                for definition in ("matched", "paper"):
                    statistics = count(result, simulated.truth, definition)
                    key = f"{size_model}, {threshold:g}σ, {definition}"
                    found.setdefault(key, []).append(statistics)
            result = find(simulated, settings(thresholdType="stdev"))
            smoothed.setdefault(size_model, []).append(count(result, simulated.truth, "paper"))
        print(f"{size_model}: {len(args.scenes)} scenes", file=sys.stderr)
    return found, smoothed


def variations(args: argparse.Namespace) -> Rows:
    """Statistics of every scene with one thing changed at a time."""
    sky = get_survey("i").sky_sigma
    found: Rows = {}

    def add(name: str, simulated: SimulatedCoadd, result: DetectionResult) -> None:
        found.setdefault(name, []).append(count(result, simulated.truth, "paper"))

    for scene in args.scenes:
        base = render(scene, "cosmodc2", args)
        mag, seed = np.asarray(base.truth["mag"]), args.seed + scene
        add("as in the table above", base, find(base, settings()))
        other = render(scene, "cosmodc2", args, noise_seed=1)
        add("another draw of the noise", other, find(other, settings()))
        other = render(scene, "cosmodc2", args, shape_seed=1, noise_seed=0)
        add("another draw of sizes and shapes", other, find(other, settings()))
        add("noise measured on the smoothed image", base, find(base, settings(thresholdType="stdev")))
        known = settings(noiseSource="variance")
        add("noise of the sky, as it is known", base, find(base, known, variance=sky**2))
        add("no background subtracted", base, find(base, settings(doSubtractBackground=False)))
        known = settings(noiseSource="variance", doSubtractBackground=False)
        add("noise and zero level of the sky, as they are known", base, find(base, known, variance=sky**2))
        gaussian = 0.7 / 0.2 / math.sqrt(8.0 * math.log(2.0))
        add("smoothed with a Gaussian of 0.7″", base, find(base, settings(), sigma=gaussian))
        add("growth by a pixel less", base, find(base, settings(nSigmaToGrow=1.9)))
        shifted, corrected = shift_back(base, seed), settings(doCorrectCorrelatedNoise=True)
        add("exposures shifted back bilinearly", shifted, find(shifted, settings()))
        add("the same, correlation of the noise corrected", shifted, find(shifted, corrected))
        for name, drop in (
            (f"drawn without the galaxies brighter than i = {BRIGHT:g}", mag < BRIGHT),
            (f"drawn without those fainter than i = {FAINT:g}", mag > FAINT),
            ("drawn without all that are under 5σ", base.truth["snr"] < 5.0),
        ):
            other = without(base, np.asarray(drop), seed)
            add(name, other, find(other, settings()))
        print(f"variations of scene {scene}", file=sys.stderr)
    return found


def form(name: str, value: float) -> str:
    """Format a value of a column."""
    if name == "galaxies ≥ 5σ" or name == "footprints":
        return f"{value:,.0f}"
    if name == "inside":
        return f"{value:.3f}".removeprefix("0")
    return f"{value:.2f}" if name == "empty %" else f"{value:.1f}"


def cells(scenes: Sequence[Statistics]) -> list[str]:
    """Mean and scatter between scenes of each column."""
    values = np.array([s.row for s in scenes])
    scatter = values.std(axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1], np.nan)
    return [
        f"{form(name, mean)} ± {form(name, spread)}"
        for name, mean, spread in zip(COLUMNS, values.mean(axis=0), scatter, strict=True)
    ]


def differences(scenes: Sequence[Statistics], base: Sequence[Statistics]) -> list[str]:
    """Mean difference of each column from the same scenes of another table row."""
    change = np.mean([np.subtract(s.row, b.row) for s, b in zip(scenes, base, strict=True)], axis=0)
    signs = ["+" if v > 0 else "−" if v < 0 else "±" for v in change]
    return [sign + form(name, abs(v)) for name, sign, v in zip(COLUMNS, signs, change, strict=True)]


def list_table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]], widths: str) -> list[str]:
    """Lines of a table in reStructuredText."""
    lines = [f".. list-table:: {title}", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in (header, *rows):
        lines += [f"   {'*' if i == 0 else ' '} - {cell}".rstrip() for i, cell in enumerate(row)]
    return [*lines, ""]


def threshold(scenes: Sequence[Statistics]) -> str:
    """Mean threshold in units of the noise of the sky."""
    return f"{np.mean([s.threshold for s in scenes]):.2f}"


def report(found: Rows, smoothed: Rows, varied: Rows) -> list[str]:
    """Lines of the page with the tables."""
    n = len(next(iter(found.values())))
    widths = "34 12 10 12 12 12 10 8"
    lines = [".. Written by benchmarks/paper_check.py.", ""]
    for title, first, table in (
        (
            f"{n} scene{'' if n == 1 else 's'}: means, and scatter between scenes",
            "sizes, threshold, S/N",
            found,
        ),
        ("The same with the noise measured on the smoothed image: 5σ, S/N of the paper", "sizes", smoothed),
    ):
        rows: list[tuple[str, ...]] = [("published", *PUBLISHED, "")]
        rows += [(name, *cells(scenes), threshold(scenes)) for name, scenes in table.items()]
        lines += list_table(title, (first, *COLUMNS, "σ of the sky"), rows, widths)
    if varied:
        base = next(iter(varied.values()))
        rows = [
            (name, *(cells(scenes) if scenes is base else differences(scenes, base)), threshold(scenes))
            for name, scenes in varied.items()
        ]
        title = "One thing changed at a time (cosmodc2, 5σ, S/N of the paper): differences from the first row"
        lines += list_table(title, ("", *COLUMNS, "σ of the sky"), rows, widths)
    return lines


def plain(lines: Sequence[str]) -> Iterable[str]:
    """The same tables for a terminal."""
    rows: list[list[str]] = []
    for line in [*lines, ".. list-table:: "]:
        if line.startswith(".. list-table:: ") and rows:
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
            yield from ("  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows)
            yield ""
            rows = []
        if line.startswith(".. list-table:: "):
            yield line.removeprefix(".. list-table:: ")
        elif line.startswith("   * -"):
            rows.append([line.removeprefix("   * -").strip()])
        elif line.startswith("     -"):
            rows[-1].append(line.removeprefix("     -").strip())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--truths", help="folder that holds buchanan2022/scene_00.fits (default: $BLENDID_DATA)"
    )
    parser.add_argument("--scenes", nargs="+", type=int, default=list(range(10)), help="scenes, of 0 to 9")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), help="models of galaxy sizes")
    parser.add_argument("--thresholds", nargs="+", type=float, default=[5.0, 5.7])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-variations", action="store_true", help="leave the second table out")
    parser.add_argument("--rst", type=Path, help="file to write the tables to")
    args = parser.parse_args()
    start = time.perf_counter()
    try:
        found, smoothed = main_tables(args)
        varied = {} if args.no_variations else variations(args)
    except (FileNotFoundError, SimulationError) as err:
        print(f"error: {err}", file=sys.stderr)
        return 1
    lines = report(found, smoothed, varied)
    print("\n".join(plain(lines)))
    if args.rst is not None:
        args.rst.parent.mkdir(parents=True, exist_ok=True)
        args.rst.write_text("\n".join(lines), encoding="utf-8")
    print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

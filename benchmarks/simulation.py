# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Speed of the simulator, and its pixels beside those of GalSim.

For each scene: objects in and around the image, and the CPU seconds of the whole simulation, of the
drawing alone, and of the simulation with a PSF and a depth for each cell.

With ``--check`` every object of a scene is drawn by both engines, and the greatest difference of a
pixel is printed in units of the noise of the sky. The scene has what a scene can have: stars,
clumpy discs, lensing and an elliptical PSF. The object that differs most at the worst pixel is named,
and drawn by GalSim with ten times smaller thresholds, which shows whose error it is. GalSim takes some ten
minutes for a scene of 2048 x 2048 pixels.

    python benchmarks/simulation.py --truths ../shared/data --scenes 0
    python benchmarks/simulation.py --scenes --check
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from astropy.table import Table
from lsst.meas.blendid.simulation import (
    SIZE_MODELS,
    GalaxySource,
    ParametricCatalog,
    PsfModel,
    TruthScene,
    draw_galaxies,
    find_truth_scene,
    get_survey,
    simulate_scene,
    stderr_progress,
)
from lsst.meas.blendid.simulation.catalogs.catalog import make_catalog
from lsst.meas.blendid.simulation.catalogs.observed import observe, split_knots
from lsst.meas.blendid.simulation.coadds.render import draw_with_galsim
from lsst.meas.blendid.simulation.config import SceneConfig

SURVEY = get_survey("i")


def shortest(function: Callable[[], Any], repeat: int) -> float:
    """CPU seconds of a call."""
    best = math.inf
    for _ in range(repeat):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return best


def rows_to_draw(source: GalaxySource, config: SceneConfig, args: argparse.Namespace) -> Table:
    """Objects of a scene as they are drawn, knots as rows of their own."""
    catalog = make_catalog(
        source,
        size=(args.size, args.size),
        survey=SURVEY,
        seed=args.seed,
        size_model=args.size_model,
        population=config.population,
    )
    return split_knots(observe(catalog, SURVEY), args.seed)


def time_scene(source: GalaxySource, args: argparse.Namespace) -> str:
    """Simulate a scene and describe it."""
    size = (args.size, args.size)
    plain, varied = SceneConfig(), SceneConfig()
    for name in ("fwhmScatter", "depthScatter", "skyScatter"):
        setattr(varied.variation, name, 0.1)
    varied.variation.ellipticityScatter = 0.03
    whole, cells = (
        shortest(
            lambda config=config: simulate_scene(  # type: ignore[misc]
                source, size=size, seed=args.seed, size_model=args.size_model, config=config
            ),
            args.repeat,
        )
        for config in (plain, varied)
    )
    rows = rows_to_draw(source, plain, args)
    drawing = shortest(
        lambda: draw_galaxies(
            rows,
            size=size,
            psf=PsfModel(SURVEY.fwhm),
            pixel_scale=SURVEY.pixel_scale,
            noise=SURVEY.sky_sigma,
        ),
        args.repeat,
    )
    return f"{source.name:<12}{len(rows):>10,}{whole:>10.2f}{drawing:>10.2f}{cells:>10.2f}"


def check_scene(source: GalaxySource, args: argparse.Namespace) -> None:
    """Draw every object of a scene with both engines."""
    config = SceneConfig()
    if not args.plain:
        config.population.starDensity = 2.0
        config.population.clumpyFraction = 0.1
    psf = PsfModel(SURVEY.fwhm) if args.plain else PsfModel(SURVEY.fwhm, 0.02, -0.03)
    rows = rows_to_draw(source, config, args)
    common = {"size": (args.size, args.size), "psf": psf, "pixel_scale": SURVEY.pixel_scale}
    fast = draw_galaxies(rows, **common, noise=SURVEY.sky_sigma)  # type: ignore[arg-type]
    start = time.process_time()
    progress = stderr_progress(f"{source.name}, GalSim")
    slow = draw_with_galsim(rows, **common, progress=progress)  # type: ignore[arg-type]
    seconds = time.process_time() - start
    difference = (fast - slow) / SURVEY.sky_sigma
    y, x = np.unravel_index(np.abs(difference).argmax(), difference.shape)
    worst = np.abs(difference).max()
    print(f"\n{source.name}: {len(rows):,} objects, {rows['is_star'].sum():,} of them points; PSF {psf}")
    print(f"  GalSim: {seconds:.0f} s, {1e3 * seconds / len(rows):.1f} ms an object")
    print(f"  differences in units of the noise of the sky: greatest {worst:.4f}, rms {difference.std():.5f}")
    for limit in (0.005, 0.01, 0.02):
        print(f"    pixels over {limit:g}: {(np.abs(difference) > limit).sum():,}")
    brightest = np.abs(difference)[slow > 100.0 * SURVEY.sky_sigma].max(initial=0.0)
    print(f"    greatest where the light is over 100 times the noise: {brightest:.4f}")
    describe_worst(rows, int(x), int(y), common)


def describe_worst(rows: Table, x: int, y: int, common: dict[str, Any]) -> None:
    """Name the object that differs most at a pixel."""
    distance = np.hypot(rows["x"] - x, rows["y"] - y)
    near = np.argsort(-np.asarray(rows["flux"]) / np.maximum(distance, 1.0) ** 2)[:40]
    settings = common | {"size": (1, 1)}
    found = []
    for row in near:
        one = rows[[row]].copy()
        one["x"] -= float(x)
        one["y"] -= float(y)
        fast = draw_galaxies(one, **settings, noise=SURVEY.sky_sigma)[0, 0]
        slow, tight = (draw_with_galsim(one, **settings, threshold=t)[0, 0] for t in (1e-4, 1e-5))
        found.append(
            (abs(fast - slow), row, (fast - tight) / SURVEY.sky_sigma, (slow - tight) / SURVEY.sky_sigma)
        )
    _, row, own, galsims = max(found)
    galaxy = rows[row]
    kind = "star or knot" if galaxy["is_star"] else f"galaxy of {galaxy['half_light_radius']:.2f} arcsec"
    print(
        f"  worst pixel ({x}, {y}): most of it is object {galaxy['id']}, mag {galaxy['mag']:.2f}, a {kind}, "
        f"{distance[row]:.1f} pixels away;\n    there, less GalSim with thresholds of 1e-5: "
        f"this {own:+.4f}, GalSim with 1e-4 {galsims:+.4f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--truths", help="folder with buchanan2022 (default: $BLENDID_DATA)")
    parser.add_argument("--scenes", type=int, nargs="*", default=[0], help="truth scenes")
    parser.add_argument(
        "--size-model", choices=(*sorted(SIZE_MODELS), "cosmodc2-galaxies"), default="cosmodc2"
    )
    parser.add_argument("--size", type=int, default=2048, help="width of a scene, pixels")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3, help="the shortest of so many times counts")
    parser.add_argument("--check", action="store_true", help="compare all pixels with GalSim's")
    parser.add_argument("--plain", action="store_true", help="check without stars, knots and ellipticity")
    args = parser.parse_args()

    sources: list[GalaxySource] = [ParametricCatalog()]
    sources += [TruthScene(find_truth_scene(n, args.truths)) for n in args.scenes]
    if args.check:
        for source in sources:
            check_scene(source, args)
        return
    # Compile first.
    simulate_scene(size=(64, 64))
    print(f"{args.size} x {args.size} pixels, sizes {args.size_model}, CPU seconds")
    columns = ("objects", "scene", "drawing", "by cell")
    print(f"{'source':<12}" + "".join(f"{name:>10}" for name in columns))
    for source in sources:
        print(time_scene(source, args), flush=True)


if __name__ == "__main__":
    main()

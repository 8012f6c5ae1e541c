# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Speed and physics of the simulator, beside GalSim in the same run.

For each scene: galaxies drawn, those with true S/N >= 5 (``matched``: the actual
PSF; ``gaussian``: a Gaussian of FWHM 0.7 arcsec, as Buchanan et al. 2022, who
publish 6,725 per scene on average, with one galaxy per pixel at most), and the CPU
seconds of the whole simulation and of the drawing alone. Then a sample of the
galaxies is drawn by both engines, for the time per galaxy and the greatest
difference in units of the sky noise.

    python benchmarks/simulation.py --truths ../shared/data --scenes 0 1 2
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
from astropy.table import Table
from lsst.meas.blendid.simulation import (
    SIZE_MODELS,
    GalaxySource,
    ParametricCatalog,
    TruthScene,
    complete_galaxies,
    draw_galaxies,
    find_truth_scene,
    get_survey,
    simulate_scene,
)


def one_per_pixel(truth: Table) -> int:
    """Number of different pixels that the galaxies of a table are in, positions truncated."""
    pixels = np.stack([np.floor(truth["x"]), np.floor(truth["y"])], axis=1)
    return len(np.unique(pixels, axis=0))


def scene_row(source: GalaxySource, args: argparse.Namespace) -> str:
    """Simulate a scene and describe it."""
    survey = get_survey("i")
    size = (args.size, args.size)
    best = math.inf
    for _ in range(args.repeat):
        start = time.process_time()
        scene = simulate_scene(source, size=size, seed=args.seed, size_model=args.size_model)
        best = min(best, time.process_time() - start)
    galaxies = complete_galaxies(
        source.galaxies(size, survey, np.random.default_rng(args.seed)),
        args.size_model,
        np.random.default_rng(args.seed),
    )
    drawing, _ = draw(galaxies, args, "fourier", args.repeat)
    truth = scene.truth
    sigma_pixels = survey.fwhm / survey.pixel_scale / math.sqrt(8.0 * math.log(2.0))
    gaussian = truth["flux"] / survey.sky_sigma / math.sqrt(4.0 * math.pi * sigma_pixels**2)
    return (
        f"{source.name:<12}{len(galaxies):>10,}{(truth['snr'] >= 5).sum():>10,}{(gaussian >= 5).sum():>10,}"
        f"{one_per_pixel(truth[gaussian >= 5]):>10,}{best:>10.2f}{drawing:>10.2f}"
    )


def draw(galaxies: Table, args: argparse.Namespace, engine: str, repeat: int) -> tuple[float, np.ndarray]:
    """Draw galaxies and measure the CPU time."""
    survey = get_survey("i")
    best = math.inf
    for _ in range(repeat):
        start = time.process_time()
        image = draw_galaxies(
            galaxies,
            size=(args.size, args.size),
            fwhm=survey.fwhm,
            pixel_scale=survey.pixel_scale,
            noise=survey.sky_sigma,
            engine=engine,
        )
        best = min(best, time.process_time() - start)
    return best, image


def compare(source: GalaxySource, args: argparse.Namespace) -> None:
    """Draw a sample of galaxies with both engines."""
    survey = get_survey("i")
    rng = np.random.default_rng(args.seed)
    table = source.galaxies((args.size, args.size), survey, rng)
    sample = table[rng.choice(len(table), min(args.sample, len(table)), replace=False)]
    galaxies = complete_galaxies(sample, args.size_model, rng)
    fast, one = draw(galaxies, args, "fourier", args.repeat)
    slow, two = draw(galaxies, args, "galsim", 1)
    difference = np.abs(one - two).max() / survey.sky_sigma
    print(f"\n{len(galaxies):,} galaxies of {source.name}, CPU ms per galaxy:")
    print(f"  fourier                                            {1e3 * fast / len(galaxies):8.3f}")
    print(f"  galsim, folding_threshold = maxk_threshold = 1e-4  {1e3 * slow / len(galaxies):8.3f}")
    print(f"  greatest difference of a pixel: {difference:.4f} of the sky noise")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--truths", help="folder with buchanan2022 (default: $BLENDID_DATA)")
    parser.add_argument("--scenes", type=int, nargs="*", default=[0, 1, 2], help="truth scenes")
    parser.add_argument("--size-model", choices=sorted(SIZE_MODELS), default="cosmodc2")
    parser.add_argument("--size", type=int, default=2048, help="width of a scene, pixels")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3, help="the shortest of so many times counts")
    parser.add_argument("--sample", type=int, default=1000, help="galaxies to compare with GalSim; 0: none")
    args = parser.parse_args()

    sources: list[GalaxySource] = [ParametricCatalog()]
    sources += [TruthScene(find_truth_scene(n, args.truths)) for n in args.scenes]
    # Compile first.
    simulate_scene(size=(64, 64))
    print(f"{args.size} x {args.size} pixels, sizes {args.size_model}")
    columns = ("galaxies", "matched", "gaussian", "1/pixel", "seconds", "drawing")
    print(f"{'source':<12}" + "".join(f"{name:>10}" for name in columns))
    for source in sources:
        print(scene_row(source, args), flush=True)
    if args.sample:
        compare(sources[-1], args)


if __name__ == "__main__":
    main()

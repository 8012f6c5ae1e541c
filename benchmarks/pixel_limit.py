# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Which second galaxies the pixels can show at all: joint flux fits by somebody who knows where to look.

For every footprint with one peak and a galaxy, the fluxes of its galaxies are fitted jointly and linearly
to the noisy pixels, with their true positions and shapes. The second galaxy of a blend is asked for; in a
footprint with one galaxy it is a decoy, the second of another blend at its true distance. The significance
of its flux is what the pixels know of it when nothing else is unknown, and where the expected significance
is small they show nothing. No classifier has that knowledge, so its AUC is a limit as far as nobody knows
beforehand which galaxies are likely to be blends.

    python benchmarks/pixel_limit.py --truths FOLDER [--split validation] [--models NAME ...]
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from astropy.table import Table
from lsst.meas.blendid.classifiers import classifier_registry, split_probabilities
from lsst.meas.blendid.footprints import DetectionResult, detect
from lsst.meas.blendid.images.psf import summarize_psf
from lsst.meas.blendid.labels import count_galaxies
from lsst.meas.blendid.metrics import roc_auc
from lsst.meas.blendid.model_package import ModelPackage
from lsst.meas.blendid.samples import FootprintSamples, SceneContext
from lsst.meas.blendid.simulation import SIZE_MODELS, SKY_SPLIT, find_truth_scene, get_survey, simulate_scene
from lsst.meas.blendid.simulation.coadds.psf_model import PsfModel
from lsst.meas.blendid.simulation.coadds.render import draw_galaxies
from lsst.meas.blendid.training import clipped_footprints

TILE = 65
"""Side of the window in which footprints are fitted, pixels, odd."""
FAINTEST = 2.0
"""Fainter galaxies are no part of the fit; they are noise."""


def draw_templates(rows: Table, dx: np.ndarray, dy: np.ndarray, fwhm: float, scale: float) -> np.ndarray:
    """Draw galaxies of flux 1, each on a tile of its own.

    Parameters
    ----------
    rows
        Rows of the truth, n.
    dx, dy
        Position from the centre of the tile, pixels, (n,).
    fwhm, scale
        Seeing and pixel, arcsec.

    Returns
    -------
    tiles
        Images, float32 (n, TILE, TILE).
    """
    side = int(np.ceil(np.sqrt(len(rows))))
    # Room for wings between the tiles, so that none reaches into its neighbour.
    step, half = 2 * TILE, TILE // 2
    table = rows.copy()
    number = np.arange(len(rows))
    table["x"] = number % side * step + step // 2 + dx
    table["y"] = number // side * step + step // 2 + dy
    table["flux"] = np.ones(len(rows))
    image = draw_galaxies(
        table, size=(side * step, side * step), psf=PsfModel(fwhm), pixel_scale=scale, noise=1e-3
    )
    return np.array(
        [
            image[
                k // side * step + step // 2 - half : k // side * step + step // 2 + half + 1,
                k % side * step + step // 2 - half : k % side * step + step // 2 + half + 1,
            ]
            for k in number
        ],
        dtype=np.float32,
    )


def fit_second(
    result: DetectionResult, truth: Table, counts: np.ndarray, sigma: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit the second galaxy, or a decoy, of each footprint with one peak.

    Parameters
    ----------
    result
        Footprints.
    truth
        True galaxies of the image.
    counts
        Numbers of galaxies, (n,).
    sigma
        Noise of a pixel.
    rng
        Random numbers, for decoys.

    Returns
    -------
    significance, expected, distance
        Fitted flux over its error, that of the true flux, and the distance from the brightest [pixel],
        each of shape (n,); NaN where there is nothing to fit.
    """
    footprints, survey = result.footprints, get_survey("i")
    x0, y0 = result.xy0
    x, y = np.rint(truth["x"]).astype(int) - x0, np.rint(truth["y"]).astype(int) - y0
    inside = (x >= 0) & (y >= 0) & (x < footprints.labels.shape[1]) & (y < footprints.labels.shape[0])
    owner = np.zeros(len(truth), dtype=int)
    owner[inside] = footprints.labels[y[inside], x[inside]]
    owner[np.asarray(truth["snr"]) < FAINTEST] = 0
    order = np.lexsort((-np.asarray(truth["snr"]), owner))
    order = order[owner[order] > 0]
    start = np.searchsorted(owner[order], np.arange(1, len(footprints) + 2))
    members = [order[a:b] for a, b in zip(start, start[1:], strict=False)]
    wanted = [i for i in range(len(footprints)) if footprints.n_peaks[i] == 1 and counts[i] > 0]
    seconds = np.array([members[i][1] for i in wanted if counts[i] > 1])
    firsts = np.array([members[i][0] for i in wanted if counts[i] > 1])
    pairs_dx = np.asarray(truth["x"][seconds] - truth["x"][firsts])
    pairs_dy = np.asarray(truth["y"][seconds] - truth["y"][firsts])

    index, rows, dx, dy = [], [], [], []
    decoys = {}
    for i in wanted:
        center = np.array([round(float(truth[key][members[i][0]])) for key in ("x", "y")])
        used = list(members[i])
        places = [(float(truth["x"][k]) - center[0], float(truth["y"][k]) - center[1]) for k in used]
        if counts[i] == 1:
            for _ in range(50):
                k = int(rng.integers(len(seconds)))
                angle = rng.uniform(0.0, 2.0 * np.pi)
                c, s = np.cos(angle), np.sin(angle)
                place = (
                    places[0][0] + c * pairs_dx[k] - s * pairs_dy[k],
                    places[0][1] + s * pairs_dx[k] + c * pairs_dy[k],
                )
                px, py = round(center[0] + place[0]) - x0, round(center[1] + place[1]) - y0
                if (
                    0 <= px < footprints.labels.shape[1]
                    and 0 <= py < footprints.labels.shape[0]
                    and footprints.labels[py, px] == i + 1
                ):
                    decoys[i] = float(truth["flux"][seconds[k]])
                    used.insert(1, seconds[k])
                    places.insert(1, place)
                    break
            else:
                continue
        index += [i] * len(used)
        rows += used
        dx += [p[0] for p in places]
        dy += [p[1] for p in places]
    templates = draw_templates(truth[rows], np.array(dx), np.array(dy), survey.fwhm, survey.pixel_scale)
    significance, expected, distance = (np.full(len(footprints), np.nan) for _ in range(3))
    first = np.searchsorted(index, np.unique(index))
    half = TILE // 2
    for a, b in zip(first, [*first[1:], len(index)], strict=True):
        i = index[a]
        cx, cy = (round(float(truth[key][rows[a]])) - o for key, o in (("x", x0), ("y", y0)))
        window = (slice(max(cy - half, 0), cy + half + 1), slice(max(cx - half, 0), cx + half + 1))
        shape = footprints.labels[window].shape
        oy, ox = max(half - cy, 0), max(half - cx, 0)
        use = footprints.labels[window] == i + 1
        design = templates[a:b, oy : oy + shape[0], ox : ox + shape[1]][:, use].astype(np.float64)
        pixels = result.image[window][use].astype(np.float64)
        covariance = np.linalg.pinv(design @ design.T, rcond=1e-9) * sigma**2
        flux = covariance @ (design @ pixels) / sigma**2
        error = np.sqrt(covariance[1, 1])
        significance[i] = flux[1] / error
        expected[i] = (decoys[i] if i in decoys else float(truth["flux"][rows[a + 1]])) / error
        distance[i] = np.hypot(dx[a + 1] - dx[a], dy[a + 1] - dy[a])
    return significance, expected, distance


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--truths", help="folder that holds buchanan2022/scene_00.fits")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument(
        "--models", nargs="+", default=["features-i-1", "ensemble-i-1"], help="to compare with"
    )
    args = parser.parse_args()
    start = time.perf_counter()
    packages = [ModelPackage.read(name) for name in args.models]
    models = {p.name: classifier_registry[p.classifier].from_package(p) for p in packages}
    for size_model in SIZE_MODELS:
        found: dict[str, list[np.ndarray]] = {}
        for k, scene in enumerate(SKY_SPLIT[args.split]):
            simulated = simulate_scene(
                find_truth_scene(scene, args.truths), seed=7_000 + k, size_model=size_model, split=args.split
            )
            coadd, truth = simulated.coadd, simulated.truth
            result = detect(coadd, psf=summarize_psf(coadd.psf, coadd.bbox), config=clipped_footprints())
            counts = count_galaxies(result.footprints, truth, snr_min=5.0)
            sigma = float(np.sqrt(np.median(coadd.variance.array)))
            values = fit_second(result, truth, counts, sigma, np.random.default_rng(k))
            samples = FootprintSamples([result], [SceneContext("i", 31.4)])
            use = np.isfinite(values[0])
            columns = dict(zip(("significance", "expected", "distance"), values, strict=True))
            columns["blended"] = counts > 1
            for name, model in models.items():
                columns[name] = split_probabilities(model.probabilities(samples))[0]
            for name, column in columns.items():
                found.setdefault(name, []).append(column[use])
        table = {name: np.concatenate(parts) for name, parts in found.items()}
        blended = table["blended"].astype(bool)
        print(
            f"\n{size_model}: {blended.size} footprints with one peak, {blended.mean():.3f} of them blended"
        )
        print(f"    AUC of somebody who knows where to look: {roc_auc(table['significance'], blended):.3f}")
        for name in models:
            print(f"    AUC of {name}: {roc_auc(table[name], blended):.3f}")
        expected, distance = table["expected"][blended], table["distance"][blended]
        for least in (1.0, 2.0, 3.0, 5.0):
            print(f"    expected significance of the second over {least:g}: {np.mean(expected >= least):.3f}")
        for low, high in ((0, 2), (2, 3), (3, 4), (4, 5), (5, 7), (7, 100)):
            chosen = (distance >= low) & (distance < high)
            if chosen.any():
                print(
                    f"    seconds at {low} to {high} pixels: {chosen.mean():.3f} of all, "
                    f"median expected significance {np.median(expected[chosen]):.1f}"
                )
    print(f"\n{args.split} sky, {time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())

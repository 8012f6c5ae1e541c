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

The same for localisers: the share of second galaxies that are found by that significance with as many false
ones among them as a purity allows, and the error of their places by the information of the pixels on fluxes
and places together (Cramér-Rao), beside what a localiser finds and says.

    python benchmarks/pixel_limit.py --truths FOLDER [--split validation] [--models NAME ...]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np
from astropy.table import Table
from lsst.meas.blendid.classifiers import classifier_registry, split_probabilities
from lsst.meas.blendid.footprints import DetectionResult, detect
from lsst.meas.blendid.images.psf import summarize_psf
from lsst.meas.blendid.labels import count_galaxies
from lsst.meas.blendid.localizers import BlendLocalizer, localizer_registry
from lsst.meas.blendid.localizers.locating import locate_peaks
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
MATCH = 2.5
"""Distance at which a candidate is the second galaxy, pixels."""
PURITIES = (0.5, 0.7, 0.8, 0.9, 0.95)
"""Purities that shares of found galaxies are told for."""


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
) -> tuple[np.ndarray, ...]:
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
    significance, expected, distance, error, x, y
        Fitted flux over its error, that of the true flux, the distance from the brightest [pixel], the least
        error of the place along an axis [pixel], and the place [parent pixel]; each of shape (n,), NaN where
        there is nothing to fit.
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
    significance, expected, distance, least, at_x, at_y = (np.full(len(footprints), np.nan) for _ in range(6))
    dy_templates, dx_templates = np.gradient(templates, axis=(1, 2))
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
        at_x[i], at_y[i] = cx + x0 + dx[a + 1], cy + y0 + dy[a + 1]
        # Moved by a pixel, a galaxy changes the image by minus the gradient of its own; all are unknown.
        fluxes = np.asarray(truth["flux"][rows[a:b]], dtype=np.float64)
        moved = np.concatenate(
            [
                fluxes[:, None] * one[a:b, oy : oy + shape[0], ox : ox + shape[1]][:, use]
                for one in (dx_templates, dy_templates)
            ]
        )
        joint = np.concatenate([design, moved])
        places = np.linalg.pinv(joint @ joint.T, rcond=1e-12) * sigma**2
        second = [b - a + 1, 2 * (b - a) + 1]
        least[i] = np.sqrt(0.5 * places[second, second].sum())
    return significance, expected, distance, least, at_x, at_y


def found_share(score: np.ndarray, true: np.ndarray, n_seconds: int, purity: float) -> float:
    """Share of the second galaxies that are found with a purity, by a score of what each footprint offers.

    ``true``, (n,), tells what of it is a second galaxy; what has no score is offered by nobody.
    """
    order = np.argsort(-score[np.isfinite(score)])
    hits = np.cumsum(true[np.isfinite(score)][order])
    enough = np.flatnonzero(hits >= purity * np.arange(1, len(order) + 1))
    return float(hits[enough[-1]] / n_seconds) if len(enough) else 0.0


def find_candidates(
    localizer: BlendLocalizer, samples: FootprintSamples, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a localiser says of a second object in each footprint with one peak.

    Parameters
    ----------
    localizer
        The localiser.
    samples
        Footprints of an image.
    x, y
        Place of the second galaxy of each, (n,) [parent pixel]; NaN for none.

    Returns
    -------
    probability, distance, error
        Of its most probable inferred peak: probability, NaN without one; distance from the place, and the
        error along an axis that the localiser states [pixel], each of shape (n,).
    """
    n = len(samples)
    located, _ = locate_peaks(localizer, samples, p_n=None, usable=np.ones(n, dtype=bool))
    peaks = located.peaks[located.peaks["is_inferred"]]
    # By falling probability in each footprint.
    row, first = np.unique(peaks["footprint_id"] - 1, return_index=True)
    probability, distance, error = (np.full(n, np.nan) for _ in range(3))
    chosen = peaks[first]
    probability[row] = chosen["probability"]
    distance[row] = np.hypot(chosen["f_x"] - x[row], chosen["f_y"] - y[row])
    error[row] = np.sqrt(0.5 * (chosen["xx"] + chosen["yy"]))
    return probability, distance, error


def tell_of_places(table: dict[str, np.ndarray], blended: np.ndarray, localizers: Sequence[str]) -> None:
    """Print what is found with which purity, and how well it is placed, beside the limit."""
    n = int(blended.sum())
    print(f"    share of {n} seconds that are found, by purity: " + ", ".join(f"{p:g}" for p in PURITIES))
    rows = {"who knows where to look": (table["significance"], blended)}
    for name in localizers:
        near = blended & (table[f"{name} distance"] < MATCH)
        rows[name] = (table[f"{name} probability"], near)
    limits = [found_share(*rows["who knows where to look"], n, purity) for purity in PURITIES]
    for name, row in rows.items():
        shares = [found_share(*row, n, purity) for purity in PURITIES]
        text = "".join(f"{share:8.3f}" for share in shares)
        if name in localizers:
            of_limit = [
                share / limit if limit else np.nan for share, limit in zip(shares, limits, strict=True)
            ]
            text += "   of the limit" + "".join(f"{share:8.2f}" for share in of_limit)
        print(f"        {name:28}{text}")
    for name in localizers:
        near = blended & (table[f"{name} distance"] < MATCH)
        if near.sum() < 20:
            continue
        # The root mean square along an axis of those that are found at all.
        scatter = np.sqrt(0.5 * np.mean(table[f"{name} distance"][near] ** 2))
        stated = np.sqrt(np.nanmean(table[f"{name} error"][near] ** 2))
        least = np.sqrt(np.mean(np.minimum(table["least"][near], MATCH) ** 2))
        print(
            f"        {name}: {near.sum()} places, scatter along an axis {scatter:.2f} pixels, stated "
            f"{stated:.2f}, least possible {least:.2f}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--truths", help="folder that holds buchanan2022/scene_00.fits")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument(
        "--models", nargs="+", default=["features-i-1", "ensemble-i-1"], help="to compare with"
    )
    parser.add_argument("--sizes", nargs="+", choices=list(SIZE_MODELS), default=list(SIZE_MODELS))
    parser.add_argument(
        "--localizers", nargs="*", default=["centers-localizer-i-1"], help="localisers to compare with"
    )
    args = parser.parse_args()
    start = time.perf_counter()
    packages = [ModelPackage.read(name) for name in args.models]
    localizers = {
        p.name: localizer_registry[p.classifier].from_package(p)
        for p in (ModelPackage.read(name) for name in args.localizers)
    }
    models = {p.name: classifier_registry[p.classifier].from_package(p) for p in packages}
    for size_model in args.sizes:
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
            names = ("significance", "expected", "distance", "least", "x", "y")
            columns = dict(zip(names, values, strict=True))
            columns["blended"] = counts > 1
            for name, model in models.items():
                columns[name] = split_probabilities(model.probabilities(samples))[0]
            for name, localizer in localizers.items():
                said = find_candidates(localizer, samples, columns["x"], columns["y"])
                for kind, column in zip(("probability", "distance", "error"), said, strict=True):
                    columns[f"{name} {kind}"] = column
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
        tell_of_places(table, blended, list(localizers))
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

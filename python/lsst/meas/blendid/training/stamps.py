# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Stamps to learn from: sets of stamps as labelled footprints."""

from __future__ import annotations

__all__ = ("add_noise", "find_noise_levels", "label_stamps", "learned_stamps", "stamp_footprints")

import copy
import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..footprints import DetectionResult, FootprintConfig, FootprintSet, detect
from ..images.psf import summarize_psf
from ..labels import count_galaxies
from ..samples import FootprintSamples, SceneContext
from .scenes import LabelledScenes, Progress

if TYPE_CHECKING:
    from ..model_package import ModelPackage
    from ..simulation.stamps import StampSet

_PER_SCENE = 1024
_GAP = 24


def stamp_footprints() -> FootprintConfig:
    """Make the settings for stamps.

    Returns
    -------
    config
        Noise of the variance plane, as it is known in stamps, times its measured correlation: 1.01 to 1.03
        for stamps with white noise, 1.5 for those of COIN, which have the noise of HST.
    """
    config = FootprintConfig()
    config.doCorrectCorrelatedNoise = True
    return config


def add_noise(stamp_set: StampSet, levels: Sequence[float] = ()) -> list[StampSet]:
    """Add noise to stamps that have none.

    Parameters
    ----------
    stamp_set
        The stamps.
    levels
        Noise per pixel, image units; each stamp is taken with all of them.  If there are none, those that the
        set names (``noise_levels`` of its metadata) are dealt out to its stamps in turn.

    Returns
    -------
    stamp_sets
        A set for each level; the same set if it has noise.

    Raises
    ------
    ValueError
        Raised if there is no level.
    """
    if not len(stamp_set) or (stamp_set.noise > 0.0).any():
        return [stamp_set]
    if levels:
        return [stamp_set.with_noise(level) for level in levels]
    levels = find_noise_levels(stamp_set)
    rows = np.arange(len(stamp_set))
    dealt = ((stamp_set.select(rows[k :: len(levels)]), level) for k, level in enumerate(levels))
    return [part.with_noise(level) for part, level in dealt if len(part)]


def find_noise_levels(stamp_set: StampSet) -> list[float]:
    """Noise that stamps have, or the levels that are dealt out to them; `ValueError` if a set names none."""
    if len(stamp_set) and (stamp_set.noise > 0.0).any():
        return [float(stamp_set.noise[0])]
    levels_of_set = stamp_set.metadata.get("noise_levels")
    named = levels_of_set if isinstance(levels_of_set, list | tuple) else ()
    levels = [float(one) for one in named if isinstance(one, int | float) and one > 0.0]
    if not levels:
        raise ValueError(f"the stamps of {stamp_set.name} have no noise; give -c stampNoise=SIGMA")
    # More levels than stamps are not dealt out.
    return levels[: max(len(stamp_set), 1)]


def learned_stamps(package: ModelPackage) -> bool:
    """Tell whether a model was trained on stamps as a whole.

    Parameters
    ----------
    package
        The model.

    Returns
    -------
    stamps
        If not, its probabilities are those of footprints, under the shares of blends among these.
    """
    scenes = package.metadata.get("training", {}).get("scenes", [])
    return bool(scenes) and all(scene.get("unit") == "stamp" for scene in scenes)


def label_stamps(
    stamp_sets: StampSet | Sequence[StampSet],
    footprints: FootprintConfig | None = None,
    *,
    unit: Literal["stamp", "footprint"] = "stamp",
    snr_min: float = 5.0,
    keep_planes: bool = False,
    progress: Progress | None = None,
) -> LabelledScenes:
    """Turn stamps into labelled footprints, for any classifier.

    Parameters
    ----------
    stamp_sets
        Stamps with noise; several, for example at more than one noise level, are put
        one after the other.
    footprints
        How peaks, and footprints if they are the unit, are found; `stamp_footprints` by default.
    unit
        ``"stamp"``: each stamp is one footprint, in the order of the sets, with all
        peaks that are found in it, and its number of galaxies is that of its label,
        as in the papers.  ``"footprint"``: footprints are what is found in the stamps, with
        the galaxies over ``snr_min`` that lie in them, as in coadds.
    snr_min
        Galaxies fainter than this do not count in footprints.
    keep_planes
        Keep the smoothed images and masks, most of the memory.
    progress
        Called with the number of stamps done and in all.

    Returns
    -------
    labelled
        Footprints with their numbers of galaxies.  ``sky`` is the number of the stamp, the same
        in all noise draws of one.

    Raises
    ------
    ValueError
        Raised if there is no stamp, stamps have no noise, or the unit is unknown.

    Notes
    -----
    About 1,000 stamps at a time are laid out as a mosaic with gaps of noise wide enough that no
    stamp sees its neighbour.  All stamps of a mosaic share the first PSF of their set.
    """
    from ..simulation.stamps import StampSet
    from ..simulation.survey import AB_ZERO_POINT_NJY

    if unit not in ("stamp", "footprint"):
        raise ValueError(f"unit is {unit!r}; it can be 'stamp' or 'footprint'")
    sets = [stamp_sets] if isinstance(stamp_sets, StampSet) else list(stamp_sets)
    n_total = sum(len(one) for one in sets)
    if not n_total:
        raise ValueError("no stamp was given to learn from")
    footprints = stamp_footprints() if footprints is None else footprints
    results: list[DetectionResult] = []
    contexts: list[SceneContext] = []
    counts: list[np.ndarray] = []
    skies: list[np.ndarray] = []
    inside: list[float] = []
    provenance: list[dict[str, Any]] = []
    done = 0
    for one in sets:
        for rows in np.array_split(np.arange(len(one)), max(math.ceil(len(one) / _PER_SCENE), 1)):
            part = one.select(rows)
            result, found, sky, share = _label_part(part, footprints, unit, snr_min)
            results.append(result if keep_planes else result.without_planes())
            contexts.append(SceneContext(str(part.metadata.get("band", "i")), AB_ZERO_POINT_NJY))
            counts.append(found)
            skies.append(sky)
            inside.append(share)
            provenance.append(_describe(part, footprints, unit))
            done += len(part)
            if progress is not None:
                progress(done, n_total)
    return LabelledScenes(
        samples=FootprintSamples(results, contexts),
        counts=np.concatenate(counts),
        sky=np.concatenate(skies),
        inside=tuple(inside),
        provenance=tuple(provenance),
        footprints=tuple(copy.deepcopy(footprints) for _ in results),
        snr_min=snr_min,
    )


def _label_part(
    part: StampSet, config: FootprintConfig, unit: str, snr_min: float
) -> tuple[DetectionResult, np.ndarray, np.ndarray, float]:
    """Lay out and label some stamps: footprints, counts, stamps and share inside."""
    from ..simulation.stamps import make_mosaic, tile_labels

    mosaic = make_mosaic(part, gap=_GAP)
    psf = summarize_psf(np.asarray(part.psf[int(part.stamps["psf_index"][0])], dtype=np.float64))
    result = detect(mosaic.coadd, psf=psf, config=config)
    tiles = tile_labels(part, gap=_GAP)
    ids = np.asarray(part.stamps["stamp_id"], dtype=np.int64)
    if unit == "footprint":
        counts = count_galaxies(result.footprints, mosaic.truth, snr_min=snr_min)
        n_true = int(np.count_nonzero(np.asarray(mosaic.truth["snr"]) >= snr_min))
        # The stamp of a footprint is that of its first peak; one in a gap or without peak belongs to none.
        start = result.footprints.peak_start
        has_peak = start[1:] > start[:-1]
        peaks = result.footprints.peaks[start[:-1][has_peak]]
        tile = np.zeros(len(result.footprints), dtype=tiles.dtype)
        tile[has_peak] = tiles[peaks["i_y"], peaks["i_x"]]
        sky = np.where(tile > 0, ids[np.maximum(tile, 1) - 1], -1)
        return result, counts, sky, float(counts.sum()) / max(n_true, 1)
    peaks = result.footprints.peaks.copy()
    peaks["footprint_id"] = tiles[peaks["i_y"], peaks["i_x"]]
    detected = np.bincount(tiles[result.footprints.labels > 0], minlength=len(part) + 1)[1:]
    whole = FootprintSet.from_labels(
        tiles, xy0=result.xy0, peaks=peaks[peaks["footprint_id"] > 0], area_detected=detected
    )
    counts = np.asarray(part.stamps["n_objects"], dtype=np.int32)
    # No pixel is outside: the sky of a stamp is 0, not the median of the noise in the gaps.
    return dataclasses.replace(result, footprints=whole, sky_level=0.0), counts, ids, 1.0


def _describe(part: StampSet, config: FootprintConfig, unit: str) -> dict[str, Any]:
    """JSON-compatible facts of some stamps."""
    noise = part.noise
    return {
        "source": part.name,
        "unit": unit,
        "n_stamps": len(part),
        "split": ",".join(sorted(set(np.asarray(part.stamps["split"]).astype(str).tolist()))),
        "seed": part.seed,
        "stamp_noise": [round(float(noise.min()), 6), round(float(noise.max()), 6)],
        "noise": config.noiseSource,
        "background": bool(config.doSubtractBackground),
    }

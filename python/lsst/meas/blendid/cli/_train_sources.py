# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Scenes to train on, from the options of ``blendid train``."""

from __future__ import annotations

__all__ = ("Sources", "find_sources")

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._coadd_files import pair_coadds
from ._train_options import TrainOptions

if TYPE_CHECKING:
    from ..training import SceneSource

_N_SCENES = 16
_FEWEST_TO_SPLIT = 4
_SIZES = ("cosmodc2", "1.6x", "large")
_VALIDATION_SEED = 1_000_000
"""Far from the seeds of the training scenes, whatever their number."""


@dataclasses.dataclass(frozen=True)
class Sources:
    """Scenes to train and to validate on.

    Parameters
    ----------
    train, validation
        The scenes; no validation if empty.
    recipe
        What they are, JSON-compatible; with the seeds, enough to make them again if they are simulated.
    like
        Whether the coadd that the scenes are like has a variance plane, and whether the sky may still be in
        it; `None` if there is no such coadd.
    given
        Whether the scenes are coadds that were given, with labels of their own.
    notes
        What the user should know of the scenes.
    caveat
        What the user should know of the model.
    """

    train: Sequence[SceneSource]
    validation: Sequence[SceneSource]
    recipe: dict[str, Any]
    like: tuple[bool, bool] | None = None
    given: bool = False
    notes: tuple[str, ...] = ()
    caveat: str = ""


def find_sources(o: TrainOptions) -> Sources:
    """Find the scenes that were asked for, other than stamps.

    Parameters
    ----------
    o
        The options.

    Returns
    -------
    sources
        The scenes; none of them is simulated or read yet.
    """
    if o.like is not None:
        found = _like(o)
    elif o.butler is not None:
        found = _split(o, *_butler(o))
    elif o.coadds:
        found = _split(o, *_files(o))
    else:
        found = _simulated(o)
    if o.validation_scenes:
        scenes = _simulate(o, 0, o.validation_scenes, o.seed + _VALIDATION_SEED, "validation")
        recipe = found.recipe | {"validation_truths": list(o.validation_scenes)}
        found = dataclasses.replace(found, validation=scenes, recipe=recipe, caveat="")
    return found


def _simulate(
    o: TrainOptions, n_parametric: int, truths: Sequence[int], seed: int, split: str | None
) -> Sequence[SceneSource]:
    """Scenes that the options stand for."""
    from ..training import SceneRecipe

    recipe = SceneRecipe(
        skies=n_parametric,
        truths=tuple(truths),
        vary=o.dial,
        sizes=o.sizes,
        draws=o.draws,
        size=o.size,
        band=o.band or "i",
        psf_fwhm=o.fwhm,
        visits=o.visits,
        seed=seed,
        split=split,
    )
    return recipe.scenes(o.truths)


def _n_validation(o: TrainOptions, n_scenes: int) -> int:
    """Number of scenes to hold out."""
    return max(1, round(o.validation_share * n_scenes)) if o.validation_share > 0.0 else 0


def _simulated(o: TrainOptions) -> Sources:
    n_parametric = o.n_parametric or (0 if o.scenes else _N_SCENES)
    train = _simulate(o, n_parametric, o.scenes or (), o.seed, "train" if o.scenes else None)
    recipe: dict[str, Any] = {
        "kind": "dial" if o.dial else "one universe",
        "seed": o.seed,
        "parametric": n_parametric,
        "truths": list(o.scenes or ()),
        "draws": o.draws,
        "size": o.size,
        "band": o.band or "i",
    }
    if not o.dial:
        recipe |= {"sizes": list(o.sizes or _SIZES), "fwhm": o.fwhm, "visits": o.visits}
    validation: Sequence[SceneSource] = ()
    # Truth scenes are of the training sky; what is held out is drawn from the catalogue.
    n = _n_validation(o, len(train) if o.dial else len(train) // (len(o.sizes or _SIZES) * o.draws))
    if n and not o.validation_scenes:
        validation = _simulate(o, n, (), o.seed + _VALIDATION_SEED, None)
        recipe["validation"] = {"seed": o.seed + _VALIDATION_SEED, "parametric": n}
    return Sources(train, validation, recipe)


def _like(o: TrainOptions) -> Sources:
    from ..training import like_scenes, measure_coadd

    assert o.like is not None
    coadd = measure_coadd(
        o.like, psf_fwhm=o.psf_fwhm, pixel_scale=o.pixel_scale, zero_point=o.zero_point, band=o.band
    )
    n = o.n_parametric or _N_SCENES
    seed, n_validation = o.seed + _VALIDATION_SEED, _n_validation(o, n)
    description = coadd.to_dict()
    recipe = {
        "kind": "like",
        "coadd": description | {"name": o.given.get("--like", "")},
        "seed": o.seed,
        "parametric": n,
        "size": o.size,
        "validation": {"seed": seed, "parametric": n_validation},
    }
    noise = "?" if coadd.noise_sigma is None else f"{coadd.noise_sigma:.4g} nJy"
    notes = [
        f"{o.like}: band {coadd.band}, seeing {coadd.fwhm:.3f} arcsec, noise {noise} per pixel of "
        f"{coadd.pixel_scale:.3f} arcsec (from the {'variance plane' if coadd.has_variance else 'pixels'})"
    ]
    if coadd.noise_sigma is None:
        notes.append(
            f"{o.like} has no unit of flux, so its depth is not known: the scenes get that of the survey in "
            f"band {coadd.band}; give --zero-point MAG (AB magnitude of one unit) to have its own"
        )
    return Sources(
        like_scenes(coadd, n, seed=o.seed, size=o.size),
        like_scenes(coadd, n_validation, seed=seed, size=o.size),
        recipe,
        like=(coadd.has_variance, coadd.has_sky),
        notes=tuple(notes),
    )


def _butler(o: TrainOptions) -> tuple[Sequence[SceneSource], dict[str, Any]]:
    from ..training import find_butler_scenes

    assert o.butler is not None and o.collections is not None
    scenes = find_butler_scenes(
        o.butler,
        o.collections,
        where=o.where,
        coadd_dataset=o.coadd_dataset,
        truth_dataset=o.truth_dataset,
    )
    return scenes, {
        "kind": "butler",
        "repository": o.given["--butler"],
        "collections": o.collections,
        "where": o.where,
        "coadd_dataset": o.coadd_dataset,
    }


def _files(o: TrainOptions) -> tuple[Sequence[SceneSource], dict[str, Any]]:
    from ..training import FileScene

    kind = "labels" if o.labels else "truth"
    scenes = [
        FileScene(
            coadd.path,
            None if o.labels else table,
            o.psf_fwhm,
            o.pixel_scale,
            table if o.labels else None,
            coadd.hdu,
        )
        for coadd, table in pair_coadds(o.coadds, o.labels or o.tables, kind)
    ]
    return scenes, {"kind": "coadds"}


def _split(o: TrainOptions, scenes: Sequence[SceneSource], recipe: dict[str, Any]) -> Sources:
    """Hold out some of the given coadds, if they are enough."""
    if o.validation_scenes:
        return Sources(scenes, (), recipe, given=True)
    if len(scenes) < _FEWEST_TO_SPLIT or o.validation_share == 0.0:
        few = "1 coadd is" if len(scenes) == 1 else f"{len(scenes)} coadds are"
        reason = (
            f"{few} too few to hold some out" if len(scenes) < _FEWEST_TO_SPLIT else "no coadd is held out"
        )
        cross_validated = o.folds and o.localizer is None
        scores = "its scores are cross-validated" if cross_validated else "its package has no scores"
        # A model that is gone on from is calibrated by going on, a localiser by its fit.
        calibrated = "" if o.start or o.localizer else "the model is not calibrated, and "
        return Sources(scenes, (), recipe, given=True, caveat=f"{reason}: {calibrated}{scores}")
    n = _n_validation(o, len(scenes))
    # Evenly from all of them, so that the held-out ones are not all of one corner of a tract.
    held = {round((i + 0.5) * len(scenes) / n - 0.5) for i in range(n)}
    return Sources(
        [scene for i, scene in enumerate(scenes) if i not in held],
        [scene for i, scene in enumerate(scenes) if i in held],
        recipe | {"held_out": len(held)},
        given=True,
    )

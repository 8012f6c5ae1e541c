# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Scenes of many universes, so that one model holds for galaxies, seeing and depth unlike the usual ones."""

from __future__ import annotations

__all__ = ("Dial", "dial_scenes", "mixed_dial_scenes")

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .scenes import SimulatedScene


@dataclass(frozen=True)
class Dial:
    """Ranges that the scenes of a training set are drawn from.

    Parameters
    ----------
    nominal_share
        Share of the scenes with the seeing and depth of the survey as it is.
        A third of the others have the seeing drawn from ``fwhm``, a third the depth
        from ``exposures``, and a third both: a survey that differs in one thing is
        as common as one that differs in two.
    fwhm
        FWHM of the PSF, arcsec, drawn uniformly.
    exposures
        Number of exposures, drawn uniformly in its logarithm.
    sizes
        Galaxy sizes, from 0 (cosmoDC2) to 1 (the median radius at i = 24 of 0.77″ of
        galaxies in HST images), drawn uniformly.
    counts
        Factor on the number of galaxies, drawn uniformly in its logarithm.
    clustering
        Strength of clustering of drawn positions, drawn uniformly.
    stars_share
        Share of the scenes that have stars.
    star_density
        Most stars in such a scene, per arcmin².
    clumpy_share
        Share of the scenes with clumpy discs.
    """

    nominal_share: float = 0.5
    fwhm: tuple[float, float] = (0.6, 1.4)
    exposures: tuple[float, float] = (10.0, 400.0)
    sizes: tuple[float, float] = (-0.05, 1.1)
    counts: tuple[float, float] = (0.8, 1.25)
    clustering: tuple[float, float] = (0.6, 1.4)
    stars_share: float = 0.2
    star_density: float = 4.0
    clumpy_share: float = 0.2


_JOINT_SHARE = 0.25
"""Share of the scenes with the sizes of the joint model of cosmoDC2, times a factor."""


def dial_scenes(
    n_scenes: int,
    *,
    seed: int,
    truths: Sequence[str | Path | int] = (),
    split: str | None = None,
    size: int = 2048,
    band: str = "i",
    dial: Dial | None = None,
) -> list[SimulatedScene]:
    """List scenes to simulate, each of a universe of its own.

    Parameters
    ----------
    n_scenes
        Number of scenes.
    seed
        Seed of the universes and the scenes; the first scenes of a longer list are those of a
        shorter one.
    truths
        Truth scenes that half of the scenes take their galaxies' positions and magnitudes from, in
        turn; the other half, or all if there are none, are drawn from the parametric catalogue.
    split
        Part of the sky that truth scenes must belong to.
    size
        Side of a scene, pixels.
    band
        Band.
    dial
        Ranges; the default ones if `None`.

    Returns
    -------
    scenes
        The scenes; nothing is simulated yet.
    """
    from ..simulation import SIZE_MODELS, SizeModel, get_survey
    from ..simulation.config import SceneConfig

    dial = Dial() if dial is None else dial
    small, large = SIZE_MODELS["cosmodc2"], SIZE_MODELS["large"]
    scenes = []
    for i in range(n_scenes):
        rng = np.random.default_rng([seed, i])
        survey = get_survey(band)
        kind = rng.random()
        if kind >= dial.nominal_share:
            third = 3.0 * (kind - dial.nominal_share) / (1.0 - dial.nominal_share)
            fwhm = round(rng.uniform(*dial.fwhm), 3)
            n_exposures = round(float(np.exp(rng.uniform(*np.log(dial.exposures)))))
            if third < 2.0:
                survey = dataclasses.replace(survey, n_exposures=n_exposures)
            if third >= 1.0:
                survey = dataclasses.replace(survey, fwhm=fwhm)
        place = rng.uniform(*dial.sizes)
        config = SceneConfig()
        size_model: str | SizeModel = SizeModel(
            f"dial-{place:.3f}",
            float(small.radius_24 * (large.radius_24 / small.radius_24) ** place),
            float(small.slope + (large.slope - small.slope) * place + rng.normal(0.0, 0.01)),
            float(rng.uniform(0.16, 0.24)),
        )
        if rng.random() < _JOINT_SHARE:
            size_model = "cosmodc2-galaxies"
            config.population.sizeScale = float(3.0 ** np.clip(place, 0.0, 1.0))
        config.population.countsScale = float(np.exp(rng.uniform(*np.log(dial.counts))))
        clustering = float(rng.uniform(*dial.clustering))
        if rng.random() < dial.stars_share:
            config.population.starDensity = float(rng.uniform(0.0, dial.star_density))
        if rng.random() < dial.clumpy_share:
            config.population.clumpyFraction = float(rng.uniform(0.0, 0.5))
        from_truth = bool(truths) and i % 2 == 0
        # A truth scene has positions of its own.
        config.population.clustering = 1.0 if from_truth else clustering
        scenes.append(
            SimulatedScene(
                truths[i // 2 % len(truths)] if from_truth else "parametric",
                size_model,
                int(rng.integers(2**31)),
                (size, size),
                split if from_truth else None,
                survey,
                config,
            )
        )
    return scenes


def mixed_dial_scenes(
    n_parametric: int,
    *,
    seed: int,
    truths: Sequence[str | Path | int] = (),
    draws: int = 1,
    split: str | None = None,
    size: int = 2048,
    band: str = "i",
) -> list[SimulatedScene]:
    """List scenes of many universes, with numbers of one's own of either kind.

    Parameters
    ----------
    n_parametric
        Number of scenes of the parametric catalogue.
    seed, split, size, band
        As for `dial_scenes`.
    truths
        Truth scenes.
    draws
        Number of scenes of each of them.

    Returns
    -------
    scenes
        Those of the truths and the parametric ones in turn, as far as there are both.
    """
    n_truth = len(truths) * draws
    if not n_truth:
        return dial_scenes(n_parametric, seed=seed, size=size, band=band)
    pairs = dial_scenes(
        2 * max(n_truth, n_parametric), seed=seed, truths=truths, split=split, size=size, band=band
    )
    return [scene for i, scene in enumerate(pairs) if i // 2 < (n_parametric if i % 2 else n_truth)]

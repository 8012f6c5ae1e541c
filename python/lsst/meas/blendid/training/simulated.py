# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Scenes to simulate: in one setting, over all of a domain, or like a given coadd."""

from __future__ import annotations

__all__ = (
    "ANY_BAND",
    "DEFAULT_SIZES",
    "CoaddProperties",
    "SimulatedScene",
    "like_scenes",
    "measure_coadd",
    "name_sky",
    "randomized_scenes",
    "simulated_scenes",
)

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..footprints import detect
from ..images.psf import adaptive_sigma, kolmogorov_kernel, summarize_psf
from ..samples import SceneContext
from .domain import DomainRanges, PsfRanges, SkyRanges, SurveyRanges
from .scenes import Scene
from .settings import settings_of_image

if TYPE_CHECKING:
    from astropy.table import Table

    from ..simulation import GalaxySource, SimulatedCoadd, SizeModel, Survey
    from ..simulation.config import SceneConfig

DEFAULT_SIZES = ("cosmodc2", "1.6x", "large")
"""Galaxy sizes that each sky is drawn with if none are named."""


@dataclass(frozen=True)
class SimulatedScene:
    """A scene to simulate.

    Parameters
    ----------
    source
        Source of galaxies: ``"parametric"``, the number or file of a truth
        scene, a table.
    size_model
        Galaxy sizes (`.simulation.SIZE_MODELS`).
    seed
        Seed of shapes and noise, and of the positions of the parametric
        catalogue.
    size
        Width and height, pixels.
    split
        Part of the sky that a truth scene must belong to ("train",
        "validation", "test").
    survey
        Band, or settings of a survey.
    config
        How the coadd is simulated: objects, variation of PSF and depth, artefacts (default:
        none of that).
    processes
        Processes that draw exposures, if the coadd is made of such.
    for_any_band
        Keep from models what tells bands apart, the band's name and the zero point: one that learned from
        such scenes holds for any band.
    """

    source: GalaxySource | Table | str | Path | int = "parametric"
    size_model: str | SizeModel = "cosmodc2-galaxies"
    seed: int = 1
    size: tuple[int, int] = (2048, 2048)
    split: str | None = None
    survey: str | Survey = "i"
    config: SceneConfig | None = None
    processes: int = 1
    for_any_band: bool = False

    def simulate(self) -> SimulatedCoadd:
        """Simulate the coadd and its truth.

        Returns
        -------
        simulated
            Coadd in nJy and truth.

        Raises
        ------
        .simulation.SimulationError
            Raised if the settings make no sense.
        """
        from ..simulation import simulate_scene

        return simulate_scene(
            self.source,
            size=self.size,
            seed=self.seed,
            size_model=self.size_model,
            band=self.survey,
            split=self.split,
            config=self.config,
            processes=self.processes,
        )

    def load(self) -> Scene:
        """Simulate the scene.

        Returns
        -------
        scene
            The scene.

        Raises
        ------
        .simulation.SimulationError
            Raised if the settings make no sense.
        """
        from ..simulation.survey import AB_ZERO_POINT_NJY

        simulated = self.simulate()
        known = SceneContext(simulated.truth.meta["band"], AB_ZERO_POINT_NJY)
        source, size_model, band, settings = (
            simulated.truth.meta[name] for name in ("source", "size_model", "band", "settings")
        )
        coadd = simulated.coadd
        return Scene(
            name=f"{source}-{size_model}-{self.seed}",
            sky=name_sky(simulated.truth.meta) or source,
            masked_image=coadd,
            psf=summarize_psf(coadd.psf, coadd.bbox),
            truth=simulated.truth,
            context=SceneContext() if self.for_any_band else known,
            provenance={
                "source": source,
                "size_model": size_model,
                "seed": self.seed,
                "size": list(self.size),
                "split": simulated.truth.meta["split"],
                "band": band,
            }
            | ({"settings": settings} if settings else {}),
        )


def name_sky(meta: Mapping[str, Any]) -> str | None:
    """Name the piece of sky that a simulated truth table is of, whatever sizes, noise and band it has.

    Parameters
    ----------
    meta
        Metadata of the table.

    Returns
    -------
    sky
        The name; `None` if the table was not simulated here.
    """
    if not {"source", "seed", "noise_seed"} <= set(meta):
        return None
    source = str(meta["source"])
    # A parametric sky is another one for every seed.
    return f"{source}-{meta['seed']}" if source == "parametric" else source


def simulated_scenes(
    truths: Sequence[str | Path | int] = (),
    *,
    n_scenes: int = 4,
    size_models: Sequence[str] = DEFAULT_SIZES,
    draws: int = 1,
    size: int = 2048,
    seed: int = 1,
    split: str | None = None,
    survey: str | Survey = "i",
) -> list[SimulatedScene]:
    """List scenes to simulate, each with its own seed.

    Parameters
    ----------
    truths
        Files or numbers of truth scenes; if empty, the parametric catalogue.
    n_scenes
        Number of truths that the parametric catalogue stands for.
    size_models
        Galaxy sizes; every truth is drawn with each.
    draws
        Number of times that each is drawn, with other shapes and noise.  The
        parametric catalogue depends on the seed: each of its
        ``n_scenes * len(size_models) * draws`` scenes is another piece of sky.
    size
        Side of a scene, pixels.
    seed
        Seed that the others are counted from.
    split
        Part of the sky that truth scenes must belong to.
    survey
        Band, or settings of a survey.

    Returns
    -------
    scenes
        The scenes; nothing is simulated yet.
    """
    sources: list[str | Path | int] = list(truths) or ["parametric"] * n_scenes
    return [
        SimulatedScene(source, size_model, seed + i, (size, size), split if truths else None, survey)
        for i, (source, size_model, _) in enumerate(
            (source, size_model, draw)
            for source in sources
            for size_model in size_models
            for draw in range(draws)
        )
    ]


ANY_BAND = "any"
"""Name that stands for all bands: each scene is in one of them."""

_BAND_SHARES = {"u": 0.05, "g": 0.15, "r": 0.15, "i": 0.4, "z": 0.15, "y": 0.1}
"""Share of the scenes in each band, where they are in any."""


def randomized_scenes(
    n_scenes: int,
    *,
    seed: int,
    truths: Sequence[str | Path | int] = (),
    split: str | None = None,
    size: int = 2048,
    band: str = "i",
    ranges: DomainRanges | None = None,
) -> list[SimulatedScene]:
    """List scenes to simulate, each with a survey, a PSF and galaxies of its own (domain randomisation).

    Parameters
    ----------
    n_scenes
        Number of scenes.
    seed
        Seed of what is drawn for each scene, and of the scenes; the first scenes of a longer list are those
        of a shorter one.
    truths
        Truth scenes that half of the scenes take their galaxies' positions and magnitudes from, in
        turn; the other half, or all if there are none, are drawn from the parametric catalogue.
    split
        Part of the sky that truth scenes must belong to.
    size
        Side of a scene, pixels.
    band
        Band; `ANY_BAND` for scenes in all of them, which do not tell theirs: a model that learns from such
        scenes holds for any band.
    ranges
        What all is drawn from; the default ranges if `None`.

    Returns
    -------
    scenes
        The scenes; nothing is simulated yet.
    """
    from ..simulation import get_survey

    ranges = DomainRanges() if ranges is None else ranges
    scenes = []
    for i in range(n_scenes):
        rng = np.random.default_rng([seed, i])
        own_seed, chance = int(rng.integers(2**31)), rng.random()
        own_band = band
        if band == ANY_BAND:
            own_band = list(_BAND_SHARES)[int(np.searchsorted(np.cumsum([*_BAND_SHARES.values()]), chance))]
        from_truth = bool(truths) and i % 2 == 0
        survey, size_model, config = ranges.draw(get_survey(own_band), (seed, i), own_positions=from_truth)
        scenes.append(
            SimulatedScene(
                truths[i // 2 % len(truths)] if from_truth else "parametric",
                size_model,
                own_seed,
                (size, size),
                split if from_truth else None,
                survey,
                config,
                for_any_band=band == ANY_BAND,
            )
        )
    return scenes


FWHM_SCATTER = 0.03
"""The PSFs of the scenes are up to this fraction narrower or wider than that of the coadd."""

DEPTH_SCATTER = 0.1
"""The scenes are up to this many magnitudes shallower or deeper than the coadd."""

_PIXEL_SCALE = 0.2
_N_EXPOSURES = 100


@dataclasses.dataclass(frozen=True)
class CoaddProperties:
    """What of a coadd its simulation needs.

    Parameters
    ----------
    name
        Name of the coadd.
    band
        Band; that of the coadd if it tells one.
    fwhm
        FWHM of the Kolmogorov PSF (before the pixel) that is as wide as its PSF, arcsec.
    pixel_scale
        Side of a pixel, arcsec.
    noise_sigma
        Noise of a pixel, nJy; `None` if its unit is none of flux density.
    has_variance
        Whether the noise is that of a variance plane, and not of the pixels.
    has_sky
        Whether the sky background may still be in the coadd.
    """

    name: str
    band: str
    fwhm: float
    pixel_scale: float
    noise_sigma: float | None
    has_variance: bool
    has_sky: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Describe the coadd in JSON-compatible values.

        Returns
        -------
        description
            All fields, rounded.
        """
        values = dataclasses.asdict(self)
        return {k: round(v, 5) if isinstance(v, float) else v for k, v in values.items()}


def measure_coadd(
    path: str | Path,
    *,
    psf_fwhm: float | None = None,
    pixel_scale: float | None = None,
    zero_point: float | None = None,
    band: str | None = None,
) -> CoaddProperties:
    """Measure the PSF and the noise of a coadd.

    Parameters
    ----------
    path
        Any file that `.images.read_image` reads.
    psf_fwhm, pixel_scale
        Seeing and pixel size in arcsec, for files without.
    zero_point
        AB magnitude of one image unit; by default that of the unit.
    band
        Band to simulate; by default that of the coadd, or *i*.

    Returns
    -------
    properties
        The properties.

    Raises
    ------
    .images.ReadError
        Raised if the image cannot be read.
    ValueError
        Raised if its PSF cannot be measured or its noise is 0.

    Notes
    -----
    The noise is the median of the root of the variance plane; without one it is the clipped scatter of the
    pixels outside footprints, over what galaxies too faint to be detected add to it in a simulation of the
    same seeing and depth (`like_scenes` draws them too).
    """
    from ..images import image_scale, read_image
    from ..simulation import get_survey
    from ..simulation.survey import AB_ZERO_POINT_NJY

    read = read_image(str(path), psf_fwhm=psf_fwhm, pixel_scale=pixel_scale)
    image = read.masked_image
    psf = summarize_psf(read.psf, image.bbox)
    known_scale = image_scale(image) if pixel_scale is None else pixel_scale
    pixel_scale = _PIXEL_SCALE if known_scale is None else known_scale
    settings = settings_of_image(has_variance=read.has_variance, has_sky=read.has_sky)
    sigma = detect(image, psf=psf, config=settings).noise.sigma
    if not (math.isfinite(sigma) and sigma > 0.0):
        raise ValueError(f"{path}: the noise of its pixels is {sigma:g}, which cannot be simulated")
    unit_zero_point = read.find_zero_point(known_scale) if zero_point is None else zero_point
    properties = CoaddProperties(
        str(path),
        band or read.band or "i",
        _kolmogorov_fwhm(psf.sigma) * pixel_scale,
        pixel_scale,
        None if unit_zero_point is None else sigma * 10.0 ** (0.4 * (AB_ZERO_POINT_NJY - unit_zero_point)),
        read.has_variance,
        read.has_sky,
    )
    get_survey(properties.band)
    if properties.noise_sigma is None or read.has_variance:
        return properties
    # What undetected galaxies add, from one simulation at the depth that would be right without them.
    scene = like_scenes(properties, 1, seed=0, size=1024, scatter=False)[0].load()
    clipped = detect(scene.masked_image, psf=scene.psf, config=settings).noise.sigma
    sky = float(np.sqrt(np.nanmedian(scene.masked_image.variance.array)))
    return dataclasses.replace(properties, noise_sigma=properties.noise_sigma * sky / clipped)


def _kolmogorov_fwhm(sigma: float) -> float:
    """FWHM, pixels, of the Kolmogorov PSF that is as wide as a PSF with the pixel in it (by bisection)."""
    low, high = 0.3 * sigma, 6.0 * sigma
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if adaptive_sigma(kolmogorov_kernel(middle)) < sigma else (low, middle)
    return 0.5 * (low + high)


def like_scenes(
    properties: CoaddProperties,
    n_scenes: int,
    *,
    seed: int,
    size: int = 2048,
    scatter: bool = True,
) -> list[SimulatedScene]:
    """List scenes to simulate like a coadd, each with a population of its own.

    Parameters
    ----------
    properties
        The coadd.
    n_scenes
        Number of scenes.
    seed
        Seed of populations and scenes.
    size
        Side of a scene, pixels.
    scatter
        Let PSF and depth vary from scene to scene by `FWHM_SCATTER` and `DEPTH_SCATTER`?

    Returns
    -------
    scenes
        Scenes with the galaxies of `.simulated.randomized_scenes` and the PSF and depth of the coadd; with
        the depth of the survey as it is if that of the coadd is not known.
    """
    from ..simulation import get_survey

    survey = dataclasses.replace(
        get_survey(properties.band), fwhm=properties.fwhm, pixel_scale=properties.pixel_scale
    )
    if properties.noise_sigma is not None:
        # As many exposures, so that any depth can be had; what counts is their time in all.
        survey = dataclasses.replace(survey, n_exposures=_N_EXPOSURES, read_noise=0.0)
        # The noise goes with the root of the time where it is that of the sky.
        factor = (survey.sky_sigma / properties.noise_sigma) ** 2
        survey = dataclasses.replace(survey, exposure_time=survey.exposure_time * factor)
    # What the coadd tells of its survey, PSF and noise is not drawn.
    ranges = DomainRanges(
        survey=SurveyRanges(nominal_share=1.0),
        psf=PsfRanges(shares=(("kolmogorov", 1.0),), error_share=0.0, variation_share=0.0),
        sky=SkyRanges(correlated_share=0.0),
    )
    scenes = randomized_scenes(n_scenes, seed=seed, size=size, band=properties.band, ranges=ranges)
    rng = np.random.default_rng([seed, 1])
    drawn = []
    for scene in scenes:
        width, depth = rng.uniform(-1.0, 1.0, 2) * scatter
        its = dataclasses.replace(
            survey,
            fwhm=survey.fwhm * (1.0 + FWHM_SCATTER * width),
            exposure_time=survey.exposure_time * 10.0 ** (0.8 * DEPTH_SCATTER * depth),
        )
        drawn.append(dataclasses.replace(scene, survey=its))
    return drawn

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The domain that models are trained for: ranges that each scene draws its survey, PSF, sky and objects from.

A model holds where it was trained, so the ranges are wider than any one survey (domain randomisation).  Each
ingredient has a random stream of its own in each scene: another range of one of them leaves what is drawn
of the others as it is.
"""

from __future__ import annotations

__all__ = (
    "DefectRanges",
    "DomainRanges",
    "GalaxyRanges",
    "PsfRanges",
    "SkyRanges",
    "StarRanges",
    "SurveyRanges",
)

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..simulation import SizeModel, Survey
    from ..simulation.config import SceneConfig


def _log_uniform(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(limits))))


def _happens(rng: np.random.Generator, share: float) -> bool:
    return bool(rng.random() < share)


@dataclass(frozen=True, kw_only=True)
class SurveyRanges:
    """Band, seeing, depth, pixels and sky.

    Parameters
    ----------
    nominal_share
        Share of the scenes with seeing, depth and pixels of the survey as it is.  A third of the others
        have another seeing, a third another depth, and a third both: a survey that differs in one thing
        is as common as one that differs in two.
    fwhm
        FWHM of the PSF, arcsec, drawn uniformly.
    exposures
        Number of exposures, drawn uniformly in its logarithm.
    scale_share
        Share of the scenes that are not nominal with other pixels.
    pixel_scale
        Size of these pixels, arcsec, drawn uniformly in its logarithm.
    fwhm_pixels
        A seeing that has fewer or more pixels than these is moved to the limit.
    dark_share
        Share of the scenes, among those that are not nominal, whose sky is darker, with fewer exposures
        for the same depth: the noise of bright objects is then their own.
    sky_scale
        Brightness of that sky in units of that of the survey, drawn uniformly in its logarithm.
    """

    nominal_share: float = 0.5
    fwhm: tuple[float, float] = (0.6, 1.4)
    exposures: tuple[float, float] = (10.0, 400.0)
    scale_share: float = 0.5
    pixel_scale: tuple[float, float] = (0.1, 0.4)
    fwhm_pixels: tuple[float, float] = (2.0, 8.0)
    dark_share: float = 0.2
    sky_scale: tuple[float, float] = (0.02, 0.5)

    def draw(self, survey: Survey, rng: np.random.Generator) -> Survey:
        """Change the survey of a scene."""
        kind = rng.random()
        fwhm = round(rng.uniform(*self.fwhm), 3)
        n_exposures = round(_log_uniform(rng, self.exposures))
        other_scale, scale = _happens(rng, self.scale_share), _log_uniform(rng, self.pixel_scale)
        dark, sky = _happens(rng, self.dark_share), _log_uniform(rng, self.sky_scale)
        if kind < self.nominal_share:
            return survey
        third = 3.0 * (kind - self.nominal_share) / (1.0 - self.nominal_share)
        if third < 2.0:
            survey = dataclasses.replace(survey, n_exposures=n_exposures)
        if third >= 1.0:
            survey = dataclasses.replace(survey, fwhm=fwhm)
        if other_scale:
            scale = round(scale, 3)
            least, most = (scale * pixels for pixels in self.fwhm_pixels)
            survey = dataclasses.replace(survey, pixel_scale=scale, fwhm=min(max(survey.fwhm, least), most))
        if dark:
            # The noise of the sky goes with the root of its brightness over the time.
            survey = dataclasses.replace(
                survey,
                sky_brightness=survey.sky_brightness - 2.5 * math.log10(sky),
                exposure_time=survey.exposure_time * sky,
                read_noise=0.0,
            )
        return survey


@dataclass(frozen=True, kw_only=True)
class PsfRanges:
    """Form of the PSF.  The family ``double-gaussian`` is kept for tests.

    Parameters
    ----------
    shares
        Share of the scenes with each family of profiles.
    beta
        Of a Moffat profile, drawn uniformly.
    optics_share
        Diameter of the ring of defocus over the FWHM of the turbulence, drawn uniformly.
    ellipticity_share
        Share of the scenes with a sheared PSF.
    ellipticity
        Greatest shear of these, drawn uniformly.
    error_share
        Share of the scenes whose PSF is not known well.
    width_error
        Greatest error of the width of these, as a fraction, drawn uniformly in both directions.
    variation_share
        Share of the scenes whose PSF and depth vary from cell to cell, each by up to `_VARIATION`.
    """

    shares: tuple[tuple[str, float], ...] = (("kolmogorov", 0.5), ("moffat", 0.3), ("optics", 0.2))
    beta: tuple[float, float] = (2.5, 5.0)
    optics_share: tuple[float, float] = (0.2, 1.0)
    ellipticity_share: float = 0.4
    ellipticity: float = 0.1
    error_share: float = 0.3
    width_error: float = 0.1
    variation_share: float = 0.1

    def draw(self, config: SceneConfig, rng: np.random.Generator) -> None:
        """Set the form of the PSF of a scene, and how it varies."""
        names, shares = zip(*self.shares, strict=True)
        psf = config.psf
        psf.profile = str(rng.choice(names, p=np.array(shares) / sum(shares)))
        psf.beta = round(float(rng.uniform(*self.beta)), 2)
        psf.opticsShare = round(float(rng.uniform(*self.optics_share)), 2)
        sheared, shear, angle = _happens(rng, self.ellipticity_share), rng.uniform(), rng.uniform(0.0, 180.0)
        if sheared:
            psf.ellipticity, psf.positionAngle = float(self.ellipticity * shear), float(angle)
        wrong, error = _happens(rng, self.error_share), rng.uniform(-1.0, 1.0)
        if wrong:
            psf.widthError = float(self.width_error * error)
        varies, sizes = _happens(rng, self.variation_share), rng.uniform(size=len(_VARIATION))
        if varies:
            for (name, largest), size in zip(_VARIATION.items(), sizes, strict=True):
                setattr(config.variation, name, float(largest * size))


_VARIATION = {"fwhmScatter": 0.06, "ellipticityScatter": 0.03, "depthScatter": 0.2, "skyScatter": 0.1}
"""Greatest scatter between the cells of a scene."""


@dataclass(frozen=True, kw_only=True)
class GalaxyRanges:
    """Numbers, sizes, clustering and forms of galaxies.

    Parameters
    ----------
    sizes
        Galaxy sizes, from 0 (cosmoDC2) to 1 (the median radius at i = 24 of 0.77″ of galaxies in HST
        images), drawn uniformly.
    scatter
        Scatter of the sizes at one magnitude, dex, drawn uniformly.
    joint_share
        Share of the scenes with the sizes of the joint model of cosmoDC2, times a factor.
    counts
        Factor on the number of galaxies, drawn uniformly in its logarithm.
    clustering
        Strength of clustering of drawn positions, drawn uniformly in its logarithm.
    smooth_share
        Share of the scenes whose galaxies are discs and bulges alone.
    structures
        Largest share of the galaxies of the other scenes with each kind of structure, by the field of
        `.simulation.config.PopulationConfig`; the shares are drawn uniformly for each scene.
    bright_share
        Share of the scenes with further bright galaxies.
    bright_density
        Most of these, per arcmin².
    """

    sizes: tuple[float, float] = (-0.05, 1.1)
    scatter: tuple[float, float] = (0.16, 0.3)
    joint_share: float = 0.25
    counts: tuple[float, float] = (0.7, 1.4)
    clustering: tuple[float, float] = (0.5, 2.0)
    smooth_share: float = 0.4
    structures: tuple[tuple[str, float], ...] = (
        ("clumpyFraction", 0.4),
        ("mergerFraction", 0.08),
        ("structures.sersicFraction", 0.8),
        ("structures.barFraction", 0.4),
        ("structures.spiralFraction", 0.5),
        ("structures.ringFraction", 0.2),
        ("structures.dustFraction", 0.2),
        ("structures.tailFraction", 0.15),
        ("structures.edgeOnFraction", 0.15),
    )
    bright_share: float = 0.4
    bright_density: float = 2.0

    def draw(self, config: SceneConfig, rng: np.random.Generator, *, own_positions: bool) -> str | SizeModel:
        """Set the population of a scene, whose truth may have positions of its own; give its sizes."""
        from ..simulation import SIZE_MODELS, SizeModel

        small, large = SIZE_MODELS["cosmodc2"], SIZE_MODELS["large"]
        place, slope, scatter = rng.uniform(*self.sizes), rng.normal(0.0, 0.01), rng.uniform(*self.scatter)
        sizes: str | SizeModel = SizeModel(
            # The name by which packages and truth tables know these sizes.
            f"dial-{place:.3f}",
            float(small.radius_24 * (large.radius_24 / small.radius_24) ** place),
            float(small.slope + (large.slope - small.slope) * place + slope),
            float(scatter),
        )
        population = config.population
        if _happens(rng, self.joint_share):
            sizes = "cosmodc2-galaxies"
            population.sizeScale = float(3.0 ** np.clip(place, 0.0, 1.0))
        population.countsScale = _log_uniform(rng, self.counts)
        clustering = _log_uniform(rng, self.clustering)
        population.clustering = 1.0 if own_positions else clustering
        smooth, shares = _happens(rng, self.smooth_share), rng.uniform(size=len(self.structures))
        if not smooth:
            for (name, largest), share in zip(self.structures, shares, strict=True):
                group, _, field = name.rpartition(".")
                setattr(getattr(population, group) if group else population, field, float(largest * share))
        bright, density = _happens(rng, self.bright_share), rng.uniform()
        if bright:
            population.brightDensity = float(self.bright_density * density)
        return sizes


@dataclass(frozen=True, kw_only=True)
class StarRanges:
    """Stars and their light.

    Parameters
    ----------
    share
        Share of the scenes that have stars.
    density
        Stars of such a scene, per arcmin², drawn uniformly in its logarithm.
    brightest
        Magnitude of the brightest stars there may be, drawn uniformly.
    dirty_share
        Share of the scenes with stars whose light is that of a real telescope and camera: saturated, with
        bleed trails, halos, ghosts and spikes, masked or not.
    halo, ghost, spikes
        Largest share of each in the light of a star, drawn uniformly in the logarithm down to a tenth of it.
    masked_share
        Share of these scenes in which bright stars are masked.
    """

    share: float = 0.5
    density: tuple[float, float] = (0.3, 10.0)
    brightest: tuple[float, float] = (13.0, 20.0)
    dirty_share: float = 0.5
    halo: float = 0.1
    ghost: float = 0.02
    spikes: float = 0.05
    masked_share: float = 0.4

    def draw(self, config: SceneConfig, rng: np.random.Generator) -> None:
        """Set the stars of a scene."""
        has, density, brightest = _happens(rng, self.share), _log_uniform(rng, self.density), rng.uniform()
        dirty, masked = _happens(rng, self.dirty_share), _happens(rng, self.masked_share)
        sizes, angle = 0.1 ** rng.uniform(size=3), rng.uniform(0.0, 90.0)
        slope, spread = rng.uniform(2.0, 3.0), rng.uniform(0.0, 10.0)
        if not has:
            return
        low, high = self.brightest
        config.population.starDensity = density
        config.population.starMagBright = float(low + (high - low) * brightest)
        if not dirty:
            return
        config.artifacts.doSaturation = True
        light = config.starlight
        light.haloFraction, light.ghostFraction, light.spikeFraction = (
            float(largest * size)
            for largest, size in zip((self.halo, self.ghost, self.spikes), sizes, strict=True)
        )
        light.haloSlope, light.spikeAngle, light.spikeSpread = float(slope), float(angle), float(spread)
        if masked:
            light.maskRadius = 10.0


@dataclass(frozen=True, kw_only=True)
class DefectRanges:
    """What coaddition leaves of defects.

    Parameters
    ----------
    share
        Share of the scenes with defects.
    cosmic_rays, hot_pixels
        Most of each, per arcmin², drawn uniformly in the logarithm down to a hundredth of it.
    trails
        Most trails of satellites, per arcmin of the width of the image, drawn uniformly.
    bad_columns
        Most bad columns of a cell, drawn uniformly.
    unmasked_share
        Share of these scenes in which the mask misses some of them, drawn uniformly from none to all.
    """

    share: float = 0.35
    cosmic_rays: float = 10.0
    hot_pixels: float = 10.0
    trails: float = 0.3
    bad_columns: float = 0.2
    unmasked_share: float = 0.7

    def draw(self, config: SceneConfig, rng: np.random.Generator) -> None:
        """Set the defects of a scene."""
        has, partly = _happens(rng, self.share), _happens(rng, self.unmasked_share)
        rays, hot = 0.01 ** rng.uniform(size=2)
        trails, columns, missed = rng.uniform(size=3)
        if not has:
            return
        artifacts = config.artifacts
        artifacts.cosmicRayDensity = float(self.cosmic_rays * rays)
        artifacts.hotPixelDensity = float(self.hot_pixels * hot)
        artifacts.trailDensity = float(self.trails * trails)
        artifacts.badColumnDensity = float(self.bad_columns * columns)
        artifacts.maskedFraction = float(1.0 - missed) if partly else 1.0


@dataclass(frozen=True, kw_only=True)
class SkyRanges:
    """What is wrong with the sky, and how its noise is correlated.

    Parameters
    ----------
    gradient_share
        Share of the scenes with a residual of the sky.
    gradient
        Largest of it, peak to peak, in units of the noise of a pixel, drawn uniformly.
    bowl_share
        Share of the scenes in which the background takes light of bright objects away.
    over_subtraction
        Largest share of their light that it takes, drawn uniformly.
    correlated_share
        Share of the scenes with correlated noise.
    noise_correlation
        Noise of a sum over many pixels over that of white noise, drawn uniformly.
    """

    gradient_share: float = 0.2
    gradient: float = 0.6
    bowl_share: float = 0.2
    over_subtraction: float = 0.8
    correlated_share: float = 0.3
    noise_correlation: tuple[float, float] = (1.0, 1.5)

    def draw(self, config: SceneConfig, rng: np.random.Generator) -> None:
        """Set the sky of a scene."""
        tilted, gradient = _happens(rng, self.gradient_share), rng.uniform()
        bowls, taken = _happens(rng, self.bowl_share), rng.uniform()
        correlated, correlation = _happens(rng, self.correlated_share), rng.uniform(*self.noise_correlation)
        if tilted:
            config.sky.gradient = float(self.gradient * gradient)
        if bowls:
            config.sky.overSubtraction = float(self.over_subtraction * taken)
        if correlated:
            config.sky.noiseCorrelation = float(correlation)


def _well_sampled(survey: Survey, config: SceneConfig) -> Survey:
    """Widen the PSF where pixels would not sample it, or the one that is told, along its minor axis."""
    from ..simulation.coadds.psf_model import MIN_FWHM_PIXELS, PsfModel

    # As far as the fields of variation reach, three standard deviations in both components.
    shear = config.psf.ellipticity + 3.0 * math.sqrt(2.0) * config.variation.ellipticityScatter
    narrow = 1.0 - 3.0 * config.variation.fwhmScatter + min(config.psf.widthError, 0.0)
    least = MIN_FWHM_PIXELS * survey.pixel_scale * PsfModel(1.0, shear).stretch / narrow
    return survey if survey.fwhm >= least else dataclasses.replace(survey, fwhm=least)


@dataclass(frozen=True, kw_only=True)
class DomainRanges:
    """Ranges that scenes are drawn from, one group for each ingredient.

    Parameters
    ----------
    survey, psf, galaxies, stars, defects, sky
        The groups.
    clean_share
        Share of the scenes with a round Kolmogorov PSF that is known, without defects, light of stars or
        trouble with the sky: what a simulation without all that has, and many real coadds nearly.
    """

    survey: SurveyRanges = SurveyRanges()
    psf: PsfRanges = PsfRanges()
    galaxies: GalaxyRanges = GalaxyRanges()
    stars: StarRanges = StarRanges()
    defects: DefectRanges = DefectRanges()
    sky: SkyRanges = SkyRanges()
    clean_share: float = 0.3

    def draw(
        self, survey: Survey, seed: Sequence[int], *, own_positions: bool
    ) -> tuple[Survey, str | SizeModel, SceneConfig]:
        """Draw what a scene is like.

        Parameters
        ----------
        survey
            The survey in the band of the scene.
        seed
            Numbers that the random streams of the ingredients are made from.
        own_positions
            Whether its galaxies have positions already.

        Returns
        -------
        survey, size_model, config
            As of `.simulated.SimulatedScene`.
        """
        from ..simulation.config import SceneConfig

        # New ingredients are added behind, so that they move none of the others.
        streams = [np.random.default_rng([*seed, number]) for number in range(7)]
        config = SceneConfig()
        drawn = self.survey.draw(survey, streams[0])
        sizes = self.galaxies.draw(config, streams[1], own_positions=own_positions)
        if not _happens(streams[6], self.clean_share):
            self.psf.draw(config, streams[2])
            self.stars.draw(config, streams[3])
            self.defects.draw(config, streams[4])
            self.sky.draw(config, streams[5])
        return _well_sampled(drawn, config), sizes, config

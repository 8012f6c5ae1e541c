# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Scenes that are like a given coadd in PSF, noise and depth, for a model of its own."""

from __future__ import annotations

__all__ = ("CoaddProperties", "like_scenes", "measure_coadd")

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from ..footprints import detect
from ..images.psf import adaptive_sigma, kolmogorov_kernel, summarize_psf
from .dial import Dial, dial_scenes
from .scenes import SimulatedScene
from .settings import settings_of_image

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
        Scenes with the galaxies of `.dial.dial_scenes` and the PSF and depth of the coadd; with
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
    scenes = dial_scenes(n_scenes, seed=seed, size=size, band=properties.band, dial=Dial(nominal_share=1.0))
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

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""A coadd that is the mean of single exposures, photon by photon.

Each exposure has its own seeing, sky brightness and dither. The photons of all
sources go through the atmosphere into the sensor; Poisson noise of the sky is added;
the mean of the sky, which is known, is subtracted; the dither is undone
bilinearly; and the mean of all exposures is the coadd. The protocol is that of
Buchanan et al. 2022 (ApJ 924, 94).

What is left out: wavelengths and angles of photons (GalSim then lets them convert
1 µm deep), tree rings, cosmic rays, gain and saturation. A sky without gradients
distorts no pixel, and so is added without the sensor; read noise is further electrons
of it, as in `~lsst.meas.blendid.simulation.survey.Survey`.
"""

from __future__ import annotations

__all__ = ("ExposureStack", "expose", "plan_exposures")

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.table import Table

from ..._processes import map_in_order
from .._errors import SimulationError
from .._random import random_stream
from ..coadds._profiles import Profiles
from ..coadds.psf_model import kernel_size
from ..coadds.render import ProgressCallback
from ..config import ExposureConfig
from ..survey import Survey
from ._dither import add_undithered, effective_kernel, noise_covariance
from ._exposure_store import ExposureStore, Setting
from ._photons import make_sources, shoot_photons
from ._sensor import EDGE, make_sensor

# Of the files that are kept: to be raised when the same settings give other electrons.
_VERSION = 2
# The first key of the random streams of exposures; other parts of a simulation have others.
_STREAM = 1000
_MARGIN = EDGE + 1
# Photons in memory at once, 16 bytes each and as many for the sensor.
_MAX_PHOTONS = 20_000_000


@dataclasses.dataclass(frozen=True)
class ExposureStack:
    """The mean of exposures."""

    image: np.ndarray
    """Surface brightness above the mean sky, nJy per pixel, float32, shape (h, w)."""

    variance: np.ndarray
    """Variance of the sky, which is known, and of the sources, from the image itself; both
    after interpolation; nJy², float32, shape (h, w)."""

    sky_variance: float
    """Variance of the sky alone, nJy²."""

    kernel: np.ndarray
    """PSF: mean of atmosphere, diffusion in the sensor, pixel and interpolation over the
    exposures; float64, shape (n, n), sum 1, n of
    `~lsst.meas.blendid.simulation.coadds.psf_model.kernel_size`."""

    covariance: np.ndarray
    """Covariance of the noise of the sky of a pixel with those around it, nJy², shape (3, 3)."""

    table: Table
    """Row per exposure: ``index``, ``seed``, ``fwhm`` (arcsec), ``sky`` (electrons per pixel), ``dx``,
    ``dy`` (pixels) and ``kept`` (read from the folder, not drawn)."""


def plan_exposures(survey: Survey, config: ExposureConfig, seed: int) -> Table:
    """Draw seeing, sky and dither of each exposure.

    Parameters
    ----------
    survey
        Band, with the number of exposures.
    config
        Scatter of seeing and sky. Both are normal, cut at three standard deviations.
    seed
        Seed of the coadd. That of an exposure is made of it, the band and the number of the
        exposure: it does not depend on how many exposures there are.

    Returns
    -------
    table
        Row per exposure, as in `ExposureStack`, without ``kept``.

    Raises
    ------
    SimulationError
        Raised if the seed is negative or the number of exposures not a whole number.
    """
    count = int(survey.n_exposures)
    if count != survey.n_exposures:
        raise SimulationError(f"the number of exposures must be a whole number, not {survey.n_exposures}")
    if seed < 0:
        raise SimulationError(f"a seed must not be negative, not {seed}")
    # Electrons that stand for the read noise are always there.
    read = survey.read_noise**2
    sky = _one(survey).sky_electrons - read
    rows = []
    for index in range(count):
        rng = _generator(seed, survey.band, index, 0)
        fwhm, brightness = np.clip(rng.standard_normal(2), -3.0, 3.0)
        dx, dy = rng.uniform(-0.5, 0.5, 2) if config.doDither else (0.0, 0.0)
        rows.append(
            (
                index,
                seed,
                survey.fwhm * (1.0 + config.fwhmScatter * fwhm),
                sky * (1.0 + config.skyScatter * brightness) + read,
                dx,
                dy,
            )
        )
    names = ("index", "seed", "fwhm", "sky", "dx", "dy")
    return Table(rows=rows, names=names, dtype=(int, int, float, float, float, float))


def expose(
    galaxies: Table,
    *,
    size: tuple[int, int],
    survey: Survey,
    config: ExposureConfig | None = None,
    seed: int,
    processes: int = 1,
    folder: str | Path | None = None,
    progress: ProgressCallback | None = None,
) -> ExposureStack:
    """Simulate exposures and take their mean.

    Parameters
    ----------
    galaxies
        Observed table, with a row for each knot; ``x`` and ``y`` relative to the first pixel.
        Sources outside of the image shine into it.
    size
        Width and height of the image, pixels.
    survey
        Band, with the number and length of exposures.
    config
        Scatter of seeing and sky, dither and sensor.
    seed
        Seed of everything random.
    processes
        Processes that draw exposures. The pixels do not depend on it.
    folder
        Where each exposure is kept as soon as it is drawn; those that are there already
        are not drawn again. One folder holds exposures of one image, in any number of bands.
    progress
        Called with the number of exposures done and in all.

    Returns
    -------
    stack
        The coadd and what is known about it.

    Raises
    ------
    SimulationError
        Raised for a bad table, an unknown sensor, a number of processes that is not
        positive, and if ``folder`` has exposures of other settings. Then nothing is
        written.
    MissingGalSimError
        Raised if GalSim is not installed and a silicon sensor is asked for.
    """
    config = ExposureConfig() if config is None else config
    width, height = (int(v) for v in size)
    if width < 1 or height < 1:
        raise SimulationError(f"the size of an image must be positive, not {width} × {height}")
    if processes < 1:
        raise SimulationError(f"the number of processes must be positive, not {processes}")
    plan = plan_exposures(survey, config, seed)
    sources, digest = make_sources(galaxies)
    diffusion = make_sensor(config.sensor).diffusion
    store = None
    if folder is not None:
        store = ExposureStore(folder, survey.band, _settings(digest, (width, height), survey, config, seed))
    shape = (height + 2 * _MARGIN, width + 2 * _MARGIN)
    kept = store.check(shape) if store is not None else set()
    plan["kept"] = [index in kept for index in plan["index"]]

    camera = _Camera(sources, shape, survey, config, seed, store)
    total = np.zeros((height, width))
    done = 0
    # Always in the order of their numbers: sums of floating-point numbers depend on it.
    for row, electrons in zip(plan, _draw_all(camera, plan, processes), strict=True):
        add_undithered(total, electrons, row["dx"], row["dy"], _MARGIN)
        total -= row["sky"]
        done += 1
        if progress is not None:
            progress(done, len(plan))

    count = len(plan)
    per_njy = _one(survey).electrons_per_njy
    covariance = np.zeros((3, 3))
    white = np.zeros((3, 3))
    for row in plan:
        one = noise_covariance(row["dx"], row["dy"])
        covariance += one * row["sky"]
        white += one
    scale = 1.0 / (count * per_njy) ** 2
    # Where there is no source, noise above zero adds .3 / √(all electrons of the sky) to the variance of the
    # sky: .1 % for 100 exposures in i, 1 % for one.
    mean = total / count
    variance = (covariance[1, 1] + white[1, 1] * np.maximum(mean, 0.0)) * scale
    pixel = survey.pixel_scale
    return ExposureStack(
        image=(mean / per_njy).astype(np.float32),
        variance=variance.astype(np.float32),
        sky_variance=float(covariance[1, 1] * scale),
        kernel=effective_kernel(
            np.asarray(plan["fwhm"]) / pixel,
            np.asarray(plan["dx"]),
            np.asarray(plan["dy"]),
            diffusion=diffusion,
            size=kernel_size(survey.fwhm, pixel),
        ),
        covariance=covariance * scale,
        table=plan,
    )


@dataclasses.dataclass(frozen=True)
class _Camera:
    """Draws exposures; goes to other processes whole."""

    sources: Profiles
    shape: tuple[int, int]
    survey: Survey
    config: ExposureConfig
    seed: int
    store: ExposureStore | None

    def __call__(self, job: tuple[int, float, float, float, float]) -> np.ndarray | None:
        """Draw an exposure, and keep it or return it."""
        index, fwhm, sky, dx, dy = job
        electrons = self._draw(index, fwhm, sky, dx, dy)
        if self.store is None:
            return electrons
        self.store.write(index, electrons)
        return None

    def _draw(self, index: int, fwhm: float, sky: float, dx: float, dy: float) -> np.ndarray:
        rng = _generator(self.seed, self.survey.band, index, 1)
        sensor = make_sensor(self.config.sensor, int(rng.integers(1, 2**31 - 1)))
        per_njy = _one(self.survey).electrons_per_njy
        disc, bulge = self.sources.forms[:, 0] * per_njy, self.sources.forms[:, 4] * per_njy
        sources = self.sources.shifted(_MARGIN + dx, _MARGIN + dy)
        height, width = self.shape
        box = (EDGE - 0.5, width - EDGE - 0.5, EDGE - 0.5, height - EDGE - 0.5)
        electrons = np.zeros(self.shape, dtype=np.float32)
        # Parts of the exposure's time.
        parts = max(1, int(np.ceil((disc.sum() + bulge.sum()) / _MAX_PHOTONS)))
        for _ in range(parts):
            x, y = shoot_photons(
                sources,
                rng.poisson(disc / parts),
                rng.poisson(bulge / parts),
                pixel_scale=self.survey.pixel_scale,
                fwhm=fwhm,
                box=box,
                rng=rng,
            )
            sensor.collect(electrons, x, y)
        return (rng.poisson(sky, self.shape) + electrons).astype(np.int32)


def _draw_all(camera: _Camera, plan: Table, processes: int) -> Iterator[np.ndarray]:
    """Yield the electrons of all exposures in their order, drawing those that are not kept."""
    jobs = [
        (int(row["index"]), float(row["fwhm"]), float(row["sky"]), float(row["dx"]), float(row["dy"]))
        for row in plan
        if not row["kept"]
    ]
    results = map_in_order(camera, jobs, processes)
    for row in plan:
        electrons = None if row["kept"] else next(results)
        if electrons is None:
            assert camera.store is not None
            electrons = camera.store.read(int(row["index"]))
        yield electrons


def _settings(
    digest: str, size: tuple[int, int], survey: Survey, config: ExposureConfig, seed: int
) -> dict[str, Setting]:
    """List everything that an exposure depends on, by name."""
    settings: dict[str, Setting] = {"version": _VERSION, "seed": seed, "galaxies": digest}
    settings["width"], settings["height"] = size
    for name, value in dataclasses.asdict(survey).items():
        if name != "n_exposures":
            settings[name] = value
    settings.update(config.toDict())
    return settings


def _one(survey: Survey) -> Survey:
    """Survey of one exposure: not a share of many, which depends on how many in the last digit."""
    return dataclasses.replace(survey, n_exposures=1)


def _generator(seed: int, band: str, index: int, purpose: int) -> np.random.Generator:
    return random_stream(seed, _STREAM, int.from_bytes(band.encode()), index, purpose)

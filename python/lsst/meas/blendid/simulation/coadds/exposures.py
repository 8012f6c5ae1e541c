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

__all__ = (
    "ExposureStack",
    "add_undithered",
    "effective_kernel",
    "expose",
    "noise_covariance",
    "plan_exposures",
)

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.table import Table

from ..._jit import njit
from ..._processes import map_in_order
from ..._progress import ProgressCallback
from ...images.psf import KOLMOGOROV_K0_FWHM
from ..config import ExposureConfig
from ..errors import SimulationError
from ..random_streams import check_seed, random_stream
from ..survey import Survey
from .exposure_store import ExposureStore, Setting
from .photons import BORDER, make_sensor, make_sources, shoot_photons
from .psf_model import kernel_size
from .render import Profiles

# Of the files that are kept: to be raised when the same settings give other electrons.
_VERSION = 2
# The first key of the random streams of exposures; other parts of a simulation have others.
_STREAM = 1000
_MARGIN = BORDER + 1
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
    """Draw seeing, sky and dither of each exposure, a row as in `ExposureStack` without ``kept``.

    Seeing and sky are normal, cut at three standard deviations. The seed of an exposure is made of that of
    the coadd, the band and its number: it does not depend on how many exposures there are.
    """
    count = int(survey.n_exposures)
    if count != survey.n_exposures:
        raise SimulationError(f"the number of exposures must be a whole number, not {survey.n_exposures}")
    check_seed(seed)
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
    # Interpolation correlates neighbours, by as much as each dither has of a fraction.
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
        box = (BORDER - 0.5, width - BORDER - 0.5, BORDER - 0.5, height - BORDER - 0.5)
        electrons = np.zeros(self.shape, dtype=np.float32)
        # Parts of the exposure's time.
        # By Poisson's law photons of parts of the time add up to those of the whole; memory is for those of
        # one part.
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
        # The sky is flat: drawing its photons one by one would only cost time.
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


def split_shift(shift: float) -> tuple[int, float]:
    """Split a shift into its whole part, rounded down, and its fraction in [0, 1)."""
    whole = math.floor(shift)
    return whole, shift - whole


def add_undithered(total: np.ndarray, exposure: np.ndarray, dx: float, dy: float, margin: int) -> None:
    """Add an exposure, shape (h + 2 margin, w + 2 margin), its dither undone, to a sum of shape (h, w).

    An exposure that was taken with its sky moved by (dx, dy) pixels is moved back by
    bilinear interpolation. Along each axis the value of a pixel becomes
    (1 - f) e[i + n] + f e[i + n + 1], where n and f are the whole and the fractional
    part of the dither. The margin is at least one pixel more than the dither.
    """
    (nx, fx), (ny, fy) = split_shift(dx), split_shift(dy)
    _add_bilinear(total, exposure, margin + nx, margin + ny, fx, fy)


@njit()
def _add_bilinear(total: np.ndarray, exposure: np.ndarray, x0: int, y0: int, fx: float, fy: float) -> None:
    for i in range(total.shape[0]):
        for j in range(total.shape[1]):
            below = (1.0 - fx) * exposure[i + y0, j + x0] + fx * exposure[i + y0, j + x0 + 1]
            above = (1.0 - fx) * exposure[i + y0 + 1, j + x0] + fx * exposure[i + y0 + 1, j + x0 + 1]
            total[i, j] += (1.0 - fy) * below + fy * above


def noise_covariance(dx: float, dy: float) -> np.ndarray:
    """Covariance of a pixel with its neighbours, (3, 3), of white noise of variance 1 after `add_undithered`.

    The variance is (1 - f)² + f², on average 2/3, and the covariance between neighbours f (1 - f), on
    average 1/6, f the fraction of the dither.
    """

    def axis(shift: float) -> np.ndarray:
        _, f = split_shift(shift)
        return np.array([f * (1.0 - f), (1.0 - f) ** 2 + f**2, f * (1.0 - f)])

    return axis(dy)[:, None] * axis(dx)[None, :]


def effective_kernel(
    fwhm: np.ndarray, dx: np.ndarray, dy: np.ndarray, *, diffusion: float = 0.0, size: int = 41
) -> np.ndarray:
    """PSF of the mean of exposures, image of a star in the middle of a pixel, (size, size) of sum 1.

    FWHM of the Kolmogorov PSFs and dithers are in pixels, shape (n,); ``diffusion`` is the standard
    deviation of the Gaussian by which charge diffuses, pixels. Interpolation is linear in the pixels, so
    that a star anywhere else has the same image, sampled elsewhere. It is computed from the transforms.
    """
    n = 1 << max(8, math.ceil(math.log2(6 * size)))
    total = np.zeros((n, n // 2 + 1), dtype=np.complex128)
    base_y, base_x = np.fft.fftfreq(n), np.fft.rfftfreq(n)
    # Frequencies beyond Nyquist fold back when the profile is sampled at pixel centres.
    for iy in (-1, 0, 1):
        for ix in (-1, 0, 1):
            fx, fy = base_x + ix, base_y + iy
            k = 2.0 * np.pi * np.hypot(fx[None, :], fy[:, None])
            k_53 = k ** (5.0 / 3.0)
            mean = np.zeros_like(total)
            for width, shift_x, shift_y in zip(fwhm, dx, dy, strict=True):
                shifts = _shift_transform(fy, shift_y)[:, None] * _shift_transform(fx, shift_x)[None, :]
                # Kolmogorov's long-exposure transform (Fried 1966), to the power of 5/3, and the bilinear
                # weights of its dither.
                mean += np.exp(-k_53 * (width / KOLMOGOROV_K0_FWHM) ** (5.0 / 3.0)) * shifts
            pixel = np.sinc(fx)[None, :] * np.sinc(fy)[:, None]
            total += mean * pixel * np.exp(-0.5 * (k * diffusion) ** 2)
    full = np.fft.fftshift(np.fft.irfft2(total, s=(n, n)))
    c, r = n // 2, size // 2
    kernel = full[c - r : c + r + 1, c - r : c + r + 1]
    return kernel / kernel.sum()


def _shift_transform(frequency: np.ndarray, shift: float) -> np.ndarray:
    """Transform of the bilinear weights at their places relative to the pixel, along one axis."""
    _, f = split_shift(shift)
    phase = 2.0j * np.pi * frequency
    return (1.0 - f) * np.exp(-phase * f) + f * np.exp(phase * (1.0 - f))

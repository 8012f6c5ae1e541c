# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Cells of a patch: where they lie, their PSF and depth, and their images.

PSF and depth vary as smooth random fields on the sky. The field of each quantity is a sum of plane
waves of random direction, length and phase, which tends to a Gaussian random field of correlation
exp(−d²/2) at a distance of d correlation lengths (Rahimi & Recht 2007, "Random features for large-scale
kernel machines", with a Gaussian spectrum). It can be evaluated at any cell without the others, so that
patches that are simulated apart agree where they overlap.
"""

from __future__ import annotations

__all__ = (
    "Cell",
    "CellConditions",
    "CellImages",
    "cell_size_for",
    "cells_of",
    "conditions_of",
    "draw_cells",
    "expose_cells",
    "is_varied",
)

import dataclasses
import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table

from lsst.images import Box
from lsst.images.cells import CellGridBounds, CellIJ, PatchDefinition

from ..._progress import ProgressCallback
from ...labels import matched_snr
from ..config import PsfConfig, SceneConfig, VariationConfig
from ..random_streams import add_poisson_noise, check_seed, noise_key, random_stream
from ..survey import Survey
from .psf_model import MIN_FWHM_PIXELS, PsfModel, kernel_size
from .render import EDGE, Profiles, draw_galaxies, draw_profiles
from .sky import add_correlated_noise, filter_loss
from .starlight import add_starlight, has_starlight

_LARGEST_CELL = 256
_WAVES = 64
# Fields are cut here, so that no cell is absurd.
_MAX_SIGMA = 3.0
_LARGEST_SHEAR = 0.45
_QUANTITIES = ("fwhm", "g1", "g2", "depth", "sky")
# First key of the random streams of exposures.
_EXPOSURES = 6


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of a patch."""

    index: CellIJ
    """Its place in the patch."""

    bbox: Box
    """Its pixels, parent coordinates."""

    y: slice
    """Its rows in an array of the outer box of the patch."""

    x: slice
    """Its columns in that array."""

    place: tuple[float, float]
    """Column and row of its middle, counted in cells from the first pixel of the tract. That
    of a cell that two patches share is the same in both."""

    key: tuple[int, int]
    """Column and row of its first pixel, counted in pixels from that of the tract, and never
    negative inside of it."""


def cells_of(patch: PatchDefinition, tract_bbox: Box) -> Iterator[Cell]:
    """Iterate over the cells of a patch of a tract, row by row."""
    grid, outer = patch.cells, patch.outer_bbox
    for index in CellGridBounds(grid=grid, bbox=outer).cell_indices():
        box = grid.bbox_of(index)
        x0, y0 = box.x.start - tract_bbox.x.start, box.y.start - tract_bbox.y.start
        yield Cell(
            index,
            box,
            slice(box.y.start - outer.y.start, box.y.stop - outer.y.start),
            slice(box.x.start - outer.x.start, box.x.stop - outer.x.start),
            (x0 / grid.cell_shape.x + 0.5, y0 / grid.cell_shape.y + 0.5),
            (x0, y0),
        )


def cell_size_for(size: int) -> int:
    """Choose the width of the cells of a patch of a given width, pixels.

    It is 150 (as in Rubin's coadds) if that divides the width, else the largest divisor from 16 to 256; the
    width itself if there is none.
    """
    if size % 150 == 0:
        return 150
    return next((c for c in range(min(_LARGEST_CELL, size), 15, -1) if size % c == 0), size)


@dataclasses.dataclass(frozen=True)
class CellConditions:
    """PSF and depth of a cell."""

    fwhm: float
    """FWHM of the Kolmogorov PSF before the pixel, arcsec."""

    g1: float
    """Reduced shear of the PSF along x."""

    g2: float
    """Reduced shear of the PSF along the diagonal."""

    n_exposures: int
    """Number of exposures in the cell."""

    sky_factor: float
    """Brightness of the sky in units of that of the survey."""

    profile: tuple[str, float, float] = ("kolmogorov", 3.5, 0.5)
    """Family of the PSF, and its parameters ``beta`` and ``optics_share``."""

    width_error: float = 0.0
    """How much wider the PSF that is told is than the true one, as a fraction."""

    @property
    def psf(self) -> PsfModel:
        """The PSF."""
        return PsfModel(self.fwhm, self.g1, self.g2, *self.profile)

    @property
    def told_psf(self) -> PsfModel:
        """The PSF that the coadd tells."""
        return dataclasses.replace(self.psf, fwhm=self.fwhm * (1.0 + self.width_error))

    def survey(self, survey: Survey) -> Survey:
        """Settings of a survey with these conditions."""
        return dataclasses.replace(
            survey,
            fwhm=self.fwhm,
            n_exposures=self.n_exposures,
            # Magnitudes: a brighter sky is a smaller number.
            sky_brightness=survey.sky_brightness - 2.5 * math.log10(self.sky_factor),
        )


def is_varied(config: VariationConfig) -> bool:
    """Tell whether anything differs between cells."""
    return any(
        value > 0.0
        for value in (config.fwhmScatter, config.ellipticityScatter, config.depthScatter, config.skyScatter)
    )


def conditions_of(
    place: tuple[float, float],
    survey: Survey,
    variation: VariationConfig,
    seed: int,
    psf: PsfConfig | None = None,
) -> CellConditions:
    """Compute PSF and depth of a cell, `Cell.place` its middle counted in cells.

    Fields are cut at three standard deviations, the FWHM at the 2 pixels that sample it, the shear at .5, and
    a cell has one exposure at least. Bands have fields of their own.
    """
    check_seed(seed)
    psf = PsfConfig() if psf is None else psf
    varied = is_varied(variation)
    field = {
        name: _field(place, variation.scale, seed, survey.band, i) if varied else 0.0
        for i, name in enumerate(_QUANTITIES)
    }
    # Of an ellipse whose major axis lies at an angle the shear turns twice as fast.
    angle = 2.0 * math.radians(psf.positionAngle)
    # Fields of Gaussian scatter in each component give ellipticities the Rayleigh distribution that PSFs
    # have.
    g1 = psf.ellipticity * math.cos(angle) + variation.ellipticityScatter * field["g1"]
    g2 = psf.ellipticity * math.sin(angle) + variation.ellipticityScatter * field["g2"]
    excess = max(1.0, math.hypot(g1, g2) / _LARGEST_SHEAR)
    g1, g2 = g1 / excess, g2 / excess
    fwhm = survey.fwhm * (1.0 + variation.fwhmScatter * field["fwhm"])
    # The minor axis of a sheared PSF must be sampled too.
    least = MIN_FWHM_PIXELS * survey.pixel_scale
    is_sampled = survey.fwhm >= least
    least *= PsfModel(1.0, g1, g2).stretch
    return CellConditions(
        fwhm=max(fwhm, least) if is_sampled and varied else survey.fwhm,
        g1=g1,
        g2=g2,
        n_exposures=max(1, round(survey.n_exposures * (1.0 + variation.depthScatter * field["depth"]))),
        sky_factor=max(0.05, 1.0 + variation.skyScatter * field["sky"]),
        profile=(psf.profile, psf.beta, psf.opticsShare),
        width_error=psf.widthError,
    )


def _field(place: tuple[float, float], scale: float, seed: int, band: str, quantity: int) -> float:
    """Evaluate the random field of a quantity: mean 0, variance 1."""
    rng = random_stream(seed, 4, zlib.crc32(band.encode()), quantity)
    # Random waves with Gaussian wave vectors have a Gaussian correlation function (Bochner's theorem), at any
    # place without a grid.
    waves = rng.standard_normal((_WAVES, 2)) / scale
    phase = rng.uniform(0.0, 2.0 * np.pi, _WAVES)
    value = math.sqrt(2.0 / _WAVES) * float(np.cos(waves @ np.asarray(place) + phase).sum())
    return min(max(value, -_MAX_SIGMA), _MAX_SIGMA)


@dataclasses.dataclass(frozen=True)
class CellImages:
    """Images of a patch, and what differs between its cells."""

    image: np.ndarray
    """Coadd without its sky, nJy, shape (h, w), float64."""

    variance: np.ndarray
    """Its variance, nJy², shape (h, w), float64."""

    expected: np.ndarray
    """Mean electrons of sky and sources in the coadd, shape (h, w), float64."""

    kernels: np.ndarray
    """PSF of each cell that is told, pixel included, shape (rows, columns, n, n)."""

    surveys: tuple[Survey, ...]
    """Settings of the survey in each cell, row by row."""

    snr_per_flux: np.ndarray
    """Matched-filter S/N of a point source of 1 nJy in the (correlated) noise of the sky in each cell,
    shape (rows, columns)."""


def draw_cells(
    galaxies: Table,
    cells: Sequence[Cell],
    shape: tuple[int, int],
    survey: Survey,
    config: SceneConfig,
    seed: int,
    noise_seed: int,
    *,
    progress: ProgressCallback | None = None,
) -> CellImages:
    """Draw all exposures of a patch of ``shape`` (height, width) at once.

    ``galaxies`` are rows to draw, knots among them, positions relative to the first pixel. ``progress``
    counts galaxies, or cells if each has a PSF of its own.
    """
    if is_varied(config.variation):
        conditions = [conditions_of(cell.place, survey, config.variation, seed, config.psf) for cell in cells]
    else:
        conditions = [conditions_of(cells[0].place, survey, config.variation, seed, config.psf)] * len(cells)
    surveys = tuple(c.survey(survey) for c in conditions)
    image = _model_image(
        galaxies, cells, shape, conditions, surveys, survey.sky_sigma, config.engine, progress
    )
    _add_starlight(image, galaxies, survey, config)
    expected, variance = np.empty(shape), np.empty(shape)
    key = noise_key(noise_seed, survey.band)
    correlation = config.sky.noiseCorrelation
    for cell, local in zip(cells, surveys, strict=True):
        part = image[cell.y, cell.x]
        # Rounding leaves the faintest parts of a model a hair below zero.
        mean = np.maximum(part, 0.0) * local.electrons_per_njy + local.sky_electrons
        expected[cell.y, cell.x] = mean
        # Rubin's variance planes have the noise of sources in them, those of some surveys the sky's alone.
        known = mean if config.doSourceNoiseInVariance else local.sky_electrons
        variance[cell.y, cell.x] = known / local.electrons_per_njy**2
        if correlation == 1.0:
            add_poisson_noise(mean, key, *cell.key)
            part[:] = (mean - local.sky_electrons) / local.electrons_per_njy
    if correlation > 1.0:
        # Of the whole image, as the noise of a cell reaches into the next one.
        electrons = add_correlated_noise(expected, key, *cells[0].key, correlation)
        for cell, local in zip(cells, surveys, strict=True):
            image[cell.y, cell.x] = (
                electrons[cell.y, cell.x] - local.sky_electrons
            ) / local.electrons_per_njy
    # One width for all cells, as a coadd keeps their PSFs in one array.
    width = kernel_size(survey.fwhm, survey.pixel_scale)
    kernels = [c.psf.kernel(survey.pixel_scale, width) for c in conditions]
    told = [c.told_psf.kernel(survey.pixel_scale, width) for c in conditions]
    return CellImages(
        image,
        variance,
        expected,
        _by_cell(told, cells),
        surveys,
        _by_cell([_snr(k, local, correlation) for k, local in zip(kernels, surveys, strict=True)], cells),
    )


def _add_starlight(image: np.ndarray, galaxies: Table, survey: Survey, config: SceneConfig) -> None:
    """Add the light of bright stars beyond the PSF, nJy, in place; the same for all cells."""
    if has_starlight(config.starlight):
        add_starlight(
            image,
            galaxies,
            config.starlight,
            fwhm=survey.fwhm,
            pixel_scale=survey.pixel_scale,
            noise=survey.sky_sigma,
        )


def _model_image(
    galaxies: Table,
    cells: Sequence[Cell],
    shape: tuple[int, int],
    conditions: Sequence[CellConditions],
    surveys: Sequence[Survey],
    noise: float,
    engine: str,
    progress: ProgressCallback | None,
) -> np.ndarray:
    """Draw the galaxies without noise, nJy; each cell with its own PSF."""
    psfs = [c.psf for c in conditions]
    scale = surveys[0].pixel_scale
    if len(set(psfs)) == 1:
        return draw_galaxies(
            galaxies,
            size=(shape[1], shape[0]),
            psf=psfs[0],
            pixel_scale=scale,
            # Not that of these cells: a neighbour draws the pixels that it shares alike.
            noise=noise,
            engine=engine,
            progress=progress,
        )
    image = np.empty(shape)
    profiles = Profiles.from_table(galaxies)
    for i, (cell, psf, local) in enumerate(zip(cells, psfs, surveys, strict=True)):
        psf.check_sampling(scale)
        if engine == "fourier":
            # All galaxies are offered to each cell; those whose stamps do not reach it cost nothing.
            part = np.zeros((cell.y.stop - cell.y.start, cell.x.stop - cell.x.start))
            moved = profiles.shifted(-cell.x.start, -cell.y.start)
            draw_profiles(part, moved, profiles.stamp_sizes(psf, scale, EDGE * local.sky_sigma), psf, scale)
        else:
            moved_table = galaxies.copy()
            moved_table["x"] -= float(cell.x.start)
            moved_table["y"] -= float(cell.y.start)
            part = draw_galaxies(
                moved_table,
                size=(cell.x.stop - cell.x.start, cell.y.stop - cell.y.start),
                psf=psf,
                pixel_scale=scale,
                noise=local.sky_sigma,
                engine=engine,
            )
        image[cell.y, cell.x] = part
        if progress is not None:
            progress(i + 1, len(cells))
    return image


def expose_cells(
    galaxies: Table,
    cells: Sequence[Cell],
    shape: tuple[int, int],
    survey: Survey,
    config: SceneConfig,
    noise_seed: int,
    *,
    processes: int = 1,
    folder: Path | None = None,
    progress: ProgressCallback | None = None,
) -> CellImages:
    """Make the coadd of a patch from single exposures; arguments as for `draw_cells` and `.exposures.expose`.

    All cells have the same PSF and depth. The S/N is that of the sky and PSF of the survey, before sensor and
    resampling.
    """
    from .exposures import expose

    # Before hours of drawing: it refuses a PSF that pixels do not sample.
    width = kernel_size(survey.fwhm, survey.pixel_scale)
    snr = _snr(PsfModel(survey.fwhm).kernel(survey.pixel_scale, width), survey, 1.0)
    # Each patch has exposures of its own: the same seed elsewhere gives other ones.
    place = tuple(v % (1 << 32) for v in cells[0].key)
    sequence = np.random.SeedSequence(noise_seed, spawn_key=(_EXPOSURES, *place))
    stack = expose(
        galaxies,
        size=(shape[1], shape[0]),
        survey=survey,
        config=config.exposures,
        seed=int(sequence.generate_state(1)[0]),
        processes=processes,
        folder=folder,
        progress=progress,
    )
    image = stack.image.astype(np.float64)
    variance = stack.variance.astype(np.float64)
    if has_starlight(config.starlight):
        # Added to the stack: it is smooth, so that seeing and sensor do nothing to it.
        light = np.zeros(shape)
        _add_starlight(light, galaxies, survey, config)
        variance += light / survey.electrons_per_njy
        electrons = light * survey.electrons_per_njy
        add_poisson_noise(electrons, noise_key(noise_seed, survey.band), *cells[0].key)
        image += electrons / survey.electrons_per_njy
    if not config.doSourceNoiseInVariance:
        variance[:] = stack.sky_variance
    return CellImages(
        image,
        variance,
        np.maximum(image * survey.electrons_per_njy + survey.sky_electrons, 0.0),
        _by_cell([stack.kernel] * len(cells), cells),
        (survey,) * len(cells),
        _by_cell([snr] * len(cells), cells),
    )


def _snr(kernel: np.ndarray, survey: Survey, correlation: float) -> float:
    """S/N of a point source of 1 nJy in noise that is correlated by a factor."""
    sigma = survey.sky_sigma * filter_loss(kernel, correlation)
    return float(matched_snr(np.ones(1), kernel, sigma)[0])


def _by_cell(values: Sequence[np.ndarray | float], cells: Sequence[Cell]) -> np.ndarray:
    """Arrange one array a cell by row and column of the cells."""
    last = cells[-1].index
    array = np.asarray(values, dtype=np.float64)
    return array.reshape(last.i + 1, last.j + 1, *array.shape[1:])

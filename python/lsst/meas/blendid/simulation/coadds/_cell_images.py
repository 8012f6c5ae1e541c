# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Image, noise and PSF of the cells of a patch."""

from __future__ import annotations

__all__ = ("CellImages", "draw_cells", "expose_cells")

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table

from ...labels import matched_snr
from ..config import SceneConfig
from ..survey import Survey
from ._noise import add_poisson_noise, noise_key
from ._profiles import Profiles
from .cells import Cell
from .conditions import CellConditions, conditions_of, is_varied
from .psf_model import PsfModel, kernel_size
from .render import EDGE, ProgressCallback, draw_galaxies, draw_profiles

# First key of the random streams of exposures.
_EXPOSURES = 6


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
    """PSF of each cell, pixel included, shape (rows, columns, n, n)."""

    surveys: tuple[Survey, ...]
    """Settings of the survey in each cell, row by row."""

    snr_per_flux: np.ndarray
    """Matched-filter S/N of a point source of 1 nJy, sky noise only, in each cell, shape (rows,
    columns)."""


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
    """Draw all exposures of a patch at once.

    Parameters
    ----------
    galaxies
        What to draw, knots as rows of their own, positions relative to the first pixel.
    cells
        The cells of the patch, row by row.
    shape
        Height and width of the patch, pixels.
    survey
        Settings of the band.
    config
        Settings of the simulation.
    seed
        Seed of PSF and depth.
    noise_seed
        Seed of the noise.
    progress
        Called with the number of galaxies done and in all, or of cells if each has a
        PSF of its own.

    Returns
    -------
    images
        The images.

    Raises
    ------
    SimulationError
        Raised for a PSF that pixels do not sample, and for bad galaxies.
    """
    if is_varied(config.variation):
        conditions = [conditions_of(cell.place, survey, config.variation, seed) for cell in cells]
    else:
        one = CellConditions(survey.fwhm, 0.0, 0.0, survey.n_exposures, 1.0)
        conditions = [one] * len(cells)
    surveys = tuple(c.survey(survey) for c in conditions)
    image = _model_image(
        galaxies, cells, shape, conditions, surveys, survey.sky_sigma, config.engine, progress
    )
    expected, variance = np.empty(shape), np.empty(shape)
    key = noise_key(noise_seed, survey.band)
    for cell, local in zip(cells, surveys, strict=True):
        part = image[cell.y, cell.x]
        # Rounding leaves the faintest parts of a model a hair below zero.
        mean = np.maximum(part, 0.0) * local.electrons_per_njy + local.sky_electrons
        expected[cell.y, cell.x] = mean
        known = mean if config.doSourceNoiseInVariance else local.sky_electrons
        variance[cell.y, cell.x] = known / local.electrons_per_njy**2
        add_poisson_noise(mean, key, *cell.key)
        part[:] = (mean - local.sky_electrons) / local.electrons_per_njy
    width = kernel_size(survey.fwhm, survey.pixel_scale)
    kernels = [c.psf.kernel(survey.pixel_scale, width) for c in conditions]
    return CellImages(
        image,
        variance,
        expected,
        _by_cell(kernels, cells),
        surveys,
        _by_cell([_snr(k, local) for k, local in zip(kernels, surveys, strict=True)], cells),
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
    """Make the coadd of a patch from single exposures.

    Parameters
    ----------
    galaxies, cells, shape, survey, config, noise_seed
        See `draw_cells`.
    processes, folder, progress
        See `~lsst.meas.blendid.simulation.exposures.stack.expose`.

    Returns
    -------
    images
        The images. All cells have the same PSF and depth. The S/N is that of the sky and
        PSF of the survey, before sensor and resampling.

    Raises
    ------
    SimulationError
        Raised for bad settings or galaxies, and for exposures in the folder that were made
        with other settings.
    """
    from ..exposures.stack import expose

    # Before hours of drawing: it refuses a PSF that pixels do not sample.
    width = kernel_size(survey.fwhm, survey.pixel_scale)
    snr = _snr(PsfModel(survey.fwhm).kernel(survey.pixel_scale, width), survey)
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


def _snr(kernel: np.ndarray, survey: Survey) -> float:
    """S/N of a point source of 1 nJy."""
    return float(matched_snr(np.ones(1), kernel, survey.sky_sigma)[0])


def _by_cell(values: Sequence[np.ndarray | float], cells: Sequence[Cell]) -> np.ndarray:
    """Arrange one array a cell by row and column of the cells."""
    last = cells[-1].index
    array = np.asarray(values, dtype=np.float64)
    return array.reshape(last.i + 1, last.j + 1, *array.shape[1:])

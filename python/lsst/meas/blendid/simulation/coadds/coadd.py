# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""From a catalogue to the coadd of a patch, with its truth."""

from __future__ import annotations

__all__ = (
    "clipped_mean",
    "simulate_patch",
    "simulate_scene",
)

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from lsst.images import YX, Box, Mask, MaskPlane, MaskSchema, SkyProjection, TractFrame
from lsst.images import get_legacy_deep_coadd_mask_planes as deep_coadd_planes
from lsst.images.cells import CellGrid, PatchDefinition

from ..._progress import ProgressCallback
from ..catalogs.catalog import GalaxySource, make_catalog
from ..catalogs.columns import in_field
from ..catalogs.galaxies import SizeModel
from ..catalogs.observed import observe, split_knots
from ..catalogs.structures import split_structures
from ..config import SceneConfig
from ..errors import SimulationError
from ..random_streams import check_seed, random_stream
from ..survey import Survey, get_survey
from .artifacts import TRAIL_PLANES, add_artifacts, add_trails, artifact_mask_planes, has_artifacts
from .cells import Cell, CellImages, cell_size_for, cells_of, draw_cells, expose_cells
from .simulated_coadd import DEFAULT_CENTER, SimulatedCoadd, make_coadd, make_sky_projection, make_truth_table
from .sky import brightened, over_subtraction, sky_residual
from .starlight import BRIGHT_OBJECT, bright_star_mask

# First keys of the random streams of artefacts, trails and the residual of the sky.
_ARTIFACTS, _TRAILS, _RESIDUAL = 5, 31, 32
# Galaxies of fewer noise sigmas of a pixel are not detected, and nobody sees what structure they have.
_LEAST_FLUX = 25.0
# Pixels this many standard deviations off the median are no background.
_CLIP_SIGMA = 3.0
_CLIP_ITERATIONS = 20


def simulate_scene(
    source: GalaxySource | Table | str | Path | int | None = None,
    *,
    size: tuple[int, int] = (2048, 2048),
    seed: int = 1,
    noise_seed: int | None = None,
    size_model: str | SizeModel = "cosmodc2-galaxies",
    band: str | Survey = "i",
    xy0: tuple[int, int] = (0, 0),
    skymap: str = "blendid_simulated",
    tract: int = 0,
    patch: int | PatchDefinition = 0,
    tract_bbox: Box | None = None,
    center: tuple[float, float] = DEFAULT_CENTER,
    split: str | None = None,
    config: SceneConfig | None = None,
    processes: int = 1,
    exposure_folder: str | Path | None = None,
    progress: ProgressCallback | None = None,
) -> SimulatedCoadd:
    """Simulate a coadd: a catalogue that fills it, and the image of that.

    Parameters
    ----------
    source
        Where the galaxies come from: "parametric" (also `None`), the path or number of
        a truth scene, a file or folder of galaxies, a table, or any
        `~lsst.meas.blendid.simulation.GalaxySource`. Positions are relative to
        the first pixel of the image.
    size
        Width and height of the image, pixels.
    seed
        Seed of everything random: catalogue, sizes and shapes, PSF and depth, noise.
    noise_seed
        Seed of the noise and of artefacts alone, for several noise draws of one sky
        (default: ``seed``).
    size_model
        Galaxy sizes and shapes: "cosmodc2-galaxies", the joint distribution of cosmoDC2; a
        formula ("cosmodc2", "1.6x", "large"); or a model.
    band
        Name of the band, or the settings of one.
    xy0
        Parent coordinates of the first pixel.
    skymap, tract
        Identity of the tract.
    patch
        Number of the patch, whose inner and outer box are then those of the image, or
        the full definition of a patch whose outer box is the image.
    tract_bbox
        Bounding box of the tract (default: that of the image).
    center
        ICRS right ascension and declination of the middle of the tract, degrees.
    split
        Part of the sky that a truth scene must belong to.
    config
        How the coadd is simulated (default: drawn at once, without variation or artefacts).
    processes, exposure_folder, progress
        See `simulate_patch`.

    Returns
    -------
    simulated
        Coadd in nJy and truth; see `simulate_patch`. Metadata of the truth: also the source,
        its split and the size model.

    Raises
    ------
    SimulationError
        Raised for an unknown band or size model, a bad table or setting, a size that is
        not positive, or if no galaxy lies in the field.
    MissingGalSimError
        Raised if GalSim is not installed.
    """
    survey = get_survey(band) if isinstance(band, str) else band
    config = SceneConfig() if config is None else config
    width, height = (int(v) for v in size)
    x0, y0 = (int(v) for v in xy0)
    catalog = make_catalog(
        source,
        size=(width, height),
        survey=survey,
        seed=seed,
        size_model=size_model,
        population=config.population,
        split=split,
    )
    catalog["x"] += float(x0)
    catalog["y"] += float(y0)
    bbox = Box.from_shape((height, width), start=(y0, x0))
    if isinstance(patch, PatchDefinition):
        definition = patch
        if definition.outer_bbox != bbox:
            raise SimulationError(
                f"the outer box of the patch, {definition.outer_bbox}, is not that of the image"
            )
    else:
        grid = CellGrid(bbox=bbox, cell_shape=YX(y=cell_size_for(height), x=cell_size_for(width)))
        definition = PatchDefinition(id=patch, index=YX(y=0, x=patch), inner_bbox=bbox, cells=grid)
    projection = make_sky_projection(
        bbox if tract_bbox is None else tract_bbox,
        skymap=skymap,
        tract=tract,
        pixel_scale=survey.pixel_scale,
        center=center,
    )
    return simulate_patch(
        catalog,
        definition,
        projection,
        survey,
        seed=seed,
        noise_seed=noise_seed,
        config=config,
        processes=processes,
        exposure_folder=exposure_folder,
        progress=progress,
    )


def simulate_patch(
    catalog: Table,
    patch: PatchDefinition,
    projection: SkyProjection[TractFrame],
    survey: Survey,
    *,
    seed: int,
    noise_seed: int | None = None,
    config: SceneConfig | None = None,
    processes: int = 1,
    exposure_folder: str | Path | None = None,
    progress: ProgressCallback | None = None,
) -> SimulatedCoadd:
    """Simulate the coadd of a patch in one band.

    Parameters
    ----------
    catalog
        Complete catalogue (`~lsst.meas.blendid.simulation.make_catalog`),
        ``x`` and ``y`` in parent pixels. It may reach beyond the patch, and should: galaxies
        outside shine into it.
    patch
        The patch.
    projection
        Projection of the tract, whose pixel frame has the box of the tract.
    survey
        Settings of the band.
    seed
        Seed of PSF and depth, and of the places of knots.
    noise_seed
        Seed of noise and artefacts (default: ``seed``).
    config
        How the coadd is simulated (default: drawn at once, without variation or artefacts).
        Its ``population`` is that of the catalogue already, except for ``doLensing``.
    processes
        Processes that draw exposures in mode "full". The pixels do not depend on it.
    exposure_folder
        Where mode "full" keeps exposures, to go on from if it is stopped.
    progress
        Called now and then with the number of galaxies, cells or exposures done and in all.

    Returns
    -------
    simulated
        Coadd in nJy and truth. The truth has a row for each galaxy or star whose centre
        lies in the outer box: ``id``; ``x``, ``y`` (parent pixels); ``ra``, ``dec``
        (degrees); ``mag`` and ``flux`` (nJy) in the band, lensed; ``snr``, the
        matched-filter S/N of a point source of that flux from the noise of the sky
        alone, flux √(Σ psf²) / σ_sky, with PSF and sky of the cell it is in, and less where
        ``sky.noiseCorrelation`` makes sums noisier (Notes); and the
        columns of `~lsst.meas.blendid.simulation.catalogs.columns.GALAXY_COLUMNS`. Metadata:
        those of the catalogue, seeds, band, settings that are not the default, and the
        background that was subtracted (nJy).

    Raises
    ------
    SimulationError
        Raised for a bad catalogue or setting, and for exposures in the folder that were made
        with other settings.
    MissingGalSimError
        Raised if GalSim is not installed.

    Notes
    -----
    In mode "fast" the mean of ``n_exposures`` exposures has the distribution of one long
    exposure: each pixel is a Poisson number with the expected electrons of sky and
    sources, less those of the sky. Its random numbers are a function of the seed, the band and
    its place in the tract; PSF, depth and artefacts are functions of the place of the cell.
    Overlapping patches therefore have the same pixels, but for the background, if
    their cells coincide.

    Overlapping patches do not share the residual of the sky (``sky.gradient``) and the background map
    (``sky.overSubtraction``), each of which belongs to an image, nor, with correlated noise, a border of one
    pixel.

    In noise of covariance C the error of the flux that a PSF-matched filter measures is √(Σ psf C psf) / Σ
    psf², which for white noise is σ_sky / √(Σ psf²); ``snr`` has it, so that it tells what can be detected.

    The variance plane has the Poisson noise of the true sources without noise, where a coadd
    has what was measured. Without ``doSubtractBackground`` galaxies too faint to be
    detected leave a pedestal of about 0.15 of the sky noise per pixel at the depth of ten
    years; Rubin subtracts a map of clipped means from each visit, here it is one number.
    """
    config = SceneConfig() if config is None else config
    config.validate()
    noise_seed = seed if noise_seed is None else noise_seed
    check_seed(min(seed, noise_seed))
    if exposure_folder is not None and config.mode != "full":
        raise SimulationError(f"there are no exposures to keep in mode {config.mode}: set mode full")
    survey = brightened(survey, config.sky.brightness)
    bbox, tract_bbox = patch.outer_bbox, projection.pixel_frame.bbox
    cells = list(cells_of(patch, tract_bbox))
    galaxies = observe(catalog, survey, lensing=config.population.doLensing)
    # Relative to the first pixel, where numbers are small and keep their digits.
    galaxies["x"] -= float(bbox.x.start)
    galaxies["y"] -= float(bbox.y.start)
    # Knots are drawn, but are no objects of the truth.
    drawn = split_knots(galaxies, seed, pixel_scale=survey.pixel_scale)
    drawn = split_structures(
        drawn, seed, pixel_scale=survey.pixel_scale, least_flux=_LEAST_FLUX * survey.sky_sigma
    )
    if config.mode == "full":
        images = expose_cells(
            drawn,
            cells,
            (bbox.y.size, bbox.x.size),
            survey,
            config,
            noise_seed,
            processes=processes,
            folder=None if exposure_folder is None else Path(exposure_folder),
            progress=progress,
        )
    else:
        images = draw_cells(
            drawn, cells, (bbox.y.size, bbox.x.size), survey, config, seed, noise_seed, progress=progress
        )
    mask = None
    if has_artifacts(config.artifacts) or config.starlight.maskRadius > 0.0:
        mask = _empty_mask(bbox, config)
        _add_artifacts(images, mask, cells, tract_bbox, survey, config, noise_seed)
        if config.starlight.maskRadius > 0.0:
            shape = bbox.y.size, bbox.x.size
            mask.set(BRIGHT_OBJECT, bright_star_mask(shape, galaxies, config.starlight, survey.pixel_scale))
    if config.sky.overSubtraction > 0.0:
        light = _source_light(images, cells)
        bowls = over_subtraction(light, survey.sky_sigma, config.sky.backgroundSize)
        images.image[:] -= config.sky.overSubtraction * bowls
    # After the defects, because a coadd is made of pixels that have them.
    background = clipped_mean(images.image) if config.doSubtractBackground else 0.0
    if config.sky.gradient > 0.0:
        key = (_RESIDUAL, zlib.crc32(survey.band.encode()), *(v % (1 << 32) for v in cells[0].key))
        images.image[:] += sky_residual(
            images.image.shape, config.sky.gradient * survey.sky_sigma, random_stream(noise_seed, *key)
        )
    coadd = make_coadd(
        (images.image - background).astype(np.float32),
        images.variance.astype(np.float32),
        images.kernels,
        patch,
        projection,
        survey.band,
        mask,
    )
    centred = galaxies[in_field(galaxies["x"], galaxies["y"], (bbox.x.size, bbox.y.size))]
    x, y = (np.rint(np.asarray(centred[name])).astype(np.int64) for name in ("x", "y"))
    # S/N by the PSF and sky of the cell that an object is centred in.
    shape = patch.cells.cell_shape
    truth = make_truth_table(centred, bbox, projection, images.snr_per_flux[y // shape.y, x // shape.x])
    truth.meta.update(catalog.meta)
    truth.meta.update(
        {
            "seed": seed,
            "noise_seed": noise_seed,
            "band": survey.band,
            "sky_sigma": survey.sky_sigma,
            "background": background,
            "psf_fwhm": survey.fwhm,
            "n_exposures": survey.n_exposures,
            "settings": _changed(config.toDict(), SceneConfig().toDict()),
        }
    )
    return SimulatedCoadd(coadd, truth)


def _changed(settings: dict[str, Any], defaults: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Get the settings that are not the default, by their full names."""
    out: dict[str, Any] = {}
    # Those that differ alone: settings that come later change no metadata.
    for name, value in settings.items():
        if isinstance(value, dict):
            out |= _changed(value, defaults[name], f"{prefix}{name}.")
        elif value != defaults[name]:
            out[prefix + name] = value
    return out


def _empty_mask(bbox: Box, config: SceneConfig) -> Mask:
    """Make a mask of the planes of Rubin's deep coadds and those of artefacts and bright stars."""
    planes: dict[str, MaskPlane] = {plane.name: plane for plane in deep_coadd_planes().values()}
    planes |= {plane.name: plane for plane in artifact_mask_planes() if plane.name not in planes}
    if config.starlight.maskRadius > 0.0:
        planes[BRIGHT_OBJECT] = MaskPlane(BRIGHT_OBJECT, "Pixel is near a bright star of a catalogue.")
    return Mask(0, schema=MaskSchema(list(planes.values())), bbox=bbox)


def _add_artifacts(
    images: CellImages,
    mask: Mask,
    cells: Sequence[Cell],
    tract_bbox: Box,
    survey: Survey,
    config: SceneConfig,
    seed: int,
) -> None:
    """Add the trails of the tract and the artefacts of each cell, from random streams of their own."""
    band = zlib.crc32(survey.band.encode())
    if config.artifacts.trailDensity > 0.0:
        rng = random_stream(seed, _TRAILS, band)
        found = add_trails(
            images.image, mask.bbox, tract_bbox, survey=survey, config=config.artifacts, rng=rng
        )
        for name in TRAIL_PLANES:
            mask.set(name, found)
    if not has_artifacts(config.artifacts):
        return
    for cell, local in zip(cells, images.surveys, strict=True):
        planes = add_artifacts(
            images.image[cell.y, cell.x],
            images.variance[cell.y, cell.x],
            images.expected[cell.y, cell.x],
            survey=local,
            config=config.artifacts,
            rng=random_stream(seed, _ARTIFACTS, band, *(v % (1 << 32) for v in cell.key)),
        )
        for name, pixels in planes.items():
            part = mask[cell.bbox]
            part.set(name, pixels | part.get(name))


def _source_light(images: CellImages, cells: Sequence[Cell]) -> np.ndarray:
    """Mean light of the sources without sky and noise, nJy, (h, w)."""
    light = images.expected.copy()
    for cell, local in zip(cells, images.surveys, strict=True):
        part = light[cell.y, cell.x]
        part -= local.sky_electrons
        part /= local.electrons_per_njy
    return light


def clipped_mean(image: np.ndarray) -> float:
    """Mean of the finite pixels of an image after iterative clipping about the median.

    Rubin subtracts from each visit a background that is interpolated between
    such means of squares of the image (``MEANCLIP``); here one number stands
    for the image of a whole coadd.
    """
    values = image.ravel()
    for _ in range(_CLIP_ITERATIONS):
        # The median only centres the clip. That of every 16th pixel of 2048 x 2048 is
        # known to .0024 of the noise.
        middle, spread = np.median(values[::16]), values.std()
        kept = values[np.abs(values - middle) <= _CLIP_SIGMA * spread]
        if kept.size == values.size or kept.size == 0:
            break
        values = kept
    return float(values.mean())

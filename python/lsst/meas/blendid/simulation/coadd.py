# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""From a source of galaxies to a coadd with its truth."""

from __future__ import annotations

__all__ = ("SimulatedCoadd", "cell_size_for", "make_coadd", "make_sky_projection", "simulate_scene")

import dataclasses
from pathlib import Path

import astropy.units as u
import astropy.wcs
import numpy as np
from astropy.table import Table

from lsst.images import (
    YX,
    Box,
    Image,
    Mask,
    MaskSchema,
    SkyProjection,
    TractFrame,
    get_legacy_deep_coadd_mask_planes,
)
from lsst.images.cells import CellCoadd, CellGrid, CellGridBounds, CellPointSpreadFunction, PatchDefinition
from lsst.images.fits import write as write_fits

from .._files import atomic_paths
from ._background import clipped_mean
from ._errors import SimulationError
from ._truth_table import make_truth_table
from .catalog import GalaxySource, as_source
from .galaxies import SizeModel, complete_galaxies, get_size_model
from .render import ProgressCallback, draw_galaxies, kolmogorov_psf
from .survey import Survey, get_survey

DEFAULT_CENTER = (55.064, -29.783)
"""ICRS right ascension and declination of the middle of a tract, degrees: the middle
of the wide area of DC2 (LSST DESC 2021)."""

_PSF_SIZE = 41


@dataclasses.dataclass(frozen=True)
class SimulatedCoadd:
    """A coadd and what is really in it."""

    coadd: CellCoadd
    """Image in nJy, variance, mask, PSF and sky projection."""

    truth: Table
    """A row per galaxy or star whose centre lies in the image; see `simulate_scene`."""

    def write(self, path: str | Path, *, overwrite: bool = False) -> tuple[Path, Path]:
        """Write ``<stem>.fits`` (lsst.images) and ``<stem>.truth.parquet``.

        Parameters
        ----------
        path
            The FITS file; its name must end with ``.fits``.
        overwrite
            Whether files that exist are replaced.

        Returns
        -------
        image, truth
            Paths of the two files.

        Raises
        ------
        SimulationError
            Raised if the name does not end with ``.fits``.
        FileExistsError
            Raised if one of the files exists and is not to be replaced.
        FileNotFoundError
            Raised if the folder does not exist.

        Notes
        -----
        Both are written under temporary names and renamed when complete.
        """
        from pyarrow import parquet

        from lsst.daf.butler.formatters.parquet import astropy_to_arrow

        path = Path(path)
        if path.suffix != ".fits":
            raise SimulationError(f"the file of a simulated coadd must end with .fits, not {path.name}")
        truth_path = path.with_name(path.stem + ".truth.parquet")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"output folder does not exist: {path.parent}")
        if not overwrite:
            for file in (path, truth_path):
                if file.exists():
                    raise FileExistsError(f"output exists already: {file}; remove it or choose another name")
        with atomic_paths([path, truth_path]) as (temporary_image, temporary_truth):
            # Not self.coadd.write(), which takes a '#' or '%' in the path for that of a URI.
            write_fits(self.coadd, str(temporary_image))
            parquet.write_table(astropy_to_arrow(self.truth), temporary_truth)
        return path, truth_path


def cell_size_for(size: int, largest: int = 256) -> int:
    """Choose the width of the cells of a patch.

    Parameters
    ----------
    size
        Width of the patch, pixels.
    largest
        Largest width of a cell, pixels.

    Returns
    -------
    cell
        150 (as in Rubin's coadds) if that divides ``size``, else the largest divisor
        that is between 16 and ``largest``; ``size`` itself if there is none.
    """
    if size % 150 == 0:
        return 150
    return next((c for c in range(min(largest, size), 15, -1) if size % c == 0), size)


def make_sky_projection(
    tract_bbox: Box,
    *,
    skymap: str,
    tract: int,
    pixel_scale: float,
    center: tuple[float, float] = DEFAULT_CENTER,
) -> SkyProjection[TractFrame]:
    """Make the tangent-plane projection of a tract, north up and east left.

    Parameters
    ----------
    tract_bbox
        Bounding box of the tract; its middle is the tangent point.
    skymap
        Name of the skymap.
    tract
        Number of the tract.
    pixel_scale
        Size of a pixel, arcsec.
    center
        ICRS right ascension and declination of the tangent point, degrees.

    Returns
    -------
    sky_projection
        The projection.
    """
    wcs = astropy.wcs.WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = list(center)
    # FITS counts pixels from 1, here pixel 0 is 0.
    wcs.wcs.crpix = [
        0.5 * (tract_bbox.x.min + tract_bbox.x.max) + 1.0,
        0.5 * (tract_bbox.y.min + tract_bbox.y.max) + 1.0,
    ]
    wcs.wcs.cdelt = [-pixel_scale / 3600.0, pixel_scale / 3600.0]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.radesys = "ICRS"
    frame = TractFrame(skymap=skymap, tract=tract, bbox=tract_bbox)
    return SkyProjection.from_fits_wcs(wcs, frame, pixel_bounds=tract_bbox)


def simulate_scene(
    source: GalaxySource | Table | str | Path | int | None = None,
    *,
    size: tuple[int, int] = (2048, 2048),
    seed: int = 1,
    noise_seed: int | None = None,
    size_model: str | SizeModel = "cosmodc2",
    band: str | Survey = "i",
    xy0: tuple[int, int] = (0, 0),
    skymap: str = "blendid_simulated",
    tract: int = 0,
    patch: int | PatchDefinition = 0,
    tract_bbox: Box | None = None,
    center: tuple[float, float] = DEFAULT_CENTER,
    split: str | None = None,
    engine: str = "fourier",
    source_noise_in_variance: bool = True,
    subtract_background: bool = True,
    progress: ProgressCallback | None = None,
) -> SimulatedCoadd:
    """Simulate a coadd.

    Parameters
    ----------
    source
        Where the galaxies come from: "parametric" (also `None`), the path or number of
        a truth scene, a table, or any
        `~lsst.meas.blendid.simulation.catalog.GalaxySource`. Positions are relative to
        the first pixel of the image.
    size
        Width and height of the image, pixels.
    seed
        Seed of everything random: catalogue, sizes and shapes, noise.
    noise_seed
        Seed of the noise alone, for several noise draws of one sky (default: ``seed``).
    size_model
        Preset ("cosmodc2", "1.6x", "large") or model of galaxy sizes.
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
    engine
        "fourier" (fast) or "galsim"; see `~lsst.meas.blendid.simulation.render`.
    source_noise_in_variance
        Whether the variance plane has the Poisson noise of the sources beside that of
        the sky, as Rubin's coadds have. It is that of the true galaxies without
        noise, where a coadd has what was measured. The noise itself always has both.
    subtract_background
        Whether the clipped mean of the image, one number, is subtracted; Rubin subtracts
        a map of such means from each visit. Without it, galaxies too faint to be
        detected leave a pedestal of about 0.15 of the sky noise per pixel at the depth
        of ten years.
    progress
        Called while galaxies are drawn, with the number done and in all.

    Returns
    -------
    simulated
        Coadd in nJy and truth. Columns of the truth: ``id``; ``x``, ``y`` (parent
        pixels); ``ra``, ``dec`` (degrees); ``mag``; ``flux`` (nJy); ``snr``, the
        matched-filter S/N of a point source of that flux from the noise of the sky
        alone, flux √(Σ psf²) / σ_sky; and the columns of
        `~lsst.meas.blendid.simulation.galaxies.GALAXY_COLUMNS`. Metadata: source,
        split, seeds, size model, band and the background that was subtracted (nJy).

    Raises
    ------
    SimulationError
        Raised for an unknown band, size model or engine, a bad table, a size that is
        not positive, or if no galaxy lies in the field.
    MissingGalSimError
        Raised if GalSim is not installed.

    Notes
    -----
    The mean of ``n_exposures`` exposures has the distribution of one long exposure:
    each pixel is a Poisson number with the expected electrons of sky and sources,
    less those of the sky. No mask plane is set in any pixel.
    """
    survey = get_survey(band) if isinstance(band, str) else band
    model = get_size_model(size_model)
    width, height = (int(v) for v in size)
    if width < 1 or height < 1:
        raise SimulationError(f"the size of a scene must be positive, not {width} × {height}")
    galaxy_source = as_source(source, split=split)
    # One stream a purpose: a change of one leaves the others as they were.
    position_rng, shape_rng = (_rng(seed, stream) for stream in (1, 2))
    noise_rng = _rng(seed if noise_seed is None else noise_seed, 3)

    table = galaxy_source.galaxies((width, height), survey, position_rng)
    galaxies = complete_galaxies(table, model, shape_rng)
    inside = (np.rint(galaxies["x"]) >= 0) & (np.rint(galaxies["x"]) < width)
    inside &= (np.rint(galaxies["y"]) >= 0) & (np.rint(galaxies["y"]) < height)
    if not inside.any():
        raise SimulationError(
            f"no galaxy of {galaxy_source.name} ({len(galaxies)} rows) is in the field of {width} × {height}"
        )

    model_image = draw_galaxies(
        galaxies,
        size=(width, height),
        fwhm=survey.fwhm,
        pixel_scale=survey.pixel_scale,
        noise=survey.sky_sigma,
        engine=engine,
        progress=progress,
    )
    # Rounding leaves the faintest parts of a model a hair below zero.
    expected = np.maximum(model_image, 0.0) * survey.electrons_per_njy
    electrons = noise_rng.poisson(expected + survey.sky_electrons)
    image = (electrons - survey.sky_electrons) / survey.electrons_per_njy
    background = clipped_mean(image) if subtract_background else 0.0
    image -= background
    variance = survey.sky_electrons + (expected if source_noise_in_variance else 0.0 * expected)
    variance /= survey.electrons_per_njy**2

    bbox = Box.from_shape((height, width), start=(int(xy0[1]), int(xy0[0])))
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
    kernel = kolmogorov_psf(survey.fwhm, survey.pixel_scale, _PSF_SIZE)
    coadd = make_coadd(
        image.astype(np.float32), variance.astype(np.float32), kernel, definition, projection, survey.band
    )
    truth = make_truth_table(galaxies[inside], bbox, projection, kernel, survey)
    truth.meta.update(
        {
            "source": galaxy_source.name,
            "split": table.meta.get("split", "none"),
            "seed": seed,
            "noise_seed": seed if noise_seed is None else noise_seed,
            "size_model": model.name,
            "band": survey.band,
            "sky_sigma": survey.sky_sigma,
            "background": background,
            "psf_fwhm": survey.fwhm,
        }
    )
    return SimulatedCoadd(coadd, truth)


def make_coadd(
    image: np.ndarray,
    variance: np.ndarray,
    kernel: np.ndarray,
    patch: PatchDefinition,
    sky_projection: SkyProjection[TractFrame],
    band: str,
) -> CellCoadd:
    """Wrap arrays that cover the outer box of a patch.

    Parameters
    ----------
    image, variance
        Shape (height, width), nJy and nJy².
    kernel
        PSF, the same in all cells, shape (n, n) with n odd, sum 1.
    patch
        The patch.
    sky_projection
        Projection of the tract.
    band
        Name of the band.

    Returns
    -------
    coadd
        The coadd, with the mask planes of Rubin's deep coadds and none of them set.
    """
    bbox = patch.outer_bbox
    schema = MaskSchema(list(get_legacy_deep_coadd_mask_planes().values()))
    cells = patch.cells.grid_size
    psf = np.broadcast_to(kernel, (cells.i, cells.j, *kernel.shape)).copy()
    return CellCoadd(
        Image(image, bbox=bbox, unit=u.nJy),
        mask=Mask(0, schema=schema, bbox=bbox),
        variance=Image(variance, bbox=bbox, unit=u.nJy**2),
        sky_projection=sky_projection,
        band=band,
        psf=CellPointSpreadFunction(psf, CellGridBounds(grid=patch.cells, bbox=bbox)),
        patch=patch,
    )


def _rng(seed: int, stream: int) -> np.random.Generator:
    if seed < 0:
        raise SimulationError(f"a seed must not be negative, not {seed}")
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream,)))

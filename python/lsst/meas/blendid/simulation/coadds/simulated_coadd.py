# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""A simulated coadd with its projection and truth, and its files."""

from __future__ import annotations

__all__ = (
    "DEFAULT_CENTER",
    "SimulatedCoadd",
    "make_coadd",
    "make_sky_projection",
    "make_truth_table",
)

import dataclasses
from pathlib import Path

import astropy.units as u
import astropy.wcs
import numpy as np
from astropy.table import Table

from lsst.images import XY, Box, Image, Mask, MaskSchema, SkyProjection, TractFrame
from lsst.images import get_legacy_deep_coadd_mask_planes as deep_coadd_planes
from lsst.images.cells import CellCoadd, CellGridBounds, CellPointSpreadFunction, PatchDefinition
from lsst.images.fits import write as write_fits

from ..._files import atomic_paths
from ..catalogs.columns import FILTERS, STRUCTURE_COLUMNS
from ..catalogs.sky_field import check_place
from ..errors import SimulationError

DEFAULT_CENTER = (55.064, -29.783)
"""ICRS right ascension and declination of the middle of a tract, degrees: the middle
of the wide area of DC2 (LSST DESC 2021)."""

_COLUMNS = {
    "x": (u.pix, "Column of the centre, parent pixels."),
    "y": (u.pix, "Row of the centre, parent pixels."),
    "ra": (u.deg, "Right ascension, ICRS."),
    "dec": (u.deg, "Declination, ICRS."),
    "mag": (u.ABmag, "AB magnitude in the band, lensed."),
    "flux": (u.nJy, "Flux in the band, lensed."),
    "snr": (None, "Matched-filter S/N of a point source of that flux, sky noise only."),
    "is_star": (None, "Whether it is a point source."),
    "half_light_radius": (u.arcsec, "Circularised half-light radius, before lensing."),
    "disc_radius": (u.arcsec, "Circularised half-light radius of the disc."),
    "bulge_radius": (u.arcsec, "Circularised half-light radius of the bulge."),
    "axis_ratio": (None, "Minor over major axis of the disc."),
    "bulge_axis_ratio": (None, "Minor over major axis of the bulge."),
    "position_angle": (u.deg, "Of the major axis, counter-clockwise from the x axis."),
    "bulge_fraction": (None, "Share of the bulge in the flux."),
    "redshift": (None, "Redshift; 0 for stars."),
    "gamma1": (None, "Shear along the x axis."),
    "gamma2": (None, "Shear along the diagonal x = y."),
    "kappa": (None, "Convergence."),
    "n_knots": (None, "Number of knots in the disc; they are not objects."),
    "knot_fraction": (None, "Share of the knots in the flux of the disc."),
    **{f"mag_{name}": (u.ABmag, f"AB magnitude in {name}, before lensing.") for name in FILTERS},
}

_INTEGER = {"n_knots": np.int32, "n_arms": np.int32}
_DOUBLE = ("x", "y", "ra", "dec")


@dataclasses.dataclass(frozen=True)
class SimulatedCoadd:
    """A coadd and what is really in it."""

    coadd: CellCoadd
    """Image in nJy, variance, mask, PSF and sky projection."""

    truth: Table
    """A row per galaxy or star whose centre lies in the image; see
    `~lsst.meas.blendid.simulation.simulate_patch`."""

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


def make_coadd(
    image: np.ndarray,
    variance: np.ndarray,
    kernels: np.ndarray,
    patch: PatchDefinition,
    sky_projection: SkyProjection[TractFrame],
    band: str,
    mask: Mask | None = None,
) -> CellCoadd:
    """Wrap arrays that cover the outer box of a patch, nJy and nJy², shape (h, w).

    ``kernels`` are the PSFs of the cells, shape (rows, columns, n, n) with n odd, each of sum 1; or one for
    all, shape (n, n). Without a mask none of the planes of Rubin's deep coadds is set.
    """
    bbox = patch.outer_bbox
    if mask is None:
        mask = Mask(0, schema=MaskSchema(list(deep_coadd_planes().values())), bbox=bbox)
    cells = patch.cells.grid_size
    # Copied, as lsst.images keeps the array and broadcasts share memory.
    psf = np.broadcast_to(kernels, (cells.i, cells.j, *kernels.shape[-2:])).copy()
    return CellCoadd(
        Image(image, bbox=bbox, unit=u.nJy),
        mask=mask,
        variance=Image(variance, bbox=bbox, unit=u.nJy**2),
        sky_projection=sky_projection,
        band=band,
        psf=CellPointSpreadFunction(psf, CellGridBounds(grid=patch.cells, bbox=bbox)),
        patch=patch,
    )


def make_sky_projection(
    tract_bbox: Box,
    *,
    skymap: str,
    tract: int,
    pixel_scale: float,
    center: tuple[float, float] = DEFAULT_CENTER,
) -> SkyProjection[TractFrame]:
    """Make the tangent-plane projection of a tract, north up and east left, about the middle of its box.

    Pixel scale in arcsec, ``center`` (ICRS right ascension and declination) in degrees.
    """
    check_place(center, "the middle of a tract")
    wcs = astropy.wcs.WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = list(center)
    # FITS counts pixels from 1, here pixel 0 is 0.
    wcs.wcs.crpix = [
        0.5 * (tract_bbox.x.min + tract_bbox.x.max) + 1.0,
        0.5 * (tract_bbox.y.min + tract_bbox.y.max) + 1.0,
    ]
    # East is left: right ascension falls along x.
    wcs.wcs.cdelt = [-pixel_scale / 3600.0, pixel_scale / 3600.0]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.radesys = "ICRS"
    frame = TractFrame(skymap=skymap, tract=tract, bbox=tract_bbox)
    return SkyProjection.from_fits_wcs(wcs, frame, pixel_bounds=tract_bbox)


def make_truth_table(
    galaxies: Table, bbox: Box, sky_projection: SkyProjection[TractFrame], snr_per_flux: np.ndarray
) -> Table:
    """Make the truth table of an image of galaxies as `observe` gives them, relative to its first pixel.

    ``snr_per_flux``, shape (n,), is the S/N of a point source of 1 nJy at each galaxy.
    """
    x = np.asarray(galaxies["x"], dtype=np.float64) + bbox.x.min
    y = np.asarray(galaxies["y"], dtype=np.float64) + bbox.y.min
    # The projection refuses to convert no points.
    sky = sky_projection.pixel_to_sky(XY(x=x, y=y)) if len(x) else None
    flux = np.asarray(galaxies["flux"], dtype=np.float64)
    columns = {name: np.asarray(galaxies[name]) for name in galaxies.colnames}
    columns |= {"x": x, "y": y}
    columns["ra"], columns["dec"] = (x, y) if sky is None else (sky.ra.deg, sky.dec.deg)
    columns["snr"] = flux * snr_per_flux
    truth = Table()
    truth["id"] = columns["id"].astype(np.int64)
    truth["id"].description = "Row of the galaxy in its source; the same in all patches."
    structures = {name: (None, text) for name, text in STRUCTURE_COLUMNS.items() if name in columns}
    for name, (unit, description) in (_COLUMNS | structures).items():
        values = columns[name]
        if name in _INTEGER:
            values = values.astype(_INTEGER[name])
        elif values.dtype != bool:
            values = values.astype(np.float64 if name in _DOUBLE else np.float32)
        truth[name] = values
        truth[name].description = description
        if unit is not None:
            truth[name].unit = unit
    return truth

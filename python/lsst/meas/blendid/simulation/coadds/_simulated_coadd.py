# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""A simulated coadd with its truth, and its files."""

from __future__ import annotations

__all__ = ("SimulatedCoadd", "make_coadd")

import dataclasses
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.table import Table

from lsst.images import Image, Mask, MaskSchema, SkyProjection, TractFrame
from lsst.images import get_legacy_deep_coadd_mask_planes as deep_coadd_planes
from lsst.images.cells import CellCoadd, CellGridBounds, CellPointSpreadFunction, PatchDefinition
from lsst.images.fits import write as write_fits

from ..._files import atomic_paths
from .._errors import SimulationError


@dataclasses.dataclass(frozen=True)
class SimulatedCoadd:
    """A coadd and what is really in it."""

    coadd: CellCoadd
    """Image in nJy, variance, mask, PSF and sky projection."""

    truth: Table
    """A row per galaxy or star whose centre lies in the image; see
    `~lsst.meas.blendid.simulation.coadds.coadd.simulate_patch`."""

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
    """Wrap arrays that cover the outer box of a patch.

    Parameters
    ----------
    image, variance
        Shape (height, width), nJy and nJy².
    kernels
        PSF of each cell, shape (rows, columns, n, n) with n odd, each of sum 1; or one for
        all cells, shape (n, n).
    patch
        The patch.
    sky_projection
        Projection of the tract.
    band
        Name of the band.
    mask
        Mask of the outer box; by default one with the mask planes of Rubin's deep coadds and
        none of them set.

    Returns
    -------
    coadd
        The coadd.
    """
    bbox = patch.outer_bbox
    if mask is None:
        mask = Mask(0, schema=MaskSchema(list(deep_coadd_planes().values())), bbox=bbox)
    cells = patch.cells.grid_size
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

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Galaxies of HST COSMOS in folders that GalSim reads: the whole catalogue or a part of it.

The folders are those of `galsim.RealGalaxyCatalog` (Mandelbaum et al. 2012,
https://ui.adsabs.harvard.edu/abs/2012MNRAS.420.1518M): a table
``real_galaxy_catalog_<sample>.fits``, beside it ``…_fits.fits`` with measurements and
``…_selection.fits`` with cuts where they are known, and the images.
"""

from __future__ import annotations

__all__ = ("HST_PIXEL", "HST_ZERO_POINT", "RealGalaxies", "find_catalog", "open_real_galaxies")

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from .._errors import import_galsim
from .._random import random_stream
from .stamp_set import StampSetError

HST_ZERO_POINT = 25.94
"""AB magnitude of 1 count in the images, which are counts per second in F814W (Leauthaud et al.
2007, https://ui.adsabs.harvard.edu/abs/2007ApJS..172..219L)."""

HST_PIXEL = 0.03
"""Size of a pixel of the images, arcsec."""


@dataclasses.dataclass(frozen=True)
class RealGalaxies:
    """Some galaxies of a catalogue of real ones.

    Parameters
    ----------
    path
        Table of the catalogue.
    rows : `numpy.ndarray`, shape (n,), int64
        Rows of the table that are meant.
    ident : `numpy.ndarray`, shape (n,), int64
        Identity of each galaxy, unique in the catalogue.
    mag : `numpy.ndarray`, shape (n,), float64
        AB magnitude in F814W.
    radius : `numpy.ndarray`, shape (n,), float64
        Radius of half the light in the HST image, arcsec; NaN where not known.
    """

    path: Path
    rows: np.ndarray
    ident: np.ndarray
    mag: np.ndarray
    radius: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def catalog(self) -> Any:
        """The catalogue as `galsim.RealGalaxyCatalog`; opened once in a process."""
        return _open_catalog(self.path)

    def galaxy(self, i: int, **kwargs: Any) -> Any:
        """Make a galaxy without the PSF of HST.

        Parameters
        ----------
        i
            Number of the galaxy, 0 to n - 1.
        **kwargs
            Passed to `galsim.RealGalaxy`.

        Returns
        -------
        galaxy : `galsim.RealGalaxy`
            Its flux is counts of HST per second (`HST_ZERO_POINT`).
        """
        galsim = import_galsim()
        # The deviate is of use to noise that pads the image only; a fixed one keeps this repeatable.
        kwargs.setdefault("rng", galsim.BaseDeviate(1 + int(self.ident[i])))
        return galsim.RealGalaxy(self.catalog, index=int(self.rows[i]), **kwargs)

    def image(self, i: int) -> np.ndarray:
        """Read the HST image of a galaxy.

        Parameters
        ----------
        i
            Number of the galaxy.

        Returns
        -------
        image : `numpy.ndarray`, shape (h, w), float32
            Counts per second and pixel of 0.03 arcsec, with the PSF and noise of HST.
        """
        return np.asarray(self.catalog.getGalImage(int(self.rows[i])).array, dtype=np.float32)

    def select(self, which: np.ndarray) -> RealGalaxies:
        """Take some of the galaxies.

        Parameters
        ----------
        which : `numpy.ndarray`
            Bool of shape (n,), or numbers of galaxies.

        Returns
        -------
        subset
            Those galaxies.
        """
        which = np.asarray(which)
        return dataclasses.replace(
            self,
            rows=self.rows[which],
            ident=self.ident[which],
            mag=self.mag[which],
            radius=self.radius[which],
        )

    def split(self, shares: Mapping[str, float], seed: int) -> dict[str, RealGalaxies]:
        """Deal the galaxies out, so that no galaxy is in two parts.

        Parameters
        ----------
        shares
            Relative size of each part; parts of 0 get nothing.
        seed
            Seed of the shuffle.

        Returns
        -------
        parts : `dict` [`str`, `RealGalaxies`]
            The parts; those with a positive share have one galaxy at least.

        Raises
        ------
        StampSetError
            Raised if there are fewer galaxies than parts.
        """
        return {name: self.select(rows) for name, rows in deal_out(len(self), shares, seed).items()}


def deal_out(n: int, shares: Mapping[str, float], seed: int) -> dict[str, np.ndarray]:
    """Deal rows out at random.

    Parameters
    ----------
    n
        Number of rows.
    shares, seed
        As for `RealGalaxies.split`.

    Returns
    -------
    parts : `dict` [`str`, `numpy.ndarray`]
        Sorted rows of each part; together all of them.

    Raises
    ------
    StampSetError
        As for `RealGalaxies.split`.
    """
    wanted = {name: float(share) for name, share in shares.items() if share > 0}
    if n < len(wanted):
        raise StampSetError(f"{n} galaxies cannot be dealt out to {len(wanted)} parts without sharing one")
    order = random_stream(seed, 1).permutation(n)
    total = sum(wanted.values())
    parts = {name: np.zeros(0, dtype=np.int64) for name in shares}
    start, sum_so_far = 0, 0.0
    for k, (name, share) in enumerate(wanted.items()):
        sum_so_far += share
        last = n - (len(wanted) - 1 - k)
        end = min(max(round(n * sum_so_far / total), start + 1), last)
        parts[name] = np.sort(order[start:end]).astype(np.int64)
        start = end
    return parts


def find_catalog(folder: str | Path) -> Path:
    """Find the table of a catalogue.

    Parameters
    ----------
    folder
        Folder of the catalogue, or the table itself.

    Returns
    -------
    path
        The table.

    Raises
    ------
    StampSetError
        Raised if there is no table, or several.
    """
    folder = Path(folder)
    if folder.is_file():
        return folder
    if not folder.is_dir():
        raise StampSetError(f"there is no folder {folder} of real galaxies")
    tables = sorted(
        path
        for path in folder.glob("real_galaxy_catalog*.fits")
        if not path.stem.endswith(("_fits", "_selection"))
    )
    if len(tables) != 1:
        names = ", ".join(path.name for path in tables) or "none"
        raise StampSetError(
            f"{folder} should hold one table real_galaxy_catalog_*.fits of GalSim, and has {names}; "
            "name the table itself, or get the catalogue with galsim_download_cosmos"
        )
    return tables[0]


def open_real_galaxies(folder: str | Path) -> RealGalaxies:
    """Open a catalogue of real galaxies.

    Parameters
    ----------
    folder
        Folder of the catalogue, or its table.

    Returns
    -------
    galaxies
        The galaxies.  Where the catalogue comes with cuts (the whole of COSMOS does),
        those with a bad stamp are left out, as GalSim's ``exclusion_level="bad_stamp"``
        does: S/N below 12 (20 in the sample to 23.5 mag), or a mask within 11 pixels
        beside which there is more light than 0.8 (0.2) of the brightest pixel.

    Raises
    ------
    StampSetError
        Raised if the folder is not such a catalogue, or an image file is missing.
    MissingGalSimError
        Raised if GalSim is not installed.
    """
    path = find_catalog(folder)
    table = _read(path)
    needed = ("IDENT", "MAG", "GAL_FILENAME", "PSF_FILENAME", "GAL_HDU", "PSF_HDU", "NOISE_VARIANCE")
    missing = [name for name in needed if name not in table.colnames]
    if missing:
        raise StampSetError(f"{path} is not a catalogue of real galaxies: it lacks {', '.join(missing)}")
    for column in ("GAL_FILENAME", "PSF_FILENAME"):
        for name in np.unique(np.asarray(table[column]).astype(str)):
            if not (path.parent / name.strip()).is_file():
                raise StampSetError(f"{path.name} names {name.strip()}, which is not in {path.parent}")
    n = len(table)
    radius = np.full(n, np.nan)
    measured = path.with_name(path.stem + "_fits.fits")
    if measured.is_file():
        fits = _read(measured)
        if len(fits) == n and "flux_radius" in fits.colnames:
            radius = np.asarray(fits["flux_radius"], dtype=np.float64) * HST_PIXEL
    keep = np.ones(n, dtype=bool)
    selection = path.with_name(path.stem + "_selection.fits")
    if selection.is_file():
        cuts = _read(selection)
        names = (
            "sn_ellip_gauss",
            "min_mask_dist_pixels",
            "average_mask_adjacent_pixel_count",
            "peak_image_pixel_count",
        )
        if len(cuts) == n and all(name in cuts.colnames for name in names):
            snr, distance, beside, peak = (np.asarray(cuts[name], dtype=np.float64) for name in names)
            bright = "23.5" in path.name
            beside_limit = (0.2 if bright else 0.8) * np.where(peak == 0.0, 1e-5, peak)
            keep = (snr >= (20.0 if bright else 12.0)) & ((distance > 11.0) | (beside < beside_limit))
    if "stamp_flux" in table.colnames:
        keep &= np.asarray(table["stamp_flux"]) > 0.0
    rows = np.flatnonzero(keep)
    if not rows.size:
        raise StampSetError(f"{path} has no galaxy that can be used")
    return RealGalaxies(
        path=path,
        rows=rows,
        ident=np.asarray(table["IDENT"], dtype=np.int64)[rows],
        mag=np.asarray(table["MAG"], dtype=np.float64)[rows],
        radius=radius[rows],
    )


@functools.lru_cache(maxsize=4)
def _open_catalog(path: Path) -> Any:
    galsim = import_galsim()
    return galsim.RealGalaxyCatalog(str(path), dir=str(path.parent))


def _read(path: Path) -> Table:
    try:
        return Table.read(path, hdu=1, format="fits")
    except (OSError, ValueError, IndexError, TypeError) as err:
        raise StampSetError(f"cannot read {path} as a table: {' '.join(str(err).split())}") from None

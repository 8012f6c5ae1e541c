# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Galaxies of a sample of cosmoDC2, with magnitudes from their own spectra.

The PyPI package ``skycatalogs`` carries 500 galaxies, drawn at random from all with
r < 29, of each of six healpixels (``skycatalogs/data/ci_sample``). The fluxes beside them are not
used: they are 0 for all galaxies at z > 1.67 (a third of the sample, most of the faint
ones), lensed, and dimmed by the dust of the Milky Way. Each galaxy has its
spectrum, however, in 30 bins of wavelength for bulge, disc and knots, from which
this module takes AB magnitudes and the share of the bulge. These *r* magnitudes end
at 29.0, as those do by which cosmoDC2 was cut.
"""

from __future__ import annotations

__all__ = ("HEALPIXELS", "GalaxySample", "read_sample", "read_stars")

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._errors import SimulationError, import_galsim
from ..survey import njy_to_mag
from ._columns import FILTERS
from ._size_models import composite_radius

HEALPIXELS: tuple[int, ...] = (9556, 9683, 9684, 9812, 9813, 9940)
"""Healpixels of the sample (nside 32, ring) that were drawn at random."""

# Edges of the bins of the spectra, Å at rest (galaxy_1.3.0.yaml of the sample).
_EDGES = np.array(
    [
        *(1000, 1246, 1552, 1933, 2407, 2998, 3184, 3381, 3590, 3812, 4048, 4299, 4565, 4848, 5148, 5467),
        *(5806, 6166, 6548, 6954, 7385, 7843, 8329, 8846, 9395, 9978, 11467, 13177, 15143, 17402, 19998),
    ],
    dtype=np.float64,
)
# Spectra are in this many W/Hz (SCHEMA.md of LSSTDESC/gcr-catalogs).
_WATT_PER_HZ = 4.4659e13
_METRES_PER_MPC = 3.085677581491367e22
# Cosmology of cosmoDC2 (Korytov et al. 2019, section 2).
_COSMOLOGY = {"H0": 71.0, "Om0": 0.2648, "Ob0": 0.0448}
_COMPONENTS = ("bulge", "disk", "knots")


@dataclasses.dataclass(frozen=True)
class GalaxySample:
    """Galaxies of cosmoDC2 before lensing, n of them."""

    healpixel: np.ndarray
    """Healpixel of each galaxy, shape (n,)."""

    values: dict[str, np.ndarray]
    """Properties, shape (n,), by the names of `.galaxies.GALAXY_COLUMNS`."""

    def __len__(self) -> int:
        return len(self.healpixel)

    def select(self, rows: np.ndarray) -> GalaxySample:
        """Get some of the galaxies.

        Parameters
        ----------
        rows
            Boolean, shape (n,), or row numbers.

        Returns
        -------
        sample
            The galaxies.
        """
        return GalaxySample(self.healpixel[rows], {name: v[rows] for name, v in self.values.items()})


def read_sample(folder: str | Path, healpixels: Sequence[int] = HEALPIXELS) -> GalaxySample:
    """Read galaxies of cosmoDC2 and compute their magnitudes.

    Parameters
    ----------
    folder
        Folder with ``galaxy_<healpixel>.parquet``.
    healpixels
        Which of them.

    Returns
    -------
    sample
        The galaxies; radii are circularised, √(major · minor), the half-light radius is that of
        the sum of bulge and disc, the bulge fraction is that of the flux in band i (knots
        are part of the disc).

    Raises
    ------
    FileNotFoundError
        Raised if a file is missing.
    SimulationError
        Raised if a file lacks a column.
    """
    import pyarrow.parquet as pq

    names = ["redshift", "redshift_hubble", "shear_1", "shear_2", "convergence"]
    names += [f"size_{minor}{part}_true" for part in ("bulge", "disk") for minor in ("", "minor_")]
    names += [f"sed_val_{part}" for part in _COMPONENTS]
    columns: dict[str, list[Any]] = {name: [] for name in names}
    healpixel = []
    for number in healpixels:
        path = Path(folder) / f"galaxy_{number}.parquet"
        if not path.is_file():
            raise FileNotFoundError(f"no file {path}; unpack the wheel of skycatalogs there")
        table = pq.read_table(path)
        missing = [name for name in names if name not in table.column_names]
        if missing:
            raise SimulationError(f"{path} has no column {', '.join(missing)}")
        for name in names:
            columns[name].append(np.array(table[name].to_pylist(), dtype=np.float64))
        healpixel.append(np.full(len(table), number))
    data = {name: np.concatenate(parts) for name, parts in columns.items()}

    flux = {band: _fluxes(data, band) for band in FILTERS}
    disc = np.sqrt(data["size_disk_true"] * data["size_minor_disk_true"])
    bulge = np.sqrt(data["size_bulge_true"] * data["size_minor_bulge_true"])
    fraction = flux["i"]["bulge"] / sum(flux["i"].values())
    values = {f"mag_{band}": njy_to_mag(sum(flux[band].values())) for band in FILTERS}
    values |= {
        "redshift": data["redshift"],
        "disc_radius": disc,
        "bulge_radius": bulge,
        "half_light_radius": disc * composite_radius(fraction, bulge / disc),
        "axis_ratio": data["size_minor_disk_true"] / data["size_disk_true"],
        "bulge_axis_ratio": data["size_minor_bulge_true"] / data["size_bulge_true"],
        "bulge_fraction": fraction,
        "gamma1": data["shear_1"],
        "gamma2": data["shear_2"],
        "kappa": data["convergence"],
    }
    return GalaxySample(np.concatenate(healpixel), values)


def read_stars(folder: str | Path, healpixels: Sequence[int] = HEALPIXELS) -> dict[str, np.ndarray]:
    """Read the stars of the TRILEGAL simulation of the Milky Way.

    Parameters
    ----------
    folder
        Folder with ``trilegal_<healpixel>.parquet``.
    healpixels
        Which of them.

    Returns
    -------
    magnitudes
        Columns ``mag_u`` … ``mag_y``, AB, shape (n,).

    Raises
    ------
    FileNotFoundError
        Raised if a file is missing.
    """
    import pyarrow.parquet as pq

    columns: dict[str, list[np.ndarray]] = {name: [] for name in FILTERS}
    for number in healpixels:
        path = Path(folder) / f"trilegal_{number}.parquet"
        if not path.is_file():
            raise FileNotFoundError(f"no file {path}; unpack the wheel of skycatalogs there")
        table = pq.read_table(path, columns=[f"{name}mag" for name in FILTERS])
        for name in FILTERS:
            columns[name].append(np.array(table[f"{name}mag"], dtype=np.float64))
    return {f"mag_{name}": np.concatenate(parts) for name, parts in columns.items()}


def _fluxes(data: dict[str, np.ndarray], band: str) -> dict[str, np.ndarray]:
    """Fluxes of the parts of galaxies in a band.

    The AB flux is ∫ f_ν T dλ/λ / ∫ T dλ/λ over the throughput T, with
    f_ν(λ) = (1 + z) L_ν(λ / (1 + z)) / (4π d_L²), without dust in the Milky Way and before lensing.

    Parameters
    ----------
    data
        Columns of the sample, shape (n,) and (n, 30).
    band
        Band of LSST, whose throughput is GalSim's.

    Returns
    -------
    fluxes
        nJy by part, each of shape (n,).
    """
    from astropy.cosmology import FlatLambdaCDM

    galsim = import_galsim()
    bandpass = galsim.Bandpass(f"LSST_{band}.dat", wave_type="nm")
    wave = np.arange(10.0 * bandpass.blue_limit, 10.0 * bandpass.red_limit, 2.0)
    weight = np.asarray(bandpass(wave / 10.0)) / wave
    weight /= weight.sum()
    redshift = data["redshift"]
    distance = FlatLambdaCDM(**_COSMOLOGY).luminosity_distance(data["redshift_hubble"]).value
    scale = _WATT_PER_HZ * (1.0 + redshift) / (4.0 * np.pi * (distance * _METRES_PER_MPC) ** 2)
    cumulative = np.concatenate([[0.0], np.cumsum(weight)])
    edges = _EDGES * (1.0 + redshift[:, None])
    # Share of the band in each bin of the spectrum.
    share = np.diff(np.interp(edges, np.append(wave, wave[-1] + 2.0), cumulative), axis=1)
    # 1 W/m²/Hz is 1e35 nJy.
    return {part: (share * data[f"sed_val_{part}"]).sum(axis=1) * scale * 1e35 for part in _COMPONENTS}

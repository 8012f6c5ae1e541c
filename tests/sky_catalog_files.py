# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Small files with the schema of skyCatalogs, for tests."""

from __future__ import annotations

__all__ = ("CENTER", "make_galaxies", "write_galaxies", "write_stars")

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

CENTER = (55.75, -34.25)
"""Middle of the galaxies of `make_galaxies`, degrees."""

_FLOATS = {"MW_rv", "MW_av", "n_knots", "sersic_bulge", "sersic_disk"} | {
    f"size_{minor}{part}_true" for part in ("disk", "bulge") for minor in ("", "minor_")
}
_BANDS = "ugrizy"


def make_galaxies(
    n: int = 50, *, seed: int = 1, width: float = 0.02, center: tuple[float, float] = CENTER
) -> dict[str, np.ndarray]:
    """Make the columns of a galaxy file and, as ``flux_<band>``, those of its flux file.

    Parameters
    ----------
    n
        Number of galaxies.
    seed
        Seed of all columns.
    width
        Width of the square that they are in, degrees.
    center
        Its middle, degrees.

    Returns
    -------
    columns
        Array for each column, shape (n,).
    """
    rng = np.random.default_rng(seed)
    out: dict[str, np.ndarray] = {}
    out["galaxy_id"] = 5_875_000_000 + rng.permutation(10 * n)[:n]
    out["ra"] = (center[0] + rng.uniform(-0.5, 0.5, n) * width / np.cos(np.radians(center[1]))) % 360.0
    out["dec"] = center[1] + rng.uniform(-0.5, 0.5, n) * width
    out["redshift"] = rng.uniform(0.1, 3.0, n)
    out["redshift_hubble"] = out["redshift"] + 0.001
    out["peculiar_velocity"] = rng.normal(0.0, 300.0, n)
    for name in ("shear_1", "shear_2"):
        out[name] = rng.normal(0.0, 0.02, n)
    out["convergence"] = rng.normal(0.0, 0.03, n)
    for part in ("bulge", "disk"):
        major = np.exp(rng.normal(-1.8, 0.4, n)).astype(np.float32)
        out[f"size_{part}_true"] = major
        out[f"size_minor_{part}_true"] = (major * rng.uniform(0.2, 1.0, n)).astype(np.float32)
        out[f"sersic_{part}"] = np.full(n, 4.0 if part == "bulge" else 1.0)
    out["position_angle_unlensed"] = rng.uniform(0.0, 180.0, n)
    for part in ("bulge", "disk", "knots"):
        out[f"{part}_magnorm"] = rng.uniform(24.0, 28.0, n)
    out["bulge_magnorm"][::7] = np.inf
    out["knots_magnorm"][1::2] = np.inf
    out["MW_rv"], out["MW_av"] = np.full(n, 3.1), np.full(n, 0.02)
    out["n_knots"] = rng.integers(2, 60, n).astype(float)
    for i, band in enumerate(_BANDS):
        out[f"flux_{band}"] = (1e-7 * (1 + i) * rng.uniform(0.5, 2.0, n)).astype(np.float32)
    return out


def write_galaxies(
    folder: Path,
    pixel: int,
    columns: dict[str, Any],
    *,
    row_group_size: int | None = None,
    throughputs: str | None = None,
    with_flux: bool = True,
) -> Path:
    """Write ``galaxy_<pixel>.parquet`` and ``galaxy_flux_<pixel>.parquet``.

    Parameters
    ----------
    folder
        Where the files go.
    pixel
        Number of the healpixel.
    columns
        As from `make_galaxies`.
    row_group_size
        Rows in a row group.
    throughputs
        Version of the throughputs that the flux file names.
    with_flux
        Whether the flux file is written.

    Returns
    -------
    path
        The galaxy file.
    """
    n = len(columns["galaxy_id"])
    arrays = {name: _array(name, values) for name, values in columns.items() if not name.startswith("flux_")}
    for part in ("bulge", "disk", "knots"):
        arrays[f"sed_val_{part}"] = pa.array([[0.0] * 30] * n, pa.list_(pa.float64()))
    for part in ("bulge", "disk"):
        arrays[f"{part}_sed_file_path"] = pa.array([f"galaxyTopHatSED/{part}_{i}.txt" for i in range(n)])
    path = folder / f"galaxy_{pixel}.parquet"
    parquet.write_table(pa.table(arrays), path, row_group_size=row_group_size)
    if with_flux:
        order = np.random.default_rng(pixel).permutation(n)
        flux = {"galaxy_id": pa.array(np.asarray(columns["galaxy_id"])[order])}
        for band in _BANDS:
            flux[f"lsst_flux_{band}"] = pa.array(np.asarray(columns[f"flux_{band}"], np.float32)[order])
        _write_flux(folder / f"galaxy_flux_{pixel}.parquet", flux, throughputs, row_group_size)
    return path


def write_stars(
    folder: Path, pixel: int, n: int = 20, *, seed: int = 3, center: tuple[float, float] = CENTER
) -> dict[str, np.ndarray]:
    """Write ``pointsource_<pixel>.parquet`` and its flux file.

    Parameters
    ----------
    folder
        Where the files go.
    pixel
        Number of the healpixel.
    n
        Number of rows; every fifth is a supernova.
    seed
        Seed of all columns.
    center
        Middle of a square of 0.02°, degrees.

    Returns
    -------
    columns
        ``id``, ``ra``, ``dec``, ``object_type`` and ``flux_<band>``.
    """
    rng = np.random.default_rng(seed)
    out: dict[str, np.ndarray] = {"id": 31_000_000_000 + np.arange(n)}
    out["ra"] = center[0] + rng.uniform(-0.01, 0.01, n)
    out["dec"] = center[1] + rng.uniform(-0.01, 0.01, n)
    out["object_type"] = np.where(np.arange(n) % 5 == 4, "sncosmo", "star").astype(object)
    for band in _BANDS:
        out[f"flux_{band}"] = np.float32(1e-6) * rng.uniform(0.5, 2.0, n).astype(np.float32)
    table = {
        "object_type": pa.array(out["object_type"], pa.string()),
        "id": pa.array(out["id"]),
        "ra": pa.array(out["ra"]),
        "dec": pa.array(out["dec"]),
        "host_galaxy_id": pa.array(np.zeros(n, dtype=np.int64)),
        "magnorm": pa.array(rng.uniform(18.0, 28.0, n)),
        "sed_filepath": pa.array(["starSED/kurucz/a.txt.gz"] * n),
        "MW_rv": pa.array(np.full(n, 3.1, dtype=np.float32)),
        "MW_av": pa.array(np.full(n, 0.02, dtype=np.float32)),
    }
    parquet.write_table(pa.table(table), folder / f"pointsource_{pixel}.parquet")
    flux = {"id": table["id"]} | {f"lsst_flux_{band}": pa.array(out[f"flux_{band}"]) for band in _BANDS}
    _write_flux(folder / f"pointsource_flux_{pixel}.parquet", flux, None, None)
    return out


def _array(name: str, values: Any) -> pa.Array:
    kind = pa.float32() if name in _FLOATS else None
    return pa.array(np.asarray(values), kind, from_pandas=False)


def _write_flux(
    path: Path, columns: dict[str, Any], throughputs: str | None, row_group_size: int | None
) -> None:
    table = pa.table(columns)
    if throughputs is not None:
        provenance = {
            "flux_dependencies": {"galsim_version": "2.7.2", "lsst_throughputs_version": throughputs}
        }
        table = table.replace_schema_metadata({"provenance": json.dumps(provenance)})
    parquet.write_table(table, path, row_group_size=row_group_size)

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Columns of tables of galaxies in files: their names, units and conversion."""

from __future__ import annotations

__all__ = ("CATALOG_COLUMNS", "convert_column", "match_columns")

import re
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import Table

from .._errors import SimulationError
from ._columns import FILTERS
from ._row_check import RowCheck

_MAG, _PHOTON = "mag(AB)", "photon"

CATALOG_COLUMNS: dict[str, str | None] = {
    "id": None,
    "x": "pix",
    "y": "pix",
    "ra": "deg",
    "dec": "deg",
    "redshift": "",
    "mag": _MAG,
    "flux": "nJy",
    **{f"mag_{band}": _MAG for band in FILTERS},
    **{f"flux_{band}": "nJy" for band in FILTERS},
    **{f"n_photon_{band}": _PHOTON for band in FILTERS},
    "is_star": None,
    "half_light_radius": "arcsec",
    "disc_radius": "arcsec",
    "bulge_radius": "arcsec",
    "axis_ratio": "",
    "bulge_axis_ratio": "",
    "position_angle": "deg",
    "position_angle_sky": "deg",
    "bulge_fraction": "",
    "gamma1": "",
    "gamma2": "",
    "kappa": "",
    "n_knots": None,
    "knot_fraction": "",
}
"""Columns that a file may have, with the unit of a column that has none."""


def _split_unit(text: str) -> tuple[str, str | None]:
    match = re.fullmatch(r"(.*\S)\s*\[([^\[\]]*)\]", text.strip())
    return (match[1], match[2].strip()) if match else (text.strip(), None)


def match_columns(path: Path, found: list[str], mapping: dict[str, str]) -> dict[str, tuple[str, str | None]]:
    """Find our columns among those of a file.

    Parameters
    ----------
    path
        The file, for messages.
    found
        Names of the columns of the file.
    mapping
        Names in the file of some of `CATALOG_COLUMNS`, with units in brackets or not.

    Returns
    -------
    columns
        For each of our columns that the file has, the name there, and the unit that
        overrides that of the file or `None`.

    Raises
    ------
    SimulationError
        Raised if a name of the mapping is not one of ours, or the file has no such column.
    """
    unknown = [name for name in mapping if name not in CATALOG_COLUMNS]
    if unknown:
        raise SimulationError(
            f"there is no column {', '.join(unknown)} of galaxies to be read from {path}; "
            f"known are: {', '.join(CATALOG_COLUMNS)}"
        )
    exact = {_split_unit(column)[0]: column for column in found}
    folded: dict[str, list[str]] = {}
    for name in exact:
        folded.setdefault(name.lower(), []).append(name)
    names: dict[str, tuple[str, str | None]] = {}
    for name in CATALOG_COLUMNS:
        target, unit = _split_unit(mapping[name]) if name in mapping else (name, None)
        if target not in exact and target not in found:
            candidates = folded.get(target.lower(), [])
            if len(candidates) != 1:
                if name in mapping:
                    raise SimulationError(
                        f"{path} has no column {target} for {name}; it has: {', '.join(found) or 'nothing'}"
                    )
                continue
            target = candidates[0]
        column = target if target in found else exact[target]
        names[name] = (column, unit if unit is not None else _split_unit(column)[1])
    return names


def convert_column(path: Path, raw: Table, name: str, column: str, unit: str | None) -> np.ndarray:
    """Get the values of a column in our unit.

    Parameters
    ----------
    path
        The file, for messages.
    raw
        Table of the file, n rows.
    name
        One of `CATALOG_COLUMNS`.
    column
        Its name in the file.
    unit
        Unit that overrides that of the file.

    Returns
    -------
    values
        Shape (n,), float64; of ``id`` int64, of ``is_star`` bool.

    Raises
    ------
    SimulationError
        Raised if values are masked or of another kind, or if the unit is not known or
        cannot be converted.
    """
    data = raw[column]
    if data.ndim != 1:
        raise SimulationError(f"{path}: column {column} must have one value per row")
    masked = np.ma.getmaskarray(data) if hasattr(data, "mask") else np.zeros(len(data), dtype=bool)
    RowCheck(path)(column, ~masked | name.endswith("_radius"), "given")
    values = np.ma.getdata(getattr(data, "value", data))
    if name == "is_star":
        return _flags(path, column, np.asarray(values))
    if name == "id":
        if values.dtype.kind not in "iu":
            raise SimulationError(f"{path}: column {column} must be whole numbers, not {values.dtype}")
        ids = np.asarray(values, dtype=np.int64)
        _, first, counts = np.unique(ids, return_inverse=True, return_counts=True)
        RowCheck(path)(column, counts[first] == 1, "different in all rows")
        return ids
    try:
        numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise SimulationError(f"{path}: column {column} must be numbers, not {values.dtype}") from None
    numbers[masked] = np.nan
    target = CATALOG_COLUMNS[name]
    return numbers if target is None else numbers * _factor(path, column, unit, data.unit, target)


def _factor(path: Path, column: str, override: str | None, unit: Any, target: str) -> float:
    """Factor from the unit of a column to ours."""
    try:
        given = u.Unit(override) if override is not None else None if unit is None else u.Unit(unit)
    except (TypeError, ValueError):
        given = u.UnrecognizedUnit(str(override if override is not None else unit))
    if given is None:
        return 1.0
    wanted = u.Unit(target)
    if not isinstance(given, u.UnrecognizedUnit):
        if target == _MAG:
            # Without a zero point a magnitude is taken for AB.
            if given in (u.mag, wanted):
                return 1.0
        elif target == _PHOTON:
            if given in (u.photon, u.electron, u.count, u.dimensionless_unscaled):
                return 1.0
        elif target == "pix":
            if given in (u.pix, u.dimensionless_unscaled):
                return 1.0
        elif given.is_equivalent(wanted):
            return float(given.to(wanted))
    known = target or "none"
    raise SimulationError(
        f"{path}: column {column} has the unit {str(given)!r}, which cannot be used for {known}"
    )


def _flags(path: Path, column: str, values: np.ndarray) -> np.ndarray:
    """Truth values of a column of booleans, of 0 and 1, or of words."""
    if values.dtype.kind == "b":
        return values.copy()
    if values.dtype.kind in "SUO":
        words = np.array([(v.decode() if isinstance(v, bytes) else str(v)).strip().lower() for v in values])
        RowCheck(path)(column, np.isin(words, ("true", "false", "t", "f", "0", "1")), "true or false")
        return np.isin(words, ("true", "t", "1"))
    RowCheck(path)(column, (values == 0) | (values == 1), "0 or 1")
    return values == 1

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Columns of tables of galaxies in files: how they are found and converted."""

from __future__ import annotations

__all__ = ("convert_column", "match_columns")

import re
from pathlib import Path

import numpy as np
from astropy.table import Table

from ..._suggest import did_you_mean
from .._errors import SimulationError
from ._columns import CATALOG_COLUMNS, column_values, identifiers, numbers_in_unit, truth_values
from ._row_check import RowCheck


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
                    hint = did_you_mean(target, found)
                    known = ", ".join(found) or "nothing"
                    raise SimulationError(f"{path} has no column {target} for {name}{hint}; it has: {known}")
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
    data, check = raw[column], RowCheck(path)
    if name == "id":
        return identifiers(data, column, path)
    if name == "is_star":
        values, masked = column_values(data, column, path)
        check(column, ~masked, "given")
        flags, known = truth_values(values)
        check(column, known, "true or false, or 1 or 0")
        return flags
    numbers, masked = numbers_in_unit(data, name, column, path, unit=unit)
    check(column, ~masked | name.endswith("_radius"), "given")
    numbers[masked] = np.nan
    return numbers

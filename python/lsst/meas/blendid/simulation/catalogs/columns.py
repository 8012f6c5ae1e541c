# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Columns of tables of galaxies, their units, and checks with errors that name the rows."""

from __future__ import annotations

__all__ = (
    "CATALOG_COLUMNS",
    "FILTERS",
    "GALAXY_COLUMNS",
    "GALAXY_UNITS",
    "RowCheck",
    "check_column",
    "column_values",
    "identifiers",
    "join_names",
    "numbers_in_unit",
    "refuse_rows",
    "truth_values",
)

import dataclasses
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import Table

from ..._suggest import did_you_mean
from ..errors import SimulationError

FILTERS: tuple[str, ...] = ("u", "g", "r", "i", "z", "y")
"""Bands whose magnitudes a complete catalogue has."""

_MAG, _PHOTON = "mag(AB)", "photon"

GALAXY_UNITS: dict[str, str | None] = {
    "id": None,
    "x": "pix",
    "y": "pix",
    "redshift": "",
    **{f"mag_{band}": _MAG for band in FILTERS},
    "is_star": None,
    "half_light_radius": "arcsec",
    "disc_radius": "arcsec",
    "bulge_radius": "arcsec",
    "axis_ratio": "",
    "bulge_axis_ratio": "",
    "position_angle": "deg",
    "bulge_fraction": "",
    "gamma1": "",
    "gamma2": "",
    "kappa": "",
    "n_knots": None,
    "knot_fraction": "",
}
"""Columns of a complete catalogue and their units."""

CATALOG_COLUMNS: dict[str, str | None] = {
    **GALAXY_UNITS,
    "ra": "deg",
    "dec": "deg",
    "mag": _MAG,
    "flux": "nJy",
    **{f"flux_{band}": "nJy" for band in FILTERS},
    **{f"n_photon_{band}": _PHOTON for band in FILTERS},
    "position_angle_sky": "deg",
}
"""Columns that a file or a table of a user may have, with the unit of a column that has none."""

_TABLE = "galaxy table"


def join_names(table: Table) -> str:
    """List the columns of a table for a message.

    Parameters
    ----------
    table
        Any table.

    Returns
    -------
    names
        Names, or "nothing".
    """
    return ", ".join(table.colnames) or "nothing"


def refuse_rows(
    bad: np.ndarray,
    what: str,
    *,
    where: str | Path = _TABLE,
    numbers: np.ndarray | None = None,
    kind: str = "rows",
) -> None:
    """Raise an error that names rows, if there are any.

    Parameters
    ----------
    bad
        Rows to refuse, boolean, shape (n,).
    what
        What is asked of the rows, "column 'x' must be finite" say.
    where
        What has the rows, a file say.
    numbers
        Numbers of the rows there, shape (n,); `None`: 0, 1, …

    Raises
    ------
    SimulationError
        Raised if any row is bad; it gives their number and the first five.
    """
    rows = np.flatnonzero(bad)
    if len(rows):
        first = rows[:5] if numbers is None else numbers[rows[:5]]
        shown = ", ".join(str(i) for i in first) + (", …" if len(rows) > 5 else "")
        raise SimulationError(f"{where}: {what}; {len(rows)} of {len(bad)} rows are not ({kind} {shown})")


def column_values(column: Any, what: str, where: str | Path = _TABLE) -> tuple[np.ndarray, np.ndarray]:
    """Get the values of a column as they are.

    Parameters
    ----------
    column
        Column of a table, masked or not, or a quantity; n rows.
    what
        Name of the column, for messages.
    where
        What has the column, a file say.

    Returns
    -------
    values
        Shape (n,).
    masked
        Rows without a value, boolean, shape (n,).

    Raises
    ------
    SimulationError
        Raised if rows have more than one value.
    """
    if column.ndim != 1:
        raise SimulationError(f"{where}: column {what} must have one value per row")
    masked = np.ma.getmaskarray(column) if hasattr(column, "mask") else np.zeros(len(column), dtype=bool)
    return np.asarray(np.ma.getdata(getattr(column, "value", column))), np.array(masked)


def numbers_in_unit(
    column: Any, name: str, what: str, where: str | Path = _TABLE, *, unit: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Get the numbers of a column in our unit.

    Parameters
    ----------
    column, what, where
        As for `column_values`.
    name
        What the column is, one of `CATALOG_COLUMNS`; any other has no unit of ours.
    unit
        Unit that overrides that of the column.

    Returns
    -------
    values
        Shape (n,), float64.
    masked
        Rows without a value, boolean, shape (n,).

    Raises
    ------
    SimulationError
        Raised if values are no numbers, or if the unit is not known or cannot be converted.
    """
    values, masked = column_values(column, what, where)
    try:
        # Neither text that looks like a number nor booleans are numbers.
        numbers = np.array(values, dtype=np.float64) if values.dtype.kind in "iufO" else None
    except (TypeError, ValueError):
        numbers = None
    if numbers is None:
        raise SimulationError(f"{where}: column {what} must be numbers, not {values.dtype}")
    target, given = CATALOG_COLUMNS.get(name), column.unit if unit is None else unit
    if target is not None and given is not None:
        factor = _unit_factor(given, target)
        if factor is None:
            raise SimulationError(
                f"{where}: column {what} has the unit {str(given)!r}, "
                f"which cannot be used for {target or 'a number'}"
            )
        numbers *= factor
    return numbers, masked


def _unit_factor(given: Any, target: str) -> float | None:
    """Factor from a unit, or the name of one, to ours; `None` if it is not known or does not fit."""
    try:
        unit, wanted = u.Unit(given), u.Unit(target)
    except (TypeError, ValueError):
        return None
    if isinstance(unit, u.UnrecognizedUnit):
        return None
    # Without a zero point a magnitude is taken for AB.
    same = {
        _MAG: (u.mag, wanted),
        _PHOTON: (u.photon, u.electron, u.count, u.dimensionless_unscaled),
        "pix": (u.pix, u.dimensionless_unscaled),
    }
    if target in same:
        return 1.0 if unit in same[target] else None
    return float(unit.to(wanted)) if unit.is_equivalent(wanted) else None


def truth_values(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read booleans, 0 and 1, or the words for them.

    Parameters
    ----------
    values
        Shape (n,), of any kind.

    Returns
    -------
    flags
        Boolean, shape (n,).
    known
        Whether each value is one of those, boolean, shape (n,).
    """
    if values.dtype.kind in "SUO":
        words = np.array([(v.decode() if isinstance(v, bytes) else str(v)).strip().lower() for v in values])
        true = np.isin(words, ("true", "t", "1"))
        return true, true | np.isin(words, ("false", "f", "0"))
    return values == 1, (values == 0) | (values == 1)


def identifiers(column: Any, what: str, where: str | Path = _TABLE) -> np.ndarray:
    """Get the numbers of objects.

    Parameters
    ----------
    column, what, where
        As for `column_values`.

    Returns
    -------
    identifiers
        Shape (n,), int64.

    Raises
    ------
    SimulationError
        Raised if they are no whole numbers of 64 bits, or not all different.
    """
    values, masked = column_values(column, what, where)
    if values.dtype.kind not in "iu":
        raise SimulationError(f"{where}: column {what} must be whole numbers, not {values.dtype}")
    refuse_rows(masked, f"column {what} must be given", where=where)
    refuse_rows(values > np.iinfo(np.int64).max, f"column {what} must be less than 2^63", where=where)
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    refuse_rows(counts[inverse] > 1, f"column {what} must be different in all rows", where=where)
    return values.astype(np.int64)


def check_column(
    table: Table,
    name: str,
    *,
    low: float = -np.inf,
    high: float = np.inf,
    positive: bool = False,
    default: np.ndarray | None = None,
    ignore: np.ndarray | None = None,
) -> np.ndarray:
    """Get a column as float64, in our unit, and check its values.

    Parameters
    ----------
    table
        Galaxies.
    name
        Name of the column.
    low, high
        Least and greatest value.
    positive
        Whether values must be greater than 0; ``low`` is not used then.
    default
        What to return if there is no such column, shape (n,).
    ignore
        Rows that are not checked, boolean, shape (n,).

    Returns
    -------
    values
        Shape (n,), float64.

    Raises
    ------
    SimulationError
        Raised if the column is missing and there is no default, if it is not numeric or has
        a unit that is not known, or if values are masked, not finite or out of limits.
    """
    if name not in table.colnames:
        if default is None:
            hint = did_you_mean(name, table.colnames)
            raise SimulationError(f"{_TABLE} has no column {name!r}{hint}; it has: {join_names(table)}")
        return default
    values, masked = numbers_in_unit(table[name], name, repr(name))
    bad = masked | ~np.isfinite(values)
    with np.errstate(invalid="ignore"):
        bad |= (values <= 0.0) if positive else (values < low)
        bad |= values > high
    if ignore is not None:
        bad &= ~ignore
    limits = ["finite"]
    limits += ["positive"] if positive else [f"at least {low:g}"] if np.isfinite(low) else []
    limits += [f"at most {high:g}"] if np.isfinite(high) else []
    refuse_rows(bad, f"column {name!r} must be {' and '.join(limits)}")
    return values


GALAXY_COLUMNS: tuple[str, ...] = tuple(GALAXY_UNITS)
"""Columns of a complete catalogue.

``id``: number of the galaxy in its source; ``x``, ``y``: centre, pixels;
``redshift``; ``mag_u`` … ``mag_y``: AB, before lensing; ``is_star``: drawn as a
point; ``half_light_radius``, ``disc_radius``, ``bulge_radius``: circularised
half-light radii of the whole galaxy and of its two parts, arcsec, before lensing;
``axis_ratio`` (of the disc), ``bulge_axis_ratio``: minor over major;
``position_angle``: of the major axis, degrees counter-clockwise from the x axis;
``bulge_fraction``: of the flux; ``gamma1``, ``gamma2``: shear along the pixel axes;
``kappa``: convergence; ``n_knots``: knots of star formation in the disc;
``knot_fraction``: of the flux of the disc, in knots.
"""


@dataclasses.dataclass(frozen=True)
class RowCheck:
    """Refuses rows of a file with an error that names the file, the column and the rows."""

    file: Path
    """The file."""

    numbers: np.ndarray | None = None
    """What the rows that are checked are called by, shape (n,); `None`: 0, 1, …"""

    kind: str = "rows"
    """What those numbers are."""

    def __call__(self, column: str, good: np.ndarray, what: str) -> None:
        """Refuse a column with rows that are not ``good``, bool of shape (n,): all must be ``what``."""
        refuse_rows(
            ~good, f"column {column} must be {what}", where=self.file, numbers=self.numbers, kind=self.kind
        )

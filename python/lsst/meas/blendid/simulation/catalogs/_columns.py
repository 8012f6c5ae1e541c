# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Checks of the columns of a table of galaxies, with errors that name the rows."""

from __future__ import annotations

__all__ = ("FILTERS", "check_column", "join_names", "refuse_rows")

import numpy as np
from astropy.table import Table

from .._errors import SimulationError

FILTERS: tuple[str, ...] = ("u", "g", "r", "i", "z", "y")
"""Bands whose magnitudes a complete catalogue has."""


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


def refuse_rows(bad: np.ndarray, what: str) -> None:
    """Raise an error that names rows, if there are any.

    Parameters
    ----------
    bad
        Rows to refuse, boolean, shape (n,).
    what
        What is asked of the rows, "column 'x' must be finite" say.

    Raises
    ------
    SimulationError
        Raised if any row is bad; it gives their number and the first five.
    """
    if bad.any():
        rows = np.flatnonzero(bad)
        shown = ", ".join(str(i) for i in rows[:5]) + (", …" if len(rows) > 5 else "")
        raise SimulationError(f"galaxy table: {what}; {len(rows)} of {len(bad)} rows are not (rows {shown})")


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
    """Get a column as float64 and check its values.

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
        Raised if the column is missing and there is no default, if it is not numeric,
        or if values are masked, not finite or out of limits.
    """
    if name not in table.colnames:
        if default is None:
            raise SimulationError(f"galaxy table has no column {name!r}; it has: {join_names(table)}")
        return default
    column = table[name]
    masked = np.ma.getmaskarray(column) if hasattr(column, "mask") else np.zeros(len(table), dtype=bool)
    try:
        values = np.array(np.ma.getdata(column), dtype=np.float64)
    except (TypeError, ValueError):
        raise SimulationError(f"galaxy table: column {name!r} is not numeric") from None
    if values.ndim != 1:
        raise SimulationError(f"galaxy table: column {name!r} must have one number per row")
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

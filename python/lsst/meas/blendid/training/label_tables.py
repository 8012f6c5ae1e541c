# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Numbers of galaxies that somebody gave footprints, with gaps: from eyes, or from sharper images."""

from __future__ import annotations

__all__ = (
    "UNKNOWN",
    "as_numbers",
    "check_rows",
    "describe_rows",
    "explain_losses",
    "match_labels",
    "read_labels",
    "read_table",
)

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._files import irregular_kind
from .._suggest import did_you_mean
from ..footprints import FootprintSet

if TYPE_CHECKING:
    from astropy.table import Table

_NAMED_ROWS = 5
"""Most rows that a message names."""

UNKNOWN = -1
"""Number of galaxies of a footprint that nobody labelled."""


def read_table(path: str | Path, what: str, columns: tuple[str, ...]) -> Table:
    """Read a table.

    Parameters
    ----------
    path
        FITS, ECSV, CSV or Parquet file.
    what
        What it is, for messages.
    columns
        Columns that it needs.

    Returns
    -------
    table
        The table.

    Raises
    ------
    ValueError
        Raised, with the name of the file, if it cannot be read, lacks columns, or has positions, fluxes or
        S/N that are no numbers.
    """
    from astropy.table import Table

    if kind := irregular_kind(path):
        raise ValueError(f"{path}: is {kind}, which may have no end; give the {what} as a file")
    try:
        table = Table.read(str(path))
    except Exception as err:
        # Each format fails with classes of its own.
        reason = "no such file" if isinstance(err, FileNotFoundError) else " ".join(str(err).split())[:200]
        raise ValueError(f"cannot read the {what} {path}: {reason}") from None
    missing = [name for name in columns if name not in table.colnames]
    if missing:
        names = ", ".join(name + did_you_mean(name, table.colnames) for name in missing)
        raise ValueError(f"{path}: the {what} lacks {names}; it has {', '.join(table.colnames)}")
    for name in ("x", "y", "snr", "flux"):
        if name in table.colnames and (table[name].ndim != 1 or table[name].dtype.kind not in "biuf"):
            raise ValueError(f"{path}: column {name} of the {what} has no numbers, one for each row")
    return table


def check_rows(table: Table, columns: Sequence[str], name: str, rows: np.ndarray | None = None) -> None:
    """Refuse rows whose numbers are missing, which could only be left out silently.

    Parameters
    ----------
    table
        A table of true galaxies or labels.
    columns
        Columns that are looked at; an S/N may be infinite, all else has to be finite.
    name
        Name of the table, for messages.
    rows
        Rows that are looked at, bool of shape (n,); all if `None`.

    Raises
    ------
    ValueError
        Raised with the column and the rows.
    """
    for column in columns:
        values = as_numbers(table, column)
        bad = np.isnan(values) if column == "snr" else ~np.isfinite(values)
        if rows is not None:
            bad &= rows
        if bad.any():
            number = "a number" if column == "snr" else "a finite number"
            raise ValueError(
                f"{name}: column {column} is not {number} in {describe_rows(np.flatnonzero(bad))}; "
                "give these rows their values, or leave them out"
            )


def as_numbers(table: Table, column: str) -> np.ndarray:
    """Take a column as float64, NaN where it is masked.

    Parameters
    ----------
    table
        The table.
    column
        Name of a column of numbers.

    Returns
    -------
    values : `numpy.ndarray`, shape (n,), float64
        The values.
    """
    return np.ma.filled(np.ma.asarray(table[column]).astype(np.float64), np.nan)


def describe_rows(rows: np.ndarray) -> str:
    """Name rows of a table, the first of them if they are many.

    Parameters
    ----------
    rows : `numpy.ndarray`, shape (m,), int
        The rows, the first of the table being 0.

    Returns
    -------
    text
        Such as "rows 3, 7 (from 0)".
    """
    first = ", ".join(str(row) for row in rows[:_NAMED_ROWS])
    more = f", … ({len(rows)} rows, from 0)" if len(rows) > _NAMED_ROWS else " (from 0)"
    return f"row{'s' if len(rows) > 1 else ''} {first}{more}"


def read_labels(path: str | Path) -> Table:
    """Read a table of labels.

    Parameters
    ----------
    path
        FITS, ECSV, CSV or Parquet file with the columns ``x``, ``y`` (parent pixels, anywhere in the
        footprint) and ``n_galaxies``; masked, NaN or negative numbers are not known.

    Returns
    -------
    labels
        The table.

    Raises
    ------
    ValueError
        Raised, with the name of the file, if it cannot be read, lacks columns, has numbers that are
        no integers, or none that is known, or positions of known ones that are not finite.
    """
    table = read_table(path, "table of labels", ("x", "y", "n_galaxies"))
    try:
        numbers = _numbers(table)
    except (TypeError, ValueError):
        raise ValueError(f"{path}: n_galaxies must be numbers of galaxies: integers from 0") from None
    if not np.any(numbers >= 0.0):
        raise ValueError(f"{path}: all {len(table)} labels are missing; give some footprints theirs")
    if np.any(numbers % 1.0 > 0.0):
        raise ValueError(f"{path}: n_galaxies must be numbers of galaxies: integers from 0")
    check_rows(table, ("x", "y"), str(path), numbers >= 0.0)
    return table


def _numbers(labels: Table) -> np.ndarray:
    """Numbers of galaxies as float64, NaN where they are not known."""
    numbers = as_numbers(labels, "n_galaxies")
    return np.where(np.isfinite(numbers) & (numbers >= 0.0), numbers, np.nan)


def match_labels(footprints: FootprintSet, labels: Table) -> np.ndarray:
    """Give footprints the labels whose positions lie in them.

    Parameters
    ----------
    footprints
        The n footprints, with their label image.
    labels
        Columns ``x``, ``y`` (parent pixels) and ``n_galaxies``.

    Returns
    -------
    counts : `numpy.ndarray`, shape (n,), int32
        Number of galaxies in each footprint; `UNKNOWN` for those without a label, and for those with several
        that differ.
    """
    ids, numbers = (
        footprints.find_at(as_numbers(labels, "x"), as_numbers(labels, "y"), outside=-1),
        _numbers(labels),
    )
    use = (ids > 0) & np.isfinite(numbers)
    low, high = _find_limits(len(footprints), ids[use], numbers[use])
    return np.where(low == high, high, UNKNOWN).astype(np.int32)


def explain_losses(footprints: FootprintSet, labels: Table, name: str) -> str | None:
    """Say which labels `match_labels` has no use for, and why.

    Parameters
    ----------
    footprints
        The n footprints, with their label image.
    labels
        The labels.
    name
        Their name.

    Returns
    -------
    text
        One line; `None` if all labels are of use.
    """
    ids, numbers = (
        footprints.find_at(as_numbers(labels, "x"), as_numbers(labels, "y"), outside=-1),
        _numbers(labels),
    )
    known = np.isfinite(numbers)
    use = (ids > 0) & known
    low, high = _find_limits(len(footprints), ids[use], numbers[use])
    contradict = np.zeros(len(ids), dtype=bool)
    contradict[use] = (low != high)[ids[use] - 1]
    losses = {
        "without a number": ~known,
        "outside of the image": known & (ids < 0),
        "in no footprint": known & (ids == 0),
        "in a footprint with labels that differ": contradict,
    }
    parts = [
        f"{np.count_nonzero(rows)} {reason}: {describe_rows(np.flatnonzero(rows))}"
        for reason, rows in losses.items()
        if rows.any()
    ]
    if not parts:
        return None
    return f"{name}: {np.count_nonzero(use & ~contradict)} of {len(ids)} labels are used; {'; '.join(parts)}"


def _find_limits(n: int, ids: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest label of each of n footprints, int32 of shape (n,)."""
    low = np.full(n, np.iinfo(np.int32).max, dtype=np.int32)
    high = np.full(n, UNKNOWN, dtype=np.int32)
    np.minimum.at(low, ids - 1, numbers.astype(np.int32))
    np.maximum.at(high, ids - 1, numbers.astype(np.int32))
    return low, high

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Numbers of galaxies that somebody gave footprints, with gaps: from eyes, or from sharper images."""

from __future__ import annotations

__all__ = ("UNKNOWN", "match_labels", "read_labels", "read_table")

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._files import irregular_kind
from .._suggest import did_you_mean
from ..footprints import FootprintSet

if TYPE_CHECKING:
    from astropy.table import Table

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
        no integers, or none that is known.
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
    return table


def _numbers(labels: Table) -> np.ndarray:
    """Numbers of galaxies as float64, NaN where they are not known."""
    numbers = np.ma.filled(np.ma.asarray(labels["n_galaxies"]).astype(np.float64), np.nan)
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
    x, y = (np.ma.filled(np.ma.asarray(labels[k]).astype(np.float64), np.nan) for k in ("x", "y"))
    numbers = _numbers(labels)
    use = np.isfinite(x) & np.isfinite(y) & np.isfinite(numbers)
    column = np.rint(x[use]).astype(np.int64) - footprints.xy0[0]
    row = np.rint(y[use]).astype(np.int64) - footprints.xy0[1]
    height, width = footprints.labels.shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    ids = footprints.labels[row[inside], column[inside]]
    values = numbers[use][inside][ids > 0].astype(np.int32)
    ids = ids[ids > 0] - 1
    low = np.full(len(footprints), np.iinfo(np.int32).max, dtype=np.int32)
    high = np.full(len(footprints), UNKNOWN, dtype=np.int32)
    np.minimum.at(low, ids, values)
    np.maximum.at(high, ids, values)
    return np.where(low == high, high, UNKNOWN).astype(np.int32)

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Reading of a few rows of large Parquet files, a batch at a time."""

from __future__ import annotations

__all__ = ("ParquetSource", "Rows", "middle_of_positions", "open_parquet", "read_matching", "read_positions")

import dataclasses
import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._errors import SimulationError
from ._sky_field import SkyField, mean_position

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from pyarrow.parquet import ParquetFile

_BATCH = 65536


@dataclasses.dataclass(frozen=True)
class ParquetSource:
    """A Parquet file whose columns have been looked at."""

    path: Path
    """The file."""

    file: ParquetFile
    """The file, open."""

    names: frozenset[str]
    """Names of its columns."""

    @property
    def throughputs(self) -> str | None:
        """Version of LSST's throughputs with which its fluxes were made, if it says so."""
        metadata = self.file.schema_arrow.metadata or {}
        try:
            provenance = json.loads(metadata.get(b"provenance", b"{}"))
            return str(provenance["flux_dependencies"]["lsst_throughputs_version"])
        except (KeyError, TypeError, ValueError):
            return None


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of a file that lie in a field."""

    index: np.ndarray
    """Numbers of the rows in the file, increasing, int64, shape (n,)."""

    ra: np.ndarray
    """Right ascension, degrees, shape (n,)."""

    dec: np.ndarray
    """Declination, degrees, shape (n,)."""

    x: np.ndarray
    """Column in the field, pixels, shape (n,)."""

    y: np.ndarray
    """Row in the field, pixels, shape (n,)."""

    def select(self, keep: np.ndarray) -> Rows:
        """Keep some of the rows.

        Parameters
        ----------
        keep
            Boolean, shape (n,).

        Returns
        -------
        rows
            Those rows.
        """
        return Rows(*(getattr(self, field.name)[keep] for field in dataclasses.fields(self)))


def open_parquet(path: Path, columns: Sequence[str]) -> ParquetSource:
    """Open a file and check that it has the columns that are needed.

    Parameters
    ----------
    path
        The file.
    columns
        Names of columns.

    Returns
    -------
    source
        The file.

    Raises
    ------
    SimulationError
        Raised if it is no Parquet file or lacks columns.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(path)
    except (ArrowException, OSError) as err:
        raise SimulationError(f"cannot read {path} as Parquet: {str(err).splitlines()[0]}") from err
    names = frozenset(file.schema_arrow.names)
    missing = [name for name in columns if name not in names]
    if missing:
        raise SimulationError(
            f"{path} has no column {', '.join(missing)}; it has: {', '.join(file.schema_arrow.names)}"
        )
    return ParquetSource(path, file, names)


def middle_of_positions(path: Path) -> tuple[float, float]:
    """Find the middle of the positions of a file.

    Parameters
    ----------
    path
        File with columns ``ra`` and ``dec``, degrees.

    Returns
    -------
    ra, dec
        Degrees.

    Raises
    ------
    SimulationError
        Raised if it has no rows or no such columns.
    """
    source = open_parquet(path, ("ra", "dec"))
    sums = [
        mean_position(_values(source, batch, "ra"), _values(source, batch, "dec"))
        for _, batch in _batches(source, range(source.file.num_row_groups), ["ra", "dec"])
    ]
    if not sums:
        raise SimulationError(f"{path} has no rows")
    # Batches are of one size but the last, which hardly matters for a middle.
    return mean_position(*np.array(sums).T)


def read_positions(source: ParquetSource, field: SkyField) -> Rows:
    """Find the rows that lie in a field.

    Parameters
    ----------
    source
        File with columns ``ra`` and ``dec``, degrees.
    field
        The field.

    Returns
    -------
    rows
        Rows in the field or its margin. Row groups whose statistics are outside of
        it are not read.

    Raises
    ------
    SimulationError
        Raised if positions near the field are not finite.
    """
    ra0, half, dec_min, dec_max = field.bounds()
    found: list[Rows] = []
    groups = [g for g in range(source.file.num_row_groups) if _may_overlap(source, g, field)]
    for start, batch in _batches(source, groups, ["ra", "dec"]):
        ra, dec = _values(source, batch, "ra"), _values(source, batch, "dec")
        bad = ~(np.isfinite(ra) & (np.abs(dec) <= 90.0))
        if bad.any():
            row = start + int(np.argmax(bad))
            raise SimulationError(
                f"{source.path}: columns ra and dec must be places on the sky; "
                f"{bad.sum()} rows are not (first: row {row})"
            )
        # Cheap cuts first: most rows are elsewhere.
        near = np.flatnonzero((dec >= dec_min) & (dec <= dec_max))
        near = near[np.abs((ra[near] - ra0 + 180.0) % 360.0 - 180.0) <= half]
        x, y = field.to_pixels(ra[near], dec[near])
        inside = field.contains(x, y)
        near = near[inside]
        found.append(Rows(start + near, ra[near], dec[near], x[inside], y[inside]))
    if not found:
        empty = np.zeros(0)
        return Rows(np.zeros(0, dtype=np.int64), empty, empty, empty, empty)
    return Rows(
        *(
            np.concatenate([getattr(part, name) for part in found])
            for name in ("index", "ra", "dec", "x", "y")
        )
    )


def read_matching(
    source: ParquetSource,
    columns: Sequence[str],
    rows: Rows | None = None,
    *,
    ids: tuple[str, np.ndarray] | None = None,
    text: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """Read some columns of some rows.

    Parameters
    ----------
    source
        The file.
    columns
        Names of columns.
    rows
        Which rows, by number, or
    ids
        by the values of a column: its name, and the values wanted, each once.
    text
        Columns that are of strings; all others are of numbers.

    Returns
    -------
    data
        Array for each column, shape (n,), in the order of ``rows`` or ``ids``; numbers
        are float64 or int64. Also ``row``, the numbers of the rows in the file.

    Raises
    ------
    SimulationError
        Raised if a column is of another kind, has no value in one of the
        rows, or if an id is missing or there twice.
    """
    parts: dict[str, list[np.ndarray]] = {name: [] for name in (*columns, "row")}
    if ids is not None:
        key, wanted = ids
        order = np.argsort(wanted, kind="stable")
        positions: list[np.ndarray] = []
        wanted_sorted = np.asarray(wanted)[order]
        names = [key, *(name for name in columns if name != key)]
    else:
        assert rows is not None
        names = list(columns)
    groups: Sequence[int] = range(source.file.num_row_groups)
    if rows is not None:
        groups = [g for g in groups if _any_row(source, g, rows.index)]
    for start, batch in _batches(source, groups, names):
        if ids is not None:
            values = _values(source, batch, key)
            at = np.minimum(np.searchsorted(wanted_sorted, values), len(wanted_sorted) - 1)
            take = np.flatnonzero(wanted_sorted[at] == values) if len(wanted_sorted) else np.zeros(0, int)
            positions.append(order[at[take]])
        else:
            assert rows is not None
            lo, hi = np.searchsorted(rows.index, (start, start + batch.num_rows))
            take = rows.index[lo:hi] - start
        if len(take):
            picked = batch.take(take)
            for name in columns:
                parts[name].append(_values(source, picked, name, start + take, text=name in text))
        parts["row"].append(start + take)
    data = {name: np.concatenate(part) if part else np.zeros(0) for name, part in parts.items()}
    if ids is None:
        return data
    position = np.concatenate(positions) if positions else np.zeros(0, dtype=np.int64)
    count = np.bincount(position, minlength=len(wanted))
    for bad, what in ((count == 0, "no row for"), (count > 1, "several rows for")):
        if bad.any():
            shown = ", ".join(str(i) for i in np.asarray(wanted)[bad][:5]) + (", …" if bad.sum() > 5 else "")
            raise SimulationError(
                f"{source.path} has {what} {bad.sum()} of the {len(wanted)} objects in the field "
                f"({key} {shown})"
            )
    back = np.argsort(position, kind="stable")
    return {name: values[back] for name, values in data.items()}


def _batches(
    source: ParquetSource, groups: Sequence[int], columns: list[str]
) -> Iterator[tuple[int, RecordBatch]]:
    """Batches of row groups, each with the number of its first row in the file."""
    sizes = [source.file.metadata.row_group(g).num_rows for g in range(source.file.num_row_groups)]
    first = np.concatenate([[0], np.cumsum(sizes)])
    for group in groups:
        start = int(first[group])
        for batch in source.file.iter_batches(batch_size=_BATCH, row_groups=[group], columns=columns):
            if batch.num_rows:
                yield start, batch
            start += batch.num_rows


def _any_row(source: ParquetSource, group: int, index: np.ndarray) -> bool:
    metadata = source.file.metadata
    start = sum(metadata.row_group(g).num_rows for g in range(group))
    lo, hi = np.searchsorted(index, (start, start + metadata.row_group(group).num_rows))
    return bool(hi > lo)


def _may_overlap(source: ParquetSource, group: int, field: SkyField) -> bool:
    """Whether the statistics of a row group, if there are any, allow rows in the field."""
    ra0, half, dec_min, dec_max = field.bounds()
    limits = _limits(source, group)
    if "dec" in limits and (limits["dec"][1] < dec_min or limits["dec"][0] > dec_max):
        return False
    if "ra" in limits and half < 180.0:
        lo, hi = limits["ra"]
        # Distance of the field's middle from the interval, the short way round.
        outside = max((lo - ra0) % 360.0, 0.0), max((ra0 - hi) % 360.0, 0.0)
        if not (lo <= ra0 <= hi or lo <= ra0 - 360.0 <= hi) and min(outside) > half:
            return False
    return True


def _limits(source: ParquetSource, group: int) -> dict[str, tuple[float, float]]:
    row_group = source.file.metadata.row_group(group)
    limits = {}
    for i in range(row_group.num_columns):
        column = row_group.column(i)
        statistics: Any = column.statistics
        if column.path_in_schema in ("ra", "dec") and statistics is not None and statistics.has_min_max:
            limits[column.path_in_schema] = (float(statistics.min), float(statistics.max))
    return limits


def _values(
    source: ParquetSource,
    batch: RecordBatch,
    name: str,
    rows: np.ndarray | None = None,
    *,
    text: bool = False,
) -> np.ndarray:
    """A column of a batch as int64 or float64, or object if it is of ``text``."""
    from pyarrow import types

    column = batch.column(batch.schema.get_field_index(name))
    if column.null_count:
        null = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))
        at = "" if rows is None else f" (rows {', '.join(str(i) for i in rows[null[:5]])})"
        raise SimulationError(f"{source.path}: column {name} has no value in {len(null)} rows{at}")
    kind = column.type
    if text:
        return np.asarray(column.to_pylist(), dtype=object)
    if types.is_integer(kind):
        return column.to_numpy(zero_copy_only=False).astype(np.int64)
    if types.is_floating(kind):
        return column.to_numpy(zero_copy_only=False).astype(np.float64)
    raise SimulationError(f"{source.path}: column {name} must be numbers, not {kind}")

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The output tables as files: Parquet, FITS or ECSV."""

from __future__ import annotations

__all__ = ("TABLE_FORMATS", "read_tables", "table_paths", "write_tables")

import hashlib
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from astropy.table import Table

from ._files import atomic_paths
from .tables import BlendTables

if TYPE_CHECKING:
    import pyarrow

_NAMES = ("blend", "blend_peak", "blend_spans")

_SET_KEY = "table_set"
"""Entry of the metadata of each file that tells which three belong together."""

TABLE_FORMATS = ("parquet", "fits", "ecsv")
"""Formats of the tables, which are the suffixes of their files too."""


def table_paths(
    directory: str | os.PathLike[str], stem: str, format: str = "parquet"
) -> tuple[Path, Path, Path]:
    """Give the names of the files that the tables of one image are written to.

    Parameters
    ----------
    directory
        Folder.
    stem
        Start of the file names.
    format
        One of `TABLE_FORMATS`.

    Returns
    -------
    paths
        ``<stem>.blend.<format>``, ``<stem>.blend_peak.<format>`` and
        ``<stem>.blend_spans.<format>``.

    Raises
    ------
    ValueError
        Raised if the format is not known.
    """
    if format not in TABLE_FORMATS:
        raise ValueError(f"unknown format {format!r} of tables; known are {', '.join(TABLE_FORMATS)}")
    first, second, third = (Path(directory) / f"{stem}.{name}.{format}" for name in _NAMES)
    return first, second, third


def write_tables(
    tables: BlendTables, directory: str | os.PathLike[str], stem: str, format: str = "parquet"
) -> tuple[Path, Path, Path]:
    """Write the tables of one image.

    The files are written beside their destination and renamed once all three
    are complete.  Each holds in its metadata, as ``table_set``, a hash of the
    content of all three, by which `read_tables` knows that they belong together.

    Parameters
    ----------
    tables
        What to write.
    directory
        Existing folder.
    stem
        Start of the file names.
    format
        One of `TABLE_FORMATS`.

    Returns
    -------
    paths
        As from `table_paths`.

    Raises
    ------
    OSError
        Raised if a file cannot be written.
    ValueError
        Raised if the format is not known.
    """
    paths = table_paths(directory, stem, format)
    write = {"parquet": _write_parquet, "fits": _write_fits, "ecsv": _write_ecsv}[format]
    identity = _identify(tables)
    with atomic_paths(paths) as temporary:
        for name, path in zip(_NAMES, temporary, strict=True):
            table = getattr(tables, name).copy(copy_data=False)
            table.meta[_SET_KEY] = identity
            try:
                write(table, path)
            except OSError as err:
                # A full disk, most likely; pyarrow names at best the temporary file.
                raise OSError(f"cannot write {paths[0].parent / path.name}: {err}") from err
    return paths


def _identify(tables: BlendTables) -> str:
    """Hash the content of the tables: the same content gives the same files."""
    digest = hashlib.sha256()
    for name in _NAMES:
        table = getattr(tables, name)
        digest.update(f"{name} {sorted((k, repr(v)) for k, v in table.meta.items())}".encode())
        for key, column in table.columns.items():
            digest.update(f"{key} {column.dtype}".encode())
            digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()[:16]


def _write_parquet(table: Table, path: Path) -> None:
    """Write one table as the Butler does."""
    import pyarrow.parquet

    pyarrow.parquet.write_table(_to_arrow(table), path)


def _write_ecsv(table: Table, path: Path) -> None:
    """Write one table as text with a header in YAML."""
    table.write(path, format="ascii.ecsv")


def _write_fits(table: Table, path: Path) -> None:
    """Write one table as a binary table of FITS."""
    import astropy.io.fits

    bare = table.copy(copy_data=False)
    bare.meta = {}
    hdu = astropy.io.fits.table_to_hdu(bare, name=path.name.split(".")[-2].upper())
    for number, column in enumerate(table.itercols(), start=1):
        hdu.header[f"TCOMM{number}"] = _ascii(column.description or "")
    for key, value in table.meta.items():
        # So marked, cards keep long names and small letters, but no card holds what is not a number.
        is_nan = isinstance(value, float) and math.isnan(value)
        card = "nan" if is_nan else _ascii(value) if isinstance(value, str) else value
        hdu.header[f"HIERARCH {key}"] = card
    hdu.writeto(path)


def _ascii(text: str) -> str:
    """Text with what FITS headers cannot hold replaced."""
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _to_arrow(table: Table) -> pyarrow.Table:
    """Convert a table of numbers and booleans as the Butler does, with the same metadata.

    `pyarrow.array`, which the Butler's own function calls, would load pandas: longer than all else here.
    """
    import pyarrow
    from astropy.table.meta import get_yaml_from_table

    fields, arrays = [], []
    for name, column in table.columns.items():
        values = np.ascontiguousarray(column)
        kind = pyarrow.from_numpy_dtype(values.dtype)
        facts = {"description": column.description, "unit": column.unit}
        metadata = {key: str(fact) for key, fact in facts.items() if fact}
        fields.append(pyarrow.field(name, kind, metadata=metadata))
        if values.dtype == np.bool_:
            values = np.packbits(values, bitorder="little")
        arrays.append(pyarrow.Array.from_buffers(kind, len(column), [None, pyarrow.py_buffer(values)]))
    metadata = {
        "lsst::arrow::rowcount": str(len(table)),
        "table_meta_yaml": "\n".join(get_yaml_from_table(table)),
    }
    return pyarrow.Table.from_arrays(arrays, schema=pyarrow.schema(fields, metadata=metadata))


def read_tables(directory: str | os.PathLike[str], stem: str, format: str | None = None) -> BlendTables:
    """Read the tables that `write_tables` wrote.

    Parameters
    ----------
    directory
        Folder of the files.
    stem
        Start of the file names.
    format
        One of `TABLE_FORMATS`; by default the one that is there.

    Returns
    -------
    tables
        The three tables.

    Raises
    ------
    FileNotFoundError
        Raised if one of the files is missing.
    ValueError
        Raised if there are tables in several formats and none is chosen, or
        if the three were not written together.
    """
    if format is None:
        existing = [known for known in TABLE_FORMATS if table_paths(directory, stem, known)[0].exists()]
        if len(existing) > 1:
            raise ValueError(
                f"tables {stem} are in {directory} as {' and as '.join(existing)}; choose one with format="
            )
        format = existing[0] if existing else TABLE_FORMATS[0]
    paths = table_paths(directory, stem, format)
    first, second, third = (_read(path, format) for path in paths)
    # Tables that a Butler wrote have none.
    identities = [table.meta.pop(_SET_KEY, None) for table in (first, second, third)]
    if len(set(identities)) > 1:
        odd = next((k for k in range(3) if identities.count(identities[k]) == 1), 0)
        raise ValueError(
            f"{paths[odd]} was not written together with the other tables of {stem}; "
            "repeat 'blendid run', which replaces all three"
        )
    return BlendTables(first, second, third)


def _read(path: Path, format: str) -> Table:
    """Read one table, with dtypes and units as they were written."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; 'blendid run' writes it")
    if format == "parquet":
        return Table.read(path, format="parquet")
    if format == "ecsv":
        table = Table.read(path, format="ascii.ecsv")
    else:
        table = Table.read(path, format="fits", mask_invalid=False, unit_parse_strict="silent")
        del table.meta["EXTNAME"]
        for number, column in enumerate(table.itercols(), start=1):
            column.description = table.meta.pop(f"TCOMM{number}")
        table.meta.update({key: math.nan for key, value in table.meta.items() if value == "nan"})
    for name, column in table.columns.items():
        if not column.dtype.isnative:
            table[name] = column.astype(column.dtype.newbyteorder("="))
        # Neither format tells a unit without dimension from none.
        if column.unit is None and column.dtype.kind == "f":
            table[name].unit = u.dimensionless_unscaled
    return table

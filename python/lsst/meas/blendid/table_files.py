# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The output tables as Parquet files."""

from __future__ import annotations

__all__ = ("read_tables", "write_tables")

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.table import Table

from ._files import atomic_paths
from .tables import BlendTables

if TYPE_CHECKING:
    import pyarrow

_SUFFIXES = {
    "blend": ".blend.parquet",
    "blend_peak": ".blend_peak.parquet",
    "blend_spans": ".blend_spans.parquet",
}


def write_tables(
    tables: BlendTables, directory: str | os.PathLike[str], stem: str
) -> tuple[Path, Path, Path]:
    """Write the tables of one image as Parquet files.

    The files are written beside their destination and renamed once all three
    are complete.

    Parameters
    ----------
    tables
        What to write.
    directory
        Existing folder.
    stem
        Start of the file names.

    Returns
    -------
    paths
        ``<stem>.blend.parquet``, ``<stem>.blend_peak.parquet`` and
        ``<stem>.blend_spans.parquet``.

    Raises
    ------
    OSError
        Raised if a file cannot be written.
    """
    import pyarrow.parquet

    first, second, third = (Path(directory) / f"{stem}{suffix}" for suffix in _SUFFIXES.values())
    with atomic_paths([first, second, third]) as temporary:
        for name, path in zip(_SUFFIXES, temporary, strict=True):
            arrow = _to_arrow(getattr(tables, name))
            try:
                pyarrow.parquet.write_table(arrow, path)
            except OSError as err:
                # A full disk, most likely; pyarrow names at best the temporary file.
                raise OSError(f"cannot write {first.parent / path.name}: {err}") from err
    return first, second, third


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


def read_tables(directory: str | os.PathLike[str], stem: str) -> BlendTables:
    """Read the tables that `write_tables` wrote.

    Parameters
    ----------
    directory
        Folder of the files.
    stem
        Start of the file names.

    Returns
    -------
    tables
        The three tables.

    Raises
    ------
    FileNotFoundError
        Raised if one of the files is missing.
    """
    folder = Path(directory)
    return BlendTables(
        *(Table.read(folder / f"{stem}{suffix}", format="parquet") for suffix in _SUFFIXES.values())
    )

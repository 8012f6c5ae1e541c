# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Columns of features: each is declared once, with what it means, and written by its name.

A group of columns is a mapping of field names to descriptions.  `record_type` makes the type of a record of
them, whose fields compiled loops write (``row.area = ...``).  Records that were written apart are joined to a
table, in the order in which their groups are joined to the mapping of all columns.
"""

from __future__ import annotations

__all__ = ("Group", "Record", "as_table", "flatten_columns", "join_records", "name_columns", "record_type")

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

type Group = Mapping[str, str | Mapping[str, str]]
"""Descriptions by field; a field with several columns has a mapping of their names to descriptions."""


type Record = Any
"""One record in a compiled loop, whose fields are attributes there."""


def flatten_columns(group: Group) -> dict[str, str]:
    """List the columns of a group: descriptions by name."""
    columns: dict[str, str] = {}
    for field, described in group.items():
        columns |= {field: described} if isinstance(described, str) else described
    return columns


def record_type(group: Group) -> np.dtype:
    """Make the type of a record of float32 columns: a field for each, an array for one of several columns."""
    fields: list[tuple[str, type[np.float32], tuple[int, ...]]] = []
    for field, described in group.items():
        several = 1 if isinstance(described, str) else len(described)
        fields.append((field, np.float32, () if several == 1 else (several,)))
    return np.dtype(fields)


def as_table(records: np.ndarray) -> np.ndarray:
    """View contiguous records of n rows, several of a row side by side, as a table, float32 (n, columns)."""
    width = records.itemsize // 4 * int(np.prod(records.shape[1:], dtype=np.int64))
    return records.view(np.float32).reshape(len(records), width)


def join_records(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Put records of the same n rows side by side as a table, float32 (n, columns)."""
    return np.hstack([as_table(part) for part in parts])


def name_columns(columns: Mapping[str, str], table: np.ndarray) -> np.ndarray:
    """View a table, float32 (n, columns), as n records whose fields are its columns, in their order."""
    return table.view(record_type(columns)).reshape(len(table))

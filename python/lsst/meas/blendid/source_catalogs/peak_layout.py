# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Where the peaks of footprints lie in the tables of an archive, and how others take their place."""

from __future__ import annotations

__all__ = ("PeakLayout",)

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PeakLayout:
    """Rows of tables that footprints have as their peaks.

    Parameters
    ----------
    archive_id
        Identifiers of the f footprints in the archive, int64 ``(f,)``.
    table
        Table of the archive that holds the peaks of each, int64 ``(f,)``.
    start, count
        First row, and number of rows, int64 ``(f,)``.
    """

    archive_id: np.ndarray
    table: np.ndarray
    start: np.ndarray
    count: np.ndarray

    @property
    def footprint(self) -> np.ndarray:
        """Footprint of each of the k peaks, int64 ``(k,)``."""
        return np.repeat(np.arange(len(self.count)), self.count)

    @property
    def row(self) -> np.ndarray:
        """Row of each of the k peaks in its table, int64 ``(k,)``."""
        ends = np.cumsum(self.count)
        return np.arange(int(self.count.sum())) - np.repeat(ends - self.count - self.start, self.count)

    def rearrange(
        self, table: int, n_rows: int, footprint: np.ndarray, row: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Put other rows into the place of those that the footprints of a table have.

        Parameters
        ----------
        table
            The table.
        n_rows
            Number of its rows.
        footprint, row
            The rows that footprints of the table shall have, sorted by
            footprint, int64 ``(n,)``; those from ``n_rows`` on are new.

        Returns
        -------
        rows
            All rows of the new table: footprints follow each other as before,
            and rows that none has stay where they were.
        start, count
            First row and number of rows of the footprints of this table.
        """
        mine = np.flatnonzero(self.table == table)
        first = np.searchsorted(footprint, mine, side="left")
        last = np.searchsorted(footprint, mine, side="right")
        parts: list[np.ndarray] = []
        start, end, length = np.zeros(len(mine), np.int64), 0, 0
        for i in np.lexsort((self.count[mine], self.start[mine])):
            begin = int(self.start[mine[i]])
            if begin > end:
                parts.append(np.arange(end, begin))
                length += begin - end
            end = max(end, begin + int(self.count[mine[i]]))
            start[i] = length
            parts.append(row[first[i] : last[i]])
            length += int(last[i] - first[i])
        parts.append(np.arange(end, n_rows))
        return np.concatenate(parts).astype(np.int64), start, last - first

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Refusal of rows of a file."""

from __future__ import annotations

__all__ = ("RowCheck",)

import dataclasses
from pathlib import Path

import numpy as np

from ._columns import refuse_rows


@dataclasses.dataclass(frozen=True)
class RowCheck:
    """Refuses rows with an error that names the file, the column and the rows."""

    file: Path
    """The file."""

    rows: np.ndarray | None = None
    """Numbers in the file of the rows that are checked, shape (n,); `None`: 0, 1, …"""

    def __call__(self, column: str, good: np.ndarray, what: str) -> None:
        """Check a column.

        Parameters
        ----------
        column
            Name of the column in the file.
        good
            Whether each row is as it must be, boolean, shape (n,).
        what
            How it must be, "positive" say.

        Raises
        ------
        SimulationError
            Raised if any row is not good.
        """
        refuse_rows(~good, f"column {column} must be {what}", where=self.file, numbers=self.rows)

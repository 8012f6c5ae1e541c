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

from .._errors import SimulationError


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
        bad = np.flatnonzero(~good)
        if len(bad):
            numbers = bad[:5] if self.rows is None else self.rows[bad[:5]]
            shown = ", ".join(str(i) for i in numbers) + (", …" if len(bad) > 5 else "")
            raise SimulationError(
                f"{self.file}: column {column} must be {what}; "
                f"{len(bad)} of {len(good)} rows are not (rows {shown})"
            )

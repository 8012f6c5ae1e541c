# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tables that an earlier ``blendid run`` wrote, by what a user calls them."""

from __future__ import annotations

__all__ = ("find_tables",)

import os
import re
from pathlib import Path

from ._common import MisuseError

_TABLE = re.compile(r"(?P<stem>.+)\.blend(?:_peak|_spans)?\.(?P<format>parquet|fits|ecsv)", re.DOTALL)


def find_tables(argument: str) -> tuple[Path, str, str | None]:
    """Find the tables of an image.

    Parameters
    ----------
    argument
        ``DIR/STEM``, or one of the three files.

    Returns
    -------
    directory, stem, format
        As `..table_files.read_tables` takes them; no format where any may be
        meant.

    Raises
    ------
    MisuseError
        Raised if it is a folder, or no table.
    """
    path = Path(os.path.expanduser(argument))
    if (match := _TABLE.fullmatch(path.name)) is not None:
        return path.parent, match["stem"], match["format"]
    if path.is_dir():
        stems = sorted({m["stem"] for p in path.iterdir() if (m := _TABLE.fullmatch(p.name)) is not None})
        known = f"; in it are those of {', '.join(stems[:4])}" if stems else ""
        raise MisuseError(f"{argument} is a folder; name tables as DIR/STEM{known}")
    if path.is_file():
        raise MisuseError(f"{argument} is none of the tables of 'blendid run'; give DIR/STEM")
    return path.parent, path.name, None

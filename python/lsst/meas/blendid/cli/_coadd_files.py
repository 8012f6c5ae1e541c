# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Which table of true galaxies or labels belongs to which coadd."""

from __future__ import annotations

__all__ = ("pair_coadds",)

import glob
import os
import re
from collections.abc import Sequence

from ._common import MisuseError
from ._inputs import ImageInput, find_inputs

_TABLE = re.compile(r"\.(parquet|ecsv|csv|fits|fit)$", re.IGNORECASE)
"""What the name of a table ends with."""


def pair_coadds(coadds: Sequence[str], tables: Sequence[str], kind: str) -> list[tuple[ImageInput, str]]:
    """Find the coadds that a user means, and the table of each.

    Parameters
    ----------
    coadds
        Files, folders and patterns.
    tables
        As many files as coadds, in their order; or folders and patterns, in which the table of a coadd STEM
        is the one called ``STEM.KIND.*`` or ``STEM.*``.  Without any, that called ``STEM.KIND.*`` beside each
        coadd.
    kind
        What the tables are called, "truth" or "labels": files named so are no coadds.

    Returns
    -------
    pairs
        Coadds and files of tables.

    Raises
    ------
    MisuseError
        Raised if there is no coadd, or one has no table, or several.
    """
    images = _find_coadds(coadds, kind)
    return list(zip(images, _find_tables(images, tables, kind), strict=True))


def _find_coadds(arguments: Sequence[str], kind: str) -> list[ImageInput]:
    """Images that are no tables."""
    found = find_inputs(arguments)
    tables = re.compile(rf"\.{kind}{_TABLE.pattern}", re.IGNORECASE)
    coadds = [coadd for coadd in found if not tables.search(coadd.path)]
    if found and not coadds:
        raise MisuseError(f"{', '.join(arguments)}: there are tables, but no coadd")
    return coadds


def _find_tables(coadds: Sequence[ImageInput], arguments: Sequence[str], kind: str) -> list[str]:
    """Table of each coadd."""
    if arguments and not any(_is_many(argument) for argument in arguments):
        if len(arguments) != len(coadds):
            coadd = "1 coadd" if len(coadds) == 1 else f"{len(coadds)} coadds"
            raise MisuseError(f"{coadd} and {len(arguments)} --{kind}; each coadd needs its {kind}")
        return list(arguments)
    files = [file for argument in arguments for file in _expand(argument)]
    return [_choose(coadd, files if arguments else None, kind) for coadd in coadds]


def _is_many(argument: str) -> bool:
    local = os.path.expanduser(argument)
    return os.path.isdir(local) or (glob.has_magic(local) and not os.path.lexists(local))


def _expand(argument: str) -> list[str]:
    """Tables of a folder or a pattern; anything else as it is."""
    local = os.path.expanduser(argument)
    if os.path.isdir(local):
        return [os.path.join(argument, name) for name in sorted(os.listdir(local)) if _TABLE.search(name)]
    return sorted(glob.glob(local, recursive=True)) if _is_many(argument) else [argument]


def _choose(coadd: ImageInput, files: Sequence[str] | None, kind: str) -> str:
    """Table of a coadd among files, or among those that lie beside it."""
    # Its own name: the stem may have been made unique among several.
    stem = re.split(r"\.(fits|fit|fts)\b", os.path.basename(coadd.path), maxsplit=1, flags=re.IGNORECASE)[0]
    where = f"among the --{kind}"
    if files is None:
        folder = os.path.dirname(coadd.path)
        there = os.path.expanduser(folder) or "."
        files = (
            [os.path.join(folder, name) for name in sorted(os.listdir(there))] if os.path.isdir(there) else []
        )
        where = "beside it"
    named = [
        file
        for file in files
        if _TABLE.search(file) and _TABLE.sub("", os.path.basename(file)) in (f"{stem}.{kind}", stem)
    ]
    exact = [file for file in named if _TABLE.sub("", os.path.basename(file)) != stem]
    found = exact or ([] if where == "beside it" else named)
    if len(found) == 1:
        return found[0]
    if found:
        raise MisuseError(
            f"{coadd.name}: several tables {where}, {', '.join(found)}; name one for each coadd"
        )
    raise MisuseError(
        f"{coadd.name}: there is no table {stem}.{kind}.parquet, .ecsv, .csv or .fits {where}; each coadd "
        f"needs its {kind} (--{kind})"
    )

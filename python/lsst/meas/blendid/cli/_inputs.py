# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""From what a user names, files, folders and patterns, to images and to tables of earlier runs."""

from __future__ import annotations

__all__ = (
    "ImageInput",
    "TablesInput",
    "find_inputs",
    "find_tables",
    "parse_hdu",
    "parse_plane",
    "split_hdu",
)

import glob
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ._common import CommandError, MisuseError, check_name, describe_error

if TYPE_CHECKING:
    from ..images import PlaneSource
    from ..tables import BlendTables

_SUFFIX = re.compile(r"(\.(fits|fit|fts)(\.fz)?|\.fz)?(\.(gz|bz2|xz|z|zip))?$", re.IGNORECASE)
"""Endings of a name that say that it is FITS, and how it is compressed."""

_FITS = re.compile(r"\.(fits|fit|fts)(\.fz)?(\.(gz|bz2|xz|z|zip))?$|\.fz$", re.IGNORECASE)
"""What the name of a FITS file ends with, in a folder where other files may lie."""

_OUTPUT = re.compile(r"\.blend(_\w+)?\.fits$", re.IGNORECASE)
"""What this package writes itself."""

_TABLE = re.compile(r"(?P<stem>.+)\.blend(?:_peak|_spans)?\.(?P<format>parquet|fits|ecsv)", re.DOTALL)
"""Name of one of the three tables of an image."""

_HDU = re.compile(r"^(?P<path>.+)\[(?P<hdu>[^\[\]]+)\]$", re.DOTALL)


@dataclass(frozen=True)
class ImageInput:
    """An image to work on.

    Parameters
    ----------
    name
        What it is called in messages: the path, with the HDU if that was given with it.
    path, hdu
        The file, or its URI, and the HDU to read, as `..images.read_image` takes them.
    stem
        Start of the names of what is written about it; no two images have the same.
    """

    name: str
    path: str
    hdu: int | str | tuple[str, int] | None
    stem: str

    @property
    def designation(self) -> str:
        """What finds it again: the path, with the HDU in brackets, wherever that was given."""
        if self.hdu is None:
            return self.path
        return f"{self.path}[{','.join(map(str, self.hdu)) if isinstance(self.hdu, tuple) else self.hdu}]"


def parse_hdu(text: str | None) -> int | str | tuple[str, int] | None:
    """Read the designation of an HDU as astropy takes it: an index, an ``EXTNAME``, or ``EXTNAME,EXTVER``.

    A section of an image is misuse: it cannot be read.
    """
    if text is None:
        return None
    text = text.strip()
    if text.isdecimal():
        return int(text)
    if ":" in text or "*" in text or not text:
        raise MisuseError(f"[{text}] is no HDU: sections of images are not read; cut the image out first")
    name, comma, version = text.rpartition(",")
    if comma and version.strip().isdecimal():
        return name.strip(), int(version)
    return text


def split_hdu(argument: str) -> tuple[str, int | str | tuple[str, int] | None]:
    """Take the HDU off a name like ``image.fits[1]`` or ``image.fits[SCI,2]``.

    A file that has just this name is meant as a whole.
    """
    match = _HDU.match(argument)
    if match is None or os.path.lexists(os.path.expanduser(argument)):
        return argument, None
    path = match["path"]
    if "://" in path or os.path.lexists(os.path.expanduser(path)) or _FITS.search(path):
        return path, parse_hdu(match["hdu"])
    return argument, None


def parse_plane(text: str | None) -> PlaneSource:
    """Read where a variance, a mask or a PSF is, as `..images.read_image` takes it.

    The text is an HDU, a file, also with an HDU in brackets, or ``none``.
    """
    from ..images import PlaneFile

    if text is None:
        return None
    if text.strip().lower() == "none":
        return False
    path, hdu = split_hdu(text)
    if hdu is not None or "/" in path or _FITS.search(path) or os.path.lexists(os.path.expanduser(path)):
        return PlaneFile(path, hdu)
    return parse_hdu(text)


def find_inputs(arguments: Sequence[str], hdu: str | None = None) -> list[ImageInput]:
    """Find the images that a user means, in the order given, those of a folder or pattern by name, each once.

    Arguments are files, URIs, folders (the FITS files in them) and patterns that the shell has not expanded;
    a file may be followed by an HDU in brackets, ``hdu`` is that of the others.  Where several files have one
    stem, it is preceded by the names of the folders that tell them apart.

    Raises `MisuseError` if a folder has no FITS file, a name is not UTF-8, or an HDU is none.
    """
    default = parse_hdu(hdu)
    found: dict[tuple[str, object], ImageInput] = {}
    for argument in arguments:
        path, bracketed = split_hdu(argument)
        for file in _expand(path):
            check_name(file)
            name = file if bracketed is None else f"{file}{argument[len(path) :]}"
            chosen = default if bracketed is None else bracketed
            key = (file if "://" in file else os.path.realpath(os.path.expanduser(file)), chosen)
            found.setdefault(key, ImageInput(name, file, chosen, _stem(file, bracketed)))
    return _with_unique_stems(list(found.values()))


def _expand(path: str) -> Iterable[str]:
    """Files of a folder or a pattern; anything else is left for the reader to judge."""
    if "://" in path:
        return [path]
    local = os.path.expanduser(path)
    if os.path.isdir(local):
        files = sorted(
            name
            for name in os.listdir(local)
            if _FITS.search(name) and not name.startswith(".") and not _OUTPUT.search(name)
        )
        if not files:
            raise MisuseError(f"{path}: there is no FITS file in this folder")
        return [os.path.join(path, name) for name in files if not os.path.isdir(os.path.join(local, name))]
    if not os.path.lexists(local) and glob.has_magic(local):
        return sorted(glob.glob(local, recursive=True)) or [path]
    return [path]


def _stem(path: str, hdu: int | str | tuple[str, int] | None) -> str:
    """Name of a file without what says that it is FITS, and with an HDU that was given with it."""
    name = path.rstrip("/").rsplit("/", 1)[-1]
    stem = _SUFFIX.sub("", name) or name
    if hdu is None:
        return stem
    parts = hdu if isinstance(hdu, tuple) else (hdu,)
    return "_".join([stem, *(re.sub(r"[^\w.+-]", "_", str(part)) for part in parts)])


def _with_unique_stems(images: list[ImageInput]) -> list[ImageInput]:
    """Tell images of one stem apart, by their folders if these differ, else by a number."""
    by_stem: dict[str, list[int]] = defaultdict(list)
    for i, image in enumerate(images):
        by_stem[image.stem].append(i)
    stems = [image.stem for image in images]
    for stem, same in by_stem.items():
        if len(same) == 1:
            continue
        folders = [_folders(images[i].path) for i in same]
        for depth in range(1, max(map(len, folders)) + 1):
            names = ["_".join([*parts[-depth:], stem]) for parts in folders]
            if len(set(names)) == len(names):
                break
        else:
            # The same file name but for its ending.
            names = [images[i].path.rsplit("/", 1)[-1].replace(".", "_") for i in same]
        for i, name in zip(same, names, strict=True):
            stems[i] = name
    taken: set[str] = set()
    for i, stem in enumerate(stems):
        number, name = 1, stem
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name)
        stems[i] = name
    return [replace(image, stem=stem) for image, stem in zip(images, stems, strict=True)]


def _folders(path: str) -> list[str]:
    """Names of the folders that a file lies in, the outermost first."""
    if "://" not in path:
        path = os.path.abspath(os.path.expanduser(path))
    else:
        path = path.split("://", 1)[1]
    return [part for part in path.split("/")[:-1] if part]


@dataclass(frozen=True)
class TablesInput:
    """The three tables that ``blendid run`` wrote of an image; without format, in any."""

    directory: Path
    stem: str
    format: str | None = None

    @property
    def name(self) -> Path:
        """What they are called in messages."""
        return self.directory / self.stem

    def read(self) -> BlendTables:
        """Read them; if there are several formats that is misuse, and damage is told with their name."""
        from ..table_files import TABLE_FORMATS, read_tables, table_paths

        found = [table_paths(self.directory, self.stem, format)[0] for format in TABLE_FORMATS]
        found = [path for path in found if path.exists()]
        if self.format is None and len(found) > 1:
            names = " and ".join(path.name for path in found)
            raise MisuseError(f"{self.directory} has {names}; name the one that is meant")
        try:
            return read_tables(self.directory, self.stem, self.format)
        except FileNotFoundError:
            raise
        except Exception as err:  # Each format has its own library with its own errors.
            raise CommandError(f"tables {self.name}: {describe_error(err)}") from err


def find_tables(argument: str) -> TablesInput:
    """Find the tables, ``DIR/STEM``, one of the three, or a folder with those of one image.

    They need not exist.  Raises `MisuseError` for a folder with tables of several images or of none, and for
    a file that is no table.
    """
    path = Path(os.path.expanduser(argument))
    if (match := _TABLE.fullmatch(path.name)) is not None:
        return TablesInput(path.parent, match["stem"], match["format"])
    if path.is_dir():
        stems = sorted({m["stem"] for p in path.iterdir() if (m := _TABLE.fullmatch(p.name)) is not None})
        if len(stems) == 1:
            return TablesInput(path, stems[0])
        if not stems:
            raise MisuseError(f"there are no tables in {argument}; 'blendid run' writes them")
        raise MisuseError(f"{argument} has tables of {len(stems)} images; name one, as {path / stems[0]}")
    if path.is_file():
        raise MisuseError(f"{argument} is none of the tables of 'blendid run'; give DIR/STEM")
    return TablesInput(path.parent, path.name)

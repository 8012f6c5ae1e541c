# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The folder of a demo, in which nothing but the leavings of a demo is ever removed."""

from __future__ import annotations

__all__ = ("MARKER", "DemoFolder")

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ._common import CommandError, MisuseError

MARKER = ".blendid-demo"
"""Name of the file that tells the folder of a demo from any other."""

_MARKER_TEXT = "Written by blendid demo, which may remove what lies beside this file.\n"


class DemoFolder:
    """Folder that a demo writes to.

    Parameters
    ----------
    path
        The folder.
    names
        Names of the files and folders that a demo makes in it.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self._path = path
        self._names = tuple(names)
        self._made: list[Path] = []

    def prepare(self, overwrite: bool) -> None:
        """Make the folder, with nothing in it but the marker.

        Parameters
        ----------
        overwrite
            Whether to remove what an earlier demo left.

        Raises
        ------
        MisuseError
            Raised if the folder holds things that must not be removed.
        CommandError
            Raised if it cannot be made or written.
        """
        path, marker = self._path, self._path / MARKER
        try:
            found = sorted(entry.name for entry in path.iterdir()) if path.exists() else []
        except OSError as err:
            raise CommandError(
                f"{path} cannot be read ({err.strerror}); give another folder with --work"
            ) from err
        foreign = [name for name in found if name not in (*self._names, MARKER)]
        if foreign:
            raise MisuseError(f"{path} holds other things ({foreign[0]}); give another folder with --work")
        # A link could lead to the marker of another demo.
        marked = marker.is_file() and not marker.is_symlink()
        if found and not marked:
            raise MisuseError(
                f"{path} holds things that no demo made, for there is no file {MARKER} beside them "
                f"({found[0]}); give another folder with --work, or empty this one"
            )
        if len(found) > 1 and not overwrite:
            raise MisuseError(
                f"{path} holds an earlier demo; give --overwrite to replace it, or another --work"
            )
        if found and not os.access(path, os.W_OK):
            raise CommandError(f"{path} cannot be written; give another folder with --work")
        if found:
            self._remove_contents()
        try:
            self._make_folders()
            if not marked:
                with marker.open("x", encoding="utf-8") as stream:
                    self._made.append(marker)
                    stream.write(_MARKER_TEXT)
        except OSError as err:
            self.remove()
            raise CommandError(
                f"{path} cannot be made or written ({err.strerror}); give another folder with --work"
            ) from err

    def _make_folders(self) -> None:
        """Make the folder and those above it, and remember which ones there were not."""
        missing = []
        for folder in (self._path, *self._path.parents):
            if folder.exists():
                break
            missing.append(folder)
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            self._made.append(folder)
        if not self._path.is_dir():
            raise NotADirectoryError(20, "Not a directory", str(self._path))

    def _remove_contents(self) -> None:
        """Remove what a demo makes; links are removed, not followed."""
        for name in self._names:
            path = self._path / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove what was made since `prepare` was called: contents, marker and new folders."""
        with suppress(OSError):
            self._remove_contents()
        for path in reversed(self._made):
            with suppress(OSError):  # A folder in which others have put something stays.
                if path.is_dir():
                    path.rmdir()
                else:
                    path.unlink()
        self._made.clear()

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

__all__ = ("atomic_path", "atomic_paths", "irregular_kind")

import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path


@contextmanager
def atomic_paths(paths: Sequence[str | os.PathLike[str]]) -> Iterator[tuple[Path, ...]]:
    """Write several files under temporary names and rename them together, all of them or none.

    Yields where to write each, in a hidden folder beside it.  On success the files are renamed; on failure
    they are removed, and what existed before is left as it was, or put back where it was replaced already.
    Only an end of the process between two renames leaves some new and some old files.  Raises an OSError
    that names the file that cannot be made or replaced.
    """
    targets = [Path(path) for path in paths]
    with ExitStack() as stack:
        temporary = []
        for target in targets:
            if target.is_dir():
                raise IsADirectoryError(f"cannot write {target}: it is a folder")
            try:
                folder = tempfile.TemporaryDirectory(prefix=f".{target.stem}-", dir=target.parent)
            except OSError as err:
                raise type(err)(f"cannot write {target}: {err.strerror}") from None
            temporary.append(Path(stack.enter_context(folder)) / target.name)
        yield tuple(temporary)
        with ExitStack() as undo:
            for source, target in zip(temporary, targets, strict=True):
                try:
                    _replace(source, target, undo)
                except OSError as err:
                    raise type(err)(f"cannot write {target}: {err.strerror}") from None
            undo.pop_all()


def _replace(source: Path, target: Path, undo: ExitStack) -> None:
    """Rename a file to one that may exist, and note how to undo it."""
    if not os.path.lexists(target):
        undo.callback(target.unlink, missing_ok=True)
    else:
        old = source.with_name(f"{source.name}.old")
        # Before there is anything to put back, lest an interrupt comes between.
        undo.callback(_put_back, old, target)
        try:
            os.link(target, old, follow_symlinks=False)
        except OSError:  # Not on every file system, nor for the file of another user.
            os.rename(target, old)
    os.replace(source, target)


def _put_back(old: Path, target: Path) -> None:
    if os.path.lexists(old):
        os.replace(old, target)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write one file under a temporary name, which is yielded, and rename it when complete."""
    with atomic_paths([path]) as (temporary,):
        yield temporary


def irregular_kind(path: str | os.PathLike[str]) -> str | None:
    """Tell whether a path may be read without end, or waits for a writer.

    ``"a device"``, ``"a pipe"`` or ``"a socket"``; `None` for files, folders and what does not exist.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return None
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return "a device"
    return "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else None

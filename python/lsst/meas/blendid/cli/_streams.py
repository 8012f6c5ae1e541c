# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Standard output and error that may be closed, full, or read by nobody."""

from __future__ import annotations

__all__ = ("tolerant_streams",)

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


class _Output(io.FileIO):
    """A file that keeps the first error, and takes what follows without writing it."""

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        if self.error is None:
            try:
                return super().write(data) or 0
            except BlockingIOError:
                raise
            except OSError as err:
                self.error = err
        return memoryview(data).nbytes


@contextlib.contextmanager
def tolerant_streams() -> Iterator[None]:
    """Let no message end the work that it is about.

    Whatever is printed while standard output is full or its reader has gone is left out. In the end the
    former is an error, for what was to be read is not complete; the latter, as in ``blendid ... | head``, and
    whatever standard error does, is none.

    Raises
    ------
    SystemExit
        Raised with status 1 if standard output could not be written.
    """
    # Only streams of the process, not what a test has put in their place; they are None where closed.
    ours = [name for name in ("stdout", "stderr") if getattr(sys, name) is getattr(sys, f"__{name}__")]
    _open_closed()
    before = {name: getattr(sys, name) for name in ours}
    outputs = {name: _Output(number, "w", closefd=False) for name, number in _numbers(ours)}
    for name, output in outputs.items():
        setattr(sys, name, _as_text(output, before[name]))
    ended: BaseException | None = None
    try:
        yield
    except BaseException as err:
        ended = err
        raise
    finally:
        for name in outputs:
            getattr(sys, name).flush()
        error = outputs["stdout"].error if "stdout" in outputs else None
        lost = error is not None and error.errno != errno.EPIPE
        if error is not None and lost:
            print(f"Error: standard output cannot be written ({error.strerror})", file=sys.stderr, flush=True)
        for name, stream in before.items():
            setattr(sys, name, stream)
        if lost and (ended is None or (isinstance(ended, SystemExit) and not ended.code)):
            raise SystemExit(1) from None


def _open_closed() -> None:
    """Open what is closed of the three standard files, lest an image is opened in its place.

    Then what a library prints would be written into the image.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)


def _numbers(names: list[str]) -> list[tuple[str, int]]:
    return [(name, {"stdout": 1, "stderr": 2}[name]) for name in names]


def _as_text(output: _Output, before: TextIO | None) -> io.TextIOWrapper:
    """Make a stream of text like another one, that can print any name of a file."""
    return io.TextIOWrapper(
        io.BufferedWriter(output),
        encoding=before.encoding if before is not None else "utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What the commands share: errors in one line, messages, and progress on the terminal."""

from __future__ import annotations

__all__ = (
    "CommandError",
    "MisuseError",
    "Settings",
    "announce",
    "check_name",
    "common_options",
    "describe_error",
    "get_settings",
    "make_output_folder",
    "pipeline_uri",
    "progress_bar",
    "show_log",
    "show_stages",
)

import logging
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from .._progress import listen_to_progress


class CommandError(click.ClickException):
    """A failure that is reported in one line; exit status 1."""

    exit_code = 1


class MisuseError(click.ClickException):
    """Arguments that make no sense together, reported in one line; exit status 2."""

    exit_code = 2


@dataclass
class Settings:
    """Options that every command takes: whether to show tracebacks, and whether to tell what is done."""

    debug: bool = False
    verbose: bool = False


def get_settings(ctx: click.Context | None = None) -> Settings:
    """Common options of the running command, or of a context, changed in place while they are parsed."""
    return (ctx or click.get_current_context()).find_root().ensure_object(Settings)


def _set_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        get_settings(ctx).debug = True


def _set_verbose(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        get_settings(ctx).verbose = True


class _TerminalHandler(logging.Handler):
    """Shows messages of the task as lines that name the input."""

    def __init__(self, prefix: str, write: Callable[[str], None]) -> None:
        super().__init__()
        self._prefix = f"{prefix}: " if prefix else ""
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.capitalize()}: "
        self._write(f"{level}{self._prefix}{record.getMessage()}")


@contextmanager
def show_log(logger_name: str, prefix: str, write: Callable[[str], None] | None = None) -> Iterator[None]:
    """Show what a logger is told on standard error: warnings, and with ``--verbose`` all of it.

    Lines begin with ``prefix`` if it is not empty, and go to ``write`` if that is given.
    """
    logger = logging.getLogger(logger_name)
    handler = _TerminalHandler(prefix, write or partial(announce, err=True))
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if get_settings().verbose else logging.WARNING)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


def common_options[F: Callable[..., Any]](function: F) -> F:
    """Add ``--debug`` and ``--verbose`` to a command, whose function does not see them."""
    for option in (
        click.option(
            "--debug",
            is_flag=True,
            expose_value=False,
            callback=_set_debug,
            help="Show the traceback of a failure.",
        ),
        click.option(
            "-v",
            "--verbose",
            is_flag=True,
            expose_value=False,
            callback=_set_verbose,
            help="Tell what is done and assumed.",
        ),
    ):
        function = option(function)
    return function


def describe_error(err: BaseException) -> str:
    """Describe an exception in one line: by its message, and by its class if that alone would not tell."""
    # Errors of pex_config go on for several lines about where fields are defined.
    text = " ".join(str(err).split("\nFor more information")[0].split())
    if isinstance(err, OSError) and err.strerror:
        where = f"{err.filename}: " if err.filename else ""
        return f"{where}{err.strerror}"
    if isinstance(err, KeyError):
        text = " ".join(str(err.args[0]).split()) if err.args else ""
    if isinstance(err, ImportError):
        if "pip install" in text:  # It tells the remedy itself.
            return text
        return f"{text}; install the extra that brings it, or everything with 'make'"
    # Errors of these classes are about the input; others are about the program.
    expected = isinstance(err, (ValueError, OSError)) or type(err).__module__.startswith("lsst.")
    if expected and len(text) > 10:
        return text
    return f"unexpected {type(err).__name__}: {text} (--debug shows the traceback)"


def check_name(name: str) -> None:
    """Refuse, as misuse, the name of a file that is not UTF-8, which not every library can open."""
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = name.encode(errors="backslashreplace").decode()
        raise MisuseError(f"{shown} is not valid UTF-8; give the file or folder another name") from None


def make_output_folder(path: Path) -> None:
    """Make a folder for output, if need be, and see whether files can be written to it.

    Raises `CommandError`, before any work is done, if not.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=".blendid", dir=path):
            pass
    except OSError as err:
        reason = "is a file" if path.exists() and not path.is_dir() else err.strerror
        raise CommandError(f"output folder {path} cannot be written ({reason}); choose another one") from err


def announce(text: str, *, err: bool = False) -> None:
    """Print a line while a progress bar may stand on the terminal."""
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    click.echo(text, err=err)


@contextmanager
def progress_bar[T](items: Iterable[T], label: str, length: int | None = None) -> Iterator[Iterable[T]]:
    """Show progress on standard error if that is a terminal and there is more than one item.

    The items come back as they are; ``length`` is how many, if they cannot tell.
    """
    if not sys.stderr.isatty() or length == 1:
        yield items
        return
    with click.progressbar(items, length=length, label=label, show_pos=True, file=sys.stderr) as bar:
        yield bar


_SHARES = {"features": (0.25, 0.45), "pairs of sources": (0.45, 0.95)}
"""Where the stages that take longest, and say how far they are, begin and end in the time of an image."""

_PATIENCE = 2.0
"""Seconds before anything is shown: most images are done sooner."""

_PAUSE = 0.2


@contextmanager
def show_stages(name: str) -> Iterator[None]:
    """Show the stage of the work on an image, and a time left, if standard error is a terminal."""
    # Of several processes none has the line for itself.
    if not sys.stderr.isatty() or multiprocessing.parent_process() is not None:
        yield
        return
    start = time.monotonic()
    last = ("", start)

    def show(stage: str, done: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - start < _PATIENCE or (stage == last[0] and now - last[1] < _PAUSE):
            return
        last = (stage, now)
        left = ""
        if stage in _SHARES and done > 0.0:
            low, high = _SHARES[stage]
            share = low + done * (high - low)
            left = f", about {(now - start) * (1.0 - share) / share:.0f} s left"
        sys.stderr.write(f"\r\033[K{name}: {stage}{left}")
        sys.stderr.flush()

    try:
        with listen_to_progress(show):
            yield
    finally:
        if last[0]:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def pipeline_uri(name: str = "blendid.yaml") -> str:
    """Name a pipeline of ``pipelines/`` as ``pipetask`` and ``bps`` find it wherever the package is."""
    return f"resource://lsst.meas.blendid/pipelines/{name}"

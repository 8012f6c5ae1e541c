# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Entry point of the command line: finds commands, reports their errors, and minds interrupts and streams."""

from __future__ import annotations

__all__ = ("keep_interrupts", "main", "tolerant_streams")

import _thread
import errno
import importlib
import io
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import click

from .._suggest import did_you_mean
from ._common import CommandError, MisuseError, check_name, common_options, describe_error, get_settings

_COMMANDS = {
    "run": "Find footprints in images and the probability that each is a blend.",
    "annotate": "Write probabilities and peaks into a catalogue of lsst.afw.",
    "show": "Draw footprints of an image that was run: pixels, peaks, how many galaxies.",
    "models": "Show the trained models that can be used.",
    "demo": "Show the whole task at work on simulated coadds, with a report.",
    "simulate": "Make coadds with known galaxies.",
    "stamps": "Make the sets of postage stamps of other systems.",
    "train": "Train a classifier and write it as a model package.",
    "evaluate": "Score models on scenes whose galaxies are known.",
    "compile": "Compile all loops once, for every user of this installation.",
    "where": "Print the folder that has pipelines/, config/ and models/.",
}
"""Commands in the order of the help, with their summary.  The command NAME is
the attribute NAME of the module of that name in this package."""


_DELAY = 0.05
"""Time until an interrupt comes again [s]: what swallowed it should have returned by then."""


@contextmanager
def keep_interrupts() -> Iterator[None]:
    """Interrupt again where an interrupt was swallowed.

    Python can only print an exception that is raised in a callback from compiled code, as LLVM makes while
    loops are compiled, or while an object is deleted; a `KeyboardInterrupt` there would stop nothing.
    """
    before = sys.unraisablehook
    timers: list[threading.Timer] = []

    def hook(unraisable: Any) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            before(unraisable)
            return
        timer = threading.Timer(_DELAY, _thread.interrupt_main)
        timer.daemon = True
        timers.append(timer)
        timer.start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
        for timer in timers:
            timer.cancel()


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


@contextmanager
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


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Show warnings of libraries as users know those of commands, without file and line of a program."""
    usual = warnings.formatwarning

    def format_line(message: Warning | str, *_args: Any, **_options: Any) -> str:
        return f"Warning: {' '.join(str(message).split())}\n"

    warnings.formatwarning = format_line
    try:
        yield
    finally:
        warnings.formatwarning = usual


class _LazyGroup(click.Group):
    """A group that imports a command when it is called and turns errors into one line."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **more: Any) -> Any:
        arguments = list(sys.argv[1:] if args is None else args)
        with tolerant_streams():
            try:
                _check_arguments(arguments)
            except MisuseError as err:
                if not more.get("standalone_mode", True):
                    raise
                err.show()
                sys.exit(err.exit_code)
            return super().main(arguments, *rest, **more)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        return getattr(importlib.import_module(f".{cmd_name}", __package__), cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}{did_you_mean(args[0], _COMMANDS)}.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # The summaries are at hand: importing every command for them would be slow.
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with keep_interrupts(), _warnings_in_one_line():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("Interrupted; no half-written file was left behind.", err=True)
            raise click.exceptions.Exit(130) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as err:
            if get_settings(ctx).debug:
                raise
            raise CommandError(describe_error(err)) from err


def _check_arguments(arguments: Sequence[str]) -> None:
    """Refuse what names no file in any command, before anything is done."""
    for before, argument in zip(("", *arguments), arguments, strict=False):
        check_name(argument)
        option, sign, value = argument.partition("=") if argument.startswith("--") else (before, "", argument)
        if not value.strip() and (sign or not argument.strip()):
            after = f" after {option}" if option.startswith("-") else ""
            raise MisuseError(f"there is an empty argument{after}; give a name or a value, or leave it out")


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit status: 0 done, 1 failed, 2 misused, 130 interrupted.",
)
@click.version_option(package_name="lsst-meas-blendid", prog_name="blendid")
@common_options
def main() -> None:
    """Calibrated probabilities that detections in coadds are blended.

    \b
    Examples:
      blendid run coadd.fits --out tables
      blendid run image.fits --psf-fwhm 0.7 --pixel-scale 0.2 --out tables
      blendid demo
    """  # noqa: D301

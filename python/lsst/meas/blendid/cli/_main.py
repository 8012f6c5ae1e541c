# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Entry point of the command line: finds commands and reports their errors."""

from __future__ import annotations

__all__ = ("main",)

import importlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from .._suggest import did_you_mean
from ._common import CommandError, MisuseError, check_name, common_options, describe_error, get_settings
from ._interrupt import keep_interrupts
from ._streams import tolerant_streams

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

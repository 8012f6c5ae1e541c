# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What of the options of ``blendid train`` makes no sense together, or could not work after an hour."""

from __future__ import annotations

__all__ = ("check_fit", "check_options", "check_output")

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._common import CommandError, MisuseError, describe_error, make_output_folder
from ._train_options import TrainOptions

if TYPE_CHECKING:
    from ..trained_plugin import TrainedPlugin


def check_options(o: TrainOptions) -> None:
    """Refuse options that make no sense together.

    Parameters
    ----------
    o
        The options.

    Raises
    ------
    click.UsageError
        Raised for options that exclude each other.
    MisuseError
        Raised if there are tables without coadds.
    """
    if o.localizer is not None:
        _check_localizer(o)
    simulated = o.scenes is not None or o.n_parametric is not None
    kinds = {
        "--coadd": bool(o.coadds or o.tables or o.labels),
        "--butler": o.butler is not None,
        "--stamps": bool(o.stamp_sets),
        "--like": o.like is not None,
    }
    given = [name for name, use in kinds.items() if use]
    if len(given) > 1 or (given and simulated and given != ["--like"]) or (o.like and o.scenes):
        raise click.UsageError(
            "--coadd, --butler, --stamps, --like and simulated scenes (--scenes, --parametric) exclude each "
            "other; only --parametric goes with --like"
        )
    for names, use, condition in (
        ("--test-stamps and --stamp-noise go with --stamps", o.test_sets or o.levels, o.stamp_sets),
        (
            "--sizes, --simulated-fwhm and --visits go with --no-dial",
            o.sizes or o.fwhm or o.visits,
            not o.dial,
        ),
        ("--no-dial goes with simulated scenes, not with --like", not o.dial, not given),
        ("--zero-point goes with --like", o.zero_point is not None, o.like),
        ("--band goes with simulated scenes", o.band, not given or o.like),
        ("--collections and --where go with --butler", o.collections or o.where, o.butler),
        (
            "--psf-fwhm and --pixel-scale go with --coadd and --like",
            o.psf_fwhm or o.pixel_scale,
            o.coadds or o.like,
        ),
        ("--noise goes without --stamps, whose noise is known", o.noise, not o.stamp_sets),
    ):
        if use and not condition:
            raise click.UsageError(names)
    if o.folds == 1:
        raise click.UsageError("--folds 1 leaves nothing to learn from; give 2 or more, or 0 for none")
    if o.butler is not None and not o.collections:
        raise click.UsageError("--butler needs --collections")
    if o.stamp_sets and o.validation_scenes:
        raise click.UsageError("--validation-scenes goes without --stamps, which have their own")
    if o.tables and o.labels:
        raise click.UsageError("--truth and --labels exclude each other")
    if (o.tables or o.labels) and not o.coadds:
        raise MisuseError("--truth and --labels go with --coadd")


def _check_localizer(o: TrainOptions) -> None:
    """Refuse options that are of no use to a localiser."""
    for names, given, reason in (
        ("--classifier", o.classifier is not None, "which are trained one by one"),
        ("--from", o.start is not None, "which learns anew from scenes"),
        ("--labels", bool(o.labels), "which learns from places of galaxies: give --truth tables"),
        ("--stamps", bool(o.stamp_sets), "which learns from coadds"),
        ("--calibration", "--calibration" in o.given, "whose probabilities are calibrated in its fit"),
        ("--folds", "--folds" in o.given, "which is scored on scenes that are held out"),
        ("--checkpoints", o.checkpoints is not None, "which is fitted at one go"),
    ):
        if given:
            raise click.UsageError(f"{names} goes without --localizer, {reason}")


def check_output(path: Path, overwrite: bool) -> None:
    """Refuse an output that could not be written or used after minutes of training.

    Parameters
    ----------
    path
        File to write.
    overwrite
        Whether an older one may be replaced.

    Raises
    ------
    MisuseError
        Raised if it is no name of a model package.
    CommandError
        Raised if it exists or its folder cannot be written.
    """
    if not path.name.removesuffix(".blendid") or not path.name.endswith(".blendid"):
        raise MisuseError(f"--out {path}: the name of a model package ends with .blendid")
    if path.is_dir():
        raise MisuseError(f"--out {path} is a folder; give the file to write")
    if path.exists() and not overwrite:
        raise CommandError(f"{path} exists; choose another --out or give --overwrite")
    make_output_folder(path.parent)


def check_fit(plugin: TrainedPlugin, *, goes_on: bool) -> None:
    """Refuse to start what lacks something that it is fitted with.

    Parameters
    ----------
    plugin
        The classifier or localiser before its fit.
    goes_on
        Whether it goes on from a model.

    Raises
    ------
    MisuseError
        Raised if its config lacks something.
    CommandError
        Raised if a library is not installed.
    """
    try:
        plugin.check_fit(goes_on=goes_on)
    except ValueError as err:
        raise MisuseError(describe_error(err)) from err
    except ImportError as err:
        raise CommandError(describe_error(err)) from err

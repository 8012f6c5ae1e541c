# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""``blendid train``: a model package from simulated scenes, coadds with known galaxies, or stamps."""

from __future__ import annotations

__all__ = ("TrainOptions", "train")

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ._common import CommandError, MisuseError, announce, common_options, make_output_folder
from ._data import DataOptions, data_options
from ._options import REPLACED, CommandWithHints, config_option, jobs_option, overwrite_option, seed_option

_PATH = click.Path(path_type=Path)
_NOT_DESCRIBED = ("path", "checkpoints", "jobs", "overwrite")
_FILES = ("data", "tables", "labels", "validation", "like", "start")


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What was asked for."""

    data: DataOptions
    classifier: str | None
    localizer: str | None
    path: Path
    start: str | None
    like: str | None
    validation: tuple[str, ...]
    settings: tuple[str, ...]
    config_options: tuple[str, ...]
    seed: int
    checkpoints: Path | None
    jobs: int

    given: dict[str, Any]
    """What was given on the command line, JSON-compatible: files by their names, and without where
    the output goes."""

    @property
    def model_name(self) -> str:
        """Name of the model: that of its file (`str`)."""
        return self.path.name.removesuffix(".blendid")


@click.command(cls=CommandWithHints, replaced=REPLACED["train"])
@click.option(
    "--classifier",
    metavar="NAME",
    help="Classifier to train: logistic, features, cnn and so on, or a plugin's; with --from, that of the "
    "package.",
)
@click.option(
    "--localizer",
    metavar="NAME",
    help="Instead of a classifier train this localizer: centers, regression, peaks, or a plugin's.",
)
@click.option(
    "-o",
    "--out",
    "path",
    metavar="PACKAGE",
    type=_PATH,
    help="File to write; its name, which ends with .blendid, becomes that of the model.",
)
@click.option(
    "--from",
    "start",
    metavar="NAME|PATH",
    help="Go on from this model: fine-tune it to the given footprints, of which a few hundred do.",
)
@click.option(
    "--like",
    metavar="FITS",
    help="Simulate skies with the seeing, noise and depth of this coadd, for a model of its own.",
)
@click.option(
    "--validation",
    metavar="DATA",
    multiple=True,
    help="Stop early, calibrate and score on these, instead of a fifth as many other skies, or a fifth of "
    "the given coadds.",
)
@data_options(labels=True)
@click.option(
    "--set",
    "settings",
    metavar="NAME=VALUE",
    multiple=True,
    help="Setting of the classifier or localizer that is not the default one, such as cutout.size=31 or "
    "trees.n_trees=200; repeat for several.",
)
@config_option(
    "Override of how the data are labelled and the model is scored, such as snrMin=4, nFolds=10 or "
    "calibration=platt; of the footprints, such as footprints.thresholdValue=6; or of what a localizer "
    "builds on, such as mapPackage=centers-i-1."
)
@click.option(
    "--checkpoints",
    metavar="DIR",
    type=_PATH,
    help="Folder for checkpoints, the log and the loss curves, made if need be.  A command that was killed "
    "goes on from there when it is repeated.",
)
@seed_option("Seed of the fit, and of the skies that are simulated without DATA.")
@jobs_option("Scenes to simulate or read, with the same model for any number,")
@overwrite_option()
@common_options
def train(overwrite: bool, path: Path | None, **values: Any) -> None:
    """Train a classifier, or a localizer, and write it as a model package.

    DATA is what it learns from: skies by a recipe that 'blendid simulate
    --recipe' wrote, coadds (files, folders, patterns) with tables of their
    galaxies beside them, as 'blendid simulate --out' writes them, a Butler
    repository, or sets of 'blendid stamps'.  Without DATA, 16 skies are
    simulated, each with galaxies, seeing and depth of its own, so that one
    model holds for many.  Use the model with 'blendid run --model PACKAGE'.

    \b
    Examples:
      blendid train --classifier logistic --out my.blendid
      blendid train skies.json --classifier features --out my.blendid
      blendid train --classifier features --out patch.blendid --like coadd.fits
      blendid train hsc.fits --labels labels.ecsv --from my.blendid --out hsc.blendid
      blendid train skies.json --classifier cnn --out cnn.blendid --checkpoints work
      blendid train REPO --collections sim --classifier logistic --out my.blendid
      blendid train scenes/ --classifier peaks --out my.blendid
      blendid train bh/ --classifier logistic --out my.blendid -c stampNoise=15
      blendid train --localizer centers --out my-localizer.blendid
    """  # noqa: D301
    if path is None or all(values[name] is None for name in ("classifier", "localizer", "start")):
        raise click.UsageError(
            "--classifier and --out are needed, or --localizer and --out, or --from and --out"
        )
    o = TrainOptions(path=path, given=_find_given(), **values)
    _check_options(o)
    _check_output(o.path, overwrite)

    from ._training import ClassifierTraining, LocalizerTraining

    try:
        (ClassifierTraining(o) if o.localizer is None else LocalizerTraining(o)).run()
    except KeyboardInterrupt:
        if o.checkpoints is not None:
            announce(
                f"Checkpoints are in {o.checkpoints}; repeat the command to go on from the last one.",
                err=True,
            )
        raise


def _find_given() -> dict[str, Any]:
    """What was given on the command line of the running command."""
    context = click.get_current_context()
    given: dict[str, Any] = {}
    for parameter in context.command.params:
        name = parameter.name or ""
        value = context.params.get(name)
        from_line = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if not from_line or name in _NOT_DESCRIBED or name not in context.params:
            continue
        if name in _FILES:
            value = [Path(v).name for v in value] if isinstance(value, tuple) else Path(str(value)).name
        given["DATA" if name == "data" else parameter.opts[-1]] = (
            list(value) if isinstance(value, tuple) else value
        )
    return given


def _check_options(o: TrainOptions) -> None:
    """Refuse options that make no sense together."""
    if o.localizer is not None:
        for names, refused, reason in (
            ("--classifier", o.classifier is not None, "which are trained one by one"),
            ("--from", o.start is not None, "which learns anew from scenes"),
            ("--labels", bool(o.data.labels), "which learns from places of galaxies: give --truth tables"),
        ):
            if refused:
                raise click.UsageError(f"{names} goes without --localizer, {reason}")


def _check_output(path: Path, overwrite: bool) -> None:
    """Refuse an output that could not be written or used after minutes of training."""
    if not path.name.removesuffix(".blendid") or not path.name.endswith(".blendid"):
        raise MisuseError(f"--out {path}: the name of a model package ends with .blendid")
    if path.is_dir():
        raise MisuseError(f"--out {path} is a folder; give the file to write")
    if path.exists() and not overwrite:
        raise CommandError(f"{path} exists; choose another --out or give --overwrite")
    make_output_folder(path.parent)

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Options of ``blendid train``."""

from __future__ import annotations

__all__ = ("TrainOptions", "train_options")

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

from ._options import SceneNumbers, config_option, jobs_option


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What was asked for; a field for each option of `train_options`."""

    classifier: str | None
    localizer: str | None
    path: Path | None
    start: str | None
    n_parametric: int | None
    scenes: tuple[int, ...] | None
    truths: str | None
    dial: bool
    like: str | None
    zero_point: float | None
    band: str | None
    sizes: tuple[str, ...]
    fwhm: float | None
    visits: int | None
    draws: int
    size: int
    coadds: tuple[str, ...]
    tables: tuple[str, ...]
    labels: tuple[str, ...]
    psf_fwhm: float | None
    pixel_scale: float | None
    butler: str | None
    collections: str | None
    where: str
    coadd_dataset: str
    truth_dataset: str | None
    stamp_sets: tuple[str, ...]
    test_sets: tuple[str, ...]
    levels: tuple[float, ...]
    unit: Literal["stamp", "footprint"]
    snr_min: float
    noise: str | None
    validation_scenes: tuple[int, ...] | None
    validation_share: float
    folds: int
    calibration: str
    seed: int
    checkpoints: Path | None
    log: Path | None
    settings: tuple[str, ...]
    config_options: tuple[str, ...]
    jobs: int
    overwrite: bool

    given: dict[str, Any]
    """What was given on the command line, JSON-compatible: files by their names, and without where
    the output goes."""

    @property
    def model_name(self) -> str:
        """Name of the model: that of its file."""
        assert self.path is not None
        return self.path.name.removesuffix(".blendid")


_PATH = click.Path(path_type=Path)
_NUMBER = click.IntRange(min=1)
_ARCSEC = click.FloatRange(min=0.0, min_open=True)
_NOT_DESCRIBED = ("path", "checkpoints", "jobs", "log", "overwrite", "truths")
_FILES = ("coadds", "tables", "labels", "stamp_sets", "test_sets", "like", "butler", "start")


def _option(
    flag: str, name: str, text: str, *short: str, **settings: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(*short, flag, name, help=text, **settings)


_OPTIONS = (
    _option(
        "--classifier",
        "classifier",
        "Classifier to train: logistic, features, cnn and so on, or a plugin's; with --from, that of the "
        "package.",
        metavar="NAME",
    ),
    _option(
        "--localizer",
        "localizer",
        "Instead of a classifier train this localizer: centers, regression, peaks, or a plugin's.",
        metavar="NAME",
    ),
    _option(
        "--out",
        "path",
        "File to write; its name, which ends with .blendid, becomes that of the model.",
        "-o",
        metavar="PACKAGE",
        type=_PATH,
    ),
    _option(
        "--from",
        "start",
        "Go on from this model: fine-tune it to the given footprints, of which a few hundred do.",
        metavar="NAME|PATH",
    ),
    _option(
        "--parametric",
        "n_parametric",
        "Simulate N skies from the built-in catalogue; 16 if nothing else is given.",
        metavar="N",
        type=_NUMBER,
    ),
    _option(
        "--scenes",
        "scenes",
        "Simulate these truth scenes of Buchanan et al. 2022 (of 1,2,3,5, the training sky); alone, or with "
        "--parametric.",
        type=SceneNumbers("1,2,3,5"),
    ),
    _option(
        "--truths", "truths", "Folder of the truth scenes; by default that of $BLENDID_DATA.", metavar="DIR"
    ),
    _option(
        "--dial/--no-dial",
        "dial",
        "Simulate each scene in a universe of its own: galaxy sizes from those of cosmoDC2 to three times as "
        "large, seeing of 0.6 to 1.4 arcsec, 10 to 400 visits; or all in one, that of --sizes, "
        "--simulated-fwhm and --visits.",
        default=True,
        show_default=True,
    ),
    _option(
        "--like",
        "like",
        "Simulate scenes with the seeing, noise and depth of this coadd, for a model of its own.",
        metavar="FITS",
    ),
    _option(
        "--zero-point",
        "zero_point",
        "AB magnitude of one unit of the --like coadd, if its file does not tell.",
        metavar="MAG",
        type=float,
    ),
    _option(
        "--band", "band", "Band to simulate; that of the --like coadd, or i, by default.", metavar="NAME"
    ),
    _option(
        "--sizes",
        "sizes",
        "With --no-dial: galaxy sizes to simulate each sky with, cosmodc2, 1.6x and large by default; repeat "
        "for several.",
        metavar="MODEL",
        multiple=True,
    ),
    _option("--simulated-fwhm", "fwhm", "With --no-dial: seeing FWHM.", metavar="ARCSEC", type=_ARCSEC),
    _option("--visits", "visits", "With --no-dial: exposures to simulate.", metavar="N", type=_NUMBER),
    _option(
        "--draws",
        "draws",
        "Draws of each truth scene, or with --no-dial of each sky, with other shapes and noise.",
        default=1,
        type=_NUMBER,
        show_default=True,
    ),
    _option(
        "--size",
        "size",
        "Side of a simulated scene, pixels.",
        default=2048,
        type=click.IntRange(min=32),
        show_default=True,
    ),
    _option(
        "--coadd",
        "coadds",
        "Learn from this coadd, or those of a folder or of a pattern such as 'scenes/*.fits'; repeat for "
        "several.",
        metavar="FITS",
        multiple=True,
    ),
    _option(
        "--truth",
        "tables",
        "Its true galaxies: columns x, y (parent pixels), snr or flux; one for each --coadd, in order, or a "
        "folder or a pattern.  By default the table STEM.truth.* beside each coadd STEM.fits.",
        metavar="TABLE",
        multiple=True,
    ),
    _option(
        "--labels",
        "labels",
        "Instead of the truths: numbers of galaxies of some of the footprints, columns x, y (a pixel of the "
        "footprint) and n_galaxies; footprints without are left out.  Files as for --truth.",
        metavar="TABLE",
        multiple=True,
    ),
    _option(
        "--psf-fwhm",
        "psf_fwhm",
        "Seeing FWHM of the given coadds, if they have no PSF.",
        metavar="ARCSEC",
        type=_ARCSEC,
    ),
    _option(
        "--pixel-scale",
        "pixel_scale",
        "Pixel size of the given coadds without WCS.",
        metavar="ARCSEC",
        type=_ARCSEC,
    ),
    _option("--butler", "butler", "Learn from the coadds of this Butler repository.", metavar="REPO"),
    _option("--collections", "collections", "Its collections, separated by commas.", metavar="C,C,…"),
    _option(
        "--where",
        "where",
        "Expression that chooses among its coadds, such as \"tract = 0 AND band = 'i'\".",
        default="",
        metavar="EXPR",
    ),
    _option(
        "--coadd-dataset",
        "coadd_dataset",
        "Dataset type of its coadds.",
        default="deep_coadd",
        metavar="NAME",
        show_default=True,
    ),
    _option(
        "--truth-dataset",
        "truth_dataset",
        "Dataset type of their truth tables; by default that of the coadds with _truth appended.",
        metavar="NAME",
    ),
    _option(
        "--stamps",
        "stamp_sets",
        "Learn from the training stamps of this set of 'blendid stamps', and score the model on its "
        "validation stamps; repeat for several.",
        metavar="DIR",
        multiple=True,
    ),
    _option(
        "--test-stamps",
        "test_sets",
        "Tell how the model does on the test stamps of this set; repeat for several.",
        metavar="DIR",
        multiple=True,
    ),
    _option(
        "--stamp-noise",
        "levels",
        "Noise per pixel to add to stamps that have none; repeat to take each stamp with several.  By "
        "default what the set names, dealt out to the stamps.",
        metavar="SIGMA",
        multiple=True,
        type=click.FloatRange(min=0.0, min_open=True),
    ),
    _option(
        "--unit",
        "unit",
        "What of stamps is classified: each as a whole, or the footprints in it, as in coadds.",
        default="stamp",
        type=click.Choice(["stamp", "footprint"]),
        show_default=True,
    ),
    _option(
        "--snr-min",
        "snr_min",
        "Galaxies with a smaller point-source S/N do not count.",
        default=5.0,
        type=click.FloatRange(min=0.0),
        show_default=True,
    ),
    _option(
        "--noise",
        "noise",
        "Where footprints take the noise from: clipped, the pixels (as 'run' does for images without "
        "variance plane), variance, that plane, or both in turn, so that the model holds for both.  "
        "Default: what 'run' takes for a given coadd and for that of --like; for simulated scenes both, or "
        "with --from that of the model.",
        type=click.Choice(["clipped", "variance", "both"]),
    ),
    _option(
        "--validation-scenes",
        "validation_scenes",
        "Truth scenes to score the model on (of 4,7,8) instead of some of the other ones.",
        type=SceneNumbers("1,2,3,5"),
    ),
    _option(
        "--validation-share",
        "validation_share",
        "Scenes to stop early, to calibrate and to score the model on: as many more of the simulated ones, "
        "or so many of the given coadds, from four on.",
        default=0.2,
        metavar="SHARE",
        type=click.FloatRange(min=0.0, max=0.5),
        show_default=True,
    ),
    _option(
        "--folds",
        "folds",
        "Folds of sky to cross-validate the model with, for its scores, where no coadd is held out; 0 for "
        "no such scores.",
        default=5,
        metavar="N",
        type=click.IntRange(min=0, max=20),
        show_default=True,
    ),
    _option(
        "--calibration",
        "calibration",
        "How probabilities are calibrated on the validation scenes.",
        default="beta",
        type=click.Choice(["none", "beta", "platt", "temperature", "isotonic"]),
        show_default=True,
    ),
    _option(
        "--seed", "seed", "Seed of scenes and fit.", default=1, type=click.IntRange(min=0), show_default=True
    ),
    _option(
        "--checkpoints",
        "checkpoints",
        "Folder for checkpoints, made if need be.  A command that was killed goes on from there when it is "
        "repeated.",
        metavar="DIR",
        type=_PATH,
    ),
    _option(
        "--log",
        "log",
        "Folder for NAME.log.jsonl, what happened when, and NAME.loss.png, the loss curves.",
        metavar="DIR",
        type=_PATH,
    ),
    _option(
        "--set",
        "settings",
        "Setting of the classifier or localizer that is not the default one, such as cutout.size=31 or "
        "trees.n_trees=200; repeat for several.",
        metavar="NAME=VALUE",
        multiple=True,
    ),
    config_option(
        "Override of a field of the config of the footprints, such as footprints.thresholdValue=6, or of "
        "what a localizer builds on, such as mapPackage=centers-i-1.",
    ),
    jobs_option("Scenes to simulate or read, with the same model for any number,"),
    _option("--overwrite", "overwrite", "Replace an older file of that name.", default=False, is_flag=True),
)


def train_options(function: Callable[[TrainOptions], None]) -> Callable[..., None]:
    """Add the options to a command.

    Parameters
    ----------
    function
        Function that takes them as one argument.

    Returns
    -------
    function
        The same as click calls it.
    """

    @functools.wraps(function)
    def call(**values: Any) -> None:
        function(TrainOptions(**values, given=_find_given()))

    decorated: Callable[..., None] = call
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def _find_given() -> dict[str, Any]:
    """What was given on the command line of the running command."""
    context = click.get_current_context()
    given: dict[str, Any] = {}
    for parameter in context.command.params:
        name = parameter.name or ""
        if context.get_parameter_source(name) is not click.core.ParameterSource.COMMANDLINE:
            continue
        value = context.params.get(name)
        if name in _NOT_DESCRIBED or name not in context.params:
            continue
        if name in _FILES:
            value = [Path(v).name for v in value] if isinstance(value, tuple) else Path(str(value)).name
        flag = parameter.opts[-1] if value is not False else parameter.secondary_opts[-1]
        given[flag] = list(value) if isinstance(value, tuple) else value
    return given

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Options that several commands have, each declared once: one name, one unit, one meaning."""

from __future__ import annotations

__all__ = (
    "REPLACED",
    "CommandWithHints",
    "Decorator",
    "SceneNumbers",
    "any_band_option",
    "butler_options",
    "config_file_option",
    "config_option",
    "image_options",
    "jobs_option",
    "model_option",
    "output_folder_option",
    "overwrite_option",
    "seed_option",
    "visits_option",
)

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

type Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
"""What adds options to the function of a command, which gets an argument for each."""

_ARCSEC = click.FloatRange(min=0.0, min_open=True)

_SIMULATE = "blendid simulate --recipe skies.json"

REPLACED: dict[str, dict[str, str]] = {
    "run": {},
    "train": {
        "--coadd": "name coadds, folders or patterns as DATA: blendid train COADD",
        "--butler": "name the repository as DATA: blendid train REPO --collections C",
        "--stamps": "name the set as DATA: blendid train SET",
        "--parametric": f"make a recipe of skies and name it as DATA: {_SIMULATE} --skies N --vary",
        "--scenes": f"make a recipe of skies and name it as DATA: {_SIMULATE} --scenes 1,2,3,5 --vary",
        "--truths": "set the environment variable BLENDID_DATA to the folder of the truth scenes",
        "--dial": f"simulated skies differ in galaxies, seeing and depth by {_SIMULATE} --vary",
        "--no-dial": f"make a recipe of skies and name it as DATA: {_SIMULATE} --skies N",
        "--band": f"make a recipe of skies and name it as DATA: {_SIMULATE} --vary --band BAND",
        "--sizes": f"make a recipe of skies and name it as DATA: {_SIMULATE} --sizes MODEL",
        "--simulated-fwhm": f"make a recipe of skies and name it as DATA: {_SIMULATE} --psf-fwhm ARCSEC",
        "--visits": f"make a recipe of skies and name it as DATA: {_SIMULATE} --visits N",
        "--draws": f"make a recipe of skies and name it as DATA: {_SIMULATE} --draws N",
        "--size": f"make a recipe of skies and name it as DATA: {_SIMULATE} --vary --size PIXELS",
        "--validation-scenes": f"{_SIMULATE} --scenes 4,7,8 --vary, and --validation skies.json",
        "--validation-share": "-c validationShare=SHARE",
        "--folds": "-c nFolds=N",
        "--calibration": "-c calibration=METHOD",
        "--snr-min": "-c snrMin=SNR",
        "--noise": "-c noise=clipped, variance or both",
        "--stamp-noise": "-c stampNoise=SIGMA,SIGMA",
        "--unit": "-c stampUnit=footprint",
        "--test-stamps": "blendid evaluate SET --model PACKAGE",
        "--coadd-dataset": "-c coaddDataset=NAME",
        "--truth-dataset": "-c truthDataset=NAME",
        "--log": "--checkpoints DIR, where the log and the loss curves are as well",
    },
    "evaluate": {
        "--coadd": "name coadds, folders or patterns as DATA: blendid evaluate COADD --out DIR",
        "--stamps": "name the set as DATA: blendid evaluate SET --out DIR",
        "--parametric": f"make a recipe of skies and name it as DATA: {_SIMULATE} --skies N",
        "--dial": f"make a recipe of skies and name it as DATA: {_SIMULATE} --skies N --vary",
        "--scenes": f"make a recipe of skies and name it as DATA: {_SIMULATE} --scenes 0,6,9",
        "--split": f"make a recipe of skies and name it as DATA: {_SIMULATE} --scenes 0,6,9 --split test",
        "--baseline-scenes": f"{_SIMULATE} --scenes 1,2,3,5, and --baseline skies.json",
        "--truths": "set the environment variable BLENDID_DATA to the folder of the truth scenes",
        "--sizes": f"make a recipe of skies and name it as DATA: {_SIMULATE} --sizes MODEL",
        "--draws": f"make a recipe of skies and name it as DATA: {_SIMULATE} --draws N",
        "--size": f"make a recipe of skies and name it as DATA: {_SIMULATE} --size PIXELS",
        "--band": f"make a recipe of skies and name it as DATA: {_SIMULATE} --band BAND",
        "--visits": f"make a recipe of skies and name it as DATA: {_SIMULATE} --visits N",
        "--seed": f"make a recipe of skies and name it as DATA: {_SIMULATE} --seed N",
        "--sep": "--model sep, beside the other models",
        "--snr-min": "-c snrMin=SNR",
        "--noise": "-c noise=clipped or variance",
        "--stamp-noise": "-c stampNoise=SIGMA",
        "--unit": "-c stampUnit=footprint",
    },
    "simulate": {},
}
"""Options that the last release had, by command, and what to give instead; for one release."""


class CommandWithHints(click.Command):
    """A command that says what has replaced an option which it no longer has: ``replaced``, by option."""

    def __init__(self, *args: Any, replaced: Mapping[str, str], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._replaced = replaced

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as err:
            if err.option_name not in self._replaced:
                raise
            text = f"there is no option {err.option_name} any more: {self._replaced[err.option_name]}"
            raise click.UsageError(text, ctx) from err


class SceneNumbers(click.ParamType):
    """Numbers of scenes separated by commas; errors name an example."""

    name = "N,N,…"

    def __init__(self, example: str) -> None:
        self._example = example

    def convert(
        self, value: str | tuple[int, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):  # A default, which click converts as well.
            return value
        try:
            return tuple(int(text) for text in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of scene numbers such as {self._example}", param, ctx)


def _check_finite(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """Refuse nan and inf, which click takes for numbers."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not finite")
    return value


def _all(*options: Decorator) -> Decorator:
    """Make one decorator of several; in help they stand in the order given."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _names(name: str, alias: str) -> tuple[str, ...]:
    """Names of an option: the second one, if it is another, is for those who know it from before."""
    return (name,) if name == alias else (name, alias)


image_options = _all(
    click.option(
        "--psf-fwhm",
        metavar="ARCSEC",
        type=_ARCSEC,
        help="Seeing FWHM of images whose file has no readable PSF; replaces that of a file that has one.",
    ),
    click.option(
        "--pixel-scale", metavar="ARCSEC", type=_ARCSEC, help="Pixel size; by default that of the WCS."
    ),
    click.option(
        "--zero-point",
        metavar="MAG",
        type=float,
        callback=_check_finite,
        help="AB magnitude of one unit of the pixels; by default as calibration and unit of the file tell.",
    ),
)
"""How files of images are read where they do not tell it themselves: ``psf_fwhm``, ``pixel_scale`` and
``zero_point``."""


butler_options = _all(
    click.option("--collections", metavar="C,C,…", help="Collections of a repository, separated by commas."),
    click.option(
        "--where",
        metavar="EXPR",
        default="",
        help="Expression that chooses among its coadds, such as \"tract = 0 AND band = 'i'\".",
    ),
)
"""What is read of a repository: ``collections`` and ``where``."""


def output_folder_option(text: str, name: str = "out", *, required: bool = True) -> Decorator:
    """Make the option ``--out`` of a command that writes files of several names into a folder."""
    return click.option(
        "-o",
        "--out",
        name,
        metavar="DIR",
        required=required,
        type=click.Path(path_type=Path),
        help=f"{text}; made if need be.",
    )


def overwrite_option(text: str = "Replace older files.") -> Decorator:
    """Make the option ``--overwrite`` of a command."""
    return click.option("--overwrite", is_flag=True, help=text)


def seed_option(text: str = "Seed of everything.") -> Decorator:
    """Make the option ``--seed`` of a command."""
    return click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help=text)


def visits_option(default: str = "by default those of ten years", *, alias: str = "--visits") -> Decorator:
    """Make the option ``--visits`` of a command that simulates, which gets `None` where it is not given."""
    return click.option(
        *_names("--visits", alias),
        "visits",
        metavar="N",
        type=click.IntRange(min=1),
        help=f"Exposures of 30 s in a simulated coadd; {default}.",
    )


def model_option(text: str) -> Decorator:
    """Make the option ``--model`` of a command, which gets a tuple as ``models``."""
    return click.option("--model", "models", metavar="NAME|PATH", multiple=True, help=text)


def any_band_option(consequence: str) -> Decorator:
    """Make the option ``--any-band`` of a command, whose help ends with what becomes of such images."""
    return click.option(
        "--any-band",
        is_flag=True,
        help=f"Apply models to images of bands that they were not trained in; {consequence}.",
    )


def config_file_option(config: str) -> Decorator:
    """Make the option ``--config`` of a command, which gets a tuple as ``config_files``."""
    return click.option(
        "--config",
        "config_files",
        metavar="FILE",
        multiple=True,
        help=f"File with overrides of {config}, as for pipetask; it is Python code that is run.",
    )


def config_option(text: str, name: str = "config_options") -> Decorator:
    """Make the option ``--config-option`` of a command, which gets a tuple of ``K=V`` as ``name``."""
    return click.option("-c", "--config-option", name, metavar="K=V", multiple=True, help=text)


def jobs_option(items: str, *, alias: str = "--jobs") -> Decorator:
    """Make the option ``--jobs`` of a command, whose help begins with what it works on.

    ``alias`` is another name, which the option had in the last release.
    """
    return click.option(
        "-j",
        *_names("--jobs", alias),
        "jobs",
        metavar="N",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help=f"{items} to work on at the same time, each in a process of its own.",
    )

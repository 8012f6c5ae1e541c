# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""``blendid evaluate``: score models on scenes whose galaxies are known."""

from __future__ import annotations

__all__ = ("evaluate",)

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from ._common import common_options
from ._data import data_options
from ._evaluate import Request, run_evaluation
from ._options import (
    REPLACED,
    CommandWithHints,
    any_band_option,
    config_option,
    jobs_option,
    model_option,
    output_folder_option,
    overwrite_option,
)


@click.command(cls=CommandWithHints, replaced=REPLACED["evaluate"])
@output_folder_option("Folder for the report and the tables")
@model_option(
    "Model to score, of a classifier or a localiser: the name of a shipped one, a path or a URI; LABEL=PATH "
    "gives it another name; sep is SExtractor's deblending, which needs no package.  Repeat for several; by "
    "default all shipped ones."
)
@click.option(
    "--reference",
    metavar="NAME",
    default="area + peak counts",
    show_default=True,
    help="Model or baseline that differences are taken from.",
)
@click.option(
    "--baseline",
    metavar="DATA",
    multiple=True,
    help="Fit the baselines to these; by default to other skies by the same recipe, or for each footprint of "
    "given coadds to the other blocks of sky.",
)
@data_options(labels=False)
@click.option("--both-labels", is_flag=True, help="Score with S/N >= 5 and with S/N >= 4.")
@click.option(
    "--bootstrap",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    metavar="N",
    help="Resamples of blocks of sky that errors are from; 0 for no errors.",
)
@config_option(
    "Override of how the data are labelled, such as snrMin=4 or noise=variance, or of the footprints, such "
    "as footprints.thresholdValue=6."
)
@any_band_option("the report says so")
@jobs_option("Scenes")
@overwrite_option()
@common_options
def evaluate(**options: Any) -> None:
    """Score models on scenes whose galaxies are known.

    DATA is what they are scored on: skies by a recipe that 'blendid simulate
    --recipe' wrote, coadds (files, folders, patterns) with tables of their true
    galaxies beside them, a Butler repository, or sets of 'blendid stamps'.
    Without DATA, four skies of each of three galaxy sizes are simulated.  No
    sky by a recipe is one that training on the same recipe sees.

    All models see the same footprints, beside the baselines: area, area and
    peak counts, 5-sigma peaks.  Localisers have their peaks scored.  Writes
    report.html, scores.json, scores.ecsv and predictions.parquet.

    \b
    Examples:
      blendid evaluate --out report
      blendid evaluate skies.json --out report --model logistic-i-1 --model mine.blendid
      blendid evaluate --out report --model new=b.blendid --model old=a.blendid --reference old
      blendid evaluate a.fits --truth a.truth.parquet --out report
      blendid evaluate scenes/ --out report --any-band --jobs 4
      blendid evaluate REPO --collections sim --out report
    """  # noqa: D301
    words = sys.argv[1:] if Path(sys.argv[0]).stem == "blendid" else []
    run_evaluation(Request(**options), shlex.join(["blendid", *words]))

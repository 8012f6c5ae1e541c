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
from ._evaluate import Request, run_evaluation
from ._options import SceneNumbers, config_option, jobs_option


@click.command()
@click.option(
    "-o",
    "--out",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the report and the tables; made if need be.",
)
@click.option(
    "--model",
    "models",
    metavar="NAME|PATH",
    multiple=True,
    help="Model to score, of a classifier or a localiser: the name of a shipped one, a path or a URI; "
    "LABEL=PATH gives it another name.  Repeat for several; by default all shipped ones.",
)
@click.option(
    "--parametric",
    "n_parametric",
    type=click.IntRange(min=1),
    metavar="N",
    help="Simulate N skies from the built-in catalogue; 4 if nothing else is given.",
)
@click.option(
    "--scenes", type=SceneNumbers("0,6,9"), help="Simulate these truth scenes of Buchanan et al. 2022."
)
@click.option(
    "--split",
    type=click.Choice(["test", "validation"]),
    default="test",
    show_default=True,
    help="Part of the sky that they must belong to: 0,6,9 or 4,7,8.",
)
@click.option("--truths", metavar="DIR", help="Folder of the truth scenes; by default that of $BLENDID_DATA.")
@click.option(
    "--dial",
    "n_dial",
    type=click.IntRange(min=1),
    metavar="N",
    help="Simulate N skies, each with galaxies, seeing and depth of its own.",
)
@click.option(
    "--coadd",
    "coadds",
    metavar="FITS",
    multiple=True,
    help="Score on this coadd, on those of a folder, or on those that a pattern in quotes fits; repeat for "
    "several.",
)
@click.option(
    "--truth",
    "tables",
    metavar="TABLE",
    multiple=True,
    help="Its true galaxies: columns x, y (parent pixels), snr or flux; also mag, is_star and n_knots, if "
    "known.  One for each coadd, in order; or a folder or a pattern with NAME.truth.parquet (ecsv, fits, "
    "csv) of each NAME.fits, by default the folder of the coadd.",
)
@click.option(
    "--stamps", "stamp_sets", metavar="DIR", multiple=True, help="Score on the test stamps of this set."
)
@click.option(
    "--stamp-noise",
    metavar="SIGMA",
    multiple=True,
    type=click.FloatRange(min=0.0, min_open=True),
    help="Noise per pixel to add to stamps that have none; by default what the set names.",
)
@click.option(
    "--unit",
    type=click.Choice(["stamp", "footprint"]),
    default="stamp",
    show_default=True,
    help="What of stamps is classified: each as a whole, or the footprints in it.",
)
@click.option(
    "--baseline-scenes",
    type=SceneNumbers("0,6,9"),
    help="Truth scenes to fit the baselines to (of 1,2,3,5); by default simulated skies.",
)
@click.option(
    "--sep",
    is_flag=True,
    help="Score SExtractor's deblending, through SEP, as well; so does --model sep, which needs no package.",
)
@click.option(
    "--reference",
    metavar="NAME",
    default="area + peak counts",
    show_default=True,
    help="Model or baseline that differences are taken from.",
)
@click.option(
    "--snr-min",
    type=click.Choice(["5", "4"]),
    default="5",
    show_default=True,
    help="Least point-source S/N of the objects that count.",
)
@click.option("--both-labels", is_flag=True, help="Score with both limits.")
@click.option(
    "--sizes",
    metavar="MODEL",
    multiple=True,
    default=("cosmodc2", "1.6x", "large"),
    show_default=True,
    help="Galaxy sizes to simulate each sky with; repeat for several, each with a section of its own.",
)
@click.option(
    "--draws", type=click.IntRange(min=1), default=1, show_default=True, help="Noise draws of each."
)
@click.option(
    "--size", type=click.IntRange(min=32), default=2048, show_default=True, help="Side of a simulated scene."
)
@click.option("--band", default="i", show_default=True, help="Band of simulated scenes.")
@click.option(
    "--psf-fwhm", metavar="ARCSEC", type=float, help="Seeing of simulated scenes, or of coadds without PSF."
)
@click.option("--pixel-scale", metavar="ARCSEC", type=float, help="Pixel size of the coadds without WCS.")
@click.option("--visits", metavar="N", type=click.IntRange(min=1), help="Exposures in simulated scenes.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="First seed.")
@click.option(
    "--noise",
    type=click.Choice(["clipped", "variance"]),
    help="Noise of the footprints: measured on the pixels, with the background subtracted, or of the "
    "variance plane; by default clipped, and for --coadd as 'blendid run' takes it for the file.",
)
@click.option(
    "--bootstrap",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    metavar="N",
    help="Resamples of blocks of sky that errors are from; 0 for no errors.",
)
@config_option(
    "Override of a field of the simulation, such as population.starDensity=4, or of the footprints, such as "
    "footprints.thresholdValue=6.",
    "options",
)
@click.option(
    "--any-band",
    is_flag=True,
    help="Apply models to scenes of other bands than theirs, too, and say so in the report.",
)
@jobs_option("Scenes")
@click.option("--overwrite", is_flag=True, help="Replace older files.")
@common_options
def evaluate(snr_min: str, both_labels: bool, **options: Any) -> None:
    """Score models on scenes whose galaxies are known.

    All models see the same footprints, beside the baselines: area, area and
    peak counts, 5-sigma peaks.  Localisers have their peaks scored.  Writes
    report.html, scores.json, scores.ecsv and predictions.parquet.

    \b
    Examples:
      blendid evaluate --out report
      blendid evaluate --out report --scenes 0,6,9 --model logistic-i-1 --model mine.blendid
      blendid evaluate --out report --model new=b.blendid --model old=a.blendid --reference old
      blendid evaluate --out report --psf-fwhm 1.0 --visits 25 --sizes large
      blendid evaluate --out report -c population.starDensity=4 -c population.clumpyFraction=0.3
      blendid evaluate --out report --coadd a.fits --truth a.truth.parquet
      blendid evaluate --out report --coadd FOLDER --any-band --jobs 4
    """  # noqa: D301
    labels = (5.0, 4.0) if both_labels else (float(snr_min),)
    words = sys.argv[1:] if Path(sys.argv[0]).stem == "blendid" else []
    run_evaluation(Request(labels=labels, **options), shlex.join(["blendid", *words]))

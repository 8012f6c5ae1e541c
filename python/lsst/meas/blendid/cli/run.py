# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""``blendid run``: from image files to tables."""

from __future__ import annotations

__all__ = ("run",)

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .._processes import map_in_order
from ._common import (
    CommandError,
    MisuseError,
    common_options,
    get_settings,
    make_output_folder,
    progress_bar,
)
from ._inputs import find_inputs, parse_plane
from ._options import (
    any_band_option,
    config_file_option,
    config_option,
    image_options,
    jobs_option,
    model_option,
    output_folder_option,
)
from ._run import ImageRunner, OutputOptions, Reporter, RunOptions

if TYPE_CHECKING:
    from ..images import PlaneSource


@click.command()
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@output_folder_option("Folder of the tables, where older ones of the same name are replaced", "directory")
@image_options
@click.option(
    "--hdu",
    metavar="N|NAME[,VERSION]",
    help="Read this HDU as a plain image instead of what the file has as a whole.",
)
@click.option(
    "--psf",
    metavar="FILE|HDU",
    help="Image of the PSF, with the pixels of the image, instead of --psf-fwhm.",
)
@click.option(
    "--variance",
    metavar="HDU|FILE",
    help="Variance of the pixels of a plain image; 'none' for no use of one that is found.",
)
@click.option("--error", metavar="HDU|FILE", help="The same as standard deviations.")
@click.option(
    "--weight",
    metavar="HDU|FILE",
    help="The same as inverse variance; up to a factor, which is measured.",
)
@click.option(
    "--mask",
    metavar="HDU|FILE",
    help="Mask of a plain image: pixels that are not 0 have no data; 'none' for no use of one that is found.",
)
@click.option(
    "--mask-bits", metavar="N", type=int, help="Only these bits of the mask count: the sum of their values."
)
@click.option(
    "--footprints",
    "catalog",
    metavar="CATALOG.fits",
    type=click.Path(path_type=Path),
    help="Judge the footprints and peaks of this SourceCatalog of lsst.afw instead of those found in the "
    "image; the tables have its ids.",
)
@click.option(
    "--classifier",
    "classifiers",
    metavar="NAME",
    multiple=True,
    help="Classifier to run; repeat for several.  The first one fills p_blended and p_n_*.",
)
@model_option(
    "Trained model (see 'blendid models list') instead of the default of its classifier; also "
    "CLASSIFIER=NAME."
)
@click.option(
    "--localizer",
    metavar="NAME|none",
    help="What tells where objects are and how probable each is; 'none' for the detected peaks alone.",
)
@any_band_option("their rows are flagged other_band")
@config_file_option("the config")
@config_option("Override of one config field, such as maxPeaks=50; applied last.")
@click.option(
    "--format",
    "table_format",
    type=click.Choice(["parquet", "fits", "ecsv"]),
    default="parquet",
    show_default=True,
    help="Format of the tables.",
)
@click.option(
    "--report",
    is_flag=True,
    help="Write a page with pictures of what was found and what was assumed: STEM.blend.html.",
)
@click.option(
    "--regions", is_flag=True, help="Write footprints and peaks as regions for DS9: STEM.blend.reg."
)
@click.option(
    "--segmentation",
    is_flag=True,
    help="Write a FITS image with the number of the footprint of each pixel: STEM.blend_segmentation.fits.",
)
@jobs_option("Images")
@common_options
def run(
    images: tuple[str, ...],
    directory: Path,
    psf_fwhm: float | None,
    pixel_scale: float | None,
    zero_point: float | None,
    hdu: str | None,
    psf: str | None,
    variance: str | None,
    error: str | None,
    weight: str | None,
    mask: str | None,
    mask_bits: int | None,
    catalog: Path | None,
    classifiers: tuple[str, ...],
    models: tuple[str, ...],
    localizer: str | None,
    any_band: bool,
    config_files: tuple[str, ...],
    config_options: tuple[str, ...],
    table_format: str,
    report: bool,
    regions: bool,
    segmentation: bool,
    jobs: int,
) -> None:
    """Find footprints in images and the probability that each is a blend.

    IMAGE is a FITS file written by lsst.images or lsst.afw, or a plain
    two-dimensional FITS image, which needs --psf or --psf-fwhm, and
    --pixel-scale if it has no WCS; also a folder with such files, a pattern, or a file with an HDU
    in brackets, as image.fits[SCI].  For each, three tables are written: STEM.blend.parquet (a row
    per footprint), STEM.blend_peak.parquet (detected peaks and those that were inferred, each with
    its probability) and STEM.blend_spans.parquet.

    Beside a plain image, HDUs with the usual names of variance, errors, weight,
    mask and PSF (VAR, ERR, WHT, IVM, DQ, MSK, PSF, ...) are used.  What is
    assumed about an image and decides the result is told once.

    An image without variance plane gets its noise from the clipped variance of
    the pixels, and a plain one its sky background subtracted, unless --config
    or --config-option says otherwise.  An image that fails does not stop the others.

    \b
    Examples:
      blendid run coadd.fits --out tables
      blendid run image.fits --psf-fwhm 0.7 --pixel-scale 0.2 --out tables
      blendid run image.fits --psf psf.fits --weight image.weight.fits --mask DQ --out tables
      blendid run *.fits --out tables --classifier logistic --classifier peaks
      blendid run image.fits --out tables --localizer peaks
      blendid run FOLDER --out tables --jobs 4 --report
      blendid run image.fits --psf-fwhm 0.7 --out tables --format fits --regions --segmentation
      blendid run coadd.fits --out tables --footprints object_detection_merged.fits
      blendid run coadd.fits --out tables --config-option maxPeaks=50
      blendid run coadd.fits --out tables --config-option classifiers.features.priorBlended=0.2
    """  # noqa: D301
    outputs = OutputOptions(format=table_format, regions=regions, segmentation=segmentation, report=report)
    outputs.check()
    inputs = find_inputs(images, hdu)
    planes = _find_planes(
        len(inputs), {"psf": psf, "variance": variance, "error": error, "weight": weight, "mask": mask}
    )
    make_output_folder(directory)
    options = RunOptions(
        directory=directory,
        config={
            "files": config_files,
            "options": config_options,
            "classifiers": classifiers,
            "models": models,
            "localizer": localizer,
            "any_band": any_band,
        },
        reading={"psf_fwhm": psf_fwhm, "pixel_scale": pixel_scale, "mask_bits": mask_bits, **planes},
        zero_point=zero_point,
        settings=get_settings(),
        outputs=outputs,
        catalog=catalog,
    )
    reporter = Reporter()
    runner = ImageRunner(options, tell=reporter.show)
    runner.check()
    failed: list[str] = []
    with progress_bar(map_in_order(runner, inputs, jobs), "Images", len(inputs)) as bar:
        for result in bar:
            for line in result.lines:
                reporter.show(line)
            if result.failed:
                failed.append(result.image)
    reporter.finish()
    if failed and len(inputs) > 1:
        raise CommandError(f"{len(failed)} of {len(inputs)} images failed: {', '.join(failed)}")
    if failed:
        raise click.exceptions.Exit(1)


def _find_planes(n_images: int, given: dict[str, str | None]) -> dict[str, PlaneSource]:
    """What belongs to the images, as the readers take it; a file of noise belongs to one image."""
    from ..images import PlaneFile

    planes = {role: parse_plane(text) for role, text in given.items()}
    if planes["psf"] is False:
        raise MisuseError("--psf none: there is no image without a PSF; give --psf-fwhm ARCSEC, or a file")
    for role in ("variance", "error", "weight"):
        if n_images > 1 and isinstance(planes[role], PlaneFile):
            raise MisuseError(f"--{role} {given[role]} belongs to one image; name an HDU, or run one by one")
    return planes

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

import gc
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._common import (
    CommandError,
    MisuseError,
    announce,
    common_options,
    describe_error,
    get_settings,
    make_output_folder,
    progress_bar,
    show_log,
)

if TYPE_CHECKING:
    from ..blend_identification import BlendIdentificationTask

_SUFFIXES = (".gz", ".fz", ".fits", ".fit", ".fts")


@click.command()
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option(
    "-o",
    "--out",
    "directory",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of the tables; made if need be.  Older tables of the same name are replaced.",
)
@click.option(
    "--psf-fwhm",
    metavar="ARCSEC",
    type=float,
    help="Seeing FWHM, where the file has no readable PSF; replaces that of the file.",
)
@click.option("--pixel-scale", metavar="ARCSEC", type=float, help="Pixel size; by default that of the WCS.")
@click.option(
    "--hdu", metavar="N|NAME", help="Read this HDU as a plain image instead of what the file has as a whole."
)
@click.option(
    "--classifier",
    "classifiers",
    metavar="NAME",
    multiple=True,
    help="Classifier to run; repeat for several.  The first one fills p_blended and p_n_*.",
)
@click.option(
    "--model",
    "models",
    metavar="NAME|PATH",
    multiple=True,
    help="Trained model (see 'blendid models list') instead of the default of its classifier; "
    "also CLASSIFIER=NAME.",
)
@click.option(
    "--config",
    "config_files",
    metavar="FILE",
    multiple=True,
    help="File with config overrides, as for pipetask; it is Python code that is run.",
)
@click.option(
    "--config-option",
    "config_options",
    metavar="K=V",
    multiple=True,
    help="Override of one config field, such as maxPeaks=50; applied last.",
)
@common_options
def run(
    images: tuple[str, ...],
    directory: Path,
    psf_fwhm: float | None,
    pixel_scale: float | None,
    hdu: str | None,
    classifiers: tuple[str, ...],
    models: tuple[str, ...],
    config_files: tuple[str, ...],
    config_options: tuple[str, ...],
) -> None:
    """Find footprints in images and the probability that each is a blend.

    IMAGE is a FITS file written by lsst.images or lsst.afw, or a plain
    two-dimensional FITS image, which needs --psf-fwhm, and --pixel-scale if it
    has no WCS.  For each, three tables are written: STEM.blend.parquet (a row
    per footprint), STEM.blend_peak.parquet and STEM.blend_spans.parquet.

    An image without variance plane gets its noise from the clipped variance of
    the pixels and its sky background subtracted, unless --config or
    --config-option says otherwise.  An image that fails does not stop the others.

    \b
    Examples:
      blendid run coadd.fits --out tables
      blendid run image.fits --psf-fwhm 0.7 --pixel-scale 0.2 --out tables
      blendid run *.fits --out tables --classifier logistic --classifier peaks
      blendid run coadd.fits --out tables --config-option maxPeaks=50
      blendid run coadd.fits --out tables --config-option classifiers.features.priorBlended=0.2
    """  # noqa: D301
    stems = _find_stems(images)
    make_output_folder(directory)
    tasks = _Tasks(config_files, config_options, classifiers, models)
    with _loading():
        tasks.get(has_variance=True)  # A config or model that cannot work fails before any image is read.
    failed: list[str] = []
    with progress_bar(images, "Images", len(images)) as bar:
        for image in bar:
            try:
                summary = _run_one(
                    image, stems[image], directory, tasks, psf_fwhm, pixel_scale, _parse_hdu(hdu)
                )
            except Exception as err:
                if get_settings().debug:
                    announce(traceback.format_exc().rstrip(), err=True)
                text = describe_error(err) if not isinstance(err, click.ClickException) else err.message
                if image not in text:
                    text = f"{image}: {text}"
                announce(f"Error: {text}", err=True)
                failed.append(image)
            else:
                announce(summary)
    if failed and len(images) > 1:
        raise CommandError(f"{len(failed)} of {len(images)} images failed: {', '.join(failed)}")
    if failed:
        raise click.exceptions.Exit(1)


@contextmanager
def _loading() -> Iterator[None]:
    """Keep the garbage collector from what libraries make when they load.

    It all stays, and to look through it again and again takes a fifth of the time until the first image.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


class _Tasks:
    """Tasks for images with and without variance plane, each made once.

    Parameters
    ----------
    files, options, classifiers, models
        As for `._config.make_config`.
    """

    def __init__(
        self, files: Sequence[str], options: Sequence[str], classifiers: Sequence[str], models: Sequence[str]
    ) -> None:
        self._arguments = {"files": files, "options": options, "classifiers": classifiers, "models": models}
        self._tasks: dict[bool, BlendIdentificationTask] = {}
        self._warned: set[str] = set()

    def get(self, *, has_variance: bool) -> BlendIdentificationTask:
        """Return the task for images with or without variance plane."""
        if has_variance not in self._tasks:
            from ..blend_identification import BlendIdentificationTask
            from ._config import make_config

            config = make_config(has_variance=has_variance, **self._arguments)
            # Both tasks have the same to say about the models.
            with show_log(f"lsst.{BlendIdentificationTask._DefaultName}", "", self._warned):
                self._tasks[has_variance] = BlendIdentificationTask(config=config)
        return self._tasks[has_variance]


def _find_stems(images: Sequence[str]) -> dict[str, str]:
    """Start of the output names of each image; no two may share one."""
    by_stem: dict[str, list[str]] = defaultdict(list)
    for image in images:
        stem = image.rstrip("/").rsplit("/", 1)[-1]
        for suffix in _SUFFIXES:
            stem = stem[: -len(suffix)] if stem.lower().endswith(suffix) and stem[: -len(suffix)] else stem
        by_stem[stem].append(image)
    for stem, same in by_stem.items():
        if len(same) > 1:
            raise MisuseError(
                f"{' and '.join(same)} would both be written to {stem}.blend.parquet; "
                "rename one or run them with different --out"
            )
    return {same[0]: stem for stem, same in by_stem.items()}


def _parse_hdu(hdu: str | None) -> int | str | None:
    """Index of an HDU if it is a number, else its name."""
    return int(hdu) if hdu is not None and hdu.isdecimal() else hdu


def _run_one(
    image: str,
    stem: str,
    directory: Path,
    tasks: _Tasks,
    psf_fwhm: float | None,
    pixel_scale: float | None,
    hdu: int | str | None,
) -> str:
    """Classify one image, write its tables and return a summary in one line."""
    import numpy as np

    from lsst.pipe.base import NoWorkFound

    from ..readers import read_image
    from ..table_files import write_tables
    from ..tables import BlendTables

    start = time.perf_counter()
    source = read_image(image, psf_fwhm=psf_fwhm, pixel_scale=pixel_scale, hdu=hdu)
    if get_settings().verbose:
        announce(
            f"{image}: {source.kind} image, {' × '.join(map(str, source.masked_image.bbox.shape))}", err=True
        )
        for note in source.notes:
            announce(f"{image}: {note}", err=True)
    task = tasks.get(has_variance=source.has_variance)
    try:
        with show_log(task.log.name, image):
            struct = task.run(source.masked_image, psf=source.psf, band=source.band)
    except NoWorkFound as err:  # Not an Exception: in a pipeline it is no failure.
        raise CommandError(str(err)) from err
    write_tables(BlendTables(struct.blend, struct.blendPeak, struct.blendSpans), directory, stem)
    flagged = np.asarray(struct.blend["flag"], dtype=bool)
    n = len(flagged)
    text = f"{image}: {n} footprint{'' if n == 1 else 's'}"
    if n > flagged.sum():
        share = float(np.mean(np.asarray(struct.blend["p_blended"], dtype=float)[~flagged]))
        text += f", {100.0 * share:.1f} % blended"
    return f"{text}, {flagged.sum()} not classified, {time.perf_counter() - start:.1f} s"

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The work of ``blendid run``: one image after another, in this process or in several."""

from __future__ import annotations

__all__ = ("ImageResult", "ImageRunner", "OutputOptions", "Reporter", "RunOptions", "loading")

import gc
import importlib.util
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from .._progress import report_progress
from ._common import CommandError, Settings, announce, describe_error, get_settings, show_log, show_stages
from ._inputs import ImageInput

if TYPE_CHECKING:
    from lsst.pipe.base import Struct

    from ..blend_identification import BlendIdentificationTask
    from ..images import InputImage
    from ..source_catalogs import CatalogFootprints


@dataclass(frozen=True)
class OutputOptions:
    """What to write beside the tables, and their format."""

    format: str = "parquet"
    regions: bool = False
    segmentation: bool = False
    report: bool = False

    def check(self) -> None:
        """See, before any work is done, whether all that is needed is installed."""
        missing = [name for name in ("jinja2", "matplotlib") if importlib.util.find_spec(name) is None]
        if self.report and missing:
            raise CommandError(
                f"--report needs {' and '.join(missing)}; install what is missing with pip install "
                "'lsst-meas-blendid[plots]'"
            )


@dataclass(frozen=True)
class RunOptions:
    """What the user chose, for all images.

    Parameters
    ----------
    directory
        Folder of the tables.
    config, reading
        Arguments of `._config.make_config` and of `..images.read_image`.
    settings
        Common options of commands.
    zero_point
        AB magnitude of one unit of the pixels, instead of what the files tell.
    outputs
        What to write beside the tables, and their format.
    catalog
        Catalogue whose footprints are judged, if any.
    """

    directory: Path
    config: Mapping[str, Any]
    reading: Mapping[str, Any]
    settings: Settings
    zero_point: float | None = None
    outputs: OutputOptions = field(default_factory=OutputOptions)
    catalog: Path | None = None


@dataclass(frozen=True)
class Line:
    """A line for the user, perhaps with the name of the image that it is about.

    Kinds ``"out"`` and ``"err"`` are shown on standard output and error, ``"once"`` only the first time,
    ``"note"`` too, with the image that it was about and later how many more there are.
    """

    text: str
    kind: Literal["out", "err", "once", "note"]
    image: str = ""


@dataclass(frozen=True)
class ImageResult:
    """What became of an image, with what there is to say that was not said yet."""

    image: str
    failed: bool
    lines: list[Line] = field(default_factory=list)


class Reporter:
    """Shows lines, those that repeat themselves once."""

    def __init__(self) -> None:
        self._shown: Counter[tuple[str, str]] = Counter()

    def show(self, line: Line) -> None:
        """Show a line."""
        if line.kind in ("once", "note"):
            self._shown[line.kind, line.text] += 1
            if self._shown[line.kind, line.text] > 1 and not (line.kind == "note" and get_settings().verbose):
                return
        text = f"{line.image}: {line.text}" if line.image else line.text
        announce(text, err=line.kind != "out")

    def finish(self) -> None:
        """Say which notes were true of more images than the first one."""
        if get_settings().verbose:
            return
        for (kind, text), n in self._shown.items():
            if kind == "note" and n > 1:
                announce(f"{n - 1} more image{'s' if n > 2 else ''}: {text}", err=True)


@contextmanager
def loading() -> Iterator[None]:
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


class ImageRunner:
    """Finds and classifies the footprints of images and writes their tables.

    It can be sent to another process, where it makes its tasks anew.  Lines are told by ``tell``, or given
    with the result.
    """

    def __init__(self, options: RunOptions, tell: Callable[[Line], None] | None = None) -> None:
        self._options = options
        self._told: list[Line] = []
        self._tell = tell or self._told.append
        self._tasks: dict[tuple[bool, bool, tuple[str, ...]], BlendIdentificationTask] = {}
        self._implicit: tuple[str, ...] | None = None
        self._catalog: CatalogFootprints | None = None
        self._said: dict[tuple[bool, bool, tuple[str, ...]], list[str]] = {}
        """What tasks had to say when they were made, until an image needs them."""

    def check(self) -> None:
        """Make the task for coadds, which fails if config or models cannot work, before any image is read.

        What it has to say of them is told when there is such a coadd: for other images it may not be so.
        """
        self._make_task(True, False, ())
        self._read_catalog()

    def _read_catalog(self) -> CatalogFootprints | None:
        """Read the catalogue whose footprints are judged, if there is one, once."""
        if self._catalog is None and self._options.catalog is not None:
            from ..source_catalogs import read_catalog

            self._catalog = read_catalog(self._options.catalog).footprints()
        return self._catalog

    def __reduce__(self) -> tuple[type[ImageRunner], tuple[RunOptions]]:
        return ImageRunner, (self._options,)

    def get_task(
        self, *, has_variance: bool, has_sky: bool, left_out: tuple[str, ...] = ()
    ) -> BlendIdentificationTask:
        """Return the task for one kind of image, made once.

        Images may have a variance plane, and the sky may still be in them; some classifiers may be left out.
        """
        key = has_variance, has_sky, left_out
        if key not in self._tasks:
            self._make_task(*key)
        for line in self._said.pop(key, ()):
            # All tasks have the same to say about the models.
            self._tell(Line(line, "once"))
        return self._tasks[key]

    def _get_task_of(self, source: InputImage, note: Callable[[str], Line]) -> BlendIdentificationTask:
        """Return the task for an image; what its band decides is told."""
        from ._config import find_implicit_classifiers

        task = self.get_task(has_variance=source.has_variance, has_sky=source.has_sky)
        band = source.band
        if self._implicit is None:
            arguments = self._options.config
            self._implicit = find_implicit_classifiers(
                task.config, classifiers=arguments["classifiers"], models=arguments["models"]
            )
        lacking = tuple(name for name in self._implicit if band and not task.models.has_model(name, band))
        for name in lacking:
            self._tell(note(f"classifier '{name}' has no model for band {band}; it is left out"))
        return self.get_task(has_variance=source.has_variance, has_sky=source.has_sky, left_out=lacking)

    def _make_task(self, has_variance: bool, has_sky: bool, left_out: tuple[str, ...]) -> None:
        key, lines = (has_variance, has_sky, left_out), list[str]()
        with loading():
            from ..blend_identification import BlendIdentificationTask
            from ._config import make_config

            config = make_config(
                has_variance=has_variance, has_sky=has_sky, left_out=left_out, **self._options.config
            )
            name = f"lsst.{BlendIdentificationTask._DefaultName}"
            with show_log(name, "", write=lines.append):
                self._tasks[key] = BlendIdentificationTask(config=config)
        self._said[key] = lines

    def __call__(self, image: ImageInput) -> ImageResult:
        """Work on one image; what goes wrong is told and does not stop the others."""
        if click.get_current_context(silent=True) is None:  # In another process.
            with click.Context(click.Command("run"), obj=self._options.settings):
                return self(image)
        self._told.clear()
        failed = False
        try:
            with show_stages(image.name):
                line = self._run_one(image)
            self._tell(Line(line, "out"))
        except Exception as err:
            failed = True
            if self._options.settings.debug:
                self._tell(Line(traceback.format_exc().rstrip(), "err"))
            text = describe_error(err) if not isinstance(err, click.ClickException) else err.message
            if image.name not in text:
                text = f"{image.name}: {text}"
            self._tell(Line(f"Error: {text}", "err"))
        return ImageResult(image.name, failed, list(self._told))

    def _writer(self, kind: Literal["err", "once"]) -> Callable[[str], None]:
        """Tell text as lines of one kind."""

        def write(text: str) -> None:
            self._tell(Line(text, kind))

        return write

    def _run_one(self, image: ImageInput) -> str:
        """Classify one image, write what there is of it and return a summary in one line."""
        import numpy as np

        from lsst.pipe.base import NoWorkFound

        from ..errors import NoModelError
        from ..images import read_image

        start = time.perf_counter()
        report_progress("read")
        source = read_image(image.path, hdu=image.hdu, **self._options.reading)
        note = partial(Line, kind="note", image=image.name)
        for text in source.decisive:
            self._tell(note(text))
        if self._options.settings.verbose:
            shape = " × ".join(map(str, source.masked_image.bbox.shape))
            self._tell(Line(f"{image.name}: {source.kind} image, {shape}", "err"))
            for text in source.notes:
                if text not in source.decisive:
                    self._tell(note(text))
        task = self._get_task_of(source, note)
        zero_point = self._options.zero_point
        if zero_point is None:
            zero_point = source.find_zero_point(self._options.reading.get("pixel_scale"))
        try:
            with show_log(task.log.name, image.name, write=self._writer("err")):
                struct = task.run(
                    source.masked_image,
                    psf=source.psf,
                    band=source.band,
                    zero_point=zero_point,
                    catalog=self._read_catalog(),
                    overwrite=True,
                )
        except NoModelError as err:
            raise CommandError(
                f"{err.reason}; name one with --model, run others with --classifier, or use --any-band"
            ) from err
        except NoWorkFound as err:  # Not an Exception: in a pipeline it is no failure.
            raise CommandError(str(err)) from err
        for table in (struct.blend, struct.blendPeak, struct.blendSpans):
            table.meta["image"] = image.designation
        written = _write_outputs(
            self._options.outputs,
            self._options.directory,
            image.stem,
            source,
            struct,
            name=image.name,
            pixel_scale=self._options.reading.get("pixel_scale"),
            seconds=time.perf_counter() - start,
        )
        flagged = np.asarray(struct.blend["flag"], dtype=bool)
        n = len(flagged)
        text = f"{image.name}: {n} footprint{'' if n == 1 else 's'}"
        if n > flagged.sum():
            share = float(np.mean(np.asarray(struct.blend["p_blended"], dtype=float)[~flagged]))
            text += f", {100.0 * share:.1f} % blended"
        primary = struct.blend.meta["primary_classifier"]
        model = struct.blend.meta[f"model_{primary}"]
        by = f"classifier {primary}" if model == "none" else f"model {model}"
        seconds = time.perf_counter() - start
        return f"{text}, {flagged.sum()} not classified, {seconds:.1f} s; {by} -> {written}"


def _write_outputs(
    options: OutputOptions,
    directory: Path,
    stem: str,
    source: InputImage,
    struct: Struct,
    *,
    name: str,
    pixel_scale: float | None,
    seconds: float,
) -> str:
    """Write what there is to write of one image; the names of the files, in the notation of a shell."""
    from ..product_files import write_regions, write_segmentation
    from ..table_files import write_tables
    from ..tables import BlendTables

    tables = BlendTables(struct.blend, struct.blendPeak, struct.blendSpans)
    footprints, projection = struct.detection.footprints, source.masked_image.sky_projection
    write_tables(tables, directory, stem, options.format)
    names = [f"{stem}.blend{{,_peak,_spans}}.{options.format}"]
    if options.regions:
        names.append(f"{stem}.blend.reg")
        write_regions(directory / names[-1], tables, footprints, projection=projection)
    if options.segmentation:
        names.append(f"{stem}.blend_segmentation.fits")
        write_segmentation(directory / names[-1], footprints, projection=projection)
    if options.report:
        from ..evaluation.image_report import ReportedImage, write_image_report
        from ..images import image_scale

        names.append(f"{stem}.blend.html")
        image = ReportedImage(
            name=name,
            kind=f"{source.kind} FITS" if source.kind == "plain" else f"written by {source.kind}",
            tables=tables,
            detection=struct.detection,
            zero_point=struct.blend.meta.get("zero_point"),
            pixel_scale=image_scale(source.masked_image) if pixel_scale is None else pixel_scale,
            notes=source.notes,
            files=[str(directory / file) for file in names],
            seconds=seconds,
        )
        write_image_report(directory / names[-1], image)
    return f"{directory / names[0]}{''.join(f', {name}' for name in names[1:])}"

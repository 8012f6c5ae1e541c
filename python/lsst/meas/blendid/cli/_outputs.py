# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What ``blendid run`` writes of an image, and how it is named."""

from __future__ import annotations

__all__ = ("OutputOptions", "write_outputs")

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ._common import CommandError

if TYPE_CHECKING:
    from lsst.pipe.base import Struct

    from ..images import InputImage


@dataclass(frozen=True)
class OutputOptions:
    """What the user wants written.

    Parameters
    ----------
    format
        Format of the tables (`..table_files.TABLE_FORMATS`).
    regions, segmentation, report
        Whether there are to be regions for DS9, a label image and a page to look at.
    """

    format: str = "parquet"
    regions: bool = False
    segmentation: bool = False
    report: bool = False

    def check(self) -> None:
        """See, before any work is done, whether all that is needed is installed.

        Raises
        ------
        CommandError
            Raised if it is not.
        """
        missing = [name for name in ("jinja2", "matplotlib") if importlib.util.find_spec(name) is None]
        if self.report and missing:
            raise CommandError(
                f"--report needs {' and '.join(missing)}; install what is missing with pip install "
                "'lsst-meas-blendid[plots]'"
            )


def write_outputs(
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
    """Write what there is to write of one image.

    Parameters
    ----------
    options
        What to write.
    directory, stem
        Folder and start of the names of the files.
    source
        The image.
    struct
        What the task made of it.
    name
        What the image is called.
    pixel_scale
        Pixel size in arcsec as the user gave it; by default that of the WCS.
    seconds
        How long it took to read and classify the image.

    Returns
    -------
    names
        The files, in the notation of a shell.
    """
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

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

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lsst.pipe.base import Struct

    from ..readers import InputImage


@dataclass(frozen=True)
class OutputOptions:
    """What the user wants written.

    Parameters
    ----------
    format
        Format of the tables (`..table_files.TABLE_FORMATS`).
    regions, segmentation
        Whether there are to be regions for DS9 and a label image.
    """

    format: str = "parquet"
    regions: bool = False
    segmentation: bool = False


def write_outputs(
    options: OutputOptions, directory: Path, stem: str, source: InputImage, struct: Struct
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
    return f"{directory / names[0]}{''.join(f', {name}' for name in names[1:])}"

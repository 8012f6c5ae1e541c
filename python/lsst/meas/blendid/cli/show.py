# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""``blendid show``: pictures of footprints of an image that was run."""

from __future__ import annotations

__all__ = ("show",)

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from ._common import CommandError, MisuseError, announce, common_options, make_output_folder
from ._inputs import find_tables, split_hdu

if TYPE_CHECKING:
    from ..tables import BlendTables

_NUMBER = 6
"""Footprints that are shown if none is named."""
_MOST = 24
"""More of them would not be a picture any more."""
_FORMATS = (".png", ".pdf", ".svg")


@click.command()
@click.argument("tables", metavar="TABLES")
@click.option(
    "-f",
    "--footprint",
    "footprints",
    metavar="ID",
    multiple=True,
    type=click.IntRange(min=1),
    help="footprint_id of one to show; repeat for several.  By default those that are worth a look.",
)
@click.option(
    "-n",
    "--number",
    metavar="N",
    type=click.IntRange(min=1, max=_MOST),
    help=f"How many to choose if none is named; {_NUMBER} by default.",
)
@click.option(
    "-o",
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Picture to write, as PNG, PDF or SVG by its suffix; beside the tables, STEM.blend.png, by default.",
)
@click.option(
    "--image",
    metavar="FILE",
    help="The image that was run, if it is not where it was; also with an HDU, as image.fits[SCI].",
)
@common_options
def show(
    tables: str, footprints: tuple[int, ...], number: int | None, out: Path | None, image: str | None
) -> None:
    """Draw footprints of an image that 'blendid run' was run on.

    TABLES are its tables, as DIR/STEM for DIR/STEM.blend.parquet, as one of the three
    files, or as the folder, if there are tables of one image in it.

    Each footprint has three panels: the pixels with its peaks, detected ones as rings
    and inferred ones as diamonds, the smaller the less probable; where galaxies are, with
    the ellipses that hold 68 %; and how many there are.  Without --footprint those are
    chosen that most probably hide a galaxy, and those that are hardest to tell.

    \b
    Examples:
      blendid show OUT/image
      blendid show OUT/image --footprint 12 --footprint 40 --out two.png
      blendid show OUT/image --number 12 --image elsewhere/image.fits
    """  # noqa: D301
    if footprints and number is not None:
        raise MisuseError("--number is how many to choose; it does not go with --footprint")
    if len(footprints) > _MOST:
        raise MisuseError(f"{len(footprints)} footprints are too many for a picture; name {_MOST} at most")
    if importlib.util.find_spec("matplotlib") is None:
        raise CommandError("show needs matplotlib; install it with pip install 'lsst-meas-blendid[plots]'")
    found = find_tables(tables)
    path = found.directory / f"{found.stem}.blend.png" if out is None else out
    if path.suffix.lower() not in _FORMATS:
        raise MisuseError(f"--out {path}: the picture can be {', '.join(_FORMATS)}; give it such a name")
    read = found.read()
    ids = np.asarray(read.blend["footprint_id"])
    if not len(ids):
        raise CommandError(f"no footprint was found in {found.name}; there is nothing to show")
    if unknown := [number for number in footprints if number not in ids]:
        raise CommandError(
            f"there is no footprint {unknown[0]} in {found.name}; there are {ids.min()} to {ids.max()}"
        )

    from .._files import atomic_path
    from ..evaluation.footprint_cards import choose_footprints, footprint_cards

    chosen = list(dict.fromkeys(footprints)) or choose_footprints(read, number or _NUMBER).tolist()
    pixels, xy0, source = _read_pixels(read, found.directory, image)
    make_output_folder(path.parent)
    figure = footprint_cards(pixels, _noise(read, pixels), xy0, read, chosen)
    with atomic_path(path) as temporary:
        format = path.suffix.lower().removeprefix(".")
        metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[format]
        figure.savefig(temporary, format=format, dpi=150, metadata=metadata)
    announce(
        f"footprint{'' if len(chosen) == 1 else 's'} {', '.join(map(str, chosen))} of {source} -> {path}"
    )


def _read_pixels(
    tables: BlendTables, directory: Path, given: str | None
) -> tuple[np.ndarray, tuple[int, int], str]:
    """Read the image that tables were made of: pixels, NaN where there are no data, first pixel, and name."""
    from ..images import read_image
    from ..images.masks import mask_to_bool

    name = given or tables.blend.meta.get("image")
    if not name:
        raise CommandError("the tables do not tell which image they are of; name it with --image FILE")
    path, hdu = split_hdu(str(name))
    if given is None and "://" not in path:
        places = [Path(path), directory / path, directory / Path(path).name]
        path = str(next((place for place in places if place.is_file()), path))
        if not Path(path).is_file():
            raise CommandError(f"{path}, which the tables are of, is not there; name it with --image FILE")
    # Neither seeing nor pixel size matters here, and the file may lack both.
    masked = read_image(path, hdu=hdu, psf_fwhm=0.7, pixel_scale=0.2).masked_image
    pixels = np.array(masked.image.array, dtype=np.float32)
    if masked.mask.bbox.area:
        pixels[mask_to_bool(masked.mask, ["NO_DATA"])[0]] = np.nan
    box = masked.bbox
    return pixels, (int(box.x.min), int(box.y.min)), path


def _noise(tables: BlendTables, pixels: np.ndarray) -> float:
    """Noise of a pixel: that of the tables, or as the pixels scatter."""
    noise = tables.blend.meta.get("noise_sigma")
    if isinstance(noise, (int, float)) and np.isfinite(noise) and noise > 0.0:
        return float(noise)
    finite = pixels[np.isfinite(pixels)]
    spread = 1.4826 * float(np.median(np.abs(finite - np.median(finite)))) if finite.size else 0.0
    return spread if spread > 0.0 else 1.0

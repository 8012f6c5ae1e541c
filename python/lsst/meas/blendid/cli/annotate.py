# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""``blendid annotate``: probabilities and peaks into a catalogue of lsst.afw."""

from __future__ import annotations

__all__ = ("annotate",)

import os
from pathlib import Path

import click

from ._common import CommandError, MisuseError, common_options, make_output_folder
from ._inputs import find_tables
from ._options import overwrite_option

_PROBABILITY = click.FloatRange(0.0, 1.0)
_POSITIVE = click.FloatRange(0.0)


@click.command()
@click.argument("catalog", metavar="CATALOG.fits", type=click.Path(path_type=Path))
@click.argument("tables", metavar="TABLES")
@click.option(
    "-o",
    "--out",
    "output",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="Annotated catalogue; not one of the files that are read.",
)
@overwrite_option("Replace the file of --out if there is one.")
@click.option("--add-peaks", is_flag=True, help="Add inferred peaks that a deblender bears.")
@click.option(
    "--min-probability",
    metavar="P",
    type=_PROBABILITY,
    help="Add only inferred peaks that are more probable.  [default: 0.75]",
)
@click.option(
    "--min-separation",
    metavar="PIXELS",
    type=_POSITIVE,
    help="Add only inferred peaks that are at least this far from every other peak.  [default: 3]",
)
@click.option(
    "--min-significance",
    metavar="S/N",
    type=_POSITIVE,
    help="Add only inferred peaks with this point-source S/N of the coadd at their pixel.  [default: 5]",
)
@click.option(
    "--move-peaks",
    is_flag=True,
    help="Move detected peaks that are close to an added one onto the place of their own galaxy.",
)
@click.option("--move-radius", metavar="PIXELS", type=_POSITIVE, help="How close that is.  [default: 6]")
@click.option(
    "--drop-below",
    metavar="P",
    type=_PROBABILITY,
    help="Drop peaks that are less probable; the most probable one of a footprint stays.",
)
@click.option(
    "--max-peaks",
    metavar="N",
    type=click.IntRange(1),
    help="Leave footprints with more peaks as they are, and let none get more.  [default: 600]",
)
@common_options
def annotate(
    catalog: Path,
    tables: str,
    output: Path,
    overwrite: bool,
    add_peaks: bool,
    min_probability: float | None,
    min_separation: float | None,
    min_significance: float | None,
    move_peaks: bool,
    move_radius: float | None,
    drop_below: float | None,
    max_peaks: int | None,
) -> None:
    """Write probabilities and peaks into a catalogue of lsst.afw.

    CATALOG.fits is a SourceCatalog with footprints, TABLES are those that 'blendid run' wrote for
    its coadd: DIR/STEM, one of the three files, or a folder with those of one image.  The records
    get blendid_p_blended, blendid_p_n_0 to 4, blendid_n_expected and flags, the peaks
    blendid_peak_probability, blendid_peak_inferred and blendid_peak_moved; all else stays as it is
    to the bit.  lsst.afw is not needed.

    With --add-peaks, inferred peaks go into the footprints that they lie in, for a deblender to
    split them; those that are known to make its fit diverge are left out.

    \b
    Examples:
      blendid annotate merged.fits tables/coadd --out annotated.fits
      blendid annotate merged.fits tables/coadd --out annotated.fits --add-peaks
      blendid annotate merged.fits tables/coadd.blend.parquet --out annotated.fits --add-peaks --move-peaks
      blendid annotate merged.fits tables/coadd --out annotated.fits --drop-below 0.05
    """  # noqa: D301
    needs = {
        "--min-probability": (min_probability, add_peaks, "--add-peaks"),
        "--min-separation": (min_separation, add_peaks, "--add-peaks"),
        "--min-significance": (min_significance, add_peaks, "--add-peaks"),
        "--move-peaks": (move_peaks or None, add_peaks, "--add-peaks"),
        "--move-radius": (move_radius, move_peaks, "--move-peaks"),
        "--max-peaks": (max_peaks, add_peaks or drop_below is not None, "--add-peaks or --drop-below"),
    }
    for option, (value, used, needed) in needs.items():
        if value is not None and not used:
            raise MisuseError(f"{option} changes nothing without {needed}; leave it out, or add that")
    found = find_tables(tables)
    _check_output(output, catalog, found.directory, overwrite)
    make_output_folder(output.parent)

    from ..source_catalogs import PeakEditConfig, annotate_catalog_file, read_catalog

    config = PeakEditConfig()
    config.doAddPeaks, config.doMovePeaks, config.doDropPeaks = add_peaks, move_peaks, drop_below is not None
    for name, value in (
        ("minAddProbability", min_probability),
        ("minSeparation", min_separation),
        ("minAddSignificance", min_significance),
        ("moveRadius", move_radius),
        ("maxDropProbability", drop_below),
        ("maxPeaks", max_peaks),
    ):
        if value is not None:
            setattr(config, name, value)
    annotated, annotation = annotate_catalog_file(read_catalog(catalog), found.read(), config)
    annotated.write(output)
    click.echo(f"{catalog}: {annotation.describe()} -> {output}")


def _check_output(output: Path, catalog: Path, tables: Path, overwrite: bool) -> None:
    """Refuse to write where something is that should stay."""
    if not os.path.lexists(output):
        return
    inputs = [catalog, *tables.glob("*.blend*.*")] if tables.is_dir() else [catalog]
    if any(path.exists() and output.exists() and path.samefile(output) for path in inputs):
        raise MisuseError(f"--out {output} is one of the files that are read; give another name")
    if not overwrite:
        raise CommandError(f"{output} is there already; give another name, or --overwrite")

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""``blendid simulate``: coadds with known galaxies."""

from __future__ import annotations

__all__ = ("simulate",)

import re
from pathlib import Path
from typing import Any

import click

from .._suggest import did_you_mean
from ._common import common_options
from ._options import (
    SceneNumbers,
    config_file_option,
    config_option,
    jobs_option,
    output_folder_option,
    overwrite_option,
    seed_option,
    visits_option,
)

_LAST_SCENE = 9
_ANY_BAND = "any"


def _parse_patches(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Read ``N`` or ``NXxNY``."""
    if value is None:
        return None
    words = value.lower().split("x")
    if len(words) > 2 or not all(word.isdecimal() and int(word) for word in words):
        raise click.BadParameter(f"{value!r} is neither a number of patches nor one along x and y, like 3x2")
    return int(words[0]), int(words[-1]) if len(words) == 2 else 1


def _parse_bands(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    """Read ``gri``, ``g,r,i``, or ``any``."""
    if value == _ANY_BAND:
        return (value,)
    bands = [word.strip() for word in value.split(",")] if "," in value else list(value)
    if not bands or not all(bands):
        raise click.BadParameter("name at least one band")
    return tuple(dict.fromkeys(bands))


def _parse_columns(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    """Read ``NAME=COLUMN``, once a name."""
    columns: dict[str, str] = {}
    for text in value:
        name, sign, column = (word.strip() for word in text.partition("="))
        if not (name and sign and column):
            raise click.BadParameter(f"{text!r} is not of the form NAME=COLUMN, like mag_i=imag")
        if name in columns:
            raise click.BadParameter(f"{name} is given twice")
        columns[name] = column
    if columns:
        # Late, because it imports astropy.
        from ..simulation.catalogs.columns import CATALOG_COLUMNS

        unknown = [name for name in columns if name not in CATALOG_COLUMNS]
        if unknown:
            known = ", ".join(CATALOG_COLUMNS)
            names = " and no ".join(name + did_you_mean(name, CATALOG_COLUMNS) for name in unknown)
            raise click.BadParameter(f"galaxies have no {names}; known are: {known}")
    return columns


def _parse_name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Refuse a name that pipetask or a query would take for something else."""
    if value is not None and not re.fullmatch(r"\w[\w.:+/-]*", value, re.ASCII):
        raise click.BadParameter(f"{value!r} is no name of letters, digits and the signs _ . : + / -")
    return value


def _check_scenes(ctx: click.Context, param: click.Parameter, value: tuple[int, ...]) -> tuple[int, ...]:
    """Refuse numbers that no truth scene has."""
    for number in value:
        if not 0 <= number <= _LAST_SCENE:
            raise click.BadParameter(f"there is no scene {number}; there are scenes 0 to {_LAST_SCENE}")
    return value


@click.command()
@output_folder_option("Write FITS files and truth tables into this folder", "directory", required=False)
@click.option(
    "--butler",
    "repository",
    metavar="REPO",
    type=click.Path(path_type=Path),
    help="Write coadds of overlapping patches into this Butler repository; made if need be.",
)
@click.option(
    "--recipe",
    "recipe_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write only what to simulate: a small file of skies that 'blendid train' and 'blendid evaluate' "
    "simulate when they read it.",
)
@click.option(
    "--skies",
    metavar="N",
    type=click.IntRange(min=1),
    help="Make many images: N skies of the model of cosmoDC2; by default 16 if --vary, --draws or --recipe "
    "asks for many, and no --scenes.",
)
@click.option(
    "--vary",
    is_flag=True,
    help="Draw each sky with galaxies, stars, PSF, depth, pixels and defects of its own: sizes from those of "
    "cosmoDC2 to three times as large, 0.6 to 1.4 arcsec, 10 to 400 visits, pixels of 0.1 to 0.4 arcsec.",
)
@click.option(
    "--draws",
    metavar="N",
    type=click.IntRange(min=1),
    help="Draw each truth scene, and without --vary each sky, N times, with other shapes and noise; by "
    "default once.",
)
@click.option(
    "--catalog",
    "--truth",
    "catalog",
    metavar="SOURCE",
    help="Where the galaxies come from: a table (FITS, ECSV, Parquet, CSV), a truth file like those of "
    "Buchanan et al. 2022, or a folder of skyCatalogs; by default the model of cosmoDC2.",
)
@click.option(
    "--column",
    "columns",
    metavar="NAME=COLUMN",
    multiple=True,
    callback=_parse_columns,
    help="Column of the table of --catalog that is NAME, with its unit if the table has none or a wrong "
    "one: 'half_light_radius=R50 [arcmin]'. Repeat for more columns.",
)
@click.option(
    "--scenes",
    "--scene",
    "scenes",
    type=SceneNumbers("1,2,3,5"),
    default=(),
    callback=_check_scenes,
    help="Positions and fluxes of truth scenes (0 to 9) of Buchanan et al. 2022, from the folder "
    "$BLENDID_DATA; of one an image, of several many.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    help="Refuse a truth scene that is not in this part of the sky.",
)
@click.option(
    "--center",
    nargs=2,
    type=float,
    metavar="RA DEC",
    help="Middle of the field, degrees; by default the catalogue's.",
)
@click.option(
    "--sizes",
    metavar="MODEL",
    multiple=True,
    help="Sizes and shapes that the catalogue does not give: cosmodc2, 1.6x, large (nearer to those of real "
    "galaxies), or cosmodc2-galaxies (drawn together with everything else; default).  Repeat to draw each "
    "of many skies with several; for many the default is cosmodc2, 1.6x and large.",
)
@click.option(
    "--bands",
    "--band",
    "bands",
    default="i",
    show_default=True,
    callback=_parse_bands,
    help="Bands, such as ugrizy; all of them show the same galaxies.  With --vary also any: a band of its "
    "own for each sky, for models that hold for any.",
)
@click.option(
    "--size", type=click.IntRange(min=32), default=2048, show_default=True, help="Width of an image, pixels."
)
@click.option(
    "--patches",
    metavar="N|NXxNY",
    callback=_parse_patches,
    help="Number of patches, with --butler; by default 1.",
)
@click.option(
    "--overlap",
    type=click.IntRange(min=0),
    help="Width of the strip that patches share, pixels; by default a sixteenth of their size.",
)
@click.option(
    "--skymap",
    metavar="NAME",
    callback=_parse_name,
    help="Name of the skymap, with --butler; by default from the layout of patches.",
)
@click.option("--tract", type=click.IntRange(min=0), help="Number of the tract, with --butler; by default 0.")
@click.option(
    "--collection",
    metavar="NAME",
    callback=_parse_name,
    help="RUN collection, with --butler; by default simulated.",
)
@click.option(
    "--prepare",
    is_flag=True,
    help="With --butler: write the catalogues only, and leave the coadds to pipetask or bps.",
)
@click.option(
    "--resume", is_flag=True, help="With --butler or many images: leave those that are there as they are."
)
@click.option(
    "--mode", type=click.Choice(["fast", "full"]), help="Draw coadds at once, or exposure by exposure."
)
@visits_option(alias="--exposures")
@click.option(
    "--psf-fwhm",
    metavar="ARCSEC",
    type=click.FloatRange(0.1, 10.0),
    help="Seeing FWHM of all bands, arcsec, at least two pixels; by default that of each band in ten years "
    "of Rubin, 0.7 in i.",
)
@click.option(
    "--pixel-scale",
    metavar="ARCSEC",
    type=click.FloatRange(0.02, 2.0),
    help="Size of a pixel, arcsec; by default that of Rubin, 0.2.",
)
@click.option(
    "--exposure-folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the exposures of mode full here, and go on from those that are there.",
)
@seed_option()
@click.option(
    "--noise-seed", type=click.IntRange(min=0), help="Seed of the noise, for several draws of one sky."
)
@jobs_option(
    "Images (in mode full exposures, with --prepare quanta of pipetask), the same pixels for any number,",
    alias="--processes",
)
@config_file_option("SceneConfig")
@config_option("Override of one field of SceneConfig, such as population.sizeScale=2; applied last.")
@click.option(
    "--name", metavar="NAME", help="With --out: start of the file names; by default from the options."
)
@overwrite_option("Replace files of that name, and all images of a series of that name.")
@common_options
def simulate(
    *,
    directory: Path | None,
    repository: Path | None,
    recipe_file: Path | None,
    patches: tuple[int, int] | None,
    overlap: int | None,
    skymap: str | None,
    tract: int | None,
    collection: str | None,
    prepare: bool,
    resume: bool,
    name: str | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Make coadds with known galaxies.

    With --out, writes one image a band: NAME.fits, a CellCoadd with PSF,
    variance, mask and sky projection, and NAME.truth.parquet, a row per galaxy
    with its position, flux and S/N.  With --butler, writes the same for each
    patch and band into a Butler repository, as deep_coadd and deep_coadd_truth.
    Nothing that exists is replaced, unless by --overwrite.

    With --skies, --vary, --draws, several --scenes or several --sizes, --out
    gets many images, NAME_0001.fits and so on, for 'blendid train DIR' to learn
    from, and --recipe a file of a few lines that stands for the same pixels.

    \b
    Examples:
      blendid simulate --out scenes
      blendid simulate --out scenes --size 1024 --sizes large --seed 7 --bands gri
      blendid simulate --out scenes -c population.sizeScale=2 -c variation.fwhmScatter=0.05
      blendid simulate --out scenes --psf-fwhm 0.9 --visits 50
      blendid simulate --out scenes --mode full --visits 10 -j 4 --exposure-folder kept
      BLENDID_DATA=data blendid simulate --out scenes --scenes 0
      blendid simulate --out scenes --catalog mine.fits --column mag_i=imag
      blendid simulate --out skies --skies 16 --vary -j 4
      blendid simulate --recipe skies.json --skies 16 --vary
      blendid simulate --butler repo --patches 3x2 --bands ugrizy -j 4
      blendid simulate --butler repo --patches 10x10 --bands ugrizy --prepare
    """  # noqa: D301
    outputs = [output for output in (directory, repository, recipe_file) if output is not None]
    if len(outputs) != 1:
        raise click.UsageError(
            "give --out DIR for files, --butler REPO for a repository, or --recipe FILE for a file that says "
            "what to simulate; one of them"
        )

    from ._simulate import Request, simulate_files, simulate_into_butler, simulate_skies, write_recipe

    request = Request(**options)
    many = "--recipe" if recipe_file is not None else request.asks_for_many
    if request.scenes and request.catalog is not None:
        raise click.UsageError("--scenes and --catalog exclude each other")
    if not request.scenes and request.catalog is None:
        _refuse("--scenes or --catalog", split=request.split)
    if request.catalog is None:
        _refuse("--catalog", column=request.columns or None)
    if repository is None:
        _refuse("--butler", patches=patches, overlap=overlap, skymap=skymap, tract=tract)
        _refuse("--butler", collection=collection, prepare=prepare)
        if not (directory is not None and many):
            _refuse("--butler, or with --out for many images,", resume=resume)
    else:
        _refuse("--out", name=name, overwrite=overwrite)
        if many:
            raise click.UsageError(f"{many} makes many images, which works with --out and --recipe only")
    if recipe_file is not None:
        _refuse("--out", name=name)
    if prepare and resume:
        raise click.UsageError("--prepare and --resume exclude each other")
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other")
    if many:
        request.check_many(many)
    if recipe_file is not None:
        write_recipe(request, recipe_file, overwrite=overwrite)
    elif directory is not None and many:
        simulate_skies(request, directory, name=name, overwrite=overwrite, resume=resume)
    elif directory is not None:
        simulate_files(request, directory, name=name, overwrite=overwrite)
    else:
        assert repository is not None
        simulate_into_butler(
            request,
            repository,
            n_patches=patches or (1, 1),
            overlap=2 * (request.size // 32) if overlap is None else overlap,
            skymap=skymap,
            tract=tract or 0,
            collection=collection or "simulated",
            prepare=prepare,
            resume=resume,
        )


def _refuse(needed: str, **options: object) -> None:
    """Refuse options that mean something with another output only."""
    for option, value in options.items():
        if value is not None and value is not False:
            raise click.UsageError(f"--{option} works with {needed} only")

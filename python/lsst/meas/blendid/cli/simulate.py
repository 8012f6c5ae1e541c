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

import click

from .._suggest import did_you_mean
from ._common import common_options
from ._options import config_option


def _parse_patches(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Read ``N`` or ``NXxNY``."""
    if value is None:
        return None
    words = value.lower().split("x")
    if len(words) > 2 or not all(word.isdecimal() and int(word) for word in words):
        raise click.BadParameter(f"{value!r} is neither a number of patches nor one along x and y, like 3x2")
    return int(words[0]), int(words[-1]) if len(words) == 2 else 1


def _parse_bands(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    """Read ``gri`` or ``g,r,i``."""
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


@click.command()
@click.option(
    "-o",
    "--out",
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write FITS files and truth tables into this folder; made if need be.",
)
@click.option(
    "--butler",
    "repository",
    metavar="REPO",
    type=click.Path(path_type=Path),
    help="Write coadds of overlapping patches into this Butler repository; made if need be.",
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
    "--scene",
    type=click.IntRange(0, 9),
    metavar="N",
    help="Positions and fluxes of truth scene N (0 to 9) of Buchanan et al. 2022, from the folder "
    "$BLENDID_DATA.",
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
    default="cosmodc2-galaxies",
    show_default=True,
    help="Sizes and shapes that the catalogue does not give: cosmodc2, 1.6x, large (nearer to those of real "
    "galaxies), or cosmodc2-galaxies (drawn together with everything else).",
)
@click.option(
    "--bands",
    "--band",
    "bands",
    default="i",
    show_default=True,
    callback=_parse_bands,
    help="Bands, such as ugrizy; all of them show the same galaxies.",
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
@click.option("--resume", is_flag=True, help="With --butler: leave coadds that are there as they are.")
@click.option(
    "--mode", type=click.Choice(["fast", "full"]), help="Draw coadds at once, or exposure by exposure."
)
@click.option(
    "--exposures",
    "n_exposures",
    type=click.IntRange(min=1),
    metavar="N",
    help="Exposures of 30 s in a coadd; by default those of ten years.",
)
@click.option(
    "--psf-fwhm",
    metavar="ARCSEC",
    type=click.FloatRange(0.5, 3.0),
    help="Seeing FWHM of all bands, arcsec (0.5 to 3, for pixels of 0.2 arcsec); by default that of each "
    "band in ten years of Rubin, 0.7 in i.",
)
@click.option(
    "--exposure-folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the exposures of mode full here, and go on from those that are there.",
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of everything.")
@click.option(
    "--noise-seed", type=click.IntRange(min=0), help="Seed of the noise, for several draws of one sky."
)
@click.option(
    "-j",
    "--processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that share the work, with --prepare those of pipetask; the pixels do not depend on it.",
)
@click.option(
    "--config",
    "config_files",
    metavar="FILE",
    multiple=True,
    help="File with overrides of SceneConfig; it is Python code that is run.",
)
@config_option("Override of one field of SceneConfig, such as population.sizeScale=2; applied last.")
@click.option(
    "--name", metavar="NAME", help="With --out: start of the file names; by default from the options."
)
@click.option("--overwrite", is_flag=True, help="With --out: replace files of that name.")
@common_options
def simulate(
    directory: Path | None,
    repository: Path | None,
    catalog: str | None,
    columns: dict[str, str],
    scene: int | None,
    split: str | None,
    center: tuple[float, float] | None,
    sizes: str,
    bands: tuple[str, ...],
    size: int,
    patches: tuple[int, int] | None,
    overlap: int | None,
    skymap: str | None,
    tract: int | None,
    collection: str | None,
    prepare: bool,
    resume: bool,
    mode: str | None,
    n_exposures: int | None,
    psf_fwhm: float | None,
    exposure_folder: Path | None,
    seed: int,
    noise_seed: int | None,
    processes: int,
    config_files: tuple[str, ...],
    config_options: tuple[str, ...],
    name: str | None,
    overwrite: bool,
) -> None:
    """Make coadds with known galaxies.

    With --out, writes one image a band: NAME.fits, a CellCoadd with PSF,
    variance, mask and sky projection, and NAME.truth.parquet, a row per galaxy
    with its position, flux and S/N.  With --butler, writes the same for each
    patch and band into a Butler repository, as deep_coadd and deep_coadd_truth.
    Nothing that exists is replaced, unless by --overwrite.

    \b
    Examples:
      blendid simulate --out scenes
      blendid simulate --out scenes --size 1024 --sizes large --seed 7 --bands gri
      blendid simulate --out scenes -c population.sizeScale=2 -c variation.fwhmScatter=0.05
      blendid simulate --out scenes --psf-fwhm 0.9 --exposures 50
      blendid simulate --out scenes --mode full --exposures 10 -j 4 --exposure-folder kept
      BLENDID_DATA=data blendid simulate --out scenes --scene 0
      blendid simulate --out scenes --catalog mine.fits --column mag_i=imag
      blendid simulate --butler repo --patches 3x2 --bands ugrizy -j 4
      blendid simulate --butler repo --patches 10x10 --bands ugrizy --prepare
    """  # noqa: D301
    if (directory is None) == (repository is None):
        raise click.UsageError("give --out DIR for files, or --butler REPO for a repository")
    if scene is not None and catalog is not None:
        raise click.UsageError("--scene and --catalog exclude each other")
    if scene is None and catalog is None:
        _refuse("--scene or --catalog", split=split)
    if catalog is None:
        _refuse("--catalog", column=columns or None)
    if repository is None:
        _refuse("--butler", patches=patches, overlap=overlap, skymap=skymap, tract=tract)
        _refuse("--butler", collection=collection, prepare=prepare, resume=resume)
    else:
        _refuse("--out", name=name, overwrite=overwrite)
    if prepare and resume:
        raise click.UsageError("--prepare and --resume exclude each other")

    from ._simulate import Request, simulate_files, simulate_into_butler

    request = Request(
        catalog=catalog,
        columns=columns,
        scene=scene,
        split=split,
        center=center,
        sizes=sizes,
        bands=bands,
        size=size,
        mode=mode,
        n_exposures=n_exposures,
        psf_fwhm=psf_fwhm,
        exposure_folder=exposure_folder,
        seed=seed,
        noise_seed=noise_seed,
        processes=processes,
        config_files=config_files,
        config_options=config_options,
    )
    if directory is not None:
        simulate_files(request, directory, name=name, overwrite=overwrite)
        return
    assert repository is not None
    simulate_into_butler(
        request,
        repository,
        n_patches=patches or (1, 1),
        overlap=2 * (size // 32) if overlap is None else overlap,
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

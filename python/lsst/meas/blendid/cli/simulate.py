# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""``blendid simulate``: a coadd with known galaxies."""

from __future__ import annotations

__all__ = ("simulate",)

import time
from pathlib import Path

import click

from ._common import CommandError, common_options, make_output_folder


@click.command()
@click.option(
    "-o",
    "--out",
    "directory",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of the files; made if need be.",
)
@click.option("--name", metavar="NAME", help="Start of the file names; by default from the options.")
@click.option(
    "--scene",
    type=click.IntRange(0, 9),
    metavar="N",
    help="Positions and fluxes of truth scene N (0 to 9) of Buchanan et al. 2022, from the folder "
    "$BLENDID_DATA; by default a built-in parametric catalogue.",
)
@click.option(
    "--truth",
    metavar="FILE",
    help="Positions and fluxes from a file like those of the truth scenes (columns x, y, n_photon_i).",
)
@click.option(
    "--size", type=click.IntRange(min=32), default=2048, show_default=True, help="Width and height, pixels."
)
@click.option(
    "--sizes",
    metavar="MODEL",
    default="cosmodc2",
    show_default=True,
    help="Galaxy sizes: cosmodc2, 1.6x, or large (nearer to those of real galaxies).",
)
@click.option("--band", default="i", show_default=True, help="Band.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of everything.")
@click.option(
    "--noise-seed", type=click.IntRange(min=0), help="Seed of the noise, for several draws of one sky."
)
@click.option("--overwrite", is_flag=True, help="Replace files of that name.")
@common_options
def simulate(
    directory: Path,
    name: str | None,
    scene: int | None,
    truth: str | None,
    size: int,
    sizes: str,
    band: str,
    seed: int,
    noise_seed: int | None,
    overwrite: bool,
) -> None:
    """Make a coadd with known galaxies.

    Writes NAME.fits, a CellCoadd with PSF, variance, mask and sky projection,
    and NAME.truth.parquet, a row per galaxy with its position, flux and S/N.

    \b
    Examples:
      blendid simulate --out scenes
      blendid simulate --out scenes --size 1024 --sizes large --seed 7
      BLENDID_DATA=data blendid simulate --out scenes --scene 0
    """  # noqa: D301
    if scene is not None and truth is not None:
        raise click.UsageError("--scene and --truth exclude each other")
    if truth is not None and not Path(truth).is_file():
        raise CommandError(f"truth file {truth}: no such file")
    if name is None:
        source = (
            Path(truth).stem if truth is not None else "galaxies" if scene is None else f"scene_{scene:02d}"
        )
        name = f"{source}_{sizes}_{band}_{seed}" + ("" if noise_seed is None else f"_{noise_seed}")
    if not name or "/" in name or name.startswith("."):
        raise click.UsageError(f"--name {name!r} cannot be the start of a file name")
    make_output_folder(directory)
    path = directory / f"{name}.fits"
    if not overwrite:
        for file in (path, directory / f"{name}.truth.parquet"):
            if file.exists():
                raise CommandError(f"{file} exists; choose another --name or give --overwrite")

    from ..simulation.coadd import simulate_scene
    from ..simulation.progress import stderr_progress

    start = time.perf_counter()
    simulated = simulate_scene(
        scene if scene is not None else truth,
        size=(size, size),
        seed=seed,
        noise_seed=noise_seed,
        size_model=sizes,
        band=band,
        progress=stderr_progress("Galaxies"),
    )
    image, _ = simulated.write(path, overwrite=overwrite)
    click.echo(f"{image}: {len(simulated.truth)} galaxies, {time.perf_counter() - start:.1f} s")

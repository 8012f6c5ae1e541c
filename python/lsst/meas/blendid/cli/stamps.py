# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""``blendid stamps``: the data sets of other systems that identify blends."""

from __future__ import annotations

__all__ = ("stamps",)

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ._common import CommandError, MisuseError, common_options, make_output_folder
from ._options import jobs_option, overwrite_option, seed_option

if TYPE_CHECKING:
    from ..simulation.stamps import StampSet


@click.group()
@common_options
def stamps() -> None:
    """Make the sets of postage stamps of other systems.

    Each is a folder: images.npy, stamps.parquet (a row per stamp: label,
    separation, split, noise), truth.parquet (a row per galaxy), psf.npy and
    stamp_set.json.

    \b
    Examples:
      blendid stamps blendhunter --out stamps/parametric -j 8
      blendid stamps blendhunter-real --out stamps/real --cosmos cosmos -j 8
      blendid stamps coin --out stamps/coin --cosmos cosmos
      blendid stamps blendhunter --out small --train 500 --validation 0 --test 500 --noise 15
    """  # noqa: D301


def _out(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every set."""
    out = click.option(
        "-o",
        "--out",
        "folder",
        metavar="DIR",
        required=True,
        type=click.Path(path_type=Path),
        help="Folder to write; it becomes the set, and must not exist.",
    )
    return out(seed_option()(overwrite_option("Replace a set of that name.")(function)))


def _sizes[F: Callable[..., Any]](train: int, validation: int, test: int) -> Callable[[F], F]:
    """Add options for the number of stamps in each split."""

    def decorate(function: F) -> F:
        for name, default in (("test", test), ("validation", validation), ("train", train)):
            function = click.option(
                f"--{name}",
                f"n_{name}",
                type=click.IntRange(min=0),
                default=default,
                show_default=True,
                metavar="N",
                help=f"Number of stamps for {'training' if name == 'train' else name}.",
            )(function)
        return function

    return decorate


def _noise[F: Callable[..., Any]](function: F) -> F:
    for option in (
        click.option(
            "--realisations",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            metavar="N",
            help="Noise draws to write of each --noise.",
        ),
        click.option(
            "--noise",
            "levels",
            type=click.FloatRange(min=0.0, min_open=True),
            multiple=True,
            metavar="SIGMA",
            help="Also write images with this noise, padded, as noisy_SIGMA_N.npy; repeat for several. "
            "By default noise is drawn when the set is read.",
        ),
    ):
        function = option(function)
    return function


def _cosmos[F: Callable[..., Any]](*, required: bool, text: str) -> Callable[[F], F]:
    return click.option(
        "--cosmos", metavar="DIR", required=required, type=click.Path(path_type=Path), help=text
    )


@stamps.command("blendhunter")
@_out
@_sizes(36000, 36000, 8000)
@_cosmos(
    required=False,
    text="COSMOS catalogue with parametric fits (galsim_download_cosmos); by default model galaxies.",
)
@click.option(
    "--sizes", metavar="MODEL", default="1.6x", show_default=True, help="Sizes of the model galaxies."
)
@_noise
@jobs_option("Stamps, with the same pixels for any number,", alias="--processes")
@common_options
def blendhunter(
    folder: Path,
    n_train: int,
    n_validation: int,
    n_test: int,
    cosmos: Path | None,
    sizes: str,
    levels: tuple[float, ...],
    realisations: int,
    jobs: int,
    seed: int,
    overwrite: bool,
) -> None:
    """Model galaxies, half of the stamps with two (BlendHunter).

    The parametric set of Farrens et al. 2022 (A&A 657, A98), with its numbers.
    """
    from .._progress import stderr_progress
    from ..simulation.stamps import make_blendhunter

    _check(folder, overwrite, n_train + n_validation + n_test)
    start = time.perf_counter()
    stamp_set = make_blendhunter(
        {"train": n_train, "validation": n_validation, "test": n_test},
        cosmos=cosmos,
        size_model=sizes,
        seed=seed,
        processes=jobs,
        progress=stderr_progress("Stamps"),
    )
    _write(stamp_set, folder, overwrite, start, levels, realisations)


@stamps.command("blendhunter-real")
@_out
@_sizes(0, 0, 20000)
@_cosmos(required=True, text="Catalogue of real galaxies that GalSim reads, the whole of COSMOS or a part.")
@_noise
@jobs_option("Stamps, with the same pixels for any number,", alias="--processes")
@common_options
def blendhunter_real(
    folder: Path,
    n_train: int,
    n_validation: int,
    n_test: int,
    cosmos: Path,
    levels: tuple[float, ...],
    realisations: int,
    jobs: int,
    seed: int,
    overwrite: bool,
) -> None:
    """Real galaxies, half of the stamps with two (BlendHunter).

    The realistic set of Farrens et al. 2022 (A&A 657, A98), with its numbers.
    """
    from .._progress import stderr_progress
    from ..simulation.stamps import make_blendhunter_real

    _check(folder, overwrite, n_train + n_validation + n_test)
    start = time.perf_counter()
    stamp_set = make_blendhunter_real(
        cosmos,
        {"train": n_train, "validation": n_validation, "test": n_test},
        seed=seed,
        processes=jobs,
        progress=stderr_progress("Stamps"),
    )
    _write(stamp_set, folder, overwrite, start, levels, realisations)


@stamps.command("coin")
@_out
@_sizes(9800, 4200, 6000)
@_cosmos(required=True, text="Catalogue of real galaxies that GalSim reads, the whole of COSMOS or a part.")
@click.option(
    "--isolated-share",
    type=click.FloatRange(min=0.0, max=1.0),
    default=0.5,
    show_default=True,
    metavar="SHARE",
    help="Share of stamps with one galaxy, which classifiers need as well; 0 for pairs alone, as in the "
    "paper.",
)
@click.option(
    "--shift",
    type=click.Choice(["text", "released"]),
    default="text",
    show_default=True,
    help="Distance of the pairs: from half a radius to half a stamp, or as in the released pairs.",
)
@common_options
def coin(
    folder: Path,
    n_train: int,
    n_validation: int,
    n_test: int,
    cosmos: Path,
    isolated_share: float,
    shift: Literal["text", "released"],
    seed: int,
    overwrite: bool,
) -> None:
    """Pairs of real galaxies, and lone ones, with the segmentation of each alone (COIN).

    The set of Boucaud et al. 2020 (MNRAS 491, 2481), with its numbers.
    """
    from .._progress import stderr_progress
    from ..simulation.stamps import CoinSettings, make_coin

    _check(folder, overwrite, n_train + n_validation + n_test)
    start = time.perf_counter()
    stamp_set = make_coin(
        cosmos,
        {"train": n_train, "validation": n_validation, "test": n_test},
        settings=CoinSettings(isolated_share=isolated_share, shift=shift),
        seed=seed,
        progress=stderr_progress("Stamps"),
    )
    _write(stamp_set, folder, overwrite, start, (), 1)


def _check(folder: Path, overwrite: bool, n: int) -> None:
    """Refuse, before any work is done, what could not be written."""
    from ..simulation.stamps import check_output

    if not n:
        raise MisuseError("there is no stamp to make; give --train, --validation or --test")
    if (folder / "stamp_set.json").is_file() and not overwrite:
        raise CommandError(f"{folder} exists; choose another --out or give --overwrite")
    make_output_folder(folder.absolute().parent)
    check_output(folder, overwrite=overwrite)


def _write(
    stamp_set: StampSet,
    folder: Path,
    overwrite: bool,
    start: float,
    levels: tuple[float, ...],
    realisations: int,
) -> None:
    """Write a set, and tell what it is."""
    from ..simulation.stamps import write_noisy

    if levels:
        # What the set is taken with where nothing else is said.
        stamp_set = dataclasses.replace(
            stamp_set, metadata={**stamp_set.metadata, "noise_levels": list(dict.fromkeys(levels))}
        )
    stamp_set.write(folder, overwrite=overwrite)
    names = [
        write_noisy(stamp_set, folder, sigma, realisation).name
        for sigma in dict.fromkeys(levels)
        for realisation in range(realisations)
    ]
    n_blended = int(stamp_set.is_blended.sum())
    size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    click.echo(
        f"{folder}: {len(stamp_set)} stamps of {stamp_set.size} pixels, {n_blended} with two galaxies; "
        f"{size:.1f} MB, {time.perf_counter() - start:.1f} s"
    )
    if names:
        click.echo(f"with noise: {', '.join(names)}")

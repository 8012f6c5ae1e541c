# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What ``blendid simulate`` does once its options are understood."""

from __future__ import annotations

__all__ = ("Request", "simulate_files", "simulate_into_butler", "simulate_skies", "write_recipe")

import dataclasses
import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
from astropy.table import Table

from .._processes import map_in_order
from .._progress import stderr_progress
from .._suggest import did_you_mean
from ..simulation.catalogs.catalog import BUILT_IN_NAMES, GalaxySource, as_source
from ..simulation.catalogs.catalog_files import FileSource
from ..simulation.catalogs.parametric import ParametricCatalog
from ..simulation.config import SceneConfig
from ..simulation.survey import get_survey
from ..simulation.tracts.repository import RepositoryWriter
from ..simulation.tracts.tract import TractLayout, TractSimulation, make_tract_catalog
from ..simulation.tracts.tract_jobs import PatchJob, simulate_patches
from ..training import ANY_BAND, SceneRecipe, SimulatedScene
from ._common import (
    CommandError,
    MisuseError,
    announce,
    describe_error,
    make_output_folder,
    pipeline_uri,
    show_log,
)
from ._config import apply_file, apply_options

_FILES_SKYMAP = "blendid_simulated"
"""Name of the skymap of images that are written to files."""
_FEWEST_DIGITS = 4
"""Of the numbers of the images of a series."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What to simulate, wherever it is written; as on the command line."""

    catalog: str | None
    columns: dict[str, str]
    scenes: tuple[int, ...]
    skies: int | None
    vary: bool
    draws: int | None
    split: str | None
    center: tuple[float, float] | None
    sizes: tuple[str, ...]
    bands: tuple[str, ...]
    size: int
    mode: str | None
    visits: int | None
    psf_fwhm: float | None
    pixel_scale: float | None
    exposure_folder: Path | None
    seed: int
    noise_seed: int | None
    jobs: int
    config_files: tuple[str, ...]
    config_options: tuple[str, ...]

    @property
    def asks_for_many(self) -> str | None:
        """What of the options asks for many images, if one does."""
        asking = {
            "--skies": self.skies is not None,
            "--vary": self.vary,
            "--draws": self.draws is not None,
            "more than one of --scenes": len(self.scenes) > 1,
            "more than one --sizes": len(self.sizes) > 1,
        }
        return next((option for option, does in asking.items() if does), None)

    @property
    def size_model(self) -> str:
        """Galaxy sizes of a single image."""
        return self.sizes[0] if self.sizes else "cosmodc2-galaxies"

    def check_many(self, many: str) -> None:
        """Refuse options that a recipe of skies has no place for.

        Parameters
        ----------
        many
            What asks for many images.

        Raises
        ------
        MisuseError
            Raised if there is such an option.
        """
        of_one: dict[str, object] = {
            "--catalog": self.catalog,
            "--center": self.center,
            "--mode": self.mode,
            "--exposure-folder": self.exposure_folder,
            "--noise-seed": self.noise_seed,
            "--config": self.config_files or None,
        }
        for option, value in of_one.items():
            if value is not None:
                instead = f"; give -c mode={self.mode}" if option == "--mode" else ""
                raise MisuseError(f"{option} is for a single image and does not go with {many}{instead}")
        if len(self.bands) > 1:
            raise MisuseError(f"{many} works with one band, not {', '.join(self.bands)}; give one as --band")
        drawn: dict[str, object] = {
            "--sizes": self.sizes or None,
            "--psf-fwhm": self.psf_fwhm,
            "--pixel-scale": self.pixel_scale,
            "--visits": self.visits,
            "--config-option": self.config_options or None,
        }
        for option, value in drawn.items():
            if self.vary and value is not None:
                raise MisuseError(
                    f"{option} does not go with --vary, which draws it for each sky; leave out one"
                )

    def make_recipe(self) -> SceneRecipe:
        """Make the recipe of many images.

        Returns
        -------
        recipe
            The recipe.

        Raises
        ------
        MisuseError
            Raised if a value makes no sense.
        """
        default = 0 if self.scenes else SceneRecipe.skies
        try:
            return SceneRecipe(
                skies=default if self.skies is None else self.skies,
                truths=self.scenes,
                vary=self.vary,
                sizes=self.sizes,
                draws=self.draws or SceneRecipe.draws,
                size=self.size,
                band=self.bands[0],
                psf_fwhm=self.psf_fwhm,
                pixel_scale=self.pixel_scale,
                visits=self.visits,
                seed=self.seed,
                split=self.split,
                options=self.config_options,
            )
        except ValueError as err:
            raise MisuseError(describe_error(err)) from err

    def make_source(self) -> GalaxySource:
        """Make the source of the galaxies.

        Returns
        -------
        source
            The source.

        Raises
        ------
        MisuseError
            Raised if columns are named for a source that is no table.
        SimulationError
            Raised if the source is nothing that galaxies can be read from.
        """
        source = as_source(self.scenes[0] if self.scenes else self.catalog, split=self.split)
        if not self.columns:
            return source
        if not isinstance(source, FileSource):
            raise MisuseError(f"--column works with tables only, and --catalog {self.catalog} is none")
        return dataclasses.replace(source, columns=self.columns)

    def check(self) -> None:
        """Find what is wrong before any work is done.

        Raises
        ------
        CommandError
            Raised if the catalogue does not exist, or if settings do not work.
        SimulationError
            Raised for an unknown band.
        """
        for band in self.bands:
            if band == ANY_BAND:
                raise MisuseError(f"--bands {ANY_BAND} draws a band for each of many skies; add --vary")
            get_survey(band)
        if self.catalog not in (None, *BUILT_IN_NAMES) and not Path(str(self.catalog)).exists():
            hint = did_you_mean(str(self.catalog), BUILT_IN_NAMES)
            raise CommandError(f"catalogue {self.catalog}{hint}: no such file or folder")

    def make_scene_config(self) -> SceneConfig:
        """Make the config of the scene.

        Returns
        -------
        config
            A validated config.

        Raises
        ------
        MisuseError
            Raised if an option is not understood.
        CommandError
            Raised if a file cannot be read or the result does not work.
        """
        config = SceneConfig()
        for file in self.config_files:
            apply_file(config, file)
        if self.mode is not None:
            config.mode = self.mode
        apply_options(config, self.config_options)
        try:
            config.validate()
        except ValueError as err:
            raise CommandError(f"the config does not work: {describe_error(err)}") from err
        if self.exposure_folder is not None and config.mode != "full":
            raise click.UsageError("--exposure-folder works with --mode full only")
        return config

    def find_pixel_scale(self) -> float:
        """Size of a pixel, arcsec: what is asked for, or that of the survey."""
        return get_survey(self.bands[0]).pixel_scale if self.pixel_scale is None else self.pixel_scale

    def make_tract(self, layout: TractLayout) -> TractSimulation:
        """Describe the tract.

        Parameters
        ----------
        layout
            Where the patches lie.

        Returns
        -------
        simulation
            The tract, without catalogue.
        """
        return TractSimulation(
            layout,
            self.seed,
            self.noise_seed,
            self.visits,
            self.make_scene_config(),
            psf_fwhm=self.psf_fwhm,
        )


def simulate_files(request: Request, directory: Path, *, name: str | None, overwrite: bool) -> None:
    """Write one coadd a band to files.

    Parameters
    ----------
    request
        What to simulate.
    directory
        Folder of the files.
    name
        Start of their names; with several bands, that of the band follows.
    overwrite
        Whether to replace files.
    """
    request.check()
    _check_name(name)
    layout = TractLayout(
        _FILES_SKYMAP,
        patch_size=request.size,
        overlap=0,
        pixel_scale=request.find_pixel_scale(),
    )
    simulation = request.make_tract(layout)
    paths = {band: directory / f"{_file_name(request, name, band)}.fits" for band in request.bands}
    if not overwrite:
        _refuse_existing([file for path in paths.values() for file in (path, _truth_path(path))])
    simulation, catalog = _make_catalog(request, simulation)
    near = simulation.patch_catalog(catalog, 0)
    jobs = [PatchJob(0, band, near) for band in request.bands]
    make_output_folder(directory)
    start = time.perf_counter()
    for job, simulated in simulate_patches(
        simulation,
        jobs,
        processes=request.jobs,
        exposure_folder=request.exposure_folder,
        progress=stderr_progress("Coadds"),
    ):
        image, _ = simulated.write(paths[job.band], overwrite=overwrite)
        announce(f"{image}: {len(simulated.truth)} objects, {time.perf_counter() - start:.1f} s")
        start = time.perf_counter()


def write_recipe(request: Request, path: Path, *, overwrite: bool) -> None:
    """Write the recipe of many images to a file.

    Parameters
    ----------
    request
        What to simulate.
    path
        The file.
    overwrite
        Whether to replace it.
    """
    recipe = request.make_recipe()
    if path.is_dir():
        raise MisuseError(f"--recipe {path} is a folder; give a file, such as {path / 'skies.json'}")
    if path.exists() and not overwrite:
        raise CommandError(f"{path} exists; choose another --recipe or give --overwrite")
    make_output_folder(path.absolute().parent)
    recipe.write(path, overwrite=overwrite)
    announce(f"{path}: {_count(recipe.n_scenes)} of {recipe.size} × {recipe.size} pixels to simulate")


def simulate_skies(
    request: Request, directory: Path, *, name: str | None, overwrite: bool, resume: bool
) -> None:
    """Write many images, those that training on their recipe sees, and the recipe beside them.

    Parameters
    ----------
    request
        What to simulate.
    directory
        Folder of the files.
    name
        Start of their names.
    overwrite
        Whether to replace images of such names.
    resume
        Whether to leave images that are there, if they are of the same recipe.
    """
    recipe = request.make_recipe()
    _check_name(name)
    stem = name or f"{'varied' if recipe.vary else 'skies'}_{recipe.band}_{recipe.seed}"
    scenes = recipe.scenes()
    digits = max(_FEWEST_DIGITS, len(str(len(scenes))))
    paths = [directory / f"{stem}_{i:0{digits}d}.fits" for i in range(1, len(scenes) + 1)]
    note = directory / f"{stem}.recipe.json"
    series = _find_series(directory, stem)
    if resume:
        if (note.exists() or series) and not (note.exists() and SceneRecipe.read(note) == recipe):
            raise CommandError(
                f"the images {stem} in {directory} are of another recipe; choose another --name, or give "
                "--overwrite instead of --resume"
            )
    elif not overwrite:
        _refuse_existing([note, *series])
    make_output_folder(directory)
    if overwrite:
        # All at once, so that no image of another recipe is left among those of this one.
        for file in series:
            file.unlink()
    recipe.write(note, overwrite=True)
    jobs = [
        (scene, path)
        for scene, path in zip(scenes, paths, strict=True)
        if not (path.exists() and _truth_path(path).exists())
    ]
    if len(jobs) < len(scenes):
        announce(f"{directory}: {_count(len(scenes) - len(jobs))} of {len(scenes)} were there")
    processes = request.jobs
    if (config := scenes[0].config) is not None and config.mode == "full":
        # Its exposures are what is worked on at the same time.
        jobs = [(dataclasses.replace(scene, processes=processes), path) for scene, path in jobs]
        processes = 1
    progress = stderr_progress("Images")
    start = time.perf_counter()
    with show_log("lsst.meas.blendid.simulation", stem):
        for i, (image, n_objects) in enumerate(map_in_order(_simulate_to_file, jobs, processes)):
            if progress is not None:
                progress(i + 1, len(jobs))
            announce(f"{image}: {n_objects} objects, {time.perf_counter() - start:.1f} s")
            start = time.perf_counter()


def _simulate_to_file(job: tuple[SimulatedScene, Path]) -> tuple[Path, int]:
    """Simulate and write a scene, maybe in another process; its file and the number of its objects."""
    scene, path = job
    simulated = scene.simulate()
    # Half a pair may be left of a run that was killed.
    simulated.write(path, overwrite=True)
    return path, len(simulated.truth)


def _find_series(directory: Path, stem: str) -> list[Path]:
    """Images and truth tables of a series in a folder."""
    pattern = re.compile(rf"{re.escape(stem)}_\d{{{_FEWEST_DIGITS},}}\.(fits|truth\.parquet)")
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if pattern.fullmatch(path.name))


def _check_name(name: str | None) -> None:
    if name is not None and (not name or "/" in name or name.startswith(".")):
        raise click.UsageError(f"--name {name!r} cannot be the start of a file name")


def _truth_path(image: Path) -> Path:
    return image.with_name(image.stem + ".truth.parquet")


def _refuse_existing(files: Sequence[Path]) -> None:
    for file in files:
        if file.exists():
            raise CommandError(f"{file} exists; choose another --name or give --overwrite")


def _count(n: int) -> str:
    return "1 image" if n == 1 else f"{n} images"


def _make_catalog(request: Request, simulation: TractSimulation) -> tuple[TractSimulation, Table]:
    """Draw or read the catalogue of the tract."""
    source = request.make_source()
    if sys.stderr.isatty():
        work = "Drawing" if isinstance(source, ParametricCatalog) else "Reading"
        announce(f"{work} the catalogue …", err=True)
    with show_log("lsst.meas.blendid.simulation", request.catalog or ""):
        return make_tract_catalog(
            simulation,
            source,
            band=request.bands[0],
            size_model=request.size_model,
            split=request.split,
            center=request.center,
        )


def _pipetask_command(request: Request, repository: Path, layout: TractLayout, collection: str) -> str:
    """Command that makes the coadds of catalogues."""
    names = ", ".join(f"'{band}'" for band in request.bands)
    where = f"skymap='{layout.skymap}' AND tract={layout.tract} AND band IN ({names})"
    kept = ""
    if request.exposure_folder is not None:
        option = f"simulateCoadd:exposureFolder={request.exposure_folder.absolute()}"
        kept = f"    -c {shlex.quote(option)} \\\n"
    return (
        f"  pipetask run -j {request.jobs} -b {shlex.quote(str(repository))} "
        f"-i {shlex.quote(collection)} -o {shlex.quote(collection + '_coadds')} \\\n"
        f"    -p {pipeline_uri('simulate.yaml')} --register-dataset-types \\\n"
        f"{kept}"
        f'    -d "{where}"'
    )


def _file_name(request: Request, name: str | None, band: str) -> str:
    """Start of the names of the files of a band."""
    if name is not None:
        return name if len(request.bands) == 1 else f"{name}_{band}"
    source = "galaxies"
    if request.scenes:
        source = f"scene_{request.scenes[0]:02d}"
    elif request.catalog is not None:
        source = Path(request.catalog).stem
    noise = "" if request.noise_seed is None else f"_{request.noise_seed}"
    return f"{source}_{request.size_model}_{band}_{request.seed}{noise}"


def simulate_into_butler(
    request: Request,
    repository: Path,
    *,
    n_patches: tuple[int, int],
    overlap: int,
    skymap: str | None,
    tract: int,
    collection: str,
    prepare: bool,
    resume: bool,
) -> None:
    """Write coadds of overlapping patches into a Butler repository.

    Parameters
    ----------
    request
        What to simulate.
    repository
        Root of the repository.
    n_patches
        Number of patches along x and y.
    overlap
        Width of the strip that they share, pixels.
    skymap
        Name of the skymap; by default one made of the layout.
    tract
        Number of the tract.
    collection
        RUN collection.
    prepare
        Whether to write catalogues only.
    resume
        Whether to leave out coadds that are there.
    """
    request.check()
    if skymap is None:
        skymap = f"blendid_{n_patches[0]}x{n_patches[1]}_{request.size}_{overlap}"
    layout = TractLayout(
        skymap,
        tract,
        n_patches,
        request.size,
        overlap,
        pixel_scale=request.find_pixel_scale(),
    )
    start = time.perf_counter()
    simulation = request.make_tract(layout)
    make_output_folder(repository.absolute().parent)
    writer = RepositoryWriter(repository, simulation, request.bands, collection=collection, resume=resume)
    simulation, catalog = _make_catalog(request, simulation)
    jobs = writer.write_inputs(simulation, catalog)
    n_all = len(layout.patches) * len(request.bands)
    if prepare:
        click.echo(f"{repository}: catalogues of {len(layout.patches)} patches in collection {collection}.")
        click.echo("Make the coadds with")
        click.echo(_pipetask_command(request, repository, layout, collection))
        return
    n_objects = writer.write_coadds(
        simulation,
        jobs,
        processes=request.jobs,
        exposure_folder=request.exposure_folder,
        progress=stderr_progress("Coadds"),
    )
    kept = f", {n_all - len(jobs)} were there" if len(jobs) < n_all else ""
    announce(
        f"{repository}: {len(jobs)} coadds in collection {collection}{kept}, {n_objects} objects, "
        f"{time.perf_counter() - start:.1f} s"
    )

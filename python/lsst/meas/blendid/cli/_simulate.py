# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What ``blendid simulate`` does once its options are understood."""

from __future__ import annotations

__all__ = ("Request", "simulate_files", "simulate_into_butler")

import dataclasses
import shlex
import sys
import time
from pathlib import Path

import click
from astropy.table import Table

from .._paths import pipeline_uri
from .._suggest import did_you_mean
from ..simulation.catalogs.catalog import BUILT_IN_NAMES, GalaxySource, as_source
from ..simulation.catalogs.catalog_files import FileSource
from ..simulation.catalogs.parametric import ParametricCatalog
from ..simulation.config import SceneConfig
from ..simulation.progress import stderr_progress
from ..simulation.survey import get_survey
from ..simulation.tracts.repository import RepositoryWriter
from ..simulation.tracts.tract import TractLayout, TractSimulation, make_tract_catalog
from ..simulation.tracts.tract_jobs import PatchJob, simulate_patches
from ._common import CommandError, MisuseError, announce, describe_error, make_output_folder, show_log
from ._config import apply_file, apply_options

_FILES_SKYMAP = "blendid_simulated"
"""Name of the skymap of images that are written to files."""


@dataclasses.dataclass(frozen=True)
class Request:
    """Options that hold for files and repositories alike; as on the command line."""

    catalog: str | None
    columns: dict[str, str]
    scene: int | None
    split: str | None
    center: tuple[float, float] | None
    sizes: str
    bands: tuple[str, ...]
    size: int
    mode: str | None
    n_exposures: int | None
    psf_fwhm: float | None
    exposure_folder: Path | None
    seed: int
    noise_seed: int | None
    processes: int
    config_files: tuple[str, ...]
    config_options: tuple[str, ...]

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
        source = as_source(self.scene if self.scene is not None else self.catalog, split=self.split)
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
            self.n_exposures,
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
    if name is not None and (not name or "/" in name or name.startswith(".")):
        raise click.UsageError(f"--name {name!r} cannot be the start of a file name")
    layout = TractLayout(
        _FILES_SKYMAP,
        patch_size=request.size,
        overlap=0,
        pixel_scale=get_survey(request.bands[0]).pixel_scale,
    )
    simulation = request.make_tract(layout)
    paths = {band: directory / f"{_file_name(request, name, band)}.fits" for band in request.bands}
    if not overwrite:
        for path in paths.values():
            for file in (path, path.with_name(path.stem + ".truth.parquet")):
                if file.exists():
                    raise CommandError(f"{file} exists; choose another --name or give --overwrite")
    simulation, catalog = _make_catalog(request, simulation)
    near = simulation.patch_catalog(catalog, 0)
    jobs = [PatchJob(0, band, near) for band in request.bands]
    make_output_folder(directory)
    start = time.perf_counter()
    for job, simulated in simulate_patches(
        simulation,
        jobs,
        processes=request.processes,
        exposure_folder=request.exposure_folder,
        progress=stderr_progress("Coadds"),
    ):
        image, _ = simulated.write(paths[job.band], overwrite=overwrite)
        announce(f"{image}: {len(simulated.truth)} objects, {time.perf_counter() - start:.1f} s")
        start = time.perf_counter()


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
            size_model=request.sizes,
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
        f"  pipetask run -j {request.processes} -b {shlex.quote(str(repository))} "
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
    if request.scene is not None:
        source = f"scene_{request.scene:02d}"
    elif request.catalog is not None:
        source = Path(request.catalog).stem
    noise = "" if request.noise_seed is None else f"_{request.noise_seed}"
    return f"{source}_{request.sizes}_{band}_{request.seed}{noise}"


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
        pixel_scale=get_survey(request.bands[0]).pixel_scale,
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
        processes=request.processes,
        exposure_folder=request.exposure_folder,
        progress=stderr_progress("Coadds"),
    )
    kept = f", {n_all - len(jobs)} were there" if len(jobs) < n_all else ""
    announce(
        f"{repository}: {len(jobs)} coadds in collection {collection}{kept}, {n_objects} objects, "
        f"{time.perf_counter() - start:.1f} s"
    )

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Butler repositories with simulated coadds of overlapping patches.

lsst.skymap is not needed: `register_dimensions` writes the dimension records, with
regions, that its skymaps would.

The inner box of a patch is ``coadd.patch.inner_bbox``, the outer box
``coadd.patch.outer_bbox`` (`lsst.images.cells.CellCoadd.patch`), both in parent pixels;
the box of the tract is ``coadd.sky_projection.pixel_frame.bbox``. With one tract
there is no overlap of tracts, and all of it is inner.
"""

from __future__ import annotations

__all__ = (
    "CATALOG_DATASET",
    "COADD_DATASET",
    "TRACT_DATASET",
    "TRUTH_DATASET",
    "DemoRepository",
    "RepositoryWriter",
    "make_demo_repository",
    "make_tract_catalog",
    "register_dimensions",
)

import dataclasses
import os
import tempfile
from pathlib import Path

from astropy.table import Table

from lsst.daf.butler import Butler
from lsst.images.cells import PatchDefinition

from ..catalogs.catalog import GalaxySource, as_source
from ..catalogs.galaxies import SizeModel
from ..catalogs.population import make_catalog
from ..coadds.projection import DEFAULT_CENTER
from ..coadds.render import ProgressCallback
from ..survey import get_survey
from .dimensions import register_dimensions
from .repository_writer import (
    CATALOG_DATASET,
    COADD_DATASET,
    TRACT_DATASET,
    TRUTH_DATASET,
    RepositoryWriter,
    is_free,
)
from .tract import TractLayout, TractSimulation


@dataclasses.dataclass(frozen=True)
class DemoRepository:
    """A repository of simulated coadds, and what is in it."""

    root: Path
    """Root of the Butler repository."""

    collection: str
    """RUN collection with the coadds and their truths."""

    skymap: str
    """Name of the skymap."""

    tract: int
    """Number of the tract."""

    patches: tuple[PatchDefinition, ...]
    """The patches, in the order of their numbers."""

    band: str
    """Name of the band."""

    truth: dict[int, Table]
    """Truth table of each patch: rows whose centre lies in its outer box."""

    @property
    def data_ids(self) -> tuple[dict[str, str | int], ...]:
        """Data IDs of the coadds, one a patch."""
        return tuple(
            {"skymap": self.skymap, "tract": self.tract, "patch": p.id, "band": self.band}
            for p in self.patches
        )


def make_tract_catalog(
    simulation: TractSimulation,
    source: GalaxySource | Table | str | Path | int | None = None,
    *,
    band: str = "i",
    size_model: str | SizeModel = "cosmodc2-galaxies",
    split: str | None = None,
    center: tuple[float, float] | None = None,
) -> tuple[TractSimulation, Table]:
    """Make the catalogue of a whole tract.

    Parameters
    ----------
    simulation
        The tract, with seed and population.
    source
        Where the galaxies come from (`~lsst.meas.blendid.simulation.catalogs.catalog.as_source`).
    band
        Band of magnitudes that do not say theirs.
    size_model, split
        See `~lsst.meas.blendid.simulation.catalogs.population.make_catalog`.
    center
        ICRS right ascension and declination of the middle of the tract, degrees; by
        default that of the source, if it has one.

    Returns
    -------
    simulation
        The tract, in its place and with the origin of the catalogue.
    catalog
        The catalogue.

    Raises
    ------
    SimulationError
        Raised for a bad source or setting, or if no galaxy lies in the tract.
    """
    galaxies = as_source(source, split=split)
    if center is None and callable(getattr(galaxies, "field_center", None)):
        center = galaxies.field_center()  # type: ignore[attr-defined]
    layout = dataclasses.replace(simulation.layout, center=center or DEFAULT_CENTER)
    if center is not None and any(f.name == "center" for f in _fields(galaxies)):
        galaxies = dataclasses.replace(galaxies, center=center)  # type: ignore[type-var]
    catalog = make_catalog(
        galaxies,
        size=layout.size,
        survey=get_survey(band),
        seed=simulation.seed,
        size_model=size_model,
        population=simulation.scene.population,
        split=split,
    )
    # The others are among the settings of the tract.
    origin = {key: value for key, value in catalog.meta.items() if key not in ("seed", "population")}
    return dataclasses.replace(simulation, layout=layout, origin=origin), catalog


def _fields(value: object) -> tuple[dataclasses.Field[object], ...]:
    return dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()


def make_demo_repository(
    path: str | Path,
    *,
    patches: int | tuple[int, int] = 2,
    patch_size: int = 1500,
    overlap: int = 100,
    seed: int = 1,
    source: GalaxySource | Table | str | Path | int | None = None,
    size_model: str | SizeModel = "cosmodc2-galaxies",
    band: str = "i",
    collection: str = "demo",
    skymap: str = "blendid_demo",
    tract: int = 0,
    split: str | None = None,
    processes: int = 1,
    progress: ProgressCallback | None = None,
) -> DemoRepository:
    """Make a Butler repository with simulated coadds of overlapping patches in one band.

    Parameters
    ----------
    path
        Root of the repository; it must not exist, or be an empty folder.
    patches
        Number of patches, in a row or along x and y.
    patch_size
        Width of the outer box of a patch, pixels.
    overlap
        Width of the strip that neighbours share, pixels; even.
    seed, source, size_model, split
        See `~lsst.meas.blendid.simulation.catalogs.population.make_catalog`.
    band
        Name of the band.
    collection
        Name of the RUN collection to write to.
    skymap, tract
        Identity of the tract.
    processes, progress
        See `~lsst.meas.blendid.simulation.tracts.tract_jobs.simulate_patches`.

    Returns
    -------
    repository
        What was made. Per patch there is a ``deep_coadd`` (storage class ``CellCoadd``)
        and a ``deep_coadd_truth`` (``ArrowAstropy``).

    Raises
    ------
    FileExistsError
        Raised if ``path`` exists and is not an empty folder.
    FileNotFoundError
        Raised if the parent folder does not exist.
    SimulationError
        Raised for settings that do not work.

    Notes
    -----
    The repository is made beside ``path`` and renamed when complete.
    """
    root = Path(path).absolute()
    if not is_free(root):
        raise FileExistsError(f"output exists already: {root}; remove it or choose another path")
    n_patches = (patches, 1) if isinstance(patches, int) else patches
    layout = TractLayout(
        skymap, tract, n_patches, patch_size, overlap, pixel_scale=get_survey(band).pixel_scale
    )
    simulation, catalog = make_tract_catalog(
        TractSimulation(layout, seed), source, band=band, size_model=size_model, split=split
    )
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as folder:
        temporary = Path(folder) / "repository"
        writer = RepositoryWriter(temporary, simulation, [band], collection=collection)
        jobs = writer.write_inputs(simulation, catalog)
        writer.write_coadds(simulation, jobs, processes=processes, progress=progress)
        os.replace(temporary, root)
    names: dict[str, str | int] = {"skymap": skymap, "tract": tract, "band": band}
    with Butler.from_config(str(root), collections=collection) as butler:
        truth = {p.id: butler.get(TRUTH_DATASET, {**names, "patch": p.id}) for p in simulation.layout.patches}
    return DemoRepository(root, collection, skymap, tract, simulation.layout.patches, band, truth)

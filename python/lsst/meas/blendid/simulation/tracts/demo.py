# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""A repository of simulated coadds in one call, for demonstrations and tests."""

from __future__ import annotations

__all__ = (
    "DemoRepository",
    "make_demo_repository",
)

import dataclasses
import os
import tempfile
from pathlib import Path

from astropy.table import Table

from lsst.images.cells import PatchDefinition

from ..._progress import ProgressCallback
from ..catalogs.catalog import GalaxySource
from ..catalogs.galaxies import SizeModel
from ..survey import get_survey
from .repository import (
    RepositoryWriter,
    is_free,
)
from .tract import TractLayout, TractSimulation, make_tract_catalog

_SKYMAP, _BAND, _COLLECTION = "blendid_demo", "i", "demo"


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

    @property
    def data_ids(self) -> tuple[dict[str, str | int], ...]:
        """Data IDs of the coadds, one a patch."""
        return tuple(
            {"skymap": self.skymap, "tract": self.tract, "patch": p.id, "band": self.band}
            for p in self.patches
        )


def make_demo_repository(
    path: str | Path,
    *,
    patches: int | tuple[int, int] = 2,
    patch_size: int = 1500,
    overlap: int = 100,
    seed: int = 1,
    source: GalaxySource | Table | str | Path | int | None = None,
    size_model: str | SizeModel = "cosmodc2-galaxies",
    progress: ProgressCallback | None = None,
) -> DemoRepository:
    """Make a Butler repository with simulated coadds of overlapping patches in band *i*.

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
    seed, source, size_model
        See `~lsst.meas.blendid.simulation.make_catalog`.
    progress
        Called with the number of coadds done and in all.

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
        _SKYMAP, 0, n_patches, patch_size, overlap, pixel_scale=get_survey(_BAND).pixel_scale
    )
    simulation, catalog = make_tract_catalog(
        TractSimulation(layout, seed), source, band=_BAND, size_model=size_model
    )
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as folder:
        temporary = Path(folder) / "repository"
        writer = RepositoryWriter(temporary, simulation, [_BAND], collection=_COLLECTION)
        jobs = writer.write_inputs(simulation, catalog)
        writer.write_coadds(simulation, jobs, progress=progress)
        os.replace(temporary, root)
    return DemoRepository(root, _COLLECTION, layout.skymap, layout.tract, layout.patches, _BAND)

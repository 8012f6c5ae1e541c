# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Many patches and bands, in one process or several."""

from __future__ import annotations

__all__ = (
    "PatchJob",
    "simulate_patches",
)

import dataclasses
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from astropy.table import Table

from lsst.images import Mask
from lsst.images.cells import CellGridBounds

from ..._processes import map_in_order
from ..._progress import ProgressCallback, part_of
from ..coadds.simulated_coadd import SimulatedCoadd, make_coadd
from .tract import TractSimulation


@dataclasses.dataclass(frozen=True)
class PatchJob:
    """A patch to simulate in a band."""

    patch: int
    """Number of the patch."""

    band: str
    """Name of the band."""

    catalog: Table
    """Catalogue of the patch."""


def simulate_patches(
    simulation: TractSimulation,
    jobs: Sequence[PatchJob],
    *,
    processes: int = 1,
    exposure_folder: str | Path | None = None,
    progress: ProgressCallback | None = None,
) -> Iterator[tuple[PatchJob, SimulatedCoadd]]:
    """Simulate patches, each as soon as its turn comes.

    Parameters
    ----------
    simulation
        The tract.
    jobs
        What to simulate.
    processes
        Processes that share the work: each a patch and band in mode "fast", each an exposure
        in mode "full". The pixels do not depend on it.
    exposure_folder
        Where mode "full" keeps exposures, those of each patch in a folder of their own.
    progress
        Called with the work done and in all.

    Yields
    ------
    job, simulated
        The jobs in their order, and what came out.

    Raises
    ------
    SimulationError
        Raised for bad settings or a bad catalogue.
    """
    if simulation.scene.mode == "full" or processes <= 1 or len(jobs) <= 1:
        for i, job in enumerate(jobs):
            simulated = simulation.simulate(
                job.catalog,
                job.patch,
                job.band,
                processes=processes,
                exposure_folder=None
                if exposure_folder is None
                else patch_folder(exposure_folder, simulation, job.patch),
                progress=part_of(progress, i, len(jobs)),
            )
            yield job, simulated
        return
    # A projection cannot go to another process: the layout makes it anew there.
    fresh = dataclasses.replace(simulation, layout=dataclasses.replace(simulation.layout))
    if progress is not None:
        progress(0, len(jobs))
    results = map_in_order(_Worker(fresh), jobs, processes)
    try:
        for i, (job, parts) in enumerate(zip(jobs, results, strict=True)):
            if progress is not None:
                progress(i + 1, len(jobs))
            yield job, parts.assemble(simulation, job)
    finally:
        # Stops the other processes when the caller stops early.
        cast(Generator[_Parts], results).close()


def patch_folder(folder: str | Path, simulation: TractSimulation, patch: int) -> Path:
    """Name the folder of the exposures of a patch, in that of all exposures."""
    return Path(folder) / f"{simulation.layout.skymap}_{simulation.layout.tract}_{patch}"


@dataclasses.dataclass(frozen=True)
class _Parts:
    """A simulated coadd without its projection, which cannot go to another process."""

    image: np.ndarray
    variance: np.ndarray
    mask: Mask
    kernels: np.ndarray
    truth: Table

    @classmethod
    def take(cls, simulated: SimulatedCoadd) -> _Parts:
        coadd = simulated.coadd
        bounds = CellGridBounds(grid=coadd.patch.cells, bbox=coadd.bbox)
        kernels = []
        for index in bounds.cell_indices():
            box = coadd.patch.cells.bbox_of(index)
            middle = {"x": box.x.min + box.x.size // 2, "y": box.y.min + box.y.size // 2}
            kernels.append(coadd.psf.compute_kernel_image(**middle).array)
        grid = coadd.patch.cells.grid_size
        return cls(
            coadd.image.array,
            coadd.variance.array,
            Mask(coadd.mask.array, schema=coadd.mask.schema, bbox=coadd.bbox),
            np.reshape(kernels, (grid.i, grid.j, *kernels[0].shape)),
            simulated.truth,
        )

    def assemble(self, simulation: TractSimulation, job: PatchJob) -> SimulatedCoadd:
        coadd = make_coadd(
            self.image,
            self.variance,
            self.kernels,
            simulation.patch(job.patch),
            simulation.layout.projection,
            job.band,
            self.mask,
        )
        return SimulatedCoadd(coadd, self.truth)


@dataclasses.dataclass(frozen=True)
class _Worker:
    """Goes to each process once."""

    simulation: TractSimulation

    def __call__(self, job: PatchJob) -> _Parts:
        return _Parts.take(self.simulation.simulate(job.catalog, job.patch, job.band))

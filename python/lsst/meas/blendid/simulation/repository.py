# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""A Butler repository with simulated coadds of overlapping patches.

The patches are those of a skymap's tract in all that a coadd knows of them: they
share one pixel grid and one projection, their outer boxes overlap, their inner boxes
tile the tract without overlap. The overlap shows the same sky with the same noise,
as in coadds of the same visits. lsst.skymap is not needed: `register_dimensions` writes
the dimension records, with regions, that its skymaps would.

The inner box of a patch is ``coadd.patch.inner_bbox``, the outer box
``coadd.patch.outer_bbox`` (`lsst.images.cells.CellCoadd.patch`), both in parent pixels;
the box of the tract is ``coadd.sky_projection.pixel_frame.bbox``. With one tract
there is no overlap of tracts, and all of it is inner.
"""

from __future__ import annotations

__all__ = (
    "COADD_DATASET",
    "TRUTH_DATASET",
    "DemoRepository",
    "cut_patch",
    "make_demo_repository",
    "make_patches",
    "register_dimensions",
)

import dataclasses
import hashlib
import math
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from lsst.daf.butler import Butler, DatasetType
from lsst.daf.butler.registry import ConflictingDefinitionError
from lsst.images import XY, YX, Box, SkyProjection, TractFrame
from lsst.images.cells import CellCoadd, CellGrid, CellGridBounds, CellPointSpreadFunction, PatchDefinition
from lsst.sphgeom import ConvexPolygon, LonLat, UnitVector3d

from ._errors import SimulationError
from .catalog import GalaxySource
from .coadd import SimulatedCoadd, cell_size_for, simulate_scene
from .galaxies import SizeModel
from .render import ProgressCallback
from .survey import Survey, get_survey

COADD_DATASET = "deep_coadd"
"""Dataset type of the coadds (storage class ``CellCoadd``)."""

TRUTH_DATASET = "deep_coadd_truth"
"""Dataset type of the truth tables (storage class ``ArrowAstropy``)."""

_DIMENSIONS = ("skymap", "tract", "patch", "band")


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


def make_patches(n: tuple[int, int], size: int, overlap: int) -> tuple[PatchDefinition, ...]:
    """Lay out the patches of a tract whose first pixel is (0, 0).

    Parameters
    ----------
    n
        Number of patches along x and y.
    size
        Width of the outer box of each, pixels.
    overlap
        Width of the strip that neighbours share, pixels; even.

    Returns
    -------
    patches
        Row by row, numbered as lsst.skymap does (``index.y * n_x + index.x``). Inner
        boxes meet in the middle of the strips and reach the edge of the tract.

    Raises
    ------
    SimulationError
        Raised if the numbers make no layout.
    """
    if min(n) < 1 or size < 1:
        raise SimulationError(f"need at least one patch of at least one pixel, not {n} of {size}")
    if overlap < 0 or overlap % 2 or (overlap > size // 2):
        raise SimulationError(
            f"the overlap of patches must be even and at most half of their size of {size}, not {overlap}"
        )
    step = size - overlap
    # Cells of neighbours coincide, as in Rubin's coadds, if their width divides both.
    common = math.gcd(size, overlap)
    cell = cell_size_for(common) if common >= 16 else cell_size_for(size)
    half = overlap // 2
    patches = []
    for iy in range(n[1]):
        for ix in range(n[0]):
            outer = Box.from_shape((size, size), start=(iy * step, ix * step))
            lo_y = outer.y.start + (half if iy > 0 else 0)
            hi_y = outer.y.stop - (half if iy < n[1] - 1 else 0)
            lo_x = outer.x.start + (half if ix > 0 else 0)
            hi_x = outer.x.stop - (half if ix < n[0] - 1 else 0)
            patches.append(
                PatchDefinition(
                    id=iy * n[0] + ix,
                    index=YX(y=iy, x=ix),
                    inner_bbox=Box.factory[lo_y:hi_y, lo_x:hi_x],
                    cells=CellGrid(bbox=outer, cell_shape=YX(y=cell, x=cell)),
                )
            )
    return tuple(patches)


def cut_patch(scene: SimulatedCoadd, patch: PatchDefinition) -> SimulatedCoadd:
    """Cut one patch out of a scene that covers a whole tract.

    Parameters
    ----------
    scene
        The scene.
    patch
        The patch; its outer box lies in the scene.

    Returns
    -------
    simulated
        Copies of the pixels of the outer box, the PSF at the middle of each of its
        cells, and the rows of the truth whose centre is a pixel of the box.
    """
    bbox = patch.outer_bbox
    whole = scene.coadd
    cells = [patch.cells.bbox_of(i) for i in CellGridBounds(grid=patch.cells, bbox=bbox).cell_indices()]
    kernels = [
        whole.psf.compute_kernel_image(x=box.x.min + box.x.size // 2, y=box.y.min + box.y.size // 2).array
        for box in cells
    ]
    grid = patch.cells.grid_size
    psf = np.array(kernels).reshape(grid.i, grid.j, *kernels[0].shape)
    coadd = CellCoadd(
        whole.image[bbox].copy(),
        mask=whole.mask[bbox].copy(),
        variance=whole.variance[bbox].copy(),
        sky_projection=whole.sky_projection,
        band=whole.band,
        psf=CellPointSpreadFunction(psf, CellGridBounds(grid=patch.cells, bbox=bbox)),
        patch=patch,
    )
    x, y = np.rint(scene.truth["x"]), np.rint(scene.truth["y"])
    inside = (x >= bbox.x.min) & (x <= bbox.x.max) & (y >= bbox.y.min) & (y <= bbox.y.max)
    return SimulatedCoadd(coadd, scene.truth[np.asarray(inside)])


def _region(projection: SkyProjection[TractFrame], box: Box) -> ConvexPolygon:
    """Sky region of a box of pixels, outer edges included."""
    x = np.array([box.x.min - 0.5, box.x.max + 0.5, box.x.max + 0.5, box.x.min - 0.5])
    y = np.array([box.y.min - 0.5, box.y.min - 0.5, box.y.max + 0.5, box.y.max + 0.5])
    sky = projection.pixel_to_sky(XY(x=x, y=y))
    return ConvexPolygon(
        [UnitVector3d(LonLat.fromDegrees(ra, dec)) for ra, dec in zip(sky.ra.deg, sky.dec.deg, strict=True)]
    )


def register_dimensions(
    butler: Butler,
    projection: SkyProjection[TractFrame],
    patches: Iterable[PatchDefinition],
    *,
    bands: Iterable[str] = ("i",),
    instrument: str = "BlendidSim",
) -> None:
    """Insert the dimension records that datasets of patches and bands need.

    Parameters
    ----------
    butler
        A writeable Butler. Records that exist already with the same values are left
        alone.
    projection
        Projection of the tract; names the skymap and the tract.
    patches
        The patches of the tract.
    bands
        Names of the bands. A band exists in a Butler through a physical filter only:
        one ``<band>_sim`` is made for each.
    instrument
        Name of the instrument that owns the filters.

    Raises
    ------
    SimulationError
        Raised, and nothing is changed, if a record exists with other values: another
        layout of patches under the same name of a skymap.
    """
    patches = tuple(patches)
    frame = projection.pixel_frame
    layout = f"{frame.skymap} {frame.tract} {frame.bbox} " + " ".join(str(p) for p in patches)
    records: list[tuple[str, dict[str, Any]]] = [
        (
            "instrument",
            {
                "name": instrument,
                "visit_max": 1,
                "exposure_max": 1,
                "detector_max": 1,
                "class_name": "lsst.pipe.base.Instrument",
            },
        )
    ]
    for band in bands:
        records.append(
            ("physical_filter", {"instrument": instrument, "name": f"{band}_sim", "band": band}),
        )
    # The hash is that of the whole layout, so that another one of the same name differs here already.
    records.append(
        (
            "skymap",
            {
                "name": frame.skymap,
                "hash": hashlib.sha1(layout.encode(), usedforsecurity=False).digest(),
                "tract_max": frame.tract + 1,
                "patch_nx_max": max(p.index.x for p in patches) + 1,
                "patch_ny_max": max(p.index.y for p in patches) + 1,
            },
        )
    )
    region = _region(projection, frame.bbox)
    records.append(("tract", {"skymap": frame.skymap, "id": frame.tract, "region": region}))
    for p in patches:
        record = {
            "skymap": frame.skymap,
            "tract": frame.tract,
            "id": p.id,
            "cell_x": p.index.x,
            "cell_y": p.index.y,
            "region": _region(projection, p.outer_bbox),
        }
        records.append(("patch", record))
    with butler.transaction():
        for element, record in records:
            try:
                butler.registry.syncDimensionData(element, record)
            except ConflictingDefinitionError:
                name = record.get("name", record.get("id"))
                raise SimulationError(
                    f"the repository has another {element} {name!r} already (skymap {frame.skymap!r}): "
                    "give the skymap another name, or use another repository"
                ) from None


def make_demo_repository(
    path: str | Path,
    *,
    patches: int | tuple[int, int] = 2,
    patch_size: int = 1500,
    overlap: int = 100,
    seed: int = 1,
    source: GalaxySource | Table | str | Path | int | None = None,
    size_model: str | SizeModel = "cosmodc2",
    band: str | Survey = "i",
    collection: str = "demo",
    skymap: str = "blendid_demo",
    tract: int = 0,
    split: str | None = None,
    progress: ProgressCallback | None = None,
) -> DemoRepository:
    """Make a Butler repository with simulated coadds of overlapping patches.

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
    seed, source, size_model, band, split, progress
        As for `~lsst.meas.blendid.simulation.coadd.simulate_scene`, which draws the
        whole tract at once.
    collection
        Name of the RUN collection to write to.
    skymap, tract
        Identity of the tract.

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
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise FileExistsError(f"output exists already: {root}; remove it or choose another path")
    if not root.parent.is_dir():
        raise FileNotFoundError(f"output folder does not exist: {root.parent}")
    survey = get_survey(band) if isinstance(band, str) else band
    layout = make_patches((patches, 1) if isinstance(patches, int) else patches, patch_size, overlap)
    tract_bbox = Box.factory[
        0 : max(p.outer_bbox.y.stop for p in layout), 0 : max(p.outer_bbox.x.stop for p in layout)
    ]
    scene = simulate_scene(
        source,
        size=(tract_bbox.x.size, tract_bbox.y.size),
        seed=seed,
        size_model=size_model,
        band=survey,
        skymap=skymap,
        tract=tract,
        split=split,
        progress=progress,
    )
    truth: dict[int, Table] = {}
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as folder:
        # A Butler takes a name with a dot for that of a configuration file.
        temporary = Path(folder) / "repository"
        Butler.makeRepo(str(temporary))
        with Butler.from_config(str(temporary), run=collection, writeable=True) as butler:
            register_dimensions(butler, scene.coadd.sky_projection, layout, bands=(survey.band,))
            types = {
                name: DatasetType(name, _DIMENSIONS, storage, universe=butler.dimensions)
                for name, storage in ((COADD_DATASET, "CellCoadd"), (TRUTH_DATASET, "ArrowAstropy"))
            }
            for dataset_type in types.values():
                butler.registry.registerDatasetType(dataset_type)
            for patch in layout:
                cut = cut_patch(scene, patch)
                data_id = {"skymap": skymap, "tract": tract, "patch": patch.id, "band": survey.band}
                butler.put(cut.coadd, types[COADD_DATASET], data_id)
                butler.put(cut.truth, types[TRUTH_DATASET], data_id)
                truth[patch.id] = cut.truth
        os.replace(temporary, root)
    return DemoRepository(root, collection, skymap, tract, layout, survey.band, truth)

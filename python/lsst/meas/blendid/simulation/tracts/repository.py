# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Simulated coadds of overlapping patches in a Butler repository, new or old.

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
    "RepositoryWriter",
    "is_free",
    "register_dimensions",
)

import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from lsst.daf.butler import (
    Butler,
    CollectionType,
    DatasetRef,
    DatasetType,
    MissingCollectionError,
    MissingDatasetTypeError,
)
from lsst.daf.butler.registry import ConflictingDefinitionError
from lsst.images import XY, Box, SkyProjection, TractFrame
from lsst.images.cells import PatchDefinition
from lsst.sphgeom import ConvexPolygon, LonLat, UnitVector3d

from ..._progress import ProgressCallback
from ..errors import SimulationError
from .tract import TractSimulation
from .tract_jobs import PatchJob, simulate_patches

COADD_DATASET = "deep_coadd"
"""Dataset type of the coadds (storage class ``CellCoadd``)."""

TRUTH_DATASET = "deep_coadd_truth"
"""Dataset type of the truth tables (storage class ``ArrowAstropy``)."""

CATALOG_DATASET = "deep_coadd_sim_catalog"
"""Dataset type of the catalogues of patches, those of all bands (storage class ``ArrowAstropy``)."""

TRACT_DATASET = "deep_coadd_sim_tract"
"""Dataset type of the settings of a tract (storage class ``StructuredDataDict``)."""

_DATASETS: Mapping[str, tuple[tuple[str, ...], str]] = {
    TRACT_DATASET: (("skymap", "tract"), "StructuredDataDict"),
    CATALOG_DATASET: (("skymap", "tract", "patch"), "ArrowAstropy"),
    COADD_DATASET: (("skymap", "tract", "patch", "band"), "CellCoadd"),
    TRUTH_DATASET: (("skymap", "tract", "patch", "band"), "ArrowAstropy"),
}


# Owns the filters through which bands exist in a Butler.
_INSTRUMENT = "BlendidSim"


class RepositoryWriter:
    """Writes a simulated tract into a Butler repository, which is made if need be.

    Parameters
    ----------
    root
        Root of the repository. If it does not exist, or is an empty folder, one is made.
    simulation
        The tract.
    bands
        Names of the bands.
    collection
        RUN collection to write to.
    resume
        Whether coadds that the collection has already are left out. By default they are an
        error.

    Raises
    ------
    FileExistsError
        Raised if the root is something else, or if the collection has one of the coadds.
    FileNotFoundError
        Raised if the folder above the root does not exist.
    SimulationError
        Raised for a band that is unknown, or a repository or collection that cannot be
        written to.

    Notes
    -----
    Nothing in a repository is ever replaced. A repository is made beside its place and
    renamed when it has the catalogues; coadds are added one by one, each with
    its truth in one transaction.
    """

    def __init__(
        self,
        root: str | Path,
        simulation: TractSimulation,
        bands: Sequence[str],
        *,
        collection: str = "simulated",
        resume: bool = False,
    ) -> None:
        self.root = Path(root).absolute()
        self._bands = tuple(dict.fromkeys(bands))
        self._collection = collection
        for band in self._bands:
            simulation.survey(band)
        self._done: set[tuple[int, str]] = set()
        self._numbers = [patch.id for patch in simulation.layout.patches]
        self._names: dict[str, str | int] = {
            "skymap": simulation.layout.skymap,
            "tract": simulation.layout.tract,
        }
        self._is_new = is_free(self.root)
        if self._is_new:
            return
        with self._open(writeable=False) as butler:
            for number in self._numbers:
                for band in self._bands:
                    data_id = {**self._names, "patch": number, "band": band}
                    if (ref := _find(butler, COADD_DATASET, data_id, collection)) is None:
                        continue
                    if not resume:
                        raise FileExistsError(
                            f"{self.root} has {COADD_DATASET} {_describe(ref)} in collection {collection!r} "
                            "already; choose another one (--collection), or leave it as it is (--resume)"
                        )
                    self._done.add((number, band))

    def _open(self, *, writeable: bool = True) -> Butler:
        return Butler.from_config(str(self.root), writeable=writeable)

    def write_inputs(self, simulation: TractSimulation, catalog: Table) -> list[PatchJob]:
        """Write dimension records, settings and the catalogue of each patch.

        Parameters
        ----------
        simulation
            The tract.
        catalog
            Its catalogue (`make_tract_catalog`).

        Returns
        -------
        jobs
            The coadds that are still to be made.

        Raises
        ------
        SimulationError
            Raised, and nothing is changed, if the repository has another layout of that
            name, the collection has other settings or another catalogue of the tract, or the
            repository cannot be written.
        """
        # By patch, so that a quantum reads what shines into its patch and no more.
        catalogs = {number: simulation.patch_catalog(catalog, number) for number in self._numbers}
        with _name_errors(self.root):
            if self._is_new:
                with tempfile.TemporaryDirectory(
                    dir=self.root.parent, prefix=f".{self.root.name}-"
                ) as folder:
                    # A Butler takes a name with a dot for that of a configuration file.
                    temporary = Path(folder) / "repository"
                    Butler.makeRepo(str(temporary))
                    with Butler.from_config(str(temporary), writeable=True) as butler:
                        self._put_inputs(butler, simulation, catalogs)
                    os.replace(temporary, self.root)
                self._is_new = False
            else:
                with self._open() as butler:
                    self._put_inputs(butler, simulation, catalogs)
        return [
            PatchJob(number, band, catalogs[number])
            for number in self._numbers
            for band in self._bands
            if (number, band) not in self._done
        ]

    def _put_inputs(self, butler: Butler, simulation: TractSimulation, catalogs: Mapping[int, Table]) -> None:
        layout, run = simulation.layout, self._collection
        register_dimensions(butler, layout.projection, layout.patches, bands=self._bands)
        butler.collections.register(run)
        if (kind := butler.collections.get_info(run).type) is not CollectionType.RUN:
            raise SimulationError(
                f"collection {run!r} of {self.root} is of type {kind.name}, which takes no coadds; "
                "choose another one (--collection)"
            )
        for name, (dimensions, storage) in _DATASETS.items():
            dataset_type = DatasetType(name, dimensions, storage, universe=butler.dimensions)
            try:
                butler.registry.registerDatasetType(dataset_type)
            except ConflictingDefinitionError:
                raise SimulationError(
                    f"{self.root} has dataset type {name!r} with another storage class or other dimensions; "
                    "use another repository"
                ) from None
        settings = simulation.to_dict()
        if (ref := _find(butler, TRACT_DATASET, self._names, run)) is not None:
            if different := _differences(butler.get(ref), settings):
                raise SimulationError(
                    f"collection {run!r} of {self.root} has tract {layout.tract} of skymap {layout.skymap!r} "
                    f"with other settings: {different}; use those, or another collection (--collection)"
                )
        with butler.transaction():
            if ref is None:
                butler.put(settings, TRACT_DATASET, self._names, run=run)
            for number, table in catalogs.items():
                data_id = {**self._names, "patch": number}
                # The metadata are those of the tract.
                table.meta.clear()
                if (ref := _find(butler, CATALOG_DATASET, data_id, run)) is None:
                    butler.put(table, CATALOG_DATASET, data_id, run=run)
                elif not _same_rows(butler.get(ref), table):
                    raise SimulationError(
                        f"collection {run!r} of {self.root} has another catalogue of patch {number}; "
                        "use the same source of galaxies, or choose another collection (--collection)"
                    )

    def write_coadds(
        self,
        simulation: TractSimulation,
        jobs: Sequence[PatchJob],
        *,
        processes: int = 1,
        exposure_folder: str | Path | None = None,
        progress: ProgressCallback | None = None,
    ) -> int:
        """Simulate coadds and write each with its truth.

        Parameters
        ----------
        simulation
            The tract.
        jobs
            What to simulate.
        processes, exposure_folder, progress
            See `~lsst.meas.blendid.simulation.tracts.tract_jobs.simulate_patches`.

        Returns
        -------
        objects
            Number of rows of all truth tables.

        Raises
        ------
        SimulationError
            Raised for settings that do not work, or if a coadd cannot be written: the disk is
            full, say, or another process has written it meanwhile.
        """
        n = 0
        with self._open() as butler:
            for job, simulated in simulate_patches(
                simulation, jobs, processes=processes, exposure_folder=exposure_folder, progress=progress
            ):
                data_id = {**self._names, "patch": job.patch, "band": job.band}
                with (
                    _name_errors(
                        self.root, "; coadds that it has are complete, and --resume goes on from there"
                    ),
                    butler.transaction(),
                ):
                    butler.put(simulated.coadd, COADD_DATASET, data_id, run=self._collection)
                    butler.put(simulated.truth, TRUTH_DATASET, data_id, run=self._collection)
                n += len(simulated.truth)
        return n


def is_free(root: Path) -> bool:
    """Tell whether a repository is to be made.

    Parameters
    ----------
    root
        Its root.

    Returns
    -------
    free
        True if there is nothing, or an empty folder; False if there is a repository.

    Raises
    ------
    FileExistsError
        Raised if there is something else.
    FileNotFoundError
        Raised if the folder above does not exist.
    """
    if (root / "butler.yaml").is_file():
        return False
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise FileExistsError(f"output exists already: {root} is no Butler repository; choose another path")
    if not root.parent.is_dir():
        raise FileNotFoundError(f"output folder does not exist: {root.parent}")
    return True


@contextmanager
def _name_errors(root: Path, hint: str = "") -> Iterator[None]:
    """Turn errors of files, of the database and of conflicts into one that names the repository."""
    try:
        yield
    except SimulationError:
        raise
    except Exception as err:
        cause: BaseException | None = err
        # The Butler wraps them, some without a cause of their own.
        while cause is not None:
            if isinstance(cause, (OSError, sqlite3.Error, ConflictingDefinitionError)):
                reason = getattr(cause, "strerror", None) or " ".join(str(cause).split())
                if isinstance(cause, ConflictingDefinitionError):
                    reason = "another process has written the same meanwhile"
                raise SimulationError(f"repository {root} cannot be written: {reason}{hint}") from err
            cause = cause.__cause__ or cause.__context__
        raise


def _find(
    butler: Butler, dataset: str, data_id: Mapping[str, str | int], collection: str
) -> DatasetRef | None:
    try:
        return butler.find_dataset(dataset, dict(data_id), collections=collection)
    except (MissingDatasetTypeError, MissingCollectionError, LookupError):
        return None


def _describe(ref: DatasetRef) -> str:
    return ", ".join(f"{key} {value}" for key, value in dict(ref.dataId.required).items())


def _differences(old: Mapping[str, object], new: Mapping[str, object], prefix: str = "") -> str:
    """Say which settings differ."""
    found = []
    for key in sorted({*old, *new}):
        first, second = old.get(key), new.get(key)
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            if inner := _differences(first, second, f"{prefix}{key}."):
                found.append(inner)
        elif first != second:
            found.append(f"{prefix}{key} is {first!r} there, not {second!r}")
    return "; ".join(found)


def _same_rows(first: Table, second: Table) -> bool:
    if first.colnames != second.colnames or len(first) != len(second):
        return False
    return all(np.array_equal(np.asarray(first[n]), np.asarray(second[n])) for n in first.colnames)


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
    bands: Iterable[str],
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
                "name": _INSTRUMENT,
                "visit_max": 1,
                "exposure_max": 1,
                "detector_max": 1,
                "class_name": "lsst.pipe.base.Instrument",
            },
        )
    ]
    for band in bands:
        records.append(
            ("physical_filter", {"instrument": _INSTRUMENT, "name": f"{band}_sim", "band": band}),
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

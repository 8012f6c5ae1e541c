# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the Butler repository with overlapping patches."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from lsst.daf.butler import Butler, CollectionType, DatasetType
from lsst.daf.butler.registry import ConflictingDefinitionError
from lsst.meas.blendid.simulation import SimulationError
from lsst.meas.blendid.simulation.tracts.repository import (
    CATALOG_DATASET,
    COADD_DATASET,
    TRACT_DATASET,
    TRUTH_DATASET,
    RepositoryWriter,
)
from lsst.meas.blendid.simulation.tracts.tract import (
    TractLayout,
    TractSimulation,
    make_tract_catalog,
)


@pytest.fixture(scope="module")
def tract() -> tuple[TractSimulation, Table]:
    layout = TractLayout("small", n_patches=(2, 1), patch_size=64, overlap=16)
    return make_tract_catalog(TractSimulation(layout, seed=3))


def _snapshot(root: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def _write(
    root: Path, tract: tuple[TractSimulation, Table], bands: str = "i", *, resume: bool = False
) -> list[tuple[int, str]]:
    simulation, catalog = tract
    writer = RepositoryWriter(root, simulation, bands, resume=resume)
    jobs = writer.write_inputs(simulation, catalog)
    writer.write_coadds(simulation, jobs)
    return [(job.patch, job.band) for job in jobs]


def test_inputs_are_kept(tmp_path: Path, tract: tuple[TractSimulation, Table]) -> None:
    simulation, catalog = tract
    _write(tmp_path / "repo", tract, "gi")
    with Butler.from_config(str(tmp_path / "repo"), collections="simulated") as butler:
        stored = TractSimulation.from_dict(butler.get(TRACT_DATASET, skymap="small", tract=0))
        assert stored.to_dict() == simulation.to_dict()
        assert stored.origin["source"] == "parametric"
        for patch in (0, 1):
            rows = butler.get(CATALOG_DATASET, skymap="small", tract=0, patch=patch)
            expected = simulation.patch_catalog(catalog, patch)
            assert rows.colnames == expected.colnames
            for name in rows.colnames:
                np.testing.assert_array_equal(rows[name], expected[name])
                assert rows[name].dtype == expected[name].dtype
            # Bands differ, galaxies do not.
            truth = [
                butler.get(TRUTH_DATASET, skymap="small", tract=0, patch=patch, band=band) for band in "gi"
            ]
            np.testing.assert_array_equal(truth[0]["id"], truth[1]["id"])
            assert not np.array_equal(truth[0]["flux"], truth[1]["flux"])


def test_nothing_is_written_twice(tmp_path: Path, tract: tuple[TractSimulation, Table]) -> None:
    root = tmp_path / "repo"
    assert _write(root, tract) == [(0, "i"), (1, "i")]
    before = _snapshot(root)
    with pytest.raises(FileExistsError, match="band i.*patch 0.*--collection"):
        _write(root, tract)
    assert _snapshot(root) == before
    assert _write(root, tract, resume=True) == []
    assert _write(root, tract, "ri", resume=True) == [(0, "r"), (1, "r")]
    after = _snapshot(root)
    coadds = [name for name in before if name.endswith(".fits")]
    assert len(coadds) == 2 and all(before[name] == after[name] for name in coadds)


def test_other_settings_are_not_mixed_in(tmp_path: Path, tract: tuple[TractSimulation, Table]) -> None:
    simulation, catalog = tract
    root = tmp_path / "repo"
    _write(root, tract)
    before = _snapshot(root)
    for other, match in (
        (dataclasses.replace(simulation, seed=4), "seed is 3 there, not 4"),
        (dataclasses.replace(simulation, n_exposures=10), "n_exposures is None there, not 10"),
        (dataclasses.replace(simulation, origin={"source": "mine"}), "origin.source is 'parametric' there"),
    ):
        with pytest.raises(SimulationError, match=match):
            _write(root, (other, catalog), "g")
    with pytest.raises(SimulationError, match="another catalogue of patch 0"):
        _write(root, (simulation, catalog[1:]), "g")
    after = _snapshot(root)
    assert {n: after[n] for n in before if n.endswith((".fits", ".parq", ".yaml"))} == {
        n: before[n] for n in before if n.endswith((".fits", ".parq", ".yaml"))
    }
    with Butler.from_config(str(root), collections="simulated") as butler:
        assert {ref.dataId["band"] for ref in butler.query_datasets(COADD_DATASET)} == {"i"}


def test_no_other_folder_is_touched(tmp_path: Path, tract: tuple[TractSimulation, Table]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("data")
    with pytest.raises(FileExistsError, match="no Butler repository"):
        _write(tmp_path / "full", tract)
    with pytest.raises(SimulationError, match="unknown band 'q'"):
        _write(tmp_path / "new", tract, "iq")
    assert [p.name for p in tmp_path.rglob("*")] == ["full", "precious"]


def test_collection_of_another_type(tmp_path: Path, tract: tuple[TractSimulation, Table]) -> None:
    Butler.makeRepo(str(tmp_path / "repo"))
    with Butler.from_config(str(tmp_path / "repo"), writeable=True) as butler:
        butler.collections.register("simulated", CollectionType.CHAINED)
    with pytest.raises(SimulationError, match="is of type CHAINED"):
        _write(tmp_path / "repo", tract)


def test_repository_with_other_dataset_types(tmp_path: Path, tract: tuple[TractSimulation, Table]) -> None:
    Butler.makeRepo(str(tmp_path / "repo"))
    with Butler.from_config(str(tmp_path / "repo"), writeable=True) as butler:
        other = DatasetType(
            COADD_DATASET, ("skymap", "tract", "patch"), "ArrowAstropy", universe=butler.dimensions
        )
        butler.registry.registerDatasetType(other)
    with pytest.raises(SimulationError, match=r"dataset type 'deep_coadd' .* use another repository"):
        _write(tmp_path / "repo", tract)


@pytest.mark.parametrize("root", ["repo", "new"])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "a readonly database"),
        (ConflictingDefinitionError("a constraint failed"), "another process has written the same meanwhile"),
        (KeyError("a mistake"), ""),
    ],
)
def test_repository_that_cannot_be_written(
    tmp_path: Path,
    tract: tuple[TractSimulation, Table],
    monkeypatch: pytest.MonkeyPatch,
    root: str,
    error: Exception,
    reason: str,
) -> None:
    """An existing or a new one; errors of the program are not hidden."""
    Butler.makeRepo(str(tmp_path / "repo"))
    with Butler.from_config(str(tmp_path / "repo"), writeable=True) as butler:
        direct = type(butler)

    def fail(*args: object, **options: object) -> None:
        # As the Butler wraps them.
        try:
            raise error
        except Exception:
            raise RuntimeError("Failed to serialize dataset") from None

    monkeypatch.setattr(direct, "put", fail)
    expected = SimulationError if reason else RuntimeError
    match = f"repository .*{root} cannot be written: .*{reason}$" if reason else "Failed to serialize"
    with pytest.raises(expected, match=match):
        _write(tmp_path / root, tract)
    assert [p.name for p in tmp_path.iterdir()] == ["repo"]


def test_interrupted_run_leaves_whole_coadds(
    tmp_path: Path, tract: tuple[TractSimulation, Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped while the truth of the second patch is written; resumed to the same pixels."""
    simulation, catalog = tract
    put: Any = Butler.put
    count = 0

    def interrupt(self: Butler, thing: object, *args: object, **options: object) -> object:
        nonlocal count
        count += TRUTH_DATASET in args
        if count == 2:
            raise KeyboardInterrupt
        return put(self, thing, *args, **options)

    writer = RepositoryWriter(tmp_path / "repo", simulation, "i")
    jobs = writer.write_inputs(simulation, catalog)
    with Butler.from_config(str(tmp_path / "repo"), writeable=True) as butler:
        direct = type(butler)
    put = direct.put
    monkeypatch.setattr(direct, "put", interrupt)
    with pytest.raises(KeyboardInterrupt):
        writer.write_coadds(simulation, jobs)
    monkeypatch.undo()
    with Butler.from_config(str(tmp_path / "repo"), collections="simulated") as butler:
        assert [ref.dataId["patch"] for ref in butler.query_datasets(COADD_DATASET)] == [0]
        assert [ref.dataId["patch"] for ref in butler.query_datasets(TRUTH_DATASET)] == [0]
    assert len(list((tmp_path / "repo").rglob("*.fits"))) == 1
    assert _write(tmp_path / "repo", tract, resume=True) == [(1, "i")]
    _write(tmp_path / "whole", tract)
    images = []
    for name in ("repo", "whole"):
        with Butler.from_config(str(tmp_path / name), collections="simulated") as butler:
            data_id = {"skymap": "small", "tract": 0, "patch": 1, "band": "i"}
            images.append(butler.get(COADD_DATASET, data_id).image.array)
    np.testing.assert_array_equal(*images)

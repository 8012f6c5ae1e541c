# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the repository for demonstrations, and of its dimension records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from lsst.daf.butler import Butler
from lsst.images import XY, Box
from lsst.images.cells import CellCoadd
from lsst.meas.blendid.simulation import SimulationError
from lsst.meas.blendid.simulation.coadds.simulated_coadd import make_sky_projection
from lsst.meas.blendid.simulation.tracts.demo import DemoRepository, make_demo_repository
from lsst.meas.blendid.simulation.tracts.repository import (
    COADD_DATASET,
    TRUTH_DATASET,
    register_dimensions,
)
from lsst.meas.blendid.simulation.tracts.tract import (
    TractLayout,
    TractSimulation,
    make_patches,
    make_tract_catalog,
)
from lsst.sphgeom import LonLat, UnitVector3d


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoRepository:
    path = tmp_path_factory.mktemp("repository") / "repo"
    return make_demo_repository(path, patches=(2, 2), patch_size=128, overlap=32, seed=4)


@pytest.fixture(scope="module")
def truths(demo: DemoRepository) -> list[Table]:
    with Butler.from_config(str(demo.root), collections=demo.collection) as butler:
        return [butler.get(TRUTH_DATASET, d) for d in demo.data_ids]


def test_repository_round_trip(demo: DemoRepository) -> None:
    layout = TractLayout("blendid_demo", 0, (2, 2), 128, 32)
    simulation, catalog = make_tract_catalog(TractSimulation(layout, seed=4))
    with Butler.from_config(str(demo.root), collections=demo.collection) as butler:
        assert len(butler.query_datasets(COADD_DATASET)) == 4
        for data_id, patch in zip(demo.data_ids, demo.patches, strict=True):
            coadd = butler.get(COADD_DATASET, data_id)
            assert isinstance(coadd, CellCoadd)
            assert coadd.patch == patch and coadd.bbox == patch.outer_bbox
            assert (coadd.skymap, coadd.tract, coadd.band) == (demo.skymap, demo.tract, "i")
            assert coadd.sky_projection.pixel_frame.bbox == Box.factory[0:224, 0:224]
            truth = butler.get(TRUTH_DATASET, data_id)
            assert isinstance(truth, Table) and len(truth) > 50
            near = simulation.patch_catalog(catalog, patch.id)
            expected = simulation.simulate(near, patch.id, "i").truth
            for name in truth.colnames:
                np.testing.assert_array_equal(truth[name], expected[name])
                assert truth[name].unit == expected[name].unit


def test_overlaps_show_the_same_sky(demo: DemoRepository, truths: list[Table]) -> None:
    with Butler.from_config(str(demo.root), collections=demo.collection) as butler:
        coadds = [butler.get(COADD_DATASET, d) for d in demo.data_ids]
    noise = float(np.sqrt(np.median(coadds[0].variance.array)))
    for one, two in ((0, 1), (0, 2), (0, 3), (2, 3)):
        overlap = coadds[one].bbox.intersection(coadds[two].bbox)
        assert overlap.area >= 32 * 32
        # Each has its own background subtracted.
        first, second = (coadds[i].image[overlap].array.astype(float) for i in (one, two))
        difference = first - second
        assert abs(difference.mean()) < 0.1 * noise
        np.testing.assert_allclose(difference, difference.mean(), atol=1e-3 * noise)
        first, second = (coadds[i].variance[overlap].array for i in (one, two))
        np.testing.assert_allclose(first, second, rtol=1e-5)
        y, x = overlap.min
        first, second = (coadds[i].sky_projection.pixel_to_sky(XY(x=x, y=y)) for i in (one, two))
        assert first.separation(second).arcsec < 1e-9
    shared = set(truths[0]["id"]) & set(truths[1]["id"])
    in_overlap = np.rint(truths[0]["x"]) >= 96
    assert shared == set(truths[0]["id"][in_overlap])


def test_dimension_records_have_regions(demo: DemoRepository, truths: list[Table]) -> None:
    with Butler.from_config(str(demo.root)) as butler:
        (tract,) = butler.query_dimension_records("tract")
        records = butler.query_dimension_records("patch")
        assert [(r.cell_x, r.cell_y) for r in records] == [(0, 0), (1, 0), (0, 1), (1, 1)]
        (skymap,) = butler.query_dimension_records("skymap")
        assert (skymap.patch_nx_max, skymap.patch_ny_max, skymap.tract_max) == (2, 2, 1)
        (physical_filter,) = butler.query_dimension_records("physical_filter")
        assert physical_filter.band == "i"
    for record in records:
        truth = truths[record.id]
        for row in truth[:20]:
            position = UnitVector3d(LonLat.fromDegrees(row["ra"], row["dec"]))
            assert record.region.contains(position) and tract.region.contains(position)
    only_first = truths[0][truths[0]["x"] < 90][0]
    assert not records[1].region.contains(
        UnitVector3d(LonLat.fromDegrees(only_first["ra"], only_first["dec"]))
    )


def test_dimensions_can_be_registered_twice(demo: DemoRepository, tmp_path: Path) -> None:
    with Butler.from_config(str(demo.root), collections=demo.collection) as butler:
        projection = butler.get(COADD_DATASET, demo.data_ids[0]).sky_projection
    Butler.makeRepo(str(tmp_path / "other"))
    with Butler.from_config(str(tmp_path / "other"), writeable=True) as butler:
        for _ in range(2):
            register_dimensions(butler, projection, demo.patches, bands=("g", "i"))
        assert {r.band for r in butler.query_dimension_records("physical_filter")} == {"g", "i"}
        assert len(butler.query_dimension_records("patch")) == 4


def test_another_layout_of_the_same_name_is_refused(demo: DemoRepository, tmp_path: Path) -> None:
    """Fewer patches, other patches and another place on the sky; nothing is changed."""
    Butler.makeRepo(str(tmp_path / "other"))
    with Butler.from_config(str(demo.root), collections=demo.collection) as butler:
        projection = butler.get(COADD_DATASET, demo.data_ids[0]).sky_projection
    box = projection.pixel_frame.bbox
    names: dict[str, Any] = {"skymap": demo.skymap, "tract": demo.tract, "pixel_scale": 0.2}
    moved = make_sky_projection(box, center=(10.0, 10.0), **names)
    with Butler.from_config(str(tmp_path / "other"), writeable=True) as butler:
        register_dimensions(butler, projection, demo.patches, bands=("i",))
        before = butler.query_dimension_records("patch")
        for other, patches in (
            (projection, demo.patches[:2]),
            (projection, make_patches((3, 1), 80, 8)),
            (moved, demo.patches),
        ):
            with pytest.raises(
                SimulationError, match=r"another (skymap|tract) .*give the skymap another name"
            ):
                register_dimensions(butler, other, patches, bands=("z",))
            assert butler.query_dimension_records("patch") == before
            assert {r.name for r in butler.query_dimension_records("physical_filter")} == {"i_sim"}


def test_existing_output_is_kept(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("data")
    with pytest.raises(FileExistsError, match="full is no Butler repository"):
        make_demo_repository(tmp_path / "full", patch_size=64, overlap=16)
    (tmp_path / "file").write_text("data")
    with pytest.raises(FileExistsError, match="file"):
        make_demo_repository(tmp_path / "file", patch_size=64, overlap=16)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        make_demo_repository(tmp_path / "nowhere" / "repo", patch_size=64, overlap=16)
    assert (tmp_path / "full" / "precious").read_text() == "data"


def test_failure_leaves_nothing(tmp_path: Path) -> None:
    far = Table({"x": [5000.0], "y": [5.0], "mag": [24.0]})
    with pytest.raises(SimulationError, match="no galaxy"):
        make_demo_repository(tmp_path / "repo", patch_size=64, overlap=16, source=far)
    assert not list(tmp_path.iterdir())


def test_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "repo").mkdir()
    demo = make_demo_repository(tmp_path / "repo", patches=1, patch_size=64, overlap=0)
    assert demo.patches[0].inner_bbox == demo.patches[0].outer_bbox
    assert [p.name for p in tmp_path.iterdir()] == ["repo"]
    assert (demo.root / "butler.yaml").is_file()

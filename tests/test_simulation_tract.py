# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of tracts: layouts, settings, catalogues of patches."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st
from lsst.images import Box
from lsst.meas.blendid.simulation import SimulationError
from lsst.meas.blendid.simulation.tracts.tract import (
    TractLayout,
    TractSimulation,
    make_patches,
    make_tract_catalog,
)


@given(
    n_x=st.integers(1, 4),
    n_y=st.integers(1, 4),
    size=st.integers(16, 400),
    overlap=st.integers(0, 100).map(lambda v: 2 * v),
)
def test_inner_boxes_tile_the_tract(n_x: int, n_y: int, size: int, overlap: int) -> None:
    if overlap > size // 2:
        with pytest.raises(SimulationError, match="overlap"):
            make_patches((n_x, n_y), size, overlap)
        return
    patches = make_patches((n_x, n_y), size, overlap)
    step = size - overlap
    covered = np.zeros((step * n_y + overlap, step * n_x + overlap), dtype=int)
    for i, patch in enumerate(patches):
        assert patch.id == i == patch.index.y * n_x + patch.index.x
        assert patch.outer_bbox.shape == (size, size)
        assert patch.outer_bbox.contains(patch.inner_bbox)
        cell = patch.cells.cell_shape
        assert size % cell.x == 0 and size % cell.y == 0
        covered[patch.inner_bbox.slice_within(Box.from_shape(covered.shape))] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize(("n", "size", "overlap"), [((0, 1), 64, 0), ((1, 1), 0, 0), ((2, 1), 64, 31)])
def test_impossible_layouts(n: tuple[int, int], size: int, overlap: int) -> None:
    with pytest.raises(SimulationError):
        make_patches(n, size, overlap)


@pytest.mark.parametrize("center", [(float("nan"), 0.0), (4.0, float("nan")), (4.0, -90.5)])
def test_middle_that_is_not_on_the_sky(center: tuple[float, float]) -> None:
    with pytest.raises(SimulationError, match="middle of a tract must be a place on the sky"):
        make_tract_catalog(TractSimulation(TractLayout("s", patch_size=64, overlap=0)), center=center)


@pytest.fixture(scope="module")
def tract() -> tuple[TractSimulation, Table]:
    layout = TractLayout("small", n_patches=(2, 1), patch_size=64, overlap=16)
    return make_tract_catalog(TractSimulation(layout, seed=3))


@given(n=st.tuples(st.integers(1, 4), st.integers(1, 4)), overlap=st.integers(0, 16).map(lambda v: 2 * v))
def test_tract_holds_its_patches(n: tuple[int, int], overlap: int) -> None:
    layout = TractLayout("s", n_patches=n, patch_size=64, overlap=overlap)
    assert layout.patches[0].outer_bbox.min == layout.bbox.min
    assert layout.patches[-1].outer_bbox.max == layout.bbox.max
    assert all(layout.bbox.contains(p.outer_bbox) for p in layout.patches)
    assert layout.size == (layout.bbox.x.size, layout.bbox.y.size)


def test_settings_survive_a_file(tract: tuple[TractSimulation, Table]) -> None:
    simulation, _ = tract
    simulation.scene.variation.fwhmScatter = 0.05
    text = json.dumps(simulation.to_dict())
    again = TractSimulation.from_dict(json.loads(text))
    simulation.scene.variation.fwhmScatter = 0.0
    assert json.dumps(again.to_dict()) == text
    assert again.layout == simulation.layout
    assert again.scene.variation.fwhmScatter == 0.05


@pytest.mark.parametrize("key", ["layout", "seed", "scene", "origin"])
def test_settings_of_another_version(tract: tuple[TractSimulation, Table], key: str) -> None:
    settings = tract[0].to_dict()
    del settings[key]
    with pytest.raises(SimulationError, match=f"{key}.*another version"):
        TractSimulation.from_dict(settings)
    settings = tract[0].to_dict()
    settings["scene"]["noSuchField"] = 1
    with pytest.raises(SimulationError, match=r"noSuchField.*another version"):
        TractSimulation.from_dict(settings)


def test_catalogue_of_a_patch_has_what_shines_into_it() -> None:
    simulation = TractSimulation(TractLayout("s", n_patches=(20, 1), patch_size=64, overlap=0))
    names = ("x", "y", "half_light_radius", "mag_u", "mag_i")
    rows = [
        (30.0, 30.0, 0.1, 27.0, 26.0),  # in it
        (140.0, 30.0, 0.1, 27.0, 26.0),  # near
        (400.0, 30.0, 0.1, 27.0, 26.0),  # far
        (400.0, 30.0, 1.0, 22.0, 21.0),  # far, but large
        (350.0, 30.0, 0.0, 18.0, 16.0),  # far, but bright
    ]
    catalog = Table(rows=rows, names=names)
    near = simulation.patch_catalog(catalog, 0)
    np.testing.assert_array_equal(near["x"], [30.0, 140.0, 400.0, 350.0])
    assert list(near["half_light_radius"]) == [0.1, 0.1, 1.0, 0.0]
    with pytest.raises(SimulationError, match="no patch 20"):
        simulation.patch_catalog(catalog, 20)


def test_reach_is_far_enough(tract: tuple[TractSimulation, Table]) -> None:
    """What is left out of the catalogue of a patch does not show in its pixels."""
    layout = TractLayout("s", n_patches=(8, 1), patch_size=64, overlap=0)
    simulation, catalog = make_tract_catalog(TractSimulation(layout, seed=3), size_model="large")
    near = simulation.patch_catalog(catalog, 0)
    assert len(near) < 0.8 * len(catalog)
    images = [simulation.simulate(table, 0, "i").coadd.image.array for table in (near, catalog)]
    noise = simulation.survey("i").sky_sigma
    np.testing.assert_allclose(images[0], images[1], atol=0.02 * noise)


def test_patch_without_galaxies_is_sky(tract: tuple[TractSimulation, Table]) -> None:
    simulation, catalog = tract
    for table in (catalog[:0], catalog[catalog["x"] > 90]):
        empty = table[:0]
        simulated = simulation.simulate(empty, 0, "r")
        assert len(simulated.truth) == 0 and "snr" in simulated.truth.colnames
        noise = simulation.survey("r").sky_sigma
        assert np.std(simulated.coadd.image.array) == pytest.approx(noise, rel=0.05)


def test_number_of_exposures_and_band(tract: tuple[TractSimulation, Table]) -> None:
    simulation, catalog = tract
    shallow = TractSimulation(simulation.layout, 3, n_exposures=10)
    assert shallow.survey("i").n_exposures == 10
    ratio = shallow.survey("i").sky_sigma / simulation.survey("i").sky_sigma
    assert ratio == pytest.approx(np.sqrt(simulation.survey("i").n_exposures / 10.0))
    with pytest.raises(SimulationError, match="unknown band 'q'"):
        simulation.simulate(catalog, 0, "q")
    with pytest.raises(SimulationError, match="2 patches, and no patch 2"):
        simulation.simulate(catalog, 2, "i")


def test_a_patch_has_the_stars_whose_spikes_reach_it() -> None:
    """A star of 14 mag is too far for its PSF, and its spike crosses the patch."""
    layout = TractLayout("wide", n_patches=(12, 1), patch_size=256, overlap=16)
    simulation = TractSimulation(layout, seed=3)
    _, catalog = make_tract_catalog(simulation)
    catalog = catalog[:1].copy()
    catalog["is_star"] = True
    catalog["x"], catalog["y"] = 256 + 1200.0, 128.0
    for band in "ugrizy":
        catalog[f"mag_{band}"] = 14.0
    assert len(simulation.patch_catalog(catalog, 0)) == 0
    dark = simulation.simulate(simulation.patch_catalog(catalog, 0), 0, "i").coadd.image.array
    simulation.scene.starlight.spikeFraction = 0.1
    simulation.scene.starlight.spikeAngle = 0.0
    near = simulation.patch_catalog(catalog, 0)
    assert len(near) == 1
    spike = simulation.simulate(near, 0, "i").coadd.image.array - dark
    assert spike[128].mean() > 5 * np.abs(spike[:100].mean())
    catalog["is_star"] = False
    assert len(simulation.patch_catalog(catalog, 0)) == 0

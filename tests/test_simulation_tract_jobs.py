# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of many patches and bands in several processes."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
from astropy.table import Table
from lsst.meas.blendid.simulation import SimulatedCoadd
from lsst.meas.blendid.simulation.tracts.tract import (
    TractLayout,
    TractSimulation,
    make_tract_catalog,
)
from lsst.meas.blendid.simulation.tracts.tract_jobs import PatchJob, patch_folder, simulate_patches


@pytest.fixture(scope="module")
def tract() -> tuple[TractSimulation, Table]:
    layout = TractLayout("small", n_patches=(2, 1), patch_size=64, overlap=16)
    return make_tract_catalog(TractSimulation(layout, seed=3))


def _assert_same(first: SimulatedCoadd, second: SimulatedCoadd) -> None:
    for plane in ("image", "variance", "mask"):
        np.testing.assert_array_equal(
            getattr(first.coadd, plane).array, getattr(second.coadd, plane).array, err_msg=plane
        )
    assert first.coadd.mask.schema == second.coadd.mask.schema
    for x, y in ((5, 5), (40, 20)):
        x += first.coadd.bbox.x.min
        one, two = (s.coadd.psf.compute_kernel_image(x=x, y=y).array for s in (first, second))
        np.testing.assert_array_equal(one, two)
    assert first.coadd.patch == second.coadd.patch and first.coadd.band == second.coadd.band
    assert first.truth.meta == second.truth.meta and len(first.truth) == len(second.truth)
    for name in first.truth.colnames:
        np.testing.assert_array_equal(first.truth[name], second.truth[name])


def test_processes_do_not_change_pixels(tract: tuple[TractSimulation, Table]) -> None:
    simulation, catalog = tract
    simulation.scene.variation.fwhmScatter = 0.05
    simulation.scene.artifacts.badColumnDensity = 1.0
    jobs = [PatchJob(n, band, simulation.patch_catalog(catalog, n)) for n in (0, 1) for band in "ri"]
    calls: list[tuple[int, int]] = []
    alone = list(simulate_patches(simulation, jobs))
    shared = list(simulate_patches(simulation, jobs, processes=2, progress=lambda d, t: calls.append((d, t))))
    simulation.scene.variation.fwhmScatter = 0.0
    simulation.scene.artifacts.badColumnDensity = 0.0
    assert calls == [(i, 4) for i in range(5)]
    assert [job for job, _ in alone] == jobs == [job for job, _ in shared]
    assert any(s.coadd.mask.array.any() for _, s in alone)
    for (_, first), (_, second) in zip(alone, shared, strict=True):
        _assert_same(first, second)


def test_stopping_early_stops_the_processes(tract: tuple[TractSimulation, Table]) -> None:
    simulation, catalog = tract
    before = set(multiprocessing.active_children())
    results = simulate_patches(simulation, [PatchJob(0, b, catalog) for b in "gri"], processes=2)
    next(iter(results))
    assert set(multiprocessing.active_children()) - before
    results.close()  # type: ignore[attr-defined]
    assert not set(multiprocessing.active_children()) - before


def test_each_patch_keeps_exposures_in_its_own_folder(tract: tuple[TractSimulation, Table]) -> None:
    folders = {patch_folder("kept", tract[0], n) for n in (0, 1)}
    assert {f.name for f in folders} == {"small_0_0", "small_0_1"}

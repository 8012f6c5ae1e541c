# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the files of a simulated coadd, and of its projection."""

from __future__ import annotations

import os
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Table
from lsst.images import XY, Box
from lsst.images.cells import CellCoadd
from lsst.images.serialization import read_archive
from lsst.meas.blendid.simulation import (
    SimulatedCoadd,
    SimulationError,
    simulate_scene,
)
from lsst.meas.blendid.simulation.coadds.simulated_coadd import make_sky_projection

pytest.importorskip("galsim")


@pytest.fixture(scope="module")
def scene() -> SimulatedCoadd:
    return simulate_scene(size=(256, 192), seed=3, xy0=(1000, 2000), tract=7, patch=2)


def test_projection_of_the_truth(scene: SimulatedCoadd) -> None:
    truth = scene.truth
    sky = scene.coadd.sky_projection.pixel_to_sky(XY(x=np.array(truth["x"]), y=np.array(truth["y"])))
    np.testing.assert_allclose(truth["ra"], sky.ra.deg, rtol=0, atol=1e-12)
    # North is up, east is left, a pixel is 0.2 arcsec.
    box = Box.factory[0:100, 0:100]
    projection = make_sky_projection(box, skymap="s", tract=0, pixel_scale=0.2, center=(10.0, 0.0))
    middle, left, up = (
        projection.pixel_to_sky(XY(x=x, y=y)) for x, y in ((49.5, 49.5), (48.5, 49.5), (49.5, 50.5))
    )
    assert (middle.ra.deg, middle.dec.deg) == (pytest.approx(10.0), pytest.approx(0.0, abs=1e-9))
    assert (left.ra - middle.ra).arcsec == pytest.approx(0.2, rel=1e-4)
    assert (up.dec - middle.dec).arcsec == pytest.approx(0.2, rel=1e-4)


def test_files_round_trip(scene: SimulatedCoadd, tmp_path: Path) -> None:
    image, truth = scene.write(tmp_path / "scene.fits")
    assert (image.name, truth.name) == ("scene.fits", "scene.truth.parquet")
    assert sorted(os.listdir(tmp_path)) == ["scene.fits", "scene.truth.parquet"]
    coadd = read_archive(str(image), CellCoadd)
    for name in ("image", "mask", "variance"):
        np.testing.assert_array_equal(getattr(coadd, name).array, getattr(scene.coadd, name).array)
    assert coadd.bbox == scene.coadd.bbox and coadd.patch == scene.coadd.patch
    assert coadd.sky_projection == scene.coadd.sky_projection
    np.testing.assert_array_equal(
        coadd.psf.compute_kernel_image(x=1100, y=2100).array,
        scene.coadd.psf.compute_kernel_image(x=1100, y=2100).array,
    )
    table = Table.read(truth)
    assert table.colnames == scene.truth.colnames
    assert table["flux"].unit == u.nJy
    assert table.meta["seed"] == 3
    for name in table.colnames:
        np.testing.assert_array_equal(table[name], scene.truth[name])


def test_existing_files_are_kept(scene: SimulatedCoadd, tmp_path: Path) -> None:
    (tmp_path / "scene.truth.parquet").write_text("precious")
    with pytest.raises(FileExistsError, match="scene.truth.parquet"):
        scene.write(tmp_path / "scene.fits")
    assert os.listdir(tmp_path) == ["scene.truth.parquet"]
    scene.write(tmp_path / "scene.fits", overwrite=True)
    assert len(Table.read(tmp_path / "scene.truth.parquet")) == len(scene.truth)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        scene.write(tmp_path / "nowhere" / "scene.fits")
    with pytest.raises(SimulationError, match="scene.txt"):
        scene.write(tmp_path / "scene.txt")


def test_any_file_name_will_do(tmp_path: Path) -> None:
    path, truth = simulate_scene(size=(64, 64), seed=1).write(tmp_path / "sim %41 ü#.fits")
    assert sorted(tmp_path.iterdir()) == sorted([path, truth])

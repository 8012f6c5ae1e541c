# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of exposures that are kept."""

from __future__ import annotations

from pathlib import Path

import astropy.io.fits
import numpy as np
import pytest
from lsst.meas.blendid.simulation import SimulationError
from lsst.meas.blendid.simulation.coadds.exposure_store import ExposureStore

_SETTINGS: dict[str, str | int | float | bool] = {
    "seed": 1,
    "fwhm": 0.1 + 0.2,
    "sensor": "",
    "doDither": True,
}


def electrons() -> np.ndarray:
    image = np.random.default_rng(1).poisson(1000.0, (30, 40)).astype(np.int32)
    image[3, 4] = 2_000_000
    return image


def test_round_trip(tmp_path: Path) -> None:
    store = ExposureStore(tmp_path / "new" / "folder", "i", _SETTINGS)
    assert store.check((30, 40)) == set()
    assert not (tmp_path / "new").exists()
    store.write(3, electrons())
    assert ExposureStore(tmp_path / "new" / "folder", "i", dict(_SETTINGS)).check((30, 40)) == {3}
    read = store.read(3)
    np.testing.assert_array_equal(read, electrons())
    assert read.dtype == np.int32
    assert [path.name for path in store.path(3).parent.iterdir()] == ["exposure-i-0003.fits"]


def test_settings_can_be_read_by_anybody(tmp_path: Path) -> None:
    store = ExposureStore(tmp_path, "i", _SETTINGS)
    store.write(0, electrons())
    with astropy.io.fits.open(store.path(0)) as hdus:
        rows = {row["name"]: row["value"] for row in hdus["SETTINGS"].data}
    assert rows == {"seed": "1", "fwhm": "0.30000000000000004", "sensor": '""', "doDither": "true"}


@pytest.mark.parametrize(
    ("name", "value", "shown"), [("fwhm", 0.3, "0.3"), ("sensor", "film", '"film"'), ("new", 1, "1")]
)
def test_other_settings(tmp_path: Path, name: str, value: str | float, shown: str) -> None:
    ExposureStore(tmp_path, "i", _SETTINGS).write(2, electrons())
    before = ExposureStore(tmp_path, "i", _SETTINGS).path(2).read_bytes()
    other = ExposureStore(tmp_path, "i", _SETTINGS | {name: value})
    with pytest.raises(SimulationError, match=rf"exposure-i-0002.fits was made with {name} = .*not {shown}:"):
        other.check((30, 40))
    assert other.path(2).read_bytes() == before
    # Another band has its own exposures.
    assert ExposureStore(tmp_path, "r", _SETTINGS | {name: value}).check((30, 40)) == set()


def test_galaxies_are_named_only_if_nothing_else_differs(tmp_path: Path) -> None:
    settings = _SETTINGS | {"galaxies": "7839"}
    ExposureStore(tmp_path, "i", settings).write(0, electrons())
    assert ExposureStore(tmp_path, "i", settings).check((30, 40)) == {0}
    other = settings | {"galaxies": "bf6f"}
    with pytest.raises(SimulationError, match=r"made with other galaxies \(.*\): use") as caught:
        ExposureStore(tmp_path, "i", other).check((30, 40))
    assert "7839" not in str(caught.value) and "bf6f" not in str(caught.value)
    with pytest.raises(SimulationError, match=r"0000.fits was made with seed = 1, not 2: use"):
        ExposureStore(tmp_path, "i", other | {"seed": 2}).check((30, 40))


def test_damaged_file(tmp_path: Path) -> None:
    store = ExposureStore(tmp_path, "i", _SETTINGS)
    store.write(0, electrons())
    whole = store.path(0).read_bytes()
    for damaged in (b"", b"SIMPLE", whole[:2880], whole[:7000]):
        store.path(0).write_bytes(damaged)
        with pytest.raises(SimulationError, match=r"exposure-i-0000.fits"):
            store.check((30, 40))
    # One bit of the electrons, which still can be decompressed.
    store.path(0).write_bytes(whole)
    with astropy.io.fits.open(store.path(0), disable_image_compression=True) as hdus:
        at = hdus["ELECTRONS"].fileinfo()["datLoc"] + hdus["ELECTRONS"].size - 1
    flipped = bytearray(whole)
    flipped[at] ^= 1
    store.path(0).write_bytes(flipped)
    with pytest.raises(SimulationError, match=r"exposure-i-0000.fits is damaged"):
        store.read(0)
    store.path(0).write_bytes(whole)
    assert store.check((30, 40)) == {0}
    with pytest.raises(SimulationError, match="damaged: remove it"):
        store.check((31, 40))


def test_folder_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SimulationError, match="is a file"):
        ExposureStore(tmp_path / "file", "i", _SETTINGS).check((30, 40))


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "exposure-i-notes.fits").write_text("mine")
    store = ExposureStore(tmp_path, "i", _SETTINGS)
    assert store.check((30, 40)) == set()
    assert (tmp_path / "exposure-i-notes.fits").read_text() == "mine"

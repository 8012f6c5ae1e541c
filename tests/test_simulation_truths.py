# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the true galaxies of the scenes of Buchanan et al. 2022."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from lsst.meas.blendid.simulation import (
    SKY_SPLIT,
    SimulationError,
    SplitError,
    TruthScene,
    check_split,
    find_truth_scene,
    get_survey,
    read_truth_scene,
    split_of,
)

SURVEY = get_survey("i")


def _write_truth(path: Path, **columns: list[float]) -> Path:
    Table({"x": [1.0, 2.0], "y": [1.0, 2.0], "n_photon_i": [30.0, 300.0], **columns}).write(path)
    return path


def test_no_scene_is_in_two_splits_or_in_none() -> None:
    for one, two in combinations(SKY_SPLIT.values(), 2):
        assert not set(one) & set(two)
    assert sorted(s for scenes in SKY_SPLIT.values() for s in scenes) == list(range(10))
    # Scenes that overlap on the sky are on the same side.
    for first, second in ((1, 2), (3, 5), (4, 8), (7, 8)):
        assert split_of(first) == split_of(second) is not None


def test_split_of_files() -> None:
    assert split_of("somewhere/scene_06.fits") == "test"
    assert split_of(Path("scene_01.fits.gz")) == "train"
    assert split_of("scene_11.fits") is None
    assert split_of("galaxies.fits") is None


def test_test_sky_cannot_be_read_for_training(tmp_path: Path) -> None:
    path = _write_truth(tmp_path / "scene_06.fits")
    assert len(read_truth_scene(path)) == 2
    with pytest.raises(
        SplitError, match=r"scene_06.fits belongs to the test sky; the train sky is scenes 1, 2, 3, 5"
    ):
        read_truth_scene(path, split="train")
    with pytest.raises(SplitError, match="no split"):
        check_split("galaxies.fits", "train")
    with pytest.raises(SplitError, match="unknown split 'training'"):
        check_split(1, "training")


def test_galaxies_of_the_margin_are_for_drawing_only(tmp_path: Path) -> None:
    columns = {"x": [-1.0, -0.4, 2047.4, 2047.6], "y": [5.0, 6.0, 7.0, 8.0], "n_photon_i": [30.0] * 4}
    path = _write_truth(tmp_path / "scene_01.fits", **columns)
    for split in (None, "train"):
        table = read_truth_scene(path, split=split)
        assert table["id"].tolist() == [1, 2] and table["in_field"].all()
        assert table.meta["split"] == "train"
    whole = read_truth_scene(path, split="train", margin=True)
    assert whole["in_field"].tolist() == [False, True, True, False]
    source = TruthScene(path, split="train")
    for band in ("i", "r"):
        drawn = source.galaxies((2048, 2048), get_survey(band), np.random.default_rng(0))
        # Magnitudes are those of i, whatever band is simulated.
        np.testing.assert_array_equal(drawn["mag_i"], whole["mag"])


def _shared(one: Table, other: Table) -> int:
    """Galaxies of one scene that are also in another: same photons, and one shift for all."""
    _, i, j = np.intersect1d(one["mag"], other["mag"], return_indices=True)
    shifts = np.stack([one["x"][i] - other["x"][j], one["y"][i] - other["y"][j]], axis=1)
    if not len(shifts):
        return 0
    # Chance pairs have the same magnitude to the last bit, but no common shift. Squares of 6 pixels,
    # on four grids, so that those of one shift are not parted by a border.
    most = 0
    for offset in ((0, 0), (0, 3), (3, 0), (3, 3)):
        square = np.floor((shifts + offset) / 6.0).astype(np.int64) @ [100_000, 1]
        most = max(most, int(np.unique(square, return_counts=True)[1].max()))
    return most if most >= 20 else 0


def test_fields_of_two_splits_share_no_galaxy(shared_data: Path) -> None:
    whole = {n: read_truth_scene(n, folder=shared_data, margin=True) for n in range(10)}
    field = {n: read_truth_scene(n, folder=shared_data) for n in range(10)}
    strips = set()
    for one, other in combinations(range(10), 2):
        shared, in_files = (_shared(t[one], t[other]) for t in (field, whole))
        if split_of(one) != split_of(other):
            assert shared == 0, (one, other)
            if in_files:
                strips.add((one, other))
        elif (one, other) in {(1, 2), (3, 5), (4, 8), (7, 8)}:
            assert shared > 4000
    assert strips == {(0, 7), (0, 8), (1, 7), (5, 6)}


def test_truth_reader(tmp_path: Path) -> None:
    table = read_truth_scene(_write_truth(tmp_path / "scene_03.fits"), split="train")
    np.testing.assert_allclose(table["mag"], [27.8, 25.3])
    np.testing.assert_array_equal(table["id"], [0, 1])
    assert table.meta == {"scene": "scene_03.fits", "split": "train"}


def test_damaged_truths_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent.fits"):
        read_truth_scene(tmp_path / "absent.fits")
    (tmp_path / "text.fits").write_text("no FITS file")
    with pytest.raises(SimulationError, match="text.fits"):
        read_truth_scene(tmp_path / "text.fits")
    Table({"x": [1.0]}).write(tmp_path / "short.fits")
    with pytest.raises(SimulationError, match="no column y, n_photon_i"):
        read_truth_scene(tmp_path / "short.fits")
    for value in (-1.0, 0.0, np.nan):
        path = _write_truth(tmp_path / f"bad{value}.fits", n_photon_i=[30.0, value])
        with pytest.raises(
            SimulationError, match=r"n_photon_i must be positive; 1 rows are not \(first: 1\)"
        ):
            read_truth_scene(path)


def test_scenes_are_found_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "buchanan2022").mkdir()
    path = _write_truth(tmp_path / "buchanan2022" / "scene_01.fits")
    assert find_truth_scene(1, tmp_path) == find_truth_scene(1, tmp_path / "buchanan2022") == path
    monkeypatch.setenv("BLENDID_DATA", str(tmp_path))
    assert find_truth_scene(1) == path
    with pytest.raises(FileNotFoundError, match="scene_02"):
        find_truth_scene(2)
    with pytest.raises(SimulationError, match="unknown scene 10"):
        find_truth_scene(10)
    monkeypatch.delenv("BLENDID_DATA")
    with pytest.raises(FileNotFoundError, match="set BLENDID_DATA"):
        find_truth_scene(1)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_truth_scene(1, tmp_path / "nowhere")


def test_truth_scene_refuses_what_it_does_not_cover(tmp_path: Path) -> None:
    source = TruthScene(_write_truth(tmp_path / "scene_01.fits"))
    with pytest.raises(SimulationError, match="2048"):
        source.galaxies((2049, 100), SURVEY, np.random.default_rng(0))

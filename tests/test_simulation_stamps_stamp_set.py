# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of sets of stamps: noise, padding, files and mosaics."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.simulation.stamps import SPLITS, StampSet, StampSetError, write_noisy
from toy_stamps import toy_stamps


def test_select_keeps_rows_of_all_tables_together() -> None:
    stamps = toy_stamps()
    part = stamps.select(np.array([7, 2]))
    assert part.stamps["stamp_id"].tolist() == [7, 2]
    assert np.array_equal(part.images, stamps.images[[7, 2]])
    assert np.array_equal(part.arrays["segmentation"], stamps.arrays["segmentation"][[7, 2]])
    assert sorted(part.truth["stamp_id"].tolist()) == [2, 7, 7]


def test_splits_cover_the_set_once() -> None:
    stamps = toy_stamps()
    ids = [int(i) for name in SPLITS for i in stamps.split(name).stamps["stamp_id"]]
    assert sorted(ids) == list(range(len(stamps)))
    with pytest.raises(StampSetError, match="unknown split 'exam'"):
        stamps.split("exam")


@given(st.lists(st.integers(0, 11), min_size=1, max_size=12, unique=True), st.integers(0, 3))
def test_noise_of_a_stamp_does_not_depend_on_the_others(rows: list[int], realisation: int) -> None:
    stamps = toy_stamps(size=15)
    noisy = stamps.with_noise(3.0, realisation)
    chosen = np.array(rows)
    assert np.array_equal(noisy.images[chosen], stamps.select(chosen).with_noise(3.0, realisation).images)


def test_noise_has_its_size_and_differs_between_draws() -> None:
    stamps = toy_stamps(40)
    draws = [
        stamps.with_noise(sigma, k).images - stamps.images for sigma, k in ((4.0, 0), (4.0, 1), (8.0, 0))
    ]
    n = draws[0].size
    assert np.std(draws[0]) == pytest.approx(4.0, rel=5.0 / np.sqrt(2 * n))
    assert np.std(draws[2]) == pytest.approx(8.0, rel=5.0 / np.sqrt(2 * n))
    for a, b in ((0, 1), (0, 2)):
        assert abs(np.corrcoef(draws[a].ravel(), draws[b].ravel())[0, 1]) < 5.0 / np.sqrt(n)


def test_noise_gives_signal_to_noise() -> None:
    stamps = toy_stamps()
    noisy = stamps.with_noise(10.0)
    # A Gaussian of sigma s has an effective area of 4 pi s^2.
    expected = 4000.0 / 10.0 / np.sqrt(4.0 * np.pi * 1.8**2)
    assert np.asarray(noisy.truth["snr"]) == pytest.approx(expected, rel=1e-3)
    assert np.isinf(stamps.truth["snr"]).all()
    assert noisy.noise.tolist() == [10.0] * len(stamps)


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan, np.inf])
def test_noise_must_be_positive(sigma: float) -> None:
    with pytest.raises(StampSetError, match="noise must be positive"):
        toy_stamps().with_noise(sigma)


def test_noise_is_added_once() -> None:
    with pytest.raises(StampSetError, match="has noise already"):
        toy_stamps().with_noise(1.0).with_noise(1.0)


def test_padding_moves_images_and_truth() -> None:
    stamps = toy_stamps(padding=4)
    padded = stamps.padded()
    assert padded.size == stamps.size + 8 and padded.padding == 0
    assert np.array_equal(padded.images[:, 4:-4, 4:-4], stamps.images)
    assert padded.images.sum() == pytest.approx(stamps.images.sum(), rel=1e-6)
    assert np.array_equal(padded.truth["x"], np.asarray(stamps.truth["x"]) + 4)
    assert padded.arrays["segmentation"].shape == padded.images.shape
    # Noise that is added afterwards fills the frame.
    assert np.std(padded.with_noise(2.0).images[:, :4]) == pytest.approx(2.0, rel=0.1)


def test_round_trip_through_files(tmp_path: Path) -> None:
    stamps = toy_stamps()
    folder = stamps.write(tmp_path / "set")
    again = StampSet.read(folder)
    assert np.array_equal(again.images, stamps.images)
    assert np.array_equal(again.psf, stamps.psf)
    assert np.array_equal(again.arrays["segmentation"], stamps.arrays["segmentation"])
    for table in ("stamps", "truth"):
        one, other = getattr(stamps, table), getattr(again, table)
        assert one.colnames == other.colnames
        for name in one.colnames:
            assert np.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == "f"), name
    for name in ("name", "pixel_scale", "zero_point", "seed", "padding", "metadata"):
        assert getattr(again, name) == getattr(stamps, name)
    assert np.array_equal(again.with_noise(2.0).images, stamps.with_noise(2.0).images)


def test_files_do_not_replace_others(tmp_path: Path) -> None:
    stamps = toy_stamps(4)
    stamps.write(tmp_path / "set")
    with pytest.raises(FileExistsError, match="set exists"):
        stamps.write(tmp_path / "set")
    stamps.select(np.arange(2)).write(tmp_path / "set", overwrite=True)
    assert len(StampSet.read(tmp_path / "set")) == 2
    (tmp_path / "set" / "notes.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="holds more than a set of stamps, notes.txt"):
        stamps.write(tmp_path / "set", overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match="is no set of stamps"):
        stamps.write(tmp_path / "mine", overwrite=True)
    with pytest.raises(FileNotFoundError, match="output folder does not exist"):
        stamps.write(tmp_path / "none" / "set")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "set"]


def test_reading_tells_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(StampSetError, match="is not a set of stamps"):
        StampSet.read(tmp_path)
    folder = toy_stamps(2).write(tmp_path / "set")
    header = folder / "stamp_set.json"
    good = header.read_text()
    header.write_text(json.dumps(json.loads(good) | {"format": 99}))
    with pytest.raises(StampSetError, match="has the format 99"):
        StampSet.read(folder)
    header.write_text(good[:-20])
    with pytest.raises(StampSetError, match="cannot read the set of stamps"):
        StampSet.read(folder)
    header.write_text(good)
    (folder / "images.npy").write_bytes(b"nothing")
    with pytest.raises(StampSetError, match="cannot read the set of stamps"):
        StampSet.read(folder)


def test_noisy_file_is_what_reading_gives(tmp_path: Path) -> None:
    stamps = toy_stamps()
    folder = stamps.write(tmp_path / "set")
    path = write_noisy(stamps, folder, 2.5, 1)
    assert path.name == "noisy_2.5_1.npy"
    assert np.array_equal(np.load(path), stamps.padded().with_noise(2.5, 1).images)
    assert len(StampSet.read(folder)) == len(stamps)


def test_tables_must_fit() -> None:
    stamps = toy_stamps(4)
    with pytest.raises(StampSetError, match="4 stamps and 3 rows"):
        dataclasses.replace(stamps, stamps=stamps.stamps[:3])
    with pytest.raises(StampSetError, match="truth table of toy lacks mag"):
        dataclasses.replace(stamps, truth=stamps.truth[[n for n in stamps.truth.colnames if n != "mag"]])
    with pytest.raises(StampSetError, match="not \\(n, s, s\\)"):
        dataclasses.replace(stamps, images=stamps.images[:, :5])
    with pytest.raises(StampSetError, match="k odd"):
        dataclasses.replace(stamps, psf=stamps.psf[:, 1:, 1:])
    table = stamps.stamps.copy()
    table["psf_index"] = 3
    with pytest.raises(StampSetError, match="psf_index goes to 3"):
        dataclasses.replace(stamps, stamps=table)


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("seed", -1, "seed"),
        ("padding", "a", "padding"),
        ("pixel_scale", None, "pixel_scale"),
        ("zero_point", "q", "zero_point"),
        ("metadata", [1], "metadata"),
        ("arrays", ["../images"], "not in the folder"),
        ("format", 9, "format 9"),
    ],
)
def test_damaged_header_is_named(tmp_path: Path, key: str, value: object, match: str) -> None:
    path = toy_stamps(3).write(tmp_path / "set") / "stamp_set.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(StampSetError, match=f"set: .*{match}"):
        StampSet.read(tmp_path / "set")


@pytest.mark.parametrize("name", ["images.npy", "psf.npy", "segmentation.npy", "stamps.parquet"])
def test_empty_files_are_refused(tmp_path: Path, name: str) -> None:
    (toy_stamps(3).write(tmp_path / "set") / name).write_bytes(b"")
    with pytest.raises(StampSetError, match="cannot read the set of stamps"):
        StampSet.read(tmp_path / "set")


@pytest.mark.parametrize(
    ("table", "column", "value", "match"),
    [
        ("stamps", "stamp_id", 0, "not unique"),
        ("stamps", "noise", np.nan, "noise"),
        ("stamps", "split", "exam", "split 'exam'"),
        ("stamps", "n_objects", 3, "contradicts n_objects"),
        ("stamps", "n_objects", "x", "column n_objects"),
        ("truth", "stamp_id", 99, "names stamp 99"),
        ("truth", "x", np.nan, "column x"),
    ],
)
def test_tables_that_contradict_each_other(table: str, column: str, value: object, match: str) -> None:
    stamps = toy_stamps(4)
    changed = getattr(stamps, table).copy()
    changed[column] = np.full(len(changed), value)
    with pytest.raises(StampSetError, match=match):
        dataclasses.replace(stamps, **{table: changed})


def test_missing_truth_and_bad_pixels_are_named() -> None:
    stamps = toy_stamps(4)
    with pytest.raises(StampSetError, match="stamp 3 of toy has 2 galaxies"):
        dataclasses.replace(stamps, truth=stamps.truth[:-1])
    with pytest.raises(StampSetError, match="PSF that is not finite"):
        dataclasses.replace(stamps, psf=stamps.psf * np.nan)
    with pytest.raises(StampSetError, match="not floating-point"):
        dataclasses.replace(stamps, images=stamps.images.astype(int))

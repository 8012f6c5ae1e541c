# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the catalogues: number counts, clustering, truths and their sky split."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.simulation import (
    SKY_SPLIT,
    CumulativeCounts,
    ParametricCatalog,
    SimulationError,
    SplitError,
    TableSource,
    TruthScene,
    as_source,
    check_split,
    find_truth_scene,
    get_survey,
    read_truth_scene,
    split_of,
)
from scipy.spatial import cKDTree

SURVEY = get_survey("i")


def _write_truth(path: Path, **columns: list[float]) -> Path:
    Table({"x": [1.0, 2.0], "y": [1.0, 2.0], "n_photon_i": [30.0, 300.0], **columns}).write(path)
    return path


def test_counts_pass_through_their_nodes() -> None:
    counts = CumulativeCounts()
    np.testing.assert_allclose(counts(np.array([24, 25, 26, 27, 28.0])), [19.7, 42.8, 89.9, 191, 376])
    # Log-linear between nodes and beyond them.
    assert counts(26.5) == pytest.approx(np.sqrt(89.9 * 191))
    assert counts(29.0) == pytest.approx(376**2 / 191)
    assert counts(23.0) == pytest.approx(19.7**2 / 42.8)


@given(st.floats(15.0, 30.0))
def test_counts_invert(mag: float) -> None:
    counts = CumulativeCounts()
    assert float(counts.invert(counts(mag))) == pytest.approx(mag, abs=1e-9)


@pytest.mark.parametrize(
    ("magnitudes", "counts"),
    [((24.0,), (1.0,)), ((24.0, 23.0), (1.0, 2.0)), ((24.0, 25.0), (2.0, 1.0)), ((24.0, 25.0), (0.0, 1.0))],
)
def test_impossible_counts_are_refused(magnitudes: tuple[float, ...], counts: tuple[float, ...]) -> None:
    with pytest.raises(SimulationError, match="counts"):
        CumulativeCounts(magnitudes, counts)


def test_parametric_catalogue_has_the_counts() -> None:
    catalog = ParametricCatalog()
    size = 2048
    tables = [catalog.galaxies((size, size), SURVEY, np.random.default_rng(s)) for s in range(4)]
    area = 4 * ((size + 2 * catalog.margin) * 0.2 / 60) ** 2
    mag = np.concatenate([t["mag"] for t in tables])
    bright = float(catalog.counts(catalog.mag_bright))
    for limit in (24.0, 25.0, 26.0, 27.0, 28.0):
        expected = (float(catalog.counts(limit)) - bright) * area
        # Clustering scatters the numbers by a few per cent more than Poisson.
        tolerance = 4 * np.sqrt(expected) + 0.02 * expected
        assert (mag < limit).sum() == pytest.approx(expected, abs=tolerance), limit
    assert mag.min() >= catalog.mag_bright and mag.max() <= catalog.mag_faint


def test_parametric_catalogue_fills_field_and_margin() -> None:
    table = ParametricCatalog(margin=30).galaxies((300, 200), SURVEY, np.random.default_rng(0))
    for name, n in (("x", 300), ("y", 200)):
        assert -30.5 <= table[name].min() < -25
        assert n + 25 < table[name].max() < n + 29.5


def _excess_pairs(tables: list[Table], limit: float, size: int) -> float:
    """Pairs at 1–10″ over those of as many random points, less 1."""
    edges = np.array([1.0, 10.0]) / 0.2
    pairs = expected = 0.0
    rng = np.random.default_rng(0)
    for table in tables:
        inside = (table["x"] > 0) & (table["x"] < size) & (table["y"] > 0) & (table["y"] < size)
        bright = table[inside & (table["mag"] < limit)]
        tree = cKDTree(np.stack([bright["x"], bright["y"]], axis=1))
        random = cKDTree(rng.uniform(0, size, (4 * len(bright), 2)))
        pairs += float(np.diff(tree.count_neighbors(tree, edges))[0])
        expected += float(np.diff(random.count_neighbors(random, edges))[0]) / 16
    return pairs / expected - 1.0


def test_clustering_is_mild_and_can_be_switched_off() -> None:
    def draw(clustering: float) -> list[Table]:
        catalog = ParametricCatalog(clustering=clustering, mag_faint=26.6)
        return [catalog.galaxies((2048, 2048), SURVEY, np.random.default_rng(s)) for s in range(4)]

    assert abs(_excess_pairs(draw(0.0), 26.6, 2048)) < 0.015
    assert 0.015 < _excess_pairs(draw(1.0), 26.6, 2048) < 0.07


def test_clustering_is_near_that_of_the_truths(shared_data: Path) -> None:
    """Excess of pairs within a factor of two of that of the true positions, which vary as much."""
    truths = [read_truth_scene(s, folder=shared_data, split="train") for s in SKY_SPLIT["train"]]
    drawn = [ParametricCatalog().galaxies((2048, 2048), SURVEY, np.random.default_rng(s)) for s in range(6)]
    for limit in (25.3, 26.6, 28.0):
        ratio = _excess_pairs(drawn, limit, 2048) / _excess_pairs(truths, limit, 2048)
        assert 0.4 < ratio < 2.0, limit


def test_same_seed_same_catalogue() -> None:
    one, two, other = (
        ParametricCatalog().galaxies((100, 100), SURVEY, np.random.default_rng(s)) for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(one["x"], two["x"])
    np.testing.assert_array_equal(one["mag"], two["mag"])
    assert len(one) != len(other) or (one["x"] != other["x"]).any()


@pytest.mark.parametrize("bad", [{"mag_bright": 29.0}, {"clustering": -1.0}, {"margin": -1}])
def test_impossible_catalogues_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(SimulationError):
        ParametricCatalog(**bad)  # type: ignore[arg-type]


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
    drawn = TruthScene(path, split="train").galaxies((2048, 2048), SURVEY, np.random.default_rng(0))
    assert len(drawn) == 4


def _shared(one: Table, other: Table) -> int:
    """Galaxies of one scene that are also in another: same photons, and one shift for all."""
    _, i, j = np.intersect1d(one["mag"], other["mag"], return_indices=True)
    shifts = np.stack([one["x"][i] - other["x"][j], one["y"][i] - other["y"][j]], axis=1)
    if not len(shifts):
        return 0
    tree = cKDTree(shifts)
    # Chance pairs have the same magnitude to the last bit, but no common shift.
    most = int(max(len(near) for near in tree.query_ball_point(shifts, 3.0)))
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


def test_sources_of_all_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write_truth(tmp_path / "scene_01.fits")
    monkeypatch.setenv("BLENDID_DATA", str(tmp_path))
    assert as_source(None) == as_source("parametric") == ParametricCatalog()
    assert as_source(path) == as_source(str(path)) == as_source(1) == TruthScene(path)
    assert isinstance(as_source(Table({"x": [1.0]})), TableSource)
    assert as_source(ParametricCatalog(clustering=0)) == ParametricCatalog(clustering=0)
    with pytest.raises(SimulationError, match="cannot get galaxies from a float"):
        as_source(1.5)  # type: ignore[arg-type]


def test_truth_scene_refuses_what_it_does_not_cover(tmp_path: Path) -> None:
    source = TruthScene(_write_truth(tmp_path / "scene_01.fits"))
    with pytest.raises(SimulationError, match="2048"):
        source.galaxies((2049, 100), SURVEY, np.random.default_rng(0))

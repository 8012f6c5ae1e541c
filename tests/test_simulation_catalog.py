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
from lsst.meas.blendid.simulation.catalogs.catalog_files import FileSource
from lsst.meas.blendid.simulation.catalogs.clustering import count_pairs
from lsst.meas.blendid.simulation.catalogs.sky_catalogs import SkyCatalogSource

SURVEY = get_survey("i")


def _write_truth(path: Path, **columns: list[float]) -> Path:
    Table({"x": [1.0, 2.0], "y": [1.0, 2.0], "n_photon_i": [30.0, 300.0], **columns}).write(path)
    return path


def test_counts_pass_through_their_nodes() -> None:
    counts = CumulativeCounts()
    nodes = np.array([24.0, 25.0, 25.3, 26.0, 26.5, 27.0, 28.0])
    np.testing.assert_allclose(counts(nodes), [19.7, 42.8, 53.6, 89.9, 131.8, 191.2, 376.3])
    # Log-linear between nodes and beyond them.
    assert counts(26.25) == pytest.approx(np.sqrt(89.9 * 131.8))
    assert counts(29.0) == pytest.approx(376.3**2 / 191.2)
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


def _draw(catalog: ParametricCatalog, seeds: range, size: int = 2048) -> list[Table]:
    """Fields of a catalogue, without their margins."""
    tables = []
    for seed in seeds:
        table = catalog.galaxies((size, size), SURVEY, np.random.default_rng(seed))
        inside = (table["x"] > -0.5) & (table["x"] < size - 0.5)
        tables.append(table[inside & (table["y"] > -0.5) & (table["y"] < size - 0.5)])
    return tables


def _densities(tables: list[Table], limit: float, name: str = "mag_i") -> np.ndarray:
    return np.array([(table[name] < limit).sum() for table in tables]) / (2048 * 0.2 / 60) ** 2


@pytest.mark.parametrize("clustering", [0.0, 1.0])
def test_parametric_catalogue_has_the_counts(clustering: float) -> None:
    catalog = ParametricCatalog(clustering=clustering)
    tables = _draw(catalog, range(12))
    bright = float(catalog.counts(catalog.mag_bright))
    for limit in (24.0, 25.0, 26.0, 27.0, 28.0):
        expected = float(catalog.counts(limit)) - bright
        found = _densities(tables, limit)
        if clustering:
            # Fields differ by more than the numbers in them say.
            assert found.mean() == pytest.approx(expected, abs=4 * found.std() / np.sqrt(12)), limit
        else:
            assert found.mean() == pytest.approx(expected, abs=4 * np.sqrt(expected / (12 * 46.6))), limit
    for table in tables:
        assert table["mag_i"].min() >= catalog.mag_bright and table["mag_i"].max() <= catalog.mag_faint


def test_counts_scatter_between_fields_as_those_of_the_truths(shared_data: Path) -> None:
    truths = [read_truth_scene(s, folder=shared_data, split="train") for s in SKY_SPLIT["train"]]
    drawn = _draw(ParametricCatalog(), range(24))
    for limit in (24.0, 26.0, 28.0):
        real, mock = _densities(truths, limit, "mag"), _densities(drawn, limit)
        assert abs(mock.mean() / real.mean() - 1) < 0.15
        # Four fields give their scatter to a factor of two.
        assert 0.5 < (mock.std() / mock.mean()) / (real.std(ddof=1) / real.mean()) < 2.0, limit


def test_parametric_catalogue_fills_field_and_margin() -> None:
    table = ParametricCatalog(margin=30).galaxies((300, 200), SURVEY, np.random.default_rng(0))
    for name, n in (("x", 300), ("y", 200)):
        assert -30.5 <= table[name].min() < -25
        assert n + 25 < table[name].max() < n + 29.5


def _excess(tables: list[Table], limit: float, name: str = "mag_i") -> np.ndarray:
    """Excess of pairs at 0.5–2″, 2–5″ and 5–10″."""
    total = None
    for table in tables:
        bright = table[table[name] < limit]
        counts = count_pairs(bright["x"], bright["y"], np.array([2.5, 10.0, 25.0, 50.0]), (2048, 2048))
        total = counts if total is None else total + counts
    assert total is not None
    return total.excess


def test_clustering_can_be_switched_off() -> None:
    none, full = (_draw(ParametricCatalog(clustering=c, mag_faint=26.6), range(8)) for c in (0.0, 1.0))
    assert (np.abs(_excess(none, 26.6)) < [0.03, 0.02, 0.01]).all()
    assert (_excess(full, 26.6) > [0.03, 0.02, 0.01]).all()


@pytest.mark.parametrize("split", ["train", "validation"])
def test_clustering_is_that_of_the_truths(shared_data: Path, split: str) -> None:
    """Excess of pairs within a factor of two of that of true positions, which vary as much."""
    truths = [read_truth_scene(s, folder=shared_data, split=split) for s in SKY_SPLIT[split]]
    drawn = _draw(ParametricCatalog(), range(12))
    for limit in (25.3, 26.6, 28.0):
        ratio = _excess(drawn, limit) / _excess(truths, limit, "mag")
        assert ((ratio > 0.5) & (ratio < 2.0)).all(), (limit, ratio)


def test_same_seed_same_catalogue() -> None:
    one, two, other = (
        ParametricCatalog().galaxies((100, 100), SURVEY, np.random.default_rng(s)) for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(one["x"], two["x"])
    np.testing.assert_array_equal(one["mag_i"], two["mag_i"])
    assert len(one) != len(other) or (one["x"] != other["x"]).any()


@pytest.mark.parametrize(
    "bad",
    [
        {"mag_bright": 29.0},
        {"clustering": -1.0},
        {"clustering": np.nan},
        {"margin": -1},
        {"group_radius": -1.0},
    ],
)
def test_impossible_catalogues_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(SimulationError, match=f"{next(iter(bad))}.* must be"):
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


def test_sources_of_all_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write_truth(tmp_path / "scene_01.fits")
    monkeypatch.setenv("BLENDID_DATA", str(tmp_path))
    assert as_source(None) == as_source("parametric") == as_source("cosmodc2") == ParametricCatalog()
    assert as_source(path) == as_source(str(path)) == as_source(1) == TruthScene(path)
    assert isinstance(as_source(Table({"x": [1.0]})), TableSource)
    assert as_source(ParametricCatalog(clustering=0)) == ParametricCatalog(clustering=0)
    Table({"x": [1.0], "y": [1.0], "mag_i": [24.0]}).write(tmp_path / "mine.ecsv")
    assert isinstance(as_source(tmp_path / "mine.ecsv"), FileSource)
    with pytest.raises(SplitError, match="no split"):
        as_source(tmp_path / "mine.ecsv", split="train")
    folder = tmp_path / "sky"
    folder.mkdir()
    with pytest.raises(SimulationError, match="sky is a folder without galaxy_"):
        as_source(folder)
    (folder / "galaxy_9556.parquet").touch()
    assert isinstance(as_source(folder), SkyCatalogSource)
    assert isinstance(as_source(folder / "galaxy_9556.parquet"), SkyCatalogSource)
    with pytest.raises(FileNotFoundError, match="no catalogue .*absent.csv"):
        as_source(tmp_path / "absent.csv")
    with pytest.raises(SimulationError, match="cannot get galaxies from a float"):
        as_source(1.5)  # type: ignore[arg-type]


def test_truth_scene_refuses_what_it_does_not_cover(tmp_path: Path) -> None:
    source = TruthScene(_write_truth(tmp_path / "scene_01.fits"))
    with pytest.raises(SimulationError, match="2048"):
        source.galaxies((2049, 100), SURVEY, np.random.default_rng(0))

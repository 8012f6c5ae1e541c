# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the built-in galaxies: counts, clustering, and the measure of it in pairs."""

from __future__ import annotations

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
    get_survey,
    read_truth_scene,
)
from lsst.meas.blendid.simulation.catalogs.parametric import count_pairs

SURVEY = get_survey("i")


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
    ],
)
def test_impossible_catalogues_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(SimulationError, match=f"{next(iter(bad))}.* must be"):
        ParametricCatalog(**bad)  # type: ignore[arg-type]


def test_pairs_are_counted_once() -> None:
    x, y = np.array([0.0, 3.0, 3.0, 50.0]), np.array([0.0, 0.0, 4.0, 50.0])
    counts = count_pairs(x, y, np.array([2.5, 3.5, 4.5, 5.5]), (100, 100))
    assert counts.pairs.tolist() == [1.0, 1.0, 1.0]
    # Positions outside of the field are no part of it.
    beyond = count_pairs(np.append(x, [-1.0, 100.0]), np.append(y, [0.0, 3.0]), counts.edges, (100, 100))
    np.testing.assert_array_equal(beyond.pairs, counts.pairs)
    np.testing.assert_array_equal(beyond.expected, counts.expected)


@given(st.integers(0, 5), st.sampled_from([(400, 400), (300, 900)]))
def test_random_places_have_no_excess(seed: int, size: tuple[int, int]) -> None:
    """Up to most of the width of the field, where its border takes a third of the pairs."""
    rng = np.random.default_rng(seed)
    x, y = (rng.uniform(-0.5, length - 0.5, 3000) for length in size)
    counts = count_pairs(x, y, np.array([0.0, 20.0, 60.0, 150.0, 290.0]), size)
    assert (np.abs(counts.excess) < 6.0 / np.sqrt(counts.expected) + 0.02).all()


def test_fields_add_up() -> None:
    rng = np.random.default_rng(0)
    edges = np.array([1.0, 5.0, 20.0])
    one, two = (count_pairs(*rng.uniform(0, 99, (2, n)), edges, (100, 100)) for n in (50, 80))
    both = one + two
    np.testing.assert_array_equal(both.pairs, one.pairs + two.pairs)
    np.testing.assert_allclose(both.excess, both.pairs / (one.expected + two.expected) - 1.0)
    other = count_pairs(np.zeros(2), np.zeros(2), np.array([1.0, 5.0, 21.0]), (100, 100))
    with pytest.raises(SimulationError, match="different separations"):
        one + other


@pytest.mark.parametrize("edges", [[1.0], [2.0, 1.0], [-1.0, 1.0], [1.0, np.nan]])
def test_impossible_separations_are_refused(edges: list[float]) -> None:
    with pytest.raises(SimulationError, match="separations"):
        count_pairs(np.zeros(3), np.zeros(3), np.array(edges), (100, 100))
    with pytest.raises(SimulationError, match="less than the field of 100 × 50"):
        count_pairs(np.zeros(3), np.zeros(3), np.array([1.0, 60.0]), (100, 50))

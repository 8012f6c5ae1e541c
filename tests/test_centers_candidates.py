# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of what is made of maps: candidates and numbers of footprints."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.centers.candidates import (
    CENTER_COLUMNS,
    Candidates,
    count_probabilities,
    describe_candidates,
    find_candidates,
    pool_maps,
    split_candidates,
    tile_labels,
    tile_sums,
)
from toy_objects import make_candidates


def make_labels(seed: int, ny: int, nx: int, n: int) -> np.ndarray:
    """Patches of labels; not all of them need be there."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((ny, nx), np.int32)
    for label in range(1, n + 1):
        y, x = rng.integers(ny), rng.integers(nx)
        labels[y : y + rng.integers(1, 6), x : x + rng.integers(1, 6)] = label
    return labels


@given(st.integers(0, 10**6), st.integers(1, 17), st.integers(1, 17), st.sampled_from(["i4", "u2"]))
def test_tile_labels_equals_a_loop_over_tiles(seed: int, ny: int, nx: int, dtype: str) -> None:
    labels = make_labels(seed, ny, nx, 4).astype(dtype)
    tiles, inside = tile_labels(labels)
    padded = np.pad(labels, ((0, ny % 2), (0, nx % 2)))
    assert tiles.shape == (padded.shape[0] // 2, padded.shape[1] // 2)
    for i, j in np.ndindex(tiles.shape):
        block = padded[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].ravel()
        assert tiles[i, j] == block.max()
        assert np.array_equal(inside[i, j], (block == block.max()) & (block > 0))


@given(st.integers(0, 10**6))
def test_pool_maps_equals_a_loop_over_footprints(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, e = 4, 3
    labels = make_labels(seed, 14, 18, n)
    tiles, inside = tile_labels(labels)
    embedding = np.maximum(rng.normal(size=(*tiles.shape, e)), 0.0).astype(np.float32)
    logits = rng.normal(scale=3.0, size=(*tiles.shape, 5)).astype(np.float32)
    pooled = pool_maps(embedding, logits, tiles, inside, n)
    odds = np.exp(logits.astype(float))
    p = (odds[..., 1:] * inside).sum(axis=-1) / odds.sum(axis=-1)
    for row in range(n):
        here = tiles == row + 1
        if not here.any():
            assert np.all(pooled[row] == 0.0)
            continue
        q, f = p[here], embedding[here].astype(float)
        expected = [
            *np.log1p(f.sum(axis=0)),
            *f.max(axis=0),
            *f.mean(axis=0),
            np.log1p(q.sum()),
            np.log1p((q * q).sum()),
            q.max(),
            np.log1p((q * (1 - q)).sum()),
        ]
        assert pooled[row] == pytest.approx(expected, rel=1e-5, abs=1e-6)
        assert tile_sums(pooled)[row] == pytest.approx([q.sum(), (q * q).sum(), q.max()], rel=1e-4, abs=1e-5)


def test_count_probabilities() -> None:
    rng = np.random.default_rng(2)
    layers = [(rng.normal(size=(3, 4)), rng.normal(size=4)), (rng.normal(size=(4, 5)), rng.normal(size=5))]
    inputs = rng.normal(size=(6, 3))
    p = count_probabilities(inputs, layers)
    hidden = np.maximum(inputs @ layers[0][0] + layers[0][1], 0.0)
    odds = np.exp(hidden @ layers[1][0] + layers[1][1])
    assert p == pytest.approx(odds / odds.sum(axis=1, keepdims=True))
    assert count_probabilities(inputs[:0], layers).shape == (0, 5)
    # A logit of 1,000 would overflow without the shift.
    huge = [(np.zeros((3, 5)), np.array([0.0, 1000.0, 0.0, 0.0, 0.0]))]
    assert count_probabilities(inputs, huge)[:, 1] == pytest.approx(1.0)


SIGMA = 2.0


def make_logits(probabilities: dict[tuple[int, int], float], shape: tuple[int, int]) -> np.ndarray:
    """Logits of tiles where centres are in these pixels (y, x) with these probabilities."""
    p = np.full((shape[0] // 2, shape[1] // 2, 5), 1e-9)
    for (y, x), value in probabilities.items():
        p[y // 2, x // 2, 1 + 2 * (y % 2) + x % 2] = value
    p[..., 0] = 1.0 - p[..., 1:].sum(axis=-1)
    return np.log(p).astype(np.float32)


def find(probabilities: dict[tuple[int, int], float], labels: np.ndarray, sigma: float = SIGMA) -> Candidates:
    tiles, inside = tile_labels(labels)
    logits = make_logits(probabilities, labels.shape)
    return find_candidates(logits, tiles, inside, int(labels.max()), psf_sigma=sigma)


def test_one_smeared_centre_is_one_candidate() -> None:
    labels = np.ones((16, 16), np.int32)
    found = find({(7, 6): 0.5, (7, 8): 0.3, (8, 7): 0.2}, labels)
    assert found.probability == pytest.approx([1.0], abs=1e-5)
    assert found.x == pytest.approx([0.5 * 6 + 0.3 * 8 + 0.2 * 7], abs=1e-4)
    assert found.y == pytest.approx([7.2], abs=1e-4)
    assert np.array_equal(found.start, [0, 1])


def test_two_centres_are_two_candidates_best_first() -> None:
    labels = np.ones((16, 16), np.int32)
    found = find({(4, 3): 0.4, (5, 12): 0.45, (6, 13): 0.2}, labels)
    assert found.probability == pytest.approx([0.65, 0.4], abs=1e-5)
    assert found.x[1] == pytest.approx(3.0, abs=1e-3)
    assert find({(4, 3): 0.4, (5, 12): 0.45, (6, 13): 0.2}, labels, sigma=20.0).row.size == 1


def test_centres_of_different_footprints_stay_apart() -> None:
    labels = np.zeros((12, 12), np.int32)
    labels[:, :4], labels[:, 6:] = 2, 1
    found = find({(4, 3): 0.9, (4, 6): 0.8, (4, 4): 0.7}, labels)
    # The pixel between them belongs to none.
    assert np.array_equal(found.row, [0, 1])
    assert found.probability == pytest.approx([0.8, 0.9], abs=1e-5)
    assert np.array_equal(found.start, [0, 1, 2])


def test_no_footprint_and_no_candidate() -> None:
    found = find({(4, 3): 0.9}, np.zeros((12, 12), np.int32))
    assert found.row.size == 0 and np.array_equal(found.start, [0])
    found = find({}, np.ones((12, 12), np.int32))
    assert found.row.size == 0 and np.array_equal(found.start, [0, 0])


def brute_force(
    logits: np.ndarray, labels: np.ndarray, radius: float
) -> dict[int, list[tuple[float, float, float]]]:
    """Candidates as a slow program finds them: probability, x, y by footprint."""
    result: dict[int, list[tuple[float, float, float]]] = {}
    for label in range(1, int(labels.max()) + 1):
        tiles = []
        for i, j in np.ndindex(logits.shape[:2]):
            block = labels[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            if block.max() != label:
                continue
            p = np.exp(logits[i, j].astype(float))
            p = (p / p.sum())[1:].reshape(2, 2) * (block == label)
            if p.sum() < 0.01:
                continue
            y, x = np.mgrid[:2, :2]
            tiles.append((p.sum(), 2 * j + (p * x).sum() / p.sum(), 2 * i + (p * y).sum() / p.sum()))
        groups: list[list[tuple[float, float, float]]] = []
        for tile in sorted(tiles, reverse=True):
            distances = [np.hypot(tile[1] - g[0][1], tile[2] - g[0][2]) for g in groups]
            if distances and min(distances) < radius:
                groups[int(np.argmin(distances))].append(tile)
            else:
                groups.append([tile])
        rows = []
        for group in groups:
            p, x, y = np.array(group).T
            rows.append((p.sum(), (p * x).sum() / p.sum(), (p * y).sum() / p.sum()))
        result[label] = sorted(rows, reverse=True)
    return result


@given(st.integers(0, 10**6), st.sampled_from([0.5, 1.6, 3.0]))
def test_candidates_equal_those_of_a_slow_program(seed: int, sigma: float) -> None:
    rng = np.random.default_rng(seed)
    labels = np.zeros((22, 26), np.int32)
    labels[1:12, 2:11], labels[3:20, 12:25], labels[14:21, 1:10] = 1, 2, 3
    logits = rng.normal(scale=2.0, size=(11, 13, 5)).astype(np.float32)
    logits[..., 0] += 4.0
    tiles, inside = tile_labels(labels)
    found = find_candidates(logits, tiles, inside, 3, psf_sigma=sigma)
    for label, rows in brute_force(logits, labels, 1.5 * sigma).items():
        mine = slice(found.start[label - 1], found.start[label])
        assert np.all(found.row[mine] == label - 1)
        p, x, y = np.array(rows).reshape(-1, 3).T
        assert found.probability[mine] == pytest.approx(np.minimum(p, 1.0), abs=1e-5)
        assert found.x[mine] == pytest.approx(x, abs=1e-3)
        assert found.y[mine] == pytest.approx(y, abs=1e-3)


def test_columns() -> None:
    row, x, y, p = np.array(
        [[0, 1.0, 1.0, 0.9], [0, 4.0, 5.0, 0.6], [0, 1.0, 7.0, 0.2], [0, 9.0, 9.0, 0.05], [2, 5.0, 5.0, 0.3]]
    ).T
    candidates = make_candidates(row.astype(int), x, y, p, 3)
    sums = np.array([[1.8, 1.2, 0.9], [0.0, 0.0, 0.0], [0.3, 0.1, 0.3]])
    p_n = np.array([[0.0, 0.1, 0.6, 0.2, 0.1], [1.0, 0.0, 0.0, 0.0, 0.0], [0.2, 0.4, 0.4, 0.0, 0.0]])
    columns = describe_candidates(candidates, sums, p_n, psf_sigma=2.0)
    assert columns.shape == (3, len(CENTER_COLUMNS)) and columns.dtype == np.float32
    row = dict(zip(CENTER_COLUMNS, columns[0].tolist(), strict=True))
    assert [row[f"center_p{k}"] for k in (1, 2, 3)] == pytest.approx([0.9, 0.6, 0.2])
    assert [row[f"center_separation_{k}"] for k in ("12", "13", "23")] == pytest.approx([5, 6, 13**0.5])
    assert row["center_separation_12_sigma"] == 2.5
    assert [row["center_n_likely"], row["center_n_possible"]] == [2, 3]
    assert [row[f"center_p_n_{k}"] for k in range(5)] == pytest.approx([0.0, 0.1, 0.6, 0.2, 0.1])
    assert row["center_log_odds"] == pytest.approx(np.log(9.0), rel=1e-5)
    assert [row["center_sum_p"], row["center_sum_p2"], row["center_largest_p"]] == pytest.approx(sums[0])
    empty = dict(zip(CENTER_COLUMNS, columns[1].tolist(), strict=True))
    assert empty["center_p1"] == 0.0 and np.isnan(empty["center_separation_12"])
    assert np.isfinite(empty["center_log_odds"])
    one = dict(zip(CENTER_COLUMNS, columns[2].tolist(), strict=True))
    assert one["center_p1"] == pytest.approx(0.3) and np.isnan(one["center_separation_12_sigma"])


def make_map(centers: list[tuple[float, float, float]], size: int = 24) -> np.ndarray:
    """Logits of a map in which centres at x, y are spread over tiles, each with its number of centres."""
    y, x = np.mgrid[:size, :size]
    total = np.zeros((size, size))
    for cx, cy, number in centers:
        blob = np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / 0.8**2)
        total += number * blob / blob.sum()
    p = total.reshape(size // 2, 2, size // 2, 2).transpose(0, 2, 1, 3).reshape(size // 2, size // 2, 4)
    none = np.maximum(1.0 - p.sum(axis=-1, keepdims=True), 1e-9)
    return np.log(np.maximum(np.concatenate([none, p], axis=-1), 1e-12)).astype(np.float32)


def test_covariance_is_that_of_the_places() -> None:
    labels = np.ones((24, 24), np.int32)
    tiles, inside = tile_labels(labels)
    found = find_candidates(make_map([(11.3, 12.2, 0.9)]), tiles, inside, 1, psf_sigma=2.5)
    assert found.row.tolist() == [0]
    assert (found.x[0], found.y[0]) == pytest.approx((11.3, 12.2), abs=0.1)
    # The blob, and a twelfth for where in its pixel a place is.
    assert found.xx[0] == pytest.approx(0.8**2 + 1 / 12, abs=0.12)
    assert found.yy[0] == pytest.approx(0.8**2 + 1 / 12, abs=0.12)
    assert abs(found.xy[0]) < 0.05
    assert found.total[0] == found.probability[0] == pytest.approx(0.9, abs=0.03)


def test_two_galaxies_in_one_candidate_are_split() -> None:
    labels = np.ones((24, 24), np.int32)
    tiles, inside = tile_labels(labels)
    true = [(11.0, 12.0, 0.95), (13.2, 12.0, 0.6)]
    found = find_candidates(make_map(true), tiles, inside, 1, psf_sigma=2.5)
    assert len(found.row) == 1 and found.total[0] > 1.4 and found.probability[0] == 1.0
    split, is_second = split_candidates(found)
    assert is_second.tolist() == [False, True] and split.start.tolist() == [0, 2]
    assert split.probability[1] == pytest.approx(found.total[0] - 1.0)
    # The mean stays, and both are near their galaxies, the more probable one first.
    weights = np.array([1.0, found.total[0] - 1.0])
    assert np.average(split.x, weights=weights) == pytest.approx(found.x[0], abs=1e-4)
    assert np.hypot(split.x - [11.0, 13.2], split.y - 12.0).max() < 0.8
    assert np.all(split.xx < found.xx[0]) and np.all(split.xx * split.yy >= split.xy**2)


def test_what_is_one_galaxy_is_not_split() -> None:
    x, y, p = np.array([[1.0, 9.0, 5.0], [2.0, 3.0, 4.0], [0.9, 0.2, 1.0]])
    candidates = make_candidates(np.array([0, 0, 2]), x, y, p, 3)
    split, is_second = split_candidates(candidates)
    assert not is_second.any() and split.start.tolist() == [0, 2, 2, 3]
    for name in ("row", "x", "y", "probability", "xx"):
        np.testing.assert_array_equal(getattr(split, name), getattr(candidates, name))

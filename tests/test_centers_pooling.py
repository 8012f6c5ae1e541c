# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.centers.pooling import count_probabilities, pool_maps, tile_labels, tile_sums


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

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Errors by blocks of sky."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.meas.blendid.evaluation.bootstrap import block_index, choose_units, resampled_weights
from lsst.meas.blendid.metrics import BlendScorer


def draw(n: int = 4000, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities and counts drawn from them."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.6, 1.0, n)
    counts = np.where(rng.random(n) < p, rng.integers(2, 5, n), (rng.random(n) < 0.97).astype(int))
    return p, counts


def test_block_index() -> None:
    x, y = np.array([0.0, 511.0, 512.0, 3.0]), np.array([0.0, 100.0, 0.0, 700.0])
    block = block_index(x, y, size=512)
    assert block[0] == block[1] and len(set(block)) == 3 and block.max() == 2
    assert len(set(block_index(x, y, np.array([0, 1, 0, 0]), size=512))) == 4


def test_units_are_the_largest_blocks_of_which_there_are_enough() -> None:
    rng = np.random.default_rng(0)

    def units(side: float, *, n: int = 3000, skies: int = 1) -> tuple[int | None, int]:
        found = choose_units(*rng.uniform(0.0, side, (2, n)), np.arange(n) % skies)
        assert found.index.min() == 0 and len(np.unique(found.index)) == found.n
        return found.size, found.n

    assert units(4096.0) == (512, 64)
    assert units(1024.0, skies=5) == (512, 20)
    assert units(2048.0) == (256, 64)
    # Twenty-five blocks, nine of them slivers, are fewer than twenty.
    assert units(1060.0) == (128, 81)
    assert units(1024.0) == (128, 64)
    assert units(500.0) == (None, 3000) and units(500.0, n=20) == (None, 20)


def resample(p: np.ndarray, counts: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Cross-entropies of a hundred resamples."""
    scorer = BlendScorer(p, counts, np.ones(len(p)))
    return np.array([scorer(row[blocks])["cross_entropy"] for row in resampled_weights(blocks, draws=100)])


def test_bootstrap_is_paired_seeded_and_about_right() -> None:
    p, counts = draw(3000)
    blocks = np.arange(p.size) % 60
    loss, worse = (resample(q, counts, blocks) for q in (p, np.clip(p * 0.5 + 0.25, 0, 1)))
    np.testing.assert_array_equal(loss, resample(p, counts, blocks))
    weights = resampled_weights(blocks, draws=100)
    assert weights.shape == (100, 60) and set(weights.sum(axis=1)) == {60.0}
    means = [np.average(p, weights=row[blocks]) for row in weights]
    assert np.std(means) == pytest.approx(p.std() / np.sqrt(p.size), rel=0.25)
    difference = worse - loss
    assert difference.min() > 0.0
    assert difference.var() < loss.var() + worse.var()
    with pytest.raises(ValueError, match="two blocks"):
        resampled_weights(np.zeros(p.size, int))


def test_draw_without_one_kind_is_nan() -> None:
    """All blends are in one of three blocks: 8 in 27 draws are without it."""
    p, counts = draw(300)
    loss = resample(p, counts, np.where(counts > 1, 0, np.arange(300) % 2 + 1))
    assert 15 < np.count_nonzero(np.isnan(loss)) < 50
    assert np.nanstd(loss) > 0.0

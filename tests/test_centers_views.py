# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lsst.meas.blendid.centers.inputs import CONTEXT_NAMES
from lsst.meas.blendid.centers.pooling import tile_labels
from lsst.meas.blendid.centers.views import N_VIEWS, join_maps, run_view
from scipy.special import softmax


class Network:
    """Says of each tile what its pixels are, however the image is turned."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def run(
        self, _weights: Any, planes: np.ndarray, labels: np.ndarray, _context: Any, wanted: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        even = [(0, n % 2) for n in labels.shape]
        planes, labels = np.pad(planes[..., 0].astype("f4"), even), np.pad(labels, even)
        self.seen.append(planes)
        pixels = [planes[y::2, x::2] for y in range(2) for x in range(2)]
        total, inside = sum(pixels), labels[::2, ::2]
        embedding = np.stack([total, inside], axis=-1).astype("f4")
        return embedding[wanted], np.stack([0.5 * total, *pixels], axis=-1)[wanted]


@pytest.mark.parametrize(("ny", "nx"), [(16, 24), (17, 30), (13, 15)])
def test_views_are_turned_back(ny: int, nx: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(ny)
    planes = rng.normal(size=(ny, nx, 2)).astype(np.float16)
    labels = np.zeros((ny, nx), np.int32)
    # Whole tiles, so that the mask of one pixel is that of the tile.
    labels[2:8, 4:10], labels[10:12, 2:6] = 1, 2
    wanted = tile_labels(labels)[0] > 0
    network, context = Network(), np.zeros(len(CONTEXT_NAMES))
    monkeypatch.setattr("lsst.meas.blendid.centers.views.run_maps", network.run)
    weights: Any = None
    first = run_view(weights, planes, labels, context, wanted)
    assert first[0].shape == (np.count_nonzero(wanted), 2)
    for view in range(N_VIEWS):
        embedding, logits = run_view(weights, planes, labels, context, wanted, view)
        assert embedding.shape == first[0].shape and logits.shape == first[1].shape
        assert np.allclose(embedding, first[0], atol=1e-5) and np.allclose(logits, first[1], atol=1e-5)
    # No two of them are the same, and the first four keep the shape.
    shown = {(array.shape, array.tobytes()) for array in network.seen[1:]}
    assert len(shown) == N_VIEWS
    shape = network.seen[0].shape
    assert all(array.shape == shape for array in network.seen[1:5])


def test_join_maps_takes_the_mean_of_probabilities() -> None:
    one, two = np.random.default_rng(1).normal(size=(2, 4, 5, 5)).astype(np.float32)
    joined = softmax(join_maps(softmax(one, axis=-1) + softmax(two, axis=-1), 2), axis=-1)
    assert joined == pytest.approx(0.5 * (softmax(one, axis=-1) + softmax(two, axis=-1)), abs=1e-6)

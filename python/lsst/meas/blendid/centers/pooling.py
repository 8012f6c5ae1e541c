# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""From maps of the centre network to numbers of each footprint."""

from __future__ import annotations

__all__ = ("N_SUMS", "count_probabilities", "pool_maps", "state_odds", "tile_labels", "tile_sums")

import numpy as np

from .._jit import njit

N_SUMS = 4
"""Numbers of a footprint from the probabilities of its tiles: sum, sum of squares, largest, variance."""


@njit(nogil=True)
def tile_labels(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the footprint of each tile of 2 x 2 pixels.

    Parameters
    ----------
    labels : `numpy.ndarray`, shape (ny, nx), integer
        Label image, 0 for none.

    Returns
    -------
    tiles : `numpy.ndarray`, shape (ny / 2, nx / 2), int32
        The largest label in each tile; sides are rounded up.  Tiles of two footprints are few, as
        footprints that touch are one.
    inside : `numpy.ndarray`, shape (ny / 2, nx / 2, 4), float32
        Which of its pixels have that label, 1 or 0, in the order (0, 0), (0, 1), (1, 0), (1, 1) [y, x].
    """
    ny, nx = labels.shape
    m, n = (ny + 1) // 2, (nx + 1) // 2
    tiles = np.zeros((m, n), np.int32)
    inside = np.zeros((m, n, 4), np.float32)
    for y in range(ny):
        for x in range(nx):
            label = np.int32(labels[y, x])
            if label > tiles[y // 2, x // 2]:
                tiles[y // 2, x // 2] = label
    for y in range(ny):
        for x in range(nx):
            if labels[y, x] > 0 and labels[y, x] == tiles[y // 2, x // 2]:
                inside[y // 2, x // 2, 2 * (y % 2) + x % 2] = 1.0
    return tiles, inside


@njit(nogil=True)
def state_odds(logits: np.ndarray, i: int, j: int, odds: np.ndarray) -> float:
    """Compute the odds of the states of a tile, for loops that are compiled.

    Parameters
    ----------
    logits : `numpy.ndarray`, shape (ny / 2, nx / 2, 5), float32
        Logits of the states of each tile.
    i, j
        The tile.
    odds : `numpy.ndarray`, shape (5,), float64
        Filled with the odds of its states against the most probable one.

    Returns
    -------
    total
        Their sum: the probability of a state is its odds over this.
    """
    top = logits[i, j, 0]
    for k in range(1, 5):
        top = max(top, logits[i, j, k])
    total = 0.0
    for k in range(5):
        odds[k] = np.exp(np.float64(logits[i, j, k] - top))
        total += odds[k]
    return total


@njit(nogil=True)
def _pool(
    embedding: np.ndarray,
    logits: np.ndarray,
    tiles: np.ndarray,
    inside: np.ndarray,
    sums: np.ndarray,
    largest: np.ndarray,
) -> None:
    """Add up over the tiles of each footprint; the last four columns of ``sums`` are p, p², p (1 - p), 1."""
    m, n = tiles.shape
    width = embedding.shape[2]
    odds = np.empty(5)
    for i in range(m):
        for j in range(n):
            label = tiles[i, j]
            if label == 0:
                continue
            row = label - 1
            total = state_odds(logits, i, j, odds)
            p = 0.0
            for k in range(4):
                p += odds[k + 1] * inside[i, j, k]
            p /= total
            for k in range(width):
                value = embedding[i, j, k]
                sums[row, k] += value
                largest[row, k] = max(largest[row, k], value)
            sums[row, width] += p
            sums[row, width + 1] += p * p
            sums[row, width + 2] += p * (1.0 - p)
            sums[row, width + 3] += 1.0
            largest[row, width] = max(largest[row, width], p)


def pool_maps(
    embedding: np.ndarray, logits: np.ndarray, tiles: np.ndarray, inside: np.ndarray, n: int
) -> np.ndarray:
    """Pool maps over footprints.

    Parameters
    ----------
    embedding : `numpy.ndarray`, shape (ny / 2, nx / 2, e), float32
        Embedding of each tile, not negative.
    logits : `numpy.ndarray`, shape (ny / 2, nx / 2, 5), float32
        Logits of the states of each tile.
    tiles, inside
        As from `tile_labels`.
    n
        Number of footprints.

    Returns
    -------
    pooled : `numpy.ndarray`, shape (n, 3 e + 4), float32
        log(1 + sum), largest and mean of the embedding; of the probability p that a tile has a centre in
        the footprint log(1 + sum of p), log(1 + sum of p²), the largest p and log(1 + sum of p (1 - p)).
    """
    width = embedding.shape[2]
    sums = np.zeros((n, width + 4))
    largest = np.zeros((n, width + 1))
    _pool(embedding, logits, tiles, inside, sums, largest)
    number = np.maximum(sums[:, width + 3 :], 1.0)
    columns = (
        np.log1p(sums[:, :width]),
        largest[:, :width],
        sums[:, :width] / number,
        np.log1p(sums[:, width : width + 2]),
        largest[:, width:],
        np.log1p(sums[:, width + 2 : width + 3]),
    )
    return np.concatenate(columns, axis=1).astype(np.float32)


def tile_sums(pooled: np.ndarray) -> np.ndarray:
    """Take the sums of the tiles' probabilities out of what was pooled.

    Parameters
    ----------
    pooled : `numpy.ndarray`, shape (n, 3 e + 4)
        As from `pool_maps`.

    Returns
    -------
    sums : `numpy.ndarray`, shape (n, 3), float64
        Sum of p, sum of p², and the largest p.
    """
    sums = pooled[:, -N_SUMS:-1].astype(np.float64)
    sums[:, :2] = np.expm1(sums[:, :2])
    return sums


def count_probabilities(inputs: np.ndarray, layers: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Run the head: layers with rectifiers between them, and a softmax.

    Parameters
    ----------
    inputs : `numpy.ndarray`, shape (n, inputs)
        Pooled maps, scalars and context.
    layers
        Kernel and bias of each layer.

    Returns
    -------
    probabilities : `numpy.ndarray`, shape (n, 5), float64
        P(N = 0, 1, 2, 3, >= 4).
    """
    x = np.asarray(inputs, dtype=np.float64)
    for i, (kernel, bias) in enumerate(layers):
        if i > 0:
            x = np.maximum(x, 0.0)
        x = x @ kernel + bias
    odds = np.exp(x - x.max(axis=1, keepdims=True, initial=-np.inf))
    return odds / odds.sum(axis=1, keepdims=True)

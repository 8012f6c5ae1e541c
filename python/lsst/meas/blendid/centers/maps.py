# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Running the centre network over images of any size."""

from __future__ import annotations

__all__ = ("reach", "run_maps")

from typing import Any

import numpy as np

from .network import N_PLANES, NetworkShape

_LARGEST = 2304
"""Longest side of what is run at once [pixel]; larger images are run in overlapping pieces."""


def reach(shape: NetworkShape) -> int:
    """Compute how far around a tile the network looks.

    Parameters
    ----------
    shape
        Size of the network.

    Returns
    -------
    reach
        Distance that is never exceeded [pixel], a multiple of the network's stride.
    """
    # Two convolutions of 3 x 3 in each block; going down and up again adds at most a tile of the level.
    total = 2
    for level, blocks in enumerate(shape.blocks):
        tile = 2 ** (level + 1)
        total += tile * (2 * (blocks + (level < len(shape.blocks) - 1)) + 1)
    return -(-total // shape.stride) * shape.stride


def run_maps(
    network: Any,
    planes: np.ndarray,
    labels: np.ndarray,
    context: np.ndarray,
    shape: NetworkShape,
    *,
    largest: int = _LARGEST,
) -> tuple[np.ndarray, np.ndarray]:
    """Run the network over an image.

    Parameters
    ----------
    network
        As from `.network.build_map_network`; or, so that it is compiled once for all sizes, a
        `..networks.NetworkRunner` of it.
    planes : `numpy.ndarray`, shape (ny, nx, 2)
        As from `.inputs.compute_planes`.
    labels : `numpy.ndarray`, shape (ny, nx)
        Label image, 0 for none.
    context : `numpy.ndarray`, shape (9,)
        Standardised context.
    shape
        Size of the network.
    largest
        Longest side of what is run at once [pixel]; longer sides are cut into as few pieces as that allows,
        all of one length.

    Returns
    -------
    embedding : `numpy.ndarray`, shape (ny / 2, nx / 2, e), float32
        Embedding of each tile; sides are rounded up.
    logits : `numpy.ndarray`, shape (ny / 2, nx / 2, 5), float32
        Logits of the states of each tile.
    """
    ny, nx = labels.shape
    rows, columns = (_pieces(n, shape, largest) for n in (ny, nx))
    half = ((ny + 1) // 2, (nx + 1) // 2)
    embedding = logits = np.zeros((*half, 0), np.float32)
    for ya, yb, y0, y1 in rows:
        for xa, xb, x0, x1 in columns:
            inputs = np.zeros((1, yb - ya, xb - xa, N_PLANES), np.float32)
            cut = (slice(ya, min(yb, ny)), slice(xa, min(xb, nx)))
            there = (0, slice(0, cut[0].stop - ya), slice(0, cut[1].stop - xa))
            inputs[(*there, slice(0, N_PLANES - 1))] = planes[cut]
            inputs[(*there, N_PLANES - 1)] = labels[cut] > 0
            outputs = [
                np.asarray(array)[0]
                for array in network.predict_on_batch([inputs, np.asarray(context, np.float32)[None]])
            ]
            inner = (slice((y0 - ya) // 2, (y1 - ya + 1) // 2), slice((x0 - xa) // 2, (x1 - xa + 1) // 2))
            if len(rows) == len(columns) == 1:
                return outputs[0][inner], outputs[1][inner]
            if not embedding.size:
                embedding, logits = (np.zeros((*half, a.shape[-1]), np.float32) for a in outputs)
            out = (slice(y0 // 2, (y1 + 1) // 2), slice(x0 // 2, (x1 + 1) // 2))
            embedding[out], logits[out] = outputs[0][inner], outputs[1][inner]
            # Not kept while the next piece runs.
            del outputs, inputs
    return embedding, logits


def _pieces(n: int, shape: NetworkShape, largest: int) -> list[tuple[int, int, int, int]]:
    """Cut a side into pieces: what the network sees (to a multiple of its stride), and what is kept."""
    stride = shape.stride
    if n <= largest:
        return [(0, max(-(-n // stride), 1) * stride, 0, n)]
    margin, whole = reach(shape), -(-n // stride) * stride
    # The network sees as much of the image in each piece, and at least a tile of it is kept.
    largest, width, count = max(largest // stride * stride, 2 * margin + stride), whole, 1
    while width > largest:
        count += 1
        width = -(-(whole + 2 * margin * (count - 1)) // (count * stride)) * stride
    pieces, start = [], 0
    while start < n:
        first = max(start - margin, 0)
        last = min(first + width, whole)
        stop = n if last == whole else last - margin
        pieces.append((first, last, start, stop))
        start = stop
    return pieces

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Running the centre network over turned and mirrored images.

What is in an image does not depend on how it is turned, what a network says of it does a little: the mean
over views is better than each.
"""

from __future__ import annotations

__all__ = ("N_VIEWS", "join_maps", "run_view", "turn")

import numpy as np

from .maps import MapWeights, run_maps
from .network import N_STATES

_VIEWS = ((0, False), (2, True), (0, True), (2, False), (1, False), (3, True), (1, True), (3, False))
"""Quarter turns, and whether the image is mirrored after them; the first four keep the shape of an image."""
N_VIEWS = len(_VIEWS)
"""Number of views that there are; the first is the image as it is."""

_STATES = np.arange(1, N_STATES).reshape(2, 2)
"""State of a tile that has its centre in each of its pixels."""


def turn(array: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    """Turn an image, and mirror it then.

    Parameters
    ----------
    array : `numpy.ndarray`, shape (ny, nx, ...)
        The image.
    turns
        Number of quarter turns, as of `numpy.rot90`.
    mirrored
        Whether columns are put into the opposite order.

    Returns
    -------
    array
        A view of the array.
    """
    array = np.rot90(array, turns)
    return array[:, ::-1] if mirrored else array


def run_view(
    weights: MapWeights,
    planes: np.ndarray,
    labels: np.ndarray,
    context: np.ndarray,
    wanted: np.ndarray,
    view: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Run the network over a view of an image.

    Parameters
    ----------
    weights, planes, labels, context, wanted
        As for `.maps.run_maps`.
    view
        Which view, less than `N_VIEWS`.

    Returns
    -------
    embedding, logits
        As from `.maps.run_maps`: of the tiles as they were, in the same order.
    """
    if view == 0:
        return run_maps(weights, planes, labels, context, wanted)
    # Tiles have to stay what they are, so sides must be even before the image is turned.
    ny, nx = labels.shape
    if ny % 2 or nx % 2:
        even = ((0, ny % 2), (0, nx % 2))
        planes, labels = np.pad(planes, (*even, (0, 0))), np.pad(labels, even)
    numbers = np.zeros(wanted.shape, np.int32)
    numbers[wanted] = np.arange(np.count_nonzero(wanted))
    planes, labels, numbers, seen = (turn(a, *_VIEWS[view]) for a in (planes, labels, numbers, wanted))
    maps = run_maps(weights, planes, labels, context, seen)
    order = numbers[seen]
    embedding, logits = (np.empty_like(array) for array in maps)
    states = np.zeros(N_STATES, dtype=np.intp)
    states[turn(_STATES, *_VIEWS[view]).ravel()] = _STATES.ravel()
    embedding[order], logits[order] = maps[0], maps[1][:, states]
    return embedding, logits


def join_maps(total: np.ndarray, n_views: int) -> np.ndarray:
    """Take the mean probabilities of views.

    Parameters
    ----------
    total
        Sum of the probabilities of the states of each tile over views, shape (..., 5).
    n_views
        Number of views.

    Returns
    -------
    logits : `numpy.ndarray`, shape (..., 5), float32
        Logarithms of the mean probabilities.
    """
    return np.log(np.maximum(total / np.float32(n_views), np.float32(1e-12)))

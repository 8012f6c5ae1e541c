# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Which detected peak and which position mean the same object."""

from __future__ import annotations

__all__ = ("match_in_footprints",)

import numpy as np

from .._jit import njit


@njit(nogil=True)
def _list_pairs(
    start: np.ndarray,
    other_start: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    other_x: np.ndarray,
    other_y: np.ndarray,
    limit: float,
    first: np.ndarray,
    second: np.ndarray,
    square: np.ndarray,
) -> int:
    """List the pairs that are close enough, as far as there is room; their number."""
    found = 0
    for row in range(start.size - 1):
        for i in range(start[row], start[row + 1]):
            for j in range(other_start[row], other_start[row + 1]):
                distance = (x[i] - other_x[j]) ** 2 + (y[i] - other_y[j]) ** 2
                if distance <= limit:
                    if found < first.size:
                        first[found], second[found], square[found] = i, j, distance
                    found += 1
    return found


@njit(nogil=True)
def _take(
    order: np.ndarray, first: np.ndarray, second: np.ndarray, partner: np.ndarray, taken: np.ndarray
) -> None:
    """Give partners, the closest pair first."""
    for k in order:
        i, j = first[k], second[k]
        if partner[i] < 0 and not taken[j]:
            partner[i] = j
            taken[j] = True


def match_in_footprints(
    start: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    other_start: np.ndarray,
    other_x: np.ndarray,
    other_y: np.ndarray,
    radius: float,
) -> np.ndarray:
    """Match two lists of places one to one, each within its footprint, the closest pair first.

    Parameters
    ----------
    start : `numpy.ndarray`, shape (n + 1,)
        First place of each footprint, and their number m.
    x, y : `numpy.ndarray`, shape (m,)
        Places, pixels.
    other_start, other_x, other_y
        The other list, of k places in the same footprints.
    radius
        Largest distance, pixels.

    Returns
    -------
    partner : `numpy.ndarray`, shape (m,), int64
        Index into the other list; -1 for none.

    Notes
    -----
    No place of one list and place of the other that are both left alone are closer than the radius.
    """
    start, other_start = (np.ascontiguousarray(s, dtype=np.int64) for s in (start, other_start))
    x, y, other_x, other_y = (np.ascontiguousarray(v, dtype=np.float64) for v in (x, y, other_x, other_y))
    limit = float(radius) ** 2
    room = 0
    while True:
        first, second = np.empty(room, np.int64), np.empty(room, np.int64)
        square = np.empty(room)
        found = _list_pairs(start, other_start, x, y, other_x, other_y, limit, first, second, square)
        if found <= room:
            break
        room = found
    partner, taken = np.full(len(x), -1, np.int64), np.zeros(len(other_x), bool)
    # Of equal distances the first ones of the lists.
    order = np.lexsort((second[:found], first[:found], square[:found]))
    _take(order, first, second, partner, taken)
    return partner

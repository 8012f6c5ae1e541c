# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Exact nearest neighbours of many points among some tens of thousands.

The points are split into small boxes at medians, as in a k-d tree, but a query
looks at all boxes in one vectorised pass instead of walking down: with eight to
twenty dimensions a tree visits a large part of its leaves anyway.  Distances
are computed in single precision for what has to be thrown away, and again in
double precision for what may stay, so that the neighbours are those of an
exhaustive search in double precision.
"""

from __future__ import annotations

__all__ = ("NeighborIndex",)

from dataclasses import dataclass

import numpy as np

from .._jit import njit

_LEAF = 64
"""Most points in a box: four vectors of 16 single-precision numbers."""
_FAR = np.float32(1e17)
"""Coordinate of the points that fill up a box; its square is finite in single precision."""
_SPARE = 8
"""Candidates kept beyond the number asked for, so that rounding loses none."""
_FIRST = 6
"""Boxes that are looked into in the order of their distance, before the others in any order."""


@dataclass(frozen=True)
class NeighborIndex:
    """Points, arranged for the search of neighbours.

    Parameters
    ----------
    points : `numpy.ndarray`, shape (n, d), float64
        The points, in the order of the boxes.
    order : `numpy.ndarray`, shape (n,), int64
        Row of each among the points as they were given.
    start : `numpy.ndarray`, shape (b + 1,), int64
        First point of each box.
    blocks : `numpy.ndarray`, shape (b, d, 64), float32
        The points of each box, one coordinate after the other.
    low, high : `numpy.ndarray`, shape (d, b), float32
        Ends of the boxes.
    """

    points: np.ndarray
    order: np.ndarray
    start: np.ndarray
    blocks: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def build(cls, points: np.ndarray) -> NeighborIndex:
        """Arrange points.

        Parameters
        ----------
        points : `numpy.ndarray`, shape (n, d)
            Finite coordinates; they are rounded to single precision.

        Returns
        -------
        index : `NeighborIndex`
            The index.

        Raises
        ------
        ValueError
            Raised if there are no points, or they are not finite or too far
            out for single precision.
        """
        single = np.ascontiguousarray(points, dtype=np.float32)
        if single.ndim != 2 or single.size == 0:
            raise ValueError(f"points have shape {single.shape}; (n, d) with n and d from 1 was expected")
        if not (np.abs(single) < 1e15).all():
            raise ValueError("points are not finite, or beyond 1e15")
        leaves: list[np.ndarray] = []
        todo = [np.arange(len(single))]
        while todo:
            rows = todo.pop()
            if len(rows) <= _LEAF:
                leaves.append(np.sort(rows))
                continue
            widest = int(np.argmax(np.ptp(single[rows], axis=0)))
            # Halves that are whole boxes: all but the last box of a branch are full.
            boxes = -(-len(rows) // _LEAF)
            middle = boxes // 2 * _LEAF
            split = rows[np.argpartition(single[rows, widest], middle)]
            todo += [split[middle:], split[:middle]]
        order = np.concatenate(leaves)
        start = np.concatenate([[0], np.cumsum([len(leaf) for leaf in leaves])]).astype(np.int64)
        dimensions = single.shape[1]
        blocks = np.full((len(leaves), dimensions, _LEAF), _FAR, dtype=np.float32)
        low, high = (np.empty((dimensions, len(leaves)), dtype=np.float32) for _ in range(2))
        for i, leaf in enumerate(leaves):
            blocks[i, :, : len(leaf)] = single[leaf].T
            low[:, i], high[:, i] = single[leaf].min(axis=0), single[leaf].max(axis=0)
        return cls(single[order].astype(np.float64), order, start, blocks, low, high)

    def __len__(self) -> int:
        return len(self.points)

    def query(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the nearest points.

        Parameters
        ----------
        queries : `numpy.ndarray`, shape (m, d)
            Positions; they are rounded to single precision.
        k
            Number of neighbours.

        Returns
        -------
        rows : `numpy.ndarray`, shape (m, k), int64
            Rows of ``points`` (not of the points as given; see ``order``), in
            no particular order.  A query that is not finite has -1.
        squared : `numpy.ndarray`, shape (m, k), float64
            Squared distances; NaN for such a query.

        Raises
        ------
        ValueError
            Raised if there are fewer than ``k`` points or the dimensions
            differ.
        """
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.points.shape[1]:
            raise ValueError(
                f"positions have shape {queries.shape}; (m, {self.points.shape[1]}) was expected"
            )
        if not 1 <= k <= len(self):
            raise ValueError(f"{k} neighbours were asked for; there are {len(self)} points")
        return _query(queries, self.points, self.start, self.blocks, self.low, self.high, k)


@njit(nogil=True)
def _select(distance: np.ndarray, row: np.ndarray, n: int, k: int) -> None:  # pragma: no cover - compiled
    """Move the k smallest of the first n distances, with their rows, to the front (Hoare 1961)."""
    left, right = 0, n - 1
    while left < right:
        pivot = distance[(left + right) >> 1]
        i, j = left, right
        while i <= j:
            while distance[i] < pivot:
                i += 1
            while distance[j] > pivot:
                j -= 1
            if i <= j:
                distance[i], distance[j] = distance[j], distance[i]
                row[i], row[j] = row[j], row[i]
                i += 1
                j -= 1
        if k - 1 <= j:
            right = j
        elif k - 1 >= i:
            left = i
        else:
            return


@njit(nogil=True, fastmath={"contract", "nsz"})
def _box_distances(  # pragma: no cover - compiled
    query: np.ndarray, low: np.ndarray, high: np.ndarray, out: np.ndarray
) -> None:
    """Squared distances of a point from all boxes."""
    zero = np.float32(0.0)
    for b in range(out.size):
        out[b] = zero
    for a in range(query.size):
        q = query[a]
        for b in range(out.size):
            gap = max(max(low[a, b] - q, q - high[a, b]), zero)
            out[b] += gap * gap


@njit(nogil=True, fastmath={"contract", "nsz"})
def _block_distances(  # pragma: no cover - compiled
    query: np.ndarray, block: np.ndarray, out: np.ndarray
) -> None:
    """Squared distances of a point from those of a box."""
    n = query.size
    a = 0
    for j in range(out.size):
        out[j] = np.float32(0.0)
    # Four coordinates at a time: the sums then go to memory less often.
    while a + 4 <= n:
        q0, q1, q2, q3 = query[a], query[a + 1], query[a + 2], query[a + 3]
        for j in range(out.size):
            d0, d1 = block[a, j] - q0, block[a + 1, j] - q1
            d2, d3 = block[a + 2, j] - q2, block[a + 3, j] - q3
            out[j] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
        a += 4
    while a < n:
        q0 = query[a]
        for j in range(out.size):
            d0 = block[a, j] - q0
            out[j] += d0 * d0
        a += 1


@njit(nogil=True)
def _query(  # pragma: no cover - compiled
    queries: np.ndarray,
    points: np.ndarray,
    start: np.ndarray,
    blocks: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    k: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the k nearest points of each query, and their squared distances."""
    m, n_boxes = queries.shape[0], start.size - 1
    dimensions, width = blocks.shape[1], blocks.shape[2]
    rows = np.full((m, k), -1, np.int64)
    squared = np.full((m, k), np.nan)
    keep = min(k + _SPARE, points.shape[0])
    capacity = 4 * keep + width
    found = np.empty(capacity, np.float32)
    found_row = np.empty(capacity, np.int64)
    exact = np.empty(capacity)
    bound = np.empty(n_boxes, np.float32)
    near = np.empty(width, np.float32)
    near_box = np.empty(n_boxes, np.int64)
    for i in range(m):
        query = queries[i]
        finite = True
        for a in range(dimensions):
            # A position this far out would overflow; it is like no point at all.
            finite &= abs(query[a]) < np.float32(1e15)
        if not finite:
            continue
        _box_distances(query, low, high, bound)
        limit = np.float32(np.inf)
        n, n_near = 0, n_boxes
        for b in range(n_boxes):
            near_box[b] = b
        step = 0
        while n_near > 0:
            # The nearest of the boxes that are left, or just any after the first few.
            best = n_near - 1
            if step < _FIRST:
                for t in range(n_near):
                    if bound[near_box[t]] < bound[near_box[best]]:
                        best = t
            box = near_box[best]
            n_near -= 1
            near_box[best] = near_box[n_near]
            if bound[box] > limit:
                if step < _FIRST:
                    break
                continue
            step += 1
            _block_distances(query, blocks[box], near)
            first = start[box]
            for j in range(start[box + 1] - first):
                if near[j] <= limit:
                    found[n] = near[j]
                    found_row[n] = first + j
                    n += 1
            if n + width > capacity or (step <= _FIRST and n > keep):
                _select(found, found_row, n, keep)
                n = keep
                limit = np.float32(0.0)
                for t in range(n):
                    limit = max(limit, found[t])
            if step <= _FIRST:
                # Boxes that are too far are left out for good.
                t = 0
                while t < n_near:
                    if bound[near_box[t]] > limit:
                        n_near -= 1
                        near_box[t] = near_box[n_near]
                    else:
                        t += 1
        if n > keep:
            _select(found, found_row, n, keep)
            n = keep
        for t in range(n):
            total = 0.0
            for a in range(dimensions):
                gap = np.float64(query[a]) - points[found_row[t], a]
                total += gap * gap
            exact[t] = total
        _select(exact, found_row, n, k)
        rows[i] = found_row[:k]
        squared[i] = exact[:k]
    return rows, squared

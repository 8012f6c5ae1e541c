# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Clustering of positions, counted in pairs."""

from __future__ import annotations

__all__ = ("PairCounts", "count_pairs")

import dataclasses

import numpy as np

from .._errors import SimulationError


@dataclasses.dataclass(frozen=True)
class PairCounts:
    """Pairs of objects by separation, in n bins; those of several fields can be added."""

    edges: np.ndarray
    """Separations that bound the bins, increasing, pixels, shape (n + 1,)."""

    pairs: np.ndarray
    """Number of pairs, shape (n,)."""

    expected: np.ndarray
    """Number of pairs of as many objects at random places of the same field, shape (n,)."""

    @property
    def excess(self) -> np.ndarray:
        """Angular correlation w = pairs / expected − 1, shape (n,)."""
        return self.pairs / self.expected - 1.0

    def __add__(self, other: PairCounts) -> PairCounts:
        if not np.array_equal(self.edges, other.edges):
            raise SimulationError("pair counts of different separations cannot be added")
        return PairCounts(self.edges, self.pairs + other.pairs, self.expected + other.expected)


def count_pairs(x: np.ndarray, y: np.ndarray, edges: np.ndarray, size: tuple[float, float]) -> PairCounts:
    """Count the pairs of objects in a rectangular field.

    Parameters
    ----------
    x, y
        Positions, pixels, shape (n,); those outside of the field are left out.
    edges
        Separations that bound the bins, increasing, pixels, shape (m + 1,); the
        greatest is less than the lesser side of the field.
    size
        Width and height of the field, pixels; its first pixel has its centre at 0, 0.

    Returns
    -------
    counts
        Pairs, each counted once, and what random places give.

    Raises
    ------
    SimulationError
        Raised if the edges do not increase or exceed the field.

    Notes
    -----
    With n objects at random in a rectangle of sides a and b, the number of pairs closer
    than r < min(a, b) is n (n − 1) / 2 · [π r² / (a b) − (4/3) (a + b) r³ / (a b)²
    + r⁴ / (2 a² b²)] (Ghosh 1951), so that no random points are needed.
    """
    from scipy.spatial import cKDTree

    edges = np.asarray(edges, dtype=np.float64)
    a, b = (float(v) for v in size)
    if edges.ndim != 1 or len(edges) < 2 or edges[0] < 0 or not (np.diff(edges) > 0).all():
        raise SimulationError("separations of pairs must be two or more increasing numbers ≥ 0")
    if not edges[-1] < min(a, b):
        raise SimulationError(f"separations of pairs must be less than the field of {a:g} × {b:g} pixels")
    x, y = np.asarray(x, dtype=np.float64) + 0.5, np.asarray(y, dtype=np.float64) + 0.5
    inside = (x >= 0) & (x < a) & (y >= 0) & (y < b)
    points = np.stack([x[inside], y[inside]], axis=1)
    n = len(points)
    tree = cKDTree(points)
    # The tree counts each pair twice, and each point with itself. Its cumulative counts are of ≤ r.
    cumulative = (tree.count_neighbors(tree, edges).astype(np.float64) - n) / 2.0
    area = a * b
    share = np.pi * edges**2 / area - 4.0 / 3.0 * (a + b) * edges**3 / area**2 + edges**4 / (2.0 * area**2)
    return PairCounts(edges, np.diff(cumulative), np.diff(share) * n * (n - 1) / 2.0)

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Runs of pixels along rows, the 8-connected components that they form, and their growth by a disc."""

from __future__ import annotations

__all__ = (
    "Runs",
    "find_runs",
    "grow_apart",
    "grow_merged",
    "grow_runs",
    "growth_radius",
    "label_runs",
    "paint_runs",
    "select_components",
    "stencil_half_widths",
)

from dataclasses import dataclass

import numpy as np

from .._jit import njit


@dataclass(frozen=True)
class Runs:
    """Runs of consecutive pixels, in raster order.

    Parameters
    ----------
    start
        Index of the first run of each row, and the number of runs, int64
        ``(ny + 1,)``.
    x0, x1
        First and last column of each run, int32 ``(m,)``.
    shape
        ``(ny, nx)`` of the image.
    """

    start: np.ndarray
    x0: np.ndarray
    x1: np.ndarray
    shape: tuple[int, int]

    def __len__(self) -> int:
        return self.x0.size

    @property
    def y(self) -> np.ndarray:
        """Row of each run, int32 ``(m,)``."""
        return np.repeat(np.arange(self.shape[0], dtype=np.int32), np.diff(self.start))

    @property
    def length(self) -> np.ndarray:
        """Number of pixels of each run, int32 ``(m,)``."""
        return self.x1 - self.x0 + 1

    def find(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Index of the run that each of some pixels is in, int64 ``(k,)``; all of them are in one."""
        nx = self.shape[1]
        # Runs are in raster order, so that pixel numbers of their first pixels are sorted; 64 bits, as an
        # image may have more than 2³¹ pixels.
        first = self.y * np.int64(nx) + self.x0
        return np.searchsorted(first, np.asarray(y) * np.int64(nx) + x, side="right") - 1

    def to_image(self) -> np.ndarray:
        """Pixels of the runs, bool ``(ny, nx)``."""
        out = np.zeros(self.shape, dtype=bool)
        _paint_runs(self.start, self.x0, self.x1, np.ones(len(self), dtype=bool), out)
        return out

    def select(self, keep: np.ndarray) -> Runs:
        """Only the runs where the mask ``keep`` ``(m,)`` is true (`Runs`)."""
        # How many of the runs before each row are kept.
        start = np.concatenate([[0], np.cumsum(keep, dtype=np.int64)])[self.start]
        return Runs(start, self.x0[keep], self.x1[keep], self.shape)


@njit(nogil=True)
def _find_runs(
    values: np.ndarray, threshold: float, factor: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs with factor * values >= threshold; NaN is not."""
    ny, nx = values.shape
    # In single precision, as SourceDetectionTask compares: a pixel exactly at the threshold is in.
    limit = np.float32(threshold)
    scale = np.float32(factor)
    start = np.zeros(ny + 1, np.int64)
    # Counted first and written in a second pass, which takes less memory than a list that grows.
    for y in range(ny):
        row = values[y]
        count = np.int32(row[0] * scale >= limit)
        for x in range(1, nx):
            count += np.int32((row[x] * scale >= limit) & (not (row[x - 1] * scale >= limit)))
        start[y + 1] = start[y] + count
    x0 = np.empty(start[ny], np.int32)
    x1 = np.empty(start[ny], np.int32)
    for y in range(ny):
        row = values[y]
        x = 0
        for i in range(start[y], start[y + 1]):
            # By the negated comparison, so that NaN is passed over.
            while not row[x] * scale >= limit:
                x += 1
            x0[i] = x
            while x < nx and row[x] * scale >= limit:
                x += 1
            x1[i] = x - 1
    return start, x0, x1


def find_runs(values: np.ndarray, threshold: float, factor: float = 1.0) -> Runs:
    """Find runs of pixels of an image (ny, nx) times a factor at or over a threshold, in single precision.

    NaN is under any threshold.
    """
    start, x0, x1 = _find_runs(values, threshold, factor)
    return Runs(start, x0, x1, (values.shape[0], values.shape[1]))


@njit(nogil=True)
def _label_runs(start: np.ndarray, x0: np.ndarray, x1: np.ndarray) -> tuple[np.ndarray, int]:
    """Union-find over runs that touch in consecutive rows, corners included."""
    m = x0.size
    parent = np.arange(m)
    for y in range(1, start.size - 1):
        i, j = start[y - 1], start[y]
        # Runs of both rows are sorted by column: as in merging two lists, the one that ends first has met all
        # that it can meet. Rosenfeld & Pfaltz (1966) in terms of runs, of which there are far fewer than
        # pixels.
        while i < start[y] and j < start[y + 1]:
            # One pixel of play makes corners count: 8-connected.
            if x0[i] <= x1[j] + 1 and x0[j] <= x1[i] + 1:
                a, b = i, j
                while parent[a] != a:
                    # Halving the path keeps trees flat without a second pass (Tarjan & van Leeuwen 1984).
                    parent[a] = parent[parent[a]]
                    a = parent[a]
                while parent[b] != b:
                    parent[b] = parent[parent[b]]
                    b = parent[b]
                # The root is the first run in raster order.
                if a < b:
                    parent[b] = a
                else:
                    parent[a] = b
            if x1[i] < x1[j]:
                i += 1
            else:
                j += 1
    labels = np.empty(m, np.int32)
    n = 0
    # The root of a run comes before it, so that it has a number already.
    for i in range(m):
        a = i
        while parent[a] != a:
            a = parent[a]
        if a == i:
            n += 1
            labels[i] = n
        else:
            labels[i] = labels[a]
    return labels, n


def label_runs(runs: Runs) -> tuple[np.ndarray, int]:
    """Number the 8-connected components of runs: int32 (m,), 1-based in raster order, and how many."""
    return _label_runs(runs.start, runs.x0, runs.x1)


@njit(nogil=True)
def _paint_runs(
    start: np.ndarray, x0: np.ndarray, x1: np.ndarray, values: np.ndarray, out: np.ndarray
) -> None:
    """Write the value of each run into its pixels."""
    for y in range(start.size - 1):
        for i in range(start[y], start[y + 1]):
            for x in range(x0[i], x1[i] + 1):
                out[y, x] = values[i]


def paint_runs(runs: Runs, values: np.ndarray) -> np.ndarray:
    """Paint the value of each run, int32 (m,), into an image, int32 (ny, nx), 0 outside of the runs."""
    out = np.zeros(runs.shape, np.int32)
    _paint_runs(runs.start, runs.x0, runs.x1, values, out)
    return out


def select_components(
    runs: Runs,
    component: np.ndarray,
    n_components: int,
    values: np.ndarray,
    *,
    min_pixels: int,
    include_threshold: float | None,
    factor: float = 1.0,
) -> tuple[Runs, np.ndarray, int, dict[str, int | float | str]]:
    """Leave out components that are too small or nowhere significant enough.

    ``component`` has that of each run, int32 (m,), from 1; ``values``, the image that was thresholded times
    ``factor``, have to reach ``include_threshold`` in one pixel, if it is given.  Gives the runs that remain
    with their components, numbered in the same order, their number, and how many were left out and why.
    """
    pixels = np.bincount(component, weights=runs.length, minlength=n_components + 1)
    large = pixels >= min_pixels
    high = np.ones(n_components + 1, dtype=bool)
    if include_threshold is not None:
        best = np.full(n_components + 1, -np.inf, dtype=np.float32)
        # A loop in Python, as this is asked for by few configurations.
        for x0, x1, y, c in zip(runs.x0, runs.x1, runs.y, component, strict=True):
            best[c] = max(best[c], values[y, x0 : x1 + 1].max())
        high = best * np.float32(factor) >= np.float32(include_threshold)
    keep = large & high
    # No run has component 0.
    keep[0] = False
    dropped: dict[str, int | float | str] = {
        "n_dropped_below_min_pixels": int(np.count_nonzero(~large[1:])),
        "n_dropped_below_include_threshold": int(np.count_nonzero(large[1:] & ~high[1:])),
    }
    if keep[1:].all():
        return runs, component, n_components, dropped
    number = np.cumsum(keep).astype(np.int32)
    kept = keep[component]
    return runs.select(kept), number[component[kept]], int(number[-1]), dropped


def growth_radius(sigma: float, n_sigma: float) -> int:
    """Growth by ``n_sigma`` PSF sigmas in pixels, rounded as `SourceDetectionTask` does."""
    return int(n_sigma * sigma + 0.5)


def stencil_half_widths(radius: int, isotropic: bool = True) -> np.ndarray:
    """Half-widths of the rows of a disc, or else a diamond, |dx| + |dy| ≤ radius: int64 (2 radius + 1,)."""
    dy = np.arange(-radius, radius + 1)
    if not isotropic:
        return radius - np.abs(dy)
    # Pixels whose centres lie within the radius, as lsst.afw.geom.SpanSet.fromShape draws a disc.
    return np.floor(np.sqrt(radius**2 - dy**2)).astype(np.int64)


@njit(nogil=True)
def _grow_runs(
    start: np.ndarray, x0: np.ndarray, x1: np.ndarray, half_widths: np.ndarray, nx: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Dilate; the runs of a row are the ranges that widened runs of the rows around it cover."""
    ny = start.size - 1
    r = half_widths.size // 2
    out_start = np.zeros(ny + 1, np.int64)
    out_x0 = np.empty(x0.size * half_widths.size, np.int32)
    out_x1 = np.empty(x0.size * half_widths.size, np.int32)
    # How many widened runs begin, less those that end, at each column: their running sum is positive where
    # any covers. The cost goes with runs and rows of the stencil, not with its area.
    steps = np.zeros(nx + 1, np.int32)
    n = 0
    for y in range(ny):
        first, last = nx, -1
        for source in range(max(0, y - r), min(ny, y + r + 1)):
            w = half_widths[source - y + r]
            for i in range(start[source], start[source + 1]):
                a = max(0, x0[i] - w)
                b = min(nx - 1, x1[i] + w)
                steps[a] += 1
                steps[b + 1] -= 1
                first = min(first, a)
                last = max(last, b)
        depth = 0
        for x in range(first, last + 1):
            before = depth
            depth += steps[x]
            # Left clean for the next row.
            steps[x] = 0
            if before == 0 and depth > 0:
                out_x0[n] = x
            elif before > 0 and depth == 0:
                out_x1[n] = x - 1
                n += 1
        if last >= first:
            steps[last + 1] = 0
            out_x1[n] = last
            n += 1
        out_start[y + 1] = n
    return out_start, out_x0[:n].copy(), out_x1[:n].copy()


def grow_runs(runs: Runs, half_widths: np.ndarray) -> Runs:
    """Dilate runs by a stencil (`stencil_half_widths`), within the image."""
    if half_widths.size == 1:
        return runs
    start, x0, x1 = _grow_runs(runs.start, runs.x0, runs.x1, half_widths, runs.shape[1])
    return Runs(start, x0, x1, runs.shape)


def grow_merged(runs: Runs, half_widths: np.ndarray) -> tuple[Runs, np.ndarray]:
    """Grow runs by a stencil; those that touch then, corners included, belong together.

    Gives the grown runs and the footprint of each, int32 (m,), from 1 in raster order of first pixels.
    """
    grown = grow_runs(runs, half_widths)
    return grown, label_runs(grown)[0]


def grow_apart(runs: Runs, component: np.ndarray, half_widths: np.ndarray) -> np.ndarray:
    """Grow components that stay apart where they meet: component of each pixel, int32 (ny, nx).

    A pixel that several reach goes to the component, int32 (m,) of each run, with the nearest detected pixel.
    """
    seeds = paint_runs(runs, component)
    if len(runs) == 0:
        return seeds
    from scipy.ndimage import distance_transform_edt

    # Euclid's distance whatever the stencil: a pixel at the same number of steps from two goes to the nearer.
    nearest = distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    covered = grow_runs(runs, half_widths).to_image()
    return np.where(covered, seeds[nearest[0], nearest[1]], 0).astype(np.int32)

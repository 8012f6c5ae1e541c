# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Where galaxies probably are: from maps of the centre network to candidates and numbers of footprints."""

from __future__ import annotations

__all__ = (
    "CENTER_COLUMNS",
    "N_SUMS",
    "Candidates",
    "count_probabilities",
    "describe_candidates",
    "find_candidates",
    "pool_maps",
    "split_candidates",
    "state_odds",
    "tile_labels",
    "tile_sums",
)

from dataclasses import dataclass

import numpy as np

from .._jit import njit

N_SUMS = 4
"""Numbers of a footprint from the probabilities of its tiles: sum, sum of squares, largest, variance."""
_SEPARATIONS = ("12", "13", "23")
CENTER_COLUMNS = (
    "center_p1",
    "center_p2",
    "center_p3",
    *(f"center_separation_{pair}" for pair in _SEPARATIONS),
    *(f"center_separation_{pair}_sigma" for pair in _SEPARATIONS),
    "center_sum_p",
    "center_sum_p2",
    "center_largest_p",
    "center_n_likely",
    "center_n_possible",
    "center_p_n_0",
    "center_p_n_1",
    "center_p_n_2",
    "center_p_n_3",
    "center_p_n_4",
    "center_log_odds",
)
"""What `describe_candidates` gives: probabilities of the three best candidates (0 for none), their
separations [pixel] and [PSF sigma] (NaN without), sum, sum of squares and largest of the tiles'
probabilities, number of candidates over 0.5 and over 0.1, P(N = 0 … >= 4), and the log-odds of N >= 2."""
_LEAST = 0.01
"""Tiles of a smaller probability belong to no candidate."""
_DOUBLE = 1.05
"""Candidates of a larger sum may be two galaxies."""
_APART = (1.0, 3.0)
"""Least and largest distance of the two [pixel]."""
_RADIUS_SIGMA = 1.5
"""Tiles that are closer to a candidate than this belong to it [PSF sigma]."""


@njit(nogil=True)
def tile_labels(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Footprint of each tile of 2 x 2 pixels of a label image (ny, nx), and which of its pixels belong to it.

    Gives the largest label in each tile, int32 of shape (ny / 2, nx / 2), sides rounded up, and 1 or 0 for
    its pixels (0, 0), (0, 1), (1, 0), (1, 1) [y, x], float32 of shape (ny / 2, nx / 2, 4).  Tiles of two
    footprints are few, as footprints that touch are one.
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
    """Fill in the odds (5,) of the states of tile (i, j) against the most probable one, and give their sum.

    ``logits`` are those of the states of all tiles, float32 of shape (ny / 2, nx / 2, 5).  The probability
    of a state is its odds over the sum.
    """
    # Against the largest one, so that no exponential overflows.
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
    """Pool the embedding (ny / 2, nx / 2, e) and state logits (ny / 2, nx / 2, 5) of tiles over n footprints.

    ``tiles`` and ``inside`` are from `tile_labels`.  Gives float32 of shape (n, 3 e + 4): log(1 + sum),
    largest and mean of the embedding; of the probability p that a tile has a centre in the footprint log(1
    + sum of p), log(1 + sum of p²), the largest p and log(1 + sum of p (1 - p)).
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
    """Sum of p, sum of p² and the largest p of each footprint, float64 (n, 3), out of `pool_maps`."""
    sums = pooled[:, -N_SUMS:-1].astype(np.float64)
    sums[:, :2] = np.expm1(sums[:, :2])
    return sums


def count_probabilities(inputs: np.ndarray, layers: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """P(N), float64 (n, 5), from inputs (n, k) of the head and its layers, a kernel and a bias each."""
    x = np.asarray(inputs, dtype=np.float64)
    for i, (kernel, bias) in enumerate(layers):
        if i > 0:
            x = np.maximum(x, 0.0)
        x = x @ kernel + bias
    odds = np.exp(x - x.max(axis=1, keepdims=True, initial=-np.inf))
    return odds / odds.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Candidates:
    """Candidates for centres of galaxies, sorted by footprint, then by probability; arrays of shape (m,).

    Parameters
    ----------
    row
        Footprint of each, counted from 0: int32.
    x, y
        Positions in pixels of the array: float32.
    probability
        Probability that a galaxy's centre is at the position: float32.
    total
        Expected number of centres, which the probability is unless it is over 1: float32.  Two galaxies may
        be closer together than candidates can be (`split_candidates`).
    lead_x, lead_y
        Place in the most probable tile, from the position [pixel]: float32.
    xx, yy, xy
        Covariance of the places that share this probability [pixel²], which is the error of the position as
        far as the map knows it: float32.
    start
        First candidate of each footprint and the total: int64 of shape (n + 1,).
    """

    row: np.ndarray
    x: np.ndarray
    y: np.ndarray
    probability: np.ndarray
    total: np.ndarray
    lead_x: np.ndarray
    lead_y: np.ndarray
    xx: np.ndarray
    yy: np.ndarray
    xy: np.ndarray
    start: np.ndarray


@njit(nogil=True)
def _tile_probabilities(
    logits: np.ndarray, tiles: np.ndarray, inside: np.ndarray, least: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Row, probability, mean place x, y, and its variances and covariance, of tiles with some probability."""
    m, n = tiles.shape
    count = 0
    for i in range(m):
        for j in range(n):
            count += tiles[i, j] > 0
    row, p = np.empty(count, np.int32), np.empty(count)
    x, y, spread = np.empty(count), np.empty(count), np.empty((count, 3))
    found = 0
    odds = np.empty(5)
    for i in range(m):
        for j in range(n):
            if tiles[i, j] == 0:
                continue
            total = state_odds(logits, i, j, odds)
            here, along_x, along_y, corner = 0.0, 0.0, 0.0, 0.0
            for k in range(4):
                odd = odds[k + 1] * inside[i, j, k]
                here += odd
                along_x += odd * (k % 2)
                along_y += odd * (k // 2)
                corner += odd * (k // 2) * (k % 2)
            if here < least * total:
                continue
            row[found], p[found] = tiles[i, j] - 1, here / total
            mean_x, mean_y = along_x / here, along_y / here
            x[found], y[found] = 2 * j + mean_x, 2 * i + mean_y
            # A place is somewhere in its pixel.
            spread[found, 0] = mean_x * (1.0 - mean_x) + 1.0 / 12.0
            spread[found, 1] = mean_y * (1.0 - mean_y) + 1.0 / 12.0
            spread[found, 2] = corner / here - mean_x * mean_y
            found += 1
    return row[:found], p[:found], x[:found], y[:found], spread[:found]


@njit(nogil=True)
def _gather(
    row: np.ndarray, p: np.ndarray, x: np.ndarray, y: np.ndarray, spread: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, first place, and weighted sums of each candidate; tiles come by row, the most probable first.

    Sums are of 1, of the distances x and y from the first place, and of xx, yy, xy about it with the spread
    in each tile.
    """
    size = row.size
    of, lead = np.empty(size, np.int32), np.empty((size, 2))
    sums = np.zeros((size, 6))
    found = first = 0
    for t in range(size):
        if t > 0 and row[t] != row[t - 1]:
            first = found
        best, chosen = radius * radius, -1
        for c in range(first, found):
            distance = (lead[c, 0] - x[t]) ** 2 + (lead[c, 1] - y[t]) ** 2
            if distance < best:
                best, chosen = distance, c
        if chosen < 0:
            chosen = found
            of[found], lead[found, 0], lead[found, 1] = row[t], x[t], y[t]
            found += 1
        dx, dy = x[t] - lead[chosen, 0], y[t] - lead[chosen, 1]
        sums[chosen, 0] += p[t]
        sums[chosen, 1] += p[t] * dx
        sums[chosen, 2] += p[t] * dy
        sums[chosen, 3] += p[t] * (dx * dx + spread[t, 0])
        sums[chosen, 4] += p[t] * (dy * dy + spread[t, 1])
        sums[chosen, 5] += p[t] * (dx * dy + spread[t, 2])
    return of[:found], lead[:found], sums[:found]


def find_candidates(
    logits: np.ndarray, tiles: np.ndarray, inside: np.ndarray, n: int, *, psf_sigma: float
) -> Candidates:
    """Find where galaxies probably are, from state logits (ny / 2, nx / 2, 5) of tiles, in n footprints.

    ``tiles`` and ``inside`` are from `tile_labels`, ``psf_sigma`` is in pixels.  From the most probable
    tile of a footprint on, each tile joins the nearest candidate within 1.5 PSF sigma, or starts one.  The
    probability of a candidate is the sum over its tiles, as one galaxy is in one of them only, and at most
    1; its position is their mean, weighted by probability.
    """
    row, p, x, y, spread = _tile_probabilities(logits, tiles, inside, _LEAST)
    order = np.lexsort((x, y, -p, row))
    of, lead, sums = _gather(
        row[order], p[order], x[order], y[order], spread[order], _RADIUS_SIGMA * psf_sigma
    )
    order = np.lexsort((-sums[:, 0], of))
    of, lead, sums = of[order], lead[order], sums[order]
    total = sums[:, :1]
    mean = sums[:, 1:3] / total
    square = sums[:, 3:] / total
    return Candidates(
        of,
        (lead[:, 0] + mean[:, 0]).astype(np.float32),
        (lead[:, 1] + mean[:, 1]).astype(np.float32),
        np.minimum(total[:, 0], 1.0).astype(np.float32),
        total[:, 0].astype(np.float32),
        (-mean[:, 0]).astype(np.float32),
        (-mean[:, 1]).astype(np.float32),
        (square[:, 0] - mean[:, 0] ** 2).astype(np.float32),
        (square[:, 1] - mean[:, 1] ** 2).astype(np.float32),
        (square[:, 2] - mean[:, 0] * mean[:, 1]).astype(np.float32),
        np.searchsorted(of, np.arange(n + 1)).astype(np.int64),
    )


def split_candidates(candidates: Candidates) -> tuple[Candidates, np.ndarray]:
    """Add a second one to each candidate whose ``total`` is over 1.05; also tells which are such, bool (m,).

    Two points of the weights 1 and ``total`` - 1 have the candidate's mean, lie on its longer axis, the
    heavier one on the side of the most probable tile, and explain by how much its variance is larger along
    it than across; they are 1 to 3 pixels apart.  The second one has the probability that is over 1.
    """
    rows = np.flatnonzero(candidates.total > _DOUBLE)
    xx, yy, xy = (getattr(candidates, name)[rows].astype(np.float64) for name in ("xx", "yy", "xy"))
    angle = 0.5 * np.arctan2(2.0 * xy, xx - yy)
    axis = np.stack([np.cos(angle), np.sin(angle)])
    lead = np.stack([candidates.lead_x[rows], candidates.lead_y[rows]])
    # Towards the second one, away from the most probable tile.
    axis *= np.where((axis * lead).sum(axis=0) > 0.0, -1.0, 1.0)
    second = 1.0 - 1.0 / candidates.total[rows].astype(np.float64)
    weights = second * (1.0 - second)
    excess = np.hypot(xx - yy, 2.0 * xy)
    apart = np.clip(np.sqrt(excess / weights), *_APART)
    # What the two points explain is no error of their positions.
    explained = np.minimum(weights * apart**2, excess)
    less = {
        "xx": xx - explained * axis[0] ** 2,
        "yy": yy - explained * axis[1] ** 2,
        "xy": xy - explained * axis[0] * axis[1],
    }
    columns = {}
    for name in ("x", "y", "xx", "yy", "xy", "lead_x", "lead_y", "total", "probability", "row"):
        first = getattr(candidates, name).copy()
        more = first[rows]
        if name in ("x", "y"):
            along = axis[0 if name == "x" else 1] * apart
            first[rows] = first[rows] - second * along
            more = more + (1.0 - second) * along
        elif name in less:
            first[rows] = more = less[name]
        elif name == "probability":
            more = np.minimum(candidates.total[rows] - 1.0, 1.0)
        columns[name] = np.concatenate([first, more]).astype(first.dtype)
    is_second = np.arange(len(columns["row"])) >= len(candidates.row)
    order = np.lexsort((-columns["probability"], columns["row"]))
    columns = {name: values[order] for name, values in columns.items()}
    start = np.searchsorted(columns["row"], np.arange(len(candidates.start))).astype(np.int64)
    return Candidates(**columns, start=start), is_second[order]


def describe_candidates(
    candidates: Candidates, sums: np.ndarray, p_n: np.ndarray, *, psf_sigma: float
) -> np.ndarray:
    """`CENTER_COLUMNS` of n footprints, float32 (n, 20), for classifiers that build on candidates.

    ``sums`` (n, 3) are from `tile_sums`, ``p_n`` (n, 5) is P(N), ``psf_sigma`` is in pixels.
    """
    n = len(p_n)
    best = np.zeros((n, 3))
    places = np.full((n, 3, 2), np.nan)
    for k in range(3):
        rows = np.flatnonzero(np.diff(candidates.start) > k)
        which = candidates.start[rows] + k
        best[rows, k] = candidates.probability[which]
        places[rows, k] = np.column_stack([candidates.x[which], candidates.y[which]])
    blended = np.clip(p_n[:, 2:].sum(axis=1), 1e-7, 1.0 - 1e-7)
    columns = {
        "center_sum_p": sums[:, 0],
        "center_sum_p2": sums[:, 1],
        "center_largest_p": sums[:, 2],
        "center_n_likely": np.bincount(candidates.row[candidates.probability > 0.5], minlength=n),
        "center_n_possible": np.bincount(candidates.row[candidates.probability > 0.1], minlength=n),
        "center_log_odds": np.log(blended / (1.0 - blended)),
        **{f"center_p{k + 1}": best[:, k] for k in range(3)},
        **{f"center_p_n_{k}": p_n[:, k] for k in range(p_n.shape[1])},
    }
    for pair in _SEPARATIONS:
        a, b = (int(number) - 1 for number in pair)
        separation = np.hypot(*(places[:, a] - places[:, b]).T)
        columns[f"center_separation_{pair}"] = separation
        columns[f"center_separation_{pair}_sigma"] = separation / psf_sigma
    return np.column_stack([columns[name] for name in CENTER_COLUMNS]).astype(np.float32)

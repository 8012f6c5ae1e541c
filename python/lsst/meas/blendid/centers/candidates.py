# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The places where galaxies probably are: candidates, and what they tell of each footprint."""

from __future__ import annotations

__all__ = ("CENTER_COLUMNS", "Candidates", "describe_candidates", "find_candidates")

from dataclasses import dataclass

import numpy as np

from .._jit import njit
from .pooling import state_odds

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
_RADIUS_SIGMA = 1.5
"""Tiles that are closer to a candidate than this belong to it [PSF sigma]."""


@dataclass(frozen=True)
class Candidates:
    """Candidates for centres of galaxies, sorted by footprint, then by probability.

    Parameters
    ----------
    row
        Footprint of each, counted from 0: int32 of shape (m,).
    x, y
        Positions in pixels of the array: float32 of shape (m,).
    probability
        Probability that a galaxy's centre is there: float32 of shape (m,).
    start
        First candidate of each footprint and the total: int64 of shape (n + 1,).
    """

    row: np.ndarray
    x: np.ndarray
    y: np.ndarray
    probability: np.ndarray
    start: np.ndarray


@njit(nogil=True)
def _tile_probabilities(
    logits: np.ndarray, tiles: np.ndarray, inside: np.ndarray, least: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Row, probability and mean place x, y of the tiles that have a centre with some probability."""
    m, n = tiles.shape
    count = 0
    for i in range(m):
        for j in range(n):
            count += tiles[i, j] > 0
    row, p = np.empty(count, np.int32), np.empty(count)
    x, y = np.empty(count), np.empty(count)
    found = 0
    odds = np.empty(5)
    for i in range(m):
        for j in range(n):
            if tiles[i, j] == 0:
                continue
            total = state_odds(logits, i, j, odds)
            here, along_x, along_y = 0.0, 0.0, 0.0
            for k in range(4):
                odd = odds[k + 1] * inside[i, j, k]
                here += odd
                along_x += odd * (k % 2)
                along_y += odd * (k // 2)
            if here < least * total:
                continue
            row[found], p[found] = tiles[i, j] - 1, here / total
            x[found], y[found] = 2 * j + along_x / here, 2 * i + along_y / here
            found += 1
    return row[:found], p[:found], x[:found], y[:found]


@njit(nogil=True)
def _gather(
    row: np.ndarray, p: np.ndarray, x: np.ndarray, y: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Row, sum of p, and sums of p x, p y of each candidate; tiles come by row, the most probable first."""
    size = row.size
    of, total = np.empty(size, np.int32), np.zeros(size)
    lead_x, lead_y = np.empty(size), np.empty(size)
    sum_x, sum_y = np.zeros(size), np.zeros(size)
    found = first = 0
    for t in range(size):
        if t > 0 and row[t] != row[t - 1]:
            first = found
        best, chosen = radius * radius, -1
        for c in range(first, found):
            distance = (lead_x[c] - x[t]) ** 2 + (lead_y[c] - y[t]) ** 2
            if distance < best:
                best, chosen = distance, c
        if chosen < 0:
            chosen = found
            of[found], lead_x[found], lead_y[found] = row[t], x[t], y[t]
            found += 1
        total[chosen] += p[t]
        sum_x[chosen] += p[t] * x[t]
        sum_y[chosen] += p[t] * y[t]
    return of[:found], total[:found], sum_x[:found], sum_y[:found]


def find_candidates(
    logits: np.ndarray, tiles: np.ndarray, inside: np.ndarray, n: int, *, psf_sigma: float
) -> Candidates:
    """Find where galaxies probably are.

    Parameters
    ----------
    logits : `numpy.ndarray`, shape (ny / 2, nx / 2, 5), float32
        Logits of the states of each tile, as from `.maps.run_maps`.
    tiles, inside
        As from `.pooling.tile_labels`.
    n
        Number of footprints.
    psf_sigma
        Width of the PSF [pixel].

    Returns
    -------
    candidates
        The candidates.

    Notes
    -----
    From the most probable tile of a footprint on, each tile joins the nearest candidate within 1.5
    PSF sigma, or starts one.  The probability of a candidate is the sum over its tiles, as one galaxy is in
    one of them only, and at most 1; its position is their mean, weighted by probability.
    """
    row, p, x, y = _tile_probabilities(logits, tiles, inside, _LEAST)
    order = np.lexsort((x, y, -p, row))
    of, total, sum_x, sum_y = _gather(row[order], p[order], x[order], y[order], _RADIUS_SIGMA * psf_sigma)
    order = np.lexsort((-total, of))
    of, total = of[order], total[order]
    return Candidates(
        of,
        (sum_x[order] / total).astype(np.float32),
        (sum_y[order] / total).astype(np.float32),
        np.minimum(total, 1.0).astype(np.float32),
        np.searchsorted(of, np.arange(n + 1)).astype(np.int64),
    )


def describe_candidates(
    candidates: Candidates, sums: np.ndarray, p_n: np.ndarray, *, psf_sigma: float
) -> np.ndarray:
    """Describe each footprint by its candidates, for classifiers that build on them.

    Parameters
    ----------
    candidates
        The candidates of an image.
    sums : `numpy.ndarray`, shape (n, 3)
        Sum, sum of squares and largest of the probabilities of each footprint's tiles.
    p_n : `numpy.ndarray`, shape (n, 5)
        P(N).
    psf_sigma
        Width of the PSF [pixel].

    Returns
    -------
    columns : `numpy.ndarray`, shape (n, 20), float32
        Columns `CENTER_COLUMNS`.
    """
    n = len(p_n)
    best = np.zeros((n, 3))
    places = np.full((n, 3, 2), np.nan)
    for k in range(3):
        rows = np.flatnonzero(np.diff(candidates.start) > k)
        which = candidates.start[rows] + k
        best[rows, k] = candidates.probability[which]
        places[rows, k] = np.column_stack([candidates.x[which], candidates.y[which]])
    separations = np.column_stack(
        [np.hypot(*(places[:, a] - places[:, b]).T) for a, b in ((0, 1), (0, 2), (1, 2))]
    )
    counts = [
        np.bincount(candidates.row[candidates.probability > limit], minlength=n) for limit in (0.5, 0.1)
    ]
    blended = np.clip(p_n[:, 2:].sum(axis=1), 1e-7, 1.0 - 1e-7)
    return np.column_stack(
        [best, separations, separations / psf_sigma, sums, *counts, p_n, np.log(blended / (1.0 - blended))]
    ).astype(np.float32)

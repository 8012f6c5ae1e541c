# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Errors of scores by resampling blocks of sky.

Neighbouring footprints share galaxies, seeing and clustering, so that whole
blocks are drawn, and not footprints.  A few blocks say next to nothing about
their own scatter: `choose_units` divides a small piece of sky into smaller ones.
"""

from __future__ import annotations

__all__ = ("LEAST_UNITS", "Units", "block_index", "choose_units", "resampled_weights")

from dataclasses import dataclass

import numpy as np

LEAST_UNITS = 20
"""With fewer blocks of sky their scatter is hardly known: that of 20 is known to 16 %."""

_LARGEST_BLOCK = 512
"""Side of the largest blocks, pixels: clustering of galaxies fades at a minute of arc."""

_SMALLEST_BLOCK = 128
"""Side of the smallest blocks, pixels: several footprints across."""


def block_index(x: np.ndarray, y: np.ndarray, scene: np.ndarray | None = None, *, size: int) -> np.ndarray:
    """Number the square blocks of sky that footprints lie in.

    Parameters
    ----------
    x, y : `numpy.ndarray`, shape (n,)
        Positions, pixels.
    scene : `numpy.ndarray`, shape (n,), optional
        Scene of each footprint.  Renders of one piece of sky with other noise
        are the same scene here.
    size
        Side of a block, pixels.

    Returns
    -------
    block : `numpy.ndarray`, shape (n,), int64
        Numbers from 0 without gaps.
    """
    scene = np.zeros(np.shape(x), dtype=np.int64) if scene is None else np.asarray(scene)
    corner = np.column_stack([scene, np.asarray(y) // size, np.asarray(x) // size]).astype(np.int64)
    return np.unique(corner, axis=0, return_inverse=True)[1].ravel()


@dataclass(frozen=True)
class Units:
    """What is drawn in a bootstrap."""

    index: np.ndarray
    """Unit of each footprint, numbered from 0: int64 array `(n,)`."""
    size: int | None
    """Side of the blocks of sky in pixels; `None` if each footprint is a unit of its own."""

    @property
    def n(self) -> int:
        """Number of units."""
        return int(self.index.max()) + 1 if self.index.size else 0


def _effective_number(index: np.ndarray) -> float:
    """Number of equal blocks in which as few pairs of footprints would share one."""
    n = np.bincount(index).astype(np.float64)
    pairs, blocks = float(n @ (n - 1.0)), float(len(n))
    return min(blocks, float(n.sum() * (n.sum() - 1.0)) / pairs) if pairs > 0.0 else blocks


def choose_units(x: np.ndarray, y: np.ndarray, scene: np.ndarray | None = None) -> Units:
    """Divide footprints into blocks of sky of which there are enough.

    Parameters
    ----------
    x, y, scene
        As for `block_index`.

    Returns
    -------
    units
        Blocks of 512 pixels, or of half as many, down to 128, until there are 20 or nearly so; blocks with
        few footprints count in part.  The footprints themselves if there are too few of the smallest blocks.
    """
    size = _LARGEST_BLOCK
    while size >= _SMALLEST_BLOCK:
        index = block_index(x, y, scene, size=size)
        if _effective_number(index) >= 0.95 * LEAST_UNITS:
            return Units(index, size)
        size //= 2
    return Units(np.arange(np.size(x), dtype=np.int64), None)


def resampled_weights(blocks: np.ndarray, *, draws: int = 200, seed: int = 20220101) -> np.ndarray:
    """Draw blocks of sky with replacement.

    Parameters
    ----------
    blocks : `numpy.ndarray`, shape (n,)
        Block of each footprint, numbered from 0 (`block_index`).
    draws
        Number of resamples.
    seed
        Seed of the draws.

    Returns
    -------
    times : `numpy.ndarray`, shape (draws, blocks), float64
        How often each block is in each resample; ``times[k][blocks]`` are the weights of the
        footprints in resample k.

    Raises
    ------
    ValueError
        Raised if there are fewer than two blocks.
    """
    n_blocks = int(blocks.max()) + 1 if blocks.size else 0
    if n_blocks < 2:
        raise ValueError(f"a bootstrap needs at least two blocks of sky, not {n_blocks}")
    times = np.random.default_rng(seed).multinomial(n_blocks, np.full(n_blocks, 1.0 / n_blocks), size=draws)
    return times.astype(np.float64)

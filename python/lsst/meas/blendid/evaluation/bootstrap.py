# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Errors of scores by resampling blocks of sky.

Neighbouring footprints share galaxies, seeing and clustering, so that whole
blocks are drawn, and not footprints.
"""

from __future__ import annotations

__all__ = ("block_bootstrap", "block_index", "resampled_weights")

from collections.abc import Callable, Mapping

import numpy as np


def block_index(
    x: np.ndarray, y: np.ndarray, scene: np.ndarray | None = None, *, size: int = 512
) -> np.ndarray:
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


def block_bootstrap(
    predictions: Mapping[str, np.ndarray],
    statistic: Callable[[np.ndarray, np.ndarray], Mapping[str, float]],
    blocks: np.ndarray,
    *,
    draws: int = 200,
    seed: int = 20220101,
) -> dict[str, dict[str, np.ndarray]]:
    """Resample blocks of sky; all predictions see the same draws.

    Parameters
    ----------
    predictions
        P(blended) of shape (n,), by name of the model.
    statistic
        Function of P(blended) and weights, both of shape (n,), that gives
        numbers by name.
    blocks : `numpy.ndarray`, shape (n,)
        Block of each footprint, numbered from 0 (`block_index`).
    draws
        Number of resamples.
    seed
        Seed of the draws.

    Returns
    -------
    samples : `dict` [`str`, `dict` [`str`, `numpy.ndarray`]]
        By model and statistic, an array of shape (draws,).  Draw k of two
        models has the same blocks, so that differences are paired.  A draw
        without blends, or with nothing else, has NaN scores (`.metrics.score`):
        use `numpy.nanstd` and the like.

    Raises
    ------
    ValueError
        Raised if there are fewer than two blocks.
    """
    collected: dict[str, dict[str, list[float]]] = {name: {} for name in predictions}
    for row in resampled_weights(blocks, draws=draws, seed=seed):
        weights = row[blocks]
        for name, p in predictions.items():
            for key, value in statistic(p, weights).items():
                collected[name].setdefault(key, []).append(value)
    return {m: {k: np.array(v) for k, v in stats.items()} for m, stats in collected.items()}

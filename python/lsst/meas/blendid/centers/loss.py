# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What the centre network is trained to."""

from __future__ import annotations

__all__ = ("balanced_loss", "make_losses")

from collections.abc import Callable
from typing import Any

import numpy as np

from .crops import IGNORED

_FEWEST_CENTERS = 10.0
"""Added to the number of centres in a batch, so that empty crops weigh no more than others."""


def make_losses(keras: Any, *, blended_weight: float) -> dict[str, Callable[[Any, Any], Any]]:
    """Make the losses of both outputs.

    Parameters
    ----------
    keras
        The module.
    blended_weight
        Weight of the cross-entropy of blended or not, beside that of P(N).

    Returns
    -------
    losses : `dict` [`str`, callable]
        ``tiles``: cross-entropy of the states of all tiles, for each true centre; ``counts``: mean
        cross-entropy of the footprints.
    """
    ops = keras.ops

    def tiles(truth: Any, logits: Any) -> Any:
        states = ops.cast(truth, "int32")
        logits = ops.cast(logits, "float32")
        loss = -ops.sum(ops.one_hot(states, 5, dtype="float32") * ops.log_softmax(logits, axis=-1))
        return loss / (ops.sum(ops.cast(states > 0, "float32")) + _FEWEST_CENTERS)

    def counts(truth: Any, logits: Any) -> Any:
        classes = ops.cast(truth[..., 0], "int32")
        weights = ops.where(classes > IGNORED, truth[..., 1], 0.0)
        log_p = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
        known = ops.maximum(classes, 0)
        loss = -ops.sum(ops.one_hot(known, 5, dtype="float32") * log_p, axis=-1)
        single, blended = ops.logsumexp(log_p[..., :2], axis=-1), ops.logsumexp(log_p[..., 2:], axis=-1)
        loss = loss - blended_weight * ops.where(known > 1, blended, single)
        return ops.sum(weights * loss) / ops.maximum(ops.sum(weights), 1.0)

    return {"tiles": tiles, "counts": counts}


def balanced_loss(p: np.ndarray, counts: np.ndarray) -> float:
    """Compute the cross-entropy at even prior.

    Parameters
    ----------
    p
        P(blended) under the natural prior, shape (n,).
    counts
        Number of galaxies in each footprint, int of shape (n,); empty ones are left out.

    Returns
    -------
    loss
        Mean over blended and unblended footprints, each with half the weight; 0 if all are empty, and
        the plain cross-entropy if one kind is missing.
    """
    p, blended = p[counts > 0], counts[counts > 0] > 1
    if not blended.size:
        return 0.0
    share = float(blended.mean())
    p = np.clip(p, 1e-6, 1.0 - 1e-6)
    if not 0.0 < share < 1.0:
        return float(-np.log(np.where(blended, p, 1.0 - p)).mean())
    odds = p / (1.0 - p) * (1.0 - share) / share
    loss = np.where(blended, np.log1p(1.0 / odds), np.log1p(odds))
    return float(0.5 * (loss[blended].mean() + loss[~blended].mean()))

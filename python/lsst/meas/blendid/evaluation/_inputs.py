# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Checks of what is to be scored."""

from __future__ import annotations

__all__ = ("EPS", "check", "classified")

import numpy as np

EPS = 1e-7
"""Probabilities are kept this far from 0 and 1, so that logarithms are finite."""


def check(p: np.ndarray, blended: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """Check what is to be scored.

    Parameters
    ----------
    p, blended, weights
        Probabilities, truths and weights, each of shape (n,).

    Returns
    -------
    p, blended, weights
        The same as float64, bool and float64; all weights 1 if there were none.

    Raises
    ------
    ValueError
        Raised if lengths differ, or a probability is NaN, which would rank as
        the surest blend, or a weight is NaN or negative.
    """
    p, blended = np.asarray(p, dtype=np.float64), np.asarray(blended, dtype=bool)
    weights = np.ones(p.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if p.ndim != 1 or p.shape != blended.shape or p.shape != weights.shape:
        raise ValueError(
            f"lengths differ: {p.shape} probabilities, {blended.shape} truths, {weights.shape} weights"
        )
    if not np.all(np.isfinite(p)):
        raise ValueError(
            f"{np.count_nonzero(~np.isfinite(p))} of {p.size} probabilities are NaN or infinite; "
            "leave out what was not classified"
        )
    if not np.all(np.isfinite(weights)) or np.any(weights < 0.0):
        raise ValueError("weights must be finite numbers from 0")
    return p, blended, weights


def classified(p: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, ...]:
    """Leave out the rows that were not classified.

    Parameters
    ----------
    p
        Probabilities of shape (n,), NaN where there is none.
    *others
        Further arrays of shape (n,).

    Returns
    -------
    arrays
        All arrays without those rows.

    Raises
    ------
    ValueError
        Raised if lengths differ.
    """
    p = np.asarray(p, dtype=np.float64)
    if any(other.shape != p.shape for other in others):
        raise ValueError(f"lengths differ: {[a.shape for a in (p, *others)]}")
    finite = np.isfinite(p)
    return p[finite], *(other[finite] for other in others)

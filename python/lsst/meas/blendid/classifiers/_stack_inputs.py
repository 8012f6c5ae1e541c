# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What the stackers of an ensemble see of footprints."""

from __future__ import annotations

__all__ = ("MAX_LOGIT", "StackInputs", "logit", "member_columns")

from dataclasses import dataclass

import numpy as np

MAX_LOGIT = 12.0
"""Logits are clipped to this: more certainty is of no use, and exact 0 and 1 have none."""


@dataclass(frozen=True)
class StackInputs:
    """What the stackers see of n footprints.

    Parameters
    ----------
    members : `numpy.ndarray`, shape (n, k)
        `member_columns` of all members side by side; the first column of each is the logit of P(N >= 2).
    first : sequence of `int`
        Where the columns of each member begin.
    facts : `numpy.ndarray`, shape (n, l)
        Finite numbers for the logistic regression.
    columns : `numpy.ndarray`, shape (n, m)
        Numbers for the trees beside the members'; NaN where something is not known.
    conditions : `numpy.ndarray`, shape (n, q), float64
        What images differ in, such as seeing and depth; NaN where something is not known.
    """

    members: np.ndarray
    first: tuple[int, ...]
    facts: np.ndarray
    columns: np.ndarray
    conditions: np.ndarray

    def __len__(self) -> int:
        return len(self.members)

    @property
    def usable(self) -> np.ndarray:
        """Rows that every member has probabilities for, bool of shape (n,)."""
        return np.isfinite(self.members).all(axis=1) & np.isfinite(self.facts).all(axis=1)

    @property
    def own(self) -> np.ndarray:
        """Logit of P(N >= 2) of each member, shape (n, members)."""
        return self.members[:, list(self.first)]

    @property
    def of_trees(self) -> np.ndarray:
        """Inputs of the trees, float32 of shape (n, m + k)."""
        return np.hstack([self.columns, self.members]).astype(np.float32)

    @property
    def of_regression(self) -> np.ndarray:
        """Inputs of the logistic regression, float64 of shape (n, k + l)."""
        return np.hstack([self.members, self.facts]).astype(np.float64)

    def rows(self, chosen: np.ndarray) -> StackInputs:
        """Choose rows.

        Parameters
        ----------
        chosen
            Index or mask.

        Returns
        -------
        inputs
            Those rows.
        """
        return StackInputs(
            self.members[chosen],
            self.first,
            self.facts[chosen],
            self.columns[chosen],
            self.conditions[chosen],
        )


def logit(p: np.ndarray) -> np.ndarray:
    """Compute logits, clipped to `MAX_LOGIT`.

    Parameters
    ----------
    p : `numpy.ndarray`
        Probabilities; rounding may have carried them a little over the edge.

    Returns
    -------
    logits : `numpy.ndarray`
        Of the same shape.
    """
    p = np.clip(p, 0.0, 1.0)
    with np.errstate(divide="ignore"):
        return np.clip(np.log(p) - np.log1p(-p), -MAX_LOGIT, MAX_LOGIT)


def member_columns(prediction: np.ndarray) -> np.ndarray:
    """Turn probabilities of a member into columns.

    Parameters
    ----------
    prediction : `numpy.ndarray`, shape (n,) or (n, 5)
        P(blended) or P(N).

    Returns
    -------
    columns : `numpy.ndarray`, shape (n, 1) or (n, 4)
        The logit of P(N >= 2); with P(N), also ln P(0)/P(1), ln P(3)/P(2) and ln P(>= 4)/P(2).  NaN where
        the member gives none.
    """
    if prediction.ndim == 1:
        return logit(prediction)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.clip(prediction, 1e-12, 1.0))
    ratios = logs[:, [0, 3, 4]] - logs[:, [1, 2, 2]]
    return np.column_stack([logit(prediction[:, 2:].sum(axis=1)), np.clip(ratios, -MAX_LOGIT, MAX_LOGIT)])

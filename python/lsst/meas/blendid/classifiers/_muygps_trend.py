# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

r"""The mean of the Gaussian process before it sees its neighbours, and the labels about it.

The trend is a latent number :math:`f_0` whose :math:`\Phi(f_0)` is a first guess of P(blended): nothing, a
curve of the footprint's area, or a regression on the inputs (as in universal kriging).
"""

from __future__ import annotations

__all__ = ("FOLDS", "LATENT_UNIT", "TRENDS", "Trend", "fit_trend", "working_labels")

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtr, ndtri

from .._arrays import check_array

TRENDS = {
    "none": "Zero, as in Buchanan et al. 2022: the labels are +1 and -1.",
    "quadratic": "A regression on all inputs and on squares and products of the first coordinates.",
}
"""Kinds of trends."""

LATENT_UNIT = float(np.sqrt(np.pi / 2.0))
"""Unit of the residuals: with a trend of 0 the working labels are then +1 and -1."""

_MOST = 3.5
"""Largest latent number of a trend, a probability of 2e-4."""
_PENALTY = 10.0
"""L2 penalty of the regressions, on inputs of about unit scatter."""
_MOST_ROWS = 150_000
"""Rows that a trend is fitted to, at most."""
_CHUNK = 16_384
"""Rows of the design matrix that are in memory at a time."""
FOLDS = 3
"""Parts of the footprints that are left out of a trend in turn."""


@dataclass(frozen=True)
class Trend:
    """A trend.

    Parameters
    ----------
    kind
        One of `TRENDS`.
    values : `numpy.ndarray`, float64
        Coefficients with the constant last, shape (m,); empty for none.
    n_products
        Number of coordinates of a quadratic trend.
    """

    kind: str
    values: np.ndarray
    n_products: int = 0

    @classmethod
    def fit(
        cls,
        kind: str,
        inputs: np.ndarray,
        coordinates: np.ndarray,
        blended: np.ndarray,
        weights: np.ndarray | None,
        *,
        n_products: int,
        rng: np.random.Generator,
        start: Trend | None = None,
    ) -> Trend:
        """Fit a trend.

        Parameters
        ----------
        kind
            One of `TRENDS`.
        inputs : `numpy.ndarray`, shape (n, m)
            Inputs.
        coordinates : `numpy.ndarray`, shape (n, d)
            Coordinates.
        blended : `numpy.ndarray`, shape (n,), bool
            Labels.
        weights : `numpy.ndarray`, shape (n,), or `None`
            Weights.
        n_products
            Number of coordinates whose products a quadratic trend has.
        rng
            Chooses the rows that are used, if there are very many.
        start
            A trend of the same kind that is near, which saves steps.

        Returns
        -------
        trend : `Trend`
            The trend.
        """
        if len(blended) > _MOST_ROWS:
            rows = np.sort(rng.choice(len(blended), _MOST_ROWS, replace=False))
            inputs, coordinates = inputs[rows], coordinates[rows]
            blended, weights = blended[rows], None if weights is None else weights[rows]
        weights = np.ones(len(blended)) if weights is None else weights / weights.mean()
        if kind == "none":
            return cls(kind, np.zeros(0))
        n_products = min(n_products, coordinates.shape[1])
        beta = None if start is None else start.values
        if beta is None and len(blended) > 4 * _CHUNK:
            # The first steps need no more than some of the rows.
            some = np.sort(rng.choice(len(blended), _CHUNK, replace=False))
            beta = _regress(inputs[some], coordinates[some], n_products, blended[some], weights[some], None)
        return cls(kind, _regress(inputs, coordinates, n_products, blended, weights, beta), n_products)

    def latent(self, inputs: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
        r"""Evaluate the trend.

        Parameters
        ----------
        inputs : `numpy.ndarray`, shape (n, m)
            Inputs.
        coordinates : `numpy.ndarray`, shape (n, d)
            Coordinates.

        Returns
        -------
        latent : `numpy.ndarray`, shape (n,), float64
            The latent number :math:`f_0`, at most 3.5 either way.
        """
        if self.kind == "none":
            return np.zeros(len(inputs))
        out = np.empty(len(inputs))
        for first in range(0, len(inputs), _CHUNK):
            part = slice(first, first + _CHUNK)
            out[part] = _design(inputs[part], coordinates[part], self.n_products) @ self.values
        # From the logit, whose tails fit better, to the probit.
        return np.clip(ndtri(np.clip(expit(out), 1e-6, 1.0 - 1e-6)), -_MOST, _MOST)

    def check(self, n_inputs: int, n_coordinates: int) -> None:
        """Check the shapes.

        Parameters
        ----------
        n_inputs, n_coordinates
            Numbers that the settings ask for.

        Raises
        ------
        ValueError
            Raised if the values have another shape or are not finite.
        """
        q = self.n_products
        terms = 0 if self.kind == "none" else n_inputs + q * (q + 1) // 2 + 1
        check_array("the trend", self.values, (terms,))
        if q > n_coordinates:
            raise ValueError(f"the trend has products of {q} coordinates; there are {n_coordinates}")


def fit_trend(
    kind: str,
    inputs: np.ndarray,
    coordinates: np.ndarray,
    blended: np.ndarray,
    weights: np.ndarray | None,
    groups: np.ndarray,
    rows: np.ndarray,
    *,
    n_products: int,
    rng: np.random.Generator,
) -> tuple[Trend, np.ndarray]:
    """Fit a trend, and evaluate it where it was not fitted.

    Residuals of footprints that a trend has seen are too small, the more the fewer there are.

    Parameters
    ----------
    kind, inputs, coordinates, blended, weights
        As of `Trend.fit`.
    groups : `numpy.ndarray`, shape (n,), int
        Image, or piece of sky, of each footprint: footprints of one are seen together or not at all, if
        there are several.
    rows : `numpy.ndarray`, shape (m,), int64
        Footprints to evaluate it at.
    n_products, rng
        As of `Trend.fit`.

    Returns
    -------
    trend : `Trend`
        The trend of all.
    latent : `numpy.ndarray`, shape (m,), float64
        Values of trends of two thirds that the footprint is not in.
    """

    def fit(chosen: np.ndarray, start: Trend | None = None) -> Trend:
        return Trend.fit(
            kind,
            inputs[chosen],
            coordinates[chosen],
            blended[chosen],
            None if weights is None else weights[chosen],
            n_products=n_products,
            rng=rng,
            start=start,
        )

    everything = np.arange(len(blended))
    trend = fit(everything)
    if kind == "none":
        return trend, np.zeros(len(rows))
    present, group = np.unique(groups, return_inverse=True)
    if len(present) < FOLDS:
        present = group = everything
    fold = (rng.permutation(len(present)) % FOLDS)[group]
    latent = np.empty(len(rows))
    for k in range(FOLDS):
        out = fold[rows] == k
        part = fit(everything[fold != k], trend)
        latent[out] = part.latent(inputs[rows[out]], coordinates[rows[out]])
    return trend, latent


def working_labels(latent: np.ndarray, blended: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Linearise labels about a trend.

    Parameters
    ----------
    latent : `numpy.ndarray`, shape (n,)
        The trend :math:`f_0`.
    blended : `numpy.ndarray`, shape (n,), bool
        Labels.

    Returns
    -------
    labels : `numpy.ndarray`, shape (n,)
        :math:`(y - \Phi(f_0)) / \phi(f_0)`, the step of Fisher scoring of a probit model about the trend
        (McCullagh & Nelder 1989, Generalized Linear Models, sect. 2.5), in units of `LATENT_UNIT`: with a
        trend of 0 this is +1 and -1.
    noise : `numpy.ndarray`, shape (n,)
        Their variance, :math:`\Phi (1 - \Phi) / \phi^2`, in squares of that unit: 1 with a trend of 0.
    """
    p = ndtr(latent)
    density = np.exp(-0.5 * np.square(latent)) / np.sqrt(2.0 * np.pi)
    labels = (blended - p) / (density * LATENT_UNIT)
    return labels, p * (1.0 - p) / np.square(density * LATENT_UNIT)


def _design(inputs: np.ndarray, coordinates: np.ndarray, n_products: int) -> np.ndarray:
    """Inputs, products of coordinates, and 1: float64 of shape (n, terms)."""
    first, second = np.triu_indices(n_products)
    return np.column_stack(
        [inputs, coordinates[:, first] * coordinates[:, second], np.ones(len(inputs))]
    ).astype(np.float64)


def _regress(
    inputs: np.ndarray,
    coordinates: np.ndarray,
    n_products: int,
    blended: np.ndarray,
    weights: np.ndarray,
    start: np.ndarray | None,
) -> np.ndarray:
    """Coefficients of a logistic regression with an L2 penalty, by Newton steps."""
    from threadpoolctl import threadpool_limits

    size = inputs.shape[1] + n_products * (n_products + 1) // 2 + 1
    penalty = np.full(size, _PENALTY)
    penalty[-1] = 0.0
    beta = np.zeros(size) if start is None else start.copy()
    with threadpool_limits(limits=1):
        for _ in range(25):
            gradient, hessian = -penalty * beta, np.diag(penalty + 1e-9)
            for first in range(0, len(inputs), _CHUNK):
                part = slice(first, first + _CHUNK)
                design = _design(inputs[part], coordinates[part], n_products)
                p = expit(design @ beta)
                gradient += design.T @ (weights[part] * (blended[part] - p))
                hessian += (design * (weights[part] * p * (1.0 - p))[:, None]).T @ design
            step = np.linalg.solve(hessian, gradient)
            # Far steps, as with classes that can be separated, are shortened.
            step *= min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-300))
            beta += step
            if np.abs(step).max() < 1e-4:
                break
    return beta

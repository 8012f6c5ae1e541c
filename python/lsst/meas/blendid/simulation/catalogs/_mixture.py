# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""A smooth joint density of the properties of objects, to draw from at given magnitudes.

Magnitude and properties are each taken to a normal distribution by their own quantiles; in those
normal deviates the density is a mixture of Gaussians. Such a model is called a
Gaussian-mixture copula (Tewari, Giering & Raghunathan 2011).
"""

from __future__ import annotations

__all__ = ("NODES", "ConditionalMixture")

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._errors import SimulationError

NODES = np.linspace(-3.0, 3.0, 61)
"""Normal deviates at which the quantiles are kept."""

_MAX_DEVIATE = 3.5
# A table of quantiles is extended with its slope over this many nodes.
_TAIL = 5


@dataclasses.dataclass(frozen=True)
class ConditionalMixture:
    """A mixture of K Gaussians in the normal deviates of a magnitude and D properties."""

    variables: tuple[str, ...]
    """Names of the D properties."""

    mag_range: tuple[float, float]
    """Magnitudes that the model knows; others get the properties of the nearer end."""

    quantiles: np.ndarray
    """Magnitude and properties at each of the `NODES`, shape (1 + D, 61), not decreasing."""

    weights: np.ndarray
    """Shape (K,), sum 1."""

    means: np.ndarray
    """Shape (K, 1 + D), the magnitude first."""

    covariances: np.ndarray
    """Shape (K, 1 + D, 1 + D)."""

    def draw(self, mag: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw properties.

        Parameters
        ----------
        mag
            Magnitudes, shape (n,).
        rng
            Source of random numbers.

        Returns
        -------
        properties
            Shape (n,) for each of the variables.
        """
        mag = np.clip(np.asarray(mag, dtype=np.float64), *self.mag_range)
        n = len(mag)
        # All random numbers first, so that their number does not depend on the model.
        pick = rng.uniform(size=n)
        noise = rng.standard_normal((n, len(self.variables)))
        at = np.interp(mag, self.quantiles[0], NODES)
        variance = self.covariances[:, 0, 0]
        log = np.log(self.weights) - 0.5 * np.log(variance)
        log = log - 0.5 * (at[:, None] - self.means[:, 0]) ** 2 / variance
        cumulative = np.cumsum(np.exp(log - np.max(log, axis=1, keepdims=True, initial=-np.inf)), axis=1)
        member = (cumulative < pick[:, None] * cumulative[:, -1:]).sum(axis=1)
        deviates = np.empty_like(noise)
        for k in range(len(self.weights)):
            rows = member == k
            slope = self.covariances[k, 1:, 0] / variance[k]
            left = self.covariances[k, 1:, 1:] - np.outer(slope, self.covariances[k, 0, 1:])
            mean = self.means[k, 1:] + slope * (at[rows, None] - self.means[k, 0])
            deviates[rows] = mean + noise[rows] @ np.linalg.cholesky(left).T
        return {name: self._property(i + 1, deviates[:, i]) for i, name in enumerate(self.variables)}

    def _property(self, index: int, deviate: np.ndarray) -> np.ndarray:
        """Property that belongs to a normal deviate."""
        quantiles = self.quantiles[index]
        deviate = np.clip(deviate, -_MAX_DEVIATE, _MAX_DEVIATE)
        value = np.interp(deviate, NODES, quantiles)
        step = NODES[_TAIL] - NODES[0]
        value += np.maximum(deviate - NODES[-1], 0.0) * (quantiles[-1] - quantiles[-1 - _TAIL]) / step
        value -= np.maximum(NODES[0] - deviate, 0.0) * (quantiles[_TAIL] - quantiles[0]) / step
        return np.asarray(value)

    def to_dict(self) -> dict[str, Any]:
        """Get the model as numbers for JSON.

        Returns
        -------
        content
            Lists and numbers of five digits.
        """
        row, column = np.tril_indices(self.means.shape[1])
        return {
            "variables": list(self.variables),
            "mag_range": _rounded(np.array(self.mag_range)),
            "quantiles": _rounded(self.quantiles),
            "weights": _rounded(self.weights),
            "means": _rounded(self.means),
            "covariances_lower": _rounded(self.covariances[:, row, column]),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ConditionalMixture:
        """Make a model of what `to_dict` gave.

        Parameters
        ----------
        content
            As `to_dict` returns it.

        Returns
        -------
        model
            The model.

        Raises
        ------
        SimulationError
            Raised if something is missing or has a wrong shape.
        """
        try:
            variables = tuple(str(name) for name in content["variables"])
            size = 1 + len(variables)
            weights = np.array(content["weights"], dtype=np.float64)
            row, column = np.tril_indices(size)
            covariances = np.empty((len(weights), size, size))
            covariances[:, row, column] = np.array(content["covariances_lower"], dtype=np.float64)
            covariances[:, column, row] = covariances[:, row, column]
            low, high = (float(v) for v in content["mag_range"])
            return cls(
                variables=variables,
                mag_range=(low, high),
                quantiles=np.array(content["quantiles"], dtype=np.float64).reshape(size, len(NODES)),
                weights=weights / weights.sum(),
                means=np.array(content["means"], dtype=np.float64).reshape(len(weights), size),
                covariances=covariances,
            )
        except (KeyError, TypeError, ValueError) as err:
            raise SimulationError(f"not a model of galaxies or stars: {err!r}") from err


def _rounded(values: np.ndarray) -> Any:
    """Nested lists of numbers with five digits."""
    if values.ndim:
        return [_rounded(np.asarray(v)) for v in values]
    return float(f"{float(values):.5g}")

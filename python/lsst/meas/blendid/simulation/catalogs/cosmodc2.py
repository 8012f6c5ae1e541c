# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The joint distribution of the properties of cosmoDC2's galaxies, given a magnitude.

The model has the *i* magnitude and 13 properties of a galaxy before lensing, its shear and
convergence among them. ``tools/fit_cosmodc2.py`` fitted it to 3,000 galaxies of cosmoDC2 (Korytov et al.
2019, https://ui.adsabs.harvard.edu/abs/2019ApJS..245...26K) and wrote the file that is shipped,
with a second model of the colours of stars. Being a density, it gives any number of galaxies,
all different.

Magnitude and properties are each taken to a normal distribution by their own quantiles; in those
normal deviates the density is a mixture of Gaussians. Such a model is called a
Gaussian-mixture copula (Tewari, Giering & Raghunathan 2011).
"""

from __future__ import annotations

__all__ = (
    "GALAXY_VARIABLES",
    "NODES",
    "STAR_VARIABLES",
    "ConditionalMixture",
    "PopulationModel",
    "draw_properties",
    "load_model",
)

import dataclasses
import functools
import importlib.resources
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import SimulationError
from .columns import FILTERS

NODES = np.linspace(-3.0, 3.0, 61)
"""Normal deviates at which the quantiles are kept."""

_MAX_DEVIATE = 3.5
# A table of quantiles is extended with its slope over this many nodes.
_TAIL = 5

STAR_VARIABLES: tuple[str, ...] = ("u_g", "g_r", "r_i", "i_z", "z_y")
"""Colours in the model of stars; differences of magnitudes."""

GALAXY_VARIABLES: tuple[str, ...] = (
    "log_redshift",
    *STAR_VARIABLES,
    "log_disc_radius",
    "log_bulge_ratio",
    "logit_axis_ratio",
    "logit_bulge_axis_ratio",
    "logit_bulge_fraction",
    "log_gamma",
    "kappa",
)
"""Properties in the model of galaxies beside the *i* magnitude.

Radii and redshifts are relative to a trend with magnitude, `SIZE_SLOPE` and `REDSHIFT_SLOPE`.
"""

FORMAT = 1
"""Version of the file."""

PIVOT = 26.0
"""Magnitude at which the trends are 0."""

SIZE_SLOPE = -0.16
"""Trend of log10 of the radius, dex per magnitude."""

REDSHIFT_SLOPE = 0.05
"""Trend of log10 of the redshift, dex per magnitude; none beyond the faintest galaxies of the model."""

LOGIT_LIMIT = float(np.log(1e4))
"""Bulge fractions lie between 1e-4, which is none, and 1 − 1e-4."""

_NO_BULGE = 0.999 * LOGIT_LIMIT
# Colours change slowly with magnitude, so that few rounds are enough.
_ROUNDS = 3


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
        """Draw properties at magnitudes of shape (n,): shape (n,) for each of the variables."""
        # Beyond the galaxies that the model was fitted to it would extrapolate tails of Gaussians.
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
        """Lists and numbers of five digits, for JSON."""
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
        """Make a model of what `to_dict` gave; `SimulationError` if it is something else."""
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


@dataclasses.dataclass(frozen=True)
class PopulationModel:
    """Galaxies and stars as functions of magnitude."""

    galaxies: ConditionalMixture
    """Galaxies, `GALAXY_VARIABLES`."""

    stars: ConditionalMixture
    """Stars, `STAR_VARIABLES`."""

    metadata: dict[str, Any]
    """What the models were fitted to, and how they compare with galaxies they were not fitted to."""

    def to_json(self) -> str:
        """Write the models as text."""
        content = {
            "format": FORMAT,
            "metadata": self.metadata,
            "galaxies": self.galaxies.to_dict(),
            "stars": self.stars.to_dict(),
        }
        return json.dumps(content, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: str) -> PopulationModel:
        """Read what `to_json` wrote; `SimulationError` if it is something else, or of another version."""
        try:
            content = json.loads(text)
            version = content["format"]
            parts = content["galaxies"], content["stars"]
            metadata = content["metadata"]
        except (ValueError, KeyError, TypeError) as err:
            raise SimulationError(f"not a model of galaxies or stars: {err!r}") from err
        galaxies, stars = (ConditionalMixture.from_dict(part) for part in parts)
        if version != FORMAT or galaxies.variables != GALAXY_VARIABLES or stars.variables != STAR_VARIABLES:
            raise SimulationError(f"a model of galaxies of format {version!r} cannot be read, only {FORMAT}")
        return cls(galaxies, stars, metadata)

    def draw(self, mag: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw galaxies of given *i* magnitudes before lensing, shape (n,).

        Gives columns of `GALAXY_COLUMNS`, each of shape (n,): six magnitudes, redshift, radii of disc and
        bulge, axis ratios, bulge fraction, shear and convergence.
        """
        mag = np.asarray(mag, dtype=np.float64)
        values = self.galaxies.draw(mag, rng)
        turn = rng.uniform(0.0, 2.0 * np.pi, len(mag))
        trend = REDSHIFT_SLOPE * (np.minimum(mag, self.galaxies.mag_range[1]) - PIVOT)
        disc = 10.0 ** (values["log_disc_radius"] + SIZE_SLOPE * (mag - PIVOT))
        bulge = np.clip(values["logit_bulge_fraction"], -LOGIT_LIMIT, LOGIT_LIMIT)
        gamma = 10.0 ** values["log_gamma"]
        return _magnitudes(mag, values) | {
            "redshift": 10.0 ** (values["log_redshift"] + trend),
            "disc_radius": disc,
            "bulge_radius": disc * 10.0 ** values["log_bulge_ratio"],
            "axis_ratio": _logistic(values["logit_axis_ratio"]),
            "bulge_axis_ratio": _logistic(values["logit_bulge_axis_ratio"]),
            "bulge_fraction": np.where(bulge < -_NO_BULGE, 0.0, _logistic(bulge)),
            # Shear has no preferred direction.
            "gamma1": gamma * np.cos(turn),
            "gamma2": gamma * np.sin(turn),
            "kappa": values["kappa"],
        }


def _logistic(logit: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-logit))


def _magnitudes(mag_i: np.ndarray, colors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Magnitudes of all bands from that of *i* and the colours."""
    mag = {"i": mag_i, "r": mag_i + colors["r_i"], "z": mag_i - colors["i_z"]}
    mag["g"] = mag["r"] + colors["g_r"]
    mag["u"] = mag["g"] + colors["u_g"]
    mag["y"] = mag["z"] - colors["z_y"]
    return {f"mag_{name}": mag[name] for name in FILTERS}


@functools.lru_cache
def load_model() -> PopulationModel:
    """Load the models that are shipped, the same object each time."""
    folder = importlib.resources.files("lsst.meas.blendid.simulation.catalogs")
    return PopulationModel.from_json((folder / "data" / "cosmodc2.json").read_text(encoding="utf-8"))


def draw_properties(
    mag: np.ndarray, rng: np.random.Generator, *, band: str = "i", is_star: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Draw the properties of galaxies of magnitudes ``mag`` before lensing with the shipped model.

    Columns are those of `PopulationModel.draw`, shape (n,); rows that are stars, ``is_star`` of shape (n,),
    get the magnitudes of stars. In a band other than *i*, colours are found in three rounds: those of
    galaxies of the *i* magnitude that the colours of the last round give.
    """
    mag = np.asarray(mag, dtype=np.float64)
    star = np.zeros(len(mag), dtype=bool) if is_star is None else np.asarray(is_star, dtype=bool)
    model = load_model()
    given = f"mag_{band}"
    mag_i = mag
    for _ in range(1 if band == "i" else _ROUNDS):
        drawn = model.draw(mag_i, rng)
        if star.any():
            of_stars = _magnitudes(mag_i[star], model.stars.draw(mag_i[star], rng))
            for name, values in of_stars.items():
                drawn[name][star] = values
        mag_i = mag + drawn["mag_i"] - drawn[given]
    shift = mag - drawn[given]
    for name in FILTERS:
        drawn[f"mag_{name}"] = drawn[f"mag_{name}"] + shift
    return drawn

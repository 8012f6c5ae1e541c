# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Sizes of galaxies as a function of magnitude: presets that have a name.

The population of galaxy sizes moves the blend statistics more than any other
assumption, so it is a choice with a name.
"""

from __future__ import annotations

__all__ = (
    "BULGE_TO_DISC_RADIUS",
    "JOINT_MODEL",
    "SIZE_MODELS",
    "SizeModel",
    "composite_radius",
    "get_size_model",
)

import dataclasses
import functools

import numpy as np

from ..._suggest import did_you_mean
from .._errors import SimulationError

BULGE_TO_DISC_RADIUS = 0.6
"""Half-light radius of a bulge in units of that of its disc, if neither is known."""

JOINT_MODEL = "cosmodc2-galaxies"
"""Name of the size model that is the joint distribution of cosmoDC2's galaxies."""

_MIN_RADIUS, _MAX_RADIUS = 0.01, 15.0


@dataclasses.dataclass(frozen=True)
class SizeModel:
    """Log-normal half-light radii whose median falls with magnitude.

    log10(r) = log10(radius_24) + slope (mag − 24) + scatter · N(0, 1), with r the
    circularised half-light radius in arcsec, kept within 0.01″ and 15″.
    """

    name: str
    """Name of the preset."""

    radius_24: float
    """Median half-light radius at magnitude 24, arcsec."""

    slope: float
    """Change of log10 of the median per magnitude."""

    scatter: float
    """Standard deviation of log10 of the radius."""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.radius_24) and self.radius_24 > 0):
            raise SimulationError(
                f"size model {self.name!r}: radius_24 must be positive, not {self.radius_24}"
            )
        if not np.isfinite(self.slope):
            raise SimulationError(f"size model {self.name!r}: slope must be finite, not {self.slope}")
        if not (np.isfinite(self.scatter) and self.scatter >= 0):
            raise SimulationError(f"size model {self.name!r}: scatter must be ≥ 0, not {self.scatter}")

    def median(self, mag: np.ndarray) -> np.ndarray:
        """Median half-light radius.

        Parameters
        ----------
        mag
            AB magnitudes, shape (n,).

        Returns
        -------
        radius
            Circularised half-light radii in arcsec, shape (n,).
        """
        return self.radius_24 * 10.0 ** (self.slope * (np.asarray(mag, dtype=np.float64) - 24.0))

    def draw(self, mag: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw half-light radii.

        Parameters
        ----------
        mag
            AB magnitudes, shape (n,).
        rng
            Source of random numbers.

        Returns
        -------
        radius
            Circularised half-light radii in arcsec, shape (n,).
        """
        mag = np.asarray(mag, dtype=np.float64)
        radius = self.median(mag) * 10.0 ** (self.scatter * rng.standard_normal(mag.shape))
        return np.clip(radius, _MIN_RADIUS, _MAX_RADIUS)


SIZE_MODELS: dict[str, SizeModel] = {
    model.name: model
    for model in (
        # Fits to cosmoDC2 (Korytov et al. 2019), to an intermediate population, and
        # to sizes nearer to those of real galaxies in HST images.
        SizeModel("cosmodc2", 0.21, -0.16, 0.20),
        SizeModel("1.6x", 0.32, -0.12, 0.18),
        SizeModel("large", 0.77, -0.105, 0.20),
    )
}
"""The log-normal size models, by name."""


def get_size_model(name: str | SizeModel) -> SizeModel:
    """Look up a log-normal size model.

    Parameters
    ----------
    name
        Name of a preset, or a model, which is returned as it is. The joint
        distribution "cosmodc2-galaxies" is none of them.

    Returns
    -------
    model
        The model.

    Raises
    ------
    SimulationError
        Raised if there is no preset of that name.
    """
    if isinstance(name, SizeModel):
        return name
    try:
        return SIZE_MODELS[name]
    except KeyError:
        names = sorted((*SIZE_MODELS, JOINT_MODEL))
        hint = did_you_mean(name, names)
        raise SimulationError(
            f"unknown size model {name!r}{hint}; known models: {', '.join(names)}"
        ) from None


# 41 bulge fractions, and bulges of a tenth to four times the radius of the disc, 0.6 among them.
_FRACTIONS = np.linspace(0.0, 1.0, 41)
_LOG_RATIOS = np.log10(BULGE_TO_DISC_RADIUS) + 0.05 * np.arange(-16, 17)


@functools.lru_cache
def _composite_radii() -> np.ndarray:
    """Half-light radius of bulge + disc in units of that of the disc.

    Returns
    -------
    radius
        Shape (33, 41): ratios of the radii of bulge and disc, bulge fractions.
    """
    from scipy.special import gammainc

    radius = np.geomspace(0.05, 8.0, 3001)
    # Light within r: Sérsic profiles of index 1 and 4 (Graham & Driver 2005, eq. 2).
    disc = gammainc(2.0, 1.67834699 * radius)
    half = np.empty((len(_LOG_RATIOS), len(_FRACTIONS)))
    for row, log_ratio in enumerate(_LOG_RATIOS):
        bulge = gammainc(8.0, 7.66924944 * (radius / 10.0**log_ratio) ** 0.25)
        light = _FRACTIONS[:, None] * bulge + (1.0 - _FRACTIONS[:, None]) * disc
        half[row] = [np.interp(0.5, curve, radius) for curve in light]
    return half


def composite_radius(
    bulge_fraction: np.ndarray, ratio: np.ndarray | float = BULGE_TO_DISC_RADIUS
) -> np.ndarray:
    """Half-light radius of bulge and disc together, in units of that of the disc.

    Parameters
    ----------
    bulge_fraction
        Share of a de Vaucouleurs bulge in the light, the rest an exponential disc,
        shape (n,).
    ratio
        Half-light radius of the bulge in units of that of the disc, 0.1 to 4 (clipped), scalar or
        shape (n,).

    Returns
    -------
    radius
        Shape (n,). Exact for concentric circles; interpolated to better than 0.5 %.
    """
    from scipy.ndimage import map_coordinates

    fraction = np.asarray(bulge_fraction, dtype=np.float64)
    log_ratio = np.broadcast_to(np.log10(ratio), fraction.shape)
    at = np.stack(
        [
            np.clip(
                (log_ratio - _LOG_RATIOS[0]) / (_LOG_RATIOS[1] - _LOG_RATIOS[0]), 0.0, len(_LOG_RATIOS) - 1
            ),
            np.clip(fraction * (len(_FRACTIONS) - 1), 0.0, len(_FRACTIONS) - 1),
        ]
    )
    return np.asarray(map_coordinates(_composite_radii(), at, order=1))

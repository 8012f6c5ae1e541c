# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""PSF and depth of each cell: smooth random fields on the sky.

The field of each quantity is a sum of plane waves of random direction, length and
phase, which tends to a Gaussian random field of correlation exp(−d²/2) at a
distance of d correlation lengths (Rahimi & Recht 2007, "Random features for large-scale
kernel machines", with a Gaussian spectrum). It can be evaluated at any cell without
the others, so that patches that are simulated apart agree where they overlap.
"""

from __future__ import annotations

__all__ = ("CellConditions", "conditions_of", "is_varied")

import dataclasses
import math
import zlib

import numpy as np

from .._errors import SimulationError
from .._random import random_stream
from ..config import VariationConfig
from ..survey import Survey
from .psf_model import MIN_FWHM_PIXELS, PsfModel

_WAVES = 64
# Fields are cut here, so that no cell is absurd.
_MAX_SIGMA = 3.0
_QUANTITIES = ("fwhm", "g1", "g2", "depth", "sky")


@dataclasses.dataclass(frozen=True)
class CellConditions:
    """PSF and depth of a cell."""

    fwhm: float
    """FWHM of the Kolmogorov PSF before the pixel, arcsec."""

    g1: float
    """Reduced shear of the PSF along x."""

    g2: float
    """Reduced shear of the PSF along the diagonal."""

    n_exposures: int
    """Number of exposures in the cell."""

    sky_factor: float
    """Brightness of the sky in units of that of the survey."""

    @property
    def psf(self) -> PsfModel:
        """The PSF."""
        return PsfModel(self.fwhm, self.g1, self.g2)

    def survey(self, survey: Survey) -> Survey:
        """Settings of a survey with these conditions.

        Parameters
        ----------
        survey
            Settings of the whole.

        Returns
        -------
        survey
            Those of the cell.
        """
        return dataclasses.replace(
            survey,
            fwhm=self.fwhm,
            n_exposures=self.n_exposures,
            sky_brightness=survey.sky_brightness - 2.5 * math.log10(self.sky_factor),
        )


def is_varied(config: VariationConfig) -> bool:
    """Tell whether anything differs between cells.

    Parameters
    ----------
    config
        Scatters.

    Returns
    -------
    varied
        False for the defaults.
    """
    return any(
        value > 0.0
        for value in (config.fwhmScatter, config.ellipticityScatter, config.depthScatter, config.skyScatter)
    )


def conditions_of(
    place: tuple[float, float], survey: Survey, config: VariationConfig, seed: int
) -> CellConditions:
    """Compute PSF and depth of a cell.

    Parameters
    ----------
    place
        Column and row of the middle of the cell, counted in cells
        (`~lsst.meas.blendid.simulation.coadds.cells.Cell.place`).
    survey
        Means, and the band.
    config
        Scatters and correlation length.
    seed
        Seed. Bands have fields of their own.

    Returns
    -------
    conditions
        Those of the cell. Fields are cut at three standard deviations, the FWHM at the 2.5
        pixels that sample it, and a cell has one exposure at least.

    Raises
    ------
    SimulationError
        Raised if the seed is negative.
    """
    if seed < 0:
        raise SimulationError(f"a seed must not be negative, not {seed}")
    field = {name: _field(place, config.scale, seed, survey.band, i) for i, name in enumerate(_QUANTITIES)}
    g1, g2 = (config.ellipticityScatter * field[name] for name in ("g1", "g2"))
    fwhm = survey.fwhm * (1.0 + config.fwhmScatter * field["fwhm"])
    # The minor axis of a sheared PSF must be sampled too.
    least = MIN_FWHM_PIXELS * survey.pixel_scale
    is_sampled = survey.fwhm >= least
    least *= PsfModel(1.0, g1, g2).stretch
    return CellConditions(
        fwhm=max(fwhm, least) if is_sampled else survey.fwhm,
        g1=g1,
        g2=g2,
        n_exposures=max(1, round(survey.n_exposures * (1.0 + config.depthScatter * field["depth"]))),
        sky_factor=max(0.05, 1.0 + config.skyScatter * field["sky"]),
    )


def _field(place: tuple[float, float], scale: float, seed: int, band: str, quantity: int) -> float:
    """Evaluate the random field of a quantity: mean 0, variance 1."""
    rng = random_stream(seed, 4, zlib.crc32(band.encode()), quantity)
    waves = rng.standard_normal((_WAVES, 2)) / scale
    phase = rng.uniform(0.0, 2.0 * np.pi, _WAVES)
    value = math.sqrt(2.0 / _WAVES) * float(np.cos(waves @ np.asarray(place) + phase).sum())
    return min(max(value, -_MAX_SIGMA), _MAX_SIGMA)

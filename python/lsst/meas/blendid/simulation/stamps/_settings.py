# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The numbers of the stamps of BlendHunter."""

from __future__ import annotations

__all__ = ("BlendHunterSettings",)

import dataclasses
import math

from .._errors import SimulationError
from .real_galaxies import HST_ZERO_POINT


@dataclasses.dataclass(frozen=True)
class BlendHunterSettings:
    """Numbers of the paper.

    The paper gives the PSF as a Moffat of β = 4.765 convolved with a Kolmogorov,
    0.65 arcsec in the mean; here both have the same FWHM, and the whole is
    0.65 arcsec in every stamp.
    """

    size: int = 51
    """Width of a stamp, pixels."""

    padding: int = 7
    """Width of the frame around a stamp, pixels."""

    pixel_scale: float = 0.187
    """Size of a pixel of MegaCam, arcsec."""

    fwhm: float = 0.65
    """FWHM of the whole PSF before the pixel, arcsec."""

    beta: float = 4.765
    """Exponent of the Moffat (Trujillo et al. 2001)."""

    atmosphere_shear: float = 0.01
    """Standard deviation of each component of the shear of the Kolmogorov part, a draw per stamp."""

    optics_shear: float = 0.01
    """The same of the Moffat part, chosen here."""

    exposure_time: float = 300.0
    """Exposure that fluxes are for, seconds."""

    diameter: float = 3.58
    """Diameter of the mirror of CFHT, m."""

    obscuration: float = 0.38
    """Diameter of the central obscuration in units of that of the mirror."""

    mag_range: tuple[float, float] = (20.0, 25.2)
    """Brightest and faintest F814W magnitude; 25.2 is the limit of the larger COSMOS catalogue
    of GalSim."""

    blended_share: float = 0.5
    """Share of stamps with two galaxies."""

    noise_levels: tuple[float, ...] = (5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0)
    """Standard deviations of the noise per pixel, counts."""

    n_realisations: int = 10
    """Number of noise draws a level."""

    real_noise: float = 14.5
    """Noise of the realistic stamps, that of the survey's images."""

    def __post_init__(self) -> None:
        whole = isinstance(self.size, int) and isinstance(self.padding, int)
        if not whole or self.size < 8 or self.padding < 0:
            raise SimulationError(f"stamps of {self.size} pixels padded by {self.padding} cannot be made")
        for name in ("pixel_scale", "fwhm", "exposure_time", "diameter"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise SimulationError(f"{name} must be positive and finite, not {getattr(self, name)}")
        # A Moffat of less has no finite flux.
        if not (math.isfinite(self.beta) and self.beta > 1.1):
            raise SimulationError(f"beta must be over 1.1 and finite, not {self.beta}")
        for name in ("atmosphere_shear", "optics_shear"):
            # Five standard deviations are less than the shear of 1 that there cannot be.
            if not 0.0 <= getattr(self, name) <= 0.1:
                raise SimulationError(f"{name} must be between 0 and 0.1, not {getattr(self, name)}")
        if not 0.0 <= self.obscuration < 1.0:
            raise SimulationError(f"obscuration must be from 0 to less than 1, not {self.obscuration}")
        if not 0.0 <= self.blended_share <= 1.0:
            raise SimulationError(f"blended_share must be between 0 and 1, not {self.blended_share}")

    @property
    def flux_scale(self) -> float:
        """Counts for one count per second of HST (mirror 2.4 m, obscuration 0.33)."""
        area = self.diameter**2 * (1.0 - self.obscuration**2) / (2.4**2 * (1.0 - 0.33**2))
        return area * self.exposure_time

    @property
    def zero_point(self) -> float:
        """AB magnitude of one count."""
        return HST_ZERO_POINT + 2.5 * math.log10(self.flux_scale)

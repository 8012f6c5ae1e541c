# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What the simulated survey is: bands, sky, depth and the units of flux.

Fluxes are in nJy (AB), counts in photo-electrons. The zero points and the dark
sky are those of SMTN-002 (Jones & Yoachim, "Calculating LSST limiting magnitudes
and SNR"), the seeing and the 100 exposures of 30 s those of the simulations of
Buchanan et al. 2022 (https://ui.adsabs.harvard.edu/abs/2022ApJ...924...94B).
"""

from __future__ import annotations

__all__ = ("BANDS", "Survey", "get_survey", "mag_to_njy", "njy_to_mag")

import dataclasses
import math
from typing import Any

import numpy as np

from ._errors import SimulationError

AB_ZERO_POINT_NJY = 31.4
"""AB magnitude of 1 nJy (31.4 = 8.90 + 2.5 * 9, rounded as Rubin does)."""


def mag_to_njy(mag: Any) -> Any:
    """Convert AB magnitudes to fluxes in nJy.

    Parameters
    ----------
    mag
        AB magnitudes, scalar or array.

    Returns
    -------
    flux
        Fluxes in nJy, of the same shape.
    """
    return 10.0 ** (0.4 * (AB_ZERO_POINT_NJY - np.asarray(mag, dtype=np.float64)))


def njy_to_mag(flux: Any) -> Any:
    """Convert fluxes in nJy to AB magnitudes.

    Parameters
    ----------
    flux
        Positive fluxes in nJy, scalar or array.

    Returns
    -------
    mag
        AB magnitudes, of the same shape.
    """
    return AB_ZERO_POINT_NJY - 2.5 * np.log10(np.asarray(flux, dtype=np.float64))


@dataclasses.dataclass(frozen=True)
class Survey:
    """One band of a survey of equal exposures, coadded.

    The sky is the only background: read noise (8.8 e per exposure in SMTN-002, a
    thirteenth of the variance of the sky in *i*) is left out.
    """

    band: str
    """Name of the band."""

    zero_point: float
    """AB magnitude that gives one photo-electron per second."""

    sky_brightness: float
    """Brightness of the dark sky, AB mag/arcsec²."""

    fwhm: float = 0.7
    """FWHM of the Kolmogorov PSF before the pixel, arcsec."""

    pixel_scale: float = 0.2
    """Size of a pixel, arcsec."""

    n_exposures: int = 100
    """Number of exposures in the coadd."""

    exposure_time: float = 30.0
    """Length of an exposure, seconds."""

    def __post_init__(self) -> None:
        for name in ("fwhm", "pixel_scale", "n_exposures", "exposure_time"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise SimulationError(f"survey setting {name} must be positive and finite, not {value}")
        for name in ("zero_point", "sky_brightness"):
            value = getattr(self, name)
            if not math.isfinite(value):
                raise SimulationError(f"survey setting {name} must be finite, not {value}")

    @property
    def total_time(self) -> float:
        """Exposure time of the coadd, seconds."""
        return self.n_exposures * self.exposure_time

    @property
    def electrons_per_njy(self) -> float:
        """Photo-electrons in the whole coadd from a source of 1 nJy."""
        return self.total_time * 10.0 ** (-0.4 * (AB_ZERO_POINT_NJY - self.zero_point))

    @property
    def sky_electrons(self) -> float:
        """Photo-electrons of sky per pixel in the whole coadd."""
        rate = 10.0 ** (-0.4 * (self.sky_brightness - self.zero_point))
        return rate * self.pixel_scale**2 * self.total_time

    @property
    def sky_sigma(self) -> float:
        """Standard deviation per pixel of the sky in the coadd, nJy."""
        return math.sqrt(self.sky_electrons) / self.electrons_per_njy

    def photons_to_mag(self, n_photon: Any) -> Any:
        """Convert photons detected per exposure to AB magnitudes.

        Parameters
        ----------
        n_photon
            Mean number of photons per exposure, positive; scalar or array.

        Returns
        -------
        mag
            AB magnitudes, of the same shape.
        """
        rate = np.asarray(n_photon, dtype=np.float64) / self.exposure_time
        return self.zero_point - 2.5 * np.log10(rate)


BANDS: dict[str, Survey] = {
    "i": Survey(band="i", zero_point=27.8, sky_brightness=20.47),
}
"""The bands that can be simulated, by name."""


def get_survey(band: str) -> Survey:
    """Look up a band.

    Parameters
    ----------
    band
        Name of the band.

    Returns
    -------
    survey
        Its settings.

    Raises
    ------
    SimulationError
        Raised if the band is not known.
    """
    try:
        return BANDS[band]
    except KeyError:
        known = ", ".join(sorted(BANDS))
        raise SimulationError(f"unknown band {band!r}; known bands: {known}") from None

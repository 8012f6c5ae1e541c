# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What the simulated survey is: bands, sky, depth and the units of flux.

Fluxes are in nJy (AB), counts in photo-electrons.

*Zero points and dark sky* are those of SMTN-002 version 1.0 (Jones 2016, "Calculating
LSST limiting magnitudes and SNR", https://smtn-002.lsst.io/v/v1.0), with which the
simulations of Buchanan et al. 2022 agree (27.79 in *i*, rounded to 27.8 there). They go
with the throughputs that GalSim carries, whose zero points for the effective diameter of
642.3 cm are the same within 0.04 mag (0.10 in *u*). Later versions have others: the sensors
and filters as measured give 28.17 in *i*.

*Seeing and exposures*: in *i* those of Buchanan et al. 2022
(https://ui.adsabs.harvard.edu/abs/2022ApJ...924...94B), 0.7″ and 100 exposures of 30 s. In
the other bands the median seeing at the zenith of SMTN-002, FWHM_eff = 0.92, 0.87, 0.83,
0.78 and 0.76″ in *ugrzy*, as FWHM_geom = 0.822 FWHM_eff + 0.052″ (there; it would be 0.71″ in
*i*), and the visits that the survey is designed for in ten years, 56, 80, 184, 160 and 160
(Ivezić et al. 2019, ApJ 873, 111, Table 1; 184 in *i*), with the read noise of one
read-out each.
"""

from __future__ import annotations

__all__ = (
    "BANDS",
    "EFFECTIVE_AREA",
    "EFFECTIVE_DIAMETER",
    "Survey",
    "get_survey",
    "mag_to_njy",
    "njy_to_mag",
)

import dataclasses
import math
from typing import Any

import numpy as np

from .._suggest import did_you_mean
from .errors import SimulationError

AB_ZERO_POINT_NJY = 31.4
"""AB magnitude of 1 nJy (31.4 = 8.90 + 2.5 * 9, rounded as Rubin does)."""

EFFECTIVE_DIAMETER = 642.3
"""Diameter of a clear aperture that collects as much light as the telescope, cm (SMTN-002)."""

EFFECTIVE_AREA = 0.25 * math.pi * EFFECTIVE_DIAMETER**2
"""Area that goes with `EFFECTIVE_DIAMETER`, cm²."""

_READ_NOISE = 8.8
"""Greatest read noise that the requirements allow, electrons (SMTN-002)."""


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

    Read noise is treated as further electrons of sky with its variance. It matters in
    *u*, where the sky of an exposure is 32 electrons per pixel; Buchanan et al. 2022
    have none, and neither has their band *i* here, where it would add 4 % to the noise of
    the sky (1,026 electrons per pixel of an exposure).
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

    read_noise: float = 0.0
    """Standard deviation of the read noise of an exposure, electrons per pixel."""

    def __post_init__(self) -> None:
        for name in ("fwhm", "pixel_scale", "n_exposures", "exposure_time"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise SimulationError(f"survey setting {name} must be positive and finite, not {value}")
        for name in ("zero_point", "sky_brightness"):
            value = getattr(self, name)
            if not math.isfinite(value):
                raise SimulationError(f"survey setting {name} must be finite, not {value}")
        if not (math.isfinite(self.read_noise) and self.read_noise >= 0):
            raise SimulationError(
                f"survey setting read_noise must be finite and at least 0, not {self.read_noise}"
            )

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
        """Photo-electrons of sky per pixel in the whole coadd, those that stand for the
        read noise included.
        """
        rate = 10.0 ** (-0.4 * (self.sky_brightness - self.zero_point))
        return rate * self.pixel_scale**2 * self.total_time + self.n_exposures * self.read_noise**2

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

    def photon_flux_to_mag(self, photon_flux: Any) -> Any:
        """Convert photons detected per second and cm² to AB magnitudes.

        Parameters
        ----------
        photon_flux
            Photons per second and cm² of `EFFECTIVE_AREA` that become electrons,
            positive; scalar or array.

        Returns
        -------
        mag
            AB magnitudes, of the same shape.
        """
        rate = np.asarray(photon_flux, dtype=np.float64) * EFFECTIVE_AREA
        return self.zero_point - 2.5 * np.log10(rate)


BANDS: dict[str, Survey] = {
    survey.band: survey
    for survey in (
        Survey(
            "u", zero_point=26.50, sky_brightness=22.95, fwhm=0.81, n_exposures=56, read_noise=_READ_NOISE
        ),
        Survey(
            "g", zero_point=28.30, sky_brightness=22.24, fwhm=0.77, n_exposures=80, read_noise=_READ_NOISE
        ),
        Survey(
            "r", zero_point=28.13, sky_brightness=21.20, fwhm=0.73, n_exposures=184, read_noise=_READ_NOISE
        ),
        Survey("i", zero_point=27.80, sky_brightness=20.47, fwhm=0.70, n_exposures=100),
        Survey(
            "z", zero_point=27.40, sky_brightness=19.60, fwhm=0.69, n_exposures=160, read_noise=_READ_NOISE
        ),
        Survey(
            "y", zero_point=26.58, sky_brightness=18.63, fwhm=0.68, n_exposures=160, read_noise=_READ_NOISE
        ),
    )
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
        known = ", ".join(BANDS)
        raise SimulationError(
            f"unknown band {band!r}{did_you_mean(band, BANDS)}; known bands: {known}"
        ) from None

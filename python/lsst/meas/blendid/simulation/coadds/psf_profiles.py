# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Families of round PSF profiles, with a FWHM of 1.

All have transforms that are real, as they are symmetric.  The Kolmogorov profile is that of a long exposure
through turbulence (Fried 1966, JOSA 56, 1372); Moffat profiles (Moffat 1969, A&A 3, 455) have steeper or
flatter wings; ``optics`` is a Kolmogorov profile convolved with the spot of a defocused telescope, in
geometric optics a uniform image of its pupil; ``double-gaussian`` is the core and the inner wings of the PSF
of SDSS (Stoughton et al. 2002, AJ 123, 485, section 4.3).
"""

from __future__ import annotations

__all__ = (
    "OBSCURATION",
    "WIDE_FACTOR",
    "WIDE_SHARE",
    "RadialProfile",
    "annulus_transform",
    "double_gaussian_sigma",
    "make_profile",
    "moffat_radius",
    "optics_widths",
)

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import gamma, j0, j1, kv

from ...images.psf import KOLMOGOROV_K0_FWHM
from ..config import PSF_PROFILES
from ..errors import SimulationError

# Wings of a Kolmogorov profile: I(r) → 0.142316 k0^(-5/3) r^(-11/3), from the first term of its transform.
KOLMOGOROV_WING = 0.142316

OBSCURATION = 0.61
"""Inner over outer diameter of the pupil of Rubin's telescope (Ivezić et al. 2019, ApJ 873, 111)."""

WIDE_SHARE, WIDE_FACTOR = 0.1, 2.0
"""Share of the light in the wider Gaussian, and its width in units of the narrow one's."""

_STEP = 1e-3
_LARGEST = 64.0
"""Wave numbers of the table, in units of 1 / FWHM; all transforms are below 1e-8 beyond."""


@dataclass(frozen=True, eq=False)
class RadialProfile:
    """A round profile of flux 1 and FWHM 1.

    Parameters
    ----------
    values
        Transform at wave numbers 0, step, 2 step, …
    light
        Light per unit of area at a radius, float or array, good in the wings.
    """

    values: np.ndarray
    light: Callable[[np.ndarray], np.ndarray]

    def transform(self, k: np.ndarray) -> np.ndarray:
        """Transform at wave numbers of any shape."""
        return np.interp(k, _STEP * np.arange(len(self.values)), self.values, right=0.0)

    def max_frequency(self, threshold: float) -> float:
        """Wave number beyond which the transform is nowhere more than a threshold from 0."""
        return _STEP * float(np.flatnonzero(np.abs(self.values) >= threshold)[-1] + 1)


def _wave_numbers() -> np.ndarray:
    return _STEP * np.arange(round(_LARGEST / _STEP) + 1)


def _kolmogorov(k: np.ndarray, fwhm: float) -> np.ndarray:
    return np.exp(-((k * fwhm / KOLMOGOROV_K0_FWHM) ** (5.0 / 3.0)))


def annulus_transform(k: np.ndarray, radius: float) -> np.ndarray:
    """Transform of a uniform ring of flux 1, of an outer ``radius`` and the obscuration of the telescope."""
    inner = OBSCURATION * radius

    def disc(x: np.ndarray) -> np.ndarray:
        return np.where(x > 1e-6, 2.0 * j1(np.maximum(x, 1e-6)) / np.maximum(x, 1e-6), 1.0)

    return (disc(k * radius) - OBSCURATION**2 * disc(k * inner)) / (1.0 - OBSCURATION**2)


def _width_of(values: np.ndarray, k: np.ndarray) -> float:
    """FWHM of the profile of a transform, by bisection of its Hankel transform."""
    weighted = values * k

    def light(r: float) -> float:
        return float(np.sum(weighted * j0(k * r)))

    half, low, high = 0.5 * light(0.0), 0.05, 5.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if light(middle) > half else (low, middle)
    return low + high


@functools.lru_cache(maxsize=64)
def optics_widths(share: float) -> tuple[float, float]:
    """FWHM of the turbulence and outer radius of the ring of a profile ``optics`` of FWHM 1.

    ``share`` is the diameter of the ring over the FWHM of the turbulence.
    """
    # In units of the FWHM of the turbulence; coarser than the table, as a width needs no more.
    k = np.linspace(0.0, 30.0, 3001)
    width = _width_of(_kolmogorov(k, 1.0) * annulus_transform(k, 0.5 * share), k)
    return 1.0 / width, 0.5 * share / width


def double_gaussian_sigma() -> float:
    """Standard deviation of the core of a double Gaussian of FWHM 1."""
    # Light at half the FWHM is half of that in the middle; one variable, by bisection.
    wide = WIDE_SHARE / WIDE_FACTOR**2
    low, high = 0.3, 0.6
    for _ in range(60):
        sigma = 0.5 * (low + high)
        u = 0.125 / sigma**2
        value = (1.0 - WIDE_SHARE) * math.exp(-u) + wide * math.exp(-u / WIDE_FACTOR**2)
        low, high = (sigma, high) if value < 0.5 * (1.0 - WIDE_SHARE + wide) else (low, sigma)
    return 0.5 * (low + high)


def moffat_radius(beta: float) -> float:
    """Scale radius of a Moffat profile of FWHM 1."""
    return 0.5 / math.sqrt(2.0 ** (1.0 / beta) - 1.0)


@functools.lru_cache(maxsize=32)
def make_profile(name: str, beta: float, share: float) -> RadialProfile:
    """Make a round profile of flux 1 and FWHM 1.

    ``beta`` is that of a Moffat profile, greater than 1; ``share`` the diameter of the ring of ``optics`` in
    units of the FWHM of the turbulence.
    """
    k = _wave_numbers()
    if name == "kolmogorov":
        k0 = KOLMOGOROV_K0_FWHM
        return RadialProfile(
            _kolmogorov(k, 1.0), lambda r: KOLMOGOROV_WING * k0 ** (-5.0 / 3.0) * r ** (-11.0 / 3.0)
        )
    if name == "moffat":
        r0 = moffat_radius(beta)
        x = np.maximum(k * r0, 1e-9)
        # The Hankel transform of (1 + r²)^-β (Gradshteyn & Ryzhik 6.565.4).
        values = 2.0 / gamma(beta - 1.0) * (0.5 * x) ** (beta - 1.0) * kv(beta - 1.0, x)
        values[0] = 1.0
        norm = (beta - 1.0) / (math.pi * r0**2)
        return RadialProfile(values, lambda r: norm * (1.0 + (r / r0) ** 2) ** -beta)
    if name == "optics":
        width, radius = optics_widths(share)
        k0 = KOLMOGOROV_K0_FWHM / width
        return RadialProfile(
            _kolmogorov(k, width) * annulus_transform(k, radius),
            # Far out the ring is a point; near it the light is less far from the middle than a radius more.
            lambda r: KOLMOGOROV_WING * k0 ** (-5.0 / 3.0) * np.maximum(r - radius, 0.2 * r) ** (-11.0 / 3.0),
        )
    if name == "double-gaussian":
        narrow = double_gaussian_sigma()
        parts = ((1.0 - WIDE_SHARE, narrow), (WIDE_SHARE, WIDE_FACTOR * narrow))
        return RadialProfile(
            sum((w * np.exp(-0.5 * (k * s) ** 2) for w, s in parts), np.zeros_like(k)),
            lambda r: sum(
                (w / (2.0 * math.pi * s**2) * np.exp(-0.5 * (r / s) ** 2) for w, s in parts), np.zeros_like(r)
            ),
        )
    raise SimulationError(f"unknown PSF profile {name!r}; there are {', '.join(PSF_PROFILES)}")

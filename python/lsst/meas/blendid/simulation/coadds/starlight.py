# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Light of bright stars beyond the PSF of a coadd, and the mask around them.

The wings of real PSFs do not fall as those of Kolmogorov turbulence, r^(-11/3), but as r^(-2) to r^(-3): the
*aureole* (King 1971, PASP 83, 199; Sandin 2014, A&A 567, A97). Light that is reflected between detector,
filter and lenses makes a *ghost*, an image of the pupil out of focus (Slater, Harding & Mihos 2009, PASP 121,
1267), and the vanes that hold the secondary mirror make *diffraction spikes*. Coadds know nothing of all
this: their PSF is that of the core, and masks hide the surroundings of the brightest stars.
"""

from __future__ import annotations

__all__ = (
    "BRIGHT_OBJECT",
    "add_starlight",
    "bright_star_mask",
    "has_starlight",
    "starlight_reach",
)

import math

import numpy as np
from astropy.table import Table

from ..._jit import njit
from ..defect_config import StarlightConfig
from .lines import add_line

BRIGHT_OBJECT = "BRIGHT_OBJECT"
"""Mask plane of bright stars, by its name in lsst.afw; lsst.images has none."""

_LIMIT = 0.005
"""Light fainter than this share of the noise of the sky is left out, in each pixel."""

_FWHM_TO_SIGMA = 1.0 / math.sqrt(8.0 * math.log(2.0))


def has_starlight(config: StarlightConfig) -> bool:
    """Tell whether stars have light beyond the PSF."""
    return config.haloFraction > 0.0 or config.ghostFraction > 0.0 or config.spikeFraction > 0.0


def add_starlight(
    image: np.ndarray,
    galaxies: Table,
    config: StarlightConfig,
    *,
    fwhm: float,
    pixel_scale: float,
    noise: float,
) -> None:
    """Add halos, ghosts and spikes of stars to an image without noise, float64 (h, w), in place.

    ``galaxies`` have ``x`` and ``y`` relative to the first pixel, ``flux`` in the unit of the image, and
    ``is_star``; rows with ``is_knot`` are no stars. FWHM of the PSF and pixel scale in arcsec; ``noise`` is
    that of a pixel of the sky, a share of which light must reach.

    The halo is the law (1 + (r / core)²)^(-slope / 2) less its value at the radius where it ends, so that it
    has no edge. A spike has the width of the PSF, and its brightness along the arm is that of a slit's
    diffraction, averaged over the fringes: 1 / (1 + (r / scale)²).
    """
    star = np.asarray(galaxies["is_star"], dtype=bool)
    if "is_knot" in galaxies.colnames:
        star = star & ~np.asarray(galaxies["is_knot"], dtype=bool)
    x, y, flux = (np.asarray(galaxies[name], dtype=np.float64)[star] for name in ("x", "y", "flux"))
    reach = starlight_reach(flux, config, fwhm=fwhm, pixel_scale=pixel_scale, noise=noise)
    halo, ghost, spike = reach.T
    height, width = image.shape
    near = (np.abs(x - 0.5 * (width - 1)) < 0.5 * width + reach.max(axis=1, initial=0.0)) & (
        np.abs(y - 0.5 * (height - 1)) < 0.5 * height + reach.max(axis=1, initial=0.0)
    )
    for i in np.flatnonzero(near & (halo + ghost > 0.0)):
        _add_round(
            image,
            x[i],
            y[i],
            halo[i],
            flux[i] * _halo_peak(config, pixel_scale),
            config.haloCore / pixel_scale,
            config.haloSlope,
            config.haloRadius / pixel_scale,
            ghost[i],
            flux[i] * _ghost_level(config, pixel_scale),
        )
    for i in np.flatnonzero(near & (spike > 0.0)):
        for angle in (config.spikeAngle, config.spikeAngle + 90.0):
            add_line(
                image,
                x[i],
                y[i],
                math.radians(angle),
                flux[i] * _spike_peak(config, pixel_scale),
                fwhm / pixel_scale * _FWHM_TO_SIGMA,
                config.spikeScale / pixel_scale,
                math.radians(config.spikeSpread),
                spike[i],
            )


def starlight_reach(
    flux: np.ndarray, config: StarlightConfig, *, fwhm: float, pixel_scale: float, noise: float
) -> np.ndarray:
    """How far from stars of a flux, shape (n,), there is light of halo, ghost and spikes: pixels, (n, 3)."""
    limit = _LIMIT * noise
    out = np.zeros((len(flux), 3))
    core, radius = config.haloCore / pixel_scale, config.haloRadius / pixel_scale
    ratio = np.maximum(flux * _halo_peak(config, pixel_scale) / limit, 1.0)
    out[:, 0] = np.minimum(core * np.sqrt(ratio ** (2.0 / config.haloSlope) - 1.0), radius)
    out[:, 1] = np.where(
        flux * _ghost_level(config, pixel_scale) > limit, config.ghostRadius / pixel_scale + 1.0, 0.0
    )
    ridge = flux * _spike_peak(config, pixel_scale)
    ridge = ridge / (math.sqrt(2.0 * math.pi) * fwhm / pixel_scale * _FWHM_TO_SIGMA)
    out[:, 2] = config.spikeScale / pixel_scale * np.sqrt(np.maximum(ridge / limit, 1.0) - 1.0)
    return out


def bright_star_mask(
    shape: tuple[int, int], galaxies: Table, config: StarlightConfig, pixel_scale: float
) -> np.ndarray:
    """Circles around the bright stars of a table with ``x``, ``y``, ``mag`` and ``is_star``: bool, ``shape``.

    The radius is ``maskRadius`` · 10^(``maskSlope`` (``maskMag`` - mag)). The defaults agree within 15 % at
    magnitudes 12 to 18 with the first law of HSC, 200″ 10^(0.25 (7 - m)) + 12″ 10^(0.05 (16 - m))
    (https://hsc-release.mtk.nao.ac.jp/doc/index.php/bright-star-masks/).
    """
    out = np.zeros(shape, dtype=bool)
    mag = np.asarray(galaxies["mag"], dtype=np.float64)
    rows = np.asarray(galaxies["is_star"], dtype=bool) & (mag <= config.maskMag)
    radius = config.maskRadius / pixel_scale * 10.0 ** (config.maskSlope * (config.maskMag - mag[rows]))
    x, y = (np.asarray(galaxies[name], dtype=np.float64)[rows] for name in ("x", "y"))
    _set_circles(out, x, y, radius)
    return out


def _halo_peak(config: StarlightConfig, pixel_scale: float) -> float:
    """Light of the halo of a star of flux 1 in its central pixel, before the level of the edge is taken."""
    core, u = config.haloCore / pixel_scale, (config.haloRadius / config.haloCore) ** 2
    power = 1.0 - 0.5 * config.haloSlope
    # Integrals over the disc: of the law, and of its value at the edge.
    law = math.log1p(u) if power == 0.0 else math.expm1(power * math.log1p(u)) / power
    return config.haloFraction / (math.pi * core**2 * (law - u * (1.0 + u) ** (power - 1.0)))


def _ghost_level(config: StarlightConfig, pixel_scale: float) -> float:
    """Light of the ghost of a star of flux 1 in a pixel."""
    return config.ghostFraction / (math.pi * (config.ghostRadius / pixel_scale) ** 2)


def _spike_peak(config: StarlightConfig, pixel_scale: float) -> float:
    """Light of each of the two lines of a star of flux 1 per pixel of length, at its centre."""
    # ∫ dt / (1 + (t / s)²) = π s over the whole line.
    return 0.5 * config.spikeFraction / (math.pi * config.spikeScale / pixel_scale)


@njit(error_model="numpy")
def _add_round(
    image: np.ndarray,
    x: float,
    y: float,
    halo_reach: float,
    halo_peak: float,
    core: float,
    slope: float,
    radius: float,
    ghost_reach: float,
    ghost_level: float,
) -> None:
    """Add halo and ghost of a star at (x, y) to an image, in place; lengths in pixels."""
    height, width = image.shape
    reach = max(halo_reach, ghost_reach)
    edge = (1.0 + (radius / core) ** 2) ** (-0.5 * slope)
    for i in range(int(max(0.0, math.ceil(y - reach))), int(min(height - 1.0, math.floor(y + reach))) + 1):
        for j in range(int(max(0.0, math.ceil(x - reach))), int(min(width - 1.0, math.floor(x + reach))) + 1):
            r2 = (j - x) ** 2 + (i - y) ** 2
            if r2 < halo_reach * halo_reach:
                image[i, j] += halo_peak * ((1.0 + r2 / (core * core)) ** (-0.5 * slope) - edge)
            if r2 < ghost_reach * ghost_reach:
                # The edge is half a pixel wide on either side, and the reach one more than the radius.
                image[i, j] += ghost_level * min(max(ghost_reach - 0.5 - math.sqrt(r2), 0.0), 1.0)


@njit()
def _set_circles(out: np.ndarray, x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> None:
    """Set the pixels within circles, in place."""
    height, width = out.shape
    for k in range(x.size):
        r = radius[k]
        for i in range(int(max(0.0, math.ceil(y[k] - r))), int(min(height - 1.0, math.floor(y[k] + r))) + 1):
            half = math.sqrt(max(r * r - (i - y[k]) ** 2, 0.0))
            low = int(max(0.0, math.ceil(x[k] - half)))
            high = int(min(width - 1.0, math.floor(x[k] + half)))
            for j in range(low, high + 1):
                out[i, j] = True

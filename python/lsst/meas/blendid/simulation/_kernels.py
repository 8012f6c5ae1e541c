# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Compiled loops of the renderer."""

from __future__ import annotations

__all__ = ("add_stamps", "fill_transforms")

import math

import numpy as np

from .._jit import njit


@njit(error_model="numpy")
def fill_transforms(
    out: np.ndarray,
    parameters: np.ndarray,
    dx: np.ndarray,
    dy: np.ndarray,
    kx: np.ndarray,
    ky: np.ndarray,
    psf: np.ndarray,
    table: np.ndarray,
    table_start: float,
    table_step: float,
) -> None:
    """Fill the transforms of a stack of galaxies, centred on the first pixel.

    Parameters
    ----------
    out
        Filled; shape (n, n_ky, n_kx), complex64.
    parameters
        Of the galaxies, shape (n, 8): disc flux, its scale radii (major, minor), bulge
        flux, its half-light radii (major, minor), cosine and sine of the position angle.
    dx, dy
        Offsets of the centres from the first pixel, arcsec, shape (n,).
    kx, ky
        Wave numbers, radians/arcsec.
    psf
        Transform of PSF ⊗ pixel, shape (n_ky, n_kx).
    table, table_start, table_step
        Transform of the bulge profile over ln k.
    """
    n_x = len(kx)
    cos_x = np.empty(n_x)
    sin_x = np.empty(n_x)
    last = len(table) - 2
    for g in range(out.shape[0]):
        disc_flux, disc_a, disc_b = parameters[g, 0], parameters[g, 1], parameters[g, 2]
        bulge_flux, bulge_a, bulge_b = parameters[g, 3], parameters[g, 4], parameters[g, 5]
        cos_p, sin_p = parameters[g, 6], parameters[g, 7]
        for j in range(n_x):
            cos_x[j] = math.cos(kx[j] * dx[g])
            sin_x[j] = -math.sin(kx[j] * dx[g])
        for i in range(len(ky)):
            cos_y = math.cos(ky[i] * dy[g])
            sin_y = -math.sin(ky[i] * dy[g])
            for j in range(n_x):
                major = cos_p * kx[j] + sin_p * ky[i]
                minor = -sin_p * kx[j] + cos_p * ky[i]
                t = 1.0 + (major * disc_a) ** 2 + (minor * disc_b) ** 2
                value = disc_flux / (t * math.sqrt(t))
                if bulge_flux > 0.0:
                    q2 = (major * bulge_a) ** 2 + (minor * bulge_b) ** 2
                    bulge = 1.0
                    if q2 > 0.0:
                        at = (0.5 * math.log(q2) - table_start) / table_step
                        if at > 0.0:
                            m = min(int(at), last)
                            w = min(at - m, 1.0)
                            bulge = (1.0 - w) * table[m] + w * table[m + 1]
                    value += bulge_flux * bulge
                value *= psf[i, j]
                out[g, i, j] = complex(
                    value * (cos_x[j] * cos_y - sin_x[j] * sin_y),
                    value * (cos_x[j] * sin_y + sin_x[j] * cos_y),
                )


@njit()
def add_stamps(image: np.ndarray, stamps: np.ndarray, ix: np.ndarray, iy: np.ndarray) -> None:
    """Add stamps to an image.

    Parameters
    ----------
    image
        Added to; shape (height, width).
    stamps
        Periodic stamps whose centre is element [0, 0], shape (n, m, m), m even.
    ix, iy
        Pixel of ``image`` (possibly outside of it) of each centre, shape (n,).
    """
    m = stamps.shape[1]
    half = m // 2
    height, width = image.shape
    for g in range(stamps.shape[0]):
        y_start, y_stop = max(0, iy[g] - half), min(height, iy[g] - half + m)
        x_start, x_stop = max(0, ix[g] - half), min(width, ix[g] - half + m)
        for y in range(y_start, y_stop):
            sy = (y - iy[g] + m) % m
            for x in range(x_start, x_stop):
                image[y, x] += stamps[g, sy, (x - ix[g] + m) % m]

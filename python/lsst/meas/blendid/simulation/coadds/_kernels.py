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

from ..._jit import njit


@njit(error_model="numpy", inline="always")
def _profile(
    form: np.ndarray, kx: float, ky: float, table: np.ndarray, table_start: float, table_step: float
) -> float:
    """Transform of disc and bulge at one wave number; see `fill_transforms` for the arguments."""
    q2 = form[1] * kx * kx + 2.0 * form[2] * kx * ky + form[3] * ky * ky
    t = 1.0 + q2
    value = form[0] / (t * math.sqrt(t))
    if form[4] > 0.0:
        q2 = form[5] * kx * kx + 2.0 * form[6] * kx * ky + form[7] * ky * ky
        bulge = 1.0
        if q2 > 0.0:
            at = (math.log(q2) - table_start) / table_step
            if at > 0.0:
                m = min(int(at), len(table) - 2)
                w = min(at - m, 1.0)
                bulge = (1.0 - w) * table[m] + w * table[m + 1]
        value += form[4] * bulge
    return value


@njit(error_model="numpy")
def fill_transforms(
    out: np.ndarray,
    forms: np.ndarray,
    dx: np.ndarray,
    dy: np.ndarray,
    kx: np.ndarray,
    ky: np.ndarray,
    psf: np.ndarray,
    alias_index: np.ndarray,
    alias_k: np.ndarray,
    alias_psf: np.ndarray,
    table: np.ndarray,
    table_start: float,
    table_step: float,
) -> None:
    """Fill the transforms of a stack of galaxies, centred on the first pixel.

    Parameters
    ----------
    out
        Filled; shape (n, n_ky, n_kx), complex.
    forms
        Of the galaxies, shape (n, 8): flux of the disc and the elements xx, xy, yy of
        its form, flux of the bulge and those of its form. The transform of a component is that
        of the round profile of radius 1 at √(kᵀ Q k), Q the form, arcsec².
    dx, dy
        Offsets of the centres from the first pixel, arcsec, shape (n,).
    kx, ky, psf, alias_index, alias_k, alias_psf
        `~lsst.meas.blendid.simulation.coadds.psf_model.Modes`.
    table, table_start, table_step
        Transform of the bulge profile over ln k².
    """
    n_x = len(kx)
    cos_x = np.empty(n_x)
    sin_x = np.empty(n_x)
    for g in range(out.shape[0]):
        form = forms[g]
        for j in range(n_x):
            cos_x[j] = math.cos(kx[j] * dx[g])
            sin_x[j] = -math.sin(kx[j] * dx[g])
        for i in range(len(ky)):
            cos_y = math.cos(ky[i] * dy[g])
            sin_y = -math.sin(ky[i] * dy[g])
            for j in range(n_x):
                value = psf[i, j] * _profile(form, kx[j], ky[i], table, table_start, table_step)
                out[g, i, j] = complex(
                    value * (cos_x[j] * cos_y - sin_x[j] * sin_y),
                    value * (cos_x[j] * sin_y + sin_x[j] * cos_y),
                )
        for m in range(len(alias_psf)):
            x, y = alias_k[m, 0], alias_k[m, 1]
            value = alias_psf[m] * _profile(form, x, y, table, table_start, table_step)
            phase = x * dx[g] + y * dy[g]
            out[g, alias_index[m, 0], alias_index[m, 1]] += complex(
                value * math.cos(phase), -value * math.sin(phase)
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

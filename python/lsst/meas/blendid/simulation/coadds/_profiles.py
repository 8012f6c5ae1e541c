# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Galaxies as the renderer sees them: two components, each with an elliptical form."""

from __future__ import annotations

__all__ = ("BULGE_B", "OPTIONAL_COLUMNS", "REQUIRED_COLUMNS", "STAMP_SIZES", "Profiles", "bulge_table")

import dataclasses
import functools
import math

import numpy as np
from astropy.table import Table

from .._errors import import_galsim
from ..catalogs._columns import check_column
from ..catalogs.lensing import reduced_shear
from .psf_model import PsfModel

REQUIRED_COLUMNS = (
    "x",
    "y",
    "flux",
    "disc_radius",
    "bulge_radius",
    "axis_ratio",
    "bulge_axis_ratio",
    "position_angle",
    "bulge_fraction",
)
"""Columns that a table of galaxies must have."""

OPTIONAL_COLUMNS = ("gamma1", "gamma2", "kappa", "is_star")
"""Columns that are zero where they are missing."""

STAMP_SIZES = (32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 768, 1024, 1536, 2048, 4096)
"""Widths that stamps have, pixels."""

# Scale radius of an exponential disc of half-light radius 1.
_DISC_SCALE = 1.0 / 1.6783469900166605
BULGE_B = 7.66924944
"""The b of a de Vaucouleurs profile, I(r) = L b^8 / (8! π r_e²) exp(-b (r/r_e)^¼) (Graham & Driver 2005,
eq. 1 and 4)."""

_BULGE_NORM = BULGE_B**8 / (math.factorial(8) * math.pi)


@dataclasses.dataclass(frozen=True)
class Profiles:
    """Centres and forms of galaxies.

    Lensing and the ellipse map a round profile of radius 1 linearly onto the sky; if L is
    that map, the form is Q = L Lᵀ, and the transform of the component at k is that of
    the round one at √(kᵀ Q k). A point has Q = 0.
    """

    x: np.ndarray
    """Column of the centre, pixels, shape (n,)."""

    y: np.ndarray
    """Row of the centre, pixels, shape (n,)."""

    forms: np.ndarray
    """Shape (n, 8): flux of the disc, and xx, xy, yy of its form, arcsec²; the same of the bulge.
    Radius 1 is the scale radius of a disc and the half-light radius of a bulge."""

    def __len__(self) -> int:
        return len(self.x)

    def shifted(self, dx: float, dy: float) -> Profiles:
        """Move all centres.

        Parameters
        ----------
        dx, dy
            Added to the positions, pixels.

        Returns
        -------
        profiles
            The moved ones.
        """
        return Profiles(self.x + dx, self.y + dy, self.forms)

    @classmethod
    def from_table(cls, galaxies: Table) -> Profiles:
        """Convert a table of galaxies.

        Parameters
        ----------
        galaxies
            As of `~lsst.meas.blendid.simulation.catalogs.galaxies.observe`: `REQUIRED_COLUMNS`, ``x`` and
            ``y`` in pixels, ``flux`` magnified, radii and shapes before lensing; and any of
            `OPTIONAL_COLUMNS`. Stars, and components of no radius, are points.

        Returns
        -------
        profiles
            A profile per row.

        Raises
        ------
        SimulationError
            Raised if a column is missing or has bad values, and for a shear or convergence
            that is not weak; the error names the rows.
        """
        n = len(galaxies)

        def column(name: str) -> np.ndarray:
            if name in OPTIONAL_COLUMNS and name not in galaxies.colnames:
                return np.zeros(n)
            not_negative = name == "flux" or name.endswith(("_radius", "_fraction"))
            return check_column(
                galaxies, name, low=0.0 if not_negative else -np.inf, positive=name.endswith("axis_ratio")
            )

        gamma1, gamma2, kappa = column("gamma1"), column("gamma2"), column("kappa")
        g1, g2 = reduced_shear(gamma1, gamma2, kappa)
        # The inverse of the Jacobian matrix of the lens (Bartelmann & Schneider 2001, eq. 3.11).
        size = 1.0 / ((1.0 - kappa) * (1.0 - g1**2 - g2**2))
        lens = np.empty((n, 2, 2))
        lens[:, 0, 0], lens[:, 1, 1] = size * (1.0 + g1), size * (1.0 - g1)
        lens[:, 0, 1] = lens[:, 1, 0] = size * g2
        angle = np.deg2rad(column("position_angle"))
        turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1)
        base = lens @ turn.reshape(n, 2, 2)
        flux, bulge = column("flux"), column("bulge_fraction")
        point = np.zeros(n, dtype=bool)
        if "is_star" in galaxies.colnames:
            point |= np.asarray(galaxies["is_star"], dtype=bool)
        forms = np.empty((n, 8))
        components = (
            (0, 1.0 - bulge, "disc_radius", "axis_ratio", _DISC_SCALE),
            (4, bulge, "bulge_radius", "bulge_axis_ratio", 1.0),
        )
        for at, share, radius_name, ratio_name, scale in components:
            radius = np.where(point, 0.0, column(radius_name) * scale)
            ratio = np.where(point, 1.0, column(ratio_name))
            axes = np.stack([radius / np.sqrt(ratio), radius * np.sqrt(ratio)], axis=1)
            matrix = base * axes[:, None, :]
            form = matrix @ matrix.transpose(0, 2, 1)
            forms[:, at] = flux * share
            forms[:, at + 1], forms[:, at + 2], forms[:, at + 3] = form[:, 0, 0], form[:, 0, 1], form[:, 1, 1]
        return cls(column("x"), column("y"), forms)

    @property
    def flux(self) -> np.ndarray:
        """Flux of each, shape (n,)."""
        return self.forms[:, 0] + self.forms[:, 4]

    def stamp_sizes(self, psf: PsfModel, pixel_scale: float, limit: float) -> np.ndarray:
        """Width of the stamp that holds each galaxy.

        Parameters
        ----------
        psf
            The PSF.
        pixel_scale
            Size of a pixel, arcsec.
        limit
            At half the width the light in a pixel, the sum of the PSF's wing and of disc and
            bulge along their major axes, is at most this.

        Returns
        -------
        width
            One of `STAMP_SIZES` for each, shape (n,), int64.
        """
        disc_flux, disc_a, disc_area = self._axes(0)
        bulge_flux, bulge_a, bulge_area = self._axes(4)
        wing = self.flux * psf.wing * psf.stretch ** (11.0 / 3.0)
        fwhm = psf.fwhm * psf.stretch
        out = np.full(len(self), STAMP_SIZES[-1])
        left = np.arange(len(self))
        for n in STAMP_SIZES:
            # The PSF widens the profiles by about its own width.
            r = 0.5 * n * pixel_scale
            inner = max(r - 0.5 * fwhm, 0.1 * r)
            bright = wing[left] * inner ** (-11.0 / 3.0)
            bright += disc_flux[left] / (2.0 * np.pi * disc_area[left]) * np.exp(-inner / disc_a[left])
            bright += (
                bulge_flux[left]
                * (_BULGE_NORM / bulge_area[left])
                * np.exp(-BULGE_B * (inner / bulge_a[left]) ** 0.25)
            )
            fits = bright * pixel_scale**2 <= limit
            out[left[fits]] = n
            left = left[~fits]
            if not len(left):
                break
        return out

    def _axes(self, at: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Flux, semi-major axis and product of the axes of a component; points are made tiny."""
        flux, xx, xy, yy = self.forms[:, at : at + 4].T
        major = 0.5 * (xx + yy) + np.hypot(0.5 * (xx - yy), xy)
        area = np.sqrt(np.maximum(xx * yy - xy**2, 0.0))
        return flux, np.sqrt(np.maximum(major, 1e-8)), np.maximum(area, 1e-8)


@functools.lru_cache
def bulge_table() -> tuple[np.ndarray, float, float]:
    """Transform of a de Vaucouleurs profile of flux 1 and half-light radius 1.

    Returns
    -------
    values, start, step
        Values, shape (n,), at ln k² = start + i · step; below the table it is 1.

    Raises
    ------
    MissingGalSimError
        Raised if GalSim is not installed.
    """
    galsim = import_galsim()
    profile = galsim.DeVaucouleurs(half_light_radius=1.0)
    ln_k = np.linspace(math.log(1e-4), math.log(1e5), 4096)
    values = np.array([profile.kValue(math.exp(v), 0.0).real for v in ln_k])
    return values, 2.0 * float(ln_k[0]), 2.0 * float(ln_k[1] - ln_k[0])

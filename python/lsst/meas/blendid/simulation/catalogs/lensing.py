# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Weak lensing: the reduced shear and the magnification of a galaxy.

Convention: a galaxy of intrinsic surface brightness I(s) is seen as I(A θ) with
A = [[1 − κ − γ1, −γ2], [−γ2, 1 − κ + γ1]] (Bartelmann & Schneider 2001, eq. 3.11;
skyCatalogs and GalSim have the same), so that a positive γ1 stretches along x and
a positive γ2 along the diagonal x = y. Axes are those of the pixels.
"""

from __future__ import annotations

__all__ = ("magnification", "reduced_shear")

import numpy as np

from ._columns import refuse_rows


def reduced_shear(gamma1: np.ndarray, gamma2: np.ndarray, kappa: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reduced shear g = γ / (1 − κ).

    Parameters
    ----------
    gamma1, gamma2
        Components of the shear, shape (n,).
    kappa
        Convergence, shape (n,).

    Returns
    -------
    g1, g2
        Components of the reduced shear, shape (n,).

    Raises
    ------
    SimulationError
        Raised for values that are not finite, κ ≥ 1 or g ≥ 1, which is strong
        lensing; the message names columns and rows.
    """
    gamma1, gamma2, kappa = (np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in (gamma1, gamma2, kappa))
    for name, values in (("gamma1", gamma1), ("gamma2", gamma2), ("kappa", kappa)):
        refuse_rows(~np.isfinite(values), f"column {name!r} must be finite")
    refuse_rows(kappa >= 1.0, "column 'kappa' must be less than 1")
    g1, g2 = gamma1 / (1.0 - kappa), gamma2 / (1.0 - kappa)
    refuse_rows(
        np.hypot(g1, g2) >= 1.0,
        "columns 'gamma1', 'gamma2' and 'kappa' must give a reduced shear less than 1",
    )
    return g1, g2


def magnification(gamma1: np.ndarray, gamma2: np.ndarray, kappa: np.ndarray) -> np.ndarray:
    """Magnification μ = 1 / ((1 − κ)² − γ²).

    Parameters
    ----------
    gamma1, gamma2
        Components of the shear, shape (n,).
    kappa
        Convergence, shape (n,).

    Returns
    -------
    mu
        Factor on flux and area, shape (n,), positive.

    Raises
    ------
    SimulationError
        Raised for values that are not those of weak lensing; see `reduced_shear`.
    """
    reduced_shear(gamma1, gamma2, kappa)
    gamma1, gamma2, kappa = (np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in (gamma1, gamma2, kappa))
    return 1.0 / ((1.0 - kappa) ** 2 - gamma1**2 - gamma2**2)

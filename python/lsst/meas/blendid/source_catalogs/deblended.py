# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""A look at what a deblender made of added peaks."""

from __future__ import annotations

__all__ = ("find_failed_children",)

import numpy as np


def find_failed_children(
    parent_id: np.ndarray,
    *,
    chi2: np.ndarray | None = None,
    flux: np.ndarray | None = None,
    footprint_flux: np.ndarray | None = None,
    max_chi2: float = 1e3,
    min_share: float = 0.02,
) -> np.ndarray:
    """Find deblended objects that are not to be trusted.

    The fit of a deblender can diverge without a flag: fluxes are anything
    then, and those of the neighbours are gone.  A child with next to nothing
    of the light was added where there is no object.

    Parameters
    ----------
    parent_id
        Parent of each of n objects, 0 for those that were not deblended,
        integer ``(n,)``.
    chi2
        Reduced chi2 of the model of each, as ``deblend_chi2``, ``(n,)``; NaN
        where there is none.
    flux
        Flux of each in one band, ``(n,)``, or several, ``(n, b)``; NaN where
        it is not known.
    footprint_flux
        Flux of the pixels of its parent's footprint in the same bands; by
        default that of all children of the parent together.
    max_chi2
        All children of a parent with one whose chi2 is larger are flagged, as
        they share the light.
    min_share
        A child with less of the flux of the footprint is flagged.

    Returns
    -------
    failed
        Bool ``(n,)``; false for objects without parent.

    Raises
    ------
    ValueError
        Raised if arrays do not fit each other.
    """
    parent_id = np.asarray(parent_id)
    n = len(parent_id)
    is_child = parent_id != 0
    _, group = np.unique(parent_id, return_inverse=True)
    group = group.reshape(n)
    failed = np.zeros(n, dtype=bool)
    if chi2 is not None:
        values = np.asarray(chi2, float)
        if values.shape != (n,):
            raise ValueError(f"chi2 has shape {values.shape}; there are {n} objects")
        # Infinite is large too.
        diverged = np.zeros(n + 1, dtype=bool)
        diverged[group[values > max_chi2]] = True
        failed |= diverged[group]
    if flux is not None:
        child_flux = _sum_bands(flux, n, "flux")
        if footprint_flux is None:
            finite = np.nan_to_num(child_flux, posinf=0.0, neginf=0.0)
            total = np.bincount(group, weights=finite, minlength=n)[group]
        else:
            total = _sum_bands(footprint_flux, n, "footprint_flux")
        with np.errstate(invalid="ignore"):
            failed |= (child_flux < min_share * total) | np.isinf(child_flux)
    elif footprint_flux is not None:
        raise ValueError("footprint_flux is of no use without flux")
    return failed & is_child


def _sum_bands(flux: np.ndarray, n: int, name: str) -> np.ndarray:
    """Sum of the fluxes of all bands, NaN where none is known."""
    values = np.asarray(flux, float)
    if values.shape[:1] != (n,) or values.ndim > 2:
        raise ValueError(f"{name} has shape {values.shape}; there are {n} objects")
    if values.ndim == 1:
        return values
    known = ~np.isnan(values)
    return np.where(known.any(axis=1), np.where(known, values, 0.0).sum(axis=1), np.nan)

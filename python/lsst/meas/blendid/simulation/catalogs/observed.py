# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What one band sees of a catalogue, and what is drawn of it: weak lensing, and knots of star formation.

Convention of lensing: a galaxy of intrinsic surface brightness I(s) is seen as I(A θ) with
A = [[1 − κ − γ1, −γ2], [−γ2, 1 − κ + γ1]] (Bartelmann & Schneider 2001, eq. 3.11;
skyCatalogs and GalSim have the same), so that a positive γ1 stretches along x and
a positive γ2 along the diagonal x = y. Axes are those of the pixels.

A knot is not an object: it never has a row in a catalogue or a truth table. Where
the knots of a galaxy are depends on a seed and on the galaxy's number alone, so
that all bands, patches and processes draw the same ones.
"""

from __future__ import annotations

__all__ = (
    "DISC_B",
    "OBSERVED_COLUMNS",
    "dim_rows",
    "hashed_uniform",
    "magnification",
    "observe",
    "reduced_shear",
    "split_knots",
    "through_lens",
)

import numpy as np
from astropy.table import Table, vstack

from ..errors import SimulationError
from ..random_streams import GAMMA, check_seed, scramble
from ..survey import Survey, mag_to_njy
from .columns import (
    FILTERS,
    GALAXY_COLUMNS,
    check_column,
    join_names,
    refuse_rows,
)

OBSERVED_COLUMNS: tuple[str, ...] = (*GALAXY_COLUMNS, "mag", "flux")
"""Columns of `observe`: ``mag`` (AB) and ``flux`` (nJy) are those of the band, lensed."""

DISC_B = 1.67834699
"""The b of an exponential disc, I(r) ∝ exp(-b r / r_e) with r_e its half-light radius."""

# Knots lie within this share of the light of the disc, 4.4 half-light radii.
_MAX_LIGHT = 0.995


def observe(catalog: Table, survey: Survey, *, lensing: bool = True) -> Table:
    """Get what one band sees of a catalogue.

    Parameters
    ----------
    catalog
        Complete catalogue; see `complete_galaxies`.
    survey
        The band.
    lensing
        Whether galaxies are magnified and sheared.

    Returns
    -------
    galaxies
        A new table with `OBSERVED_COLUMNS`. ``mag`` and ``flux`` (nJy) are magnified by
        μ = 1 / ((1 − κ)² − γ²); radii, axis ratios and angles stay those before
        lensing, for whoever draws it to shear them. Without lensing, ``gamma1``, ``gamma2``
        and ``kappa`` are 0.

    Raises
    ------
    SimulationError
        Raised if the catalogue has no magnitudes of the band, or has values that
        make no sense.
    """
    name = f"mag_{survey.band}"
    if name not in catalog.colnames:
        raise SimulationError(
            f"the catalogue has no column {name!r}, which band {survey.band!r} needs; "
            f"it has: {join_names(catalog)}"
        )
    missing = [column for column in GALAXY_COLUMNS if column not in catalog.colnames]
    missing = [column for column in missing if not column.startswith("mag_")]
    if missing:
        raise SimulationError(
            f"the catalogue is not complete: no column {', '.join(missing)}; give it to complete_galaxies"
        )
    out = catalog.copy()
    mag = check_column(catalog, name, low=-10.0, high=100.0)
    if lensing:
        # Only the flux: whoever draws a galaxy shears and magnifies its profile.
        mag = mag - 2.5 * np.log10(magnification(out["gamma1"], out["gamma2"], out["kappa"]))
    else:
        for column in ("gamma1", "gamma2", "kappa"):
            out[column] = np.zeros(len(out))
    out["mag"] = mag
    out["flux"] = mag_to_njy(mag)
    return out


def reduced_shear(gamma1: np.ndarray, gamma2: np.ndarray, kappa: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reduced shear g = γ / (1 − κ), two components of shape (n,), dimensionless.

    Values that are not finite, κ ≥ 1 or g ≥ 1, which is strong lensing, are refused, columns and rows named.
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
    """Magnification μ = 1 / ((1 − κ)² − γ²), factor on flux and area, shape (n,), of weak lensing alone."""
    reduced_shear(gamma1, gamma2, kappa)
    gamma1, gamma2, kappa = (np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in (gamma1, gamma2, kappa))
    return 1.0 / ((1.0 - kappa) ** 2 - gamma1**2 - gamma2**2)


def split_knots(observed: Table, seed: int, *, pixel_scale: float = 0.2) -> Table:
    """Split the knots from their discs, for a table of what one band sees.

    Gives the rows to draw, with the column ``is_knot``: clumpy galaxies have less light in their disc, and
    their knots follow after all galaxies as points of equal flux, with the ``id`` of their galaxy. The total
    flux is unchanged. As in skyCatalogs (and ``galsim.RandomKnots``), knots are spread like the light of the
    exponential disc, sheared and magnified with it. ``pixel_scale`` is in arcsec.
    """
    check_seed(seed)
    if not (np.isfinite(pixel_scale) and pixel_scale > 0):
        raise SimulationError(f"the pixel scale must be positive, not {pixel_scale}")
    galaxies = observed.copy()
    galaxies["is_knot"] = np.zeros(len(galaxies), dtype=bool)
    number = np.asarray(observed["n_knots"], dtype=np.int64)
    bulge = np.asarray(observed["bulge_fraction"], dtype=np.float64)
    share = np.asarray(observed["knot_fraction"], dtype=np.float64)
    for name, values in (("knot_fraction", share), ("bulge_fraction", bulge)):
        refuse_rows(~((values >= 0.0) & (values <= 1.0)), f"column {name!r} must be between 0 and 1")
    in_knots = np.where(
        (number > 0) & ~np.asarray(observed["is_star"], dtype=bool), share * (1.0 - bulge), 0.0
    )
    clumpy = np.flatnonzero(in_knots > 0.0)
    galaxies["n_knots"] = np.zeros(len(galaxies), dtype=np.int32)
    galaxies["knot_fraction"] = np.zeros(len(galaxies))
    if not len(clumpy):
        return galaxies

    parent = np.repeat(clumpy, number[clumpy])
    first = np.cumsum(number[clumpy]) - number[clumpy]
    counter = np.arange(len(parent)) - np.repeat(first, number[clumpy])
    dx, dy = _offsets(galaxies[parent], counter, seed)
    # Points of equal flux, after all galaxies so that rows of the catalogue keep their numbers.
    knots = galaxies[parent]
    knots["x"] = np.asarray(knots["x"], dtype=np.float64) + dx / pixel_scale
    knots["y"] = np.asarray(knots["y"], dtype=np.float64) + dy / pixel_scale
    dim_rows(knots, in_knots[parent] / number[parent])
    knots["is_knot"], knots["is_star"] = True, True
    for name in ("half_light_radius", "disc_radius", "bulge_radius", "position_angle", "bulge_fraction"):
        knots[name] = 0.0
    for name in ("gamma1", "gamma2", "kappa"):
        knots[name] = 0.0
    for name in ("axis_ratio", "bulge_axis_ratio"):
        knots[name] = 1.0

    # A galaxy whose light is all in knots has no row of its own.
    dim_rows(galaxies, np.where(in_knots < 1.0, 1.0 - in_knots, 1.0))
    galaxies["bulge_fraction"] = np.where(in_knots < 1.0, bulge / np.maximum(1.0 - in_knots, 1e-300), 0.0)
    return vstack([galaxies[in_knots < 1.0], knots], metadata_conflicts="silent")


def dim_rows(table: Table, factor: np.ndarray) -> None:
    """Multiply the fluxes of all bands; magnitudes of what takes light away are those of what it takes."""
    table["flux"] = np.asarray(table["flux"], dtype=np.float64) * factor
    for name in ("mag", *(f"mag_{band}" for band in FILTERS)):
        if name in table.colnames:
            table[name] = np.asarray(table[name], dtype=np.float64) - 2.5 * np.log10(np.abs(factor))


def _offsets(parents: Table, counter: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of knots on the lensed sky relative to their galaxies, x and y in arcsec, shape (n,).

    ``parents`` has the galaxy of each knot, ``counter`` its number in that galaxy, shape (n,).
    """
    from scipy.special import lambertw

    light = _MAX_LIGHT * hashed_uniform(parents["id"], 2 * counter, seed)
    angle = 2.0 * np.pi * hashed_uniform(parents["id"], 2 * counter + 1, seed)
    # Inverse of the light 1 − (1 + r) exp(−r) within r scale lengths.
    radius = -1.0 - lambertw((light - 1.0) / np.e, k=-1).real
    radius *= np.asarray(parents["disc_radius"], dtype=np.float64) / DISC_B
    ratio = np.sqrt(np.asarray(parents["axis_ratio"], dtype=np.float64))
    major, minor = radius * np.cos(angle) / ratio, radius * np.sin(angle) * ratio
    turn = np.deg2rad(np.asarray(parents["position_angle"], dtype=np.float64))
    sx = np.cos(turn) * major - np.sin(turn) * minor
    sy = np.sin(turn) * major + np.cos(turn) * minor
    return through_lens(parents, sx, sy)


def through_lens(rows: Table, sx: np.ndarray, sy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets on the sky of what lies (sx, sy) from the middle of a galaxy before lensing, arcsec, (n,)."""
    gamma1, gamma2, kappa = (
        np.asarray(rows[name], dtype=np.float64) for name in ("gamma1", "gamma2", "kappa")
    )
    mu = magnification(gamma1, gamma2, kappa)
    # The inverse of the lens map.
    dx = mu * ((1.0 - kappa + gamma1) * sx + gamma2 * sy)
    dy = mu * (gamma2 * sx + (1.0 - kappa - gamma1) * sy)
    return dx, dy


def hashed_uniform(identifier: np.ndarray, counter: np.ndarray, seed: int) -> np.ndarray:
    """Uniform numbers in [0, 1) that depend on nothing but the arguments, shape (n,)."""
    state = scramble(np.asarray([seed % 2**64], dtype=np.uint64) + GAMMA)
    for part in (identifier, counter):
        state = scramble((state ^ np.asarray(part).astype(np.int64).view(np.uint64)) + GAMMA)
    return np.asarray((state >> np.uint64(11)).astype(np.float64) * 2.0**-53)

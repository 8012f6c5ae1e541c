# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The table of galaxies that all sources lead to.

A galaxy is a de Vaucouleurs bulge and an exponential disc with one centre and one
position angle. The population of galaxy sizes moves the blend statistics more than any other
assumption, so where sizes come from is a choice with a name.
"""

from __future__ import annotations

__all__ = (
    "BULGE_B",
    "BULGE_TO_DISC_RADIUS",
    "JOINT_MODEL",
    "SIZE_MODELS",
    "SizeModel",
    "complete_galaxies",
    "composite_radius",
    "get_size_model",
)

import dataclasses
import functools

import numpy as np
from astropy.table import Table

from ..._suggest import did_you_mean
from ..errors import SimulationError
from ..survey import get_survey, mag_to_njy, njy_to_mag
from . import cosmodc2
from .columns import (
    FILTERS,
    STRUCTURE_COLUMNS,
    check_column,
    column_values,
    identifiers,
    join_names,
    refuse_rows,
    truth_values,
)
from .observed import DISC_B, reduced_shear
from .structures import DEFAULT_STRUCTURE, check_structures

BULGE_TO_DISC_RADIUS = 0.6
"""Half-light radius of a bulge in units of that of its disc, if neither is known."""

BULGE_B = 7.66924944
"""The b of a de Vaucouleurs profile, I(r) = L b^8 / (8! π r_e²) exp(-b (r/r_e)^¼) (Graham & Driver 2005,
eq. 1 and 4)."""

JOINT_MODEL = "cosmodc2-galaxies"
"""Name of the size model that is the joint distribution of cosmoDC2's galaxies."""

_MIN_RADIUS, _MAX_RADIUS = 0.01, 15.0
# 41 bulge fractions, and bulges of a tenth to four times the radius of the disc, 0.6 among them.
_FRACTIONS = np.linspace(0.0, 1.0, 41)
_LOG_RATIOS = np.log10(BULGE_TO_DISC_RADIUS) + 0.05 * np.arange(-16, 17)
# A table is completed from the first of these that it has: the joint distribution is one of i, and the
# colours of near bands tell it best.
_BAND_ORDER = ("i", "r", "z", "g", "y", "u")


@dataclasses.dataclass(frozen=True)
class SizeModel:
    """Log-normal half-light radii whose median falls with magnitude.

    log10(r) = log10(radius_24) + slope (mag − 24) + scatter · N(0, 1), with r the
    circularised half-light radius in arcsec, kept within 0.01″ and 15″.
    """

    name: str
    """Name of the preset."""

    radius_24: float
    """Median half-light radius at magnitude 24, arcsec."""

    slope: float
    """Change of log10 of the median per magnitude."""

    scatter: float
    """Standard deviation of log10 of the radius."""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.radius_24) and self.radius_24 > 0):
            raise SimulationError(
                f"size model {self.name!r}: radius_24 must be positive, not {self.radius_24}"
            )
        if not np.isfinite(self.slope):
            raise SimulationError(f"size model {self.name!r}: slope must be finite, not {self.slope}")
        if not (np.isfinite(self.scatter) and self.scatter >= 0):
            raise SimulationError(f"size model {self.name!r}: scatter must be ≥ 0, not {self.scatter}")

    def median(self, mag: np.ndarray) -> np.ndarray:
        """Median half-light radius.

        Parameters
        ----------
        mag
            AB magnitudes, shape (n,).

        Returns
        -------
        radius
            Circularised half-light radii in arcsec, shape (n,).
        """
        return self.radius_24 * 10.0 ** (self.slope * (np.asarray(mag, dtype=np.float64) - 24.0))

    def draw(self, mag: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw half-light radii.

        Parameters
        ----------
        mag
            AB magnitudes, shape (n,).
        rng
            Source of random numbers.

        Returns
        -------
        radius
            Circularised half-light radii in arcsec, shape (n,).
        """
        mag = np.asarray(mag, dtype=np.float64)
        radius = self.median(mag) * 10.0 ** (self.scatter * rng.standard_normal(mag.shape))
        return np.clip(radius, _MIN_RADIUS, _MAX_RADIUS)


SIZE_MODELS: dict[str, SizeModel] = {
    model.name: model
    for model in (
        # Fits to cosmoDC2 (Korytov et al. 2019), to an intermediate population, and
        # to sizes nearer to those of real galaxies in HST images.
        SizeModel("cosmodc2", 0.21, -0.16, 0.20),
        SizeModel("1.6x", 0.32, -0.12, 0.18),
        SizeModel("large", 0.77, -0.105, 0.20),
    )
}
"""The log-normal size models, by name."""


def get_size_model(name: str | SizeModel) -> SizeModel:
    """Look up a log-normal size model.

    Parameters
    ----------
    name
        Name of a preset, or a model, which is returned as it is. The joint
        distribution "cosmodc2-galaxies" is none of them.

    Returns
    -------
    model
        The model.

    Raises
    ------
    SimulationError
        Raised if there is no preset of that name.
    """
    if isinstance(name, SizeModel):
        return name
    try:
        return SIZE_MODELS[name]
    except KeyError:
        names = sorted((*SIZE_MODELS, JOINT_MODEL))
        hint = did_you_mean(name, names)
        raise SimulationError(
            f"unknown size model {name!r}{hint}; known models: {', '.join(names)}"
        ) from None


@functools.lru_cache
def _composite_radii() -> np.ndarray:
    """Half-light radii of bulge + disc in units of the disc's, (33, 41): radius ratios, bulge fractions."""
    from scipy.special import gammainc

    radius = np.geomspace(0.05, 8.0, 3001)
    # Light within r: Sérsic profiles of index 1 and 4 (Graham & Driver 2005, eq. 2).
    disc = gammainc(2.0, DISC_B * radius)
    half = np.empty((len(_LOG_RATIOS), len(_FRACTIONS)))
    for row, log_ratio in enumerate(_LOG_RATIOS):
        bulge = gammainc(8.0, BULGE_B * (radius / 10.0**log_ratio) ** 0.25)
        light = _FRACTIONS[:, None] * bulge + (1.0 - _FRACTIONS[:, None]) * disc
        half[row] = [np.interp(0.5, curve, radius) for curve in light]
    return half


def composite_radius(
    bulge_fraction: np.ndarray, ratio: np.ndarray | float = BULGE_TO_DISC_RADIUS
) -> np.ndarray:
    """Half-light radius of bulge and disc together in units of that of the disc, shape (n,).

    ``bulge_fraction``, shape (n,), is the share of a de Vaucouleurs bulge in the light, the rest an
    exponential disc; ``ratio`` the half-light radius of the bulge in units of that of the disc, 0.1 to 4
    (clipped). Exact for concentric circles; interpolated to better than 0.5 %.
    """
    from scipy.ndimage import map_coordinates

    fraction = np.asarray(bulge_fraction, dtype=np.float64)
    log_ratio = np.broadcast_to(np.log10(ratio), fraction.shape)
    at = np.stack(
        [
            np.clip(
                (log_ratio - _LOG_RATIOS[0]) / (_LOG_RATIOS[1] - _LOG_RATIOS[0]), 0.0, len(_LOG_RATIOS) - 1
            ),
            np.clip(fraction * (len(_FRACTIONS) - 1), 0.0, len(_FRACTIONS) - 1),
        ]
    )
    return np.asarray(map_coordinates(_composite_radii(), at, order=1))


def complete_galaxies(
    table: Table, size_model: str | SizeModel, rng: np.random.Generator, *, band: str = "i"
) -> Table:
    """Check a table of galaxies and draw the properties that it lacks.

    Parameters
    ----------
    table
        Galaxies with columns ``x``, ``y`` and a brightness at least; others of
        `GALAXY_COLUMNS` are used where they are present. The brightness is, in any
        band b, ``mag_b`` (AB), ``flux_b`` (nJy) or ``n_photon_b`` (photons in an exposure of
        30 s), or ``mag`` or ``flux`` without band, which are those of ``band``. A column
        with another unit is converted.
    size_model
        Where sizes and shapes come from if the table lacks them: a log-normal preset or
        model of sizes, or "cosmodc2-galaxies" for the joint distribution of cosmoDC2.
        Colours, redshifts and lensing are always those of the joint distribution.
    rng
        Source of random numbers. It must be able to spawn children.
    band
        Band that a brightness without band is of.

    Returns
    -------
    galaxies
        A new table with all of `GALAXY_COLUMNS`.

    Raises
    ------
    SimulationError
        Raised if a column is missing or has values that make no sense.

    Notes
    -----
    With a log-normal size model, bulge fractions are Beta(0.7, 2.1): a quarter of the
    light on average, most galaxies nearly pure discs. Axis ratios of discs have a median of
    0.64 (as in cosmoDC2) between 0.15 and 1; a bulge is half as flattened as its disc.
    """
    model = None if size_model == JOINT_MODEL else get_size_model(size_model)
    names = set(table.colnames)
    for name in ("x", "y"):
        if name not in names:
            raise SimulationError(f"galaxy table has no column {name!r}; it has: {join_names(table)}")
    n = len(table)
    star = _stars(table)
    given = _magnitudes(table, band)
    reference = next(name for name in _BAND_ORDER if name in given)
    # A child, so that the draws of sizes and shapes do not depend on it.
    joint = cosmodc2.draw_properties(given[reference], rng.spawn(1)[0], band=reference, is_star=star)

    out = Table()
    out["id"] = identifiers(table["id"], "'id'") if "id" in names else np.arange(n, dtype=np.int64)
    for name in ("x", "y"):
        out[name] = check_column(table, name)
    out["redshift"] = np.where(
        star, 0.0, check_column(table, "redshift", low=0.0, default=joint["redshift"], ignore=star)
    )
    for name in FILTERS:
        out[f"mag_{name}"] = given[name] if name in given else joint[f"mag_{name}"]
    out["is_star"] = star

    _add_shapes(out, table, model, joint, rng)
    _add_lensing(out, table, joint)
    _add_knots(out, table)
    for name in STRUCTURE_COLUMNS:
        if name in names:
            out[name] = np.where(star, DEFAULT_STRUCTURE.get(name, 0.0), table[name])
    check_structures(out)
    out.meta.update(table.meta)
    return out


def _add_shapes(
    out: Table,
    table: Table,
    model: SizeModel | None,
    joint: dict[str, np.ndarray],
    rng: np.random.Generator,
) -> None:
    """Add radii, axis ratios, angles and bulge fractions, those of the table or drawn ones."""
    n, star = len(table), np.asarray(out["is_star"])
    if model is None:
        drawn = joint
        of_disc = np.asarray(joint["bulge_radius"] / joint["disc_radius"])
    else:
        # Every draw is made, used or not, so that one given column leaves the others as they were.
        drawn = {
            "bulge_fraction": rng.beta(0.7, 2.1, n),
            "axis_ratio": 0.15 + 0.85 * rng.beta(2.6, 1.95, n),
        }
        of_disc = np.full(n, BULGE_TO_DISC_RADIUS)
    angle = rng.uniform(0.0, 180.0, n)
    bulge = check_column(
        table, "bulge_fraction", low=0.0, high=1.0, default=drawn["bulge_fraction"], ignore=star
    )
    bulge = np.where(star, 0.0, bulge)

    def positive(name: str, default: np.ndarray, high: float = np.inf) -> np.ndarray:
        # A star needs no size in the table.
        return check_column(table, name, high=high, positive=True, default=default, ignore=star)

    ratio = positive("axis_ratio", drawn["axis_ratio"], high=1.0)
    rounder = joint["bulge_axis_ratio"] if model is None else 0.5 * (1.0 + ratio)
    bulge_ratio = positive("bulge_axis_ratio", rounder, high=1.0)
    if model is None:
        drawn_radius = joint["disc_radius"] * composite_radius(bulge, of_disc)
    else:
        drawn_radius = model.draw(np.asarray(out["mag_i"]), rng)
    radius = positive("half_light_radius", drawn_radius)
    disc_radius = radius / composite_radius(bulge, of_disc)
    if "disc_radius" in table.colnames:
        disc_radius = positive("disc_radius", disc_radius)
    elif "bulge_radius" in table.colnames:
        disc_radius = positive("bulge_radius", disc_radius) / of_disc
    bulge_radius = positive("bulge_radius", of_disc * disc_radius)
    if "half_light_radius" not in table.colnames:
        with np.errstate(divide="ignore", invalid="ignore"):
            of_disc = np.where(star, BULGE_TO_DISC_RADIUS, bulge_radius / disc_radius)
        radius = disc_radius * composite_radius(bulge, of_disc)
    out["half_light_radius"] = np.where(star, 0.0, radius)
    out["disc_radius"] = np.where(star, 0.0, disc_radius)
    out["bulge_radius"] = np.where(star, 0.0, bulge_radius)
    out["axis_ratio"] = np.where(star, 1.0, ratio)
    out["bulge_axis_ratio"] = np.where(star, 1.0, bulge_ratio)
    angle = check_column(table, "position_angle", default=angle, ignore=star)
    out["position_angle"] = np.where(star, 0.0, angle)
    out["bulge_fraction"] = bulge


def _add_lensing(out: Table, table: Table, joint: dict[str, np.ndarray]) -> None:
    """Add shear and convergence, those of the table or drawn ones."""
    star = np.asarray(out["is_star"])
    # Shear that the table has goes with its convergence, not with a drawn one.
    given = not {"gamma1", "gamma2", "kappa"}.isdisjoint(table.colnames)
    for name in ("gamma1", "gamma2", "kappa"):
        default = np.zeros(len(table)) if given else joint[name]
        out[name] = np.where(star, 0.0, check_column(table, name, default=default, ignore=star))
    reduced_shear(out["gamma1"], out["gamma2"], out["kappa"])


def _add_knots(out: Table, table: Table) -> None:
    """Add the knots of the table, or none."""
    star, none = np.asarray(out["is_star"]), np.zeros(len(table))
    knots = check_column(table, "n_knots", low=0.0, high=1e6, default=none, ignore=star)
    refuse_rows(~star & (knots != np.rint(knots)), "column 'n_knots' must be a whole number")
    share = check_column(table, "knot_fraction", low=0.0, high=1.0, default=none, ignore=star)
    clumpy = ~star & (np.nan_to_num(knots) >= 1.0) & (np.nan_to_num(share) > 0.0)
    out["n_knots"] = np.where(clumpy, knots, 0.0).astype(np.int32)
    out["knot_fraction"] = np.where(clumpy, share, 0.0)


def _stars(table: Table) -> np.ndarray:
    """Which rows are stars: those that the table says, or none; boolean, shape (n,)."""
    if "is_star" not in table.colnames:
        return np.zeros(len(table), dtype=bool)
    values, masked = column_values(table["is_star"], "'is_star'")
    flags, known = truth_values(values)
    refuse_rows(masked | ~known, "column 'is_star' must be true or false, or 1 or 0")
    return flags


def _magnitudes(table: Table, band: str) -> dict[str, np.ndarray]:
    """Magnitudes of the bands that a table has, checked."""
    names = set(table.colnames)
    given: dict[str, np.ndarray] = {}
    # The same limits as those of magnitudes.
    faint, bright = (float(mag_to_njy(mag)) for mag in (60.0, 0.0))
    for name in FILTERS:
        if f"mag_{name}" in names:
            given[name] = check_column(table, f"mag_{name}", low=0.0, high=60.0)
        elif f"flux_{name}" in names:
            given[name] = njy_to_mag(check_column(table, f"flux_{name}", low=faint, high=bright))
        elif f"n_photon_{name}" in names:
            photons = check_column(table, f"n_photon_{name}", high=1e20, positive=True)
            given[name] = get_survey(name).photons_to_mag(photons)
    if band not in given and "flux" in names:
        given[band] = njy_to_mag(check_column(table, "flux", low=faint, high=bright))
    elif band not in given and "mag" in names:
        given[band] = check_column(table, "mag", low=0.0, high=60.0)
    if not given:
        raise SimulationError(
            "galaxy table has neither column 'mag' nor 'flux', nor one of a band such as 'mag_i', 'flux_i' "
            f"or 'n_photon_i'; it has: {join_names(table)}"
        )
    return given

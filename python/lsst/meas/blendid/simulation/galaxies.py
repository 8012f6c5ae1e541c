# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Sizes and shapes of galaxies, and the table that the renderer draws.

A galaxy is a de Vaucouleurs bulge and an exponential disc with one centre and one
position angle. The population of galaxy sizes moves the blend statistics more
than any other assumption, so it is a choice with a name.
"""

from __future__ import annotations

__all__ = ("GALAXY_COLUMNS", "SIZE_MODELS", "SizeModel", "complete_galaxies", "get_size_model")

import dataclasses
import functools

import numpy as np
from astropy.table import Table

from ._errors import SimulationError
from .survey import mag_to_njy, njy_to_mag

GALAXY_COLUMNS: tuple[str, ...] = (
    "x",
    "y",
    "mag",
    "flux",
    "is_star",
    "half_light_radius",
    "disc_radius",
    "bulge_radius",
    "axis_ratio",
    "bulge_axis_ratio",
    "position_angle",
    "bulge_fraction",
)
"""Columns of a complete galaxy table.

``x``, ``y``: centre, pixels; ``mag``: AB; ``flux``: nJy; ``is_star``: drawn as a
point; ``half_light_radius``, ``disc_radius``, ``bulge_radius``: circularised
half-light radii of the whole galaxy and of its two parts, arcsec; ``axis_ratio``,
``bulge_axis_ratio``: minor over major; ``position_angle``: of the major axis,
degrees counter-clockwise from the x axis; ``bulge_fraction``: of the flux.
"""

_BULGE_TO_DISC_RADIUS = 0.6
_MIN_RADIUS, _MAX_RADIUS = 0.01, 15.0


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
"""The size models, by name."""


def get_size_model(name: str | SizeModel) -> SizeModel:
    """Look up a size model.

    Parameters
    ----------
    name
        Name of a preset, or a model, which is returned as it is.

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
        known = ", ".join(sorted(SIZE_MODELS))
        raise SimulationError(f"unknown size model {name!r}; known models: {known}") from None


@functools.lru_cache
def _composite_radii() -> tuple[np.ndarray, np.ndarray]:
    """Half-light radius of bulge + disc in units of that of the disc.

    Returns
    -------
    fraction, radius
        Bulge fractions and radii of the composite, shape (41,), for a bulge whose
        radius is 0.6 of the disc's.
    """
    from scipy.special import gammainc

    radius = np.linspace(0.3, 1.2, 1801)
    # Light within r: Sérsic profiles of index 1 and 4 (Graham & Driver 2005, eq. 2).
    disc = gammainc(2.0, 1.67834699 * radius)
    bulge = gammainc(8.0, 7.66924944 * (radius / _BULGE_TO_DISC_RADIUS) ** 0.25)
    fraction = np.linspace(0.0, 1.0, 41)
    light = fraction[:, None] * bulge + (1.0 - fraction[:, None]) * disc
    half = np.array([np.interp(0.5, row, radius) for row in light])
    return fraction, half


def complete_galaxies(table: Table, size_model: str | SizeModel, rng: np.random.Generator) -> Table:
    """Check a table of galaxies and draw the properties that it lacks.

    Parameters
    ----------
    table
        Galaxies with columns ``x``, ``y`` and ``mag`` or ``flux`` at least; others of
        `GALAXY_COLUMNS` are used where they are present.
    size_model
        Where the sizes come from if ``half_light_radius`` is missing.
    rng
        Source of random numbers.

    Returns
    -------
    galaxies
        A new table with an ``id`` (row number, if the table had none) and all of
        `GALAXY_COLUMNS`.

    Raises
    ------
    SimulationError
        Raised if a column is missing or has values that make no sense.

    Notes
    -----
    Bulge fractions are Beta(0.7, 2.1): a quarter of the light on average, most
    galaxies nearly pure discs. Axis ratios of discs have a median of 0.64 (as in
    cosmoDC2) between 0.15 and 1; a bulge is half as flattened as its disc.
    """
    model = get_size_model(size_model)
    names = set(table.colnames)
    for name in ("x", "y"):
        if name not in names:
            raise SimulationError(f"galaxy table has no column {name!r}; it has: {_join(table)}")
    if not names & {"mag", "flux"}:
        raise SimulationError(f"galaxy table has neither column 'mag' nor 'flux'; it has: {_join(table)}")
    n = len(table)
    out = Table()
    out["id"] = np.asarray(table["id"], dtype=np.int64) if "id" in names else np.arange(n, dtype=np.int64)
    for name in ("x", "y"):
        out[name] = _column(table, name)
    if "flux" in names:
        flux = _column(table, "flux", high=float(mag_to_njy(0.0)), positive=True)
        mag = njy_to_mag(flux)
    else:
        mag = _column(table, "mag", low=0.0, high=60.0)
        flux = mag_to_njy(mag)
    out["mag"], out["flux"] = mag, flux
    star = np.asarray(table["is_star"], dtype=bool) if "is_star" in names else np.zeros(n, dtype=bool)
    out["is_star"] = star

    # Every draw is made, used or not, so that one given column leaves the others as
    # they were.
    drawn_bulge = rng.beta(0.7, 2.1, n)
    drawn_ratio = 0.15 + 0.85 * rng.beta(2.6, 1.95, n)
    drawn_angle = rng.uniform(0.0, 180.0, n)
    drawn_radius = model.draw(mag, rng)
    bulge = _column(table, "bulge_fraction", low=0.0, high=1.0, default=drawn_bulge)
    ratio = _column(table, "axis_ratio", high=1.0, default=drawn_ratio, positive=True)
    angle = _column(table, "position_angle", default=drawn_angle)
    if {"disc_radius", "bulge_radius"} <= names:
        disc_radius = _column(table, "disc_radius", positive=True)
        bulge_radius = _column(table, "bulge_radius", positive=True)
        mean = (1.0 - bulge) * disc_radius + bulge * bulge_radius
        radius = _column(table, "half_light_radius", default=mean, positive=True)
    else:
        # A star needs no size in the table.
        radius = _column(table, "half_light_radius", default=drawn_radius, ignore=star, positive=True)
        disc_radius = radius / np.interp(bulge, *_composite_radii())
        bulge_radius = _BULGE_TO_DISC_RADIUS * disc_radius
    out["half_light_radius"] = np.where(star, 0.0, radius)
    out["disc_radius"] = np.where(star, 0.0, disc_radius)
    out["bulge_radius"] = np.where(star, 0.0, bulge_radius)
    out["axis_ratio"] = np.where(star, 1.0, ratio)
    rounder = 0.5 * (1.0 + ratio)
    out["bulge_axis_ratio"] = np.where(
        star, 1.0, _column(table, "bulge_axis_ratio", high=1.0, default=rounder, positive=True)
    )
    out["position_angle"] = np.where(star, 0.0, angle)
    out["bulge_fraction"] = np.where(star, 0.0, bulge)
    out.meta.update(table.meta)
    return out


def _join(table: Table) -> str:
    return ", ".join(table.colnames) or "nothing"


def _column(
    table: Table,
    name: str,
    *,
    low: float = -np.inf,
    high: float = np.inf,
    positive: bool = False,
    default: np.ndarray | None = None,
    ignore: np.ndarray | None = None,
) -> np.ndarray:
    """Get a column as float64 and check its values; ``default`` if it is missing."""
    if name not in table.colnames:
        assert default is not None
        return default
    column = table[name]
    masked = np.ma.getmaskarray(column) if hasattr(column, "mask") else np.zeros(len(table), dtype=bool)
    try:
        values = np.array(np.ma.getdata(column), dtype=np.float64)
    except (TypeError, ValueError):
        raise SimulationError(f"galaxy table: column {name!r} is not numeric") from None
    if values.ndim != 1:
        raise SimulationError(f"galaxy table: column {name!r} must have one number per row")
    bad = masked | ~np.isfinite(values)
    with np.errstate(invalid="ignore"):
        bad |= (values <= 0.0) if positive else (values < low)
        bad |= values > high
    if ignore is not None:
        bad &= ~ignore
    if bad.any():
        rows = np.flatnonzero(bad)
        shown = ", ".join(str(i) for i in rows[:5]) + (", …" if len(rows) > 5 else "")
        limits = ["finite"]
        limits += ["positive"] if positive else [f"at least {low:g}"] if np.isfinite(low) else []
        limits += [f"at most {high:g}"] if np.isfinite(high) else []
        raise SimulationError(
            f"galaxy table: column {name!r} must be {' and '.join(limits)}; "
            f"{len(rows)} of {len(table)} rows are not (rows {shown})"
        )
    return values

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Columns of tables of galaxies, their units, and checks with errors that name the rows."""

from __future__ import annotations

__all__ = (
    "CATALOG_COLUMNS",
    "FILTERS",
    "GALAXY_COLUMNS",
    "GALAXY_UNITS",
    "STRUCTURE_COLUMNS",
    "RowCheck",
    "check_column",
    "column_values",
    "identifiers",
    "in_field",
    "join_names",
    "numbers_in_unit",
    "refuse_rows",
    "truth_values",
)

import dataclasses
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import Table

from ..._suggest import did_you_mean
from ..errors import SimulationError

FILTERS: tuple[str, ...] = ("u", "g", "r", "i", "z", "y")
"""Bands whose magnitudes a complete catalogue has."""

_MAG, _PHOTON = "mag(AB)", "photon"

GALAXY_UNITS: dict[str, str | None] = {
    "id": None,
    "x": "pix",
    "y": "pix",
    "redshift": "",
    **{f"mag_{band}": _MAG for band in FILTERS},
    "is_star": None,
    "half_light_radius": "arcsec",
    "disc_radius": "arcsec",
    "bulge_radius": "arcsec",
    "axis_ratio": "",
    "bulge_axis_ratio": "",
    "position_angle": "deg",
    "bulge_fraction": "",
    "gamma1": "",
    "gamma2": "",
    "kappa": "",
    "n_knots": None,
    "knot_fraction": "",
}
"""Columns of a complete catalogue and their units."""

STRUCTURE_COLUMNS: dict[str, str] = {
    "disc_sersic": "Sérsic index of the disc.",
    "bulge_sersic": "Sérsic index of the bulge.",
    "bar_fraction": "Share of a bar in the light of the disc.",
    "arm_fraction": "Share of spiral arms in the light of the disc.",
    "n_arms": "Number of these arms, 2 to 4.",
    "ring_fraction": "Share of a ring in the light of the disc.",
    "tail_fraction": "Share of a tidal tail in the light of the disc.",
    "dust_depth": "Share of the light in the middle of the disc that a lane of dust takes, less than .5.",
}
"""Columns of a catalogue that has structures; one without has smooth exponential discs and de Vaucouleurs
bulges."""

CATALOG_COLUMNS: dict[str, str | None] = {
    **GALAXY_UNITS,
    "ra": "deg",
    "dec": "deg",
    "mag": _MAG,
    "flux": "nJy",
    **{f"flux_{band}": "nJy" for band in FILTERS},
    **{f"n_photon_{band}": _PHOTON for band in FILTERS},
    "position_angle_sky": "deg",
    **dict.fromkeys(STRUCTURE_COLUMNS, ""),
}
"""Columns that a file or a table of a user may have, with the unit of a column that has none."""

_TABLE = "galaxy table"

GALAXY_COLUMNS: tuple[str, ...] = tuple(GALAXY_UNITS)
"""Columns of a complete catalogue.

``id``: number of the galaxy in its source; ``x``, ``y``: centre, pixels;
``redshift``; ``mag_u`` … ``mag_y``: AB, before lensing; ``is_star``: drawn as a
point; ``half_light_radius``, ``disc_radius``, ``bulge_radius``: circularised
half-light radii of the whole galaxy and of its two parts, arcsec, before lensing;
``axis_ratio`` (of the disc), ``bulge_axis_ratio``: minor over major;
``position_angle``: of the major axis, degrees counter-clockwise from the x axis;
``bulge_fraction``: of the flux; ``gamma1``, ``gamma2``: shear along the pixel axes;
``kappa``: convergence; ``n_knots``: knots of star formation in the disc;
``knot_fraction``: of the flux of the disc, in knots.
"""


def join_names(table: Table) -> str:
    """Names of the columns of a table for a message."""
    return ", ".join(table.colnames) or "nothing"


def refuse_rows(
    bad: np.ndarray,
    what: str,
    *,
    where: str | Path = _TABLE,
    numbers: np.ndarray | None = None,
    kind: str = "rows",
) -> None:
    """Raise `SimulationError` if any row is ``bad``, bool of shape (n,); it names the first five.

    ``what`` is asked of the rows, ``where`` has them, and ``numbers``, shape (n,), are what they are called
    by there (default: 0, 1, …), of the given ``kind``.
    """
    rows = np.flatnonzero(bad)
    if len(rows):
        first = rows[:5] if numbers is None else numbers[rows[:5]]
        shown = ", ".join(str(i) for i in first) + (", …" if len(rows) > 5 else "")
        raise SimulationError(f"{where}: {what}; {len(rows)} of {len(bad)} rows are not ({kind} {shown})")


def column_values(column: Any, what: str, where: str | Path = _TABLE) -> tuple[np.ndarray, np.ndarray]:
    """Values of a column as they are, and rows without one (bool), both (n,); errors call it ``what``."""
    if column.ndim != 1:
        raise SimulationError(f"{where}: column {what} must have one value per row")
    # Masked columns and Quantities come from readers of all kinds.
    masked = np.ma.getmaskarray(column) if hasattr(column, "mask") else np.zeros(len(column), dtype=bool)
    return np.asarray(np.ma.getdata(getattr(column, "value", column))), np.array(masked)


def numbers_in_unit(
    column: Any, name: str, what: str, where: str | Path = _TABLE, *, unit: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of a column in our unit, float64, and rows without one (bool), both of shape (n,).

    ``name`` says what the column is, one of `CATALOG_COLUMNS`; any other has no unit of ours. ``unit``
    overrides that of the column. Values that are no numbers, and units that are unknown or do not fit, are
    refused.
    """
    values, masked = column_values(column, what, where)
    try:
        # Neither text that looks like a number nor booleans are numbers.
        numbers = np.array(values, dtype=np.float64) if values.dtype.kind in "iufO" else None
    except (TypeError, ValueError):
        numbers = None
    if numbers is None:
        raise SimulationError(f"{where}: column {what} must be numbers, not {values.dtype}")
    target, given = CATALOG_COLUMNS.get(name), column.unit if unit is None else unit
    if target is not None and given is not None:
        factor = _unit_factor(given, target)
        if factor is None:
            raise SimulationError(
                f"{where}: column {what} has the unit {str(given)!r}, "
                f"which cannot be used for {target or 'a number'}"
            )
        numbers *= factor
    return numbers, masked


def _unit_factor(given: Any, target: str) -> float | None:
    """Factor from a unit, or the name of one, to ours; `None` if it is not known or does not fit."""
    try:
        unit, wanted = u.Unit(given), u.Unit(target)
    except (TypeError, ValueError):
        return None
    if isinstance(unit, u.UnrecognizedUnit):
        return None
    # Without a zero point a magnitude is taken for AB.
    # Units that Astropy keeps apart and catalogues do not.
    same = {
        _MAG: (u.mag, wanted),
        _PHOTON: (u.photon, u.electron, u.count, u.dimensionless_unscaled),
        "pix": (u.pix, u.dimensionless_unscaled),
    }
    if target in same:
        return 1.0 if unit in same[target] else None
    return float(unit.to(wanted)) if unit.is_equivalent(wanted) else None


def in_field(x: np.ndarray, y: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Tell which positions, pixels of shape (n,), have their nearest pixel in a field of width and height."""
    x, y = np.rint(np.asarray(x)), np.rint(np.asarray(y))
    return np.asarray((x >= 0) & (x < size[0]) & (y >= 0) & (y < size[1]))


def truth_values(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read booleans, 0 and 1, or the words for them: flags, and whether each is one, both (n,)."""
    # Text formats have no booleans.
    if values.dtype.kind in "SUO":
        words = np.array([(v.decode() if isinstance(v, bytes) else str(v)).strip().lower() for v in values])
        true = np.isin(words, ("true", "t", "1"))
        return true, true | np.isin(words, ("false", "f", "0"))
    return values == 1, (values == 0) | (values == 1)


def identifiers(column: Any, what: str, where: str | Path = _TABLE) -> np.ndarray:
    """Numbers of objects, int64 of shape (n,); refused unless whole, of 64 bits and all different."""
    values, masked = column_values(column, what, where)
    # Floating-point numbers lose digits of identifiers from 2⁵³ on.
    if values.dtype.kind not in "iu":
        raise SimulationError(f"{where}: column {what} must be whole numbers, not {values.dtype}")
    refuse_rows(masked, f"column {what} must be given", where=where)
    refuse_rows(values > np.iinfo(np.int64).max, f"column {what} must be less than 2^63", where=where)
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    refuse_rows(counts[inverse] > 1, f"column {what} must be different in all rows", where=where)
    return values.astype(np.int64)


def check_column(
    table: Table,
    name: str,
    *,
    low: float = -np.inf,
    high: float = np.inf,
    positive: bool = False,
    default: np.ndarray | None = None,
    ignore: np.ndarray | None = None,
) -> np.ndarray:
    """Get a column as float64 of shape (n,) in our unit, and check its values.

    They must be finite, within ``low`` and ``high``, or greater than 0 if they must be ``positive``, but for
    rows to ``ignore``, bool of shape (n,). ``default``, shape (n,), stands for a column that is missing.
    """
    if name not in table.colnames:
        if default is None:
            hint = did_you_mean(name, table.colnames)
            raise SimulationError(f"{_TABLE} has no column {name!r}{hint}; it has: {join_names(table)}")
        return default
    values, masked = numbers_in_unit(table[name], name, repr(name))
    bad = masked | ~np.isfinite(values)
    with np.errstate(invalid="ignore"):
        bad |= (values <= 0.0) if positive else (values < low)
        bad |= values > high
    if ignore is not None:
        bad &= ~ignore
    limits = ["finite"]
    limits += ["positive"] if positive else [f"at least {low:g}"] if np.isfinite(low) else []
    limits += [f"at most {high:g}"] if np.isfinite(high) else []
    refuse_rows(bad, f"column {name!r} must be {' and '.join(limits)}")
    return values


@dataclasses.dataclass(frozen=True)
class RowCheck:
    """Refuses rows of a file with an error that names the file, the column and the rows."""

    file: Path
    """The file."""

    numbers: np.ndarray | None = None
    """What the rows that are checked are called by, shape (n,); `None`: 0, 1, …"""

    kind: str = "rows"
    """What those numbers are."""

    def __call__(self, column: str, good: np.ndarray, what: str) -> None:
        """Refuse a column with rows that are not ``good``, bool of shape (n,): all must be ``what``."""
        refuse_rows(
            ~good, f"column {column} must be {what}", where=self.file, numbers=self.numbers, kind=self.kind
        )

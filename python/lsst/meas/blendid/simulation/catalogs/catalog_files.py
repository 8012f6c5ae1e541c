# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tables of galaxies in files of users: FITS, ECSV, Parquet and CSV."""

from __future__ import annotations

__all__ = (
    "CATALOG_SUFFIXES",
    "FileSource",
    "convert_column",
    "match_columns",
    "read_catalog",
)

import dataclasses
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import Table

from ..._suggest import did_you_mean
from ..errors import SimulationError
from ..survey import Survey, get_survey, njy_to_mag
from .columns import (
    CATALOG_COLUMNS,
    FILTERS,
    RowCheck,
    column_values,
    identifiers,
    numbers_in_unit,
    truth_values,
)
from .sky_field import SkyField, mean_position

CATALOG_SUFFIXES: dict[str, str] = {
    ".fits": "fits",
    ".fit": "fits",
    ".fits.gz": "fits",
    ".fits.fz": "fits",
    ".ecsv": "ascii.ecsv",
    ".csv": "ascii.csv",
    ".parquet": "parquet",
    ".parq": "parquet",
    ".pq": "parquet",
}
"""Ends of the names of files that can be read, with their formats."""

_RADII = ("half_light_radius", "disc_radius", "bulge_radius")
_LIMITS = {
    "dec": (-90.0, 90.0),
    "redshift": (0.0, np.inf),
    "bulge_fraction": (0.0, 1.0),
    "knot_fraction": (0.0, 1.0),
    **{name: (0.0, 60.0) for name in ("mag", *(f"mag_{band}" for band in FILTERS))},
}

_POSITIVE = ("flux", "flux_", "n_photon_", "axis_ratio", "bulge_axis_ratio")


def read_catalog(
    path: str | Path, *, columns: Mapping[str, str] | None = None, survey: Survey | None = None
) -> Table:
    """Read a table of galaxies and check it.

    Parameters
    ----------
    path
        File that ends with one of `CATALOG_SUFFIXES`.
    columns
        Names in the file of some of `CATALOG_COLUMNS`, with a unit in brackets if the
        file does not give the right one: ``{"half_light_radius": "R50 [arcmin]"}``. A
        column that is not named here has its own name, in upper or lower case. CSV
        files may have units in brackets in their header.
    survey
        Band that ``mag`` and ``flux`` are of, and zero point for photons in that band
        (default: band *i*).

    Returns
    -------
    galaxies
        Table with ``id`` (row number if the file has none), ``x`` and ``y`` (pixels),
        ``ra`` and ``dec`` (degrees) or both, ``mag_<band>`` for each band in which the file has a
        brightness, and those others of `CATALOG_COLUMNS` that it has, in the units
        there. Other columns are left out.

    Raises
    ------
    SimulationError
        Raised if the file cannot be read, a column is missing, has an unknown unit, or
        values that make no sense; with the file, column and rows.
    FileNotFoundError
        Raised if there is no such file.

    Notes
    -----
    A brightness is given as ``mag_<band>`` (AB), or ``flux_<band>``, or
    ``n_photon_<band>`` (detected photons in an exposure of 30 s); the first of these
    counts. ``position_angle`` is counter-clockwise from the x axis, as are the shear
    components; ``position_angle_sky`` is east of north, and only for files with positions on the sky.
    """
    path = Path(path)
    survey = get_survey("i") if survey is None else survey
    raw, names = _read_file(path, dict(columns or {}))
    given = {name: convert_column(path, raw, name, *names[name]) for name in names}
    _require(path, set(names), raw.colnames)
    label = {name: column for name, (column, _) in names.items()}
    check = RowCheck(path)
    n = len(raw)
    star = given.get("is_star", np.zeros(n, dtype=bool))
    for name, values in given.items():
        if name in ("id", "is_star"):
            continue
        # What a star has in the columns of shapes does not matter.
        shape = name in _RADII or name.endswith(("axis_ratio", "fraction")) or name.startswith("position")
        needed = ~star if shape or name in ("redshift", "n_knots") else np.ones(n, dtype=bool)
        if name in ("disc_radius", "bulge_radius"):
            needed &= _has_light(given, name, n)
        check(label[name], np.isfinite(values) | ~needed, "finite")
        low, high = _LIMITS.get(name, (-np.inf, np.inf))
        if name in _LIMITS:
            limits = f"at least {low:g}" + (f" and at most {high:g}" if np.isfinite(high) else "")
            check(label[name], ((values >= low) & (values <= high)) | ~needed, limits)
        if name in _RADII or name.startswith(_POSITIVE):
            check(label[name], (values > 0.0) | ~needed, "positive")
        if name.endswith("axis_ratio"):
            check(label[name], (values <= 1.0) | ~needed, "at most 1")
        if name == "n_knots":
            check(label[name], ((values >= 0) & (values == np.rint(values))) | ~needed, "a whole number ≥ 0")
    gamma = np.hypot(given.get("gamma1", np.zeros(n)), given.get("gamma2", np.zeros(n)))
    lensing = next((label[name] for name in ("kappa", "gamma1", "gamma2") if name in label), "kappa")
    check(lensing, 1.0 - given.get("kappa", np.zeros(n)) > gamma, "less than 1 together with the shear")
    return _to_table(given, label, check, star, survey, n)


@dataclasses.dataclass(frozen=True)
class FileSource:
    """The galaxies of a file; see `read_catalog` for what it may have.

    Notes
    -----
    Pixel positions are relative to the first pixel of the field. Positions on the sky are
    projected on the tangent plane at the middle of the field, north up and east left.
    """

    path: str | Path
    """The file."""

    columns: Mapping[str, str] | None = dataclasses.field(default=None, hash=False)
    """Names of columns in the file, and their units; see `read_catalog`."""

    center: tuple[float, float] | None = None
    """ICRS right ascension and declination of the middle of the field, degrees; `None`:
    positions in pixels if the file has them, else that of all positions in the file."""

    margin: int = 100
    """Width of the border around the field that is filled too, pixels."""

    @property
    def name(self) -> str:
        """Short name."""
        return Path(self.path).name

    def galaxies(self, size: tuple[int, int], survey: Survey, rng: np.random.Generator) -> Table:
        """Read the galaxies of a field and its margin.

        See `~lsst.meas.blendid.simulation.GalaxySource.galaxies`.

        Parameters
        ----------
        size
            Width and height of the field, pixels.
        survey
            Its pixel scale is used; see also `read_catalog`.
        rng
            Not used.

        Returns
        -------
        galaxies
            The rows of `read_catalog` in the field or its margin, with ``x`` and ``y``. If
            the file has positions on the sky, ``meta["center"]`` is the middle of the field.

        Raises
        ------
        SimulationError
            Raised as by `read_catalog`, or if no galaxy is in the field.
        FileNotFoundError
            Raised if there is no such file.
        """
        table = read_catalog(self.path, columns=self.columns, survey=survey)
        if not len(table):
            raise SimulationError(f"{self.path} has no rows")
        width, height = (int(n) for n in size)
        center, place = self.center, ""
        if "x" in table.colnames:
            field = SkyField((0.0, 0.0), (width, height), survey.pixel_scale, self.margin)
            names = ("x", "y")
            if center is not None:
                raise SimulationError(
                    f"{self.path} has positions in pixels, which need no centre of the field"
                )
        else:
            ra, dec = np.asarray(table["ra"]), np.asarray(table["dec"])
            center = mean_position(ra, dec) if center is None else center
            field = SkyField(center, (width, height), survey.pixel_scale, self.margin)
            place, names = f" at ra {center[0]:.4f}°, dec {center[1]:.4f}°", ("ra", "dec")
            table["x"], table["y"] = field.to_pixels(ra, dec)
            if "position_angle_sky" in table.colnames:
                turned = (
                    np.asarray(table["position_angle_sky"]) + np.degrees(field.north_angle(ra, dec)) + 90.0
                )
                table["position_angle"] = turned % 180.0
        x, y = np.asarray(table["x"]), np.asarray(table["y"])
        if not field.contains(x, y, margin=False).any():
            ranges = ", ".join(
                f"{name} from {table[name].min():g} to {table[name].max():g}" for name in names
            )
            raise SimulationError(
                f"none of the {len(table)} galaxies of {self.path} is in the field of {width} × {height} "
                f"pixels{place}: they have {ranges}"
            )
        table.remove_columns([c for c in ("ra", "dec", "position_angle_sky") if c in table.colnames])
        if center is not None:
            table.meta["center"] = center
        return table[field.contains(x, y)]


def _format_of(path: Path) -> str:
    name = path.name.lower()
    for suffix in sorted(CATALOG_SUFFIXES, key=len, reverse=True):
        if name.endswith(suffix):
            return CATALOG_SUFFIXES[suffix]
    known = ", ".join(s for s in CATALOG_SUFFIXES)
    raise SimulationError(f"{path} is no table of galaxies: its name must end with one of {known}")


def _read_file(path: Path, mapping: dict[str, str]) -> tuple[Table, dict[str, tuple[str, str | None]]]:
    """Table with the columns needed; for each of ours the file's name and the unit that overrides it."""
    file_format = _format_of(path)
    if not path.is_file():
        raise FileNotFoundError(f"table of galaxies not found: {path}")
    try:
        with warnings.catch_warnings():
            # Units that astropy does not know are errors here, of columns that are used.
            warnings.simplefilter("ignore", u.UnitsWarning)
            if file_format == "parquet":
                from pyarrow import parquet

                from lsst.daf.butler.formatters.parquet import arrow_to_astropy

                with parquet.ParquetFile(path) as file:
                    names = match_columns(path, file.schema_arrow.names, mapping)
                    wanted = [column for column, _ in names.values()]
                    return arrow_to_astropy(file.read(columns=wanted)), names
            options: dict[str, Any] = {"mask_invalid": False} if file_format == "fits" else {}
            table = Table.read(path, format=file_format, **options)
    except (OSError, ValueError, TypeError, KeyError, IndexError) as err:
        if isinstance(err, SimulationError):
            raise
        reason = (str(err).splitlines() or [type(err).__name__])[0]
        raise SimulationError(f"cannot read a table from {path}: {reason}") from err
    return table, match_columns(path, table.colnames, mapping)


def _require(path: Path, names: set[str], found: list[str]) -> None:
    """Refuse a table without positions or brightness."""
    has = f"it has: {', '.join(found) or 'none of those that are known'}"
    if not ({"x", "y"} <= names or {"ra", "dec"} <= names):
        raise SimulationError(f"{path} has neither columns x and y nor ra and dec; {has}")
    if not any(name.startswith(("mag", "flux", "n_photon_")) for name in names):
        raise SimulationError(f"{path} has no brightness, such as column mag_i, flux_i or n_photon_i; {has}")
    if "position_angle_sky" in names and not {"ra", "dec"} <= names:
        raise SimulationError(f"{path}: position_angle_sky needs positions in ra and dec, not in x and y")


def _has_light(given: Mapping[str, np.ndarray], name: str, n: int) -> np.ndarray:
    """Rows in which the disc or the bulge has light, and needs a size."""
    fraction = given.get("bulge_fraction")
    if fraction is None:
        return np.ones(n, dtype=bool)
    return fraction != (1.0 if name == "disc_radius" else 0.0)


def _to_table(
    given: dict[str, np.ndarray],
    label: dict[str, str],
    check: RowCheck,
    star: np.ndarray,
    survey: Survey,
    n: int,
) -> Table:
    """Table with magnitudes for whatever brightness the file has."""
    table = Table()
    table["id"] = given.get("id", np.arange(n, dtype=np.int64))
    for pair in (("x", "y"), ("ra", "dec")):
        if set(pair) <= set(given):
            for name in pair:
                table[name] = given[name]
    for band in FILTERS:
        # The zero point that the caller gave holds for its band alone.
        one = survey if survey.band == band else get_survey(band)
        is_asked = band == survey.band
        if f"mag_{band}" in given:
            mag, used = given[f"mag_{band}"], f"mag_{band}"
        elif f"flux_{band}" in given:
            mag, used = njy_to_mag(given[f"flux_{band}"]), f"flux_{band}"
        elif f"n_photon_{band}" in given:
            # Photons of 30 s, whatever the length of an exposure of the survey is.
            photons = given[f"n_photon_{band}"] * one.exposure_time / 30.0
            mag, used = one.photons_to_mag(photons), f"n_photon_{band}"
        elif is_asked and "mag" in given:
            mag, used = given["mag"], "mag"
        elif is_asked and "flux" in given:
            mag, used = njy_to_mag(given["flux"]), "flux"
        else:
            continue
        check(label[used], (mag >= 0.0) & (mag <= 60.0), "between the AB magnitudes 0 and 60")
        table[f"mag_{band}"] = mag
    for name in CATALOG_COLUMNS:
        if name in given and name not in ("id", "x", "y", "ra", "dec") and "mag" not in name:
            if not name.startswith(("flux", "n_photon")):
                table[name] = given[name]
    # The size of a part without light is not asked for, nor is that of a star.
    other = {"disc_radius": "bulge_radius", "bulge_radius": "disc_radius"}
    for name in _RADII:
        if name in table.colnames:
            dark = ~_has_light(given, name, n) if name in other else np.zeros(n, dtype=bool)
            spare = given.get(other.get(name, name), given[name])
            table[name] = np.where(star, 0.0, np.where(dark, spare, given[name]))
    if "n_knots" in table.colnames:
        table["n_knots"] = np.where(star, 0, np.nan_to_num(given["n_knots"])).astype(np.int32)
    return table


def _split_unit(text: str) -> tuple[str, str | None]:
    match = re.fullmatch(r"(.*\S)\s*\[([^\[\]]*)\]", text.strip())
    return (match[1], match[2].strip()) if match else (text.strip(), None)


def match_columns(path: Path, found: list[str], mapping: dict[str, str]) -> dict[str, tuple[str, str | None]]:
    """Find `CATALOG_COLUMNS` among the columns of a file, by ``mapping`` or by their own names.

    Gives for each that the file has its name there, and the unit that overrides that of the file or `None`;
    `SimulationError` for a name that is not one of ours, or that the file does not have.
    """
    unknown = [name for name in mapping if name not in CATALOG_COLUMNS]
    if unknown:
        raise SimulationError(
            f"there is no column {', '.join(unknown)} of galaxies to be read from {path}; "
            f"known are: {', '.join(CATALOG_COLUMNS)}"
        )
    exact = {_split_unit(column)[0]: column for column in found}
    folded: dict[str, list[str]] = {}
    for name in exact:
        folded.setdefault(name.lower(), []).append(name)
    names: dict[str, tuple[str, str | None]] = {}
    for name in CATALOG_COLUMNS:
        target, unit = _split_unit(mapping[name]) if name in mapping else (name, None)
        if target not in exact and target not in found:
            candidates = folded.get(target.lower(), [])
            if len(candidates) != 1:
                if name in mapping:
                    hint = did_you_mean(target, found)
                    known = ", ".join(found) or "nothing"
                    raise SimulationError(f"{path} has no column {target} for {name}{hint}; it has: {known}")
                continue
            target = candidates[0]
        column = target if target in found else exact[target]
        names[name] = (column, unit if unit is not None else _split_unit(column)[1])
    return names


def convert_column(path: Path, raw: Table, name: str, column: str, unit: str | None) -> np.ndarray:
    """Get a column of a file in our unit, shape (n,), float64; of ``id`` int64, of ``is_star`` bool.

    A missing radius is NaN, other missing values and those of another kind are refused.
    """
    data, check = raw[column], RowCheck(path)
    if name == "id":
        return identifiers(data, column, path)
    if name == "is_star":
        values, masked = column_values(data, column, path)
        check(column, ~masked, "given")
        flags, known = truth_values(values)
        check(column, known, "true or false, or 1 or 0")
        return flags
    numbers, masked = numbers_in_unit(data, name, column, path, unit=unit)
    check(column, ~masked | name.endswith("_radius"), "given")
    numbers[masked] = np.nan
    return numbers

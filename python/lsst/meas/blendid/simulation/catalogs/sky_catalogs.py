# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Galaxies and stars of skyCatalogs, the input catalogues of DESC's image simulations.

A catalogue is a folder with four Parquet files for each healpixel of the sky
(https://github.com/LSSTDESC/skyCatalogs, schema 1.1 to 1.3): ``galaxy_<n>.parquet``,
``galaxy_flux_<n>.parquet``, ``pointsource_<n>.parquet`` and
``pointsource_flux_<n>.parquet``. A healpixel has millions of galaxies; only the rows
in the field are kept, and no more than a row group of the others is in memory.
"""

from __future__ import annotations

__all__ = ("SkyCatalogSource", "find_healpixel_files")

import dataclasses
import json
import logging
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.table import Table, vstack

from ..errors import SimulationError
from ..survey import EFFECTIVE_AREA, Survey, get_survey
from .columns import FILTERS, RowCheck
from .sky_field import SkyField, mean_position

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from pyarrow import Table as PyarrowTable
    from pyarrow.compute import Expression
    from pyarrow.dataset import Dataset, ParquetFileFragment

_LOG = logging.getLogger(__name__)
_SIZES = tuple(f"size_{minor}{part}_true" for part in ("disk", "bulge") for minor in ("", "minor_"))
_LENSING = ("shear_1", "shear_2", "convergence")
_MAGNORMS = ("bulge_magnorm", "disk_magnorm", "knots_magnorm")
_ELLIPTICITIES = ("ellipticity_1_disk_true", "ellipticity_2_disk_true")
_ANGLE = "position_angle_unlensed"
_FLUXES = {band: f"lsst_flux_{band}" for band in FILTERS}

_ZERO_POINTS: dict[str, dict[str, float]] = {
    "1.9": {"u": 26.52, "g": 28.51, "r": 28.36, "i": 28.17, "z": 27.78, "y": 26.82},
}
"""Zero points (SMTN-002 of 2024) of throughputs that a flux file says it was made with."""

_BATCH = 65536
_FAINTEST = 50.0
"""Magnitude of a source without light in one of the bands."""


def find_healpixel_files(path: str | Path | Sequence[str | Path]) -> dict[int, Path]:
    """Find the galaxy files of a folder, or check those that are given, by healpixel and in its order.

    `SimulationError` if there are none, one has another name, or two are of one healpixel;
    `FileNotFoundError` for what does not exist.
    """
    pattern = re.compile(r"galaxy_(\d+)\.parquet")
    if isinstance(path, (str, Path)) and not Path(path).is_file():
        folder = Path(path)
        if not folder.is_dir():
            raise FileNotFoundError(f"sky catalogue not found: {folder}")
        found = {int(m[1]): p for p in folder.iterdir() if (m := pattern.fullmatch(p.name))}
        if not found:
            raise SimulationError(f"{folder} has no files galaxy_<healpixel>.parquet, as skyCatalogs have")
        return dict(sorted(found.items()))
    files = [Path(path)] if isinstance(path, (str, Path)) else [Path(p) for p in path]
    found = {}
    for file in files:
        match = pattern.fullmatch(file.name)
        if match is None:
            raise SimulationError(f"the name of {file} is not galaxy_<healpixel>.parquet, as in skyCatalogs")
        if not file.is_file():
            raise FileNotFoundError(f"sky catalogue not found: {file}")
        if int(match[1]) in found:
            raise SimulationError(f"{found[int(match[1])]} and {file} are of one healpixel: give one of them")
        found[int(match[1])] = file
    if not found:
        raise SimulationError("no files of a sky catalogue were given")
    return dict(sorted(found.items()))


@dataclasses.dataclass(frozen=True)
class SkyCatalogSource:
    """The galaxies and stars of a field of a sky catalogue.

    Notes
    -----
    *Fluxes* of the files are photons per second and cm² with lensing magnification
    and Milky Way extinction; magnitudes are those of
    `~lsst.meas.blendid.simulation.survey.Survey.photon_flux_to_mag`, or of the
    throughputs that the flux file names, without the magnification. Rows without flux
    in any band are dropped and counted in the log. In the sample that comes with
    skycatalogs 2.5 these are all galaxies at redshifts over 1.67, a third of them; and
    in *grizy* the fluxes of the others are 0.16 to 0.30 mag fainter than what its own SEDs
    give (median).

    *Shapes*, before lensing: a radius is that of the circle with the area of the
    ellipse. The position angle is east of north. Some versions have ellipticities
    instead, which are turned by 90°, as skyCatalogs itself does. The shear components
    are in GalSim's convention, north up and east left. All are turned to the axes of
    the image at the place of the galaxy.

    *Shares of bulge and knots* are those at 500 nm in the rest frame, one number for all
    bands. That of the bulge is within 0.001 of the one in *i* in half of the galaxies, and
    within 0.07 in nine of ten.

    ``id`` is ``galaxy_id``; that of a star is −1 − its ``id``.
    """

    path: str | Path | tuple[str | Path, ...]
    """Folder of the catalogue, or galaxy files of it; other files are looked for beside them."""

    center: tuple[float, float] | None = None
    """ICRS right ascension and declination of the middle of the field, degrees; `None`:
    the middle of the first healpixel that has fluxes."""

    margin: int = 100
    """Width of the border around the field that is filled too, pixels."""

    stars: bool = True
    """Whether stars are read, where the catalogue has them."""

    @property
    def name(self) -> str:
        """Short name."""
        first = self.path if isinstance(self.path, (str, Path)) else (*self.path, "none")[0]
        return f"sky catalogue {Path(first).name}"

    def field_center(self) -> tuple[float, float]:
        """Find the middle of the field.

        Returns
        -------
        ra, dec
            Degrees: `center`, or the default for it.

        Raises
        ------
        SimulationError
            Raised if a file cannot be read or has no positions.
        FileNotFoundError
            Raised if there is no such catalogue.
        """
        if self.center is not None:
            return self.center
        files = find_healpixel_files(self.path)
        with_flux = [file for file in files.values() if _beside(file, "galaxy_flux").is_file()]
        return _middle((with_flux or list(files.values()))[0])

    def galaxies(self, size: tuple[int, int], survey: Survey, rng: np.random.Generator) -> Table:
        """Read the field and its margin; see `.catalog.GalaxySource.galaxies`.

        Parameters
        ----------
        size
            Width and height of the field, pixels.
        survey
            Its pixel scale is used, and its zero point in its band.
        rng
            Not used.

        Returns
        -------
        galaxies
            Table with the columns of a complete catalogue but ``half_light_radius``;
            ``meta["center"]`` is the middle of the field.

        Raises
        ------
        SimulationError
            Raised if columns or files are missing, values make no sense, or no galaxy
            lies in the field.
        FileNotFoundError
            Raised if there is no such catalogue.
        """
        files = find_healpixel_files(self.path)
        field = SkyField(self.field_center(), (int(size[0]), int(size[1])), survey.pixel_scale, self.margin)
        parts: list[Table] = []
        dropped = 0
        for file in files.values():
            table, dark = _read_galaxies(file, field, survey)
            parts += [table] if len(table) else []
            dropped += dark
        if dropped:
            _LOG.warning("%s: %d galaxies without flux in any band were dropped.", self.name, dropped)
        if not any(field.contains(table["x"], table["y"], margin=False).any() for table in parts):
            ra, dec = field.center
            raise SimulationError(
                f"no galaxy of {self.name} is in the field of {size[0]} × {size[1]} pixels at ra {ra:.4f}°, "
                f"dec {dec:.4f}°: {_describe_cover(files)}"
            )
        if self.stars:
            for file in files.values():
                table = _read_stars(file, field, survey)
                parts += [table] if len(table) else []
        galaxies = vstack(parts, metadata_conflicts="silent") if len(parts) > 1 else parts[0]
        galaxies.meta.clear()
        galaxies.meta["center"] = field.center
        return galaxies


def _beside(file: Path, kind: str) -> Path:
    return file.with_name(f"{kind}_{file.stem.rpartition('_')[2]}.parquet")


def _describe_cover(files: dict[int, Path]) -> str:
    first, n = next(iter(files.values())), len(files)
    ra, dec = _middle(first)
    others = f", and {n - 1} more" if n > 1 else ""
    return f"{first.name} is around ra {ra:.2f}°, dec {dec:.2f}°{others}; choose another centre or size"


def _read_galaxies(file: Path, field: SkyField, survey: Survey) -> tuple[Table, int]:
    """Galaxies of one healpixel in the field, and the number of those without flux."""
    needed = ("galaxy_id", "redshift", *_SIZES, *_LENSING, *_MAGNORMS[:2])
    source = _open(file, ("ra", "dec", *needed))
    names = set(source.schema.names)
    angles = [_ANGLE] if _ANGLE in names else list(_ELLIPTICITIES)
    if not set(angles) <= names:
        raise SimulationError(f"{file} has neither column {_ANGLE} nor {' and '.join(_ELLIPTICITIES)}")
    optional = [name for name in ("n_knots", "knots_magnorm") if name in names]
    data = _read_field(file, source, field, [*needed, *angles, *optional])
    if not len(data["row"]):
        return Table(), 0
    check = RowCheck(file, data["row"])
    for name in (*_SIZES, *_LENSING, *angles, "redshift"):
        check(name, np.isfinite(data[name]), "finite")
    for name in _SIZES:
        check(name, data[name] > 0.0, "positive")
    for part in ("disk", "bulge"):
        minor = f"size_minor_{part}_true"
        check(minor, data[minor] <= data[f"size_{part}_true"], f"at most size_{part}_true")
    # A part without light has an infinite magnorm.
    for name in (n for n in _MAGNORMS if n in data):
        check(name, ~np.isnan(data[name]) & (data[name] > -np.inf), "a magnitude")
    gamma = data["shear_1"] + 1j * data["shear_2"]
    kappa = data["convergence"]
    check("convergence", 1.0 - kappa > np.abs(gamma), "less than 1 − the shear")

    mags, lit = _magnitudes(_beside(file, "galaxy_flux"), "galaxy_id", data["galaxy_id"], file, survey)
    # The fluxes are magnified: μ = 1 / ((1 − κ)² − |γ|²).
    unlensed = -2.5 * np.log10((1.0 - kappa) ** 2 - np.abs(gamma) ** 2)
    light = {name: 10.0 ** (-0.4 * data[name]) if name in data else np.zeros(len(lit)) for name in _MAGNORMS}
    bulge, disc, knots = (light[name] for name in _MAGNORMS)
    total = bulge + disc + knots
    check("disk_magnorm", (total > 0.0) | ~lit, "finite, or bulge_magnorm")
    north = field.north_angle(data["ra"], data["dec"])
    if angles == [_ANGLE]:
        east_of_north = np.radians(data[_ANGLE])
    else:
        # The ellipticity (e1, e2) is drawn as a shear of (−e1, −e2), that is at 90° from its angle
        # from west to north: its angle is from north to east.
        east_of_north = 0.5 * np.arctan2(data[_ELLIPTICITIES[1]], data[_ELLIPTICITIES[0]])
    gamma = gamma * np.exp(2j * north)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(disc + knots > 0.0, knots / (disc + knots), 0.0)
        bulge_fraction = np.where(total > 0.0, bulge / total, 0.0)
    n_knots = np.where(share > 0.0, np.nan_to_num(data.get("n_knots", np.zeros(len(lit)))), 0)
    table = Table()
    table["id"] = data["galaxy_id"].astype(np.int64)
    table["x"], table["y"] = data["x"], data["y"]
    table["redshift"] = data["redshift"]
    for band in FILTERS:
        table[f"mag_{band}"] = np.minimum(mags[band] + unlensed, _FAINTEST)
    table["is_star"] = np.zeros(len(lit), dtype=bool)
    for column, part in (("disc_radius", "disk"), ("bulge_radius", "bulge")):
        table[column] = np.sqrt(data[f"size_{part}_true"] * data[f"size_minor_{part}_true"])
    for column, part in (("axis_ratio", "disk"), ("bulge_axis_ratio", "bulge")):
        table[column] = data[f"size_minor_{part}_true"] / data[f"size_{part}_true"]
    table["position_angle"] = np.degrees(east_of_north + north + 0.5 * np.pi) % 180.0
    table["bulge_fraction"] = bulge_fraction
    table["gamma1"], table["gamma2"], table["kappa"] = gamma.real, gamma.imag, kappa
    table["n_knots"] = n_knots.astype(np.int32)
    table["knot_fraction"] = np.where(n_knots > 0, share, 0.0)
    return table[lit], int((~lit).sum())


def _read_stars(galaxy_file: Path, field: SkyField, survey: Survey) -> Table:
    """Stars of one healpixel in the field; an empty table if it has no such files."""
    file = _beside(galaxy_file, "pointsource")
    if not file.is_file():
        return Table()
    source = _open(file, ("id", "ra", "dec"))
    optional = [name for name in ("object_type",) if name in source.schema.names]
    data = _read_field(file, source, field, ["id", *optional], text=optional)
    if not len(data["row"]):
        return Table()
    if optional:
        data = {name: values[data["object_type"] == "star"] for name, values in data.items()}
    ids = data["id"]
    mags, lit = _magnitudes(_beside(file, "pointsource_flux"), "id", ids, file, survey)
    n = len(ids)
    table = Table()
    table["id"] = -1 - ids.astype(np.int64)
    table["x"], table["y"] = data["x"], data["y"]
    table["redshift"] = np.zeros(n)
    for band in FILTERS:
        table[f"mag_{band}"] = mags[band]
    table["is_star"] = np.ones(n, dtype=bool)
    for name in ("disc_radius", "bulge_radius"):
        table[name] = np.zeros(n)
    for name in ("axis_ratio", "bulge_axis_ratio"):
        table[name] = np.ones(n)
    for name in ("position_angle", "bulge_fraction", "gamma1", "gamma2", "kappa"):
        table[name] = np.zeros(n)
    table["n_knots"] = np.zeros(n, dtype=np.int32)
    table["knot_fraction"] = np.zeros(n)
    return table[lit]


def _magnitudes(
    file: Path, key: str, ids: np.ndarray, main: Path, survey: Survey
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """AB magnitudes by band, each (n,), and which rows have light in any band."""
    if not len(ids):
        return {band: np.zeros(0) for band in FILTERS}, np.zeros(0, dtype=bool)
    if not file.is_file():
        raise SimulationError(f"{main.name} has {len(ids)} rows in the field, but there is no {file}")
    source = _open(file, (key, *_FLUXES.values()))
    throughputs = _throughputs(source)
    data = _read_by_id(file, source, key, ids, list(_FLUXES.values()))
    check = RowCheck(file, ids, key)
    lit = np.zeros(len(ids), dtype=bool)
    mags = {}
    for band, column in _FLUXES.items():
        flux = data[column]
        check(column, np.isfinite(flux) & (flux >= 0.0), "finite and not negative")
        lit |= flux > 0.0
        with np.errstate(divide="ignore"):
            mags[band] = np.minimum(_band(band, throughputs, survey, flux), _FAINTEST)
    return mags, lit


def _band(band: str, throughputs: str | None, survey: Survey, flux: np.ndarray) -> np.ndarray:
    """Magnitudes of fluxes in photons/s/cm² made with some version of the throughputs."""
    if throughputs in _ZERO_POINTS:
        return _ZERO_POINTS[throughputs][band] - 2.5 * np.log10(flux * EFFECTIVE_AREA)
    return (survey if survey.band == band else get_survey(band)).photon_flux_to_mag(flux)


def _open(path: Path, needed: Sequence[str]) -> Dataset:
    """Open a Parquet file that must have some columns."""
    from pyarrow import ArrowException
    from pyarrow.dataset import dataset

    try:
        data = dataset(path, format="parquet")
    except (ArrowException, OSError) as err:
        raise SimulationError(f"cannot read {path} as Parquet: {str(err).splitlines()[0]}") from err
    if missing := [name for name in needed if name not in data.schema.names]:
        raise SimulationError(
            f"{path} has no column {', '.join(missing)}; it has: {', '.join(data.schema.names)}"
        )
    return data


def _row_groups(data: Dataset, field: SkyField | None = None) -> Iterator[tuple[int, ParquetFileFragment]]:
    """Row groups with the number of the first row of each; not those whose statistics are off a field."""
    (file,) = data.get_fragments()
    firsts = np.concatenate([[0], np.cumsum([group.num_rows for group in file.row_groups])])
    near = None if field is None else _near(field)
    for group in file.split_by_row_group(near, schema=data.schema):
        yield int(firsts[group.row_groups[0].id]), group


def _near(field: SkyField) -> Expression:
    """Positions in the box around a field, at any turn of right ascension."""
    import pyarrow.compute as pc

    ra0, half, dec_min, dec_max = field.bounds()
    ra, dec = pc.field("ra"), pc.field("dec")
    near = (dec >= dec_min) & (dec <= dec_max)
    if half < 180.0:
        turns = [(ra >= ra0 - half + turn) & (ra <= ra0 + half + turn) for turn in (-360.0, 0.0, 360.0)]
        near &= turns[0] | turns[1] | turns[2]
    return near


def _middle(path: Path) -> tuple[float, float]:
    """Right ascension and declination of the middle of the positions of a file, degrees."""
    means = [
        mean_position(_values(path, batch, "ra"), _values(path, batch, "dec"))
        for _, group in _row_groups(_open(path, ("ra", "dec")))
        for batch in group.to_batches(columns=["ra", "dec"], batch_size=_BATCH)
        if batch.num_rows
    ]
    if not means:
        raise SimulationError(f"{path} has no rows")
    # Batches are of one size but the last, which hardly matters for a middle.
    return mean_position(*np.array(means).T)


def _read_field(
    path: Path, data: Dataset, field: SkyField, columns: Sequence[str], *, text: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Read the rows in a field or its margin, each column of shape (n,) in the order of the file.

    Also ``row``, the numbers of the rows in the file; ``ra`` and ``dec``, degrees; and ``x`` and ``y``,
    pixels of the field. ``text`` names columns of strings; all others are of numbers, float64 or int64.
    """
    names = ("row", "ra", "dec", "x", "y", *columns)
    parts: dict[str, list[np.ndarray]] = {name: [np.zeros(0)] for name in names}
    parts["row"] = [np.zeros(0, dtype=np.int64)]
    for first, group in _row_groups(data, field):
        places = group.to_table(columns=["ra", "dec"])
        ra, dec = _values(path, places, "ra"), _values(path, places, "dec")
        bad = ~(np.isfinite(ra) & (np.abs(dec) <= 90.0))
        if bad.any():
            raise SimulationError(
                f"{path}: columns ra and dec must be places on the sky; "
                f"{bad.sum()} rows are not (first: row {first + int(np.argmax(bad))})"
            )
        x, y = field.to_pixels(ra, dec)
        inside = np.flatnonzero(field.contains(x, y))
        if not len(inside):
            continue
        rows = first + inside
        found = (rows, ra[inside], dec[inside], x[inside], y[inside])
        for name, values in zip(("row", "ra", "dec", "x", "y"), found, strict=True):
            parts[name].append(values)
        # Positions first: most row groups have no galaxy of the field, and shapes are many columns.
        picked = group.to_table(columns=list(columns)).take(inside)
        for name in columns:
            parts[name].append(_values(path, picked, name, rows, text=name in text))
    # Without the empty start, which would make numbers of identifiers.
    return {name: np.concatenate(part[1:] or part) for name, part in parts.items()}


def _read_by_id(
    path: Path, data: Dataset, key: str, ids: np.ndarray, columns: Sequence[str]
) -> dict[str, np.ndarray]:
    """Read the rows of objects, each column of shape (n,) in the order of ``ids``, which are different."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(ids, type=data.schema.field(key).type)
    # Flux files are in no order of the sky, so that only the identifiers can be looked for.
    table = data.to_table(columns=[key, *columns], filter=pc.field(key).isin(wanted))
    order = np.argsort(ids, kind="stable")
    position = order[np.searchsorted(ids[order], _values(path, table, key))]
    count = np.bincount(position, minlength=len(ids))
    for bad, what in ((count == 0, "no row for"), (count > 1, "several rows for")):
        if bad.any():
            shown = ", ".join(str(i) for i in ids[bad][:5]) + (", …" if bad.sum() > 5 else "")
            raise SimulationError(
                f"{path} has {what} {bad.sum()} of the {len(ids)} objects in the field ({key} {shown})"
            )
    back = np.argsort(position, kind="stable")
    return {name: _values(path, table, name)[back] for name in columns}


def _values(
    path: Path,
    table: PyarrowTable | RecordBatch,
    name: str,
    rows: np.ndarray | None = None,
    *,
    text: bool = False,
) -> np.ndarray:
    """Get a column as int64 or float64, or as objects if it is of ``text``; ``rows`` are their numbers."""
    from pyarrow import types

    column = table.column(name)
    if column.null_count:
        null = np.flatnonzero(np.asarray(column.is_null()))
        at = "" if rows is None else f" (rows {', '.join(str(i) for i in rows[null[:5]])})"
        raise SimulationError(f"{path}: column {name} has no value in {len(null)} rows{at}")
    if text:
        return np.asarray(column.to_pylist(), dtype=object)
    for is_kind, dtype in ((types.is_integer, np.int64), (types.is_floating, np.float64)):
        if is_kind(column.type):
            return np.asarray(column).astype(dtype)
    raise SimulationError(f"{path}: column {name} must be numbers, not {column.type}")


def _throughputs(data: Dataset) -> str | None:
    """Version of LSST's throughputs with which the fluxes of a file were made, if it says so."""
    metadata = data.schema.metadata or {}
    try:
        provenance = json.loads(metadata.get(b"provenance", b"{}"))
        return str(provenance["flux_dependencies"]["lsst_throughputs_version"])
    except (KeyError, TypeError, ValueError):
        return None

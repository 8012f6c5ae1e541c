# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""From a source of galaxies to the complete catalogue of a field.

A source is anything with the method of `GalaxySource`: given the size of a field
it returns a table of galaxies with ``x`` and ``y`` in pixels relative to the first
pixel of the field, a brightness, and as many further columns of
`~lsst.meas.blendid.simulation.catalogs.columns.GALAXY_COLUMNS` as it knows.
"""

from __future__ import annotations

__all__ = (
    "BUILT_IN_NAMES",
    "GalaxySource",
    "TableSource",
    "as_source",
    "make_catalog",
)

import dataclasses
import re
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from astropy.table import Table, vstack

from ..config import PopulationConfig
from ..errors import SimulationError
from ..random_streams import check_seed, random_stream
from ..survey import Survey
from .columns import check_column, identifiers, in_field
from .galaxies import JOINT_MODEL, SizeModel, complete_galaxies, get_size_model
from .parametric import ParametricCatalog
from .structures import draw_structures, fill_structures
from .truths import TruthScene, check_split, find_truth_scene, split_of

BUILT_IN_NAMES = ("parametric", "cosmodc2")
"""Names of the built-in catalogue, which are no paths."""

# One stream a purpose: a change of one leaves the others as they were. Stream 3 is the noise.
_POSITIONS, _SHAPES, _SIZES, _STARS, _KNOTS, _NUMBERS = 1, 2, 4, 5, 6, 7
_BRIGHT, _STRUCTURES, _MERGERS = 8, 9, 10
# Width of the border around the field that gets stars too, pixels.
_MARGIN = 100


class GalaxySource(Protocol):
    """Something that can fill a field with galaxies."""

    @property
    def name(self) -> str:
        """Short name, kept in the metadata of the truth table."""

    def galaxies(self, size: tuple[int, int], survey: Survey, rng: np.random.Generator) -> Table:
        """Get the galaxies of a field and of a margin around it.

        Parameters
        ----------
        size
            Width and height of the field, pixels.
        survey
            Band, pixel scale and zero point.
        rng
            Source of random numbers.

        Returns
        -------
        galaxies
            Table with columns ``x``, ``y`` and a brightness at least, in a form that
            `~lsst.meas.blendid.simulation.complete_galaxies` takes.
        """


@dataclasses.dataclass(frozen=True)
class TableSource:
    """A table of galaxies that exists already."""

    table: Table
    """Galaxies, positions relative to the first pixel of the field."""

    name: str = "table"
    """Short name."""

    def galaxies(self, size: tuple[int, int], survey: Survey, rng: np.random.Generator) -> Table:
        """Get the table; see `GalaxySource.galaxies`.

        Parameters
        ----------
        size
            Not used.
        survey
            Not used.
        rng
            Not used.

        Returns
        -------
        galaxies
            The table.
        """
        return self.table


def as_source(
    source: GalaxySource | Table | str | Path | int | None, *, split: str | None = None
) -> GalaxySource:
    """Make a source of galaxies from what a user has.

    Parameters
    ----------
    source
        A source; a table; the number of a truth scene (of `truth_folder`) or the path of one, which
        is called ``scene_XX.fits``; the path of a table of another name; the folder of
        a skyCatalogs catalogue or one of its galaxy files; "parametric", "cosmodc2" or `None`
        for the built-in catalogue.
    split
        Part of the sky ("train", "validation", "test") that a truth scene must belong to.

    Returns
    -------
    source
        The source.

    Raises
    ------
    SimulationError
        Raised if ``source`` is none of these, or a path to something else.
    SplitError
        Raised for a path that is not that of a truth scene, if a split is asked for.
    FileNotFoundError
        Raised if there is nothing at a path.
    """
    if source is None or (isinstance(source, str) and source in BUILT_IN_NAMES):
        return ParametricCatalog()
    if isinstance(source, Table):
        return TableSource(source)
    # A bool is an int to Python.
    if isinstance(source, (int, np.integer)) and not isinstance(source, bool):
        return TruthScene(find_truth_scene(int(source)), split=split)
    # The scenes of the paper by their file names, so that their splits hold wherever they lie.
    if isinstance(source, (str, Path)):
        path = Path(source)
        return TruthScene(path, split=split) if split_of(path) is not None else _file_source(path, split)
    if callable(getattr(source, "galaxies", None)):
        return cast(GalaxySource, source)
    raise SimulationError(
        f"cannot get galaxies from a {type(source).__name__}; give 'parametric', a truth file or a table"
    )


def _file_source(path: Path, split: str | None) -> GalaxySource:
    """Source of a table or a skyCatalogs catalogue, told apart by their names."""
    # Late, because they read Parquet.
    from .catalog_files import FileSource
    from .sky_catalogs import SkyCatalogSource

    if split is not None:
        check_split(path, split)
    if path.is_dir():
        if any(path.glob("galaxy_*.parquet")):
            return SkyCatalogSource(path)
        raise SimulationError(f"{path} is a folder without galaxy_*.parquet, so no skyCatalogs catalogue")
    if not path.is_file():
        raise FileNotFoundError(f"no catalogue {path}; give a file, a folder or 'parametric'")
    if re.fullmatch(r"galaxy_\d+\.parquet", path.name):
        return SkyCatalogSource(path)
    return FileSource(path)


def make_catalog(
    source: GalaxySource | Table | str | Path | int | None,
    *,
    size: tuple[int, int],
    survey: Survey,
    seed: int,
    size_model: str | SizeModel = "cosmodc2-galaxies",
    population: PopulationConfig | None = None,
    split: str | None = None,
) -> Table:
    """Make the complete catalogue of a field.

    Parameters
    ----------
    source
        Where the galaxies come from; see `~lsst.meas.blendid.simulation.as_source`.
    size
        Width and height of the field, pixels.
    survey
        Its pixel scale is used, and its band for magnitudes that do not say theirs.
        The catalogue has all six bands whatever it is.
    seed
        Seed of everything that is drawn.
    size_model
        Where sizes and shapes come from that the source does not give; see
        `~lsst.meas.blendid.simulation.complete_galaxies`.
    population
        How the objects differ from those of the source (default: not at all).
    split
        Part of the sky that a truth scene must belong to.

    Returns
    -------
    catalog
        Table with all of `~lsst.meas.blendid.simulation.catalogs.columns.GALAXY_COLUMNS`, objects of
        the margin of the field included. Metadata: source, split, seed, size model and
        population.

    Raises
    ------
    SimulationError
        Raised for a bad table or setting, or if no object is centred in the field.
    """
    population = PopulationConfig() if population is None else population
    population.validate()
    width, height = (int(v) for v in size)
    if width < 1 or height < 1:
        raise SimulationError(f"the size of a scene must be positive, not {width} × {height}")
    check_seed(seed)
    # Before anything is drawn: an unknown name is told at once.
    model_name = JOINT_MODEL if size_model == JOINT_MODEL else get_size_model(size_model).name
    galaxy_source = as_source(source, split=split)
    name = galaxy_source.name
    counts_done = isinstance(galaxy_source, ParametricCatalog)
    if isinstance(galaxy_source, ParametricCatalog):
        # Its counts are a law, which is scaled before it is drawn from; those of others are rows.
        galaxy_source = dataclasses.replace(
            galaxy_source,
            counts=galaxy_source.counts.scaled(population.countsScale),
            clustering=galaxy_source.clustering * population.clustering,
        )
    elif population.clustering != 1.0:
        raise SimulationError(
            f"{name} has positions of its own: population.clustering must be 1, not {population.clustering:g}"
        )
    # One stream a purpose: more stars do not move a galaxy.
    table = galaxy_source.galaxies((width, height), survey, random_stream(seed, _POSITIONS))
    if not counts_done and population.countsScale != 1.0:
        table = _rescale_counts(table, population.countsScale, (width, height), random_stream(seed, _NUMBERS))
    catalog = complete_galaxies(table, size_model, random_stream(seed, _SHAPES), band=survey.band)
    bright = _draw_bright(population, (width, height), survey, size_model, random_stream(seed, _BRIGHT))
    if len(bright):
        bright["id"] = _further_ids(catalog["id"], len(bright))
        fill_structures(bright, catalog)
        catalog = vstack([catalog, bright], metadata_conflicts="silent")
    if population.mergerFraction > 0.0:
        catalog = _add_mergers(catalog, population, survey, random_stream(seed, _MERGERS))
    _change_sizes(catalog, population, random_stream(seed, _SIZES))
    _add_knots(catalog, population, random_stream(seed, _KNOTS))
    draw_structures(catalog, population.structures, random_stream(seed, _STRUCTURES))
    stars = _draw_stars(population, (width, height), survey, random_stream(seed, _STARS))
    if len(stars):
        stars["id"] = _further_ids(catalog["id"], len(stars))
        fill_structures(stars, catalog)
        catalog = vstack([catalog, stars], metadata_conflicts="silent")
    if not population.doLensing:
        # Columns stay, so that tables of all settings have the same ones.
        for column in ("gamma1", "gamma2", "kappa"):
            catalog[column] = np.zeros(len(catalog))
    if not in_field(catalog["x"], catalog["y"], (width, height)).any():
        where = f"no galaxy of {name} ({len(catalog)} rows) is in the field of {width} × {height}"
        if len(catalog):
            x, y = catalog["x"], catalog["y"]
            where += f" pixels; x is {min(x):.6g} to {max(x):.6g}, y {min(y):.6g} to {max(y):.6g}"
        raise SimulationError(where)
    catalog.meta.update(
        {
            "source": name,
            "split": table.meta.get("split", "none"),
            "seed": seed,
            "size_model": model_name,
            "population": population.toDict(),
        }
    )
    return catalog


def _rescale_counts(table: Table, factor: float, size: tuple[int, int], rng: np.random.Generator) -> Table:
    """Leave out some galaxies, or repeat some at random places of the field and its margin."""
    if factor < 1.0:
        return table[rng.uniform(size=len(table)) < factor]
    whole = int(factor)
    # The fraction by chance, which keeps the mean.
    repeats = whole - 1 + (rng.uniform(size=len(table)) < factor - whole)
    more = table[np.repeat(np.arange(len(table)), repeats)]
    for name, length in zip(("x", "y"), size, strict=True):
        values = check_column(table, name)
        low = min(-0.5, float(np.min(values, initial=np.inf)))
        high = max(length - 0.5, float(np.max(values, initial=-np.inf)))
        # A galaxy repeated at its place would make blends of equal pairs.
        more[name] = rng.uniform(low, high, len(more))
    if "id" in table.colnames:
        more["id"] = _further_ids(identifiers(table["id"], "'id'"), len(more))
    return vstack([table, more], metadata_conflicts="silent")


def _further_ids(used: np.ndarray, n: int) -> np.ndarray:
    """Numbers for n further objects, after the greatest that is used."""
    first = int(np.max(used, initial=-1)) + 1
    if first + n > np.iinfo(np.int64).max:
        raise SimulationError(
            f"galaxy table: column 'id' goes up to {first - 1}, which leaves none for others"
        )
    return first + np.arange(n, dtype=np.int64)


def _change_sizes(catalog: Table, population: PopulationConfig, rng: np.random.Generator) -> None:
    """Scale the radii, those of a galaxy by one factor."""
    if population.sizeScale == 1.0 and population.sizeScatter == 0.0:
        return
    # Lognormal, in dex, as the sizes of galaxies of one magnitude scatter.
    factor = population.sizeScale * 10.0 ** (population.sizeScatter * rng.standard_normal(len(catalog)))
    for name in ("half_light_radius", "disc_radius", "bulge_radius"):
        catalog[name] *= factor


def _add_knots(catalog: Table, population: PopulationConfig, rng: np.random.Generator) -> None:
    """Give knots to a share of the galaxies that have none of their source."""
    n = len(catalog)
    chosen = rng.uniform(size=n) < population.clumpyFraction
    number = 1 + rng.poisson(population.clumpNumber - 1.0, n)
    chosen &= ~np.asarray(catalog["is_star"]) & (np.asarray(catalog["n_knots"]) == 0)
    chosen &= (np.asarray(catalog["bulge_fraction"]) < 1.0) & (population.clumpLight > 0.0)
    catalog["n_knots"] = np.where(chosen, number, catalog["n_knots"]).astype(np.int32)
    catalog["knot_fraction"] = np.where(chosen, population.clumpLight, catalog["knot_fraction"])


def _scatter(
    density: float, size: tuple[int, int], survey: Survey, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Random places, x and y in pixels, all over the field and a margin; ``density`` is per arcmin²."""
    width, height = (length + 2 * _MARGIN for length in size)
    area = width * height * survey.pixel_scale**2 / 3600.0
    n = int(rng.poisson(density * area))
    x, y = (rng.uniform(-0.5 - _MARGIN, length - 0.5 + _MARGIN, n) for length in size)
    return x, y


def _draw_bright(
    population: PopulationConfig,
    size: tuple[int, int],
    survey: Survey,
    size_model: str | SizeModel,
    rng: np.random.Generator,
) -> Table:
    """Draw bright galaxies, as many of each magnitude, with sizes of the law of the others."""
    galaxies = Table()
    galaxies["x"], galaxies["y"] = _scatter(population.brightDensity, size, survey, rng)
    if not len(galaxies):
        return galaxies
    galaxies["mag_i"] = rng.uniform(population.brightMagBright, population.brightMagFaint, len(galaxies))
    # The joint distribution of cosmoDC2 has hardly any as bright.
    model = "cosmodc2" if size_model == JOINT_MODEL else size_model
    return complete_galaxies(galaxies, model, rng)


_MERGING_MAG = 24.0
"""Faintest galaxies that are given a companion."""
_MERGING_DISTANCE = (0.3, 2.0)
"""Distance of that, in half-light radii of the galaxy."""
_MERGING_RANGE = 2.0
"""Magnitudes that it is fainter, at most."""


def _add_mergers(
    catalog: Table, population: PopulationConfig, survey: Survey, rng: np.random.Generator
) -> Table:
    """Give some galaxies a companion: the same galaxy turned, fainter, and smaller by the same surface
    brightness.
    """
    n = len(catalog)
    bright = ~np.asarray(catalog["is_star"]) & (np.asarray(catalog["mag_i"]) < _MERGING_MAG)
    chosen = np.flatnonzero(bright & (rng.uniform(size=n) < population.mergerFraction))
    others, m = catalog[chosen], len(chosen)
    if not m:
        return catalog
    fainter, angle = _MERGING_RANGE * rng.uniform(size=m), rng.uniform(0.0, 2.0 * np.pi, m)
    distance = rng.uniform(*_MERGING_DISTANCE, m) * others["half_light_radius"] / survey.pixel_scale
    others["x"] += distance * np.cos(angle)
    others["y"] += distance * np.sin(angle)
    for name in others.colnames:
        if name.startswith("mag_"):
            others[name] += fainter
        elif name.endswith("_radius"):
            others[name] *= 10.0 ** (-0.2 * fainter)
    others["position_angle"] = rng.uniform(0.0, 180.0, m)
    others["axis_ratio"] = rng.uniform(0.3, 1.0, m)
    others["id"] = _further_ids(catalog["id"], m)
    return vstack([catalog, others], metadata_conflicts="silent")


def _draw_stars(
    population: PopulationConfig, size: tuple[int, int], survey: Survey, rng: np.random.Generator
) -> Table:
    """Draw stars with counts ∝ 10^(slope mag) all over the field and a margin."""
    stars = Table()
    x, y = _scatter(population.starDensity, size, survey, rng)
    if not (n := len(x)):
        return stars
    stars["id"] = np.arange(n, dtype=np.int64)
    stars["x"], stars["y"] = x, y
    bright, faint, slope = population.starMagBright, population.starMagFaint, population.starSlope
    u = rng.uniform(size=n)
    if slope > 0.0:
        stars["mag_i"] = faint + np.log10(u + (1.0 - u) * 10.0 ** (slope * (bright - faint))) / slope
    else:
        stars["mag_i"] = bright + (faint - bright) * u
    stars["is_star"] = np.ones(n, dtype=bool)
    return complete_galaxies(stars, "cosmodc2", rng)

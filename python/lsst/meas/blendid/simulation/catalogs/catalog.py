# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Where galaxies come from.

A source is anything with the method of `GalaxySource`: given the size of a field
it returns a table of galaxies with ``x`` and ``y`` in pixels relative to the first
pixel of the field, a brightness, and as many further columns of
`~lsst.meas.blendid.simulation.catalogs.galaxies.GALAXY_COLUMNS` as it knows.
"""

from __future__ import annotations

__all__ = (
    "BUILT_IN_NAMES",
    "CumulativeCounts",
    "GalaxySource",
    "ParametricCatalog",
    "TableSource",
    "TruthScene",
    "as_source",
)

import dataclasses
import re
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from astropy.table import Table

from .._errors import SimulationError
from ..survey import Survey, get_survey
from .parametric import CumulativeCounts, ParametricCatalog
from .truths import FIELD_SIZE, check_split, find_truth_scene, read_truth_scene, split_of

BUILT_IN_NAMES = ("parametric", "cosmodc2")
"""Names of the built-in catalogue, which are no paths."""


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
            `~lsst.meas.blendid.simulation.catalogs.galaxies.complete_galaxies` takes.
        """


@dataclasses.dataclass(frozen=True)
class TruthScene:
    """One of the scenes whose truths were released with Buchanan et al. 2022.

    See `~lsst.meas.blendid.simulation.catalogs.truths.read_truth_scene`.
    """

    path: Path
    """File of the scene."""

    split: str | None = None
    """Part of the sky that the scene must belong to (`None`: any)."""

    @property
    def name(self) -> str:
        """Short name."""
        return self.path.stem

    def galaxies(self, size: tuple[int, int], survey: Survey, rng: np.random.Generator) -> Table:
        """Read the galaxies of the field and its margin; see `GalaxySource.galaxies`.

        Those of the margin, which may be sky of another split, are for drawing: the
        truth of a simulated scene has only what is centred in its image.

        Parameters
        ----------
        size
            Width and height of the field, at most 2048 pixels each.
        survey
            Converts photons to magnitudes, if it is that of band i.
        rng
            Not used.

        Returns
        -------
        galaxies
            Table with columns ``id``, ``x``, ``y`` (pixels), ``mag_i``, ``in_field``, and ``gamma1``,
            ``gamma2`` and ``kappa``, which are 0 so that the fluxes stay those of the file.

        Raises
        ------
        SimulationError
            Raised if the field is larger than the scene.
        """
        if max(size) > FIELD_SIZE:
            raise SimulationError(
                f"{self.path.name} covers {FIELD_SIZE} × {FIELD_SIZE} pixels, "
                f"less than the {size[0]} × {size[1]} asked for"
            )
        of_band = survey if survey.band == "i" else get_survey("i")
        table = read_truth_scene(self.path, split=self.split, survey=of_band, margin=True)
        table.rename_column("mag", "mag_i")
        # The fluxes are what was seen: they must not be magnified.
        for name in ("gamma1", "gamma2", "kappa"):
            table[name] = np.zeros(len(table))
        return table


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
    if isinstance(source, (int, np.integer)) and not isinstance(source, bool):
        return TruthScene(find_truth_scene(int(source)), split=split)
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

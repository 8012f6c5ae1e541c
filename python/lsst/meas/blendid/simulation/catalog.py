# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Where galaxies come from: a parametric catalogue and the truths of a paper.

A source is anything with the method of `GalaxySource`: given the size of a field
it returns a table of galaxies with ``x`` and ``y`` in pixels relative to the first
pixel of the field, ``mag``, and as many further columns of
`~lsst.meas.blendid.simulation.galaxies.GALAXY_COLUMNS` as it knows.
"""

from __future__ import annotations

__all__ = (
    "CumulativeCounts",
    "GalaxySource",
    "ParametricCatalog",
    "TableSource",
    "TruthScene",
    "as_source",
)

import dataclasses
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from astropy.table import Table

from ._errors import SimulationError
from .survey import Survey
from .truths import FIELD_SIZE, find_truth_scene, read_truth_scene


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
            Table with columns ``x``, ``y``, ``mag`` at least.
        """


@dataclasses.dataclass(frozen=True)
class CumulativeCounts:
    """Galaxies per arcmin² brighter than a magnitude, log-linear between nodes.

    The defaults are the *i*-band counts of cosmoDC2 (Korytov et al. 2019). The
    slopes of the first and last pair of nodes are continued beyond them, which
    gives 740 per arcmin² at i = 29.
    """

    magnitudes: tuple[float, ...] = (24.0, 25.0, 26.0, 27.0, 28.0)
    """Magnitudes of the nodes, increasing."""

    counts: tuple[float, ...] = (19.7, 42.8, 89.9, 191.0, 376.0)
    """Cumulative counts at the nodes, per arcmin², increasing."""

    def __post_init__(self) -> None:
        m, n = np.asarray(self.magnitudes), np.asarray(self.counts)
        if len(m) < 2 or len(m) != len(n) or not (np.diff(m) > 0).all():
            raise SimulationError("number counts need two or more increasing magnitudes, one count for each")
        if not (n > 0).all() or not (np.diff(n) > 0).all():
            raise SimulationError("cumulative number counts must be positive and increase with magnitude")

    def __call__(self, mag: np.ndarray | float) -> np.ndarray:
        """Cumulative counts.

        Parameters
        ----------
        mag
            AB magnitudes, scalar or array.

        Returns
        -------
        counts
            Galaxies per arcmin² brighter than that, of the same shape.
        """
        m, logn = np.asarray(self.magnitudes), np.log10(self.counts)
        return 10.0 ** self._extrapolate(np.asarray(mag, dtype=np.float64), m, logn)

    def invert(self, counts: np.ndarray) -> np.ndarray:
        """Magnitude at which the cumulative counts reach a value.

        Parameters
        ----------
        counts
            Positive counts per arcmin².

        Returns
        -------
        mag
            AB magnitudes, of the same shape.
        """
        m, logn = np.asarray(self.magnitudes), np.log10(self.counts)
        return self._extrapolate(np.log10(counts), logn, m)

    @staticmethod
    def _extrapolate(at: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        i = np.clip(np.searchsorted(x, at) - 1, 0, len(x) - 2)
        slope = (y[i + 1] - y[i]) / (x[i + 1] - x[i])
        return y[i] + slope * (at - x[i])


@dataclasses.dataclass(frozen=True)
class ParametricCatalog:
    """Galaxies with the number counts of cosmoDC2 and mild clustering.

    Notes
    -----
    Magnitudes are drawn from the counts. A galaxy is a member of a group with
    probability min(0.3, clustering / √n), n the galaxies per arcmin² brighter than
    it; members are dealt out to groups at random places (0.3 per arcmin²) at a
    distance uniform in 0–60″, a surface density ∝ 1/r. The other galaxies are placed
    at random. The recipe gives the excess of pairs of the true
    positions of Buchanan et al. 2022 at 0.5–30″ to about the scatter between their
    scenes; in those the number of excess neighbours of a galaxy hardly depends
    on the limiting magnitude, so that groups must have flatter counts (∝ √n).
    ``clustering=0`` gives Poisson positions.
    """

    counts: CumulativeCounts = CumulativeCounts()
    """Number counts."""

    mag_bright: float = 17.5
    """Magnitude of the brightest galaxies."""

    mag_faint: float = 29.0
    """Magnitude of the faintest galaxies."""

    clustering: float = 1.0
    """Scale of the fraction of galaxies in groups."""

    margin: int = 100
    """Width of the border around the field that is filled too, pixels."""

    group_density: float = 0.3
    """Groups per arcmin²."""

    group_radius: float = 60.0
    """Greatest distance of a member from the centre of its group, arcsec."""

    def __post_init__(self) -> None:
        if not self.mag_bright < self.mag_faint:
            raise SimulationError(
                f"mag_bright must be less than mag_faint, not {self.mag_bright} and {self.mag_faint}"
            )
        if self.clustering < 0 or self.margin < 0:
            raise SimulationError("clustering and margin of the parametric catalogue must be ≥ 0")

    @property
    def name(self) -> str:
        """Short name."""
        return "parametric"

    def galaxies(self, size: tuple[int, int], survey: Survey, rng: np.random.Generator) -> Table:
        """Draw the galaxies of a field; see `GalaxySource.galaxies`.

        Parameters
        ----------
        size
            Width and height of the field, pixels.
        survey
            Its pixel scale is used.
        rng
            Source of random numbers.

        Returns
        -------
        galaxies
            Table with columns ``x``, ``y`` (pixels) and ``mag``.
        """
        scale = survey.pixel_scale
        # Drawn over a greater box, because groups outside the field reach into it.
        reach = self.margin * scale + self.group_radius
        width, height = size[0] * scale + 2 * reach, size[1] * scale + 2 * reach
        area = width * height / 3600.0
        first, last = self.counts(self.mag_bright), self.counts(self.mag_faint)
        n = int(rng.poisson((last - first) * area))
        cumulative = rng.uniform(first, last, n)
        x = rng.uniform(0.0, width, n)
        y = rng.uniform(0.0, height, n)
        member = rng.uniform(size=n) < np.minimum(0.3, self.clustering / np.sqrt(cumulative))
        n_groups = int(rng.poisson(self.group_density * area))
        if n_groups:
            m = int(member.sum())
            group = rng.integers(0, n_groups, m)
            radius = rng.uniform(0.0, self.group_radius, m)
            angle = rng.uniform(0.0, 2.0 * np.pi, m)
            # Periodic, so that the mean density is that of the counts up to the border.
            x[member] = (rng.uniform(0.0, width, n_groups)[group] + radius * np.cos(angle)) % width
            y[member] = (rng.uniform(0.0, height, n_groups)[group] + radius * np.sin(angle)) % height
        table = Table()
        table["x"] = (x - reach) / scale - 0.5
        table["y"] = (y - reach) / scale - 0.5
        table["mag"] = self.counts.invert(cumulative)
        lo = -0.5 - self.margin
        keep = (table["x"] >= lo) & (table["x"] < size[0] + self.margin - 0.5)
        keep &= (table["y"] >= lo) & (table["y"] < size[1] + self.margin - 0.5)
        return table[keep]


@dataclasses.dataclass(frozen=True)
class TruthScene:
    """One of the scenes whose truths were released with Buchanan et al. 2022.

    See `~lsst.meas.blendid.simulation.truths.read_truth_scene`.
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
            Converts photons to magnitudes.
        rng
            Not used.

        Returns
        -------
        galaxies
            Table with columns ``id``, ``x``, ``y`` (pixels), ``mag`` and ``in_field``.

        Raises
        ------
        SimulationError
            Raised if the field is larger than the scene or of another band.
        """
        if survey.band != "i":
            raise SimulationError(f"{self.path.name} has i-band fluxes only, not {survey.band!r}")
        if max(size) > FIELD_SIZE:
            raise SimulationError(
                f"{self.path.name} covers {FIELD_SIZE} × {FIELD_SIZE} pixels, "
                f"less than the {size[0]} × {size[1]} asked for"
            )
        return read_truth_scene(self.path, split=self.split, survey=survey, margin=True)


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
        A source; a table; the path of a truth file; the number of a truth scene (of
        `truth_folder`); ``"parametric"`` or `None` for the built-in catalogue.
    split
        Part of the sky ("train", "validation", "test") that a truth scene must belong to.

    Returns
    -------
    source
        The source.

    Raises
    ------
    SimulationError
        Raised if ``source`` is none of these, or is a scene outside of the split.
    """
    if source is None or (isinstance(source, str) and source == "parametric"):
        return ParametricCatalog()
    if isinstance(source, Table):
        return TableSource(source)
    if isinstance(source, (int, np.integer)) and not isinstance(source, bool):
        return TruthScene(find_truth_scene(int(source)), split=split)
    if isinstance(source, (str, Path)):
        return TruthScene(Path(source), split=split)
    if callable(getattr(source, "galaxies", None)):
        return cast(GalaxySource, source)
    raise SimulationError(
        f"cannot get galaxies from a {type(source).__name__}; give 'parametric', a truth file or a table"
    )

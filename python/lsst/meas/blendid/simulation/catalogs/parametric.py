# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Galaxies with the number counts of cosmoDC2 and its clustering, and clustering counted in pairs."""

from __future__ import annotations

__all__ = (
    "CumulativeCounts",
    "PairCounts",
    "ParametricCatalog",
    "count_pairs",
)

import dataclasses

import numpy as np
from astropy.table import Table

from ..errors import SimulationError
from ..survey import Survey

# Greatest share of members among galaxies of a magnitude.
_MAX_MEMBERS = 0.5
# Groups per arcmin², and the greatest distance of a member from the centre of its group, arcsec.
_GROUP_DENSITY = 2.0
_GROUP_RADIUS = 25.0
# Distances from the centre of a group are those of a power of a uniform number.
_GROUP_EXPONENT = 1.15
# Scatter of the density between places a degree apart, at 40 galaxies per arcmin².
_FIELD_SCATTER = 0.055
_MAX_DELTA = 3.0
_MAX_SURPLUS = 0.45
_N_WAVES = 16


@dataclasses.dataclass(frozen=True)
class CumulativeCounts:
    """Galaxies per arcmin² brighter than a magnitude, log-linear between nodes.

    The defaults are the *i*-band counts of cosmoDC2 (Korytov et al. 2019). The
    slopes of the first and last pair of nodes are continued beyond them, which
    gives 740 per arcmin² at i = 29.
    """

    magnitudes: tuple[float, ...] = (24.0, 25.0, 25.3, 26.0, 26.5, 27.0, 28.0)
    """Magnitudes of the nodes, increasing."""

    counts: tuple[float, ...] = (19.7, 42.8, 53.6, 89.9, 131.8, 191.2, 376.3)
    """Cumulative counts at the nodes, per arcmin², increasing."""

    def __post_init__(self) -> None:
        m, n = np.asarray(self.magnitudes), np.asarray(self.counts)
        if len(m) < 2 or len(m) != len(n) or not (np.diff(m) > 0).all():
            raise SimulationError("number counts need two or more increasing magnitudes, one count for each")
        if not (n > 0).all() or not (np.diff(n) > 0).all():
            raise SimulationError("cumulative number counts must be positive and increase with magnitude")

    def __call__(self, mag: np.ndarray | float) -> np.ndarray:
        """Galaxies per arcmin² that are brighter than AB magnitudes, of the same shape."""
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

    def scaled(self, factor: float) -> CumulativeCounts:
        """Counts that are greater by a factor.

        Parameters
        ----------
        factor
            Positive factor.

        Returns
        -------
        counts
            The new counts.
        """
        return dataclasses.replace(self, counts=tuple(factor * n for n in self.counts))

    @staticmethod
    def _extrapolate(at: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        i = np.clip(np.searchsorted(x, at) - 1, 0, len(x) - 2)
        slope = (y[i + 1] - y[i]) / (x[i + 1] - x[i])
        return y[i] + slope * (at - x[i])


@dataclasses.dataclass(frozen=True)
class ParametricCatalog:
    """Galaxies with the number counts of cosmoDC2 and its clustering.

    Notes
    -----
    Magnitudes are drawn from the counts. A galaxy is a member of a group with
    probability min(0.5, clustering / √n), n the galaxies per arcmin² brighter than
    it; members are dealt out to groups at random places, at a distance of 25″ u^1.15, u uniform
    in 0 to 1: a surface density ∝ r^−1.13. Density, radius and exponent of the groups were fitted to
    the pairs at 0.5–40″ in the true positions of the training scenes of Buchanan et al. 2022;
    there the number of excess neighbours of a galaxy hardly depends on the limiting
    magnitude, so that groups must have flatter counts (∝ √n). On the scale of degrees, the density
    varies by a factor 1 + 0.055 clustering (40/n)^0.35 δ, with δ a random field of unit
    variance, which gives the scatter of the counts between those scenes.
    ``clustering=0`` gives Poisson positions.
    """

    counts: CumulativeCounts = CumulativeCounts()
    """Number counts."""

    mag_bright: float = 17.5
    """Magnitude of the brightest galaxies."""

    mag_faint: float = 29.0
    """Magnitude of the faintest galaxies."""

    clustering: float = 1.0
    """Scale of the fraction of galaxies in groups, and of the scatter between fields."""

    margin: int = 100
    """Width of the border around the field that is filled too, pixels."""

    def __post_init__(self) -> None:
        if not self.mag_bright < self.mag_faint:
            raise SimulationError(
                f"mag_bright must be less than mag_faint, not {self.mag_bright} and {self.mag_faint}"
            )
        for name in ("clustering", "margin"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise SimulationError(
                    f"{name} of the parametric catalogue must be finite and ≥ 0, not {value}"
                )

    @property
    def name(self) -> str:
        """Short name."""
        return "parametric"

    def galaxies(self, size: tuple[int, int], survey: Survey, rng: np.random.Generator) -> Table:
        """Draw the galaxies of a field; see `.catalog.GalaxySource.galaxies`.

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
            Table with columns ``x``, ``y`` (pixels) and ``mag_i``.
        """
        scale = survey.pixel_scale
        # Drawn over a greater box, because groups outside the field reach into it.
        reach = self.margin * scale + _GROUP_RADIUS
        width, height = size[0] * scale + 2 * reach, size[1] * scale + 2 * reach
        area = width * height / 3600.0
        first, last = self.counts(self.mag_bright), self.counts(self.mag_faint)
        # More than the counts by as much as the density can exceed its mean.
        surplus = _MAX_SURPLUS if self.clustering > 0.0 else 0.0
        n = int(rng.poisson((last - first) * area * (1.0 + surplus)))
        cumulative = rng.uniform(first, last, n)
        x = rng.uniform(0.0, width, n)
        y = rng.uniform(0.0, height, n)
        member = rng.uniform(size=n) < np.minimum(_MAX_MEMBERS, self.clustering / np.sqrt(cumulative))
        n_groups = int(rng.poisson(_GROUP_DENSITY * area))
        if n_groups:
            m = int(member.sum())
            group = rng.integers(0, n_groups, m)
            radius = _GROUP_RADIUS * rng.uniform(size=m) ** _GROUP_EXPONENT
            angle = rng.uniform(0.0, 2.0 * np.pi, m)
            # Periodic, so that the mean density is that of the counts up to the border.
            x[member] = (rng.uniform(0.0, width, n_groups)[group] + radius * np.cos(angle)) % width
            y[member] = (rng.uniform(0.0, height, n_groups)[group] + radius * np.sin(angle)) % height
        keep = np.ones(n, dtype=bool)
        if surplus:
            strength = self.clustering * _FIELD_SCATTER * (40.0 / cumulative) ** 0.35
            density = 1.0 + np.minimum(strength, _MAX_SURPLUS / _MAX_DELTA) * _large_scale(x, y, rng)
            keep = rng.uniform(size=n) * (1.0 + surplus) < density
        table = Table()
        table["x"] = (x - reach) / scale - 0.5
        table["y"] = (y - reach) / scale - 0.5
        table["mag_i"] = self.counts.invert(cumulative)
        lo = -0.5 - self.margin
        keep &= (table["x"] >= lo) & (table["x"] < size[0] + self.margin - 0.5)
        keep &= (table["y"] >= lo) & (table["y"] < size[1] + self.margin - 0.5)
        return table[keep]


def _large_scale(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random field of unit variance, waves of 15′ to 2°, at positions in arcsec, shape (n,)."""
    wave = 2.0 * np.pi / np.exp(rng.uniform(np.log(900.0), np.log(7200.0), _N_WAVES))
    direction = rng.uniform(0.0, 2.0 * np.pi, _N_WAVES)
    phase = rng.uniform(0.0, 2.0 * np.pi, _N_WAVES)
    delta = np.zeros(len(x))
    for k, angle, start in zip(wave, direction, phase, strict=True):
        delta += np.cos(k * (np.cos(angle) * x + np.sin(angle) * y) + start)
    return np.asarray(np.clip(delta * np.sqrt(2.0 / _N_WAVES), -_MAX_DELTA, _MAX_DELTA))


@dataclasses.dataclass(frozen=True)
class PairCounts:
    """Pairs of objects by separation, in n bins; those of several fields can be added."""

    edges: np.ndarray
    """Separations that bound the bins, increasing, pixels, shape (n + 1,)."""

    pairs: np.ndarray
    """Number of pairs, shape (n,)."""

    expected: np.ndarray
    """Number of pairs of as many objects at random places of the same field, shape (n,)."""

    @property
    def excess(self) -> np.ndarray:
        """Angular correlation w = pairs / expected − 1, shape (n,)."""
        return self.pairs / self.expected - 1.0

    def __add__(self, other: PairCounts) -> PairCounts:
        if not np.array_equal(self.edges, other.edges):
            raise SimulationError("pair counts of different separations cannot be added")
        return PairCounts(self.edges, self.pairs + other.pairs, self.expected + other.expected)


def count_pairs(x: np.ndarray, y: np.ndarray, edges: np.ndarray, size: tuple[float, float]) -> PairCounts:
    """Count the pairs of objects in a rectangular field.

    Parameters
    ----------
    x, y
        Positions, pixels, shape (n,); those outside of the field are left out.
    edges
        Separations that bound the bins, increasing, pixels, shape (m + 1,); the
        greatest is less than the lesser side of the field.
    size
        Width and height of the field, pixels; its first pixel has its centre at 0, 0.

    Returns
    -------
    counts
        Pairs, each counted once, and what random places give.

    Raises
    ------
    SimulationError
        Raised if the edges do not increase or exceed the field.

    Notes
    -----
    With n objects at random in a rectangle of sides a and b, the number of pairs closer
    than r < min(a, b) is n (n − 1) / 2 · [π r² / (a b) − (4/3) (a + b) r³ / (a b)²
    + r⁴ / (2 a² b²)] (Ghosh 1951), so that no random points are needed.
    """
    from scipy.spatial import cKDTree

    edges = np.asarray(edges, dtype=np.float64)
    a, b = (float(v) for v in size)
    if edges.ndim != 1 or len(edges) < 2 or edges[0] < 0 or not (np.diff(edges) > 0).all():
        raise SimulationError("separations of pairs must be two or more increasing numbers ≥ 0")
    if not edges[-1] < min(a, b):
        raise SimulationError(f"separations of pairs must be less than the field of {a:g} × {b:g} pixels")
    x, y = np.asarray(x, dtype=np.float64) + 0.5, np.asarray(y, dtype=np.float64) + 0.5
    inside = (x >= 0) & (x < a) & (y >= 0) & (y < b)
    points = np.stack([x[inside], y[inside]], axis=1)
    n = len(points)
    tree = cKDTree(points)
    # The tree counts each pair twice, and each point with itself. Its cumulative counts are of ≤ r.
    cumulative = (tree.count_neighbors(tree, edges).astype(np.float64) - n) / 2.0
    area = a * b
    share = np.pi * edges**2 / area - 4.0 / 3.0 * (a + b) * edges**3 / area**2 + edges**4 / (2.0 * area**2)
    return PairCounts(edges, np.diff(cumulative), np.diff(share) * n * (n - 1) / 2.0)

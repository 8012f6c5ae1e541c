# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Which peak means which galaxy: one to one, in each footprint.

Peaks are taken by falling probability.  Each is given a galaxy within a radius, if need be by handing over
galaxies among the peaks before it, such that the sum of the squared distances is the least possible
(successive shortest augmenting paths; Kuhn 1955, https://doi.org/10.1002/nav.3800020109).  What has a partner
keeps one when further peaks come.  So one matching serves for all thresholds: of the peaks over any of them
as many are matched as by any other rule, and the galaxies that they find are known too.
"""

from __future__ import annotations

__all__ = ("LIKELY", "MATCH_RADIUS", "GalaxyList", "PeakList", "PeakMatches", "match_peaks")

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ._jit import njit
from .footprints import FootprintSet

if TYPE_CHECKING:
    from astropy.table import Table

    from .centers import Candidates

MATCH_RADIUS = 2.5
"""Largest distance of a peak from its galaxy, pixels."""
LIKELY = 0.75
"""Peaks that are more probable are likely ones, which are handed on to others: of inferred ones over this
nine in ten or more were galaxies, for each size of galaxies that was simulated."""


@dataclass(frozen=True)
class PeakList:
    """Peaks of n footprints, of one image or of several.

    Parameters
    ----------
    footprint : `numpy.ndarray`, shape (m,), int64
        Row of the footprint of each, from 0, in rising order.
    x, y : `numpy.ndarray`, shape (m,), float64
        Positions, parent pixels.
    probability : `numpy.ndarray`, shape (m,), float64
        Probability that a galaxy is there; NaN where there is none.
    is_inferred : `numpy.ndarray`, shape (m,), bool, optional
        Whether each was inferred and not detected; `None` where that is not told.
    covariance : `numpy.ndarray`, shape (m, 3), float64, optional
        Variances of x and y and their covariance, pix²; NaN where unknown.
    magnitude : `numpy.ndarray`, shape (m,), float64, optional
        Magnitude of a point source there; NaN where unknown.
    """

    footprint: np.ndarray
    x: np.ndarray
    y: np.ndarray
    probability: np.ndarray
    is_inferred: np.ndarray | None = None
    covariance: np.ndarray | None = None
    magnitude: np.ndarray | None = None

    def __post_init__(self) -> None:
        m = len(self.footprint)
        for field in dataclasses.fields(self):
            values = getattr(self, field.name)
            if values is not None and len(values) != m:
                raise ValueError(f"{field.name} has {len(values)} rows for {m} peaks")
        if m and np.any(np.diff(self.footprint) < 0):
            raise ValueError("the peaks are not sorted by footprint")

    def __len__(self) -> int:
        return len(self.footprint)

    @property
    def has_probabilities(self) -> bool:
        """Whether any peak has a probability."""
        return bool(np.isfinite(self.probability).any())

    @classmethod
    def from_footprints(cls, footprints: FootprintSet) -> PeakList:
        """Take the detected peaks, which have no probability, the brightest of a footprint first.

        Parameters
        ----------
        footprints
            Footprints of an image.

        Returns
        -------
        peaks
            Their peaks.
        """
        peaks = footprints.peaks
        x, y = (np.asarray(peaks[name], dtype=np.float64) for name in ("f_x", "f_y"))
        return cls(
            np.asarray(peaks["footprint_id"], dtype=np.int64) - 1,
            x,
            y,
            np.full(len(peaks), np.nan),
            np.zeros(len(peaks), dtype=bool),
        )

    @classmethod
    def from_candidates(cls, candidates: Candidates) -> PeakList:
        """Take candidates of a centre map as they are.

        Parameters
        ----------
        candidates
            Those of an image.

        Returns
        -------
        peaks
            One for each.
        """
        row, x, y, p = (getattr(candidates, name) for name in ("row", "x", "y", "probability"))
        return cls(row.astype(np.int64), x.astype(np.float64), y.astype(np.float64), p.astype(np.float64))

    @classmethod
    def from_table(cls, table: Table) -> PeakList:
        """Take the peaks of a table that the task wrote.

        Parameters
        ----------
        table
            Columns `.tables.PEAK_COLUMNS`; ``footprint_id`` counts from 1.

        Returns
        -------
        peaks
            Its rows, sorted by footprint; within one detected peaks come first.
        """
        footprint = np.asarray(table["footprint_id"], dtype=np.int64) - 1
        # Numbers of peaks go detected first, brightest first, then inferred ones.
        order = np.lexsort((np.asarray(table["peak_id"]), footprint))

        def column(name: str) -> np.ndarray:
            return np.asarray(table[name], dtype=np.float64)[order]

        return cls(
            footprint[order],
            column("f_x"),
            column("f_y"),
            column("probability"),
            np.asarray(table["is_inferred"], dtype=bool)[order],
            np.column_stack([column(name) for name in ("xx", "yy", "xy")]),
            column("mag"),
        )

    @classmethod
    def join(cls, parts: Sequence[PeakList], sizes: Sequence[int]) -> PeakList:
        """Put the peaks of several images together.

        Parameters
        ----------
        parts
            Peaks of each image.
        sizes
            Number of footprints of each.

        Returns
        -------
        peaks
            All of them; footprints are counted on from image to image.
        """
        first = np.cumsum([0, *sizes[:-1]])

        def gather(name: str) -> np.ndarray:
            return np.concatenate([getattr(part, name) for part in parts])

        def gather_known(name: str) -> np.ndarray | None:
            # What one image does not tell is not known of all.
            return None if any(getattr(part, name) is None for part in parts) else gather(name)

        return cls(
            np.concatenate([part.footprint + start for part, start in zip(parts, first, strict=True)]),
            gather("x"),
            gather("y"),
            gather("probability"),
            gather_known("is_inferred"),
            gather_known("covariance"),
            gather_known("magnitude"),
        )


@dataclass(frozen=True)
class GalaxyList:
    """True galaxies that count and lie in footprints.

    Parameters
    ----------
    footprint : `numpy.ndarray`, shape (k,), int64
        Row of the footprint of each, from 0, in rising order; within one the brightest comes first.
    x, y : `numpy.ndarray`, shape (k,), float64
        Positions, parent pixels.
    snr : `numpy.ndarray`, shape (k,), float64
        Point-source S/N.
    magnitude : `numpy.ndarray`, shape (k,), float64
        Magnitudes; NaN where unknown.
    """

    footprint: np.ndarray
    x: np.ndarray
    y: np.ndarray
    snr: np.ndarray
    magnitude: np.ndarray

    def __len__(self) -> int:
        return len(self.footprint)

    @classmethod
    def from_places(cls, footprints: FootprintSet, places: np.ndarray) -> GalaxyList:
        """Choose the galaxies that lie in the footprints of an image.

        Parameters
        ----------
        footprints
            The footprints; those whose label image was dropped will do.
        places : `numpy.ndarray`, shape (k, 3)
            Galaxies that count: x, y (parent pixels) and S/N.

        Returns
        -------
        galaxies
            Those whose centre lies in a footprint, of unknown magnitude.
        """
        x, y, snr = np.asarray(places, dtype=np.float64).reshape(-1, 3).T
        owner = footprints.find_at(x, y)
        order = np.lexsort((-snr, owner))
        order = order[owner[order] > 0]
        return cls(owner[order] - 1, x[order], y[order], snr[order], np.full(len(order), np.nan))

    @classmethod
    def from_truth(cls, footprints: FootprintSet, truth: Table, *, snr_min: float = 5.0) -> GalaxyList:
        """Choose the galaxies that count for the footprints of an image.

        Parameters
        ----------
        footprints
            The footprints.
        truth
            Columns ``x``, ``y`` (parent pixels) and ``snr``; also ``mag``, if known.
        snr_min
            Fainter ones do not count.

        Returns
        -------
        galaxies
            Those whose centre lies in a footprint, the pixel as `.labels.count_galaxies` takes it.

        Raises
        ------
        KeyError
            Raised if a column is missing.
        """
        names = [name for name in ("x", "y", "snr", "mag") if name != "mag" or name in truth.colnames]
        if missing := [name for name in names if name not in truth.colnames]:
            raise KeyError(
                f"the truth table has no column {missing[0]!r}; it has {', '.join(truth.colnames)}"
            )
        columns = [np.ma.filled(np.ma.asarray(truth[name]).astype(np.float64), np.nan) for name in names]
        x, y, snr = columns[:3]
        magnitude = columns[3] if len(columns) > 3 else np.full(len(x), np.nan)
        with np.errstate(invalid="ignore"):
            use = np.flatnonzero(np.isfinite(x) & np.isfinite(y) & (snr >= snr_min))
        owner = footprints.find_at(x[use], y[use])
        use, owner = use[owner > 0], owner[owner > 0] - 1
        order = np.lexsort((-snr[use], owner))
        use = use[order]
        return cls(owner[order], x[use], y[use], snr[use], magnitude[use])

    @classmethod
    def join(cls, parts: Sequence[GalaxyList], sizes: Sequence[int]) -> GalaxyList:
        """Put the galaxies of several images together.

        Parameters
        ----------
        parts
            Galaxies of each image.
        sizes
            Number of footprints of each.

        Returns
        -------
        galaxies
            All of them; footprints are counted on from image to image.
        """
        first = np.cumsum([0, *sizes[:-1]])
        return cls(
            np.concatenate([part.footprint + start for part, start in zip(parts, first, strict=True)]),
            *(np.concatenate([getattr(p, name) for p in parts]) for name in ("x", "y", "snr", "magnitude")),
        )


@dataclass(frozen=True)
class PeakMatches:
    """Partners of peaks and galaxies.

    Parameters
    ----------
    galaxy : `numpy.ndarray`, shape (m,), int64
        Galaxy of each peak; -1 for none.
    finder : `numpy.ndarray`, shape (k,), int64
        Peak with which each galaxy was found first: it is matched from this peak's probability on
        downwards; -1 if it is not.
    distance : `numpy.ndarray`, shape (m,), float64
        Distance of each peak from its galaxy, pixels; NaN for none.
    """

    galaxy: np.ndarray
    finder: np.ndarray
    distance: np.ndarray

    @property
    def is_true(self) -> np.ndarray:
        """Whether each peak has a galaxy, bool `(m,)`."""
        return self.galaxy >= 0


@njit(nogil=True)
def _match(
    peaks: np.ndarray,
    footprint: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    start: np.ndarray,
    galaxy_x: np.ndarray,
    galaxy_y: np.ndarray,
    limit: float,
    partner: np.ndarray,
    holder: np.ndarray,
    finder: np.ndarray,
) -> None:
    """Match the peaks in the order of their indices ``peaks``; the galaxies of row i are start[i] onwards."""
    size = galaxy_x.size
    cost = np.empty(size)
    via = np.empty(size, np.int64)
    for peak in peaks:
        first, last = start[footprint[peak]], start[footprint[peak] + 1]
        reached = False
        for g in range(first, last):
            # Squared distances: errors of positions are about Gaussian, so that their sum is the likelihood.
            square = (x[peak] - galaxy_x[g]) ** 2 + (y[peak] - galaxy_y[g]) ** 2
            cost[g] = square if square <= limit else np.inf
            via[g] = peak
            reached = reached or square <= limit
        # Costs of ways on over galaxies that are taken: their peaks go elsewhere.  The matching so far is the
        # best one, so that no way around comes out cheaper and this ends.
        while reached:
            reached = False
            for g in range(first, last):
                other = holder[g]
                if other < 0 or cost[g] == np.inf:
                    continue
                base = cost[g] - (x[other] - galaxy_x[g]) ** 2 - (y[other] - galaxy_y[g]) ** 2
                for h in range(first, last):
                    square = (x[other] - galaxy_x[h]) ** 2 + (y[other] - galaxy_y[h]) ** 2
                    if square <= limit and base + square < cost[h] - 1e-9:
                        cost[h] = base + square
                        via[h] = other
                        reached = True
        # Free galaxies at the least cost, the moves of others along the way included: successive shortest
        # paths (Kuhn 1955; Edmonds & Karp 1972), on the few peaks of one footprint.
        best = -1
        for g in range(first, last):
            if holder[g] < 0 and cost[g] < np.inf and (best < 0 or cost[g] < cost[best]):
                best = g
        if best < 0:
            continue
        finder[best] = peak
        # Back along the way: each peak takes the galaxy that it was found by, and leaves the one it had.
        g = best
        while True:
            taker = via[g]
            left = partner[taker]
            partner[taker], holder[g] = g, taker
            if taker == peak:
                break
            g = left


def match_peaks(
    peaks: PeakList,
    galaxies: GalaxyList,
    *,
    radius: float = MATCH_RADIUS,
    keep: np.ndarray | None = None,
) -> PeakMatches:
    """Match peaks and galaxies one to one, each within its footprint.

    Parameters
    ----------
    peaks
        The m peaks.
    galaxies
        The k galaxies.
    radius
        Largest distance, pixels.
    keep : `numpy.ndarray`, shape (m,), bool, optional
        Peaks that take part; all by default.

    Returns
    -------
    matches
        Partners.  Peaks are taken by falling probability, those without one last, in the order of the list.
        Of those over any threshold as many are matched as can be at all, and the sum of the squared distances
        of those that are matched is the least possible.

    Raises
    ------
    ValueError
        Raised if the radius is not positive.
    """
    if not (np.isfinite(radius) and radius > 0.0):
        raise ValueError(f"the radius of the matching is {radius}; it must be positive, in pixels")
    m, k = len(peaks), len(galaxies)
    n = int(max(peaks.footprint.max(initial=-1), galaxies.footprint.max(initial=-1))) + 1
    start = np.searchsorted(galaxies.footprint, np.arange(n + 1)).astype(np.int64)
    # By falling probability, so that adding improbable peaks changes no match count of the probable ones:
    # curves of completeness are monotonic.
    priority = np.where(np.isfinite(peaks.probability), -peaks.probability, np.inf)
    order = np.lexsort((priority, peaks.footprint)).astype(np.int64)
    usable = np.isfinite(peaks.x) & np.isfinite(peaks.y)
    usable = usable if keep is None else usable & np.asarray(keep, dtype=bool)
    partner, holder, finder = (np.full(size, -1, dtype=np.int64) for size in (m, k, k))
    _match(
        order[usable[order]],
        np.ascontiguousarray(peaks.footprint, dtype=np.int64),
        np.ascontiguousarray(peaks.x, dtype=np.float64),
        np.ascontiguousarray(peaks.y, dtype=np.float64),
        start,
        np.ascontiguousarray(galaxies.x, dtype=np.float64),
        np.ascontiguousarray(galaxies.y, dtype=np.float64),
        float(radius) ** 2,
        partner,
        holder,
        finder,
    )
    distance = np.full(m, np.nan)
    some = partner >= 0
    distance[some] = np.hypot(
        peaks.x[some] - galaxies.x[partner[some]], peaks.y[some] - galaxies.y[partner[some]]
    )
    return PeakMatches(partner, finder, distance)

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Which rows of the tables belong to which records and peaks of a catalogue."""

from __future__ import annotations

__all__ = ("CatalogJoin", "join_tables")

from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from scipy.spatial import cKDTree

from ..tables import BlendTables
from .afw_table import CatalogError
from .catalog_footprints import CatalogFootprints

_MATCH_RADIUS = 2.0
"""Detected peaks of two searches that are closer than this are the same [pixel]."""

_LEAST_MATCHED = 0.3
"""Share of the tables' detected peaks that the catalogue has too, unless it is that of something else."""

_LEAST_OVERLAP = 0.5
"""Share of the smaller of two footprints that they have in common, if they are of the same thing."""

_NEEDED = {
    "blend": ("id", "footprint_id", "p_blended", "n_expected", "flag"),
    "blend_peak": (
        *("id", "footprint_id", "peak_id", "i_x", "i_y", "f_x", "f_y"),
        *("peak_value", "significance", "probability", "is_inferred"),
    ),
    "blend_spans": ("footprint_id", "y", "x0", "x1"),
}


@dataclass(frozen=True)
class CatalogJoin:
    """What belongs together.

    Parameters
    ----------
    row
        Row of the footprint table for each of the n records, -1 for none,
        int64 ``(n,)``.
    is_same
        Whether its footprint has the very pixels of that of the record, but
        for those outside the image, bool ``(n,)``.
    peak_row
        Row of the peak table for each of the k peaks of the catalogue, -1 for
        none, int64 ``(k,)``.
    inferred_row
        Rows of the peak table with the inferred peaks, int64 ``(m,)``.
    inferred_footprint
        Footprint of the catalogue that each lies in, -1 for none, int64
        ``(m,)``.
    by_id
        Whether the tables have the identifiers of the catalogue, as their
        footprints were read from it.
    """

    row: np.ndarray
    is_same: np.ndarray
    peak_row: np.ndarray
    inferred_row: np.ndarray
    inferred_footprint: np.ndarray
    by_id: bool


def join_tables(footprints: CatalogFootprints, tables: BlendTables) -> CatalogJoin:
    """Find the rows of the tables that belong to the records and peaks of a catalogue.

    Parameters
    ----------
    footprints
        Footprints of the catalogue.
    tables
        Tables of one coadd.

    Returns
    -------
    join
        Rows by the identifiers of the catalogue where the tables have them,
        else by the pixels that footprints share and by the places of peaks.

    Raises
    ------
    CatalogError
        Raised if the tables are those of something else, or lack columns.
    """
    for name, columns in _NEEDED.items():
        table = getattr(tables, name)
        if lacking := [c for c in columns if c not in table.colnames]:
            raise CatalogError(
                f"the {name} table has no column {', '.join(lacking)}: it is none of this version; repeat "
                "'blendid run'"
            )
    spans = np.stack([np.asarray(tables.blend_spans[n]) for n in _NEEDED["blend_spans"]], axis=1).astype(
        np.int64
    )
    numbers = np.asarray(tables.blend["footprint_id"])
    if len(np.unique(numbers)) != len(numbers) or not np.isin(spans[:, 0], numbers).all():
        raise CatalogError(
            "the tables do not belong together; repeat 'blendid run', which replaces all three"
        )
    # Numbers of footprints may have gaps where rows were left out.
    order = np.argsort(numbers)
    spans[:, 0] = order[np.searchsorted(numbers[order], spans[:, 0])]
    rows = order[
        np.minimum(np.searchsorted(numbers[order], tables.blend_peak["footprint_id"]), len(order) - 1)
    ]
    area = np.bincount(spans[:, 0], weights=spans[:, 3] - spans[:, 2] + 1, minlength=len(numbers)).astype(
        np.int64
    )
    shared = count_shared_pixels(footprints.spans.astype(np.int64), spans)

    by_id = _join_ids(footprints, np.asarray(tables.blend["id"], np.int64), area, shared)
    row, is_same = _join_pixels(footprints, area, shared) if by_id is None else by_id
    # Peaks are joined within footprints that are joined already.
    peaks = _Peaks(footprints, tables.blend_peak, rows, row)
    peak_row = None if by_id is None else peaks.join_ids()
    has_ids = peak_row is not None
    if peak_row is None:
        peak_row = peaks.join_places(len(shared[0]))
    return CatalogJoin(row, is_same, peaks.join_others(peak_row), *peaks.find_footprints(), has_ids)


def count_shared_pixels(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count the pixels that footprints of two sets share: pairs i, j with their number, int64.

    Spans are footprint, y, x0, x1 (inclusive), int64 (m, 4); those of the second do not overlap each other.
    """
    none = np.zeros(0, np.int64)
    if not len(first) or not len(second):
        return none, none, none
    second = second[np.lexsort((second[:, 2], second[:, 1]))]
    low = min(first[:, 2].min(), second[:, 2].min())
    width = max(first[:, 3].max(), second[:, 3].max()) - low + 2
    # Row and column as one number, which grows along the sorted spans; the extra columns keep rows apart.
    begins, ends = (second[:, 1] * width + second[:, k] - low for k in (2, 3))
    # The spans of the second set that end after the beginning and begin before the end overlap.
    start = np.searchsorted(ends, first[:, 1] * width + first[:, 2] - low, side="left")
    stop = np.searchsorted(begins, first[:, 1] * width + first[:, 3] - low, side="right")
    count = np.maximum(stop - start, 0)
    one = np.repeat(np.arange(len(first)), count)
    other = np.arange(len(one)) - np.repeat(np.cumsum(count) - count - start, count)
    n = np.minimum(first[one, 3], second[other, 3]) - np.maximum(first[one, 2], second[other, 2]) + 1
    one, other, n = one[n > 0], other[n > 0], n[n > 0]
    pairs, inverse = np.unique(
        np.stack([first[one, 0], second[other, 0]], axis=1), axis=0, return_inverse=True
    )
    return pairs[:, 0], pairs[:, 1], np.bincount(inverse.reshape(-1), weights=n).astype(np.int64)


def _join_ids(
    footprints: CatalogFootprints,
    ids: np.ndarray,
    area: np.ndarray,
    shared: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows of records by their identifiers, and whether they are the same; `None` if these are others.

    Counters from 1 may be anybody's, so that pixels have to agree.
    """
    usable = footprints.is_parent & ~footprints.is_repeated & (footprints.footprint >= 0)
    unique, place, count = np.unique(ids, return_index=True, return_counts=True)
    row = np.full(len(footprints), -1, np.int64)
    found = np.searchsorted(unique, footprints.record_id)
    found[found == len(unique)] = 0
    if len(unique):
        usable &= (unique[found] == footprints.record_id) & (count[found] == 1)
        row[usable] = place[found[usable]]
    # Half of either side: less is chance, as where both count from 1.
    mine = np.flatnonzero(row >= 0)
    if 2 * len(mine) < min(len(ids), int(footprints.is_parent.sum())) or not len(mine):
        return None
    key = footprints.footprint[mine] * (len(ids) + 1) + row[mine]
    pairs = shared[0] * (len(ids) + 1) + shared[1]
    order = np.argsort(pairs)
    where = np.minimum(np.searchsorted(pairs[order], key), max(len(pairs) - 1, 0))
    if not len(pairs):
        return None
    common = np.where(pairs[order][where] == key, shared[2][order][where], 0)
    # Pixels outside the image, and those of an earlier footprint, are not in the tables.
    if not np.array_equal(common, area[row[mine]]):
        return None
    return row, row >= 0


def _join_pixels(
    footprints: CatalogFootprints, area: np.ndarray, shared: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of records by the pixels that footprints share, and whether they are the same."""
    number, other, n = shared
    catalog_area = footprints.area
    best = np.full(footprints.n_footprints, -1, np.int64)
    same = np.zeros(footprints.n_footprints, dtype=bool)
    # The most pixels first; of equal ones that of the smaller number, so that the choice does not depend on
    # order.
    order = np.lexsort((other, -n, number))
    _, first = np.unique(number[order], return_index=True)
    few = order[first]
    # Of the smaller one, since footprints of another threshold are larger all around.
    enough = n[few] >= _LEAST_OVERLAP * np.minimum(catalog_area[number[few]], area[other[few]])
    best[number[few][enough]] = other[few][enough]
    exact = (n == catalog_area[number]) & (n == area[other])
    same[number[exact]] = True
    has = (footprints.footprint >= 0) & footprints.is_parent & ~footprints.is_repeated
    row = np.where(has, best[footprints.footprint] if len(best) else -1, -1)
    return row, (row >= 0) & (same[footprints.footprint] if len(same) else False)


class _Peaks:
    """Peaks of a catalogue and of tables whose rows of footprints are known."""

    def __init__(
        self, footprints: CatalogFootprints, table: Table, rows: np.ndarray, row: np.ndarray
    ) -> None:
        self._footprints, self._table, self._rows, self._row = footprints, table, rows, row
        # Peaks belong to footprints, which several records may share: the first one stands for all.
        self._record = footprints.record_of_footprint[footprints.peaks["footprint"]]
        record = self._record
        # Those of parents, which have rows; children have them through these.
        self._mine = np.flatnonzero(footprints.is_parent[record] & ~footprints.is_repeated[record])
        self._is_inferred = np.asarray(table["is_inferred"], dtype=bool)

    def _places(self, names: tuple[str, str], dtype: type) -> tuple[np.ndarray, np.ndarray]:
        """Places of the peaks of the table and of the catalogue."""
        sources = self._table, self._footprints.peaks
        one, two = (np.stack([np.asarray(s[n], dtype) for n in names], axis=1) for s in sources)
        return one, two

    def join_ids(self) -> np.ndarray | None:
        """Rows by footprint and identifier; `None` if those of the table are not the catalogue's."""
        peaks, mine = self._footprints.peaks, self._mine
        wanted = np.stack([self._row[self._record[mine]], peaks["id"][mine]], axis=1)
        given = np.stack([self._rows, np.asarray(self._table["peak_id"], np.int64)], axis=1)
        found = np.full(len(peaks), -1, np.int64)
        found[mine] = _find_pairs(given, wanted)
        is_found = np.zeros(len(self._table), dtype=bool)
        is_found[found[found >= 0]] = True
        # Counters of both may run from 1.
        one, two = self._places(("i_x", "i_y"), np.int64)
        same = (one[found] == two).all(axis=1) | peaks["is_moved"] | peaks["is_inferred"]
        if not is_found[~self._is_inferred].all() or not same[found >= 0].all():
            return None
        return found

    def join_places(self, n_shared: int) -> np.ndarray:
        """Rows of detected peaks at the same place."""
        peaks, mine = self._footprints.peaks, self._mine
        found = np.full(len(peaks), -1, np.int64)
        detected, given = np.flatnonzero(~self._is_inferred), mine[~peaks["is_inferred"][mine]]
        # Refined positions: two peaks in one pixel are told apart by them.
        places, others = self._places(("f_x", "f_y"), float)
        one, two = _match_nearest(places[detected], others[given], _MATCH_RADIUS)
        found[given[two]] = detected[one]
        least = _LEAST_MATCHED * min(len(detected), len(given))
        if len(detected) and len(given) and (len(one) < least or not n_shared):
            raise CatalogError(
                f"the tables belong to another catalogue: only {len(one)} of their {len(detected)} detected "
                f"peaks lie within {_MATCH_RADIUS:g} pixels of one of the catalogue's {len(given)}; give "
                "those of the same coadd"
            )
        return found

    def join_others(self, found: np.ndarray) -> np.ndarray:
        """Add rows of peaks that an earlier annotation added, and of peaks of children."""
        footprints, peaks, mine = self._footprints, self._footprints.peaks, self._mine
        found = found.copy()
        places, others = self._places(("f_x", "f_y"), float)
        earlier, inferred = (
            mine[peaks["is_inferred"][mine] & (found[mine] < 0)],
            np.flatnonzero(self._is_inferred),
        )
        one, two = _match_nearest(places[inferred], others[earlier], _MATCH_RADIUS)
        found[earlier[two]] = inferred[one]
        # The peak of a child is one of its parent's, with its identifier.
        child = np.flatnonzero(~footprints.is_parent[self._record])
        given = np.stack([footprints.record_id[self._record[mine]], peaks["id"][mine]], axis=1)
        wanted = np.stack([footprints.parent_id[self._record[child]], peaks["id"][child]], axis=1)
        parent = _find_pairs(given, wanted)
        found[child[parent >= 0]] = found[mine[parent[parent >= 0]]]
        return found

    def find_footprints(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the inferred peaks, and the footprints of parents that they lie in, -1 for none.

        That is the footprint of the same row, or else whichever has the pixel.
        """
        footprints, row = self._footprints, self._row
        inferred = np.flatnonzero(self._is_inferred)
        place = np.full(len(inferred), -1, np.int64)
        if not len(inferred):
            return inferred, place
        x, y = self._places(("i_x", "i_y"), np.int64)[0][inferred].T
        owner = np.full(int(self._rows.max()) + 1, -1, np.int64)
        known = np.flatnonzero((row >= 0) & (row < len(owner)))
        owner[row[known]] = footprints.footprint[known]
        candidates = owner[self._rows[inferred]]
        inside = candidates >= 0
        inside[inside] = footprints.contain(candidates[inside], x[inside], y[inside])
        place[inside] = candidates[inside]
        parents = np.zeros(footprints.n_footprints, dtype=bool)
        has = (footprints.footprint >= 0) & footprints.is_parent & ~footprints.is_repeated
        parents[footprints.footprint[has]] = True
        spans = footprints.spans[parents[footprints.spans[:, 0]]].astype(np.int64)
        rest = np.flatnonzero(~inside)
        points = np.stack([np.arange(len(rest)), y[rest], x[rest], x[rest]], axis=1)
        point, number, _ = count_shared_pixels(points, spans)
        place[rest[point]] = number
        return inferred, place


def _find_pairs(given: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Place of pairs of integers among given ones, -1 where a pair is not there or is there twice."""
    both, inverse = np.unique(np.concatenate([given, wanted]), axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    place, count = np.full(len(both), -1, np.int64), np.bincount(inverse[: len(given)], minlength=len(both))
    place[inverse[: len(given)]] = np.arange(len(given))
    place[count != 1] = -1
    return place[inverse[len(given) :]]


def _match_nearest(first: np.ndarray, second: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of places that are the nearest of each other and closer than a radius."""
    if not len(first) or not len(second):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    distance, nearest = cKDTree(second).query(first)
    _, back = cKDTree(first).query(second)
    one = np.flatnonzero((distance < radius) & (back[nearest] == np.arange(len(first))))
    return one, nearest[one]

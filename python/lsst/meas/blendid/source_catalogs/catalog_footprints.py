# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Footprints and peaks of a catalogue: as arrays, in its tables, and as footprints of an image."""

from __future__ import annotations

__all__ = (
    "CATALOG_PEAK_DTYPE",
    "PSEUDO_FLAGS",
    "CatalogFootprints",
    "GivenFootprints",
    "PeakLayout",
    "make_footprint_set",
)

from dataclasses import dataclass

import numpy as np

from ..footprints import PEAK_DTYPE, FootprintSet, spans_to_labels
from ..footprints.footprint_set import spans_contain
from .afw_table import CatalogError

CATALOG_PEAK_DTYPE = np.dtype(
    [
        ("footprint", "i8"),
        ("id", "i8"),
        ("i_x", "i4"),
        ("i_y", "i4"),
        ("f_x", "f4"),
        ("f_y", "f4"),
        ("peak_value", "f4"),
        ("is_inferred", "?"),
        ("is_moved", "?"),
        ("is_sky", "?"),
    ]
)
"""A peak of a catalogue: its footprint, its identifier, its place in parent pixels, its value, what an
earlier annotation did, and whether it is one of a place on empty sky."""

PSEUDO_FLAGS = ("merge_footprint_sky", "merge_peak_sky", "sky_source")
"""Flags of records that are no detections, which a deblender leaves alone."""


@dataclass(frozen=True)
class CatalogFootprints:
    """What a catalogue of n records knows of its f footprints.

    Parameters
    ----------
    record_id
        Identifiers of the records, int64 ``(n,)``.
    parent_id
        Identifiers of their parents, 0 for none, int64 ``(n,)``.
    footprint
        Place of their footprint, -1 for none, int64 ``(n,)``; several records
        may share one.
    is_pseudo
        Whether a record is no detection, as those on empty sky, bool ``(n,)``.
    spans
        Columns footprint, y, x0, x1 (inclusive, parent pixels), sorted by
        footprint, int32 ``(m, 4)``.
    peaks
        Peaks sorted by footprint, within one in the order of the catalogue,
        structured array of `CATALOG_PEAK_DTYPE` ``(k,)``.
    n_footprints
        Number of footprints.
    """

    record_id: np.ndarray
    parent_id: np.ndarray
    footprint: np.ndarray
    is_pseudo: np.ndarray
    spans: np.ndarray
    peaks: np.ndarray
    n_footprints: int

    def __len__(self) -> int:
        return len(self.record_id)

    @property
    def is_parent(self) -> np.ndarray:
        """Whether a record is a parent, or stands alone, bool ``(n,)``."""
        return self.parent_id == 0

    @property
    def has_children(self) -> np.ndarray:
        """Whether a record is the parent of others, bool ``(n,)``."""
        return np.isin(self.record_id, self.parent_id[self.parent_id != 0])

    @property
    def is_repeated(self) -> np.ndarray:
        """Whether another record has the same identifier, bool ``(n,)``."""
        _, inverse, counts = np.unique(self.record_id, return_inverse=True, return_counts=True)
        return counts[inverse.reshape(len(self))] > 1

    @property
    def record_of_footprint(self) -> np.ndarray:
        """First record that has each footprint, int64 ``(f,)``."""
        records = np.flatnonzero(self.footprint >= 0)
        _, first = np.unique(self.footprint[records], return_index=True)
        return records[first]

    @property
    def area(self) -> np.ndarray:
        """Number of pixels of each footprint, int64 ``(f,)``."""
        length = self.spans[:, 3].astype(np.int64) - self.spans[:, 2] + 1
        return np.bincount(self.spans[:, 0], weights=length, minlength=self.n_footprints).astype(np.int64)

    @property
    def bbox(self) -> np.ndarray:
        """Columns x0, y0, x1, y1 (inclusive) of each box, int64 ``(f, 4)``; 0, 0, -1, -1 without pixels."""
        box = np.tile(np.array([0, 0, -1, -1], np.int64), (self.n_footprints, 1))
        if len(self.spans):
            number, first = np.unique(self.spans[:, 0], return_index=True)
            y, x0, x1 = self.spans[:, 1:].T
            columns = (np.minimum, x0), (np.minimum, y), (np.maximum, x1), (np.maximum, y)
            for k, (ufunc, values) in enumerate(columns):
                box[number, k] = ufunc.reduceat(values, first)
        return box

    @property
    def n_peaks(self) -> np.ndarray:
        """Number of peaks of each footprint, int64 ``(f,)``."""
        return np.bincount(self.peaks["footprint"], minlength=self.n_footprints).astype(np.int64)

    def contain(self, footprint: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Tell whether footprints cover pixels.

        Parameters
        ----------
        footprint, x, y
            Footprints and pixels, a pair each, integer ``(k,)``.

        Returns
        -------
        inside
            Bool ``(k,)``.
        """
        order = np.lexsort((self.spans[:, 2], self.spans[:, 1], self.spans[:, 0]))
        return spans_contain(self.spans[order], footprint, x, y)


@dataclass(frozen=True)
class GivenFootprints:
    """Footprints of a catalogue that lie in an image.

    Parameters
    ----------
    footprints
        The footprints, numbered by their first pixel, with the identifiers of
        the catalogue.
    record
        Record of the catalogue that each comes from, int64 ``(n,)``.
    n_outside
        Number of footprints without a pixel in the image.
    n_cut
        Number of those that are cut by its edge.
    n_covered
        Number of footprints whose pixels all belong to earlier ones.
    n_peaks_left_out
        Number of peaks of the other footprints that do not lie in them, or
        outside the image.
    """

    footprints: FootprintSet
    record: np.ndarray
    n_outside: int
    n_cut: int
    n_covered: int
    n_peaks_left_out: int

    def describe(self) -> str:
        """Say what of the catalogue is not in the image as it is in the catalogue.

        Returns
        -------
        text
            Numbers of footprints and peaks, as the end of a sentence about
            the footprints; empty if all are.
        """
        counts = (
            (self.n_outside, "lie outside the image"),
            (self.n_cut, "are cut by its edge"),
            (self.n_covered, "are covered by others"),
            (self.n_peaks_left_out, "peaks are not in what is left of theirs"),
        )
        return ", ".join(f"{n} {what}" for n, what in counts if n)


def make_footprint_set(
    catalog: CatalogFootprints, shape: tuple[int, int], xy0: tuple[int, int] = (0, 0)
) -> GivenFootprints:
    """Take the footprints of a catalogue for those of an image.

    Parameters
    ----------
    catalog
        Footprints of the catalogue.
    shape
        ``(ny, nx)`` of the image.
    xy0
        Parent coordinates of its first pixel.

    Returns
    -------
    given
        Footprints of the parents, cut at the edge of the image; a pixel that
        several have belongs to the first one.  Their peaks have no values,
        which `.footprints.detect` measures.

    Raises
    ------
    CatalogError
        Raised if two records have the same identifier, which the tables need
        to tell their footprints apart.
    """
    records = catalog.record_of_footprint
    records = records[catalog.is_parent[records]]
    if np.any(catalog.is_repeated[records]):
        twice = catalog.record_id[records][catalog.is_repeated[records]]
        raise CatalogError(
            f"the catalogue has several records with the id {twice[0]}; renumber them, as tables tell "
            "footprints apart by it"
        )
    number = np.full(catalog.n_footprints, -1, np.int64)
    number[catalog.footprint[records]] = np.arange(len(records))
    spans = catalog.spans.astype(np.int64)
    spans[:, 0] = number[spans[:, 0]]
    spans = spans[spans[:, 0] >= 0] - np.array([0, xy0[1], xy0[0], xy0[0]])
    n_all = np.bincount(spans[:, 0], weights=spans[:, 3] - spans[:, 2] + 1, minlength=len(records))
    ny, nx = shape
    spans = spans[(spans[:, 1] >= 0) & (spans[:, 1] < ny) & (spans[:, 2] < nx) & (spans[:, 3] >= 0)]
    spans[:, 2:] = np.clip(spans[:, 2:], 0, nx - 1)
    n_inside = np.bincount(spans[:, 0], weights=spans[:, 3] - spans[:, 2] + 1, minlength=len(records))
    labels = _paint(spans, (ny, nx))
    # Numbered by their first pixel, as footprints of an image are.
    found, first = np.unique(labels, return_index=True)
    found, first = found[found > 0], first[found > 0]
    order = found[np.argsort(first)]
    renumber = np.zeros(len(records) + 1, np.int32)
    renumber[order] = np.arange(1, len(order) + 1)
    labels = renumber[labels]

    peaks = catalog.peaks[number[catalog.peaks["footprint"]] >= 0]
    table = np.zeros(len(peaks), [*PEAK_DTYPE.descr, ("peak_id", "i8")])
    table["footprint_id"] = renumber[number[peaks["footprint"]] + 1]
    for name in ("i_x", "i_y", "f_x", "f_y", "peak_value"):
        table[name] = peaks[name]
    table["peak_id"] = peaks["id"]
    x, y = table["i_x"] - xy0[0], table["i_y"] - xy0[1]
    inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
    inside[inside] = (labels[y[inside], x[inside]] == table["footprint_id"][inside]) & (
        table["footprint_id"][inside] > 0
    )
    record = records[order - 1]
    footprints = FootprintSet.from_labels(labels, xy0=xy0, peaks=table[inside])
    gone = n_inside == 0
    return GivenFootprints(
        footprints.with_ids(catalog.record_id[record]),
        record=record,
        n_outside=int(gone.sum()),
        n_cut=int(np.sum(~gone & (n_inside < n_all))),
        n_covered=int(np.sum(~gone) - len(order)),
        n_peaks_left_out=int(np.sum(~inside & (table["footprint_id"] > 0))),
    )


def _paint(spans: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Label image of spans in array coordinates whose footprints count from 0; the first one has a pixel."""
    numbered = spans[np.argsort(-spans[:, 0], kind="stable")].astype(np.int32)
    numbered[:, 0] += 1
    return spans_to_labels(numbered, shape)


@dataclass(frozen=True)
class PeakLayout:
    """Rows of tables that footprints have as their peaks.

    Parameters
    ----------
    archive_id
        Identifiers of the f footprints in the archive, int64 ``(f,)``.
    table
        Table of the archive that holds the peaks of each, int64 ``(f,)``.
    start, count
        First row, and number of rows, int64 ``(f,)``.
    """

    archive_id: np.ndarray
    table: np.ndarray
    start: np.ndarray
    count: np.ndarray

    @property
    def footprint(self) -> np.ndarray:
        """Footprint of each of the k peaks, int64 ``(k,)``."""
        return np.repeat(np.arange(len(self.count)), self.count)

    @property
    def row(self) -> np.ndarray:
        """Row of each of the k peaks in its table, int64 ``(k,)``."""
        ends = np.cumsum(self.count)
        return np.arange(int(self.count.sum())) - np.repeat(ends - self.count - self.start, self.count)

    def rearrange(
        self, table: int, n_rows: int, footprint: np.ndarray, row: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Put other rows into the place of those that the footprints of a table with ``n_rows`` have.

        ``footprint`` and ``row`` are the rows that its footprints shall have, sorted by footprint, int64
        (n,); those from ``n_rows`` on are new.  Gives all rows of the new table, in which footprints follow
        each other as before and rows that none has stay where they were, and first row and number of rows of
        the footprints of this table.
        """
        mine = np.flatnonzero(self.table == table)
        first = np.searchsorted(footprint, mine, side="left")
        last = np.searchsorted(footprint, mine, side="right")
        parts: list[np.ndarray] = []
        start, end, length = np.zeros(len(mine), np.int64), 0, 0
        for i in np.lexsort((self.count[mine], self.start[mine])):
            begin = int(self.start[mine[i]])
            if begin > end:
                parts.append(np.arange(end, begin))
                length += begin - end
            end = max(end, begin + int(self.count[mine[i]]))
            start[i] = length
            parts.append(row[first[i] : last[i]])
            length += int(last[i] - first[i])
        parts.append(np.arange(end, n_rows))
        return np.concatenate(parts).astype(np.int64), start, last - first

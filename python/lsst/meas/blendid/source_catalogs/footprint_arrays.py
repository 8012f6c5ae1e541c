# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The footprints and peaks of a catalogue as arrays, wherever they were read."""

from __future__ import annotations

__all__ = ("CATALOG_PEAK_DTYPE", "PSEUDO_FLAGS", "CatalogFootprints")

from dataclasses import dataclass

import numpy as np

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
        spans = self.spans[order].astype(np.int64)
        inside = np.zeros(len(footprint), dtype=bool)
        if not len(spans):
            return inside
        low, high = spans[:, 1:].min(axis=0), spans[:, 1:].max(axis=0)
        x, y, footprint = (np.asarray(v).astype(np.int64) for v in (x, y, footprint))
        known = (y >= low[0]) & (y <= high[0]) & (x >= low[1]) & (x <= high[2])
        height, width = high[0] - low[0] + 1, high[2] - low[1] + 1
        starts = (spans[:, 0] * height + spans[:, 1] - low[0]) * width + spans[:, 2] - low[1]
        wanted = (footprint[known] * height + y[known] - low[0]) * width + x[known] - low[1]
        place = np.searchsorted(starts, wanted, side="right") - 1
        found = spans[np.maximum(place, 0)]
        inside[known] = (
            (place >= 0)
            & (found[:, 0] == footprint[known])
            & (found[:, 1] == y[known])
            & (x[known] <= found[:, 3])
        )
        return inside

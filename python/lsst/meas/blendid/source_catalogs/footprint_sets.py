# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Footprints of a catalogue as those of an image."""

from __future__ import annotations

__all__ = ("GivenFootprints", "make_footprint_set")

from dataclasses import dataclass

import numpy as np

from ..footprints import PEAK_DTYPE, FootprintSet, spans_to_labels
from .afw_table import CatalogError
from .footprint_arrays import CatalogFootprints


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
    own = records[order - 1]
    footprints = FootprintSet.from_labels(labels, xy0=xy0, peaks=table[inside])
    gone = n_inside == 0
    return GivenFootprints(
        footprints.with_ids(catalog.record_id[own]),
        record=own,
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

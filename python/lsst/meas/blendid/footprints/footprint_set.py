# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Footprints and their peaks as columns."""

from __future__ import annotations

__all__ = (
    "PEAK_DTYPE",
    "FootprintSet",
    "cover_grid",
    "labels_to_spans",
    "spans_contain",
    "spans_to_labels",
    "sum_in_spans",
)

import dataclasses
from dataclasses import dataclass

import numpy as np

from .._jit import njit
from .components import Runs

PEAK_DTYPE = np.dtype(
    [
        ("footprint_id", "i4"),
        ("i_x", "i4"),
        ("i_y", "i4"),
        ("f_x", "f8"),
        ("f_y", "f8"),
        ("peak_value", "f4"),
        ("significance", "f4"),
    ]
)
"""Columns of a peak: footprint, pixel, refined position, value in the smoothed image, significance."""


@njit(nogil=True)
def _scan_labels(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Runs of equal nonzero labels, sorted by label, y, x0, by counting; and the count of each label."""
    ny, nx = labels.shape
    n = 0
    m = 0
    for y in range(ny):
        row = labels[y]
        for x in range(nx):
            n = max(n, row[x])
            m += (row[x] != 0) & ((x == 0) or (row[x] != row[x - 1]))
    # Sorted by counting: positions of each label are known before spans are written, in one more pass,
    # without comparing.
    counts = np.zeros(n + 2, np.int64)
    for y in range(ny):
        row = labels[y]
        for x in range(nx):
            if row[x] != 0 and (x == 0 or row[x] != row[x - 1]):
                counts[row[x] + 1] += 1
    # Where the next span of each label goes.
    position = np.cumsum(counts)
    spans = np.empty((m, 4), np.int32)
    for y in range(ny):
        row = labels[y]
        x = 0
        while x < nx:
            label = row[x]
            if label == 0:
                x += 1
                continue
            first = x
            while x < nx and row[x] == label:
                x += 1
            k = position[label]
            position[label] += 1
            spans[k, 0] = label
            spans[k, 1] = y
            spans[k, 2] = first
            spans[k, 3] = x - 1
    return spans, counts[1:]


@njit(nogil=True)
def _sort_runs(
    start: np.ndarray, x0: np.ndarray, x1: np.ndarray, labels: np.ndarray, xy0_x: int, xy0_y: int
) -> tuple[np.ndarray, np.ndarray]:
    """Spans of labelled runs, sorted by label by counting; and the count of each label."""
    n = 0
    for label in labels:
        n = max(n, label)
    counts = np.zeros(n + 2, np.int64)
    for label in labels:
        counts[label + 1] += 1
    position = np.cumsum(counts)
    spans = np.empty((x0.size, 4), np.int32)
    # Rows in order, so that spans of a label are sorted by y and x0 within it.
    for y in range(start.size - 1):
        for i in range(start[y], start[y + 1]):
            k = position[labels[i]]
            position[labels[i]] += 1
            spans[k, 0] = labels[i]
            spans[k, 1] = y + xy0_y
            spans[k, 2] = x0[i] + xy0_x
            spans[k, 3] = x1[i] + xy0_x
    return spans, counts[1:]


@njit(nogil=True)
def _fill_spans(spans: np.ndarray, x0: int, y0: int, out: np.ndarray) -> None:
    for i in range(spans.shape[0]):
        y = spans[i, 1] - y0
        for x in range(spans[i, 2] - x0, spans[i, 3] - x0 + 1):
            out[y, x] = spans[i, 0]


@njit(nogil=True)
def _sum_in_spans(image: np.ndarray, spans: np.ndarray, x0: int, y0: int, out: np.ndarray) -> None:
    for i in range(spans.shape[0]):
        y = spans[i, 1] - y0
        for x in range(spans[i, 2] - x0, spans[i, 3] - x0 + 1):
            out[spans[i, 0] - 1] += image[y, x]


def sum_in_spans(footprints: FootprintSet, image: np.ndarray) -> np.ndarray:
    """Sum an image (ny, nx) over the pixels of each footprint in raster order, float64 (n,); count a mask."""
    sums = np.zeros(len(footprints))
    _sum_in_spans(np.asarray(image), footprints.spans, *footprints.xy0, sums)
    return sums


@njit(nogil=True)
def _cover_grid(spans: np.ndarray, x0: int, y0: int, step: int, out: np.ndarray) -> None:
    for i in range(spans.shape[0]):
        y = spans[i, 1] - y0
        if y % step == 0:
            for k in range((spans[i, 2] - x0 + step - 1) // step, (spans[i, 3] - x0) // step + 1):
                out[y // step, k] = True


def cover_grid(footprints: FootprintSet, step: int) -> np.ndarray:
    """Tell where pixels of a grid lie in footprints, as ``labels[::step, ::step] > 0`` does."""
    covered = np.zeros(tuple(-(-n // step) for n in footprints.shape), dtype=bool)
    _cover_grid(footprints.spans, *footprints.xy0, step, covered)
    return covered


def spans_contain(spans: np.ndarray, ids: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether each of some footprints has a pixel, bool (k,), by its number and pixel, integer (k,) each.

    Spans are footprint, y, x0, x1 (inclusive), integer (m, 4), sorted by footprint, y and x0.
    """
    spans = spans.astype(np.int64)
    ids, x, y = (np.asarray(values).astype(np.int64) for values in (ids, x, y))
    inside = np.zeros(ids.size, dtype=bool)
    if not len(spans):
        return inside
    # Within the range of the spans, so that footprint, row and column make one number in their order.
    low, high = spans[:, 1:].min(axis=0), spans[:, 1:].max(axis=0)
    known = (y >= low[0]) & (y <= high[0]) & (x >= low[1]) & (x <= high[2])
    height, width = high[0] - low[0] + 1, high[2] - low[1] + 1

    def number(ids: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        return (ids * height + (y - low[0])) * width + (x - low[1])

    first = number(*spans[:, :3].T)
    span = np.searchsorted(first, number(ids[known], y[known], x[known]), side="right") - 1
    found = spans[np.maximum(span, 0)]
    inside[known] = (
        (span >= 0) & (found[:, 0] == ids[known]) & (found[:, 1] == y[known]) & (x[known] <= found[:, 3])
    )
    return inside


def labels_to_spans(labels: np.ndarray, xy0: tuple[int, int] = (0, 0)) -> np.ndarray:
    """Turn a label image into spans.

    Parameters
    ----------
    labels
        Label image, integer ``(ny, nx)``, 0 for none.
    xy0
        Parent coordinates of its first pixel.

    Returns
    -------
    spans
        Columns footprint, y, x0, x1 (inclusive, parent pixels), sorted by
        footprint, y and x0, int32 ``(m, 4)``.

    Raises
    ------
    ValueError
        If the image is not two-dimensional, or has labels that are negative or
        not 32-bit integers.
    """
    labels = _as_labels(labels)
    spans, _ = _scan_labels(labels)
    spans[:, 1] += xy0[1]
    spans[:, 2:] += xy0[0]
    return spans


def spans_to_labels(spans: np.ndarray, shape: tuple[int, int], xy0: tuple[int, int] = (0, 0)) -> np.ndarray:
    """Paint spans into a label image.

    Parameters
    ----------
    spans
        Spans as from `labels_to_spans`, ``(m, 4)``, in any order.
    shape
        ``(ny, nx)`` of the image.
    xy0
        Parent coordinates of its first pixel.

    Returns
    -------
    labels
        Label image, int32 of ``shape``, 0 for none.

    Raises
    ------
    ValueError
        If a span lies outside the image.
    """
    spans = np.ascontiguousarray(spans, dtype=np.int32).reshape(-1, 4)
    x, y = spans[:, 2:] - xy0[0], spans[:, 1] - xy0[1]
    if spans.size and (x.min() < 0 or x.max() >= shape[1] or y.min() < 0 or y.max() >= shape[0]):
        raise ValueError(f"a span lies outside the image of shape {tuple(shape)} at xy0={tuple(xy0)}")
    labels = np.zeros(shape, np.int32)
    _fill_spans(spans, xy0[0], xy0[1], labels)
    return labels


def _as_labels(labels: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 2:
        raise ValueError(f"a label image has two dimensions, not {labels.ndim}")
    if labels.dtype.kind not in "iub":
        raise ValueError(f"a label image holds integers, not {labels.dtype}")
    if labels.size and labels.min() < 0:
        raise ValueError("a label image has no negative labels")
    if labels.size and labels.max() > np.iinfo(np.int32).max:
        raise ValueError(f"label {labels.max()} is too large: labels are 32-bit integers")
    return np.ascontiguousarray(labels, dtype=np.int32)


@dataclass(frozen=True)
class FootprintSet:
    """Footprints as columns; row ``i`` is footprint ``i + 1``.

    Parameters
    ----------
    shape
        ``(ny, nx)`` of the image.
    xy0
        Parent coordinates of its first pixel.
    spans
        Columns footprint, y, x0, x1 (inclusive, parent pixels), sorted by
        footprint, y and x0, int32 ``(m, 4)``.
    bbox
        Columns x0, y0, x1, y1 (inclusive, parent pixels), int32 ``(n, 4)``.
    area
        Number of pixels, int32 ``(n,)``.
    area_detected
        Number of pixels over the threshold, before growth, int32 ``(n,)``.
    centroid
        Unweighted mean x, y of the pixels (parent pixels), float64 ``(n, 2)``.
    peaks
        Peaks sorted by footprint, then brightest first, structured array of
        `PEAK_DTYPE` ``(k,)`` in parent pixels.
    peak_start
        Index of the first peak of each footprint, and ``k``, int64
        ``(n + 1,)``.
    label_image
        The label image, if it is at hand.
    ids, peak_ids
        Identifiers of footprints and peaks in the catalogue that they come
        from, int64 ``(n,)`` and ``(k,)``; `None` if they come from none.
    """

    shape: tuple[int, int]
    xy0: tuple[int, int]
    spans: np.ndarray
    bbox: np.ndarray
    area: np.ndarray
    area_detected: np.ndarray
    centroid: np.ndarray
    peaks: np.ndarray
    peak_start: np.ndarray
    label_image: np.ndarray | None = dataclasses.field(default=None, repr=False, compare=False)
    ids: np.ndarray | None = None
    peak_ids: np.ndarray | None = None

    def __len__(self) -> int:
        return self.area.size

    @property
    def labels(self) -> np.ndarray:
        """Footprint of each pixel, 0 for none, int32 ``(ny, nx)``; painted when it is first asked for."""
        if self.label_image is None:
            spans = self.spans if self.shape != (0, 0) else self.spans[:0]
            # As large as the image itself, and most uses of footprints need spans only.
            object.__setattr__(self, "label_image", spans_to_labels(spans, self.shape, self.xy0))
        assert self.label_image is not None
        return self.label_image

    @property
    def n_peaks(self) -> np.ndarray:
        """Number of peaks of each footprint, int32 ``(n,)``."""
        return np.diff(self.peak_start).astype(np.int32)

    @property
    def max_significance(self) -> np.ndarray:
        """Largest significance of each footprint's peaks, float32 ``(n,)``; NaN without peaks."""
        result = np.full(len(self), np.nan, dtype=np.float32)
        has = self.n_peaks > 0
        if has.any():
            result[has] = np.maximum.reduceat(self.peaks["significance"], self.peak_start[:-1][has])
        return result

    @classmethod
    def from_labels(
        cls,
        labels: np.ndarray,
        *,
        xy0: tuple[int, int] = (0, 0),
        peaks: np.ndarray | None = None,
        area_detected: np.ndarray | None = None,
    ) -> FootprintSet:
        """Make footprints from a label image.

        Parameters
        ----------
        labels
            Label image, integer ``(ny, nx)``, with every number from 1 to the
            greatest; 0 for none.
        xy0
            Parent coordinates of its first pixel.
        peaks
            Peaks in any order, structured array of `PEAK_DTYPE`; none if
            `None`.
        area_detected
            Pixels over the threshold of each footprint ``(n,)``; the area if
            `None`.

        Returns
        -------
        footprints : `FootprintSet`
            The footprints.

        Raises
        ------
        ValueError
            If a number is missing among the labels, ``area_detected`` has
            another length, or a peak does not lie in its footprint.
        """
        labels = _as_labels(labels)
        spans, counts = _scan_labels(labels)
        missing = np.flatnonzero(counts[1:] == 0)
        if missing.size:
            raise ValueError(f"label {missing[0] + 1} is missing: labels must run from 1 without gaps")
        spans[:, 1] += xy0[1]
        spans[:, 2:] += xy0[0]
        made = cls._from_columns(
            (labels.shape[0], labels.shape[1]), xy0, spans, counts[1:], peaks, area_detected
        )
        return dataclasses.replace(made, label_image=labels)

    @classmethod
    def from_runs(
        cls,
        runs: Runs,
        run_labels: np.ndarray,
        *,
        xy0: tuple[int, int] = (0, 0),
        peaks: np.ndarray | None = None,
        area_detected: np.ndarray | None = None,
    ) -> FootprintSet:
        """Make footprints from the runs of their pixels.

        Parameters
        ----------
        runs
            All runs; no two of one label may touch in a row.
        run_labels
            Label of each run, int32 ``(m,)``.
        xy0, peaks, area_detected
            As for `from_labels`.

        Returns
        -------
        footprints : `FootprintSet`
            The footprints.
        """
        spans, counts = _sort_runs(runs.start, runs.x0, runs.x1, run_labels, int(xy0[0]), int(xy0[1]))
        return cls._from_columns(runs.shape, xy0, spans, counts[1:], peaks, area_detected)

    @classmethod
    def _from_columns(
        cls,
        shape: tuple[int, int],
        xy0: tuple[int, int],
        spans: np.ndarray,
        counts: np.ndarray,
        peaks: np.ndarray | None,
        area_detected: np.ndarray | None,
    ) -> FootprintSet:
        """Make footprints from their sorted spans, ``counts`` for each footprint."""
        n = counts.size
        bbox = np.zeros((n, 4), np.int32)
        area = np.zeros(n, np.int32)
        centroid = np.zeros((n, 2))
        if n:
            first = np.concatenate([[0], np.cumsum(counts)[:-1]])
            bbox[:, 0] = np.minimum.reduceat(spans[:, 2], first)
            bbox[:, 1] = spans[first, 1]
            bbox[:, 2] = np.maximum.reduceat(spans[:, 3], first)
            bbox[:, 3] = spans[first + counts - 1, 1]
            length = (spans[:, 3] - spans[:, 2] + 1).astype(np.int64)
            area[:] = np.add.reduceat(length, first)
            # Sums about the corner of the box, so that large parent coordinates cost no precision.
            corner = bbox[spans[:, 0] - 1].astype(np.int64)
            middle = 0.5 * (spans[:, 2] - corner[:, 0] + spans[:, 3] - corner[:, 0])
            centroid[:, 0] = np.add.reduceat(length * middle, first) / area + bbox[:, 0]
            centroid[:, 1] = np.add.reduceat(length * (spans[:, 1] - corner[:, 1]), first) / area + bbox[:, 1]
        detected = area.copy() if area_detected is None else np.asarray(area_detected, dtype=np.int32)
        if detected.shape != (n,):
            raise ValueError(f"area_detected has shape {detected.shape}; there are {n} footprints")
        bare = cls(
            shape=shape,
            xy0=(int(xy0[0]), int(xy0[1])),
            spans=spans,
            bbox=bbox,
            area=area,
            area_detected=detected,
            centroid=centroid,
            peaks=np.zeros(0, PEAK_DTYPE),
            peak_start=np.zeros(n + 1, np.int64),
        )
        return bare if peaks is None else bare.with_peaks(peaks)

    def with_peaks(self, peaks: np.ndarray) -> FootprintSet:
        """Replace the peaks.

        Parameters
        ----------
        peaks
            Peaks in any order, structured array of `PEAK_DTYPE` ``(k,)``, each
            in the footprint with its ``footprint_id``; a column ``peak_id``,
            if there is one, has their identifiers.

        Returns
        -------
        footprints : `FootprintSet`
            The same footprints with these peaks, sorted.

        Raises
        ------
        ValueError
            If columns are missing, or a peak's footprint does not exist or does
            not cover its pixel.
        """
        absent = [name for name in PEAK_DTYPE.names or () if name not in (peaks.dtype.names or ())]
        if absent:
            raise ValueError(f"peaks lack the columns {absent}")
        columns = np.zeros(peaks.shape, PEAK_DTYPE)
        for name in PEAK_DTYPE.names or ():
            columns[name] = peaks[name]
        ids = columns["footprint_id"]
        if ids.size and (ids.min() < 1 or ids.max() > len(self)):
            raise ValueError(f"a peak has a footprint_id outside 1…{len(self)}")
        inside = spans_contain(self.spans, ids, columns["i_x"], columns["i_y"])
        if not inside.all():
            i = int(np.argmin(inside))
            raise ValueError(
                f"the peak at ({columns['i_x'][i]}, {columns['i_y'][i]}) is not in its footprint {ids[i]}"
            )
        order = np.lexsort((columns["i_x"], columns["i_y"], -columns["peak_value"], ids))
        columns = columns[order]
        start = np.searchsorted(columns["footprint_id"], np.arange(1, len(self) + 2))
        named = "peak_id" in (peaks.dtype.names or ())
        given_ids = peaks["peak_id"][order].astype(np.int64) if named else None
        return dataclasses.replace(self, peaks=columns, peak_start=start.astype(np.int64), peak_ids=given_ids)

    def with_ids(self, ids: np.ndarray) -> FootprintSet:
        """Give the footprints the identifiers of a catalogue.

        Parameters
        ----------
        ids
            Identifiers, integer ``(n,)``.

        Returns
        -------
        footprints : `FootprintSet`
            The same footprints with these identifiers.

        Raises
        ------
        ValueError
            If their number is another one.
        """
        ids = np.asarray(ids, dtype=np.int64)
        if ids.shape != (len(self),):
            raise ValueError(f"there are {ids.size} identifiers for {len(self)} footprints")
        return dataclasses.replace(self, ids=ids)

    def find_at(self, x: np.ndarray, y: np.ndarray, *, outside: int = 0) -> np.ndarray:
        """Find the footprints that positions lie in.

        Parameters
        ----------
        x, y : `numpy.ndarray`, shape (m,)
            Positions, parent pixels.  The label image may have been dropped.
        outside
            What is given for a position beyond the image.

        Returns
        -------
        number : `numpy.ndarray`, shape (m,), int64
            Number of the footprint, from 1; 0 for none.
        """
        labels, xy0 = self.labels, self.xy0
        if not labels.size and len(self):
            low, high = self.bbox[:, :2].min(axis=0), self.bbox[:, 2:].max(axis=0)
            xy0 = (int(low[0]), int(low[1]))
            shape = (int(high[1]) - xy0[1] + 1, int(high[0]) - xy0[0] + 1)
            labels = spans_to_labels(self.spans, shape, xy0)
        # As floats, which hold any position; NaN compares false.
        column, row = (np.rint(np.asarray(v, np.float64)) - v0 for v, v0 in zip((x, y), xy0, strict=True))
        inside = (column >= 0) & (column < labels.shape[1]) & (row >= 0) & (row < labels.shape[0])
        number = np.full(column.shape, outside, dtype=np.int64)
        number[inside] = labels[row[inside].astype(np.int64), column[inside].astype(np.int64)]
        return number

    def without_labels(self) -> FootprintSet:
        """Drop the label image, most of the memory.

        Returns
        -------
        footprints
            The same footprints with an empty label image; `spans_to_labels` makes it anew.
        """
        return dataclasses.replace(self, shape=(0, 0), label_image=None)

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from lsst.meas.blendid.footprints import PEAK_DTYPE, FootprintSet, labels_to_spans, spans_to_labels
from scipy import ndimage

label_images = arrays(np.int32, array_shapes(min_dims=2, max_dims=2, max_side=15), elements=st.integers(0, 4))
origins = st.tuples(st.integers(-100000, 100000), st.integers(-100000, 100000))


def compact(labels: np.ndarray) -> np.ndarray:
    """Number labels from 1 without gaps."""
    present = np.unique(labels[labels > 0])
    return (np.searchsorted(present, labels) + 1).astype(np.int32) * (labels > 0)


def peak(footprint_id: int, x: int, y: int, value: float, significance: float = 5.0) -> tuple:
    return (footprint_id, x, y, x + 0.1, y - 0.1, value, significance)


@given(label_images, origins)
def test_round_trip(labels: np.ndarray, xy0: tuple[int, int]) -> None:
    spans = labels_to_spans(labels, xy0)
    np.testing.assert_array_equal(spans_to_labels(spans, labels.shape, xy0), labels)
    order = np.lexsort((spans[:, 2], spans[:, 1], spans[:, 0]))
    np.testing.assert_array_equal(order, np.arange(len(spans)))
    assert (spans[:, 3] >= spans[:, 2]).all()


@given(label_images, origins)
def test_columns_match_scipy(labels: np.ndarray, xy0: tuple[int, int]) -> None:
    labels = compact(labels)
    footprints = FootprintSet.from_labels(labels, xy0=xy0)
    n = int(labels.max())
    assert len(footprints) == n
    assert footprints.labels.dtype == np.int32
    index = np.arange(1, n + 1)
    np.testing.assert_array_equal(footprints.area, ndimage.sum_labels(labels > 0, labels, index))
    np.testing.assert_array_equal(footprints.area_detected, footprints.area)
    if n:
        center = np.array(ndimage.center_of_mass(labels > 0, labels, index))[:, ::-1] + xy0
        np.testing.assert_allclose(footprints.centroid, center, rtol=0, atol=1e-6)
    for box, (rows, columns) in zip(footprints.bbox, ndimage.find_objects(labels), strict=True):
        expected = [
            columns.start + xy0[0],
            rows.start + xy0[1],
            columns.stop - 1 + xy0[0],
            rows.stop - 1 + xy0[1],
        ]
        assert box.tolist() == expected


def test_peaks_are_sorted_and_counted() -> None:
    labels = np.array([[1, 1, 0, 2, 2, 0, 3]], dtype=np.int32)
    peaks = np.array(
        [peak(2, 4, 0, 7.0, 6.0), peak(1, 0, 0, 1.0), peak(2, 3, 0, 9.0, 5.5), peak(1, 1, 0, 1.0)], PEAK_DTYPE
    )
    footprints = FootprintSet.from_labels(labels, peaks=peaks)
    assert footprints.peaks["footprint_id"].tolist() == [1, 1, 2, 2]
    assert footprints.peaks["i_x"].tolist() == [0, 1, 3, 4]
    assert footprints.peak_start.tolist() == [0, 2, 4, 4]
    assert footprints.n_peaks.tolist() == [2, 2, 0]
    np.testing.assert_array_equal(footprints.max_significance, np.array([5, 6, np.nan], np.float32))


def test_with_peaks_replaces_them_and_only_them() -> None:
    labels = np.array([[1, 1, 0, 2, 2]], dtype=np.int32)
    first = FootprintSet.from_labels(labels, peaks=np.array([peak(1, 0, 0, 1.0)], PEAK_DTYPE))
    second = first.with_peaks(np.array([peak(2, 4, 0, 3.0)], PEAK_DTYPE))
    assert first.n_peaks.tolist() == [1, 0]
    assert second.n_peaks.tolist() == [0, 1]
    assert second.labels is first.labels
    assert second.spans is first.spans


@pytest.mark.parametrize("footprint_id", [0, 3, -1])
def test_peak_of_no_footprint(footprint_id: int) -> None:
    with pytest.raises(ValueError, match="footprint_id"):
        FootprintSet.from_labels(
            np.array([[1, 2]]), peaks=np.array([peak(footprint_id, 0, 0, 1.0)], PEAK_DTYPE)
        )


@pytest.mark.parametrize(("x", "y"), [(12, 20), (13, 20), (9, 20), (10, 21), (15, 20)])
def test_peak_outside_its_footprint(x: int, y: int) -> None:
    labels = np.array([[1, 1, 0, 2, 2]])
    with pytest.raises(ValueError, match=rf"peak at \({x}, {y}\) is not in its footprint 1"):
        FootprintSet.from_labels(labels, xy0=(10, 20), peaks=np.array([peak(1, x, y, 1.0)], PEAK_DTYPE))


@pytest.mark.parametrize("dtype", [np.int64, np.uint32, np.uint64])
def test_labels_beyond_32_bits(dtype: type) -> None:
    labels = np.array([[1, 2**31]], dtype=dtype)
    with pytest.raises(ValueError, match="label 2147483648 is too large"):
        labels_to_spans(labels)
    wrapped = np.array([[2**32 + 1 if dtype is not np.uint32 else 2**32 - 1]], dtype=dtype)
    with pytest.raises(ValueError, match="too large"):
        FootprintSet.from_labels(wrapped)


def test_labels_are_integers() -> None:
    with pytest.raises(ValueError, match="integers, not float64"):
        labels_to_spans(np.array([[1.5]]))
    assert FootprintSet.from_labels(np.array([[True, False]])).area.tolist() == [1]


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="label 2 is missing"):
        FootprintSet.from_labels(np.array([[1, 0, 3]]))
    with pytest.raises(ValueError, match="two dimensions"):
        labels_to_spans(np.zeros((2, 2, 2), np.int32))
    with pytest.raises(ValueError, match="negative"):
        labels_to_spans(np.array([[-1]]))
    with pytest.raises(ValueError, match="outside"):
        spans_to_labels(np.array([[1, 0, 0, 5]]), (2, 3))
    with pytest.raises(ValueError, match="area_detected"):
        FootprintSet.from_labels(np.array([[1]]), area_detected=np.array([1, 2]))
    with pytest.raises(ValueError, match="lack the columns"):
        FootprintSet.from_labels(np.array([[1]]), peaks=np.zeros(1, [("footprint_id", "i4")]))


def test_nothing() -> None:
    footprints = FootprintSet.from_labels(np.zeros((4, 5), np.int32))
    assert len(footprints) == 0
    assert footprints.spans.shape == (0, 4)
    assert footprints.n_peaks.size == 0
    assert footprints.max_significance.size == 0
    assert spans_to_labels(footprints.spans, (4, 5)).shape == (4, 5)


def test_position_finds_its_footprint() -> None:
    labels = np.zeros((6, 8), np.int32)
    labels[1:3, 2:5], labels[5, 7] = 1, 2
    footprints = FootprintSet.from_labels(labels, xy0=(10, -20))
    x = np.array([12.4, 14.49, 14.51, 17.0, 17.6, 9.4, np.nan, 1e300, 10.0])
    y = np.array([-19.4, -18.0, -18.0, -15.0, -15.0, -19.0, -19.0, -19.0, -20.0])
    assert footprints.find_at(x, y).tolist() == [1, 1, 0, 2, 0, 0, 0, 0, 0]
    assert footprints.find_at(x, y, outside=-1).tolist() == [1, 1, 0, 2, -1, -1, -1, -1, 0]
    np.testing.assert_array_equal(footprints.without_labels().find_at(x, y), footprints.find_at(x, y))
    assert footprints.find_at(x[:0], y[:0]).shape == (0,)

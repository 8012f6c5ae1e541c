# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of one list of peaks out of detected ones and positions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from lsst.meas.blendid.footprints import PEAK_DTYPE
from lsst.meas.blendid.localizers import Positions, merge_peaks
from lsst.meas.blendid.located_peaks import LocatedPeaks
from toy_objects import make_scene
from toy_samples import make_result


def make_positions(*rows: tuple[int, float, float, float]) -> Positions:
    row, x, y, p = (
        (np.array(v) for v in zip(*rows, strict=True)) if rows else (np.zeros(0, int), *np.zeros((3, 0)))
    )
    error = np.arange(1.0, len(row) + 1.0)
    return Positions(row.astype(np.int32), x, y, p, error, 2.0 * error, 0.1 * error)


@pytest.fixture
def result():  # type: ignore[no-untyped-def]
    labels = np.zeros((40, 60), np.int32)
    labels[5:20, 5:20] = 1
    labels[5:20, 30:50] = 2
    image = np.arange(2400.0).reshape(40, 60)
    peaks = np.array([(1, 110, 58, 110.2, 58.1, 9.0, 9.0), (2, 135, 60, 135.0, 60.0, 8.0, 8.0)], PEAK_DTYPE)
    return make_result(image, labels, xy0=(100, 50), peaks=peaks, sigma=2.0)


def merge(result, positions: Positions, **options: object) -> LocatedPeaks:  # type: ignore[no-untyped-def]
    settings = {"match_radius": 1.5, "min_probability": 0.05, "max_inferred": 10} | options
    return merge_peaks(result, positions, **settings)  # type: ignore[arg-type]


def test_a_peak_takes_the_probability_of_what_means_the_same(result) -> None:  # type: ignore[no-untyped-def]
    located = merge(
        result, make_positions((0, 111.0, 58.0, 0.9), (0, 115.4, 62.6, 0.7), (0, 107.0, 60.0, 0.01))
    )
    peaks = located.peaks
    assert peaks["is_inferred"].tolist() == [False, False, True]
    # Detected peaks stay where they are; one that means nothing to the localiser has probability 0.
    assert [tuple(p)[:7] for p in peaks[:2]] == [tuple(p) for p in result.footprints.peaks]
    np.testing.assert_allclose(peaks["probability"], [0.9, 0.0, 0.7])
    np.testing.assert_allclose(peaks["xx"], [1.0, np.nan, 2.0])
    inferred = peaks[2]
    assert (inferred["i_x"], inferred["i_y"]) == (115, 63)
    assert (inferred["f_x"], inferred["f_y"]) == pytest.approx((115.4, 62.6))
    assert inferred["peak_value"] == 13 * 60 + 15 and inferred["significance"] == (13 * 60 + 15) / 2.0
    assert not located.too_many.any()


def test_positions_outside_of_their_footprint_are_left_out(result) -> None:  # type: ignore[no-untyped-def]
    outside = make_positions(
        (0, 120.1, 58.0, 0.9), (0, 131.0, 58.0, 0.9), (0, 99.0, 49.0, 0.9), (1, 400.0, 60.0, 0.9)
    )
    assert len(merge(result, outside).peaks) == 2
    with pytest.raises(ValueError, match="positions for footprint 5, and 2 footprints"):
        merge(result, make_positions((5, 110.0, 58.0, 0.9)))


def test_the_least_probable_of_too_many_are_left_out(result) -> None:  # type: ignore[no-untyped-def]
    positions = make_positions(*((1, 132.0 + 5 * k, 67.0, 0.2 + 0.2 * k) for k in range(3)))
    located = merge(result, positions, max_inferred=2)
    assert located.too_many.tolist() == [False, True]
    np.testing.assert_allclose(located.peaks["probability"][2:], [0.6, 0.4])
    assert len(merge(result, positions, max_inferred=0).peaks) == 2


def test_unusable_footprints_have_no_probabilities(result) -> None:  # type: ignore[no-untyped-def]
    positions = make_positions((0, 110.0, 58.0, 0.9), (0, 115.0, 62.0, 0.8), (1, 135.0, 60.0, 0.6))
    peaks = merge(result, positions, usable=np.array([False, True])).peaks
    np.testing.assert_allclose(peaks["probability"], [np.nan, 0.6])
    assert np.isnan(peaks["xx"][0])


def test_without_positions_or_peaks(result) -> None:  # type: ignore[no-untyped-def]
    peaks = merge(result, make_positions()).peaks
    assert peaks["probability"].tolist() == [0.0, 0.0]
    none = LocatedPeaks.without_localizer(result).peaks
    assert np.isnan(none["probability"]).all() and not none["is_inferred"].any()
    empty = make_result(np.zeros((30, 30)), np.zeros((30, 30), np.int32))
    assert len(merge(empty, make_positions()).peaks) == 0


def test_inferred_peaks_are_sorted_and_lie_in_their_footprints() -> None:
    result, _, candidates = make_scene(xy0=(30, 4))
    m = len(candidates.row)
    positions = Positions(
        candidates.row,
        *(v.astype(float) for v in (candidates.x, candidates.y, candidates.probability)),
        *np.ones((3, m)),
    )
    peaks = merge(result, positions, min_probability=0.3).peaks
    k = len(result.footprints.peaks)
    more = peaks[k:]
    assert more["is_inferred"].all() and len(more) > 10
    order = np.lexsort((-more["probability"], more["footprint_id"]))
    np.testing.assert_array_equal(order, np.arange(len(more)))
    labels = result.footprints.labels[more["i_y"] - 4, more["i_x"] - 30]
    np.testing.assert_array_equal(labels, more["footprint_id"])
    # Of peaks and inferred peaks none are so close that they would mean the same, unless each has its own.
    total = np.sum(positions.probability >= 0.3)
    assert len(more) + np.sum(peaks["probability"][:k] > 0.3) <= total


def test_places_of_candidates_are_kept() -> None:
    """Where a detected peak stands in for an object, beside what the localiser knows of its place."""
    result, _, candidates = make_scene(xy0=(30, 4))
    places = candidates.x.astype(float), candidates.y.astype(float)
    some = Positions(
        candidates.row, *places, candidates.probability.astype(float), *np.ones((3, len(places[0])))
    )
    peaks = merge(result, some, min_probability=0.3).peaks
    k = len(result.footprints.peaks)
    matched = np.isfinite(peaks["candidate_x"][:k])
    np.testing.assert_array_equal(matched, np.isfinite(peaks["xx"][:k]))
    offset = np.hypot(peaks["candidate_x"] - peaks["f_x"], peaks["candidate_y"] - peaks["f_y"])
    assert 0.0 < np.nanmax(offset[:k]) < 5.0 and (offset[k:] == 0.0).all()
    found = set(zip(*places, strict=True))
    assert (
        set(zip(peaks["candidate_x"][:k][matched], peaks["candidate_y"][:k][matched], strict=True)) <= found
    )
    told = dataclasses.replace(
        some, candidate_x=places[0] + 0.25, candidate_y=np.full(len(places[0]), np.nan)
    )
    again = merge(result, told, min_probability=0.3).peaks
    np.testing.assert_array_equal(again["candidate_x"][:k], peaks["candidate_x"][:k] + 0.25)
    assert np.isnan(again["candidate_y"][:k]).all()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"probability": np.array([0.5, np.nan])}, "not in \\[0, 1\\]"),
        ({"probability": np.array([0.5, 1.1])}, "not in \\[0, 1\\]"),
        ({"row": np.array([1, 0])}, "not sorted"),
        ({"row": np.array([-1, 0])}, "not sorted"),
        ({"candidate_x": np.zeros(3)}, "candidate_x has shape \\(3,\\) for 2 positions"),
        ({"x": np.zeros(3)}, "x has shape \\(3,\\) for 2 positions"),
    ],
)
def test_positions_that_make_no_sense(change: dict[str, np.ndarray], match: str) -> None:
    good = {"row": np.array([0, 1])} | {
        name: np.full(2, 0.5) for name in ("x", "y", "probability", "xx", "yy", "xy")
    }
    with pytest.raises(ValueError, match=match):
        Positions(**(good | change))

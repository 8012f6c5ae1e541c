# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Peaks and galaxies, one to one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.footprints import FootprintSet
from lsst.meas.blendid.labels import count_galaxies
from lsst.meas.blendid.peak_matching import GalaxyList, PeakList, PeakMatches, match_peaks
from scipy.optimize import linear_sum_assignment
from toy_objects import make_candidates

RADIUS = 2.5
_FAR = 1e4


def make_lists(rng: np.random.Generator, n: int, extent: float) -> tuple[PeakList, GalaxyList]:
    """Crowded footprints: some peaks near galaxies, some anywhere."""
    peaks, galaxies = [], []
    for row in range(n):
        k, m = rng.integers(0, 7, 2)
        places = rng.uniform(0.0, extent, (k, 2))
        galaxies += [(row, *place) for place in places]
        near = [places[rng.integers(k)] + rng.normal(0.0, 1.2, 2) for _ in range(m) if k]
        anywhere = list(rng.uniform(0.0, extent, (rng.integers(0, 3), 2)))
        peaks += [(row, *place) for place in near + anywhere]
    peak, galaxy = np.array(peaks).reshape(-1, 3), np.array(galaxies).reshape(-1, 3)
    # Few values, so that there are ties.
    p = rng.choice([0.1, 0.4, 0.4, 0.7, 0.9, np.nan], len(peak))
    snr = rng.uniform(5.0, 50.0, len(galaxy))
    return (
        PeakList(peak[:, 0].astype(int), peak[:, 1], peak[:, 2], p),
        GalaxyList(galaxy[:, 0].astype(int), galaxy[:, 1], galaxy[:, 2], snr, snr),
    )


def squares(peaks: PeakList, galaxies: GalaxyList, use: np.ndarray) -> np.ndarray:
    """Squared distances (peaks of use, galaxies), `_FAR` where they may not be matched."""
    x = peaks.x[use, None] - galaxies.x
    y = peaks.y[use, None] - galaxies.y
    found = x**2 + y**2
    other = peaks.footprint[use, None] != galaxies.footprint
    return np.where(other | (found > RADIUS**2), _FAR, found)


def best_assignment(cost: np.ndarray) -> tuple[int, float]:
    """Number of pairs and sum of the squares, by SciPy."""
    rows, columns = linear_sum_assignment(cost)
    chosen = cost[rows, columns]
    return int(np.sum(chosen < _FAR)), float(chosen[chosen < _FAR].sum())


def check_pairs(peaks: PeakList, galaxies: GalaxyList, matches: PeakMatches) -> None:
    """One to one, in one footprint, within the radius."""
    some = np.flatnonzero(matches.is_true)
    partners = matches.galaxy[some]
    assert len(np.unique(partners)) == len(partners)
    np.testing.assert_array_equal(peaks.footprint[some], galaxies.footprint[partners])
    assert np.all(matches.distance[some] <= RADIUS)
    np.testing.assert_allclose(
        matches.distance[some],
        np.hypot(peaks.x[some] - galaxies.x[partners], peaks.y[some] - galaxies.y[partners]),
    )
    assert np.isnan(matches.distance[~matches.is_true]).all()
    np.testing.assert_array_equal(np.sort(np.flatnonzero(matches.finder >= 0)), np.sort(partners))
    assert len(np.unique(matches.finder[matches.finder >= 0])) == len(partners)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([4.0, 8.0, 20.0]))
def test_as_good_as_an_assignment_at_every_threshold(seed: int, extent: float) -> None:
    peaks, galaxies = make_lists(np.random.default_rng(seed), 12, extent)
    matches = match_peaks(peaks, galaxies, radius=RADIUS)
    check_pairs(peaks, galaxies, matches)
    p = np.where(np.isfinite(peaks.probability), peaks.probability, -1.0)
    found_at = np.where(matches.finder >= 0, p[matches.finder], -np.inf)
    for threshold in (-1.0, 0.1, 0.4, 0.7, 0.9):
        use = np.flatnonzero(p >= threshold)
        most, _ = best_assignment(squares(peaks, galaxies, use))
        assert np.count_nonzero(matches.is_true[use]) == most
        assert np.count_nonzero(found_at >= threshold) == most
        # The peaks over a threshold alone find the same galaxies.
        alone = match_peaks(peaks, galaxies, radius=RADIUS, keep=p >= threshold)
        check_pairs(peaks, galaxies, alone)
        np.testing.assert_array_equal(alone.finder >= 0, found_at >= threshold)
        np.testing.assert_array_equal(alone.is_true, matches.is_true & (p >= threshold))
        # Of these matched peaks no other galaxies are nearer.
        number, total = best_assignment(squares(peaks, galaxies, np.flatnonzero(alone.is_true)))
        assert number == most
        assert np.sum(alone.distance[alone.is_true] ** 2) == pytest.approx(total, abs=1e-6)


def pair(x: list[float], p: list[float], at: list[float]) -> tuple[PeakList, GalaxyList]:
    """Peaks and galaxies of one footprint, along a line."""
    zeros = np.zeros(len(x))
    peaks = PeakList(zeros.astype(int), np.array(x), zeros, np.array(p))
    nothing = np.zeros(len(at))
    return peaks, GalaxyList(nothing.astype(int), np.array(at), nothing, nothing + 9.0, nothing + 25.0)


def test_the_more_probable_peak_has_the_galaxy() -> None:
    matches = match_peaks(*pair([0.2, 0.0], [0.9, 0.1], [0.0]))
    assert matches.galaxy.tolist() == [0, -1]
    assert matches.finder.tolist() == [0]


def test_a_peak_between_two_galaxies_leaves_one_to_the_next() -> None:
    """The first peak is nearer to the galaxy that the second alone can reach, and takes the other one."""
    matches = match_peaks(*pair([1.4, -0.5], [0.9, 0.3], [0.0, 3.0]))
    assert matches.galaxy.tolist() == [1, 0]
    # The galaxy of the left was found by the first, and the right one when the second came.
    assert matches.finder.tolist() == [0, 1]


def test_other_footprints_and_places_beyond_the_radius_do_not_match() -> None:
    peaks, galaxies = pair([0.0, 10.0], [0.9, 0.9], [0.5, 13.0])
    other = dataclasses.replace(galaxies, footprint=np.array([1, 1]))
    assert match_peaks(peaks, other).galaxy.tolist() == [-1, -1]
    assert match_peaks(peaks, galaxies).galaxy.tolist() == [0, -1]
    assert match_peaks(peaks, galaxies, radius=3.0).galaxy.tolist() == [0, 1]


def test_peaks_that_are_nowhere_do_not_match() -> None:
    peaks, galaxies = pair([np.nan, 0.0], [0.9, 0.5], [0.5])
    assert match_peaks(peaks, galaxies).galaxy.tolist() == [-1, 0]


def test_nothing_to_match() -> None:
    peaks, galaxies = pair([], [], [])
    assert len(match_peaks(peaks, galaxies).galaxy) == 0
    peaks, _ = pair([1.0], [0.5], [])
    assert match_peaks(peaks, galaxies).galaxy.tolist() == [-1]


@pytest.mark.parametrize("radius", [0.0, -1.0, np.nan])
def test_bad_radius(radius: float) -> None:
    with pytest.raises(ValueError, match="radius"):
        match_peaks(*pair([1.0], [0.5], [1.0]), radius=radius)


def test_lists_are_checked() -> None:
    with pytest.raises(ValueError, match="x has 1 rows for 2"):
        PeakList(np.array([0, 0]), np.zeros(1), np.zeros(2), np.zeros(2))
    with pytest.raises(ValueError, match="sorted"):
        PeakList(np.array([1, 0]), np.zeros(2), np.zeros(2), np.zeros(2))


def make_footprints() -> FootprintSet:
    labels = np.zeros((20, 30), np.int32)
    labels[2:10, 2:12] = 1
    labels[12:18, 15:25] = 2
    return FootprintSet.from_labels(labels, xy0=(100, 50))


def test_galaxies_of_footprints_are_those_that_are_counted() -> None:
    rng = np.random.default_rng(3)
    n = 200
    truth = Table(
        {
            "x": 100 + rng.uniform(-2, 31, n),
            "y": 50 + rng.uniform(-2, 21, n),
            "snr": rng.uniform(2.0, 40.0, n),
        }
    )
    truth["x"][0] = np.nan
    footprints = make_footprints()
    galaxies = GalaxyList.from_truth(footprints, truth)
    assert np.isnan(galaxies.magnitude).all()
    counts = count_galaxies(footprints, truth)
    np.testing.assert_array_equal(np.bincount(galaxies.footprint, minlength=2), counts)
    assert galaxies.snr.min() >= 5.0
    for row in range(2):
        assert np.all(np.diff(galaxies.snr[galaxies.footprint == row]) <= 0.0)
    truth["mag"] = np.arange(n)
    with_magnitudes = GalaxyList.from_truth(footprints, truth)
    np.testing.assert_array_equal(truth["snr"][with_magnitudes.magnitude.astype(int)], galaxies.snr)
    truth.remove_column("snr")
    with pytest.raises(KeyError, match="no column 'snr'"):
        GalaxyList.from_truth(footprints, truth)


def test_lists_of_images_are_joined() -> None:
    peaks, galaxies = pair([0.0, 4.0], [0.9, 0.2], [0.1])
    joined = PeakList.join([peaks, peaks], [3, 2])
    assert joined.footprint.tolist() == [0, 0, 3, 3]
    assert joined.is_inferred is None
    told = dataclasses.replace(peaks, is_inferred=np.array([False, True]))
    both = PeakList.join([told, told], [3, 2]).is_inferred
    assert both is not None and both.tolist() == [False, True, False, True]
    matches = match_peaks(joined, GalaxyList.join([galaxies, galaxies], [3, 2]))
    assert matches.galaxy.tolist() == [0, -1, 1, -1]


def test_from_candidates_and_tables() -> None:
    row, x, y, p = np.array([[0, 1.0, 4.0, 0.9], [0, 2.0, 5.0, 0.2], [2, 3.0, 6.0, 0.5]]).T
    candidates = make_candidates(row.astype(int), x, y, p, 3)
    peaks = PeakList.from_candidates(candidates)
    assert peaks.footprint.tolist() == [0, 0, 2] and peaks.has_probabilities
    assert peaks.y.tolist() == [4.0, 5.0, 6.0]
    columns = {
        "footprint_id": [1, 3, 1],
        "peak_id": [0, 1, 2],
        "f_x": [1.0, 3.0, 2.0],
        "f_y": [4.0, 6.0, 5.0],
        "probability": [0.9, 0.5, 0.2],
        "is_inferred": [False, False, True],
        **{name: [0.1, 0.1, np.nan] for name in ("xx", "yy", "xy")},
        "mag": [22.0, 23.0, 24.0],
    }
    table = PeakList.from_table(Table(columns))
    np.testing.assert_array_equal(table.x, peaks.x)
    assert table.is_inferred is not None and table.is_inferred.tolist() == [False, True, False]
    assert table.magnitude is not None and table.magnitude.tolist() == [22.0, 24.0, 23.0]
    footprints = make_footprints()
    assert len(PeakList.from_footprints(footprints)) == len(footprints.peaks)
    assert not PeakList.from_footprints(footprints).has_probabilities

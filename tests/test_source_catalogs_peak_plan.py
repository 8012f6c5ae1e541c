# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Which peaks are added, dropped and moved: rules one by one, and what a deblender was seen to bear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from lsst.meas.blendid.source_catalogs import (
    INFERRED_DTYPE,
    REFUSALS,
    CatalogError,
    CatalogFootprints,
    PeakEditConfig,
    PeakPlan,
    plan_peaks,
    read_catalog,
)
from lsst.meas.blendid.source_catalogs.catalog_footprints import CATALOG_PEAK_DTYPE
from lsst.meas.blendid.source_catalogs.peak_plan import describe_refusals
from scipy.ndimage import convolve1d
from toy_catalogs import is_unchanged


def _footprints(
    boxes: list[tuple[int, int, int, int]], peaks: list[tuple[int, int, float, float, float]]
) -> CatalogFootprints:
    """Rectangles, and peaks of them: footprint, id, x, y, value."""
    n = len(boxes)
    spans = [(i, y, x0, x1) for i, (x0, y0, x1, y1) in enumerate(boxes) for y in range(y0, y1 + 1)]
    table = np.zeros(len(peaks), CATALOG_PEAK_DTYPE)
    for row, (footprint, number, x, y, value) in zip(table, peaks, strict=True):
        row["footprint"], row["id"], row["peak_value"] = footprint, number, value
        row["f_x"], row["f_y"], row["i_x"], row["i_y"] = x, y, np.rint(x), np.rint(y)
    return CatalogFootprints(
        np.arange(n) + 1, np.zeros(n, np.int64), np.arange(n), np.zeros(n, dtype=bool),
        np.array(spans, np.int32).reshape(-1, 4), np.sort(table, order="footprint", kind="stable"), n,
    )  # fmt: skip


def _inferred(rows: list[tuple[int, float, float, float]], **values: Any) -> np.ndarray:
    """Inferred peaks: footprint, x, y, value; bright and probable unless said otherwise."""
    table = np.zeros(len(rows), INFERRED_DTYPE)
    for i, (row, (footprint, x, y, value)) in enumerate(zip(table, rows, strict=True)):
        row["footprint"], row["id"], row["peak_value"] = footprint, 1000 + i, value
        row["f_x"], row["f_y"], row["i_x"], row["i_y"] = x, y, np.rint(x), np.rint(y)
    table["significance"], table["probability"] = 20.0, 0.9
    for name, column in values.items():
        table[name] = column
    return table


def _plan(footprints: CatalogFootprints, inferred: np.ndarray, **options: Any) -> PeakPlan:
    """The plan of a config with some fields, that adds by default."""
    k = len(footprints.peaks)
    arrays = {
        "probability": np.full(k, 0.9),
        "candidate": np.full((k, 2), np.nan),
        "left_alone": np.zeros(footprints.n_footprints, dtype=bool),
    }
    arrays = {name: options.pop(name, array) for name, array in arrays.items()}
    config = PeakEditConfig()
    for name, value in ({"doAddPeaks": True} | options).items():
        setattr(config, name, value)
    return plan_peaks(footprints, inferred, config=config, **arrays)


BOX = (0, 0, 40, 20)
ONE = _footprints([BOX], [(0, 7, 10.0, 10.0, 50.0)])


def test_nothing_is_done_by_default() -> None:
    plan = _plan(ONE, _inferred([(0, 20, 10, 8)]), doAddPeaks=False)
    assert is_unchanged(plan)
    assert plan.source.tolist() == [0]
    assert plan.refusal.tolist() == ["not_asked"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, ""),
        ({"probability": 0.75}, "improbable"),
        ({"probability": np.nan}, "improbable"),
        ({"probability": 0.76}, ""),
        ({"significance": 4.99}, "faint"),
        ({"significance": np.nan}, "faint"),
        ({"significance": 5.0}, ""),
        ({"f_x": 12.9}, "close"),
        ({"f_x": 13.0}, ""),
        ({"f_x": 12.0, "f_y": 12.3}, ""),
        ({"i_y": 21}, "outside"),
        ({"i_x": -1}, "outside"),
        ({"footprint": -1}, "outside"),
    ],
)
def test_guards(values: dict[str, float], reason: str) -> None:
    plan = _plan(ONE, _inferred([(0, 20, 10, 8)], **values))
    assert plan.refusal.tolist() == [reason]
    assert len(plan.added) == (reason == "")
    assert reason == "" or reason in REFUSALS


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"minAddProbability": 0.95}, "improbable"),
        ({"minSeparation": 11.0}, "close"),
        ({"minAddSignificance": 21.0}, "faint"),
        ({"maxPeaks": 1}, "too_many"),
        ({"maxFootprintArea": 41 * 21}, ""),
        ({"maxFootprintArea": 41 * 21 - 1}, "left_alone"),
        ({"maxFootprintSize": 40}, "left_alone"),
        ({"maxFootprintSize": 41}, ""),
        ({"maxAreaTimesPeaks": 41 * 21 * 2 - 1}, "too_many"),
        ({"maxAreaTimesPeaks": 41 * 21 - 1}, "left_alone"),
        ({"maxAreaTimesPeaks": 41 * 21 * 2}, ""),
        ({"left_alone": np.array([True])}, "left_alone"),
    ],
)
def test_limits_of_the_config(options: dict[str, Any], reason: str) -> None:
    assert _plan(ONE, _inferred([(0, 20, 10, 8)]), **options).refusal.tolist() == [reason]


def test_footprints_with_too_many_peaks_are_left_alone() -> None:
    many = _footprints([BOX], [(0, i, 4.0 * i, 5.0, 9 - i) for i in range(3)])
    plan = _plan(many, _inferred([(0, 20, 10, 8)]), maxPeaks=2, doDropPeaks=True, probability=np.zeros(3))
    assert plan.refusal.tolist() == ["left_alone"]
    assert is_unchanged(plan)


def test_the_brightest_come_first() -> None:
    """Of two that are too close to each other the brighter one stays, and with a cap the brightest."""
    inferred = _inferred([(0, 20, 10, 5), (0, 22, 10, 9), (0, 30, 10, 7)])
    plan = _plan(ONE, inferred)
    assert plan.refusal.tolist() == ["close", "", ""]
    assert _plan(ONE, inferred, maxPeaks=2).refusal.tolist() == ["too_many", "", "too_many"]
    # Brighter and fainter than the detected one, which has 50.
    bright = _inferred([(0, 20, 10, 5), (0, 25, 10, 90), (0, 30, 10, 7), (0, 35, 10, np.nan)])
    plan = _plan(ONE, bright)
    values = np.concatenate([ONE.peaks["peak_value"], bright["peak_value"][plan.added][::-1]])
    assert [values[s] for s in plan.source][:4] == [90, 50, 7, 5]


def test_order_of_peaks_stays() -> None:
    """Also where it is not that of brightness; added peaks come before the first fainter one."""
    footprints = _footprints([BOX], [(0, 1, 5, 5, 5.0), (0, 2, 15, 5, 30.0), (0, 3, 25, 5, 20.0)])
    plan = _plan(footprints, _inferred([(0, 35, 5, 25), (0, 35, 15, 1)]))
    assert plan.source.tolist() == [-1, 0, 1, 2, -2]


def test_ids_continue_those_of_the_catalogue() -> None:
    inferred = _inferred([(0, 20, 10, 5), (0, 30, 10, 9)])
    assert _plan(ONE, inferred).added_id.tolist() == [1001, 1000]
    # Not those of the tables where these are taken, repeated, or too large for 32 bits.
    for ids in ([7, 8], [1000, 1000], [1000, 2**31]):
        plan = _plan(ONE, _inferred([(0, 20, 10, 5), (0, 30, 10, 9)], id=ids))
        assert plan.added_id.tolist() == [8, 9]
    full = _footprints([BOX], [(0, 2**31 - 2, 10.0, 10.0, 50.0)])
    assert _plan(full, inferred[:1]).added_id.tolist() == [2**31 - 1]
    with pytest.raises(CatalogError, match="largest peak id of the catalogue is 2147483646: none is left"):
        _plan(full, inferred)


def test_the_most_probable_peak_stays() -> None:
    footprints = _footprints(
        [BOX, (50, 0, 70, 20)],
        [(0, 1, 5, 5, 5.0), (0, 2, 15, 5, 4.0), (0, 3, 25, 5, 3.0), (1, 4, 60, 5, 9.0), (1, 5, 60, 15, 8.0)],
    )
    options: dict[str, Any] = {"doAddPeaks": False, "doDropPeaks": True, "maxDropProbability": 0.2}
    plan = _plan(footprints, _inferred([]), probability=np.array([0.01, 0.05, 0.04, np.nan, 0.0]), **options)
    assert plan.kept.tolist() == [False, True, False, True, False]
    plan = _plan(footprints, _inferred([]), probability=np.array([0.2, 0.1, 0.1, 0.1, 0.1]), **options)
    assert plan.kept.tolist() == [True, False, False, True, False]


def test_a_dropped_peak_makes_room() -> None:
    options: dict[str, Any] = {"doDropPeaks": True, "maxDropProbability": 0.2}
    two = _footprints([BOX], [(0, 1, 10, 10, 50.0), (0, 2, 20, 10, 5.0)])
    inferred = _inferred([(0, 21, 10, 8)])
    assert _plan(two, inferred, probability=np.array([0.9, 0.1])).refusal.tolist() == ["close"]
    plan = _plan(two, inferred, probability=np.array([0.9, 0.1]), **options)
    assert plan.refusal.tolist() == [""]
    assert plan.source.tolist() == [0, -1]


def test_a_close_detected_peak_is_moved() -> None:
    """The one peak of two galaxies lies between them."""
    inferred = _inferred([(0, 12.5, 10, 8)])
    candidate = np.array([[8.4, 10.2]])
    assert _plan(ONE, inferred, candidate=candidate).refusal.tolist() == ["close"]
    plan = _plan(ONE, inferred, candidate=candidate, doMovePeaks=True)
    assert plan.refusal.tolist() == [""]
    assert plan.moved.tolist() == [True]
    assert (plan.f_x[0], plan.f_y[0], plan.i_x[0], plan.i_y[0]) == (np.float32(8.4), np.float32(10.2), 8, 10)
    assert plan.kept.all() and plan.source.tolist() == [0, -1]
    # Not if it is farther away, has no place to go to, or would leave its footprint.
    far = _inferred([(0, 16.0, 10, 8)])
    assert not _plan(ONE, far, candidate=candidate, doMovePeaks=True).moved.any()
    assert _plan(ONE, far, candidate=candidate, doMovePeaks=True, moveRadius=6.1).moved.all()
    assert not _plan(ONE, _inferred([(0, 14, 10, 8)]), doMovePeaks=True).moved.any()
    out = np.array([[10.0, 20.6]])
    assert not _plan(ONE, _inferred([(0, 14, 10, 8)]), candidate=out, doMovePeaks=True).moved.any()
    # Nor if nothing is added.
    assert is_unchanged(_plan(ONE, inferred[:0], candidate=candidate, doMovePeaks=True))


def test_no_peak_is_moved_onto_another() -> None:
    two = _footprints([BOX], [(0, 1, 10, 10, 50.0), (0, 2, 16, 10, 5.0)])
    candidate = np.array([[14.5, 10.0], [np.nan, np.nan]])
    plan = _plan(two, _inferred([(0, 10, 14, 8)]), candidate=candidate, doMovePeaks=True)
    assert plan.refusal.tolist() == [""]
    assert not plan.moved.any()


def test_no_peak_is_moved_where_its_place_is_not_sure() -> None:
    """Two inferred peaks of what may be one galaxy."""
    candidate = np.array([[8.4, 10.2]])
    two = _inferred([(0, 14, 10, 8), (0, 7, 11, 6)])
    plan = _plan(ONE, two, candidate=candidate, doMovePeaks=True)
    assert plan.refusal.tolist() == ["", ""] and not plan.moved.any()
    two["probability"][1] = 0.4
    assert _plan(ONE, two, candidate=candidate, doMovePeaks=True).moved.all()


def test_a_footprint_without_peaks_gets_one() -> None:
    empty = _footprints([BOX], [])
    plan = _plan(empty, _inferred([(0, 20, 10, 5)]), doDropPeaks=True)
    assert plan.source.tolist() == [-1]


def test_refusals_are_counted() -> None:
    assert describe_refusals(["", "close", "faint", "close"]) == (
        "2 closer than minSeparation to another peak, 1 point-source S/N under minAddSignificance"
    )
    assert describe_refusals([""]) == ""


_PLACE = st.tuples(
    st.integers(0, 1), st.floats(-2, 32, width=32), st.floats(-2, 12, width=32), st.floats(0, 9, width=32)
)
_UNIT = st.floats(0, 1, width=32) | st.just(float("nan"))


@settings(max_examples=80)
@given(
    detected=st.lists(st.tuples(_PLACE, _UNIT, st.floats(-3, 3), st.booleans()), max_size=6),
    inferred=st.lists(st.tuples(_PLACE, _UNIT, st.floats(3, 8, width=32)), max_size=8),
    drop=st.booleans(),
    move=st.booleans(),
    alone=st.booleans(),
    most=st.integers(1, 6),
)
def test_any_plan_keeps_the_rules(
    detected: list, inferred: list, drop: bool, move: bool, alone: bool, most: int
) -> None:
    """What is true of the peaks in the end, whatever they were."""
    boxes = [(0, 0, 30, 10), (0, 12, 30, 22)]
    inside = [(f, np.clip(x, 0, 30), np.clip(y, 0, 10) + 12 * f, v) for (f, x, y, v), *_ in detected]
    footprints = _footprints(boxes, [(f, i + 1, x, y, v) for i, (f, x, y, v) in enumerate(inside)])
    order = footprints.peaks["id"] - 1
    probability = np.array([d[1] for d in detected], float)[order]
    shift = np.array([[d[2], d[2] / 2] if d[3] else [np.nan] * 2 for d in detected]).reshape(-1, 2)[order]
    candidate = np.stack([footprints.peaks["f_x"], footprints.peaks["f_y"]], axis=1) + shift
    rows = _inferred(
        [(f, x, y + 12 * f, v) for (f, x, y, v), *_ in inferred],
        probability=[p for _, p, _ in inferred],
        significance=[s for *_, s in inferred],
    )
    left_alone = np.array([False, alone])
    plan = _plan(
        footprints, rows, probability=probability, candidate=candidate, left_alone=left_alone,
        doDropPeaks=drop, doMovePeaks=move, maxPeaks=most,
    )  # fmt: skip

    peaks = footprints.peaks
    assert sorted(plan.source[plan.source >= 0].tolist()) == np.flatnonzero(plan.kept).tolist()
    assert sorted(-1 - plan.source[plan.source < 0]) == list(range(len(plan.added)))
    assert (np.diff(plan.footprint) >= 0).all()
    assert (np.diff(plan.source[plan.source >= 0]) > 0).all()
    assert plan.refusal.tolist() == ["" if i in plan.added else plan.refusal[i] for i in range(len(rows))]
    assert len(np.unique(plan.added_id)) == len(plan.added) and not np.isin(plan.added_id, peaks["id"]).any()
    stays = left_alone | (footprints.n_peaks > most)
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        own, new = np.flatnonzero(peaks["footprint"] == number), rows[plan.added]
        new = new[new["footprint"] == number]
        kept = own[plan.kept[own]]
        if stays[number]:
            assert len(kept) == len(own) and not len(new) and not plan.moved[own].any()
            continue
        assert len(kept) + len(new) <= max(most, len(own))
        if len(own):
            assert len(kept) > 0
            lost = own[~plan.kept[own]]
            assert (probability[lost] < 0.1).all() and (drop or not len(lost))
            assert (
                len(lost) == 0
                or np.nanmax(probability[own]) in probability[kept]
                or np.isnan(probability[kept]).any()
            )
        assert (new["probability"] > 0.75).all() and (new["significance"] >= 5.0).all()
        assert ((new["i_x"] >= x0) & (new["i_x"] <= x1) & (new["i_y"] >= y0) & (new["i_y"] <= y1)).all()
        # Every added one is apart from every other peak where these are in the end.
        x = np.concatenate([plan.f_x[kept], new["f_x"]]).astype(float)
        y = np.concatenate([plan.f_y[kept], new["f_y"]]).astype(float)
        for i in range(len(kept), len(x)):
            assert (np.hypot(np.delete(x, i) - x[i], np.delete(y, i) - y[i]) >= 3.0 - 1e-4).all()
        moved = kept[plan.moved[kept]]
        assert move or not len(moved)
        for i in moved:
            assert plan.f_x[i] == np.float32(candidate[i, 0])
            assert (np.hypot(new["f_x"] - peaks["f_x"][i], new["f_y"] - peaks["f_y"][i]) < 6.0).any()
        # A refused one has a reason.
        for row in rows[(plan.refusal == "close") & (rows["footprint"] == number)]:
            places = [(x, y)] if not move else [(x, y), (candidate[kept, 0], candidate[kept, 1])]
            places.append((peaks["f_x"][kept].astype(float), peaks["f_y"][kept].astype(float)))
            assert any((np.hypot(a - row["f_x"], b - row["f_y"]) < 3.0 + 1e-4).any() for a, b in places)


@pytest.fixture(scope="module")
def toy(shared_data: Path) -> dict[str, np.ndarray]:
    """Three bands with a pair 3.2 pixels apart that has one peak, and what a deblender made of it."""
    with np.load(shared_data / "afw_reference" / "deblend_toy.npz") as arrays:
        return dict(arrays)


def _significance(toy: dict[str, np.ndarray], band: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Matched-filter S/N at pixels; the noise is 1."""
    sigma = toy["psf_sigma"][list(toy["bands"]).index(band)]
    kernel = np.exp(-0.5 * (np.arange(-8, 9) / sigma) ** 2)
    kernel /= kernel.sum()
    smooth = toy[f"image_{band}"].astype(float)
    for axis in (0, 1):
        smooth = convolve1d(smooth, kernel, axis=axis)
    return smooth[y - toy["xy0"][1], x - toy["xy0"][0]] / np.sum(kernel**2)


def test_what_a_deblender_was_seen_to_bear(shared_data: Path, toy: dict[str, np.ndarray]) -> None:
    """An inferred peak at each of 67 places of the pair's footprint, each alone and as probable as can be.

    Of the 17 whose fit has a chi2 over 1e3 the guards refuse the 14 that diverged, to 1e6 and beyond, and one
    more; the other two lie on the flank of the galaxy that was not detected, 5 pixels from it, where there is
    light but no object, which only the probability of a localiser can tell.
    """
    probe = dict(zip(toy["probe_columns"].tolist(), toy["probe"].T, strict=True))
    x, y = probe["x"].astype(int), probe["y"].astype(int)
    footprints = read_catalog(shared_data / "afw_reference" / "merged_base.fits").footprints()
    (pair,) = np.flatnonzero(footprints.contain(np.arange(9), np.full(9, 1153), np.full(9, 2061)))
    rows = _inferred([(pair, *place, 60.0) for place in zip(x, y, strict=True)], probability=1.0)
    rows["significance"] = _significance(toy, "i", x, y)
    refusal = np.array([_plan(footprints, rows[i : i + 1]).refusal[0] for i in range(len(rows))])
    added = refusal == ""
    diverged = probe["parent_chi2"] > 1e3
    assert (len(x), diverged.sum(), (probe["parent_chi2"] > 1e6).sum()) == (67, 17, 14)
    assert not added[probe["parent_chi2"] > 1e6].any()
    assert sorted(zip(x[diverged & added], y[diverged & added], strict=True)) == [(1146, 2058), (1149, 2055)]
    # At or next to the detected peak the flux is split evenly or the fit is bad.
    assert (refusal[probe["distance_to_detected"] < 3] == "close").all()
    # The second galaxy is at (1150, 2060): whatever is within 3 pixels of it splits the pair rightly.
    near = (np.hypot(x - 1150, y - 2060) < 3) & (probe["distance_to_detected"] >= 3)
    assert near.sum() == 3
    assert added[near].all() and (probe["parent_chi2"][near] < 1.5).all()
    # Nothing was added where the deconvolved images have nothing, but on the flanks of the two.
    assert (np.hypot(x - 1151.5, y - 2060.5)[added] < 8).all()

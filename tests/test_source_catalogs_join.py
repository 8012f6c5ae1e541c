# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Which rows of the tables belong to which records and peaks of a catalogue."""

from __future__ import annotations

from collections.abc import Sequence

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from lsst.meas.blendid.source_catalogs import (
    CatalogError,
    CatalogFootprints,
    CatalogJoin,
    join_tables,
    parse_catalog,
)
from lsst.meas.blendid.source_catalogs.join import count_shared_pixels
from lsst.meas.blendid.tables import BlendTables
from toy_catalogs import ToyFootprint, ToyPeak, make_tables, write_toy


def _read(footprints: Sequence[ToyFootprint]) -> CatalogFootprints:
    return parse_catalog(write_toy(footprints), "toy").footprints()


def _join(catalog: Sequence[ToyFootprint], tables: Sequence[ToyFootprint], **options: bool) -> CatalogJoin:
    return join_tables(_read(catalog), make_tables(tables, **options))


def _some(n: int = 4, first_id: int = 1000) -> list[ToyFootprint]:
    """Footprints in a row, each with two peaks and an inferred one."""
    return [
        ToyFootprint(
            first_id + i,
            (40 * i, 0, 40 * i + 30, 20),
            [
                ToyPeak(10 * i + 1, 40 * i + 10, 10),
                ToyPeak(10 * i + 2, 40 * i + 20, 12, value=5),
                ToyPeak(900 + i, 40 * i + 15, 4, value=3, is_inferred=True),
            ],
        )
        for i in range(n)
    ]


@pytest.mark.parametrize("ids", [False, True])
def test_the_same_footprints(ids: bool) -> None:
    join = _join(_some(), _some(), ids_of_catalog=ids)
    assert join.by_id is ids
    assert join.row.tolist() == [0, 1, 2, 3]
    assert join.is_same.all()
    assert join.peak_row.tolist() == list(range(8))
    assert join.inferred_row.tolist() == [8, 9, 10, 11]
    assert join.inferred_footprint.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("ids", [False, True])
def test_rows_in_another_order(ids: bool) -> None:
    tables = make_tables(_some(), ids_of_catalog=ids)
    order = np.array([2, 0, 3, 1])
    shuffled = BlendTables(
        tables.blend[order],
        tables.blend_peak[::-1],
        tables.blend_spans[np.random.default_rng(1).permutation(84)],
    )
    join = join_tables(_read(_some()), shuffled)
    assert (join.by_id, join.row.tolist()) == (ids, [1, 3, 0, 2])
    assert join.peak_row.tolist() == list(range(11, 3, -1))
    assert join.inferred_footprint.tolist() == [3, 2, 1, 0]


def test_counters_are_not_taken_for_ids() -> None:
    """Records that count from 1, as the tables do, in another order."""
    catalog = [ToyFootprint(5 - f.id, f.box, f.peaks) for f in _some(first_id=1)]
    join = _join(catalog, _some(first_id=1))
    assert not join.by_id
    assert join.row.tolist() == [0, 1, 2, 3]
    # The same order: records have the rows, but peaks not those of their numbers.
    swapped = _some(first_id=1)
    for footprint in swapped:
        footprint.peaks[0].id, footprint.peaks[1].id = footprint.peaks[1].id, footprint.peaks[0].id
    join = _join(swapped, _some(first_id=1))
    assert not join.by_id
    assert join.peak_row.tolist() == list(range(8))


def test_a_part_of_the_catalogue_and_more_of_it() -> None:
    assert _join(_some()[1:3], _some(), ids_of_catalog=True).row.tolist() == [1, 2]
    join = _join(_some(), _some()[1:3], ids_of_catalog=True)
    assert join.by_id
    assert join.row.tolist() == [-1, 0, 1, -1]
    assert join.peak_row.tolist() == [-1, -1, 0, 1, 2, 3, -1, -1]


def test_footprints_that_were_cut_at_the_edge_of_the_image() -> None:
    """With the identifiers of the catalogue; pixels outside the image are not in the tables."""
    cut = _some()
    cut[0] = ToyFootprint(cut[0].id, (5, 0, 30, 20), cut[0].peaks)
    join = _join(_some(), cut, ids_of_catalog=True)
    assert join.by_id and join.is_same.all()
    assert join.row.tolist() == [0, 1, 2, 3]


def test_other_footprints_are_told() -> None:
    """Another search: one is larger, one smaller, two are one, one is not there."""
    catalog = [
        ToyFootprint(1, (0, 0, 20, 20), [ToyPeak(1, 10, 10)]),
        ToyFootprint(2, (40, 0, 70, 20), [ToyPeak(2, 50, 10)]),
        ToyFootprint(3, (100, 0, 120, 20), [ToyPeak(3, 110, 10)]),
        ToyFootprint(4, (123, 0, 150, 20), [ToyPeak(4, 140, 10)]),
        ToyFootprint(5, (200, 0, 210, 20), [ToyPeak(5, 205, 10)]),
        ToyFootprint(6, (300, 0, 310, 20), [ToyPeak(6, 305, 10)]),
    ]
    tables = [
        ToyFootprint(1, (-2, -2, 22, 22), [ToyPeak(1, 10.5, 10)]),
        ToyFootprint(2, (45, 0, 60, 20), [ToyPeak(2, 50, 11)]),
        ToyFootprint(3, (100, 0, 150, 20), [ToyPeak(3, 110, 10), ToyPeak(4, 140, 14)]),
        ToyFootprint(4, (300, 0, 310, 20), [ToyPeak(6, 305, 10)]),
    ]
    join = _join(catalog, tables)
    assert join.row.tolist() == [0, 1, 2, 2, -1, 3]
    assert join.is_same.tolist() == [False] * 5 + [True]
    assert join.peak_row.tolist() == [0, 1, 2, -1, -1, 4]


def test_inferred_peaks_lie_in_whichever_footprint_has_their_pixel() -> None:
    """The tables have one footprint where the catalogue has two."""
    catalog = [
        ToyFootprint(1, (0, 0, 20, 20), [ToyPeak(1, 5, 5)]),
        ToyFootprint(2, (21, 0, 40, 20), [ToyPeak(2, 25, 5)]),
    ]
    peaks = [ToyPeak(1, 5, 5), ToyPeak(2, 25, 5)]
    peaks += [ToyPeak(3 + i, x, 15, is_inferred=True) for i, x in enumerate((10, 20.6, 38, 44))]
    join = _join(catalog, [ToyFootprint(1, (0, 0, 45, 20), peaks)])
    assert join.row.tolist() == [0, 0]
    assert join.inferred_footprint.tolist() == [0, 1, 1, -1]


def test_records_with_the_same_id_are_not_matched() -> None:
    catalog = _some()
    catalog[2].id = catalog[1].id
    for ids in (False, True):
        join = _join(catalog, _some(), ids_of_catalog=ids)
        assert join.row.tolist() == [0, -1, -1, 3]
        assert join.peak_row.tolist() == [0, 1, -1, -1, -1, -1, 6, 7]
        assert join.inferred_footprint.tolist() == [0, -1, -1, 3]


def test_children_have_the_peaks_of_their_parents() -> None:
    catalog = [*_some(2), ToyFootprint(2000, (0, 0, 15, 20), [ToyPeak(2, 20, 12)], parent=1000)]
    catalog += [ToyFootprint(2001, (0, 0, 15, 20), [ToyPeak(77, 20, 12)], parent=1000)]
    for ids in (False, True):
        join = _join(catalog, _some(2), ids_of_catalog=ids)
        assert join.row.tolist() == [0, 1, -1, -1]
        assert join.peak_row.tolist() == [0, 1, 2, 3, 1, -1]


def test_tables_of_something_else_are_refused() -> None:
    other = _some()
    for footprint in other:
        for peak in footprint.peaks:
            peak.y += 5
    with pytest.raises(CatalogError, match="the tables belong to another catalogue: only 0 of their 8"):
        _join(_some(), other)
    far = [ToyFootprint(f.id, tuple(v + 10_000 for v in f.box), f.peaks) for f in _some()]  # type: ignore[arg-type]
    for ids in (False, True):
        with pytest.raises(CatalogError, match="belong to another catalogue"):
            _join(far, _some(), ids_of_catalog=ids) if not ids else _join(_some(), far, ids_of_catalog=ids)


def test_tables_that_do_not_fit_are_refused() -> None:
    tables = make_tables(_some())
    with pytest.raises(CatalogError, match="the tables do not belong together; repeat 'blendid run'"):
        join_tables(_read(_some()), BlendTables(tables.blend[:2], tables.blend_peak, tables.blend_spans))
    del tables.blend_peak["probability"]
    with pytest.raises(
        CatalogError, match="the blend_peak table has no column probability: it is none of this"
    ):
        join_tables(_read(_some()), tables)


@pytest.mark.parametrize("catalog", [[], _some()], ids=["empty catalogue", "catalogue"])
@pytest.mark.parametrize("tables", [[], _some()], ids=["empty tables", "tables"])
def test_nothing_on_one_side(catalog: list[ToyFootprint], tables: list[ToyFootprint]) -> None:
    join = _join(catalog, tables)
    both = bool(catalog and tables)
    assert join.row.tolist() == [i if both else -1 for i in range(len(catalog))]
    assert len(join.peak_row) == 2 * len(catalog)
    assert (join.inferred_footprint >= 0).all() == (both or not tables)


_RECTANGLE = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 8), st.integers(0, 8))


def _paint(rectangles: list[tuple[int, int, int, int]]) -> np.ndarray:
    labels = np.zeros((24, 24), int)
    for number, (x, y, width, height) in enumerate(rectangles, start=1):
        labels[y : y + height + 1, x : x + width + 1] = number
    return labels


def _spans(labels: np.ndarray) -> np.ndarray:
    found = [(labels[y, x] - 1, y, x, x) for y, x in zip(*np.nonzero(labels), strict=True)]
    return np.array(found, np.int64).reshape(-1, 4)


@settings(max_examples=60)
@given(st.lists(_RECTANGLE, max_size=5), st.lists(_RECTANGLE, max_size=5), st.integers(-30, 30))
def test_shared_pixels_are_counted(first: list, second: list, shift: int) -> None:
    """Rectangles against label images; those of the first set may overlap each other."""
    spans = [(i, y, x, x + w) for i, (x, y0, w, h) in enumerate(first) for y in range(y0, y0 + h + 1)]
    one, labels = np.array(spans, np.int64).reshape(-1, 4), _paint(second)
    other = _spans(labels)
    for array in (one, other):
        array[:, 1:] += shift
    i, j, n = count_shared_pixels(one, other)
    found = {(int(a), int(b)): int(c) for a, b, c in zip(i, j, n, strict=True)}
    wanted = {}
    for a, (x, y, w, h) in enumerate(first):
        part = labels[y : y + h + 1, x : x + w + 1]
        wanted |= {(a, int(b) - 1): int((part == b).sum()) for b in np.unique(part) if b}
    assert found == wanted

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What records and peaks are told: values and flags."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from lsst.meas.blendid.flags import FLAGS
from lsst.meas.blendid.source_catalogs import (
    CATALOG_FLAGS,
    PEAK_FIELDS,
    RECORD_FIELDS,
    Annotation,
    CatalogError,
    PeakEditConfig,
    annotate_footprints,
    parse_catalog,
)
from lsst.meas.blendid.source_catalogs.columns import is_own_field
from toy_catalogs import ToyFootprint, ToyPeak, is_unchanged, make_tables, write_toy


def _annotate(
    catalog: Sequence[ToyFootprint], tables: Sequence[ToyFootprint] | None, **options: object
) -> Annotation:
    config = PeakEditConfig()
    for name, value in options.items():
        setattr(config, name, value)
    footprints = parse_catalog(write_toy(catalog), "toy").footprints()
    return annotate_footprints(footprints, None if tables is None else make_tables(tables), config)


def _set_flags(annotation: Annotation, record: int) -> set[str]:
    """Names of the flags of a record, without prefix."""
    flags = {
        name.removeprefix("blendid_flag"): v for name, v in annotation.records.items() if v.dtype == bool
    }
    return {name.removeprefix("_") for name, values in flags.items() if values[record]}


def _pair(probability: float = 0.8, **values: float) -> ToyFootprint:
    """A footprint with a detected peak and an inferred one."""
    inferred = ToyPeak(50, 20, 10, value=8, probability=probability, is_inferred=True, **values)
    return ToyFootprint(100, (0, 0, 30, 20), [ToyPeak(7, 10, 10, probability=0.95), inferred])


def test_values_are_those_of_the_tables() -> None:
    other = ToyFootprint(101, (40, 0, 60, 20), [ToyPeak(8, 50, 10, probability=0.3)], p_blended=0.25)
    annotation = _annotate([other, _pair()], [_pair(), other])
    assert list(annotation.records) == [f.name for f in RECORD_FIELDS]
    assert annotation.records["blendid_p_blended"].tolist() == [0.25, 0.5]
    assert annotation.records["blendid_n_expected"].tolist() == [1.25, 1.5]
    np.testing.assert_array_equal(annotation.records["blendid_p_n_2"], np.full(2, 0.3, np.float32))
    # The second row of the tables has the first flag of the registry.
    assert [_set_flags(annotation, i) for i in (0, 1)] == [{FLAGS[0].name}, set()]
    assert list(annotation.peaks) == [f.name for f in PEAK_FIELDS]
    np.testing.assert_array_equal(
        annotation.peaks["blendid_peak_probability"], np.array([0.3, 0.95], np.float32)
    )
    assert not annotation.peaks["blendid_peak_inferred"].any() and is_unchanged(annotation.plan)
    for field in RECORD_FIELDS:
        assert annotation.records[field.name].dtype == field.dtype


def test_unclassified_footprints_are_told() -> None:
    tables = make_tables([_pair()])
    tables.blend["flag"], tables.blend["p_blended"] = True, np.nan
    footprints = parse_catalog(write_toy([_pair()]), "toy").footprints()
    annotation = annotate_footprints(footprints, tables)
    assert _set_flags(annotation, 0) == {""}
    assert np.isnan(annotation.records["blendid_p_blended"]).all()


def test_without_tables_nothing_is_known() -> None:
    annotation = _annotate([_pair(), _pair()], None, doAddPeaks=True)
    assert is_unchanged(annotation.plan)
    assert np.isnan(annotation.records["blendid_n_expected"]).all()
    assert np.isnan(annotation.peaks["blendid_peak_probability"]).all()
    assert "0 of 2 records matched" in annotation.describe()


def test_added_peaks_have_their_values() -> None:
    annotation = _annotate([_pair()], [_pair()], doAddPeaks=True)
    (added,) = annotation.added
    assert (added["id"], added["i_x"], added["f_y"], added["peak_value"]) == (8, 20, 10.0, 8.0)
    assert annotation.describe() == (
        "1 of 1 records matched by pixels, 1 of 1 peaks with a probability, 1 added"
    )


@pytest.mark.parametrize("edits", [False, True])
def test_flags_of_records(edits: bool) -> None:
    """Each record of a catalogue that has everything wrong with it."""
    catalog = [
        _pair(),
        ToyFootprint(101, (40, 0, 60, 20), [ToyPeak(8, 50, 10)], sky=True),
        ToyFootprint(102, (80, 0, 100, 20), []),
        ToyFootprint(103, (120, 0, 140, 20), [ToyPeak(9, 130, 10)]),
        ToyFootprint(104, (120, 0, 135, 20), [ToyPeak(9, 130, 10)], parent=103),
        ToyFootprint(105, (160, 0, 180, 20), [ToyPeak(10, 170, 10)]),
        ToyFootprint(105, (200, 0, 220, 20), [ToyPeak(11, 210, 10)]),
        ToyFootprint(106, (240, 0, 260, 20), [ToyPeak(12, 250, 10)]),
        ToyFootprint(107, (280, 0, 300, 20), [ToyPeak(13, 290, 10)]),
    ]
    more = {103: ToyPeak(51, 135, 10, is_inferred=True), 101: ToyPeak(52, 55, 10, is_inferred=True)}
    tables = [
        ToyFootprint(f.id, f.box, [*f.peaks, *([more[f.id]] if f.id in more else [])]) for f in catalog[:7]
    ]
    tables.append(
        ToyFootprint(106, (241, 0, 260, 20), [ToyPeak(12, 250, 10), ToyPeak(53, 252, 10, is_inferred=True)])
    )
    annotation = _annotate(catalog, tables, doAddPeaks=edits)
    # Every second row of the tables has a flag of its own, which does not matter here.
    found = [_set_flags(annotation, i) - {FLAGS[0].name} for i in range(len(catalog))]
    alone, refused = ({"left_alone"}, {"peaks_refused"}) if edits else (set(), set())
    assert found == [
        set(),
        alone | refused,
        {"no_peak"},
        alone | refused,
        {"", "child"},
        {"", "repeated_id"} | alone,
        {"", "repeated_id"} | alone,
        {"other_footprint"} | refused,
        {"", "no_match"},
    ]
    assert len(annotation.plan.added) == edits
    assert len(annotation.plan.source) == len(catalog) - 1 + edits


def test_every_flag_of_a_catalogue_is_reached() -> None:
    """By the test before this one."""
    assert {f.name for f in CATALOG_FLAGS} == {
        *("no_match", "child", "repeated_id", "other_footprint", "no_peak", "left_alone", "peaks_refused"),
    }
    assert not {f.name for f in CATALOG_FLAGS} & {f.name for f in FLAGS}


def test_refused_peaks_are_told() -> None:
    annotation = _annotate([_pair(significance=3)], [_pair(significance=3)], doAddPeaks=True)
    assert annotation.describe().endswith("; not added: 1 point-source S/N under minAddSignificance")
    annotation = _annotate([_pair(0.3)], [_pair(0.3)], doAddPeaks=True)
    assert "not added" not in annotation.describe()
    assert not annotation.records["blendid_flag_peaks_refused"].any()


def test_moving_needs_places() -> None:
    tables = make_tables([_pair()], moved=False)
    footprints = parse_catalog(write_toy([_pair()]), "toy").footprints()
    config = PeakEditConfig()
    config.doMovePeaks = True
    annotate_footprints(footprints, tables, config)
    config.doAddPeaks = True
    with pytest.raises(CatalogError, match="no column candidate_x, candidate_y, so peaks cannot be moved"):
        annotate_footprints(footprints, tables, config)


def test_fields_can_be_written_into_headers() -> None:
    names = [f.name for f in (*RECORD_FIELDS, *PEAK_FIELDS)]
    assert len(set(names)) == len(names)
    for field in (*RECORD_FIELDS, *PEAK_FIELDS):
        assert field.description.isascii() and field.description
        # lsst.afw cuts texts of several cards at an apostrophe.
        assert "'" not in field.description
        assert field.name.startswith("blendid_") and len(field.name) <= 68


def test_own_fields_are_told_from_those_of_peaks() -> None:
    assert all(is_own_field(f.name) for f in RECORD_FIELDS)
    assert is_own_field("blendid_flag_of_another_version") and is_own_field("blendid_p_n_7")
    # They travel into the records of a deblended catalogue.
    assert not any(is_own_field(f.name) for f in PEAK_FIELDS)
    assert not is_own_field("p_blended") and not is_own_field("blendid_other")

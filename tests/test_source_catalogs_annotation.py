# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What a catalogue gets from tables, and the file with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from lsst.meas.blendid.flags import FLAGS
from lsst.meas.blendid.source_catalogs import (
    CATALOG_FLAGS,
    PEAK_FIELDS,
    RECORD_FIELDS,
    Annotation,
    CatalogError,
    CatalogFile,
    PeakEditConfig,
    annotate_catalog_file,
    annotate_footprints,
    parse_catalog,
    read_catalog,
)
from lsst.meas.blendid.source_catalogs.columns import is_own_field
from lsst.meas.blendid.tables import BlendTables
from toy_catalogs import ToyFootprint, ToyPeak, is_unchanged, make_tables, toy_hdus, write_toy


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


def _config(**options: object) -> PeakEditConfig:
    config = PeakEditConfig()
    for name, value in options.items():
        setattr(config, name, value)
    return config


def _tables_of(catalog: CatalogFile, *, inferred: bool = False) -> BlendTables:
    """Tables with the footprints and peaks of a catalogue, and perhaps an inferred peak in each."""
    footprints = catalog.footprints()
    boxes = footprints.bbox
    made = []
    for number, record in enumerate(footprints.record_of_footprint):
        own = footprints.peaks[footprints.peaks["footprint"] == number]
        peaks = [ToyPeak(int(p["id"]), float(p["f_x"]), float(p["f_y"]), probability=0.8) for p in own]
        if inferred:
            # The first pixel of the footprint.
            x, y = footprints.spans[np.searchsorted(footprints.spans[:, 0], number)][[2, 1]]
            peaks.append(ToyPeak(0, float(x), float(y), value=-1, probability=0.875, is_inferred=True))
        parent = int(footprints.parent_id[record])
        made.append(ToyFootprint(int(footprints.record_id[record]), tuple(boxes[number]), peaks, parent))
    return make_tables(made)


@pytest.mark.parametrize(
    "name",
    [
        "afw_reference/source_catalog.fits",
        "afw_reference/merged_base.fits",
        "afw_reference/object_deblend_split.fits",
        "hsc/deepCoadd_meas_HSC_v2.fits",
    ],
)
def test_everything_else_stays_to_the_bit(shared_data: Path, name: str) -> None:
    """With nothing to add, real catalogues get columns only; without these they are what they were."""
    catalog = read_catalog(shared_data / name)
    annotated, annotation = annotate_catalog_file(catalog, _tables_of(catalog))
    assert is_unchanged(annotation.plan)
    names = [f.name for f in RECORD_FIELDS]
    assert annotated.records.without_fields(names).to_bytes() == catalog.records.to_bytes()
    assert annotated.index is not None and catalog.index is not None
    assert annotated.index.to_bytes() == catalog.index.to_bytes()
    old_peaks = [f.name for f in PEAK_FIELDS if f.name in catalog.archive[2].names]
    for i, (new, old) in enumerate(zip(annotated.archive, catalog.archive, strict=True)):
        if i == 2:
            new, old = new.without_fields([f.name for f in PEAK_FIELDS]), old.without_fields(old_peaks)
        assert new.to_bytes() == old.to_bytes()
    assert (annotated.head, annotated.tail) == (catalog.head, catalog.tail)
    # The new columns come before that of the footprints, which lsst.afw adds on writing.
    columns = [n for n in annotated.records.names if n not in annotated.records.flag_names]
    assert columns[-1] == "footprint"
    assert annotated.archive[2].names[-3:] == tuple(f.name for f in PEAK_FIELDS)
    assert parse_catalog(annotated.to_bytes(), "again").to_bytes() == annotated.to_bytes()


def test_astropy_reads_what_was_written(shared_data: Path) -> None:
    catalog = read_catalog(shared_data / "hsc" / "deepCoadd_meas_HSC_v2.fits")
    annotated, annotation = annotate_catalog_file(catalog, _tables_of(catalog))
    with fits.HDUList.fromstring(annotated.to_bytes()) as hdus:
        hdus.verify("exception")
        header, data = hdus[1].header, hdus[1].data
        flags = {header[f"TFLAG{i + 1}"]: data["flags"][:, i] for i in range(data["flags"].shape[1])}
        for field in RECORD_FIELDS:
            found = flags[field.name] if field.dtype == "bool" else data[field.name]
            np.testing.assert_array_equal(found, annotation.records[field.name])
        assert sum(f.startswith("base_") for f in flags) > 70
        peaks = hdus[5]
        np.testing.assert_array_equal(peaks.data["blendid_peak_probability"], np.full(31, 0.8, np.float32))
        assert peaks.header["TFLAG14"] == "blendid_peak_inferred"
        # Bits of the flags that there were, and new ones behind them.
        with fits.open(shared_data / "hsc" / "deepCoadd_meas_HSC_v2.fits") as old:
            np.testing.assert_array_equal(peaks.data["flags"][:, :13], old[5].data["flags"])
            assert peaks.data["flags"].shape == (31, 15) and not peaks.data["flags"][:, 13:].any()
            n = old[1].data["flags"].shape[1]
            np.testing.assert_array_equal(data["flags"][:, :n], old[1].data["flags"])


def test_peaks_are_added_to_a_real_catalogue(shared_data: Path) -> None:
    """One in the first pixel of each footprint; none of the others is touched."""
    catalog = read_catalog(shared_data / "afw_reference" / "source_catalog.fits")
    tables = _tables_of(catalog, inferred=True)
    footprints = catalog.footprints()
    annotated, annotation = annotate_catalog_file(
        catalog, tables, _config(doAddPeaks=True, minSeparation=0.5, minAddProbability=0.5)
    )
    again = parse_catalog(annotated.to_bytes(), "again").footprints()
    new = again.peaks[again.peaks["is_inferred"]]
    assert len(new) == len(annotation.plan.added) == 342
    assert new["footprint"].tolist() == list(range(342))
    assert again.n_peaks.tolist() == (footprints.n_peaks + 1).tolist()
    # They are the faintest.
    np.testing.assert_array_equal(again.peaks[~again.peaks["is_inferred"]], footprints.peaks)
    np.testing.assert_array_equal(again.spans, footprints.spans)
    assert new["id"].tolist() == list(range(footprints.peaks["id"].max() + 1, new["id"].max() + 1))
    table = annotated.archive[2]
    is_new = table.flag("blendid_peak_inferred")
    np.testing.assert_array_equal(table.column("significance")[is_new], np.full(len(new), 20.0))
    np.testing.assert_array_equal(table.column("peakValue")[is_new], np.full(len(new), -1, np.float32))


def test_annotating_twice_replaces_the_columns() -> None:
    footprints = [
        ToyFootprint(
            100, (0, 0, 30, 20), [ToyPeak(7, 10, 10), ToyPeak(50, 20, 10, value=8, is_inferred=True)]
        ),
        ToyFootprint(101, (40, 0, 60, 20), [ToyPeak(8, 50, 10)]),
    ]
    catalog = parse_catalog(write_toy(footprints), "toy")
    config = _config(doAddPeaks=True)
    once, _ = annotate_catalog_file(catalog, make_tables(footprints), config)
    twice, annotation = annotate_catalog_file(once, make_tables(footprints), config)
    assert is_unchanged(annotation.plan)
    assert twice.records.names == once.records.names
    assert [t.names for t in twice.archive] == [t.names for t in once.archive]
    # What was added before stays, with the probability of the inferred peak that it came from.
    assert twice.archive[2].to_bytes() == once.archive[2].to_bytes()
    # All but that the peak that is there was refused this time.
    assert twice.records.flag("blendid_flag_peaks_refused").tolist() == [True, False]
    assert twice.records.without_fields(["blendid_flag_peaks_refused"]).to_bytes() == (
        once.records.without_fields(["blendid_flag_peaks_refused"]).to_bytes()
    )
    footprints[0].p_blended, footprints[0].peaks[0].probability = 0.125, 0.25
    other, _ = annotate_catalog_file(once, make_tables(footprints))
    assert other.records.column("blendid_p_blended").tolist() == [0.125, 0.5]
    assert other.archive[2].column("blendid_peak_probability").tolist() == [
        0.25,
        np.float32(0.9),
        np.float32(0.9),
    ]


def test_peaks_of_several_schemas() -> None:
    """Footprints whose peaks lie in two tables of the archive, one with more columns."""
    footprints = [
        ToyFootprint(
            100 + i,
            (40 * i, 0, 40 * i + 30, 20),
            [ToyPeak(i + 1, 40 * i + 10, 10), ToyPeak(50 + i, 40 * i + 20, 10, value=8, is_inferred=True)],
        )
        for i in range(4)
    ]
    hdus = toy_hdus(footprints)
    second = hdus[5].copy()
    columns = fits.ColDefs([*second.columns, fits.Column("extra", "1D", array=np.arange(4.0))])
    second = fits.BinTableHDU.from_columns(columns, second.header)
    second.header["AR_CATN"] = 4
    second.header["EXTVER"] = 3
    hdus.append(second)
    hdus[2].header["AR_NCAT"] = 5
    rows = np.flatnonzero((hdus[2].data["cat.persistable"] == 1) & np.isin(hdus[2].data["id"], [3, 7]))
    hdus[2].data["cat.archive"][rows] = 4
    catalog = parse_catalog(_written(hdus), "two")
    assert catalog.footprints().peaks["id"].tolist() == [1, 2, 3, 4]
    annotated, _ = annotate_catalog_file(catalog, make_tables(footprints), _config(doAddPeaks=True))
    again = parse_catalog(annotated.to_bytes(), "again")
    peaks = again.footprints().peaks
    assert peaks["is_inferred"].tolist() == [False, True] * 4
    assert peaks["id"].tolist() == [1, 5, 2, 6, 3, 7, 4, 8]
    # Rows that no footprint has stay where they were.
    assert again.archive[2].column("id").tolist() == [1, 5, 2, 3, 7, 4]
    extra = again.archive[3].column("extra")
    assert again.archive[3].column("id").tolist() == [1, 2, 6, 3, 4, 8]
    np.testing.assert_array_equal(extra, [0, 1, np.nan, 2, 3, np.nan])
    for table in again.archive[2:]:
        assert table.names[-3:] == tuple(f.name for f in PEAK_FIELDS)


def test_heavy_footprints_keep_their_pixels() -> None:
    """Children have pixels in a third table of the archive."""
    footprints = [
        ToyFootprint(100, (0, 0, 30, 20), [ToyPeak(7, 10, 10)]),
        ToyFootprint(200, (0, 0, 15, 20), [ToyPeak(7, 10, 10)], parent=100),
    ]
    hdus = toy_hdus(footprints)
    pixels = np.arange(16 * 21, dtype=np.float32)
    heavy = fits.BinTableHDU.from_columns(
        [fits.Column("image", "PE()", array=np.array([pixels, pixels[:3]], dtype=object))]
    )
    for card in (("EXTTYPE", "ARCHIVE_DATA"), ("AR_CATN", 4), ("EXTNAME", "HeavyFootprintF")):
        heavy.header.append(card)
    hdus.append(heavy)
    hdus[2].header["AR_NCAT"] = 5
    index = [tuple(row) for row in hdus[2].data]
    index = [(*row[:5], "HeavyFootprintF", row[6]) if row[0] == 3 else row for row in index]
    index.append((3, 4, 2, 0, 1, "HeavyFootprintF", "lsst.afw.detection"))
    hdus[2] = fits.BinTableHDU(np.array(index, dtype=hdus[2].data.dtype).view(fits.FITS_rec), hdus[2].header)
    catalog = parse_catalog(_written(hdus), "heavy")
    annotated, _ = annotate_catalog_file(catalog, make_tables(footprints))
    assert annotated.archive[3].to_bytes() == catalog.archive[3].to_bytes()
    with fits.HDUList.fromstring(annotated.to_bytes()) as again:
        np.testing.assert_array_equal(again[6].data["image"][0], pixels)
    assert annotated.archive[2].column("blendid_peak_probability").tolist() == [np.float32(0.9)] * 2


def test_an_empty_catalogue_gets_the_columns() -> None:
    catalog = parse_catalog(write_toy([]), "empty")
    for tables in (make_tables([]), make_tables([ToyFootprint(1, (0, 0, 9, 9), [ToyPeak(1, 5, 5)])]), None):
        annotated, _ = annotate_catalog_file(catalog, tables, _config(doAddPeaks=True, doDropPeaks=True))
        assert len(annotated) == 0
        assert {f.name for f in RECORD_FIELDS} <= set(annotated.records.names)
        assert parse_catalog(annotated.to_bytes(), "again").archive[2].names == annotated.archive[2].names


def test_a_catalogue_without_footprints_gets_the_columns() -> None:
    hdus = toy_hdus([ToyFootprint(1, (0, 0, 9, 9), [ToyPeak(1, 5, 5)])])
    bare = fits.BinTableHDU.from_columns([c for c in hdus[1].columns if c.name != "footprint"])
    for keyword in ("FLAGCOL", "TFLAG1", "AFW_TYPE"):
        bare.header[keyword] = hdus[1].header[keyword]
    catalog = parse_catalog(_written(fits.HDUList([hdus[0], bare])), "bare")
    annotated, _ = annotate_catalog_file(catalog, None)
    assert annotated.records.flag("blendid_flag_no_match").all()
    assert annotated.records.flag("blendid_flag_no_peak").all()
    assert parse_catalog(annotated.to_bytes(), "again").records.names == annotated.records.names


def test_errors_name_the_file() -> None:
    catalog = parse_catalog(write_toy([ToyFootprint(1, (0, 0, 9, 9), [ToyPeak(1, 5, 5)])]), "merged.fits")
    other = make_tables([ToyFootprint(1, (0, 0, 9, 9), [ToyPeak(1, 1, 9)])])
    with pytest.raises(CatalogError, match=r"^merged\.fits: the tables belong to another catalogue"):
        annotate_catalog_file(catalog, other)


def _written(hdus: fits.HDUList) -> bytes:
    from io import BytesIO

    stream = BytesIO()
    hdus.writeto(stream)
    return stream.getvalue()

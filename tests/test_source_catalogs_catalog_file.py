# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Catalogues of sources in files: read and written without loss, and damaged ones."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.source_catalogs import CatalogError, NewField, parse_catalog, read_catalog
from lsst.meas.blendid.source_catalogs.catalog_file import CatalogFile
from toy_catalogs import ToyFootprint, ToyPeak, toy_hdus, write_toy

WRITTEN = {
    # Records, footprints, spans, peaks.
    "afw_reference/source_catalog.fits": (342, 342, 7807, 597),
    "afw_reference/source_catalog_blendid.fits": (342, 342, 7807, 617),
    "afw_reference/merged_base.fits": (9, 9, 205, 11),
    "afw_reference/merged_split.fits": (9, 9, 205, 12),
    "afw_reference/object_deblend_split.fits": (12, 7, 142, 7),
    "hsc/deepCoadd_meas_HSC_v2.fits": (10, 10, 316, 31),
}


def _footprints() -> list[ToyFootprint]:
    return [
        ToyFootprint(100, (0, 0, 30, 20), [ToyPeak(7, 10.4, 10), ToyPeak(9, 20, 12, value=5)]),
        ToyFootprint(101, (40, -5, 60, 20), [ToyPeak(8, 50, 10)], sky=True),
        ToyFootprint(105, (-40, 0, -20, 3), []),
    ]


@pytest.mark.parametrize("name", WRITTEN)
def test_files_are_read_and_written_without_loss(shared_data: Path, tmp_path: Path, name: str) -> None:
    content = (shared_data / name).read_bytes()
    catalog = read_catalog(shared_data / name)
    assert catalog.to_bytes() == content
    catalog.write(tmp_path / "again.fits")
    assert (tmp_path / "again.fits").read_bytes() == content
    catalog.write(tmp_path / "again.fits.gz")
    assert read_catalog(tmp_path / "again.fits.gz").to_bytes() == content
    assert gzip.decompress((tmp_path / "again.fits.gz").read_bytes()) == content


@pytest.mark.parametrize("name", WRITTEN)
def test_footprints_are_those_that_astropy_reads(shared_data: Path, name: str) -> None:
    """Spans and peaks one by one, by the index of the archive."""
    footprints = read_catalog(shared_data / name).footprints()
    n_records, n_footprints, n_spans, n_peaks = WRITTEN[name]
    assert (len(footprints), footprints.n_footprints) == (n_records, n_footprints)
    assert (len(footprints.spans), len(footprints.peaks)) == (n_spans, n_peaks)
    with fits.open(shared_data / name) as hdus:
        tables = [hdu.data for hdu in hdus[1:]]
        index = {
            (number, part): {
                key: tables[1 + table][key][start : start + n] for key in tables[1 + table].names
            }
            for number, table, part, start, n in zip(
                *(
                    tables[1][key].tolist()
                    for key in ("id", "cat.archive", "cat.persistable", "row0", "nrows")
                ),
                strict=True,
            )
        }
        records = zip(*(tables[0][key].tolist() for key in ("id", "parent", "footprint")), strict=True)
        for i, (own_id, parent, archive_id) in enumerate(records):
            assert (own_id, parent) == (footprints.record_id[i], footprints.parent_id[i])
            number = footprints.footprint[i]
            if archive_id == 0:
                assert number == -1
                continue
            spans = index[int(index[archive_id, 0]["id"][0]), 0]
            mine = footprints.spans[footprints.spans[:, 0] == number]
            np.testing.assert_array_equal(mine[:, 1:].T, [spans[key] for key in ("y", "x0", "x1")])
            peaks = index[archive_id, 1]
            own = footprints.peaks[footprints.peaks["footprint"] == number]
            for column in ("id", "i_x", "i_y", "f_x", "f_y"):
                np.testing.assert_array_equal(own[column], peaks[column])
            np.testing.assert_array_equal(own["peak_value"], peaks["peakValue"])
            assert footprints.n_peaks[number] == len(own)
            assert footprints.area[number] == np.sum(spans["x1"] - spans["x0"] + 1)


def test_added_peaks_are_laid_out_as_by_lsst_afw(shared_data: Path) -> None:
    """From the catalogue without to the one with two columns and 20 peaks more: the same bytes."""
    old = read_catalog(shared_data / "afw_reference" / "source_catalog.fits")
    new = read_catalog(shared_data / "afw_reference" / "source_catalog_blendid.fits")
    layout, table, wanted = old.peak_layout(), old.archive[2], new.archive[2]
    added = np.flatnonzero(wanted.flag("blendid_peak_inferred"))
    assert len(added) == 20
    rows = np.concatenate([table.rows, table.make_rows(len(added))])
    for name in ("id", "f_x", "f_y", "i_x", "i_y", "peakValue"):
        rows[name][len(table) :] = wanted.rows[name][added]
    source = np.empty(len(wanted), np.int64)
    source[added] = len(table) + np.arange(len(added))
    source[~wanted.flag("blendid_peak_inferred")] = np.arange(len(table))
    order, start, count = layout.rearrange(2, len(table), new.footprints().peaks["footprint"], source)
    number, flag = "blendid_peak_prob", "blendid_peak_inferred"
    grown = table.with_rows(rows[order]).with_fields(
        [
            NewField(number, "probability that an object is at this peak", wanted.column(number)),
            NewField(flag, "peak added by blend identification", wanted.flag(flag)),
        ]
    )
    assert old.with_peak_tables({2: grown}, start, count).to_bytes() == new.to_bytes()


def test_a_pair_that_was_split_is_laid_out_as_by_lsst_afw(shared_data: Path) -> None:
    old = read_catalog(shared_data / "afw_reference" / "merged_base.fits")
    new = read_catalog(shared_data / "afw_reference" / "merged_split.fits")
    layout, table, wanted = old.peak_layout(), old.archive[2], new.archive[2]
    (added,) = np.flatnonzero(wanted.flag("blendid_peak_inferred"))
    rows = np.concatenate([table.rows, wanted.rows[[added]]])
    source = np.insert(np.arange(len(table)), added, len(table))
    order, start, count = layout.rearrange(2, len(table), new.footprints().peaks["footprint"], source)
    changed = old.with_peak_tables({2: table.with_rows(rows[order])}, start, count)
    assert changed.to_bytes() == new.to_bytes()


def test_footprints_of_a_toy_catalogue() -> None:
    footprints = parse_catalog(write_toy(_footprints()), "toy").footprints()
    assert footprints.record_id.tolist() == [100, 101, 105]
    assert footprints.is_pseudo.tolist() == [False, True, False]
    assert footprints.n_peaks.tolist() == [2, 1, 0]
    assert footprints.bbox.tolist() == [[0, 0, 30, 20], [40, -5, 60, 20], [-40, 0, -20, 3]]
    assert footprints.area.tolist() == [31 * 21, 21 * 26, 21 * 4]
    inside = footprints.contain(
        np.array([0, 0, 0, 1, 2, 2]), np.array([0, 30, 31, 40, -30, -30]), np.array([0, 20, 20, -5, 3, 4])
    )
    assert inside.tolist() == [True, True, False, True, True, False]


def test_records_may_share_a_footprint_or_have_none() -> None:
    hdus = toy_hdus(_footprints())
    hdus[1].data["footprint"][:] = [3, 0, 3]
    footprints = parse_catalog(_written(hdus), "toy").footprints()
    assert footprints.footprint.tolist() == [0, -1, 0]
    assert footprints.n_footprints == 1
    assert footprints.record_of_footprint.tolist() == [0]
    assert footprints.peaks["id"].tolist() == [8]


def test_footprints_in_another_order_keep_it() -> None:
    """The order of the records need not be that of the archive."""
    hdus = toy_hdus(_footprints())
    hdus[1].data["footprint"][:] = [5, 1, 3]
    catalog = parse_catalog(_written(hdus), "toy")
    footprints = catalog.footprints()
    assert footprints.n_peaks.tolist() == [0, 2, 1]
    assert footprints.bbox[0].tolist() == [-40, 0, -20, 3]
    layout = catalog.peak_layout()
    order, start, count = layout.rearrange(2, 3, layout.footprint, layout.row)
    assert order.tolist() == [0, 1, 2]
    assert (start.tolist(), count.tolist()) == ([3, 0, 2], [0, 2, 1])


def test_a_catalogue_without_footprints(shared_data: Path) -> None:
    hdus = toy_hdus(_footprints())
    records = hdus[1]
    bare = fits.BinTableHDU.from_columns([c for c in records.columns if c.name != "footprint"])
    for keyword in ("FLAGCOL", "TFLAG1", "AFW_TYPE"):
        bare.header[keyword] = records.header[keyword]
    catalog = parse_catalog(_written(fits.HDUList([hdus[0], bare])), "bare")
    assert catalog.index is None
    footprints = catalog.footprints()
    assert (footprints.n_footprints, len(footprints.peaks)) == (0, 0)
    assert footprints.footprint.tolist() == [-1, -1, -1]


def test_an_empty_catalogue() -> None:
    catalog = parse_catalog(write_toy([]), "empty")
    footprints = catalog.footprints()
    assert len(footprints) == footprints.n_footprints == len(footprints.peaks) == len(footprints.spans) == 0
    assert footprints.bbox.shape == (0, 4)
    assert catalog.to_bytes() == write_toy([])


def test_spans_of_an_old_file() -> None:
    """Before 2016 footprints had their spans themselves and not in a span set."""
    hdus = toy_hdus(_footprints())
    rows = [tuple(row) for row in hdus[2].data]
    # The blocks of span sets become those of the footprints, whose own are left out.
    index = [
        (i - 1, 2, 0, row0, n, "Footprint", module)
        for i, _, c, row0, n, name, module in rows
        if name == "SpanSet"
    ]
    index += [row for row in rows if row[2] == 1]
    hdus[2] = fits.BinTableHDU(np.array(index, dtype=hdus[2].data.dtype).view(fits.FITS_rec), hdus[2].header)
    footprints = parse_catalog(_written(hdus), "old").footprints()
    new = parse_catalog(write_toy(_footprints()), "new").footprints()
    np.testing.assert_array_equal(footprints.spans, new.spans)


def _written(hdus: fits.HDUList) -> bytes:
    from io import BytesIO

    stream = BytesIO()
    hdus.writeto(stream)
    return stream.getvalue()


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"none\.fits: no such file; check the path"):
        read_catalog(tmp_path / "none.fits")
    with pytest.raises(CatalogError, match="is a folder"):
        read_catalog(tmp_path)
    (tmp_path / "text").write_text("no FITS")
    with pytest.raises(CatalogError, match="text: is not a FITS file"):
        read_catalog(tmp_path / "text")
    (tmp_path / "cut.fits.gz").write_bytes(gzip.compress(write_toy(_footprints()))[:500])
    with pytest.raises(CatalogError, match=r"cut\.fits\.gz: "):
        read_catalog(tmp_path / "cut.fits.gz")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CatalogError, match="is a pipe, which may have no end"):
        read_catalog(tmp_path / "pipe")


def test_other_files_of_lsst_afw_are_told(shared_data: Path) -> None:
    with pytest.raises(CatalogError, match="holds records of type PEAK; give a SourceCatalog"):
        read_catalog(shared_data / "afw_reference" / "peak_schema_annotated.fits")
    with pytest.raises(CatalogError, match=r"exposure\.fits: has no table after its first HDU"):
        read_catalog(shared_data / "afw_reference" / "exposure.fits")


def test_a_table_of_somebody_else() -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("id", "1K", array=np.arange(3))])
    with pytest.raises(CatalogError, match=r"table: was not written by lsst\.afw"):
        parse_catalog(_written(fits.HDUList([fits.PrimaryHDU(), table])), "table")


@pytest.mark.parametrize(
    ("hdu", "column", "value", "text"),
    [
        (2, "row0", 10_000, "names rows that are not there"),
        (2, "nrows", -1, "names rows that are not there"),
        (2, "cat.archive", 9, "names rows that are not there"),
        (2, "id", 77, "footprint . is not in it"),
        (1, "footprint", 78, "footprint 78 is not in it"),
        (3, "id", 79, "footprint 79 is not in it"),
    ],
)
def test_damaged_archives_are_told(hdu: int, column: str, value: int, text: str) -> None:
    hdus = toy_hdus(_footprints())
    hdus[hdu].data[column][:3] = value
    with pytest.raises(CatalogError, match="toy: the archive of its footprints is damaged") as caught:
        parse_catalog(_written(hdus), "toy").footprints()
    assert any(
        part in str(caught.value) for part in (text, text.replace(" . ", " 1 "), text.replace(" . ", " 2 "))
    )


def test_missing_parts_are_told() -> None:
    for cut, text in ((2, "no archive after its records"), (4, "tables of its archive are missing")):
        with pytest.raises(CatalogError, match=text):
            parse_catalog(_written(fits.HDUList(toy_hdus(_footprints())[:cut])), "toy")
    hdus = toy_hdus(_footprints())
    hdus[5].columns.change_name("i_x", "x")
    with pytest.raises(CatalogError, match="peaks have no i_x, as those of an old lsst.afw"):
        parse_catalog(_written(hdus), "toy").footprints()


_CONTENT = write_toy(_footprints())


@settings(max_examples=40)
@given(place=st.integers(0, len(_CONTENT) - 1), value=st.integers(0, 255), stop=st.integers(0, len(_CONTENT)))
def test_damage_anywhere_is_an_error_of_one_line_or_none(place: int, value: int, stop: int) -> None:
    """A byte that is another one, or a file that ends early."""
    changed = bytearray(_CONTENT)
    changed[place] = value
    for content in (bytes(changed), _CONTENT[:stop]):
        try:
            catalog = parse_catalog(content, "toy")
            catalog.footprints()
        except CatalogError as err:
            assert str(err).startswith("toy: ") and "\n" not in str(err)
        else:
            assert isinstance(catalog, CatalogFile)

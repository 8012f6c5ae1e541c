# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tables of lsst.afw: fields, flags and headers, against files that it wrote and against Astropy."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from lsst.meas.blendid.source_catalogs import AfwTable, CatalogError, NewField, parse_catalog, read_catalog
from lsst.meas.blendid.source_catalogs._cards import format_string, join_entries, split_header
from toy_catalogs import ToyFootprint, ToyPeak, toy_hdus, write_toy

WRITTEN = (
    "afw_reference/source_catalog.fits",
    "afw_reference/source_catalog_blendid.fits",
    "afw_reference/merged_base.fits",
    "afw_reference/merged_split.fits",
    "afw_reference/object_deblend_split.fits",
    "hsc/deepCoadd_meas_HSC_v2.fits",
)


@cache
def _toy() -> AfwTable:
    footprint = ToyFootprint(1, (0, 0, 9, 9), [ToyPeak(i, i, 5, value=9 - i) for i in range(5)])
    return parse_catalog(write_toy([footprint]), "toy").archive[2]


@pytest.mark.parametrize("name", WRITTEN[:-1])
def test_texts_are_written_as_cfitsio_does(shared_data: Path, name: str) -> None:
    """Each text of a header, short or continued over cards, with quotes or not; one file is too old."""
    catalog = read_catalog(shared_data / name)
    assert catalog.index is not None
    n = 0
    for table in (catalog.records, catalog.index, *catalog.archive):
        for field in table.fields:
            for prefix, entry in field.entries:
                # A blank at the end of a text is lost on reading, in Astropy and in lsst.afw.
                if prefix in ("TDOC", "TFDOC", "TFLAG", "TUNIT") and "' '" not in entry.cards[-1]:
                    assert format_string(entry.keyword, str(entry.value)) == entry
                    n += 1
    assert n > 30


@pytest.mark.parametrize("name", WRITTEN)
def test_headers_are_put_together_again(shared_data: Path, name: str) -> None:
    with fits.open(shared_data / name) as hdus:
        for hdu in hdus[1:]:
            text = hdu.header.tostring()
            assert join_entries(split_header(text)) == text.encode()
    catalog = read_catalog(shared_data / name)
    for table in (catalog.records, *catalog.archive):
        assert table.with_rows(table.rows).to_bytes() == table.to_bytes()


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300))
def test_any_text_is_read_back(text: str) -> None:
    entry = format_string("TDOC12", text)
    assert all(len(card) == 80 for card in entry.cards)
    header = fits.Header.fromstring("".join(entry.cards))
    assert header["TDOC12"] == text.rstrip()


def test_fields_are_those_that_astropy_reads() -> None:
    hdu = toy_hdus([ToyFootprint(1, (0, 0, 9, 9), [ToyPeak(i, i, 5, value=9 - i) for i in range(5)])])[5]
    table = _toy()
    assert table.names == (
        *("id", "f_x", "f_y", "i_x", "i_y", "peakValue", "significance"),
        *("merge_peak_i", "merge_peak_sky"),
    )
    for name in table.names[:7]:
        np.testing.assert_array_equal(table.column(name), hdu.data[name])
        assert table.column(name).dtype.isnative
    for i, name in enumerate(table.flag_names):
        np.testing.assert_array_equal(table.flag(name), hdu.data["flags"][:, i])


@settings(max_examples=25)
@given(
    n=st.integers(0, 40),
    n_old=st.integers(0, 20),
    n_new=st.integers(0, 20),
    dropped=st.sets(st.integers(0, 39)),
    seed=st.integers(0, 99),
)
def test_flags_are_packed_as_in_fits(n: int, n_old: int, n_new: int, dropped: set[int], seed: int) -> None:
    """Whatever flags there were, were added and left out, Astropy reads the bits."""
    rng = np.random.default_rng(seed)
    bits = rng.random((n, n_old + n_new)) < 0.5
    numbers = rng.normal(size=n)
    fields = [NewField(f"flag{i}", f"flag number {i}", bits[:, i]) for i in range(n_old + n_new)]
    bare = _toy().with_rows(_toy().make_rows(n)).without_fields(_toy().names[1:])
    assert bare.names == ("id",)
    table = bare.with_fields(fields[:n_old]).with_fields([NewField("number", "a number", numbers, "pixel")])
    table = table.with_fields(fields[n_old:]).without_fields([f"flag{i}" for i in dropped])
    kept = [i for i in range(n_old + n_new) if i not in dropped]

    content = fits.PrimaryHDU().header.tostring().encode() + table.to_bytes()
    hdu = fits.HDUList.fromstring(content)[1]
    assert hdu.columns.names == (["flags"] if kept else []) + ["id", "number"]
    assert [hdu.header.get(f"TFLAG{i + 1}") for i in range(len(kept))] == [f"flag{i}" for i in kept]
    np.testing.assert_array_equal(hdu.data["number"], numbers)
    if kept:
        assert hdu.header["FLAGCOL"] == 1
        np.testing.assert_array_equal(hdu.data["flags"], bits[:, kept])
    for i in kept:
        np.testing.assert_array_equal(table.flag(f"flag{i}"), bits[:, i])


def test_layout_of_lsst_afw(shared_data: Path) -> None:
    """Fields that are taken out and added again give the bytes that lsst.afw wrote."""
    table = read_catalog(shared_data / "afw_reference" / "merged_base.fits").archive[2]
    number, flag = "blendid_peak_probability", "blendid_peak_inferred"
    bare = table.without_fields([number, flag])
    assert bare.to_bytes() != table.to_bytes()
    again = bare.with_fields(
        [
            NewField(number, "probability that an object is there", table.column(number)),
            NewField(flag, "peak was inferred, not detected", table.flag(flag)),
        ]
    )
    assert again.to_bytes() == table.to_bytes()


def test_layout_of_a_schema(shared_data: Path) -> None:
    """The table without rows that is the schema of the peaks of a pipeline."""
    content = (shared_data / "afw_reference" / "peak_schema_annotated.fits").read_bytes()
    with fits.open(shared_data / "afw_reference" / "peak_schema_annotated.fits") as hdus:
        start = hdus[1].fileinfo()["hdrLoc"]
        table = AfwTable.from_bytes(hdus[1].header.tostring(), b"", "the schema")
    number, flag = "blendid_peak_probability", "blendid_peak_inferred"
    bare = table.without_fields([number, flag])
    assert bare.flag_names == ("merge_peak_i", "merge_peak_r", "merge_peak_g", "merge_peak_sky")
    again = bare.with_fields(
        [
            NewField(number, "probability that an object is there", np.zeros(0, np.float32)),
            NewField(flag, "peak was inferred, not detected", np.zeros(0, dtype=bool)),
        ]
    )
    assert content[:start] + again.to_bytes() == content


def test_fields_come_before_another_one() -> None:
    records = parse_catalog(write_toy([ToyFootprint(1, (0, 0, 9, 9))]), "toy").records
    new = [NewField("one", "", np.zeros(1, np.float32)), NewField("two", "", np.ones(1, dtype=bool))]
    assert records.with_fields(new, before="footprint").names[-4:] == (
        *("one", "two", "footprint"),
        "merge_footprint_sky",
    )


def test_new_rows_are_those_of_lsst_afw() -> None:
    rows = _toy().make_rows(2)
    assert np.isnan(rows["f_x"]).all() and np.isnan(rows["significance"]).all()
    assert not rows["id"].any() and not rows["flags"].any()


def test_columns_of_variable_length_keep_their_values() -> None:
    """Pixels of heavy footprints lie behind the rows, which become longer."""
    values = [np.arange(n, dtype=np.float32) for n in (3, 0, 5)]
    hdu = fits.BinTableHDU.from_columns(
        [
            fits.Column("id", "1K", array=np.arange(3)),
            fits.Column("image", "PE()", array=np.array(values, dtype=object)),
        ]
    )
    content = fits.HDUList([fits.PrimaryHDU(), hdu])
    raw = b"".join(_raw(h) for h in content)
    written = fits.HDUList.fromstring(raw)[1]
    size = written.header.data_size
    start = len(raw) - written.header.data_size_padded
    table = AfwTable.from_bytes(written.header.tostring(), raw[start : start + size], "it")
    longer = table.with_fields([NewField("flag", "", np.array([True, False, True]))])
    again = fits.HDUList.fromstring(content[0].header.tostring().encode() + longer.to_bytes())[1]
    for one, two in zip(again.data["image"], values, strict=True):
        np.testing.assert_array_equal(one, two)


def _raw(hdu: fits.PrimaryHDU | fits.BinTableHDU) -> bytes:
    """Header and data of an HDU."""
    from io import BytesIO

    stream = BytesIO()
    fits.HDUList([hdu] if isinstance(hdu, fits.PrimaryHDU) else [fits.PrimaryHDU(), hdu]).writeto(stream)
    content = stream.getvalue()
    return content if isinstance(hdu, fits.PrimaryHDU) else content[2880:]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (b"TFORM2  = '1K      '", b"TFORM2  = '1Z      '", "a column id of an unknown format"),
        (b"TTYPE2  = 'id      '", b"TTYPE2  = 'f_x     '", "a field twice: f_x"),
        (b"TFLAG2  =", b"TFLAG3  =", "its columns in another order"),
        (b"TTYPE2  =", b"XXXXX2  =", "no name for its column 2"),
        (b"'2X      '", b"'3X      '", "2 flags, but '3X' bits for them"),
        (
            b"TFIELDS =                    8",
            b"TFIELDS =                    9",
            "that its header does not tell",
        ),
        (b"NAXIS2  =                    5", b"NAXIS2  =                   50", "is cut off"),
        (b"'BINTABLE'", b"'IMAGE   '", "not a binary table"),
        (b"NAXIS1  =                   37", b"NAXIS1  =                    T", "no valid size"),
    ],
)
def test_damaged_headers_are_told(old: bytes, new: bytes, text: str) -> None:
    content = _toy().to_bytes()
    end = -(-(content.index(b"END ") + 80) // 2880) * 2880
    assert old in content
    header = content[:end].replace(old, new, 1).decode()
    with pytest.raises(CatalogError, match="the table") as caught:
        AfwTable.from_bytes(header, content[end:][: 37 * 5], "the table")
    assert text in str(caught.value)


def test_fields_that_are_not_there() -> None:
    table = _toy()
    with pytest.raises(KeyError, match="no column 'merge_peak_i'"):
        table.column("merge_peak_i")
    with pytest.raises(KeyError, match="no flag 'id'"):
        table.flag("id")
    with pytest.raises(CatalogError, match="fields id already"):
        table.with_fields([NewField("id", "", np.zeros(5, np.int64))])
    with pytest.raises(TypeError, match="values of type"):
        table.with_fields([NewField("new", "", np.zeros(5, complex))])
    assert table.without_fields(["none"]) is table

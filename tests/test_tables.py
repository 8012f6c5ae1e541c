# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the output tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import astropy.io.fits
import astropy.units as u
import astropy.wcs
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table
from lsst.daf.butler.formatters.parquet import astropy_to_arrow
from lsst.images import Box, GeneralFrame, SkyProjection
from lsst.meas.blendid.flags import FLAGS
from lsst.meas.blendid.footprints import DetectionResult, FootprintConfig, build_footprints
from lsst.meas.blendid.images.psf import kolmogorov_kernel, summarize_psf
from lsst.meas.blendid.table_files import TABLE_FORMATS, read_tables, write_tables
from lsst.meas.blendid.tables import (
    BLEND_COLUMNS,
    PEAK_COLUMNS,
    SPAN_COLUMNS,
    BlendTables,
    blend_columns,
    make_tables,
)

XY0 = (1000, 2000)
_NAMES = ("blend", "blend_peak", "blend_spans")

# Name, dtype and unit of every column: a change here breaks the users' code.
BLEND_SCHEMA = """
id int64 none; footprint_id int32 none;
bbox_x0 int32 pix; bbox_y0 int32 pix; bbox_x1 int32 pix; bbox_y1 int32 pix;
area int32 pix2; area_detected int32 pix2; x float64 pix; y float64 pix; ra float64 deg; dec float64 deg;
is_patch_inner bool none; is_tract_inner bool none; n_peaks int32 none; max_significance float32;
p_blended float32; p_blended_first float32; p_blended_second float32;
p_n_0 float32; p_n_1 float32; p_n_2 float32; p_n_3 float32; p_n_4 float32;
n_expected float32; novelty float32;
flux float32 nJy; mag float32 mag;
flag bool none; flag_edge bool none; flag_masked bool none; flag_core_missing bool none;
flag_no_data bool none;
flag_too_large bool none; flag_too_many_peaks bool none;
flag_too_many_candidates bool none; flag_no_localizer bool none; flag_correlated_noise bool none;
flag_profile_mismatch bool none;
flag_bright_star bool none;
flag_outside_model_range bool none; flag_other_band bool none;
flag_classifier_failed bool none
"""
PEAK_SCHEMA = """
id int64 none; footprint_id int32 none; peak_id int64 none; i_x int32 pix; i_y int32 pix;
f_x float32 pix; f_y float32 pix; peak_value float32 nJy; significance float32; probability float32;
is_inferred bool none; ra float64 deg; dec float64 deg; flux float32 nJy; mag float32 mag;
xx float32 pix2; yy float32 pix2; xy float32 pix2; candidate_x float32 pix; candidate_y float32 pix
"""
SPAN_SCHEMA = "id int64 none; footprint_id int32 none; y int32 pix; x0 int32 pix; x1 int32 pix"


@pytest.fixture(scope="module")
def detection() -> DetectionResult:
    """Five sources, two of which share a footprint."""
    psf = summarize_psf(kolmogorov_kernel(3.5))
    rng = np.random.default_rng(1)
    image = rng.normal(0.0, 1.0, (120, 140)).astype(np.float32)
    half = psf.image.shape[0] // 2
    padded = np.zeros((120 + 2 * half, 140 + 2 * half))
    for x, y, flux in [(30, 30, 400), (90, 40, 300), (95, 44, 200), (40, 90, 150), (100, 90, 900)]:
        padded[y : y + 2 * half + 1, x : x + 2 * half + 1] += flux * psf.image
    image += padded[half:-half, half:-half].astype(np.float32)
    return build_footprints(image, psf=psf, config=FootprintConfig(), variance=np.ones_like(image), xy0=XY0)


@pytest.fixture(scope="module")
def projection() -> SkyProjection:
    header = {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRPIX1": 70.0,
        "CRPIX2": 60.0,
        "CRVAL1": 150.0,
        "CRVAL2": 2.0,
        "CDELT1": -0.2 / 3600,
        "CDELT2": 0.2 / 3600,
    }
    return SkyProjection.from_fits_wcs(
        astropy.wcs.WCS(header), GeneralFrame(unit=u.pix), x0=XY0[0], y0=XY0[1]
    )


@pytest.fixture
def tables(detection: DetectionResult, projection: SkyProjection) -> BlendTables:
    n = len(detection.footprints)
    p_n = np.random.default_rng(2).dirichlet(np.ones(5), n)
    return make_tables(
        detection,
        p_blended={"first": p_n[:, 2:].sum(axis=1), "second": np.linspace(0, 1, n)},
        primary="first",
        p_n=p_n,
        flags={"edge": np.arange(n) == 0, "no_data": np.arange(n) == 1},
        projection=projection,
        inner_box=Box.factory[XY0[1] : XY0[1] + 60, XY0[0] : XY0[0] + 140],
        image_unit=u.nJy,
        zero_point=31.4,
        first_id=(1 << 40, 1 << 20),
        meta={"band": "i"},
    )


def _schema(table: Table) -> list[str]:
    return [f"{c.name} {c.dtype} {'none' if c.unit is None else c.unit}".strip() for c in table.itercols()]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("blend", BLEND_SCHEMA), ("blend_peak", PEAK_SCHEMA), ("blend_spans", SPAN_SCHEMA)],
)
def test_schema(tables: BlendTables, name: str, expected: str) -> None:
    table = getattr(tables, name)
    assert _schema(table) == [" ".join(entry.split()) for entry in expected.split(";")]
    assert all(c.description for c in table.itercols())
    assert all((c.unit is None) <= (c.dtype.kind in "bi") for c in table.itercols())


def test_documented_columns_are_those_written(tables: BlendTables) -> None:
    assert [c.name for c in blend_columns(["first", "second"])] == tables.blend.colnames
    assert [c.name for c in PEAK_COLUMNS] == tables.blend_peak.colnames
    assert [c.name for c in SPAN_COLUMNS] == tables.blend_spans.colnames
    assert {f.column for f in FLAGS} <= {c.name for c in BLEND_COLUMNS}


def test_content(detection: DetectionResult, tables: BlendTables) -> None:
    footprints, blend = detection.footprints, tables.blend
    assert len(footprints) >= 4
    assert blend["id"].tolist() == [(1 << 40) + k + 1 for k in range(len(footprints))]
    assert np.array_equal(blend["area"], np.bincount(footprints.labels.ravel())[1:])
    rows = np.arange(len(blend)) != 1
    p_n = np.stack([blend[f"p_n_{k}"] for k in range(5)], axis=1)
    np.testing.assert_allclose(p_n[rows].sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(blend["p_blended"][rows], p_n[rows, 2:].sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(blend["n_expected"][rows], p_n[rows] @ np.arange(5), rtol=1e-6)
    assert np.array_equal(blend["p_blended"], blend["p_blended_first"], equal_nan=True)
    assert np.array_equal(blend["is_patch_inner"], blend["y"] < XY0[1] + 59.5)

    assert np.bincount(tables.blend_peak["footprint_id"])[1:].tolist() == blend["n_peaks"].tolist()
    assert len(np.unique(tables.blend_peak["peak_id"])) == len(tables.blend_peak)
    assert not tables.blend_peak["is_inferred"].any()
    width = tables.blend_spans["x1"] - tables.blend_spans["x0"] + 1
    assert (
        np.bincount(tables.blend_spans["footprint_id"], weights=width)[1:].tolist() == blend["area"].tolist()
    )
    for table in (tables.blend_peak, tables.blend_spans):
        assert np.array_equal(table["id"], blend["id"][table["footprint_id"] - 1])


def test_flags_block_or_warn(tables: BlendTables) -> None:
    blend = tables.blend
    assert blend["flag"].tolist() == [k == 1 for k in range(len(blend))]
    assert blend["flag_edge"][0] and np.isfinite(blend["p_blended"][0])
    for name in ("p_blended", "p_blended_first", "p_blended_second", "p_n_0", "n_expected"):
        assert np.isnan(blend[name][1])


def test_failed_classifier_is_flagged(detection: DetectionResult) -> None:
    n = len(detection.footprints)
    p = np.full(n, 0.25)
    p[2] = np.nan
    blend = make_tables(detection, p_blended={"only": p}, primary="only", flags={}).blend
    assert blend["flag"].tolist() == [k == 2 for k in range(n)]
    assert blend["flag_classifier_failed"].tolist() == [k == 2 for k in range(n)]
    assert np.isnan(blend["p_n_0"]).all() and np.isnan(blend["ra"]).all()
    assert blend["is_patch_inner"].all() and blend["is_tract_inner"].all()
    assert blend["id"].tolist() == list(range(1, n + 1))


def test_sky_positions(tables: BlendTables) -> None:
    """Positions by the gnomonic formula, independent of the projection's code."""
    xi = -np.deg2rad(0.2 / 3600) * (np.asarray(tables.blend["x"]) - XY0[0] - 69.0)
    eta = np.deg2rad(0.2 / 3600) * (np.asarray(tables.blend["y"]) - XY0[1] - 59.0)
    ra0, dec0 = np.deg2rad(150.0), np.deg2rad(2.0)
    ra = ra0 + np.arctan2(xi, np.cos(dec0) - eta * np.sin(dec0))
    dec = np.arcsin((np.sin(dec0) + eta * np.cos(dec0)) / np.sqrt(1 + xi**2 + eta**2))
    np.testing.assert_allclose(tables.blend["ra"], np.rad2deg(ra), atol=1e-9)
    np.testing.assert_allclose(tables.blend["dec"], np.rad2deg(dec), atol=1e-9)


def test_parquet_opens_everywhere(tables: BlendTables, tmp_path: Path) -> None:
    paths = write_tables(tables, tmp_path, "scene.v1")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in paths)
    again = read_tables(tmp_path, "scene.v1")
    for name, path in zip(("blend", "blend_peak", "blend_spans"), paths, strict=True):
        table, expected = getattr(again, name), getattr(tables, name)
        assert _schema(table) == _schema(expected)
        assert table.meta["band"] == "i"
        assert [c.description for c in table.itercols()] == [c.description for c in expected.itercols()]
        frame = pd.read_parquet(path)
        quantities = QTable.read(path)
        assert quantities["id"].dtype == np.int64 and np.array_equal(quantities["id"], expected["id"])
        fields = pyarrow.parquet.read_schema(path)
        for column in expected.colnames:
            np.testing.assert_array_equal(np.asarray(table[column]), np.asarray(expected[column]))
            np.testing.assert_array_equal(frame[column].to_numpy(), np.asarray(expected[column]))
            assert fields.field(column).metadata[b"description"].decode() == expected[column].description


def test_files_are_those_of_the_butler(tables: BlendTables, tmp_path: Path) -> None:
    paths = write_tables(tables, tmp_path, "scene")
    for name, path in zip(("blend", "blend_peak", "blend_spans"), paths, strict=True):
        written = pyarrow.parquet.read_table(path)
        written.validate(full=True)
        table = getattr(tables, name).copy()
        table.meta["table_set"] = Table.read(path).meta["table_set"]
        expected = astropy_to_arrow(table)
        assert written.schema.equals(expected.schema, check_metadata=True)
        for column in expected.column_names:
            np.testing.assert_array_equal(written[column].to_numpy(), expected[column].to_numpy())


def test_writing_does_not_load_pandas(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from astropy.table import Table\n"
        "from lsst.meas.blendid.table_files import BlendTables, write_tables\n"
        "table = Table({'x': np.arange(3), 'b': [True, False, True]})\n"
        "write_tables(BlendTables(table, table, table), sys.argv[1], 'scene')\n"
        "assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_no_half_written_output(tables: BlendTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    write = pyarrow.parquet.write_table

    def fail_at_third(table: pyarrow.Table, where: str) -> None:
        calls.append(where)
        if len(calls) == 3:
            raise OSError("disk full")
        write(table, where)

    monkeypatch.setattr(pyarrow.parquet, "write_table", fail_at_third)
    with pytest.raises(OSError, match=r"cannot write .*scene\.blend_spans\.parquet: disk full"):
        write_tables(tables, tmp_path, "scene")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", TABLE_FORMATS)
def test_files_of_different_runs_are_no_set(tables: BlendTables, tmp_path: Path, format: str) -> None:
    """As where a run was killed between two renames."""
    paths = write_tables(tables, tmp_path, "scene", format=format)
    first = paths[1].read_bytes()
    write_tables(tables, tmp_path, "scene", format=format)
    # The same content is the same set.
    assert "table_set" not in read_tables(tmp_path, "scene").blend.meta
    other = BlendTables(tables.blend.copy(), tables.blend_peak, tables.blend_spans)
    other.blend["p_blended"][0] = 0.123
    write_tables(other, tmp_path, "scene", format=format)
    read_tables(tmp_path, "scene")
    paths[1].write_bytes(first)
    with pytest.raises(ValueError, match=rf"scene\.blend_peak\.{format} was not written together .*repeat"):
        read_tables(tmp_path, "scene")


def test_tables_without_a_set_are_read(tables: BlendTables, tmp_path: Path) -> None:
    """As those of a Butler, and older ones; but not beside newer ones."""
    paths = write_tables(tables, tmp_path, "scene")
    for name, path in zip(_NAMES, paths, strict=True):
        pyarrow.parquet.write_table(astropy_to_arrow(getattr(tables, name)), path)
    assert len(read_tables(tmp_path, "scene").blend) == len(tables.blend)
    write_tables(tables, tmp_path, "scene")
    pyarrow.parquet.write_table(astropy_to_arrow(tables.blend), paths[0])
    with pytest.raises(ValueError, match=r"scene\.blend\.parquet was not written together"):
        read_tables(tmp_path, "scene")


def test_no_footprint(detection: DetectionResult) -> None:
    blank = build_footprints(
        np.zeros((50, 60), dtype=np.float32),
        psf=detection.psf,
        config=FootprintConfig(),
        variance=np.ones((50, 60), dtype=np.float32),
    )
    tables = make_tables(blank, p_blended={"only": np.zeros(0)}, primary="only", flags={})
    assert [len(t) for t in (tables.blend, tables.blend_peak, tables.blend_spans)] == [0, 0, 0]
    assert [c.name for c in blend_columns(["only"])] == tables.blend.colnames


def test_unknown_flags_are_refused(detection: DetectionResult) -> None:
    n = len(detection.footprints)
    with pytest.raises(KeyError, match="star_nearby"):
        make_tables(
            detection,
            p_blended={"only": np.zeros(n)},
            primary="only",
            flags={"star_nearby": np.zeros(n, dtype=bool)},
        )


def test_sky_positions_of_peaks(tables: BlendTables, projection: SkyProjection) -> None:
    peaks = tables.blend_peak
    x, y = projection.sky_to_pixel(_sky_of(peaks))
    np.testing.assert_allclose(x, peaks["f_x"], atol=2e-4)
    np.testing.assert_allclose(y, peaks["f_y"], atol=2e-4)


def _sky_of(table: Table) -> SkyCoord:
    return SkyCoord(np.asarray(table["ra"]), np.asarray(table["dec"]), unit="deg")


def test_fluxes_of_the_scene(tables: BlendTables) -> None:
    """Isolated sources of the fixture, by their pixel."""
    peaks = tables.blend_peak
    for x, y, flux in [(30, 30, 400), (40, 90, 150), (100, 90, 900)]:
        row = int(np.argmin(np.hypot(peaks["i_x"] - XY0[0] - x, peaks["i_y"] - XY0[1] - y)))
        error = peaks["flux"][row] / peaks["significance"][row]
        assert abs(peaks["flux"][row] - flux) < 3.0 * error
        assert peaks["mag"][row] == pytest.approx(31.4 - 2.5 * np.log10(peaks["flux"][row]), abs=1e-4)
        whole = tables.blend[tables.blend["footprint_id"] == peaks["footprint_id"][row]]
        assert whole["flux"][0] == pytest.approx(flux, rel=0.2)
        assert whole["mag"][0] == pytest.approx(31.4 - 2.5 * np.log10(whole["flux"][0]), abs=1e-4)


@pytest.mark.parametrize(
    ("unit", "zero_point", "flux_unit", "factor"),
    [(u.uJy, 23.9, u.nJy, 1000.0), (u.electron, 31.4, u.nJy, 1.0), (u.electron, None, u.electron, 1.0),
     (None, None, u.dimensionless_unscaled, 1.0)],
)  # fmt: skip
def test_unit_of_fluxes(
    detection: DetectionResult,
    tables: BlendTables,
    unit: u.UnitBase | None,
    zero_point: float | None,
    flux_unit: u.UnitBase,
    factor: float,
) -> None:
    n = len(detection.footprints)
    made = make_tables(
        detection, p_blended={"only": np.zeros(n)}, primary="only", flags={}, image_unit=unit,
        zero_point=zero_point,
    )  # fmt: skip
    for table, reference in ((made.blend, tables.blend), (made.blend_peak, tables.blend_peak)):
        assert table["flux"].unit == flux_unit
        np.testing.assert_allclose(table["flux"], factor * reference["flux"], rtol=1e-5)
        assert np.isfinite(table["mag"]).all() == (zero_point is not None)
    assert made.blend_peak["peak_value"].unit == (unit or u.dimensionless_unscaled)


@pytest.mark.parametrize("format", TABLE_FORMATS)
def test_every_format_gives_the_same_tables(tables: BlendTables, tmp_path: Path, format: str) -> None:
    for name in ("blend", "blend_peak", "blend_spans"):
        getattr(tables, name).meta |= {
            "noise_correlation": float("nan"),
            "long": ", ".join(["0.1234"] * 40),
            "n": 3,
        }
    paths = write_tables(tables, tmp_path, "scene", format=format)
    assert [p.name for p in paths] == [f"scene.{name}.{format}" for name in _NAMES]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    again = read_tables(tmp_path, "scene")
    for name in _NAMES:
        table, expected = getattr(again, name), getattr(tables, name)
        assert _schema(table) == _schema(expected)
        assert [c.description for c in table.itercols()] == [c.description for c in expected.itercols()]
        for column in expected.colnames:
            assert not np.ma.isMaskedArray(table[column])
            np.testing.assert_array_equal(np.asarray(table[column]), np.asarray(expected[column]))
        assert {k: v for k, v in table.meta.items() if v == v} == {
            k: v for k, v in expected.meta.items() if v == v
        }
        assert np.isnan(table.meta["noise_correlation"])


def test_fits_tables_describe_their_columns_to_other_programs(tables: BlendTables, tmp_path: Path) -> None:
    path = write_tables(tables, tmp_path, "scene", format="fits")[0]
    header = astropy.io.fits.getheader(path, "BLEND")
    number = [header[f"TTYPE{k}"] for k in range(1, header["TFIELDS"] + 1)].index("p_blended") + 1
    assert "natural prior" in header[f"TCOMM{number}"]
    assert header["band"] == "i"


def test_tables_in_several_formats_ask_for_one(tables: BlendTables, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"scene\.blend\.parquet: no such file"):
        read_tables(tmp_path, "scene")
    with pytest.raises(ValueError, match="unknown format 'csv' of tables; known are parquet, fits, ecsv"):
        write_tables(tables, tmp_path, "scene", format="csv")
    write_tables(tables, tmp_path, "scene", format="fits")
    write_tables(tables, tmp_path, "scene", format="ecsv")
    with pytest.raises(ValueError, match="as fits and as ecsv; choose one with format="):
        read_tables(tmp_path, "scene")
    assert len(read_tables(tmp_path, "scene", format="ecsv").blend) == len(tables.blend)

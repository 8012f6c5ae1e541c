# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the reader of tables of galaxies."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path

import astropy.units as u
import astropy.wcs
import numpy as np
import pytest
from astropy.table import MaskedColumn, QTable, Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lsst.daf.butler.formatters.parquet import astropy_to_arrow
from lsst.meas.blendid.simulation import (
    SimulationError,
    complete_galaxies,
    get_survey,
    mag_to_njy,
    njy_to_mag,
)
from lsst.meas.blendid.simulation.catalogs.catalog_files import CATALOG_SUFFIXES, FileSource, read_catalog
from lsst.meas.blendid.simulation.catalogs.columns import CATALOG_COLUMNS
from pyarrow import parquet

SIZE = (300, 200)
I_BAND = get_survey("i")
N = 20


def _galaxies(n: int = N) -> Table:
    """All that a file may say about galaxies, without units; the last two are stars."""
    rng = np.random.default_rng(1)
    table = Table()
    table["id"] = 100 + np.arange(n)
    table["x"], table["y"] = rng.uniform(0, SIZE[0] - 1, n), rng.uniform(0, SIZE[1] - 1, n)
    table["redshift"] = rng.uniform(0, 3, n)
    for band in "ugrizy":
        table[f"mag_{band}"] = rng.uniform(22, 27, n)
    table["is_star"] = np.arange(n) >= n - 2
    for name in ("half_light_radius", "disc_radius", "bulge_radius"):
        table[name] = rng.uniform(0.1, 1.0, n)
    table["axis_ratio"], table["bulge_axis_ratio"] = rng.uniform(0.2, 1, n), rng.uniform(0.2, 1, n)
    table["position_angle"] = rng.uniform(0, 180, n)
    table["bulge_fraction"], table["knot_fraction"] = rng.uniform(0, 1, n), rng.uniform(0, 1, n)
    for name in ("gamma1", "gamma2", "kappa"):
        table[name] = rng.normal(0, 0.02, n)
    table["n_knots"] = rng.integers(0, 9, n)
    return table


def _write(table: Table, path: Path) -> Path:
    if CATALOG_SUFFIXES["".join(path.suffixes).lower()] == "parquet":
        parquet.write_table(astropy_to_arrow(Table(table)), path)
    else:
        table.write(path, format=CATALOG_SUFFIXES["".join(path.suffixes).lower()])
    return path


def _refused(path: Path, match: str, **options: dict[str, str]) -> None:
    with pytest.raises(SimulationError, match=match) as caught:
        read_catalog(path, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value) and path.name in str(caught.value)


@pytest.mark.parametrize("suffix", [".fits", ".fit", ".fits.gz", ".ecsv", ".csv", ".parquet", ".pq", ".FITS"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    galaxies = _galaxies()
    table = read_catalog(_write(galaxies, tmp_path / f"galaxies{suffix}"))
    assert set(table.colnames) == set(galaxies.colnames)
    star = np.asarray(galaxies["is_star"])
    for name in galaxies.colnames:
        values = np.asarray(table[name])
        assert values.dtype.isnative
        same = ~star if name.endswith("radius") or name == "n_knots" else np.ones(N, dtype=bool)
        np.testing.assert_allclose(values[same], np.asarray(galaxies[name])[same])
    assert (table["disc_radius"][star] == 0).all()
    complete_galaxies(table, "cosmodc2", np.random.default_rng(1))


@pytest.mark.parametrize("suffix", [".fits", ".ecsv", ".parquet"])
def test_units_are_converted(tmp_path: Path, suffix: str) -> None:
    galaxies = _galaxies()
    units = QTable()
    for name in ("x", "y"):
        units[name] = np.asarray(galaxies[name]) * u.pix
    units["flux_i"] = (mag_to_njy(galaxies["mag_i"]) * u.nJy).to(u.mJy)
    units["flux_r"] = (mag_to_njy(galaxies["mag_r"]) * u.nJy).to(u.erg / u.s / u.cm**2 / u.Hz)
    units["mag_g"] = np.asarray(galaxies["mag_g"]) * u.mag
    units["n_photon_z"] = 30.0 * 10 ** (-0.4 * (np.asarray(galaxies["mag_z"]) - 27.40)) * u.photon
    units["half_light_radius"] = (np.asarray(galaxies["half_light_radius"]) * u.arcsec).to(u.deg)
    units["position_angle"] = (np.asarray(galaxies["position_angle"]) * u.deg).to(u.rad)
    units["bulge_fraction"] = (np.asarray(galaxies["bulge_fraction"]) * 100.0) * u.percent
    table = read_catalog(_write(units, tmp_path / f"galaxies{suffix}"))
    for name in ("x", "y", "mag_i", "mag_r", "mag_g", "mag_z"):
        np.testing.assert_allclose(table[name], galaxies[name], rtol=1e-9)
    for name in ("half_light_radius", "position_angle", "bulge_fraction"):
        np.testing.assert_allclose(table[name], galaxies[name], rtol=1e-9)
    np.testing.assert_array_equal(table["id"], np.arange(N))


def test_parquet_of_pandas(tmp_path: Path) -> None:
    """No units there, nullable columns, and more columns than are read."""
    frame = _galaxies().to_pandas()
    frame["name"] = [f"galaxy {i}" for i in range(N)]
    frame.to_parquet(tmp_path / "a.parquet", index=False)
    table = read_catalog(tmp_path / "a.parquet")
    np.testing.assert_allclose(table["mag_i"], frame["mag_i"])
    assert "name" not in table.colnames
    frame["axis_ratio"] = frame["axis_ratio"].astype("Float64")
    frame.loc[3, "axis_ratio"] = None
    frame.to_parquet(tmp_path / "b.parquet")
    _refused(tmp_path / "b.parquet", r"column axis_ratio must be given; 1 of 20 rows are not \(rows 3\)")


def test_brightness_without_band_is_that_of_the_survey(tmp_path: Path) -> None:
    galaxies = Table({"x": [1.0, 2.0], "y": [3.0, 4.0], "flux": [100.0, 1000.0]})
    path = _write(galaxies, tmp_path / "a.ecsv")
    np.testing.assert_allclose(read_catalog(path)["mag_i"], njy_to_mag(galaxies["flux"]))
    table = read_catalog(path, survey=get_survey("z"))
    assert "mag_i" not in table.colnames
    np.testing.assert_allclose(table["mag_z"], njy_to_mag(galaxies["flux"]))
    # Photons are those of 30 s, and their zero point that of the survey.
    galaxies["n_photon_i"] = [30.0, 3000.0]
    path = _write(galaxies, tmp_path / "b.ecsv")
    np.testing.assert_allclose(read_catalog(path)["mag_i"], [27.8, 22.8])
    other = dataclasses.replace(I_BAND, zero_point=28.17, exposure_time=15.0)
    np.testing.assert_allclose(read_catalog(path, survey=other)["mag_i"], [28.17, 23.17])


def test_columns_may_have_other_names_and_units(tmp_path: Path) -> None:
    galaxies = _galaxies()
    table = Table()
    table["XCEN"], table["YCEN"] = galaxies["x"], galaxies["y"]
    table["MAG_I"] = galaxies["mag_i"]
    table["R50"] = galaxies["half_light_radius"] / 60.0
    path = _write(table, tmp_path / "a.fits")
    names = {"x": "XCEN", "y": "ycen", "half_light_radius": "R50 [arcmin]"}
    read = read_catalog(path, columns=names)
    np.testing.assert_allclose(read["half_light_radius"], galaxies["half_light_radius"])
    np.testing.assert_allclose(read["mag_i"], galaxies["mag_i"])
    _refused(
        path,
        r"no column r51 for half_light_radius \(did you mean 'R50'\?\); it has: XCEN",
        columns=names | {"half_light_radius": "r51"},
    )
    _refused(path, "no column size of galaxies .*known are: id, x, y", columns=names | {"size": "R50"})
    _refused(
        path,
        "column R50 has the unit 'furlongs', which",
        columns=names | {"half_light_radius": "R50[furlongs]"},
    )


def test_csv_may_have_units_in_its_header(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,y [pix],flux_i [uJy],is_star\n1,2,3.63078,True\n4,5,36.3078,false\n")
    table = read_catalog(path)
    np.testing.assert_allclose(table["mag_i"], [22.5, 20.0], atol=1e-4)
    np.testing.assert_array_equal(table["is_star"], [True, False])
    np.testing.assert_array_equal(table["y"], [2.0, 5.0])


@pytest.mark.parametrize(
    ("name", "unit", "target"),
    [
        ("disc_radius", "kpc", "arcsec"),
        ("flux_i", "erg / s", "nJy"),
        ("mag_i", "mag(ST)", "AB"),
        ("x", "arcsec", "pix"),
        ("kappa", "deg", "a number"),
    ],
)
@pytest.mark.parametrize("suffix", [".ecsv", ".parquet"])
def test_units_that_do_not_fit_are_refused(
    tmp_path: Path, name: str, unit: str, target: str, suffix: str
) -> None:
    table = _galaxies()
    table["flux_i"] = 100.0
    table[name].unit = unit
    path = _write(table, tmp_path / f"a{suffix}")
    _refused(path, rf"column {name} has the unit .*cannot be used for .*{target}")


@pytest.mark.parametrize("suffix", [".fits", ".ecsv", ".parquet"])
def test_unknown_units_are_refused_where_they_are_used(tmp_path: Path, suffix: str) -> None:
    table = _galaxies()
    table["remark"] = 1.0
    table["remark"].unit = u.Unit("cubits", parse_strict="silent")
    path = tmp_path / f"a{suffix}"
    with pytest.warns(u.UnitsWarning) if suffix == ".fits" else contextlib.nullcontext():
        _write(table, path)
    assert len(read_catalog(path)) == N
    table["disc_radius"].unit = u.Unit("cubits", parse_strict="silent")
    path = tmp_path / f"b{suffix}"
    with pytest.warns(u.UnitsWarning) if suffix == ".fits" else contextlib.nullcontext():
        _write(table, path)
    _refused(path, "column disc_radius has the unit 'cubits', which cannot be used for arcsec")


def _set(name: str, value: float) -> Callable[[Table], None]:
    def change(table: Table) -> None:
        table[name] = np.asarray(table[name], dtype=float)
        table[name][[2, 7]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _set("half_light_radius", -0.1),
            r"column half_light_radius must be positive; 2 of 20 .* \(rows 2, 7\)",
        ),
        (_set("half_light_radius", np.nan), r"column half_light_radius must be finite; .*\(rows 2, 7\)"),
        (_set("disc_radius", 0.0), "column disc_radius must be positive"),
        (_set("x", np.inf), "column x must be finite"),
        (_set("mag_r", np.nan), "column mag_r must be finite"),
        (_set("mag_r", 99.0), "column mag_r must be at least 0 and at most 60"),
        (_set("axis_ratio", 1.2), "column axis_ratio must be at most 1"),
        (_set("axis_ratio", 0.0), "column axis_ratio must be positive"),
        (_set("bulge_fraction", 1.1), "column bulge_fraction must be at least 0 and at most 1"),
        (_set("redshift", -0.5), "column redshift must be at least 0"),
        (_set("kappa", 1.5), "column kappa must be less than 1 together with the shear"),
        (_set("n_knots", 2.5), "column n_knots must be a whole number"),
        (_set("is_star", 2.0), "column is_star must be true or false, or 1 or 0"),
        (
            lambda t: t.replace_column("id", np.repeat(np.arange(N // 2), 2)),
            "column id must be different in all",
        ),
        (lambda t: t.replace_column("id", np.arange(N) + 0.5), "column id must be whole numbers"),
        (lambda t: t.replace_column("mag_i", ["bright"] * N), "column mag_i must be numbers"),
        (lambda t: t.replace_column("is_star", ["maybe"] * N), "column is_star must be true or false"),
        (lambda t: t.replace_column("x", np.zeros((N, 2))), "column x must have one value per row"),
        (lambda t: t.remove_column("y"), "neither columns x and y nor ra and dec; it has: id, x, redshift"),
        (
            lambda t: t.remove_columns([c for c in t.colnames if c.startswith("mag_")]),
            "has no brightness, such as column mag_i, flux_i or n_photon_i; it has: ",
        ),
        (lambda t: t.add_column(np.full(N, -3.0), name="flux_u"), "column flux_u must be positive"),
        (lambda t: t.add_column(np.zeros(N), name="n_photon_y"), "column n_photon_y must be positive"),
        (lambda t: t.add_column(np.zeros(N), name="position_angle_sky"), "needs positions in ra and dec"),
        (
            lambda t: t.replace_column("mag_g", MaskedColumn(np.full(N, 25.0), mask=np.arange(N) == 4)),
            r"column mag_g must be given; 1 of 20 rows are not \(rows 4\)",
        ),
    ],
)
def test_bad_values_are_named(tmp_path: Path, change: Callable[[Table], None], message: str) -> None:
    table = _galaxies()
    change(table)
    _refused(_write(table, tmp_path / "a.ecsv"), message)


def test_stars_and_dark_parts_need_no_size(tmp_path: Path) -> None:
    table = _galaxies()
    star = np.asarray(table["is_star"])
    for name in ("half_light_radius", "disc_radius", "bulge_radius", "axis_ratio"):
        table[name][star] = np.nan
    table["bulge_fraction"][[0, 1]], table["bulge_radius"][[0, 1]] = 0.0, [0.0, np.nan]
    table["bulge_fraction"][3], table["disc_radius"][3] = 1.0, 0.0
    read = read_catalog(_write(table, tmp_path / "a.fits"))
    assert (read["half_light_radius"][star] == 0).all()
    np.testing.assert_array_equal(read["bulge_radius"][:2], table["disc_radius"][:2])
    assert read["disc_radius"][3] == table["bulge_radius"][3]
    for name in ("disc_radius", "bulge_radius", "half_light_radius"):
        assert np.isfinite(read[name]).all()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ra=st.floats(0.0, 360.0),
    dec=st.floats(-85.0, 85.0),
    suffix=st.sampled_from([".fits", ".ecsv", ".parquet", ".csv"]),
)
def test_positions_on_the_sky(
    tmp_path_factory: pytest.TempPathFactory, ra: float, dec: float, suffix: str
) -> None:
    """As astropy projects them, and position angles turned to the pixels."""
    wcs = astropy.wcs.WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [0.5 * (n + 1) for n in SIZE]
    wcs.wcs.cdelt = [-0.2 / 3600, 0.2 / 3600]
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-300, 600, 50), rng.uniform(-300, 500, 50)
    table = Table()
    table["ra"], table["dec"] = wcs.all_pix2world(x, y, 0)
    table["mag"] = 25.0
    table["position_angle_sky"] = rng.uniform(0, 180, 50)
    path = _write(table, tmp_path_factory.mktemp("sky") / f"a{suffix}")
    galaxies = FileSource(path, center=(ra, dec)).galaxies(SIZE, I_BAND, rng)
    inside = (x >= -100.5) & (x < 399.5) & (y >= -100.5) & (y < 299.5)
    np.testing.assert_array_equal(galaxies["id"], np.flatnonzero(inside))
    np.testing.assert_allclose(galaxies["x"], x[inside], atol=1e-4)
    np.testing.assert_allclose(galaxies["y"], y[inside], atol=1e-4)
    assert galaxies.meta["center"] == (ra, dec)
    # In a field of an arcminute north is up, all but at the poles.
    difference = np.asarray(galaxies["position_angle"] - 90 - table["position_angle_sky"][inside])
    assert np.abs((difference + 90) % 180 - 90).max() < 0.03 / np.cos(np.radians(dec))
    assert set(galaxies.colnames) == {"id", "x", "y", "mag_i", "position_angle"}


def test_field_of_a_file(tmp_path: Path) -> None:
    table = _galaxies()
    table["x"] = np.linspace(-500, 800, N)
    path = _write(table, tmp_path / "a.parquet")
    source = FileSource(path)
    assert source.name == "a.parquet"
    galaxies = source.galaxies(SIZE, I_BAND, np.random.default_rng(1))
    keep = (table["x"] >= -100.5) & (table["x"] < 399.5)
    np.testing.assert_array_equal(galaxies["id"], table["id"][keep])
    with pytest.raises(SimulationError, match="positions in pixels, which need no centre"):
        FileSource(path, center=(1.0, 2.0)).galaxies(SIZE, I_BAND, np.random.default_rng(1))
    table["x"] += 2000
    path = _write(table, tmp_path / "b.parquet")
    with pytest.raises(
        SimulationError,
        match=r"none of the 20 galaxies of .*b.parquet .* 300 × 200 pixels: .*x from 1500 to 2800",
    ):
        FileSource(path).galaxies(SIZE, I_BAND, np.random.default_rng(1))
    sky = Table({"ra": [10.0, 10.001], "dec": [5.0, 5.0], "mag": [24.0, 25.0]})
    path = _write(sky, tmp_path / "c.csv")
    galaxies = FileSource(path).galaxies(SIZE, I_BAND, np.random.default_rng(1))
    assert galaxies.meta["center"] == pytest.approx((10.0005, 5.0))
    assert galaxies["x"][0] - galaxies["x"][1] == pytest.approx(
        0.001 * np.cos(np.radians(5)) * 18000, rel=1e-6
    )
    with pytest.raises(SimulationError, match=r"at ra 20.0000°, dec 5.0000°: they have ra from 10 to 10.001"):
        FileSource(path, center=(20.0, 5.0)).galaxies(SIZE, I_BAND, np.random.default_rng(1))
    path = _write(sky[:0], tmp_path / "d.ecsv")
    with pytest.raises(SimulationError, match="d.ecsv has no rows"):
        FileSource(path).galaxies(SIZE, I_BAND, np.random.default_rng(1))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="table of galaxies not found: .*a.fits"):
        read_catalog(tmp_path / "a.fits")
    for suffix in (".fits", ".parquet", ".ecsv", ".csv"):
        path = tmp_path / f"broken{suffix}"
        path.write_bytes(b"\x00\x01 nonsense")
        _refused(path, "cannot read a table from|neither columns x and y")
    path = tmp_path / "a.txt"
    path.write_text("x y mag")
    _refused(path, r"is no table of galaxies: its name must end with one of .fits, ")


def test_documented_columns_are_those_that_are_read(tmp_path: Path) -> None:
    assert set(_galaxies().colnames) <= set(CATALOG_COLUMNS)
    table = read_catalog(_write(_galaxies(), tmp_path / "a.fits"))
    full = complete_galaxies(table, "cosmodc2", np.random.default_rng(2))
    assert set(table.colnames) == set(full.colnames)

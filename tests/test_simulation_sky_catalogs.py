# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the reader of skyCatalogs."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.wcs
import numpy as np
import pytest
from astropy.table import Table
from lsst.meas.blendid.simulation import SimulationError, complete_galaxies, get_survey
from lsst.meas.blendid.simulation.catalogs.sky_catalogs import SkyCatalogSource, find_healpixel_files
from sky_catalog_files import CENTER, make_galaxies, write_galaxies, write_stars

SIZE = (500, 400)


I_BAND = get_survey("i")


def _read(source: SkyCatalogSource, size: tuple[int, int] = SIZE) -> Table:
    return source.galaxies(size, I_BAND, np.random.default_rng(1))


def _wcs(center: tuple[float, float], size: tuple[int, int]) -> astropy.wcs.WCS:
    wcs = astropy.wcs.WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = list(center)
    wcs.wcs.crpix = [0.5 * (n + 1) for n in size]
    wcs.wcs.cdelt = [-0.2 / 3600, 0.2 / 3600]
    return wcs


def _sorted(columns: dict[str, np.ndarray], ids: np.ndarray, key: str = "galaxy_id") -> dict[str, np.ndarray]:
    """Rows of the file in the order of ``ids``."""
    order = {int(v): i for i, v in enumerate(columns[key])}
    rows = [order[int(i)] for i in ids]
    return {name: np.asarray(values)[rows] for name, values in columns.items()}


def test_columns_follow_from_those_of_the_file(tmp_path: Path) -> None:
    """Magnitudes, sizes, shares and lensing, by the definitions of the catalogue."""
    columns = make_galaxies(200)
    write_galaxies(tmp_path, 9556, columns, row_group_size=37)
    table = _read(SkyCatalogSource(tmp_path, CENTER))
    assert len(table) == 200 and not table["is_star"].any()
    file = _sorted(columns, table["id"])
    x, y = _wcs(CENTER, SIZE).all_world2pix(file["ra"], file["dec"], 0)
    np.testing.assert_allclose(table["x"], x, atol=1e-6)
    np.testing.assert_allclose(table["y"], y, atol=1e-6)
    np.testing.assert_array_equal(table["redshift"], file["redshift"])
    mu = 1 / ((1 - file["convergence"]) ** 2 - file["shear_1"] ** 2 - file["shear_2"] ** 2)
    aperture = np.pi * (642.3 / 2) ** 2
    for band in "ugrizy":
        electrons = file[f"flux_{band}"].astype(float) * aperture
        # What the file has is magnified.
        lensed = table[f"mag_{band}"] - 2.5 * np.log10(mu)
        np.testing.assert_allclose(lensed, get_survey(band).zero_point - 2.5 * np.log10(electrons))
    for part, name in (("disk", "disc"), ("bulge", "bulge")):
        a, b = (file[f"size_{minor}{part}_true"].astype(float) for minor in ("", "minor_"))
        np.testing.assert_allclose(table[f"{name}_radius"] ** 2, a * b)
    np.testing.assert_allclose(
        table["axis_ratio"], file["size_minor_disk_true"].astype(float) / file["size_disk_true"]
    )
    bulge, disc, knots = (10 ** (-0.4 * file[f"{p}_magnorm"]) for p in ("bulge", "disk", "knots"))
    np.testing.assert_allclose(table["bulge_fraction"], bulge / (bulge + disc + knots))
    np.testing.assert_allclose(table["knot_fraction"], knots / (disc + knots))
    np.testing.assert_array_equal(table["n_knots"], np.where(knots > 0, file["n_knots"], 0))
    assert (table["bulge_fraction"] == 0).any() and (table["n_knots"] == 0).any()
    np.testing.assert_allclose(np.asarray(table["kappa"]), file["convergence"])
    assert table.meta["center"] == CENTER


@pytest.mark.parametrize("center", [CENTER, (10.0, 80.0), (359.99, -5.0)])
@pytest.mark.parametrize("ellipticities", [False, True])
def test_shapes_are_those_that_skycatalogs_draws(
    tmp_path: Path, center: tuple[float, float], ellipticities: bool
) -> None:
    """Against GalSim: skyCatalogs' own shears, brought to the pixels by GalSim's WCS."""
    galsim = pytest.importorskip("galsim")
    columns = make_galaxies(100, width=0.2, center=center)
    angle = np.radians(columns["position_angle_unlensed"])
    ratio = columns["size_minor_disk_true"].astype(float) / columns["size_disk_true"]
    if ellipticities:
        g = (1 - ratio) / (1 + ratio)
        del columns["position_angle_unlensed"]
        for part in ("disk", "bulge"):
            columns[f"ellipticity_1_{part}_true"] = g * np.cos(2 * angle)
            columns[f"ellipticity_2_{part}_true"] = g * np.sin(2 * angle)
    write_galaxies(tmp_path, 1, columns)
    size = (5000, 5000)
    table = _read(SkyCatalogSource(tmp_path, center), size)
    assert len(table) > 80
    order = {int(v): i for i, v in enumerate(columns["galaxy_id"])}
    wcs = galsim.AstropyWCS(wcs=_wcs(center, size))
    for row in table:
        i = order[int(row["id"])]
        intrinsic = galsim.Shear(q=ratio[i], beta=(90.0 * galsim.degrees + angle[i] * galsim.radians))
        lens = galsim.Shear(g1=columns["shear_1"][i], g2=columns["shear_2"][i])
        local = wcs.local(image_pos=galsim.PositionD(row["x"] + 1, row["y"] + 1))
        jacobian = local.getMatrix() / local.minLinearScale()
        for shear, ours in (
            (intrinsic, galsim.Shear(q=row["axis_ratio"], beta=row["position_angle"] * galsim.degrees)),
            (lens, galsim.Shear(g1=row["gamma1"], g2=row["gamma2"])),
        ):
            # A shape with second moments S S^T on the sky has J^-1 S S^T J^-T in pixels.
            pixels = np.linalg.inv(jacobian) @ shear.getMatrix()
            sky, here = pixels @ pixels.T, ours.getMatrix() @ ours.getMatrix().T
            np.testing.assert_allclose(here / np.trace(here), sky / np.trace(sky), atol=2e-5)


def test_stars_are_read_beside_galaxies(tmp_path: Path) -> None:
    write_galaxies(tmp_path, 9556, make_galaxies(30))
    columns = write_stars(tmp_path, 9556)
    table = _read(SkyCatalogSource(tmp_path, CENTER), (700, 700))
    stars = table[table["is_star"]]
    assert len(stars) == (columns["object_type"] == "star").sum() == 16
    file = _sorted(columns, -1 - np.asarray(stars["id"]), "id")
    assert (file["object_type"] == "star").all()
    expected = get_survey("r").photon_flux_to_mag(file["flux_r"].astype(float))
    np.testing.assert_allclose(stars["mag_r"], expected)
    for name, value in (("disc_radius", 0), ("axis_ratio", 1), ("n_knots", 0), ("kappa", 0)):
        assert (stars[name] == value).all()
    assert len(np.unique(table["id"])) == len(table) == 46
    without = _read(SkyCatalogSource(tmp_path, CENTER, stars=False), (700, 700))
    assert len(without) == 30


def test_table_can_be_completed(tmp_path: Path) -> None:
    """What the reader gives is a catalogue for everything that follows."""
    write_galaxies(tmp_path, 9556, make_galaxies(30))
    write_stars(tmp_path, 9556)
    table = _read(SkyCatalogSource(tmp_path, CENTER), (700, 700))
    full = complete_galaxies(table, "cosmodc2", np.random.default_rng(1))
    for name in ("mag_u", "mag_i", "disc_radius", "axis_ratio", "position_angle", "gamma1", "knot_fraction"):
        np.testing.assert_allclose(full[name], table[name])
    assert (full["half_light_radius"][~table["is_star"]] > 0).all()


def test_rows_without_light_are_dropped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    columns = make_galaxies(40)
    for band in "ugrizy":
        columns[f"flux_{band}"][:13] = 0.0
    columns["flux_u"][20] = 0.0
    write_galaxies(tmp_path, 9556, columns)
    with caplog.at_level(logging.WARNING, logger="lsst.meas.blendid"):
        table = _read(SkyCatalogSource(tmp_path, CENTER))
    assert len(table) == 27
    assert "13 galaxies without flux in any band were dropped" in caplog.text
    # Dark in one band only: there, but not to be seen.
    row = table[table["id"] == columns["galaxy_id"][20]]
    assert row["mag_u"][0] == 50.0 and row["mag_g"][0] < 40.0


def test_throughputs_of_the_flux_file_set_the_zero_point(tmp_path: Path) -> None:
    """Fluxes made with the throughputs as measured have their own zero points."""
    columns = make_galaxies(20)
    for name, version in (("old", None), ("new", "1.9"), ("builtin", "galsim_builtin")):
        (tmp_path / name).mkdir()
        write_galaxies(tmp_path / name, 9556, columns, throughputs=version)
    old, new, builtin = (_read(SkyCatalogSource(tmp_path / n, CENTER)) for n in ("old", "new", "builtin"))
    np.testing.assert_allclose(new["mag_i"] - old["mag_i"], 28.17 - 27.80)
    np.testing.assert_allclose(new["mag_u"] - old["mag_u"], 26.52 - 26.50, atol=1e-9)
    np.testing.assert_array_equal(builtin["mag_i"], old["mag_i"])


def test_only_the_field_and_its_margin_are_read(tmp_path: Path) -> None:
    """Whatever the order of rows and files; bad rows elsewhere do no harm."""
    columns = make_galaxies(3000, width=0.1)
    far = np.hypot(columns["dec"] - CENTER[1], columns["ra"] - CENTER[0]) > 0.04
    columns["size_disk_true"][far] = np.nan
    first = {name: values[:1700] for name, values in columns.items()}
    second = {name: values[1700:] for name, values in columns.items()}
    write_galaxies(tmp_path, 9556, first, row_group_size=64)
    write_galaxies(tmp_path, 9557, second, row_group_size=640)
    table = _read(SkyCatalogSource(tmp_path, CENTER, margin=50))
    x, y = _wcs(CENTER, SIZE).all_world2pix(columns["ra"], columns["dec"], 0)
    inside = (x >= -50.5) & (x < SIZE[0] + 49.5) & (y >= -50.5) & (y < SIZE[1] + 49.5)
    assert 50 < inside.sum() < 2000
    assert set(np.asarray(table["id"])) == set(columns["galaxy_id"][inside])
    # The files themselves, instead of their folder; one of them has some of the galaxies.
    one = _read(SkyCatalogSource((tmp_path / "galaxy_9556.parquet",), CENTER, margin=50))
    assert set(np.asarray(one["id"])) == set(columns["galaxy_id"][:1700][inside[:1700]])


@pytest.mark.parametrize("row_group_size", [16, 70])
def test_row_groups_do_not_matter(tmp_path: Path, row_group_size: int) -> None:
    """Rows are numbered through, over row groups."""
    columns = make_galaxies(300)
    write_galaxies(tmp_path, 9556, columns)
    whole = _read(SkyCatalogSource(tmp_path, CENTER))
    write_galaxies(tmp_path, 9556, columns, row_group_size=row_group_size)
    table = _read(SkyCatalogSource(tmp_path, CENTER))
    for name in whole.colnames:
        np.testing.assert_array_equal(table[name], whole[name])
    columns["shear_1"][222] = np.nan
    write_galaxies(tmp_path, 9556, columns, row_group_size=row_group_size)
    with pytest.raises(SimulationError, match=r"column shear_1 must be finite; 1 of 300 .*\(rows 222\)"):
        _read(SkyCatalogSource(tmp_path, CENTER))


def test_row_groups_elsewhere_are_not_read(tmp_path: Path) -> None:
    """Their statistics are enough: a broken position there is never seen, one near is."""
    columns = make_galaxies(200)
    columns["dec"][100:] += 1.0
    columns["ra"][150] = np.nan
    write_galaxies(tmp_path, 9556, columns, row_group_size=100)
    assert len(_read(SkyCatalogSource(tmp_path, CENTER))) > 0
    write_galaxies(tmp_path, 9556, columns, row_group_size=200)
    with pytest.raises(SimulationError, match=r"galaxy_9556.parquet: columns ra and dec .* row 150"):
        _read(SkyCatalogSource(tmp_path, CENTER))


@pytest.mark.parametrize("center", [(0.001, 3.0), (359.999, -60.0), (123.0, 89.99), (200.0, -90.0)])
def test_fields_across_the_zero_of_right_ascension_and_at_poles(
    tmp_path: Path, center: tuple[float, float]
) -> None:
    rng = np.random.default_rng(3)
    columns = make_galaxies(300)
    # Uniform in the pixels of a larger field, so that the sky follows from the projection of astropy.
    x, y = rng.uniform(-400, 900, 300), rng.uniform(-400, 800, 300)
    ra, dec = _wcs(center, SIZE).all_pix2world(x, y, 0)
    columns["ra"], columns["dec"] = ra % 360.0, dec
    write_galaxies(tmp_path, 7, columns, row_group_size=20)
    table = _read(SkyCatalogSource(tmp_path, center))
    inside = (x >= -100.5) & (x < 599.5) & (y >= -100.5) & (y < 499.5)
    assert set(np.asarray(table["id"])) == set(columns["galaxy_id"][inside])


def test_default_centre_is_the_middle_of_the_first_file_with_fluxes(tmp_path: Path) -> None:
    write_galaxies(tmp_path, 5, make_galaxies(20, center=(10.0, 10.0)), with_flux=False)
    write_galaxies(tmp_path, 9556, make_galaxies(400))
    source = SkyCatalogSource(tmp_path)
    ra, dec = source.field_center()
    assert (ra, dec) == pytest.approx(CENTER, abs=0.002)
    table = _read(source)
    assert table.meta["center"] == (ra, dec)
    assert table["x"].mean() == pytest.approx(250, abs=30)
    assert source.name == f"sky catalogue {tmp_path.name}"


def _nan(name: str) -> Callable[[dict[str, Any]], None]:
    def change(columns: dict[str, Any]) -> None:
        columns[name][[3, 5]] = np.nan

    return change


def _set(name: str, value: float) -> Callable[[dict[str, Any]], None]:
    def change(columns: dict[str, Any]) -> None:
        columns[name][3] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("size_disk_true"), r"galaxy_9556.parquet has no column size_disk_true; it has: "),
        (lambda c: c.pop("position_angle_unlensed"), "neither column position_angle_unlensed nor ellip"),
        (_nan("size_bulge_true"), r"9556.parquet: column size_bulge_true must be finite; 2 .* \(rows 3, 5\)"),
        (_set("size_minor_disk_true", -0.1), r"column size_minor_disk_true must be positive; .* \(rows 3\)"),
        (_set("size_minor_disk_true", 50.0), "column size_minor_disk_true must be at most size_disk_true"),
        (_set("convergence", 1.5), "column convergence must be less than 1"),
        (_nan("redshift"), "column redshift must be finite"),
        (_nan("bulge_magnorm"), "column bulge_magnorm must be a magnitude"),
        (_set("flux_r", np.nan), r"galaxy_flux_9556.parquet: column lsst_flux_r must be finite"),
        (_set("flux_r", -1.0), r"column lsst_flux_r must be finite and not negative; 1 of 50"),
        (lambda c: c.update(position_angle_unlensed=["a"] * 50), "position_angle_unlensed must be numbers"),
    ],
)
def test_bad_values_are_named(tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str) -> None:
    columns = make_galaxies(50, width=0.01)
    change(columns)
    write_galaxies(tmp_path, 9556, columns)
    with pytest.raises(SimulationError, match=message) as caught:
        _read(SkyCatalogSource(tmp_path, CENTER))
    assert "\n" not in str(caught.value)


def test_galaxies_need_their_fluxes(tmp_path: Path) -> None:
    columns = make_galaxies(50)
    path = write_galaxies(tmp_path, 9556, columns, with_flux=False)
    with pytest.raises(SimulationError, match=r"galaxy_9556.parquet has 50 rows .* no .*galaxy_flux_9556"):
        _read(SkyCatalogSource(tmp_path, CENTER))
    # Elsewhere it does not matter.
    write_galaxies(tmp_path, 9700, make_galaxies(50, center=(80.0, 0.0)))
    assert len(_read(SkyCatalogSource(tmp_path, (80.0, 0.0)))) == 50
    part = {name: values[:47] for name, values in columns.items()}
    other = write_galaxies(tmp_path, 1, part)
    other.with_name("galaxy_flux_1.parquet").rename(path.with_name("galaxy_flux_9556.parquet"))
    other.unlink()
    missing = f"galaxy_flux_9556.parquet has no row for 3 of the 50 .*galaxy_id {columns['galaxy_id'][47]}"
    with pytest.raises(SimulationError, match=missing):
        _read(SkyCatalogSource(tmp_path, CENTER))
    twice = {name: np.concatenate([values, values[:1]]) for name, values in columns.items()}
    write_galaxies(tmp_path, 1, twice)
    other.with_name("galaxy_flux_1.parquet").rename(path.with_name("galaxy_flux_9556.parquet"))
    other.unlink()
    with pytest.raises(SimulationError, match="has several rows for 1 of the 50 objects"):
        _read(SkyCatalogSource(tmp_path, CENTER))


def test_missing_catalogues_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="sky catalogue not found: .*nowhere"):
        find_healpixel_files(tmp_path / "nowhere")
    with pytest.raises(SimulationError, match="has no files galaxy_<healpixel>.parquet"):
        find_healpixel_files(tmp_path)
    twice = [tmp_path / name for name in ("one/galaxy_1.parquet", "two/galaxy_1.parquet")]
    for file in twice:
        file.parent.mkdir()
        file.touch()
    with pytest.raises(SimulationError, match="are of one healpixel"):
        find_healpixel_files(twice)
    with pytest.raises(SimulationError, match="no files of a sky catalogue"):
        find_healpixel_files([])
    with pytest.raises(FileNotFoundError, match="galaxy_1.parquet"):
        find_healpixel_files([tmp_path / "galaxy_1.parquet"])
    other = tmp_path / "stars_1.parquet"
    other.write_bytes(b"x")
    with pytest.raises(SimulationError, match="stars_1.parquet is not galaxy_"):
        find_healpixel_files(other)
    (tmp_path / "galaxy_3.parquet").write_bytes(b"no Parquet")
    with pytest.raises(SimulationError, match=r"cannot read .*galaxy_3.parquet as Parquet"):
        _read(SkyCatalogSource(tmp_path, CENTER))


def test_empty_field_is_explained(tmp_path: Path) -> None:
    write_galaxies(tmp_path, 9556, make_galaxies(50))
    with pytest.raises(SimulationError, match=r"no galaxy of .* 500 × 400 pixels at ra 150.0000°.*55.75°"):
        _read(SkyCatalogSource(tmp_path, (150.0, 2.0)))
    with pytest.raises(SimulationError, match="must be a place on the sky"):
        _read(SkyCatalogSource(tmp_path, (150.0, 95.0)))


def _sample() -> Path:
    """Folder ``ci_sample`` of the package skycatalogs, which need not be importable."""
    folder = os.environ.get("SKYCATALOGS_SAMPLE")
    if folder:
        return Path(folder)
    spec = importlib.util.find_spec("skycatalogs")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(place) / "data" / "ci_sample").is_dir():
            return Path(place) / "data" / "ci_sample"
    pytest.skip(
        "no sample of skyCatalogs: set SKYCATALOGS_SAMPLE to the folder data/ci_sample of the package"
    )


def test_real_sample() -> None:
    """Five healpixels of cosmoDC2 with fluxes have its sizes and magnitudes."""
    folder = _sample()
    # Those without a flux file cannot be used.
    files = tuple(
        file
        for pixel, file in find_healpixel_files(folder).items()
        if (folder / f"galaxy_flux_{pixel}.parquet").is_file()
    )
    table = _read(SkyCatalogSource(files, (56.5, -35.5), stars=False), (200_000, 200_000))
    assert 1500 < len(table) < 1700
    disc, bulge, share = (np.asarray(table[n]) for n in ("disc_radius", "bulge_radius", "bulge_fraction"))
    radius = (1 - share) * disc + share * bulge
    for low, median in ((24.0, 0.18), (25.0, 0.12), (26.0, 0.08)):
        here = (table["mag_i"] >= low) & (table["mag_i"] < low + 1)
        assert np.median(radius[here]) == pytest.approx(median, rel=0.25)
    assert np.median(table["axis_ratio"]) == pytest.approx(0.64, abs=0.03)
    assert (np.abs(np.asarray(table["kappa"])) < 0.3).all()
    with pytest.raises(SimulationError, match="galaxy_flux_"):
        _read(SkyCatalogSource(folder, (56.5, -35.5)), (200_000, 200_000))

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the sizes and shapes of galaxies."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Column, QTable, Table
from lsst.meas.blendid.simulation import (
    SIZE_MODELS,
    SimulationError,
    SizeModel,
    complete_galaxies,
    get_size_model,
    get_survey,
)
from lsst.meas.blendid.simulation.catalogs.columns import GALAXY_COLUMNS


def _table(n: int = 3, **columns: Any) -> Table:
    return Table({"x": np.arange(float(n)), "y": np.zeros(n), "mag": np.full(n, 24.0)} | columns)


def _complete(table: Table, model: str = "cosmodc2", seed: int = 0) -> Table:
    return complete_galaxies(table, model, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("name", "radius", "slope", "scatter"),
    [("cosmodc2", 0.21, -0.16, 0.20), ("1.6x", 0.32, -0.12, 0.18), ("large", 0.77, -0.105, 0.20)],
)
def test_presets(name: str, radius: float, slope: float, scatter: float) -> None:
    model = get_size_model(name)
    rng = np.random.default_rng(1)
    for mag in (22.0, 24.0, 26.0):
        log_radius = np.log10(model.draw(np.full(20000, mag), rng))
        assert np.median(log_radius) == pytest.approx(np.log10(radius) + slope * (mag - 24.0), abs=0.006)
        assert np.std(log_radius) == pytest.approx(scatter, rel=0.03)


def test_models_by_name() -> None:
    assert set(SIZE_MODELS) == {"cosmodc2", "1.6x", "large"}
    own = SizeModel("own", 0.5, 0.0, 0.0)
    assert get_size_model(own) is own
    with pytest.raises(
        SimulationError,
        match="unknown size model 'small'; known models: 1.6x, cosmodc2, cosmodc2-galaxies, large",
    ):
        get_size_model("small")
    for bad in ((0.0, 0.0, 0.1), (1.0, np.nan, 0.1), (1.0, 0.0, -0.1)):
        with pytest.raises(SimulationError, match="own"):
            SizeModel("own", *bad)


def test_drawn_properties() -> None:
    galaxies = _complete(_table(20000))
    assert tuple(galaxies.colnames) == GALAXY_COLUMNS
    np.testing.assert_array_equal(galaxies["mag_i"], 24.0)
    assert np.median(galaxies["axis_ratio"]) == pytest.approx(0.64, abs=0.01)
    assert galaxies["axis_ratio"].min() > 0.15 and galaxies["axis_ratio"].max() <= 1.0
    assert (galaxies["bulge_axis_ratio"] >= galaxies["axis_ratio"]).all()
    assert np.mean(galaxies["bulge_fraction"]) == pytest.approx(0.25, abs=0.01)
    assert galaxies["bulge_fraction"].min() >= 0 and galaxies["bulge_fraction"].max() <= 1
    counts, _ = np.histogram(galaxies["position_angle"], bins=6, range=(0, 180))
    assert counts.sum() == 20000 and counts.min() > 3100


def test_half_light_radius_is_that_of_the_sum() -> None:
    """Half of the light of bulge and disc together, by GalSim's own profiles."""
    galsim = pytest.importorskip("galsim")
    galaxies = _complete(_table(6, bulge_fraction=[0.0, 0.1, 0.3, 0.5, 0.8, 1.0]))
    for row in galaxies:
        bulge = galsim.Sersic(4.0, half_light_radius=row["bulge_radius"])
        disc = galsim.Sersic(1.0, half_light_radius=row["disc_radius"])
        radius = row["half_light_radius"]
        light = row["bulge_fraction"] * bulge.calculateIntegratedFlux(radius)
        light += (1 - row["bulge_fraction"]) * disc.calculateIntegratedFlux(radius)
        assert light == pytest.approx(0.5, abs=0.002)


def test_given_columns_are_kept_and_leave_the_others() -> None:
    plain = _complete(_table(50))
    given = _complete(_table(50, axis_ratio=np.full(50, 0.5), id=np.arange(50) + 7))
    np.testing.assert_array_equal(given["axis_ratio"], 0.5)
    np.testing.assert_array_equal(given["id"], np.arange(50) + 7)
    for name in ("half_light_radius", "position_angle", "bulge_fraction"):
        np.testing.assert_array_equal(given[name], plain[name])
    parts = _complete(_table(disc_radius=[0.3] * 3, bulge_radius=[0.1] * 3))
    np.testing.assert_array_equal(parts["disc_radius"], 0.3)
    np.testing.assert_array_equal(parts["bulge_radius"], 0.1)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("flux", 1000.0),
        ("mag", 23.9),
        ("mag_r", 23.9),
        ("flux_r", 1000.0),
        ("n_photon_r", 30.0 * 10 ** (0.4 * (get_survey("r").zero_point - 23.9))),
    ],
)
def test_forms_of_brightness(column: str, value: float) -> None:
    table = Table({"x": [0.0], "y": [0.0], column: [value]})
    galaxies = complete_galaxies(table, "cosmodc2", np.random.default_rng(0), band="r")
    assert galaxies["mag_r"][0] == pytest.approx(23.9)


def test_given_magnitudes_of_several_bands_are_kept() -> None:
    magnitudes = {f"mag_{name}": np.full(50, 24.0 + i) for i, name in enumerate("gry")}
    table = Table({"x": np.zeros(50), "y": np.zeros(50), **magnitudes, "mag": np.full(50, 20.0)})
    galaxies = complete_galaxies(table, "cosmodc2-galaxies", np.random.default_rng(0), band="r")
    for name, values in magnitudes.items():
        np.testing.assert_array_equal(galaxies[name], values)
    # The others are drawn for the magnitudes in r, which is nearest to i.
    assert np.median(galaxies["mag_i"]) == pytest.approx(24.5, abs=0.3)
    assert np.std(galaxies["mag_i"]) > 0.1


def test_redder_bands_find_the_galaxies_of_i() -> None:
    """Catalogues given in r have the sizes that those galaxies have in i."""
    rng = np.random.default_rng(0)
    n = 4000
    base = complete_galaxies(_table(n, mag=rng.uniform(22.0, 28.0, n)), "cosmodc2-galaxies", rng)
    near = np.abs(base["mag_r"] - 25.5) < 0.3
    table = Table({"x": np.zeros(n), "y": np.zeros(n), "mag_r": np.full(n, 25.5)})
    again = complete_galaxies(table, "cosmodc2-galaxies", np.random.default_rng(1))
    colors = [np.median(t["mag_r"] - t["mag_i"]) for t in (base[near], again)]
    assert colors[0] == pytest.approx(colors[1], abs=0.12)


def test_given_shear_goes_with_no_drawn_convergence() -> None:
    galaxies = _complete(_table(gamma1=[0.01, 0.02, 0.03]))
    assert galaxies["gamma1"].tolist() == [0.01, 0.02, 0.03]
    assert not galaxies["gamma2"].any() and not galaxies["kappa"].any()


def test_size_models_leave_colours_and_redshifts() -> None:
    one, other, joint = (_complete(_table(40), model) for model in ("cosmodc2", "large", "cosmodc2-galaxies"))
    for name in ("redshift", "mag_g", "mag_u", "gamma1", "kappa"):
        np.testing.assert_array_equal(one[name], other[name])
        np.testing.assert_array_equal(one[name], joint[name])
    assert (one["half_light_radius"] != joint["half_light_radius"]).all()


@pytest.mark.parametrize("model", ["cosmodc2", "cosmodc2-galaxies"])
def test_one_given_radius_sets_the_others(model: str) -> None:
    plain = _complete(_table(30), model)
    for name in ("disc_radius", "bulge_radius", "half_light_radius"):
        given = _complete(_table(30, **{name: 2.0 * plain[name]}), model)
        for radius in ("disc_radius", "bulge_radius", "half_light_radius"):
            np.testing.assert_allclose(given[radius], 2.0 * plain[radius], rtol=1e-9)


def test_knots_of_the_table() -> None:
    galaxies = _complete(_table(n_knots=[4, 0, 3], knot_fraction=[0.5, 0.5, 0.0]))
    assert galaxies["n_knots"].tolist() == [4, 0, 0]
    assert galaxies["knot_fraction"].tolist() == [0.5, 0.0, 0.0]
    assert galaxies["n_knots"].dtype == np.int32


def test_stars_are_points() -> None:
    galaxies = _complete(_table(is_star=[True, False, True], half_light_radius=[np.nan, 0.4, 0.0]))
    for name in ("half_light_radius", "disc_radius", "bulge_radius", "bulge_fraction"):
        assert galaxies[name][0] == galaxies[name][2] == 0.0
    assert galaxies["half_light_radius"][1] == 0.4
    for name in ("redshift", "gamma1", "gamma2", "kappa", "position_angle"):
        assert galaxies[name][0] == galaxies[name][2] == 0.0
    assert (galaxies["axis_ratio"][[0, 2]] == 1.0).all()


def test_missing_columns_are_named() -> None:
    with pytest.raises(SimulationError, match="no column 'y'; it has: x, mag"):
        _complete(Table({"x": [1.0], "mag": [24.0]}))
    with pytest.raises(SimulationError, match="neither column 'mag' nor 'flux'"):
        _complete(Table({"x": [1.0], "y": [1.0]}))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("x", np.nan),
        ("mag", np.inf),
        ("mag", -1.0),
        ("mag", 99.0),
        ("flux", 0.0),
        ("flux", -3.0),
        ("flux", 1e30),
        ("half_light_radius", np.nan),
        ("half_light_radius", -0.1),
        ("axis_ratio", 0.0),
        ("axis_ratio", 1.1),
        ("bulge_fraction", -0.1),
        ("bulge_fraction", 1.5),
        ("position_angle", np.nan),
        ("disc_radius", -1.0),
        ("bulge_radius", 0.0),
        ("redshift", -0.1),
        ("mag_r", np.nan),
        ("n_photon_i", 0.0),
        ("n_knots", -1.0),
        ("knot_fraction", 2.0),
        ("kappa", np.inf),
    ],
)
def test_bad_values_are_named_with_their_rows(column: str, value: float) -> None:
    table = _table()
    if column not in table.colnames:
        table[column] = [0.5, 0.5, 0.5]
    table[column][1] = value
    with pytest.raises(SimulationError, match=rf"{column}.*1 of 3 rows are not \(rows 1\)"):
        _complete(table)


def test_numbers_of_galaxies_must_be_whole() -> None:
    with pytest.raises(SimulationError, match="column 'id' must be whole numbers, not float64"):
        _complete(_table(id=[0.5, 1.5, 2.5]))
    with pytest.raises(SimulationError, match=r"'id' must be different in all rows; 2 of 3 .*\(rows 0, 2\)"):
        _complete(_table(id=[7, 8, 7]))
    with pytest.raises(SimulationError, match=r"'id' must be less than 2\^63; 1 of 3 .*\(rows 1\)"):
        _complete(_table(id=np.array([7, 2**63, 9], dtype=np.uint64)))
    with pytest.raises(SimulationError, match=r"'id' must be given; 1 of 3 .*\(rows 2\)"):
        _complete(_table(id=np.ma.masked_equal([1, 2, 3], 3)))


def test_numbers_of_knots_must_be_whole() -> None:
    with pytest.raises(SimulationError, match=r"'n_knots' must be a whole number; 1 of 3 .*\(rows 2\)"):
        _complete(_table(n_knots=[1.5, 2.0, 1.5], is_star=[True, False, False]))


def test_units_of_columns_are_converted() -> None:
    table = QTable(
        {
            "x": [1.0, 2.0] * u.pix,
            "y": [1.0, 2.0],
            "flux_i": [1.0, 10.0] * u.uJy,
            "mag_r": [23.0, 24.0] * u.ABmag,
            "half_light_radius": [0.01, 0.02] * u.arcmin,
            "position_angle": [np.pi / 4, 1.0] * u.rad,
        }
    )
    out = _complete(table)
    np.testing.assert_allclose(out["mag_i"], [23.9, 21.4])
    np.testing.assert_allclose(out["mag_r"], [23.0, 24.0])
    np.testing.assert_allclose(out["half_light_radius"], [0.6, 1.2])
    assert out["position_angle"][0] == pytest.approx(45.0)


@pytest.mark.parametrize(
    ("column", "unit", "target"),
    [
        ("half_light_radius", "m", "arcsec"),
        ("half_light_radius", "furlong", "arcsec"),
        ("mag_i", "nJy", r"mag\(AB\)"),
        ("kappa", "deg", "a number"),
    ],
)
def test_units_that_do_not_fit_are_refused(column: str, unit: str, target: str) -> None:
    table = _table(**{column: Column([0.5, 0.5, 0.5], unit=u.Unit(unit, parse_strict="silent"))})
    with pytest.raises(SimulationError, match=f"'{column}' has the unit '{unit}', .* used for {target}"):
        _complete(table)


def test_stars_are_said_in_words_or_numbers() -> None:
    for values in (
        [True, False, True],
        [1, 0, 1],
        [1.0, 0.0, 1.0],
        ["True", "false", "T"],
        [b"1", b"0", b"1"],
    ):
        assert _complete(_table(is_star=values))["is_star"].tolist() == [True, False, True]
    for values in ([1, 0, 2], [1.0, 0.0, np.nan], ["t", "f", "no"], np.ma.masked_equal([1, 0, 9], 9)):
        with pytest.raises(SimulationError, match=r"'is_star' must be true or false.*\(rows 2\)"):
            _complete(_table(is_star=values))


def test_masked_and_text_columns_are_refused() -> None:
    with pytest.raises(SimulationError, match="'axis_ratio'"):
        _complete(Table(_table(axis_ratio=np.ma.masked_equal([0.5, 0.6, 0.7], 0.6)), masked=True))
    for values in (["a", "b", "c"], ["0.1", "0.2", "0.3"], [True, True, True], [0.5j, 0.5j, 0.5j]):
        with pytest.raises(SimulationError, match="'axis_ratio' must be numbers, not "):
            _complete(_table(axis_ratio=values))

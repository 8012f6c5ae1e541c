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

import numpy as np
import pytest
from astropy.table import Table
from lsst.meas.blendid.simulation import (
    SIZE_MODELS,
    SimulationError,
    SizeModel,
    complete_galaxies,
    get_size_model,
    mag_to_njy,
)
from lsst.meas.blendid.simulation.galaxies import GALAXY_COLUMNS


def _table(n: int = 3, **columns: Any) -> Table:
    return Table({"x": np.arange(float(n)), "y": np.zeros(n), "mag": np.full(n, 24.0), **columns})


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
        SimulationError, match="unknown size model 'small'; known models: 1.6x, cosmodc2, large"
    ):
        get_size_model("small")
    for bad in ((0.0, 0.0, 0.1), (1.0, np.nan, 0.1), (1.0, 0.0, -0.1)):
        with pytest.raises(SimulationError, match="own"):
            SizeModel("own", *bad)


def test_drawn_properties() -> None:
    galaxies = _complete(_table(20000))
    assert set(galaxies.colnames) == {"id", *GALAXY_COLUMNS}
    np.testing.assert_allclose(galaxies["flux"], mag_to_njy(24.0))
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


def test_flux_and_mag_agree() -> None:
    galaxies = _complete(Table({"x": [0.0], "y": [0.0], "flux": [1000.0]}))
    assert galaxies["mag"][0] == pytest.approx(23.9)


def test_stars_are_points() -> None:
    galaxies = _complete(_table(is_star=[True, False, True], half_light_radius=[np.nan, 0.4, 0.0]))
    for name in ("half_light_radius", "disc_radius", "bulge_radius", "bulge_fraction"):
        assert galaxies[name][0] == galaxies[name][2] == 0.0
    assert galaxies["half_light_radius"][1] == 0.4


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
    ],
)
def test_bad_values_are_named_with_their_rows(column: str, value: float) -> None:
    table = _table()
    if column not in table.colnames:
        table[column] = [0.5, 0.5, 0.5]
    table[column][1] = value
    with pytest.raises(SimulationError, match=rf"{column}.*1 of 3 rows are not \(rows 1\)"):
        _complete(table)


def test_masked_and_text_columns_are_refused() -> None:
    with pytest.raises(SimulationError, match="'axis_ratio'"):
        _complete(Table(_table(axis_ratio=np.ma.masked_equal([0.5, 0.6, 0.7], 0.6)), masked=True))
    with pytest.raises(SimulationError, match="'axis_ratio' is not numeric"):
        _complete(_table(axis_ratio=["a", "b", "c"]))

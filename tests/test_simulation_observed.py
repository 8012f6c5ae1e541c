# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of what one band sees: magnification and shear, and knots in discs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.simulation import (
    SimulationError,
    complete_galaxies,
    get_survey,
    mag_to_njy,
)
from lsst.meas.blendid.simulation.catalogs.columns import GALAXY_COLUMNS
from lsst.meas.blendid.simulation.catalogs.observed import (
    OBSERVED_COLUMNS,
    magnification,
    observe,
    reduced_shear,
    split_knots,
)


def _table(n: int = 3, **columns: Any) -> Table:
    return Table({"x": np.arange(float(n)), "y": np.zeros(n), "mag": np.full(n, 24.0)} | columns)


def _complete(table: Table, model: str = "cosmodc2", seed: int = 0) -> Table:
    return complete_galaxies(table, model, np.random.default_rng(seed))


def test_observe_magnifies() -> None:
    catalog = _complete(_table(2, gamma1=[0.0, 0.1], gamma2=[0.0, 0.05], kappa=[0.0, 0.2]))
    seen = observe(catalog, get_survey("i"))
    assert tuple(seen.colnames) == OBSERVED_COLUMNS
    mu = 1 / (0.8**2 - 0.1**2 - 0.05**2)
    np.testing.assert_allclose(seen["flux"], mag_to_njy(24.0) * np.array([1.0, mu]))
    np.testing.assert_allclose(seen["mag"], 24.0 - 2.5 * np.log10([1.0, mu]))
    for name in GALAXY_COLUMNS:
        np.testing.assert_array_equal(seen[name], catalog[name])
    plain = observe(catalog, get_survey("i"), lensing=False)
    np.testing.assert_allclose(plain["flux"], mag_to_njy(24.0))
    assert not plain["gamma1"].any() and not plain["gamma2"].any() and not plain["kappa"].any()
    assert catalog["kappa"][1] == 0.2 and "flux" not in catalog.colnames


def test_each_band_sees_its_magnitudes() -> None:
    catalog = _complete(_table(5))
    for band in "ugrizy":
        seen = observe(catalog, get_survey(band), lensing=False)
        np.testing.assert_array_equal(seen["mag"], catalog[f"mag_{band}"])


def test_incomplete_catalogues_cannot_be_observed() -> None:
    catalog = _complete(_table())
    catalog["mag_r"][1] = np.nan
    with pytest.raises(SimulationError, match=r"'mag_r' must be finite.*1 of 3 rows are not \(rows 1\)"):
        observe(catalog, get_survey("r"))
    catalog.remove_column("mag_r")
    with pytest.raises(SimulationError, match="no column 'mag_r', which band 'r' needs"):
        observe(catalog, get_survey("r"))
    with pytest.raises(SimulationError, match="not complete: no column id, redshift"):
        observe(_table(mag_i=[24.0] * 3), get_survey("i"))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("kappa", 1.2, r"column 'kappa' must be less than 1; 1 of 3 rows are not \(rows 2\)"),
        ("gamma2", 1.2, r"'gamma1', 'gamma2' and 'kappa' must give a reduced shear less than 1; 1 of 3"),
        ("gamma1", np.nan, r"column 'gamma1' must be finite; 1 of 3 rows are not \(rows 2\)"),
    ],
)
def test_impossible_lensing_is_refused(column: str, value: float, message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        _complete(_table(**{column: [0.0, 0.0, value]}))


SMALL = st.floats(-0.3, 0.3)


@given(SMALL, SMALL, SMALL)
def test_reduced_shear_and_magnification_are_those_of_the_matrix(
    gamma1: float, gamma2: float, kappa: float
) -> None:
    matrix = np.array([[1 - kappa - gamma1, -gamma2], [-gamma2, 1 - kappa + gamma1]])
    mu = magnification(np.array([gamma1]), np.array([gamma2]), np.array([kappa]))
    np.testing.assert_allclose(mu, 1 / np.linalg.det(matrix), rtol=1e-12)
    g1, g2 = reduced_shear(np.array([gamma1]), np.array([gamma2]), np.array([kappa]))
    # The unit circle becomes an ellipse of axis ratio (1 − g) / (1 + g).
    stretch = np.linalg.svd(np.linalg.inv(matrix), compute_uv=False)
    g = np.hypot(g1, g2)[0]
    assert stretch[1] / stretch[0] == pytest.approx((1 - g) / (1 + g), abs=1e-12)


def test_lensing_of_galsim() -> None:
    """The same matrix as GalSim's, sign of the shear included."""
    galsim = pytest.importorskip("galsim")
    values = (np.array([0.08]), np.array([-0.03]), np.array([0.1]))
    g1, g2 = reduced_shear(*values)
    mu = magnification(*values)
    profile = galsim.Gaussian(sigma=1.0).lens(g1[0], g2[0], mu[0])
    inverse = np.linalg.inv(np.array([[0.82, 0.03], [0.03, 0.98]]))
    np.testing.assert_allclose(profile.jac, inverse, atol=1e-12)


def test_impossible_values_name_their_rows() -> None:
    zero = np.zeros(4)
    with pytest.raises(
        SimulationError, match=r"'kappa' must be less than 1; 2 of 4 rows are not \(rows 1, 3\)"
    ):
        magnification(zero, zero, np.array([0.0, 1.0, 0.5, 7.0]))
    with pytest.raises(SimulationError, match=r"reduced shear less than 1; 1 of 4 rows are not \(rows 2\)"):
        reduced_shear(np.array([0.0, 0.0, 0.5, 0.0]), zero, np.full(4, 0.6))
    for position, name in enumerate(("gamma1", "gamma2", "kappa")):
        values = [zero, zero, zero]
        values[position] = np.array([0.0, np.nan, 0.0, np.inf])
        with pytest.raises(SimulationError, match=rf"'{name}' must be finite; 2 of 4 rows"):
            magnification(*values)


def _observed(n: int = 6, band: str = "i", **columns: Any) -> Table:
    table = Table({"x": 10.0 * np.arange(n), "y": np.zeros(n), "mag_i": np.full(n, 22.0)} | columns)
    return observe(complete_galaxies(table, "cosmodc2", np.random.default_rng(0)), get_survey(band))


def test_flux_is_kept_and_disc_pays() -> None:
    observed = _observed(n_knots=[0, 3, 5, 0, 1, 2], knot_fraction=[0.0, 0.4, 0.2, 0.3, 1.0, 0.1])
    rows = split_knots(observed, 1)
    assert set(rows.colnames) == {*OBSERVED_COLUMNS, "is_knot"}
    knots, galaxies = rows[rows["is_knot"]], rows[~rows["is_knot"]]
    assert galaxies["id"].tolist() == list(range(6))
    assert np.bincount(knots["id"], minlength=6).tolist() == [0, 3, 5, 0, 1, 2]
    for row in observed:
        total = rows["flux"][rows["id"] == row["id"]].sum()
        assert total == pytest.approx(row["flux"], rel=1e-12)
        of_galaxy = galaxies[galaxies["id"] == row["id"]][0]
        # The bulge keeps its light.
        assert of_galaxy["bulge_fraction"] * of_galaxy["flux"] == pytest.approx(
            row["bulge_fraction"] * row["flux"]
        )
        mine = knots[knots["id"] == row["id"]]
        if len(mine):
            disc = row["flux"] * (1 - row["bulge_fraction"])
            np.testing.assert_allclose(mine["flux"], disc * row["knot_fraction"] / len(mine))
            np.testing.assert_allclose(mine["mag"], 31.4 - 2.5 * np.log10(mine["flux"]))
    assert knots["is_star"].all() and not knots["half_light_radius"].any()
    # There is nothing left to split.
    again = split_knots(rows, 1)
    np.testing.assert_array_equal(again["flux"], rows["flux"])


def test_galaxy_of_knots_alone_has_no_row() -> None:
    rows = split_knots(_observed(2, n_knots=[4, 0], knot_fraction=[1.0, 0.0], bulge_fraction=[0.0, 0.0]), 1)
    assert rows["id"].tolist() == [1, 0, 0, 0, 0]
    assert rows["is_knot"].tolist() == [False, True, True, True, True]


@settings(max_examples=20)
@given(st.permutations(range(6)), st.integers(0, 2**40))
def test_knots_depend_on_seed_and_number_only(order: list[int], seed: int) -> None:
    observed = _observed(n_knots=[2, 3, 1, 4, 2, 3], knot_fraction=[0.3] * 6)
    red = _observed(band="r", n_knots=[2, 3, 1, 4, 2, 3], knot_fraction=[0.3] * 6)
    whole = split_knots(observed, seed)
    for part in (split_knots(observed[order[:4]], seed), split_knots(red[order[:4]], seed)):
        for number in order[:4]:
            for name in ("x", "y"):
                one, other = (t[name][(t["id"] == number) & t["is_knot"]] for t in (whole, part))
                np.testing.assert_array_equal(one, other)
    moved = split_knots(observed, seed + 1)
    assert (moved["x"][moved["is_knot"]] != whole["x"][whole["is_knot"]]).all()


def test_knots_follow_the_lensed_disc() -> None:
    """Second moments of many knots are those of the exponential disc, sheared and magnified."""
    ratio, angle, radius = 0.5, 30.0, 0.6
    observed = _observed(
        1,
        n_knots=[60000],
        knot_fraction=[0.5],
        axis_ratio=[ratio],
        position_angle=[angle],
        disc_radius=[radius],
        bulge_fraction=[0.0],
        gamma1=[0.1],
        gamma2=[-0.05],
        kappa=[0.1],
    )
    knots = split_knots(observed, 3, pixel_scale=0.2)[1:]
    offsets = 0.2 * np.stack([knots["x"] - observed["x"][0], knots["y"] - observed["y"][0]])
    # A circular exponential disc has ⟨x²⟩ = 3 h²; without its outer 0.5 % of light, 6 % less.
    scale = 3.0 * (radius / 1.67834699) ** 2
    turn = np.array(
        [[np.cos(np.deg2rad(angle)), -np.sin(np.deg2rad(angle))], [0.5, np.cos(np.deg2rad(angle))]]
    )
    source = turn @ np.diag([scale / ratio, scale * ratio]) @ turn.T
    matrix = np.linalg.inv(np.array([[0.8, 0.05], [0.05, 1.0]]))
    expected = matrix @ source @ matrix.T
    np.testing.assert_allclose(np.cov(offsets), 0.94 * expected, atol=0.03 * expected[0, 0])


def test_half_of_the_knots_are_within_the_half_light_radius() -> None:
    observed = _observed(
        1, n_knots=[20000], knot_fraction=[0.5], axis_ratio=[1.0], disc_radius=[1.0], kappa=[0.0]
    )
    knots = split_knots(observed, 0, pixel_scale=0.1)[1:]
    distance = 0.1 * np.hypot(knots["x"] - observed["x"][0], knots["y"] - observed["y"][0])
    assert np.mean(distance < 1.0) == pytest.approx(0.5 / 0.995, abs=0.015)


def test_no_knots_no_change() -> None:
    observed = _observed(3)
    rows = split_knots(observed, 1)
    assert not rows["is_knot"].any() and len(rows) == 3
    np.testing.assert_array_equal(rows["flux"], observed["flux"])
    assert len(split_knots(observed[:0], 1)) == 0


def test_stars_have_no_knots() -> None:
    observed = _observed(2, is_star=[True, False])
    observed["n_knots"], observed["knot_fraction"] = 5, 0.5
    rows = split_knots(observed, 1)
    assert set(rows["id"][rows["is_knot"]]) == {1}


def test_bad_settings_are_refused() -> None:
    with pytest.raises(SimulationError, match="seed must not be negative"):
        split_knots(_observed(1), -1)
    with pytest.raises(SimulationError, match="pixel scale must be positive"):
        split_knots(_observed(1), 1, pixel_scale=0.0)
    observed = _observed(2)
    observed["knot_fraction"][1] = 1.5
    with pytest.raises(SimulationError, match=r"'knot_fraction' must be between 0 and 1; 1 of 2 rows"):
        split_knots(observed, 1)

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of knots in discs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.simulation import SimulationError, complete_galaxies, get_survey
from lsst.meas.blendid.simulation.catalogs.galaxies import OBSERVED_COLUMNS, observe
from lsst.meas.blendid.simulation.catalogs.knots import split_knots


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

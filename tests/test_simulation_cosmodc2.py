# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the joint distribution of cosmoDC2's galaxies."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.simulation import SimulationError, get_survey
from lsst.meas.blendid.simulation.catalogs.catalog import make_catalog
from lsst.meas.blendid.simulation.catalogs.columns import GALAXY_COLUMNS
from lsst.meas.blendid.simulation.catalogs.cosmodc2 import PopulationModel, draw_properties, load_model
from lsst.meas.blendid.simulation.catalogs.galaxies import composite_radius


@pytest.fixture(scope="module")
def catalog() -> dict[str, np.ndarray]:
    """As many galaxies as a scene to i = 29 has."""
    table = make_catalog(
        None, size=(2048, 2048), survey=get_survey("i"), seed=5, size_model="cosmodc2-galaxies"
    )
    assert len(table) > 38000
    return {name: np.asarray(table[name]) for name in GALAXY_COLUMNS}


@pytest.mark.parametrize(("low", "radius"), [(24.0, 0.18), (25.0, 0.12), (26.0, 0.08)])
def test_radii_are_those_of_cosmodc2(catalog: dict[str, np.ndarray], low: float, radius: float) -> None:
    chosen = (catalog["mag_i"] >= low) & (catalog["mag_i"] < low + 1.0)
    assert np.median(catalog["half_light_radius"][chosen]) == pytest.approx(radius, rel=0.12)
    assert np.std(np.log10(catalog["half_light_radius"][chosen])) == pytest.approx(0.25, abs=0.05)
    assert np.median(catalog["axis_ratio"][chosen]) == pytest.approx(0.64, abs=0.02)


def test_no_galaxy_is_repeated(catalog: dict[str, np.ndarray]) -> None:
    for name in ("half_light_radius", "axis_ratio", "redshift", "mag_u"):
        assert len(np.unique(catalog[name])) > 0.999 * len(catalog[name]), name


def test_model_agrees_with_galaxies_it_was_not_fitted_to() -> None:
    """The check that the fit kept with the model: healpixels that were left out of it."""
    rows = load_model().metadata["check"]
    assert {row["property"] for row in rows} >= {"half_light_radius", "axis_ratio", "bulge_fraction"}
    for row in rows:
        if row["property"] in ("half_light_radius", "axis_ratio"):
            # A hundred galaxies of 0.25 dex scatter have a median to 7 %.
            tolerance = 0.2 if row["n"] < 50 else 0.08
            assert row["model"] == pytest.approx(row["sample"], rel=tolerance), row
            assert row["p"] > 0.01, row
        # The mean KS distance of two samples of one distribution is 0.87 / √n.
        assert row["ks"] * np.sqrt(row["n"]) < 2.3, row
    assert np.mean([row["ks"] * np.sqrt(row["n"]) for row in rows]) < 1.3


def test_model_has_no_rows_of_the_sample() -> None:
    model = load_model()
    assert model.metadata["n_galaxies"] > 2000
    numbers = sum(v.size for part in (model.galaxies, model.stars) for v in (part.means, part.covariances))
    assert numbers < 0.2 * model.metadata["n_galaxies"] * len(model.galaxies.variables)


@settings(max_examples=30)
@given(st.lists(st.floats(10.0, 35.0), max_size=30), st.sampled_from("ugrizy"), st.integers(0, 9))
def test_draws_are_possible_at_any_magnitude(mag: list[float], band: str, seed: int) -> None:
    star = np.arange(len(mag)) % 3 == 0
    drawn = draw_properties(np.array(mag), np.random.default_rng(seed), band=band, is_star=star)
    np.testing.assert_allclose(drawn[f"mag_{band}"], mag)
    for name, values in drawn.items():
        assert values.shape == (len(mag),) and np.isfinite(values).all(), name
    for name in ("disc_radius", "bulge_radius", "redshift"):
        assert (drawn[name] > 0).all(), name
    for name in ("axis_ratio", "bulge_axis_ratio"):
        assert ((drawn[name] > 0) & (drawn[name] <= 1)).all(), name
    assert ((drawn["bulge_fraction"] >= 0) & (drawn["bulge_fraction"] <= 1)).all()
    assert (np.hypot(drawn["gamma1"], drawn["gamma2"]) < 0.3).all() and (np.abs(drawn["kappa"]) < 0.3).all()


def test_draws_of_one_galaxy_vary() -> None:
    drawn = draw_properties(np.full(20000, 25.0), np.random.default_rng(0))
    # A third of the galaxies have no bulge at all.
    assert np.mean(drawn["bulge_fraction"] == 0.0) == pytest.approx(0.33, abs=0.08)
    # As in the sample (0.20 and 0.36 at i 24–26), red galaxies have less of a bulge.
    red = drawn["mag_g"] - drawn["mag_i"] > 1.2
    assert np.mean(drawn["bulge_fraction"][red]) == pytest.approx(0.20, abs=0.09)
    assert np.mean(drawn["bulge_fraction"][~red]) == pytest.approx(0.36, abs=0.09)
    # Shear and convergence grow with redshift, and shear has no direction.
    far = drawn["redshift"] > 1.2
    assert np.std(drawn["kappa"][far]) > 1.3 * np.std(drawn["kappa"][~far])
    assert abs(np.mean(drawn["gamma1"])) < 0.001 and abs(np.mean(drawn["gamma2"])) < 0.001


def test_model_survives_its_file() -> None:
    model = load_model()
    again = PopulationModel.from_json(model.to_json())
    mag = np.linspace(20.0, 28.0, 50)
    one, two = (m.draw(mag, np.random.default_rng(1)) for m in (model, again))
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-9)


@pytest.mark.parametrize("damage", ["text", "format", "part", "shape"])
def test_damaged_models_are_refused(damage: str) -> None:
    content = json.loads(load_model().to_json())
    if damage == "format":
        content["format"] = 99
    elif damage == "part":
        del content["galaxies"]
    elif damage == "shape":
        content["galaxies"]["means"][0] = content["galaxies"]["means"][0][:-1]
    text = "not JSON" if damage == "text" else json.dumps(content)
    with pytest.raises(SimulationError, match="model of galaxies"):
        PopulationModel.from_json(text)


def test_composite_radius_is_that_of_the_sum() -> None:
    galsim = pytest.importorskip("galsim")
    for fraction, ratio in ((0.0, 2.0), (0.2, 0.6), (0.5, 0.2), (0.7, 1.5), (1.0, 0.5)):
        bulge = galsim.Sersic(4.0, half_light_radius=ratio)
        disc = galsim.Sersic(1.0, half_light_radius=1.0)
        radius = composite_radius(np.array([fraction]), ratio)[0]
        light = fraction * bulge.calculateIntegratedFlux(radius)
        light += (1.0 - fraction) * disc.calculateIntegratedFlux(radius)
        assert light == pytest.approx(0.5, abs=0.003), (fraction, ratio)

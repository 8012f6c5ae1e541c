# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of bars, arms, rings, tails and dust of simulated galaxies, of bright galaxies and mergers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("galsim", reason="GalSim, which draws the galaxies, is not installed")

from lsst.meas.blendid.simulation import SceneConfig, SimulationError, get_survey, simulate_scene
from lsst.meas.blendid.simulation.catalogs.catalog import make_catalog
from lsst.meas.blendid.simulation.catalogs.columns import STRUCTURE_COLUMNS
from lsst.meas.blendid.simulation.catalogs.galaxies import complete_galaxies
from lsst.meas.blendid.simulation.catalogs.observed import observe, split_knots
from lsst.meas.blendid.simulation.catalogs.structures import split_structures
from lsst.meas.blendid.simulation.coadds.psf_model import PsfModel
from lsst.meas.blendid.simulation.coadds.render import draw_galaxies
from lsst.meas.blendid.simulation.config import PopulationConfig
from lsst.pex.config import FieldValidationError

SURVEY = get_survey("i")
ALL = {"bar_fraction": 0.3, "arm_fraction": 0.5, "n_arms": 3, "ring_fraction": 0.3, "tail_fraction": 0.15}


def make_galaxy(**columns: Any) -> Table:
    """One large galaxy in the middle of 201 pixels, as one band sees it."""
    values = {
        "id": 7,
        "x": 100.0,
        "y": 100.0,
        "mag_i": 20.0,
        "half_light_radius": 2.5,
        "axis_ratio": 0.7,
        "bulge_fraction": 0.2,
        "position_angle": 30.0,
    }
    table = Table({name: [value] for name, value in (values | columns).items()})
    return observe(complete_galaxies(table, "cosmodc2", np.random.default_rng(1)), SURVEY)


def draw(rows: Table, engine: str = "fourier", fwhm: float = 0.7) -> np.ndarray:
    return draw_galaxies(
        rows, size=(201, 201), psf=PsfModel(fwhm), pixel_scale=0.2, noise=SURVEY.sky_sigma, engine=engine
    )


@pytest.mark.parametrize("name", ["bar_fraction", "arm_fraction", "ring_fraction", "tail_fraction"])
def test_a_structure_moves_light_and_adds_none(name: str) -> None:
    plain, rows = make_galaxy(), split_structures(split_knots(make_galaxy(**{name: 0.4}), 1), 1)
    assert len(rows) > 5 and rows["is_knot"].sum() == len(rows) - 1
    assert rows["flux"].sum() == pytest.approx(plain["flux"][0], rel=1e-9)
    # Of the disc, of which there is .8.
    assert rows["flux"][1:].sum() == pytest.approx(0.32 * plain["flux"][0], rel=1e-9)
    bulge = rows["flux"][0] * rows["bulge_fraction"][0]
    assert bulge == pytest.approx(0.2 * plain["flux"][0], rel=1e-9)
    difference = draw(rows) - draw(plain)
    assert np.abs(difference).max() > 5.0 * SURVEY.sky_sigma
    assert np.all(draw(rows) > -1e-3 * SURVEY.sky_sigma)


def test_dust_takes_light_along_the_major_axis_and_leaves_no_hole() -> None:
    galaxy = make_galaxy(dust_depth=0.45, axis_ratio=0.25, position_angle=0.0, bulge_fraction=0.0)
    plain = make_galaxy(axis_ratio=0.25, position_angle=0.0, bulge_fraction=0.0)
    rows = split_structures(split_knots(galaxy, 1), 1)
    assert len(rows) == 2 and rows["flux"][1] < 0.0
    assert rows["flux"].sum() == pytest.approx(plain["flux"][0], rel=1e-9)
    # With a PSF so narrow that it hides nothing.
    dusty, bright = draw(rows, fwhm=0.42), draw(plain, fwhm=0.42)
    assert dusty.min() > -1e-3 * SURVEY.sky_sigma
    assert dusty[100, 100] < 0.8 * bright[100, 100]
    assert dusty[106, 100] > bright[106, 100]


@settings(max_examples=25, deadline=None)
@given(
    st.fixed_dictionaries({name: st.floats(0.0, 1.0) for name in STRUCTURE_COLUMNS if "fraction" in name}),
    st.floats(0.0, 0.5),
    st.floats(0.1, 1.0),
    st.integers(0, 2**31),
)
def test_no_galaxy_is_negative(fractions: dict[str, float], dust: float, ratio: float, seed: int) -> None:
    galaxy = make_galaxy(**fractions, dust_depth=min(dust, 0.45), axis_ratio=ratio, mag_i=18.0)
    rows = split_structures(split_knots(galaxy, seed), seed)
    assert rows["flux"].sum() == pytest.approx(galaxy["flux"][0], rel=1e-6)
    assert draw(rows).min() > -0.02 * SURVEY.sky_sigma


def test_structures_depend_on_seed_and_number_alone() -> None:
    galaxy = make_galaxy(**ALL, dust_depth=0.3)
    rows = split_structures(split_knots(galaxy, 3), 3)
    moved = galaxy.copy()
    moved["x"] += 50.0
    again = split_structures(split_knots(moved, 3), 3)
    np.testing.assert_allclose(again["x"], rows["x"] + 50.0, rtol=0, atol=1e-9)
    for name in ("y", "flux", "disc_radius", "axis_ratio", "position_angle"):
        np.testing.assert_allclose(again[name], rows[name], rtol=1e-12)
    other = split_structures(split_knots(galaxy, 4), 4)
    assert np.abs(other["x"][1:] - rows["x"][1:]).max() > 1.0


def test_what_is_too_small_or_faint_stays_smooth() -> None:
    small = make_galaxy(**ALL, half_light_radius=0.1)
    assert len(split_structures(split_knots(small, 1), 1)) == 1
    faint = make_galaxy(**ALL)
    assert len(split_structures(split_knots(faint, 1), 1, least_flux=2.0 * faint["flux"][0])) == 1


@pytest.mark.parametrize("index", [0.5, 0.7, 1.3, 2.5, 6.0])
def test_sersic_profiles_are_those_of_galsim(index: float) -> None:
    columns = {"bulge_sersic": index, "bulge_fraction": 1.0, "bulge_axis_ratio": 0.6, "bulge_radius": 0.9}
    for galaxy in (make_galaxy(**columns), make_galaxy(disc_sersic=index, bulge_fraction=0.3)):
        fourier, reference = draw(galaxy), draw(galaxy, "galsim")
        assert np.abs(fourier - reference).max() < 3e-4 * reference.max()


def test_structures_are_those_of_galsim() -> None:
    rows = split_structures(split_knots(make_galaxy(**ALL, dust_depth=0.3), 1), 1)
    fourier, reference = draw(rows), draw(rows, "galsim")
    # A hundred components of GalSim each end where it stops to draw them.
    assert np.abs(fourier - reference).max() < 0.05 * SURVEY.sky_sigma


def test_a_population_has_the_shares_that_are_asked_for() -> None:
    population = PopulationConfig()
    population.starDensity = 20.0
    plain = make_catalog("parametric", size=(500, 500), survey=SURVEY, seed=2, population=population)
    assert not set(STRUCTURE_COLUMNS) & set(plain.colnames)
    structures = population.structures
    structures.barFraction, structures.spiralFraction, structures.dustFraction = 0.2, 0.5, 0.1
    structures.edgeOnFraction, structures.sersicFraction = 0.3, 0.4
    catalog = make_catalog("parametric", size=(500, 500), survey=SURVEY, seed=2, population=population)
    np.testing.assert_array_equal(catalog["mag_i"], plain["mag_i"])
    galaxies = catalog[~catalog["is_star"]]
    for name, share in (
        ("bar_fraction", 0.2),
        ("arm_fraction", 0.5),
        ("dust_depth", 0.1),
        ("ring_fraction", 0),
    ):
        assert np.mean(galaxies[name] > 0) == pytest.approx(share, abs=0.04)
    assert np.mean(galaxies["axis_ratio"] <= 0.25) > 0.3
    other = (galaxies["disc_sersic"] != 1.0) | (galaxies["bulge_sersic"] != 4.0)
    assert np.mean(other) == pytest.approx(0.4 * 0.97, abs=0.05)
    stars = catalog[catalog["is_star"]]
    assert len(stars) and not any(np.any(stars[name] > 0) for name in ("bar_fraction", "dust_depth"))


def test_bright_galaxies_and_mergers_are_objects() -> None:
    population = PopulationConfig()
    population.brightDensity, population.mergerFraction = 10.0, 1.0
    catalog = make_catalog("parametric", size=(800, 800), survey=SURVEY, seed=2, population=population)
    mag, radius = np.asarray(catalog["mag_i"]), np.asarray(catalog["half_light_radius"])
    area = (1000 * 0.2 / 60.0) ** 2
    n_bright = np.count_nonzero(mag < 22.0)
    # As many companions as galaxies, up to two magnitudes fainter.
    assert n_bright > 10.0 * area
    assert np.median(radius[mag < 18.0]) > 1.5
    assert len(set(catalog["id"].tolist())) == len(catalog)
    truth = simulate_scene(size=(200, 200), seed=2, config=_with(population)).truth
    bright = truth[truth["mag"] < 23.5]
    distance = np.hypot(bright["x"][:, None] - bright["x"], bright["y"][:, None] - bright["y"]) * 0.2
    np.fill_diagonal(distance, np.inf)
    assert np.mean(distance.min(axis=1) < 2.5 * bright["half_light_radius"].max()) > 0.8


def _with(population: PopulationConfig) -> SceneConfig:
    config = SceneConfig()
    config.population = population
    return config


def test_a_scene_has_no_rows_of_structures() -> None:
    config = SceneConfig()
    for name in ("barFraction", "spiralFraction", "ringFraction", "tailFraction", "dustFraction"):
        setattr(config.population.structures, name, 1.0)
    plain, scene = (
        simulate_scene(size=(200, 200), seed=4, config=c, size_model="large") for c in (None, config)
    )
    assert len(scene.truth) == len(plain.truth) and "is_knot" not in scene.truth.colnames
    np.testing.assert_allclose(scene.truth["flux"], plain.truth["flux"], rtol=1e-6)
    assert {name for name in STRUCTURE_COLUMNS} <= set(scene.truth.colnames)
    assert all(scene.truth[name].description for name in STRUCTURE_COLUMNS)
    assert not np.array_equal(scene.coadd.image.array, plain.coadd.image.array)


def test_mode_full_has_none() -> None:
    config = SceneConfig()
    config.mode, config.population.structures.barFraction = "full", 0.5
    with pytest.raises(FieldValidationError, match="shares of structures to 0"):
        config.validate()
    config.population.structures.barFraction = 0.0
    table = Table({"x": [20.0], "y": [20.0], "mag_i": [22.0], "bar_fraction": [0.3]})
    with pytest.raises(SimulationError, match="photons cannot be shot"):
        simulate_scene(table, size=(40, 40), config=config)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"bar_fraction": 1.5}, "'bar_fraction' must be .* at most 1"),
        ({"dust_depth": 0.7}, "'dust_depth' must be .* at most 0.5"),
        ({"bulge_sersic": 9.0}, "'bulge_sersic' must be .* at most 6"),
        ({"n_arms": 2.5}, "'n_arms' must be a whole number"),
    ],
)
def test_bad_tables(columns: dict[str, float], message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        make_galaxy(**columns)

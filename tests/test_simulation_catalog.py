# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the catalogue of a field: its sources, and how a population differs from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from lsst.meas.blendid.simulation import (
    ParametricCatalog,
    SimulationError,
    SplitError,
    TableSource,
    TruthScene,
    as_source,
    find_truth_scene,
    get_survey,
)
from lsst.meas.blendid.simulation.catalogs.catalog import make_catalog
from lsst.meas.blendid.simulation.catalogs.catalog_files import FileSource
from lsst.meas.blendid.simulation.catalogs.columns import GALAXY_COLUMNS
from lsst.meas.blendid.simulation.catalogs.observed import observe
from lsst.meas.blendid.simulation.catalogs.sky_catalogs import SkyCatalogSource
from lsst.meas.blendid.simulation.config import PopulationConfig


def _write_truth(path: Path, **columns: list[float]) -> Path:
    Table({"x": [1.0, 2.0], "y": [1.0, 2.0], "n_photon_i": [30.0, 300.0], **columns}).write(path)
    return path


def test_sources_of_all_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write_truth(tmp_path / "scene_01.fits")
    monkeypatch.setenv("BLENDID_DATA", str(tmp_path))
    assert as_source(None) == as_source("parametric") == as_source("cosmodc2") == ParametricCatalog()
    assert as_source(path) == as_source(str(path)) == as_source(1) == TruthScene(path)
    assert isinstance(as_source(Table({"x": [1.0]})), TableSource)
    assert as_source(ParametricCatalog(clustering=0)) == ParametricCatalog(clustering=0)
    Table({"x": [1.0], "y": [1.0], "mag_i": [24.0]}).write(tmp_path / "mine.ecsv")
    assert isinstance(as_source(tmp_path / "mine.ecsv"), FileSource)
    with pytest.raises(SplitError, match="no split"):
        as_source(tmp_path / "mine.ecsv", split="train")
    folder = tmp_path / "sky"
    folder.mkdir()
    with pytest.raises(SimulationError, match="sky is a folder without galaxy_"):
        as_source(folder)
    (folder / "galaxy_9556.parquet").touch()
    assert isinstance(as_source(folder), SkyCatalogSource)
    assert isinstance(as_source(folder / "galaxy_9556.parquet"), SkyCatalogSource)
    with pytest.raises(FileNotFoundError, match="no catalogue .*absent.csv"):
        as_source(tmp_path / "absent.csv")
    with pytest.raises(SimulationError, match="cannot get galaxies from a float"):
        as_source(1.5)  # type: ignore[arg-type]


SURVEY = get_survey("i")


SIZE = (400, 300)


def _make(source: Any = None, **given: Any) -> Table:
    settings = {name: given.pop(name) for name in ("size_model", "split", "seed", "survey") if name in given}
    population = PopulationConfig()
    for name, value in given.items():
        setattr(population, name, value)
    settings = {"seed": 1, "survey": SURVEY} | settings
    return make_catalog(source, size=SIZE, population=population, **settings)


def _same(one: Table, other: Table, names: tuple[str, ...] = GALAXY_COLUMNS) -> None:
    for name in names:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_catalogue_is_complete_and_repeatable() -> None:
    catalog = _make()
    assert tuple(catalog.colnames) == GALAXY_COLUMNS
    for name in GALAXY_COLUMNS:
        assert np.isfinite(np.asarray(catalog[name], dtype=float)).all(), name
    _same(catalog, _make())
    assert not set(_make(seed=2)["x"]) & set(catalog["x"])
    assert catalog.meta["source"] == "parametric"
    assert catalog.meta["size_model"] == "cosmodc2-galaxies"
    assert catalog.meta["population"]["sizeScale"] == 1.0


def test_catalogue_does_not_depend_on_the_band() -> None:
    _same(_make(), _make(survey=get_survey("u")))


def test_sizes_are_scaled_and_nothing_else() -> None:
    plain, scaled = _make(), _make(sizeScale=2.5)
    radii = ("half_light_radius", "disc_radius", "bulge_radius")
    for name in radii:
        np.testing.assert_allclose(scaled[name], 2.5 * plain[name])
    _same(plain, scaled, tuple(n for n in GALAXY_COLUMNS if n not in radii))
    scattered = _make(sizeScatter=0.3)
    factors = [np.log10(scattered[name] / plain[name]) for name in radii]
    np.testing.assert_allclose(factors[0], factors[1])
    np.testing.assert_allclose(factors[0], factors[2])
    assert np.std(factors[0]) == pytest.approx(0.3, rel=0.1)


def test_counts_are_scaled() -> None:
    assert len(_make(countsScale=2.0)) / len(_make()) == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize("factor", [0.4, 1.0, 2.5])
def test_counts_of_a_list_are_scaled(factor: float) -> None:
    rng = np.random.default_rng(0)
    n = 2000
    table = Table({"id": np.arange(n) + 5, "x": rng.uniform(0, 399, n), "y": rng.uniform(0, 299, n)})
    table["mag_i"] = rng.uniform(22.0, 26.0, n)
    catalog = _make(table, countsScale=factor)
    assert len(catalog) == pytest.approx(factor * n, rel=0.05)
    assert len(np.unique(catalog["id"])) == len(catalog)
    assert len(np.unique(catalog["x"])) == len(catalog)
    assert set(catalog["mag_i"]) <= set(table["mag_i"])
    assert catalog["x"].min() > -0.6 and catalog["x"].max() < 399.6


def test_clustering_of_given_positions_cannot_change() -> None:
    table = Table({"x": [1.0], "y": [1.0], "mag": [24.0]})
    with pytest.raises(SimulationError, match="table has positions of its own: population.clustering"):
        _make(table, clustering=0.0)
    assert (_make(clustering=0.0)["x"][:50] != _make()["x"][:50]).any()


def test_stars() -> None:
    # 400 × 300 pixels and a margin of 100 are 3.33 arcmin².
    catalog = _make(starDensity=600.0, starMagBright=18.0, starMagFaint=26.0, starSlope=0.15)
    plain = _make()
    stars = catalog[catalog["is_star"]]
    assert len(stars) == pytest.approx(2000, abs=180)
    _same(catalog[~catalog["is_star"]], plain)
    assert len(np.unique(catalog["id"])) == len(catalog)
    assert stars["mag_i"].min() >= 18.0 and stars["mag_i"].max() <= 26.0
    # Counts ∝ 10^(0.15 m): the share brighter than 22.
    share = (10**0.6 - 1.0) / (10**1.2 - 1.0)
    assert np.mean(stars["mag_i"] < 22.0) == pytest.approx(share, abs=0.04)
    assert not stars["half_light_radius"].any() and not stars["gamma1"].any()
    # Colours of stars: most are red, and many redder in r − i than any galaxy.
    assert np.median(stars["mag_g"] - stars["mag_r"]) > 1.0
    assert np.mean(stars["mag_r"] - stars["mag_i"] > 1.0) > 0.1
    flat = _make(starDensity=600.0, starSlope=0.0)
    assert np.mean(flat["mag_i"][flat["is_star"]] < 21.5) == pytest.approx(0.5, abs=0.05)


def test_clumpy_discs() -> None:
    plain, catalog = _make(), _make(clumpyFraction=0.5, clumpLight=0.4, clumpNumber=6.0)
    clumpy = np.asarray(catalog["n_knots"]) > 0
    assert clumpy.mean() == pytest.approx(0.5, abs=0.06)
    assert catalog["n_knots"][clumpy].mean() == pytest.approx(6.0, abs=0.4)
    assert (catalog["knot_fraction"][clumpy] == 0.4).all() and not catalog["knot_fraction"][~clumpy].any()
    _same(plain, catalog, tuple(n for n in GALAXY_COLUMNS if n not in ("n_knots", "knot_fraction")))
    table = Table({"x": [1.0, 2.0], "y": [1.0, 2.0], "mag": [24.0, 24.0]})
    table["n_knots"], table["knot_fraction"] = [9, 0], [0.2, 0.0]
    given = _make(table, clumpyFraction=1.0, clumpNumber=1.0)
    assert given["n_knots"].tolist() == [9, 1] and given["knot_fraction"].tolist() == [0.2, 0.3]


def test_lensing_can_be_switched_off() -> None:
    assert _make()["kappa"].any()
    catalog = _make(doLensing=False)
    assert not catalog["gamma1"].any() and not catalog["gamma2"].any() and not catalog["kappa"].any()


def test_joint_model_by_name() -> None:
    one, other = _make(size_model="cosmodc2"), _make()
    _same(one, other, ("x", "y", "mag_i", "mag_g", "redshift"))
    assert (one["half_light_radius"] != other["half_light_radius"]).all()
    assert other.meta["size_model"] == "cosmodc2-galaxies"


def test_fields_without_a_galaxy_are_refused() -> None:
    table = Table({"x": [500.0, 700.0], "y": [20.0, 30.0], "mag": [24.0, 24.0]})
    with pytest.raises(
        SimulationError,
        match=r"no galaxy of table \(2 rows\) is in the field of 400 × 300 pixels; x is 500 to 700, y 20",
    ):
        _make(table)
    with pytest.raises(SimulationError, match=r"no galaxy of table \(0 rows\)"):
        _make(table[:0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": (0, 5)}, "size of a scene must be positive, not 0 × 5"),
        ({"seed": -1}, "seed must not be negative"),
        ({"size_model": "tiny"}, "unknown size model 'tiny'"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        make_catalog(None, **({"size": SIZE, "survey": SURVEY, "seed": 1} | settings))


def test_catalogue_of_a_truth_scene(shared_data: Path) -> None:
    path = find_truth_scene(1, shared_data)
    catalog = make_catalog(path, size=(300, 300), survey=get_survey("r"), seed=1, split="train")
    assert catalog.meta["split"] == "train" and catalog.meta["source"] == "scene_01"
    raw = Table.read(path)
    seen = observe(catalog, SURVEY)
    np.testing.assert_allclose(SURVEY.photons_to_mag(raw["n_photon_i"]), seen["mag"], rtol=1e-12)
    with pytest.raises(SplitError, match="train sky"):
        make_catalog(path, size=(300, 300), survey=SURVEY, seed=1, split="test")


def test_own_source_keeps_its_class() -> None:
    catalog = _make(ParametricCatalog(mag_faint=25.0))
    assert catalog["mag_i"].max() <= 25.0


@pytest.mark.parametrize("setting", [{"starDensity": 100.0}, {"countsScale": 3.0}])
def test_further_objects_need_numbers(setting: dict[str, float]) -> None:
    table = Table({"id": [2**63 - 1, 5], "x": [10.0, 20.0], "y": [10.0, 20.0], "mag_i": [22.0, 23.0]})
    with pytest.raises(SimulationError, match="'id' goes up to 9223372036854775807, which leaves none"):
        _make(table, **setting)

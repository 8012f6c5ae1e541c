# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of patches of a tract: overlaps, varying PSF and depth, bands, artefacts, exposures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from lsst.images import YX, Box
from lsst.images.cells import CellGrid, CellIJ, PatchDefinition
from lsst.meas.blendid.labels import matched_snr
from lsst.meas.blendid.simulation import SimulatedCoadd, SimulationError, draw_galaxies, get_survey
from lsst.meas.blendid.simulation.catalogs.catalog import make_catalog
from lsst.meas.blendid.simulation.catalogs.observed import observe
from lsst.meas.blendid.simulation.coadds.cells import cells_of, conditions_of, draw_cells
from lsst.meas.blendid.simulation.coadds.coadd import simulate_patch
from lsst.meas.blendid.simulation.coadds.simulated_coadd import make_sky_projection
from lsst.meas.blendid.simulation.config import SceneConfig

pytest.importorskip("galsim")

TRACT = Box.factory[100:400, -50:350]
CELL = 50


def _patch(x0: int, y0: int, n: int = 4, number: int = 0) -> PatchDefinition:
    box = Box.from_shape((n * CELL, n * CELL), start=(y0, x0))
    grid = CellGrid(bbox=box, cell_shape=YX(y=CELL, x=CELL))
    return PatchDefinition(id=number, index=YX(y=0, x=number), inner_bbox=box, cells=grid)


ONE, TWO = _patch(-50, 100), _patch(50, 200, number=1)


@pytest.fixture(scope="module")
def catalog() -> Table:
    """Catalogue of the tract, with some clumpy galaxies."""
    survey = get_survey("i")
    population = SceneConfig().population
    population.clumpyFraction = 0.3
    table = make_catalog(
        "parametric", size=(TRACT.x.size, TRACT.y.size), survey=survey, seed=4, population=population
    )
    table["x"] += float(TRACT.x.start)
    table["y"] += float(TRACT.y.start)
    assert (table["n_knots"] > 0).any()
    return table


def _simulate(
    catalog: Table,
    patch: PatchDefinition,
    band: str = "i",
    config: SceneConfig | None = None,
    **settings: Any,
) -> SimulatedCoadd:
    survey = get_survey(band)
    projection = make_sky_projection(TRACT, skymap="s", tract=3, pixel_scale=survey.pixel_scale)
    return simulate_patch(catalog, patch, projection, survey, **({"seed": 5} | settings), config=config)


def _config(**settings: Any) -> SceneConfig:
    """Settings by their full names, with two underscores for a dot."""
    config = SceneConfig()
    for name, value in settings.items():
        *parts, last = name.split("__")
        part = config
        for step in parts:
            part = getattr(part, step)
        setattr(part, last, value)
    return config


VARIED = {
    "variation__fwhmScatter": 0.1,
    "variation__ellipticityScatter": 0.03,
    "variation__depthScatter": 0.2,
    "variation__skyScatter": 0.1,
    "variation__scale": 2.0,
}
ARTIFACTS = {
    "artifacts__badColumnDensity": 1.0,
    "artifacts__cosmicRayDensity": 20.0,
    "artifacts__doSaturation": True,
    "artifacts__fullWell": 10000.0,
}


DIRT = {
    "artifacts__hotPixelDensity": 60.0,
    "artifacts__trailDensity": 1.5,
    "artifacts__maskedFraction": 0.5,
    "sky__brightness": 2.0,
}


@pytest.mark.parametrize("settings", [{}, VARIED, ARTIFACTS, VARIED | ARTIFACTS, VARIED | DIRT], ids=str)
def test_overlapping_patches_agree(catalog: Table, settings: dict[str, Any]) -> None:
    """Image and variance, mask, PSF and truth are the same, up to the background."""
    config = _config(**settings)
    one, two = (_simulate(catalog, patch, config=config) for patch in (ONE, TWO))
    box = one.coadd.bbox.intersection(two.coadd.bbox)
    assert box.shape == (100, 100)
    a, b = one.coadd[box], two.coadd[box]
    difference = a.image.array.astype(float) - b.image.array
    expected = two.truth.meta["background"] - one.truth.meta["background"]
    assert expected != 0.0
    np.testing.assert_allclose(difference, expected, atol=1e-5 * np.abs(a.image.array).max())
    np.testing.assert_allclose(a.variance.array, b.variance.array, rtol=1e-6)
    np.testing.assert_array_equal(a.mask.array, b.mask.array)
    for y, x in ((210, 60), (290, 60), (210, 140)):
        np.testing.assert_array_equal(
            one.coadd.psf.compute_kernel_image(x=x, y=y).array,
            two.coadd.psf.compute_kernel_image(x=x, y=y).array,
        )
    inside = [
        t[(t["x"] > 49.5) & (t["x"] < 149.5) & (t["y"] > 199.5) & (t["y"] < 299.5)]
        for t in (one.truth, two.truth)
    ]
    assert len(inside[0]) == len(inside[1]) > 20
    for name in inside[0].colnames:
        np.testing.assert_allclose(inside[0][name], inside[1][name], rtol=1e-6, err_msg=name)


def test_overlapping_patches_have_the_same_starlight_and_correlated_noise(catalog: Table) -> None:
    """But for a border of one pixel, which the noise beyond is not known for."""
    catalog = catalog.copy()
    catalog["is_star"][:3] = True
    catalog["mag_i"][:3] = 16.0
    catalog["x"][:3], catalog["y"][:3] = [-30.0, 100.0, 210.0], [150.0, 250.0, 380.0]
    config = _config(
        **VARIED,
        sky__noiseCorrelation=1.4,
        starlight__haloFraction=0.1,
        starlight__spikeFraction=0.05,
        starlight__maskRadius=2.0,
        doSubtractBackground=False,
    )
    one, two = (_simulate(catalog, patch, config=config) for patch in (ONE, TWO))
    box = one.coadd.bbox.intersection(two.coadd.bbox)
    a, b = one.coadd[box], two.coadd[box]
    inner = (slice(1, -1), slice(1, -1))
    limit = 1e-5 * np.abs(a.image.array).max()
    np.testing.assert_allclose(a.image.array[inner], b.image.array[inner], atol=limit)
    np.testing.assert_allclose(a.variance.array, b.variance.array, rtol=1e-6)
    np.testing.assert_array_equal(a.mask.array, b.mask.array)
    assert a.mask.get("BRIGHT_OBJECT").any()
    plain = _simulate(catalog, TWO, config=_config(**VARIED, doSubtractBackground=False))
    assert (two.truth["snr"] < 0.85 * plain.truth["snr"]).all()


def test_patches_are_the_parts_of_a_whole(catalog: Table) -> None:
    whole = _simulate(catalog, _patch(-50, 100, 6), config=_config(doSubtractBackground=False))
    part = _simulate(catalog, ONE, config=_config(doSubtractBackground=False))
    np.testing.assert_allclose(
        whole.coadd[ONE.outer_bbox].image.array, part.coadd.image.array, rtol=1e-5, atol=1e-3
    )


def test_noise_seed_changes_noise_alone(catalog: Table) -> None:
    config = _config(**VARIED)
    one, two = (_simulate(catalog, ONE, config=config, noise_seed=n) for n in (5, 6))
    np.testing.assert_array_equal(one.coadd.variance.array, two.coadd.variance.array)
    np.testing.assert_array_equal(one.truth["snr"], two.truth["snr"])
    noise = (one.coadd.image.array - two.coadd.image.array) / np.sqrt(2 * one.coadd.variance.array)
    assert noise.std() == pytest.approx(1.0, abs=0.02)
    other = _simulate(catalog, ONE, config=config, seed=6, noise_seed=5)
    assert np.median(other.coadd.variance.array) != np.median(one.coadd.variance.array)


def test_cells_have_their_own_psf_and_depth(catalog: Table) -> None:
    """Every cell is what GalSim draws of the whole catalogue with the PSF of that cell."""
    config = _config(**VARIED, doSourceNoiseInVariance=False, doSubtractBackground=False)
    survey = get_survey("i")
    simulated = _simulate(catalog, ONE, config=config)
    table = observe(catalog, survey)
    table["x"] -= -50.0
    table["y"] -= 100.0
    near = table[(table["mag"] < 25.5) & (np.abs(table["x"] - 100) < 120) & (np.abs(table["y"] - 100) < 120)]
    images = draw_cells(near, list(cells_of(ONE, TRACT)), (200, 200), survey, config, 5, 5)
    seen = set()
    for cell in cells_of(ONE, TRACT):
        conditions = conditions_of(cell.place, survey, config.variation, 5)
        local = conditions.survey(survey)
        seen.add(conditions)
        kernel = simulated.coadd.psf[CellIJ(i=cell.index.i, j=cell.index.j)].array
        np.testing.assert_allclose(kernel, conditions.psf.kernel(0.2, 41))
        np.testing.assert_allclose(
            simulated.coadd.variance.array[cell.y, cell.x], local.sky_sigma**2, rtol=1e-6
        )
        truth = simulated.truth
        x, y = np.rint(truth["x"]), np.rint(truth["y"])
        here = truth[np.asarray(cell.bbox.contains(x=x, y=y))]
        np.testing.assert_allclose(here["snr"], matched_snr(here["flux"], kernel, local.sky_sigma), rtol=1e-5)
        if cell.index.as_tuple() not in ((0, 0), (2, 1)):
            continue
        moved = near.copy()
        moved["x"] -= float(cell.x.start)
        moved["y"] -= float(cell.y.start)
        exact = draw_galaxies(
            moved, size=(CELL, CELL), psf=conditions.psf, pixel_scale=0.2, noise=1.0, engine="galsim"
        )
        drawn = (images.expected[cell.y, cell.x] - local.sky_electrons) / local.electrons_per_njy
        np.testing.assert_allclose(drawn, exact, atol=0.02 * local.sky_sigma, rtol=0)
    assert len(seen) == 16


def test_noise_of_varied_cells(catalog: Table) -> None:
    """Image less model has in each cell the scatter of its variance plane."""
    survey = get_survey("i")
    config = _config(**VARIED)
    cells = list(cells_of(ONE, TRACT))
    images = draw_cells(observe(catalog, survey)[:0], cells, (200, 200), survey, config, 5, 5)
    pulls = np.array([(images.image / np.sqrt(images.variance))[c.y, c.x].ravel() for c in cells])
    np.testing.assert_allclose(pulls.std(axis=1), 1.0, atol=5 / np.sqrt(2 * CELL**2))
    np.testing.assert_allclose(pulls.mean(axis=1), 0.0, atol=4 / CELL)
    assert len(np.unique(images.variance)) == 16


def test_engines_agree_on_a_varied_patch(catalog: Table) -> None:
    small = catalog[(catalog["x"] > -40) & (catalog["x"] < 0) & (catalog["y"] > 110) & (catalog["y"] < 150)]
    settings = {**VARIED, "doSubtractBackground": False}
    one, two = (
        _simulate(small, _patch(-50, 100, 2), config=_config(**settings, engine=engine))
        for engine in ("fourier", "galsim")
    )
    sigma = np.sqrt(one.coadd.variance.array.max())
    # Variances have the model without noise.
    difference = (one.coadd.variance.array - two.coadd.variance.array) * get_survey("i").electrons_per_njy
    assert np.abs(difference).max() < 0.05 * sigma
    assert np.abs(one.coadd.image.array - two.coadd.image.array).max() < 0.05 * sigma


def test_bands_are_of_one_catalogue(catalog: Table) -> None:
    scenes = {band: _simulate(catalog, ONE, band) for band in "gri"}
    for band, scene in scenes.items():
        survey = get_survey(band)
        assert scene.coadd.band == scene.truth.meta["band"] == band
        np.testing.assert_array_equal(scene.truth["id"], scenes["i"].truth["id"])
        kernel = scene.coadd.psf.compute_kernel_image(x=0, y=150).array
        np.testing.assert_allclose(
            scene.truth["snr"], matched_snr(scene.truth["flux"], kernel, survey.sky_sigma), rtol=1e-5
        )
        assert scene.coadd.variance.array.min() == pytest.approx(survey.sky_sigma**2, rel=0.01)
    assert (scenes["g"].truth["flux"] != scenes["i"].truth["flux"]).mean() > 0.9
    # Their noise has nothing in common.
    g, r = (_simulate(catalog[:0], ONE, band).coadd.image.array.ravel() for band in "gr")
    assert np.corrcoef(g, r)[0, 1] == pytest.approx(0.0, abs=4 / 200)


def test_artifacts_are_masked(catalog: Table) -> None:
    catalog = catalog.copy()
    catalog["x"][0], catalog["y"][0], catalog["mag_i"][0] = 20.0, 180.0, 17.0
    scene = _simulate(catalog, ONE, config=_config(**ARTIFACTS))
    clean = _simulate(catalog, ONE)
    mask = scene.coadd.mask
    for name in ("BAD", "COSMIC_RAY", "SATURATED"):
        assert 0.0 < mask.get(name).mean() < 0.5
    changed = ~np.isclose(
        scene.coadd.image.array + scene.truth.meta["background"],
        clean.coadd.image.array + clean.truth.meta["background"],
        atol=0.05,
    )
    assert changed.any() and not (changed & ~mask.array.any(axis=-1)).mean() > 0.01
    assert scene.truth.meta["settings"]["artifacts.cosmicRayDensity"] == 20.0
    assert not clean.coadd.mask.array.any() and clean.truth.meta["settings"] == {}


def test_knots_are_drawn_and_are_no_objects(catalog: Table) -> None:
    smooth = catalog.copy()
    smooth["n_knots"] = 0
    smooth["knot_fraction"] = 0.0
    one, two = (_simulate(t, ONE, config=_config(doSubtractBackground=False)) for t in (catalog, smooth))
    assert len(one.truth) == len(two.truth)
    np.testing.assert_array_equal(one.truth["flux"], two.truth["flux"])
    assert (one.truth["n_knots"] > 0).any() and not two.truth["n_knots"].any()
    sigma = get_survey("i").sky_sigma
    assert np.abs(one.coadd.image.array - two.coadd.image.array).max() > sigma


def test_lensing_can_be_left_out(catalog: Table) -> None:
    lensed = catalog.copy()
    lensed["kappa"] = 0.2
    one, two = (_simulate(lensed, ONE, config=_config(population__doLensing=v)) for v in (True, False))
    np.testing.assert_allclose(two.truth["mag"], two.truth["mag_i"], atol=1e-5)
    assert (one.truth["mag"] < two.truth["mag"] - 0.3).all()


def test_exposures_make_a_coadd(catalog: Table) -> None:
    survey = dataclasses.replace(get_survey("i"), n_exposures=2)
    config = _config(mode="full", exposures__sensor="", **ARTIFACTS)
    projection = make_sky_projection(TRACT, skymap="s", tract=3, pixel_scale=0.2)
    patch = _patch(-50, 100, 2)
    scene = simulate_patch(catalog, patch, projection, survey, seed=5, config=config)
    assert scene.coadd.image.array.shape == (100, 100) and np.isfinite(scene.coadd.image.array).all()
    kernel = scene.coadd.psf.compute_kernel_image(x=0, y=150).array
    assert kernel.sum() == pytest.approx(1.0) and kernel.shape == (41, 41)
    assert scene.coadd.mask.get("COSMIC_RAY").any()
    fast = simulate_patch(catalog, patch, projection, survey, seed=5)
    np.testing.assert_array_equal(scene.truth["snr"], fast.truth["snr"])
    # As in mode fast the variance may be that of the sky alone.
    assert scene.coadd.variance.array.max() > 1.1 * scene.coadd.variance.array.min()
    dull = _config(mode="full", exposures__sensor="", doSourceNoiseInVariance=False)
    variance = simulate_patch(catalog, patch, projection, survey, seed=5, config=dull).coadd.variance.array
    assert variance.min() == variance.max() == pytest.approx(np.median(scene.coadd.variance.array), rel=0.1)
    # Another place of the tract has exposures of its own.
    empty = catalog[:0]
    quiet = _config(mode="full", exposures__sensor="", exposures__doDither=False)
    here, there = (
        simulate_patch(empty, p, projection, survey, seed=5, config=quiet).coadd.image.array
        for p in (patch, _patch(50, 100, 2))
    )
    assert np.corrcoef(here.ravel(), there.ravel())[0, 1] == pytest.approx(0.0, abs=0.05)


def test_undersampled_psf_is_refused_before_exposures(catalog: Table, tmp_path: Path) -> None:
    survey = dataclasses.replace(get_survey("i"), n_exposures=1, fwhm=0.3)
    projection = make_sky_projection(TRACT, skymap="s", tract=3, pixel_scale=0.2)
    config = _config(mode="full", exposures__sensor="")
    with pytest.raises(SimulationError, match="undersampled"):
        simulate_patch(catalog, ONE, projection, survey, seed=5, config=config, exposure_folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_empty_patch(catalog: Table) -> None:
    """A patch without a galaxy is sky."""
    scene = _simulate(catalog[:0], ONE)
    assert len(scene.truth) == 0
    assert scene.coadd.image.array.std() == pytest.approx(get_survey("i").sky_sigma, rel=0.03)


def test_errors(catalog: Table) -> None:
    with pytest.raises(SimulationError, match="negative"):
        _simulate(catalog, ONE, seed=-1)
    with pytest.raises(SimulationError, match="negative"):
        _simulate(catalog, ONE, noise_seed=-1)
    with pytest.raises(SimulationError, match="set mode full"):
        _simulate(catalog, ONE, exposure_folder="kept")
    with pytest.raises(ValueError, match="mode fast"):
        _simulate(catalog, ONE, config=_config(mode="full", variation__fwhmScatter=0.1))

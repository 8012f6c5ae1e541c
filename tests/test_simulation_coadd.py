# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of simulated coadds: noise, truth, projection and files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.stats import sigma_clipped_stats
from astropy.table import Table
from lsst.images import Box, get_legacy_deep_coadd_mask_planes
from lsst.images.cells import CellCoadd
from lsst.meas.blendid.images.psf import kolmogorov_kernel
from lsst.meas.blendid.simulation import (
    PsfModel,
    SimulatedCoadd,
    SimulationError,
    draw_galaxies,
    get_survey,
    simulate_scene,
)
from lsst.meas.blendid.simulation.config import SceneConfig

pytest.importorskip("galsim")


TRUTH_COLUMNS = {
    "id": "i8",
    "x": "f8",
    "y": "f8",
    "ra": "f8",
    "dec": "f8",
    "mag": "f4",
    "flux": "f4",
    "snr": "f4",
    "is_star": "?",
    "half_light_radius": "f4",
    "disc_radius": "f4",
    "bulge_radius": "f4",
    "axis_ratio": "f4",
    "bulge_axis_ratio": "f4",
    "position_angle": "f4",
    "bulge_fraction": "f4",
    "redshift": "f4",
    "gamma1": "f4",
    "gamma2": "f4",
    "kappa": "f4",
    "n_knots": "i4",
    "knot_fraction": "f4",
    **{f"mag_{band}": "f4" for band in "ugrizy"},
}


PEDESTAL = SceneConfig(doSubtractBackground=False)


@pytest.fixture(scope="module")
def scene() -> SimulatedCoadd:
    return simulate_scene(size=(256, 192), seed=3, xy0=(1000, 2000), tract=7, patch=2)


def test_coadd_has_all_parts(scene: SimulatedCoadd) -> None:
    coadd = scene.coadd
    assert isinstance(coadd, CellCoadd)
    assert coadd.bbox == Box.factory[2000:2192, 1000:1256]
    assert coadd.unit == u.nJy and coadd.variance.unit == u.nJy**2
    assert coadd.image.array.dtype == coadd.variance.array.dtype == np.float32
    assert (coadd.band, coadd.tract, coadd.patch.id) == ("i", 7, 2)
    assert coadd.patch.inner_bbox == coadd.patch.outer_bbox == coadd.bbox
    assert coadd.mask.schema.names == {p.name for p in get_legacy_deep_coadd_mask_planes().values()}
    assert not coadd.mask.array.any()
    assert coadd.bounds.bbox == coadd.bbox and not coadd.bounds.missing
    kernel = coadd.psf.compute_kernel_image(x=1010, y=2190).array
    np.testing.assert_allclose(kernel, kolmogorov_kernel(3.5, 41))


def test_truth_columns(scene: SimulatedCoadd) -> None:
    truth = scene.truth
    assert {name: np.dtype(d) for name, d in TRUTH_COLUMNS.items()} == {
        c.info.name: c.dtype for c in truth.itercols()
    }
    assert all(c.description for c in truth.itercols())
    assert truth["flux"].unit == u.nJy and truth["half_light_radius"].unit == u.arcsec
    assert len(np.unique(truth["id"])) == len(truth) > 100
    ix, iy = np.rint(truth["x"]), np.rint(truth["y"])
    assert ix.min() >= 1000 and ix.max() <= 1255 and iy.min() >= 2000 and iy.max() <= 2191
    assert truth.meta["seed"] == 3 and truth.meta["size_model"] == "cosmodc2-galaxies"


def test_noise_of_an_empty_sky() -> None:
    """Mean, scatter and variance plane far from the only, faint, galaxy."""
    survey = get_survey("i")
    empty = Table({"x": [5.0], "y": [5.0], "mag": [30.0]})
    coadd = simulate_scene(empty, size=(256, 256), seed=1).coadd
    image = coadd.image.array[32:]
    n = image.size
    assert image.mean() == pytest.approx(0.0, abs=4 * survey.sky_sigma / np.sqrt(n))
    assert image.std() == pytest.approx(survey.sky_sigma, rel=4 / np.sqrt(2 * n))
    np.testing.assert_allclose(coadd.variance.array[32:], survey.sky_sigma**2, rtol=1e-4)
    # White: neighbours are not correlated.
    assert np.mean(image[:, 1:] * image[:, :-1]) / image.var() == pytest.approx(0.0, abs=4 / np.sqrt(n))


def _star_grid(step: int, mag: float) -> Table:
    """Nine stars of one magnitude in the middle of squares."""
    y, x = (step * np.mgrid[:3, :3] + step // 2).reshape(2, 9).astype(float)
    return Table({"x": x, "y": y, "mag": np.full(9, mag), "is_star": np.ones(9, dtype=bool)})


def test_noise_of_bright_sources_is_poisson() -> None:
    """The variance plane, with the sources' own noise, is the scatter of noise draws."""
    stars = _star_grid(32, 17.0)
    draws = [simulate_scene(stars, size=(96, 96), noise_seed=i, config=PEDESTAL).coadd for i in range(40)]
    images = np.stack([c.image.array for c in draws]).astype(float)
    variance = draws[0].variance.array
    assert variance.max() > 10 * variance.min()
    chi = images.var(axis=0, ddof=1) / variance
    assert chi.mean() == pytest.approx(1.0, abs=0.01)
    for low, high in ((1.0, 1.2), (1.2, 3.0), (3.0, 100.0)):
        some = chi[(variance >= low * variance.min()) & (variance < high * variance.min())]
        assert len(some) > 200
        assert some.mean() == pytest.approx(1.0, abs=4 * np.sqrt(2 / 39 / len(some)))
    config = SceneConfig(doSourceNoiseInVariance=False)
    sky_only = simulate_scene(stars, size=(96, 96), config=config).coadd
    np.testing.assert_allclose(sky_only.variance.array, get_survey("i").sky_sigma ** 2, rtol=1e-6)


def test_signal_is_that_of_the_model(scene: SimulatedCoadd) -> None:
    """Image less model is noise of mean 0 and the variance of the variance plane."""
    survey = get_survey("i")
    galaxies = scene.truth.copy()
    galaxies["x"] -= 1000.0
    galaxies["y"] -= 2000.0
    model = draw_galaxies(
        galaxies,
        size=(256, 192),
        psf=PsfModel(survey.fwhm),
        pixel_scale=survey.pixel_scale,
        noise=survey.sky_sigma,
    )
    inner = (slice(40, -40), slice(40, -40))
    background = scene.truth.meta["background"]
    assert 0.05 < background / survey.sky_sigma < 0.5
    pull = ((scene.coadd.image.array + background - model) / np.sqrt(scene.coadd.variance.array))[inner]
    assert pull.mean() == pytest.approx(0.0, abs=0.05)
    assert pull.std() == pytest.approx(1.0, abs=0.02)


def test_background_is_that_of_undetected_galaxies() -> None:
    """Subtracted, the sky between the detected galaxies is zero; left in, it is not."""
    with_it = simulate_scene(size=(256, 256), seed=3, config=PEDESTAL)
    without = simulate_scene(size=(256, 256), seed=3)
    background = without.truth.meta["background"]
    assert with_it.truth.meta["background"] == 0.0
    np.testing.assert_allclose(
        with_it.coadd.image.array - without.coadd.image.array, background, atol=1e-3 * background
    )
    _, median, _ = sigma_clipped_stats(with_it.coadd.image.array, sigma=3.0)
    assert background == pytest.approx(median, abs=0.1 * get_survey("i").sky_sigma)


def test_snr_is_the_matched_filter_error_of_the_sky() -> None:
    """The scatter of matched-filter fluxes of equal stars is flux / S/N."""
    psf = kolmogorov_kernel(3.5, 41)
    fluxes = []
    for i in range(40):
        scene = simulate_scene(_star_grid(48, 26.5), size=(144, 144), noise_seed=i)
        for x, y in zip(scene.truth["x"].astype(int), scene.truth["y"].astype(int), strict=True):
            cut = scene.coadd.image.array[y - 20 : y + 21, x - 20 : x + 21]
            fluxes.append(float((cut * psf).sum() / (psf**2).sum()))
    flux, snr = float(scene.truth["flux"][0]), float(scene.truth["snr"][0])
    n = len(fluxes)
    assert n == 360 and 4.5 < snr < 5.5
    assert np.std(fluxes) == pytest.approx(flux / snr, rel=4 / np.sqrt(2 * n))
    assert np.mean(fluxes) == pytest.approx(flux, abs=4 * flux / snr / np.sqrt(n))


def test_same_seed_same_pixels() -> None:
    one, two = (simulate_scene(size=(96, 96), seed=9) for _ in range(2))
    np.testing.assert_array_equal(one.coadd.image.array, two.coadd.image.array)
    np.testing.assert_array_equal(one.truth["x"], two.truth["x"])
    other = simulate_scene(size=(96, 96), seed=10)
    assert (one.coadd.image.array != other.coadd.image.array).mean() > 0.99
    noise = simulate_scene(size=(96, 96), seed=9, noise_seed=10)
    np.testing.assert_array_equal(one.truth["x"], noise.truth["x"])
    np.testing.assert_array_equal(one.coadd.variance.array, noise.coadd.variance.array)
    assert (one.coadd.image.array != noise.coadd.image.array).mean() > 0.99


def test_position_of_the_image_moves_nothing_else() -> None:
    one = simulate_scene(size=(64, 64), seed=2)
    two = simulate_scene(size=(64, 64), seed=2, xy0=(-300, 5000))
    np.testing.assert_array_equal(one.coadd.image.array, two.coadd.image.array)
    np.testing.assert_allclose(two.truth["x"], one.truth["x"] - 300)
    np.testing.assert_allclose(two.truth["y"], one.truth["y"] + 5000)


def test_truth_scene(shared_data: Path) -> None:
    """Counts above 5σ of a released scene; with the band's noise they are set by its photons alone."""
    path = shared_data / "buchanan2022" / "scene_01.fits"
    # The photons are those that lensed galaxies gave.
    config = SceneConfig()
    config.population.doLensing = False
    scene = simulate_scene(path, size=(512, 512), split="train", size_model="large", config=config)
    assert scene.truth.meta["split"] == "train" and scene.truth.meta["source"] == "scene_01"
    raw = Table.read(path)
    inside = (np.rint(raw["x"]) >= 0) & (np.rint(raw["x"]) < 512)
    inside &= (np.rint(raw["y"]) >= 0) & (np.rint(raw["y"]) < 512)
    # Photons per exposure at S/N 5, by hand: 5 σ √n_eff with σ² the sky's electrons per pixel.
    survey = get_survey("i")
    n_eff = 1 / (kolmogorov_kernel(3.5, 41) ** 2).sum()
    threshold = 5 * np.sqrt(survey.sky_electrons * n_eff) / survey.n_exposures
    assert (scene.truth["snr"] >= 5).sum() == (inside & (raw["n_photon_i"] >= threshold)).sum()
    with pytest.raises(SimulationError, match="train sky"):
        simulate_scene(path, size=(64, 64), split="test")


def test_errors() -> None:
    with pytest.raises(SimulationError, match="unknown band 'y2'"):
        simulate_scene(band="y2")
    with pytest.raises(SimulationError, match="unknown size model"):
        simulate_scene(size_model="huge")
    with pytest.raises(SimulationError, match="positive, not 0 × 10"):
        simulate_scene(size=(0, 10))
    with pytest.raises(SimulationError, match="seed"):
        simulate_scene(size=(10, 10), seed=-1)
    far = Table({"x": [500.0], "y": [5.0], "mag": [24.0]})
    with pytest.raises(SimulationError, match=r"no galaxy of table \(1 rows\) is in the field of 64 × 64"):
        simulate_scene(far, size=(64, 64))
    for center in ((np.nan, 0.0), (10.0, 95.0)):
        with pytest.raises(SimulationError, match="a place on the sky"):
            simulate_scene(size=(64, 64), center=center)
    other = simulate_scene(size=(64, 64)).coadd.patch
    with pytest.raises(SimulationError, match="outer box"):
        simulate_scene(size=(32, 32), patch=other)


def test_survey_settings_are_used() -> None:
    shallow = dataclasses.replace(get_survey("i"), n_exposures=1, fwhm=1.0)
    scene = simulate_scene(size=(64, 64), band=shallow, config=SceneConfig(doSourceNoiseInVariance=False))
    np.testing.assert_allclose(scene.coadd.variance.array, shallow.sky_sigma**2, rtol=1e-6)
    np.testing.assert_allclose(
        scene.coadd.psf.compute_kernel_image(x=5, y=5).array, kolmogorov_kernel(5.0, 41)
    )


def test_a_psf_that_the_coadd_does_not_know() -> None:
    """Pixels and S/N are those of the true PSF, the coadd's is wider."""
    stars, truths, images, kernels = _star_grid(32, 18.0), [], [], []
    for error in (0.0, 0.1):
        config = SceneConfig()
        config.psf.profile, config.psf.beta = "moffat", 3.0
        config.psf.widthError = error
        scene = simulate_scene(stars, size=(96, 96), config=config)
        truths.append(scene.truth["snr"])
        images.append(scene.coadd.image.array)
        kernels.append(scene.coadd.psf.compute_kernel_image(x=48, y=48).array)
        assert scene.truth.meta["settings"].get("psf.widthError", 0.0) == error
    np.testing.assert_array_equal(images[0], images[1])
    np.testing.assert_array_equal(truths[0], truths[1])
    for kernel, fwhm in zip(kernels, (0.7, 0.77), strict=True):
        expected = PsfModel(fwhm, profile="moffat", beta=3.0).kernel(0.2, 41)
        np.testing.assert_allclose(kernel, expected, atol=1e-7)

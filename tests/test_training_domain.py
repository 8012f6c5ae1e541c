# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the domain that scenes of training are drawn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("galsim", reason="GalSim, which draws the galaxies, is not installed")

from lsst.meas.blendid.images.psf import summarize_psf
from lsst.meas.blendid.simulation import Survey, get_survey
from lsst.meas.blendid.simulation.config import SceneConfig
from lsst.meas.blendid.training import ANY_BAND, DomainRanges, SimulatedScene, randomized_scenes
from lsst.meas.blendid.training.domain import GalaxyRanges, PsfRanges, SkyRanges, SurveyRanges

SCENES = randomized_scenes(600, seed=1, band=ANY_BAND)


def survey_of(scene: SimulatedScene) -> Survey:
    assert not isinstance(scene.survey, str)
    return scene.survey


def config_of(scene: SimulatedScene) -> SceneConfig:
    assert scene.config is not None
    return scene.config


def values(get: Callable[[SceneConfig], float]) -> np.ndarray:
    return np.array([get(config_of(scene)) for scene in SCENES])


def test_bands_and_surveys() -> None:
    surveys = [survey_of(scene) for scene in SCENES]
    bands = [survey.band for survey in surveys]
    assert set(bands) == set("ugrizy") and np.mean([band == "i" for band in bands]) == pytest.approx(
        0.4, abs=0.05
    )
    usual = np.array([survey == get_survey(survey.band) for survey in surveys])
    assert usual.mean() == pytest.approx(0.5, abs=0.06)
    others = [survey for survey, is_usual in zip(surveys, usual, strict=True) if not is_usual]
    pixels = np.array([survey.fwhm / survey.pixel_scale for survey in others])
    assert 2.0 - 1e-9 <= pixels.min() < 2.3 and 7.5 < pixels.max() <= 8.0 + 1e-9
    scales = np.array([survey.pixel_scale for survey in others])
    assert 0.1 <= scales.min() < 0.11 and 0.38 < scales.max() <= 0.4
    visits = np.array([survey.n_exposures for survey in others])
    assert 10 <= visits.min() < 13 and 350 < visits.max() <= 400


def test_seeing_and_depth_vary_alone_and_together() -> None:
    ranges = DomainRanges(survey=SurveyRanges(scale_share=0.0, dark_share=0.0))
    nominal = get_survey("i")
    surveys = [survey_of(scene) for scene in randomized_scenes(240, seed=5, ranges=ranges)]
    kinds = [(s.fwhm != nominal.fwhm, s.n_exposures != nominal.n_exposures) for s in surveys]
    share = {kind: kinds.count(kind) / len(kinds) for kind in set(kinds)}
    assert share[False, False] == pytest.approx(1 / 2, abs=0.08)
    for kind in ((True, False), (False, True), (True, True)):
        assert share[kind] == pytest.approx(1 / 6, abs=0.06)


def test_a_darker_sky_is_as_deep() -> None:
    ranges = SurveyRanges(nominal_share=0.0, dark_share=1.0, scale_share=0.0)
    usual = dataclasses.replace(get_survey("i"), read_noise=0.0)
    for seed in range(20):
        dark = ranges.draw(usual, np.random.default_rng(seed))
        same = SurveyRanges(nominal_share=0.0, dark_share=0.0, scale_share=0.0).draw(
            usual, np.random.default_rng(seed)
        )
        assert dark.sky_sigma == pytest.approx(same.sky_sigma, rel=1e-9)
        assert dark.electrons_per_njy <= 0.5 * same.electrons_per_njy


def test_forms_of_the_psf() -> None:
    profiles = [config_of(scene).psf.profile for scene in SCENES]
    # That one is kept for tests of what a model does with a kind of PSF that it does not know.
    assert set(profiles) == {"kolmogorov", "moffat", "optics"}
    beta, error = values(lambda c: c.psf.beta), values(lambda c: c.psf.widthError)
    moffat = np.array(profiles) == "moffat"
    assert 2.5 <= beta[moffat].min() < 2.7 and 4.8 < beta[moffat].max() <= 5.0
    assert -0.1 <= error.min() < -0.09 and 0.09 < error.max() <= 0.1
    assert 0.09 < values(lambda c: c.psf.ellipticity).max() <= 0.1
    assert np.mean(values(lambda c: c.variation.fwhmScatter) > 0.0) == pytest.approx(0.07, abs=0.04)


def test_galaxies() -> None:
    clustering = values(lambda c: c.population.clustering)
    assert 0.5 <= clustering.min() < 0.52 and 1.9 < clustering.max() <= 2.0
    for name, largest in GalaxyRanges().structures:
        group, _, field = name.rpartition(".")
        shares = values(
            lambda c, group=group, field=field: getattr(  # type: ignore[misc]
                getattr(c.population, group) if group else c.population, field
            )
        )
        assert np.mean(shares == 0.0) == pytest.approx(0.4, abs=0.06)
        assert 0.9 * largest < shares.max() <= largest
    assert np.mean(values(lambda c: c.population.brightDensity) > 0.0) == pytest.approx(0.4, abs=0.06)


def test_stars_defects_and_sky() -> None:
    stars = values(lambda c: c.population.starDensity)
    assert np.mean(stars > 0.0) == pytest.approx(0.35, abs=0.06) and stars.max() > 8.0
    assert values(lambda c: c.population.starMagBright).min() < 13.5
    dirty = values(lambda c: c.starlight.haloFraction) > 0.0
    assert np.mean(dirty[stars > 0.0]) == pytest.approx(0.5, abs=0.1)
    masked = values(lambda c: c.artifacts.maskedFraction)
    rays = values(lambda c: c.artifacts.cosmicRayDensity)
    assert np.mean(rays > 0.0) == pytest.approx(0.25, abs=0.06)
    assert np.mean(masked[rays > 0.0] < 1.0) == pytest.approx(0.7, abs=0.12)
    for get in (
        lambda c: c.sky.gradient,
        lambda c: c.sky.overSubtraction,
        lambda c: c.sky.noiseCorrelation - 1.0,
        lambda c: c.artifacts.trailDensity,
        lambda c: c.artifacts.hotPixelDensity,
    ):
        assert 0.05 < np.mean(values(get) > 0.0) < 0.4


def test_some_scenes_are_clean() -> None:
    usual = SceneConfig()
    parts = ("psf", "variation", "artifacts", "starlight", "sky")
    clean = [
        all(getattr(config_of(scene), part).toDict() == getattr(usual, part).toDict() for part in parts)
        for scene in SCENES
    ]
    assert 0.3 < np.mean(clean) < 0.5


def test_ingredients_have_streams_of_their_own() -> None:
    plain = randomized_scenes(40, seed=3)
    other = DomainRanges(psf=PsfRanges(shares=(("moffat", 1.0),)), sky=SkyRanges(gradient_share=1.0))
    changed = randomized_scenes(40, seed=3, ranges=other)
    for one, two in zip(plain, changed, strict=True):
        assert (one.seed, one.survey, one.size_model) == (two.seed, two.survey, two.size_model)
        assert config_of(one).population.toDict() == config_of(two).population.toDict()
        assert config_of(one).artifacts.toDict() == config_of(two).artifacts.toDict()
    assert any(config_of(scene).psf.profile == "moffat" for scene in changed)


def test_the_first_scenes_of_a_longer_list_are_those_of_a_shorter_one() -> None:
    scenes = randomized_scenes(50, seed=1)
    assert [s.seed for s in randomized_scenes(5, seed=1)] == [s.seed for s in scenes[:5]]
    assert {s.seed for s in randomized_scenes(50, seed=2)}.isdisjoint(s.seed for s in scenes)
    assert all(survey_of(scene).band == "i" and not scene.for_any_band for scene in scenes)


def test_a_scene_of_any_band_does_not_tell_its_band() -> None:
    scene = next(
        s for s in randomized_scenes(40, seed=9, band=ANY_BAND, size=200) if survey_of(s).band == "g"
    )
    loaded = scene.load()
    assert loaded.context.band is None and loaded.context.zero_point is None
    assert loaded.provenance["band"] == "g"


@pytest.mark.parametrize("seed", range(12))
def test_scenes_can_be_drawn(seed: int) -> None:
    """Each has sources and a PSF near the one that is told."""
    (scene,) = randomized_scenes(1, seed=seed, band=ANY_BAND, size=150)
    simulated = scene.simulate()
    assert np.isfinite(simulated.coadd.image.array).all() and len(simulated.truth)
    survey = survey_of(scene)
    width = summarize_psf(simulated.coadd.psf, simulated.coadd.bbox).sigma / (
        survey.fwhm / survey.pixel_scale
    )
    assert 0.35 < width < 0.65

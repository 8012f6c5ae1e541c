# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the defects that coaddition leaves."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.images import Box
from lsst.meas.blendid.simulation import SimulationError, get_survey
from lsst.meas.blendid.simulation.coadds.artifacts import (
    ARTIFACT_PLANES,
    add_artifacts,
    add_trails,
    artifact_mask_planes,
    has_artifacts,
)
from lsst.meas.blendid.simulation.defect_config import ArtifactConfig
from lsst.meas.blendid.simulation.survey import Survey

SURVEY = get_survey("i")


def _config(columns: float = 0.0, rays: float = 0.0, saturation: bool = False) -> ArtifactConfig:
    config = ArtifactConfig()
    config.badColumnDensity = columns
    config.cosmicRayDensity = rays
    config.doSaturation = saturation
    return config


def _cell(
    shape: tuple[int, int] = (150, 150), *, flux: float = 0.0, survey: Survey = SURVEY, seed: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sky with a Gaussian star of ``flux`` nJy in the middle: image, variance, expected electrons."""
    y, x = np.indices(shape)
    r2 = (x - shape[1] // 2) ** 2 + (y - shape[0] // 2) ** 2
    model = flux * np.exp(-0.5 * r2 / 1.6**2) / (2 * np.pi * 1.6**2)
    expected = model * survey.electrons_per_njy + survey.sky_electrons
    noise = np.random.default_rng(seed).standard_normal(shape) * np.sqrt(expected)
    image = (expected - survey.sky_electrons + noise) / survey.electrons_per_njy
    return image, expected / survey.electrons_per_njy**2, expected


def _add(
    cell: tuple[np.ndarray, np.ndarray, np.ndarray], config: ArtifactConfig, seed: int = 5
) -> dict[str, np.ndarray]:
    return add_artifacts(*cell, survey=SURVEY, config=config, rng=np.random.default_rng(seed))


def test_nothing_by_default() -> None:
    cell = _cell(flux=1e8)
    before = [a.copy() for a in cell]
    planes = _add(cell, ArtifactConfig())
    assert not has_artifacts(ArtifactConfig()) and has_artifacts(_config(columns=1.0))
    assert set(planes) == set(ARTIFACT_PLANES)
    assert not any(plane.any() for plane in planes.values())
    for now, then in zip(cell, before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_planes_are_those_of_lsst_images() -> None:
    described = artifact_mask_planes()
    assert [plane.name for plane in described] == list(ARTIFACT_PLANES)
    assert all(plane.description for plane in described)


def test_saturated_core_keeps_its_charge() -> None:
    """Charge over the full well goes up and down its column, none is made or lost."""
    cell = _cell(flux=4e6)
    image, _, expected = cell
    before = image.copy()
    config = _config(saturation=True)
    planes = _add(cell, config)
    saturated = planes["SATURATED"]
    well = config.fullWell * SURVEY.n_exposures
    core = expected > well
    assert 5 < core.sum() < saturated.sum()
    full = (well - SURVEY.sky_electrons) / SURVEY.electrons_per_njy
    np.testing.assert_allclose(image[core], full)
    assert image.max() == pytest.approx(full)
    np.testing.assert_array_equal(image[~saturated], before[~saturated])
    # Each column: the noise-free charge after is that before.
    after = image + SURVEY.sky_electrons / SURVEY.electrons_per_njy
    touched = saturated.any(axis=0)
    excess = np.where(saturated, after - expected / SURVEY.electrons_per_njy, 0.0).sum(axis=0)
    noise = np.sqrt(expected.max() * 60) / SURVEY.electrons_per_njy
    assert np.abs(excess[touched]).max() < 5 * noise
    # The bleed is vertical, in the columns of the core, and contiguous.
    assert (touched == core.any(axis=0)).all()
    for x in np.flatnonzero(touched):
        rows = np.flatnonzero(saturated[:, x])
        assert len(rows) == rows[-1] - rows[0] + 1
    np.testing.assert_array_equal(planes["REJECTED"], saturated)
    np.testing.assert_array_equal(planes["INEXACT_PSF"], saturated)


def test_bleed_is_short_and_ends_with_the_cell() -> None:
    cell = _cell((200, 150), flux=3e8)
    saturated = _add(cell, _config(saturation=True))["SATURATED"]
    core = cell[2] > 1e5 * SURVEY.n_exposures
    rows, columns = np.flatnonzero(saturated.any(axis=1)), np.flatnonzero(core.any(axis=0))
    assert saturated[:, columns].any(axis=0).all() and not np.delete(saturated, columns, axis=1).any()
    reach = np.flatnonzero(core[:, 75])
    assert rows[0] == reach[0] - 30 and rows[-1] == reach[-1] + 30
    small = _cell((20, 150), flux=3e8)
    assert _add(small, _config(saturation=True))["SATURATED"][:, 75].all()


def test_bleeds_that_meet_share_the_room() -> None:
    """Two cores in one column, by hand: what one has filled is not there for the other."""
    survey = dataclasses.replace(SURVEY, n_exposures=1)
    config = _config(saturation=True)
    config.fullWell = 100.0
    expected = np.full((10, 3), 10.0)
    expected[[3, 6], 1] = 300.0
    image = (expected - survey.sky_electrons) / survey.electrons_per_njy
    variance = np.ones(expected.shape)
    rng = np.random.default_rng(1)
    planes = add_artifacts(image, variance, expected, survey=survey, config=config, rng=rng)
    electrons = image * survey.electrons_per_njy + survey.sky_electrons
    # Each has 200 too many, half of them for either side; the upper half of the second goes past the first.
    np.testing.assert_allclose(electrons[:, 1], [10, 40, 100, 100, 100, 100, 100, 100, 20, 10])
    np.testing.assert_allclose(electrons[:, [0, 2]], 10.0)
    np.testing.assert_array_equal(planes["SATURATED"][:, 1], [False] + [True] * 8 + [False])
    assert not planes["SATURATED"][:, [0, 2]].any()


def test_nothing_saturates_below_the_full_well() -> None:
    assert not _add(_cell(flux=1e4), _config(saturation=True))["SATURATED"].any()


def test_cosmic_rays_deposit_what_muons_do() -> None:
    """Charge per track of 100 µm silicon at 76 e/µm, longer when inclined; as many as asked for."""
    shape = (600, 600)
    image, variance, expected = _cell(shape)
    before = image.copy()
    config = _config(rays=60.0)
    planes = _add((image, variance, expected), config)
    electrons = (image - before) * SURVEY.electrons_per_njy
    area = image.size * SURVEY.pixel_scale**2 / 3600
    n = config.cosmicRayDensity * area
    # Mean of 1 / cos θ for the density cos²θ sin θ: 1.5. Moyal's mean is 1.27 of its scale.
    mean = 76 * 100 * 1.5 * (1 + 0.1 * 1.27)
    assert electrons.sum() / n == pytest.approx(mean, rel=0.25)
    assert (electrons > -1e-6).all()
    masked = planes["COSMIC_RAY"]
    assert electrons[masked].sum() > 0.99 * electrons.sum()
    assert electrons[~masked].max() < 20
    assert 2 * n < masked.sum() < 60 * n
    assert not any(planes[name].any() for name in ARTIFACT_PLANES if name != "COSMIC_RAY")


def test_dead_columns_are_interpolated_and_others_are_noisier() -> None:
    shape = (150, 4000)
    image, variance, expected = _cell(shape)
    image += np.linspace(0, 500, shape[1])
    before, variance_before = image.copy(), variance.copy()
    planes = _add((image, variance, expected), _config(columns=400.0))
    bad, dead, lossy = planes["BAD"], planes["INTERPOLATED"], planes["REJECTED"]
    np.testing.assert_array_equal(bad, dead | lossy)
    np.testing.assert_array_equal(image[~bad], before[~bad])
    np.testing.assert_array_equal(variance[~bad], variance_before[~bad])
    only = lossy & ~dead
    # Missing exposures: the noise that the variance plane says.
    slope = np.broadcast_to(np.linspace(0, 500, shape[1]), shape)
    residual = (image - slope)[only] / np.sqrt(variance[only])
    assert residual.std() == pytest.approx(1.0, abs=0.02)
    ratio = variance[only] / variance_before[only]
    assert ratio.min() >= 1 / 0.9 - 1e-9 and ratio.max() <= 1 / 0.4 + 1e-9
    # A single dead column is the mean of its neighbours.
    single = dead & ~np.roll(bad, 1, axis=1) & ~np.roll(bad, -1, axis=1)
    single[:, [0, -1]] = False
    assert single.sum() > 1000
    mean = 0.5 * (np.roll(image, 1, axis=1) + np.roll(image, -1, axis=1))
    np.testing.assert_allclose(image[single], mean[single])
    np.testing.assert_allclose(variance[single], 0.5 * variance_before[single], rtol=1e-6)
    # Half of the columns are dead.
    assert dead.any(axis=0).sum() / bad.any(axis=0).sum() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (2, 60)])
def test_cells_full_of_bad_columns_stay_finite(shape: tuple[int, int]) -> None:
    cell = _cell(shape)
    planes = _add(cell, _config(columns=50.0, rays=1e6, saturation=True))
    assert planes["BAD"].any()
    assert np.isfinite(cell[0]).all() and (cell[1] > 0).all()


def test_kinds_do_not_depend_on_each_other() -> None:
    alone = _add(_cell(), _config(rays=30.0))
    together = _add(_cell(), _config(rays=30.0, columns=4.0, saturation=True))
    np.testing.assert_array_equal(alone["COSMIC_RAY"], together["COSMIC_RAY"])
    columns = _add(_cell(), _config(columns=4.0))
    np.testing.assert_array_equal(columns["BAD"], together["BAD"])


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    log_flux=st.floats(0.0, 9.0),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_same_seed_same_pixels(seed: int, height: int, width: int, log_flux: float, dtype: type) -> None:
    config = _config(columns=2.0, rays=100.0, saturation=True)
    results = []
    for _ in range(2):
        image, variance, expected = _cell((height, width), flux=10**log_flux)
        image, variance = image.astype(dtype), variance.astype(dtype)
        planes = _add((image, variance, expected), config, seed)
        assert image.dtype == dtype and all(p.shape == image.shape for p in planes.values())
        results.append((image, variance, planes))
    (a, va, pa), (b, vb, pb) = results
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(va, vb)
    for name in ARTIFACT_PLANES:
        np.testing.assert_array_equal(pa[name], pb[name])
    assert np.isfinite(a).all() and (va > 0).all()
    assert not (pa["SATURATED"] & ~pa["REJECTED"]).any()
    assert not (pa["REJECTED"] & ~pa["INEXACT_PSF"]).any()


def test_fewer_exposures_saturate_alike() -> None:
    """The full well is that of one exposure, whatever their number."""
    one = dataclasses.replace(SURVEY, n_exposures=1)
    few = _cell(flux=4e6, survey=one)
    planes = add_artifacts(*few, survey=one, config=_config(saturation=True), rng=np.random.default_rng(1))
    many = _add(_cell(flux=4e6), _config(saturation=True))
    np.testing.assert_array_equal(planes["SATURATED"], many["SATURATED"])


def test_bad_arrays_are_refused() -> None:
    image, variance, expected = _cell((5, 6))
    with pytest.raises(SimulationError, match="one shape"):
        _add((image, variance[:4], expected), _config())
    with pytest.raises(SimulationError, match="floating-point"):
        _add((image.astype(int), variance, expected), _config())


def _hot(density: float, masked: float = 1.0) -> ArtifactConfig:
    config = ArtifactConfig(hotPixelDensity=density, maskedFraction=masked)
    assert has_artifacts(config)
    return config


def test_hot_pixels_are_as_many_and_as_bright_as_asked_for() -> None:
    """Levels of 3 to 300 σ, uniform in the logarithm; half of them in one pixel, the others in four."""
    image, variance, expected = _cell((600, 600))
    before = image.copy()
    planes = _add((image, variance, expected), _hot(100.0))
    sigma = (image - before) / SURVEY.sky_sigma
    n = 100.0 * image.size * SURVEY.pixel_scale**2 / 3600
    mean = (300 - 3) / np.log(100)
    # The scatter of levels is 1.2 times their mean.
    assert sigma.sum() == pytest.approx(n * mean, rel=4 * 1.6 / np.sqrt(n))
    np.testing.assert_array_equal(planes["BAD"], np.abs(sigma) > 1e-9)
    assert planes["BAD"].sum() == pytest.approx(n * 2.5, rel=0.15)
    assert not any(planes[name].any() for name in ARTIFACT_PLANES if name != "BAD")


@pytest.mark.parametrize(("kind", "plane"), [("rays", "COSMIC_RAY"), ("hot", "BAD")])
def test_a_share_is_masked(kind: str, plane: str) -> None:
    """The pixels are the same whatever the mask knows."""
    found = []
    for masked in (0.0, 0.3, 1.0):
        cell = _cell((500, 500))
        config = _config(rays=60.0) if kind == "rays" else _hot(60.0)
        config.maskedFraction = masked
        found.append((cell[0], _add(cell, config)[plane]))
    for image, _ in found[:2]:
        np.testing.assert_array_equal(image, found[2][0])
    none, some, every = (mask.sum() for _, mask in found)
    assert none == 0 and 0.15 < some / every < 0.45
    assert not (found[1][1] & ~found[2][1]).any()


def test_hot_pixels_move_nothing_else() -> None:
    together = _config(rays=30.0, columns=4.0)
    alone = _add(_cell(), together)
    together.hotPixelDensity, together.maskedFraction = 200.0, 0.5
    both = _add(_cell(), together)
    assert not (alone["BAD"] & ~both["BAD"]).any() and both["BAD"].sum() > alone["BAD"].sum()
    assert not (both["COSMIC_RAY"] & ~alone["COSMIC_RAY"]).any()
    np.testing.assert_array_equal(alone["INTERPOLATED"], both["INTERPOLATED"])


TRACT = Box.factory[0:900, 0:1200]


def _trails(box: Box, density: float, masked: float = 1.0, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    image = np.zeros((box.y.size, box.x.size))
    config = ArtifactConfig(trailDensity=density, maskedFraction=masked)
    assert has_artifacts(config)
    rng = np.random.default_rng(seed)
    mask = add_trails(image, box, TRACT, survey=SURVEY, config=config, rng=rng)
    return image / SURVEY.sky_sigma, mask


def test_a_trail_crosses_its_tract() -> None:
    """Straight from border to border, of one width and brightness."""
    seen = 0
    for seed in range(40):
        image, mask = _trails(TRACT, 0.1, seed=seed)
        if not image.any():
            continue
        rows, columns = np.nonzero(image > 0.5 * image.max())
        if len(rows) < 500 or image.max() < 0.4:
            continue
        # One trail: a line fits all of its pixels.
        points = np.stack([columns, rows], axis=1) - np.array([columns.mean(), rows.mean()])
        _, _, axes = np.linalg.svd(points, full_matrices=False)
        if np.abs(points @ axes[1]).max() > 12:
            continue
        seen += 1
        borders = [columns.min() == 0, columns.max() == 1199, rows.min() == 0, rows.max() == 899]
        assert sum(borders) >= 2
        assert 0.45 < image.max() <= 10.0
        np.testing.assert_array_equal(mask, image >= 0.1)
    assert seen >= 5


def test_trails_are_as_many_as_asked_for() -> None:
    """The length of lines per area is the density, whatever the image (Crofton's formula)."""
    light, n = 0.0, 300
    box = Box.factory[200:600, 300:900]
    for seed in range(n):
        image, _ = _trails(box, 0.2, seed=seed)
        light += image.sum()
    # Mean light per length: that of levels times √(2π) times that of widths, which are independent.
    level = (10 - 0.5) / np.log(20)
    width = 2.0 * SURVEY.fwhm / SURVEY.pixel_scale / 2.3548
    length = light / n / (level * np.sqrt(2 * np.pi) * width)
    arcmin = SURVEY.pixel_scale / 60
    assert length * arcmin == pytest.approx(0.2 * 400 * 600 * arcmin**2, rel=0.2)


def test_trails_of_overlapping_images_agree() -> None:
    one, one_mask = _trails(Box.factory[0:500, 100:700], 3.0, masked=0.5)
    two, two_mask = _trails(Box.factory[300:800, 400:1100], 3.0, masked=0.5)
    assert one[300:, 300:].any()
    np.testing.assert_allclose(one[300:, 300:], two[:200, :300], atol=1e-10)
    np.testing.assert_array_equal(one_mask[300:, 300:], two_mask[:200, :300])


def test_unmasked_trails_are_in_the_image() -> None:
    image, mask = _trails(TRACT, 2.0, masked=0.0)
    same, full = _trails(TRACT, 2.0)
    np.testing.assert_allclose(image, same, atol=1e-10)
    assert not mask.any() and full.any()

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the fits of one and two sources to footprints."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.features.two_component import (
    TWO_COMPONENT_COLUMNS,
    TWO_COMPONENT_DOCS,
    fit_psf_mixture,
    two_component_test,
)
from lsst.meas.blendid.footprints import DetectionResult, FootprintSet, NoiseEstimate
from lsst.meas.blendid.footprints.footprint_set import PEAK_DTYPE
from lsst.meas.blendid.images.psf import PsfSummary, kolmogorov_kernel, summarize_psf
from scipy.optimize import least_squares

galsim = pytest.importorskip("galsim")

FWHM = 3.5
PSF = summarize_psf(kolmogorov_kernel(FWHM))
SIDE = 33
MIDDLE = SIDE // 2
COLUMN = {name: i for i, name in enumerate(TWO_COMPONENT_COLUMNS)}

# Flux that has S/N 1 as a point source in noise of 1.
UNIT = 1.0 / float(np.sqrt((PSF.image**2).sum()))


def _result(
    image: np.ndarray,
    labels: np.ndarray,
    *,
    sigma: float = 1.0,
    xy0: tuple[int, int] = (0, 0),
    psf: PsfSummary = PSF,
) -> DetectionResult:
    """Make a result with one peak in each footprint, its brightest pixel."""
    n = int(labels.max())
    peaks = np.zeros(n, PEAK_DTYPE)
    finite = np.where(np.isfinite(image), image, -np.inf)
    for i in range(n):
        y, x = np.unravel_index(np.argmax(np.where(labels == i + 1, finite, -np.inf)), labels.shape)
        if labels[y, x] != i + 1:
            y, x = np.argwhere(labels == i + 1)[0]
        peaks[i] = (i + 1, x + xy0[0], y + xy0[1], x + xy0[0], y + xy0[1], 10.0, 10.0)
    none = np.zeros((0, 0))
    return DetectionResult(
        footprints=FootprintSet.from_labels(labels, xy0=xy0, peaks=peaks),
        image=np.asarray(image, dtype=np.float32),
        smoothed=none,
        significance=none,
        eligible=none.astype(bool),
        bad=none.astype(bool),
        noise=NoiseEstimate(sigma=sigma, smoothed_sigma=sigma, correlation=1.0, source="clipped"),
        sky_level=0.0,
        psf=psf,
        growth=4,
        metadata={},
        xy0=xy0,
        timings={},
    )


def _draw(*sources: tuple[float, float, float, float, float, float]) -> np.ndarray:
    """Draw sources (x, y from the middle, S/N, half-light radius, axis ratio, angle in degrees)."""
    image = galsim.ImageD(SIDE, SIDE, scale=1.0)
    for x, y, snr, radius, ratio, angle in sources:
        source = galsim.Kolmogorov(fwhm=FWHM)
        if radius > 0.0:
            galaxy = galsim.Exponential(half_light_radius=radius)
            shape = galsim.Shear(q=ratio, beta=angle * galsim.degrees)
            source = galsim.Convolve(source, galaxy.shear(shape))
        source.withFlux(snr * UNIT).shift(x, y).drawImage(image, add_to_image=True)
    return image.array


def _footprint(image: np.ndarray, level: float = 0.3) -> np.ndarray:
    return (image > level).astype(np.int32)


def _tiles(stamps: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Put stamps of sources side by side, the footprint of each where the noiseless stamp is bright."""
    image = np.concatenate(stamps, axis=1)
    labels = np.concatenate([_footprint(s) * (i + 1) for i, s in enumerate(stamps)], axis=1)
    return image, labels.astype(np.int32)


def _row(image: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    values = two_component_test(_result(image, labels))
    assert values.shape == (1, len(TWO_COMPONENT_COLUMNS))
    return {name: float(values[0, i]) for name, i in COLUMN.items()}


def _noisy_scene(seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    stamps = [
        _draw((0.3, -0.2, 40.0, 2.0, 0.6, 20.0), (4.0, 1.0, 9.0, 0.0, 1.0, 0.0)),
        _draw((0.0, 0.1, 25.0, 1.0, 0.9, 70.0)),
        _draw((-1.5, 0.4, 20.0, 0.0, 1.0, 0.0), (1.9, 0.2, 20.0, 0.0, 1.0, 0.0)),
        _draw((0.2, 0.4, 90.0, 3.0, 0.4, 130.0), (-3.0, 4.0, 12.0, 1.0, 0.8, 0.0)),
    ]
    image, labels = _tiles(stamps)
    return image + rng.normal(size=image.shape), labels


def test_columns_are_documented() -> None:
    assert tuple(TWO_COMPONENT_DOCS) == TWO_COMPONENT_COLUMNS
    assert len(set(TWO_COMPONENT_COLUMNS)) == len(TWO_COMPONENT_COLUMNS)
    assert all(len(line) > 10 for line in TWO_COMPONENT_DOCS.values())


@pytest.mark.parametrize("fwhm", [2.5, 3.5, 7.0])
def test_psf_mixture_follows_kolmogorov(fwhm: float) -> None:
    psf = summarize_psf(kolmogorov_kernel(fwhm))
    mixture = fit_psf_mixture(psf.image, psf.sigma)
    y, x = np.indices(psf.image.shape) - psf.image.shape[0] // 2
    assert np.abs(mixture.draw(x, y) - psf.image).max() < 0.005 * psf.image.max()
    assert mixture.shares.sum() == pytest.approx(1.0)
    assert (mixture.moments[0] * mixture.moments[2]) ** 0.25 == pytest.approx(psf.sigma, rel=1e-3)


def test_psf_mixture_follows_an_elliptical_psf() -> None:
    y, x = np.indices((41, 41)) - 20.0
    kernel = np.exp(-0.5 * (x**2 / 4.0 + y**2 / 9.0 + 0.1 * x * y))
    kernel /= kernel.sum()
    mixture = fit_psf_mixture(kernel, 2.4)
    assert np.abs(mixture.draw(x, y) - kernel).max() < 3e-3 * kernel.max()
    inverse = np.linalg.inv([[0.25, 0.05], [0.05, 1.0 / 9.0]])
    np.testing.assert_allclose(mixture.moments, [inverse[0, 0], inverse[0, 1], inverse[1, 1]], rtol=1e-3)


def test_one_galaxy_is_measured() -> None:
    image = _draw((0.3, -0.4, 100.0, 2.5, 0.5, 30.0))
    row = _row(image, _footprint(image, 0.02))
    assert 10.0 ** row["two_flux_snr"] == pytest.approx(100.0 * UNIT, rel=0.03)
    # GalSim's shear keeps the product of the axes.
    assert row["two_size"] * PSF.sigma == pytest.approx(2.5, rel=0.05)
    assert row["two_ellipticity"] == pytest.approx((1.0 - 0.25) / (1.0 + 0.25), abs=0.03)
    assert row["two_major"] == pytest.approx(row["two_size"] / np.sqrt(0.5), rel=0.03)
    # What the profiles of Gaussians leave over.
    assert np.expm1(row["two_gain"]) < 1.0


def _model(p: np.ndarray, x: np.ndarray, y: np.ndarray, galaxy: bool) -> np.ndarray:
    """Galaxy or point source as sums of Gaussians, written out."""
    mixture = fit_psf_mixture(PSF.image, PSF.sigma)
    c = np.array([[mixture.moments[0], mixture.moments[1]], [mixture.moments[1], mixture.moments[2]]])
    shape = np.array([[p[3], p[4]], [p[4], p[5]]]) if galaxy else np.zeros((2, 2))
    profile = [(0.36080246, 0.23521192), (0.63919754, 1.42435519)]
    mean = sum(a * b for a, b in profile)
    d = np.stack([x - p[1], y - p[2]], axis=-1)
    total = np.zeros(x.shape)
    for share, scale in zip(mixture.shares, mixture.scales, strict=True):
        for weight, variance in [(1.0, mean)] if scale > 4.0 else profile:
            s = variance * shape + scale * c
            q = np.einsum("...i,ij,...j", d, np.linalg.inv(s), d)
            total += share * weight / (2.0 * np.pi * np.sqrt(np.linalg.det(s))) * np.exp(-0.5 * q)
    return p[0] * total


@pytest.mark.parametrize(
    "second", [(4.5, 2.0, 12.0), (-3.0, 3.0, 20.0), (0.5, -6.0, 7.0)], ids=["right", "left", "below"]
)
def test_gain_is_that_of_dense_fits(second: tuple[float, float, float]) -> None:
    image = _draw((0.2, 0.1, 60.0, 2.0, 0.6, 50.0), (*second, 0.0, 1.0, 0.0)).astype(np.float32)
    labels = _footprint(image)
    row = _row(image, labels)
    # Only the window of the test takes part.
    y, x = (v - MIDDLE for v in np.nonzero(labels))
    peak_y, peak_x = np.unravel_index(np.argmax(image), image.shape)
    near = (np.abs(x + MIDDLE - peak_x) <= 12) & (np.abs(y + MIDDLE - peak_y) <= 12)
    x, y = x[near], y[near]
    data = image[y + MIDDLE, x + MIDDLE].astype(float)
    root = 1.0 / np.sqrt(1.0 + (0.05 * np.maximum(data, 0.0)) ** 2)

    start = np.array([60.0 * UNIT, 0.2, 0.1, 3.0, 0.5, 3.0])
    one = least_squares(lambda p: root * (data - _model(p, x, y, True)), start, x_scale="jac")
    both = np.concatenate([start, [second[2] * UNIT, second[0], second[1]]])
    two = least_squares(
        lambda p: root * (data - _model(p[:6], x, y, True) - _model(p[6:], x, y, False)), both, x_scale="jac"
    )
    expected = 2.0 * (one.cost - two.cost)
    assert expected > 10.0
    assert np.expm1(row["two_gain"]) == pytest.approx(expected, rel=0.02, abs=0.1)
    apart = np.hypot(second[0] - 0.2, second[1] - 0.1)
    assert row["two_separation"] * PSF.sigma == pytest.approx(apart, rel=0.05)
    assert row["two_share"] == pytest.approx(second[2] / (60.0 + second[2]), abs=0.03)
    assert row["two_second_flux"] == pytest.approx(second[2], rel=0.15)


@pytest.mark.parametrize("angle", [0.0, 35.0, 90.0, 160.0])
def test_pair_of_points_is_recognised(angle: float) -> None:
    dx, dy = 2.0 * np.cos(np.radians(angle)), 2.0 * np.sin(np.radians(angle))
    image = _draw((dx, dy, 30.0, 0.0, 1.0, 0.0), (-dx, -dy, 30.0, 0.0, 1.0, 0.0))
    row = _row(image, _footprint(image))
    assert row["two_pair_gain"] > np.arcsinh(5.0)
    assert row["two_pair_separation"] * PSF.sigma == pytest.approx(4.0, rel=0.03)
    assert row["two_pair_share"] == pytest.approx(0.5, abs=0.02)


def test_single_galaxies_gain_like_noise_and_pairs_more() -> None:
    rng = np.random.default_rng(11)
    single = _draw((0.2, -0.3, 30.0, 1.2, 0.7, 40.0))
    double = _draw((0.2, -0.3, 30.0, 1.2, 0.7, 40.0), (3.2, 2.0, 9.0, 0.5, 1.0, 0.0))
    image, labels = _tiles([single] * 100 + [double] * 100)
    values = two_component_test(_result(image + rng.normal(size=image.shape), labels))
    gain = np.expm1(values[:, COLUMN["two_gain"]])
    # The best of some ten independent places: each like chi² of three degrees of freedom at most.
    assert np.median(gain[:100]) < 9.0
    assert np.quantile(gain[:100], 0.95) < 20.0
    assert gain[:100].max() < 30.0
    assert np.median(gain[100:]) > 2.0 * np.median(gain[:100])
    order = gain[100:, None] > gain[None, :100]
    assert order.mean() > 0.85
    chi2 = np.exp(values[:100, COLUMN["two_chi2"]])
    assert np.mean(chi2) == pytest.approx(1.0 - 6.0 / np.count_nonzero(labels == 1), abs=0.05)


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("flip", [False, True])
def test_rotations_and_flips_change_nothing(k: int, flip: bool) -> None:
    image, labels = _noisy_scene()

    def turn(a: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.rot90(a[:, ::-1] if flip else a, k))

    expected = two_component_test(_result(image, labels))
    assert np.isfinite(expected).all()
    turned = two_component_test(_result(turn(image), turn(labels)))
    np.testing.assert_allclose(turned, expected, rtol=2e-3, atol=2e-3)


def test_units_of_the_image_do_not_matter() -> None:
    image, labels = _noisy_scene()
    expected = two_component_test(_result(image, labels))
    # A power of two, so that rounding is the same.
    scaled = two_component_test(_result(1024.0 * image, labels, sigma=1024.0))
    np.testing.assert_array_equal(scaled, expected)


def test_a_pedestal_does_not_matter() -> None:
    image, labels = _noisy_scene()
    expected = two_component_test(_result(image, labels))
    raised = dataclasses.replace(_result(2.0 * image + 1.0, labels, sigma=2.0), sky_level=0.5)
    np.testing.assert_allclose(two_component_test(raised), expected, rtol=2e-3, atol=2e-3)


def test_place_does_not_matter() -> None:
    image, labels = _noisy_scene()
    expected = two_component_test(_result(image, labels))
    np.testing.assert_array_equal(two_component_test(_result(image, labels, xy0=(12000, -700))), expected)
    moved = [np.pad(a, ((7, 2), (3, 11))) for a in (image, labels)]
    np.testing.assert_array_equal(two_component_test(_result(*moved)), expected)


def test_each_footprint_is_tested_alone() -> None:
    image, labels = _noisy_scene()
    expected = two_component_test(_result(image, labels))
    for i in range(4):
        alone = (labels == i + 1).astype(np.int32)
        masked = np.where(labels == i + 1, image, 1e4)
        np.testing.assert_array_equal(two_component_test(_result(masked, alone))[0], expected[i])
    np.testing.assert_array_equal(two_component_test(_result(image, labels)), expected)


def test_no_footprints() -> None:
    values = two_component_test(_result(np.zeros((20, 20)), np.zeros((20, 20), np.int32)))
    assert values.shape == (0, len(TWO_COMPONENT_COLUMNS))
    assert values.dtype == np.float32


def test_footprints_of_few_pixels_are_nan() -> None:
    image, labels = _noisy_scene()
    labels[0, 0], labels[0, 2:5] = 5, 6
    values = two_component_test(_result(image, labels))
    assert np.isnan(values[4:]).all()
    np.testing.assert_array_equal(values[:4], two_component_test(_result(*_noisy_scene()))[:4])


def test_footprints_without_a_peak_are_nan() -> None:
    image, labels = _noisy_scene()
    result = _result(image, labels)
    footprints = result.footprints.with_peaks(result.footprints.peaks[1:])
    values = two_component_test(dataclasses.replace(result, footprints=footprints))
    assert np.isnan(values[0]).all()
    np.testing.assert_array_equal(values[1:], two_component_test(result)[1:])


def test_bad_pixels_take_no_part() -> None:
    image, labels = _noisy_scene()
    bad = np.zeros(image.shape, bool)
    bad[MIDDLE + 3, MIDDLE - 2 : MIDDLE + 3] = True
    bad[labels == 2] = True
    values = two_component_test(_result(np.where(bad, np.nan, image), labels))
    assert np.isnan(values[1]).all()
    assert np.isfinite(values[[0, 2, 3]]).all()
    marked = dataclasses.replace(_result(image, labels), bad=bad)
    np.testing.assert_array_equal(two_component_test(marked), values)
    whole = two_component_test(_result(image, labels))
    np.testing.assert_array_equal(values[2:], whole[2:])
    assert not np.array_equal(values[0], whole[0])


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan, np.inf])
def test_noise_that_is_none_gives_nan(sigma: float) -> None:
    assert np.isnan(two_component_test(_result(*_noisy_scene(), sigma=sigma))).all()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    width=st.floats(0.45, 4.0),
    amplitude=st.sampled_from([0.0, 1.0, 1e3, 1e12]),
    negative=st.booleans(),
)
def test_any_pixels_give_numbers_or_nan(seed: int, width: float, amplitude: float, negative: bool) -> None:
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(40, 40)) + amplitude * rng.random((40, 40)) ** 8
    image[rng.random((40, 40)) < 0.02] = np.nan
    labels = np.zeros((40, 40), np.int32)
    labels[2:20, 3:38] = rng.random((18, 35)) < 0.8
    labels[25:39, 0:9] = 2
    labels[25:39, 9:40] = 3
    y, x = np.indices((25, 25)) - 12.0
    kernel = np.exp(-0.5 * (x**2 + y**2) / width**2)
    psf = dataclasses.replace(PSF, image=kernel / kernel.sum(), sigma=width)
    values = two_component_test(_result(-image if negative else image, labels, psf=psf))
    assert values.shape == (3, len(TWO_COMPONENT_COLUMNS))
    assert not np.isinf(values).any()


def test_no_width_is_zero_and_not_a_rounding_error() -> None:
    """The fit of a source as small as the PSF often ends at a line; its length tells how small it is."""
    rng = np.random.default_rng(3)
    stamps = [_draw((*rng.uniform(-0.5, 0.5, 2), 15.0, 0.0, 1.0, 0.0)) for _ in range(60)]
    image, labels = _tiles(stamps)
    columns = two_component_test(_result(image + rng.normal(size=image.shape), labels))
    size, major = columns[:, COLUMN["two_size"]], columns[:, COLUMN["two_major"]]
    beside = columns[:, COLUMN["two_size_beside"]]
    line = (size == 0.0) & (major > 0.1)
    assert line.sum() > 5
    assert (size[size > 0.0] > 1e-3 * major[size > 0.0]).all()
    assert (beside[beside > 0.0] > 2e-3).all()

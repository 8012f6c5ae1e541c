# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""Tests of the features of footprints as a whole: what they must not depend on, and odd input."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.features import (
    CONTEXT_FEATURES,
    FEATURE_DOCS,
    FEATURE_NAMES,
    REFERENCE_FEATURES,
    TWO_COMPONENT_COLUMNS,
    measure_features,
)
from lsst.meas.blendid.features.measure import CONTEXT_COLUMNS
from lsst.meas.blendid.footprints import PEAK_DTYPE, DetectionResult
from lsst.meas.blendid.model_package import point_source_depth
from lsst.meas.blendid.samples import FootprintSamples, SceneContext
from toy_samples import make_result, make_toy

OWN = [n for n in FEATURE_NAMES if n not in CONTEXT_FEATURES and n not in TWO_COMPONENT_COLUMNS]
"""Features of a footprint, the fits aside."""


def measure(result: DetectionResult, names: list[str] = OWN, **context: float) -> np.ndarray:
    samples = FootprintSamples([result], [SceneContext("i", **context)])
    return measure_features(samples, names)


def turn(result: DetectionResult, move: Callable[[np.ndarray], np.ndarray]) -> DetectionResult:
    """Move the pixels of a detection, its footprints keep their numbers."""
    peaks = np.array(result.footprints.peaks)
    x, y = (move(v) for v in np.meshgrid(*(np.arange(n) for n in result.image.shape[::-1])))
    place = np.full(result.image.shape, -1)
    place[y, x] = np.arange(place.size).reshape(place.shape)
    new_y, new_x = np.divmod(place[peaks["i_y"], peaks["i_x"]], result.image.shape[0])
    peaks["i_x"], peaks["i_y"] = new_x, new_y
    peaks["f_x"], peaks["f_y"] = new_x, new_y
    return make_result(
        np.ascontiguousarray(move(result.image)),
        np.ascontiguousarray(move(result.footprints.labels)),
        peaks=peaks,
    )


def test_every_feature_is_named_and_described_once() -> None:
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES) == len(FEATURE_DOCS)
    assert all(doc and "\n" not in doc for doc in FEATURE_DOCS.values())
    assert set(TWO_COMPONENT_COLUMNS) < set(FEATURE_NAMES) and set(CONTEXT_FEATURES) < set(FEATURE_NAMES)
    assert len(set(REFERENCE_FEATURES)) == 49
    assert set(REFERENCE_FEATURES) <= set(OWN)


@pytest.mark.parametrize(
    "move",
    [np.fliplr, np.flipud, np.transpose, np.rot90],
    ids=["left-right", "up-down", "transposed", "quarter turn"],
)
def test_orientation_does_not_matter(move: Callable[[np.ndarray], np.ndarray]) -> None:
    result, _ = make_toy(8, seed=3)
    before, after = measure(result), measure(turn(result, move))
    close = np.isclose(before, after, rtol=2e-3, atol=2e-3)
    # Sums are made in another order: a pixel on the edge of an isophote may fall to its other side.
    assert close.mean() > 0.999, [OWN[j] for j in np.flatnonzero(~close.all(axis=0))]


@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
@settings(max_examples=10)
def test_unit_of_the_image_does_not_matter(seed: int, factor: float) -> None:
    result, _ = make_toy(4, seed=seed)
    noise = dataclasses.replace(result.noise, sigma=result.noise.sigma * factor)
    scaled = dataclasses.replace(result, image=result.image * np.float32(factor), noise=noise)
    before, after = measure(result), measure(scaled)
    assert np.isclose(before, after, rtol=1e-3, atol=1e-3).mean() > 0.999


@given(st.integers(0, 1000), st.integers(-5000, 5000), st.integers(-5000, 5000))
@settings(max_examples=10)
def test_place_does_not_matter(seed: int, x0: int, y0: int) -> None:
    here, _ = make_toy(4, seed=seed)
    there, _ = make_toy(4, seed=seed, xy0=(x0, y0))
    np.testing.assert_allclose(measure(here), measure(there), rtol=1e-6, atol=1e-6)


def test_empty_sky_around_does_not_matter() -> None:
    result, _ = make_toy(5, seed=1)
    peaks = np.array(result.footprints.peaks)
    for name in ("i_x", "f_x"):
        peaks[name] += 30
    for name in ("i_y", "f_y"):
        peaks[name] += 20
    margin = ((20, 7), (30, 11))
    wider = make_result(np.pad(result.image, margin), np.pad(result.footprints.labels, margin), peaks=peaks)
    np.testing.assert_allclose(measure(result), measure(wider), rtol=1e-5, atol=1e-5)


def test_names_choose_columns_in_their_order() -> None:
    result, _ = make_toy(4)
    samples = FootprintSamples([result])
    every = measure_features(samples)
    assert every.shape == (16, len(FEATURE_NAMES)) and every.dtype == np.float32
    names = ["two_gain", "area", "psf_sigma", "gauss_residual"]
    chosen = measure_features(samples, names)
    np.testing.assert_array_equal(chosen, every[:, [FEATURE_NAMES.index(n) for n in names]])
    assert measure_features(samples, []).shape == (16, 0)
    with pytest.raises(KeyError, match="'colour'"):
        measure_features(samples, ["area", "colour"])


def test_only_what_is_needed_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(result: DetectionResult) -> np.ndarray:
        raise AssertionError("fits were made")

    monkeypatch.setattr("lsst.meas.blendid.features.measure.two_component_test", refuse)
    result, _ = make_toy(2)
    measure(result, ["area"])
    with pytest.raises(AssertionError, match="fits were made"):
        measure(result, ["two_gain"])


def test_images_can_be_forgotten() -> None:
    result, _ = make_toy(3)
    samples = FootprintSamples([result])
    before = measure_features(samples)
    np.testing.assert_array_equal(measure_features(samples.without_images()), before)


def test_image_without_footprints() -> None:
    result = make_result(np.zeros((30, 40)), np.zeros((30, 40), np.int32))
    assert measure(result, list(FEATURE_NAMES)).shape == (0, len(FEATURE_NAMES))
    assert measure_features(FootprintSamples([])).shape == (0, len(FEATURE_NAMES))


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (40, 40)])
def test_one_pixel_is_a_footprint(shape: tuple[int, int]) -> None:
    labels = np.zeros(shape, np.int32)
    labels[shape[0] // 2, shape[1] // 2] = 1
    rng = np.random.default_rng(0)
    result = make_result(rng.normal(size=shape) + 3.0, labels)
    values = measure(result)
    assert values.shape == (1, len(OWN)) and np.isfinite(values).all()
    row = dict(zip(OWN, values[0], strict=True))
    assert row["area"] == pytest.approx(1.0 / 1.6**2) and row["convexity"] == row["compactness"] * 4.0 / np.pi
    assert row["brightest_pixel"] == pytest.approx(result.image[shape[0] // 2, shape[1] // 2], rel=1e-6)


def test_footprints_on_the_border_and_full_images() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(24, 36)) + 1.0
    labels = np.zeros(image.shape, np.int32)
    labels[:6, :7], labels[-3:, -9:], labels[:, 20:22] = 1, 2, 3
    assert np.isfinite(measure(make_result(image, labels))).all()
    assert np.isfinite(measure(make_result(image, np.ones(image.shape, np.int32)))).all()


def test_dark_footprint_has_finite_features() -> None:
    labels = np.zeros((30, 30), np.int32)
    labels[5:20, 5:20] = 1
    for level in (0.0, -2.0, 1e-30):
        values = measure(make_result(np.full((30, 30), level), labels))
        assert np.isfinite(values).all(), [OWN[j] for j in np.flatnonzero(~np.isfinite(values[0]))]


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_any_image_has_finite_features(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(v) for v in rng.integers(1, 40, 2))
    image = rng.normal(size=shape) * 10.0 ** rng.uniform(-3, 4)
    raw = np.where(rng.random(shape) < 0.5, rng.integers(0, 5, shape), 0)
    labels = np.searchsorted(np.unique(np.append(raw, 0)), raw).astype(np.int32)
    values = measure(make_result(image, labels, sigma=float(10.0 ** rng.uniform(-2, 2))))
    assert np.isfinite(values).all(), [OWN[j] for j in np.flatnonzero(~np.isfinite(values).all(axis=0))]


def test_pixels_that_are_not_finite_spoil_their_footprint_only() -> None:
    result, _ = make_toy(4, seed=5)
    image = result.image.copy()
    y, x = np.argwhere(result.footprints.labels == 3)[4]
    sky_y, sky_x = np.argwhere(result.footprints.labels == 0)[100]
    image[y, x], image[sky_y, sky_x] = np.nan, np.inf
    values = measure(dataclasses.replace(result, image=image))
    spoilt = np.isnan(values).all(axis=1)
    assert np.flatnonzero(spoilt).tolist() == [2]
    assert np.isfinite(values[~spoilt]).all()


def test_noise_must_be_positive() -> None:
    result, _ = make_toy(2)
    for sigma in (0.0, np.nan):
        broken = dataclasses.replace(result, noise=dataclasses.replace(result.noise, sigma=sigma))
        with pytest.raises(ValueError, match="noise"):
            measure(broken)


def test_field_is_the_same_for_all_footprints_and_known_from_its_parts() -> None:
    result, _ = make_toy(12, seed=7)
    context = SceneContext("i", 31.4)
    table = measure_features(FootprintSamples([result], [context]), list(CONTEXT_COLUMNS))
    numbers = table[0]
    assert np.all((table == numbers) | (np.isnan(table) & np.isnan(numbers)))
    row = dict(zip(CONTEXT_COLUMNS, numbers.astype(float), strict=True))
    assert row["psf_sigma"] == pytest.approx(1.6)
    assert row["depth"] == pytest.approx(point_source_depth(1.0, result.psf.image, 31.4))
    assert row["density"] == pytest.approx(1e4 * 144 * 1.6**2 / result.image.size)
    assert row["cover"] == pytest.approx((result.footprints.labels > 0).mean())
    n_peaks = result.footprints.n_peaks
    assert row["multi_peak_share"] == pytest.approx((n_peaks > 1).mean())
    significance = np.nan_to_num(result.footprints.max_significance)
    chosen = (n_peaks == 1) & (significance >= 7.0) & (significance < 15.0)
    assert chosen.sum() >= 8
    area = result.footprints.area_detected[chosen] / 1.6**2
    assert row["area_7_75"] == pytest.approx(np.percentile(area, 75), rel=1e-5)
    size = measure(result, ["light_size"])[chosen, 0]
    assert row["size_7_50"] == pytest.approx(np.percentile(size, 50), rel=1e-5)
    # No footprint is as bright as this.
    assert np.isnan(row["size_40_50"])
    assert np.isnan(measure_features(FootprintSamples([result]), ["depth"])).all()


def test_peak_table_of_the_detection_is_used() -> None:
    labels = np.zeros((20, 40), np.int32)
    labels[5:15, 5:15], labels[5:15, 25:35] = 1, 2
    peaks = np.array([(1, 8, 8, 8, 8, 3.0, 9.0), (1, 12, 12, 12, 12, 2.0, 7.0)], PEAK_DTYPE)
    values = measure(make_result(np.ones((20, 40)), labels, peaks=peaks), ["n_peaks", "max_significance"])
    np.testing.assert_array_equal(values, [[2.0, 9.0], [0.0, 0.0]])
    second = measure(make_result(np.ones((20, 40)), labels, peaks=peaks), ["second_significance"])
    np.testing.assert_array_equal(second, [[7.0], [0.0]])

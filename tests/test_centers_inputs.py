# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from lsst.meas.blendid.centers.inputs import (
    CONTEXT_NAMES,
    SCALAR_NAMES,
    compute_context,
    compute_planes,
    compute_scalars,
    count_scatters,
    keep_labels,
    keep_planes,
    measure_context,
    standard_scale,
    standardize,
)
from lsst.meas.blendid.footprints import PEAK_DTYPE
from lsst.meas.blendid.samples import FootprintSamples, SceneContext
from toy_centers import make_scene, make_scenes
from toy_samples import make_result


def test_planes_are_in_units_of_the_noise() -> None:
    image = np.zeros((8, 10))
    image[2, 3], image[4, 5] = 20.0, -6.0
    result = make_result(image, np.zeros(image.shape, int), sigma=2.0)
    planes = compute_planes(result)
    assert planes.shape == (8, 10, 2) and planes.dtype == np.float16
    assert planes[2, 3] == pytest.approx(np.arcsinh([10.0, 10.0]), rel=1e-3)
    assert planes[4, 5] == pytest.approx(np.arcsinh([-3.0, -3.0]), rel=1e-3)


def test_planes_are_zero_where_there_is_nothing() -> None:
    image = np.full((6, 6), 5.0)
    result = make_result(image, np.zeros(image.shape, int))
    significance, bad = result.significance.copy(), result.bad.copy()
    significance[0, :] = np.nan
    bad[:, 0] = True
    image = result.image.copy()
    image[3, 3] = np.nan
    planes = compute_planes(dataclasses.replace(result, image=image, significance=significance, bad=bad))
    assert np.all(np.isfinite(planes))
    assert np.all(planes[0, :, 1] == 0.0) and np.all(planes[:, 0, 0] == 0.0) and planes[3, 3, 0] == 0.0
    assert planes[2, 2] == pytest.approx(np.arcsinh([5.0, 5.0]), rel=1e-3)


def test_planes_need_the_significance() -> None:
    result, _, _ = make_scene(2)
    with pytest.raises(ValueError, match="significance image is missing"):
        compute_planes(result.without_planes())


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan, np.inf])
def test_planes_need_positive_noise(sigma: float) -> None:
    result, _, _ = make_scene(2)
    broken = dataclasses.replace(result, noise=dataclasses.replace(result.noise, sigma=sigma))
    with pytest.raises(ValueError, match="the network needs it positive"):
        compute_planes(broken)
    # An image without footprints may be one without pixels that tell the noise.
    empty = make_result(np.full((4, 6), np.nan), np.zeros((4, 6), int))
    empty = dataclasses.replace(empty, noise=broken.noise)
    assert not compute_planes(empty).any()


def test_inputs_stay_when_images_are_forgotten() -> None:
    samples, _, _ = make_scenes()
    planes, labels, context = keep_planes(samples), keep_labels(samples), compute_context(samples)
    scalars = compute_scalars(samples)
    bare = samples.without_images()
    assert bare.results[0].image.size == 0
    for before, after in ((planes, keep_planes(bare)), (labels, keep_labels(bare))):
        assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert np.array_equal(context, compute_context(bare), equal_nan=True)
    assert np.array_equal(scalars, compute_scalars(bare))
    assert labels[0].dtype == np.uint16
    assert np.array_equal(labels[1], samples.results[1].footprints.labels)


def test_context_tells_what_is_in_an_image() -> None:
    rng = np.random.default_rng(3)
    labels = np.zeros((60, 60), int)
    peaks = []
    for i in range(12):
        y, x = 5 * (i // 4) * 4, 5 * (i % 4) * 3
        labels[y : y + 3, x : x + 3 + (i >= 6)] = i + 1
        peaks.append((i + 1, x + 1, y + 1, x + 1, y + 1, 10.0, 30.0))
    image = rng.normal(size=labels.shape)
    result = make_result(image, labels, peaks=np.array(peaks, PEAK_DTYPE), psf_sigma=2.0)
    values = dict(zip(CONTEXT_NAMES, measure_context(result, SceneContext()), strict=True))
    assert values["psf_sigma"] == 2.0
    assert values["footprint_density"] == pytest.approx(np.log10(1e4 * 4.0 * 12.5 / 3600), rel=1e-5)
    assert values["covered_share"] == pytest.approx((6 * 9 + 6 * 12) / 3600)
    assert values["size_bright"] == pytest.approx(
        np.median(np.log10([9 / 4.0] * 6 + [12 / 4.0] * 6)), rel=1e-5
    )
    assert values["size_bright_upper"] == pytest.approx(np.log10(3.0), rel=1e-5)
    assert np.isnan(values["size_faint"]) and np.isnan(values["depth"])
    known = dict(zip(CONTEXT_NAMES, measure_context(result, SceneContext("i", 31.4)), strict=True))
    deeper = dict(zip(CONTEXT_NAMES, measure_context(result, SceneContext("i", 32.4)), strict=True))
    assert deeper["depth"] - known["depth"] == pytest.approx(1.0, abs=1e-4)


def test_scalars_are_finite_without_peaks() -> None:
    labels = np.zeros((20, 20), int)
    labels[2:6, 2:6], labels[10:14, 10:15] = 1, 2
    peaks = np.array([(2, 11, 11, 11, 11, 9.0, 100.0), (2, 13, 12, 13, 12, 5.0, 10.0)], PEAK_DTYPE)
    samples = FootprintSamples([make_result(np.ones((20, 20)), labels, peaks=peaks, psf_sigma=2.0)])
    scalars = compute_scalars(samples)
    assert scalars.shape == (2, len(SCALAR_NAMES))
    assert scalars[0] == pytest.approx([np.log10(4), np.log10(4), 0, 0, 0, 0, 1], abs=1e-6)
    assert scalars[1] == pytest.approx([np.log10(5), np.log10(5), 2, 1, 2, np.log10(2), 0], rel=1e-6)
    assert compute_scalars(FootprintSamples([])).shape == (0, len(SCALAR_NAMES))


def test_standard_scale_leaves_out_what_is_not_known() -> None:
    values = np.array([[1.0, np.nan, 5.0], [3.0, np.nan, 5.0], [np.nan, np.nan, 5.0]])
    center, scale = standard_scale(values)
    assert np.array_equal(center, [2.0, 0.0, 5.0])
    assert np.array_equal(scale[[0, 2]], [1.0, 1.0])
    # What no training image tells says nothing later.
    told = count_scatters(np.array([[2.0, 27.0, 5.0]]), center, scale, limit=4.0)
    np.testing.assert_allclose(told, 0.0, atol=1e-20)


def test_standardize_takes_the_unknown_as_the_mean_and_limits_the_rest() -> None:
    samples, _, _ = make_scenes()
    n = len(CONTEXT_NAMES)
    state = {"context_center": np.full(n, -1e6), "context_scale": np.ones(n)}
    state |= {
        "scalars_center": compute_scalars(samples).mean(axis=0),
        "scalars_scale": np.ones(len(SCALAR_NAMES)),
    }
    context, scalars = standardize(samples, state)
    unknown = np.isnan(compute_context(samples))
    assert unknown.any() and np.all(context[unknown] == 0.0)
    assert np.all(context[~unknown] == 4.0)
    assert scalars.mean(axis=0) == pytest.approx(0.0, abs=1e-5)

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.footprints import estimate_background
from scipy.interpolate import Akima1DInterpolator


def noisy(shape: tuple[int, int], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 10.0, shape).astype(np.float32)


@pytest.mark.parametrize("statistic", ["mean", "mode"])
def test_gradient_under_sources_is_removed(statistic: str) -> None:
    rng = np.random.default_rng(9)
    image = noisy((640, 768))
    y, x = np.mgrid[:640, :768]
    sky = (1000 + 0.2 * x - 0.1 * y + 30 * np.sin(x / 250)).astype(np.float32)
    image += sky
    for px, py in zip(rng.integers(5, 760, 300), rng.integers(5, 630, 300), strict=True):
        image[py - 3 : py + 4, px - 3 : px + 4] += 500.0
    mesh = estimate_background(
        image, bin_size=128, filter_size=3, statistic=statistic, stride=16, n_iterations=20
    )
    left = mesh.subtract_from(image) - (image - sky)
    assert abs(np.median(left)) < 1.5
    assert np.abs(left[64:-64, 64:-64]).max() < 6.0


def test_interpolation_is_akima() -> None:
    mesh = estimate_background(noisy((300, 520)), bin_size=40)
    background = -mesh.subtract_from(np.zeros((300, 520), np.float32)).astype(float)
    inside_y = np.arange(np.ceil(mesh.centers_y[0]), np.floor(mesh.centers_y[-1]) + 1)
    inside_x = np.arange(np.ceil(mesh.centers_x[0]), np.floor(mesh.centers_x[-1]) + 1)
    rows = Akima1DInterpolator(mesh.centers_y, mesh.values, axis=0)(inside_y)
    expected = Akima1DInterpolator(mesh.centers_x, rows, axis=1)(inside_x)
    window = background[int(inside_y[0]) : int(inside_y[-1]) + 1, int(inside_x[0]) : int(inside_x[-1]) + 1]
    np.testing.assert_allclose(window, expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (300, 7), (100, 100), (129, 257), (128, 384)])
def test_few_boxes(shape: tuple[int, int]) -> None:
    image = np.full(shape, 42.0, np.float32)
    mesh = estimate_background(image, bin_size=128, filter_size=3)
    np.testing.assert_allclose(mesh.subtract_from(image), 0.0, atol=1e-4)


def test_plane_is_reproduced_to_the_corners() -> None:
    y, x = np.mgrid[:400, :500]
    image = (3.0 * x - 2.0 * y).astype(np.float32)
    left = estimate_background(image, bin_size=50).subtract_from(image)
    np.testing.assert_allclose(left, 0.0, atol=2e-3)


def test_values_are_clipped_means() -> None:
    image = noisy((64, 64))
    image[:8] = 1e4
    mesh = estimate_background(image, bin_size=64, n_iterations=20)
    values = image.ravel().astype(float)
    for _ in range(30):
        values = values[np.abs(values - values.mean()) <= 3 * values.std()]
    # Clipping from the mean keeps the outliers here; from the median it does not.
    start = image.ravel()[np.abs(image.ravel() - np.median(image)) < 60].astype(float)
    for _ in range(30):
        start = start[np.abs(start - start.mean()) <= 3 * start.std()]
    assert mesh.values[0, 0] == pytest.approx(start.mean(), abs=0.02)
    assert mesh.sigma[0, 0] == pytest.approx(start.std(), rel=0.003)


def test_masked_boxes_are_filled() -> None:
    image = noisy((256, 256)) + 50
    skip = np.zeros(image.shape, dtype=bool)
    skip[:64, :64] = True
    image[skip] = np.nan
    mesh = estimate_background(image, skip, bin_size=64)
    assert np.isfinite(mesh.values).all()
    assert np.isnan(mesh.sigma[0, 0])
    assert mesh.values[0, 0] == pytest.approx(50, abs=1)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("width", [100, 384, 520])
@pytest.mark.parametrize("filter_size", [1, 3, 5])
def test_gradient_continues_under_a_mask(axis: int, width: int, filter_size: int) -> None:
    y, x = np.mgrid[:640, :704].astype(np.float32)
    plane = 0.03 * x + 0.05 * y
    skip = (x if axis else y) < width
    image = np.where(skip, np.nan, plane).astype(np.float32)
    mesh = estimate_background(image, skip, bin_size=64, filter_size=filter_size)
    left = mesh.subtract_from(image)[~skip]
    # Boxes that the mask cuts are averages over half of themselves.
    tolerance = 0.002 if width % 64 == 0 else 1.7
    assert np.abs(left).max() < tolerance


def test_gradient_around_a_hole() -> None:
    y, x = np.mgrid[:512, :512].astype(np.float32)
    skip = np.hypot(x - 260, y - 230) < 150
    plane = 0.02 * x - 0.03 * y
    mesh = estimate_background(
        np.where(skip, 9e9, plane).astype(np.float32), skip, bin_size=32, filter_size=3
    )
    assert np.abs(mesh.subtract_from(plane)).max() < 0.5
    assert np.isnan(mesh.sigma[7, 8])


def test_nearly_empty_box_is_filled() -> None:
    image = noisy((256, 256))
    skip = np.zeros(image.shape, dtype=bool)
    skip[64:128, 64:128] = True
    skip[64:66, 64:66] = False
    image[64:66, 64:66] = 1e6
    mesh = estimate_background(image, skip, bin_size=64)
    assert abs(mesh.values[1, 1]) < 2.0
    # Where all boxes are nearly empty, they are what there is.
    skip = np.ones(image.shape, dtype=bool)
    skip[::20, ::20] = False
    assert np.isfinite(estimate_background(image, skip, bin_size=64).sigma).all()


def test_errors() -> None:
    image = noisy((50, 50))
    with pytest.raises(ValueError, match="no pixel is left"):
        estimate_background(image, np.ones(image.shape, dtype=bool))
    with pytest.raises(ValueError, match="unknown background statistic"):
        estimate_background(image, statistic="median")


@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.integers(1, 70), st.integers(8, 40), st.floats(0, 1))
def test_always_finite(seed: int, ny: int, nx: int, bin_size: int, masked: float) -> None:
    rng = np.random.default_rng(seed)
    image = (rng.standard_cauchy((ny, nx)) * 100).astype(np.float32)
    skip = rng.random((ny, nx)) < 0.9 * masked
    skip[0, 0] = False
    mesh = estimate_background(image, skip, bin_size=bin_size, filter_size=3, statistic="mode", stride=16)
    assert np.isfinite(mesh.subtract_from(image)).all()

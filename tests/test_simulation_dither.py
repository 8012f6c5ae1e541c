# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of undoing a dither."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.psf import kolmogorov_kernel
from lsst.meas.blendid.simulation.exposures._dither import add_undithered, effective_kernel, noise_covariance

shifts = st.floats(-0.5, 0.5, exclude_max=True)


@given(shifts, shifts)
def test_a_plane_comes_back_where_it_was(dx: float, dy: float) -> None:
    y, x = np.mgrid[0:12, 0:15].astype(np.float64)
    # As the camera sees it: what is at (x, y) of the sky is at (x + 3 + dx, y + 3 + dy).
    exposure = 5.0 + 2.0 * (x - 3 - dx) - 3.0 * (y - 3 - dy)
    total = np.zeros((6, 9))
    add_undithered(total, exposure, dx, dy, 3)
    np.testing.assert_allclose(total, 5.0 + 2.0 * x[:6, :9] - 3.0 * y[:6, :9], atol=1e-9)


def test_without_dither_pixels_are_copied_and_added() -> None:
    exposure = np.random.default_rng(1).poisson(100.0, (9, 11)).astype(np.int32)
    total = np.ones((5, 7))
    add_undithered(total, exposure, 0.0, 0.0, 2)
    np.testing.assert_array_equal(total, 1.0 + exposure[2:7, 2:9])


@given(shifts, shifts)
def test_flux_is_conserved(dx: float, dy: float) -> None:
    exposure = np.zeros((20, 20))
    exposure[8:12, 8:12] = np.arange(16.0).reshape(4, 4)
    total = np.zeros((16, 16))
    add_undithered(total, exposure, dx, dy, 2)
    assert total.sum() == pytest.approx(exposure.sum())


@pytest.mark.parametrize(("dx", "dy"), [(0.0, 0.0), (0.3, -0.2), (-0.5, 0.25)])
def test_covariance_is_that_of_noise(dx: float, dy: float) -> None:
    exposure = np.random.default_rng(2).standard_normal((604, 604))
    out = np.zeros((600, 600))
    add_undithered(out, exposure, dx, dy, 2)
    expected = noise_covariance(dx, dy)
    for i in range(3):
        for j in range(3):
            other = np.roll(out, (i - 1, j - 1), (0, 1))
            assert (out * other)[2:-2, 2:-2].mean() == pytest.approx(expected[i, j], abs=0.01)
    assert expected.sum() == pytest.approx(1.0)


def test_mean_covariance_of_many_dithers() -> None:
    rng = np.random.default_rng(3)
    mean = np.mean([noise_covariance(*rng.uniform(-0.5, 0.5, 2)) for _ in range(20000)], axis=0)
    axis = np.array([1.0, 4.0, 1.0]) / 6.0
    np.testing.assert_allclose(mean, axis[:, None] * axis[None, :], atol=3e-3)


def test_kernel_without_dither_is_the_plain_one() -> None:
    zero = np.zeros(1)
    kernel = effective_kernel(np.array([3.5]), zero, zero, size=41)
    np.testing.assert_allclose(kernel, kolmogorov_kernel(3.5, 41), atol=1e-6)


def test_kernel_is_that_of_an_undithered_star() -> None:
    dx, dy = 0.3, -0.45
    sharp = kolmogorov_kernel(3.5, 61)
    fy, fx = np.meshgrid(np.fft.fftfreq(61), np.fft.fftfreq(61), indexing="ij")
    # A well sampled star that is moved by the dither.
    moved = np.fft.ifft2(np.fft.fft2(sharp) * np.exp(-2j * np.pi * (fx * dx + fy * dy))).real
    total = np.zeros((41, 41))
    add_undithered(total, moved, dx, dy, 10)
    kernel = effective_kernel(np.array([3.5]), np.array([dx]), np.array([dy]), size=41)
    np.testing.assert_allclose(kernel, total / total.sum(), atol=2e-5)
    assert np.abs(kernel - kolmogorov_kernel(3.5, 41)).max() > 1e-3


def test_kernel_is_the_mean_over_exposures() -> None:
    fwhm, dx, dy = np.array([3.0, 4.0]), np.array([0.1, -0.4]), np.array([0.2, 0.3])
    both = effective_kernel(fwhm, dx, dy, diffusion=0.4, size=101)
    each = [
        effective_kernel(fwhm[i : i + 1], dx[i : i + 1], dy[i : i + 1], diffusion=0.4, size=101)
        for i in (0, 1)
    ]
    # To the light outside of the stamp, which differs.
    np.testing.assert_allclose(both, np.mean(each, axis=0), atol=2e-5)
    y, x = np.mgrid[-50:51, -50:51]
    assert (both * x).sum() == pytest.approx(0.0, abs=1e-3)
    assert (both * y).sum() == pytest.approx(0.0, abs=1e-3)

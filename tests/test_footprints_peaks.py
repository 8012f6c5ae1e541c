# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of peaks, also over a temporary local background."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from lsst.meas.blendid.footprints import DetectionResult, FootprintConfig, build_footprints
from lsst.meas.blendid.footprints.components import find_runs, label_runs
from lsst.meas.blendid.footprints.peaks import Peaks, find_peaks, refine_peaks
from lsst.meas.blendid.images.psf import PsfSummary
from scipy import ndimage
from scipy.ndimage import gaussian_filter

EIGHT = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=bool)


def peaks_of(image: np.ndarray, threshold: float = 0.5, **options: object) -> Peaks:
    runs = find_runs(image, threshold)
    component, n = label_runs(runs)
    return find_peaks(runs, component, n, image, **options)


def test_peaks_match_maximum_filter() -> None:
    image = ndimage.gaussian_filter(np.random.default_rng(4).normal(size=(300, 320)), 2.0).astype(np.float32)
    peaks = peaks_of(image, 0.05, use_maximum=False)
    expected = (image > ndimage.maximum_filter(image, footprint=EIGHT)) & (image >= np.float32(0.05))
    expected[[0, -1]] = expected[:, [0, -1]] = False
    found = np.zeros(image.shape, dtype=bool)
    found[peaks.y, peaks.x] = True
    assert len(peaks.x) > 300
    np.testing.assert_array_equal(found, expected)


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 3)))
def test_ties_and_coverage(image: np.ndarray) -> None:
    peaks = peaks_of(image)
    labels, n = ndimage.label(image >= 0.5, EIGHT | np.eye(3, dtype=bool))
    # Every component has a peak, no peak has a greater neighbour except the stand-in of a component at the
    # edge, and no two neighbours are both peaks.
    assert set(labels[peaks.y, peaks.x]) == set(range(1, n + 1))
    np.testing.assert_array_equal(peaks.component, labels[peaks.y, peaks.x])
    highest = ndimage.maximum_filter(image, footprint=EIGHT, mode="constant", cval=-1)
    for c, x, y in zip(peaks.component, peaks.x, peaks.y, strict=True):
        assert image[y, x] >= highest[y, x] or image[y, x] == image[labels == c].max()
    apart = np.maximum(
        np.abs(np.subtract.outer(peaks.x, peaks.x)), np.abs(np.subtract.outer(peaks.y, peaks.y))
    )
    assert (apart[~np.eye(len(peaks.x), dtype=bool)] > 1).all()


def test_one_peak_on_a_plateau() -> None:
    peaks = peaks_of(np.pad(np.ones((6, 9), np.float32), 3))
    assert (peaks.x.tolist(), peaks.y.tolist()) == ([3], [3])


def test_highest_pixel_stands_in_at_the_edge() -> None:
    image = np.zeros((10, 10), np.float32)
    image[0, 3:6] = 1, 3, 2
    assert peaks_of(image).x.tolist() == [4]
    assert peaks_of(image, use_maximum=False).x.size == 0
    image[5, 2] = 1
    assert sorted(peaks_of(image, margin=3).y.tolist()) == [0, 5]


@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.3, -0.2), (-0.45, 0.4), (0.5, 0.5)])
@pytest.mark.parametrize("pedestal", [0.0, -0.05])
def test_refinement(offset: tuple[float, float], pedestal: float) -> None:
    y, x = np.mgrid[:21, :21]
    image = np.exp(-0.5 * ((x - 10 - offset[0]) ** 2 / 2.2**2 + (y - 10 - offset[1]) ** 2 / 2.0**2))
    image = (image + pedestal).astype(np.float32)
    peaks = refine_peaks(peaks_of(image, 0.2), image)
    assert len(peaks.x) == 1
    np.testing.assert_allclose([peaks.fx[0] - 10, peaks.fy[0] - 10], offset, atol=0.02 if pedestal else 2e-4)


@given(arrays(np.float32, (9, 9), elements=st.floats(-1e6, 1e6, width=32)))
def test_refined_within_half_a_pixel(image: np.ndarray) -> None:
    found = peaks_of(image, -1e30)
    refined = refine_peaks(found, image)
    assert (np.abs(refined.fx - found.x) <= 0.5).all()
    assert (np.abs(refined.fy - found.y) <= 0.5).all()


PSF = PsfSummary(np.ones((1, 1)), 1.6, 1.6, 1.6, 0.0, 1)


def detect(image: np.ndarray, **fields: object) -> DetectionResult:
    config = FootprintConfig()
    config.update(**fields)
    return build_footprints(image, psf=PSF, config=config, variance=np.ones_like(image))


def halo() -> np.ndarray:
    """A star within a wide halo, on noise, and two stars elsewhere."""
    rng = np.random.default_rng(12)
    y, x = np.mgrid[:400, :400]
    image = 6.0 * np.exp(-0.5 * ((x - 150) ** 2 + (y - 150) ** 2) / 60.0**2)
    points = np.zeros((400, 400))
    points[150, 150] = 2000.0
    points[320, 330] = 500.0
    points[320, 337] = 400.0
    return (image + gaussian_filter(points, 1.6) + rng.normal(0, 1, image.shape)).astype(np.float32)


def test_noise_peaks_in_a_halo_go() -> None:
    image = halo()
    plain = detect(image)
    local = detect(image, doTempLocalBackground=True)
    np.testing.assert_array_equal(plain.footprints.labels, local.footprints.labels)
    assert len(plain.footprints.peaks) > 100
    assert len(local.footprints.peaks) < 0.3 * len(plain.footprints.peaks)
    pixels = set(zip(local.footprints.peaks["i_x"], local.footprints.peaks["i_y"], strict=True))
    assert {(150, 150), (330, 320), (337, 320)} <= pixels
    assert (local.footprints.n_peaks >= 1).all()
    values = {(p["i_x"], p["i_y"]): p["peak_value"] for p in plain.footprints.peaks}
    star = next(p for p in local.footprints.peaks if (p["i_x"], p["i_y"]) == (150, 150))
    assert star["peak_value"] < values[150, 150]


def test_simple_footprints_keep_their_peaks() -> None:
    image = halo()
    plain = detect(image)
    kept = detect(image, doTempLocalBackground=True, nPeaksMaxSimple=100_000)
    np.testing.assert_array_equal(plain.footprints.peaks, kept.footprints.peaks)


def test_a_footprint_below_the_background_keeps_its_brightest_peak() -> None:
    # The box of the local background holds little but the source, so that nothing is left over it.
    image = np.random.default_rng(2).normal(0, 0.3, (120, 120)).astype(np.float32)
    image[30:95, 30:95] += 20.0
    plain = detect(image)
    local = detect(image, doTempLocalBackground=True, thresholdValue=8.0)
    assert (local.footprints.n_peaks >= 1).all()
    big = plain.footprints.labels[60, 60]
    assert plain.footprints.n_peaks[big - 1] > local.footprints.n_peaks[0] >= 1

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

from __future__ import annotations

import numpy as np
from lsst.meas.blendid.footprints import DetectionResult, FootprintConfig, build_footprints
from lsst.meas.blendid.psf import PsfSummary
from scipy.ndimage import gaussian_filter

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

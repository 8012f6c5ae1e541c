# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Fluxes of footprints and peaks against the truth and photutils, and which cores are unresolved."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.meas.blendid.footprints import DetectionResult, FootprintConfig, build_footprints
from lsst.meas.blendid.footprints.flags import find_footprint_flags
from lsst.meas.blendid.footprints.fluxes import are_cores_unresolved, footprint_fluxes, peak_fluxes
from lsst.meas.blendid.images.psf import kolmogorov_kernel, summarize_psf
from lsst.meas.blendid.images.zero_points import NJY_ZERO_POINT, to_magnitudes
from photutils.segmentation import SegmentationImage, SourceCatalog

STEP = 80
SIGMA = 2.5


def _shifted(kernel: np.ndarray, dx: float, dy: float) -> np.ndarray:
    """A kernel moved by parts of a pixel."""
    fy, fx = np.fft.fftfreq(kernel.shape[0])[:, None], np.fft.fftfreq(kernel.shape[1])
    phase = np.exp(-2j * np.pi * (fx * dx + fy * dy))
    return np.fft.ifft2(np.fft.fft2(kernel) * phase).real


def _smeared(kernel: np.ndarray, sigma_x: float, sigma_y: float) -> np.ndarray:
    """A kernel convolved with a Gaussian galaxy."""
    fy, fx = np.fft.fftfreq(kernel.shape[0])[:, None], np.fft.fftfreq(kernel.shape[1])
    damping = np.exp(-2.0 * np.pi**2 * ((sigma_x * fx) ** 2 + (sigma_y * fy) ** 2))
    return np.fft.ifft2(np.fft.fft2(kernel) * damping).real


def _scene(
    fluxes: np.ndarray, *, galaxy: tuple[float, float] = (0.0, 0.0), fwhm: float = 3.5, seed: int = 3
) -> tuple[DetectionResult, np.ndarray]:
    """Isolated sources in rows of four, anywhere in their pixels, and their positions."""
    rng = np.random.default_rng(seed)
    kernel = kolmogorov_kernel(fwhm, 61)
    psf = summarize_psf(kernel)
    ny = STEP * -(-len(fluxes) // 4)
    image = rng.normal(0.0, SIGMA, (ny, 4 * STEP))
    positions = []
    for i, flux in enumerate(fluxes):
        x, y = STEP * (i % 4) + STEP // 2, STEP * (i // 4) + STEP // 2
        dx, dy = rng.uniform(-0.5, 0.5, 2)
        source = _shifted(_smeared(kernel, *galaxy) if any(galaxy) else kernel, dx, dy)
        image[y - 30 : y + 31, x - 30 : x + 31] += flux * source
        positions.append((x + dx, y + dy))
    result = build_footprints(
        image, psf=psf, config=FootprintConfig(), variance=np.full_like(image, SIGMA**2), xy0=(500, -30)
    )
    return result, np.array(positions) + (500, -30)


def _main_peaks(result: DetectionResult, positions: np.ndarray) -> np.ndarray:
    """Row of the peak nearest to each position."""
    peaks = result.footprints.peaks
    distance = np.hypot(peaks["f_x"][:, None] - positions[:, 0], peaks["f_y"][:, None] - positions[:, 1])
    assert (distance.min(axis=0) < 1.0).all()
    return distance.argmin(axis=0)


@pytest.mark.parametrize("fwhm", [2.5, 3.5, 6.0])
def test_point_sources_have_their_flux_within_its_error(fwhm: float) -> None:
    fluxes = np.geomspace(600.0, 60_000.0, 16)
    result, positions = _scene(fluxes, fwhm=fwhm)
    rows = _main_peaks(result, positions)
    found = peak_fluxes(result)[rows]
    error = found / result.footprints.peaks["significance"][rows]
    pull = (found - fluxes) / np.hypot(error, 0.003 * fluxes)
    assert np.abs(pull).max() < 3.0
    assert 0.3 < np.sqrt(np.mean(pull**2)) < 1.5
    # The part of a pixel that a peak is off by would be missed by several per cent.
    bright = fluxes > 10_000.0
    assert np.abs(found[bright] / fluxes[bright] - 1.0).max() < 0.01


def test_footprint_sums_are_those_of_photutils() -> None:
    result, positions = _scene(np.geomspace(300.0, 30_000.0, 12))
    found = footprint_fluxes(result)
    catalog = SourceCatalog(result.image.astype(float), SegmentationImage(result.footprints.labels))
    np.testing.assert_allclose(found, catalog.segment_flux, rtol=1e-6)
    # Nearly all of the light of a bright one lies within its footprint.
    label = result.footprints.peaks["footprint_id"][_main_peaks(result, positions)[-1]]
    assert 0.95 < found[label - 1] / 30_000.0 < 1.0


def test_bad_pixels_add_nothing() -> None:
    result, _ = _scene(np.array([5000.0]))
    before = footprint_fluxes(result)
    image = result.image.astype(float)
    y, x = np.argwhere(result.footprints.labels == 1)[0]
    value = image[y, x]
    image[y, x] = np.nan
    again = build_footprints(image, psf=result.psf, variance=np.full_like(image, SIGMA**2))
    assert np.isfinite(footprint_fluxes(again)).all()
    if again.footprints.area[0] == result.footprints.area[0]:
        np.testing.assert_allclose(footprint_fluxes(again)[0], before[0] - value, rtol=1e-5)


def test_magnitudes() -> None:
    np.testing.assert_allclose(to_magnitudes(np.array([1.0, 100.0]), NJY_ZERO_POINT), [31.4, 26.4])
    assert np.isnan(to_magnitudes(np.array([0.0, -1.0, np.nan]), 27.0)).all()
    assert np.isnan(to_magnitudes(np.array([1.0]), None)).all()


@pytest.mark.parametrize(
    ("galaxy", "unresolved"),
    [((0.0, 0.0), True), ((1.0, 1.0), False), ((0.0, 1.5), False), ((1.5, 0.0), False)],
    ids=["star", "galaxy", "edge-on along y", "edge-on along x"],
)
def test_only_stars_are_unresolved(galaxy: tuple[float, float], unresolved: bool) -> None:
    result, positions = _scene(np.full(12, 15_000.0), galaxy=galaxy)
    labels = result.footprints.peaks["footprint_id"][_main_peaks(result, positions)]
    assert (are_cores_unresolved(result)[labels - 1] == unresolved).all()


def test_stars_are_unresolved_where_the_given_seeing_is_too_small() -> None:
    scene, positions = _scene(np.full(12, 15_000.0), fwhm=4.0)
    psf = summarize_psf(kolmogorov_kernel(3.5, 61))
    again = build_footprints(
        scene.image, psf=psf, variance=np.full_like(scene.image, SIGMA**2), xy0=scene.xy0
    )
    labels = again.footprints.peaks["footprint_id"][_main_peaks(again, positions)]
    assert are_cores_unresolved(again)[labels - 1].all()


def test_bright_stars_are_flagged_and_faint_ones_not() -> None:
    result, positions = _scene(np.geomspace(300.0, 30_000.0, 12))
    peaks = result.footprints.peaks[_main_peaks(result, positions)]
    labels = peaks["footprint_id"]
    saturated = np.zeros(result.image.shape, dtype=bool)
    flags = {
        name: find_footprint_flags(result, max_peaks=600, max_masked_fraction=0.5, saturated=plane)[
            "bright_star"
        ][labels - 1]
        for name, plane in (("none", None), ("empty", saturated))
    }
    assert np.array_equal(flags["none"], peaks["significance"] >= 200.0)
    assert np.array_equal(flags["empty"], flags["none"])
    assert 2 < flags["none"].sum() < 10
    saturated[result.footprints.labels == labels[0]] = True
    again = find_footprint_flags(result, max_peaks=600, max_masked_fraction=0.5, saturated=saturated)
    assert again["bright_star"][labels[0] - 1]


def test_close_pair_is_no_star() -> None:
    kernel = kolmogorov_kernel(3.5, 61)
    image = np.random.default_rng(2).normal(0.0, 1.0, (STEP, STEP))
    image[10:71, 10:71] += 8000.0 * kernel + 6000.0 * _shifted(kernel, 1.8, 0.0)
    result = build_footprints(image, psf=summarize_psf(kernel), variance=np.ones_like(image))
    assert len(result.footprints) == 1
    assert result.footprints.max_significance[0] > 200.0
    assert not are_cores_unresolved(result)[0]


def test_no_footprint() -> None:
    blank = build_footprints(
        np.zeros((50, 60)), psf=summarize_psf(kolmogorov_kernel(3.5)), variance=np.ones((50, 60))
    )
    for values in (footprint_fluxes(blank), peak_fluxes(blank), are_cores_unresolved(blank)):
        assert values.shape == (0,)

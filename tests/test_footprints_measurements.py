# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Fluxes and flags of footprints and of their peaks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.footprints import DetectionResult, FootprintConfig, build_footprints
from lsst.meas.blendid.footprints.measurements import (
    are_cores_unresolved,
    find_footprint_flags,
    find_profile_mismatches,
    footprint_fluxes,
    peak_fluxes,
)
from lsst.meas.blendid.images.psf import kolmogorov_kernel, summarize_psf
from lsst.meas.blendid.images.zero_points import NJY_ZERO_POINT, to_magnitudes
from photutils.segmentation import SegmentationImage, SourceCatalog

PSF = summarize_psf(kolmogorov_kernel(3.5))
SPACING = 60


def find(profile: np.ndarray, significance: float, holes: int = 0) -> np.ndarray:
    """Flags of four sources of one profile, (41, 41), the first at the edge."""
    pixels = np.random.default_rng(4).normal(size=(4 * STEP, STEP))
    flux = significance * np.sqrt(4.0 * np.pi) * PSF.sigma
    for i in range(4):
        y, x = STEP * i + 30, 30
        pixels[y - 20 : y + 21, x - 20 : x + 21] += flux * profile / profile.sum()
    pixels[28 : STEP * holes : STEP, 37] = np.nan
    result = build_footprints(pixels, psf=PSF, variance=np.ones(pixels.shape))
    assert len(result.footprints) >= 4
    return find_profile_mismatches(result)[result.footprints.max_significance > 0.5 * significance]


def moffat(beta: float, fwhm: float = 3.4) -> np.ndarray:
    y, x = np.mgrid[-20:21, -20:21]
    scale = fwhm / 2.0 / np.sqrt(2.0 ** (1.0 / beta) - 1.0)
    return (1.0 + (x**2 + y**2) / scale**2) ** -beta


def test_stars_with_other_wings() -> None:
    assert find(moffat(2.5), 500.0).all()


@pytest.mark.parametrize("significance", [50.0, 500.0, 3000.0])
def test_stars_that_the_psf_explains(significance: float) -> None:
    assert not find(kolmogorov_kernel(3.5, 41), significance).any()


def test_galaxies_are_no_stars() -> None:
    y, x = np.mgrid[-20:21, -20:21]
    galaxy = np.exp(-np.hypot(x, y) / 2.0)
    assert not find(galaxy, 500.0).any()


def test_faint_stars_do_not_tell() -> None:
    assert not find(moffat(2.5), 60.0).any()


def test_a_hole_in_the_wings_does_not_tell() -> None:
    assert not find(moffat(2.5), 500.0, holes=3)[:3].any()
    assert find(moffat(2.5), 500.0, holes=3)[3:].all()
    assert not find(moffat(2.5), 500.0, holes=4).any()


def test_isolated_stars_are_flagged_or_no_blends(shared_cases: Path, tmp_path: Path) -> None:
    """By command: no star has a neighbour."""
    pytest.importorskip("galsim")
    subprocess.run([sys.executable, shared_cases / "10_isolated_stars.py", tmp_path], check=True)
    for name, flagged in (("kolmo", 40), ("ellip", 40), ("moffat25", 40), ("moffat35", 0)):
        arguments = ["run", str(tmp_path / f"{name}.fits"), "--out", str(tmp_path), "--psf-fwhm", "0.7"]
        arguments += ["--pixel-scale", "0.2", "--classifier", "features", "--localizer", "none"]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        table = Table.read(tmp_path / f"{name}.blend.parquet")
        assert 97 <= len(table) <= 103
        mismatch = np.asarray(table["flag_profile_mismatch"])
        assert mismatch.sum() >= flagged
        assert not table["flag"].any()
        assert (np.asarray(table["p_blended"])[~mismatch] < 0.2).all()


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

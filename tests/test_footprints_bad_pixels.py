# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Pixels with absurd values, and holes in images, change nothing elsewhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import astropy.io.fits
import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.footprints import DetectionResult, FootprintConfig, build_footprints
from lsst.meas.blendid.footprints.measurements import find_footprint_flags
from lsst.meas.blendid.images.psf import kolmogorov_kernel, summarize_psf
from scipy import ndimage

SHAPE = (220, 240)
SPOT = (110, 120)
PSF = summarize_psf(kolmogorov_kernel(3.5))


@cache
def make_pixels(n: int = 40, seed: int = 5) -> np.ndarray:
    """Stars on white noise of 1, none near the spot."""
    rng = np.random.default_rng(seed)
    points = np.zeros(SHAPE)
    y, x = rng.integers(8, SHAPE[0] - 8, n), rng.integers(8, SHAPE[1] - 8, n)
    points[y, x] = 10 ** rng.uniform(1.6, 3.3, n)
    points[SPOT[0] - 25 : SPOT[0] + 26, SPOT[1] - 25 : SPOT[1] + 26] = 0.0
    return (ndimage.gaussian_filter(points, 1.6) + rng.normal(0.0, 1.0, SHAPE)).astype("f4")


def build(pixels: np.ndarray, source: str, **fields: object) -> DetectionResult:
    config = FootprintConfig()
    config.update(
        noiseSource=source, doSubtractBackground=source == "clipped", backgroundBinSize=64, **fields
    )
    return build_footprints(pixels, psf=PSF, config=config, variance=np.ones(pixels.shape, np.float32))


@cache
def reference(source: str) -> DetectionResult:
    return build(make_pixels(), source)


# One absurd pixel


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("height", [1e3, 1e6, 1e7, 1e9, 1e13, 1e18, 1e21, 1e24, 1e27, 1e38])
@pytest.mark.parametrize("source", ["variance", "clipped"])
def test_one_absurd_pixel_changes_nothing_elsewhere(source: str, height: float, sign: int) -> None:
    pixels = make_pixels().copy()
    pixels[SPOT] = sign * height
    found, expected = build(pixels, source), reference(source)
    assert len(expected.footprints) > 20
    own = found.footprints.labels[SPOT]
    assert (own > 0) == (sign > 0 and height < 1e25)  # Beyond, the pixel counts as not finite.
    others = np.where(found.footprints.labels == own, 0, found.footprints.labels) > 0
    np.testing.assert_array_equal(others, expected.footprints.labels > 0)
    peaks = found.footprints.peaks[found.footprints.peaks["footprint_id"] != own]
    for column in ("i_x", "i_y"):
        np.testing.assert_array_equal(peaks[column], expected.footprints.peaks[column])
    np.testing.assert_allclose(peaks["significance"], expected.footprints.peaks["significance"], rtol=2e-3)
    assert found.noise.sigma == pytest.approx(expected.noise.sigma, rel=1e-3)
    # The 121 pixels that a negative one reaches are a tenth of those in the lower tail of so small an image.
    assert found.noise.correlation == pytest.approx(
        expected.noise.correlation, rel=5e-3 if sign > 0 else 0.06
    )


def test_command_with_an_absurd_pixel(tmp_path: Path) -> None:
    pixels = make_pixels().copy()
    tables = {}
    for name, value in (("clean", pixels[SPOT]), ("absurd", 3e20)):
        pixels[SPOT] = value
        path = tmp_path / f"{name}.fits"
        astropy.io.fits.PrimaryHDU(pixels).writeto(path)
        arguments = ["run", str(path), "--out", str(tmp_path), "--psf-fwhm", "0.7", "--pixel-scale", "0.2"]
        result = CliRunner().invoke(main, [*arguments, "--classifier", "features", "--localizer", "none"])
        assert result.exit_code == 0, result.output
        tables[name] = Table.read(tmp_path / f"{name}.blend.parquet")
    clean, absurd = tables["clean"], tables["absurd"]
    other = (absurd["bbox_x0"] > SPOT[1]) | (absurd["bbox_x1"] < SPOT[1])
    other |= (absurd["bbox_y0"] > SPOT[0]) | (absurd["bbox_y1"] < SPOT[0])
    assert len(clean) == other.sum() == len(absurd) - 1
    np.testing.assert_allclose(absurd["p_blended"][other], clean["p_blended"], atol=0.05)


# Holes


@cache
def star_with_hole(radius: float) -> np.ndarray:
    """A bright star whose core is NaN, amid the others."""
    pixels = make_pixels().copy()
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    kernel = kolmogorov_kernel(3.5, 101)
    pixels[SPOT[0] - 50 : SPOT[0] + 51, SPOT[1] - 50 : SPOT[1] + 51] += np.float32(1e5) * kernel.astype("f4")
    pixels[np.hypot(y - SPOT[0], x - SPOT[1]) <= radius] = np.nan
    return pixels


def of_star(result: DetectionResult) -> np.ndarray:
    """Footprints within 20 pixels of the spot."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.setdiff1d(result.footprints.labels[np.hypot(y - SPOT[0], x - SPOT[1]) < 20], [0]) - 1


@pytest.mark.parametrize("source", ["variance", "clipped"])
@pytest.mark.parametrize("radius", [0, 3, 7])
def test_no_peaks_on_the_border_of_a_hole(radius: float, source: str) -> None:
    result = build(star_with_hole(radius), source)
    kept = build(star_with_hole(radius), source, doKeepPeaksAtHoles=True)
    own = of_star(result)
    assert own.size >= 1
    np.testing.assert_array_equal(result.footprints.labels, kept.footprints.labels)
    assert not result.footprints.n_peaks[own].any()
    assert kept.footprints.n_peaks[own].sum() >= 4
    other = np.setdiff1d(np.arange(len(result.footprints)), own)
    np.testing.assert_array_equal(result.footprints.n_peaks[other], kept.footprints.n_peaks[other])
    for detection in (result, kept):
        flags = find_footprint_flags(detection, max_peaks=600, max_masked_fraction=0.99)
        assert flags["core_missing"][own].all()
        assert flags["masked"][own].all()
        assert not flags["core_missing"][other].any()


def test_a_hole_beside_the_core_leaves_it() -> None:
    """Pixels over the threshold border on the hole, and the peak is there."""
    pixels = star_with_hole(-1).copy()
    pixels[SPOT[0] - 2 : SPOT[0] + 3, SPOT[1] + 8 : SPOT[1] + 11] = np.nan
    result = build(pixels, "variance")
    (own,) = of_star(result)
    assert result.footprints.n_peaks[own] == 1
    flags = find_footprint_flags(result, max_peaks=600, max_masked_fraction=0.99)
    assert flags["masked"][own]
    assert not flags["core_missing"][own]


def test_temporary_local_background_makes_no_peaks_at_holes() -> None:
    options = {"doTempLocalBackground": True, "tempLocalBackgroundBinSize": 32}
    result = build(star_with_hole(7), "variance", **options)
    kept = build(star_with_hole(7), "variance", doKeepPeaksAtHoles=True, **options)
    assert not result.footprints.n_peaks[of_star(result)].any()
    assert kept.footprints.n_peaks[of_star(kept)].any()


def test_command_with_a_hole(tmp_path: Path) -> None:
    """The star has its row, is not classified and says why; the others are classified."""
    path = tmp_path / "star.fits"
    astropy.io.fits.PrimaryHDU(star_with_hole(5)).writeto(path)
    arguments = ["run", str(path), "--out", str(tmp_path), "--psf-fwhm", "0.7", "--pixel-scale", "0.2"]
    for name in ("features", "logistic", "peaks"):
        arguments += ["--classifier", name]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    blend = Table.read(tmp_path / "star.blend.parquet")
    peaks = Table.read(tmp_path / "star.blend_peak.parquet")
    near = np.hypot(blend["x"] - SPOT[1], blend["y"] - SPOT[0]) < 20
    assert near.any()
    assert blend["flag"][near].all()
    assert blend["flag_core_missing"][near].all()
    assert np.isnan(blend["p_blended"][near]).all()
    assert not blend["flag_core_missing"][~near].any()
    assert np.isfinite(blend["p_blended"][~near]).all()
    assert np.hypot(peaks["f_x"] - SPOT[1], peaks["f_y"] - SPOT[0]).min() > 15

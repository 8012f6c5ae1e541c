# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""Padding by a constant, in any number type, and what only looks like it."""

from __future__ import annotations

from pathlib import Path

import astropy.io.fits
import numpy as np
import pytest
from lsst.meas.blendid.footprints import FootprintConfig, adapt_to_image, detect
from lsst.meas.blendid.psf import summarize_psf
from lsst.meas.blendid.readers import read_image
from lsst.meas.blendid.readers._input_image import Notes
from lsst.meas.blendid.readers._padding import find_padding


def make_pixels(side: int = 200) -> np.ndarray:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:side, :side]
    pixels = rng.normal(0.0, 1.0, (side, side))
    for x0, y0 in rng.uniform(20, side - 20, (10, 2)):
        pixels += 60.0 * np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / 3.0)
    return pixels


def find(array: np.ndarray) -> tuple[np.ndarray, Notes]:
    notes = Notes()
    return find_padding(array, ~np.isfinite(array), notes), notes


@pytest.mark.parametrize("value", [0, -99, -32768, 65535])
@pytest.mark.parametrize("kind", ["f4", "hundredths", "thirds of sigma", "whole sigma"])
def test_any_constant_in_any_type(value: int, kind: str) -> None:
    pixels = make_pixels()
    dtype, factor = {
        "f4": ("f4", 1.0),
        "hundredths": ("f4", 100.0),
        "thirds of sigma": ("i4", 3.0),
        "whole sigma": ("i4", 1.0),
    }[kind]
    array = (pixels if kind == "f4" else np.rint(pixels * factor)).astype(dtype)
    array[:, :70] = value
    padding, notes = find(array)
    assert padding[:, :70].all()
    assert padding[:, 70:].mean() < 1e-3
    assert notes.decisive == [f"35 % of the pixels are {value}, taken for padding without data"]


def test_of_any_shape() -> None:
    array = make_pixels().astype(np.float32)
    y, x = np.mgrid[:200, :200]
    array[(x + y < 100) | ((y > 120) & (y < 126)) | ((x - 150) ** 2 + (y - 60) ** 2 < 100)] = 0.0
    array[30, 150] = 0.0  # A single one, where no data are 0.
    np.testing.assert_array_equal(find(array)[0], array == 0.0)


@pytest.mark.parametrize("mean", [0.002, 0.02, 0.3, 2.0])
@pytest.mark.parametrize("dtype", ["f4", "i2"])
def test_photon_counts_are_data(mean: float, dtype: str) -> None:
    counts = np.random.default_rng(2).poisson(mean, (300, 300)).astype(dtype)
    counts[100:110, 100:110] += 5
    padding, notes = find(counts)
    assert not padding.any()
    assert notes == []


@pytest.mark.parametrize("mean", [0.0005, 0.02, 0.1, 0.5])
def test_photons_of_the_sky_are_no_sources(tmp_path: Path, mean: float) -> None:
    """Five sigma of few photons are not those of the square root of their mean."""
    counts = np.random.default_rng(4).poisson(mean, (700, 700)).astype(np.float32)
    y, x = np.mgrid[:700, :700]
    source = 20.0 * np.exp(-0.5 * ((x - 350) ** 2 + (y - 200) ** 2) / 1.8**2)
    counts += np.random.default_rng(5).poisson(source)
    image = read_image(write(tmp_path / "a.fits", counts), psf_fwhm=0.8, pixel_scale=0.2)
    config = FootprintConfig()
    adapt_to_image(config, has_variance=image.has_variance, has_sky=image.has_sky)
    found = detect(image.masked_image, psf=summarize_psf(image.psf), config=config)
    assert len(found.footprints) == 1
    assert any("photon counts" in note for note in image.decisive)


def test_photon_counts_of_two_depths_are_data() -> None:
    means = np.where(np.arange(300) < 150, 0.0005, 0.3) * np.ones((300, 1))
    assert not find(np.random.default_rng(2).poisson(means).astype(np.float32))[0].any()


def test_rounded_noise_saturated_stars_and_single_values_are_data() -> None:
    rng = np.random.default_rng(3)
    pixels = make_pixels()
    row = pixels.astype(np.float32)
    row[50:52] = 0.0
    y, x = np.mgrid[:200, :200]
    star = pixels + 5000.0 * np.exp(-0.5 * ((x - 90) ** 2 + (y - 80) ** 2) / 6.0**2)
    assert (star > 100.0).mean() > 0.01
    for array in (
        np.rint(rng.normal(0.0, 0.5, (100, 100))),
        np.minimum(star, 100.0),
        np.clip(star * 600.0 + 5000.0, 0.0, 65535.0).astype(np.uint16),
        row,
        np.zeros((50, 50)),
    ):
        assert not find(array)[0].any()


def write(path: Path, pixels: np.ndarray, **cards: object) -> Path:
    header = astropy.io.fits.Header()
    header.update(cards)
    hdu = astropy.io.fits.PrimaryHDU(pixels, header)
    astropy.io.fits.HDUList([hdu]).writeto(path)
    return path


@pytest.mark.parametrize(
    ("dtype", "blank", "stored"),
    [("u1", 255, 255), ("i2", -32768, -32768), ("u2", 0, -32768), ("u2", 65535, 65535), ("u4", 0, -(2**31))],
)
def test_blank_pixels_of_integers(tmp_path: Path, dtype: str, blank: int, stored: int) -> None:
    """Astropy turns them into NaN but for unsigned integers; some writers store the value of the pixel."""
    array = np.rint(make_pixels() * 3.0 + 100.0).clip(1, 250).astype(dtype)
    single = np.zeros(array.shape, dtype=bool)
    single[::10, ::10] = True  # Not an area: only the header tells.
    array[single] = blank
    image = read_image(write(tmp_path / "a.fits", array, BLANK=stored), psf_fwhm=0.7, pixel_scale=0.2)
    np.testing.assert_array_equal(image.masked_image.mask.get("NO_DATA"), single)

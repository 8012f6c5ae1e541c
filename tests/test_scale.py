# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The unit of an image does not change what is found in it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import astropy.io.fits
import astropy.units as u
import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lsst.images import Image, Mask, MaskedImage, MaskPlane, MaskSchema
from lsst.meas.blendid import BlendIdentificationConfig, BlendIdentificationTask
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.footprints import FootprintConfig, NoUsablePixelsError, build_footprints
from lsst.meas.blendid.images.psf import kolmogorov_kernel, summarize_psf
from lsst.pipe.base import Struct
from scipy import ndimage

SHAPE = (150, 160)
PSF = kolmogorov_kernel(3.5)
NOISE = 30.0
SCHEMA = MaskSchema([MaskPlane("NO_DATA", "No data.")])


@cache
def make_pixels(seed: int = 5) -> np.ndarray:
    """Stars on white noise, float32 values in double precision."""
    rng = np.random.default_rng(seed)
    points = np.zeros(SHAPE)
    y, x = rng.integers(8, SHAPE[0] - 8, 25), rng.integers(8, SHAPE[1] - 8, 25)
    np.add.at(points, (y, x), NOISE * 10 ** rng.uniform(1.6, 3.3, 25))
    return (ndimage.gaussian_filter(points, 1.6) + rng.normal(0.0, NOISE, SHAPE)).astype("f4").astype(float)


@cache
def make_task(
    source: str,
    names: tuple[str, ...] = ("features", "logistic", "peaks"),
    localizer: str | None = None,
) -> BlendIdentificationTask:
    config = BlendIdentificationConfig()
    config.classifiers.names = names
    config.primaryClassifier = names[0]
    config.localizer.name = localizer
    config.footprints.noiseSource = source
    config.footprints.doSubtractBackground = source == "clipped"
    config.footprints.backgroundBinSize = 64
    return BlendIdentificationTask(config=config)


def run(source: str, exponent: int, unit: u.UnitBase | None = None, **options: object) -> Struct:
    """Tables of the image times a power of two."""
    image = Image(np.ldexp(make_pixels(), exponent), unit=unit)
    variance = Image(np.full(SHAPE, np.ldexp(NOISE**2, 2 * exponent)), bbox=image.bbox, unit=unit and unit**2)
    mask = Mask(0, schema=SCHEMA, bbox=image.bbox)
    masked_image = MaskedImage(image, mask=mask, variance=variance)
    return make_task(source, **options).run(masked_image, psf=PSF, band="i")


@cache
def reference(source: str, exponent: int = 0) -> Struct:
    return run(source, exponent)


def check_same(found: Struct, expected: Struct, exponent: int, ordinary: bool = True) -> None:
    """The same footprints, bit by bit, and pixels, peaks and noise in the unit of the image.

    ``ordinary`` says that one of the two was not divided by anything.
    """
    scaled = ("peak_value", "flux", "flux_err")
    for name in ("blend", "blendPeak", "blendSpans"):
        one, other = getattr(found, name), getattr(expected, name)
        assert one.colnames == other.colnames
        for column in one.colnames:
            a, b = np.asarray(one[column]), np.asarray(other[column])
            if column == "flux" and one[column].unit == u.nJy:
                np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=column)
            elif column in scaled:
                np.testing.assert_array_equal(a, np.ldexp(b, exponent), err_msg=column)
            elif column == "mag":
                np.testing.assert_allclose(a, b, rtol=0.0, atol=1e-4, err_msg=column)
            elif column in ("f_x", "f_y") and ordinary:
                # Logarithms of scaled values differ in the last bit.
                np.testing.assert_allclose(a, b, rtol=0.0, atol=1e-9, err_msg=column)
            elif column.startswith(("p_", "n_exp")) and ordinary:
                # Splits of trees may hang on that bit.
                np.testing.assert_allclose(a, b, rtol=0.0, atol=1e-2, err_msg=column)
            else:
                np.testing.assert_array_equal(a, b, err_msg=column)
    one, other = found.detection, expected.detection
    np.testing.assert_array_equal(one.significance, other.significance)
    assert one.noise.correlation == other.noise.correlation
    assert one.sky_level == other.sky_level
    for key in ("noise_sigma", "noise_smoothed_sigma", "background_mean"):
        assert one.metadata.get(key) == (
            None if key not in other.metadata else np.ldexp(other.metadata[key], exponent)
        )
    for plane in ("image", "smoothed"):
        a, b = getattr(one, plane), np.ldexp(getattr(other, plane), exponent)
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=np.ldexp(1e-9, exponent))


@pytest.mark.parametrize("source", ["variance", "clipped"])
@settings(max_examples=12)
@given(exponent=st.integers(-90, 98))
@example(exponent=-90)
@example(exponent=-21)
@example(exponent=30)
@example(exponent=98)
def test_footprints_do_not_depend_on_the_unit(source: str, exponent: int) -> None:
    expected = reference(source)
    assert len(expected.blend) > 10
    found = run(source, exponent)
    check_same(found, expected, exponent)
    if abs(exponent) > 30:
        check_same(found, reference(source, 40), exponent - 40, ordinary=False)


@pytest.mark.parametrize("exponent", [-90, -74, 50, 98])
def test_zero_point_goes_with_the_unit(exponent: int) -> None:
    """Models that know the depth see the same one."""
    expected = run("variance", 0, u.Unit(0.1 * u.nJy), localizer="centers")
    assert not expected.blend["flag_outside_model_range"].any()
    found = run("variance", exponent, u.Unit(0.1 * 2.0**-exponent * u.nJy), localizer="centers")
    check_same(found, expected, exponent)


@pytest.mark.parametrize("noise", [1e-21, 3e-20, 3e17])
def test_variance_in_single_precision(noise: float) -> None:
    """What a file holds: variances that single precision has no full precision for."""
    pixels, factor = make_pixels(), noise / NOISE
    psf = summarize_psf(PSF)
    variance = np.full(SHAPE, NOISE**2)
    expected = build_footprints(pixels, psf=psf, variance=variance).footprints
    variance = (variance * factor**2).astype("f4")
    found = build_footprints((pixels * factor).astype("f4"), psf=psf, variance=variance).footprints
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.max_significance, expected.max_significance, rtol=2e-3)


@pytest.mark.parametrize("source", ["variance", "clipped"])
@pytest.mark.parametrize(("exponent", "word"), [(-130, "small"), (112, "large")])
def test_noise_that_single_precision_cannot_hold(source: str, exponent: int, word: str) -> None:
    config = FootprintConfig(noiseSource=source)
    with pytest.raises(NoUsablePixelsError, match=f"too {word} for single precision; multiply the image"):
        build_footprints(
            np.ldexp(make_pixels(), exponent),
            psf=summarize_psf(PSF),
            config=config,
            variance=np.full(SHAPE, np.ldexp(NOISE**2, 2 * exponent)),
        )


def test_command(tmp_path: Path) -> None:
    """Files in units of f_lambda and of counts give one table."""
    tables = {}
    for name, exponent in (("ordinary", 0), ("small", -74), ("large", 60)):
        path = tmp_path / f"{name}.fits"
        astropy.io.fits.PrimaryHDU(np.ldexp(make_pixels(), exponent).astype("f4")).writeto(path)
        arguments = ["run", str(path), "--out", str(tmp_path), "--psf-fwhm", "0.7", "--pixel-scale", "0.2"]
        result = CliRunner().invoke(main, [*arguments, "--classifier", "peaks", "--localizer", "none"])
        assert result.exit_code == 0, result.output
        tables[name] = Table.read(tmp_path / f"{name}.blend.parquet")
    assert len(tables["ordinary"]) > 10
    for name in ("small", "large"):
        for column in ("bbox_x0", "area", "n_peaks", "max_significance", "p_blended"):
            np.testing.assert_array_equal(tables[name][column], tables["ordinary"][column])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--config-option", "footprints.nSigmaToGrow=1e999"], "inf is outside of valid range"),
        (["--config-option", "footprints.doSubtractBackground=False"], "too high over its scatter"),
    ],
)
def test_no_raw_errors(tmp_path: Path, options: list[str], message: str) -> None:
    """What cannot be searched, or not so, is one line that says why."""
    path = tmp_path / "image.fits"
    astropy.io.fits.PrimaryHDU(make_pixels() + 1e12).writeto(path)
    arguments = ["run", str(path), "--out", str(tmp_path), "--psf-fwhm", "0.7", "--pixel-scale", "0.2"]
    result = CliRunner().invoke(main, [*arguments, "--classifier", "peaks", *options])
    assert result.exit_code in (1, 2)
    assert message in result.output
    assert "unexpected" not in result.output

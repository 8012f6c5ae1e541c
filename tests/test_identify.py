# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Blends in arrays: kinds of images, what can be given beside them, and errors."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.io.fits
import astropy.units as u
import astropy.wcs
import lsst.meas.blendid as package
import numpy as np
import pytest
from astropy.nddata import CCDData, InverseVariance, NDData, StdDevUncertainty, VarianceUncertainty
from click.testing import CliRunner
from lsst.images import Box, GeneralFrame, Image, Mask, MaskedImage, MaskPlane, MaskSchema, SkyProjection
from lsst.images.psfs import GaussianPointSpreadFunction
from lsst.meas.blendid import (
    BlendIdentificationConfig,
    FootprintConfig,
    IdentifiedBlends,
    find_footprints,
    identify_blends,
    measure_features,
    read_tables,
    write_tables,
)
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.features import FEATURE_NAMES
from lsst.meas.blendid.images.psf import kolmogorov_kernel
from toy_peaks import with_inferred

NOISE = 5.0
SOURCES = [(40, 50, 2000.0), (100, 48, 4500.0), (107, 51, 3500.0), (150, 110, 1500.0), (60, 120, 20_000.0)]
SHAPE = (160, 200)
FWHM = 3.5


def make_pixels() -> np.ndarray:
    """White noise and four point sources in three footprints, and a pair."""
    kernel = kolmogorov_kernel(FWHM, 61)
    padded = np.zeros((SHAPE[0] + 60, SHAPE[1] + 60))
    for x, y, flux in SOURCES:
        padded[y : y + 61, x : x + 61] += flux * kernel
    return padded[30:-30, 30:-30] + np.random.default_rng(8).normal(0.0, NOISE, SHAPE)


PIXELS = make_pixels().astype(np.float32)
VARIANCE = np.full(SHAPE, NOISE**2, np.float32)
SCHEMA = MaskSchema([MaskPlane("NO_DATA", "")])
WCS = astropy.wcs.WCS(
    {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 100.5, "CRPIX2": 80.5, "CRVAL1": 150.1,
        "CRVAL2": 2.2, "CDELT1": -0.2 / 3600, "CDELT2": 0.2 / 3600,
    }
)  # fmt: skip


def same(first: IdentifiedBlends, second: IdentifiedBlends, *, exactly: bool = True) -> None:
    """Compare what was found but for units and positions on the sky."""
    np.testing.assert_array_equal(first.segmentation, second.segmentation)
    for name in ("area", "n_peaks", "p_blended", "p_n_2", "flag"):
        np.testing.assert_allclose(first.blend[name], second.blend[name], rtol=0 if exactly else 1e-4)
    for name in ("i_x", "i_y", "significance", "peak_value"):
        tolerance = 0 if exactly else 1e-4
        np.testing.assert_allclose(first.blend_peak[name], second.blend_peak[name], rtol=tolerance)


@pytest.fixture(scope="module")
def plain() -> IdentifiedBlends:
    return identify_blends(PIXELS, psf_fwhm=FWHM)


@pytest.fixture(scope="module")
def with_variance() -> IdentifiedBlends:
    return identify_blends(PIXELS, variance=VARIANCE, psf_fwhm=FWHM, subtract_background=False)


def test_result(plain: IdentifiedBlends, tmp_path: Path) -> None:
    assert len(plain.blend) == 4
    assert sorted(plain.blend["n_peaks"]) == [1, 1, 1, 2]
    assert plain.segmentation.shape == SHAPE and plain.segmentation.dtype == np.int32
    assert np.bincount(plain.segmentation.ravel())[1:].tolist() == plain.blend["area"].tolist()
    p = np.asarray(plain.blend["p_blended"])
    is_pair = np.asarray(plain.blend["n_peaks"]) == 2
    # A mixture of classifiers is less sure of two stars than that of features is.
    assert p[is_pair] > 0.5 and plain.blend["p_blended_features"][is_pair] > 0.9
    assert np.array_equal(p, plain.blend["p_blended_ensemble"])
    assert (p[~is_pair] < 0.2).all() and (plain.blend["p_blended_features"][~is_pair] < 0.2).all()
    peaks = plain.blend_peak
    assert (~peaks["is_inferred"]).sum() == 5 and (peaks["probability"][~peaks["is_inferred"]] > 0.5).all()
    n = len(peaks)
    inferred = f" ({n - 5} of them inferred)" if n > 5 else ""
    expected = (
        f"<IdentifiedBlends: 4 footprints, {n} peaks{inferred}, {p.sum():.1f} blends expected; "
        "model ensemble-i-1>"
    )
    assert repr(plain) == expected
    write_tables(plain, tmp_path, "scene")
    assert len(read_tables(tmp_path, "scene").blend) == 4


def test_likely_peaks(plain: IdentifiedBlends) -> None:
    peaks = with_inferred(plain, share=1.0).blend_peak
    found = dataclasses.replace(plain, blend_peak=peaks)
    assert "5 peaks" in repr(plain) and "9 peaks (4 of them inferred)" in repr(found)
    likely = found.likely_peaks()
    assert 0 < len(likely) < len(peaks)
    assert np.all(np.diff(likely["probability"]) <= 0.0) and likely["probability"].min() >= 0.75
    assert set(likely["peak_id"]) == set(peaks["peak_id"][peaks["probability"] >= 0.75])
    parts = [found.likely_peaks(0.0, inferred=inferred) for inferred in (True, False)]
    assert [len(part) for part in parts] == [4, 5] and parts[0]["is_inferred"].all()
    unknown = peaks.copy()
    unknown["probability"][2] = np.nan
    assert len(dataclasses.replace(plain, blend_peak=unknown).likely_peaks(0.0)) == 8
    with pytest.raises(ValueError, match="a probability between 0 and 1"):
        found.likely_peaks(50.0)


def test_it_finds_what_the_command_finds(plain: IdentifiedBlends, tmp_path: Path) -> None:
    astropy.io.fits.writeto(tmp_path / "image.fits", PIXELS)
    options = ("--psf-fwhm", "0.7", "--pixel-scale", "0.2", "--out", str(tmp_path))
    done = CliRunner().invoke(main, ["run", str(tmp_path / "image.fits"), *options])
    assert done.exit_code == 0, done.output
    tables = read_tables(tmp_path, "image")
    for name in tables.blend.colnames:
        np.testing.assert_array_equal(tables.blend[name], plain.blend[name], err_msg=name)
    for name in tables.blend_peak.colnames:
        np.testing.assert_array_equal(tables.blend_peak[name], plain.blend_peak[name], err_msg=name)


@pytest.mark.parametrize("variance", [None, VARIANCE], ids=["without", "with variance"])
def test_the_sky_is_subtracted_as_the_command_does(variance: np.ndarray | None, tmp_path: Path) -> None:
    """From arrays as from plain files, with variance or without; from coadds of lsst.images only without."""
    sky = PIXELS + np.linspace(300.0, 340.0, SHAPE[1], dtype=np.float32)
    deviation = None if variance is None else StdDevUncertainty(np.sqrt(variance))
    ccd = CCDData(sky, unit="adu", uncertainty=deviation)
    hdus = [astropy.io.fits.PrimaryHDU(sky)]
    planes = MaskedImage(Image(sky), mask_schema=SCHEMA, variance=Image(VARIANCE))
    if variance is not None:
        hdus.append(astropy.io.fits.ImageHDU(variance, name="VAR"))
    astropy.io.fits.HDUList(hdus).writeto(tmp_path / "image.fits")
    options = ("--psf-fwhm", "0.7", "--pixel-scale", "0.2", "--out", str(tmp_path))
    assert CliRunner().invoke(main, ["run", str(tmp_path / "image.fits"), *options]).exit_code == 0
    tables = read_tables(tmp_path, "image")
    for image in (sky, ccd):
        found = identify_blends(image, variance=variance if image is sky else None, psf_fwhm=FWHM)
        assert found.blend.meta["background_mean"] == pytest.approx(320.0, abs=3.0)
        for name in ("area", "n_peaks", "p_blended"):
            np.testing.assert_allclose(found.blend[name], tables.blend[name], rtol=1e-4)
        assert not found.blend["flag_outside_model_range"].any()
    one = find_footprints(sky, variance=variance, psf_fwhm=FWHM)
    np.testing.assert_array_equal(one.segmentation, found.segmentation)
    assert "background_mean" not in find_footprints(planes, psf_fwhm=FWHM).metadata
    assert "background_mean" in find_footprints(planes.image, psf_fwhm=FWHM).metadata


@pytest.mark.parametrize(
    "convert",
    [
        lambda a: a.astype(">f4"),
        lambda a: a.astype("<f8"),
        lambda a: a.astype(">f8"),
        lambda a: np.asfortranarray(a),
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        lambda a: np.ma.masked_array(a, mask=False),
        lambda a: a.tolist(),
        lambda a: a * u.electron,
        lambda a: NDData(a),
        lambda a: CCDData(a, unit="adu"),
        lambda a: Image(a),
        lambda a: Image(a, unit=u.electron),
    ],
    ids=[
        "big-endian", "double", "big-endian double", "Fortran", "view", "masked array", "list", "electrons",
        "NDData", "CCDData", "lsst.images", "lsst.images with unit",
    ],
)  # fmt: skip
def test_kinds_of_images(plain: IdentifiedBlends, convert: Callable[[np.ndarray], Any]) -> None:
    image = convert(PIXELS)
    same(identify_blends(image, psf_fwhm=FWHM), plain)


@pytest.mark.parametrize("dtype", ["i2", ">i2", "u2", "i4", ">i4", "i8"])
def test_integers(dtype: str) -> None:
    rounded = np.rint(PIXELS + 100.0)
    same(identify_blends(rounded.astype(dtype), psf_fwhm=FWHM), identify_blends(rounded, psf_fwhm=FWHM))


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (PIXELS, {"variance": NOISE**2}),
        (PIXELS * u.electron, {"variance": VARIANCE * 1e-6 * u.Unit(1000 * u.electron) ** 2}),
        (PIXELS, {"variance": np.ma.masked_array(VARIANCE, mask=False)}),
        (CCDData(PIXELS, unit="adu", uncertainty=StdDevUncertainty(np.sqrt(VARIANCE))), {}),
        (CCDData(PIXELS, unit="adu", uncertainty=VarianceUncertainty(VARIANCE)), {}),
        (CCDData(PIXELS, unit="adu", uncertainty=InverseVariance(1.0 / VARIANCE)), {}),
        (NDData(PIXELS, uncertainty=StdDevUncertainty(np.sqrt(VARIANCE))), {}),
        (NDData(PIXELS, uncertainty=StdDevUncertainty(np.ones(SHAPE))), {"variance": VARIANCE}),
        (MaskedImage(Image(PIXELS), mask_schema=SCHEMA, variance=Image(VARIANCE)), {}),
    ],
    ids=[
        "number",
        "unit",
        "masked",
        "deviation",
        "variance",
        "weight",
        "NDData",
        "given wins",
        "lsst.images",
    ],
)
def test_variance(with_variance: IdentifiedBlends, image: Any, options: dict[str, Any]) -> None:
    found = identify_blends(image, psf_fwhm=FWHM, subtract_background=False, **options)
    assert found.blend.meta["noise_source"] == "variance"
    assert found.blend.meta["noise_sigma"] == pytest.approx(NOISE)
    assert "background_mean" not in found.blend.meta
    same(found, with_variance, exactly=False)


def _hide(flags: bool = True) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[30:70, 80:130] = flags
    return mask


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        (PIXELS, _hide()),
        (PIXELS, _hide().astype(np.uint8) * 4),
        (np.where(_hide(), np.nan, PIXELS), None),
        (np.ma.masked_array(PIXELS, mask=_hide()), None),
        (np.ma.masked_array(PIXELS, mask=_hide(), fill_value=1e20), np.zeros(SHAPE, dtype=bool)),
        (CCDData(PIXELS, unit="adu", mask=_hide()), None),
        (Image(PIXELS), _hide()),
    ],
    ids=["bool", "bits", "NaN", "masked array", "both", "CCDData", "lsst.images"],
)
def test_masks(image: Any, mask: np.ndarray | None) -> None:
    found = identify_blends(image, mask=mask, psf_fwhm=FWHM)
    assert len(found.blend) == 3  # Without the pair.
    assert not (found.segmentation[30:70, 80:130]).any()


def test_mask_planes_of_lsst_images_are_used_and_left_alone() -> None:
    mask = Mask(0, schema=SCHEMA, bbox=Box.from_shape(SHAPE))
    mask.set("NO_DATA", _hide())
    image = MaskedImage(Image(PIXELS), mask=mask, variance=Image(VARIANCE))
    assert len(identify_blends(image, psf_fwhm=FWHM).blend) == 3
    also = np.zeros(SHAPE, dtype=bool)
    also[100:140, 40:80] = True
    assert len(identify_blends(image, mask=also, psf_fwhm=FWHM).blend) == 2
    np.testing.assert_array_equal(image.mask.get("NO_DATA"), _hide())
    np.testing.assert_array_equal(image.image.array, PIXELS)


def test_nothing_is_changed() -> None:
    image, variance, mask, psf = PIXELS.copy(), VARIANCE.copy(), _hide(), kolmogorov_kernel(FWHM, 41) * 3.0
    for array in (image, variance, mask, psf):
        array.flags.writeable = False
    found = identify_blends(image, variance=variance, mask=mask, psf=psf)
    np.testing.assert_array_equal(image, PIXELS)
    assert not np.shares_memory(found.detection.image, image)


def test_ways_to_give_the_psf(plain: IdentifiedBlends) -> None:
    for psf_fwhm, options in (
        (FWHM * u.pix, {}),
        (0.7 * u.arcsec, {"pixel_scale": 0.2}),
        (0.7 * u.arcsec, {"pixel_scale": 0.2 * u.arcsec}),
        (0.7 * u.arcsec, {"pixel_scale": 0.2 * u.arcsec / u.pix}),
        (700.0 * u.mas, {"wcs": WCS}),
    ):
        same(identify_blends(PIXELS, psf_fwhm=psf_fwhm, **options), plain)
    same(identify_blends(PIXELS, psf=7.0 * kolmogorov_kernel(FWHM).astype(">f8")), plain, exactly=False)
    ccd = CCDData(PIXELS, unit="adu", psf=kolmogorov_kernel(FWHM))
    same(identify_blends(ccd), plain)
    # One that is given is used instead.
    wide = identify_blends(ccd, psf_fwhm=5.0)
    assert wide.blend.meta["psf_sigma"] > 1.2 * plain.blend.meta["psf_sigma"]
    gaussian = GaussianPointSpreadFunction(1.6, stamp_size=25, bounds=Box.from_shape(SHAPE))
    assert identify_blends(PIXELS, psf=gaussian).blend.meta["psf_sigma"] == pytest.approx(1.6, rel=1e-3)


def test_positions_on_the_sky() -> None:
    projection = SkyProjection.from_fits_wcs(WCS, GeneralFrame(unit=u.pix))
    for image, options in (
        (PIXELS, {"wcs": WCS}),
        (PIXELS, {"wcs": projection}),
        (CCDData(PIXELS, unit="nJy", wcs=WCS), {}),
        (Image(PIXELS, sky_projection=projection), {}),
    ):
        found = identify_blends(image, psf_fwhm=FWHM, **options)
        sky = WCS.pixel_to_world(found.blend_peak["f_x"], found.blend_peak["f_y"])
        np.testing.assert_allclose(found.blend_peak["ra"], sky.ra.deg, atol=1e-9)
        np.testing.assert_allclose(found.blend_peak["dec"], sky.dec.deg, atol=1e-9)


def test_wcs_that_is_not_celestial() -> None:
    spectral = astropy.wcs.WCS({"CTYPE1": "WAVE", "CTYPE2": "WAVE", "CUNIT1": "m", "CUNIT2": "m"})
    with pytest.raises(ValueError, match="the WCS cannot be used"):
        identify_blends(PIXELS, psf_fwhm=FWHM, wcs=spectral)
    with pytest.warns(UserWarning, match="no positions on the sky"):
        found = identify_blends(NDData(PIXELS, wcs=astropy.wcs.WCS(naxis=2)), psf_fwhm=FWHM)
    assert np.isnan(found.blend["ra"]).all()


def test_zero_point(plain: IdentifiedBlends) -> None:
    assert np.isnan(plain.blend["mag"]).all()
    found = identify_blends(PIXELS, psf_fwhm=FWHM, zero_point=27.0)
    np.testing.assert_allclose(found.blend["mag"], 27.0 - 2.5 * np.log10(plain.blend["flux"]), atol=1e-4)
    assert found.blend["flux"].unit == u.nJy
    for image in (PIXELS * u.nJy, CCDData(PIXELS, unit="nJy"), Image(PIXELS, unit=u.nJy)):
        same(identify_blends(image, psf_fwhm=FWHM), identify_blends(PIXELS, psf_fwhm=FWHM, zero_point=31.4))
    # Such a depth is none that the model knows.
    bright = identify_blends(PIXELS, psf_fwhm=FWHM, zero_point=20.0)
    assert bright.blend["flag_outside_model_range"].all()


def test_band_of_the_header() -> None:
    found = identify_blends(CCDData(PIXELS, unit="adu", meta={"FILTER": "i", "N": 3}), psf_fwhm=FWHM)
    assert found.blend.meta["band"] == "i"
    with pytest.raises(
        ValueError, match=r"no model for band r \(ensemble-i-1 is for i\); name one with model="
    ):
        identify_blends(CCDData(PIXELS, unit="adu", meta={"FILTER": "DECam r"}), psf_fwhm=FWHM)


def test_model_and_config(plain: IdentifiedBlends) -> None:
    found = identify_blends(PIXELS, psf_fwhm=FWHM, model="logistic-i-1")
    assert "model logistic-i-1>" in repr(found)
    assert {c for c in found.blend.colnames if c.startswith("p_blended")} == {
        "p_blended",
        "p_blended_logistic",
    }
    config = BlendIdentificationConfig()
    config.footprints.noiseSource = "clipped"
    config.footprints.doSubtractBackground = True
    same(identify_blends(PIXELS, psf_fwhm=FWHM, config=config), plain)


def test_background(plain: IdentifiedBlends) -> None:
    sky = PIXELS + np.float32(256.0)
    same(identify_blends(sky, psf_fwhm=FWHM), plain, exactly=False)
    same(identify_blends(PIXELS, psf_fwhm=FWHM, subtract_background=True), plain)


CUBE = np.zeros((3, 40, 50))


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (
            PIXELS,
            {},
            r"there is no PSF with the image \(ndarray\); give psf=, .* or psf_fwhm=, its width in pixels",
        ),
        (
            CUBE,
            {"psf_fwhm": 3.0},
            r"shape \(3, 40, 50\); a two-dimensional one is needed, such as image\[0\]",
        ),
        (PIXELS[0], {"psf_fwhm": 3.0}, r"shape \(200,\); a two-dimensional one"),
        (PIXELS[:0], {"psf_fwhm": 3.0}, r"shape \(0, 200\)"),
        (PIXELS > 0, {"psf_fwhm": 3.0}, r"holds bool, no real numbers; convert it with astype\(float\)"),
        (PIXELS + 1j, {"psf_fwhm": 3.0}, "holds complex"),
        (PIXELS.astype(str), {"psf_fwhm": 3.0}, "holds <U"),
        (PIXELS * np.nan, {"psf_fwhm": 3.0}, "every pixel of the image is masked or not finite"),
        (PIXELS, {"psf_fwhm": 3.0, "mask": True}, "every pixel of the image is masked or not finite"),
        (np.ma.masked_all(SHAPE), {"psf_fwhm": 3.0}, "every pixel of the image is masked or not finite"),
        (
            PIXELS,
            {"psf_fwhm": 3.0, "variance": VARIANCE[1:]},
            r"the variance has shape \(159, 200\), the image",
        ),
        (PIXELS, {"psf_fwhm": 3.0, "variance": -VARIANCE}, "the variance is nowhere positive; leave it out"),
        (
            PIXELS,
            {"psf_fwhm": 3.0, "variance": VARIANCE * u.nJy**2},
            "variance is in nJy2, the image in no unit",
        ),
        (PIXELS, {"psf_fwhm": 3.0, "variance": "ivar"}, "the variance holds <U4"),
        (PIXELS, {"psf_fwhm": 3.0, "mask": _hide()[:, 1:]}, r"mask has shape \(160, 199\), the image"),
        (PIXELS, {"psf_fwhm": 3.0, "mask": VARIANCE}, "mask holds float32; it must hold booleans"),
        (PIXELS, {"psf_fwhm": 3.0, "psf": np.eye(3)}, "psf= and psf_fwhm= are both given"),
        (PIXELS, {"psf": np.ones((24, 25))}, r"shape \(24, 25\); it needs two odd sides"),
        (PIXELS, {"psf": "psf.fits"}, "psf is a str; give an image of the PSF"),
        (
            PIXELS,
            {"psf_fwhm": 0.7 * u.arcsec},
            "an angle, but the pixel size is not known; give pixel_scale=",
        ),
        (PIXELS, {"psf_fwhm": 3.0 * u.s}, "psf_fwhm is in s; give it in pixels or as an angle"),
        (PIXELS, {"psf_fwhm": 0.0}, "psf_fwhm is 0.0; it must be positive and finite"),
        (PIXELS, {"psf_fwhm": 0.7}, "psf_fwhm is 0.7 pixels; it must be from 0.8 to 60"),
        (PIXELS, {"psf_fwhm": float("nan")}, "psf_fwhm is nan; it must be positive and finite"),
        (
            PIXELS,
            {"psf_fwhm": 0.7 * u.arcsec, "pixel_scale": -0.2},
            "pixel_scale is -0.2; it must be positive and finite",
        ),
        (PIXELS, {"psf_fwhm": 3.0, "zero_point": float("nan")}, "zero_point is nan; give a finite number"),
        (PIXELS, {"psf_fwhm": 3.0, "band": "z"}, "z"),
        (PIXELS, {"psf_fwhm": 3.0, "model": "nonsense"}, "nonsense"),
        (PIXELS, {"psf_fwhm": 3.0, "config": BlendIdentificationConfig()}, "there is none; give variance="),
        (
            PIXELS,
            {"psf_fwhm": 3.0, "model": "peaks-i-1", "config": BlendIdentificationConfig()},
            "config= replaces model=",
        ),
    ],
)
def test_misuse_names_the_thing_and_the_remedy(image: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        identify_blends(image, **options)
    assert "\n" not in str(caught.value)


def test_other_objects_are_refused() -> None:
    with pytest.raises(TypeError, match="not a dict; give its pixels as an array"):
        identify_blends({"image": PIXELS}, psf_fwhm=FWHM)


def test_find_footprints(plain: IdentifiedBlends, with_variance: IdentifiedBlends) -> None:
    found = find_footprints(PIXELS, psf_fwhm=FWHM)
    np.testing.assert_array_equal(found.segmentation, plain.segmentation)
    assert repr(found).startswith("<DetectionResult: 4 footprints with 5 peaks, noise 5.")
    again = find_footprints(PIXELS, variance=VARIANCE, psf_fwhm=FWHM, subtract_background=False)
    np.testing.assert_array_equal(again.segmentation, with_variance.segmentation)
    assert len(find_footprints(PIXELS, psf_fwhm=FWHM, threshold=150.0).footprints) == 1
    config = FootprintConfig()
    with pytest.raises(ValueError, match="there is none; give variance="):
        find_footprints(PIXELS, psf_fwhm=FWHM, config=config)
    with pytest.raises(ValueError, match="config= replaces threshold="):
        find_footprints(PIXELS, psf_fwhm=FWHM, config=config, threshold=3.0)
    for wrong in (-1.0, 0, float("nan"), "5"):
        with pytest.raises(ValueError, match=rf"^threshold is {wrong}; give a positive number$"):
            find_footprints(PIXELS, psf_fwhm=FWHM, threshold=wrong)  # type: ignore[arg-type]


def test_measure_features(plain: IdentifiedBlends) -> None:
    table = measure_features(plain)
    assert table.colnames == ["footprint_id", *FEATURE_NAMES]
    assert table["footprint_id"].tolist() == plain.blend["footprint_id"].tolist()
    assert table["n_peaks"].tolist() == plain.blend["n_peaks"].tolist()
    assert all(column.description for column in table.itercols())
    again = measure_features(find_footprints(PIXELS, psf_fwhm=FWHM))
    for name in table.colnames:
        np.testing.assert_array_equal(table[name], again[name])
    none = measure_features(find_footprints(PIXELS, psf_fwhm=FWHM, threshold=1e6))
    assert len(none) == 0
    assert none.dtype == table.dtype
    with pytest.raises(TypeError, match="what find_footprints or identify_blends returned, not in a ndarray"):
        measure_features(PIXELS)  # type: ignore[arg-type]


def test_import_of_the_package_stays_light() -> None:
    program = "import sys, lsst.meas.blendid; print(sorted({'numpy', 'astropy', 'numba'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_everything_public_is_on_the_api_page(repo_root: Path) -> None:
    page = (repo_root / "doc" / "lsst.meas.blendid" / "api.rst").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\.\. automodule:: lsst\.meas\.blendid\.(\S+)$", page, re.MULTILINE))
    for name in package.__all__:
        if name == "__version__":
            continue
        home = package._HOME[name]
        assert home in documented, f"{name} of {home}"
        module = __import__(f"lsst.meas.blendid.{home}", fromlist=["__all__"])
        assert name in module.__all__, name

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""Variance, weight, error, mask and PSF beside a plain image."""

from __future__ import annotations

from pathlib import Path

import astropy.io.fits
import numpy as np
import pytest
from astropy.table import Table
from lsst.meas.blendid.cli._config import make_config
from lsst.meas.blendid.footprints import detect
from lsst.meas.blendid.images import InputImage, PlaneFile, ReadError, read_image
from lsst.meas.blendid.images._companions import find_role
from lsst.meas.blendid.images.psf import adaptive_sigma, kolmogorov_kernel
from lsst.meas.blendid.model_package import ModelPackage
from lsst.meas.blendid.training import FileScene, settings_of_image

SHAPE = (150, 160)
SIGMA = np.where(np.arange(SHAPE[1]) < 100, 2.0, 6.0) * np.ones((SHAPE[0], 1))


def make_pixels() -> np.ndarray:
    return (np.random.default_rng(1).normal(0.0, 1.0, SHAPE) * SIGMA + 500.0).astype(np.float32)


def write(path: Path, *planes: tuple[str, np.ndarray], unit: str | None = None, **cards: object) -> Path:
    hdus = [astropy.io.fits.PrimaryHDU(), astropy.io.fits.ImageHDU(make_pixels(), name="SCI")]
    if unit is not None:
        hdus[1].header["BUNIT"] = unit
    for name, array in planes:
        hdus.append(astropy.io.fits.ImageHDU(array, name=name or None))
        hdus[-1].header.update(cards)
    astropy.io.fits.HDUList(hdus).writeto(path)
    return path


def read(path: Path, **options: object) -> InputImage:
    return read_image(path, **{"psf_fwhm": 0.7, "pixel_scale": 0.2} | options)  # type: ignore[arg-type]


def others(image: InputImage) -> list[str]:
    """What is always shown, but for band and WCS."""
    return [note for note in image.decisive if "band" not in note and "WCS" not in note]


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("VAR", "variance"),
        ("VARIANCE", "variance"),
        ("ERR", "error"),
        ("sci_err", "error"),
        ("UNCERT", "error"),
        ("IVM", "inverse variance"),
        ("INV_VAR", "inverse variance"),
        ("WHT", "weight"),
        ("Weight", "weight"),
        ("DQ", "mask"),
        ("MSK", "mask"),
        ("SCI", None),
        ("CTX", None),
        ("", None),
    ],
)
def test_names(name: str, role: str | None) -> None:
    assert find_role(astropy.io.fits.ImageHDU(name=name)) == role


@pytest.mark.parametrize(
    ("name", "plane"),
    [
        ("VAR", SIGMA**2),
        ("ERR", SIGMA),
        ("IVM", SIGMA**-2),
        ("WHT", SIGMA**-2),
        ("", SIGMA**2),
    ],
)
def test_noise_is_found(tmp_path: Path, name: str, plane: np.ndarray) -> None:
    """By name, or by a unit that is the square of that of the image."""
    cards = {} if name else {"BUNIT": "Jy2"}
    path = write(tmp_path / "a.fits", (name, plane.astype("f4")), unit=None if name else "Jy", **cards)
    image = read(path)
    assert image.has_variance
    assert image.has_sky
    np.testing.assert_allclose(image.masked_image.variance.array, SIGMA**2, rtol=1e-5)
    assert others(image) == []
    assert any("noise from" in note for note in image.notes)
    # The same pixels without it.
    for option in ("variance", "error", "weight"):
        bare = read(path, **{option: False})
        used = {"variance": ("VAR", ""), "error": ("ERR",), "weight": ("IVM", "WHT")}[option]
        assert bare.has_variance == (name not in used)
        if not bare.has_variance:
            assert "is not used" in others(bare)[0]


def test_exposure_map_is_scaled_to_the_noise_and_told(tmp_path: Path) -> None:
    image = read(write(tmp_path / "a.fits", ("WHT", (3000.0 * SIGMA**-2).astype("f4"))))
    np.testing.assert_allclose(image.masked_image.variance.array, SIGMA**2, rtol=0.03)
    assert len(others(image)) == 1
    assert "HDU WHT, taken as relative weight" in others(image)[0]


def test_inverse_variance_is_believed_and_doubted(tmp_path: Path) -> None:
    image = read(write(tmp_path / "a.fits", ("IVM", (10.0 * SIGMA**-2).astype("f4"))))
    np.testing.assert_allclose(image.masked_image.variance.array, 0.1 * SIGMA**2, rtol=1e-5)
    assert "the pixels scatter 3.1" in others(image)[0]
    assert "--weight none" in others(image)[0]


def test_units_of_the_planes(tmp_path: Path) -> None:
    image = read(write(tmp_path / "a.fits", ("ERR", SIGMA * 1e3), unit="Jy", BUNIT="mJy"))
    np.testing.assert_allclose(image.masked_image.variance.array, SIGMA**2, rtol=1e-5)


def test_units_of_the_planes_as_surveys_write_them(tmp_path: Path) -> None:
    """As the unit of the image itself is understood."""
    plane = ("", (SIGMA**2).astype("f4"))
    image = read(write(tmp_path / "a.fits", plane, unit="ADU/pixel", BUNIT="adu2"))
    assert image.has_variance
    np.testing.assert_allclose(image.masked_image.variance.array, SIGMA**2, rtol=1e-5)


def test_sky_is_subtracted_with_the_noise_of_a_plane_too(tmp_path: Path) -> None:
    """In training as in a run, and models that know either noise take it for theirs."""
    path = write(tmp_path / "a.fits", ("ERR", SIGMA))
    Table({"x": [30.0], "y": [30.0], "snr": [9.0]}).write(tmp_path / "truth.ecsv")
    scene = FileScene(path, tmp_path / "truth.ecsv", psf_fwhm=0.7, pixel_scale=0.2).load()
    settings = settings_of_image(has_variance=scene.has_variance, has_sky=scene.has_sky)
    assert (settings.noiseSource, settings.doSubtractBackground) == ("variance", True)
    assert settings.toDict() == make_config(has_variance=True, has_sky=True).footprints.toDict()
    assert len(detect(scene.masked_image, psf=scene.psf, config=settings).footprints) == 0
    package = ModelPackage.read("peaks-i-1")
    assert package.footprint_differences(settings.toDict()) == []
    settings.noiseSource, settings.doSubtractBackground = "clipped", False
    assert len(package.footprint_differences(settings.toDict())) == 1


@pytest.mark.parametrize("none", [0.0, -1.0, np.nan])
def test_pixels_without_weight_have_no_data(tmp_path: Path, none: float) -> None:
    weight = SIGMA**-2
    weight[20:30] = none
    image = read(write(tmp_path / "a.fits", ("WHT", weight)))
    rows = image.masked_image.mask.get("NO_DATA").all(axis=1)
    assert np.flatnonzero(rows).tolist() == list(range(20, 30))
    error = SIGMA.copy()
    error[20:30] = np.inf
    other = read(write(tmp_path / "b.fits", ("ERR", error)))
    np.testing.assert_array_equal(
        other.masked_image.mask.get("NO_DATA"), image.masked_image.mask.get("NO_DATA")
    )


def test_noise_that_is_nowhere_usable(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", ("WHT", np.zeros(SHAPE)))
    image = read(path)
    assert not image.has_variance
    assert "HDU WHT is nowhere positive and finite and is not used" in others(image)[0]
    with pytest.raises(ReadError, match="nowhere positive"):
        read(path, weight="WHT")


@pytest.mark.parametrize(("bits", "value"), [(None, 1), (None, 64), (5, 4), (1, 4)])
def test_masks(tmp_path: Path, bits: int | None, value: int) -> None:
    mask = np.zeros(SHAPE, np.int16)
    mask[40:45] = value
    expected = (mask != 0) if bits is None else (mask & bits) != 0
    path = write(tmp_path / "a.fits", ("DQ", mask))
    image = read(path, mask_bits=bits)
    np.testing.assert_array_equal(image.masked_image.mask.get("NO_DATA"), expected)
    assert others(image) == []
    assert not read(path, mask=False).masked_image.mask.get("NO_DATA").any()
    # As a file of its own, of floats too.
    astropy.io.fits.writeto(tmp_path / "mask.fits", mask.astype("f4"))
    bare = write(tmp_path / "bare.fits")
    other = read(bare, mask=PlaneFile(str(tmp_path / "mask.fits")), mask_bits=bits)
    np.testing.assert_array_equal(other.masked_image.mask.get("NO_DATA"), expected)


def test_mask_of_all_and_of_most(tmp_path: Path) -> None:
    mask = np.ones(SHAPE, np.int16)
    with pytest.raises(ReadError, match=r"marks every pixel .*--mask none"):
        read(write(tmp_path / "a.fits", ("MSK", mask)))
    mask[:40] = 0
    assert "--mask none leaves it out" in others(read(write(tmp_path / "b.fits", ("MSK", mask))))[0]


def test_those_of_the_same_version_are_taken(tmp_path: Path) -> None:
    hdus = [astropy.io.fits.PrimaryHDU()]
    for version in (1, 2):
        hdus += [
            astropy.io.fits.ImageHDU(make_pixels(), name="SCI", ver=version),
            astropy.io.fits.ImageHDU(SIGMA * version, name="ERR", ver=version),
        ]
    astropy.io.fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    image = read(tmp_path / "a.fits", hdu=("SCI", 2))
    np.testing.assert_allclose(image.masked_image.variance.array, 4.0 * SIGMA**2, rtol=1e-5)
    first = read(tmp_path / "a.fits")
    np.testing.assert_allclose(first.masked_image.variance.array, SIGMA**2, rtol=1e-5)
    assert (
        "the image is HDU 1 SCI; HDU 3 SCI (160 × 150), 4 ERR (160 × 150) of the file are" in others(first)[0]
    )


def test_other_images_are_told(tmp_path: Path) -> None:
    image = read(write(tmp_path / "a.fits", ("CTX", np.ones(SHAPE, "i4")), ("VAR", np.ones((3, 3)))))
    assert others(image) == [
        "the image is HDU 1 SCI; HDU 2 CTX (160 × 150), 3 VAR (3 × 3) of the file are not used "
        "(--hdu, --variance, --error, --weight and --mask choose)"
    ]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"variance": "VAR", "weight": "VAR"}, "give one of --variance and --weight"),
        ({"variance": "NIX"}, "has no HDU 'NIX'; it has 0 PRIMARY, 1 SCI"),
        ({"mask": "VAR", "mask_bits": 0}, "--mask-bits is 0"),
        ({"mask": "DQ", "mask_bits": 256}, "--mask-bits is 256, but the mask of HDU DQ has 8 bits"),
        ({"mask": "VAR", "mask_bits": 2**70}, "but the mask of HDU VAR has 64 bits"),
        ({"weight": PlaneFile("nothing.fits")}, "nothing.fits: no such file"),
        ({"psf": "VAR"}, "give --psf-fwhm or an image of the PSF, not both"),
    ],
)
def test_bad_options(tmp_path: Path, options: dict[str, object], match: str) -> None:
    path = write(tmp_path / "a.fits", ("VAR", SIGMA**2), ("DQ", np.zeros(SHAPE, np.uint8)))
    with pytest.raises(ReadError, match=match):
        read(path, **options)


def test_bits_without_a_mask_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", ("VAR", SIGMA**2))
    assert others(read(path, mask_bits=4)) == [
        "there is no mask that --mask-bits 4 could choose from; --mask names one"
    ]


def test_planes_that_do_not_fit(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", ("VAR", np.ones((3, 3))))
    with pytest.raises(ReadError, match=r"image \(150, 160\) and variance \(3, 3\) differ in shape"):
        read(path, variance="VAR")


# The PSF


def test_psf_of_a_file_is_centred_and_made_odd(tmp_path: Path) -> None:
    image, psf = write(tmp_path / "a.fits"), tmp_path / "psf.fits"
    kernel = kolmogorov_kernel(3.5, 41)
    hdus = [astropy.io.fits.PrimaryHDU(), astropy.io.fits.ImageHDU(np.pad(7.0 * kernel, ((3, 0), (0, 5))))]
    astropy.io.fits.HDUList(hdus).writeto(psf)
    read_psf = read(image, psf_fwhm=None, psf=PlaneFile(str(psf))).psf
    np.testing.assert_allclose(read_psf, kernel, rtol=1e-9, atol=1e-12)
    # One that lies between pixels, on even sides.
    even = 0.25 * (kernel[1:, 1:] + kernel[:-1, 1:] + kernel[1:, :-1] + kernel[:-1, :-1])
    astropy.io.fits.writeto(tmp_path / "even.fits", even)
    read_even = read(image, psf_fwhm=None, psf=PlaneFile(str(tmp_path / "even.fits"))).psf
    assert isinstance(read_even, np.ndarray)
    assert read_even.shape == (39, 39)
    assert read_even.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(read_even, read_even[::-1, ::-1], atol=1e-6)
    assert adaptive_sigma(read_even) == pytest.approx(adaptive_sigma(even), rel=0.01)


def test_psf_of_the_file_itself(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.fits", ("PSF", kolmogorov_kernel(3.5, 41)), ("STAR", kolmogorov_kernel(4.5, 41))
    )
    for options, fwhm in (({}, 3.5), ({"psf": "STAR"}, 4.5), ({"psf": 3}, 4.5)):
        psf = read(path, psf_fwhm=None, **options).psf
        assert isinstance(psf, np.ndarray)
        np.testing.assert_allclose(psf, kolmogorov_kernel(fwhm, 41), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("psf", "match"),
    [
        (np.full((9, 9), np.nan), "not finite"),
        (-np.ones((9, 9)), "no positive sum"),
        (np.ones((2, 9)), "too small"),
        (np.ones((9, 9)), "too wide|PSF"),
        (np.eye(9)[:1] + np.zeros((9, 1)), "on its rim|PSF"),
    ],
)
def test_psf_that_is_none(tmp_path: Path, psf: np.ndarray, match: str) -> None:
    path = tmp_path / "psf.fits"
    astropy.io.fits.writeto(path, psf)
    with pytest.raises(ReadError, match=match) as caught:
        read(write(tmp_path / "a.fits"), psf_fwhm=None, psf=PlaneFile(str(path)))
    assert str(path) in str(caught.value)

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Files of every layout, and damaged ones, read without lsst.afw."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import astropy.io.fits
import astropy.units as u
import astropy.wcs
import numpy as np
import pytest
from lsst.images import Box, GeneralFrame, Image, Mask, MaskedImage, MaskPlane, MaskSchema, SkyProjection
from lsst.images.psfs import GaussianPointSpreadFunction
from lsst.images.serialization import write_archive
from lsst.meas.blendid.footprints import FootprintConfig, adapt_to_image, detect
from lsst.meas.blendid.images import InputImage, ReadError, read_image
from lsst.meas.blendid.images._input_image import Notes
from lsst.meas.blendid.images._plain import find_padding
from lsst.meas.blendid.images.psf import adaptive_sigma, kolmogorov_kernel, summarize_psf
from lsst.meas.blendid.images.zero_points import ab_zero_point
from lsst.resources import ResourcePath

SHAPE = (40, 50)


def make_wcs(scale: float = 0.2, crpix: tuple[float, float] = (10.0, 20.0)) -> astropy.wcs.WCS:
    wcs = astropy.wcs.WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = list(crpix)
    wcs.wcs.cdelt = [-scale / 3600.0, scale / 3600.0]
    return wcs


def make_pixels(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)


type WritePlain = Callable[..., Path]


@pytest.fixture
def write_plain(tmp_path: Path) -> WritePlain:
    def write(
        data: np.ndarray | None = None, *, name: str = "plain.fits", wcs: bool = True, **cards: object
    ) -> Path:
        header = make_wcs().to_header() if wcs else astropy.io.fits.Header()
        for key, value in cards.items():
            header[key] = value
        path = tmp_path / name
        pixels = make_pixels() if data is None else data
        astropy.io.fits.PrimaryHDU(pixels, header).writeto(path)
        return path

    return write


# Plain FITS


def test_plain_image_with_wcs(write_plain: WritePlain) -> None:
    image = read_image(write_plain(BUNIT="nJy"), psf_fwhm=0.7)
    assert image.kind == "plain"
    assert not image.has_variance
    assert image.band is None
    masked = image.masked_image
    np.testing.assert_array_equal(masked.image.array, make_pixels())
    assert masked.image.array.dtype.isnative
    assert masked.unit == u.nJy
    assert masked.bbox == Box.factory[0:40, 0:50]
    # The reference pixel counts from 1 in FITS and from 0 here.
    assert masked.sky_projection is not None
    sky = masked.sky_projection.pixel_to_sky(x=9.0, y=19.0)
    assert sky.ra.deg == pytest.approx(150.0, abs=1e-9)
    assert sky.dec.deg == pytest.approx(2.0, abs=1e-9)
    np.testing.assert_allclose(image.psf, kolmogorov_kernel(3.5), rtol=1e-5, atol=1e-9)
    assert adaptive_sigma(image.psf) == pytest.approx(1.598, abs=0.003)
    assert any("variance" in note for note in image.notes)


def test_pixel_scale_option_wins_over_the_wcs_with_a_note(write_plain: WritePlain) -> None:
    image = read_image(write_plain(), psf_fwhm=0.7, pixel_scale=0.25)
    np.testing.assert_allclose(image.psf, kolmogorov_kernel(0.7 / 0.25), rtol=1e-9)
    assert any("0.25" in note for note in image.notes)


def test_pixel_scale_of_a_rotated_wcs(tmp_path: Path) -> None:
    wcs = make_wcs()
    angle = np.deg2rad(37.0)
    wcs.wcs.pc = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    path = tmp_path / "rotated.fits"
    astropy.io.fits.PrimaryHDU(make_pixels(), wcs.to_header()).writeto(path)
    image = read_image(path, psf_fwhm=0.7)
    np.testing.assert_allclose(image.psf, kolmogorov_kernel(3.5), rtol=1e-5, atol=1e-9)


def test_nan_pixels_are_masked(write_plain: WritePlain) -> None:
    data = make_pixels()
    data[3, 4] = np.nan
    data[5, 6] = np.inf
    masked = read_image(write_plain(data), psf_fwhm=0.7).masked_image
    assert np.argwhere(masked.mask.get("NO_DATA")).tolist() == [[3, 4], [5, 6]]


@pytest.mark.parametrize(
    ("dtype", "expected"), [("i2", "f4"), ("u1", "f4"), ("i4", "f8"), ("f8", "f8"), ("f4", "f4")]
)
def test_number_types(write_plain: WritePlain, dtype: str, expected: str) -> None:
    data = (np.arange(SHAPE[0] * SHAPE[1]) % 200).reshape(SHAPE).astype(dtype)
    array = read_image(write_plain(data), psf_fwhm=0.7).masked_image.image.array
    assert array.dtype == np.dtype(expected)
    np.testing.assert_array_equal(array, data)


def test_first_image_extension_and_hdu_option(tmp_path: Path) -> None:
    path = tmp_path / "two.fits"
    first, second = make_pixels(1), make_pixels(2)
    astropy.io.fits.HDUList(
        [
            astropy.io.fits.PrimaryHDU(),
            astropy.io.fits.BinTableHDU.from_columns(
                [astropy.io.fits.Column("a", "J", array=[1])], name="TAB"
            ),
            astropy.io.fits.ImageHDU(first, name="SCI"),
            astropy.io.fits.ImageHDU(second, name="OTHER"),
        ]
    ).writeto(path)
    options = {"psf_fwhm": 0.7, "pixel_scale": 0.2}
    image = read_image(path, **options)
    np.testing.assert_array_equal(image.masked_image.image.array, first)
    assert any("--hdu" in note for note in image.notes)
    assert image.masked_image.sky_projection is None
    for hdu in (3, "OTHER"):
        np.testing.assert_array_equal(read_image(path, hdu=hdu, **options).masked_image.image.array, second)
    with pytest.raises(ReadError, match="no HDU 'NIX'.*OTHER"):
        read_image(path, hdu="NIX", **options)
    with pytest.raises(ReadError, match="is a table"):
        read_image(path, hdu="TAB", **options)


def test_compressed_files(tmp_path: Path, write_plain: WritePlain) -> None:
    path = write_plain()
    zipped = tmp_path / "plain.fits.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    tiled = tmp_path / "plain.fits.fz"
    header = make_wcs().to_header()
    astropy.io.fits.HDUList(
        [
            astropy.io.fits.PrimaryHDU(),
            astropy.io.fits.CompImageHDU(make_pixels(), header, compression_type="GZIP_2", quantize_level=0),
        ]
    ).writeto(tiled)
    for compressed in (zipped, tiled):
        image = read_image(compressed, psf_fwhm=0.7)
        np.testing.assert_array_equal(image.masked_image.image.array, make_pixels())
        assert image.masked_image.sky_projection is not None


def test_axes_of_length_one_are_dropped(write_plain: WritePlain) -> None:
    image = read_image(write_plain(make_pixels()[None]), psf_fwhm=0.7)
    assert image.masked_image.bbox.shape == SHAPE


def test_origin_from_ltv_cards(write_plain: WritePlain) -> None:
    image = read_image(write_plain(LTV1=-300.0, LTV2=-70), psf_fwhm=0.7).masked_image
    assert image.bbox == Box.factory[70:110, 300:350]
    assert image.sky_projection is not None
    assert image.sky_projection.pixel_to_sky(x=309.0, y=89.0).ra.deg == pytest.approx(150.0, abs=1e-9)


def test_origin_of_a_binned_subimage_is_not_used(write_plain: WritePlain) -> None:
    image = read_image(write_plain(LTV1=-300.0, LTM1_1=0.5), psf_fwhm=0.7).masked_image
    assert image.bbox.x.min == 0


def test_unknown_unit_is_noted(write_plain: WritePlain) -> None:
    image = read_image(write_plain(BUNIT="furlongs/fortnight"), psf_fwhm=0.7)
    assert image.masked_image.unit is None
    assert any("furlongs" in note for note in image.notes)


def test_broken_wcs_is_noted(write_plain: WritePlain) -> None:
    path = write_plain(
        wcs=False, CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CD1_1=1e-5, CD1_2=1e-5, CD2_1=1e-5, CD2_2=1e-5
    )
    image = read_image(path, psf_fwhm=0.7, pixel_scale=0.2)
    assert image.masked_image.sky_projection is None
    assert any("WCS" in note for note in image.notes)


@pytest.mark.parametrize("frame", ["icrs", "fk5", "fk4", "galactic"])
@pytest.mark.parametrize("angle", [0.0, 30.0])
def test_celestial_frames(tmp_path: Path, frame: str, angle: float) -> None:
    wcs = make_wcs()
    turn = np.deg2rad(angle)
    wcs.wcs.pc = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    if frame == "galactic":
        wcs.wcs.ctype = ["GLON-TAN", "GLAT-TAN"]
    else:
        wcs.wcs.radesys = frame.upper()
        wcs.wcs.equinox = 1950.0 if frame == "fk4" else 2000.0
    path = tmp_path / "frame.fits"
    astropy.io.fits.PrimaryHDU(make_pixels(), wcs.to_header()).writeto(path)
    projection = read_image(path, psf_fwhm=0.7).masked_image.sky_projection
    assert projection is not None
    x, y = np.array([0.0, 49.0, 20.0, -100.0]), np.array([0.0, 39.0, 30.0, 900.0])
    separation = projection.pixel_to_sky(x=x, y=y).separation(wcs.pixel_to_world(x, y).icrs)
    assert separation.arcsec.max() < 5e-3


def test_frame_that_cannot_be_turned_is_approximated(tmp_path: Path) -> None:
    wcs = make_wcs()
    # A cylindrical projection has no single point that could be moved.
    wcs.wcs.ctype = ["GLON-CAR", "GLAT-CAR"]
    wcs.wcs.crval = [150.0, 0.0]
    wcs.wcs.crpix = [10.0, 30_000.0]
    path = tmp_path / "car.fits"
    astropy.io.fits.PrimaryHDU(make_pixels(), wcs.to_header()).writeto(path)
    image = read_image(path, psf_fwhm=0.7, pixel_scale=0.2)
    check_positions(image, wcs)
    assert any("the WCS is approximated by a polynomial" in note for note in image.notes)
    assert not any("WCS" in note for note in image.decisive)


def check_positions(image: InputImage, wcs: astropy.wcs.WCS, limit: float = 0.01) -> None:
    """Compare positions with those of astropy, arcsec."""
    x, y = np.array([0.0, 49.0, 20.0, 0.0, 49.0]), np.array([0.0, 39.0, 30.0, 39.0, 0.0])
    projection = image.masked_image.sky_projection
    assert projection is not None
    sky = projection.pixel_to_sky(x=x, y=y)
    assert sky.separation(wcs.pixel_to_world(x, y).icrs).arcsec.max() < limit


# WCS that are more than their cards, or less


def test_tables_of_distortions_are_followed(tmp_path: Path) -> None:
    """The cards alone would be 20 pixels off in x and 40 in y."""
    header = make_wcs().to_header()
    hdus = [astropy.io.fits.PrimaryHDU()]
    for i in (1, 2):
        header[f"CPDIS{i}"] = "LOOKUP"
        header[f"DP{i}.EXTVER"], header[f"DP{i}.NAXES"] = float(i), 2.0
        header[f"DP{i}.AXIS.1"], header[f"DP{i}.AXIS.2"] = 1.0, 2.0
        y, x = np.mgrid[:5, :5]
        table = (20.0 * i + 0.1 * x - 0.2 * y).astype(np.float32)
        hdus.append(astropy.io.fits.ImageHDU(table, name="WCSDVARR", ver=i))
        hdus[-1].header.update(CRPIX1=1.0, CRPIX2=1.0, CRVAL1=1.0, CRVAL2=1.0, CDELT1=12.0, CDELT2=12.0)
    hdus.insert(1, astropy.io.fits.ImageHDU(make_pixels(), header, name="SCI"))
    path = tmp_path / "tables.fits"
    astropy.io.fits.HDUList(hdus).writeto(path)
    image = read_image(path, psf_fwhm=0.7)
    with astropy.io.fits.open(path) as file:
        check_positions(image, astropy.wcs.WCS(file[1].header, file), 0.02)
    (note,) = [note for note in image.decisive if "WCS" in note]
    assert re.search("read plainly it would be up to 4[4-6][.0-9]* pixels off", note)


def test_swapped_axes(tmp_path: Path) -> None:
    wcs = make_wcs()
    wcs.wcs.ctype, wcs.wcs.crval = ["DEC--TAN", "RA---TAN"], [2.0, 150.0]
    path = tmp_path / "swapped.fits"
    astropy.io.fits.PrimaryHDU(make_pixels(), wcs.to_header()).writeto(path)
    image = read_image(path, psf_fwhm=0.7)
    check_positions(image, wcs)
    # The pixel size comes from it too.
    np.testing.assert_allclose(image.psf, kolmogorov_kernel(3.5), rtol=1e-5, atol=1e-9)


def test_polynomial_of_old_scamp(write_plain: WritePlain) -> None:
    cards = {f"PV{i}_{j}": value for i in (1, 2) for j, value in enumerate((0.001, 1.002, 3e-4))}
    image = read_image(write_plain(**cards), psf_fwhm=0.7)
    assert any("is read as TPV" in note for note in image.decisive)
    wcs = make_wcs()
    wcs.wcs.ctype = ["RA---TPV", "DEC--TPV"]
    wcs.wcs.set_pv([(int(key[2]), int(key[4]), value) for key, value in cards.items()])
    check_positions(image, wcs)


def test_plate_solution(write_plain: WritePlain) -> None:
    """The polynomial in millimetres of a scanned photographic plate."""
    cards: dict[str, object] = {"PLTRAH": 10, "PLTRAM": 0, "PLTRAS": 0.0, "PLTSCALE": 67.2}
    cards |= {"PLTDECSN": "+", "PLTDECD": 20, "PLTDECM": 0, "PLTDECS": 0.0, "CNPIX1": 6000, "CNPIX2": 7000}
    cards |= {"XPIXELSZ": 25.28, "YPIXELSZ": 25.28, "PPO3": 177500.0, "PPO6": 177500.0}
    cards |= {f"PPO{i}": 0.0 for i in (1, 2, 4, 5)}
    terms = (67.2, 0.1, -80.0, 1e-5, -2e-5, 3e-6, 0.0, 1e-6, 2e-7, 1e-6, 3e-7, 0.0, 0.0)
    cards |= {f"AMD{axis}{i}": term for axis in "XY" for i, term in enumerate(terms, 1)}
    path = write_plain(wcs=False, **cards)
    image = read_image(path, psf_fwhm=5.0)
    check_positions(image, astropy.wcs.WCS(astropy.io.fits.getheader(path)))


def test_reason_why_a_wcs_is_not_usable(write_plain: WritePlain) -> None:
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CD1_1": 1e-5, "CD1_2": 1e-5, "CD2_1": 1e-5}
    path = write_plain(wcs=False, **cards, CD2_2=1e-5)
    image = read_image(path, psf_fwhm=0.7, pixel_scale=0.2)
    (note,) = [note for note in image.decisive if "WCS" in note]
    assert note == "the WCS cannot be used (it has no finite pixel size): ra and dec are NaN"
    check_error(
        path, r"its WCS cannot be used \(it has no finite pixel size\); give --pixel-scale", psf_fwhm=0.7
    )


# Which HDU


@pytest.mark.parametrize(
    "first",
    [
        np.ones(1489, "f4"),
        np.zeros((3, 64, 64), "u1"),
        np.zeros((4, 40, 50), "f4"),
        np.zeros((64, 64, 3), "u1"),
        np.zeros((12, 16), "u1"),
    ],
    ids=["vector", "preview", "cube", "RGB", "thumbnail"],
)
def test_image_behind_something_else(tmp_path: Path, first: np.ndarray) -> None:
    path = tmp_path / "image.fits"
    hdus = [astropy.io.fits.PrimaryHDU(first), astropy.io.fits.ImageHDU(make_pixels(), name="SCI")]
    astropy.io.fits.HDUList(hdus).writeto(path)
    image = read_image(path, psf_fwhm=0.7, pixel_scale=0.2)
    np.testing.assert_array_equal(image.masked_image.image.array, make_pixels())
    assert any("the image is HDU 1 SCI; HDU 0" in note for note in image.decisive) == (first.ndim > 1)


def test_mask_before_the_image(tmp_path: Path) -> None:
    path = tmp_path / "image.fits"
    hdus = [
        astropy.io.fits.PrimaryHDU(),
        astropy.io.fits.ImageHDU(np.eye(*SHAPE, dtype="i2"), name="DQ"),
        astropy.io.fits.ImageHDU(make_pixels()),
    ]
    astropy.io.fits.HDUList(hdus).writeto(path)
    masked = read_image(path, psf_fwhm=0.7, pixel_scale=0.2).masked_image
    np.testing.assert_array_equal(masked.image.array, make_pixels())
    np.testing.assert_array_equal(masked.mask.get("NO_DATA"), np.eye(*SHAPE, dtype=bool))


# Units


@pytest.mark.parametrize(
    ("unit", "zero_point"),
    [
        ("nJy", 31.4),
        ("uJy", 23.9),
        ("UJY", 23.9),
        ("mJy", 16.4),
        ("Jy/pixel", 8.9),
        ("nanomaggy", 22.5),
        ("nanomaggies", 22.5),
        ("nmgy", 22.5),
        ("1e-9 maggy", 22.5),
        ("erg/s/cm2/Hz", -48.6),
    ],
)
def test_units_of_flux_density(write_plain: WritePlain, unit: str, zero_point: float) -> None:
    image = read_image(write_plain(BUNIT=unit), psf_fwhm=0.7)
    assert ab_zero_point(image.masked_image.unit) == pytest.approx(zero_point, abs=1e-3)
    np.testing.assert_array_equal(image.masked_image.image.array, make_pixels())


@pytest.mark.parametrize("unit", ["MJy/sr", "MJY/SR", "mJy/sr"])
def test_surface_brightness(write_plain: WritePlain, unit: str) -> None:
    image = read_image(write_plain(BUNIT=unit), psf_fwhm=0.7)
    area = (0.2 / 206264.806) ** 2
    factor = (1e6 if unit.startswith("M") else 1e-3) * 1e9 * area
    assert image.masked_image.unit == u.nJy
    np.testing.assert_allclose(image.masked_image.image.array, make_pixels() * factor, rtol=1e-5)


# Bad input: one line that names the file and the remedy


def check_error(path: Path, match: str, **options: object) -> None:
    with pytest.raises(ReadError, match=match) as caught:
        read_image(path, **options)  # type: ignore[arg-type]
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_psf_and_scale(write_plain: WritePlain) -> None:
    path = write_plain(wcs=False)
    check_error(path, "--psf-fwhm")
    check_error(path, "--pixel-scale", psf_fwhm=0.7)
    check_error(path, "pixels of", psf_fwhm=0.7, pixel_scale=0.2 / 3600.0)
    check_error(path, "pixels of", psf_fwhm=0.7, pixel_scale=200.0)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_options(write_plain: WritePlain, value: float) -> None:
    path = write_plain()
    with pytest.raises(ReadError, match="PSF FWHM is .* positive"):
        read_image(path, psf_fwhm=value)
    with pytest.raises(ReadError, match="pixel scale is .* positive"):
        read_image(path, psf_fwhm=0.7, pixel_scale=value)


def test_missing_file_folder_and_text(tmp_path: Path) -> None:
    check_error(tmp_path / "nothing.fits", "no such file", psf_fwhm=0.7)
    check_error(tmp_path, "folder", psf_fwhm=0.7)
    text = tmp_path / "text.fits"
    text.write_text("hello\n" * 1000)
    check_error(text, "not a FITS file", psf_fwhm=0.7)
    empty = tmp_path / "empty.fits"
    empty.write_bytes(b"")
    check_error(empty, "not a FITS file", psf_fwhm=0.7)


def test_no_permission(write_plain: WritePlain, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_plain()

    # Root may read any file, so the refusal is made up.
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(astropy.io.fits, "open", refuse)
    check_error(path, "no permission", psf_fwhm=0.7)


def test_three_dimensional_empty_and_nan(write_plain: WritePlain) -> None:
    check_error(write_plain(np.zeros((3, 40, 50)), name="cube.fits"), "3 axes .50 × 40 × 3.", psf_fwhm=0.7)
    check_error(write_plain(np.zeros(50), name="line.fits"), "1 axes", psf_fwhm=0.7)
    check_error(write_plain(np.full(SHAPE, np.nan), name="nan.fits"), "no pixel is finite", psf_fwhm=0.7)


@pytest.mark.parametrize("blank", [1e30, -1e36, 1e60])
def test_some_huge_values_are_left_to_the_search(write_plain: WritePlain, blank: float) -> None:
    pixels = make_pixels().astype(float)
    pixels[:, :40] = blank
    image = read_image(write_plain(pixels), psf_fwhm=0.7)
    np.testing.assert_array_equal(image.masked_image.image.array, pixels)


def test_file_without_image(tmp_path: Path) -> None:
    path = tmp_path / "none.fits"
    astropy.io.fits.PrimaryHDU().writeto(path)
    check_error(path, "no image", psf_fwhm=0.7)
    check_error(path, "empty", psf_fwhm=0.7, hdu=0)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_plain(write_plain: WritePlain, share: float) -> None:
    path = write_plain()
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    check_error(path, "truncated|not a FITS|damaged", psf_fwhm=0.7)


@pytest.mark.parametrize("cut", [1, 500, 639])
def test_missing_padding_at_the_end(write_plain: WritePlain, cut: int) -> None:
    """All pixels are there; 640 bytes fill the last block up."""
    path = write_plain()
    path.write_bytes(path.read_bytes()[:-cut])
    image = read_image(path, psf_fwhm=0.7)
    np.testing.assert_array_equal(image.masked_image.image.array, make_pixels())
    path.write_bytes(path.read_bytes()[: 2880 + 4 * make_pixels().size - 1])
    check_error(path, "truncated", psf_fwhm=0.7)


def test_bytes_after_the_end(write_plain: WritePlain) -> None:
    path = write_plain()
    path.write_bytes(path.read_bytes() + bytes(1000))
    np.testing.assert_array_equal(read_image(path, psf_fwhm=0.7).masked_image.image.array, make_pixels())


def test_things_without_end(tmp_path: Path) -> None:
    check_error(Path("/dev/zero"), "is a device, which may have no end", psf_fwhm=0.7)
    os.mkfifo(tmp_path / "pipe.fits")
    check_error(tmp_path / "pipe.fits", "is a pipe", psf_fwhm=0.7)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        check_error(tmp_path / "s", "is a socket", psf_fwhm=0.7)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_truncated_archives(write_plain: WritePlain, pack: Callable[[bytes], bytes]) -> None:
    path = write_plain()
    data = pack(path.read_bytes())
    path.write_bytes(data[: len(data) // 2])
    check_error(path, "truncated", psf_fwhm=0.7)


def test_truncated_gzip(write_plain: WritePlain, tmp_path: Path) -> None:
    path = tmp_path / "cut.fits.gz"
    data = gzip.compress(write_plain().read_bytes())
    path.write_bytes(data[: len(data) // 2])
    check_error(path, "truncated", psf_fwhm=0.7)


@pytest.mark.parametrize("seed", range(20))
def test_random_damage_never_escapes(write_plain: WritePlain, seed: int) -> None:
    path = write_plain()
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    for at in rng.integers(0, 2880, size=40):
        data[at] = rng.integers(0, 256)
    path.write_bytes(bytes(data))
    try:
        read_image(path, psf_fwhm=0.7, pixel_scale=0.2)
    except ReadError as err:
        assert str(path) in str(err)


# lsst.images


def make_masked(*, negative: bool = False) -> MaskedImage:
    box = Box.factory[70:110, 300:350]
    projection = SkyProjection.from_fits_wcs(make_wcs(), GeneralFrame(unit=u.pix), x0=300, y0=70)
    image = Image(make_pixels(), bbox=box, unit=u.nJy, sky_projection=projection)
    mask = Mask(0, schema=MaskSchema([MaskPlane("NO_DATA", "Nothing."), MaskPlane("BAD", "Bad.")]), bbox=box)
    mask.set("BAD", np.eye(*SHAPE, dtype=bool))
    variance = Image(np.full(SHAPE, 2.0, dtype=np.float32), bbox=box, unit=u.nJy**2)
    if negative:
        variance.array[4, 5] = -1.0
    return MaskedImage(image, mask=mask, variance=variance)


def test_masked_image_file(tmp_path: Path) -> None:
    path = tmp_path / "masked.fits"
    original = make_masked()
    write_archive(original, path)
    check_error(path, "MaskedImage has no PSF.*--psf-fwhm")
    image = read_image(path, psf_fwhm=0.7)
    assert image.kind == "lsst.images"
    assert image.has_variance
    np.testing.assert_array_equal(image.masked_image.image.array, original.image.array)
    np.testing.assert_array_equal(image.masked_image.mask.get("BAD"), original.mask.get("BAD"))
    assert image.masked_image.bbox == original.bbox
    np.testing.assert_allclose(image.psf, kolmogorov_kernel(3.5), rtol=1e-5, atol=1e-9)


def test_compressed_masked_image_file(tmp_path: Path) -> None:
    original = make_masked()
    write_archive(original, tmp_path / "masked.fits")
    path = tmp_path / "masked.fits.gz"
    path.write_bytes(gzip.compress((tmp_path / "masked.fits").read_bytes()))
    image = read_image(path, psf_fwhm=0.7)
    assert image.kind == "lsst.images"
    np.testing.assert_array_equal(image.masked_image.image.array, original.image.array)


def test_uri(write_plain: WritePlain) -> None:
    path = write_plain(name="a b.fits")
    uri = ResourcePath(str(path))
    for given in (uri, str(uri), str(path), path):
        np.testing.assert_array_equal(read_image(given, psf_fwhm=0.7).masked_image.image.array, make_pixels())


def test_bare_image_file_asks_for_hdu(tmp_path: Path) -> None:
    path = tmp_path / "bare.fits"
    write_archive(make_masked().image, path)
    check_error(path, "--hdu IMAGE", psf_fwhm=0.7)
    image = read_image(path, psf_fwhm=0.7, hdu="IMAGE")
    np.testing.assert_array_equal(image.masked_image.image.array, make_pixels())


def test_psf_file_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "psf.fits"
    write_archive(GaussianPointSpreadFunction(1.6, Box.factory[0:9, 0:9], 25), path)
    check_error(path, "GaussianPointSpreadFunction", psf_fwhm=0.7)


def test_negative_variance(tmp_path: Path) -> None:
    path = tmp_path / "negative.fits"
    masked = make_masked(negative=True)
    write_archive(masked, path)
    check_error(path, "1 pixel has negative variance", psf_fwhm=0.7)
    masked.mask.set("NO_DATA", masked.variance.array < 0.0)
    excused = tmp_path / "excused.fits"
    write_archive(masked, excused)
    assert read_image(excused, psf_fwhm=0.7).has_variance


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
def test_truncated_lsst_images(tmp_path: Path, share: float) -> None:
    path = tmp_path / "cut.fits"
    write_archive(make_masked(), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    check_error(path, "truncated|damaged|not a FITS", psf_fwhm=0.7)


@pytest.mark.parametrize(("share", "masked"), [(0.36, True), (0.6, True), (0.005, False)])
def test_zero_padding_is_no_data(write_plain: WritePlain, share: float, masked: bool) -> None:
    """Zeros around a mosaic are padding; single pixels that happen to be zero are not."""
    pixels = np.random.default_rng(1).normal(0, 1, (100, 100)).astype(np.float32)
    pixels[:, : round(100 * share)] = 0.0
    if not masked:
        pixels.ravel()[: round(pixels.size * share)] = 0.0
    image = read_image(write_plain(pixels), psf_fwhm=0.7, pixel_scale=0.2)
    assert np.array_equal(image.masked_image.mask.get("NO_DATA"), (pixels == 0) & masked)
    assert any("padding" in note for note in image.notes) == masked


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_zeros_of_rounded_noise_are_data(write_plain: WritePlain, dtype: type) -> None:
    pixels = np.rint(np.random.default_rng(1).normal(0.0, 0.5, (100, 100))).astype(dtype)
    assert (pixels == 0).mean() > 0.5
    image = read_image(write_plain(pixels), psf_fwhm=0.7, pixel_scale=0.2)
    assert not image.masked_image.mask.get("NO_DATA").any()


def make_pixels_padding(side: int = 200) -> np.ndarray:
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
    pixels = make_pixels_padding()
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
    array = make_pixels_padding().astype(np.float32)
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
    pixels = make_pixels_padding()
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
    array = np.rint(make_pixels_padding() * 3.0 + 100.0).clip(1, 250).astype(dtype)
    single = np.zeros(array.shape, dtype=bool)
    single[::10, ::10] = True  # Not an area: only the header tells.
    array[single] = blank
    image = read_image(write(tmp_path / "a.fits", array, BLANK=stored), psf_fwhm=0.7, pixel_scale=0.2)
    np.testing.assert_array_equal(image.masked_image.mask.get("NO_DATA"), single)

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Exposures of lsst.afw, of today's and of the old layout, read without lsst.afw."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import astropy.io.fits
import astropy.wcs
import numpy as np
import pytest
from lsst.images import Box
from lsst.images.psfs import GaussianPointSpreadFunction
from lsst.meas.blendid.images import ReadError, read_image
from lsst.meas.blendid.images.psf import adaptive_sigma, kolmogorov_kernel

SHAPE = (30, 36)


def test_exposure_of_today(shared_data: Path) -> None:
    path = shared_data / "afw_reference" / "exposure.fits"
    image = read_image(path)
    assert image.kind == "afw"
    assert image.has_variance
    assert image.band == "i"
    assert image.notes == []
    masked = image.masked_image
    assert masked.bbox == Box.factory[7000:7256, 3000:3320]
    with astropy.io.fits.open(path) as hdu_list:
        np.testing.assert_array_equal(masked.image.array, hdu_list["IMAGE"].data)
        np.testing.assert_array_equal(masked.variance.array, hdu_list["VARIANCE"].data)
        bits = hdu_list["MASK"].data
        np.testing.assert_array_equal(masked.mask.get("BAD"), bits & 1 != 0)
        assert masked.mask.get("BAD").any()
    assert {"SATURATED", "DETECTION_EDGE", "COSMIC_RAY", "NO_DATA", "INTERPOLATED"} <= set(
        masked.mask.schema.names
    )
    assert isinstance(image.psf, GaussianPointSpreadFunction)
    assert image.psf.sigma == 1.597
    assert image.psf.kernel_bbox.shape == (25, 25)
    # CRPIX = 101 (from 1) of the subimage is parent pixel 3100 (from 0).
    assert masked.sky_projection is not None
    sky = masked.sky_projection.pixel_to_sky(x=3100.0, y=7100.0)
    assert sky.ra.deg == pytest.approx(55.0, abs=1e-10)
    assert sky.dec.deg == pytest.approx(-30.0, abs=1e-10)
    west = masked.sky_projection.pixel_to_sky(x=3101.0, y=7100.0)
    assert 3600.0 * sky.separation(west).deg == pytest.approx(0.2, rel=1e-6)
    assert west.ra.deg < sky.ra.deg


def test_given_seeing_replaces_the_psf_of_the_file(shared_data: Path) -> None:
    image = read_image(shared_data / "afw_reference" / "exposure.fits", psf_fwhm=0.9)
    np.testing.assert_allclose(image.psf, kolmogorov_kernel(4.5), rtol=1e-5, atol=1e-9)
    assert any("GaussianPsf" in note for note in image.notes)


def test_old_layout(shared_data: Path) -> None:
    path = shared_data / "hsc" / "HSC-0908120-056-small.fits"
    with pytest.raises(ReadError, match=r"small\.fits: has no PSF; give --psf-fwhm"):
        read_image(path)
    image = read_image(path, psf_fwhm=0.7)
    masked = image.masked_image
    assert image.kind == "afw"
    assert image.has_variance
    assert image.band is None
    assert masked.bbox == Box.factory[100:300, 100:300]
    with astropy.io.fits.open(path) as hdu_list:
        np.testing.assert_array_equal(masked.image.array, hdu_list[1].data)
        np.testing.assert_array_equal(masked.variance.array, hdu_list[3].data)
        planes = {
            "DETECTED": "DETECTED",
            "CROSSTALK": "CROSSTALK",
            "SAT": "SATURATED",
            "UNMASKEDNAN": "UNMASKED_NAN",
        }
        for old, new in planes.items():
            expected = hdu_list[2].data & (1 << hdu_list[2].header[f"MP_{old}"]) != 0
            np.testing.assert_array_equal(masked.mask.get(new), expected, err_msg=old)
    assert masked.mask.get("DETECTED").sum() == 5390
    # The pixels of Hyper Suprime-Cam are 0.165 to 0.168 arcsec, from its SIP distortion.
    assert adaptive_sigma(image.psf) == pytest.approx(
        adaptive_sigma(kolmogorov_kernel(0.7 / 0.1665)), rel=0.01
    )
    assert masked.sky_projection is not None
    with astropy.io.fits.open(path) as hdu_list:
        header = hdu_list[1].header
        wcs = astropy.wcs.WCS(header)
    sky = masked.sky_projection.pixel_to_sky(x=150.0, y=220.0)
    expected = wcs.pixel_to_world(50.0, 120.0).icrs
    assert 3600.0 * sky.separation(expected).deg == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_truncated_exposure(shared_data: Path, tmp_path: Path, share: float) -> None:
    data = (shared_data / "afw_reference" / "exposure.fits").read_bytes()
    path = tmp_path / "cut.fits"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(
        ReadError, match=r"cut\.fits: (is truncated|is damaged|has no PSF|a plain FITS image)"
    ):
        read_image(path)


def test_catalogue_is_no_image(shared_data: Path) -> None:
    with pytest.raises(ReadError, match="no image"):
        read_image(shared_data / "hsc" / "deepCoadd_meas_HSC_v2.fits", psf_fwhm=0.7)


# Files made here, laid out as lsst.afw does


def column(name: str, format_: str, values: list[Any]) -> astropy.io.fits.Column:
    return astropy.io.fits.Column(name, format_, array=np.array(values))


def write_exposure(
    path: Path,
    *,
    psf: tuple[str, list[astropy.io.fits.Column]] | None = None,
    names: str = "EXTNAME",
    planes: dict[str, int] | None = None,
    mask: np.ndarray | None = None,
    variance: np.ndarray | None = None,
    drop: tuple[str, ...] = (),
) -> Path:
    rng = np.random.default_rng(3)
    arrays = {
        "IMAGE": rng.normal(size=SHAPE).astype(np.float32),
        "MASK": np.zeros(SHAPE, np.int32) if mask is None else mask,
        "VARIANCE": np.ones(SHAPE, np.float32) if variance is None else variance,
    }
    hdus: list[Any] = [astropy.io.fits.PrimaryHDU()]
    for name, array in arrays.items():
        if name in drop:
            continue
        hdu = astropy.io.fits.ImageHDU(array)
        if names:
            hdu.header[names] = name
        hdu.header["LTV1"], hdu.header["LTV2"] = -10.0, -20.0
        if name == "MASK":
            for plane, bit in ({"BAD": 0, "SAT": 1} if planes is None else planes).items():
                hdu.header[f"HIERARCH MP_{plane}"] = bit
        hdus.append(hdu)
    if psf is not None:
        class_name, columns = psf
        hdus[0].header["AR_HDU"] = len(hdus) + 1
        hdus[0].header["PSF_ID"] = 7
        index = [
            column("id", "J", [3, 7]),
            column("cat.archive", "J", [1, 1]),
            column("cat.persistable", "J", [0, 0]),
            column("row0", "J", [0, 1]),
            column("nrows", "J", [1, 1]),
            column("name", "64A", ["Other", class_name]),
        ]
        hdus.append(astropy.io.fits.BinTableHDU.from_columns(index, name="ARCHIVE_INDEX"))
        hdus.append(astropy.io.fits.BinTableHDU.from_columns(columns))
    astropy.io.fits.HDUList(hdus).writeto(path)
    return path


def double_gaussian(sigma1: float, sigma2: float, b: float) -> tuple[str, list[astropy.io.fits.Column]]:
    # The first row belongs to another object of the archive.
    return "DoubleGaussianPsf", [
        column("dimensions_x", "J", [0, 25]),
        column("dimensions_y", "J", [0, 25]),
        column("sigma1", "D", [0.0, sigma1]),
        column("sigma2", "D", [0.0, sigma2]),
        column("b", "D", [0.0, b]),
    ]


@pytest.mark.parametrize("names", ["EXTNAME", "EXTTYPE", ""])
def test_planes_by_name_type_or_order(tmp_path: Path, names: str) -> None:
    image = read_image(
        write_exposure(tmp_path / "a.fits", names=names, psf=double_gaussian(1.5, 4.0, 0.1)),
    )
    assert image.kind == "afw"
    assert image.has_variance
    assert image.masked_image.bbox == Box.factory[20:50, 10:46]


def test_double_gaussian_psf(tmp_path: Path) -> None:
    psf = read_image(write_exposure(tmp_path / "a.fits", psf=double_gaussian(1.5, 4.0, 0.1))).psf
    assert isinstance(psf, np.ndarray)
    assert psf.shape == (25, 25)
    assert psf.sum() == pytest.approx(1.0)
    r2 = 5.0**2 + 3.0**2
    expected = (np.exp(-0.5 * r2 / 1.5**2) + 0.1 * np.exp(-0.5 * r2 / 4.0**2)) / 1.1
    assert psf[12 + 5, 12 - 3] / psf[12, 12] == pytest.approx(expected)
    # A single Gaussian is a special case, with any second width.
    single = read_image(write_exposure(tmp_path / "b.fits", psf=double_gaussian(1.7, 0.0, 0.0))).psf
    assert adaptive_sigma(single) == pytest.approx(1.7, rel=1e-3)


def test_single_gaussian_psf(tmp_path: Path) -> None:
    columns = [
        column("dimensions_x", "J", [0, 25]),
        column("dimensions_y", "J", [0, 31]),
        column("sigma", "D", [0.0, 1.8]),
    ]
    psf = read_image(write_exposure(tmp_path / "a.fits", psf=("SingleGaussianPsf", columns))).psf
    assert isinstance(psf, GaussianPointSpreadFunction)
    assert psf.sigma == 1.8
    assert psf.kernel_bbox.shape == (31, 31)


def test_real_kernel_psf(shared_data: Path) -> None:
    """The width is that of lsst.afw (README of the data), which sums moments a little otherwise."""
    image = read_image(shared_data / "afw_reference" / "exposure_kernelpsf.fits")
    assert isinstance(image.psf, np.ndarray)
    assert image.psf.shape == (41, 41)
    assert adaptive_sigma(image.psf) == pytest.approx(1.59741, rel=3e-4)
    assert image.find_zero_point() == pytest.approx(31.4)
    assert image.notes == []


@pytest.mark.parametrize("name", ["coaddpsf", "coaddpsf_gap", "coaddpsf_sizes"])
def test_given_psf_stands_for_one_that_cannot_be_read(shared_data: Path, name: str) -> None:
    path = shared_data / "afw_reference" / f"exposure_{name}.fits"
    image = read_image(path, psf_fwhm=0.7)
    assert any("the CoaddPsf of the file is replaced" in note for note in image.notes)
    assert image.find_zero_point() == pytest.approx(31.4)


type Tables = list[tuple[str, list[astropy.io.fits.Column]]]


def write_kernel(path: Path, kernel: Tables) -> Path:
    """An exposure with a KernelPsf; its kernel and what that needs are objects 8, 9, ... of the archive."""
    own = ("KernelPsf", [column("kernel", "J", [8])])
    tables = [own, *kernel]
    write_exposure(path)
    with astropy.io.fits.open(path, mode="update") as hdu_list:
        hdu_list[0].header["AR_HDU"] = len(hdu_list) + 1
        hdu_list[0].header["PSF_ID"] = 7
        n = len(tables)
        index = [
            column("id", "J", [7 + i for i in range(n)]),
            column("cat.archive", "J", [1 + i for i in range(n)]),
            column("cat.persistable", "J", [0] * n),
            column("row0", "J", [0] * n),
            column("nrows", "J", [1] * n),
            column("name", "64A", [name for name, _ in tables]),
        ]
        hdu_list.append(astropy.io.fits.BinTableHDU.from_columns(index, name="ARCHIVE_INDEX"))
        for _, columns in tables:
            hdu_list.append(astropy.io.fits.BinTableHDU.from_columns(columns))
    return path


def frame(width: int, height: int, center: tuple[int, int]) -> list[astropy.io.fits.Column]:
    values = {"dimensions_x": width, "dimensions_y": height, "center_x": center[0], "center_y": center[1]}
    return [column(name, "J", [value]) for name, value in values.items()]


def numbers(**values: float) -> list[astropy.io.fits.Column]:
    return [column(name, "D", [value]) for name, value in values.items()]


def test_fixed_kernel_is_centred_on_its_centre(tmp_path: Path) -> None:
    kernel = np.random.default_rng(5).uniform(size=(6, 9))
    image = [astropy.io.fits.Column("image", "54D", array=kernel.reshape(1, -1))]
    path = write_kernel(tmp_path / "a.fits", [("FixedKernel", frame(9, 6, (3, 4)) + image)])
    psf = read_image(path).psf
    assert isinstance(psf, np.ndarray)
    # 5 pixels right of the centre and 4 under it are most.
    assert psf.shape == (9, 11)
    np.testing.assert_array_equal(psf[0:6, 2:11], kernel)
    assert psf.sum() == pytest.approx(kernel.sum())


ANALYTIC = [*frame(25, 25, (12, 12)), column("kernelfunction", "J", [9])]


def pixels(*values: float) -> astropy.io.fits.Column:
    return astropy.io.fits.Column("image", f"{len(values)}D", array=[values])


def test_analytic_kernels(tmp_path: Path) -> None:
    """Functions of lsst.afw.math at the offsets of pixels from the centre of the kernel."""
    ellipse = ("GaussianFunction2D", numbers(sigma1=2.0, sigma2=1.5, angle=0.5))
    psf = read_image(write_kernel(tmp_path / "a.fits", [("AnalyticKernel", ANALYTIC), ellipse])).psf
    assert isinstance(psf, np.ndarray)
    y, x = np.mgrid[-12:13, -12:13]
    moments = [(psf * q).sum() / psf.sum() for q in (x * x, y * y, x * y)]
    c, s = np.cos(0.5), np.sin(0.5)
    expected = (4.0 * c * c + 2.25 * s * s, 4.0 * s * s + 2.25 * c * c, (4.0 - 2.25) * c * s)
    assert moments == pytest.approx(expected, rel=1e-3)
    two = ("DoubleGaussianFunction2F", numbers(sigma1=1.5, sigma2=4.0, ampl2=0.1))
    psf = read_image(write_kernel(tmp_path / "b.fits", [("AnalyticKernel", ANALYTIC), two])).psf
    same = read_image(write_exposure(tmp_path / "c.fits", psf=double_gaussian(1.5, 4.0, 0.1))).psf
    assert isinstance(psf, np.ndarray)
    np.testing.assert_allclose(psf / psf.sum(), same, rtol=1e-12)


@pytest.mark.parametrize(
    ("kernel", "match"),
    [
        ([("LinearCombinationKernel", frame(5, 5, (2, 2)))], "with a LinearCombinationKernel, which"),
        (
            [("AnalyticKernel", [*ANALYTIC, column("spatialfunctions", "J", [10])])],
            "with a AnalyticKernel, which takes lsst.afw",
        ),
        (
            [("AnalyticKernel", ANALYTIC), ("LanczosFunction2D", numbers(n=3.0))],
            "of a LanczosFunction2D, which takes lsst.afw",
        ),
        ([("AnalyticKernel", ANALYTIC)], "damaged .the function of its kernel is missing"),
        (
            [
                ("AnalyticKernel", ANALYTIC),
                ("GaussianFunction2D", numbers(sigma1=2.0, sigma2=0.0, angle=0.0)),
            ],
            "damaged .widths 2 and 0",
        ),
        ([], "damaged .its kernel is missing"),
        ([("FixedKernel", frame(0, 5, (2, 2)))], "damaged .its kernel has 0"),
        ([("FixedKernel", [*frame(5, 1, (2, 0)), pixels(*[np.nan] * 5)])], "damaged .its kernel is not"),
        ([("FixedKernel", [*frame(5, 5, (2, 2)), pixels(1.0, 1.0, 1.0)])], "damaged .cannot reshape"),
    ],
)
def test_kernels_that_cannot_be_read(tmp_path: Path, kernel: Tables, match: str) -> None:
    path = write_kernel(tmp_path / "a.fits", kernel)
    with pytest.raises(ReadError, match=match + ".*--psf-fwhm"):
        read_image(path)
    assert read_image(path, psf_fwhm=0.7, pixel_scale=0.2).has_variance


def test_zero_point_of_the_first_layout(tmp_path: Path) -> None:
    """Before there was a PhotoCalib, the flux of magnitude 0 was a card."""
    path = write_exposure(tmp_path / "a.fits")
    options = {"psf_fwhm": 0.7, "pixel_scale": 0.2}
    assert read_image(path, **options).find_zero_point() is None
    for flux, expected in ((10.0**10.8, 27.0), (0.0, None)):
        with astropy.io.fits.open(path, mode="update") as hdu_list:
            hdu_list[0].header["FLUXMAG0"] = flux
        zero_point = read_image(path, **options).find_zero_point()
        assert zero_point == (expected if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("psf", "match"),
    [
        (
            ("PcaPsf", [column("x", "J", [1, 2])]),
            "PSF is a PcaPsf, which takes lsst.afw to compute, and .*--psf FILE or its width with --psf-fwhm",
        ),
        (("GaussianPsf", [column("x", "J", [1, 2])]), "GaussianPsf is damaged .*--psf-fwhm"),
        (double_gaussian(0.0, 1.0, 0.1), "DoubleGaussianPsf is damaged .*--psf-fwhm"),
        (None, "has no PSF; give --psf-fwhm"),
    ],
)
def test_psf_that_cannot_be_read(tmp_path: Path, psf: Any, match: str) -> None:
    path = write_exposure(tmp_path / "a.fits", psf=psf)
    with pytest.raises(ReadError, match=match):
        read_image(path)
    with pytest.raises(ReadError, match="--pixel-scale"):
        read_image(path, psf_fwhm=0.7)
    assert read_image(path, psf_fwhm=0.7, pixel_scale=0.2).has_variance


def test_mask_planes_are_renamed_and_unknown_ones_kept(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, np.int32)
    mask[1, 2] |= 1 << 3
    mask[4, 5] |= 1 << 9
    mask[6, 7] = -(2**31)
    path = write_exposure(
        tmp_path / "a.fits", mask=mask, planes={"SAT": 3, "MY_PLANE": 9, "TOP": 31, "HIGH": 40}
    )
    result = read_image(path, psf_fwhm=0.7, pixel_scale=0.2).masked_image.mask
    assert set(result.schema.names) == {"SATURATED", "MY_PLANE", "TOP", "HIGH"}
    for plane, pixel in {"SATURATED": [[1, 2]], "MY_PLANE": [[4, 5]], "TOP": [[6, 7]], "HIGH": []}.items():
        assert np.argwhere(result.get(plane)).tolist() == pixel


def test_nonzero_pixels_of_a_mask_without_names_have_no_data(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, np.int32)
    mask[3:5] = 4
    path = write_exposure(tmp_path / "a.fits", mask=mask, planes={})
    image = read_image(path, psf_fwhm=0.7, pixel_scale=0.2)
    assert any("no named planes" in note for note in image.decisive)
    np.testing.assert_array_equal(image.masked_image.mask.get("NO_DATA"), mask != 0)


@pytest.mark.parametrize("bit", [-1, 64, 1.5, "x"])
def test_impossible_mask_bit(tmp_path: Path, bit: Any) -> None:
    path = write_exposure(tmp_path / "a.fits", planes={"BAD": bit})
    with pytest.raises(ReadError, match="mask plane BAD has bit"):
        read_image(path, psf_fwhm=0.7, pixel_scale=0.2)


def test_planes_that_do_not_fit(tmp_path: Path) -> None:
    options = {"psf_fwhm": 0.7, "pixel_scale": 0.2}
    small = np.ones((5, 5), np.float32)
    with pytest.raises(ReadError, match="variance .5, 5. differ"):
        read_image(write_exposure(tmp_path / "a.fits", variance=small), **options)
    with pytest.raises(ReadError, match="mask .5, 5. differ"):
        read_image(write_exposure(tmp_path / "b.fits", mask=small.astype(np.int32)), **options)
    with pytest.raises(ReadError, match="not integers"):
        read_image(write_exposure(tmp_path / "c.fits", mask=np.zeros(SHAPE, np.float32)), **options)
    with pytest.raises(ReadError, match="1 pixel has negative variance"):
        variance = np.ones(SHAPE, np.float32)
        variance[3, 4] = -0.1
        read_image(write_exposure(tmp_path / "d.fits", variance=variance), **options)


def test_missing_planes_are_noted(tmp_path: Path) -> None:
    options = {"psf_fwhm": 0.7, "pixel_scale": 0.2}
    image = read_image(write_exposure(tmp_path / "a.fits", drop=("VARIANCE",)), **options)
    assert not image.has_variance
    assert any("no variance plane" in note for note in image.notes)
    image = read_image(write_exposure(tmp_path / "b.fits", drop=("MASK",)), **options)
    assert image.has_variance
    assert any("no mask plane" in note for note in image.notes)
    zero = np.zeros(SHAPE, np.float32)
    image = read_image(write_exposure(tmp_path / "c.fits", variance=zero), **options)
    assert not image.has_variance
    assert any("zero everywhere" in note for note in image.notes)


def test_broken_archive_does_not_hide_the_pixels(shared_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "exposure.fits"
    shutil.copy(shared_data / "afw_reference" / "exposure.fits", path)
    path.chmod(0o644)
    with astropy.io.fits.open(path, mode="update") as hdu_list:
        hdu_list[0].header["AR_HDU"] = 99
    with pytest.raises(ReadError, match="has no PSF"):
        read_image(path)
    assert read_image(path, psf_fwhm=0.7).masked_image.bbox.shape == (256, 320)

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import astropy.io.fits
import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from lsst.images import YX, Box
from lsst.images.cells import CellPointSpreadFunction
from lsst.images.psfs import GaussianPointSpreadFunction, PointSpreadFunction
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.images.psf import (
    FWHM_PIXELS,
    adaptive_sigma,
    kolmogorov_kernel,
    sample_places,
    stack_kernels,
    summarize_psf,
)

galsim = pytest.importorskip("galsim")


@pytest.mark.parametrize("fwhm", [2.0, 3.5, 6.0, 9.5, 30.0])
def test_kolmogorov_matches_galsim(fwhm: float) -> None:
    kernel = kolmogorov_kernel(fwhm)
    n = kernel.shape[0]
    # Its default accuracy lets the periodic copies of the wings in.
    accuracy = galsim.GSParams(folding_threshold=1e-4, maximum_fft_size=8192)
    expected = (
        galsim.Kolmogorov(fwhm=fwhm, gsparams=accuracy).drawImage(nx=n, ny=n, scale=1.0, dtype=float).array
    )
    expected /= expected.sum()
    assert n % 2 == 1
    np.testing.assert_allclose(kernel, expected, atol=3e-4 * expected.max())
    assert kernel.sum() == pytest.approx(1.0)


def test_standard_seeing_has_known_width() -> None:
    # 0.7 arcsec at 0.2 arcsec a pixel
    assert adaptive_sigma(kolmogorov_kernel(3.5)) == pytest.approx(1.598, abs=5e-4)


@pytest.mark.parametrize("shear", [(0.0, 0.0), (0.2, -0.1), (-0.3, 0.3)])
def test_adaptive_sigma_matches_hsm(shear: tuple[float, float]) -> None:
    profile = galsim.Convolve(
        galsim.Moffat(beta=3, fwhm=4.0).shear(g1=shear[0], g2=shear[1]), galsim.Pixel(1)
    )
    image = profile.drawImage(nx=41, ny=41, scale=1.0, method="no_pixel", offset=(0.3, -0.2), dtype=float)
    assert adaptive_sigma(image.array) == pytest.approx(image.FindAdaptiveMom().moments_sigma, rel=1e-5)


def test_reference_psf(shared_data) -> None:
    with np.load(shared_data / "afw_reference" / "source_detection.npz") as data:
        assert adaptive_sigma(data["psf"]) == pytest.approx(float(data["psf_sigma"]), rel=1e-3)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((5, 5)), "no positive sum"),
        (np.full((5, 5), np.nan), "not finite"),
        (np.ones((2, 3, 5, 5)), "two dimensions"),
        (np.pad([[1.0]], 7), "hot pixel"),
        (np.zeros((0, 5)), "empty"),
    ],
)
def test_bad_images(image: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adaptive_sigma(image)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((5, 5)), "no positive sum"),
        (np.full((5, 5), np.nan), "not finite"),
        (np.ones((2, 3, 5, 5)), "two dimensions"),
        (np.pad([[1.0]], 7), "hot pixel"),
        (np.ones((6, 5)), "odd sides"),
    ],
)
def test_bad_kernels(image: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        summarize_psf(image)


@pytest.mark.parametrize(("fwhm", "size"), [(0.0, None), (-1.0, None), (np.inf, None), (3.0, 10), (3.0, -1)])
def test_bad_kolmogorov(fwhm: float, size: int | None) -> None:
    with pytest.raises(ValueError, match="PSF"):
        kolmogorov_kernel(fwhm, size)


@pytest.mark.parametrize("sigma", [0.45, 0.6, 0.8, 1.0, 1.3])
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_undersampled_gaussian_has_its_width(sigma: float, shift: float) -> None:
    y, x = np.mgrid[-8:9, -8:9].astype(float)
    image = np.exp(-0.5 * (((x - shift) / (1.1 * sigma)) ** 2 + ((y + shift) * 1.1 / sigma) ** 2))
    # Beyond a sigma of 1.15 the sums of adaptive moments take over.
    assert adaptive_sigma(image) == pytest.approx(sigma, rel=1e-4 if sigma < 1.15 else 1e-3)


def test_width_grows_smoothly_with_the_seeing() -> None:
    fwhm = np.arange(FWHM_PIXELS[0], 3.5, 0.1)
    ratio = np.array([adaptive_sigma(kolmogorov_kernel(f)) for f in fwhm]) / np.hypot(fwhm / 2.25, 0.35)
    assert (np.abs(np.diff(ratio)) < 0.02).all()
    assert (np.abs(ratio - 1.0) < 0.1).all()


def test_undersampled_images_are_searched(shared_cases: Path, tmp_path: Path) -> None:
    """Stars of FWHM 1 to 2.5 pixels are found, and nothing else."""
    subprocess.run([sys.executable, shared_cases / "24_undersampled_psf.py", tmp_path], check=True)
    images = sorted(tmp_path.glob("fwhm*.fits"))
    assert len(images) == 8
    for image in images[::3]:
        fwhm = image.stem.removeprefix("fwhm")
        arguments = ["--psf-fwhm", fwhm, "--pixel-scale", "1", "--classifier", "features"]
        arguments += ["--localizer", "none"]
        result = CliRunner().invoke(main, ["run", str(image), "--out", str(tmp_path), *arguments])
        assert result.exit_code == 0, result.output
        table = Table.read(tmp_path / f"{image.stem}.blend.parquet")
        assert 24 <= len(table) <= 30
        # Models for any band learned from PSFs of 2 pixels and more.
        outside = float(fwhm) < 2.0
        assert table["flag_outside_model_range"].all() == outside
        assert ("outside the range" in result.output) == outside


def test_too_narrow_a_psf_is_told(tmp_path: Path) -> None:
    path = tmp_path / "image.fits"
    astropy.io.fits.PrimaryHDU(np.random.default_rng(1).normal(size=(60, 60)).astype("f4")).writeto(path)
    arguments = ["run", str(path), "--out", str(tmp_path), "--psf-fwhm", "0.7", "--pixel-scale", "1"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "0.7 pixels of 1 arcsec, not 0.8 to 60; check --psf-fwhm and --pixel-scale" in result.output


def test_kolmogorov_is_bounded() -> None:
    with pytest.raises(ValueError, match="FWHM is 61 pixels; at most 60"):
        kolmogorov_kernel(61.0)
    with pytest.raises(ValueError, match="at most 511 pixels, not 513"):
        kolmogorov_kernel(3.0, 513)


def test_summary_of_gaussian_psf() -> None:
    box = Box.factory[0:300, 10:500]
    psf = GaussianPointSpreadFunction(1.8, bounds=box, stamp_size=31)
    summary = summarize_psf(psf, box)
    assert summary.sigma == pytest.approx(1.8, rel=1e-6)
    assert summary.n_cells == 1
    assert summary.sigma_std == 0.0
    assert summary.image.shape == (31, 31)


class _Varying(PointSpreadFunction):
    """A PSF whose width grows along x."""

    def __init__(self, bounds: Box) -> None:
        self._bounds = bounds

    bounds = property(lambda self: self._bounds)
    kernel_bbox = property(lambda self: Box.factory[-15:16, -15:16])

    def compute_kernel_image(self, *, x: float, y: float):
        width = 1.5 + 0.001 * x
        return GaussianPointSpreadFunction(width, self._bounds, 31).compute_kernel_image(x=x, y=y)

    def compute_stellar_image(self, *, x: float, y: float):
        raise NotImplementedError

    def compute_stellar_bbox(self, *, x: float, y: float):
        raise NotImplementedError


def test_summary_of_varying_psf() -> None:
    box = Box.factory[0:300, 0:601]
    summary = summarize_psf(_Varying(box), box)
    assert summary.n_cells == 9
    assert summary.sigma == pytest.approx(1.8, rel=1e-4)
    assert summary.sigma_min == pytest.approx(1.6, rel=1e-4)
    assert summary.sigma_max == pytest.approx(2.0, rel=1e-4)


def test_summary_of_cells() -> None:
    from lsst.images._cell_grid import CellGrid, CellGridBounds
    from lsst.images.cells import CellIJ

    area = Box.factory[0:100, 0:150]
    grid = CellGrid(bbox=area, cell_shape=YX(50, 50))
    bounds = CellGridBounds(grid=grid, bbox=area, missing=frozenset({CellIJ(1, 2)}))
    widths = np.array([[1.5, 1.6, 1.7], [1.8, 1.9, np.nan]])
    array = np.full((2, 3, 31, 31), np.nan)
    for index, width in np.ndenumerate(widths):
        if np.isfinite(width):
            array[index] = GaussianPointSpreadFunction(width, area, 31).compute_kernel_image(x=0, y=0).array
    psf = CellPointSpreadFunction(array, bounds)
    summary = summarize_psf(psf)
    assert summary.n_cells == 5
    assert summary.sigma == pytest.approx(np.nanmean(widths), rel=1e-6)
    assert summary.sigma_std == pytest.approx(np.nanstd(widths), rel=1e-6)
    left = summarize_psf(psf, Box.factory[0:100, 0:50])
    assert left.n_cells == 2
    assert (left.sigma_min, left.sigma_max) == pytest.approx((1.5, 1.8), rel=1e-6)


def test_summary_of_kernels_of_several_places() -> None:
    stack = np.array([kolmogorov_kernel(fwhm, 25) for fwhm in (3.0, 3.5, 4.0)])
    summary = summarize_psf(7.0 * stack)
    widths = [adaptive_sigma(kernel) for kernel in stack]
    assert summary.n_cells == 3
    assert summary.sigma == pytest.approx(np.mean(widths))
    np.testing.assert_allclose(summary.image, stack.mean(axis=0))
    # Of equal ones the summary is that of one, to the last bit.
    one, many = summarize_psf(stack[1]), summarize_psf(np.repeat(stack[1:2], 7, axis=0))
    assert (one.sigma, many.sigma_std) == (many.sigma, 0.0)
    np.testing.assert_array_equal(one.image, many.image)
    with pytest.raises(ValueError, match=r"not shape \(0, 5, 5\)"):
        summarize_psf(np.zeros((0, 5, 5)))


def test_places_are_the_centres_of_equal_parts() -> None:
    places = sample_places(Box.factory[10:20, 100:131], 2)
    assert places == [(107.5, 12.25), (122.5, 12.25), (107.5, 16.75), (122.5, 16.75)]


_SIDE = st.integers(1, 9)
_FRAMES = st.lists(st.tuples(_SIDE, _SIDE, st.integers(-3, 12), st.integers(-3, 12)), min_size=1, max_size=4)


@given(_FRAMES, st.integers(0, 100))
def test_stacked_kernels_keep_their_pixels_and_centres(
    frames: list[tuple[int, int, int, int]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    kernels = [rng.uniform(0.5, 1.0, (ny, nx)) for ny, nx, _, _ in frames]
    stack = stack_kernels(kernels, [(x, y) for _, _, x, y in frames])
    n, ny, nx = stack.shape
    assert n == len(frames)
    assert ny % 2 == 1
    assert nx % 2 == 1
    for image, kernel, (_, _, x, y) in zip(stack, kernels, frames, strict=True):
        assert image.sum() == pytest.approx(kernel.sum())
        for j, i in np.ndindex(kernel.shape):
            assert image[ny // 2 + j - y, nx // 2 + i - x] == kernel[j, i]


@pytest.mark.parametrize(
    ("kernels", "message"),
    [([], "no kernel"), ([np.ones(3)], "two dimensions"), ([np.zeros((0, 3))], "two dimensions")],
)
def test_kernels_that_cannot_be_stacked(kernels: list[np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stack_kernels(kernels, [(0, 0)] * len(kernels))
    with pytest.raises(ValueError, match="at most"):
        stack_kernels([np.ones((3, 3))], [(10**6, 0)])


def test_last_digits_of_a_kernel_do_not_change_its_width() -> None:
    """What is measured in units of the width would change for all footprints of an image."""
    exact = adaptive_sigma(kolmogorov_kernel(3.5, 29))
    sigmas = {summarize_psf(kolmogorov_kernel(3.5 * (1.0 + d), 29)).sigma for d in (0.0, 1e-12, 1e-9, -1e-9)}
    assert len(sigmas) == 1
    assert sigmas.pop() == pytest.approx(exact, abs=5e-7)
    wider = summarize_psf(kolmogorov_kernel(3.5 * (1.0 + 1e-5), 29)).sigma
    assert wider == pytest.approx(exact * (1.0 + 1e-5), abs=1e-6)

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Exposures and PSFs of lsst.afw, on stand-ins with the same methods."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import astropy.io.fits
import astropy.units as u
import numpy as np
import pytest
from lsst.images import Box
from lsst.images.cells import CellPointSpreadFunction
from lsst.images.psfs import GaussianPointSpreadFunction
from lsst.meas.blendid import BlendIdentificationConfig, BlendIdentificationTask
from lsst.meas.blendid.afw import from_legacy_exposure, from_legacy_psf
from lsst.meas.blendid.errors import UnusablePsfError
from lsst.meas.blendid.images import ReadError, read_image
from lsst.meas.blendid.images.psf import summarize_psf

X0, Y0 = 3000, 7000
BOX = Box.factory[Y0 : Y0 + 60, X0 : X0 + 80]


class Point2D(NamedTuple):
    x: float
    y: float


class LegacyError(Exception):
    """Stands for lsst.pex.exceptions.Exception, which is no ValueError."""


class InvalidPsfError(LegacyError):
    """Raised where a PSF is not defined."""


@pytest.fixture(autouse=True)
def legacy_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The few names of the pipelines' C++ packages that conversions need."""
    for name, content in {
        "lsst.geom": {"Point2D": Point2D},
        "lsst.pex.exceptions": {"Exception": LegacyError},
    }.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)


def gaussian(sigma: float, width: int, height: int | None = None) -> np.ndarray:
    height = width if height is None else height
    x, y = np.arange(width) - width // 2, np.arange(height) - height // 2
    return np.exp(-0.5 * np.add.outer(y**2, x**2) / sigma**2)


def legacy_image(array: np.ndarray, center: tuple[int, int] | None = None) -> SimpleNamespace:
    x, y = (array.shape[1] // 2, array.shape[0] // 2) if center is None else center
    return SimpleNamespace(array=array, getX0=lambda: -x, getY0=lambda: -y)


class CoaddPsf:
    """A PSF that a function of (x, y) gives the kernels of, or None where it is not defined."""

    def __init__(self, kernel: Callable[[float, float], Any], average: Point2D | None = None) -> None:
        self._kernel = kernel
        self._average = average or Point2D(X0 + 40.0, Y0 + 30.0)
        self.asked: list[Point2D] = []

    def getAveragePosition(self) -> Point2D:
        return self._average

    def computeKernelImage(self, point: Point2D) -> Any:
        self.asked.append(point)
        kernel = self._kernel(point.x, point.y)
        if kernel is None:
            raise InvalidPsfError(f"Cannot compute CoaddPsf at point {tuple(point)}; no input images")
        return kernel


class GaussianPsf:
    def __init__(self, sigma: float, width: int, height: int) -> None:
        self._sigma, self._size = sigma, SimpleNamespace(x=width, y=height)

    def getSigma(self) -> float:
        return self._sigma

    def getDimensions(self) -> SimpleNamespace:
        return self._size


def _plane(array: np.ndarray, **methods: Any) -> SimpleNamespace:
    return SimpleNamespace(array=array, getX0=lambda: X0, getY0=lambda: Y0, **methods)


def _exposure(calibration_mean: float | None = 1.0) -> SimpleNamespace:
    """What the conversion asks of an lsst.afw.image.ExposureF of 60 rows and 80 columns."""
    y, x = np.mgrid[:60, :80]
    image = np.random.default_rng(1).normal(0.0, 1.0, (60, 80)).astype(np.float32)
    image += 50 * np.exp(-0.5 * ((x - 40) ** 2 + (y - 30) ** 2) / 1.6**2).astype(np.float32)
    mask = np.zeros((60, 80), dtype=np.int32)
    mask[5, 7] = 0b001
    mask[6, 8] = 0b100
    masked_image = SimpleNamespace(
        getImage=lambda: _plane(image),
        getMask=lambda: _plane(mask, getMaskPlaneDict=lambda: {"NO_DATA": 0, "SAT": 1, "PRIVATE": 2}),
        getVariance=lambda: _plane(np.ones((60, 80), dtype=np.float32)),
    )
    calibration = (
        None if calibration_mean is None else SimpleNamespace(getCalibrationMean=lambda: calibration_mean)
    )
    return SimpleNamespace(
        getBBox=lambda: SimpleNamespace(
            x=SimpleNamespace(begin=X0, end=X0 + 80), y=SimpleNamespace(begin=Y0, end=Y0 + 60)
        ),
        getWcs=lambda: None,
        getPsf=lambda: None,
        getPhotoCalib=lambda: calibration,
        getMaskedImage=lambda: masked_image,
    )


def test_planes_and_origin() -> None:
    image, psf, _ = from_legacy_exposure(_exposure())
    assert psf is None
    assert (image.bbox.x.start, image.bbox.y.start) == (X0, Y0)
    assert image.image.array.shape == (60, 80)
    assert set(image.mask.schema.names) == {"NO_DATA", "SATURATED", "PRIVATE"}
    assert np.argwhere(image.mask.get("NO_DATA")).tolist() == [[5, 7]]
    assert np.argwhere(image.mask.get("PRIVATE")).tolist() == [[6, 8]]
    assert not image.mask.get("SATURATED").any()


@pytest.mark.parametrize(
    ("mean", "unit", "zero_point"),
    [(1.0, u.nJy, 31.4), (57.54399373, None, 27.0), (None, None, None), (np.inf, None, None)],
)
def test_calibration_gives_unit_and_zero_point(
    mean: float | None, unit: u.UnitBase | None, zero_point: float | None
) -> None:
    coadd = from_legacy_exposure(_exposure(mean))
    assert coadd.masked_image.unit == unit
    assert coadd.zero_point == (zero_point if zero_point is None else pytest.approx(zero_point, abs=1e-7))


def test_converted_exposure_goes_through_the_task() -> None:
    exposure = _exposure()
    exposure.getPsf = lambda: GaussianPsf(1.6, 25, 25)
    image, psf, zero_point = from_legacy_exposure(exposure)
    task = BlendIdentificationTask(config=BlendIdentificationConfig())
    (row,) = task.run(image, psf=psf, zero_point=zero_point).blend
    assert (row["x"], row["y"]) == pytest.approx((X0 + 40, Y0 + 30), abs=0.5)


# PSFs


def test_gaussian_need_not_be_square() -> None:
    psf = from_legacy_psf(GaussianPsf(1.7, 25, 31), BOX)
    assert isinstance(psf, GaussianPointSpreadFunction)
    assert psf.kernel_bbox.shape == (31, 31)
    assert summarize_psf(psf, BOX).sigma == pytest.approx(1.7, rel=1e-4)


def test_cells_are_taken_over() -> None:
    class StitchedPsf:
        pass

    legacy, cells = StitchedPsf(), object()
    with patch.object(CellPointSpreadFunction, "from_legacy", lambda *args: (args, cells)):
        assert from_legacy_psf(legacy, BOX) == ((legacy, BOX), cells)


def test_places_without_inputs_are_left_out() -> None:
    """A corner of a coadd without inputs is nothing unusual."""
    psf = CoaddPsf(lambda x, y: None if x > X0 + 60 else legacy_image(gaussian(1.6 + 0.001 * (y - Y0), 25)))
    stack = from_legacy_psf(psf, BOX)
    assert isinstance(stack, np.ndarray)
    # Of 3 x 3 places those in the right third are not defined.
    assert stack.shape == (6, 25, 25)
    summary = summarize_psf(stack, BOX)
    places = sorted({point.y for point in psf.asked})
    assert places == pytest.approx(Y0 + 59 * np.array([1, 3, 5]) / 6)
    assert summary.n_cells == 6
    assert summary.sigma == pytest.approx(1.6 + 0.001 * (np.mean(places) - Y0), rel=1e-4)
    assert (summary.sigma_min, summary.sigma_max) == pytest.approx(
        (1.6 + 0.001 * 59 / 6, 1.6 + 0.001 * 59 * 5 / 6), rel=1e-4
    )


def test_stamps_of_different_sizes_keep_their_centres() -> None:
    """Wider stamps, of inputs on a part of the coadd, and one whose centre is not its middle pixel."""
    off_centre = gaussian(1.6, 31)[3:-2, 5:]

    def kernel(x: float, y: float) -> Any:
        if x < X0 + 25:
            return legacy_image(off_centre, (15 - 5, 15 - 3))
        return legacy_image(gaussian(1.6, 25 if x < X0 + 50 else 33, 27))

    stack = from_legacy_psf(CoaddPsf(kernel), BOX)
    assert isinstance(stack, np.ndarray)
    # The one off centre reaches from 10 left to 15 right of it.
    assert stack.shape == (9, 27, 33)
    assert [np.unravel_index(np.argmax(image), image.shape) for image in stack] == [(13, 16)] * 9
    summary = summarize_psf(stack, BOX)
    assert summary.sigma == pytest.approx(1.6, rel=1e-4)
    assert summary.image[13, 16 + 2] == pytest.approx(summary.image[13, 16 - 2], rel=1e-9)


def test_one_place_is_enough() -> None:
    """The inputs cover less of the coadd than the distance between the places of the grid."""
    here = Point2D(X0 + 2.0, Y0 + 3.0)
    psf = CoaddPsf(lambda x, y: legacy_image(gaussian(1.8, 25)) if (x, y) == here else None, here)
    stack = from_legacy_psf(psf, BOX)
    assert isinstance(stack, np.ndarray)
    assert stack.shape == (1, 25, 25)
    assert summarize_psf(stack, BOX).sigma == pytest.approx(1.8, rel=1e-4)


@pytest.mark.parametrize("kernel", [None, np.full((25, 25), np.nan), np.zeros((25, 25))])
def test_psf_that_is_defined_nowhere(kernel: np.ndarray | None) -> None:
    psf = CoaddPsf(lambda x, y: None if kernel is None else legacy_image(kernel))
    with pytest.raises(UnusablePsfError, match=r"the PSF \(CoaddPsf\) is defined nowhere in the image \("):
        from_legacy_psf(psf, BOX)


# Task and command on the same files


def _from_file(path: Path, psf: Any) -> SimpleNamespace:
    """What lsst.afw would make of a file, with a PSF."""
    with astropy.io.fits.open(path) as hdu_list:
        image, mask, variance = (np.array(hdu_list[k].data) for k in ("IMAGE", "MASK", "VARIANCE"))
        image, variance = image.astype(np.float32), variance.astype(np.float32)
        planes = {k[3:]: v for k, v in hdu_list["MASK"].header.items() if k.startswith("MP_")}
        x0, y0 = (-int(hdu_list["IMAGE"].header[k]) for k in ("LTV1", "LTV2"))
        (calibration,) = (h.data["calibrationMean"][0] for h in hdu_list if h.name == "PhotoCalib")
    ny, nx = image.shape

    def plane(array: np.ndarray, **methods: Any) -> SimpleNamespace:
        return SimpleNamespace(array=array, getX0=lambda: x0, getY0=lambda: y0, **methods)

    return SimpleNamespace(
        getBBox=lambda: SimpleNamespace(
            x=SimpleNamespace(begin=x0, end=x0 + nx), y=SimpleNamespace(begin=y0, end=y0 + ny)
        ),
        getWcs=lambda: None,
        getPsf=lambda: psf,
        getPhotoCalib=lambda: SimpleNamespace(getCalibrationMean=lambda: calibration),
        getMaskedImage=lambda: SimpleNamespace(
            getImage=lambda: plane(image),
            getMask=lambda: plane(mask, getMaskPlaneDict=lambda: planes),
            getVariance=lambda: plane(variance),
        ),
    )


class KernelPsf(CoaddPsf):
    """The PSF of a file with one kernel."""

    def __init__(self, path: Path) -> None:
        with astropy.io.fits.open(path) as hdu_list:
            row = hdu_list["FixedKernel"].data[0]
            kernel = np.array(row["image"], float).reshape(row["dimensions_y"], row["dimensions_x"])
            center = int(row["center_x"]), int(row["center_y"])
        # lsst.afw normalises it.
        super().__init__(lambda x, y: legacy_image(kernel / kernel.sum(), center))


@pytest.mark.parametrize("mean", [1.0, 57.54399373, 0.25])
@pytest.mark.parametrize(
    ("name", "psf"),
    [("exposure", lambda path: GaussianPsf(1.597, 25, 25)), ("exposure_kernelpsf", KernelPsf)],
)
def test_task_and_command_agree(
    shared_data: Path, tmp_path: Path, name: str, psf: Callable[[Path], Any], mean: float
) -> None:
    path = tmp_path / "exposure.fits"
    shutil.copy(shared_data / "afw_reference" / f"{name}.fits", path)
    path.chmod(0o644)
    with astropy.io.fits.open(path, mode="update") as hdu_list:
        hdu_list["PhotoCalib"].data["calibrationMean"] = mean
    task = BlendIdentificationTask(config=BlendIdentificationConfig())
    by_task, by_command = from_legacy_exposure(_from_file(path, psf(path))), read_image(path)
    assert by_command.masked_image.unit == by_task.masked_image.unit
    zero_point = by_command.find_zero_point()
    assert zero_point == pytest.approx(31.4 - 2.5 * np.log10(mean), abs=1e-9)
    one = task.run(by_task.masked_image, psf=by_task.psf, zero_point=by_task.zero_point).blend
    other = task.run(by_command.masked_image, psf=by_command.psf, zero_point=zero_point).blend
    assert len(one) > 0
    for column in ("p_blended", "p_n_2", "n_expected", "flux", "mag"):
        np.testing.assert_array_equal(one[column], other[column], err_msg=column)
    # The depth is known to the classifier in both ways; without it the probabilities are others.
    blind = task.run(by_task.masked_image, psf=by_task.psf).blend
    assert mean == 1.0 or np.any(np.asarray(blind["p_blended"]) != np.asarray(one["p_blended"]))


def test_computed_psf_is_read_by_lsst_afw_where_it_imports(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shared_data / "afw_reference" / "exposure_coaddpsf_gap.fits"
    monkeypatch.setitem(sys.modules, "lsst.afw", None)
    monkeypatch.setitem(sys.modules, "lsst.afw.image", None)
    with pytest.raises(ReadError, match=r"gap\.fits: its PSF is a CoaddPsf, .*lsst\.afw.* --psf FILE"):
        read_image(path)

    opened: list[str] = []

    class ExposureFitsReader:
        def __init__(self, name: str) -> None:
            opened.append(name)

        def readPsf(self) -> Any:
            return CoaddPsf(lambda x, y: None if x > X0 + 75 else legacy_image(gaussian(1.59, 25)))

    module = ModuleType("lsst.afw.image")
    module.ExposureFitsReader = ExposureFitsReader  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lsst.afw", ModuleType("lsst.afw"))
    monkeypatch.setitem(sys.modules, "lsst.afw.image", module)
    image = read_image(path)
    assert opened == [str(path)]
    assert isinstance(image.psf, np.ndarray)
    assert image.psf.shape == (6, 25, 25)
    assert image.band == "i"

    monkeypatch.setattr(ExposureFitsReader, "readPsf", lambda self: CoaddPsf(lambda x, y: None))
    with pytest.raises(ReadError, match=r"gap\.fits: .* defined nowhere .*no input images.*--psf FILE"):
        read_image(path)

    def fail(self: Any) -> Any:
        raise LegacyError("Could not import\n  module lsst.meas.algorithms")

    monkeypatch.setattr(ExposureFitsReader, "readPsf", fail)
    with pytest.raises(ReadError, match="lsst.afw cannot read the PSF .Could not import module"):
        read_image(path)

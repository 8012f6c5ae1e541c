# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the conversion of afw exposures, on stand-ins with the same methods."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import astropy.units as u
import numpy as np
import pytest
from lsst.images.psfs import GaussianPointSpreadFunction, PointSpreadFunction
from lsst.meas.blendid import BlendIdentificationConfig, BlendIdentificationTask
from lsst.meas.blendid.afw import from_legacy_exposure

X0, Y0 = 3000, 7000


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
    image, psf = from_legacy_exposure(_exposure())
    assert psf is None
    assert (image.bbox.x.start, image.bbox.y.start) == (X0, Y0)
    assert image.image.array.shape == (60, 80)
    assert set(image.mask.schema.names) == {"NO_DATA", "SATURATED", "PRIVATE"}
    assert np.argwhere(image.mask.get("NO_DATA")).tolist() == [[5, 7]]
    assert np.argwhere(image.mask.get("PRIVATE")).tolist() == [[6, 8]]
    assert not image.mask.get("SATURATED").any()


@pytest.mark.parametrize(("mean", "unit"), [(1.0, u.nJy), (57.5, None), (None, None)])
def test_unit_is_that_of_the_calibration(mean: float | None, unit: u.UnitBase | None) -> None:
    image, _ = from_legacy_exposure(_exposure(mean))
    assert image.unit == unit


def test_converted_exposure_goes_through_the_task() -> None:
    exposure = _exposure()
    exposure.getPsf = lambda: "a legacy PSF"

    def convert(legacy: Any, bounds: Any) -> GaussianPointSpreadFunction:
        assert legacy == "a legacy PSF"
        return GaussianPointSpreadFunction(1.6, bounds=bounds, stamp_size=25)

    with patch.object(PointSpreadFunction, "from_legacy", convert):
        image, psf = from_legacy_exposure(exposure)
    result = BlendIdentificationTask(config=BlendIdentificationConfig()).run(image, psf=psf)
    (row,) = result.blend
    assert (row["x"], row["y"]) == pytest.approx((X0 + 40, Y0 + 30), abs=0.5)

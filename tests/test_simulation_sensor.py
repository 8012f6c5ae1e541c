# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the sensors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from lsst.meas.blendid.psf import adaptive_sigma
from lsst.meas.blendid.simulation import SimulationError
from lsst.meas.blendid.simulation.exposures._sensor import EDGE, make_sensor

pytest.importorskip("galsim")

_SILICON = "lsst_itl_32"


def test_ideal_sensor_counts_photons() -> None:
    electrons = np.ones((12, 14), dtype=np.float32)
    make_sensor("").collect(electrons, np.array([5.4, 4.6, 7.0]), np.array([4.0, 4.4, 6.5001]))
    expected = np.ones((12, 14))
    expected[4, 5] += 2
    expected[7, 7] += 1
    np.testing.assert_array_equal(electrons, expected)
    assert make_sensor("").diffusion == 0.0


def test_silicon_loses_no_electron() -> None:
    # Everywhere, also at the border and between the parts that the image is treated in; in one
    # place enough of them to move the borders of pixels.
    rng = np.random.default_rng(1)
    height, width = 150, 280
    n = 60_000
    x = np.concatenate([rng.uniform(EDGE - 0.49, width - EDGE - 0.51, n), 128.0 + rng.normal(0, 1, n)])
    y = np.concatenate([rng.uniform(EDGE - 0.49, height - EDGE - 0.51, n), 127.0 + rng.normal(0, 1, n)])
    electrons = np.full((height, width), 7.0, dtype=np.float32)
    make_sensor(_SILICON, 1).collect(electrons, x, y)
    assert electrons.sum(dtype=np.float64) == 7.0 * electrons.size + 2 * n
    assert (electrons >= 7.0).all()


def test_no_photon_no_electron() -> None:
    electrons = np.zeros((20, 20), dtype=np.float32)
    make_sensor(_SILICON, 1).collect(electrons, np.empty(0), np.empty(0))
    assert not electrons.any()


def test_diffusion() -> None:
    n = 40_000
    sensor = make_sensor(_SILICON, 1)
    electrons = np.zeros((21, 21), dtype=np.float32)
    # Few at a time: no repulsion.
    for _ in range(n // 400):
        one = np.zeros_like(electrons)
        sensor.collect(one, np.full(400, 10.0), np.full(400, 10.0))
        electrons += one
    middle = math.erf(0.5 / sensor.diffusion / math.sqrt(2.0))
    assert electrons[10, 10] / n == pytest.approx(middle**2, abs=4.0 * 0.5 / math.sqrt(n))
    assert electrons[10].sum() / n == pytest.approx(middle, abs=4.0 * 0.5 / math.sqrt(n))


def width(electrons: np.ndarray, center: int) -> float:
    return adaptive_sigma(electrons[center - 10 : center + 11, center - 10 : center + 11])


@pytest.mark.parametrize("center", [64, 128])
def test_brighter_is_fatter(center: int) -> None:
    # In the middle of a part, and in the corner of four.
    galsim = pytest.importorskip("galsim")
    n = 400_000
    x, y = np.random.default_rng(2).normal(center, 0.8, (2, n))
    electrons = np.zeros((260, 260), dtype=np.float32)
    sensor = make_sensor(_SILICON, 1)
    sensor.collect(electrons, x, y)
    bright = width(electrons, center)

    image = galsim.ImageF(260, 260, xmin=0, ymin=0)
    reference = galsim.SiliconSensor(_SILICON, rng=galsim.BaseDeviate(2), nrecalc=10_000)
    reference.accumulate(galsim.PhotonArray(n, x=x, y=y, flux=1.0), image)
    # Without repulsion.
    plain = np.zeros((260, 260), dtype=np.float32)
    moved = np.random.default_rng(3).normal(0.0, sensor.diffusion, (2, n))
    make_sensor("").collect(plain, x + moved[0], y + moved[1])
    effect = width(image.array, center) - width(plain, center)
    # The scatter of a width from the positions, which are the same, does not matter.
    noise = sensor.diffusion / math.sqrt(2.0 * n)
    assert effect > 5.0 * noise
    assert bright - width(plain, center) == pytest.approx(effect, abs=0.1 * effect + 4.0 * noise)


def test_unknown_sensor() -> None:
    with pytest.raises(SimulationError, match="unknown sensor 'film'; known sensors: .*lsst_itl_32"):
        make_sensor("film")

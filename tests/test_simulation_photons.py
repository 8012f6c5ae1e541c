# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of photons, and of the sensor that makes electrons of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from lsst.meas.blendid.images.psf import KOLMOGOROV_K0_FWHM, adaptive_sigma
from lsst.meas.blendid.simulation import SimulationError
from lsst.meas.blendid.simulation.coadds.photons import (
    BORDER,
    kolmogorov_growth,
    make_radius_tables,
    make_sensor,
    make_sources,
    shoot_photons,
)

galsim = pytest.importorskip("galsim")


stats = pytest.importorskip("scipy.stats")


_N = 100_000


_EVERYWHERE = (-1e9, 1e9, -1e9, 1e9)


def one_galaxy(**columns: float) -> Table:
    row: dict[str, float] = {
        "x": 0.0,
        "y": 0.0,
        "flux": 100.0,
        "disc_radius": 0.0,
        "bulge_radius": 0.0,
        "axis_ratio": 1.0,
        "bulge_axis_ratio": 1.0,
        "position_angle": 0.0,
        "bulge_fraction": 0.0,
    }
    return Table([row | columns])


def shoot(
    table: Table,
    n_disc: int,
    n_bulge: int,
    fwhm: float,
    *,
    pixel_scale: float = 1.0,
    box: tuple[float, float, float, float] = _EVERYWHERE,
) -> tuple[np.ndarray, np.ndarray]:
    sources, _ = make_sources(table)
    return shoot_photons(
        sources,
        np.array([n_disc]),
        np.array([n_bulge]),
        pixel_scale=pixel_scale,
        fwhm=fwhm,
        box=box,
        rng=np.random.default_rng(1),
    )


def same(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether two samples may be of one distribution (Kolmogorov-Smirnov)."""
    return stats.ks_2samp(one, two).pvalue > 1e-3


def galsim_photons(profile: Any, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    photons = profile.shoot(_N, galsim.BaseDeviate(seed))
    return photons.x, photons.y


@pytest.mark.parametrize("part", ["disc", "bulge", "star"])
def test_radii_are_those_of_galsim(part: str) -> None:
    fwhm = 0.7 if part == "star" else 1e-12
    table = one_galaxy(**{} if part == "star" else {f"{part}_radius": 0.3})
    x, y = shoot(table, 0 if part == "bulge" else _N, _N if part == "bulge" else 0, fwhm)
    profile = {
        "disc": galsim.Exponential(half_light_radius=0.3),
        "bulge": galsim.DeVaucouleurs(half_light_radius=0.3),
        "star": galsim.Kolmogorov(fwhm=0.7),
    }[part]
    other_x, other_y = galsim_photons(profile)
    assert len(x) == _N
    assert same(np.hypot(x, y), np.hypot(other_x, other_y))
    assert stats.kstest(np.arctan2(y, x) / (2.0 * math.pi) + 0.5, "uniform").pvalue > 1e-3


def test_lensed_ellipse_is_that_of_galsim() -> None:
    gamma1, gamma2, kappa = 0.08, -0.05, 0.1
    table = one_galaxy(
        disc_radius=0.9,
        bulge_radius=0.5,
        axis_ratio=0.4,
        bulge_axis_ratio=0.7,
        position_angle=35.0,
        bulge_fraction=0.3,
    )
    table["gamma1"], table["gamma2"], table["kappa"] = gamma1, gamma2, kappa
    n_disc = round(0.7 * _N)
    x, y = shoot(table, n_disc, _N - n_disc, 0.7, pixel_scale=0.2)

    angle = 35.0 * galsim.degrees
    galaxy = 0.7 * galsim.Exponential(half_light_radius=0.9).shear(q=0.4, beta=angle)
    galaxy += 0.3 * galsim.DeVaucouleurs(half_light_radius=0.5).shear(q=0.7, beta=angle)
    mu = 1.0 / ((1.0 - kappa) ** 2 - gamma1**2 - gamma2**2)
    lensed = galaxy.lens(gamma1 / (1.0 - kappa), gamma2 / (1.0 - kappa), mu)
    other_x, other_y = galsim_photons(galsim.Convolve(lensed, galsim.Kolmogorov(fwhm=0.7)))
    other_x, other_y = other_x / 0.2, other_y / 0.2
    assert same(x, other_x)
    assert same(y, other_y)
    assert same(x + y, other_x + other_y)
    assert same(x - y, other_x - other_y)
    # The test would see a galaxy that is not lensed.
    for name in ("gamma1", "gamma2", "kappa"):
        del table[name]
    x, y = shoot(table, n_disc, _N - n_disc, 0.7, pixel_scale=0.2)
    assert not same(x - y, other_x - other_y)


def test_kolmogorov_growth() -> None:
    r, left = kolmogorov_growth()
    assert left[0] == 1.0
    assert np.all(np.diff(left) < 0.0)
    # The integral and the series meet.
    i = int(np.searchsorted(r, 12.0))
    slope = np.gradient(np.log(left[i - 20 : i + 20]), np.log(r[i - 20 : i + 20]))
    assert np.abs(np.diff(slope)).max() < 5e-3
    half = np.interp(0.5, left[::-1], r[::-1]) / KOLMOGOROV_K0_FWHM
    assert half == pytest.approx(galsim.Kolmogorov(fwhm=1.0).half_light_radius, rel=2e-3)


def test_tables_hold_half_and_nearly_all_of_the_light() -> None:
    tables = make_radius_tables()
    position = math.sqrt(0.5 / 0.9) * (tables.core.shape[1] - 1)
    at_half = [np.interp(position, np.arange(tables.core.shape[1]), core) for core in tables.core[:2]]
    np.testing.assert_allclose(at_half, [1.6783469900166605, 1.0], rtol=1e-6)
    # Exponential disc: (1 + x) exp(-x) is the light beyond.
    x = tables.tail[0, -1]
    assert (1.0 + x) * math.exp(-x) == pytest.approx(1e-9, rel=1e-6)
    np.testing.assert_allclose(tables.core[:, -1], tables.tail[:, 0], rtol=1e-6)
    assert (np.diff(tables.core) > 0.0).all()
    assert (np.diff(tables.tail) > 0.0).all()


def test_box() -> None:
    star = one_galaxy(x=3.0, y=5.0)
    x, y = shoot(star, _N, 0, 3.5)
    assert np.median(x) == pytest.approx(3.0, abs=0.03)
    assert np.median(y) == pytest.approx(5.0, abs=0.03)
    inside_x, inside_y = shoot(star, _N, 0, 3.5, box=(2.0, 4.0, 3.0, 6.0))
    keep = (x >= 2.0) & (x < 4.0) & (y >= 3.0) & (y < 6.0)
    np.testing.assert_array_equal(inside_x, x[keep])
    np.testing.assert_array_equal(inside_y, y[keep])


def test_digest_depends_on_each_column() -> None:
    table = one_galaxy(disc_radius=0.3)
    _, digest = make_sources(table)
    assert make_sources(table.copy())[1] == digest
    for name in table.colnames:
        other = table.copy()
        other[name] = other[name] + 0.125
        assert make_sources(other)[1] != digest


@pytest.mark.parametrize(
    ("column", "value", "match"),
    [
        ("flux", math.nan, r"'flux'.*1 of 2 rows.*rows 1"),
        ("flux", -1.0, r"'flux'"),
        ("disc_radius", -0.1, r"'disc_radius'"),
        ("gamma1", 2.0, "kappa|gamma|shear"),
    ],
)
def test_bad_values(column: str, value: float, match: str) -> None:
    table = Table([dict(zip(one_galaxy().colnames, one_galaxy()[0], strict=True))] * 2)
    table["gamma1"] = 0.0
    table[column][1] = value
    with pytest.raises(SimulationError, match=match):
        make_sources(table)


def test_missing_column() -> None:
    table = one_galaxy()
    del table["bulge_radius"]
    with pytest.raises(SimulationError, match="no column 'bulge_radius'"):
        make_sources(table)


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
    x = np.concatenate([rng.uniform(BORDER - 0.49, width - BORDER - 0.51, n), 128.0 + rng.normal(0, 1, n)])
    y = np.concatenate([rng.uniform(BORDER - 0.49, height - BORDER - 0.51, n), 127.0 + rng.normal(0, 1, n)])
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

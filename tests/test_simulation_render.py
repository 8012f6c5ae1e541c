# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the drawing of galaxies, against GalSim."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.images.psf import kolmogorov_kernel
from lsst.meas.blendid.simulation import (
    MissingGalSimError,
    PsfModel,
    SimulationError,
    complete_galaxies,
    draw_galaxies,
    get_survey,
)
from lsst.meas.blendid.simulation.catalogs.observed import observe, split_knots
from lsst.meas.blendid.simulation.coadds.render import EDGE, Profiles

galsim = pytest.importorskip("galsim")

FWHM, SCALE, NOISE = 0.7, 0.2, 2.94
PSF = PsfModel(FWHM)


def _complete(table: Table) -> Table:
    """Table of what is drawn; without lensing, if the table has none."""
    for name in ("gamma1", "gamma2", "kappa"):
        if name not in table.colnames:
            table[name] = np.zeros(len(table))
    complete = complete_galaxies(table, "cosmodc2", np.random.default_rng(0))
    return observe(complete, get_survey("i"))


def _draw(
    galaxies: Table, size: tuple[int, int] = (128, 128), engine: str = "fourier", psf: PsfModel = PSF
) -> np.ndarray:
    return draw_galaxies(galaxies, size=size, psf=psf, pixel_scale=SCALE, noise=NOISE, engine=engine)


@pytest.mark.parametrize(("pixels", "tolerance"), [(2.5, 1e-4), (3.5, 1e-4), (6.0, 1e-5)])
def test_one_psf_for_kernel_and_both_engines(pixels: float, tolerance: float) -> None:
    """A star is the kernel that readers give to images, and the one of the coadd."""
    star = _complete(Table({"x": [60.0], "y": [60.0], "mag": [20.0], "is_star": [True]}))
    kernel = kolmogorov_kernel(pixels, 41)
    for engine in ("fourier", "galsim"):
        image = draw_galaxies(
            star,
            size=(121, 121),
            psf=PsfModel(pixels * SCALE),
            pixel_scale=SCALE,
            noise=1e-3,
            engine=engine,
        )[40:81, 40:81]
        np.testing.assert_allclose(
            image / image.sum(), kernel, rtol=0, atol=tolerance * kernel.max(), err_msg=engine
        )


def test_undersampled_psf_is_refused() -> None:
    star = _complete(Table({"x": [5.0], "y": [5.0], "mag": [20.0], "is_star": [True]}))
    for engine in ("fourier", "galsim"):
        with pytest.raises(SimulationError, match=r"FWHM 0.3 arcsec is undersampled by pixels of 0.2"):
            _draw(star, engine=engine, psf=PsfModel(0.3))
        # Along its minor axis.
        with pytest.raises(SimulationError, match=r"at least 2 pixels"):
            _draw(star, engine=engine, psf=PsfModel(0.41, g1=0.1))


@pytest.mark.parametrize("size_factor", [1.0, 4.0])
def test_fourier_engine_agrees_with_galsim(size_factor: float) -> None:
    """Faint and bright, small and large, off-centre and cut by the edge: within 2 % of the noise."""
    rng = np.random.default_rng(3)
    n = 24
    table = Table({"x": rng.uniform(-15, 205, n), "y": rng.uniform(-15, 175, n)})
    table["mag"] = rng.uniform(21.0, 28.0, n)
    table["half_light_radius"] = size_factor * rng.uniform(0.05, 0.5, n)
    galaxies = _complete(table)
    fast = _draw(galaxies, (190, 160))
    exact = _draw(galaxies, (190, 160), engine="galsim")
    assert exact.max() > 30 * NOISE
    np.testing.assert_allclose(fast, exact, atol=0.01 * NOISE, rtol=0)


@pytest.mark.parametrize("psf", [PsfModel(0.52), PsfModel(0.7, 0.03, -0.05), PsfModel(0.9, -0.1, 0.0)])
def test_shear_knots_and_stars_agree_with_galsim(psf: PsfModel) -> None:
    """Everything that a row can be, with round and elliptical PSFs: within 2 % of the noise."""
    rng = np.random.default_rng(11)
    n = 20
    table = Table({"x": rng.uniform(0, 149, n), "y": rng.uniform(0, 129, n)})
    table["mag"] = rng.uniform(20.0, 27.0, n)
    table["half_light_radius"] = rng.uniform(0.1, 0.8, n)
    table["is_star"] = np.arange(n) % 5 == 0
    table["gamma1"], table["gamma2"] = rng.uniform(-0.15, 0.15, n), rng.uniform(-0.15, 0.15, n)
    table["kappa"] = rng.uniform(-0.1, 0.2, n)
    table["n_knots"] = np.where(np.arange(n) % 3 == 0, 6, 0)
    table["knot_fraction"] = np.where(table["n_knots"] > 0, 0.5, 0.0)
    galaxies = split_knots(_complete(table), 1)
    assert galaxies["is_knot"].sum() >= 12
    fast = _draw(galaxies, (150, 130), psf=psf)
    exact = _draw(galaxies, (150, 130), engine="galsim", psf=psf)
    np.testing.assert_allclose(fast, exact, atol=0.02 * NOISE, rtol=0)
    # The check sees each of these things.
    for name, value in (("gamma1", 0.0), ("kappa", 0.0)):
        other = galaxies.copy()
        other[name] = value
        assert np.abs(_draw(other, (150, 130), psf=psf) - exact).max() > NOISE
    other = _draw(galaxies, (150, 130), psf=PsfModel(psf.fwhm, psf.g1 + 0.01, psf.g2))
    assert np.abs(other - exact).max() > NOISE


@pytest.mark.parametrize("psf", [PSF, PsfModel(0.7, 0.02, -0.03)])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.3, -0.4)])
def test_brightest_stars_agree_with_galsim(psf: PsfModel, offset: tuple[float, float]) -> None:
    """A star 10,000 times over the noise, within 2 % of it, in its core and in its wings."""
    star = _complete(
        Table({"x": [150.0 + offset[0]], "y": [150.0 + offset[1]], "mag": [16.0], "is_star": [True]})
    )
    fast = _draw(star, (301, 301), psf=psf)
    assert fast.max() > 10_000 * NOISE
    np.testing.assert_allclose(
        fast, _draw(star, (301, 301), engine="galsim", psf=psf), atol=0.02 * NOISE, rtol=0
    )


def test_reach_is_where_the_light_ends() -> None:
    rng = np.random.default_rng(8)
    table = Table({"x": np.full(12, 300.0), "y": np.full(12, 300.0), "mag": rng.uniform(18.0, 28.0, 12)})
    table["half_light_radius"] = rng.uniform(0.1, 1.5, 12)
    galaxies = _complete(table)
    reach = Profiles.from_table(galaxies).stamp_sizes(PSF, SCALE, EDGE * NOISE) // 2
    assert len(np.unique(reach)) > 3
    y, x = np.mgrid[:601, :601]
    for i in range(0, 12, 3):
        image = _draw(galaxies[[i]], (601, 601), engine="galsim")
        outside = np.maximum(np.abs(x - 300), np.abs(y - 300)) > reach[i]
        assert np.abs(image[outside]).max(initial=0.0) < 0.003 * NOISE
        assert not _draw(galaxies[[i]], (601, 601))[outside].any()


def test_lensing_is_galsims() -> None:
    """A sheared and magnified galaxy is what `galsim.GSObject.lens` makes of it."""
    gamma1, gamma2, kappa = 0.06, -0.09, 0.1
    row = {
        "x": [60.3],
        "y": [41.8],
        "flux": [5000.0],
        "half_light_radius": [0.5],
        "disc_radius": [0.6],
        "bulge_radius": [0.3],
        "axis_ratio": [0.5],
        "bulge_axis_ratio": [0.8],
        "position_angle": [30.0],
        "bulge_fraction": [0.4],
        "gamma1": [gamma1],
        "gamma2": [gamma2],
        "kappa": [kappa],
    }
    disc = galsim.Exponential(half_light_radius=0.6, flux=3000).shear(q=0.5, beta=30 * galsim.degrees)
    bulge = galsim.DeVaucouleurs(half_light_radius=0.3, flux=2000).shear(q=0.8, beta=30 * galsim.degrees)
    lensed = (disc + bulge).lens(
        g1=gamma1 / (1 - kappa), g2=gamma2 / (1 - kappa), mu=1 / ((1 - kappa) ** 2 - gamma1**2 - gamma2**2)
    )
    assert lensed.flux > 6000.0
    profile = galsim.Convolve(lensed, galsim.Kolmogorov(fwhm=FWHM))
    image = galsim.ImageD(121, 100, xmin=0, ymin=0, scale=SCALE)
    profile.drawImage(image=image, center=galsim.PositionD(60.3, 41.8))
    for engine in ("fourier", "galsim"):
        drawn = _draw(_complete(Table(row)), (121, 100), engine)
        np.testing.assert_allclose(drawn, image.array, atol=0.03 * NOISE, err_msg=engine)


def test_strong_lensing_is_refused() -> None:
    galaxies = _complete(Table({"x": [1.0], "y": [1.0], "mag": [24.0]}))
    galaxies["kappa"] = 1.2
    with pytest.raises(SimulationError, match="kappa"):
        _draw(galaxies)


def test_bad_rows_are_refused() -> None:
    galaxies = _complete(Table({"x": [1.0, 2.0], "y": [1.0, 2.0], "mag": [24.0, 25.0]}))
    galaxies["x"][1] = np.nan
    for engine in ("fourier", "galsim"):
        with pytest.raises(SimulationError, match=r"'x'.*rows 1"):
            _draw(galaxies, engine=engine)
        with pytest.raises(SimulationError, match="no column 'position_angle'"):
            _draw(galaxies["x", "y", "flux"][:1], engine=engine)


def test_no_galaxy_no_light() -> None:
    galaxies = _complete(Table({"x": [1.0], "y": [1.0], "mag": [24.0]}))[:0]
    for engine in ("fourier", "galsim"):
        assert not _draw(galaxies, engine=engine).any()


def test_galsim_engine_draws_what_the_table_says() -> None:
    """One galaxy of each kind with GalSim called by hand, to pin position, angle and radii."""
    row = {
        "x": [60.3],
        "y": [41.8],
        "flux": [5000.0],
        "half_light_radius": [0.5],
        "disc_radius": [0.6],
        "bulge_radius": [0.3],
        "axis_ratio": [0.5],
        "bulge_axis_ratio": [0.8],
        "position_angle": [30.0],
        "bulge_fraction": [0.4],
    }
    disc = galsim.Exponential(half_light_radius=0.6, flux=3000).shear(q=0.5, beta=30 * galsim.degrees)
    bulge = galsim.DeVaucouleurs(half_light_radius=0.3, flux=2000).shear(q=0.8, beta=30 * galsim.degrees)
    profile = galsim.Convolve(disc + bulge, galsim.Kolmogorov(fwhm=FWHM))
    image = galsim.ImageD(121, 100, xmin=0, ymin=0, scale=SCALE)
    profile.drawImage(image=image, center=galsim.PositionD(60.3, 41.8))
    for engine in ("fourier", "galsim"):
        drawn = _draw(_complete(Table(row)), (121, 100), engine)
        np.testing.assert_allclose(drawn, image.array, atol=0.02 * NOISE, err_msg=engine)


def test_centre_is_at_the_integer_pixel() -> None:
    """A star at integer coordinates peaks on that pixel, symmetrically."""
    image = _draw(_complete(Table({"x": [40.0], "y": [25.0], "mag": [22.0], "is_star": [True]})), (80, 60))
    assert int(image.argmax()) == 25 * 80 + 40
    np.testing.assert_allclose(image[25, 30:40], image[25, 50:40:-1], rtol=1e-3)
    np.testing.assert_allclose(image[15:25, 40], image[35:25:-1, 40], rtol=1e-3)


@settings(deadline=None, max_examples=40)
@given(
    x=st.floats(90.0, 110.0),
    y=st.floats(90.0, 110.0),
    mag=st.floats(22.0, 29.0),
    radius=st.floats(0.02, 0.6),
    ratio=st.floats(0.15, 1.0),
    angle=st.floats(-180.0, 360.0),
    bulge=st.floats(0.0, 1.0),
)
def test_flux_and_centre_are_kept(
    x: float, y: float, mag: float, radius: float, ratio: float, angle: float, bulge: float
) -> None:
    galaxies = _complete(
        Table(
            {
                "x": [x],
                "y": [y],
                "mag": [mag],
                "half_light_radius": [radius],
                "axis_ratio": [ratio],
                "position_angle": [angle],
                "bulge_fraction": [bulge],
            }
        )
    )
    image = _draw(galaxies, (200, 200))
    flux = float(galaxies["flux"][0])
    # What is missing lies outside of the image, in the wings of a bright bulge.
    assert image.sum() == pytest.approx(flux, rel=5e-3)
    assert image.min() > -1e-3 * NOISE
    iy, ix = np.unravel_index(image.argmax(), image.shape)
    assert abs(ix - x) <= 1.0 and abs(iy - y) <= 1.0


def test_light_is_additive_and_order_does_not_matter() -> None:
    rng = np.random.default_rng(5)
    table = Table({"x": rng.uniform(0, 99, 40), "y": rng.uniform(0, 79, 40), "mag": rng.uniform(23, 28, 40)})
    galaxies = _complete(table)
    together = _draw(galaxies, (100, 80))
    np.testing.assert_allclose(
        together, _draw(galaxies[:15], (100, 80)) + _draw(galaxies[15:], (100, 80)), atol=1e-3
    )
    np.testing.assert_allclose(together, _draw(galaxies[::-1], (100, 80)), atol=1e-3)


def test_neighbours_outside_the_field_shine_into_it() -> None:
    """The part of a greater image is the image of the part."""
    rng = np.random.default_rng(6)
    table = Table(
        {"x": rng.uniform(0, 149, 60), "y": rng.uniform(0, 149, 60), "mag": rng.uniform(21, 27, 60)}
    )
    galaxies = _complete(table)
    whole = _draw(galaxies, (150, 150))
    shifted = galaxies.copy()
    shifted["x"] -= 40
    shifted["y"] -= 50
    np.testing.assert_allclose(_draw(shifted, (60, 50)), whole[50:100, 40:100], atol=0.01 * NOISE)


def test_progress_is_reported() -> None:
    calls: list[tuple[int, int]] = []
    table = Table({"x": np.zeros(5), "y": np.zeros(5), "mag": [18.0, 20.0, 22.0, 24.0, 26.0]})
    draw_galaxies(
        _complete(table),
        size=(32, 32),
        psf=PSF,
        pixel_scale=SCALE,
        noise=NOISE,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls[-1] == (5, 5)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_unknown_engine() -> None:
    with pytest.raises(SimulationError, match="unknown drawing engine 'brush'"):
        _draw(_complete(Table({"x": [1.0], "y": [1.0], "mag": [24.0]})), engine="brush")


def test_missing_galsim_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    galaxies = _complete(Table({"x": [1.0], "y": [1.0], "mag": [24.0]}))
    monkeypatch.setitem(sys.modules, "galsim", None)
    with pytest.raises(MissingGalSimError, match=r"lsst-meas-blendid\[sim\]"):
        _draw(galaxies)

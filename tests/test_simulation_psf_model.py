# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the PSF of simulated coadds, against GalSim."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.images.psf import kolmogorov_kernel
from lsst.meas.blendid.simulation import PsfModel, SimulationError
from lsst.meas.blendid.simulation.coadds.psf_model import Modes, kernel_size

galsim = pytest.importorskip("galsim")

SCALE = 0.2


@pytest.mark.parametrize(
    "psf", [PsfModel(0.7), PsfModel(0.7, 0.05, 0.08), PsfModel(0.6, -0.05), PsfModel(1.1, g2=0.2)]
)
def test_kernel_is_galsims(psf: PsfModel) -> None:
    kernel = psf.kernel(SCALE, 41)
    exact = galsim.GSParams(folding_threshold=1e-4, maxk_threshold=1e-5)
    reference = psf.galsim(exact).drawImage(nx=41, ny=41, scale=SCALE, dtype=float).array
    assert kernel.shape == (41, 41) and kernel.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(kernel, reference / reference.sum(), rtol=0, atol=1e-4 * kernel.max())
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-12)


def test_round_kernel_is_that_of_readers() -> None:
    np.testing.assert_allclose(PsfModel(0.7).kernel(SCALE, 41), kolmogorov_kernel(3.5, 41), rtol=1e-6)
    nearly = PsfModel(0.7, 1e-9).kernel(SCALE, 41)
    np.testing.assert_allclose(nearly, kolmogorov_kernel(3.5, 41), atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(
    fwhm=st.floats(0.6, 1.5),
    g=st.floats(0.0, 0.08),
    angle=st.floats(0.0, np.pi),
    size=st.sampled_from([21, 41, 61]),
)
def test_kernel_stretches_along_the_shear(fwhm: float, g: float, angle: float, size: int) -> None:
    psf = PsfModel(fwhm, g * np.cos(2 * angle), g * np.sin(2 * angle))
    kernel = psf.kernel(SCALE, size)
    assert kernel.sum() == pytest.approx(1.0) and kernel.min() > 0.0
    assert np.unravel_index(kernel.argmax(), kernel.shape) == (size // 2, size // 2)
    # Moments within a circle, which no direction cuts more than another.
    y, x = np.mgrid[-(size // 2) : size // 2 + 1, -(size // 2) : size // 2 + 1]
    weight = kernel * np.exp(-0.5 * (x**2 + y**2) / (fwhm / SCALE) ** 2)
    xx, yy, xy = ((weight * v).sum() / weight.sum() for v in (x * x, y * y, x * y))
    e1, e2 = (xx - yy) / (xx + yy), 2 * xy / (xx + yy)
    # A narrower weight gives a smaller ellipticity in the same direction.
    assert e1 == pytest.approx(psf.g1 * np.hypot(e1, e2) / max(g, 1e-12), abs=2e-3)
    assert e2 == pytest.approx(psf.g2 * np.hypot(e1, e2) / max(g, 1e-12), abs=2e-3)
    assert 0.6 * g - 1e-3 < np.hypot(e1, e2) < 2.2 * g + 1e-3


@pytest.mark.parametrize(("fwhm", "size"), [(0.5, 41), (1.0, 41), (1.1, 45), (2.0, 81)])
def test_wide_psfs_have_wide_images(fwhm: float, size: int) -> None:
    assert kernel_size(fwhm, SCALE) == size
    # Less than one in a hundred of the light is cut off.
    kernel, whole = (PsfModel(fwhm).kernel(SCALE, n) for n in (size, 301))
    assert whole[150, 150] / kernel[size // 2, size // 2] > 0.99


def test_transform() -> None:
    psf = PsfModel(0.8, 0.1, -0.2)
    kx, ky = np.array([0.0, 1.0, 3.0, 6.0]), np.array([0.0, -2.0, 4.0, 1.0])
    profile = psf.galsim()
    expected = [profile.kValue(x, y).real for x, y in zip(kx, ky, strict=True)]
    np.testing.assert_allclose(psf.transform(kx, ky), expected, atol=1e-6)
    # In no direction is the transform above the threshold beyond the frequency.
    angle = np.linspace(0.0, np.pi, 181)
    top = psf.max_frequency(1e-3)
    values = psf.transform(top * np.cos(angle), top * np.sin(angle))
    assert values.max() == pytest.approx(1e-3, rel=0.01)


def test_aliases_are_all_modes_of_finer_pixels() -> None:
    """Modes and aliases together are the transform that finer sampling has, once each."""
    psf, n = PsfModel(0.5, 0.05, 0.02), 16
    modes = Modes.make(psf, n, SCALE, 1e-12)
    spectrum = modes.values.copy()
    np.add.at(spectrum, tuple(modes.alias_index.T), modes.alias_values)
    unit = 2 * np.pi / SCALE
    expected = np.zeros_like(spectrum)
    for my in range(-3, 4):
        for mx in range(-3, 4):
            fx, fy = np.fft.rfftfreq(n)[None, :] + mx, np.fft.fftfreq(n)[:, None] + my
            expected += psf.transform(unit * fx, unit * fy) * np.sinc(fx) * np.sinc(fy)
    np.testing.assert_allclose(spectrum, expected, atol=1e-6)
    assert len(modes.alias_index) > len(Modes.make(psf, n, SCALE, 1e-4).alias_index) > 0
    assert len(Modes.make(PsfModel(2.0), n, SCALE, 1e-4).alias_index) == 0


def test_errors() -> None:
    for size in (-1, 40):
        for psf in (PsfModel(0.7), PsfModel(0.7, 0.1)):
            with pytest.raises(SimulationError, match="odd"):
                psf.kernel(SCALE, size)
    with pytest.raises(SimulationError, match=r"FWHM 0.3 arcsec is undersampled by pixels of 0.2 arcsec"):
        PsfModel(0.3).kernel(SCALE, 41)
    for fwhm in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(SimulationError, match="FWHM of the PSF must be positive"):
            PsfModel(fwhm)
    for g in (0.6, np.nan):
        with pytest.raises(SimulationError, match="shear of the PSF"):
            PsfModel(0.7, g)

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Bright stars that the PSF doesn't explain."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.footprints import build_footprints
from lsst.meas.blendid.footprints.flags import find_profile_mismatches
from lsst.meas.blendid.images.psf import kolmogorov_kernel, summarize_psf

PSF = summarize_psf(kolmogorov_kernel(3.5))
STEP = 60


def find(profile: np.ndarray, significance: float, holes: int = 0) -> np.ndarray:
    """Flags of four sources of one profile, (41, 41), the first at the edge."""
    pixels = np.random.default_rng(4).normal(size=(4 * STEP, STEP))
    flux = significance * np.sqrt(4.0 * np.pi) * PSF.sigma
    for i in range(4):
        y, x = STEP * i + 30, 30
        pixels[y - 20 : y + 21, x - 20 : x + 21] += flux * profile / profile.sum()
    pixels[28 : STEP * holes : STEP, 37] = np.nan
    result = build_footprints(pixels, psf=PSF, variance=np.ones(pixels.shape))
    assert len(result.footprints) >= 4
    return find_profile_mismatches(result)[result.footprints.max_significance > 0.5 * significance]


def moffat(beta: float, fwhm: float = 3.4) -> np.ndarray:
    y, x = np.mgrid[-20:21, -20:21]
    scale = fwhm / 2.0 / np.sqrt(2.0 ** (1.0 / beta) - 1.0)
    return (1.0 + (x**2 + y**2) / scale**2) ** -beta


def test_stars_with_other_wings() -> None:
    assert find(moffat(2.5), 500.0).all()


@pytest.mark.parametrize("significance", [50.0, 500.0, 3000.0])
def test_stars_that_the_psf_explains(significance: float) -> None:
    assert not find(kolmogorov_kernel(3.5, 41), significance).any()


def test_galaxies_are_no_stars() -> None:
    y, x = np.mgrid[-20:21, -20:21]
    galaxy = np.exp(-np.hypot(x, y) / 2.0)
    assert not find(galaxy, 500.0).any()


def test_faint_stars_do_not_tell() -> None:
    assert not find(moffat(2.5), 60.0).any()


def test_a_hole_in_the_wings_does_not_tell() -> None:
    assert not find(moffat(2.5), 500.0, holes=3)[:3].any()
    assert find(moffat(2.5), 500.0, holes=3)[3:].all()
    assert not find(moffat(2.5), 500.0, holes=4).any()


def test_isolated_stars_are_flagged_or_no_blends(shared_cases: Path, tmp_path: Path) -> None:
    """By command: no star has a neighbour."""
    pytest.importorskip("galsim")
    subprocess.run([sys.executable, shared_cases / "10_isolated_stars.py", tmp_path], check=True)
    for name, flagged in (("kolmo", 40), ("ellip", 40), ("moffat25", 40), ("moffat35", 0)):
        arguments = ["run", str(tmp_path / f"{name}.fits"), "--out", str(tmp_path), "--psf-fwhm", "0.7"]
        arguments += ["--pixel-scale", "0.2", "--classifier", "features", "--localizer", "none"]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        table = Table.read(tmp_path / f"{name}.blend.parquet")
        assert 97 <= len(table) <= 103
        mismatch = np.asarray(table["flag_profile_mismatch"])
        assert mismatch.sum() >= flagged
        assert not table["flag"].any()
        assert (np.asarray(table["p_blended"])[~mismatch] < 0.2).all()

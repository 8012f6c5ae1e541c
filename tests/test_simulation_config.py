# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the settings of simulated coadds."""

from __future__ import annotations

from pathlib import Path

import pytest
from lsst.meas.blendid.simulation.config import PopulationConfig, SceneConfig
from lsst.pex.config import FieldValidationError


def test_defaults_change_nothing() -> None:
    config = SceneConfig()
    config.validate()
    assert config.mode == "fast" and config.engine == "fourier"
    assert config.population.sizeScale == config.population.countsScale == config.population.clustering == 1.0
    off = [config.population.starDensity, config.population.clumpyFraction, config.population.sizeScatter]
    off += [getattr(config.variation, name) for name in config.variation.toDict() if name != "scale"]
    off += [config.artifacts.badColumnDensity, config.artifacts.cosmicRayDensity]
    assert not any(off) and not config.artifacts.doSaturation


def test_stars_need_ordered_magnitudes() -> None:
    config = PopulationConfig(starMagBright=25.0, starMagFaint=20.0)
    with pytest.raises(FieldValidationError, match="starMagBright = 25"):
        config.validate()


@pytest.mark.parametrize("name", ["fwhmScatter", "ellipticityScatter", "depthScatter", "skyScatter"])
def test_exposures_do_not_vary_between_cells(name: str) -> None:
    config = SceneConfig(mode="full")
    config.validate()
    setattr(config.variation, name, 0.05)
    with pytest.raises(FieldValidationError, match="or use mode fast"):
        config.validate()


@pytest.mark.parametrize(
    ("name", "value"), [("profile", "moffat"), ("ellipticity", 0.1), ("widthError", -0.1)]
)
def test_exposures_have_a_psf_of_their_own(name: str, value: str | float) -> None:
    config = SceneConfig(mode="full")
    setattr(config.psf, name, value)
    with pytest.raises(FieldValidationError, match="leave psf as it is, or use mode fast"):
        config.validate()
    config.mode = "fast"
    config.validate()


@pytest.mark.parametrize(
    ("name", "value"), [("sizeScale", 0.0), ("countsScale", 0.0), ("clumpLight", 1.2), ("clustering", -1.0)]
)
def test_impossible_values_are_refused(name: str, value: float) -> None:
    with pytest.raises(FieldValidationError, match=name):
        PopulationConfig(**{name: value})


def test_settings_survive_a_file(tmp_path: Path) -> None:
    config = SceneConfig(mode="full")
    config.population.sizeScale = 2.5
    config.save(str(tmp_path / "scene.py"))
    other = SceneConfig()
    other.load(str(tmp_path / "scene.py"))
    assert other == config

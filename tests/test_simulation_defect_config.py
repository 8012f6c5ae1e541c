# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the settings of defects, starlight and sky."""

from __future__ import annotations

from pathlib import Path

import pytest
from lsst.meas.blendid.simulation.coadds.artifacts import has_artifacts
from lsst.meas.blendid.simulation.coadds.starlight import has_starlight
from lsst.meas.blendid.simulation.config import SceneConfig
from lsst.meas.blendid.simulation.defect_config import ArtifactConfig, SkyConfig, StarlightConfig
from lsst.pex.config import FieldValidationError


def test_everything_is_off_by_default() -> None:
    assert not has_artifacts(ArtifactConfig()) and not has_starlight(StarlightConfig())
    assert StarlightConfig().maskRadius == 0.0
    sky = SkyConfig()
    assert (sky.gradient, sky.overSubtraction, sky.noiseCorrelation, sky.brightness) == (0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("artifacts", "maskedFraction", 1.1),
        ("artifacts", "trailDensity", -0.1),
        ("starlight", "haloCore", 0.1),
        ("starlight", "spikeFraction", 1.5),
        ("sky", "noiseCorrelation", 0.9),
        ("sky", "noiseCorrelation", 1.6),
        ("sky", "brightness", 0.001),
        ("sky", "backgroundSize", 4),
    ],
)
def test_impossible_values_are_refused(group: str, name: str, value: float) -> None:
    with pytest.raises(FieldValidationError, match=name):
        setattr(getattr(SceneConfig(), group), name, value)


def test_settings_survive_a_file(tmp_path: Path) -> None:
    config = SceneConfig()
    config.starlight.haloFraction = 0.03
    config.sky.backgroundSize = 64
    config.artifacts.maskedFraction = 0.5
    config.save(str(tmp_path / "scene.py"))
    other = SceneConfig()
    other.load(str(tmp_path / "scene.py"))
    assert other == config

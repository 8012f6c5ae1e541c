# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

from __future__ import annotations

import pytest
from lsst.meas.blendid.footprints import FootprintConfig
from lsst.pex.config import FieldValidationError


def test_defaults_are_those_of_source_detection() -> None:
    config = FootprintConfig()
    config.validate()
    expected = {
        "thresholdValue": 5.0,
        "thresholdType": "pixel_stdev",
        "includeThresholdMultiplier": 1.0,
        "minPixels": 1,
        "nSigmaToGrow": 2.4,
        "isotropicGrow": True,
        "combinedGrow": True,
        "nSigmaForKernel": 7.0,
        "nPeaksMaxSimple": 1,
        "tempLocalBackgroundBinSize": 64,
        "noiseSource": "variance",
        "doSubtractBackground": False,
        "doCorrectCorrelatedNoise": False,
    }
    assert {name: getattr(config, name) for name in expected} == expected
    assert list(config.statsMask) == ["BAD", "SAT", "EDGE", "NO_DATA"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("thresholdValue", 0.0),
        ("thresholdValue", -5.0),
        ("minPixels", 0),
        ("nSigmaToGrow", -1.0),
        ("nSigmaForKernel", 0.0),
        ("nSigmaForKernel", float("inf")),
        ("nSigmaToGrow", float("inf")),
        ("nSigmaToGrow", float("nan")),
        ("backgroundBinSize", 1),
        ("includeThresholdMultiplier", 0.5),
        ("thresholdType", "sigma"),
        ("noiseSource", "guess"),
    ],
)
def test_impossible_values(field: str, value: object) -> None:
    config = FootprintConfig()
    with pytest.raises(FieldValidationError, match=field):
        setattr(config, field, value)
        config.validate()


def test_even_filter() -> None:
    config = FootprintConfig()
    config.backgroundFilterSize = 4
    with pytest.raises(FieldValidationError, match="must be odd"):
        config.validate()

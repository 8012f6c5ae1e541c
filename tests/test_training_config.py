# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""Fields of how data are labelled and models are trained."""

from __future__ import annotations

import pytest
from lsst.meas.blendid._config_options import apply_option
from lsst.meas.blendid.calibration import CALIBRATION_METHODS
from lsst.meas.blendid.training import LabelConfig, TrainingConfig
from lsst.pex.config import Config, FieldValidationError


def test_defaults_are_valid_and_training_labels_alike() -> None:
    label, training = LabelConfig(), TrainingConfig()
    for config in (label, training):
        config.validate()
    assert {name: getattr(training, name) for name in label.keys()} == label.toDict()


def test_every_calibration_can_be_chosen() -> None:
    for name in ("none", *CALIBRATION_METHODS):
        config = TrainingConfig()
        config.calibration = name
        config.validate()


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (LabelConfig, "snrMin", -0.1),
        (LabelConfig, "noise", "pixels"),
        (LabelConfig, "stampNoise", [3.0, 0.0]),
        (LabelConfig, "stampUnit", "pixel"),
        (TrainingConfig, "validationShare", 0.51),
        (TrainingConfig, "validationShare", -0.1),
        (TrainingConfig, "nFolds", 21),
        (TrainingConfig, "nFolds", -1),
        (TrainingConfig, "calibration", "plat"),
    ],
)
def test_bad_values(cls: type[Config], name: str, value: object) -> None:
    with pytest.raises(FieldValidationError, match=name):
        setattr(cls(), name, value)


def test_one_fold_leaves_nothing() -> None:
    config = TrainingConfig()
    config.nFolds = 1
    with pytest.raises(ValueError, match="nFolds 1 leaves nothing to learn from; give 2 or more, or 0"):
        config.validate()


@pytest.mark.parametrize(("text", "expected"), [("15", [15.0]), ("15,22.5", [15.0, 22.5])])
def test_levels_of_noise_are_separated_by_commas(text: str, expected: list[float]) -> None:
    config = LabelConfig()
    apply_option(config, f"stampNoise={text}")
    assert list(config.stampNoise) == expected

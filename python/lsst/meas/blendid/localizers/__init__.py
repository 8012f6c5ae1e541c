# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Where objects are: positions in footprints, each with a probability and an error."""

from __future__ import annotations

__all__ = (
    "ENTRY_POINT_GROUP",
    "OBJECT_COLUMNS",
    "BlendLocalizer",
    "BlendLocalizerConfig",
    "CentersLocalizer",
    "CentersLocalizerConfig",
    "CentersLocalizerSettings",
    "PeaksLocalizer",
    "PeaksLocalizerConfig",
    "Positions",
    "RegressionLocalizer",
    "RegressionLocalizerConfig",
    "RegressionLocalizerSettings",
    "expected_counts",
    "find_localizer",
    "localizer_registry",
    "locate_peaks",
    "merge_peaks",
    "several_mean",
    "tilt_probabilities",
)

from .base import (
    ENTRY_POINT_GROUP,
    BlendLocalizer,
    BlendLocalizerConfig,
    Positions,
    find_localizer,
    localizer_registry,
)
from .centers import CentersLocalizer, CentersLocalizerConfig, CentersLocalizerSettings
from .consistency import expected_counts, several_mean, tilt_probabilities
from .locating import locate_peaks, merge_peaks
from .objects import OBJECT_COLUMNS
from .peaks import PeaksLocalizer, PeaksLocalizerConfig
from .regression import RegressionLocalizer, RegressionLocalizerConfig, RegressionLocalizerSettings

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""Numbers measured of each footprint."""

from __future__ import annotations

__all__ = (
    "CONTEXT_FEATURES",
    "FEATURES_VERSION",
    "FEATURE_DOCS",
    "FEATURE_NAMES",
    "REFERENCE_FEATURES",
    "TWO_COMPONENT_COLUMNS",
    "measure_features",
    "two_component_test",
)

from .measure import (
    CONTEXT_FEATURES,
    FEATURE_DOCS,
    FEATURE_NAMES,
    FEATURES_VERSION,
    REFERENCE_FEATURES,
    measure_features,
)
from .two_component import TWO_COMPONENT_COLUMNS, two_component_test

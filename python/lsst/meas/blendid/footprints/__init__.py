# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""From an image to footprints: noise, background, smoothing, threshold,
growth, merging and peaks.

The construction follows `lsst.meas.algorithms.SourceDetectionTask`, whose
names and semantics it shares, and Buchanan et al. (2022), on NumPy arrays.
"""

from __future__ import annotations

from .background import BackgroundMesh, estimate_background
from .build import build_footprints, detect
from .config import FootprintConfig, adapt_to_image
from .footprint_set import PEAK_DTYPE, FootprintSet, labels_to_spans, spans_to_labels
from .noise import NoiseEstimate
from .result import DetectionResult, NoNoiseError, NoUsablePixelsError

__all__ = (
    "PEAK_DTYPE",
    "BackgroundMesh",
    "DetectionResult",
    "FootprintConfig",
    "FootprintSet",
    "NoNoiseError",
    "NoUsablePixelsError",
    "NoiseEstimate",
    "adapt_to_image",
    "build_footprints",
    "detect",
    "estimate_background",
    "labels_to_spans",
    "spans_to_labels",
)

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Colours of probabilities over a dark image, the same in pictures and in region files."""

from __future__ import annotations

__all__ = (
    "DETECTED_PEAK",
    "INFERRED_PEAK",
    "LEAST_SHOWN",
    "PROBABILITY_STOPS",
    "UNKNOWN",
    "are_shown",
    "probability_color",
)

from typing import Any

PROBABILITY_STOPS = (
    (0.0, "#3f9bff"),
    (0.25, "#8cc4ff"),
    (0.5, "#f4f1ea"),
    (0.75, "#ffb766"),
    (1.0, "#ff7a14"),
)
"""Light blue for single over near-white to orange for blended."""

UNKNOWN = "#8d949c"
"""Grey of what was not classified."""

DETECTED_PEAK = "#f4f1ea"
"""Near-white of detected peaks."""

INFERRED_PEAK = "#ff9be8"
"""Pink of inferred peaks: on no way between the colours of probabilities."""

LEAST_SHOWN = 0.1
"""Less probable inferred peaks are in tables, but not in regions nor in pictures of many footprints."""


def are_shown(probability: Any, is_inferred: Any) -> Any:
    """Tell which of n peaks are shown among many: detected ones, and likely enough inferred ones."""
    return ~is_inferred | (probability >= LEAST_SHOWN)


def probability_color(probability: float) -> str:
    """Give the colour of a probability, or of NaN, as ``#rrggbb``."""
    for (low, first), (high, second) in zip(PROBABILITY_STOPS, PROBABILITY_STOPS[1:], strict=False):
        if low <= probability <= high:
            part = (probability - low) / (high - low)
            ends = ([int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in (first, second))
            return "#" + "".join(f"{round(a + part * (b - a)):02x}" for a, b in zip(*ends, strict=True))
    return UNKNOWN

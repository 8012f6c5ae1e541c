# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Source finders that published systems were compared with, on stamps of the same kind."""

from __future__ import annotations

__all__ = (
    "MISSED",
    "PUBLISHED_RATES",
    "PUBLISHED_SEP",
    "SepBaseline",
    "SepScores",
    "detection_rates",
    "find_in_stamps",
    "hot_cold_report",
    "rates_as_text",
    "read_published_pairs",
    "score_sep",
    "sep_baseline",
)

from ._hot_cold import (
    PUBLISHED_RATES,
    detection_rates,
    hot_cold_report,
    rates_as_text,
    read_published_pairs,
)
from ._sep_baseline import MISSED, SepBaseline, SepScores, score_sep, sep_baseline
from ._sextractor import find_in_stamps

PUBLISHED_SEP = {"blended": 0.91, "close": 0.69, "distant": 0.94}
"""Scores of SEP on realistic stamps as published by Farrens et al. 2022 (A&A 657, A98)."""

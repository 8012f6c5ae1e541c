# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""A few numbers of footprints that need no pixels."""

from __future__ import annotations

__all__ = ("FACT_NAMES", "FACTS", "FACTS_VERSION", "measure_facts")

from collections.abc import Callable, Sequence

import numpy as np

from ..labels import N_CLASSES
from ..samples import FootprintSamples

FACTS: dict[str, Callable[[FootprintSamples], np.ndarray]] = {
    # Areas in units of the PSF's, so that another seeing shifts them less.
    "log_area": lambda s: np.log10(np.maximum(s.area, 1.0) / np.square(s.psf_sigma)),
    "log_area_detected": lambda s: np.log10(np.maximum(s.area_detected, 1.0) / np.square(s.psf_sigma)),
    # fmax, because a footprint without peaks has NaN.
    "log_significance": lambda s: np.log10(np.fmax(s.max_significance, 1.0)),
    "log_second_significance": lambda s: np.log10(np.fmax(s.second_significance, 1.0)),
    "n_peaks": lambda s: np.minimum(s.n_peaks, N_CLASSES).astype(np.float64),
    "log_peaks": lambda s: np.log10(np.maximum(s.n_peaks, 1.0)),
    "one_peak": lambda s: (s.n_peaks <= 1).astype(np.float64),
    # Beyond these limits the image is unlike any that was trained on.
    "sky_level": lambda s: np.clip(s.sky_level, -0.2, 0.5),
}
"""Numbers of each footprint, of shape (n,)."""

FACT_NAMES: tuple[str, ...] = tuple(FACTS)
"""All of them."""

FACTS_VERSION = 2
"""Counted up whenever one of `FACTS` changes its meaning: a model fits one
version only."""


def measure_facts(samples: FootprintSamples, names: Sequence[str] = FACT_NAMES) -> np.ndarray:
    """Put `FACTS` of n footprints side by side, float64 of shape (n, names)."""
    columns = [FACTS[name](samples) for name in names]
    return np.column_stack([np.zeros((len(samples), 0)), *columns])

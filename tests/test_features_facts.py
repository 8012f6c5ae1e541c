# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the numbers of footprints that need no pixels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lsst.meas.blendid.centers import SCALAR_NAMES, compute_scalars
from lsst.meas.blendid.features.facts import FACT_NAMES, FACTS, measure_facts
from toy_samples import make_samples


def test_facts_of_known_footprints() -> None:
    """One with two peaks, one with seven in a bright image, and one without any."""
    samples: Any = SimpleNamespace(
        area=np.array([400, 40, 0]),
        area_detected=np.array([100, 4, 1]),
        psf_sigma=np.array([2.0, 2.0, 0.5]),
        max_significance=np.array([100.0, 10.0, np.nan]),
        second_significance=np.array([10.0, 0.1, np.nan]),
        n_peaks=np.array([2, 7, 0]),
        sky_level=np.array([0.1, 3.0, -3.0]),
    )
    expected = {
        "log_area": [2.0, 1.0, np.log10(4.0)],
        "log_area_detected": [np.log10(25.0), 0.0, np.log10(4.0)],
        "log_significance": [2.0, 1.0, 0.0],
        "log_second_significance": [1.0, 0.0, 0.0],
        "n_peaks": [2.0, 5.0, 0.0],
        "log_peaks": [np.log10(2.0), np.log10(7.0), 0.0],
        "one_peak": [0.0, 0.0, 1.0],
        "sky_level": [0.1, 0.5, -0.2],
    }
    assert set(expected) == set(FACT_NAMES)
    for name, values in expected.items():
        assert FACTS[name](samples) == pytest.approx(values), name


def test_columns_are_those_that_are_named() -> None:
    """The scalars of the centre network are facts, too."""
    samples, _ = make_samples(4)
    columns = measure_facts(samples, SCALAR_NAMES)
    np.testing.assert_array_equal(columns[:, 0], FACTS[SCALAR_NAMES[0]](samples))
    np.testing.assert_array_equal(compute_scalars(samples), columns.astype(np.float32))
    assert measure_facts(samples, ()).shape == (len(samples), 0)

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What the bright footprints around one look like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.features.surroundings import SURROUNDINGS_COLUMNS, measure_surroundings

NEEDED = ("flux_snr", "asymmetry", "squared_size", "peak_sharpness", "n_dog_fine_4", "n_dog_mid_3")


def make_field(n: int, seed: int = 0, share: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Records of features, of which a share is bright, and centroids."""
    rng = np.random.default_rng(seed)
    records = np.zeros(n, [(name, np.float32) for name in NEEDED])
    records["flux_snr"] = np.where(rng.random(n) < share, rng.uniform(61.0, 500.0, n), 20.0)
    for name in NEEDED[1:4]:
        records[name] = rng.uniform(0.1, 2.0, n)
    for name in NEEDED[4:]:
        records[name] = rng.integers(0, 12, n)
    return records, rng.uniform(0.0, 1000.0, (n, 2))


def expect(records: np.ndarray, centroid: np.ndarray, row: int) -> dict[str, Any]:
    """The same for one footprint, spelled out."""
    others = [i for i in range(len(records)) if i != row and records["flux_snr"][i] > 60.0]
    others = [i for i in others if np.isfinite(records["asymmetry"][i])]
    bright = np.count_nonzero((records["flux_snr"] > 60.0) & np.isfinite(records["asymmetry"]))
    others.sort(key=lambda i: np.hypot(*(centroid[i] - centroid[row])))
    near = records[others[: min(50, bright - 1)]]
    return {
        "around_asymmetry": np.median(near["asymmetry"]),
        "around_symmetry": np.percentile(near["asymmetry"], 25),
        "around_size": np.percentile(near["squared_size"], 10),
        "around_sharpness": np.median(near["peak_sharpness"]),
        "around_n_dog_fine": np.minimum(near["n_dog_fine_4"], 6.0).mean(),
        "around_n_dog_mid": np.minimum(near["n_dog_mid_3"], 6.0).mean(),
    }


@settings(max_examples=20, deadline=None)
@given(n=st.integers(30, 200), seed=st.integers(0, 1000), share=st.floats(0.6, 1.0))
def test_against_plain_loops(n: int, seed: int, share: float) -> None:
    records, centroid = make_field(n, seed, share)
    found = measure_surroundings(records, centroid)
    assert found.dtype.names == tuple(SURROUNDINGS_COLUMNS)
    for row in (0, n // 2, n - 1):
        for name, value in expect(records, centroid, row).items():
            assert found[name][row] == pytest.approx(value, rel=1e-5), name


def test_too_few_bright_ones_tell_nothing() -> None:
    records, centroid = make_field(300, share=0.0)
    records["flux_snr"][:11] = 100.0
    assert all(np.isnan(measure_surroundings(records, centroid)[name]).all() for name in SURROUNDINGS_COLUMNS)
    records["flux_snr"][11] = 100.0
    found = measure_surroundings(records, centroid)
    assert all(np.isfinite(found[name]).all() for name in SURROUNDINGS_COLUMNS)
    assert len(measure_surroundings(records[:0], centroid[:0])) == 0


def test_footprints_without_features_are_passed_over() -> None:
    records, centroid = make_field(100)
    for name in NEEDED:
        records[name][::7] = np.nan
    records["squared_size"][1], records["flux_snr"][1] = np.nan, 100.0
    found = measure_surroundings(records, centroid)
    assert all(np.isfinite(found[name]).all() for name in SURROUNDINGS_COLUMNS)


def test_irregular_galaxies_show_around_others() -> None:
    """Half of the sky has lumpier galaxies, and footprints there know, whatever they are like themselves."""
    records, centroid = make_field(2000, seed=3)
    lumpy = centroid[:, 0] > 500.0
    records["asymmetry"] += np.where(lumpy, 1.0, 0.0)
    found = measure_surroundings(records, centroid)
    inner = np.abs(centroid[:, 0] - 500.0) > 150.0
    assert found["around_asymmetry"][lumpy & inner].min() > found["around_asymmetry"][~lumpy & inner].max()

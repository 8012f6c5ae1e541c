# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Baselines that look at footprints and peaks alone."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.meas.blendid.evaluation.baselines import (
    SEP,
    all_baselines,
    area_and_peaks,
    area_only,
    baselines,
    cross_fitted_baselines,
)
from lsst.meas.blendid.metrics import roc_auc
from sklearn.linear_model import LogisticRegression
from toy_samples import make_samples


def test_area_only_is_monotonic_in_area_and_that_of_scikit_learn() -> None:
    samples, counts = make_samples(14)
    other, _ = make_samples(8, seed=4)
    p = area_only(samples, counts, other)
    order = np.argsort(other.area)
    assert (np.diff(p[order]) >= 0.0).all()
    model = LogisticRegression(C=1e6, solver="newton-cg", tol=1e-10).fit(
        np.log(samples.area)[:, None], counts > 1
    )
    np.testing.assert_allclose(p, model.predict_proba(np.log(other.area)[:, None])[:, 1], rtol=1e-5)
    assert area_only(samples, counts, samples).mean() == pytest.approx(np.mean(counts > 1), abs=1e-3)


def test_peaks_add_to_the_area_and_the_seed_fixes_it() -> None:
    samples, counts = make_samples(20)
    other, other_counts = make_samples(20, seed=4)
    p = area_and_peaks(samples, counts, other)
    np.testing.assert_array_equal(p, area_and_peaks(samples, counts, other))
    truth = other_counts > 1
    assert roc_auc(p, truth) > roc_auc(area_only(samples, counts, other), truth)


def test_all_baselines() -> None:
    samples, counts = make_samples(14)
    other, _ = make_samples(8, seed=4)
    found = baselines(samples, counts, other)
    assert list(found) == list(all_baselines(False)) == ["5σ peaks", "area only", "area + peak counts"]
    np.testing.assert_array_equal(found["area only"], area_only(samples, counts, other))
    np.testing.assert_array_equal(found["area + peak counts"], area_and_peaks(samples, counts, other))
    for k in (1, 2):
        share = np.mean(counts[samples.n_peaks == k] > 1)
        np.testing.assert_allclose(found["5σ peaks"][other.n_peaks == k], share, atol=0.01)


def test_sep_is_a_baseline_on_demand() -> None:
    pytest.importorskip("sep")
    samples, counts = make_samples(14)
    found = baselines(samples, counts, samples, sep=True)
    assert list(found) == list(all_baselines(True))
    assert roc_auc(found[SEP], counts > 1) > 0.6


def test_cross_fitted_baselines_do_not_see_what_they_predict() -> None:
    samples, counts = make_samples(20)
    blocks = np.arange(len(samples)) // 40
    found = cross_fitted_baselines(samples, counts, blocks)
    truth = counts > 1
    for p in found.values():
        assert np.isfinite(p).all()
        assert roc_auc(p, truth) > 0.55
    # Labels of one block do not change what is said of it.
    changed = counts.copy()
    changed[blocks == 3] = 3 - np.minimum(changed[blocks == 3], 2)
    again = cross_fitted_baselines(samples, changed, blocks)
    for name, p in found.items():
        np.testing.assert_array_equal(p[blocks == 3], again[name][blocks == 3])
        assert np.any(p != again[name])


def test_baselines_need_both_kinds_and_blocks() -> None:
    samples, counts = make_samples(8)
    with pytest.raises(ValueError, match="fitted to are unblended"):
        baselines(samples, np.ones_like(counts), samples)
    with pytest.raises(ValueError, match="fitted to are blended"):
        baselines(samples, np.full_like(counts, 2), samples)
    with pytest.raises(ValueError, match="at least two blocks"):
        cross_fitted_baselines(samples, counts, np.zeros(len(counts), dtype=int))

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the baselines."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.meas.blendid.evaluation.baselines import area_and_peaks, area_only
from lsst.meas.blendid.evaluation.metrics import roc_auc
from sklearn.linear_model import LogisticRegression
from toy_samples import make_samples


def test_area_only_is_monotonic_in_area_and_that_of_scikit_learn() -> None:
    samples, counts = make_samples(14)
    other, _ = make_samples(8, seed=4)
    p = area_only(samples, counts, other)
    order = np.argsort(other.area)
    assert (np.diff(p[order]) >= 0.0).all()
    model = LogisticRegression(C=1e6).fit(np.log(samples.area)[:, None], counts > 1)
    np.testing.assert_allclose(p, model.predict_proba(np.log(other.area)[:, None])[:, 1])
    assert area_only(samples, counts, samples).mean() == pytest.approx(np.mean(counts > 1), abs=1e-3)


def test_peaks_add_to_the_area_and_the_seed_fixes_it() -> None:
    samples, counts = make_samples(20)
    other, other_counts = make_samples(20, seed=4)
    p = area_and_peaks(samples, counts, other)
    np.testing.assert_array_equal(p, area_and_peaks(samples, counts, other))
    truth = other_counts > 1
    assert roc_auc(p, truth) > roc_auc(area_only(samples, counts, other), truth)

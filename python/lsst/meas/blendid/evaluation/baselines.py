# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Baselines that every classifier is shown beside.

They are fitted in the same run on the same footprints, so that a score says
what a classifier adds to the size of a footprint and its peaks.
"""

from __future__ import annotations

__all__ = ("area_and_peaks", "area_only")

import numpy as np

from ..samples import FootprintSamples

PEAK_THRESHOLDS = (5.0, 7.0, 10.0, 20.0)
"""Significances over which `area_and_peaks` counts peaks."""


def area_only(train: FootprintSamples, counts: np.ndarray, test: FootprintSamples) -> np.ndarray:
    """P(blended) by logistic regression on the logarithm of the area.

    Parameters
    ----------
    train
        Footprints to fit.
    counts : `numpy.ndarray`, shape (len(train),)
        Their numbers of galaxies.
    test
        The n footprints to predict.

    Returns
    -------
    p : `numpy.ndarray`, shape (n,)
        P(blended).
    """
    from sklearn.linear_model import LogisticRegression

    def inputs(samples: FootprintSamples) -> np.ndarray:
        return np.log(np.maximum(samples.area, 1))[:, None]

    model = LogisticRegression(C=1e6).fit(inputs(train), np.asarray(counts) > 1)
    return model.predict_proba(inputs(test))[:, 1]


def area_and_peaks(
    train: FootprintSamples, counts: np.ndarray, test: FootprintSamples, *, seed: int = 0
) -> np.ndarray:
    """P(blended) by boosted trees on areas and numbers of peaks.

    Parameters
    ----------
    train
        Footprints to fit.
    counts : `numpy.ndarray`, shape (len(train),)
        Their numbers of galaxies.
    test
        The n footprints to predict.
    seed
        Seed of the trees.

    Returns
    -------
    p : `numpy.ndarray`, shape (n,)
        P(blended).
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    def inputs(samples: FootprintSamples) -> np.ndarray:
        peaks = [samples.count_peaks(threshold) for threshold in PEAK_THRESHOLDS]
        return np.column_stack([samples.area, samples.area_detected, *peaks])

    model = HistGradientBoostingClassifier(
        max_iter=150, learning_rate=0.06, max_leaf_nodes=15, min_samples_leaf=40, random_state=seed
    )
    return model.fit(inputs(train), np.asarray(counts) > 1).predict_proba(inputs(test))[:, 1]

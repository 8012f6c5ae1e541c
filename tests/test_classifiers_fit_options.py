# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of what a fit may use."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.meas.blendid.classifiers import FitOptions, LabelledSamples
from lsst.meas.blendid.samples import FootprintSamples
from toy_centers import make_scenes


def test_groups_are_pieces_of_sky_if_they_are_known_and_enough() -> None:
    samples, _, _ = make_scenes(3, n_side=2)
    n = len(samples)
    sky = np.repeat([4, 4, 7], n // 3)
    assert np.array_equal(FitOptions().deal_by(samples, 2), samples.scene_index)
    assert np.array_equal(FitOptions(sky=sky).deal_by(samples, 2), sky)
    with pytest.raises(ValueError, match=f"2 pieces of sky were given for {n} footprints"):
        FitOptions(sky=np.zeros(2, int)).deal_by(samples, 1)


def test_too_few_pieces_of_sky_are_cut_into_squares() -> None:
    first, other = (make_scenes(1, n_side=6, seed=seed)[0] for seed in (0, 1))
    samples = FootprintSamples.join([first, first, other])
    n = len(samples)
    # Two noise draws of one sky, and another sky.
    sky = np.repeat([4, 4, 7], n // 3)
    groups = FitOptions(sky=sky).deal_by(samples, 3)
    assert len(np.unique(groups)) >= 12
    for group in np.unique(groups):
        rows = groups == group
        assert len(set(sky[rows].tolist())) == 1
        low, high = (limit(samples.centroid[rows], axis=0) for limit in (np.min, np.max))
        everywhere = samples.centroid[sky == sky[rows][0]]
        # No wider than a third of the sky, and all that lies there.
        assert np.all(high - low <= np.ptp(everywhere, axis=0) / 3.0 + 1e-9)
    draws = groups[: n // 3], groups[n // 3 : 2 * n // 3]
    assert np.array_equal(*draws)
    # A single image of which no sky is known as well.
    alone, _, _ = make_scenes(1, n_side=6)
    assert len(np.unique(FitOptions().deal_by(alone, 5))) >= 20


def test_lines_are_reported_if_anybody_listens() -> None:
    lines: list[str] = []
    FitOptions(report=lines.append).say("epoch 1")
    FitOptions().say("epoch 2")
    assert lines == ["epoch 1"]


def test_each_footprint_has_one_label() -> None:
    samples, counts, centers = make_scenes(1, n_side=2)
    LabelledSamples(samples, counts, centers)
    with pytest.raises(ValueError, match="3 labels were given for 4 footprints"):
        LabelledSamples(samples, counts[:3])

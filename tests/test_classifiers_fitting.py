# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of what a fit may use."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from lsst.meas.blendid.classifiers import FitOptions, LabelledSamples
from lsst.meas.blendid.classifiers.fitting import natural_factors, prior_correction
from lsst.meas.blendid.samples import FootprintSamples
from scipy.special import softmax
from toy_centers import make_labelled, make_scenes


def label(samples: FootprintSamples, **fields: Any) -> LabelledSamples:
    return LabelledSamples(samples=samples, counts=np.ones(len(samples), dtype=int), **fields)


def test_groups_are_pieces_of_sky_if_they_are_known_and_enough() -> None:
    samples, _, _ = make_scenes(3, n_side=2)
    n = len(samples)
    sky = np.repeat([4, 4, 7], n // 3)
    assert np.array_equal(label(samples).group_by_sky(2), samples.scene_index)
    assert np.array_equal(label(samples, sky=sky).group_by_sky(2), sky)
    with pytest.raises(ValueError, match=f"2 pieces of sky were given for {n} footprints"):
        label(samples, sky=np.zeros(2, int))


def test_too_few_pieces_of_sky_are_cut_into_squares() -> None:
    first, other = (make_scenes(1, n_side=6, seed=seed)[0] for seed in (0, 1))
    samples = FootprintSamples.join([first, first, other])
    n = len(samples)
    # Two noise draws of one sky, and another sky.
    sky = np.repeat([4, 4, 7], n // 3)
    groups = label(samples, sky=sky).group_by_sky(3)
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
    assert len(np.unique(label(alone).group_by_sky(5))) >= 20


def test_lines_are_reported_if_anybody_listens() -> None:
    lines: list[str] = []
    FitOptions(report=lines.append).say("epoch 1")
    FitOptions().say("epoch 2")
    assert lines == ["epoch 1"]


def test_labels_are_kept_as_arrays_of_one_kind() -> None:
    samples, counts, centers = make_scenes(1, n_side=2)
    weights = [1, 0, 2, 3]
    labelled = LabelledSamples(
        samples=samples, counts=counts.astype(np.uint8), centers=centers, weights=weights, sky=[3] * 4
    )
    assert labelled.counts.dtype == np.int64
    assert np.array_equal(labelled.counts, counts)
    assert np.array_equal(labelled.blended, counts > 1)
    assert labelled.weights is not None
    assert labelled.weights.dtype == np.float64
    assert np.array_equal(labelled.weights, weights)
    with pytest.raises(TypeError):
        LabelledSamples(samples, counts)  # type: ignore[misc]
    # None of no footprints.
    assert len(LabelledSamples(samples=FootprintSamples([]), counts=np.zeros(0)).blended) == 0


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"counts": np.ones(3, int)}, "3 labels were given for 4 footprints"),
        ({"counts": np.ones(4)}, "labels must be numbers of galaxies: integers from 0"),
        ({"counts": np.array([1, 2, -1, 0])}, "integers from 0"),
        ({"counts": np.ones((4, 1), int)}, "labels were given for 4 footprints"),
        ({"weights": np.ones(3)}, "weights must be one finite number from 0 for each footprint"),
        ({"weights": np.full(4, np.nan)}, "weights must be"),
        ({"weights": np.full(4, np.inf)}, "weights must be"),
        ({"weights": -np.ones(4)}, "weights must be"),
        ({"sky": np.zeros(5, int)}, "5 pieces of sky were given for 4 footprints"),
        ({"centers": ()}, "0 tables of galaxies were given for 1 images"),
    ],
)
def test_what_is_not_of_the_footprints_is_refused(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        dataclasses.replace(make_labelled(1, n_side=2), **fields)


def test_some_footprints_keep_what_is_known_of_them() -> None:
    samples, counts, centers = make_scenes(2, n_side=3)
    n = len(samples)
    every = LabelledSamples(
        samples=samples,
        counts=counts,
        centers=centers,
        weights=np.arange(n) + 0.5,
        sky=np.arange(n) + 40,
    )
    rows = np.arange(n) % 3 == 1
    some = every.select(rows)
    assert np.array_equal(some.samples.bbox, samples.bbox[rows])
    for name in ("counts", "weights", "sky"):
        assert np.array_equal(getattr(some, name), getattr(every, name)[rows]), name
    # These are of images.
    assert some.centers is centers
    assert label(samples).select(rows).weights is None


@pytest.mark.parametrize(("number", "n_blended"), [(1, 0), (2, 8)])
def test_one_kind_of_footprints_is_refused(number: int, n_blended: int) -> None:
    labelled = make_labelled(2, n_side=2)
    both = dataclasses.replace(labelled, counts=np.arange(8) % 3)
    both.require_both()
    alike = dataclasses.replace(labelled, counts=np.full(8, number))
    with pytest.raises(
        ValueError, match=f"{n_blended} of the 8 training footprints are blended.*use more scenes"
    ):
        alike.require_both()


def test_factors_undo_weights() -> None:
    counts = np.repeat([0, 1, 2, 3, 7], [2, 10, 5, 2, 1])
    np.testing.assert_array_equal(prior_correction(counts, None), np.ones(5))
    np.testing.assert_allclose(prior_correction(counts, np.full(20, 3.0)), 1.0)
    weights = np.where(counts > 1, 4.0, 1.0)
    factors = prior_correction(counts, weights)
    weighted = np.bincount(np.minimum(counts, 4), weights=weights) / weights.sum()
    np.testing.assert_allclose(factors * weighted, np.array([2, 10, 5, 2, 1]) / 20)
    # A class that is not there is left alone; one that is, and has no weight, cannot be won back.
    assert prior_correction(counts[counts != 3], weights[counts != 3])[3] == 1.0
    with pytest.raises(ValueError, match="all footprints with N = 2, 3 have weight 0"):
        prior_correction(counts, np.where((counts == 2) | (counts == 3), 0.0, 1.0))


def test_factors_lead_to_the_natural_shares() -> None:
    """Also where the form of a weighted fit is not true, so that Bayes' theorem alone does not."""
    rng = np.random.default_rng(3)
    counts = rng.choice(4, size=3000, p=[0.1, 0.5, 0.3, 0.1])
    weights = np.where(counts > 1, 3.0, 1.0)
    logits = rng.normal(size=(3000, 5)) + 0.7 * np.eye(5)[counts] + np.log([0.1, 0.5, 0.9, 0.3, 1e-20])
    p_n = softmax(logits, axis=1)
    shares = np.bincount(counts, minlength=5) / 3000

    def mean(factors: np.ndarray) -> np.ndarray:
        p = p_n * factors
        return (p / p.sum(axis=1, keepdims=True)).mean(axis=0)

    assert np.abs(mean(prior_correction(counts, weights)) - shares).max() > 0.01
    np.testing.assert_allclose(mean(natural_factors(p_n, counts, weights)), shares, atol=1e-8)

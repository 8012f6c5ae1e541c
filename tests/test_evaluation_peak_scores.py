# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Scores of peaks against a count by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.evaluation.peak_comparison import DETECTED
from lsst.meas.blendid.evaluation.peak_scores import (
    ELLIPSE,
    PEAK_METRICS,
    FootprintFacts,
    PeakScorer,
    probability_curve,
)
from lsst.meas.blendid.peak_matching import LIKELY, GalaxyList, PeakList
from scipy import stats
from toy_peaks import make_found


def make_scorer(name: str, *, n_side: int = 30, seed: int = 4) -> PeakScorer:
    found = make_found(n_side, seed=seed)
    facts = FootprintFacts(found.n_detected, found.expected.get(name))
    return PeakScorer(found.lists[name], found.galaxies, facts)


def test_the_ellipse_is_that_of_68_per_cent() -> None:
    assert stats.chi2(2).cdf(ELLIPSE) == pytest.approx(0.68, abs=1e-12)
    assert pytest.approx(2.2789, abs=1e-4) == ELLIPSE


def test_right_probabilities_are_found_right() -> None:
    scores = make_scorer("calibrated", n_side=50)()
    assert scores["slope"] == pytest.approx(1.0, abs=0.1)
    assert scores["intercept"] == pytest.approx(0.0, abs=0.1)
    assert scores["ece"] < 0.005
    assert scores["ellipse"] == pytest.approx(0.68, abs=0.02)
    assert scores["sum_excess"] == pytest.approx(0.0, abs=1e-12)
    assert scores["sum_rms"] == pytest.approx(0.0, abs=1e-12)
    assert scores["expected_excess"] == pytest.approx(0.0, abs=0.03)


def test_wrong_probabilities_are_found_wrong() -> None:
    right, wrong = make_scorer("calibrated")(), make_scorer("no ellipse")()
    # The same peaks in the same order, with p² for p.
    for key in ("completeness", "purity", "fainter", "fainter_one_peak"):
        assert right[key] == wrong[key]
    assert wrong["ece"] > 0.05
    assert wrong["intercept"] > 0.5
    assert np.isnan(wrong["ellipse"]) and np.isnan(wrong["inferred_purity"])
    found = make_found()
    total = float(found.expected["no ellipse"].sum())
    assert wrong["sum_excess"] == pytest.approx(
        found.lists["no ellipse"].probability.sum() / total - 1.0, abs=1e-12
    )


def test_wide_and_narrow_ellipses() -> None:
    found = make_found()
    peaks, facts = found.lists["calibrated"], FootprintFacts(found.n_detected)
    assert peaks.covariance is not None
    for factor, share in ((1e4, 1.0), (1e-6, 0.0), (2.0, 1.0 - 0.32**2)):
        other = dataclasses.replace(peaks, covariance=factor * peaks.covariance)
        ellipse = PeakScorer(other, found.galaxies, facts)()["ellipse"]
        assert ellipse == pytest.approx(share, abs=0.03)


def by_hand(scorer: PeakScorer, threshold: float) -> dict[str, float]:
    """The same, one peak and one galaxy after the other; galaxies are far apart here."""
    peaks, galaxies = scorer.peaks, scorer.galaxies
    near = [
        [
            j
            for j in range(len(galaxies))
            if galaxies.footprint[j] == peaks.footprint[i]
            and np.hypot(galaxies.x[j] - peaks.x[i], galaxies.y[j] - peaks.y[i]) <= 2.5
        ]
        for i in range(len(peaks))
    ]
    kept = [i for i in range(len(peaks)) if peaks.probability[i] >= threshold]
    found = {near[i][0] for i in kept if near[i]}
    counts = np.bincount(galaxies.footprint, minlength=len(scorer.facts.n_detected))
    second = [
        j
        for j in range(len(galaxies))
        if counts[galaxies.footprint[j]] == 2 and j > 0 and galaxies.footprint[j - 1] == galaxies.footprint[j]
    ]
    hidden = [j for j in second if scorer.facts.n_detected[galaxies.footprint[j]] == 1]
    distances = [
        np.hypot(galaxies.x[near[i][0]] - peaks.x[i], galaxies.y[near[i][0]] - peaks.y[i])
        for i in kept
        if near[i]
    ]
    likely = [i for i in range(len(peaks)) if peaks.probability[i] > LIKELY]
    scores = {
        "purity": np.mean([bool(near[i]) for i in kept]),
        "completeness": len(found) / len(galaxies),
        "fainter": np.mean([j in found for j in second]),
        "fainter_one_peak": np.mean([j in found for j in hidden]),
        "offset": np.median(distances),
        "likely_purity": np.mean([bool(near[i]) for i in likely]),
    }
    if peaks.is_inferred is not None:
        scores["inferred_purity"] = np.mean([bool(near[i]) for i in likely if peaks.is_inferred[i]])
    return {key: float(value) for key, value in scores.items()}


@pytest.mark.parametrize("purity", [0.85, 0.9, 0.99])
def test_scores_are_those_by_hand(purity: float) -> None:
    scorer = make_scorer("calibrated", n_side=12)
    scores = scorer(purity=purity)
    assert scores["purity"] >= purity
    for key, value in by_hand(scorer, scores["threshold"]).items():
        assert scores[key] == pytest.approx(value, abs=1e-12), key
    # With one peak more they are not so pure.
    curve = scorer.curve()
    index = int(np.flatnonzero(curve.threshold == scores["threshold"])[0])
    assert np.all(curve.purity[index + 1 :] < purity)


def test_curve_ends_where_all_peaks_are_kept() -> None:
    scorer = make_scorer("calibrated", n_side=12)
    curve, whole = scorer.curve(), scorer()
    assert np.all(np.diff(curve.threshold) < 0.0) and np.all(np.diff(curve.completeness) >= 0.0)
    assert curve.purity[-1] == whole["purity"] and curve.completeness[-1] == whole["completeness"]


def test_detected_peaks_have_no_probabilities() -> None:
    scores = make_scorer(DETECTED)(purity=0.5)
    assert scores["completeness"] > 0.7 and scores["fainter"] < 0.8
    assert scores["fainter_one_peak"] == 0.0
    # They split no footprint with one of them.
    assert scores["singles_split"] == scores["pairs_split"] == 0.0
    for key in ("threshold", "slope", "ece", "ellipse", "likely_purity", "inferred_purity", "sum_rms"):
        assert np.isnan(scores[key]), key


def test_purity_out_of_reach() -> None:
    found = make_found(8)
    nowhere = dataclasses.replace(found.lists["calibrated"], x=found.lists["calibrated"].x + 5.0)
    scorer = PeakScorer(nowhere, found.galaxies, FootprintFacts(found.n_detected))
    scores = scorer(purity=0.9)
    assert np.isnan(scores["threshold"]) and np.isnan(scores["completeness"])
    assert scores["likely_purity"] == 0.0


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_weights_are_repetitions(seed: int) -> None:
    """Footprints that count twice give what two copies of them give."""
    found = make_found(7, seed=seed)
    peaks, galaxies, n = found.lists["calibrated"], found.galaxies, len(found.x)
    times = np.random.default_rng(seed).integers(0, 3, n)
    times[0] += 1
    rows = np.repeat(np.arange(n), times)

    def repeat(values: np.ndarray, footprint: np.ndarray) -> np.ndarray:
        return np.concatenate([values[footprint == row] for row in rows])

    def number(footprint: np.ndarray) -> np.ndarray:
        return np.concatenate([np.full(np.sum(footprint == row), i) for i, row in enumerate(rows)])

    copied = PeakList(
        number(peaks.footprint),
        *(
            None if values is None else repeat(values, peaks.footprint)
            for values in (
                peaks.x,
                peaks.y,
                peaks.probability,
                peaks.is_inferred,
                peaks.covariance,
                peaks.magnitude,
            )
        ),
    )
    true = GalaxyList(
        number(galaxies.footprint),
        *(repeat(getattr(galaxies, name), galaxies.footprint) for name in ("x", "y", "snr", "magnitude")),
    )
    expected = found.expected["no ellipse"]
    one = PeakScorer(peaks, galaxies, FootprintFacts(found.n_detected, expected))
    other = PeakScorer(copied, true, FootprintFacts(found.n_detected[rows], expected[rows]))
    weighted, plain = one(times.astype(float), purity=0.9), other(purity=0.9)
    assert set(weighted) == {metric.key for metric in PEAK_METRICS}
    for key, value in plain.items():
        if key != "ece":  # Its floor is lower with more footprints.
            assert weighted[key] == pytest.approx(value, abs=1e-6, nan_ok=True), key


def test_splits() -> None:
    """One-peak footprints with one galaxy and with two: what an inferred peak does to each."""
    galaxies = GalaxyList(
        np.array([0, 1, 1, 2, 2, 3]),
        np.array([0.0, 0.0, 6.0, 0.0, 6.0, 0.0]),
        np.zeros(6),
        np.array([9.0, 9.0, 8.0, 9.0, 8.0, 9.0]),
        np.full(6, 25.0),
    )
    peaks = PeakList(
        np.array([0, 0, 1, 1, 2, 2, 3, 3]),
        np.array([0.0, 5.0, 0.0, 6.0, 0.0, 3.0, 0.0, 5.0]),
        np.zeros(8),
        np.array([0.9, 0.8, 0.9, 0.8, 0.9, 0.8, 0.3, 0.6]),
        np.tile([False, True], 4),
    )
    scores = PeakScorer(peaks, galaxies, FootprintFacts(np.ones(4, dtype=int)))()
    # Of two single galaxies one gets a peak that is likely; of two pairs both, one at a wrong place.
    assert scores["singles_split"] == 0.5
    assert scores["pairs_split"] == 0.5


def test_curve_of_ties() -> None:
    curve = probability_curve(
        np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False]), np.array([0.9, 0.5, -np.inf])
    )
    assert curve.threshold.tolist() == [0.9, 0.5, 0.1]
    np.testing.assert_allclose(curve.purity, [1.0, 2 / 3, 0.5])
    np.testing.assert_allclose(curve.completeness, [1 / 3, 2 / 3, 2 / 3])


def test_rows_beyond_the_footprints() -> None:
    found = make_found(4)
    with pytest.raises(ValueError, match="more than the 3 footprints"):
        PeakScorer(found.lists["calibrated"], found.galaxies, FootprintFacts(found.n_detected[:3]))

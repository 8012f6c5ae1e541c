# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Lists of peaks side by side, and their bins."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.evaluation.peak_comparison import (
    DETECTED,
    FoundPeaks,
    PeakComparison,
    bin_peaks,
    compare_peaks,
    nearest_before,
    nearest_other,
)
from lsst.meas.blendid.evaluation.peak_scores import PEAK_METRICS, FootprintFacts, PeakScorer
from lsst.meas.blendid.peak_matching import GalaxyList
from scipy.spatial.distance import cdist
from toy_peaks import make_found


@pytest.fixture(scope="module")
def comparison() -> PeakComparison:
    return compare_peaks(make_found(), bootstrap=30)


def test_others_are_stated_at_the_purity_of_the_detected_peaks(comparison: PeakComparison) -> None:
    assert list(comparison.rows) == [DETECTED, "calibrated", "no ellipse"]
    detected = comparison[DETECTED]
    assert comparison.purity == detected.values["purity"]
    assert detected.curve is None and len(detected.p) == 0
    for name in ("calibrated", "no ellipse"):
        row = comparison[name]
        assert 0.0 <= row.values["purity"] - comparison.purity < 0.01
        assert row.values["completeness"] > detected.values["completeness"]
        assert row.curve is not None and len(row.p) == row.n_peaks == len(row.is_true)


def test_errors_are_those_of_blocks(comparison: PeakComparison) -> None:
    assert comparison.n_draws == 30 and comparison.block_size == 256 and comparison.n_blocks == 49
    errors = comparison["calibrated"].errors
    assert "ece" not in errors
    # Here footprints are independent: about binomial.
    share = comparison["calibrated"].values["completeness"]
    expected = np.sqrt(share * (1.0 - share) / comparison.n_galaxies)
    assert 0.3 * expected < errors["completeness"] < 2.0 * expected
    assert errors["slope"] > 0.0
    assert np.isnan(comparison[DETECTED].errors.get("slope", np.nan))


def test_differences_are_paired(comparison: PeakComparison) -> None:
    """The same peaks in the same order: nothing can differ, however uncertain both are."""
    for key in ("completeness", "fainter"):
        assert comparison.difference(key, "calibrated", "no ellipse") == (0.0, 0.0)
    gap, error = comparison.difference("completeness", "calibrated", DETECTED)
    one, other = comparison["calibrated"], comparison[DETECTED]
    assert gap == one.values["completeness"] - other.values["completeness"] > 0.0
    assert 0.0 < error < 2.0 * np.hypot(one.errors["completeness"], other.errors["completeness"])
    assert np.isnan(comparison.difference("slope", "calibrated", DETECTED)[1])
    alone = compare_peaks(make_found(10), bootstrap=0)
    assert np.isnan(alone.difference("completeness", "calibrated", DETECTED)[1])


def test_without_detected_peaks_all_peaks_count() -> None:
    found = make_found(10)
    found = dataclasses.replace(found, lists={"calibrated": found.lists["calibrated"]})
    alone = compare_peaks(found, bootstrap=0)
    assert np.isnan(alone.purity) and alone["calibrated"].errors == {}
    assert alone["calibrated"].values["threshold"] == -1.0
    with pytest.raises(ValueError, match="no list of peaks"):
        compare_peaks(dataclasses.replace(found, lists={}))
    empty = GalaxyList(*(np.zeros(0, dtype=t) for t in (int, float, float, float, float)))
    with pytest.raises(ValueError, match="no galaxy that counts"):
        compare_peaks(dataclasses.replace(found, galaxies=empty))


def test_text_and_json(comparison: PeakComparison) -> None:
    lines = comparison.format().splitlines()
    assert len(lines) == 4 and lines[0].startswith("peaks")
    assert "–" in lines[1] and "±" in lines[2]
    assert f"{comparison['calibrated'].values['completeness']:.3f} ± " in lines[2]
    document = json.loads(json.dumps(comparison.to_dict()))
    assert set(document["lists"]["calibrated"]["scores"]) == {metric.key for metric in PEAK_METRICS}
    assert document["lists"][DETECTED]["scores"]["slope"] is None
    assert document["bins"]["separation"]["names"][-1] == "alone"
    assert document["bins"]["magnitude"]["lists"][DETECTED]["mean_p"] is None
    assert document["n_galaxies"] == comparison.n_galaxies


def test_scenes_are_joined() -> None:
    one, other = make_found(6, seed=1), make_found(6, seed=2)
    other = dataclasses.replace(other, lists={k: v for k, v in other.lists.items() if k != "no ellipse"})
    both = FoundPeaks.join([one, dataclasses.replace(other, sky=other.sky + 1)])
    assert list(both.lists) == [DETECTED, "calibrated"] and list(both.expected) == [
        "calibrated",
        "no ellipse",
    ]
    assert len(both.n_detected) == 72
    whole, parts = compare_peaks(both, bootstrap=0), [compare_peaks(f, bootstrap=0) for f in (one, other)]
    assert whole.n_galaxies == sum(part.n_galaxies for part in parts)
    n = [part[DETECTED].n_peaks for part in parts]
    purity = np.average([part.purity for part in parts], weights=n)
    assert whole.purity == pytest.approx(purity, abs=1e-12)


def test_bins_add_up() -> None:
    found = make_found()
    scorers = {
        name: PeakScorer(peaks, found.galaxies, FootprintFacts(found.n_detected))
        for name, peaks in found.lists.items()
    }
    magnitude, separation = bin_peaks(scorers, {"calibrated": 0.3})
    assert magnitude.key == "magnitude" and separation.names[-1] == "alone"
    for bins in (magnitude, separation):
        assert bins.n_galaxies.sum() == len(found.galaxies)
        for name, scorer in scorers.items():
            least = 0.3 if name == "calibrated" else -1.0
            share = np.average(np.nan_to_num(bins.completeness[name]), weights=bins.n_galaxies)
            assert share == pytest.approx(np.mean(scorer.found_at >= least))
            if bins is magnitude and name != "calibrated":
                assert bins.n_peaks[name].sum() == 0  # Peaks whose magnitude is not known.
                continue
            assert bins.n_peaks[name].sum() == np.sum(scorer.p >= least)
            purity = np.average(np.nan_to_num(bins.purity[name]), weights=bins.n_peaks[name])
            assert purity == pytest.approx(np.mean(scorer.matches.is_true[scorer.p >= least]))
    # The toy's galaxies are 8 and 16 pixels apart, and its right probabilities right in each bin.
    names = [n for n, k in zip(separation.names, separation.n_galaxies, strict=True) if k]
    assert names == ["7–10", "≥ 15", "alone"]
    for bins in (magnitude, separation):
        # 0.03 is four standard deviations of a bin with 600 peaks.
        some = bins.n_peaks["calibrated"] > 600
        assert some.any()
        np.testing.assert_allclose(bins.mean_p["calibrated"][some], bins.share["calibrated"][some], atol=0.06)


def test_magnitudes_that_are_not_known() -> None:
    found = make_found(6)
    galaxies = dataclasses.replace(found.galaxies, magnitude=np.full(len(found.galaxies), np.nan))
    scorer = PeakScorer(found.lists["calibrated"], galaxies, FootprintFacts(found.n_detected))
    assert [bins.key for bins in bin_peaks({"calibrated": scorer}, {})] == ["separation"]


@given(st.integers(0, 2**32 - 1))
def test_nearest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m = int(rng.integers(0, 40))
    footprint = np.sort(rng.integers(0, 8, m))
    x, y = rng.uniform(0.0, 20.0, (2, m))
    priority = rng.integers(0, 4, m).astype(float)
    distance = cdist(np.column_stack([x, y]), np.column_stack([x, y]))
    distance[footprint[:, None] != footprint] = np.inf
    np.fill_diagonal(distance, np.inf)
    np.testing.assert_allclose(nearest_other(footprint, x, y), distance.min(axis=1, initial=np.inf))
    earlier = np.arange(m)[:, None] > np.arange(m)
    before = (priority[:, None] < priority) | ((priority[:, None] == priority) & earlier)
    wanted = np.where(before, distance, np.inf).min(axis=1, initial=np.inf)
    np.testing.assert_allclose(nearest_before(footprint, x, y, priority), wanted)

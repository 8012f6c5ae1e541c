# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What is truly in footprints, and scores by that."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from astropy.table import Table
from lsst.meas.blendid.calibration import move_prior
from lsst.meas.blendid.evaluation.breakdown import (
    KINDS,
    TruthSummary,
    bin_scores,
    kind_scores,
    recount,
    summarize_scenes,
    summarize_truth,
)
from lsst.meas.blendid.labels import count_galaxies
from sklearn.metrics import balanced_accuracy_score
from toy_comparison import toy_scored


def by_hand(labels: np.ndarray, truth: Table, snr_min: float) -> list[list[tuple[float, ...]]]:
    """Objects of each footprint, the brightest first."""
    found: list[list[tuple[float, ...]]] = [[] for _ in range(labels.max())]
    for row in truth:
        x, y = round(row["x"]), round(row["y"])
        if row["snr"] >= snr_min and 0 <= x < labels.shape[1] and 0 <= y < labels.shape[0] and labels[y, x]:
            found[labels[y, x] - 1].append(
                (row["snr"], row["x"], row["y"], row["mag"], row["is_star"], row["n_knots"])
            )
    return [sorted(rows, reverse=True) for rows in found]


@pytest.mark.parametrize("snr_min", [5.0, 4.0])
def test_summary_by_hand(snr_min: float) -> None:
    scored = toy_scored()
    footprints, truth = scored.labelled.samples.results[0].footprints, scored.labelled.truths[0]
    found = summarize_truth(footprints, truth, snr_min=snr_min)
    np.testing.assert_array_equal(found.counts, count_galaxies(footprints, truth, snr_min=snr_min))
    rows = by_hand(footprints.labels, truth, snr_min)
    assert [len(one) for one in rows] == found.counts.tolist()
    for i, one in enumerate(rows):
        assert found.n_stars[i] == sum(row[4] for row in one)
        assert found.n_clumpy[i] == sum(row[5] > 0 for row in one)
        if one:
            assert found.magnitude[i] == pytest.approx(one[0][3], abs=1e-4)
        else:
            assert np.isnan(found.magnitude[i])
        if len(one) > 1:
            assert found.second_snr[i] == pytest.approx(one[1][0], rel=1e-5)
            distance = np.hypot(one[0][1] - one[1][1], one[0][2] - one[1][2])
            assert found.separation[i] == pytest.approx(distance, abs=1e-4)
        else:
            assert np.isnan(found.second_snr[i])
            assert np.isnan(found.separation[i])


def test_summary_needs_no_label_image() -> None:
    scored = toy_scored()
    result, truth = scored.labelled.samples.results[0], scored.labelled.truths[0]
    x, y = np.asarray(truth["x"]), np.asarray(truth["y"])
    far = np.array([-1e4, 1e4])
    for positions in ((x, y), (far, far)):
        np.testing.assert_array_equal(
            result.footprints.find_at(*positions), result.without_images().footprints.find_at(*positions)
        )
    assert result.footprints.find_at(far, far).tolist() == [0, 0]


def test_summary_of_plain_positions() -> None:
    """Positions and S/N alone tell counts and companions, not magnitudes or kinds."""
    scored = toy_scored(images=False)
    whole = summarize_scenes(scored.labelled)
    positions = tuple(t["x", "y", "snr"] for t in scored.labelled.truths)
    plain = summarize_scenes(dataclasses.replace(scored.labelled, truths=positions))
    assert whole is not None
    assert plain is not None
    np.testing.assert_array_equal(plain.counts, whole.counts)
    np.testing.assert_allclose(plain.separation, whole.separation)
    assert np.isnan(plain.magnitude).all()
    assert not plain.n_stars.any()
    assert summarize_scenes(dataclasses.replace(scored.labelled, truths=None)) is None


def test_missing_column() -> None:
    scored = toy_scored()
    truth = scored.labelled.truths[0].copy()
    truth.remove_column("snr")
    with pytest.raises(KeyError, match="no column 'snr'"):
        summarize_truth(scored.labelled.samples.results[0].footprints, truth)


def test_recount() -> None:
    scored = toy_scored(images=False)
    fainter = recount(scored.labelled, 4.0)
    assert fainter.snr_min == 4.0
    assert (fainter.counts >= recount(scored.labelled, 5.0).counts).all()
    assert fainter.counts.sum() > scored.labelled.counts.sum()
    assert all(0.0 < share < 1.0 for share in fainter.inside)
    assert scored.relabelled(4.0).labelled.counts.tolist() == fainter.counts.tolist()
    assert scored.relabelled(5.0) is scored
    unknown = dataclasses.replace(scored.labelled, truths=None)
    with pytest.raises(ValueError, match="one label is all there is"):
        dataclasses.replace(scored, labelled=unknown).relabelled(4.0)


def test_bins() -> None:
    scored = toy_scored()
    truth = summarize_scenes(scored.labelled)
    counts, samples = scored.labelled.counts, scored.labelled.samples
    p = {"good": scored.p_blended("good").copy()}
    p["good"][:20] = np.nan
    bins = {one.key: one for one in bin_scores(p, samples, counts, truth)}
    assert list(bins) == ["magnitude", "second_snr", "separation", "area"]
    for one in bins.values():
        assert one.n_blended.sum() <= np.count_nonzero(counts > 1)
        assert len(one.names()) == len(one.n_blended) == len(one.edges) - 1
    assert bins["second_snr"].n_single.sum() == 0
    area = bins["area"]
    edges = np.array([0.0, *area.edges[1:-1], 1e9])
    known = np.isfinite(p["good"]) & (counts > 0)
    q = move_prior(p["good"], float(np.mean(counts[known] > 1)), 0.5)
    for k, (low, high) in enumerate(zip(edges, edges[1:], strict=False)):
        use = known & (samples.area >= low) & (samples.area < high)
        if len(set((counts[use] > 1).tolist())) == 2:
            accuracy = balanced_accuracy_score(counts[use] > 1, q[use] > 0.5)
            assert 0.5 * (area.recognised["good"][k] + area.kept["good"][k]) == pytest.approx(accuracy)
    # The loss over all bins together is the balanced cross-entropy.
    total = -np.log(q[known & (counts > 1)]).sum()
    n_known = np.array(
        [
            np.count_nonzero(known & (counts > 1) & (samples.area >= a) & (samples.area < b))
            for a, b in zip(edges, edges[1:], strict=False)
        ]
    )
    assert np.nansum(area.blended_loss["good"] * n_known) == pytest.approx(total)
    document = area.to_dict()
    assert document["edges"][-1] is None
    assert document["models"]["good"]["kept"][0] is None or document["models"]["good"]["kept"][0] <= 1.0
    assert [one.key for one in bin_scores(p, samples, counts, None)] == ["area"]


def test_names_of_bins() -> None:
    scored = toy_scored()
    bins = bin_scores(
        {"good": scored.p_blended("good")}, scored.labelled.samples, scored.labelled.counts, None
    )
    names = bins[0].names()
    assert names[0].startswith("< ")
    assert names[-1].startswith("≥ ")
    assert "–" in names[1]


def test_kinds() -> None:
    counts = np.array([1, 1, 1, 2, 2, 2, 0, 1])
    truth = TruthSummary(
        counts=counts,
        magnitude=np.full(8, np.nan),
        second_snr=np.full(8, np.nan),
        separation=np.full(8, np.nan),
        n_stars=np.array([0, 0, 1, 0, 1, 2, 0, 0]),
        n_clumpy=np.array([0, 2, 0, 1, 1, 0, 0, 0]),
    )
    p = np.array([0.1, 0.9, 0.2, 0.8, 0.9, 0.3, 0.5, np.nan])
    found = kind_scores({"m": p}, counts, truth)
    assert [(one.kind, one.blended) for one in found] == list(KINDS)
    assert [one.n for one in found] == [2, 1, 1, 1, 1, 1]
    assert [one.called_blended["m"] for one in found] == [0.0, 1.0, 0.0, 1.0, 1.0, 0.0]
    assert [one.mean_p["m"] for one in found] == [0.1, 0.9, 0.2, 0.8, 0.9, 0.3]
    none = dataclasses.replace(truth, n_stars=np.zeros(8, int), n_clumpy=np.zeros(8, int))
    assert [one.n for one in kind_scores({"m": p}, counts, none)] == [4, 3]

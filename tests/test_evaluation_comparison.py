# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Comparisons of models: scores, errors, paired differences."""

from __future__ import annotations

import dataclasses
import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.evaluation.comparison import (
    METRICS,
    Difference,
    compare,
    format_difference,
    format_value,
)
from lsst.meas.blendid.metrics import BlendScorer, score, score_one_peak
from toy_comparison import toy_scored


def draw(seed: int, n: int = 300) -> tuple[np.ndarray, ...]:
    """Probabilities, counts, peaks and weights with ties and all kinds."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, n)
    p = np.round(np.clip(0.25 * counts + rng.normal(0.0, 0.25, n), 0.01, 0.99), 2)
    return p, counts, rng.integers(1, 3, n), rng.integers(0, 4, n).astype(float)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_weights_are_repeated_footprints(seed: int) -> None:
    p, counts, n_peaks, weights = draw(seed)
    found = BlendScorer(p, counts, n_peaks)(weights)
    rows = np.repeat(np.arange(len(p)), weights.astype(int))
    whole = score(p[rows], counts[rows])
    one_peak = score_one_peak(p[rows], counts[rows], n_peaks[rows])
    expected = {key: getattr(whole, key) for key in found if hasattr(whole, key)} | {
        "one_peak_auc": one_peak.auc,
        "one_peak_recall_1": one_peak.recall_at_1_percent,
        "one_peak_recall_5": one_peak.recall_at_5_percent,
    }
    assert found.keys() == expected.keys() == {m.key for m in METRICS} - {"ece"}
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=1e-6, nan_ok=True), key


def test_scores_of_one_kind_are_nan() -> None:
    p, counts, n_peaks, _ = draw(1)
    scores = BlendScorer(p, counts, n_peaks)
    found = scores((counts > 1).astype(float))
    assert math.isnan(found["cross_entropy"])
    assert math.isnan(found["auc"])
    assert math.isnan(found["one_peak_recall_5"])
    assert math.isnan(found["calibration_slope"])
    assert math.isfinite(found["natural_cross_entropy"])
    assert math.isnan(scores(np.zeros(len(p)))["balanced_accuracy"])


def test_compare() -> None:
    scored = toy_scored()
    labelled = scored.labelled
    found = compare(labelled, scored.predictions, reference="noisy", bootstrap=40)
    assert list(found.rows) == list(scored.predictions)
    assert (found.reference, found.n_footprints, found.n_draws) == ("noisy", len(labelled.counts), 40)
    assert found.n_blocks > 1
    for name in ("good", "noisy"):
        direct = score(scored.p_blended(name), labelled.counts)
        assert found[name].scores == direct
        assert found[name].value("auc") == direct.auc
        assert found[name].errors["auc"] > 0.0
        assert "ece" not in found[name].errors
    assert found["noisy"].differences == {}
    gap = found["good"].differences["cross_entropy"]
    assert gap.value == pytest.approx(
        found["good"].value("cross_entropy") - found["noisy"].value("cross_entropy")
    )
    assert gap.high < 0.0
    assert gap.low < gap.value < gap.high
    # Paired: far below the errors in quadrature.
    assert gap.error < math.hypot(
        found["good"].errors["cross_entropy"], found["noisy"].errors["cross_entropy"]
    )


def test_compare_takes_probabilities_of_numbers() -> None:
    scored = toy_scored()
    found = compare(scored.labelled, scored.predictions, bootstrap=0)
    assert scored.predictions["counts"].shape[1] == 5
    assert (
        found["counts"].value("auc")
        == score(scored.predictions["counts"][:, 2:].sum(axis=1), scored.labelled.counts).auc
    )
    assert not found["counts"].errors
    assert not found["counts"].differences


def test_differences_are_of_the_footprints_that_both_classify() -> None:
    scored = toy_scored()
    p = scored.p_blended("noisy")
    # Where it knows nothing better than the opposite, it says nothing.
    some = p.copy()
    some[::3] = np.nan
    found = compare(scored.labelled, {"all": p, "some": some}, reference="all", bootstrap=10)
    difference = found["some"].differences["cross_entropy"]
    assert difference == Difference(0.0, 0.0, 0.0, 0.0)
    assert found["some"].value("cross_entropy") != found["all"].value("cross_entropy")
    assert found["some"].scores.n_missing == len(some[::3])


def test_table_and_document() -> None:
    scored = toy_scored()
    found = compare(scored.labelled, scored.predictions, reference="noisy", bootstrap=10)
    table = found.table()
    assert list(table["model"]) == list(scored.predictions)
    row = table[list(table["model"]).index("good")]
    assert row["auc"] == found["good"].value("auc")
    assert row["auc_error"] == found["good"].errors["auc"]
    assert row["auc_difference_low"] == found["good"].differences["auc"].low
    assert np.isnan(table["auc_difference"][list(table["model"]).index("noisy")])
    assert table.meta["reference"] == "noisy"
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["models"]["good"]["scores"]["auc"] == round(found["good"].value("auc"), 6)
    assert document["models"]["good"]["differences"]["auc"]["high"] is not None
    assert document["n_footprints"] == len(scored.labelled.counts)
    text = found.format()
    lines = text.splitlines()
    assert len(lines) == 1 + len(scored.predictions)
    assert lines[0].endswith("cross-entropy − noisy")
    assert f"{found['good'].value('auc'):.4f} ± " in text


def test_few_blocks_are_divided() -> None:
    """One piece of sky of 1152 x 1152 pixels has nine blocks of 512 pixels."""
    scored = toy_scored()
    one_sky = dataclasses.replace(scored.labelled, sky=np.zeros(len(scored.labelled.counts), dtype=int))
    found = compare(one_sky, scored.predictions, reference="noisy", bootstrap=10)
    assert (found.n_blocks, found.block_size, found.caution) == (25, 256, None)
    assert found["good"].differences["auc"].certain


def test_one_footprint_has_no_errors() -> None:
    found = compare(**sky_of(2, 0), bootstrap=10)
    assert (found.n_blocks, found.n_draws, found.block_size) == (2, 10, None)
    assert "too little sky for 20 blocks" in str(found.caution)


def sky_of(n: int, seed: int, *, size: float = 1024.0, cells: int = 8) -> dict[str, Any]:
    """Arguments of `compare` for footprints on one square of sky, with two models that are equally good.

    What models see of the footprints in a cell of the sky has something in common.
    """
    rng = np.random.default_rng(seed)
    xy = rng.uniform(0.0, size, (n, 2))
    cell = (xy * cells / size).astype(int) @ [1, cells]
    counts = 1 + (np.arange(n) % 3 == 0)
    common = rng.normal(0.0, 0.3, cells**2)[cell]
    seen = 3.0 * (counts - 1.5) + common + rng.normal(0.0, 1.2, n)
    models = {name: 1.0 / (1.0 + np.exp(-seen - rng.normal(0.0, 1.0, n))) for name in ("a", "b")}
    labelled = SimpleNamespace(
        samples=SimpleNamespace(n_peaks=np.ones(n, int), centroid=xy, results=[None]),
        **{"counts": counts, "sky": np.zeros(n, int), "mix": {}, "inside": [1.0], "snr_min": 5.0},
    )
    return {"labelled": labelled, "predictions": models}


def test_errors_of_one_small_piece_of_sky_are_what_realisations_scatter() -> None:
    """With four blocks of 512 pixels, a fifth of the errors are below half of what they should be."""
    found = [compare(**sky_of(400, seed), reference="a", bootstrap=40) for seed in range(100)]
    assert all(c.block_size == 128 and c.caution is None for c in found)
    for key in ("auc", "cross_entropy", "balanced_accuracy"):
        spread = np.std([c["a"].value(key) for c in found])
        errors = np.array([c["a"].errors[key] for c in found])
        assert errors.mean() == pytest.approx(spread, rel=0.25), key
        assert errors.min() > 0.5 * spread, key
        gaps = [c["b"].differences[key] for c in found]
        # Five in a hundred models that are equal differ for certain, and not a fifth of them.
        assert sum(gap.certain for gap in gaps) <= 12, key
        assert np.mean([gap.error for gap in gaps]) == pytest.approx(
            np.std([gap.value for gap in gaps]), rel=0.25
        )


def test_errors_where_there_is_too_little_sky() -> None:
    """Those of footprints, with a warning, and nothing is certain, however different the models are."""
    found = []
    for seed in range(60):
        given = sky_of(60, seed, size=400.0, cells=1)
        found.append(compare(**given, bootstrap=40))
    assert all(c.n_blocks == 60 and c.block_size is None for c in found)
    spread = np.std([c["a"].value("auc") for c in found])
    assert np.mean([c["a"].errors["auc"] for c in found]) == pytest.approx(spread, rel=0.25)
    given["predictions"]["b"] = np.where(given["labelled"].counts > 1, 0.2, 0.8)
    opposite = compare(**given, reference="a", bootstrap=60)
    assert opposite["b"].differences["auc"].high < 0.0
    assert not opposite["b"].differences["auc"].certain
    assert not opposite.table()["auc_difference_certain"].any()
    assert opposite.to_dict()["models"]["b"]["differences"]["auc"]["certain"] is False
    assert opposite.table().meta["caution"] == opposite.to_dict()["caution"] == opposite.caution


def test_few_of_a_kind_are_not_enough_to_be_certain() -> None:
    given = sky_of(400, 1)
    counts = given["labelled"].counts
    counts[np.flatnonzero(counts > 1)[8:]] = 1
    given["predictions"] = {"a": np.full(400, 0.3), "b": np.where(counts > 1, 0.9, 0.1)}
    found = compare(**given, reference="a", bootstrap=30)
    assert found.block_size == 128 and "Only 8 footprints" in str(found.caution)
    assert not any(gap.certain for gap in found["b"].differences.values())


def test_bad_comparisons() -> None:
    scored = toy_scored()
    labelled, p = scored.labelled, scored.p_blended("good")
    with pytest.raises(ValueError, match="no model"):
        compare(labelled, {})
    with pytest.raises(KeyError, match="no model is called 'other'; there are good"):
        compare(labelled, {"good": p}, reference="other")
    with pytest.raises(ValueError, match="good has 3 probabilities"):
        compare(labelled, {"good": p[:3]})
    with pytest.raises(ValueError, match="good classified none"):
        compare(labelled, {"good": np.full(len(p), np.nan)})
    for count, kind in ((0, "holds a galaxy"), (1, "are unblended"), (2, "are blended")):
        one_kind = toy_scored(count=count).labelled
        with pytest.raises(ValueError, match=kind):
            compare(one_kind, {"good": p})


def test_format() -> None:
    assert format_value(-0.12345, 3) == "−0.123"
    assert format_value(math.nan, 3) == "–"
    assert format_difference(None, 2) == "–"
    assert format_difference(Difference(-0.5, math.nan, 0.0, 0.0), 2) == "−0.50"
    assert format_difference(Difference(0.5, 0.1, 0.3, 0.7), 2) == "+0.50 ± 0.10"


def test_progress_counts_models() -> None:
    scored, seen = toy_scored(), []
    compare(scored.labelled, scored.predictions, bootstrap=0, progress=lambda *done: seen.append(done))
    n = len(scored.predictions)
    assert seen == [(i + 1, n) for i in range(n)]

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""Tests of boosted trees as arrays, against scikit-learn itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.classifiers.trees import (
    TREE_ARRAYS,
    TreeSettings,
    _rounded,
    average_trees,
    fit_trees,
    nested_probabilities,
    predict_trees,
    raw_scores,
    tune_trees,
    validate_trees,
)
from sklearn.ensemble import HistGradientBoostingClassifier

FEW = TreeSettings(n_trees=12, n_leaves=9, min_samples=8, feature_share=0.8, patience=0)


def make_data(n: int = 600, *, seed: int = 0, missing: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Features, one of them with few values and some missing, and numbers of galaxies that depend on them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5)).astype(np.float32)
    x[:, 3] = np.round(x[:, 3])
    counts = np.clip(np.rint(1.3 + x[:, 0] + 0.5 * x[:, 1] ** 2 + 0.3 * rng.normal(size=n)), 0, 6).astype(int)
    x[rng.random(x.shape) < missing] = np.nan
    return x, counts


def make_reference(settings: TreeSettings, seed: int = 1) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(
        learning_rate=settings.learning_rate,
        max_iter=settings.n_trees,
        max_leaf_nodes=settings.n_leaves,
        max_depth=settings.max_depth,
        min_samples_leaf=settings.min_samples,
        l2_regularization=settings.regularization,
        max_features=settings.feature_share,
        early_stopping=False,
        random_state=seed,
    )


@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_each_step_is_scikit_learn(missing: float, weighted: bool) -> None:
    x, counts = make_data(1500, missing=missing)
    other, _ = make_data(1000, seed=5, missing=missing)
    # Few values, each of them in each part of the training data: there is nothing to round.
    x, other = (np.clip(np.round(4.0 * rows) / 4.0, -1.5, 1.5) for rows in (x, other))
    weights = np.random.default_rng(3).uniform(0.2, 3.0, counts.size) if weighted else None
    arrays = fit_trees(x, counts, weights=weights, settings=FEW)
    p = predict_trees(arrays, other)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-12)

    def reference(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
        model = make_reference(FEW).fit(x[rows], labels, None if weights is None else weights[rows])
        return np.asarray(model.predict_proba(other))

    every, single, several = counts > -1, counts < 2, counts > 1
    np.testing.assert_allclose(p[:, 2:].sum(axis=1), reference(every, counts > 1)[:, 1], atol=1e-6)
    np.testing.assert_allclose(
        p[:, 0] / p[:, :2].sum(axis=1), reference(single, counts[single] == 0)[:, 1], atol=1e-6
    )
    of_blends = p[:, 2:] / p[:, 2:].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(of_blends, reference(several, np.minimum(counts[several], 4)), atol=1e-6)


def test_thresholds_divide_features_as_they_are() -> None:
    """The trees of rounded features give the features themselves what scikit-learn gives the rounded ones."""
    x, counts = make_data(2000)
    rounded = _rounded(x, x)
    assert len(np.unique(rounded[:, 0])) > 255 and np.any(rounded[~np.isnan(x)] != x[~np.isnan(x)])
    arrays = fit_trees(x, counts, settings=FEW)
    model = make_reference(FEW).fit(rounded, counts > 1)
    expected = model.predict_proba(rounded)[:, 1]
    np.testing.assert_allclose(predict_trees(arrays, x)[:, 2:].sum(axis=1), expected, atol=1e-6)
    # No footprint of the training data is so near to a threshold that its last bits decide.
    for sign in (-np.inf, np.inf):
        moved = predict_trees(arrays, np.nextafter(x, np.float32(sign)))
        np.testing.assert_allclose(moved[:, 2:].sum(axis=1), expected, atol=1e-6)


def test_last_bits_do_not_change_the_trees() -> None:
    """Neither of numbers that many footprints share, nor of those that each has for itself."""
    x, counts = make_data(2000)
    x[:, 3] += np.float32(0.1)
    x[:, 4] = np.where(x[:, 4] > 0.0, x[:, 4], 12.0)
    held_out = make_data(500, seed=3)
    settings = TreeSettings(n_trees=40, n_leaves=15, min_samples=8, patience=5)
    rng = np.random.default_rng(0)

    def touch(rows: np.ndarray) -> np.ndarray:
        return np.where(rng.random(rows.shape) < 0.5, rows, np.nextafter(rows, np.float32(np.inf)))

    one = fit_trees(x, counts, validation=held_out, settings=settings)
    two = fit_trees(touch(x), counts, validation=(touch(held_out[0]), held_out[1]), settings=settings)
    np.testing.assert_array_equal(one["node_feature"], two["node_feature"])
    np.testing.assert_allclose(one["node_value"], two["node_value"], rtol=1e-6)


def test_rounding() -> None:
    x = np.array([[1.0, 12.0], [1.0 + 1e-6, -3.3], [0.0, np.nan], [-1e-9, 0.0], [3e4, 1.0]], np.float32)
    rounded = _rounded(x, x)
    assert rounded[0, 0] == rounded[1, 0] == 1.0 and rounded[2, 0] == rounded[3, 0] == 0.0
    np.testing.assert_allclose(rounded, x, rtol=2.0**-12, atol=2.0**-24)
    np.testing.assert_array_equal(_rounded(rounded, rounded), rounded)


@given(st.integers(0, 1000), st.integers(0, 130))
@settings(max_examples=15)
def test_rows_do_not_depend_on_each_other(seed: int, n: int) -> None:
    x, counts = make_data()
    arrays = fit_trees(x, counts, settings=TreeSettings(n_trees=3, n_leaves=5, patience=0))
    rows, _ = make_data(n, seed=seed)
    together = predict_trees(arrays, rows)
    assert together.shape == (n, 5)
    if n:
        alone = np.concatenate([predict_trees(arrays, row[None]) for row in rows])
        np.testing.assert_array_equal(together, alone)


def test_validation_data_end_the_fit() -> None:
    x, counts = make_data(300)
    held_out = make_data(400, seed=9)
    many = TreeSettings(learning_rate=0.5, n_trees=80, n_leaves=15, min_samples=5, patience=5)
    history: dict[str, list[float]] = {}
    lines: list[str] = []
    arrays = fit_trees(x, counts, validation=held_out, settings=many, history=history, say=lines.append)
    curve = history["blended_validation_loss"]
    n_blended = np.count_nonzero(arrays["tree_score"] == 1)
    assert n_blended == np.argmin(curve) < 80
    assert set(history) == {
        f"{part}_{kind}" for part in ("blended", "empty", "several") for kind in ("loss", "validation_loss")
    }
    assert len(lines) == 3 and lines[0].startswith("blended: ")
    blended = held_out[1] > 1
    p = predict_trees(arrays, held_out[0])[:, 2:].sum(axis=1)
    # Some held-out footprints lie between a threshold and the training data beside it.
    assert -np.mean(np.log(np.where(blended, p, 1.0 - p))) == pytest.approx(min(curve), abs=1e-2)


def test_seed_makes_the_fit_and_means_of_fits_are_of_scores() -> None:
    x, counts = make_data()
    one, again = (fit_trees(x, counts, settings=FEW, seed=1) for _ in range(2))
    for name in TREE_ARRAYS:
        np.testing.assert_array_equal(one[name], again[name])
    other = fit_trees(x, counts, settings=FEW, seed=2)
    assert not np.array_equal(raw_scores(one, x), raw_scores(other, x))
    both = validate_trees(average_trees([one, other]))
    mean = 0.5 * (raw_scores(one, x) + raw_scores(other, x))
    np.testing.assert_allclose(raw_scores(both, x), mean, atol=1e-6)
    assert average_trees([one]) is one


def test_class_that_training_never_saw_is_impossible() -> None:
    x, counts = make_data()
    counts = np.where(counts == 0, 1, np.minimum(counts, 2))
    arrays = validate_trees(fit_trees(x, counts, settings=FEW))
    p = predict_trees(arrays, x)
    assert p[:, [0, 3, 4]].max() < 1e-10
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    three = predict_trees(fit_trees(x, np.where(counts == 2, 3, counts), settings=FEW), x)
    np.testing.assert_allclose(three[:, 3], p[:, 2], atol=1e-9)


def test_scores_are_chained() -> None:
    scores = np.array([[np.log(0.25), np.log(3.0), 0.0, np.log(2.0), -np.inf], [0.0, -800.0, 0.0, 0.0, 0.0]])
    expected = [[0.2 / 4, 0.8 / 4, 0.25, 0.5, 0.0], [0.5, 0.5, 0.0, 0.0, 0.0]]
    np.testing.assert_allclose(nested_probabilities(scores), expected, atol=1e-12)
    factors = np.array([1.0, 1.0, 2.0, 2.0, 2.0])
    moved = nested_probabilities(scores, factors)
    np.testing.assert_allclose(moved[0, 2:].sum() / moved[0, :2].sum(), 6.0)


def test_bad_input_is_refused() -> None:
    x, counts = make_data(50)
    with pytest.raises(ValueError, match="labels do not fit"):
        fit_trees(x, counts[:-1])
    with pytest.raises(ValueError, match="all or none"):
        fit_trees(x, np.ones(50, int))
    with pytest.raises(ValueError, match="infinite"):
        fit_trees(np.where(np.isnan(x), np.inf, x), counts)
    arrays = fit_trees(x, counts, settings=FEW)
    with pytest.raises(ValueError, match="5 were trained on"):
        predict_trees(arrays, x[:, :4])


def damage(name: str, change: object) -> dict[str, np.ndarray]:
    x, counts = make_data(200)
    arrays = fit_trees(x, counts, settings=FEW)
    assert callable(change)
    return arrays | {name: change(arrays[name].copy())}


def put(index: int, value: float) -> object:
    def change(array: np.ndarray) -> np.ndarray:
        array[index] = value
        return array

    return change


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("node_value", put(0, np.nan), "not finite"),
        ("baseline", put(1, np.inf), "not finite"),
        ("baseline", lambda a: a[:4], "another length"),
        ("class_factors", put(2, 0.0), "not positive"),
        ("node_feature", put(0, 5), "does not exist"),
        ("node_feature", put(0, -2), "does not exist"),
        ("node_feature", lambda a: a.astype(float), "has type"),
        ("node_feature", lambda a: a[:-1], "differ in length"),
        ("node_right", put(0, 1), "outside its tree"),
        ("node_right", put(0, 60_000), "outside its tree"),
        ("tree_start", put(1, 0), "does not divide"),
        ("tree_start", put(-1, 10**6), "does not divide"),
        ("tree_start", lambda a: a[:-1], "does not divide"),
        ("tree_score", put(0, 5), "scores that are none"),
        ("tree_score", lambda a: a[:-1], "scores that are none"),
        ("n_features", lambda a: np.zeros(0, np.int64), "n_features"),
        ("tree_start", lambda a: a[None], "has type"),
    ],
)
def test_damaged_arrays_are_refused(name: str, change: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        validate_trees(damage(name, change))


def grow_tree(rng: np.random.Generator, n_leaves: int, n_features: int) -> list[tuple[int, float, int, int]]:
    """Nodes of a random tree: feature (-1 for a leaf), value, distance to the right child, where NaN goes."""
    if n_leaves == 1:
        return [(-1, float(rng.normal()), 0, 0)]
    # Lopsided trees are deep.
    n_left = int(rng.integers(1, n_leaves)) if rng.random() < 0.7 else 1
    left, right = (grow_tree(rng, n, n_features) for n in (n_left, n_leaves - n_left))
    split = (int(rng.integers(n_features)), float(rng.normal()), len(left) + 1, int(rng.integers(2)))
    return [split, *left, *right]


def walk(nodes: list[tuple[int, float, int, int]], row: np.ndarray) -> float:
    """Value of the leaf that a row comes to, one step after the other."""
    i = 0
    while nodes[i][0] >= 0:
        feature, threshold, right, missing_left = nodes[i]
        v = row[feature]
        goes_left = missing_left == 1 if np.isnan(v) else v <= threshold
        i += 1 if goes_left else right
    return nodes[i][1]


@given(st.integers(0, 10_000), st.sampled_from([1, 2, 31, 32, 33, 64, 65, 140]), st.integers(1, 300))
@settings(max_examples=25)
def test_each_row_comes_to_its_leaf(seed: int, n_leaves: int, n: int) -> None:
    """However many leaves a tree has, and rows there are."""
    rng = np.random.default_rng(seed)
    trees = [grow_tree(rng, k, 3) for k in (n_leaves, 5, 1)]
    feature, value, right, missing_left = (np.array(c) for c in zip(*sum(trees, []), strict=True))
    arrays = validate_trees(
        {
            "tree_start": np.cumsum([0] + [len(tree) for tree in trees]),
            "tree_score": np.array([1, 4, 1]),
            "node_feature": feature,
            "node_value": value.astype(np.float32),
            "node_right": right,
            "node_missing_left": missing_left,
            "baseline": np.arange(5.0),
            "class_factors": np.ones(5),
            "n_features": np.array([3]),
        }
    )
    x = rng.normal(size=(n, 3)).astype(np.float32)
    x[rng.random(x.shape) < 0.2] = np.nan
    x[rng.random(x.shape) < 0.05] = np.inf
    x[rng.random(x.shape) < 0.05] = -np.inf
    expected = np.tile(np.arange(5.0), (n, 1))
    for nodes, k in zip(trees, (1, 4, 1), strict=True):
        expected[:, k] += [walk(nodes, row) for row in x]
    np.testing.assert_allclose(raw_scores(arrays, x), expected, rtol=1e-6, atol=1e-6)


def test_nodes_that_are_no_trees_are_refused() -> None:
    x, counts = make_data(200)
    arrays = fit_trees(x, counts, settings=FEW)
    start = int(arrays["tree_start"][1])
    first = int(np.flatnonzero(arrays["node_feature"][:start] >= 0)[0])
    right = arrays["node_right"].copy()
    right[first] += 1 if first + right[first] + 1 < start else -1
    with pytest.raises(ValueError, match="nodes on the left of a split do not end where"):
        validate_trees(arrays | {"node_right": right})


def test_missing_array_is_named() -> None:
    x, counts = make_data(200)
    arrays = fit_trees(x, counts, settings=FEW)
    del arrays["node_right"]
    with pytest.raises(KeyError, match="node_right"):
        validate_trees(arrays)


@given(st.integers(0, 10_000))
@settings(max_examples=60)
def test_whatever_passes_the_check_ends(seed: int) -> None:
    """Random arrays are refused, or give probabilities."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 8)) * 2 - 1
    feature = rng.integers(-1, 2, n).astype(np.int16)
    arrays = {
        "tree_start": np.array([0, n]),
        "tree_score": rng.integers(0, 5, 1),
        "node_feature": feature,
        "node_value": rng.normal(size=n).astype(np.float32),
        "node_right": rng.integers(0, 6, n).astype(np.uint16),
        "node_missing_left": rng.integers(0, 2, n).astype(np.uint8),
        "baseline": rng.normal(size=5),
        "class_factors": np.ones(5),
        "n_features": np.array([2]),
    }
    try:
        checked = validate_trees(arrays)
    except ValueError:
        return
    p = predict_trees(checked, rng.normal(size=(10, 2)).astype(np.float32))
    np.testing.assert_allclose(p.sum(axis=1), 1.0)


def test_tuning_wins_back_a_shifted_kind() -> None:
    x, counts = make_data(3000, missing=0.0)
    arrays = fit_trees(x, counts, settings=TreeSettings(n_trees=60, min_samples=20, patience=0))
    shifted, labels = make_data(6000, seed=4, missing=0.0)
    shifted[:, 0] += 0.8

    def loss(model: dict[str, np.ndarray]) -> float:
        p = np.clip(predict_trees(model, shifted[300:])[:, 2:].sum(axis=1), 1e-12, 1 - 1e-12)
        return float(-np.mean(np.log(np.where(labels[300:] > 1, p, 1.0 - p))))

    tuned = validate_trees(tune_trees(arrays, shifted[:300], labels[:300]))
    assert loss(tuned) < 0.9 * loss(arrays)
    # A handful of labels changes little, none nothing.
    few = tune_trees(arrays, x[:10], counts[:10])
    assert abs(few["baseline"][1] - arrays["baseline"][1]) < 1.5
    none = tune_trees(arrays, x[:0], counts[:0])
    np.testing.assert_allclose(raw_scores(none, x), raw_scores(arrays, x), atol=1e-6)


def test_tuning_is_the_best_slope_and_shift() -> None:
    x, counts = make_data(1000, missing=0.0)
    arrays = fit_trees(x, counts, settings=FEW)
    tuned = tune_trees(arrays, x, counts)
    before, after = raw_scores(arrays, x)[:, 1], raw_scores(tuned, x)[:, 1]
    slope, shift = np.polyfit(before, after, 1)
    np.testing.assert_allclose(after, slope * before + shift, atol=1e-4)

    def posterior(a: float, b: float) -> float:
        value = a * before + b
        nll = np.sum(np.logaddexp(0.0, value) - (counts > 1) * value)
        return float(nll + 0.5 * ((a - 1.0) / 0.3) ** 2 + 0.5 * (b / 1.5) ** 2)

    best = posterior(slope, shift)
    for da, db in ((0.03, 0.0), (-0.03, 0.0), (0.0, 0.03), (0.0, -0.03)):
        assert posterior(slope + da, shift + db) > best


def test_last_bits_do_not_decide_at_a_threshold() -> None:
    """A threshold may be the very number that many footprints have, as an area over that of the usual PSF."""
    x, counts = make_data(missing=0.0)
    arrays = fit_trees(x, counts, settings=FEW)
    split = np.flatnonzero(arrays["node_feature"] >= 0)
    threshold = arrays["node_value"][split]
    rows = np.repeat(x[:1], len(split), axis=0)
    at = np.arange(len(split)), arrays["node_feature"][split]
    scores = []
    for factor in (1.0, 1.0 - 1e-6, 1.0 + 1e-6, 1.0 + 1e-4, 1.0 - 1e-4):
        rows[at] = threshold * np.float32(factor)
        scores.append(raw_scores(arrays, rows))
    np.testing.assert_array_equal(scores[1], scores[0])
    np.testing.assert_array_equal(scores[2], scores[0])
    # What is not rounding counts: one of the two is on the other side.
    assert np.any((scores[3] != scores[0]) | (scores[4] != scores[0]))

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""What boosted trees say: checked arrays of nodes, and the probabilities that they give."""

from __future__ import annotations

__all__ = (
    "BLENDED",
    "EMPTY",
    "N_SCORES",
    "NEVER",
    "NODE_COLUMNS",
    "SEVERAL",
    "TREE_ARRAYS",
    "nested_probabilities",
    "predict_trees",
    "raw_scores",
    "validate_trees",
)

import numpy as np

from .._arrays import check_array
from .._jit import njit
from ..labels import N_CLASSES

N_SCORES = 5
"""Scores that trees add to: the logits of being empty if not blended and of being blended, and the scores of
N = 2, 3, >= 4 if blended."""

EMPTY, BLENDED, SEVERAL = 0, 1, 2
"""Indices of these scores; of several the first."""

TREE_ARRAYS: dict[str, str] = {
    "tree_start": "First node of each tree and the total, integers (trees + 1,).",
    "tree_score": "Score that each tree adds to, integers (trees,).",
    "node_feature": "Feature that a node splits on, integers (nodes,); -1 for a leaf.",
    "node_value": "Threshold of a split (not above goes left) or value of a leaf, float32 (nodes,).",
    "node_right": "Distance to the right child, integers (nodes,); the left child is the next node.",
    "node_missing_left": "Whether NaN goes left, integers (nodes,).",
    "baseline": "Scores before any tree, float64 (5,).",
    "class_factors": "Factors on the odds of N = 0, 1, 2, 3, >= 4, float64 (5,).",
    "n_features": "Number of features, integer (1,).",
}
"""Arrays of a model."""

NODE_COLUMNS = ("node_feature", "node_value", "node_right", "node_missing_left")
"""Arrays with a value for each node."""

NEVER = 30.0
"""Logit of what training always or never saw: a probability of about 1e-13."""

_TOLERANCE = np.float32(2.0**-18)
"""Part of a threshold that a feature may be above it and still go left.  A threshold may be the very number
that many footprints have, such as an area in pixels over that of the PSF at the usual seeing, and the last
bits of either must not decide where they go."""

_BLOCK = 128
"""Rows that go through a tree together."""
_WORD = 32
"""Leaves whose flags are the bits of a number."""


def validate_trees(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Check arrays that were read, so that prediction cannot go astray; gives those of `TREE_ARRAYS`.

    `KeyError` if one is missing, `ValueError` if types, shapes or numbers make no sense.
    """
    chosen = {name: np.ascontiguousarray(arrays[name]) for name in TREE_ARRAYS}
    for name, array in chosen.items():
        kinds = "f" if name in ("node_value", "baseline", "class_factors") else "iu"
        if array.ndim != 1 or array.dtype.kind not in kinds:
            raise ValueError(f"{name} has type {array.dtype} and shape {array.shape}")
        check_array(name, array, array.shape)
    start, feature = chosen["tree_start"].astype(np.int64), chosen["node_feature"].astype(np.int64)
    n_nodes, n_trees = feature.size, start.size - 1
    if any(chosen[name].size != n_nodes for name in NODE_COLUMNS):
        raise ValueError("the columns of nodes differ in length")
    if n_trees < 0 or start[0] != 0 or start[-1] != n_nodes or np.any(np.diff(start) < 1):
        raise ValueError("tree_start does not divide the nodes into trees")
    score = chosen["tree_score"].astype(np.int64)
    if score.size != n_trees or np.any((score < 0) | (score >= N_SCORES)):
        raise ValueError("tree_score names scores that are none")
    if chosen["baseline"].shape != (N_SCORES,) or chosen["class_factors"].shape != (N_CLASSES,):
        raise ValueError("baseline or class_factors has another length")
    if not np.all(chosen["class_factors"] > 0.0):
        raise ValueError("class_factors is not positive")
    if chosen["n_features"].shape != (1,) or chosen["n_features"][0] < 0:
        raise ValueError("n_features is not one number")
    if np.any(feature < -1) or np.any(feature >= int(chosen["n_features"][0])):
        raise ValueError("a node splits on a feature that does not exist")
    split = feature >= 0
    index = np.arange(n_nodes)
    end = np.repeat(start[1:], np.diff(start))
    right = index + chosen["node_right"].astype(np.int64)
    # Children come after their parents: whatever the numbers, each way ends in a leaf.
    if np.any(right[split] < index[split] + 2) or np.any(right[split] >= end[split]):
        raise ValueError("a node has a child outside its tree")
    if not _are_trees(start, feature, right):
        raise ValueError("nodes on the left of a split do not end where those on the right begin")
    return chosen


@njit()
def _are_trees(
    start: np.ndarray, feature: np.ndarray, right: np.ndarray
) -> bool:  # pragma: no cover - compiled
    """Whether each node is the child of one other, but for the first of each tree."""
    # Where the nodes below each one end.
    end = np.arange(1, feature.size + 1)
    for t in range(start.size - 1):
        for i in range(start[t + 1] - 1, start[t] - 1, -1):
            if feature[i] >= 0:
                if end[i + 1] != right[i]:
                    return False
                end[i] = end[right[i]]
        if end[start[t]] != start[t + 1]:
            return False
    return True


@njit()
def _number_leaves(
    start: np.ndarray, feature: np.ndarray, right: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover - compiled
    """Number of leaves of its tree before each node, and node of each leaf behind the start of its tree."""
    before = np.zeros(feature.size, np.int32)
    leaves = np.zeros(feature.size, np.int32)
    for t in range(start.size - 1):
        n = 0
        for i in range(start[t], start[t + 1]):
            before[i] = n
            if feature[i] < 0:
                leaves[start[t] + n] = i
                n += 1
    return before, leaves


@njit()
def _add_scores(
    x: np.ndarray,
    start: np.ndarray,
    which: np.ndarray,
    feature: np.ndarray,
    value: np.ndarray,
    right: np.ndarray,
    before: np.ndarray,
    leaves: np.ndarray,
    scores: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Add what all trees say; a block of rows goes through each tree node by node.

    Each row has a flag for every leaf.  A split at which it goes right clears those of the leaves on the
    left, whether or not it comes by there; the first leaf that is left is its own (Lucchese et al. 2015,
    SIGIR, QuickScorer).  No step waits for another, so that the processor does several rows at a time.  Each
    feature has two columns, with infinity and with its negative in place of NaN, so that NaN needs no branch.
    """
    n, n_features = x.shape
    every = np.uint32(0xFFFFFFFF)
    columns = np.empty((2 * n_features, _BLOCK), np.float32)
    most = 0
    for t in range(start.size - 1):
        most = max(most, start[t + 1] - start[t])
    # A tree has one leaf more than it has splits.
    flags = np.empty(((most + 1) // 2 // _WORD + 1, _BLOCK), np.uint32)
    for low in range(0, n, _BLOCK):
        m = min(_BLOCK, n - low)
        for r in range(m):
            for j in range(n_features):
                v = x[low + r, j]
                missing = np.isnan(v)
                columns[j, r] = np.float32(np.inf) if missing else v
                columns[n_features + j, r] = np.float32(-np.inf) if missing else v
        for t in range(start.size - 1):
            flags[: (start[t + 1] - start[t] + 1) // 2 // _WORD + 1] = every
            for i in range(start[t], start[t + 1]):
                if right[i] == i:
                    continue
                column, threshold = columns[feature[i]], value[i]
                # Leaves from the first to before the last are on the left.
                first, last = before[i + 1], before[right[i]]
                for w in range(first // _WORD, (last - 1) // _WORD + 1):
                    a, b = max(first - w * _WORD, 0), min(last - w * _WORD, _WORD)
                    cleared = ((np.uint64(1) << np.uint64(b - a)) - np.uint64(1)) << np.uint64(a)
                    kept, word = np.uint32(~cleared), flags[w]
                    for r in range(m):
                        word[r] &= every if column[r] <= threshold else kept
            k = which[t]
            for r in range(m):
                w = 0
                while flags[w, r] == 0:
                    w += 1
                scores[low + r, k] += value[leaves[start[t] + w * _WORD + _lowest_bit(flags[w, r])]]


@njit()
def _lowest_bit(word: int) -> int:  # pragma: no cover - compiled
    """Place of the lowest bit of a number of 32 bits that is not zero."""
    lowest = word & (~word + np.uint32(1))
    place = 0
    if lowest & np.uint32(0xFFFF0000):
        place += 16
    if lowest & np.uint32(0xFF00FF00):
        place += 8
    if lowest & np.uint32(0xF0F0F0F0):
        place += 4
    if lowest & np.uint32(0xCCCCCCCC):
        place += 2
    if lowest & np.uint32(0xAAAAAAAA):
        place += 1
    return place


def raw_scores(arrays: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Scores, float64 (n, 5), that `nested_probabilities` takes, from features (n, features).

    Missing features are NaN; `ValueError` if there are not as many as in training.
    """
    x = np.ascontiguousarray(x, dtype=np.float32)
    n_features = int(arrays["n_features"][0])
    if x.ndim != 2 or x.shape[1] != n_features:
        raise ValueError(f"features have shape {x.shape}; {n_features} were trained on")
    scores = np.tile(np.asarray(arrays["baseline"], dtype=np.float64), (x.shape[0], 1))
    feature = arrays["node_feature"].astype(np.int32)
    start, index = arrays["tree_start"].astype(np.int32), np.arange(feature.size, dtype=np.int32)
    leaf = feature < 0
    right = index + np.where(leaf, 0, arrays["node_right"]).astype(np.int32)
    value = np.asarray(arrays["node_value"], dtype=np.float32)
    with np.errstate(over="ignore"):
        raised = value + _TOLERANCE * np.abs(value)
    # The largest threshold divides numbers from NaN, which is infinity here.
    value = np.where(leaf, value, np.minimum(raised, np.finfo(np.float32).max))
    if x.size and feature.size:
        _add_scores(
            x,
            start,
            arrays["tree_score"].astype(np.int64),
            np.where(leaf, 0, feature + n_features * (arrays["node_missing_left"] != 0)).astype(np.int32),
            value,
            right,
            *_number_leaves(start, feature, right),
            scores,
        )
    return scores


def nested_probabilities(scores: np.ndarray, class_factors: np.ndarray | None = None) -> np.ndarray:
    """P(N), float64 (n, 5), from scores (n, 5) and, if given, factors (5,) on the odds of the classes."""
    with np.errstate(over="ignore"):
        blended, empty = (1.0 / (1.0 + np.exp(-scores[:, k])) for k in (BLENDED, EMPTY))
    several = scores[:, SEVERAL:]
    odds = np.exp(several - several.max(axis=1, keepdims=True, initial=-np.inf))
    several = odds / odds.sum(axis=1, keepdims=True)
    single = 1.0 - blended
    p = np.column_stack([single * empty, single * (1.0 - empty), blended[:, None] * several])
    if class_factors is None or np.all(class_factors == 1.0):
        return p
    p = p * class_factors
    return p / p.sum(axis=1, keepdims=True)


def predict_trees(arrays: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """P(N), float64 (n, 5), of features (n, features) by trees that `fit_trees` or `validate_trees` gave."""
    return nested_probabilities(raw_scores(arrays, x), arrays["class_factors"])

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Gradient-boosted trees as plain arrays.

scikit-learn's histogram gradient boosting fits them (Friedman 2001, Annals of Statistics 29, 1189; Ke et
al. 2017, NeurIPS 30, LightGBM).  What is kept are the nodes of all trees, one after the other, each with
nine bytes; prediction needs nothing else, and reading a model runs none of its content.

The number of galaxies is told in three steps, each with trees of its own: whether a footprint is blended,
whether one that is not is empty, and how many galaxies are in one that is.  The first is what matters most
and has one tree for each iteration, where a model of five classes would have five.
"""

from __future__ import annotations

__all__ = (
    "N_SCORES",
    "TREE_ARRAYS",
    "TreeSettings",
    "average_trees",
    "fit_binary_trees",
    "fit_trees",
    "nested_probabilities",
    "predict_binary",
    "predict_trees",
    "raw_scores",
    "tune_trees",
    "validate_trees",
)

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..labels import N_CLASSES
from ..model_settings import ModelSettings, setting
from ._logistic_fits import fit_line
from ._tree_scores import (
    BLENDED,
    EMPTY,
    N_SCORES,
    NEVER,
    NODE_COLUMNS,
    SEVERAL,
    TREE_ARRAYS,
    nested_probabilities,
    predict_trees,
    raw_scores,
    validate_trees,
)

_BITS = 12
"""Binary digits that features are rounded to before trees are fitted: sixteen times as fine as the bins."""


@dataclass(frozen=True, kw_only=True)
class TreeSettings(ModelSettings):
    """Settings of the fit."""

    n_trees: int = setting(400, "Trees for each score, at most.", at_least=1)
    n_leaves: int = setting(31, "Leaves of a tree, at most.", at_least=2, at_most=1000)
    max_depth: int = setting(8, "Depth of a tree, at most.", at_least=1)
    min_samples: int = setting(60, "Footprints, or objects, in a leaf, at least.", at_least=1)
    learning_rate: float = setting(0.05, "Factor on what each tree adds.", more_than=0.0, at_most=1.0)
    regularization: float = setting(10.0, "L2 penalty on the values of leaves.", at_least=0.0)
    feature_share: float = setting(
        0.3, "Share of the features that each split may look at.", more_than=0.0, at_most=1.0
    )
    patience: int = setting(
        30,
        "Trees without a better loss of the validation data after which no more are made; 0 for all.",
        at_least=0,
    )


type _Trees = list[tuple[int, np.ndarray]]
"""Score that a tree adds to, and its nodes as scikit-learn has them."""


def _rounded(x: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Round features, so that what differs in last bits alone is one number.

    To the trees such numbers would be different, and a feature may be divided between them.  In each column,
    what is small beside the median of those in ``like`` is rounded as that is.
    """
    rounded = np.empty_like(x)
    for j in range(x.shape[1]):
        size = np.abs(like[:, j], dtype=np.float64)
        size = size[size > 0.0]
        least = np.ldexp(np.median(size), -_BITS) if size.size else 0.0
        column = x[:, j].astype(np.float64)
        _, exponent = np.frexp(np.maximum(np.abs(column), least))
        step = np.ldexp(1.0, exponent - _BITS)
        rounded[:, j] = np.round(column / step) * step
    return rounded


def _divide_between(trees: _Trees, x: np.ndarray, rounded: np.ndarray) -> _Trees:
    """Move thresholds of trees of rounded features to the middle between the features that they divide."""
    if not trees:
        return trees
    nodes = np.concatenate([nodes for _, nodes in trees])
    split = np.flatnonzero(~nodes["is_leaf"].astype(bool))
    split = split[np.argsort(nodes["feature_idx"][split], kind="stable")]
    edges = np.searchsorted(nodes["feature_idx"][split], np.arange(x.shape[1] + 1))
    for j in np.flatnonzero(np.diff(edges)):
        chosen = split[edges[j] : edges[j + 1]]
        known = ~np.isnan(x[:, j])
        # Rounding keeps the order.
        value, coarse = np.sort(x[known, j]).astype(np.float64), np.sort(rounded[known, j])
        above = np.searchsorted(coarse.astype(np.float64), nodes["num_threshold"][chosen], side="right")
        # A threshold above all of them divides them from NaN.
        inside = (above > 0) & (above < len(value))
        chosen, above = chosen[inside], above[inside]
        nodes["num_threshold"][chosen] = 0.5 * (value[above - 1] + value[above])
    ends = np.cumsum([len(one) for _, one in trees])
    return [(score, part) for (score, _), part in zip(trees, np.split(nodes, ends[:-1]), strict=True)]


def _flatten(trees: _Trees) -> dict[str, np.ndarray]:
    """Arrays of nodes and trees."""
    columns: dict[str, list[np.ndarray]] = {name: [] for name in NODE_COLUMNS}
    starts = [0]
    for _, nodes in trees:
        leaf = nodes["is_leaf"].astype(bool)
        index = np.arange(len(nodes))
        if np.any(nodes["left"][~leaf] != index[~leaf] + 1) or np.any(nodes["is_categorical"]):
            raise ValueError("the nodes of this version of scikit-learn are in another order")
        # Inputs are float32: rounding a threshold down to float32 changes no comparison.
        threshold = nodes["num_threshold"].astype(np.float32)
        above = threshold.astype(np.float64) > nodes["num_threshold"]
        threshold[above] = np.nextafter(threshold[above], np.float32(-np.inf))
        # Infinity divides numbers from NaN, which is put at infinity in prediction.
        threshold = np.minimum(threshold, np.finfo(np.float32).max)
        columns["node_feature"].append(np.where(leaf, -1, nodes["feature_idx"]).astype(np.int16))
        columns["node_value"].append(np.where(leaf, nodes["value"].astype(np.float32), threshold))
        columns["node_right"].append(np.where(leaf, 0, nodes["right"].astype(int) - index).astype(np.uint16))
        columns["node_missing_left"].append(np.where(leaf, 0, nodes["missing_go_to_left"]).astype(np.uint8))
        starts.append(starts[-1] + len(nodes))
    dtypes = (np.int16, np.float32, np.uint16, np.uint8)
    return {
        "tree_start": np.array(starts, dtype=np.int64),
        "tree_score": np.array([score for score, _ in trees], dtype=np.uint8),
        **{
            name: np.concatenate([np.zeros(0, dtype), *columns[name]]).astype(dtype)
            for name, dtype in zip(NODE_COLUMNS, dtypes, strict=True)
        },
    }


@dataclass
class _Part:
    """Data of one of the three steps, and what its fit is told by."""

    name: str
    x: np.ndarray
    labels: np.ndarray
    weights: np.ndarray | None
    held_out: tuple[np.ndarray, np.ndarray] | None


def _fit_part(
    part: _Part,
    settings: TreeSettings,
    seed: int,
    history: dict[str, list[float]],
    say: Callable[[str], None],
) -> tuple[list[Any], np.ndarray, np.ndarray]:
    """Trees of each iteration, labels that there are, and their scores before any tree."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    held_out = part.held_out
    if held_out is not None:
        # A label that training never saw has no score to be wrong by.
        known = np.isin(held_out[1], np.unique(part.labels))
        held_out = (held_out[0][known], held_out[1][known])
        if settings.patience == 0 or len(np.unique(held_out[1])) < 2:
            held_out = None
    model = HistGradientBoostingClassifier(
        learning_rate=settings.learning_rate,
        max_iter=settings.n_trees,
        max_leaf_nodes=settings.n_leaves,
        max_depth=settings.max_depth,
        min_samples_leaf=settings.min_samples,
        l2_regularization=settings.regularization,
        max_features=settings.feature_share,
        early_stopping=held_out is not None,
        scoring="loss",
        n_iter_no_change=max(settings.patience, 1),
        tol=0.0,
        random_state=seed,
    )
    more: dict[str, Any] = {} if held_out is None else {"X_val": held_out[0], "y_val": held_out[1]}
    # One thread: sums are then made in one order, and the trees are the same every time.
    with threadpool_limits(limits=1):
        model.fit(part.x, part.labels, sample_weight=part.weights, **more)
    steps: list[Any] = model._predictors
    if held_out is not None:
        losses = -np.asarray(model.validation_score_)
        # Trees after the best iteration did not help; the first loss is the one without trees.
        steps = steps[: int(np.argmin(losses))]
        history[f"{part.name}_loss"] = [float(-v) for v in model.train_score_]
        history[f"{part.name}_validation_loss"] = [float(v) for v in losses]
        say(f"{part.name}: {len(steps)} iterations, validation loss {losses.min():.5f}")
    else:
        say(f"{part.name}: {len(steps)} iterations")
    return steps, model.classes_.astype(int), np.asarray(model._baseline_prediction, dtype=np.float64).ravel()


def _check_rows(x: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = np.ascontiguousarray(x, dtype=np.float32)
    classes = np.minimum(np.asarray(classes), N_CLASSES - 1).astype(np.int64)
    if x.ndim != 2 or classes.shape != x.shape[:1]:
        raise ValueError(f"{np.size(classes)} labels do not fit features of shape {x.shape}")
    if np.isinf(x).any():
        raise ValueError("some features are infinite")
    return x, classes


def fit_trees(
    x: np.ndarray,
    classes: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    settings: TreeSettings | None = None,
    number_settings: TreeSettings | None = None,
    seed: int = 1,
    history: dict[str, list[float]] | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> dict[str, np.ndarray]:
    """Fit boosted trees.

    Parameters
    ----------
    x : `numpy.ndarray`, shape (n, features), float32
        Features; NaN for missing ones.
    classes : `numpy.ndarray`, shape (n,), int
        Numbers of galaxies; 4 and more are one class.
    weights : `numpy.ndarray`, shape (n,), optional
        Weights.
    validation
        Features and numbers of galaxies of other footprints, for early stopping.
    settings
        Settings; the default ones if `None`.
    number_settings
        Settings of the trees that tell the numbers apart among the blended and among the others; as
        ``settings`` if `None`.
    seed
        Seed of what is random.
    history
        Gets the loss of each iteration by name, if there are validation data.
    say
        Called with a line on each part of the fit.

    Returns
    -------
    arrays : `dict` [`str`, `numpy.ndarray`]
        The trees, as in `TREE_ARRAYS`.

    Raises
    ------
    ValueError
        Raised if shapes do not fit, features are infinite, or all or none of the footprints are blended.
    """
    settings = TreeSettings() if settings is None else settings
    number_settings = settings if number_settings is None else number_settings
    history = {} if history is None else history
    x, classes = _check_rows(x, classes)
    # scikit-learn cannot make bins of nothing; a column of zeros is split nowhere either.
    x = np.where(np.isnan(x).all(axis=0), np.float32(0.0), x)
    blended = classes > 1
    if blended.all() or not blended.any():
        raise ValueError("all or none of the footprints are blended; both kinds are needed")
    given, x = x, _rounded(x, x)
    held_out = None if validation is None else _check_rows(*validation)
    if held_out is not None:
        held_out = _rounded(held_out[0], given), held_out[1]
    trees: _Trees = []
    baseline = np.zeros(N_SCORES)

    def select(name: str, keep: Callable[[np.ndarray], np.ndarray]) -> _Part:
        rows = keep(classes)
        other = None
        if held_out is not None:
            held_rows = keep(held_out[1])
            other = (held_out[0][held_rows], held_out[1][held_rows])
        return _Part(name, x[rows], classes[rows], None if weights is None else weights[rows], other)

    # Of labels 0 and 1 scikit-learn has the logit of the second.
    for name, score, keep, positive in (
        ("blended", BLENDED, np.ones_like, lambda n: n > 1),
        ("empty", EMPTY, lambda n: n < 2, lambda n: n == 0),
    ):
        part = select(name, lambda n, keep=keep: keep(n).astype(bool))  # type: ignore[misc]
        part.labels = positive(part.labels).astype(int)
        if part.held_out is not None:
            part.held_out = part.held_out[0], positive(part.held_out[1]).astype(int)
        if len(np.unique(part.labels)) < 2:
            baseline[score] = NEVER if part.labels[0] else -NEVER
            continue
        steps, _, start = _fit_part(
            part, settings if score == BLENDED else number_settings, seed, history, say
        )
        baseline[score] = start[0]
        trees += [(score, step[0].nodes) for step in steps]
    part = select("several", lambda n: n > 1)
    scores = np.full(N_CLASSES - 2, -NEVER)
    if len(np.unique(part.labels)) < 2:
        scores[part.labels[0] - 2] = 0.0
    else:
        steps, labels, start = _fit_part(part, number_settings, seed, history, say)
        # With two labels the one score is that of the second against the first.
        scores[labels - 2] = start if len(labels) > 2 else [0.0, start[0]]
        of = labels if len(labels) > 2 else labels[1:]
        trees += [(SEVERAL + of[k] - 2, tree.nodes) for step in steps for k, tree in enumerate(step)]
    baseline[SEVERAL:] = scores
    return _flatten(_divide_between(trees, given, x)) | {
        "baseline": baseline,
        "class_factors": np.ones(N_CLASSES),
        "n_features": np.array([x.shape[1]], dtype=np.int64),
    }


def fit_binary_trees(x: np.ndarray, labels: np.ndarray, **options: Any) -> dict[str, np.ndarray]:
    """Fit boosted trees that tell true from false, ``labels`` (n,), with the options of `fit_trees`.

    They are trees of numbers of galaxies, of which only none and two occur; ``validation`` has labels of
    the same kind.
    """
    if options.get("validation") is not None:
        held_x, held_labels = options["validation"]
        options["validation"] = held_x, np.where(held_labels, 2, 0)
    return fit_trees(x, np.where(labels, 2, 0), **options)


def predict_binary(arrays: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Logits of being true, float64 (n,), by trees of `fit_binary_trees`."""
    return raw_scores(arrays, x)[:, BLENDED]


def average_trees(members: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Trees that give the mean scores of several models with the same features."""
    if len(members) == 1:
        return members[0]
    factor = np.float32(1.0 / len(members))
    joined = {
        name: np.concatenate([member[name] for member in members]) for name in ("tree_score", *NODE_COLUMNS)
    }
    leaf = joined["node_feature"] < 0
    joined["node_value"] = np.where(leaf, joined["node_value"] * factor, joined["node_value"])
    sizes = np.cumsum([0] + [member["node_feature"].size for member in members])
    starts = [member["tree_start"][:-1] + size for member, size in zip(members, sizes[:-1], strict=True)]
    joined["tree_start"] = np.concatenate([*starts, sizes[-1:]]).astype(np.int64)
    joined["baseline"] = np.mean([member["baseline"] for member in members], axis=0)
    return members[0] | joined


def _fold_factors(arrays: dict[str, np.ndarray], x: np.ndarray) -> dict[str, np.ndarray]:
    """Move factors on the odds of classes into the baseline, so that tuning starts from their probabilities.

    What they do to the logit of being blended differs a little from footprint to footprint; this takes
    the mean.
    """
    factors = arrays["class_factors"]
    if np.all(factors == 1.0):
        return arrays
    scores = raw_scores(arrays, x)
    blended = np.clip(nested_probabilities(scores, factors)[:, 2:].sum(axis=1), 1e-12, 1.0 - 1e-12)
    baseline = np.array(arrays["baseline"], dtype=np.float64)
    baseline[BLENDED] += np.mean(np.log(blended / (1.0 - blended)) - scores[:, BLENDED])
    baseline[EMPTY] += np.log(factors[0] / factors[1])
    baseline[SEVERAL:] += np.log(factors[2:])
    return arrays | {"baseline": baseline, "class_factors": np.ones_like(factors)}


def tune_trees(
    arrays: dict[str, np.ndarray],
    x: np.ndarray,
    classes: np.ndarray,
    *,
    weights: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Move the scores of trees to other footprints, of features (n, features) and numbers of galaxies (n,).

    The logit of being blended gets a slope and a shift, that of being empty a shift; how many galaxies are
    in a blend stays.  Priors keep both near 1 and 0, so that a handful of labels does no harm.  Gives trees
    with other leaves and another baseline, without factors on the odds of classes.
    """
    arrays = _fold_factors(arrays, x)
    scores = raw_scores(arrays, x)
    classes = np.minimum(classes, N_CLASSES - 1)
    weights = np.ones(classes.size) if weights is None else np.asarray(weights, dtype=np.float64)
    slope, shift = fit_line(scores[:, BLENDED], (classes > 1).astype(float), weights, with_slope=True)
    rest = classes < 2
    _, shift_empty = fit_line(
        scores[rest, EMPTY], (classes[rest] == 0).astype(float), weights[rest], with_slope=False
    )
    baseline = np.array(arrays["baseline"], dtype=np.float64)
    baseline[BLENDED] = slope * baseline[BLENDED] + shift
    baseline[EMPTY] += shift_empty
    score = np.repeat(arrays["tree_score"], np.diff(arrays["tree_start"]))
    chosen = (arrays["node_feature"] < 0) & (score == BLENDED)
    value = np.array(arrays["node_value"], dtype=np.float32)
    value[chosen] *= np.float32(slope)
    return arrays | {"node_value": value, "baseline": baseline}

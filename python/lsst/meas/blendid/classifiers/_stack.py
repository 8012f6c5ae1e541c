# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Stacking: one set of probabilities from those of several classifiers and what they saw.

Two stackers learn from footprints that the members did not learn from: boosted trees give P(N >= 2)
from features, descriptions and the members' logits, a multinomial logistic regression gives P(N) from the
members' logits and a few facts.  A small logistic regression joins the two and the members' logits, with
a slope that depends on seeing, depth and what else images differ in: it is the calibration of images of
each kind.  It is fitted to predictions out of fold, with folds of whole images (Wolpert 1992; van der
Laan, Polley & Hubbard 2007), and so is the calibration after it.
"""

from __future__ import annotations

__all__ = (
    "StackSettings",
    "deal_folds",
    "fit_stack",
    "predict_stack",
    "validate_stack",
)

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from .._arrays import check_array
from ..calibration import replace_blended
from ..labels import N_CLASSES
from ._multinomial import fit_regression, softmax, spread_classes, standardize, usable_scale
from ._stack_inputs import MAX_LOGIT, StackInputs, logit
from ._tree_scores import BLENDED
from .trees import TREE_ARRAYS, TreeSettings, average_trees, fit_trees, raw_scores, validate_trees
from .weighting import prior_correction

_TREES = "trees_"
"""Prefix of the names of the trees' arrays."""


@dataclass(frozen=True)
class StackSettings:
    """Settings of the stackers.

    Parameters
    ----------
    folds
        Number of folds; the trees of all of them are kept, and their logits averaged.
    trees
        Settings of the trees.
    regularization
        Inverse strength of the L2 penalty of the logistic regressions, on standardised inputs.
    """

    folds: int = 5
    trees: TreeSettings = TreeSettings(least_samples=80, regularization=10.0)
    regularization: float = 1.0


def _fit_regression(
    inputs: np.ndarray, counts: np.ndarray, settings: StackSettings, weights: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Multinomial logistic regression on standardised columns."""
    center, scale = standardize(inputs)
    classes = np.minimum(counts, N_CLASSES - 1)
    regression = fit_regression((inputs - center) / scale, classes, settings.regularization, weights)
    slopes, intercepts = spread_classes(regression.classes_, regression.coef_, regression.intercept_)
    return {"center": center, "scale": scale, "slopes": slopes, "intercepts": intercepts}


def _predict_regression(arrays: dict[str, np.ndarray], inputs: np.ndarray) -> np.ndarray:
    """P(N) of shape (n, 5)."""
    return softmax(((inputs - arrays["center"]) / arrays["scale"]) @ arrays["slopes"] + arrays["intercepts"])


def _check_regression(arrays: dict[str, np.ndarray], n_inputs: int) -> dict[str, np.ndarray]:
    shapes = {
        "center": (n_inputs,),
        "scale": (n_inputs,),
        "slopes": (n_inputs, N_CLASSES),
        "intercepts": (N_CLASSES,),
    }
    for name, shape in shapes.items():
        check_array(name, arrays[name], shape, positive=name == "scale")
    return {name: arrays[name] for name in shapes}


def _tree_logit(arrays: dict[str, np.ndarray], inputs: np.ndarray) -> np.ndarray:
    """Logit of P(N >= 2)."""
    return np.clip(raw_scores(arrays, inputs)[:, BLENDED], -MAX_LOGIT, MAX_LOGIT)


def _scale_conditions(conditions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale of columns, of what is known."""
    known = np.isfinite(conditions)
    n = np.maximum(known.sum(axis=0), 1)
    center = np.where(known, conditions, 0.0).sum(axis=0) / n
    scale = np.sqrt(np.where(known, (conditions - center) ** 2, 0.0).sum(axis=0) / n)
    return center, usable_scale(center, scale)


def _join_terms(
    logits: np.ndarray, own: np.ndarray, conditions: np.ndarray, center: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """Terms that the joined logit is linear in: logits, conditions, and slopes that depend on conditions."""
    # What is not known is as usual, and what is beyond all training as its edge.
    q = np.clip(np.nan_to_num((conditions - center) / scale), -3.0, 3.0)
    bends = [q[:, [i]] * q[:, [j]] for i, j in ((0, 0), (0, 1), (1, 1)) if j < q.shape[1]]
    terms = np.hstack([q, *bends])
    return np.hstack([logits, own, terms, logits.mean(axis=1, keepdims=True) * terms])


def deal_folds(scenes: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Deal images out to folds.

    Parameters
    ----------
    scenes : `numpy.ndarray`, shape (n,), int
        Image, or piece of sky, of each footprint.
    folds
        Number of folds.
    seed
        Seed.

    Returns
    -------
    fold : `numpy.ndarray`, shape (n,), int
        Fold of each footprint, the same for all of an image.

    Raises
    ------
    ValueError
        Raised if there are fewer images than folds.
    """
    names, index = np.unique(scenes, return_inverse=True)
    if len(names) < folds:
        raise ValueError(
            f"{len(names)} images cannot be dealt out to {folds} folds; "
            "give more images or set nFolds to fewer"
        )
    return np.random.default_rng(seed).permutation(len(names))[index] % folds


def fit_stack(
    inputs: StackInputs,
    counts: np.ndarray,
    scenes: np.ndarray,
    *,
    settings: StackSettings | None = None,
    weights: np.ndarray | None = None,
    natural: np.ndarray | None = None,
    seed: int = 1,
    say: Callable[[str], None] | None = None,
) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, list[float]]]:
    """Fit both stackers and what joins them.

    Parameters
    ----------
    inputs
        What the stackers see of the n footprints; all rows usable.
    counts : `numpy.ndarray`, shape (n,)
        Numbers of galaxies.
    scenes : `numpy.ndarray`, shape (n,), int
        Image of each footprint.
    settings
        Settings; the default ones if `None`.
    weights : `numpy.ndarray`, shape (n,), optional
        Weights.
    natural : `numpy.ndarray`, shape (n,), bool, optional
        Footprints that probabilities are to refer to: what joins the stackers is fitted to these.
    seed
        Seed of the folds and the trees.
    say
        Called with a line for each step.

    Returns
    -------
    arrays
        What was learned.
    blended : `numpy.ndarray`, shape (n,)
        P(N >= 2) out of fold.
    history
        Validation losses of the trees by fold.

    Raises
    ------
    ValueError
        Raised if there are fewer images than folds, or a fold or ``natural`` lacks one kind.
    """
    from threadpoolctl import threadpool_limits

    settings = StackSettings() if settings is None else settings
    say = (lambda _line: None) if say is None else say
    fold = deal_folds(scenes, settings.folds, seed)
    blended = counts > 1
    chosen = np.ones(len(inputs), dtype=bool) if natural is None else natural
    if len(np.unique(blended[chosen])) < 2:
        raise ValueError(
            "the footprints that probabilities are to refer to are not of both kinds, blended and unblended; "
            "give more of them"
        )
    of_trees, of_regression = inputs.of_trees, inputs.of_regression
    forests: list[dict[str, np.ndarray]] = []
    history: dict[str, list[float]] = {}
    logits = np.zeros((len(inputs), 2))
    with threadpool_limits(limits=1):
        for k in range(settings.folds):
            learn, hold = fold != k, fold == k
            curves: dict[str, list[float]] = {}
            trees = fit_trees(
                of_trees[learn],
                np.where(blended[learn], 2, 1),
                weights=None if weights is None else weights[learn],
                validation=(of_trees[hold], np.where(blended[hold], 2, 1)),
                settings=settings.trees,
                seed=seed + k,
                history=curves,
            )
            history[f"validation_loss_{k}"] = curves.get("blended_validation_loss", [])
            forests.append(trees)
            logits[hold, 0] = _tree_logit(trees, of_trees[hold])
            regression = _fit_regression(
                of_regression[learn], counts[learn], settings, None if weights is None else weights[learn]
            )
            p_n = _predict_regression(regression, of_regression[hold])
            logits[hold, 1] = logit(p_n[:, 2:].sum(axis=1))
            say(f"fold {k + 1} of {settings.folds}: " + _losses(logits[hold], blended[hold]))
        arrays = _fit_regression(of_regression, counts, settings, weights)
        arrays["intercepts"] = arrays["intercepts"] + np.log(prior_correction(counts, weights))
        arrays["condition_center"], arrays["condition_scale"] = _scale_conditions(inputs.conditions)
        joined = _join_terms(
            logits, inputs.own, inputs.conditions, arrays["condition_center"], arrays["condition_scale"]
        )
        center, scale = standardize(joined)
        # Without weights: the probabilities refer to the natural shares.
        regression = fit_regression(
            ((joined - center) / scale)[chosen], blended[chosen], settings.regularization
        )
    slopes = regression.coef_[0] / scale
    arrays |= {_TREES + name: array for name, array in average_trees(forests).items()}
    arrays["join"] = np.append(slopes, regression.intercept_[0] - slopes @ center)
    out = expit(joined @ arrays["join"][:-1] + arrays["join"][-1])
    parts = ", ".join(f"{slope:.2f}" for slope in slopes[: 2 + len(inputs.first)])
    say(f"joined with weights {parts}: " + _losses(logit(out)[chosen, None], blended[chosen]))
    return arrays, out, history


def _losses(logits: np.ndarray, blended: np.ndarray) -> str:
    """Cross-entropies of columns of logits, as text."""
    sign = np.where(blended, -1.0, 1.0)[:, None]
    return " / ".join(f"{loss:.5f}" for loss in np.logaddexp(0.0, sign * logits).mean(axis=0))


def predict_stack(arrays: dict[str, np.ndarray], inputs: StackInputs) -> np.ndarray:
    """Give joined probabilities.

    Parameters
    ----------
    arrays
        What `fit_stack` learned.
    inputs
        What the stackers see of n footprints.

    Returns
    -------
    probabilities : `numpy.ndarray`, shape (n, 5)
        P(N); NaN in rows that are not usable.
    """
    of_both = inputs.of_regression.shape[1], inputs.of_trees.shape[1], inputs.conditions.shape[1]
    trained = (
        arrays["center"].size,
        int(arrays[_TREES + "n_features"][0]),
        arrays["condition_center"].size,
    )
    if of_both != trained:
        raise ValueError(f"the members give {of_both} inputs, the stackers were trained with {trained}")
    p_n = np.full((len(inputs), N_CLASSES), np.nan)
    usable = inputs.usable
    chosen = inputs.rows(usable)
    if not len(chosen):
        return p_n
    trees = _tree_logit({name: arrays[_TREES + name] for name in TREE_ARRAYS}, chosen.of_trees)
    regression = _predict_regression(arrays, chosen.of_regression)
    linear = logit(regression[:, 2:].sum(axis=1))
    joined = _join_terms(
        np.column_stack([trees, linear]),
        chosen.own,
        chosen.conditions,
        arrays["condition_center"],
        arrays["condition_scale"],
    )
    blended = expit(joined @ arrays["join"][:-1] + arrays["join"][-1])
    p_n[usable] = replace_blended(regression, blended)
    return p_n


def validate_stack(
    arrays: dict[str, np.ndarray], *, n_members: int, n_conditions: int
) -> dict[str, np.ndarray]:
    """Check arrays that were read.

    Parameters
    ----------
    arrays
        Arrays of a package; others are left out.
    n_members, n_conditions
        Number of members, and of what calibration may depend on.

    Returns
    -------
    arrays
        Those of the stack.

    Raises
    ------
    KeyError
        Raised if one is missing.
    ValueError
        Raised if shapes or numbers make no sense.
    """
    checked = _check_regression(arrays, arrays["center"].size)
    nothing = np.zeros((1, n_conditions))
    n_terms = _join_terms(
        nothing[:, [0, 0]],
        nothing[:, [0] * n_members],
        nothing,
        np.zeros(n_conditions),
        np.ones(n_conditions),
    ).shape[1]
    for name, size in (
        ("condition_center", n_conditions),
        ("condition_scale", n_conditions),
        ("join", n_terms + 1),
    ):
        check_array(name, arrays[name], (size,), positive=name == "condition_scale")
        checked[name] = arrays[name]
    trees = validate_trees({name: arrays[_TREES + name] for name in TREE_ARRAYS})
    return checked | {_TREES + name: array for name, array in trees.items()}

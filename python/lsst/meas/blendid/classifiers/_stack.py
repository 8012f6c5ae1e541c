# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Stacking: one set of probabilities from those of several classifiers and what they saw.

Two stackers learn from footprints that the members did not learn from: boosted trees give P(N) from
features, descriptions and the members' logits, a multinomial logistic regression from the members' logits and
a few facts.  Small logistic regressions join the two, one for each question: is N at least 2 (where the
members' logits join in, too), is N 0 or 1 if it is not, and is N 2, 3 or more if it is.  Their slopes
depend on seeing, depth and what else images differ in: they are the calibration of images of each kind.  They
are fitted to predictions out of fold, with folds of whole images (Wolpert 1992; van der Laan, Polley &
Hubbard 2007), and so is the calibration after them.
"""

from __future__ import annotations

__all__ = (
    "MAX_LOGIT",
    "StackInputs",
    "StackSettings",
    "deal_folds",
    "fit_stack",
    "logit",
    "member_columns",
    "predict_stack",
    "validate_stack",
)

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, softmax

from .._arrays import check_array
from ..labels import N_CLASSES
from ..model_settings import ModelSettings, setting
from ._logistic_fits import fit_forms, standardize, usable_scale
from ._tree_scores import BLENDED, EMPTY, SEVERAL
from .fitting import prior_correction
from .trees import TREE_ARRAYS, TreeSettings, average_trees, fit_trees, raw_scores, validate_trees

MAX_LOGIT = 12.0
"""Logits are clipped to this: more certainty is of no use, and exact 0 and 1 have none."""


@dataclass(frozen=True)
class StackInputs:
    """What the stackers see of n footprints.

    Parameters
    ----------
    members : `numpy.ndarray`, shape (n, k)
        `member_columns` of all members side by side; the first column of each is the logit of P(N >= 2).
    first : sequence of `int`
        Where the columns of each member begin.
    facts : `numpy.ndarray`, shape (n, l)
        Finite numbers for the logistic regression.
    columns : `numpy.ndarray`, shape (n, m)
        Numbers for the trees beside the members'; NaN where something is not known.
    conditions : `numpy.ndarray`, shape (n, q), float64
        What images differ in, such as seeing and depth; NaN where something is not known.
    """

    members: np.ndarray
    first: tuple[int, ...]
    facts: np.ndarray
    columns: np.ndarray
    conditions: np.ndarray

    def __len__(self) -> int:
        return len(self.members)

    @property
    def usable(self) -> np.ndarray:
        """Rows that every member has probabilities for, bool of shape (n,)."""
        return np.isfinite(self.members).all(axis=1) & np.isfinite(self.facts).all(axis=1)

    @property
    def blended_logits(self) -> np.ndarray:
        """Logit of P(N >= 2) of each member, shape (n, members)."""
        return self.members[:, list(self.first)]

    @property
    def of_trees(self) -> np.ndarray:
        """Inputs of the trees, float32 of shape (n, m + k)."""
        return np.hstack([self.columns, self.members]).astype(np.float32)

    @property
    def of_regression(self) -> np.ndarray:
        """Inputs of the logistic regression, float64 of shape (n, k + l)."""
        return np.hstack([self.members, self.facts]).astype(np.float64)

    def rows(self, chosen: np.ndarray) -> StackInputs:
        """Those rows that an index or a mask chooses."""
        return StackInputs(
            self.members[chosen],
            self.first,
            self.facts[chosen],
            self.columns[chosen],
            self.conditions[chosen],
        )


def logit(p: np.ndarray) -> np.ndarray:
    """Logits of probabilities, which rounding may have carried over the edge, clipped to `MAX_LOGIT`."""
    p = np.clip(p, 0.0, 1.0)
    with np.errstate(divide="ignore"):
        return np.clip(np.log(p) - np.log1p(-p), -MAX_LOGIT, MAX_LOGIT)


def member_columns(prediction: np.ndarray) -> np.ndarray:
    """Turn P(blended) (n,) or P(N) (n, 5) of a member into columns, (n, 1) or (n, 4).

    The logit of P(N >= 2); with P(N), also ln P(0)/P(1), ln P(3)/P(2) and ln P(>= 4)/P(2).  NaN where the
    member gives none.
    """
    if prediction.ndim == 1:
        return logit(prediction)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.clip(prediction, 1e-12, 1.0))
    ratios = logs[:, [0, 3, 4]] - logs[:, [1, 2, 2]]
    return np.column_stack([logit(prediction[:, 2:].sum(axis=1)), np.clip(ratios, -MAX_LOGIT, MAX_LOGIT)])


_TREES = "trees_"
"""Prefix of the names of the trees' arrays."""


@dataclass(frozen=True, kw_only=True)
class StackSettings(ModelSettings):
    """Settings of the stackers."""

    n_folds: int = setting(
        5,
        "Number of folds of images, or pieces of sky; the trees of all of them are kept, and their logits "
        "averaged.",
        at_least=2,
        at_most=20,
    )
    trees: TreeSettings = setting(TreeSettings(min_samples=80), "Settings of the trees.")
    regularization: float = setting(
        1.0,
        "Inverse strength of the L2 penalty of the logistic regressions, on standardised inputs.",
        more_than=0.0,
    )


def _fit_regression(
    inputs: np.ndarray, counts: np.ndarray, settings: StackSettings, weights: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Multinomial logistic regression on standardised columns."""
    center, scale = standardize(inputs)
    classes = np.minimum(counts, N_CLASSES - 1)
    slopes, intercepts = fit_forms((inputs - center) / scale, classes, settings.regularization, weights)
    return {"center": center, "scale": scale, "slopes": slopes, "intercepts": intercepts}


def _predict_regression(arrays: dict[str, np.ndarray], inputs: np.ndarray) -> np.ndarray:
    """P(N) of shape (n, 5)."""
    logits = ((inputs - arrays["center"]) / arrays["scale"]) @ arrays["slopes"] + arrays["intercepts"]
    return softmax(logits, axis=1)


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


def _bounded(logits: np.ndarray) -> np.ndarray:
    return np.clip(logits, -MAX_LOGIT, MAX_LOGIT)


def _questions(scores: np.ndarray, p_n: np.ndarray) -> dict[str, np.ndarray]:
    """Turn scores (n, 5) of the trees and P(N) (n, 5) of the regression into logits of the answers.

    By question: "blended" and "empty", (n, 2), of the trees and of the regression; "several", (n, 4), ln
    P(3)/P(2) and ln P(>= 4)/P(2) of the trees, then those of the regression.
    """
    log_p = np.log(np.maximum(p_n, 1e-12))
    several = scores[:, SEVERAL:]
    return {
        "blended": np.column_stack([_bounded(scores[:, BLENDED]), logit(p_n[:, 2:].sum(axis=1))]),
        "empty": _bounded(np.column_stack([scores[:, EMPTY], log_p[:, 0] - log_p[:, 1]])),
        "several": _bounded(np.hstack([several[:, 1:] - several[:, :1], log_p[:, 3:] - log_p[:, 2:3]])),
    }


def _scale_conditions(conditions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale of columns, of what is known."""
    known = np.isfinite(conditions)
    n = np.maximum(known.sum(axis=0), 1)
    center = np.where(known, conditions, 0.0).sum(axis=0) / n
    scale = np.sqrt(np.where(known, (conditions - center) ** 2, 0.0).sum(axis=0) / n)
    return center, usable_scale(center, scale)


def _condition_terms(conditions: np.ndarray, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Conditions and what bends with the first two, shape (n, terms)."""
    # What is not known is as usual, and what is beyond all training as its edge.
    q = np.clip(np.nan_to_num((conditions - center) / scale), -3.0, 3.0)
    bends = [q[:, [i]] * q[:, [j]] for i, j in ((0, 0), (0, 1), (1, 1)) if j < q.shape[1]]
    return np.hstack([q, *bends])


def _join_terms(logits: np.ndarray, of_members: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """What joined logits are linear in: logits, conditions, and slopes that depend on conditions.

    The slope of the mean of both stackers depends on them, for each answer that they have a logit of.
    """
    answers = logits.shape[1] // 2
    means = 0.5 * (logits[:, :answers] + logits[:, answers:])
    return np.hstack([logits, of_members, terms, *(means[:, [k]] * terms for k in range(answers))])


def _fit_join(joined: np.ndarray, answers: np.ndarray, n_answers: int, regularization: float) -> np.ndarray:
    """Logits of the answers as linear forms, shape (terms + 1, answers), the constant last.

    Without weights: the probabilities refer to the natural shares.
    """
    center, scale = standardize(joined)
    slopes, constants = fit_forms((joined - center) / scale, answers, regularization, n_classes=n_answers)
    slopes = slopes / scale[:, None]
    return np.vstack([slopes, constants - center @ slopes])


def _apply_join(form: np.ndarray, joined: np.ndarray) -> np.ndarray:
    """Probabilities of the answers, shape (n, answers)."""
    return softmax(joined @ form[:-1] + form[-1], axis=1)


def _join_all(
    forms: dict[str, np.ndarray], logits: dict[str, np.ndarray], of_members: np.ndarray, terms: np.ndarray
) -> np.ndarray:
    """P(N) of shape (n, 5) from all that is known of each question."""
    joined = _join_terms(logits["blended"], of_members, terms)
    at_least_two = joined @ forms["join"][:-1] + forms["join"][-1]
    p = expit(at_least_two)[:, None]
    known = _bounded(at_least_two)[:, None]
    empty = _apply_join(forms["join_empty"], _join_terms(logits["empty"], known, terms))
    several = _apply_join(forms["join_several"], _join_terms(logits["several"], known, terms))
    return np.hstack([(1.0 - p) * empty[:, ::-1], p * several])


def deal_folds(scenes: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Fold of each footprint, int (n,), the same for all of an image or piece of sky, ``scenes`` (n,).

    `ValueError` if there are fewer of them than folds.
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
        Raised if there are fewer images than folds, or a fold lacks one kind.
    """
    from threadpoolctl import threadpool_limits

    settings = StackSettings() if settings is None else settings
    say = (lambda _line: None) if say is None else say
    fold = deal_folds(scenes, settings.n_folds, seed)
    blended = counts > 1
    if len(np.unique(blended)) < 2:
        raise ValueError("the footprints are not of both kinds, blended and unblended; give more of them")
    of_trees, of_regression = inputs.of_trees, inputs.of_regression
    forests: list[dict[str, np.ndarray]] = []
    history: dict[str, list[float]] = {}
    scores, p_n = np.zeros((len(inputs), N_CLASSES)), np.zeros((len(inputs), N_CLASSES))
    with threadpool_limits(limits=1):
        for k in range(settings.n_folds):
            learn, hold = fold != k, fold == k
            curves: dict[str, list[float]] = {}
            trees = fit_trees(
                of_trees[learn],
                counts[learn],
                weights=None if weights is None else weights[learn],
                validation=(of_trees[hold], counts[hold]),
                settings=settings.trees,
                # Each step of the numbers makes four trees: fewer and larger steps, or they would take most
                # of the time of the fit and of a prediction.
                number_settings=dataclasses.replace(
                    settings.trees,
                    learning_rate=min(2.0 * settings.trees.learning_rate, 1.0),
                    n_trees=max(settings.trees.n_trees // 4, 1),
                    n_leaves=max(settings.trees.n_leaves // 2, 2),
                ),
                seed=seed + k,
                history=curves,
            )
            history[f"validation_loss_{k}"] = curves.get("blended_validation_loss", [])
            forests.append(trees)
            scores[hold] = raw_scores(trees, of_trees[hold])
            regression = _fit_regression(
                of_regression[learn], counts[learn], settings, None if weights is None else weights[learn]
            )
            p_n[hold] = _predict_regression(regression, of_regression[hold])
            told = _questions(scores[hold], p_n[hold])["blended"]
            say(f"fold {k + 1} of {settings.n_folds}: " + _losses(told, blended[hold]))
        arrays = _fit_regression(of_regression, counts, settings, weights)
        arrays["intercepts"] = arrays["intercepts"] + np.log(prior_correction(counts, weights))
        arrays["condition_center"], arrays["condition_scale"] = _scale_conditions(inputs.conditions)
        terms = _condition_terms(inputs.conditions, arrays["condition_center"], arrays["condition_scale"])
        logits = _questions(scores, p_n)
        joined = _join_terms(logits["blended"], inputs.blended_logits, terms)
        form = _fit_join(joined, blended.astype(int), 2, settings.regularization)
        arrays["join"] = form[:, 1] - form[:, 0]
        known = _bounded(joined @ arrays["join"][:-1] + arrays["join"][-1])[:, None]
        for name, rows, answers, n_answers in (
            ("empty", ~blended, np.where(counts == 0, 1, 0), 2),
            ("several", blended, np.clip(counts, 2, N_CLASSES - 1) - 2, N_CLASSES - 2),
        ):
            joined = _join_terms(logits[name], known, terms)
            arrays[f"join_{name}"] = _fit_join(
                joined[rows], answers[rows], n_answers, settings.regularization
            )
    arrays |= {_TREES + name: array for name, array in average_trees(forests).items()}
    out = _join_all(arrays, logits, inputs.blended_logits, terms)[:, 2:].sum(axis=1)
    parts = ", ".join(f"{slope:.2f}" for slope in arrays["join"][: 2 + len(inputs.first)])
    say(f"joined with weights {parts}: " + _losses(logit(out)[:, None], blended))
    return arrays, out, history


def _losses(logits: np.ndarray, blended: np.ndarray) -> str:
    """Cross-entropies of columns of logits, as text."""
    sign = np.where(blended, -1.0, 1.0)[:, None]
    return " / ".join(f"{loss:.5f}" for loss in np.logaddexp(0.0, sign * logits).mean(axis=0))


def predict_stack(arrays: dict[str, np.ndarray], inputs: StackInputs) -> np.ndarray:
    """Joined P(N), (n, 5), by what `fit_stack` learned; NaN in rows that are not usable."""
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
    scores = raw_scores({name: arrays[_TREES + name] for name in TREE_ARRAYS}, chosen.of_trees)
    logits = _questions(scores, _predict_regression(arrays, chosen.of_regression))
    terms = _condition_terms(chosen.conditions, arrays["condition_center"], arrays["condition_scale"])
    p_n[usable] = _join_all(arrays, logits, chosen.blended_logits, terms)
    return p_n


def validate_stack(
    arrays: dict[str, np.ndarray], *, n_members: int, n_conditions: int
) -> dict[str, np.ndarray]:
    """Those arrays of a package that are of the stack, checked; others are left out.

    `KeyError` if one is missing, `ValueError` if shapes or numbers make no sense.
    """
    checked = _check_regression(arrays, arrays["center"].size)
    terms = _condition_terms(np.zeros((1, n_conditions)), np.zeros(n_conditions), np.ones(n_conditions))
    logits = _questions(np.zeros((1, N_CLASSES)), np.full((1, N_CLASSES), 1.0 / N_CLASSES))
    for name in ("condition_center", "condition_scale"):
        check_array(name, arrays[name], (n_conditions,), positive=name == "condition_scale")
        checked[name] = arrays[name]
    for name, question, n_logits, answers in (
        ("join", "blended", n_members, ()),
        ("join_empty", "empty", 1, (2,)),
        ("join_several", "several", 1, (N_CLASSES - 2,)),
    ):
        n_terms = _join_terms(logits[question], np.zeros((1, n_logits)), terms).shape[1]
        check_array(name, arrays[name], (n_terms + 1, *answers))
        checked[name] = arrays[name]
    trees = validate_trees({name: arrays[_TREES + name] for name in TREE_ARRAYS})
    return checked | {_TREES + name: array for name, array in trees.items()}

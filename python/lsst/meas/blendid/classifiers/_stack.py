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
members' logits and a few facts.  A small logistic regression joins the two and the members' logits.  It
is fitted to predictions out of fold, with folds of whole images (Wolpert 1992; van der Laan, Polley &
Hubbard 2007), and so is the calibration after it.
"""

from __future__ import annotations

__all__ = (
    "StackInputs",
    "StackSettings",
    "deal_folds",
    "fit_stack",
    "member_columns",
    "predict_stack",
    "validate_stack",
)

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..calibration import replace_blended
from ..labels import N_CLASSES
from ._multinomial import softmax, spread_classes
from ._tree_scores import BLENDED
from .trees import TREE_ARRAYS, TreeSettings, average_trees, fit_trees, raw_scores, validate_trees
from .weighting import prior_correction

_MAX_LOGIT = 12.0
"""Logits are clipped to this: more certainty is of no use, and exact 0 and 1 have none."""

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
    """

    members: np.ndarray
    first: tuple[int, ...]
    facts: np.ndarray
    columns: np.ndarray

    def __len__(self) -> int:
        return len(self.members)

    @property
    def usable(self) -> np.ndarray:
        """Rows that every member has probabilities for, bool of shape (n,)."""
        return np.isfinite(self.members).all(axis=1) & np.isfinite(self.facts).all(axis=1)

    @property
    def own(self) -> np.ndarray:
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
        """Choose rows.

        Parameters
        ----------
        chosen
            Index or mask.

        Returns
        -------
        inputs
            Those rows.
        """
        return StackInputs(self.members[chosen], self.first, self.facts[chosen], self.columns[chosen])


def _logit(p: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.clip(np.log(p) - np.log1p(-p), -_MAX_LOGIT, _MAX_LOGIT)


def _expit(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def member_columns(prediction: np.ndarray) -> np.ndarray:
    """Turn probabilities of a member into columns.

    Parameters
    ----------
    prediction : `numpy.ndarray`, shape (n,) or (n, 5)
        P(blended) or P(N).

    Returns
    -------
    columns : `numpy.ndarray`, shape (n, 1) or (n, 4)
        The logit of P(N >= 2); with P(N), also ln P(0)/P(1), ln P(3)/P(2) and ln P(>= 4)/P(2).  NaN where
        the member gives none.
    """
    if prediction.ndim == 1:
        return _logit(np.clip(prediction, 0.0, 1.0))[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.clip(prediction, 1e-12, 1.0))
    ratios = logs[:, [0, 3, 4]] - logs[:, [1, 2, 2]]
    blended = np.clip(prediction[:, 2:].sum(axis=1), 0.0, 1.0)
    return np.column_stack([_logit(blended), np.clip(ratios, -_MAX_LOGIT, _MAX_LOGIT)])


def _standardize(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale of columns."""
    center, scale = inputs.mean(axis=0), inputs.std(axis=0)
    scale[scale <= 1e-9 * np.maximum(np.abs(center), 1.0)] = 1.0
    return center, scale


def _fit_regression(
    inputs: np.ndarray, counts: np.ndarray, settings: StackSettings, weights: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Multinomial logistic regression on standardised columns."""
    from sklearn.linear_model import LogisticRegression

    center, scale = _standardize(inputs)
    classes = np.minimum(counts, N_CLASSES - 1)
    regression = LogisticRegression(C=settings.regularization, tol=1e-5, max_iter=2000)
    regression.fit((inputs - center) / scale, classes, sample_weight=weights)
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
        if arrays[name].shape != shape or not np.all(np.isfinite(arrays[name])):
            raise ValueError(f"{name} has shape {arrays[name].shape}, not {shape}, or is not finite")
    if not np.all(arrays["scale"] > 0.0):
        raise ValueError("scale is not positive")
    return {name: arrays[name] for name in shapes}


def _tree_logit(arrays: dict[str, np.ndarray], inputs: np.ndarray) -> np.ndarray:
    """Logit of P(N >= 2)."""
    return np.clip(raw_scores(arrays, inputs)[:, BLENDED], -_MAX_LOGIT, _MAX_LOGIT)


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
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    settings = StackSettings() if settings is None else settings
    say = (lambda _line: None) if say is None else say
    fold = deal_folds(scenes, settings.folds, seed)
    blended = counts > 1
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
            logits[hold, 1] = _logit(np.clip(p_n[:, 2:].sum(axis=1), 0.0, 1.0))
            say(f"fold {k + 1} of {settings.folds}: " + _losses(logits[hold], blended[hold]))
        arrays = _fit_regression(of_regression, counts, settings, weights)
        arrays["intercepts"] = arrays["intercepts"] + np.log(prior_correction(counts, weights))
        joined = np.hstack([logits, inputs.own])
        center, scale = _standardize(joined)
        regression = LogisticRegression(C=settings.regularization, tol=1e-6, max_iter=1000)
        # Without weights: the probabilities refer to the natural shares.
        regression.fit((joined - center) / scale, blended)
    slopes = regression.coef_[0] / scale
    arrays |= {_TREES + name: array for name, array in average_trees(forests).items()}
    arrays["join"] = np.append(slopes, regression.intercept_[0] - slopes @ center)
    out = _expit(joined @ arrays["join"][:-1] + arrays["join"][-1])
    parts = ", ".join(f"{slope:.2f}" for slope in slopes)
    say(f"joined with weights {parts}: " + _losses(_logit(out)[:, None], blended))
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
    of_both = inputs.of_regression.shape[1], inputs.of_trees.shape[1]
    trained = arrays["center"].size, int(arrays[_TREES + "n_features"][0])
    if of_both != trained:
        raise ValueError(f"the members give {of_both} inputs, the stackers were trained with {trained}")
    p_n = np.full((len(inputs), N_CLASSES), np.nan)
    usable = inputs.usable
    chosen = inputs.rows(usable)
    if not len(chosen):
        return p_n
    trees = _tree_logit({name: arrays[_TREES + name] for name in TREE_ARRAYS}, chosen.of_trees)
    regression = _predict_regression(arrays, chosen.of_regression)
    linear = _logit(np.clip(regression[:, 2:].sum(axis=1), 0.0, 1.0))
    joined = np.column_stack([trees, linear, chosen.own])
    blended = _expit(joined @ arrays["join"][:-1] + arrays["join"][-1])
    p_n[usable] = replace_blended(regression, blended)
    return p_n


def validate_stack(arrays: dict[str, np.ndarray], *, n_members: int) -> dict[str, np.ndarray]:
    """Check arrays that were read.

    Parameters
    ----------
    arrays
        Arrays of a package; others are left out.
    n_members
        Number of members.

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
    join = arrays["join"]
    if join.shape != (3 + n_members,) or not np.all(np.isfinite(join)):
        raise ValueError(f"join has shape {join.shape}, not {(3 + n_members,)}, or is not finite")
    checked["join"] = join
    trees = validate_trees({name: arrays[_TREES + name] for name in TREE_ARRAYS})
    return checked | {_TREES + name: array for name, array in trees.items()}

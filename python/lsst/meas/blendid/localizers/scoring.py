# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Probability and position error of objects from their columns, learned from objects with known galaxies."""

from __future__ import annotations

__all__ = ("SCORER_ARRAYS", "ObjectScorer", "ScorerSettings", "label_objects")

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from .._arrays import check_array
from ..calibration import fit_calibration
from ..centers.inputs import count_scatters, standard_scale
from ..classifiers.trees import (
    TREE_ARRAYS,
    TreeSettings,
    average_trees,
    fit_binary_trees,
    predict_binary,
    validate_trees,
)
from ..footprints import DetectionResult
from ..model_settings import ModelSettings, setting
from ..peak_matching import MATCH_RADIUS, GalaxyList, PeakList, match_peaks
from .objects import Objects

SCORER_ARRAYS: dict[str, str] = {
    **TREE_ARRAYS,
    "calibration": "Slope and intercept of the logit, float64 (2,).",
    "error_center": "Mean of each column, float64 (columns,).",
    "error_scale": "Scatter of each column, float64 (columns,).",
    "error_coefficients": "Change of the logarithm of the factor on covariances with the standardised "
    "columns and their squares, by kind (detected without candidate, detected with one, inferred), "
    "float64 (3, 2 columns).",
    "error_intercepts": "Its value at the mean, by kind, float64 (3,).",
}
"""Arrays of a trained scorer."""

N_KINDS = 3
_INSIDE = 0.6827
"""Share of true positions that an ellipse of one sigma holds."""
_INSIDE_SQUARED = -2.0 * np.log(1.0 - _INSIDE)
"""Squared radius of the ellipse of a two-dimensional normal distribution that holds this share."""
_LEARNED = 0.675
"""Share that the fit makes its ellipses hold: those of the validation sky, with galaxies of all sizes, hold
one hundredth more on average."""
_FEWEST = 200
"""Least number of objects that factors on covariances are regressed on."""
_PENALTY = 100.0
"""L2 penalty of that regression, in objects."""
_LIMIT = 4.0
"""Standardised columns beyond this are taken as this."""
_SQUARE_LIMIT = 9.0
"""So are their squares."""
_MOST = 4.0
"""Largest logarithm of a factor."""


@dataclass(frozen=True, kw_only=True)
class ScorerSettings(ModelSettings):
    """How a scorer is fitted."""

    trees: TreeSettings = setting(
        TreeSettings(learning_rate=0.08, n_trees=300, feature_share=0.5), "Settings of the trees."
    )
    n_folds: int = setting(
        4,
        "Number of folds of pieces of sky.  Trees are fitted without one of them after the other, which "
        "tells when to stop and how to calibrate; the scorer is the mean of all.",
        at_least=2,
    )


def label_objects(
    result: DetectionResult, objects: Objects, priority: np.ndarray, galaxies: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Tell which of m objects are galaxies that count, bool (m,), and how far off, float64 (m, 2) in pixels.

    ``galaxies`` (k, 3) have x, y (parent pixels) and S/N.  Of several objects at one galaxy, the one with
    the largest ``priority`` (m,) is it (`.peak_matching.match_peaks`).  The offset is the galaxy's position
    less that of the object, NaN for those that are none.
    """
    true = GalaxyList.from_places(result.footprints, galaxies)
    matches = match_peaks(PeakList(objects.row, objects.x, objects.y, priority), true, radius=MATCH_RADIUS)
    offset = np.full((len(objects), 2), np.nan)
    some = matches.is_true
    which = matches.galaxy[some]
    offset[some] = np.column_stack([true.x[which] - objects.x[some], true.y[which] - objects.y[some]])
    return some, offset


def _kinds(detected: np.ndarray, has_candidate: np.ndarray) -> np.ndarray:
    """Row of ``error_scale`` of each object."""
    return np.where(detected, has_candidate.astype(int), 2)


class ObjectScorer:
    """Gives objects a probability and a covariance, by `SCORER_ARRAYS`.

    `KeyError` if an array is missing, `ValueError` if one makes no sense.
    """

    def __init__(self, arrays: dict[str, np.ndarray], n_columns: int) -> None:
        self._trees = validate_trees(arrays)
        if int(self._trees["n_features"][0]) != n_columns:
            raise ValueError(
                f"the trees have {int(self._trees['n_features'][0])} features, objects have {n_columns}"
            )
        self._more = {
            name: np.asarray(arrays[name], dtype=np.float64) for name in SCORER_ARRAYS.keys() - TREE_ARRAYS
        }
        check_array("calibration", self._more["calibration"], (2,))
        for name in ("error_center", "error_scale"):
            check_array(name, self._more[name], (n_columns,), positive=name == "error_scale")
        check_array("error_coefficients", self._more["error_coefficients"], (N_KINDS, 2 * n_columns))
        check_array("error_intercepts", self._more["error_intercepts"], (N_KINDS,))

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What was learned, by name (`dict` [`str`, `numpy.ndarray`])."""
        return self._trees | self._more

    def probabilities(self, columns: np.ndarray) -> np.ndarray:
        """Probabilities that objects are galaxies that count, float64 (m,), from columns (m, columns)."""
        slope, intercept = self._more["calibration"]
        return expit(slope * predict_binary(self._trees, columns) + intercept)

    def covariances(
        self, columns: np.ndarray, spread: np.ndarray, detected: np.ndarray, has_candidate: np.ndarray
    ) -> np.ndarray:
        """Covariances of positions, float64 (m, 3): xx, yy, xy [pixel²].

        ``spread`` (m, 3) has them as far as they are known before; ``detected`` and ``has_candidate`` (m,)
        tell what kind of object each is.
        """
        inputs = _error_inputs(columns, self._more["error_center"], self._more["error_scale"])
        kind = _kinds(detected, has_candidate)
        factor = (inputs * self._more["error_coefficients"][kind]).sum(axis=1)
        return spread * np.exp(np.clip(factor + self._more["error_intercepts"][kind], -_MOST, _MOST))[:, None]

    @classmethod
    def fit(
        cls,
        columns: np.ndarray,
        labels: np.ndarray,
        group: np.ndarray,
        *,
        spread: np.ndarray,
        offset: np.ndarray,
        detected: np.ndarray,
        has_candidate: np.ndarray,
        min_probability: float = 0.0,
        settings: ScorerSettings | None = None,
        seed: int = 1,
        history: dict[str, list[float]] | None = None,
        say: Callable[[str], None] = lambda _line: None,
    ) -> tuple[ObjectScorer, np.ndarray]:
        """Learn from m objects of which the galaxies are known; also gives probabilities out of fold, (m,).

        Parameters
        ----------
        columns : `numpy.ndarray`, shape (m, columns), float32
            Columns of the objects.
        labels : `numpy.ndarray`, shape (m,), bool
            Whether they are galaxies.
        group : `numpy.ndarray`, shape (m,)
            Piece of sky of each.
        spread, offset, detected, has_candidate
            As for `covariances` and from `label_objects`.
        min_probability
            Objects that were not detected become peaks from this probability on: errors are those of peaks.
        settings
            Settings; the default ones if `None`.
        seed
            Seed of what is random.
        history
            Gets the loss of each iteration by name.
        say
            Called with a line on the fit.
        """
        settings = ScorerSettings() if settings is None else settings
        if labels.all() or not labels.any():
            raise ValueError("all or none of the objects are galaxies; both kinds are needed")
        fold = _deal(group, settings.n_folds, seed)
        members, score = [], np.zeros(len(labels))
        for k in range(int(fold.max()) + 1):
            held = fold == k
            curves: dict[str, list[float]] = {}
            trees = fit_binary_trees(
                columns[~held],
                labels[~held],
                validation=(columns[held], labels[held]),
                settings=settings.trees,
                seed=seed + k,
                history=curves,
                say=say,
            )
            members.append(trees)
            score[held] = predict_binary(trees, columns[held])
            if history is not None:
                history.update({f"{name}_{k}": values for name, values in curves.items()})
        calibration = np.array(fit_calibration(expit(score), labels, "platt").parameters)
        kind, trees = _kinds(detected, has_candidate), average_trees(members)
        # Of those that become peaks: where an unlikely one is true after all, it is further off.
        given = expit(calibration[0] * predict_binary(trees, columns) + calibration[1])
        kept = detected | (given >= min_probability)
        errors = _measure_errors(columns[kept], spread[kept], offset[kept], kind[kept])
        say(f"calibration slope {calibration[0]:.3f}, intercept {calibration[1]:.3f}")
        scorer = cls(trees | {"calibration": calibration} | errors, columns.shape[1])
        return scorer, expit(calibration[0] * score + calibration[1])


def _deal(group: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Deal whole pieces of sky into folds; fold of each object."""
    pieces, index = np.unique(group, return_inverse=True)
    if len(pieces) < 2:
        raise ValueError(
            "the objects are of one piece of sky; at least two are needed, of which one tells when to stop"
        )
    order = np.random.default_rng(seed).permutation(len(pieces))
    return (order % min(n_folds, len(pieces)))[index]


def _measure_errors(
    columns: np.ndarray, spread: np.ndarray, offset: np.ndarray, kind: np.ndarray
) -> dict[str, np.ndarray]:
    """Arrays that give the factor on a covariance with which ellipses hold their share.

    The logarithm of the squared distance from the galaxy, in units of the covariance, is regressed on the
    columns, for each kind apart; its distribution about that is the same for all objects if they scatter
    normally, so that one constant makes the share right.
    """
    determinant = spread[:, 0] * spread[:, 1] - spread[:, 2] ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        square = (
            spread[:, 1] * offset[:, 0] ** 2
            - 2.0 * spread[:, 2] * offset[:, 0] * offset[:, 1]
            + spread[:, 0] * offset[:, 1] ** 2
        ) / determinant
    known = np.isfinite(square)
    center, scale = standard_scale(columns[known]) if known.any() else standard_scale(columns)
    inputs = _error_inputs(columns, center, scale)
    log_square = np.log(np.maximum(square, 1e-4), where=known, out=np.zeros(len(square)))
    coefficients, intercepts = np.zeros((N_KINDS, inputs.shape[1])), np.zeros(N_KINDS)
    for k in range(N_KINDS):
        rows = known & (kind == k)
        if rows.sum() < _FEWEST:
            # Too few of a kind to tell more of them than of all.
            rows = known
        if rows.any():
            x, y = inputs[rows], log_square[rows]
            if rows.sum() >= _FEWEST:
                penalty = _PENALTY * np.eye(x.shape[1])
                coefficients[k] = np.linalg.solve(x.T @ x + penalty, x.T @ (y - y.mean()))
            left = square[rows] / np.exp(x @ coefficients[k])
            intercepts[k] = np.log(max(np.quantile(left, _LEARNED), 1e-6) / _INSIDE_SQUARED)
    return {
        "error_center": center.astype(np.float64),
        "error_scale": scale.astype(np.float64),
        "error_coefficients": coefficients,
        "error_intercepts": intercepts,
    }


def _error_inputs(columns: np.ndarray, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and scatter 1, and their squares, shape (m, 2 columns).

    What is not known is 0, and nothing far from what was seen.
    """
    inputs = count_scatters(columns.astype(np.float64), center, scale, limit=_LIMIT)
    return np.hstack([inputs, np.minimum(inputs**2, _SQUARE_LIMIT)])

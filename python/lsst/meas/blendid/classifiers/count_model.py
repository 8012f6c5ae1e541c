# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What a classifier of blends does not tell by itself: P(N), and how many galaxies "four or more" are.

P(N) ends with a class for N of at least 4, in which there are 6 on average, and a hundred in the largest
clusters.  `TailModel` gives the mean of N there, by a Poisson regression of N - 4 on what footprints tell
without their pixels; `ShareModel` divides P(blended) among the numbers, for classifiers that give nothing
else.
"""

from __future__ import annotations

__all__ = ("FIRST_OF_TAIL", "TAIL_COLUMNS", "ShareModel", "TailModel", "tail_inputs")

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import softmax

from .._arrays import check_array
from ..features.facts import FACTS
from ..labels import N_CLASSES
from ..samples import FootprintSamples
from ..trained_plugin import UnknownColumnError
from ._logistic_fits import fit_forms, standardize

FIRST_OF_TAIL: int = N_CLASSES - 1
"""Least number of the last class of P(N)."""

_LEAST_TAIL = 50
"""Footprints with N of at least 4 that a regression is fitted to at least."""

_PENALTY = 1e-3
"""L2 penalty of the Poisson regression, on standardised columns and the mean loss."""

_REGULARIZATION = 0.03
"""Inverse strength of the L2 penalty of the shares of N, on standardised inputs; many say the same."""

_LEAST_MEAN = 1e-3
"""Mean of N - 4 if all have four."""

_PSEUDO = 20.0
"""Footprints of a usual image that are added to those of an image, so that a few tell nothing extreme."""

_USUAL_SHARE = 0.27
"""Share of footprints with several peaks in a usual image."""

_USUAL_LOG_AREA = 1.65
"""Mean log10 area, in squares of the PSF sigma, of footprints with one peak in a usual image."""

_DIGITS = 9
"""Digits that numbers are kept with."""


def _of_image(samples: FootprintSamples, values: np.ndarray, rows: np.ndarray, usual: float) -> np.ndarray:
    """Mean of some of the footprints of each image, drawn towards the usual one: float64 of shape (n,)."""
    scene, n = samples.scene_index, len(samples.results)
    total = np.bincount(scene[rows], weights=values[rows], minlength=n) + _PSEUDO * usual
    means: np.ndarray = total / (np.bincount(scene[rows], minlength=n) + _PSEUDO)
    return means[scene]


_log_area, _log_peaks = FACTS["log_area"], FACTS["log_peaks"]
_log_significance = FACTS["log_significance"]

TAIL_COLUMNS: dict[str, Callable[[FootprintSamples], np.ndarray]] = {
    "log_peaks": _log_peaks,
    "log_area": _log_area,
    "log_detected_share": lambda s: np.log10(np.maximum(s.area_detected, 1.0) / np.maximum(s.area, 1.0)),
    "log_peaks_squared": lambda s: _log_peaks(s) ** 2,
    "log_area_squared": lambda s: _log_area(s) ** 2,
    "log_peaks_log_area": lambda s: _log_peaks(s) * _log_area(s),
    # Of the whole image: how crowded it is, and how large its galaxies are.
    "log_multi_peak_share": lambda s: np.log10(
        _of_image(s, (s.n_peaks > 1).astype(float), np.ones(len(s), dtype=bool), _USUAL_SHARE)
    ),
    "mean_log_area": lambda s: _of_image(s, _log_area(s), s.n_peaks == 1, _USUAL_LOG_AREA),
    "log_psf_sigma": lambda s: np.log10(s.psf_sigma),
    # A bright galaxy fills as much of the sky as a group of faint ones.
    "log_significance": _log_significance,
    "log_significance_log_area": lambda s: _log_significance(s) * _log_area(s),
}
"""What `TailModel` looks at, each of shape (n,)."""


ALL_TAIL_COLUMNS: tuple[str, ...] = tuple(TAIL_COLUMNS)


def tail_inputs(samples: FootprintSamples, names: Sequence[str] = ALL_TAIL_COLUMNS) -> np.ndarray:
    """`TAIL_COLUMNS` of n footprints, all of each image: float64 (n, names)."""
    return np.column_stack([TAIL_COLUMNS[name](samples) for name in names]).astype(np.float64)


def _listed(values: np.ndarray) -> list[Any]:
    """Numbers for JSON."""
    return [
        _listed(value) if np.ndim(value) else float(f"{float(value):.{_DIGITS}g}")
        for value in np.asarray(values)
    ]


def _read_numbers(description: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Take numbers out of JSON."""
    try:
        array = np.asarray(description[name], dtype=np.float64)
    except KeyError:
        raise ValueError(f"it lacks {name}") from None
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} is no list of numbers") from None
    check_array(name, array, shape, positive=name == "scale")
    return array


@dataclass(frozen=True)
class TailModel:
    """Mean of N - 4 of footprints with N of at least 4, as the exponential of a linear form.

    Parameters
    ----------
    center, scale : `numpy.ndarray`, shape (columns,)
        Mean and scatter of the columns in the fit.
    low, high : `numpy.ndarray`, shape (columns,)
        Range that they had, in units of the scatter about the mean; beyond it the nearest end counts.
    coefficients : `numpy.ndarray`, shape (columns + 1,)
        Of the standardised columns, and the constant last.
    columns
        Names of its columns, of `TAIL_COLUMNS`.
    """

    center: np.ndarray
    scale: np.ndarray
    low: np.ndarray
    high: np.ndarray
    coefficients: np.ndarray
    columns: tuple[str, ...] = ALL_TAIL_COLUMNS

    @classmethod
    def fit(cls, inputs: np.ndarray, counts: np.ndarray, weights: np.ndarray | None = None) -> Self | None:
        """Fit to footprints with `tail_inputs` (n, columns), of which those with N of at least 4 count.

        `None` if there are fewer than 50 of these.
        """
        use = (np.asarray(counts) >= FIRST_OF_TAIL) & np.isfinite(inputs).all(axis=1)
        if weights is not None:
            use &= np.asarray(weights) > 0.0
        if np.count_nonzero(use) < _LEAST_TAIL:
            return None
        center, scale = standardize(inputs[use])
        x = (inputs[use] - center) / scale
        excess = np.asarray(counts, dtype=np.float64)[use] - FIRST_OF_TAIL
        weight = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)[use]
        coefficients = _fit_poisson(x, excess, weight)
        return cls(center, scale, x.min(axis=0), x.max(axis=0), coefficients)

    def mean(self, inputs: np.ndarray) -> np.ndarray:
        """Mean of N if it is at least 4, float64 (n,), from the `tail_inputs` of its ``columns``; over 4."""
        x = np.clip((inputs - self.center) / self.scale, self.low, self.high)
        # Numbers of another kind of images may not lead anywhere: at most some ten thousand.
        mean: np.ndarray = FIRST_OF_TAIL + np.exp(
            np.minimum(x @ self.coefficients[:-1] + self.coefficients[-1], 10.0)
        )
        return mean

    def to_dict(self) -> dict[str, Any]:
        """Describe the model with JSON-compatible values."""
        numbers = {name: getattr(self, name) for name in ("center", "scale", "low", "high", "coefficients")}
        return {"columns": list(self.columns)} | {name: _listed(v) for name, v in numbers.items()}

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Self:
        """Make a model of its description; `ValueError` if it is damaged.

        `UnknownColumnError` if it looks at columns that this release does not have.
        """
        columns = description.get("columns")
        if not isinstance(columns, list) or not columns or not set(map(str, columns)) <= set(TAIL_COLUMNS):
            raise UnknownColumnError(
                "the regression of the numbers looks at columns that this release does not have"
            )
        k = len(columns)
        numbers = {
            name: _read_numbers(description, name, (k,)) for name in ("center", "scale", "low", "high")
        }
        coefficients = _read_numbers(description, "coefficients", (k + 1,))
        return cls(**numbers, coefficients=coefficients, columns=tuple(columns))


def _fit_poisson(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Coefficients, the constant last, of the logarithm of the mean of counts."""
    from sklearn.linear_model import PoissonRegressor

    if not np.any(y):
        # All have four: scikit-learn would start at minus infinity.
        return np.append(np.zeros(x.shape[1]), np.log(_LEAST_MEAN))
    regression = PoissonRegressor(alpha=_PENALTY, solver="newton-cholesky", tol=1e-10, max_iter=200)
    regression.fit(x, y, sample_weight=weights)
    return np.append(regression.coef_, regression.intercept_)


@dataclass(frozen=True)
class ShareModel:
    """How P(blended) divides among the numbers: N = 0 and 1 if not blended, N = 2, 3, >= 4 if blended.

    Parameters
    ----------
    center, scale : `numpy.ndarray`, shape (k,)
        Mean and scatter of the inputs in the fit.
    coefficients : `numpy.ndarray`, shape (k + 1, 5)
        Logits of the numbers, up to a constant for 0 and 1 and another one for the others; the constant
        last.
    """

    center: np.ndarray
    scale: np.ndarray
    coefficients: np.ndarray

    @classmethod
    def fit(
        cls,
        inputs: np.ndarray,
        counts: np.ndarray,
        weights: np.ndarray | None = None,
    ) -> Self | None:
        """Fit two logistic regressions, one to the blended footprints and one to the others.

        Inputs (n, k) tell the footprints apart; rows that are not finite are left out.  `None` if all or
        none of the footprints are blended.
        """
        from threadpoolctl import threadpool_limits

        use = np.isfinite(inputs).all(axis=1)
        if weights is not None:
            use &= np.asarray(weights) > 0.0
        classes = np.minimum(np.asarray(counts), FIRST_OF_TAIL)[use]
        blended = classes > 1
        if blended.all() or not blended.any():
            return None
        center, scale = standardize(inputs[use])
        x = (inputs[use] - center) / scale
        weight = None if weights is None else np.asarray(weights, dtype=np.float64)[use]
        coefficients = np.zeros((x.shape[1] + 1, N_CLASSES))
        # One thread: the sums are then made in one order.
        with threadpool_limits(limits=1):
            for rows, columns in ((~blended, slice(0, 2)), (blended, slice(2, None))):
                chosen = None if weight is None else weight[rows]
                slopes, constants = fit_forms(x[rows], classes[rows], _REGULARIZATION, chosen)
                coefficients[:-1, columns], coefficients[-1, columns] = slopes[:, columns], constants[columns]
        return cls(center, scale, coefficients)

    def divide(self, p_blended: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """Divide P(blended) (n,) among the numbers by inputs (n, k): P(N), float64 (n, 5).

        The last three sum to P(blended); NaN where that or the inputs are.  `ValueError` if there are not
        as many inputs as in the fit.
        """
        if inputs.shape[1:] != self.center.shape:
            raise ValueError(f"P(N) is told by {self.center.size} numbers, not {inputs.shape[1:]}")
        x = (inputs - self.center) / self.scale
        logits = x @ self.coefficients[:-1] + self.coefficients[-1]
        known = np.isfinite(logits).all(axis=1) & np.isfinite(p_blended)
        p_n = np.full(logits.shape, np.nan)
        p = np.asarray(p_blended, dtype=np.float64)[known, None]
        rest, several = (softmax(logits[known, part], axis=1) for part in (slice(0, 2), slice(2, None)))
        p_n[known] = np.hstack([(1.0 - p) * rest, p * several])
        return p_n

    def to_dict(self) -> dict[str, Any]:
        """Describe the model with JSON-compatible values."""
        return {name: _listed(getattr(self, name)) for name in ("center", "scale", "coefficients")}

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Self:
        """Make a model of its description; `ValueError` if it is damaged."""
        n_inputs = np.size(description.get("center", ()))
        center, scale = (_read_numbers(description, name, (n_inputs,)) for name in ("center", "scale"))
        return cls(center, scale, _read_numbers(description, "coefficients", (n_inputs + 1, N_CLASSES)))

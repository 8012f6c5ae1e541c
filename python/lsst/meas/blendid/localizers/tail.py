# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""How many objects there are in footprints with at least four of them.

Independent peaks tell too few: for some objects no position stands, being too close to another one or too
faint beside it, and the peaks of one footprint are not independent.
"""

from __future__ import annotations

__all__ = ("TAIL_ARRAYS", "TailFactor")

import numpy as np

from .._arrays import check_array
from ..centers.inputs import count_scatters, standard_scale
from ..labels import N_CLASSES

TAIL_ARRAYS: dict[str, str] = {
    "tail_center": "Mean of ln(mean - 3) of footprints with four and more objects, and of each number of "
    "their image, float64 (1 + numbers,).",
    "tail_scale": "Scatter of each, float64 (1 + numbers,).",
    "tail_coefficients": "Change of the logarithm of the factor with each, standardised, "
    "float64 (1 + numbers,).",
    "tail_intercept": "The logarithm at their mean, float64 (1,).",
}
"""Arrays of a trained factor."""

_PENALTY = 0.1
"""L2 penalty of the regression, on the mean deviance.  Images are few: with less of it what a hundred of them
tell does not hold in others (3 to 4 % off for large galaxies with a thousandth of it)."""
_LIMIT = 3.0
"""Standardised numbers beyond this are taken as this."""


class TailFactor:
    """Factor on the mean of N given N >= 4 that independent peaks tell.

    It depends on that mean and on the image: the sizes of its galaxies, its seeing and its depth.

    Parameters
    ----------
    arrays
        As in `TAIL_ARRAYS`.
    n_numbers
        Numbers of an image that it looks at.

    Raises
    ------
    KeyError
        Raised if one is missing.
    ValueError
        Raised if one makes no sense.
    """

    def __init__(self, arrays: dict[str, np.ndarray], n_numbers: int) -> None:
        self.arrays = {name: np.asarray(arrays[name], dtype=np.float64) for name in TAIL_ARRAYS}
        """What was learned, by name."""
        for name, array in self.arrays.items():
            shape = (1,) if name == "tail_intercept" else (1 + n_numbers,)
            check_array(name, array, shape, positive=name == "tail_scale")

    def predict(self, mean: np.ndarray, context: np.ndarray) -> np.ndarray:
        """Compute the expected number.

        Parameters
        ----------
        mean : `numpy.ndarray`, shape (n,)
            Mean of N given N >= 4 of independent peaks (`.consistency.several_mean`).
        context : `numpy.ndarray`, shape (n, numbers)
            Numbers of the image of each footprint (`.centers.CONTEXT_NAMES`, say); NaN for what is not known.

        Returns
        -------
        expected : `numpy.ndarray`, shape (n,), float64
            Mean of N given N >= 4, not less than 4.
        """
        inputs = count_scatters(
            _inputs(mean, context), self.arrays["tail_center"], self.arrays["tail_scale"], limit=_LIMIT
        )
        factor = np.exp(inputs @ self.arrays["tail_coefficients"] + self.arrays["tail_intercept"])
        expected: np.ndarray = np.maximum(mean * factor, N_CLASSES - 1.0)
        return expected

    @classmethod
    def fit(cls, mean: np.ndarray, context: np.ndarray, counts: np.ndarray) -> TailFactor:
        """Learn from footprints with at least four objects; without any, the factor is 1.

        Parameters
        ----------
        mean, context
            As for `predict`, the mean from probabilities out of fold.
        counts : `numpy.ndarray`, shape (n,)
            Number of objects in each footprint; others than those with at least four are left out.

        Returns
        -------
        factor
            The fit: a Poisson regression of N with the logarithm of the mean as offset.
        """
        from sklearn.linear_model import PoissonRegressor

        use, n_numbers = np.asarray(counts) >= N_CLASSES - 1, np.shape(context)[1]
        if not use.any():
            zeros = np.zeros(1 + n_numbers)
            learned = zeros, zeros + 1.0, zeros, zeros[:1]
            return cls(dict(zip(TAIL_ARRAYS, learned, strict=True)), n_numbers)
        inputs, mean = _inputs(mean, context)[use], np.asarray(mean, dtype=np.float64)[use]
        center, scale = (array.astype(np.float64) for array in standard_scale(inputs))
        # Rates with the mean as weight have the likelihood of counts with its logarithm as offset.
        regression = PoissonRegressor(alpha=_PENALTY, solver="newton-cholesky", tol=1e-9, max_iter=200)
        regression.fit(
            count_scatters(inputs, center, scale, limit=_LIMIT),
            np.asarray(counts)[use] / mean,
            sample_weight=mean,
        )
        learned = (center, scale, regression.coef_, np.array([regression.intercept_]))
        return cls(dict(zip(TAIL_ARRAYS, learned, strict=True)), n_numbers)


def _inputs(mean: np.ndarray, context: np.ndarray) -> np.ndarray:
    """Numbers that the factor depends on, float64 of shape (n, 1 + numbers)."""
    crowded = np.log(np.maximum(np.asarray(mean, dtype=np.float64) - (N_CLASSES - 2.0), 1.0))
    return np.column_stack([crowded, np.asarray(context, dtype=np.float64)])

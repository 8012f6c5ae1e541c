# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""How many objects there are, said by P(N) and by the peaks: both tell the same number.

A classifier tells how many objects a footprint holds, a localiser where they are.  What both say is made one:
the odds of all peaks of a footprint are multiplied by one factor, such that their probabilities add up to the
expected number of objects.  That is the change of least relative entropy under which independent peaks have
this sum (exponential tilting; Csiszár 1975, https://doi.org/10.1214/aop/1176996454).

Of four objects and more independent peaks tell too few: for some objects no position stands, being too close
to another one or too faint beside it, and the peaks of one footprint are not independent.  `TailFactor`
learns by how much.
"""

from __future__ import annotations

__all__ = (
    "TAIL_ARRAYS",
    "TailFactor",
    "expected_counts",
    "several_mean",
    "tilt_probabilities",
)

import numpy as np

from .._arrays import check_array
from .._jit import njit
from ..centers.inputs import count_scatters, standard_scale
from ..labels import N_CLASSES

_LEAST = 1e-6
"""Probabilities closer to 0 or 1 than this are taken as this far away."""
_LARGEST = 30.0
"""Largest change of a logit, with which anything becomes as good as certain or impossible."""
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


@njit(nogil=True)
def _several(p: np.ndarray, start: np.ndarray, mean: np.ndarray, classes: int) -> None:
    """Mean of N given N >= classes - 1, of the sum of independent peaks."""
    few = np.empty(classes - 1)
    for row in range(start.size - 1):
        few[:] = 0.0
        few[0] = 1.0
        total = 0.0
        for i in range(start[row], start[row + 1]):
            total += p[i]
            for k in range(classes - 2, 0, -1):
                few[k] = few[k] * (1.0 - p[i]) + few[k - 1] * p[i]
            few[0] *= 1.0 - p[i]
        part, rest = 0.0, 1.0
        for k in range(classes - 1):
            part += k * few[k]
            rest -= few[k]
        # Rounding leaves 1e-16 of a probability that is as good as none.
        if rest > 1e-9:
            mean[row] = max((total - part) / rest, classes - 1.0)


def several_mean(probability: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Expect the number of objects of footprints that hold at least four.

    Parameters
    ----------
    probability : `numpy.ndarray`, shape (m,)
        Probabilities of peaks, sorted by footprint.
    start : `numpy.ndarray`, shape (n + 1,)
        First peak of each footprint, and m.

    Returns
    -------
    mean : `numpy.ndarray`, shape (n,), float64
        Mean of N given N >= 4, if the peaks are independent; 4 where there are too few of them.
    """
    mean = np.full(len(start) - 1, N_CLASSES - 1.0)
    _several(
        np.ascontiguousarray(probability, dtype=np.float64),
        np.ascontiguousarray(start, dtype=np.int64),
        mean,
        N_CLASSES,
    )
    return mean


def expected_counts(p_n: np.ndarray, several: np.ndarray) -> np.ndarray:
    """Expect the number of objects.

    Parameters
    ----------
    p_n : `numpy.ndarray`, shape (n, 5)
        P(N = 0, 1, 2, 3, >= 4).
    several : `numpy.ndarray`, shape (n,)
        Mean of N given N >= 4.

    Returns
    -------
    expected : `numpy.ndarray`, shape (n,), float64
        Mean of N.
    """
    return p_n[:, :-1] @ np.arange(N_CLASSES - 1.0) + p_n[:, -1] * several


@njit(nogil=True)
def _tilt(logit: np.ndarray, start: np.ndarray, target: np.ndarray, largest: float, out: np.ndarray) -> None:
    for row in range(start.size - 1):
        first, last = start[row], start[row + 1]
        if first == last or not np.isfinite(target[row]):
            continue
        low, high, shift = -largest, largest, 0.0
        # The sum rises with the shift: Newton's steps, halving where one leaves the bracket.
        for _ in range(100):
            total, slope = 0.0, 0.0
            for i in range(first, last):
                p = 1.0 / (1.0 + np.exp(-logit[i] - shift))
                total += p
                slope += p * (1.0 - p)
            excess = total - target[row]
            if abs(excess) < 1e-9 or high - low < 1e-12:
                break
            if excess > 0.0:
                high = shift
            else:
                low = shift
            step = shift - excess / max(slope, 1e-300)
            shift = step if low < step < high else 0.5 * (low + high)
        for i in range(first, last):
            out[i] = 1.0 / (1.0 + np.exp(-logit[i] - shift))


def tilt_probabilities(probability: np.ndarray, start: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Change the probabilities of peaks so that those of a footprint add up to a number.

    Parameters
    ----------
    probability : `numpy.ndarray`, shape (m,)
        Probabilities of peaks, sorted by footprint.
    start : `numpy.ndarray`, shape (n + 1,)
        First peak of each footprint, and m.
    target : `numpy.ndarray`, shape (n,)
        What they are to add up to; NaN leaves them as they are.

    Returns
    -------
    probability : `numpy.ndarray`, shape (m,), float64
        Probabilities in the same order within each footprint.  Their sum falls short of the target where that
        is nearly the number of peaks or more.
    """
    probability = np.ascontiguousarray(probability, dtype=np.float64)
    clipped = np.clip(probability, _LEAST, 1.0 - _LEAST)
    out = probability.copy()
    _tilt(
        np.log(clipped) - np.log1p(-clipped),
        np.ascontiguousarray(start, dtype=np.int64),
        np.ascontiguousarray(target, dtype=np.float64),
        _LARGEST,
        out,
    )
    return out


class TailFactor:
    """Factor on the mean of N given N >= 4 that independent peaks tell.

    It depends on that mean and on the image: the sizes of its galaxies, its seeing and its depth.  It is
    made of `TAIL_ARRAYS` and the number of what it looks at of an image; `KeyError` if an array is missing,
    `ValueError` if one makes no sense.
    """

    def __init__(self, arrays: dict[str, np.ndarray], n_numbers: int) -> None:
        self.arrays = {name: np.asarray(arrays[name], dtype=np.float64) for name in TAIL_ARRAYS}
        """What was learned, by name."""
        for name, array in self.arrays.items():
            shape = (1,) if name == "tail_intercept" else (1 + n_numbers,)
            check_array(name, array, shape, positive=name == "tail_scale")

    def predict(self, mean: np.ndarray, context: np.ndarray) -> np.ndarray:
        """Mean of N given N >= 4, float64 (n,), not less than 4.

        ``mean`` (n,) is that of independent peaks (`several_mean`), ``context`` (n, numbers) what is known
        of the image of each footprint (`.centers.CONTEXT_NAMES`, say); NaN for what is not known.
        """
        inputs = count_scatters(
            _inputs(mean, context), self.arrays["tail_center"], self.arrays["tail_scale"], limit=_LIMIT
        )
        factor = np.exp(inputs @ self.arrays["tail_coefficients"] + self.arrays["tail_intercept"])
        expected: np.ndarray = np.maximum(mean * factor, N_CLASSES - 1.0)
        return expected

    @classmethod
    def fit(cls, mean: np.ndarray, context: np.ndarray, counts: np.ndarray) -> TailFactor:
        """Learn from footprints with at least four objects, of ``counts`` (n,); without any, the factor is 1.

        The mean is from probabilities out of fold.  A Poisson regression of N with the logarithm of the
        mean as offset.
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

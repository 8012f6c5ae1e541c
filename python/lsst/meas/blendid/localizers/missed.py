# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Objects for which no position stands: too close to another one, or too faint beside it."""

from __future__ import annotations

__all__ = ("MISSED_ARRAYS", "MissedShare")

import numpy as np

from .._arrays import check_array
from ..centers import CONTEXT_NAMES
from ..centers.inputs import standard_scale

MISSED_ARRAYS: dict[str, str] = {
    "missed_center": "Mean of each number of an image (`.centers.CONTEXT_NAMES`), float64 (9,).",
    "missed_scale": "Scatter of each, float64 (9,).",
    "missed_coefficients": "Change of the share with the standardised numbers, float64 (9,).",
    "missed_intercept": "The share at their mean, float64 (1,).",
}
"""Arrays of a trained share."""

_PENALTY = 1.0
"""L2 penalty of the regression, in images of average weight."""
_LIMIT = 3.0
"""Standardised numbers beyond this are taken as this."""


class MissedShare:
    """Number of objects that positions miss over that of those which they find.

    It depends on the image alone: on the sizes of its galaxies, its seeing and its depth.

    Parameters
    ----------
    arrays
        As in `MISSED_ARRAYS`.

    Raises
    ------
    KeyError
        Raised if one is missing.
    ValueError
        Raised if one makes no sense.
    """

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.arrays = {name: np.asarray(arrays[name], dtype=np.float64) for name in MISSED_ARRAYS}
        """What was learned, by name."""
        for name, array in self.arrays.items():
            shape = (1,) if name == "missed_intercept" else (len(CONTEXT_NAMES),)
            check_array(name, array, shape, positive=name == "missed_scale")

    def predict(self, context: np.ndarray) -> np.ndarray:
        """Compute the share.

        Parameters
        ----------
        context : `numpy.ndarray`, shape (images, 9)
            Numbers of images; NaN for what is not known.

        Returns
        -------
        share : `numpy.ndarray`, shape (images,), float64
            Missed objects over found ones, not negative.
        """
        inputs = _standardize(context, self.arrays["missed_center"], self.arrays["missed_scale"])
        share = inputs @ self.arrays["missed_coefficients"] + self.arrays["missed_intercept"]
        return np.maximum(share, 0.0)

    @classmethod
    def fit(cls, context: np.ndarray, n_found: np.ndarray, n_galaxies: np.ndarray) -> MissedShare:
        """Learn from images of which the galaxies are known.

        Parameters
        ----------
        context : `numpy.ndarray`, shape (images, 9)
            Numbers of images.
        n_found, n_galaxies : `numpy.ndarray`, shape (images,)
            Galaxies in footprints that a position stands for, and all of them.

        Returns
        -------
        share
            The fit: a ridge regression of the share, images weighted by what was found in them.
        """
        center, scale = standard_scale(context)
        inputs = _standardize(context, center, scale)
        found = np.asarray(n_found, dtype=np.float64)
        weight = found / max(found.mean(), 1e-9) if len(found) else found
        share = (np.asarray(n_galaxies, dtype=np.float64) - found) / np.maximum(found, 1.0)
        total = max(weight.sum(), 1e-9)
        mean, offset = float(weight @ share) / total, (weight @ inputs) / total
        x = inputs - offset
        penalty = _PENALTY * np.eye(x.shape[1])
        coefficients = np.linalg.solve(x.T @ (weight[:, None] * x) + penalty, x.T @ (weight * (share - mean)))
        return cls(
            {
                "missed_center": center,
                "missed_scale": scale,
                "missed_coefficients": coefficients,
                "missed_intercept": np.array([mean - offset @ coefficients]),
            }
        )


def _standardize(context: np.ndarray, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Numbers with mean 0 and scatter 1; 0 for what is not known, and nothing far from what was seen."""
    inputs = (np.asarray(context, dtype=np.float64) - center) / scale
    return np.clip(np.where(np.isfinite(inputs), inputs, 0.0), -_LIMIT, _LIMIT)

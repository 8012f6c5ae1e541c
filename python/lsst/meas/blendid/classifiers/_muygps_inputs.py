# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What the Gaussian process sees of a footprint: components and features, on one scale, decorrelated."""

from __future__ import annotations

__all__ = ("InputMap",)

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from .._arrays import check_array
from .._jit import njit

_KNOTS = 65
"""Quantiles that the scale of an input is made of."""
_TAIL = 0.004
"""Share beyond which an input is the same for all: normal scores end at +-2.65."""
_MOST_ROWS = 60_000
"""Rows that scales and components are made from, at most."""


@dataclass(frozen=True)
class InputMap:
    """From cutouts and features to inputs and coordinates.

    Parameters
    ----------
    pixel_mean : `numpy.ndarray`, shape (p,), float32
        Mean cutout.
    components : `numpy.ndarray`, shape (k, p), float32
        Principal components of cutouts.
    fill : `numpy.ndarray`, shape (k + features,), float32
        What stands for an input that is missing; NaN for one without which a footprint has no inputs.
    knots, scores : `numpy.ndarray`, shape (65, k + features) or (0, k + features), float32
        Quantiles of each input and the normal scores they are mapped to; none for inputs as they are.
    axes : `numpy.ndarray`, shape (k + features, d), float32
        From inputs to coordinates.
    """

    pixel_mean: np.ndarray
    components: np.ndarray
    fill: np.ndarray
    knots: np.ndarray
    scores: np.ndarray
    axes: np.ndarray

    @classmethod
    def fit(
        cls,
        pixels: np.ndarray,
        features: np.ndarray,
        *,
        n_components: int,
        n_coordinates: int,
        ranks: bool,
        may_lack: Sequence[bool],
        rng: np.random.Generator,
    ) -> InputMap:
        """Find components, scales and axes.

        Parameters
        ----------
        pixels : `numpy.ndarray`, shape (n, p), float32
            Finite cutouts as rows.
        features : `numpy.ndarray`, shape (n, f)
            Features, finite but for those that may be missing.
        n_components
            Number of principal components of the cutouts.
        n_coordinates
            Number of coordinates: principal components of the inputs, each with the square root of its
            scatter, in units of the first's; 0 for the inputs themselves.
        ranks
            Replace inputs by normal scores of their ranks?
        may_lack
            Which features may be missing (NaN): their median then stands for them.
        rng
            Chooses the rows that are used, if there are very many.

        Returns
        -------
        inputs : `InputMap`
            The map.
        """
        if len(pixels) > _MOST_ROWS:
            rows = np.sort(rng.choice(len(pixels), _MOST_ROWS, replace=False))
            pixels, features = pixels[rows], features[rows]
        mean = pixels.mean(axis=0, dtype=np.float64)
        components = _principal_axes(pixels - mean.astype(np.float32), n_components)[0].T
        mean, components = mean.astype(np.float32), np.ascontiguousarray(components, dtype=np.float32)
        raw = np.column_stack([(pixels - mean) @ components.T, features]).astype(np.float32)
        fill = np.full(raw.shape[1], np.nan, dtype=np.float32)
        for j in np.flatnonzero(may_lack) + n_components:
            known = raw[np.isfinite(raw[:, j]), j]
            fill[j] = np.median(known) if len(known) else 0.0
            raw[~np.isfinite(raw[:, j]), j] = fill[j]
        knots = scores = np.zeros((0, raw.shape[1]), dtype=np.float32)
        if ranks:
            shares = np.linspace(0.0, 1.0, _KNOTS)
            knots = np.quantile(raw, shares, axis=0).astype(np.float32)
            scores = _tied_scores(knots, ndtri(np.clip(shares, _TAIL, 1.0 - _TAIL)))
        axes = np.eye(raw.shape[1], dtype=np.float32)
        partial = cls(mean, components, fill, knots, scores, axes)
        if n_coordinates > 0:
            inputs = partial.inputs(pixels, features)
            vectors, scatter = _principal_axes(inputs - inputs.mean(axis=0), n_coordinates)
            # Half-way between the scatter as it is, which leaves little of the later axes, and none of it,
            # which makes their noise as large as the first: better than either on left-out footprints.
            axes = (vectors / np.sqrt(scatter * scatter[0])).astype(np.float32)
        return cls(mean, components, fill, knots, scores, axes)

    def inputs(self, pixels: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Compute inputs.

        Parameters
        ----------
        pixels : `numpy.ndarray`, shape (n, p), float32
            Cutouts as rows.
        features : `numpy.ndarray`, shape (n, f)
            Features.

        Returns
        -------
        inputs : `numpy.ndarray`, shape (n, k + f), float32
            Components and features on one scale; NaN where the footprint's are not finite.
        """
        raw = np.column_stack([(pixels - self.pixel_mean) @ self.components.T, features]).astype(np.float32)
        lacking = ~np.isfinite(raw)
        raw[lacking] = np.broadcast_to(self.fill, raw.shape)[lacking]
        if len(self.knots):
            _interpolate(raw, self.knots, self.scores)
        return raw

    def coordinates(self, inputs: np.ndarray) -> np.ndarray:
        """Compute coordinates.

        Parameters
        ----------
        inputs : `numpy.ndarray`, shape (n, k + f), float32
            Inputs.

        Returns
        -------
        coordinates : `numpy.ndarray`, shape (n, d), float32
            Where the footprints lie for the Gaussian process.
        """
        return inputs @ self.axes

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, np.ndarray],
        *,
        n_pixels: int,
        n_components: int,
        n_features: int,
        n_coordinates: int,
        ranks: bool,
    ) -> InputMap:
        """Take the arrays of a package.

        Parameters
        ----------
        arrays
            Arrays with the names of the parameters of the class.
        n_pixels, n_components, n_features, n_coordinates, ranks
            What the settings ask for.

        Returns
        -------
        inputs : `InputMap`
            The map.

        Raises
        ------
        KeyError
            Raised if an array is missing.
        ValueError
            Raised if one has another shape or is not finite.
        """
        n = n_components + n_features
        n_knots = len(arrays["knots"]) if arrays["knots"].ndim else 0
        if bool(n_knots) != ranks:
            raise ValueError("the knots do not fit use_ranks")
        shapes = {
            "pixel_mean": (n_pixels,),
            "components": (n_components, n_pixels),
            "fill": (n,),
            "knots": (n_knots, n),
            "scores": (n_knots, n),
            "axes": (n, n_coordinates or n),
        }
        for name, shape in shapes.items():
            check_array(name, arrays[name], shape, missing=name == "fill")
        taken = cls(*(np.ascontiguousarray(arrays[name], dtype=np.float32) for name in shapes))
        if np.any(np.diff(taken.knots, axis=0) < 0.0):
            raise ValueError("knots are not in order")
        return taken


def _principal_axes(centered: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """First principal axes of centred rows, as columns, and the scatter along them."""
    from threadpoolctl import threadpool_limits

    # One thread: sums are then made in one order, and the result is the same every time.
    with threadpool_limits(limits=1):
        total = np.zeros((centered.shape[1],) * 2)
        for first in range(0, len(centered), 8192):
            block = centered[first : first + 8192].astype(np.float64)
            total += block.T @ block
        values, vectors = np.linalg.eigh(total / len(centered))
    vectors = vectors[:, ::-1][:, :n]
    # The sign is free; the largest element is made positive.
    sign = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])])
    return vectors * sign, np.sqrt(np.maximum(values[::-1][:n], 1e-12))


def _tied_scores(knots: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Scores of the quantiles of each column, the mean of them where quantiles are equal."""
    tied = np.empty_like(knots)
    for j in range(knots.shape[1]):
        _, group = np.unique(knots[:, j], return_inverse=True)
        tied[:, j] = (np.bincount(group, scores) / np.bincount(group))[group]
    return tied


@njit(nogil=True)
def _interpolate(
    raw: np.ndarray, knots: np.ndarray, scores: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Replace each value by the score interpolated between the knots of its column."""
    m = knots.shape[0]
    for i in range(raw.shape[0]):
        for j in range(raw.shape[1]):
            x = raw[i, j]
            if not np.isfinite(x):
                raw[i, j] = np.nan
                continue
            low, high = 0, m
            while low < high:
                middle = (low + high) >> 1
                if knots[middle, j] <= x:
                    low = middle + 1
                else:
                    high = middle
            if low == 0:
                raw[i, j] = scores[0, j]
            elif low == m:
                raw[i, j] = scores[m - 1, j]
            else:
                share = (x - knots[low - 1, j]) / (knots[low, j] - knots[low - 1, j])
                raw[i, j] = scores[low - 1, j] + share * (scores[low, j] - scores[low - 1, j])

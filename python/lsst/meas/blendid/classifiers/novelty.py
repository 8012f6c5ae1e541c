# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""How unlike the footprints that a model learned from a footprint is.

Columns are made normal one by one, by their quantiles in training, turned to their principal axes, and scaled
to unit variance there.  A footprint is as unusual as it is far from the training footprints next to it.  What
users see is how many training footprints of other scenes are as far or farther from those that distances
are taken to: ``novelty`` is minus the logarithm to base 10 of that share, so that of footprints like those
of training one in a thousand has a novelty of 3 or more.

The distance to a near neighbour needs no form of the density (Loftsgaarden & Quesenberry 1965, Ann. Math.
Stat. 36, 1049), and shares of held-out distances are the false-alarm rates of conformal anomaly detection
(Laxhammar & Falkman 2015, Ann. Math. Artif. Intell. 74, 67).
"""

from __future__ import annotations

__all__ = ("MAX_NOVELTY", "NoveltyModel", "measure_columns", "novelty_columns")

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import ndtri

from .._arrays import check_array
from .._suggest import did_you_mean
from ..features import CONTEXT_FEATURES, FEATURE_NAMES, TWO_COMPONENT_COLUMNS, measure_features
from ..features.facts import FACT_NAMES, measure_facts
from ..samples import FootprintSamples
from ..trained_plugin import UnknownColumnError

MAX_NOVELTY = 9.0
"""Greatest novelty: beyond one in a billion there is nothing to tell."""

_N_KNOTS = 65
"""Quantiles of a column that are kept."""

_TAIL = 8.0
"""Standard deviations that a value is taken to be beyond the outermost of training, at most."""

_N_AXES = 40
"""Principal axes: of the 157 features those have 97 per cent of the variance."""

_FLOOR = 0.02
"""Variance that is added to that of every axis, so that rounding is not stretched to a signal."""

_N_REFERENCES = 2048
"""Footprints that distances are taken to."""

_NEIGHBOR = 3
"""Which of the nearest ones counts: a single odd one among the references makes nothing usual."""

_RATES = np.concatenate([np.linspace(1.0, 0.1, 10), np.geomspace(0.05, 1e-4, 14)])
"""False-alarm rates at which distances are kept, as far as there are footprints enough."""

_LEAST = 200
"""Footprints that a fit needs."""

_ROWS = 1024
"""Footprints at a time, whose distances to all references are in memory at once."""


def novelty_columns(features: Sequence[str], facts: Sequence[str] = FACT_NAMES) -> tuple[str, ...]:
    """Columns that novelty is judged by, for a classifier that looks at ``features``, or else at ``facts``.

    Features that are the same for all footprints of an image are left out, as they differ too little among
    the images of a training, and fits of two components, which may fail.
    """
    left_out = {*CONTEXT_FEATURES, *TWO_COMPONENT_COLUMNS}
    return tuple(name for name in features if name not in left_out) or tuple(facts)


def measure_columns(samples: FootprintSamples, columns: Sequence[str]) -> np.ndarray:
    """Measure columns of `novelty_columns` of n footprints, float64 (n, columns)."""
    if set(columns) <= set(FACT_NAMES):
        return measure_facts(samples, columns).astype(np.float64)
    return measure_features(samples, columns).astype(np.float64)


@dataclass(frozen=True)
class NoveltyModel:
    """Training footprints that others are compared with.

    Parameters
    ----------
    columns
        Names of the k columns, of `FEATURE_NAMES` or of `FACT_NAMES`.
    knots : `numpy.ndarray`, shape (k, 65)
        Quantiles of each column in training, in order.
    scores : `numpy.ndarray`, shape (k, 65)
        Standard normal number that each of them stands for.
    projection : `numpy.ndarray`, shape (k + 1, axes)
        Linear map to the scaled principal axes, its constant in the last row.
    references : `numpy.ndarray`, shape (m, axes)
        Footprints that distances are taken to, mapped.
    tail : `numpy.ndarray`, shape (t, 2)
        Novelty and the logarithm of the distance that has it, both increasing.
    """

    columns: tuple[str, ...]
    knots: np.ndarray
    scores: np.ndarray
    projection: np.ndarray
    references: np.ndarray
    tail: np.ndarray

    @classmethod
    def fit(
        cls,
        x: np.ndarray,
        columns: Sequence[str],
        groups: np.ndarray,
        rng: np.random.Generator,
    ) -> Self | None:
        """Learn from ``columns`` of n footprints; `None` if they, or their ``groups`` of sky, (n,), are few.

        One half of the groups gives the references, the other one the false-alarm rates.
        """
        usable = np.isfinite(x).all(axis=1)
        x, groups = x[usable], np.asarray(groups)[usable]
        names = rng.permutation(np.unique(groups))
        first = np.isin(groups, names[::2])
        if len(names) < 2 or min(first.sum(), (~first).sum()) < _LEAST:
            return None
        knots, scores = _find_quantiles(x[first])
        normal = _make_normal(x, knots, scores)
        projection = _find_axes(normal[first])
        mapped = _project(normal, projection)
        own = mapped[first]
        references = own[rng.permutation(len(own))[:_N_REFERENCES]].astype(np.float32)
        distances = np.sort(np.log(_distances(mapped[~first], references)))
        rates = _RATES[_RATES * len(distances) >= 5.0]
        places = np.quantile(distances, 1.0 - rates)
        novelty = -np.log10(rates)
        increases = np.concatenate([[True], np.diff(np.maximum.accumulate(places)) > 0.0])
        tail = np.column_stack([novelty[increases], places[increases]])
        return cls(tuple(columns), knots, scores, projection, references, tail)

    def judge(self, x: np.ndarray) -> np.ndarray:
        """Novelty, (n,), of columns, (n, k), from 0 to `MAX_NOVELTY`; NaN where one of them is not known."""
        known = np.isfinite(x).all(axis=1)
        found = np.full(len(x), np.nan)
        mapped = _project(_make_normal(x[known], self.knots, self.scores), self.projection)
        distance = np.log(_distances(mapped, self.references))
        novelty, places = self.tail.T
        inside = np.interp(distance, places, novelty)
        # Beyond the rarest that were seen the share goes on to fall as it did there: as a power of distance.
        slope = (novelty[-1] - novelty[-3]) / (places[-1] - places[-3]) if len(places) > 2 else 0.0
        beyond = novelty[-1] + slope * np.maximum(distance - places[-1], 0.0)
        found[known] = np.clip(np.where(distance > places[-1], beyond, inside), 0.0, MAX_NOVELTY)
        return found

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays of a package, by name."""
        return {
            "novelty_knots": self.knots.astype(np.float32),
            "novelty_scores": self.scores.astype(np.float32),
            "novelty_projection": self.projection.astype(np.float32),
            "novelty_references": self.references.astype(np.float32),
            "novelty_tail": self.tail.astype(np.float32),
        }

    @classmethod
    def from_package(cls, columns: Any, arrays: Mapping[str, np.ndarray]) -> Self:
        """Take what `to_arrays` gave; `KeyError` and `ValueError` mean a damaged package."""
        if not isinstance(columns, list) or not columns or len(set(map(str, columns))) != len(columns):
            raise ValueError("the columns of its novelty are not a list of different names")
        known = FACT_NAMES if set(map(str, columns)) <= set(FACT_NAMES) else FEATURE_NAMES
        if unknown := [str(name) for name in columns if name not in known]:
            raise UnknownColumnError(
                f"this release has no column {unknown[0]!r} of novelty{did_you_mean(unknown[0], known)}"
            )
        parts = {name: arrays[f"novelty_{name}"] for name in _ARRAYS}
        k, axes = len(columns), parts["projection"].shape[-1]
        shapes = {
            "knots": (k, _N_KNOTS),
            "scores": (k, _N_KNOTS),
            "projection": (k + 1, axes),
            "references": (len(parts["references"]), axes),
            "tail": (len(parts["tail"]), 2),
        }
        for name, shape in shapes.items():
            check_array(f"novelty_{name}", parts[name], shape)
        if len(parts["references"]) < _NEIGHBOR or not len(parts["tail"]):
            raise ValueError("its novelty has nothing to compare with")
        for name in ("knots", "scores", "tail"):
            axis = 0 if name == "tail" else 1
            if np.any(np.diff(parts[name], axis=axis) < 0.0):
                raise ValueError(f"novelty_{name} does not increase")
        return cls(tuple(columns), **{name: array.astype(np.float64) for name, array in parts.items()})


_ARRAYS = ("knots", "scores", "projection", "references", "tail")


def _find_quantiles(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of columns and the normal numbers of their mid-ranks, (k, 65) each, of (n, k) values."""
    n = len(x)
    # Rounded as they are stored: a model that was written and read gives the same.
    ordered = np.sort(x.astype(np.float32), axis=0).astype(np.float64)
    knots = ordered[np.rint(np.linspace(0, n - 1, _N_KNOTS)).astype(np.int64)].T
    scores = np.empty_like(knots)
    for j, column in enumerate(knots):
        # Values that many have, such as numbers of peaks, get the middle of their ranks.
        left, right = (np.searchsorted(ordered[:, j], column, side=side) for side in ("left", "right"))
        scores[j] = ndtri(np.clip((left + right) / (2.0 * n), 0.5 / n, 1.0 - 0.5 / n))
    return np.ascontiguousarray(knots), scores


def _make_normal(x: np.ndarray, knots: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Normal numbers of values (n, k): along straight lines between quantiles and beyond the last ones."""
    out = np.empty_like(x)
    for j, (at, value) in enumerate(zip(knots, scores, strict=True)):
        column = x[:, j]
        out[:, j] = np.interp(column, at, value)
        # The slope between the outermost quantile and the one that a twentieth of the values are beyond.
        inner = _N_KNOTS // 20
        for end, other in ((0, inner), (-1, -1 - inner)):
            reach = abs(at[other] - at[end])
            slope = abs(value[other] - value[end]) / reach if reach > 0.0 else 0.0
            outside = at[0] - column if end == 0 else column - at[-1]
            further = np.where(slope > 0.0, np.minimum(slope * outside, _TAIL), _TAIL)
            out[:, j] += np.where(outside > 0.0, -further if end == 0 else further, 0.0)
    return out


def _find_axes(normal: np.ndarray) -> np.ndarray:
    """Map to the scaled principal axes of values (n, k): (k + 1, axes), its constant last."""
    mean = normal.mean(axis=0)
    variance, axes = np.linalg.eigh(np.cov(normal, rowvar=False).reshape(len(mean), -1))
    order = np.argsort(variance)[::-1][:_N_AXES]
    scaled = axes[:, order] / np.sqrt(np.maximum(variance[order], 0.0) + _FLOOR)
    return np.vstack([scaled, -mean @ scaled])


def _project(normal: np.ndarray, projection: np.ndarray) -> np.ndarray:
    """Places on the axes, float32 (n, axes)."""
    return (normal @ projection[:-1] + projection[-1]).astype(np.float32)


def _distances(places: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Distance to the third-nearest of the references, positive, float64 (n,)."""
    references = references.astype(np.float32)
    squares = (references**2).sum(axis=1)
    found = np.empty(len(places))
    for start in range(0, len(places), _ROWS):
        rows = places[start : start + _ROWS]
        products = squares - 2.0 * (rows @ references.T)
        nearest = np.partition(products, _NEIGHBOR - 1, axis=1)[:, _NEIGHBOR - 1]
        found[start : start + _ROWS] = nearest + (rows**2).sum(axis=1)
    return np.sqrt(np.maximum(found, 1e-6))

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Models side by side on the same footprints, with errors and paired differences."""

from __future__ import annotations

__all__ = ("METRICS", "Comparison", "Difference", "Metric", "ModelRow", "compare")

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..classifiers import split_probabilities
from ..metrics import BlendScorer, score, score_one_peak
from .bootstrap import LEAST_UNITS, Units, choose_units, resampled_weights
from .comparison_table import METRICS, Comparison, Difference, Metric, ModelRow

if TYPE_CHECKING:
    from ..training import LabelledScenes


def compare(
    labelled: LabelledScenes,
    predictions: Mapping[str, np.ndarray],
    *,
    reference: str | None = None,
    bootstrap: int = 200,
    seed: int = 20220101,
    block_size: int = 512,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Score models on the same footprints.

    Parameters
    ----------
    labelled
        The n footprints; images are not looked at.
    predictions
        P(blended) of shape (n,), or P(N) of shape (n, 5), under the natural prior of the scenes,
        by name of the model; NaN where a model gives none.
    reference
        Model that differences are taken from.
    bootstrap
        Resamples of blocks of sky that errors are from; 0 for none.
    seed
        Seed of the resamples; the same for all models.
    block_size
        Side of the largest blocks, pixels; smaller ones are taken for small pieces of sky, or the footprints
        themselves (`.bootstrap.choose_units`), which `.comparison_table.Comparison.caution` tells.
    progress
        Called with the number of models done and in all.

    Returns
    -------
    comparison
        Scores, errors and differences.

    Raises
    ------
    ValueError
        Raised if there is no model, lengths differ, or the footprints are of one kind only.
    KeyError
        Raised if there is no prediction of the reference.
    """
    if not predictions:
        raise ValueError("no model was given to compare")
    if reference is not None and reference not in predictions:
        raise KeyError(f"no model is called {reference!r}; there are {', '.join(predictions)}")
    counts, n_peaks = np.asarray(labelled.counts), labelled.samples.n_peaks
    n = len(counts)
    p_of = {name: split_probabilities(prediction)[0] for name, prediction in predictions.items()}
    for name, p in p_of.items():
        if p.shape != (n,):
            raise ValueError(f"{name} has {len(p)} probabilities for {n} footprints")
        if not np.isfinite(p).any():
            raise ValueError(f"{name} classified none of the {n} footprints")
    if not (counts > 1).any() or not (counts == 1).any():
        kind = "blended" if (counts > 1).any() else "unblended" if (counts == 1).any() else "empty"
        raise ValueError(
            f"all {n} footprints with a galaxy are {kind}; scores need both kinds: take more or larger scenes"
            if kind != "empty"
            else f"none of the {n} footprints holds a galaxy; scores need blended and unblended ones"
        )
    x, y = labelled.samples.centroid.T
    units = choose_units(x, y, labelled.sky, size=block_size)
    n_draws = bootstrap if units.n > 1 else 0
    weights = resampled_weights(units.index, draws=n_draws, seed=seed) if n_draws else None
    known = _trusted(counts, n_peaks) if units.size is not None else frozenset()

    def sample(p: np.ndarray, use: np.ndarray) -> _Sample:
        return _Sample.draw(BlendScorer(p[use], counts[use], n_peaks[use]), use, weights, units.index)

    finite = {name: np.isfinite(p) for name, p in p_of.items()}
    samples: dict[str, _Sample] = {}
    names = list(p_of)
    if reference is not None:
        # First, for the others need it.
        names.sort(key=lambda name: name != reference)
    rows: dict[str, ModelRow] = {}
    for i, name in enumerate(names):
        p = p_of[name]
        samples[name] = sample(p, finite[name])
        differences: dict[str, Difference] = {}
        if reference is not None and name != reference:
            common = finite[name] & finite[reference]
            one, other = (
                samples[key] if np.array_equal(common, finite[key]) else sample(p_of[key], common)
                for key in (name, reference)
            )
            differences = one.minus(other, units.n, known)
        rows[name] = ModelRow(
            name,
            score(p, counts),
            score_one_peak(p, counts, n_peaks),
            samples[name].errors(units.n),
            differences,
        )
        if progress is not None:
            progress(i + 1, len(names))
    return Comparison(
        {name: rows[name] for name in p_of},
        reference,
        n,
        labelled.mix,
        float(np.mean(labelled.inside)),
        labelled.snr_min,
        len(labelled.samples.results),
        units.n,
        n_draws,
        units.size,
        _caution(units, counts) if n_draws else None,
    )


_LEAST_OF_A_KIND = 10
"""With fewer footprints of a kind, resamples of them are too much alike."""


def _trusted(counts: np.ndarray, n_peaks: np.ndarray) -> frozenset[str]:
    """Metrics of which there are enough footprints of both kinds for errors to be believed."""
    one_peak = n_peaks == 1
    few = {
        metric.key
        for metric in METRICS
        for kind in (counts > 1, counts == 1)
        if np.count_nonzero(kind & one_peak if metric.key.startswith("one_peak") else kind) < _LEAST_OF_A_KIND
    }
    return frozenset(metric.key for metric in METRICS) - few


def _caution(units: Units, counts: np.ndarray) -> str | None:
    """Say why errors cannot be trusted."""
    if units.size is None:
        return (
            f"There is too little sky for {LEAST_UNITS} blocks of it: errors are from resamples of the "
            f"{units.n:,} footprints as if they were independent, and are too small where neighbours are "
            "alike. No difference is called certain; take more or larger scenes."
        )
    fewest = min(int(np.count_nonzero(counts > 1)), int(np.count_nonzero(counts == 1)))
    if fewest < _LEAST_OF_A_KIND:
        return (
            f"Only {fewest} footprints are of one of the kinds, blended and unblended: errors may be too "
            "small, and no difference is called certain; take more or larger scenes."
        )
    return None


@dataclass(frozen=True)
class _Sample:
    """Scores of a model on some footprints, and on resamples of them."""

    values: dict[str, float]
    draws: dict[str, np.ndarray]

    @classmethod
    def draw(
        cls, scores: BlendScorer, use: np.ndarray, weights: np.ndarray | None, blocks: np.ndarray
    ) -> _Sample:
        """Score the footprints, and each resample of blocks ``weights`` (draws, blocks)."""
        values = scores(np.ones(int(np.count_nonzero(use))))
        collected: dict[str, list[float]] = {key: [] for key in values}
        if weights is not None:
            for row in weights:
                for key, value in scores(row[blocks[use]]).items():
                    collected[key].append(value)
        return cls(values, {key: np.array(v) for key, v in collected.items() if np.isfinite(v).any()})

    def errors(self, n: int) -> dict[str, float]:
        """Errors by resamples of n units, whose scatter is about their own mean."""
        return {key: float(np.nanstd(values)) * math.sqrt(n / (n - 1)) for key, values in self.draws.items()}

    def minus(self, other: _Sample, n: int, known: frozenset[str]) -> dict[str, Difference]:
        """Paired differences, certain ones only of the metrics that are ``known``."""
        from scipy.stats import t

        found = {}
        # Quantiles of the draws themselves would need far more draws.
        reach = float(t.ppf(0.975, n - 1)) if n > 1 else math.nan
        for key, value in self.values.items():
            error = math.nan
            difference = value - other.values[key]
            if key in self.draws and key in other.draws:
                gap = self.draws[key] - other.draws[key]
                if np.isfinite(gap).any():
                    error = float(np.nanstd(gap)) * math.sqrt(n / (n - 1))
            low, high = difference - reach * error, difference + reach * error
            certain = key in known and (low > 0.0 or high < 0.0)
            found[key] = Difference(difference, error, low, high, certain)
        return found

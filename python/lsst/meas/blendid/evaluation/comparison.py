# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Models side by side on the same footprints, with errors and paired differences."""

from __future__ import annotations

__all__ = (
    "METRICS",
    "SHOWN",
    "Comparison",
    "Difference",
    "Metric",
    "ModelRow",
    "compare",
    "format_columns",
    "format_difference",
    "format_value",
)

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..classifiers import split_probabilities
from ..metrics import BlendScorer, OnePeakScores, Scores, score, score_one_peak
from .bootstrap import LEAST_UNITS, Units, choose_units, resampled_weights

if TYPE_CHECKING:
    from astropy.table import Table

    from ..training import LabelledScenes


@dataclass(frozen=True)
class Metric:
    """A score and how it is shown."""

    key: str
    """Name in tables."""
    label: str
    """Name for readers."""
    digits: int
    """Digits after the point."""
    better: int
    """1 if more is better, -1 if less is, 0 if neither."""
    description: str
    """What it is."""


METRICS: tuple[Metric, ...] = (
    Metric("balanced_accuracy", "balanced accuracy", 4, 1, "Mean of the two accuracies, at an even prior."),
    Metric("accuracy_blended", "blends recognised", 4, 1, "Share of blends called so, at an even prior."),
    Metric("accuracy_unblended", "singles recognised", 4, 1, "Share of singles called so, at an even prior."),
    Metric("cross_entropy", "cross-entropy", 4, -1, "Class-balanced, at an even prior."),
    Metric("auc", "AUC", 4, 1, "Area under the ROC curve, of footprints with N >= 1."),
    Metric("natural_cross_entropy", "natural cross-entropy", 4, -1, "Of all footprints, as they come."),
    Metric("calibration_slope", "calibration slope", 3, 0, "Slope of the logit; 1 is calibrated."),
    Metric("calibration_intercept", "intercept", 3, 0, "Intercept of the logit; 0 is calibrated."),
    Metric("ece", "ECE", 4, -1, "Expected calibration error, noise floor subtracted."),
    Metric("one_peak_auc", "one-peak AUC", 4, 1, "AUC of the footprints with exactly one peak."),
    Metric("one_peak_recall_1", "recall at 1 %", 3, 1, "Of one-peak blends, at 1 % false blends."),
    Metric("one_peak_recall_5", "recall at 5 %", 3, 1, "Of one-peak blends, at 5 % false blends."),
)
"""All scores of a comparison, in the order of its table."""


SHOWN = (
    "balanced_accuracy",
    "cross_entropy",
    "auc",
    "calibration_slope",
    "ece",
    "one_peak_auc",
    "one_peak_recall_5",
)
"""Metrics that are printed."""


@dataclass(frozen=True)
class Difference:
    """A score of a model minus that of the reference, on the footprints that both classify."""

    value: float
    """The difference."""
    error: float
    """Standard deviation over resamples of blocks of sky."""
    low: float
    """Lower end of the interval of 95 % confidence, by Student's distribution for as many blocks."""
    high: float
    """Upper end of it."""
    certain: bool = False
    """Whether that is on one side of zero, and there are enough blocks of sky and footprints to say so."""


@dataclass(frozen=True)
class ModelRow:
    """Scores of one model."""

    name: str
    scores: Scores
    one_peak: OnePeakScores
    errors: dict[str, float]
    """Standard deviations over resamples, by metric; empty without bootstrap."""
    differences: dict[str, Difference]
    """Paired differences from the reference, by metric; empty for the reference itself."""

    def value(self, key: str) -> float:
        """Look the score of a metric up by its key."""
        one_peak = {"one_peak_auc": "auc", "one_peak_recall_1": "recall_at_1_percent"} | {
            "one_peak_recall_5": "recall_at_5_percent"
        }
        return float(getattr(self.one_peak, one_peak[key]) if key in one_peak else getattr(self.scores, key))


@dataclass(frozen=True)
class Comparison:
    """Scores of several models on the same footprints."""

    rows: dict[str, ModelRow]
    """By name of the model, in the order given."""
    reference: str | None
    """Model that the differences are from."""
    n_footprints: int
    mix: dict[str, float]
    """Shares of blended, unblended and empty footprints."""
    inside: float
    """Mean over the scenes of the share of objects that lie in a footprint."""
    snr_min: float
    """Objects fainter than this did not count."""
    n_scenes: int
    n_blocks: int
    """Blocks of sky that errors are from, or footprints."""
    n_draws: int
    """Resamples of them; 0 for no errors."""
    block_size: int | None = None
    """Side of the blocks, pixels; `None` if footprints were drawn."""
    caution: str | None = None
    """Why errors cannot be trusted; `None` if they can."""

    @property
    def units(self) -> str:
        """What errors are from, in words."""
        return "footprints" if self.block_size is None else f"blocks of {self.block_size}² pixels of sky"

    def __getitem__(self, name: str) -> ModelRow:
        return self.rows[name]

    def table(self) -> Table:
        """Make a table with a row for each model.

        Each metric with ``<metric>_error`` and, if there is a reference, ``<metric>_difference``,
        ``…_difference_error``, ``…_difference_low``, ``…_difference_high`` and ``…_difference_certain``.
        """
        from astropy.table import Table

        rows = []
        for name, row in self.rows.items():
            entry: dict[str, Any] = {"model": name, "n_missing": row.scores.n_missing}
            for metric in METRICS:
                entry[metric.key] = row.value(metric.key)
                if self.n_draws:
                    entry[f"{metric.key}_error"] = row.errors.get(metric.key, math.nan)
                if self.reference is not None:
                    difference = row.differences.get(metric.key)
                    entry[f"{metric.key}_difference"] = math.nan if difference is None else difference.value
                    for part in ("error", "low", "high") if self.n_draws else ():
                        entry[f"{metric.key}_difference_{part}"] = (
                            math.nan if difference is None else getattr(difference, part)
                        )
                    if self.n_draws:
                        certain = difference is not None and difference.certain
                        entry[f"{metric.key}_difference_certain"] = certain
            rows.append(entry)
        table = Table(rows)
        for metric in METRICS:
            table[metric.key].description = metric.description
        table.meta = self._facts()
        return table

    def _facts(self) -> dict[str, Any]:
        return {
            "reference": self.reference,
            "n_footprints": self.n_footprints,
            "n_scenes": self.n_scenes,
            "n_blocks": self.n_blocks,
            "n_draws": self.n_draws,
            "block_size": self.block_size,
            "caution": self.caution,
            "snr_min": self.snr_min,
            "inside": self.inside,
            "mix": dict(self.mix),
        }

    def to_dict(self) -> dict[str, Any]:
        """Describe it for JSON: facts, and by model its scores, errors and differences."""

        def plain(value: float) -> float | None:
            return round(value, 6) if math.isfinite(value) else None

        models = {}
        for name, row in self.rows.items():
            models[name] = {
                "n_missing": row.scores.n_missing,
                "scores": {m.key: plain(row.value(m.key)) for m in METRICS},
                "errors": {key: plain(value) for key, value in row.errors.items()},
                "differences": {
                    key: {
                        part: value if isinstance(value, bool) else plain(value)
                        for part, value in dataclasses.asdict(difference).items()
                    }
                    for key, difference in row.differences.items()
                },
            }
        one_peak = next(iter(self.rows.values())).one_peak
        facts = self._facts() | {
            "inside": plain(self.inside),
            "mix": {key: plain(value) for key, value in self.mix.items()},
            "one_peak": {"n": one_peak.n, "blended_share": plain(one_peak.blended_share)},
        }
        return facts | {"models": models}

    def format(self, keys: Sequence[str] = SHOWN) -> str:
        """Write a line for each model, with the paired differences in cross-entropy from the reference."""
        metrics = [metric for metric in METRICS if metric.key in keys]
        header = ["", *(metric.label for metric in metrics)]
        if self.reference is not None:
            header.append(f"cross-entropy − {self.reference}")
        lines = [header]
        for name, row in self.rows.items():
            cells = [name]
            for metric in metrics:
                text = format_value(row.value(metric.key), metric.digits)
                if metric.key in row.errors:
                    text += f" ± {format_value(row.errors[metric.key], metric.digits)}"
                cells.append(text)
            if self.reference is not None:
                cells.append(format_difference(row.differences.get("cross_entropy"), 4))
            lines.append(cells)
        return format_columns(lines)


def format_columns(lines: Sequence[Sequence[str]]) -> str:
    """Write lines of cells as columns, the first one at the left, the others at the right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
        ).rstrip()
        for line in lines
    )


def format_value(value: float, digits: int) -> str:
    """Write a number with some digits after the point, or a dash for none."""
    return f"{value:.{digits}f}".replace("-", "−") if math.isfinite(value) else "–"


def format_difference(difference: Difference | None, digits: int) -> str:
    """Write a paired difference with its error, or a dash for none."""
    if difference is None or not math.isfinite(difference.value):
        return "–"
    error = f" ± {difference.error:.{digits}f}" if math.isfinite(difference.error) else ""
    return f"{difference.value:+.{digits}f}{error}".replace("-", "−")


def compare(
    labelled: LabelledScenes,
    predictions: Mapping[str, np.ndarray],
    *,
    reference: str | None = None,
    bootstrap: int = 200,
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
        Resamples of blocks of sky that errors are from, the same for all models; 0 for none.  In small
        pieces of sky blocks are smaller, or single footprints (`.bootstrap.choose_units`), which
        `Comparison.caution` tells.
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
    # The same blocks for all models: what they share cancels in differences.
    units = choose_units(x, y, labelled.sky)
    n_draws = bootstrap if units.n > 1 else 0
    weights = resampled_weights(units.index, draws=n_draws) if n_draws else None
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
            # A model that refuses the hard footprints would win on what is left.
            common = finite[name] & finite[reference]
            one, other = (
                # Resampling is the cost here, and most models classify the same footprints.
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
        # The variance of a bootstrap of n units about their own mean is too small by (n - 1) / n.
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
                # Draw by draw: scores of two models on one resample are correlated, and errors of their
                # difference are far smaller than those of each.
                gap = self.draws[key] - other.draws[key]
                if np.isfinite(gap).any():
                    error = float(np.nanstd(gap)) * math.sqrt(n / (n - 1))
            low, high = difference - reach * error, difference + reach * error
            # At 95 %, and not where a handful of footprints of a kind decides.
            certain = key in known and (low > 0.0 or high < 0.0)
            found[key] = Difference(difference, error, low, high, certain)
        return found

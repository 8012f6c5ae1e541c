# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Plots of how good probabilities are.

Every function takes arrays and returns a matplotlib figure; none shows or
saves it, and none touches the global state of matplotlib.
"""

from __future__ import annotations

__all__ = (
    "accuracy_by_magnitude",
    "probability_histogram",
    "reliability_diagram",
    "roc_curve",
    "roc_points",
    "wilson_interval",
)

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ._style import BLENDED, GRID, INK, MUTED, SINGLE, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def wilson_interval(
    successes: np.ndarray, trials: np.ndarray, z: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the score interval of binomial fractions (Wilson 1927, JASA 22, 209).

    Parameters
    ----------
    successes, trials
        Counts `(k,)`.
    z
        Half-width in standard deviations; 1 is a 68 % interval.

    Returns
    -------
    low, high
        Bounds `(k,)` in [0, 1]; NaN where there was no trial.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        n = np.where(trials > 0, trials, np.nan).astype(np.float64)
        fraction = successes / n
        centre = (fraction + z**2 / (2.0 * n)) / (1.0 + z**2 / n)
        half = z / (1.0 + z**2 / n) * np.sqrt(fraction * (1.0 - fraction) / n + z**2 / (4.0 * n**2))
    return np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)


@styled
def reliability_diagram(
    probability: np.ndarray, blended: np.ndarray, *, n_bins: int = 12, width: float = 5.0
) -> Figure:
    """Draw the blended fraction against the predicted probability, with 68 % binomial errors.

    Parameters
    ----------
    probability
        Predicted probabilities `(n,)`; NaN ones are left out.
    blended
        Whether each is truly a blend `(n,)`.
    n_bins
        Number of bins between 0 and 1.
    width
        Width of the figure in inches.

    Returns
    -------
    figure
        The figure, with the number of footprints in each bin below.
    """
    probability, blended = _finite(probability, blended)
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    index = np.clip(np.digitize(probability, edges) - 1, 0, n_bins - 1)
    trials = np.bincount(index, minlength=n_bins)
    successes = np.bincount(index, weights=blended, minlength=n_bins)
    some = trials > 0
    mean = np.bincount(index, weights=probability, minlength=n_bins)[some] / trials[some]
    fraction = successes[some] / trials[some]
    low, high = (bound[some] for bound in wilson_interval(successes, trials))

    figure = new_figure(width, width)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    upper.plot([0, 1], [0, 1], color=MUTED, lw=1.2, ls=(0, (4, 3)), zorder=1, label="perfectly calibrated")
    errors = np.clip([fraction - low, high - fraction], 0.0, None)
    upper.errorbar(mean, fraction, yerr=errors, fmt="none", ecolor=INK, elinewidth=1.2, capsize=0, zorder=2)
    upper.plot(mean, fraction, color=INK, lw=1.0, alpha=0.35, zorder=2)
    upper.scatter(mean, fraction, c=[_on_white(m) for m in mean], s=42, ec=INK, lw=0.9, zorder=3)
    upper.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="True blended fraction")
    upper.legend(loc="lower right")
    lower.bar(
        edges[:-1],
        np.maximum(trials, 0.5),
        width=1.0 / n_bins,
        align="edge",
        color=[_on_white(e) for e in _mid(edges)],
        ec="white",
        lw=1.0,
    )
    # Empty bins end below the axis: a logarithmic scale cannot show zero.
    lower.set_yscale("log")
    lower.set_ylim(0.8, max(10.0, trials.max() * 1.6))
    lower.set(xlabel="Predicted probability of a blend", ylabel="Footprints")
    lower.grid(axis="x", visible=False)
    figure.align_ylabels()
    return figure


@styled
def roc_curve(
    scores: Mapping[str, np.ndarray],
    blended: np.ndarray,
    *,
    operating_points: Mapping[str, tuple[float, float]] | None = None,
    width: float = 5.0,
) -> Figure:
    """Draw receiver operating characteristics: blends found against singles taken for blends.

    Parameters
    ----------
    scores
        Scores `(n,)` by the name in the legend, the larger the more likely a
        blend; the first is drawn strongest. NaN ones are left out.
    blended
        Whether each footprint is truly a blend `(n,)`.
    operating_points
        Points ``(false-blend rate, recall)`` of yes-or-no methods by name.
    width
        Width of the figure in inches.

    Returns
    -------
    figure
        The figure, with areas under the curves in the legend.
    """
    figure = new_figure(width, width)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=GRID, lw=1.2, zorder=1)
    looks: list[dict[str, Any]] = [
        {"color": BLENDED, "lw": 2.4, "zorder": 4},
        {"color": SINGLE, "lw": 1.7, "ls": (0, (5, 2)), "zorder": 3},
        {"color": MUTED, "lw": 1.5, "ls": (0, (1.5, 1.5)), "zorder": 2},
    ]
    for index, (name, score) in enumerate(scores.items()):
        false_rate, recall = roc_points(*_finite(score, blended))
        area = float(np.trapezoid(recall, false_rate))
        axes.plot(false_rate, recall, label=f"{name}  (area {area:.3f})", **looks[min(index, len(looks) - 1)])
    for marker, (name, point) in zip("sD^v", (operating_points or {}).items(), strict=False):
        axes.plot(*point, marker, ms=7.5, color=INK, mec="white", mew=1.0, label=name, zorder=5, ls="none")
    axes.set(
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
        xlabel="Singles taken for blends",
        ylabel="Blends recognised",
    )
    axes.legend(loc="lower right", handlelength=2.4)
    return figure


@styled
def accuracy_by_magnitude(
    magnitude: np.ndarray,
    blended: np.ndarray,
    called_blended: np.ndarray,
    *,
    bin_width: float = 0.5,
    min_count: int = 10,
    band: str = "i",
    width: float = 10.0,
) -> Figure:
    """Draw the share of blends and of singles that are recognised against the brightest galaxy's magnitude.

    Parameters
    ----------
    magnitude
        Magnitude of the brightest galaxy in each footprint `(n,)`; rows with
        NaN are left out.
    blended
        Whether each is truly a blend `(n,)`.
    called_blended
        Whether each is called a blend `(n,)`.
    bin_width
        Width of a bin in magnitudes.
    min_count
        Bins with fewer footprints of a kind have no point for it.
    band
        Band of the magnitudes.
    width
        Width of the figure in inches.

    Returns
    -------
    figure
        The figure, with 68 % binomial errors, and the numbers below.
    """
    magnitude, blended, called_blended = _finite(magnitude, blended, called_blended)
    blended, called_blended = blended.astype(bool), called_blended.astype(bool)
    first = np.floor(magnitude.min() / bin_width) if len(magnitude) else 0.0
    last = np.floor(magnitude.max() / bin_width) if len(magnitude) else 0.0
    edges = bin_width * np.arange(first, last + 2)
    index = np.digitize(magnitude, edges) - 1
    figure = new_figure(width, 0.5 * width)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    bar = bin_width * 0.42
    drawn = np.zeros(len(edges) - 1, dtype=bool)
    for kind, colour, name, shift in ((False, SINGLE, "Single galaxies", -1), (True, BLENDED, "Blends", 1)):
        mine = blended == kind
        trials = np.bincount(index[mine], minlength=len(edges) - 1)
        right = np.bincount(index[mine & (called_blended == kind)], minlength=len(edges) - 1)
        low, high = wilson_interval(right, trials)
        some = trials >= min_count
        drawn |= some
        centre, share = _mid(edges)[some] + shift * 0.012, right[some] / trials[some]
        errors = np.clip([share - low[some], high[some] - share], 0.0, None)
        upper.errorbar(
            centre,
            share,
            yerr=errors,
            color=colour,
            marker="o" if kind else "s",
            ms=6,
            mec="white",
            mew=0.9,
            elinewidth=1.2,
            label=name,
        )
        lower.bar(_mid(edges) + shift * bar / 2, trials, width=bar, color=colour, ec="white", lw=0.5)
    upper.axhline(0.5, color=MUTED, lw=1.0, ls=(0, (4, 3)), zorder=1)
    upper.set(ylim=(0.0, 1.04), ylabel="Share recognised")
    upper.legend(loc="lower left", ncols=2)
    lower.set(xlabel=f"{band} magnitude of the brightest galaxy in the footprint", ylabel="Footprints")
    lower.grid(axis="x", visible=False)
    if drawn.any():
        lower.set_xlim(edges[:-1][drawn].min() - 0.5, edges[1:][drawn].max() + 0.25)
    figure.align_ylabels()
    return figure


@styled
def probability_histogram(
    probability: np.ndarray, n_peaks: np.ndarray, *, n_bins: int = 20, width: float = 10.0
) -> Figure:
    """Draw how many footprints have which probability, those with one peak beside those with more.

    Parameters
    ----------
    probability
        Probabilities `(n,)`; NaN ones are left out.
    n_peaks
        Number of peaks of each footprint `(n,)`.
    n_bins
        Number of bins between 0 and 1.
    width
        Width of the figure in inches.

    Returns
    -------
    figure
        The figure, with logarithmic counts.
    """
    probability, n_peaks = _finite(probability, n_peaks)
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    figure = new_figure(width, 0.34 * width)
    panels = figure.subplots(1, 2, sharey=True)
    largest = 10.0
    for axes, name, chosen in (
        (panels[0], "One peak", n_peaks <= 1),
        (panels[1], "Several peaks", n_peaks > 1),
    ):
        counts, _ = np.histogram(probability[chosen], edges)
        largest = max(largest, 1.6 * float(counts.max()))
        axes.bar(
            edges[:-1],
            np.maximum(counts, 0.5),
            width=1.0 / n_bins,
            align="edge",
            color=[_on_white(e) for e in _mid(edges)],
            ec="white",
            lw=1.0,
        )
        axes.set_title(f"{name}: {int(chosen.sum()):,} footprints")
        axes.set(xlabel="Probability of a blend", xlim=(-0.02, 1.02))
        axes.grid(axis="x", visible=False)
    # Empty bins end below the axis: a logarithmic scale cannot show zero.
    panels[0].set_yscale("log")
    panels[0].set_ylim(0.8, largest)
    panels[0].set_ylabel("Footprints")
    return figure


def _finite(first: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, ...]:
    """All arrays, at the elements where the first is finite."""
    first = np.asarray(first, dtype=float)
    keep = np.isfinite(first)
    return first[keep], *(np.asarray(other)[keep] for other in others)


def _mid(edges: np.ndarray) -> np.ndarray:
    return 0.5 * (edges[1:] + edges[:-1])


def _on_white(probability: float) -> tuple[float, ...]:
    """Colour of a probability on paper: blue over grey to orange."""
    from matplotlib.colors import to_rgb

    ends = np.array([to_rgb(SINGLE), to_rgb("#c9ccd1"), to_rgb(BLENDED)])
    return tuple(float(np.interp(probability, (0.0, 0.5, 1.0), ends[:, channel])) for channel in range(3))


def roc_points(score: np.ndarray, blended: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute a receiver operating characteristic.

    Parameters
    ----------
    score
        Scores `(n,)`, the larger the more likely a blend.
    blended
        Whether each is truly a blend `(n,)`.

    Returns
    -------
    false_rate, recall
        Share of the singles, and of the blends, that reach each distinct score, from (0, 0) to (1, 1).
    """
    order = np.argsort(-score, kind="stable")
    score, truth = score[order], np.asarray(blended, dtype=bool)[order]
    distinct = np.append(np.diff(score) != 0.0, True) if len(score) else np.zeros(0, dtype=bool)
    recall, false_rate = np.cumsum(truth)[distinct], np.cumsum(~truth)[distinct]
    return (
        np.concatenate([[0.0], false_rate / max(int((~truth).sum()), 1)]),
        np.concatenate([[0.0], recall / max(int(truth.sum()), 1)]),
    )

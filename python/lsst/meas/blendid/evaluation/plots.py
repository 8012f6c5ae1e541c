# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Plots of how good the probabilities of models and their peaks are.

Every function takes arrays and returns a matplotlib figure; none shows or
saves it, and none touches the global state of matplotlib.
"""

from __future__ import annotations

__all__ = (
    "bin_panels",
    "confusion_panels",
    "draw_reliability",
    "line_looks",
    "loss_curves",
    "panel_grid",
    "peak_bin_panels",
    "peak_curve_panels",
    "peak_reliability_panels",
    "probability_histogram",
    "reliability_panels",
    "roc_panels",
)

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..metrics import calibration_line, roc_auc
from .breakdown import Bins
from .drawing import BLENDED, GRID, INK, MUTED, SINGLE, WIDTH, new_figure, styled
from .peak_comparison import PeakBins, PeakComparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_COLOURS = ("#6a3d9a", "#00897b", "#c2185b", "#5d4037", "#0d47a1", "#7cb342", "#00acc1", "#ad8f00", "#455a64")
_DASHES: tuple[Any, ...] = ((0, (1, 1.2)), (0, (4, 2)), (0, (6, 1.5, 1, 1.5)))
_COLUMNS = 4
_RELIABILITY_BINS = 10
_HISTOGRAM_BINS = 20

LEAST_IN_BIN = 10
"""Shares of fewer have an error of 0.15 and more, and are not drawn."""

_VALIDATION = "validation_"


def line_looks(names: Sequence[str], quiet: Collection[str]) -> dict[str, dict[str, Any]]:
    """Choose the line of each model: a colour of its own, grey and broken for the quiet ones, baselines."""
    looks: dict[str, dict[str, Any]] = {}
    n_loud = n_quiet = 0
    for name in names:
        if name in quiet:
            looks[name] = {"color": MUTED, "ls": _DASHES[n_quiet % len(_DASHES)], "lw": 1.4, "zorder": 2}
            n_quiet += 1
        else:
            # After nine colours the same again, broken.
            style = "-" if n_loud < len(_COLOURS) else (0, (5, 1))
            looks[name] = {"color": _COLOURS[n_loud % len(_COLOURS)], "ls": style, "lw": 1.8, "zorder": 3}
            n_loud += 1
    return looks


def panel_grid(n: int, aspect: float) -> tuple[Figure, list[Axes]]:
    """Make a figure with a panel for each of n models, ``aspect`` times as high as wide."""
    # Full rows look better than a last row of one.
    columns = n if n <= _COLUMNS else 3 if n <= 6 or n == 9 else _COLUMNS
    columns = max(columns, 2)
    rows = -(-n // columns)
    figure = new_figure(WIDTH, rows * (WIDTH / columns * aspect))
    axes = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel())
    for unused in axes[n:]:
        unused.set_visible(False)
    for lowest in axes[max(n - columns, 0) : n]:
        lowest.tick_params(labelbottom=True)
    return figure, axes[:n]


def draw_reliability(axes: Axes, p: np.ndarray, truth: np.ndarray) -> None:
    """Draw a reliability curve with 68 % binomial errors, and the line that fits it best.

    From finite probabilities (n,) and whether each came true (n,).
    """
    from astropy.stats import binom_conf_interval

    edges = np.linspace(0.0, 1.0, _RELIABILITY_BINS + 1)
    index = np.clip((p * _RELIABILITY_BINS).astype(int), 0, _RELIABILITY_BINS - 1)
    n = np.bincount(index, minlength=_RELIABILITY_BINS)
    some = n > 0
    hits = np.bincount(index[np.asarray(truth, dtype=bool)], minlength=_RELIABILITY_BINS)
    # Wilson (1927): unlike the normal approximation it has a width where all or none came true.
    low, high = binom_conf_interval(hits[some], n[some], interval="wilson")
    mean = np.bincount(index, p, minlength=_RELIABILITY_BINS)[some] / n[some]
    share = hits[some] / n[some]
    most = float(np.log10(max(int(n.max(initial=1)), 10)))
    # Logarithmic, as most footprints are in the outermost bins.
    heights = 0.3 * np.log10(np.maximum(n, 1)) / most
    side = 1.0 / _RELIABILITY_BINS
    axes.bar(edges[:-1], heights, width=side, align="edge", color=GRID, ec="white", lw=1.0, zorder=0)
    axes.plot([0, 1], [0, 1], color=MUTED, lw=1.0, ls=(0, (4, 3)), zorder=1)
    errors = np.clip([share - low, high - share], 0.0, None)
    axes.errorbar(
        mean, share, yerr=errors, fmt="o-", ms=4.5, mec="white", mew=0.7, color=INK, lw=1.0, zorder=3
    )
    slope, intercept = calibration_line(p, truth)
    if np.isfinite(slope):
        axes.text(
            0.03,
            0.97,
            f"slope {slope:.2f}\nintercept {intercept:+.2f}",
            transform=axes.transAxes,
            va="top",
            fontsize=8,
            color=MUTED,
        )
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))


@styled
def reliability_panels(probabilities: Mapping[str, np.ndarray], blended: np.ndarray) -> Figure:
    """Draw a reliability curve for each model, with 68 % binomial errors.

    Parameters
    ----------
    probabilities
        P(blended) `(n,)` by model; NaN ones are left out.
    blended
        Whether each footprint is a blend `(n,)`.

    Returns
    -------
    figure
        A panel for each model; bars show how many footprints are in a bin, on a logarithmic scale.
    """
    figure, panels = panel_grid(len(probabilities), 1.06)
    for axes, (name, values) in zip(panels, probabilities.items(), strict=True):
        p = np.asarray(values, dtype=np.float64)
        use = np.isfinite(p)
        draw_reliability(axes, p[use], np.asarray(blended, dtype=bool)[use])
        axes.set_title(name, fontsize=9.5)
    figure.supxlabel("Predicted probability of a blend", fontsize=10)
    figure.supylabel("True blended fraction", fontsize=10)
    return figure


@styled
def roc_panels(
    probabilities: Mapping[str, np.ndarray],
    counts: np.ndarray,
    n_peaks: np.ndarray,
    *,
    quiet: Collection[str] = (),
) -> Figure:
    """Draw ROC curves of all footprints with an object, and of those with exactly one peak.

    Parameters
    ----------
    probabilities
        P(blended) `(n,)` by model; NaN ones are left out.
    counts, n_peaks
        True number of objects and number of peaks of each footprint `(n,)`.
    quiet
        Models to draw in grey: baselines.

    Returns
    -------
    figure
        Two panels; the rates at which the recall of one-peak blends is stated are marked.
    """
    from sklearn.metrics import roc_curve

    figure = new_figure(WIDTH, 0.5 * WIDTH)
    panels = figure.subplots(1, 2)
    looks = line_looks(list(probabilities), quiet)
    occupied = np.asarray(counts) > 0
    for axes, use, title, lowest in (
        (panels[0], occupied, "All footprints with an object", 0.001),
        (panels[1], occupied & (np.asarray(n_peaks) == 1), "Those with exactly one peak", 0.001),
    ):
        for name, p in probabilities.items():
            known = use & np.isfinite(p)
            truth = np.asarray(counts)[known] > 1
            if truth.all() or not truth.any():
                continue
            false_rate, recall, _ = roc_curve(truth, np.asarray(p)[known], drop_intermediate=False)
            label = f"{name}  {roc_auc(np.asarray(p)[known], truth):.3f}"
            # On a logarithmic axis what is a line between two points is a curve.
            rate = np.union1d(np.geomspace(lowest, 1.0, 200), false_rate[false_rate >= lowest])
            axes.plot(rate, _upper(rate, false_rate, recall), label=label, **looks[name])
        axes.set_xscale("log")
        axes.set(xlim=(lowest, 1.0), ylim=(0.0, 1.02), xlabel="Singles taken for blends")
        axes.set_title(title)
    for stated in (0.01, 0.05):
        panels[1].axvline(stated, color=GRID, lw=1.6, zorder=1)
    panels[0].set_ylabel("Blends recognised")
    for axes, place in ((panels[0], "lower right"), (panels[1], "upper left")):
        if axes.get_legend_handles_labels()[1]:
            axes.legend(
                loc=place, handlelength=2.4, fontsize=8, title="area under the curve", title_fontsize=8
            )
    return figure


def _upper(rate: np.ndarray, false_rate: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """Recall at each rate: between the points of a curve, and the greatest where several have one rate."""
    last = np.append(np.diff(false_rate) > 0.0, True)
    return np.interp(rate, false_rate[last], recall[last])


@styled
def confusion_panels(
    predictions: Mapping[str, np.ndarray],
    probabilities: Mapping[str, np.ndarray],
    counts: np.ndarray,
) -> Figure:
    """Draw what footprints with 0, 1, 2 … objects are called.

    Parameters
    ----------
    predictions
        P(blended) `(n,)` or P(N) `(n, 5)` by model.
    probabilities
        P(blended) `(n,)` by model.
    counts
        True number of objects in each footprint `(n,)`.

    Returns
    -------
    figure
        A panel for each model: shares of each row.  A model that gives P(N) is shown with the most
        probable number, another with single or blended, whichever is more likely.
    """
    figure, panels = panel_grid(len(predictions), 1.05)
    # P(N) has one class for four and more.
    true = np.minimum(np.asarray(counts), 4)
    names = ["0", "1", "2", "3", "≥ 4"]
    for axes, (name, prediction) in zip(panels, predictions.items(), strict=True):
        p = probabilities[name]
        use = np.isfinite(p)
        matrix = np.zeros((5, 5))
        if prediction.ndim == 2:
            np.add.at(matrix, (true[use], np.argmax(prediction[use], axis=1)), 1.0)
        else:
            # Called single: column 1; called blended: 2, drawn over all of 2 and more.
            np.add.at(matrix, (true[use], np.where(p[use] > 0.5, 2, 1)), 1.0)
        total = matrix.sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = matrix / total
        _draw_shares(axes, share, prediction.ndim == 2)
        axes.set_title(name, fontsize=9.5)
        axes.set_yticks(range(5), names)
        axes.set_xticks(range(5), names)
    figure.supxlabel("Called", fontsize=10)
    figure.supylabel("True number of objects", fontsize=10)
    return figure


def _draw_shares(axes: Axes, share: np.ndarray, each: bool) -> None:
    """Draw cells with their percentages; without P(N), one wide cell for all blends."""
    from matplotlib.patches import Rectangle

    axes.set(xlim=(-0.5, 4.5), ylim=(4.5, -0.5))
    axes.set_aspect("equal")
    axes.grid(visible=False)
    columns = [(k, k - 0.5, 1.0) for k in range(5)] if each else [(1, -0.5, 2.0), (2, 1.5, 3.0)]
    for row in range(5):
        for column, left, size in columns:
            value = share[row, column]
            right = (row > 1) == (column > 1)
            colour = (BLENDED if column > 1 else SINGLE) if right else INK
            if np.isfinite(value):
                axes.add_patch(
                    Rectangle(
                        (left, row - 0.5), size, 1.0, fc=colour, alpha=0.04 + 0.7 * value, ec="white", lw=1.0
                    )
                )
                axes.text(
                    left + size / 2,
                    row,
                    f"{100.0 * value:.0f}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color=INK if value < 0.6 else "white",
                )


@styled
def bin_panels(
    bins: Sequence[Bins],
    names: Sequence[str],
    *,
    quiet: Collection[str] = (),
) -> Figure:
    """Draw how well models do in bins of several quantities.

    Parameters
    ----------
    bins
        The quantities.  Those that only blends have are drawn as the share of blends that is
        recognised, others as balanced accuracy.
    names
        Models to draw.
    quiet
        Models to draw in grey: baselines.

    Returns
    -------
    figure
        A panel for each quantity, with the number of footprints of each bin above the axis; bins with
        fewer than ten footprints of a kind that is needed have no point.
    """
    rows = -(-len(bins) // 2)
    figure = new_figure(WIDTH, rows * 0.36 * WIDTH)
    panels = list(figure.subplots(rows, min(len(bins), 2), squeeze=False).ravel())
    looks = line_looks(names, quiet)
    for axes, one in zip(panels, bins, strict=False):
        position = np.arange(len(one.edges) - 1)
        both = one.n_single.sum() > 0
        # The scarcer kind limits what balanced accuracy is known to.
        n = np.minimum(one.n_blended, one.n_single) if both else one.n_blended
        for name in names:
            value = 0.5 * (one.recognised[name] + one.kept[name]) if both else one.recognised[name]
            value = np.where(n >= LEAST_IN_BIN, value, np.nan)
            axes.plot(position, value, marker="o", ms=4, mec="white", mew=0.6, label=name, **looks[name])
        total = one.n_blended + one.n_single
        axes.set_xticks(
            position, [f"{text}\n{k:,}" for text, k in zip(one.names(), total, strict=True)], fontsize=7.5
        )
        axes.set(xlabel=one.label, ylabel="balanced accuracy" if both else "blends recognised")
        axes.set_xlim(-0.5, len(position) - 0.5)
        axes.grid(axis="x", visible=False)
    for unused in panels[len(bins) :]:
        unused.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=8.5, handlelength=2.6)
    return figure


@styled
def probability_histogram(probability: np.ndarray, n_peaks: np.ndarray) -> Figure:
    """Draw how many footprints have which probability (n,), those with one peak beside those with more.

    Counts are logarithmic; NaN probabilities are left out.
    """
    probability, n_peaks = _finite(probability, n_peaks)
    edges = np.linspace(0.0, 1.0, _HISTOGRAM_BINS + 1)
    figure = new_figure(WIDTH, 0.34 * WIDTH)
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
            width=1.0 / _HISTOGRAM_BINS,
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


@styled
def loss_curves(history: Mapping[str, Sequence[float | None]]) -> Figure:
    """Draw what a training run reported for each epoch, a panel for each quantity.

    Curves whose names differ by ``validation_`` alone share a panel; a mark is where a validation loss has
    its minimum.  Raises a ValueError if there is no curve.
    """
    if not history:
        raise ValueError("there are no curves to draw: this classifier reports none")
    panels: dict[str, list[str]] = {}
    for name in history:
        panels.setdefault(name.replace(_VALIDATION, ""), []).append(name)
    figure = new_figure(6.0, 2.6 * len(panels))
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axis, (quantity, names) in zip(axes, panels.items(), strict=True):
        for color, name in zip((SINGLE, BLENDED, INK, MUTED) * len(names), names, strict=False):
            values = np.array([np.nan if v is None else v for v in history[name]], dtype=np.float64)
            steps = np.arange(1, len(values) + 1)
            is_validation = _VALIDATION in name
            label = "validation" if is_validation else "training"
            axis.plot(steps, values, color=color, label=label, marker="." if len(values) < 30 else "")
            if is_validation and "loss" in quantity and np.isfinite(values).any():
                best = int(np.nanargmin(values))
                axis.plot(steps[best], values[best], "o", color=color, markersize=7)
        axis.set_title(quantity.replace("_", " "))
        if len(names) > 1:
            axis.legend()
    axes[-1].set_xlabel("epoch")
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


def _looks(comparison: PeakComparison) -> dict[str, dict[str, Any]]:
    """Line of each list; those without probabilities are grey."""
    quiet = [name for name, row in comparison.rows.items() if row.curve is None]
    return line_looks(list(comparison.rows), quiet)


@styled
def peak_curve_panels(comparison: PeakComparison) -> Figure:
    """Draw completeness against purity, and both against the threshold.

    A list without probabilities is a point; purity is a line and completeness a broken one.
    """
    figure = new_figure(WIDTH, 0.46 * WIDTH)
    left, right = figure.subplots(1, 2)
    looks = _looks(comparison)
    # The axis shows at least this much, so that small differences stay small.
    lowest = [0.8]
    for name, row in comparison.rows.items():
        if row.curve is None:
            look = {key: value for key, value in looks[name].items() if key in ("color", "zorder")}
            left.plot(
                row.values["purity"],
                row.values["completeness"],
                marker="D",
                ls="none",
                ms=6,
                label=name,
                **look,
            )
            lowest.append(row.values["completeness"])
            continue
        left.plot(row.curve.purity, row.curve.completeness, label=name, **looks[name])
        color = looks[name]["color"]
        right.plot(row.curve.threshold, row.curve.purity, color=color, lw=1.8, label=name)
        right.plot(row.curve.threshold, row.curve.completeness, color=color, lw=1.8, ls=(0, (4, 2)))
        lowest.append(float(np.min(row.curve.completeness[row.curve.threshold <= 0.9], initial=1.0)))
    if np.isfinite(comparison.purity):
        left.axvline(comparison.purity, color=GRID, lw=1.6, zorder=1)
    # What is less pure is of no use to anybody.
    left.set(xlim=(0.5, 1.003), ylim=(max(min(lowest) - 0.05, 0.0), 1.003))
    left.set(
        xlabel="Purity: share of the peaks that are galaxies", ylabel="Completeness: share of galaxies found"
    )
    left.legend(loc="lower left", fontsize=8)
    left.set_title("As the threshold falls")
    right.plot([], [], color=MUTED, lw=1.8, label="purity")
    right.plot([], [], color=MUTED, lw=1.8, ls=(0, (4, 2)), label="completeness")
    right.set(xlim=(0.0, 1.0), ylim=(0.0, 1.02), xlabel="Least probability of a peak")
    right.legend(loc="lower left", fontsize=8)
    right.set_title("By threshold")
    return figure


@styled
def peak_reliability_panels(comparison: PeakComparison) -> Figure:
    """Draw the share of peaks that are galaxies against their probability, with 68 % errors.

    At least one list needs probabilities.
    """
    rows = [row for row in comparison.rows.values() if row.curve is not None]
    figure, panels = panel_grid(len(rows), 1.0 if len(rows) > 2 else 0.8)
    for axes, row in zip(panels, rows, strict=True):
        draw_reliability(axes, row.p, row.is_true)
        axes.set_title(row.name, fontsize=9.5)
    figure.supxlabel("Probability of a peak", fontsize=10)
    figure.supylabel("Share that are galaxies", fontsize=10)
    return figure


@styled
def peak_bin_panels(comparison: PeakComparison) -> Figure:
    """Draw completeness and purity in bins of magnitude and separation.

    Bins with fewer than ten galaxies, or peaks, have no point.
    """
    bins = comparison.bins
    figure = new_figure(WIDTH, len(bins) * 0.36 * WIDTH + 0.3)
    panels = figure.subplots(len(bins), 2, squeeze=False)
    looks = _looks(comparison)
    for one, (left, right) in zip(bins, panels, strict=True):
        for name in comparison.rows:
            style = {"marker": "o", "ms": 4, "mec": "white", "mew": 0.6, "label": name} | looks[name]
            position = np.arange(len(one.names))
            left.plot(
                position, np.where(one.n_galaxies >= LEAST_IN_BIN, one.completeness[name], np.nan), **style
            )
            right.plot(
                position, np.where(one.n_peaks[name] >= LEAST_IN_BIN, one.purity[name], np.nan), **style
            )
        most = np.max(np.stack(list(one.n_peaks.values())), axis=0)
        _name_bins(left, one, one.n_galaxies, one.label, "completeness")
        _name_bins(right, one, most, one.peak_label, "purity")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=8.5, handlelength=2.6)
    return figure


def _name_bins(axes: Axes, bins: PeakBins, number: np.ndarray, label: str, what: str) -> None:
    """Write the names of the bins with the number in each below the axis."""
    names = [name.replace("alone", "alone" if what == "completeness" else "first") for name in bins.names]
    axes.set_xticks(
        np.arange(len(names)), [f"{name}\n{n:,}" for name, n in zip(names, number, strict=True)], fontsize=7.5
    )
    axes.set(xlabel=label, ylabel=what, xlim=(-0.5, len(names) - 0.5), ylim=(None, 1.03))
    axes.grid(axis="x", visible=False)

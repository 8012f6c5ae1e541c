# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Plots of how good peaks are.

Every function takes a comparison and returns a matplotlib figure; none shows or
saves it, and none touches the global state of matplotlib.
"""

from __future__ import annotations

__all__ = ("peak_bin_panels", "peak_curve_panels", "peak_reliability_panels")

from typing import TYPE_CHECKING, Any

import numpy as np

from .drawing import GRID, MUTED, WIDTH, new_figure, styled
from .peak_breakdown import PeakBins
from .peak_comparison import PeakComparison
from .plots import LEAST_IN_BIN, draw_reliability, line_looks, panel_grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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

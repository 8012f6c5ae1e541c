# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The part of a page that is about peaks: tables and figures."""

from __future__ import annotations

__all__ = ("add_peaks",)

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ._html import Page
from .comparison_table import format_value
from .peak_comparison import PeakComparison
from .peak_plots import peak_bin_panels, peak_curve_panels, peak_reliability_panels
from .peak_scores import PEAK_METRICS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FOUND = (
    "purity",
    "completeness",
    "fainter",
    "fainter_one_peak",
    "offset",
    "likely_purity",
    "likely_completeness",
    "inferred_purity",
)
_PROBABILITIES = ("slope", "intercept", "ece", "ellipse", "sum_excess", "sum_rms", "expected_excess")
_SPLITS = ("singles_split", "pairs_split")


def add_peaks(page: Page, comparison: PeakComparison, *, to_png: Callable[[Figure], bytes]) -> None:
    """Say how good peaks are.

    Parameters
    ----------
    page
        Page to add to.
    comparison
        The lists of peaks.
    to_png
        Makes the file of a figure.
    """
    page.subheading("Which galaxies are found, and where")
    text = (
        f"Peaks and the {comparison.n_galaxies:,} galaxies that count and lie in footprints are matched one "
        f"to one within {comparison.radius:g} pixels, the more probable peaks first. "
    )
    if math.isfinite(comparison.purity):
        text += (
            "Peaks with probabilities are cut where they are as pure as the detected peaks, "
            f"{comparison.purity:.3f}, so that completeness can be compared; likely peaks are those with a "
            f"probability over {comparison.likely:g}. "
        )
    page.paragraph(
        text + "The fainter galaxy of a blend of two is what a deblender loses that has no peak for it; with "
        "one detected peak nothing tells that it is there."
    )
    _table(page, comparison, _FOUND)
    page.figures(
        [
            (
                to_png(peak_curve_panels(comparison)),
                "**Purity and completeness.** Diamonds have no probabilities, and so no threshold; the grey "
                "line is the purity at which others are compared with them.",
                "Completeness against purity, and both against the threshold.",
            )
        ]
    )
    page.figures(
        [
            (
                to_png(peak_bin_panels(comparison)),
                "**Where it is hard.** Completeness by what is true of a galaxy, purity by what is seen of a "
                "peak, at the same threshold; below each bin the number of galaxies, or of peaks in the "
                "longest list. The first peak of a footprint is the most probable one.",
                "Completeness and purity in bins of magnitude and separation.",
            )
        ]
    )
    if all(row.curve is None for row in comparison.rows.values()):
        return
    page.paragraph(
        "A probability is right when that share of the peaks that have it are galaxies. Ellipses are right "
        "when 68 % hold the galaxy of their peak. Where peaks and P(N) agree, the probabilities of a "
        "footprint's peaks add up to the number of galaxies that P(N) expects: the table has the relative "
        "difference of the sums, and the root mean square by footprint."
    )
    _table(page, comparison, _PROBABILITIES)
    page.figures(
        [
            (
                to_png(peak_reliability_panels(comparison)),
                "**Calibration of peaks.** Points should lie on the diagonal. Bars are 68 % binomial "
                "intervals; the grey columns show how many peaks there are, on a logarithmic scale.",
                "Reliability curves of peaks.",
            )
        ]
    )
    page.paragraph(
        "A deblender skips a footprint with one detected peak as isolated. Likely inferred peaks split it: "
        "wrongly if it has one galaxy, rightly if it has two and both have a peak."
    )
    _table(page, comparison, _SPLITS)


def _table(page: Page, comparison: PeakComparison, keys: Sequence[str]) -> None:
    """Add a table with a row for each list that has one of the scores."""
    metrics = [next(metric for metric in PEAK_METRICS if metric.key == key) for key in keys]
    rows = []
    for name, row in comparison.rows.items():
        if not any(math.isfinite(row.values[key]) for key in keys):
            continue
        cells = [name]
        for metric in metrics:
            text = format_value(row.values[metric.key], metric.digits)
            error = row.errors.get(metric.key, math.nan)
            cells.append(
                f"{text} {{error|± {format_value(error, metric.digits)}}}" if math.isfinite(error) else text
            )
        rows.append(cells)
    page.table(["", *(metric.label for metric in metrics)], rows)

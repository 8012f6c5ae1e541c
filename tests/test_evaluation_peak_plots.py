# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Plots of how good peaks are."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.meas.blendid.evaluation.peak_comparison import DETECTED, PeakComparison, compare_peaks
from lsst.meas.blendid.evaluation.peak_plots import (
    peak_bin_panels,
    peak_curve_panels,
    peak_reliability_panels,
)
from toy_peaks import make_found


@pytest.fixture(scope="module")
def comparison() -> PeakComparison:
    return compare_peaks(make_found(20), bootstrap=8)


def test_curves_end_at_the_scores(comparison: PeakComparison) -> None:
    figure = peak_curve_panels(comparison)
    left, right = figure.axes
    lines = {line.get_label(): line for line in left.lines}
    values = comparison[DETECTED].values
    assert lines[DETECTED].get_xydata().tolist() == [[values["purity"], values["completeness"]]]
    for name in ("calibrated", "no ellipse"):
        row = comparison[name]
        assert row.curve is not None
        np.testing.assert_array_equal(lines[name].get_xdata(), row.curve.purity)
        points = lines[name].get_xydata()
        wanted = [row.values["purity"], row.values["completeness"]]
        assert np.abs(points - wanted).sum(axis=1).min() < 1e-12
    assert len([line for line in right.lines if len(line.get_xdata())]) == 4
    figure.canvas.draw()


def test_reliability_and_bins(comparison: PeakComparison) -> None:
    figure = peak_reliability_panels(comparison)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["calibrated", "no ellipse"]
    figure.canvas.draw()
    figure = peak_bin_panels(comparison)
    assert len(figure.axes) == 4
    labels = [text.get_text() for text in figure.axes[2].get_xticklabels()]
    separation = comparison.bins[1]
    assert labels[-1] == f"alone\n{separation.n_galaxies[-1]:,}"
    assert figure.axes[3].get_xticklabels()[-1].get_text().startswith("first\n")
    line = next(line for line in figure.axes[2].lines if line.get_label() == "calibrated")
    some = separation.n_galaxies >= 10
    np.testing.assert_array_equal(line.get_ydata()[some], separation.completeness["calibrated"][some])
    assert np.isnan(line.get_ydata()[~some]).all()
    figure.canvas.draw()

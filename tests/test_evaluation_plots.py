# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Plots of probabilities and peaks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from lsst.meas.blendid.evaluation.breakdown import bin_scores, summarize_scenes
from lsst.meas.blendid.evaluation.peak_comparison import DETECTED, PeakComparison, compare_peaks
from lsst.meas.blendid.evaluation.plots import (
    bin_panels,
    confusion_panels,
    loss_curves,
    peak_bin_panels,
    peak_curve_panels,
    peak_reliability_panels,
    probability_histogram,
    reliability_panels,
    roc_panels,
)
from scipy.stats import binomtest
from toy_comparison import toy_scored
from toy_peaks import make_found


def test_plots_of_many_models() -> None:
    scored = toy_scored()
    many = {f"model {k}": scored.p_blended("good") for k in range(11)}
    counts = scored.labelled.counts
    assert len(reliability_panels(many, counts > 1).axes) >= 11
    figure = roc_panels(many, counts, scored.labelled.samples.n_peaks, quiet=["model 3"])
    assert [len(axes.lines) for axes in figure.axes] == [11, 13]
    figure = roc_panels(many, np.ones_like(counts), scored.labelled.samples.n_peaks)
    assert [len(axes.lines) for axes in figure.axes] == [0, 2]
    shares = confusion_panels(
        {"counts": scored.predictions["counts"]}, {"counts": scored.p_blended("counts")}, counts
    )
    rows = np.reshape([float(t.get_text()) for t in shares.axes[0].texts], (-1, 5))
    np.testing.assert_allclose(rows.sum(axis=1), 100.0, atol=2.5)
    truth = summarize_scenes(scored.labelled)
    bins = bin_scores({"good": scored.p_blended("good")}, scored.labelled.samples, counts, truth)
    assert len(bin_panels(bins, ["good"]).axes) == 4


def test_reliability_shows_the_fractions_with_binomial_errors() -> None:
    p = np.repeat([0.05, 0.55, 0.95], 100)
    blended = np.concatenate([np.arange(100) < k for k in (5, 40, 100)])
    p[0] = np.nan
    (axes,) = reliability_panels({"a": p}, blended).axes[:1]
    line, (bars,) = axes.containers[1].lines[0], axes.containers[1].lines[2]
    np.testing.assert_allclose(line.get_xydata(), [[0.05, 4 / 99], [0.55, 0.4], [0.95, 1.0]], rtol=1e-6)
    for (_, low), (_, high), (hits, n) in zip(
        *np.swapaxes(bars.get_segments(), 0, 1), [(4, 99), (40, 100), (100, 100)], strict=True
    ):
        # The confidence of one standard deviation on either side.
        expected = binomtest(hits, n).proportion_ci(0.6826894921370859, method="wilson")
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-5)
    heights = np.array([bar.get_height() for bar in axes.patches])
    assert np.flatnonzero(heights).tolist() == [0, 5, 9] and heights[0] < heights[5]


def test_legends_name_models_and_areas() -> None:
    counts = 1 + np.arange(40) % 2
    scores = {"a": (counts > 1).astype(float), "b": np.full(40, 0.5)}
    left, right = roc_panels(scores, counts, np.ones(40, int)).axes
    for axes in (left, right):
        texts = [text.get_text() for text in axes.get_legend().get_texts()]
        assert texts == ["a  1.000", "b  0.500"]
    # From no to all singles taken for blends, on a logarithmic scale.
    line = left.lines[1]
    np.testing.assert_allclose(line.get_ydata(), line.get_xdata())


@settings(max_examples=10)
@given(hnp.arrays(np.float64, 20, elements=st.floats(0, 1) | st.just(np.nan)), hnp.arrays(bool, 20))
def test_any_probabilities_can_be_drawn(p: np.ndarray, blended: np.ndarray) -> None:
    reliability_panels({"p": p}, blended).canvas.draw()
    roc_panels({"p": p}, 1 + blended, np.ones(20, int)).canvas.draw()
    probability_histogram(p, 1 + blended).canvas.draw()


def test_histograms_part_what_has_several_peaks() -> None:
    p = np.array([0.1, 0.1, 0.9, np.nan])
    one, several = probability_histogram(p, np.array([1, 2, 1, 1])).axes
    assert one.get_title(loc="left") == "One peak: 2 footprints"
    assert several.get_title(loc="left") == "Several peaks: 1 footprints"
    assert [bar.get_height() for bar in several.patches if bar.get_height() >= 1] == [1]


def test_a_panel_for_each_quantity_with_its_best_epoch() -> None:
    figure = loss_curves(
        {
            "loss": [1.0, 0.5, 0.4],
            "validation_loss": [1.1, 0.7, 0.9],
            "part_0_loss": [2.0, 1.0, 0.5],
            "part_0_validation_loss": [None, 0.9, float("nan")],
            "rate": [0.1, 0.1, 0.05],
        }
    )
    axes = figure.axes
    assert [axis.get_title(loc="left") for axis in axes] == ["loss", "part 0 loss", "rate"]
    # Two curves and the mark of the best epoch.
    assert [len(axis.lines) for axis in axes] == [3, 3, 1]
    assert [axis.lines[2].get_xdata()[0] for axis in axes[:2]] == [2, 2]
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == ["training", "validation"]


def test_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="no curves"):
        loss_curves({})


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

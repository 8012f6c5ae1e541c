# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Plots, pictures and the geometry below them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from lsst.meas.blendid._colors import DETECTED_PEAK, INFERRED_PEAK
from lsst.meas.blendid.evaluation._outlines import (
    asinh_stretch,
    cut_window,
    outline_segments,
    rasterize_spans,
)
from lsst.meas.blendid.evaluation._peak_marks import PeakMarks, draw_ellipses, draw_peaks, ellipse_shapes
from lsst.meas.blendid.evaluation._style import new_figure, probability_colormap
from lsst.meas.blendid.evaluation.gallery import cutout_gallery, make_stamp
from lsst.meas.blendid.evaluation.pictures import footprint_overlay, patch_overview
from lsst.meas.blendid.evaluation.plots import (
    accuracy_by_magnitude,
    reliability_diagram,
    roc_curve,
    roc_points,
    wilson_interval,
)
from lsst.meas.blendid.footprints import labels_to_spans
from lsst.meas.blendid.metrics import roc_auc
from matplotlib.colors import to_hex
from scipy.stats import binomtest

LABELS = hnp.arrays(
    np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 3)
)


def _tables() -> tuple[np.ndarray, Table, Table, Table]:
    """A 40 x 60 image at (100, 200) with two footprints, p = 0.1 and 0.9."""
    labels = np.zeros((40, 60), np.int32)
    labels[5:12, 5:15] = 1
    labels[20:34, 30:50] = 2
    spans = labels_to_spans(labels, (100, 200))
    blend = Table(
        {
            "footprint_id": [1, 2],
            "bbox_x0": [105, 130],
            "bbox_y0": [205, 220],
            "bbox_x1": [114, 149],
            "bbox_y1": [211, 233],
            "p_blended": np.array([0.1, 0.9], "f4"),
        }
    )
    peaks = Table(
        {
            "footprint_id": [1, 2, 2],
            "f_x": [109.0, 135.0, 145.0],
            "f_y": [208.0, 225.0, 230.0],
            "probability": np.array([np.nan, np.nan, 0.25], "f4"),
        }
    )
    image = np.random.default_rng(3).normal(size=labels.shape).astype("f4") + 20 * (labels > 0)
    return image, blend, peaks, Table(spans, names=["footprint_id", "y", "x0", "x1"])


@given(LABELS)
def test_outlines_are_the_pixel_edges(labels: np.ndarray) -> None:
    """Brute force: every edge between unlike pixels, once for each footprint that it bounds."""
    expected = set()
    for axis, (dy, dx) in enumerate([(1, 0), (0, 1)]):
        for y, x in np.ndindex(labels.shape[0] - dy, labels.shape[1] - dx):
            a, b = labels[y, x], labels[y + dy, x + dx]
            if a != b:
                expected |= {(axis, y, x, int(owner)) for owner in (a, b) if owner}
    segments, ids = outline_segments(labels, (7, -2))
    found = []
    for ((x0, y0), (x1, y1)), owner in zip(segments - (7, -2), ids, strict=True):
        if y0 == y1:
            assert x1 > x0
            found += [(0, int(y0 - 0.5), x, int(owner)) for x in range(int(x0 + 0.5), int(x1 + 0.5))]
        else:
            assert x0 == x1
            assert y1 > y0
            found += [(1, y, int(x0 - 0.5), int(owner)) for y in range(int(y0 + 0.5), int(y1 + 0.5))]
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_straight_outlines_are_one_segment_a_side() -> None:
    labels = np.zeros((30, 40), np.int32)
    labels[5:20, 10:30] = 4
    segments, ids = outline_segments(labels, (0, 0))
    assert sorted(map(tuple, segments.reshape(-1, 4))) == [
        (9.5, 4.5, 9.5, 19.5),
        (9.5, 4.5, 29.5, 4.5),
        (9.5, 19.5, 29.5, 19.5),
        (29.5, 4.5, 29.5, 19.5),
    ]
    assert set(ids) == {4}


@given(LABELS, st.integers(-5, 12), st.integers(-5, 12), st.integers(0, 12), st.integers(0, 12))
def test_spans_are_drawn_into_any_window(labels: np.ndarray, x: int, y: int, width: int, height: int) -> None:
    spans = labels_to_spans(labels, (2, 3))
    window = (x, y, x + width, y + height)
    drawn = rasterize_spans(*spans.T, window)
    np.testing.assert_array_equal(drawn, cut_window(labels, (2, 3), window, fill=0))


@given(LABELS, st.integers(-12, 12), st.integers(-12, 12), st.integers(0, 9), st.integers(0, 9))
def test_windows_are_filled_outside(image: np.ndarray, x: int, y: int, width: int, height: int) -> None:
    padded = np.pad(image, 30, constant_values=-1)
    expected = padded[y + 30 : y + 31 + height, x + 30 : x + 31 + width]
    np.testing.assert_array_equal(cut_window(image, (0, 0), (x, y, x + width, y + height), fill=-1), expected)


def test_empty_window_is_refused() -> None:
    with pytest.raises(ValueError, match="no pixel"):
        cut_window(np.zeros((3, 3)), (0, 0), (2, 0, 1, 4))


@given(hnp.arrays(np.float32, (5, 7), elements=st.floats(-1e6, 1e6, width=32)), st.floats(0.01, 100))
def test_stretch_keeps_the_order(image: np.ndarray, noise: float) -> None:
    image[0, 0] = np.nan
    out = asinh_stretch(image, noise)
    assert out[0, 0] == 0.0
    assert (out >= 0.0).all()
    assert (out <= 1.0 + 1e-6).all()
    order = np.argsort(image.ravel()[1:], kind="stable")
    assert (np.diff(out.ravel()[1:][order]) >= -1e-6).all()


@pytest.mark.parametrize("noise", [0.0, -1.0, np.nan, np.inf])
def test_stretch_needs_noise(noise: float) -> None:
    with pytest.raises(ValueError, match="noise"):
        asinh_stretch(np.zeros((2, 2)), noise)


@given(st.integers(0, 50), st.integers(1, 50))
def test_binomial_interval_agrees_with_scipy(successes: int, trials: int) -> None:
    successes = min(successes, trials)
    low, high = wilson_interval(np.array([successes, 0]), np.array([trials, 0]), z=1.0)
    # The confidence of one standard deviation on either side.
    expected = binomtest(successes, trials).proportion_ci(0.6826894921370859, method="wilson")
    assert low[0] == pytest.approx(expected.low, abs=1e-9)
    assert high[0] == pytest.approx(expected.high, abs=1e-9)
    assert np.isnan(low[1])
    assert np.isnan(high[1])


@given(
    hnp.arrays(np.float64, 30, elements=st.integers(0, 6).map(float)),
    hnp.arrays(bool, 30),
)
def test_area_under_the_drawn_curve_is_the_score(score: np.ndarray, blended: np.ndarray) -> None:
    blended[:2] = [True, False]
    false_rate, recall = roc_points(score, blended)
    assert np.trapezoid(recall, false_rate) == pytest.approx(roc_auc(score, blended))
    assert (false_rate[0], recall[0], false_rate[-1], recall[-1]) == (0.0, 0.0, 1.0, 1.0)


def test_reliability_shows_the_fractions() -> None:
    p = np.repeat([0.05, 0.55, 0.95], 100)
    blended = np.concatenate([np.arange(100) < k for k in (5, 40, 100)])
    p[0] = np.nan
    figure = reliability_diagram(p, blended, n_bins=10)
    (points,) = figure.axes[0].collections[-1:]
    np.testing.assert_allclose(points.get_offsets(), [[0.05, 4 / 99], [0.55, 0.4], [0.95, 1.0]], rtol=1e-6)
    assert [bar.get_height() for bar in figure.axes[1].patches] == [99, *[0.5] * 4, 100, *[0.5] * 3, 100]


def test_roc_legend_names_all_methods() -> None:
    blended = np.arange(40) % 2 == 0
    figure = roc_curve(
        {"a": blended.astype(float), "b": np.zeros(40)}, blended, operating_points={"rule": (0.1, 0.7)}
    )
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert texts == ["a  (area 1.000)", "b  (area 0.500)", "rule"]


def test_accuracy_by_magnitude_counts_each_kind() -> None:
    magnitude = np.full(100, 24.1)
    magnitude[-1] = np.nan
    blended = np.arange(100) < 40
    called = np.arange(100) < 20
    figure = accuracy_by_magnitude(magnitude, blended, called)
    (singles, blends) = (container.lines[0].get_ydata() for container in figure.axes[0].containers)
    assert singles == pytest.approx([1.0])
    assert blends == pytest.approx([0.5])
    assert [bar.get_height() for bar in figure.axes[1].patches if bar.get_height()] == [59, 40]


def test_accuracy_by_magnitude_of_nothing_is_empty() -> None:
    figure = accuracy_by_magnitude(np.array([np.nan]), np.array([True]), np.array([True]))
    assert all(len(container.lines[0].get_ydata()) == 0 for container in figure.axes[0].containers)


def test_overlay_colours_outlines_and_peaks() -> None:
    image, blend, peaks, spans = _tables()
    figure = footprint_overlay(image, 1.0, (100, 200), blend, peaks, spans, pixel_scale=0.2)
    lines, dots = figure.axes[0].collections
    colours = {tuple(np.round(colour, 4)) for colour in lines.get_colors()}
    assert colours == {tuple(np.round(probability_colormap()(float(np.float32(p))), 4)) for p in (0.1, 0.9)}
    np.testing.assert_allclose(dots.get_array(), [0.1, 0.9, 0.9], rtol=1e-6)
    np.testing.assert_array_equal(dots.get_offsets(), np.stack([peaks["f_x"], peaks["f_y"]], axis=1))
    # A peak that is probably nothing is a small dot.
    sizes = dots.get_sizes()
    assert sizes[0] == sizes[1] > 2.0 * sizes[2]
    figure.canvas.draw()


def test_overlay_shows_inferred_peaks_otherwise() -> None:
    image, blend, peaks, spans = _tables()
    peaks["is_inferred"] = [False, False, True]
    figure = footprint_overlay(image, 1.0, (100, 200), blend, peaks, spans)
    _, dots, diamonds = figure.axes[0].collections
    assert len(dots.get_offsets()) == 2
    np.testing.assert_array_equal(diamonds.get_offsets(), [[145.0, 230.0]])
    assert to_hex(diamonds.get_edgecolors()[0]) == INFERRED_PEAK
    assert len(diamonds.get_facecolors()) == 0
    figure.canvas.draw()


def test_overlay_leaves_out_what_is_outside_of_the_window() -> None:
    image, blend, peaks, spans = _tables()
    figure = footprint_overlay(image, 1.0, (100, 200), blend, peaks, spans, window=(100, 200, 119, 214))
    lines, dots = figure.axes[0].collections
    assert len(dots.get_offsets()) == 1
    assert len({tuple(colour) for colour in lines.get_colors()}) == 1


def test_stamps_hold_their_footprint() -> None:
    image, blend, _, spans = _tables()
    galaxies = np.array([[109.0, 208.0], [300.0, 300.0]])
    stamp = make_stamp(image, 1.0, (100, 200), blend, spans, 0, size=21, count=1, truth=galaxies)
    assert stamp.image.shape == stamp.labels.shape == (21, 21)
    assert (stamp.labels == 1).sum() == 70
    np.testing.assert_array_equal(stamp.truth, galaxies[:1])
    # It reaches over the edge of the image.
    assert np.isnan(stamp.image).any()
    figure = cutout_gallery({"one": [stamp] * 9, "none": []}, columns=4)
    assert len(figure.axes) == 4
    assert figure.axes[0].texts[0].get_text() == "p = 0.10      true N = 1"
    figure.canvas.draw()


def test_stamps_show_the_peaks_of_their_footprint() -> None:
    image, blend, peaks, spans = _tables()
    peaks["is_inferred"] = [False, False, True]
    stamp = make_stamp(image, 1.0, (100, 200), blend, spans, 1, size=31, peaks=peaks)
    assert stamp.peaks is not None and stamp.peaks.x.tolist() == [135.0, 145.0]
    figure = cutout_gallery({"one": [stamp]})
    rings, diamonds = figure.axes[0].collections[-2:]
    assert [to_hex(c.get_edgecolors()[0]) for c in (rings, diamonds)] == [DETECTED_PEAK, INFERRED_PEAK]
    assert [c.get_offsets().tolist() for c in (rings, diamonds)] == [[[135.0, 225.0]], [[145.0, 230.0]]]
    figure.canvas.draw()


@given(st.floats(0.05, 3.0), st.floats(0.05, 1.0), st.floats(-89.0, 89.0))
def test_ellipses_are_those_of_the_covariance(long: float, ratio: float, angle: float) -> None:
    """Sides and angle give the covariance back, scaled so that the ellipse holds 68 %."""
    turn = np.radians(angle)
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    matrix = axes.T @ np.diag([long**2, (ratio * long) ** 2]) @ axes
    width, height, found = ellipse_shapes(np.array([[matrix[0, 0], matrix[1, 1], matrix[0, 1]]]))
    scale = 2.0 * np.sqrt(-2.0 * np.log(0.32))
    assert width[0] == pytest.approx(scale * long, rel=1e-6)
    assert height[0] == pytest.approx(scale * ratio * long, rel=1e-3)
    if ratio < 0.95:
        assert (found[0] - angle + 90.0) % 180.0 - 90.0 == pytest.approx(0.0, abs=1e-3)


def test_marks_of_peaks() -> None:
    x = np.arange(4.0)
    covariance = np.array([[0.1, 0.1, 0.0], [np.nan] * 3, [0.1, 0.1, 0.2], [0.2, 0.1, 0.05]])
    marks = PeakMarks(
        x, x, np.array([np.nan, 1.0, 0.5, 0.0]), np.array([False, False, True, True]), covariance
    )
    assert marks.scale[0] == marks.scale[1] == 1.0 and marks.scale[2] > marks.scale[3] > 0.0
    assert marks.are_inside((1, 0, 2, 9)).tolist() == [False, True, True, False]
    axes = new_figure(2.0, 2.0).add_subplot()
    draw_ellipses(axes, marks)
    draw_peaks(axes, marks, size=6.0)
    # One covariance is unknown and one is none.
    assert [patch.get_center() for patch in axes.patches] == [(0.0, 0.0), (3.0, 3.0)]
    assert [len(c.get_offsets()) for c in axes.collections] == [2, 2]
    assert len(PeakMarks.from_positions(x[:0], x[:0])) == 0


def test_empty_gallery_is_refused() -> None:
    with pytest.raises(ValueError, match="every group is empty"):
        cutout_gallery({"none": []})


def test_overview_lays_coadds_side_by_side() -> None:
    image, *_ = _tables()
    figure = patch_overview(
        [image, image], [1.0, 1.0], [(0, 0), (50, 0)], ["a", "b"], window=(5, 5, 20, 20), max_pixels=60
    )
    shown = figure.axes[0].images[0].get_array()
    assert shown.shape == (20, 55)
    assert [text.get_text() for text in figure.axes[0].texts] == ["a", "b"]
    # Two borders, one shared strip, one frame.
    assert len(figure.axes[0].patches) == 4


@settings(max_examples=10)
@given(hnp.arrays(np.float64, 20, elements=st.floats(0, 1) | st.just(np.nan)), hnp.arrays(bool, 20))
def test_any_probabilities_can_be_drawn(p: np.ndarray, blended: np.ndarray) -> None:
    reliability_diagram(p, blended).canvas.draw()
    roc_curve({"p": p}, blended).canvas.draw()


def test_global_settings_are_left_alone() -> None:
    """Neither pyplot nor the user's settings are touched, and the colours do not depend on them."""
    code = (
        "import sys, numpy as np, matplotlib\n"
        "matplotlib.rcParams['axes.facecolor'] = 'red'\n"
        "before = dict(matplotlib.rcParams)\n"
        "from lsst.meas.blendid.evaluation.plots import reliability_diagram\n"
        "figure = reliability_diagram(np.array([0.2, 0.9]), np.array([False, True]))\n"
        "assert dict(matplotlib.rcParams) == before\n"
        "assert figure.axes[0].get_facecolor() == (1.0, 1.0, 1.0, 1.0)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_import_does_not_bring_matplotlib() -> None:
    code = (
        "import sys\nimport lsst.meas.blendid.evaluation.report\n"
        "assert 'matplotlib' not in sys.modules, 'matplotlib was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""How pixels, outlines and peaks are drawn."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from lsst.meas.blendid.evaluation.drawing import (
    PeakMarks,
    asinh_stretch,
    cut_window,
    draw_ellipses,
    draw_peaks,
    ellipse_shapes,
    new_figure,
    outline_segments,
    rasterize_spans,
)
from lsst.meas.blendid.footprints import labels_to_spans

LABELS = hnp.arrays(
    np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 3)
)


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
    table = Table(spans, names=["footprint_id", "y", "x0", "x1"])
    drawn = rasterize_spans(table, window)
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


def test_global_settings_are_left_alone() -> None:
    """Neither pyplot nor the user's settings are touched, and the colours do not depend on them."""
    code = (
        "import sys, numpy as np, matplotlib\n"
        "matplotlib.rcParams['axes.facecolor'] = 'red'\n"
        "before = dict(matplotlib.rcParams)\n"
        "from lsst.meas.blendid.evaluation.plots import reliability_panels\n"
        "figure = reliability_panels({'a': np.array([0.2, 0.9])}, np.array([False, True]))\n"
        "assert dict(matplotlib.rcParams) == before\n"
        "assert figure.axes[0].get_facecolor() == (1.0, 1.0, 1.0, 1.0)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_import_does_not_bring_matplotlib() -> None:
    code = (
        "import sys\nimport lsst.meas.blendid.evaluation.report\n"
        "assert not {'matplotlib', 'jinja2', 'sklearn'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


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

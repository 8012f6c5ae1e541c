# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Peaks as marks in pictures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.evaluation.drawing import new_figure
from lsst.meas.blendid.evaluation.peak_marks import PeakMarks, draw_ellipses, draw_peaks, ellipse_shapes


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

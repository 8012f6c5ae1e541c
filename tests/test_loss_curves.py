# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Curves of a training run."""

from __future__ import annotations

import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from lsst.meas.blendid.evaluation.loss_curves import loss_curves


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

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Curves of a training run."""

from __future__ import annotations

__all__ = ("loss_curves",)

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ._style import BLENDED, INK, MUTED, SINGLE, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLORS = (SINGLE, BLENDED, INK, MUTED)
_VALIDATION = "validation_"


@styled
def loss_curves(history: Mapping[str, Sequence[float | None]], *, width: float = 6.0) -> Figure:
    """Draw what a training run reported for each epoch.

    Parameters
    ----------
    history
        Curves by name, such as ``loss`` and ``validation_loss``; those that differ by ``validation_``
        alone share a panel.
    width
        Width of the figure in inches.

    Returns
    -------
    figure
        A panel for each quantity; a mark where its validation curve has its minimum, if it is a loss.

    Raises
    ------
    ValueError
        Raised if there is no curve.
    """
    if not history:
        raise ValueError("there are no curves to draw: this classifier reports none")
    panels: dict[str, list[str]] = {}
    for name in history:
        panels.setdefault(name.replace(_VALIDATION, ""), []).append(name)
    figure = new_figure(width, 2.6 * len(panels))
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axis, (quantity, names) in zip(axes, panels.items(), strict=True):
        for color, name in zip(_COLORS * len(names), names, strict=False):
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

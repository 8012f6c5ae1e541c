# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What pictures of footprints are drawn with."""

from __future__ import annotations

__all__ = ("MARK", "Window", "draw_outlines", "image_figure", "rasterize_table", "show_image", "to_png")

import io
from typing import TYPE_CHECKING

import numpy as np

from ._outlines import outline_segments, rasterize_spans
from ._style import new_figure, probability_colormap

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Window = tuple[int, int, int, int]
"""``(x0, y0, x1, y1)`` in parent pixels, inclusive."""

MARK = "#7df2c4"
"""Marks on a dark image that are no probabilities: away from both ends of their colours."""


def image_figure(width: float, shape: tuple[int, ...], room: float = 0.0) -> tuple[Figure, Axes]:
    """Make a figure whose image fills the width exactly.

    Parameters
    ----------
    width
        Width in inches.
    shape
        Shape `(ny, nx)` of the image.
    room
        Room below it, in inches.

    Returns
    -------
    figure, axes
        The figure and the axes of the image.
    """
    height = width * shape[0] / shape[1]
    figure = new_figure(width, height + room)
    figure.set_layout_engine("none")
    return figure, figure.add_axes((0.0, room / (height + room), 1.0, height / (height + room)))


def show_image(axes: Axes, brightness: np.ndarray, window: Window) -> None:
    """Draw brightnesses in grey.

    Parameters
    ----------
    axes
        Where to draw.
    brightness
        Values between 0 and 1 `(ny, nx)`.
    window
        Parent pixels that they cover.
    """
    x0, y0, x1, y1 = window
    axes.imshow(
        brightness,
        origin="lower",
        cmap="gray",
        vmin=0.0,
        vmax=1.0,
        interpolation="nearest",
        extent=(x0 - 0.5, x1 + 0.5, y0 - 0.5, y1 + 0.5),
    )
    axes.set_axis_off()


def rasterize_table(spans: Table, window: Window) -> np.ndarray:
    """Draw a table of spans into a label image.

    Parameters
    ----------
    spans
        The table.
    window
        Parent pixels to cover.

    Returns
    -------
    labels
        Footprint numbers `(ny, nx)`, 0 for none.
    """
    return rasterize_spans(spans["footprint_id"], spans["y"], spans["x0"], spans["x1"], window)


def draw_outlines(
    axes: Axes,
    labels: np.ndarray,
    xy0: tuple[int, int],
    probability: np.ndarray,
    *,
    linewidth: float,
    alpha: float = 1.0,
) -> None:
    """Draw the outlines of footprints in the colours of their probabilities.

    Parameters
    ----------
    axes
        Where to draw.
    labels
        Footprint numbers `(ny, nx)`, 0 for none.
    xy0
        Parent pixel of the first element.
    probability
        Probability of each footprint, by its number.
    linewidth
        Width of the line in points.
    alpha
        Opacity.
    """
    from matplotlib.collections import LineCollection

    segments, ids = outline_segments(labels, xy0)
    lines = LineCollection(list(segments), linewidths=linewidth, capstyle="projecting", alpha=alpha, zorder=2)
    lines.set_color(list(map(tuple, probability_colormap()(np.ma.masked_invalid(probability[ids])))))
    lines.set_alpha(alpha)
    axes.add_collection(lines, autolim=False)


def to_png(figure: Figure, dpi: int = 150) -> bytes:
    """Give a figure as the bytes of a PNG file.

    Parameters
    ----------
    figure
        The figure.
    dpi
        Dots per inch.

    Returns
    -------
    png
        The file, the same for the same figure.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()

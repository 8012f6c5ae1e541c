# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Colours, fonts and figure defaults shared by all plots and the report.

Blue stands for a single object and orange for a blend everywhere; the pair
stays apart under all common forms of colour blindness and in greyscale
against the paper colour.
"""

from __future__ import annotations

__all__ = (
    "BLENDED",
    "GRID",
    "INK",
    "MUTED",
    "PAPER",
    "SINGLE",
    "new_figure",
    "probability_colormap",
    "styled",
)

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._colors import PROBABILITY_STOPS, UNKNOWN

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

SINGLE = "#2166ac"
"""Blue of single objects on white."""
BLENDED = "#d95f0e"
"""Orange of blends on white."""
INK = "#1c2733"
"""Text and main curves."""
MUTED = "#6b7785"
"""Secondary text and reference curves."""
GRID = "#e3e7ec"
"""Grid lines and quiet fills."""
PAPER = "#ffffff"
"""Background."""

_FONTS = ("Inter", "Source Sans 3", "Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans")

_RC: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.facecolor": PAPER,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 10.0,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "figure.facecolor": PAPER,
    "font.size": 10.0,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "savefig.facecolor": PAPER,
    "text.color": INK,
    "text.usetex": False,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 9.0,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 9.0,
}


@functools.cache
def _available_fonts() -> tuple[str, ...]:
    """Fonts of the preferred list that this machine has; asking for others logs a line for each text."""
    from matplotlib import font_manager

    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    return tuple(name for name in _FONTS if name in installed) or ("DejaVu Sans",)


def styled[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Make a plotting function draw in the house style, whatever the user's matplotlib settings.

    Parameters
    ----------
    function
        Function that creates a figure.

    Returns
    -------
    wrapped
        The same function run in a matplotlib settings context; global
        settings are left as they were.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update({**_RC, "font.family": list(_available_fonts())})
            return function(*args, **kwargs)

    return wrapper


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure that needs no display and no pyplot state.

    Parameters
    ----------
    width, height
        Size in inches.

    Returns
    -------
    figure
        Figure on an Agg canvas with constrained layout.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@functools.cache
def probability_colormap() -> Colormap:
    """Colour map of a probability drawn over a dark image.

    Returns
    -------
    colormap
        Light blue (0) over near-white (0.5) to orange (1); undefined is a
        neutral grey.
    """
    from matplotlib.colors import LinearSegmentedColormap

    colormap = LinearSegmentedColormap.from_list("blend_probability", list(PROBABILITY_STOPS))
    return colormap.with_extremes(bad=UNKNOWN)

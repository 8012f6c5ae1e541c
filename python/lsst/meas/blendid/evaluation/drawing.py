# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What pictures, plots and pages share: colours, fonts and figures; how pixels, outlines and peaks are drawn.

Blue stands for a single object and orange for a blend everywhere; the pair
stays apart under all common forms of colour blindness and in greyscale
against the paper colour.  Detected peaks are rings and inferred ones diamonds,
as large as they are probable.
"""

from __future__ import annotations

__all__ = (
    "BLENDED",
    "GRID",
    "INK",
    "MARK",
    "MUTED",
    "PAPER",
    "SINGLE",
    "WIDTH",
    "PeakMarks",
    "Window",
    "asinh_stretch",
    "cut_window",
    "draw_ellipses",
    "draw_outlines",
    "draw_peaks",
    "ellipse_shapes",
    "image_figure",
    "new_figure",
    "outline_segments",
    "probability_colormap",
    "rasterize_spans",
    "show_image",
    "styled",
    "to_png",
)

import functools
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._colors import DETECTED_PEAK, INFERRED_PEAK, PROBABILITY_STOPS, UNKNOWN, are_shown
from .peak_scores import ELLIPSE

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from ..peak_matching import PeakList


Window = tuple[int, int, int, int]
"""``(x0, y0, x1, y1)`` in parent pixels, inclusive."""

MARK = "#7df2c4"
"""Marks on a dark image that are no probabilities: away from both ends of their colours."""

WIDTH = 10.0
"""Width of the figures of a page, inches."""

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

    # Listed once: matplotlib would search, and warn, for each text.
    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    return tuple(name for name in _FONTS if name in installed) or ("DejaVu Sans",)


def styled[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Make a plotting function draw in the house style, whatever the user's matplotlib settings are."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib

        with matplotlib.rc_context():
            # Settings of the user's matplotlibrc, such as LaTeX, must not reach figures that tests compare.
            matplotlib.rcdefaults()
            matplotlib.rcParams.update({**_RC, "font.family": list(_available_fonts())})
            return function(*args, **kwargs)

    return wrapper


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure (inches) that needs no display and no pyplot state, in constrained layout."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Without pyplot, which keeps figures alive and picks a window system.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@functools.cache
def probability_colormap() -> Colormap:
    """Colours of a probability over a dark image: light blue (0), near-white (0.5), orange (1).

    What is undefined is a neutral grey.
    """
    from matplotlib.colors import LinearSegmentedColormap

    colormap = LinearSegmentedColormap.from_list("blend_probability", list(PROBABILITY_STOPS))
    return colormap.with_extremes(bad=UNKNOWN)


def image_figure(shape: tuple[int, ...], room: float = 0.0) -> tuple[Figure, Axes]:
    """Make a figure and the axes of an image (ny, nx) that fills its width, with room below it (inches)."""
    height = WIDTH * shape[0] / shape[1]
    figure = new_figure(WIDTH, height + room)
    figure.set_layout_engine("none")
    return figure, figure.add_axes((0.0, room / (height + room), 1.0, height / (height + room)))


def show_image(axes: Axes, brightness: np.ndarray, window: Window) -> None:
    """Draw brightnesses (ny, nx) between 0 and 1, that cover a window, in grey."""
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

    ``labels`` are footprint numbers (ny, nx), 0 for none; ``xy0`` is the parent pixel of the first element;
    ``probability`` is looked up by number; lines are in points.
    """
    from matplotlib.collections import LineCollection

    segments, ids = outline_segments(labels, xy0)
    lines = LineCollection(list(segments), linewidths=linewidth, capstyle="projecting", alpha=alpha, zorder=2)
    lines.set_color(list(map(tuple, probability_colormap()(np.ma.masked_invalid(probability[ids])))))
    lines.set_alpha(alpha)
    axes.add_collection(lines, autolim=False)


def to_png(figure: Figure, dpi: int = 150, *, palette: bool = False) -> bytes:
    """Give a figure as a PNG file, always the same one; with a palette it has a third of the size."""
    from PIL import Image

    buffer = io.BytesIO()
    # Without the version of matplotlib, so that the same figure is the same file.
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    if not palette:
        return buffer.getvalue()
    buffer.seek(0)
    small = io.BytesIO()
    # By frequency: the default loses the few pixels of marks and thin lines.
    image = Image.open(buffer).convert("RGB").quantize(255, method=Image.Quantize.MAXCOVERAGE)
    image.save(small, format="png", optimize=True)
    return small.getvalue()


def asinh_stretch(
    image: np.ndarray, noise: float, *, low: float = -2.0, softening: float = 3.0, high: float | None = None
) -> np.ndarray:
    """Compress an image to brightnesses in [0, 1], float32 (ny, nx): linear in the noise, logarithmic above.

    The asinh scale of Lupton et al. (1999, AJ 118, 1406; 2004, PASP 116, 133).  ``low``, ``softening`` and
    ``high`` are in units of the noise: drawn black, where it turns logarithmic, and drawn white, which is the
    99.7th percentile but at least 20 by default.  Pixels that are not finite become 0.
    """
    if not (np.isfinite(noise) and noise > 0.0):
        raise ValueError(f"The noise of the stretch is {noise}; it must be positive and finite.")
    scaled = np.asarray(image, dtype=np.float64) / noise
    finite = np.isfinite(scaled)
    if high is None:
        # At least twenty sigma, lest an empty image show its noise as stars.
        high = max(20.0, float(np.percentile(scaled[finite], 99.7))) if finite.any() else 20.0
    scaled = np.where(finite, np.clip(scaled, low, high), low)
    floor, ceiling = np.arcsinh(low / softening), np.arcsinh(high / softening)
    return ((np.arcsinh(scaled / softening) - floor) / (ceiling - floor)).astype(np.float32)


def cut_window(image: np.ndarray, xy0: tuple[int, int], window: Window, fill: float = np.nan) -> np.ndarray:
    """Cut a window out of an image (ny, nx) that begins at ``xy0``; outside of it is ``fill``."""
    x0, y0, x1, y1 = window
    if x1 < x0 or y1 < y0:
        raise ValueError(
            f"The window {window} has no pixel; give (x0, y0, x1, y1) with x0 <= x1 and y0 <= y1."
        )
    cutout = np.full((y1 - y0 + 1, x1 - x0 + 1), fill, dtype=image.dtype)
    ny, nx = image.shape
    # The part of the window that lies in the image.
    ax, ay = max(x0 - xy0[0], 0), max(y0 - xy0[1], 0)
    bx, by = min(x1 - xy0[0] + 1, nx), min(y1 - xy0[1] + 1, ny)
    if ax < bx and ay < by:
        oy, ox = ay + xy0[1] - y0, ax + xy0[0] - x0
        cutout[oy : oy + by - ay, ox : ox + bx - ax] = image[ay:by, ax:bx]
    return cutout


def rasterize_spans(spans: Table, window: Window) -> np.ndarray:
    """Draw a table of spans into a label image of a window: int32 (y1 - y0 + 1, x1 - x0 + 1), 0 for none."""
    wx0, wy0, wx1, wy1 = window
    labels = cut_window(np.zeros((0, 0), dtype=np.int32), (0, 0), window, fill=0)
    ids, rows, start, stop = (
        np.asarray(spans[name]).astype(np.int64) for name in ("footprint_id", "y", "x0", "x1")
    )
    inside = (rows >= wy0) & (rows <= wy1) & (stop >= wx0) & (start <= wx1)
    ids, rows = ids[inside], rows[inside] - wy0
    start, stop = np.maximum(start[inside], wx0) - wx0, np.minimum(stop[inside], wx1) - wx0
    length = stop - start + 1
    # One entry a pixel: the offset within its own span added to the start of the span.
    offset = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    labels[np.repeat(rows, length), np.repeat(start, length) + offset] = np.repeat(ids, length)
    return labels


def outline_segments(labels: np.ndarray, xy0: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Find the outlines of labelled regions (ny, nx) along the edges of their pixels.

    Straight runs are one segment, so that a line collection draws them quickly and without gaps.  Where two
    regions touch, each gets its own segment.  A region that is cut by the border of the array has no outline
    there, which shows that it continues.

    Gives start and end points (x, y), float64 (k, 2, 2), with the centre of a pixel at its integer index, and
    the label that each segment bounds, (k,).
    """
    found_segments, found_ids = [], []
    # Horizontal edges first; vertical ones are those of the transposed image.
    for image, transposed in ((labels, False), (labels.T, True)):
        if image.shape[0] < 2:
            continue
        lower, upper = image[:-1], image[1:]
        differs = lower != upper
        for side in (lower, upper):
            owner = np.where(differs, side, 0)
            change = np.diff(owner, axis=1, prepend=0, append=0) != 0
            row, column = np.nonzero(change)
            if len(row) == 0:
                continue
            # Successive changes in a row bound runs of one owner; those of owner 0 are gaps.
            same_row = row[1:] == row[:-1]
            begin, end, line = column[:-1][same_row], column[1:][same_row], row[:-1][same_row]
            ids = owner[line, begin]
            keep = ids > 0
            begin, end, line, ids = begin[keep], end[keep], line[keep], ids[keep]
            along = np.stack([begin - 0.5, end - 0.5], axis=1)
            across = np.stack([line + 0.5, line + 0.5], axis=1)
            pair = (across, along) if transposed else (along, across)
            found_segments.append(np.stack(pair, axis=2))
            found_ids.append(ids)
    if not found_segments:
        return np.empty((0, 2, 2)), np.empty(0, dtype=labels.dtype)
    segments = np.concatenate(found_segments) + np.asarray(xy0, dtype=np.float64)
    return segments, np.concatenate(found_ids)


_LEAST = 0.3
"""Size of the mark of a peak whose probability is 0, relative to that of one whose probability is 1."""


@dataclass(frozen=True)
class PeakMarks:
    """Peaks to draw; arrays of shape (k,).

    Positions in parent pixels; the probability that a galaxy is there, NaN where it is not known; whether it
    was inferred and not detected; variances of x and y and their covariance, pix², (k, 3), NaN if unknown.
    """

    x: np.ndarray
    y: np.ndarray
    probability: np.ndarray
    is_inferred: np.ndarray
    covariance: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    @classmethod
    def from_positions(cls, x: np.ndarray, y: np.ndarray) -> PeakMarks:
        """Take detected peaks of which only positions are known."""
        n = len(x)
        return cls(
            np.asarray(x, dtype=np.float64),
            np.asarray(y, dtype=np.float64),
            np.full(n, np.nan),
            np.zeros(n, dtype=bool),
            np.full((n, 3), np.nan),
        )

    @classmethod
    def from_table(cls, table: Table, footprint_id: int | None = None) -> PeakMarks:
        """Take the peaks of a table, or those of one footprint; columns that it lacks are not known."""
        rows = table if footprint_id is None else table[np.asarray(table["footprint_id"]) == footprint_id]
        n = len(rows)

        def column(name: str) -> np.ndarray:
            return np.asarray(rows[name], dtype=np.float64) if name in rows.colnames else np.full(n, np.nan)

        inferred = np.nan_to_num(column("is_inferred")) > 0.0
        covariance = np.column_stack([column(name) for name in ("xx", "yy", "xy")])
        return cls(column("f_x"), column("f_y"), column("probability"), inferred, covariance)

    @classmethod
    def from_list(cls, peaks: PeakList, row: int) -> PeakMarks:
        """Take the peaks of one footprint of a list."""
        # Peaks are sorted by footprint.
        first, last = np.searchsorted(peaks.footprint, [row, row + 1])
        rows, n = slice(first, last), int(last - first)
        inferred, covariance = peaks.is_inferred, peaks.covariance
        return cls(
            peaks.x[rows],
            peaks.y[rows],
            peaks.probability[rows],
            np.zeros(n, dtype=bool) if inferred is None else inferred[rows],
            np.full((n, 3), np.nan) if covariance is None else covariance[rows],
        )

    def select(self, rows: np.ndarray) -> PeakMarks:
        """Keep some of them."""
        return PeakMarks(
            self.x[rows], self.y[rows], self.probability[rows], self.is_inferred[rows], self.covariance[rows]
        )

    def are_inside(self, window: tuple[int, int, int, int]) -> np.ndarray:
        """Tell which lie in a window ``(x0, y0, x1, y1)`` of pixels, its edges included: bool `(k,)`."""
        x0, y0, x1, y1 = window
        return (self.x > x0 - 0.5) & (self.x < x1 + 0.5) & (self.y > y0 - 0.5) & (self.y < y1 + 0.5)

    def shown(self) -> PeakMarks:
        """Leave out the inferred ones that are not shown among many."""
        return self.select(are_shown(self.probability, self.is_inferred))

    @property
    def scale(self) -> np.ndarray:
        """Relative size of each mark: 1 where the probability is 1 or not known."""
        p = np.where(np.isfinite(self.probability), np.clip(self.probability, 0.0, 1.0), 1.0)
        return _LEAST + (1.0 - _LEAST) * p


def draw_peaks(axes: Axes, marks: PeakMarks, *, size: float, linewidth: float = 0.9) -> None:
    """Draw marks around peaks, with a dark halo; that of a certain one is ``size`` points across."""
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=linewidth + 1.1, foreground="#10151b")]
    for inferred, marker, color in ((False, "o", DETECTED_PEAK), (True, "D", INFERRED_PEAK)):
        some = marks.select(marks.is_inferred == inferred)
        if len(some):
            axes.scatter(
                some.x,
                some.y,
                # Diamonds of the same size look larger than rings.
                s=((0.8 if inferred else 1.0) * size * some.scale) ** 2,
                marker=marker,
                facecolors="none",
                edgecolors=color,
                linewidths=linewidth,
                path_effects=halo,
                zorder=4.0,
            )


def ellipse_shapes(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the ellipses that hold 68 % of the positions, from covariances (k, 3), pix².

    Gives the full axes in pixels and the angle of the first one against x in degrees, (k,) each; NaN for what
    is no covariance.
    """
    xx, yy, xy = np.asarray(covariance, dtype=np.float64).reshape(-1, 3).T
    with np.errstate(invalid="ignore"):
        # Eigenvalues of the symmetric matrix.
        middle, half = 0.5 * (xx + yy), np.hypot(0.5 * (xx - yy), xy)
        long, short = middle + half, middle - half
        good = short > 0.0
        width = 2.0 * np.sqrt(ELLIPSE * np.where(good, long, np.nan))
        height = 2.0 * np.sqrt(ELLIPSE * np.where(good, short, np.nan))
        angle = np.where(good, np.degrees(0.5 * np.arctan2(2.0 * xy, xx - yy)), np.nan)
    return width, height, angle


def draw_ellipses(axes: Axes, marks: PeakMarks) -> None:
    """Draw the ellipses that hold the true positions of 68 % of the galaxies, where they are known."""
    from matplotlib.patches import Ellipse

    for k, (width, height, angle) in enumerate(zip(*ellipse_shapes(marks.covariance), strict=True)):
        if np.isfinite(width):
            color = INFERRED_PEAK if marks.is_inferred[k] else DETECTED_PEAK
            place = (float(marks.x[k]), float(marks.y[k]))
            axes.add_patch(
                Ellipse(
                    place,
                    width,
                    height,
                    angle=angle,
                    fc=(*_rgb(color), 0.22),
                    ec=color,
                    lw=1.0,
                    zorder=3.5,
                )
            )


def _rgb(color: str) -> tuple[float, float, float]:
    """Red, green and blue of ``#rrggbb``."""
    red, green, blue = (int(color[i : i + 2], 16) / 255.0 for i in (1, 3, 5))
    return red, green, blue

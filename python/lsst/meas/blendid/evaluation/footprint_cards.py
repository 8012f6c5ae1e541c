# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""All that is known of single footprints in a picture: pixels, peaks, where galaxies are, how many."""

from __future__ import annotations

__all__ = ("choose_footprints", "footprint_cards", "probability_density")

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._colors import DETECTED_PEAK, INFERRED_PEAK, are_shown
from ..tables import BlendTables
from .drawing import (
    BLENDED,
    INK,
    MUTED,
    SINGLE,
    PeakMarks,
    Window,
    asinh_stretch,
    cut_window,
    draw_ellipses,
    draw_outlines,
    draw_peaks,
    new_figure,
    rasterize_spans,
    show_image,
    styled,
)

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

_LEAST_SIDE = 31
"""Side of the smallest cutout, pixels."""
_MARGIN = 4
"""Pixels around a footprint in its cutout."""
_FINE = 4
"""Points of the density along a pixel."""
_LINE = 10.0
"""Distance of two lines of labels, points."""
_NARROWEST = 1.0 / 70.0
"""Standard deviation that is added to a peak in the density, in sides of it: else many could not be seen."""


def choose_footprints(tables: BlendTables, number: int) -> np.ndarray:
    """Choose footprints that are worth a look: their ``footprint_id`` (k,), fewer than asked for if need be.

    By turns one with the most probable inferred peak, where that is more likely true than not, those with one
    detected peak before others, and one that is hardest to tell from its p_blended.
    """
    p = np.asarray(tables.blend["p_blended"], dtype=np.float64)
    ids = np.asarray(tables.blend["footprint_id"])
    peaks = tables.blend_peak
    hidden = np.zeros(int(ids.max(initial=0)) + 1)
    chance = np.where(
        np.asarray(peaks["is_inferred"], dtype=bool), np.asarray(peaks["probability"], float), 0.0
    )
    np.maximum.at(hidden, np.asarray(peaks["footprint_id"]), np.nan_to_num(chance))
    of_row = hidden[ids]
    doubt = np.where(np.isfinite(p), np.abs(p - 0.5), np.inf)
    several = np.asarray(tables.blend["n_peaks"]) > 1
    first = np.lexsort((-of_row, several))
    first = first[of_row[first] > 0.5]
    second = np.argsort(doubt, kind="stable")
    queues, chosen = [list(first), list(second)], list[int]()
    while any(queues) and len(chosen) < number:
        for queue in queues:
            row = next((row for row in queue if row not in chosen), None)
            del queue[: len(queue) if row is None else queue.index(row) + 1]
            if row is not None and len(chosen) < number:
                chosen.append(row)
    return ids[chosen]


def probability_density(marks: PeakMarks, window: Window) -> np.ndarray:
    """Compute how probably a galaxy's centre is where, from the peaks and their covariances.

    Gives the expected number of centres per squared pixel, smoothed so that peaks can be seen, on a grid
    finer than the pixels.  Peaks without probability or covariance are left out.
    """
    x0, y0, x1, y1 = window
    x, y = (
        first - 0.5 + (np.arange(_FINE * (last - first + 1)) + 0.5) / _FINE
        for first, last in ((x0, x1), (y0, y1))
    )
    # Positions better than a pixel would be dots that nobody sees.
    density, widening = np.zeros((len(y), len(x))), (_NARROWEST * max(x1 - x0 + 1, y1 - y0 + 1)) ** 2
    for k in range(len(marks)):
        xx, yy, xy = marks.covariance[k]
        p = marks.probability[k]
        if not (np.isfinite([p, xx, yy, xy]).all() and xx > 0.0 and xx * yy > xy**2):
            continue
        xx, yy = xx + widening, yy + widening
        determinant = xx * yy - xy**2
        dx, dy = x - marks.x[k], (y - marks.y[k])[:, np.newaxis]
        # Mahalanobis' distance, of which a Gaussian falls.
        square = (yy * dx**2 - 2.0 * xy * dx * dy + xx * dy**2) / determinant
        density += p * np.exp(-0.5 * square) / (2.0 * np.pi * np.sqrt(determinant))
    return density


@styled
def footprint_cards(
    image: np.ndarray,
    noise: float,
    xy0: tuple[int, int],
    tables: BlendTables,
    footprint_ids: Sequence[int],
) -> Figure:
    """Draw footprints, each with three panels.

    The pixels (ny, nx, NaN where there are no data) with peaks and their probabilities, how probably a galaxy
    is where, with the ellipses that hold 68 %, and P(N).  The noise of a pixel sets the stretch; a sky level
    is taken off each cutout.  More than three are drawn in two columns.  A ValueError tells that there is no
    such footprint, or that it lies outside of the image.
    """
    rows = _find_rows(tables.blend, footprint_ids)
    columns = 1 if len(rows) <= 3 else 2
    width = 10.0 if columns == 1 else 14.0
    lines = -(-len(rows) // columns)
    gap, title = 0.25, 0.5
    edge = 0.08
    card = (width - 2 * edge - gap * (columns - 1)) / columns
    side = (card - 2 * 0.12 - 0.45) / 2.75
    height = lines * (side + title + 0.45) + 0.35
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    for k, row in enumerate(rows):
        left = edge + (k % columns) * (card + gap)
        top = height - 0.05 - (k // columns) * (side + title + 0.45)
        boxes = [
            (left / width, (top - title - side) / height, side / width, side / height),
            ((left + side + 0.12) / width, (top - title - side) / height, side / width, side / height),
            (
                (left + 2 * side + 0.12 + 0.45) / width,
                (top - title - side) / height,
                0.75 * side / width,
                side / height,
            ),
        ]
        heading, rest = _title(tables, row)
        figure.text(left / width, top / height, heading, va="top", fontsize=11, fontweight="bold", color=INK)
        figure.text(left / width, (top - 0.22) / height, rest, va="top", fontsize=9.5, color=MUTED)
        axes = [figure.add_axes(box) for box in boxes]
        _draw_card(axes, image, noise, xy0, tables, row, panel=side)
    _legend(figure)
    return figure


def _find_rows(blend: Table, footprint_ids: Sequence[int]) -> list[int]:
    """Rows of footprints by their numbers."""
    ids = np.asarray(blend["footprint_id"])
    rows = []
    for number in footprint_ids:
        found = np.flatnonzero(ids == number)
        if not len(found):
            known = f"there are {ids.min()} to {ids.max()}" if len(ids) else "there is none at all"
            raise ValueError(f"there is no footprint {number}; {known}")
        rows.append(int(found[0]))
    if not rows:
        raise ValueError("no footprint was given to draw")
    return rows


def _title(tables: BlendTables, row: int) -> tuple[str, str]:
    """What a card is called, and what else there is to say."""
    entry = tables.blend[row]
    peaks = tables.blend_peak[np.asarray(tables.blend_peak["footprint_id"]) == entry["footprint_id"]]
    n_inferred = int(np.count_nonzero(peaks["is_inferred"]))
    p = float(entry["p_blended"])
    heading = f"#{entry['footprint_id']}"
    heading += f"   P(blend) = {p:.2f}" if np.isfinite(p) else "   not classified"
    parts = [f"{len(peaks) - n_inferred} detected", f"{n_inferred} inferred"] if n_inferred else []
    total = len(peaks)
    text = f"{total} peak{'' if total == 1 else 's'}" + (f" ({', '.join(parts)})" if parts else "")
    if np.isfinite(float(entry["n_expected"])):
        text += f",  {float(entry['n_expected']):.2f} galaxies expected"
    return heading, f"{text},  x = {float(entry['x']):.0f}, y = {float(entry['y']):.0f}"


def _window(entry: Table.Row) -> Window:
    """Square window around a footprint."""
    corners = [(int(entry[f"bbox_{axis}0"]), int(entry[f"bbox_{axis}1"])) for axis in "xy"]
    side = max(_LEAST_SIDE, *(high - low + 1 + 2 * _MARGIN for low, high in corners))
    x0, y0 = ((low + high + 1) // 2 - side // 2 for low, high in corners)
    return (x0, y0, x0 + side - 1, y0 + side - 1)


def _draw_card(
    axes: Sequence[Axes],
    image: np.ndarray,
    noise: float,
    xy0: tuple[int, int],
    tables: BlendTables,
    row: int,
    *,
    panel: float,
) -> None:
    """Draw the three panels of a footprint, ``panel`` inches wide."""
    entry = tables.blend[row]
    number, window = int(entry["footprint_id"]), _window(entry)
    pixels = cut_window(np.asarray(image, dtype=np.float32), xy0, window)
    labels = rasterize_spans(tables.blend_spans, window)
    if not np.isfinite(pixels[labels == number]).any():
        raise ValueError(f"the image has no pixel of footprint {number}; is it the one that it was found in?")
    free = np.isfinite(pixels) & (labels == 0)
    sky = float(np.median(pixels[free])) if np.count_nonzero(free) > 20 else 0.0
    marks = PeakMarks.from_table(tables.blend_peak, number)
    pixels = pixels - np.float32(sky)
    brightest = float(np.nanpercentile(pixels[labels == number], 99.0)) / noise
    show_image(axes[0], asinh_stretch(pixels, noise, high=max(8.0, brightest)), window)
    _outline(axes[0], labels, number, window, float(entry["p_blended"]))
    size = float(np.clip(3.3 * panel, 6.0, 11.0))
    draw_peaks(axes[0], marks, size=size, linewidth=1.2)
    _label_peaks(axes[0], marks, size, window, panel)
    _draw_density(axes[1], marks, window)
    _outline(axes[1], labels, number, window, float(entry["p_blended"]))
    _draw_counts(axes[2], np.array([float(entry[f"p_n_{k}"]) for k in range(5)]))


def _outline(axes: Axes, labels: np.ndarray, number: int, window: Window, p: float) -> None:
    """Draw the outline of a footprint in its colour and those of others faintly."""
    shown = np.where(labels == number, 1, 0)
    others = np.where(labels != number, labels, 0)
    nothing = np.full(int(others.max(initial=0)) + 1, np.nan)
    draw_outlines(axes, others, window[:2], nothing, linewidth=0.7, alpha=0.5)
    draw_outlines(axes, shown, window[:2], np.array([np.nan, p]), linewidth=1.8)


def _label_peaks(axes: Axes, marks: PeakMarks, size: float, window: Window, panel: float) -> None:
    """Write the probability of each peak beside it, away from the middle of all and from the edges."""
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2.2, foreground="#10151b")]
    # The numbers of what is very improbable would hide the rest.
    rows = np.flatnonzero(are_shown(marks.probability, marks.is_inferred) & np.isfinite(marks.probability))
    room, scale = 0.2 * (window[2] - window[0]), 72.0 * panel / (window[2] - window[0] + 1)
    # Labels beside peaks go outwards, but not beyond the window.
    right = (marks.x >= np.mean(marks.x)) | (marks.x < window[0] + room)
    right &= marks.x < window[2] - room
    for side in (True, False):
        beside = [k for k in rows[np.argsort(marks.y[rows], kind="stable")] if right[k] == side]
        heights = _spread_out(scale * (marks.y[beside] - window[1]), _LINE)
        for k, height in zip(beside, heights, strict=True):
            reach = 0.5 * size * float(marks.scale[k]) + 2.5
            axes.annotate(
                f"{marks.probability[k]:.2f}",
                (marks.x[k], marks.y[k]),
                xytext=(reach if side else -reach, height - scale * (marks.y[k] - window[1])),
                textcoords="offset points",
                ha="left" if side else "right",
                va="center",
                fontsize=8.5,
                fontweight="bold",
                color=INFERRED_PEAK if marks.is_inferred[k] else DETECTED_PEAK,
                path_effects=halo,
                zorder=6,
            )


def _spread_out(places: np.ndarray, least: float) -> np.ndarray:
    """Move rising numbers as little as need be for any two to be ``least`` apart."""
    # The distances beyond the least ones are to rise: the mean of those that would not (isotonic regression).
    blocks: list[list[float]] = []
    for k, place in enumerate(places):
        blocks.append([float(place) - least * k, 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (value, weight), (last, more) = blocks[-2:]
            blocks[-2:] = [[(value * weight + last * more) / (weight + more), weight + more]]
    flat = [value for value, weight in blocks for _ in range(int(weight))]
    return np.array(flat) + least * np.arange(len(flat))


def _density_colormap() -> Colormap:
    """Colours of the density: as dark as a picture of the sky where there is nothing."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("density", ["#10151b", "#1d4f5c", "#35a29f", "#c7f5d9"])


def _draw_density(axes: Axes, marks: PeakMarks, window: Window) -> None:
    """Draw how probably a galaxy's centre is where."""
    x0, y0, x1, y1 = window
    density = probability_density(marks, window)
    most = float(density.max(initial=0.0))
    axes.imshow(
        # The root shows improbable peaks beside sure ones.
        np.sqrt(density / most) if most > 0.0 else density,
        origin="lower",
        cmap=_density_colormap(),
        vmin=0.0,
        vmax=1.0,
        interpolation="bilinear",
        extent=(x0 - 0.5, x1 + 0.5, y0 - 0.5, y1 + 0.5),
    )
    axes.set_axis_off()
    if most > 0.0:
        draw_ellipses(axes, marks)
        return
    told = "no peak" if not len(marks) else "no probabilities:\nno localiser ran"
    axes.text(0.5, 0.06, told, transform=axes.transAxes, ha="center", color=DETECTED_PEAK, fontsize=9)


def _draw_counts(axes: Axes, p_n: np.ndarray) -> None:
    """Draw P(N) as bars."""
    names = ["0", "1", "2", "3", "≥ 4"]
    axes.set_xticks(range(5), names)
    axes.set(ylim=(0.0, 1.12), xlim=(-0.6, 4.6), yticks=[])
    axes.set_xlabel("number of galaxies", labelpad=2)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)
    axes.tick_params(axis="x", length=0)
    if not np.isfinite(p_n).all():
        axes.text(0.5, 0.5, "no P(N)", transform=axes.transAxes, ha="center", color=MUTED)
        return
    axes.bar(range(5), p_n, width=0.78, color=[MUTED, SINGLE, BLENDED, BLENDED, BLENDED])
    for k, p in enumerate(p_n):
        axes.text(k, p + 0.02, f"{p:.2f}", ha="center", va="bottom", fontsize=8.5, color=INK)


def _legend(figure: Figure) -> None:
    """Say at the foot what the marks are."""
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=3.6, foreground="#10151b")]
    handles = [
        Line2D([], [], ls="none", marker=marker, mfc="none", mec=color, ms=7.0, mew=1.4, path_effects=halo)
        for marker, color in (("o", DETECTED_PEAK), ("D", INFERRED_PEAK))
    ]
    handles.append(Line2D([], [], color="#35a29f", lw=5.0))
    labels = [
        "detected peak",
        "inferred peak, with the probability of a galaxy",
        "where galaxies are, with ellipses that hold 68 %",
    ]
    figure.legend(
        handles, labels, loc="lower left", bbox_to_anchor=(0.0, 0.005), ncols=3, fontsize=9, borderaxespad=0.0
    )

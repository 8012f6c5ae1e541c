# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Pictures of coadds with their footprints.

Every function takes arrays or tables and returns a matplotlib figure; none
shows or saves it, and none touches the global state of matplotlib.
"""

from __future__ import annotations

__all__ = ("Window", "footprint_overlay", "patch_overview", "probability_map")

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._colors import are_shown
from .drawing import (
    MARK,
    MUTED,
    PeakMarks,
    Window,
    asinh_stretch,
    cut_window,
    draw_outlines,
    draw_peaks,
    image_figure,
    probability_colormap,
    rasterize_spans,
    show_image,
    styled,
)

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_MOST_PIXELS = 1200
"""What a page shows across; more would only be averaged by the browser."""


@styled
def footprint_overlay(
    image: np.ndarray,
    noise: float,
    xy0: tuple[int, int],
    blend: Table,
    peaks: Table,
    spans: Table,
    *,
    window: Window | None = None,
    pixel_scale: float | None = None,
) -> Figure:
    """Draw a coadd with its footprints outlined in the colour of their probability and its peaks marked.

    The coadd (ny, nx) begins at ``xy0``; its noise sets the stretch.  A dot, in the colour of its footprint,
    is a detected peak, a diamond an inferred one; those that have a probability of their own are the smaller
    the less probable they are.  Without window all of it is drawn; with a pixel scale (arcsec) the bar is in
    arcsec.
    """
    if window is None:
        window = (xy0[0], xy0[1], xy0[0] + image.shape[1] - 1, xy0[1] + image.shape[0] - 1)
    pixels = cut_window(np.asarray(image, dtype=np.float32), xy0, window)
    figure, axes = image_figure(pixels.shape, room=0.55)
    show_image(axes, asinh_stretch(pixels, noise), window)
    probability = _lookup(blend["footprint_id"], blend["p_blended"])
    # In a small window marks grow with the pixels.
    scale = max(1.0, 600.0 / pixels.shape[1])
    draw_outlines(axes, rasterize_spans(spans, window), window[:2], probability, linewidth=0.75 * scale)

    marks = PeakMarks.from_table(peaks)
    value = probability[np.asarray(peaks["footprint_id"])]
    inside = marks.are_inside(window) & are_shown(marks.probability, marks.is_inferred)
    detected = inside & ~marks.is_inferred
    dots = marks.select(detected)
    axes.scatter(
        dots.x,
        dots.y,
        c=value[detected],
        cmap=probability_colormap(),
        vmin=0.0,
        vmax=1.0,
        s=5.0 * (scale * dots.scale) ** 2,
        linewidths=0.5,
        edgecolors="#10151b",
        plotnonfinite=True,
        zorder=3,
    )
    draw_peaks(axes, marks.select(inside & marks.is_inferred), size=4.4 * scale, linewidth=0.7 * scale)
    _scale_bar(axes, window, pixel_scale)
    _probability_bar(figure)
    return figure


@styled
def probability_map(
    image: np.ndarray,
    noise: float,
    xy0: tuple[int, int],
    blend: Table,
    *,
    window: Window | None = None,
    pixel_scale: float | None = None,
) -> Figure:
    """Draw a whole coadd with a dot for each footprint in the colour of its probability.

    The coadd (ny, nx) is NaN where there are no data, and averaged down to some 1200 pixels across.  The
    window is marked: another figure shows it enlarged.  The figure is at most as high as wide (inches), with
    empty margins at the sides of a higher image.
    """
    from matplotlib.patches import Rectangle

    ny, nx = image.shape
    # Blocks of whole pixels, averaged over those that are known.
    step = max(1, -(-max(ny, nx) // _MOST_PIXELS))
    # Columns beside a high image, and what a whole number of blocks lacks.
    columns, rows = max(nx, ny) + -max(nx, ny) % step, ny + -ny % step
    left = (columns - nx) // 2
    corner = (xy0[0] - left, xy0[1])
    full: Window = (*corner, corner[0] + columns - 1, corner[1] + rows - 1)
    padded = cut_window(np.asarray(image, dtype=np.float32), xy0, full) / np.float32(noise)
    blocks = padded.reshape(rows // step, step, columns // step, step)
    finite = np.isfinite(blocks)
    total = np.where(finite, blocks, 0.0).sum(axis=(1, 3))
    mean = total / np.maximum(finite.sum(axis=(1, 3)), 1)
    brightness = np.where(finite.any(axis=(1, 3)), asinh_stretch(mean * step, 1.0, softening=4.0), 0.0)

    figure, axes = image_figure((rows, columns), room=0.55)
    # The dots stand out against a dimmed image.
    show_image(axes, 0.75 * brightness, full)
    probability = np.asarray(blend["p_blended"], dtype=float)
    # Those that are not classified first, the surest blends last and on top.
    order = np.argsort(np.where(np.isfinite(probability), probability, -1.0), kind="stable")
    axes.scatter(
        np.asarray(blend["x"])[order],
        np.asarray(blend["y"])[order],
        c=probability[order],
        cmap=probability_colormap(),
        vmin=0.0,
        vmax=1.0,
        s=float(np.clip(6e4 / max(len(blend), 1), 6.0, 30.0)),
        linewidths=0.4,
        edgecolors="#10151b",
        plotnonfinite=True,
        zorder=3,
    )
    if window is not None:
        x0, y0, x1, y1 = window
        frame = Rectangle(
            (x0 - 0.5, y0 - 0.5), x1 - x0 + 1, y1 - y0 + 1, fill=False, ec="#ffffff", lw=1.6, zorder=4
        )
        frame.set_linestyle((0, (4, 2.5)))
        axes.add_patch(frame)
    axes.set_xlim(full[0] - 0.5, full[2] + 0.5)
    axes.set_ylim(full[1] - 0.5, full[3] + 0.5)
    _scale_bar(axes, full, pixel_scale)
    _probability_bar(figure)
    return figure


@styled
def patch_overview(
    images: Sequence[np.ndarray],
    noises: Sequence[float],
    origins: Sequence[tuple[int, int]],
    names: Sequence[str],
    *,
    window: Window | None = None,
) -> Figure:
    """Draw all coadds of a tract where they lie, with the borders of the patches.

    Coadds (ny, nx) with the noise of a pixel, the parent pixel of the first element and the label of each;
    the window is marked, and the mosaic averaged down to some 1200 pixels across.
    """
    from matplotlib.patches import Rectangle

    x0, y0 = np.min(np.array(origins), axis=0)
    x1 = max(o[0] + i.shape[1] for i, o in zip(images, origins, strict=True)) - 1
    y1 = max(o[1] + i.shape[0] for i, o in zip(images, origins, strict=True)) - 1
    full: Window = (int(x0), int(y0), int(x1), int(y1))
    # Coadds overlap: the first one wins, and gaps of it are filled by the next.
    mosaic = np.full((y1 - y0 + 1, x1 - x0 + 1), np.nan, dtype=np.float32)
    for image, noise, (ox, oy) in zip(images, noises, origins, strict=True):
        part = mosaic[oy - y0 : oy - y0 + image.shape[0], ox - x0 : ox - x0 + image.shape[1]]
        np.copyto(part, image / noise, where=~np.isfinite(part))
    step = max(1, -(-max(mosaic.shape) // _MOST_PIXELS))
    ny, nx = (n // step * step for n in mosaic.shape)
    small = mosaic[:ny, :nx].reshape(ny // step, step, nx // step, step).mean(axis=(1, 3)) * step

    figure, axes = image_figure((ny, nx))
    brightness = np.where(np.isfinite(small), asinh_stretch(small, 1.0, softening=4.0), 1.0)
    show_image(axes, brightness, (full[0], full[1], full[0] + nx - 1, full[1] + ny - 1))
    for index, (image, (ox, oy), name) in enumerate(zip(images, origins, names, strict=True)):
        box = (ox - 0.5, oy - 0.5), image.shape[1], image.shape[0]
        axes.add_patch(Rectangle(*box, fill=False, ec=MARK, lw=1.6, zorder=3))
        for other, (px, py) in zip(images[:index], origins[:index], strict=True):
            lx, ly = max(ox, px), max(oy, py)
            across = min(ox + image.shape[1], px + other.shape[1]) - lx
            up = min(oy + image.shape[0], py + other.shape[0]) - ly
            if across > 0 and up > 0:
                shade = Rectangle((lx - 0.5, ly - 0.5), across, up, fc=MARK, ec="none", alpha=0.2, zorder=2)
                axes.add_patch(shade)
        right = index % 2 == 1
        axes.annotate(
            name,
            (ox + (image.shape[1] if right else 0), oy + image.shape[0]),
            xytext=(-12 if right else 12, -12),
            textcoords="offset points",
            ha="right" if right else "left",
            va="top",
            color="#10151b",
            fontsize=10,
            fontweight="bold",
            bbox={"boxstyle": "round,pad=0.35", "fc": MARK, "ec": "none"},
            zorder=5,
        )
    if window is not None:
        wx0, wy0, wx1, wy1 = window
        corner, extent = (wx0 - 0.5, wy0 - 0.5), (wx1 - wx0 + 1, wy1 - wy0 + 1)
        axes.add_patch(
            Rectangle(corner, *extent, fill=False, ec="#ffffff", lw=1.6, ls=(0, (4, 2.5)), zorder=4)
        )
    axes.set_xlim(full[0] - 0.5, full[2] + 0.5)
    axes.set_ylim(full[1] - 0.5, full[3] + 0.5)
    return figure


def _lookup(ids: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Array that gives the value of a footprint by its number; NaN for numbers that have none."""
    ids = np.asarray(ids)
    # Numbers may have gaps: those in between have no value.
    table = np.full(int(ids.max(initial=0)) + 1, np.nan)
    table[ids] = np.asarray(values, dtype=float)
    return table


def _scale_bar(axes: Axes, window: Window, pixel_scale: float | None) -> None:
    """Bar of a round length of about a seventh of the width, in the lower left corner."""
    from matplotlib.patheffects import withStroke

    x0, y0, x1, _ = window
    unit = 1.0 if pixel_scale is None else pixel_scale
    target = (x1 - x0 + 1) * unit / 7.0
    # 1, 2 or 5 times a power of ten.
    decade = 10.0 ** np.floor(np.log10(target))
    length = max(step * decade for step in (1.0, 2.0, 5.0) if step * decade <= target)
    margin = 0.025 * (x1 - x0 + 1)
    start, stop = x0 + margin, x0 + margin + length / unit
    text = f"{length:g} pixels" if pixel_scale is None else f"{length:g}″"
    halo = [withStroke(linewidth=3.0, foreground="#000000")]
    axes.plot([start, stop], [y0 + margin] * 2, color="white", lw=2.2, path_effects=halo, zorder=5)
    label = axes.text(0.5 * (start + stop), y0 + 1.35 * margin, text, ha="center", va="bottom", zorder=5)
    label.set(color="white", fontsize=10, fontweight="bold", path_effects=halo)


def _probability_bar(figure: Figure) -> None:
    """Bar with the colours of the probability, below an image that fills the width."""
    width, height = figure.get_size_inches()
    bar = figure.add_axes((0.0, 0.42 / height, 1.0, 0.1 / height))
    bar.imshow(
        np.linspace(0.0, 1.0, 512)[None], cmap=probability_colormap(), aspect="auto", extent=(0, 1, 0, 1)
    )
    bar.set_axis_off()
    labels = {0.0: "0  single", 0.25: "0.25", 0.5: "0.5", 0.75: "0.75", 1.0: "1  blend"}
    for value, label in labels.items():
        side = "left" if value == 0.0 else "right" if value == 1.0 else "center"
        figure.text(value, 0.36 / height, label, ha=side, va="top", fontsize=9.5)
    figure.text(
        0.5,
        0.16 / height,
        "Probability that more than one galaxy is in the footprint",
        ha="center",
        va="top",
        fontsize=9.5,
        color=MUTED,
    )

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Galleries of footprints cut out of their coadds."""

from __future__ import annotations

__all__ = ("Stamp", "cutout_gallery", "make_stamp", "stamp_picture")

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ._canvas import MARK, draw_outlines, rasterize_table, show_image
from ._outlines import asinh_stretch, cut_window
from ._peak_marks import PeakMarks, draw_peaks
from ._style import INK, new_figure, styled

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Stamp:
    """A footprint cut out of its coadd, ready to be drawn."""

    image: np.ndarray
    """Pixels `(s, s)`, NaN outside of the coadd."""
    noise: float
    """Noise of a pixel in the unit of the image."""
    xy0: tuple[int, int]
    """Parent pixel of the first element."""
    labels: np.ndarray
    """Footprint numbers `(s, s)`, 0 for none."""
    footprint_id: int
    """The footprint that the stamp is about; others in it are drawn faintly."""
    probability: float
    """Its probability of being a blend."""
    count: int | None = None
    """True number of galaxies in it, if known."""
    truth: np.ndarray | None = None
    """True positions ``(x, y)`` in parent pixels `(k, 2)`."""
    stars: np.ndarray | None = None
    """True positions of stars, which ``truth`` leaves out then."""
    peaks: PeakMarks | None = None
    """Peaks of the footprint."""
    name: str = ""
    """What to call it in the caption, if anything."""


def make_stamp(
    image: np.ndarray,
    noise: float,
    xy0: tuple[int, int],
    blend: Table,
    spans: Table,
    row: int,
    *,
    size: int = 45,
    count: int | None = None,
    truth: np.ndarray | None = None,
    peaks: Table | None = None,
) -> Stamp:
    """Cut one footprint out of a coadd.

    Parameters
    ----------
    image
        Coadd `(ny, nx)`.
    noise
        Noise of a pixel in the same unit.
    xy0
        Parent pixel ``(x, y)`` of its first element.
    blend, spans
        Tables of the footprints and of their spans.
    row
        Row of the footprint in ``blend``.
    size
        Side of the stamp in pixels; it is centred on the bounding box.
    count
        True number of galaxies in the footprint, if known.
    truth
        True positions ``(x, y)`` in parent pixels `(k, 2)`; those outside of
        the stamp are left out.
    peaks
        Table of peaks, for those of the footprint.

    Returns
    -------
    stamp
        The cutout.
    """
    entry = blend[row]
    x0 = (int(entry["bbox_x0"]) + int(entry["bbox_x1"]) + 1) // 2 - size // 2
    y0 = (int(entry["bbox_y0"]) + int(entry["bbox_y1"]) + 1) // 2 - size // 2
    window = (x0, y0, x0 + size - 1, y0 + size - 1)
    if truth is not None:
        inside = np.all(
            (truth > np.array([x0, y0]) - 0.5) & (truth < np.array([x0, y0]) + size - 0.5), axis=1
        )
        truth = truth[inside]
    return Stamp(
        image=cut_window(np.asarray(image, dtype=np.float32), xy0, window),
        noise=noise,
        xy0=(x0, y0),
        labels=rasterize_table(spans, window),
        footprint_id=int(entry["footprint_id"]),
        probability=float(entry["p_blended"]),
        count=count,
        truth=truth,
        peaks=None if peaks is None else PeakMarks.from_table(peaks, int(entry["footprint_id"])).shown(),
    )


@styled
def cutout_gallery(
    groups: Mapping[str, Sequence[Stamp]], *, columns: int = 6, width: float = 10.0, high: float = 60.0
) -> Figure:
    """Draw rows of footprints, all in one stretch, with their probability and their true number.

    Parameters
    ----------
    groups
        Stamps to show in each row, by the title of the row.
    columns
        Number of stamps in a row; more are left out.
    width
        Width of the figure in inches.
    high
        Value drawn white, in units of the noise.

    Returns
    -------
    figure
        The figure.

    Raises
    ------
    ValueError
        If no group has a stamp.
    """
    rows = {title: list(stamps)[:columns] for title, stamps in groups.items() if len(stamps)}
    if not rows:
        raise ValueError("No footprint to show in the gallery: every group is empty.")
    gap, title_room, caption_room = 0.1, 0.34, 0.3
    side = (width - gap * (columns - 1)) / columns
    height = len(rows) * (side + title_room + caption_room)
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    top = height
    for title, stamps in rows.items():
        figure.text(0.0, (top - 0.06) / height, title, va="top", fontsize=11, fontweight="bold", color=INK)
        top -= title_room + side
        for index, stamp in enumerate(stamps):
            box = (index * (side + gap) / width, top / height, side / width, side / height)
            _draw_stamp(figure.add_axes(box), stamp, high)
        top -= caption_room
    return figure


@styled
def stamp_picture(stamp: Stamp, *, width: float = 1.6, high: float = 60.0) -> Figure:
    """Draw one footprint, without text.

    Parameters
    ----------
    stamp
        The cutout.
    width
        Width of the figure in inches.
    high
        Value drawn white, in units of the noise.

    Returns
    -------
    figure
        The figure.
    """
    figure = new_figure(width, width)
    figure.set_layout_engine("none")
    _draw_stamp(figure.add_axes((0.0, 0.0, 1.0, 1.0)), stamp, high)
    return figure


def _draw_stamp(axes: Axes, stamp: Stamp, high: float) -> None:
    from matplotlib.patheffects import withStroke

    size = stamp.image.shape[0]
    window = (stamp.xy0[0], stamp.xy0[1], stamp.xy0[0] + size - 1, stamp.xy0[1] + size - 1)
    show_image(axes, asinh_stretch(stamp.image, stamp.noise, high=high), window)
    own = np.where(stamp.labels == stamp.footprint_id, 1, 0)
    others = np.where(stamp.labels != stamp.footprint_id, stamp.labels, 0)
    draw_outlines(
        axes, others, stamp.xy0, np.full(others.max(initial=0) + 1, np.nan), linewidth=0.6, alpha=0.5
    )
    draw_outlines(axes, own, stamp.xy0, np.array([np.nan, stamp.probability]), linewidth=1.6)
    halo = [withStroke(linewidth=2.0, foreground="#10151b")]
    if stamp.peaks is not None:
        draw_peaks(axes, stamp.peaks, size=9.0)
    looks: list[tuple[np.ndarray | None, dict[str, Any]]] = [
        (stamp.truth, {"marker": "+", "ms": 6.5, "mew": 1.1, "color": MARK}),
        (stamp.stars, {"marker": "*", "ms": 6.5, "mew": 0.8, "color": MARK}),
    ]
    for positions, look in looks:
        if positions is not None and len(positions):
            axes.plot(*positions.T, ls="none", zorder=4, path_effects=halo, **look)
    text = f"p = {stamp.probability:.2f}" if np.isfinite(stamp.probability) else "not classified"
    if stamp.name:
        text = f"{stamp.name}      {text}"
    if stamp.count is not None:
        text += f"      true N = {stamp.count}"
    axes.text(0.5, -0.03, text, transform=axes.transAxes, ha="center", va="top", fontsize=9)

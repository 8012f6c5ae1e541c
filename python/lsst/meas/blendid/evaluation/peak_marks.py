# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Peaks as marks in pictures: rings for detected ones, diamonds for inferred ones, as large as probable."""

from __future__ import annotations

__all__ = ("PeakMarks", "draw_ellipses", "draw_peaks", "ellipse_shapes")

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._colors import DETECTED_PEAK, INFERRED_PEAK, are_shown
from .peak_scores import ELLIPSE

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.axes import Axes

    from ..peak_matching import PeakList

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
        first, last = np.searchsorted(peaks.footprint, [row, row + 1])
        own, n = slice(first, last), int(last - first)
        inferred, covariance = peaks.is_inferred, peaks.covariance
        return cls(
            peaks.x[own],
            peaks.y[own],
            peaks.probability[own],
            np.zeros(n, dtype=bool) if inferred is None else inferred[own],
            np.full((n, 3), np.nan) if covariance is None else covariance[own],
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
        own = marks.select(marks.is_inferred == inferred)
        if len(own):
            axes.scatter(
                own.x,
                own.y,
                # Diamonds of the same size look larger than rings.
                s=((0.8 if inferred else 1.0) * size * own.scale) ** 2,
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

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Cells of a patch, and their place in the grid of the tract."""

from __future__ import annotations

__all__ = ("Cell", "cell_size_for", "cells_of")

import dataclasses
from collections.abc import Iterator

from lsst.images import Box
from lsst.images.cells import CellGridBounds, CellIJ, PatchDefinition


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of a patch."""

    index: CellIJ
    """Its place in the patch."""

    bbox: Box
    """Its pixels, parent coordinates."""

    y: slice
    """Its rows in an array of the outer box of the patch."""

    x: slice
    """Its columns in that array."""

    place: tuple[float, float]
    """Column and row of its middle, counted in cells from the first pixel of the tract. That
    of a cell that two patches share is the same in both."""

    key: tuple[int, int]
    """Column and row of its first pixel, counted in pixels from that of the tract, and never
    negative inside of it."""


def cells_of(patch: PatchDefinition, tract_bbox: Box) -> Iterator[Cell]:
    """Iterate over the cells of a patch.

    Parameters
    ----------
    patch
        The patch.
    tract_bbox
        Bounding box of its tract.

    Yields
    ------
    cell
        The cells, row by row.
    """
    grid, outer = patch.cells, patch.outer_bbox
    for index in CellGridBounds(grid=grid, bbox=outer).cell_indices():
        box = grid.bbox_of(index)
        x0, y0 = box.x.start - tract_bbox.x.start, box.y.start - tract_bbox.y.start
        yield Cell(
            index,
            box,
            slice(box.y.start - outer.y.start, box.y.stop - outer.y.start),
            slice(box.x.start - outer.x.start, box.x.stop - outer.x.start),
            (x0 / grid.cell_shape.x + 0.5, y0 / grid.cell_shape.y + 0.5),
            (x0, y0),
        )


def cell_size_for(size: int, largest: int = 256) -> int:
    """Choose the width of the cells of a patch.

    Parameters
    ----------
    size
        Width of the patch, pixels.
    largest
        Largest width of a cell, pixels.

    Returns
    -------
    cell
        150 (as in Rubin's coadds) if that divides ``size``, else the largest divisor
        that is between 16 and ``largest``; ``size`` itself if there is none.
    """
    if size % 150 == 0:
        return 150
    return next((c for c in range(min(largest, size), 15, -1) if size % c == 0), size)

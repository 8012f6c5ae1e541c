# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the cells of a patch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.images import YX, Box
from lsst.images.cells import CellGrid, PatchDefinition
from lsst.meas.blendid.simulation.coadds.cells import cell_size_for, cells_of


def _patch(x0: int, y0: int, nx: int, ny: int, cell: YX) -> PatchDefinition:
    box = Box.from_shape((ny * cell.y, nx * cell.x), start=(y0, x0))
    return PatchDefinition(
        id=0, index=YX(y=0, x=0), inner_bbox=box, cells=CellGrid(bbox=box, cell_shape=cell)
    )


@given(
    x0=st.integers(-500, 500),
    y0=st.integers(-500, 500),
    nx=st.integers(1, 5),
    ny=st.integers(1, 5),
    width=st.integers(1, 20),
    height=st.integers(1, 20),
)
def test_cells_tile_the_patch(x0: int, y0: int, nx: int, ny: int, width: int, height: int) -> None:
    patch = _patch(x0, y0, nx, ny, YX(y=height, x=width))
    cells = list(cells_of(patch, patch.outer_bbox))
    assert [c.index.as_tuple() for c in cells] == [(i, j) for i in range(ny) for j in range(nx)]
    seen = np.zeros((ny * height, nx * width), dtype=int)
    for cell in cells:
        seen[cell.y, cell.x] += 1
        assert (cell.bbox.x.start, cell.bbox.y.start) == (x0 + cell.x.start, y0 + cell.y.start)
        assert cell.key == (cell.x.start, cell.y.start)
    assert (seen == 1).all()


def test_a_shared_cell_is_the_same_in_both_patches() -> None:
    tract = Box.factory[-20:200, 10:300]
    one = {str(c.bbox): c for c in cells_of(_patch(10, -20, 4, 4, YX(y=20, x=30)), tract)}
    two = {str(c.bbox): c for c in cells_of(_patch(70, 20, 4, 4, YX(y=20, x=30)), tract)}
    shared = one.keys() & two.keys()
    assert len(shared) == 4
    for box in shared:
        assert (one[box].place, one[box].key) == (two[box].place, two[box].key)


@pytest.mark.parametrize(
    ("size", "cell"), [(1500, 150), (2048, 256), (256, 256), (64, 64), (97, 97), (509, 509)]
)
def test_cell_sizes_divide(size: int, cell: int) -> None:
    assert cell_size_for(size) == cell and size % cell == 0

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Convolutions for prediction, in 32 bits on one thread.

Convolutions of 3 x 3 pixels go by Winograd's algorithm F(4 x 4, 3 x 3) (Lavin & Gray 2016, arXiv:1509.09308):
a quarter of the multiplications.  Some tiles at a time are transformed, multiplied and transformed back, so
that what lies between stays in the processor's cache.  All others are matrix products of rows of pixels that
lie in memory already.

Pixels have their channels beside each other.  Images are rows anywhere in a one-dimensional array, given by
the places where they start, so that an image need not be in memory as a whole (`.streaming`).  Channels are
filled up with zeros to a multiple of 16.
"""

from __future__ import annotations

__all__ = (
    "ProductWeights",
    "TileWeights",
    "convolve_images",
    "convolve_tiles",
    "count_channels",
    "make_workspace",
    "multiply_rows",
)

from dataclasses import dataclass

import numpy as np

from .._jit import njit
from ._vectors import (
    BLOCK,
    PANEL,
    POINT,
    ROWS,
    VECTOR,
    add_tile,
    multiply,
    multiply_one,
    product,
    transform_tile,
    write_tile,
)

_TO_POINTS = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
"""What a column of a kernel is at the six points of the transforms."""


def count_channels(n: int) -> int:
    """Channels in memory: the next multiple of 16."""
    return -(-n // PANEL) * PANEL


def _fill(array: np.ndarray, *sizes: int) -> np.ndarray:
    """Fill the last axes up with zeros."""
    before = array.ndim - len(sizes)
    widths = [(0, size - n) for size, n in zip(sizes, array.shape[before:], strict=True)]
    return np.pad(array, [(0, 0)] * before + widths)


def _to_panels(matrix: np.ndarray) -> np.ndarray:
    """Sixteen columns after sixteen columns of matrices (..., inputs, outputs): (panels, ..., inputs, 16)."""
    panels = matrix.reshape(*matrix.shape[:-1], -1, PANEL)
    return np.ascontiguousarray(np.moveaxis(panels, -2, 0), dtype=np.float32).ravel()


@dataclass(frozen=True)
class TileWeights:
    """Weights of a convolution of 3 x 3 pixels, transformed for `convolve_tiles`: one-dimensional, float32.

    ``n_inputs`` and ``n_outputs`` are channels in memory.
    """

    values: np.ndarray
    bias: np.ndarray
    n_inputs: int
    n_outputs: int

    @classmethod
    def make(cls, kernel: np.ndarray, bias: np.ndarray) -> TileWeights:
        """Transform a kernel (3, 3, inputs, outputs), as of a Keras layer, and its bias (outputs,)."""
        inputs, outputs = (count_channels(n) for n in kernel.shape[2:])
        points = np.einsum("ai,bj,ijck->abck", _TO_POINTS, _TO_POINTS, kernel.astype(np.float64))
        points = _fill(points, inputs, outputs).reshape(36, inputs, outputs)
        return cls(_to_panels(points), _fill(bias, outputs).astype(np.float32), inputs, outputs)


@dataclass(frozen=True)
class ProductWeights:
    """Weights of a product of pixels' rows and a matrix, for `multiply_rows`: one-dimensional, float32.

    A row of the product has ``n_segments`` pieces of ``length`` floats; ``n_outputs`` are channels in memory.
    """

    values: np.ndarray
    bias: np.ndarray
    n_segments: int
    length: int
    n_outputs: int

    @classmethod
    def make(cls, kernel: np.ndarray, bias: np.ndarray, *, fill: bool = True) -> ProductWeights:
        """Arrange a kernel (rows, columns, inputs, outputs), as of a Keras layer, and its bias (outputs,).

        What an output sees of each row is one piece.  With ``fill`` the input has its channels filled up.
        """
        rows, columns, inputs, outputs = kernel.shape
        inputs, outputs = count_channels(inputs) if fill else inputs, count_channels(outputs)
        matrix = _fill(kernel, inputs, outputs).reshape(rows * columns * inputs, outputs)
        bias = _fill(bias, outputs).astype(np.float32)
        return cls(_to_panels(matrix), bias, rows, columns * inputs, outputs)


def make_workspace(n_inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Arrays that `convolve_tiles` works in, for inputs of at most ``n_inputs`` channels."""
    return np.empty(n_inputs // PANEL * 36 * POINT, np.float32), np.empty(36 * POINT, np.float32)


@njit(nogil=True)
def convolve_tiles(
    x: np.ndarray,
    sources: np.ndarray,
    n_inputs: int,
    weights: np.ndarray,
    bias: np.ndarray,
    out: np.ndarray,
    targets: np.ndarray,
    n_outputs: int,
    n_tiles: int,
    is_added: bool,
    values: np.ndarray,
    products: np.ndarray,
) -> None:
    """Convolve rows of tiles of 4 x 4 pixels with a kernel of 3 x 3, add constants and rectify.

    Parameters
    ----------
    x, out : `numpy.ndarray`, float32
        Input and output, one-dimensional, which may be the same if rows that are read are written later.
        A row has one pixel more on the left side, and at least one on the right, which are zero.
    sources : `numpy.ndarray`, shape (6 r,), int64
        Places of the rows that each of r rows of tiles sees: one above it, its own four, one below.
    targets : `numpy.ndarray`, shape (4 r,), int64
        Places of the rows that it gives.  Tiles are written as wholes, which may be more than the image.
    n_inputs, n_outputs
        Channels in memory.
    weights, bias
        As of `TileWeights`.
    n_tiles
        Tiles in a row.
    is_added
        Whether the result is added to what is there, before it is rectified.
    values, products
        As from `make_workspace`.
    """
    total, n_blocks = sources.size // 6 * n_tiles, n_inputs // PANEL
    for first in range(0, total, BLOCK):
        n = min(BLOCK, total - first)
        for i in range(n):
            row = (first + i) // n_tiles
            column = 4 * n_inputs * (first + i - row * n_tiles)
            for block in range(n_blocks):
                for channel in range(0, PANEL, VECTOR):
                    at, to = column + block * PANEL + channel, (36 * block * POINT) + i * PANEL + channel
                    transform_tile(  # type: ignore[call-arg]
                        x, sources, 6 * row, at, n_inputs, values, to
                    )
        for start in range(0, n_outputs, PANEL):
            for point in range(36):
                panel = (start // PANEL * 36 + point) * n_inputs * PANEL
                # Of what is beyond the last tile, the products are not used.
                for i in range(0, n, ROWS):
                    at = point * POINT + i * PANEL
                    product(values, at, n_blocks, weights, panel, products, at)  # type: ignore[call-arg]
            for i in range(n):
                row = (first + i) // n_tiles
                column = n_outputs * (1 + 4 * (first + i - row * n_tiles)) + start
                for channel in range(0, PANEL, VECTOR):
                    at, k, to = i * PANEL + channel, start + channel, column + channel
                    if is_added:
                        add_tile(products, at, bias, k, out, targets, 4 * row, to, n_outputs)
                    else:
                        write_tile(products, at, bias, k, out, targets, 4 * row, to, n_outputs)


@njit(nogil=True)
def multiply_rows(
    x: np.ndarray,
    sources: np.ndarray,
    n_segments: int,
    first: int,
    step: int,
    length: int,
    weights: np.ndarray,
    bias: np.ndarray,
    out: np.ndarray,
    targets: np.ndarray,
    n_outputs: int,
    n_pixels: int,
    is_added: bool,
    is_rectified: bool,
) -> None:
    """Multiply what each pixel of some rows sees with a matrix, and add constants.

    Parameters
    ----------
    x, out : `numpy.ndarray`, float32
        Input and output, one-dimensional.
    sources : `numpy.ndarray`, shape (r s,), int64
        Places of the s rows that each of r output rows sees.
    n_segments
        s, the number of pieces that a pixel sees, one of each row.
    first
        Place in a row of what the first pixel sees.
    step
        Floats to what the next sees.
    length
        Floats that a pixel sees of a row.
    weights, bias
        As of `ProductWeights`.
    targets : `numpy.ndarray`, shape (r,), int64
        Places of the first pixel of each output row.
    n_outputs
        Channels in memory.
    n_pixels
        Pixels of an output row.
    is_added
        Whether the result is added to what is there.
    is_rectified
        Whether it is rectified then.
    """
    for row in range(targets.size):
        segment = row * n_segments
        # Of some pixels, what they see stays in the fastest cache while it is multiplied with all columns.
        for begin in range(0, n_pixels, BLOCK):
            end = min(begin + BLOCK, n_pixels)
            whole = begin + (end - begin) // ROWS * ROWS
            for start in range(0, n_outputs, PANEL):
                panel = start * n_segments * length
                for i in range(begin, whole, ROWS):
                    multiply(
                        x,
                        sources,
                        segment,
                        n_segments,
                        first + i * step,
                        step,
                        length,
                        weights,
                        panel,
                        bias,
                        start,
                        out,
                        targets[row] + i * n_outputs + start,
                        n_outputs,
                        is_added,
                        is_rectified,
                    )
                for i in range(whole, end):
                    multiply_one(
                        x,
                        sources,
                        segment,
                        n_segments,
                        first + i * step,
                        step,
                        length,
                        weights,
                        panel,
                        bias,
                        start,
                        out,
                        targets[row] + i * n_outputs + start,
                        n_outputs,
                        is_added,
                        is_rectified,
                    )


def convolve_images(
    images: np.ndarray, weights: TileWeights | ProductWeights, *, is_padded: bool = True
) -> np.ndarray:
    """Convolve small images (n, ny, nx, c) with a kernel of 3 x 3 pixels, add constants and rectify.

    `TileWeights` are for channels that are filled up; `ProductWeights` for those that are not, and better
    for few. Gives float32 (n, ny, nx, outputs) with its channels filled up, which need not be contiguous;
    without ``is_padded`` the result is smaller by two pixels, as there are no zeros around each image.
    """
    n, ny, nx, channels = images.shape
    before, outputs = int(is_padded), weights.n_outputs
    if not is_padded:
        ny, nx = ny - 2, nx - 2
    high, wide = -(-ny // 4), -(-nx // 4)
    is_tiled = isinstance(weights, TileWeights)
    sides = (4 * high + 2, 4 * wide + 2) if is_tiled else (ny + 2, nx + 2)
    x = np.zeros((n, *sides, channels), np.float32)
    x[:, before : before + images.shape[1], before : before + images.shape[2]] = images
    # Places of the first row of each image.
    first = np.arange(n, dtype=np.int64)[:, None, None] * sides[0]
    if isinstance(weights, TileWeights):
        out = np.empty((n, 4 * high, 4 * wide + 2, outputs), np.float32)
        tops = 4 * np.arange(high)[:, None]
        convolve_tiles(
            x.reshape(-1),
            ((first + tops + np.arange(6)) * x[0, 0].size).ravel(),
            channels,
            weights.values,
            weights.bias,
            out.reshape(-1),
            np.arange(n * 4 * high) * out[0, 0].size,
            outputs,
            wide,
            False,
            *make_workspace(channels),
        )
        return out[:, :ny, 1 : nx + 1]
    out = np.empty((n, ny, nx, outputs), np.float32)
    multiply_rows(
        x.reshape(-1),
        ((first + np.arange(ny)[:, None] + np.arange(3)) * x[0, 0].size).ravel(),
        weights.n_segments,
        0,
        channels,
        weights.length,
        weights.values,
        weights.bias,
        out.reshape(-1),
        np.arange(n * ny) * out[0, 0].size,
        outputs,
        nx,
        False,
        True,
    )
    return out

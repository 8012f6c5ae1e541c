# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The part of the centre network that runs over an image, without Keras."""

from __future__ import annotations

__all__ = ("MapWeights", "run_maps")

from collections.abc import Mapping

import numpy as np

from .._jit import njit
from ..networks.convolution import ProductWeights, TileWeights, count_channels, make_workspace, multiply_rows
from ..networks.streaming import Convolution, Enlargement, Layer, Reduction, Rows, run_layers
from .network import N_PLANES, N_STATES, NetworkShape

_STRIP = 32
"""Rows at half resolution that are begun at a time."""


class MapWeights:
    """Weights of the map network (`.network.weight_shapes`) by name, arranged for `run_maps`."""

    def __init__(self, shape: NetworkShape, arrays: Mapping[str, np.ndarray]) -> None:
        self.shape = shape

        def get(name: str) -> tuple[np.ndarray, np.ndarray]:
            return arrays[f"{name}_kernel"], arrays[f"{name}_bias"]

        self.stem = ProductWeights.make(*get("stem"), fill=False)
        self.context, self.context_bias = get("stem_context")
        self.blocks: dict[str, tuple[TileWeights, TileWeights]] = {}
        self.down: list[ProductWeights] = []
        self.up: list[tuple[ProductWeights, ProductWeights]] = []
        levels = len(shape.widths)
        for level, n_blocks in enumerate(shape.blocks):
            names = [f"down{level}_{i}" for i in range(n_blocks)]
            if level > 0:
                self.down.append(ProductWeights.make(*get(f"down{level}")))
            if level < levels - 1:
                names.append(f"up{level}_0")
                self.up.append(_split_rows(*get(f"up{level}")))
            for name in names:
                self.blocks[name] = TileWeights.make(*get(f"{name}a")), TileWeights.make(*get(f"{name}b"))
        ends = [get("embedding"), get("tiles")]
        self.ends = ProductWeights.make(
            np.concatenate([kernel for kernel, _ in ends], axis=-1),
            np.concatenate([bias for _, bias in ends]),
        )


def _split_rows(kernel: np.ndarray, bias: np.ndarray) -> tuple[ProductWeights, ProductWeights]:
    """Weights of a transposed convolution, kernel (2, 2, outputs, inputs), for each of two rows."""
    n = count_channels(kernel.shape[2])
    filled = np.zeros((2, 2, n, kernel.shape[3]), np.float32)
    filled[:, :, : kernel.shape[2]] = kernel
    both = np.zeros((2, n), np.float32)
    both[:, : len(bias)] = bias
    upper, lower = (
        ProductWeights.make(row.reshape(1, 1, 2 * n, -1).swapaxes(2, 3), both.ravel()) for row in filled
    )
    return upper, lower


class _Stem(Layer):
    """The first layer: planes and context to half resolution."""

    def __init__(
        self, weights: MapWeights, planes: np.ndarray, labels: np.ndarray, context: np.ndarray, target: Rows
    ) -> None:
        super().__init__(target.n_rows, None, target)
        self._output = target
        # The bits of half precision, whatever is given.
        bits = np.ascontiguousarray(planes, dtype=np.float16).view(np.uint16)
        self._weights, self._planes, self._labels = weights.stem, bits, labels
        more = context.astype(np.float32) @ weights.context + weights.context_bias
        self._bias = self._weights.bias.copy()
        self._bias[: len(more)] += more
        # Loops know no halves: their bits are looked up.
        self._halves = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
        self._pixels = np.zeros((2 * _STRIP + 2, 2 * target.n_columns + 2, N_PLANES), np.float32)
        self._inside = np.zeros((2 * _STRIP + 2, labels.shape[1]), dtype=bool)

    def count_ready(self) -> int:
        return min(self.n_done + _STRIP, self.n_rows)

    def first_needed(self) -> int:
        return 0

    def run(self, first: int, stop: int) -> None:
        # A pixel of the output sees four rows, from that above its own two on.
        before, ny = 2 * first - 1, len(self._labels)
        rows = slice(max(before, 0), max(min(2 * stop + 1, ny), 0))
        inside = np.greater(self._labels[rows], 0, out=self._inside[: max(rows.stop - rows.start, 0)])
        _fill_pixels(self._pixels, self._planes[rows], inside, rows.start - before, self._halves)
        length, n = self._pixels[0].size, stop - first
        multiply_rows(
            self._pixels.reshape(-1),
            ((2 * np.arange(n)[:, None] + np.arange(4)) * length).ravel(),
            self._weights.n_segments,
            0,
            2 * N_PLANES,
            self._weights.length,
            self._weights.values,
            self._bias,
            self._output.array,
            self._output.places(np.arange(first, stop)) + self._output.n_channels,
            self._weights.n_outputs,
            self._output.n_columns,
            False,
            True,
        )


class _Ends(Layer):
    """The last layer: embedding and logits of some tiles."""

    def __init__(self, weights: MapWeights, source: Rows, wanted: np.ndarray) -> None:
        super().__init__(source.n_rows, source, None)
        self._input = source
        self._weights, self._wanted = weights.ends, wanted
        self._width = weights.shape.embedding
        n = int(np.count_nonzero(wanted))
        self.embedding = np.empty((n, self._width), np.float32)
        self.logits = np.empty((n, N_STATES), np.float32)
        self._n_given = 0

    def count_ready(self) -> int:
        return self._input.n_done

    def first_needed(self) -> int:
        return self.n_done

    def run(self, first: int, stop: int) -> None:
        weights, source, wanted = self._weights, self._input, self._wanted[first:stop]
        n = int(np.count_nonzero(wanted))
        pixels = np.empty((n, source.n_channels), np.float32)
        _take_pixels(source.array, source.places(np.arange(first, stop)), wanted, pixels)
        out = np.empty((n, weights.n_outputs), np.float32)
        start, length = np.zeros(1, np.int64), weights.length
        multiply_rows(
            pixels.reshape(-1),
            start,
            1,
            0,
            length,
            length,
            weights.values,
            weights.bias,
            out.reshape(-1),
            start,
            weights.n_outputs,
            n,
            False,
            False,
        )
        here = slice(self._n_given, self._n_given + n)
        self._n_given += n
        self.embedding[here] = np.maximum(out[:, : self._width], 0.0)
        self.logits[here] = out[:, self._width : self._width + N_STATES]


@njit(nogil=True)
def _fill_pixels(
    pixels: np.ndarray, planes: np.ndarray, inside: np.ndarray, first: int, halves: np.ndarray
) -> None:
    """Put planes and mask of some rows side by side, behind a row and a column of zeros that may be there."""
    ny, nx = inside.shape
    for y in range(pixels.shape[0]):
        is_row = 0 <= y - first < ny
        for x in range(nx):
            if is_row:
                pixels[y, x + 1, 0] = halves[planes[y - first, x, 0]]
                pixels[y, x + 1, 1] = halves[planes[y - first, x, 1]]
                pixels[y, x + 1, 2] = inside[y - first, x]
            else:
                pixels[y, x + 1, 0] = pixels[y, x + 1, 1] = pixels[y, x + 1, 2] = 0.0


@njit(nogil=True)
def _take_pixels(x: np.ndarray, places: np.ndarray, wanted: np.ndarray, pixels: np.ndarray) -> None:
    """Take the channels of some pixels of rows, of which the first is one pixel behind its place."""
    n, channels = 0, pixels.shape[1]
    for row in range(places.size):
        for column in range(wanted.shape[1]):
            if wanted[row, column]:
                at = places[row] + (1 + column) * channels
                for channel in range(channels):
                    pixels[n, channel] = x[at + channel]
                n += 1


def run_maps(
    weights: MapWeights, planes: np.ndarray, labels: np.ndarray, context: np.ndarray, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Run the network over an image: embedding, float32 (m, e), and state logits, float32 (m, 5), of m tiles.

    ``planes`` are from `.inputs.compute_planes`, ``labels`` is a label image (ny, nx) and ``context`` (9,)
    is standardised.  The tiles are those that ``wanted`` asks for, bool (ny / 2, nx / 2) with sides rounded
    up, row by row.
    """
    shape = weights.shape
    levels = len(shape.widths)
    # In tiles of the lowest level, at least one.
    sides = [max(-(-n // shape.stride), 1) for n in labels.shape]
    workspace = make_workspace(max(count_channels(width) for width in shape.widths))
    layers: list[Layer] = []

    def make_rows(level: int, *, over: Rows | None = None) -> Rows:
        ny, nx = (n * 2 ** (levels - 1 - level) for n in sides)
        return Rows(ny, nx, count_channels(shape.widths[level]), over=over)

    def add_block(x: Rows, level: int, name: str) -> Rows:
        between, end = make_rows(level), make_rows(level, over=x)
        first, second = weights.blocks[name]
        layers.append(Convolution(x, between, first, workspace))
        layers.append(Convolution(between, end, second, workspace, is_added=True))
        return end

    x = make_rows(0)
    layers.append(_Stem(weights, planes, labels, context, x))
    kept = []
    for level, n_blocks in enumerate(shape.blocks):
        if level > 0:
            kept.append(x)
            x = make_rows(level)
            layers.append(Reduction(kept[-1], x, weights.down[level - 1]))
        for i in range(n_blocks):
            x = add_block(x, level, f"down{level}_{i}")
    for level in range(levels - 2, -1, -1):
        end = make_rows(level, over=kept[level])
        layers.append(Enlargement(x, kept[level], end, weights.up[level]))
        x = add_block(end, level, f"up{level}_0")
    whole = np.zeros((x.n_rows, x.n_columns), dtype=bool)
    whole[: wanted.shape[0], : wanted.shape[1]] = wanted
    ends = _Ends(weights, x, whole)
    layers.append(ends)
    run_layers(layers)
    return ends.embedding, ends.logits

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Running a network of convolutions over an image from the top down, with few rows in memory.

Each layer goes on as far as the rows of its input allow, and rows that no layer needs any more are written
over.  So memory grows with the width of an image only, most of what a layer reads is in the processor's
cache, and no piece of an image is computed twice.
"""

from __future__ import annotations

__all__ = ("Convolution", "Enlargement", "Layer", "Reduction", "Rows", "run_layers")

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from .convolution import ProductWeights, TileWeights, convolve_tiles, multiply_rows


class _Buffer:
    """Memory of some rows."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.capacity = 0
        self.array = np.zeros(0, np.float32)

    def allocate(self) -> None:
        # One row of zeros, and one for what nobody reads.
        self.array = np.zeros((self.capacity + 2) * self.length, np.float32)


class Rows:
    """Rows of an image (n_rows, n_columns) with channels, written over others of the same sizes if given."""

    def __init__(self, n_rows: int, n_columns: int, n_channels: int, *, over: Rows | None = None) -> None:
        self.n_rows, self.n_columns, self.n_channels = n_rows, n_columns, n_channels
        self.n_tiles = -(-n_columns // 4)
        """Tiles of four columns."""
        self.n_done = 0
        """Rows that are there."""
        length = (4 * self.n_tiles + 2) * n_channels
        self.buffer: _Buffer = _Buffer(length) if over is None else over.buffer
        self.is_first = over is None
        """Whether they are written over nothing else."""

    @property
    def array(self) -> np.ndarray:
        """The memory, one-dimensional, float32."""
        return self.buffer.array

    def places(self, rows: np.ndarray, *, outside: int = 0) -> np.ndarray:
        """Tell where rows are; those outside of the image are zero, or nowhere if ``outside`` is 1."""
        is_inside = (rows >= 0) & (rows < self.n_rows)
        capacity = self.buffer.capacity
        return np.where(is_inside, rows % capacity, capacity + outside) * self.buffer.length

    def clear_beyond(self, places: np.ndarray) -> None:
        """Clear what is right of the image in some rows."""
        if self.n_columns % 4:
            end = (1 + self.n_columns) * self.n_channels
            for place in places:
                self.array[place + end : place + self.buffer.length] = 0.0


class Layer(ABC):
    """What makes ``n_rows`` rows out of rows.

    ``source`` is `None` if it takes them from elsewhere, ``target`` if it gives them to somebody else.
    """

    def __init__(self, n_rows: int, source: Rows | None, target: Rows | None) -> None:
        self.n_rows, self.source, self.target = n_rows, source, target
        self.n_done = 0
        """Rows that are made."""

    @abstractmethod
    def count_ready(self) -> int:
        """Count the rows that can be there after the next run."""

    @abstractmethod
    def first_needed(self) -> int:
        """Tell the first row of the source that is still needed."""

    @abstractmethod
    def run(self, first: int, stop: int) -> None:
        """Make rows ``first`` to ``stop - 1``."""


class Convolution(Layer):
    """A convolution of 3 x 3 pixels, rectified; added before to what the target holds if ``is_added``."""

    def __init__(
        self,
        source: Rows,
        target: Rows,
        weights: TileWeights,
        workspace: tuple[np.ndarray, np.ndarray],
        *,
        is_added: bool = False,
    ) -> None:
        super().__init__(target.n_rows, source, target)
        self._input, self._output = source, target
        self._weights, self._workspace, self._is_added = weights, workspace, is_added

    def count_ready(self) -> int:
        done = self._input.n_done
        # A row of tiles sees the first row of the next.
        return self.n_rows if done == self.n_rows else max(done - 1, 0) // 4 * 4

    def first_needed(self) -> int:
        return max(self.n_done - 1, 0)

    def run(self, first: int, stop: int) -> None:
        tops = np.arange(first, stop, 4)[:, None]
        targets = self._output.places((tops + np.arange(4)).ravel(), outside=1)
        weights = self._weights
        convolve_tiles(
            self._input.array,
            self._input.places((tops + np.arange(-1, 5)).ravel()),
            weights.n_inputs,
            weights.values,
            weights.bias,
            self._output.array,
            targets,
            weights.n_outputs,
            self._output.n_tiles,
            self._is_added,
            *self._workspace,
        )
        self._output.clear_beyond(targets)


class Reduction(Layer):
    """A convolution of 2 x 2 pixels in steps of two, rectified: half the size."""

    def __init__(self, source: Rows, target: Rows, weights: ProductWeights) -> None:
        super().__init__(target.n_rows, source, target)
        self._input, self._output = source, target
        self._weights = weights

    def count_ready(self) -> int:
        return self._input.n_done // 2

    def first_needed(self) -> int:
        return 2 * self.n_done

    def run(self, first: int, stop: int) -> None:
        weights, channels = self._weights, self._input.n_channels
        multiply_rows(
            self._input.array,
            self._input.places(np.arange(2 * first, 2 * stop)),
            weights.n_segments,
            channels,
            2 * channels,
            weights.length,
            weights.values,
            weights.bias,
            self._output.array,
            self._output.places(np.arange(first, stop)) + self._output.n_channels,
            weights.n_outputs,
            self._output.n_columns,
            False,
            True,
        )


class Enlargement(Layer):
    """A transposed convolution of 2 x 2 pixels in steps of two, added to rows twice the size, and rectified.

    ``target`` is written over ``before``; the weights are those of the upper and the lower one of two rows.
    """

    def __init__(
        self, source: Rows, before: Rows, target: Rows, weights: tuple[ProductWeights, ProductWeights]
    ) -> None:
        super().__init__(target.n_rows, source, target)
        self._input, self._output = source, target
        self._before, self._weights = before, weights

    def count_ready(self) -> int:
        return min(2 * self._input.n_done, self._before.n_done // 2 * 2)

    def first_needed(self) -> int:
        return self.n_done // 2

    def run(self, first: int, stop: int) -> None:
        sources = self._input.places(np.arange(first // 2, stop // 2))
        for i, weights in enumerate(self._weights):
            # Two pixels of the output are the outputs of one of the input.
            multiply_rows(
                self._input.array,
                sources,
                1,
                self._input.n_channels,
                self._input.n_channels,
                weights.length,
                weights.values,
                weights.bias,
                self._output.array,
                self._output.places(np.arange(first + i, stop, 2)) + self._output.n_channels,
                weights.n_outputs,
                self._input.n_columns,
                True,
                True,
            )


def run_layers(layers: Sequence[Layer]) -> None:
    """Run a network: layers, each behind those that make its input.

    The first takes care itself of how many rows it does at a time.
    """
    _plan(layers)
    for layer in layers:
        if layer.target is not None and layer.target.is_first:
            layer.target.buffer.allocate()
    while any(layer.n_done < layer.n_rows for layer in layers):
        for layer in layers:
            _advance(layer, is_run=True)


def _plan(layers: Sequence[Layer]) -> None:
    """Find how many rows have to be kept, by going through the numbers of rows without the rows."""
    readers: dict[int, list[Layer]] = {}
    for layer in layers:
        if layer.source is not None:
            readers.setdefault(id(layer.source.buffer), []).append(layer)
    while any(layer.n_done < layer.n_rows for layer in layers):
        for layer in layers:
            if _advance(layer, is_run=False) and layer.target is not None and layer.target.is_first:
                buffer = layer.target.buffer
                needed = min(reader.first_needed() for reader in readers[id(buffer)])
                buffer.capacity = max(buffer.capacity, layer.target.n_done - needed)
    for layer in layers:
        layer.n_done = 0
        if layer.target is not None:
            layer.target.n_done = 0


def _advance(layer: Layer, *, is_run: bool) -> bool:
    """Let a layer go on; tell whether it did."""
    first, stop = layer.n_done, layer.count_ready()
    if stop <= first:
        return False
    if is_run:
        layer.run(first, stop)
    layer.n_done = stop
    if layer.target is not None:
        layer.target.n_done = stop
    return True

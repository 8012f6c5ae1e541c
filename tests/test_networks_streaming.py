# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.networks.convolution import TileWeights, count_channels, make_workspace
from lsst.meas.blendid.networks.streaming import Convolution, Layer, Rows, run_layers
from scipy.signal import correlate2d


class Source(Layer):
    """Gives the rows of an image, some at a time."""

    def __init__(self, image: np.ndarray, target: Rows, step: int) -> None:
        super().__init__(len(image), None, target)
        self._image, self._output, self._step = image, target, step

    def count_ready(self) -> int:
        return min(self.n_done + self._step, self.n_rows)

    def first_needed(self) -> int:
        raise AssertionError("it has no source")

    def run(self, first: int, stop: int) -> None:
        for y, place in zip(range(first, stop), self._output.places(np.arange(first, stop)), strict=True):
            for x, value in enumerate(self._image[y]):
                self._output.array[place + (1 + x) * self._output.n_channels] = value


class Sink(Layer):
    """Collects the rows of an image."""

    def __init__(self, source: Rows) -> None:
        super().__init__(source.n_rows, source, None)
        self._input = source
        self.image = np.zeros((source.n_rows, source.n_columns))

    def count_ready(self) -> int:
        return self._input.n_done

    def first_needed(self) -> int:
        return self.n_done

    def run(self, first: int, stop: int) -> None:
        channels = self._input.n_channels
        for y, place in zip(range(first, stop), self._input.places(np.arange(first, stop)), strict=True):
            self.image[y] = self._input.array[place + channels :: channels][: self._input.n_columns]


@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 13), st.integers(1, 9), st.integers(1, 4))
def test_a_chain_of_convolutions_in_place(seed: int, ny: int, nx: int, step: int, n_blocks: int) -> None:
    """Residual blocks one after the other, of which the rows are given in any portions."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(ny, nx))
    channels, workspace = count_channels(1), make_workspace(count_channels(1))
    x = Rows(ny, nx, channels)
    layers: list[Layer] = [Source(image, x, step)]
    expected = image.astype(np.float32).astype(float)
    buffers = [x.buffer]
    for _ in range(n_blocks):
        kernels = rng.normal(scale=0.3, size=(2, 3, 3))
        between, end = Rows(ny, nx, channels), Rows(ny, nx, channels, over=x)
        one, two = (TileWeights.make(k[..., None, None], np.full(1, 0.1)) for k in kernels)
        layers += [Convolution(x, between, one, workspace)]
        layers += [Convolution(between, end, two, workspace, is_added=True)]
        hidden = np.maximum(correlate2d(expected, kernels[0], mode="same") + 0.1, 0.0)
        expected = np.maximum(expected + correlate2d(hidden, kernels[1], mode="same") + 0.1, 0.0)
        x = end
        buffers.append(between.buffer)
    sink = Sink(x)
    run_layers([*layers, sink])
    assert sink.image == pytest.approx(expected, abs=1e-4)
    # What is kept does not grow with the image.
    for buffer in buffers:
        assert buffer.capacity <= min(ny, step + 8 * (2 * n_blocks + 1))

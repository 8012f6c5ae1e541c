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
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.networks.convolution import (
    ProductWeights,
    TileWeights,
    convolve_tiles,
    count_channels,
    make_workspace,
    multiply_rows,
)
from scipy.signal import correlate2d

SIDES = st.integers(1, 21)
CHANNELS = st.sampled_from([1, 3, 8, 17])


def correlate(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, mode: str = "same") -> np.ndarray:
    """Convolution of images (ny, nx, inputs) by SciPy, in double precision."""
    planes = [
        sum(
            correlate2d(x[..., c].astype(float), kernel[..., c, k].astype(float), mode=mode)
            for c in range(x.shape[2])
        )
        for k in range(kernel.shape[3])
    ]
    return np.stack(planes, axis=-1) + bias


def make_case(
    seed: int, ny: int, nx: int, kernel: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scale = 1.0 / np.sqrt(np.prod(kernel[:3]))
    return (
        rng.normal(size=(ny, nx, kernel[2])).astype("f4"),
        (scale * rng.normal(size=kernel)).astype("f4"),
        rng.normal(size=kernel[3]).astype("f4"),
    )


def embed(image: np.ndarray) -> np.ndarray:
    """Image with a border of a pixel, whole tiles and filled-up channels."""
    ny, nx, n = image.shape
    sides = [4 * -(-side // 4) + 2 for side in (ny, nx)]
    array = np.zeros((*sides, count_channels(n)), np.float32)
    array[1 : ny + 1, 1 : nx + 1, :n] = image
    return array


@settings(max_examples=40)
@given(st.integers(0, 10**6), SIDES, SIDES, CHANNELS, CHANNELS, st.booleans())
def test_tiles_equal_a_correlation(
    seed: int, ny: int, nx: int, inputs: int, outputs: int, is_added: bool
) -> None:
    image, kernel, bias = make_case(seed, ny, nx, (3, 3, inputs, outputs))
    before = np.random.default_rng(seed + 1).normal(size=(ny, nx, outputs)).astype("f4")
    expected = np.maximum(correlate(image, kernel, bias) + is_added * before, 0.0)
    x, out = embed(image), embed(before)
    weights = TileWeights.make(kernel, bias)
    tops = np.arange(0, ny, 4)[:, None]
    convolve_tiles(
        x.ravel(),
        ((tops + np.arange(6)) * x[0].size).ravel(),
        weights.n_inputs,
        weights.values,
        weights.bias,
        out.reshape(-1),
        ((tops + np.arange(1, 5)) * out[0].size).ravel(),
        weights.n_outputs,
        x.shape[1] // 4,
        is_added,
        *make_workspace(weights.n_inputs),
    )
    assert out[1 : ny + 1, 1 : nx + 1, :outputs] == pytest.approx(expected, abs=5e-5)
    # Channels that are there to fill up stay empty.
    assert not out[..., outputs:].any()


@settings(max_examples=40)
@given(
    st.integers(0, 10**6),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.integers(1, 3),
    SIDES,
    CHANNELS,
    CHANNELS,
    st.booleans(),
    st.booleans(),
)
def test_rows_equal_a_correlation(
    seed: int,
    size: tuple[int, int],
    step: int,
    n: int,
    inputs: int,
    outputs: int,
    is_added: bool,
    is_rectified: bool,
) -> None:
    """Kernels of any size, in steps."""
    image, kernel, bias = make_case(seed, n + size[0], step * n + size[1] + 1, (*size, inputs, outputs))
    expected = correlate(image, kernel, bias, "valid")[:, ::step]
    before = np.random.default_rng(seed + 1).normal(size=expected.shape)
    expected = expected + is_added * before
    expected = np.maximum(expected, 0.0) if is_rectified else expected
    weights = ProductWeights.make(kernel, bias, fill=False)
    ny, nx, _ = expected.shape
    out = np.zeros((ny, nx, weights.n_outputs), np.float32)
    out[..., :outputs] = before
    multiply_rows(
        image.ravel(),
        ((np.arange(ny)[:, None] + np.arange(size[0])) * image[0].size).ravel(),
        weights.n_segments,
        0,
        step * inputs,
        weights.length,
        weights.values,
        weights.bias,
        out.reshape(-1),
        np.arange(ny) * out[0].size,
        weights.n_outputs,
        nx,
        is_added,
        is_rectified,
    )
    assert out[..., :outputs] == pytest.approx(expected, abs=1e-5)
    assert not out[..., outputs:].any()


def test_large_numbers_keep_their_digits() -> None:
    """The transforms lose few digits: errors are small beside the numbers that are added."""
    image, kernel, bias = make_case(3, 40, 40, (3, 3, 64, 32))
    image *= 1e4
    expected = np.maximum(correlate(image, kernel, bias), 0.0)
    x, weights = embed(image), TileWeights.make(kernel, bias)
    out = np.zeros((42, 42, 32), np.float32)
    tops = np.arange(0, 40, 4)[:, None]
    convolve_tiles(
        x.ravel(),
        ((tops + np.arange(6)) * x[0].size).ravel(),
        weights.n_inputs,
        weights.values,
        weights.bias,
        out.reshape(-1),
        ((tops + np.arange(1, 5)) * out[0].size).ravel(),
        weights.n_outputs,
        10,
        False,
        *make_workspace(weights.n_inputs),
    )
    assert np.abs(out[1:-1, 1:-1] - expected).max() < 5e-5 * 1e4

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.centers.inputs import CONTEXT_NAMES
from lsst.meas.blendid.centers.maps import MapWeights, run_maps
from lsst.meas.blendid.centers.network import N_PLANES, NetworkShape, build_map_network, weight_shapes
from lsst.meas.blendid.model_package import ModelPackage
from lsst.meas.blendid.networks import MissingKerasError, import_keras, set_arrays
from scipy.signal import correlate2d

SHAPE = NetworkShape(widths=(4, 6), blocks=(1, 2), embedding=3, hidden=(7,))


def make_arrays(shape: NetworkShape, seed: int = 1) -> dict[str, np.ndarray]:
    """Weights none of which is 0, with which numbers stay as large as they are."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, sizes in weight_shapes(shape).items():
        arrays[name] = rng.normal(scale=0.7 / np.sqrt(max(np.prod(sizes[:-1]), 4.0)), size=sizes)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def make_image(ny: int, nx: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.zeros((ny, nx), np.int32)
    labels[2:9, 3:9], labels[4:12, 12:20] = 1, 2
    return rng.normal(size=(ny, nx, 2)).astype("f2"), labels, rng.normal(size=len(CONTEXT_NAMES))


def run_all(
    shape: NetworkShape, arrays: dict[str, np.ndarray], image: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Maps of all tiles."""
    sides = tuple((n + 1) // 2 for n in image[1].shape)
    maps = run_maps(MapWeights(shape, arrays), *image, np.ones(sides, dtype=bool))
    return maps[0].reshape(*sides, -1), maps[1].reshape(*sides, -1)


def correlate(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, mode: str = "same") -> np.ndarray:
    """Convolution of images (ny, nx, inputs) by SciPy."""
    planes = [
        sum(correlate2d(x[..., c], kernel[..., c, k], mode=mode) for c in range(x.shape[2]))
        for k in range(kernel.shape[3])
    ]
    return np.stack(planes, axis=-1) + bias


def run_slowly(
    shape: NetworkShape, arrays: dict[str, np.ndarray], image: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The network layer by layer over the whole image, in double precision."""
    planes, labels, context = image
    stride = shape.stride
    whole = [(0, max(-(-n // stride), 1) * stride - n) for n in labels.shape]
    x = np.concatenate([planes.astype(float), (labels > 0)[..., None]], axis=-1)
    x = np.pad(x, [*whole, (0, 0)])
    get = {name: array.astype(float) for name, array in arrays.items()}

    def apply(x: np.ndarray, name: str) -> np.ndarray:
        return correlate(x, get[f"{name}_kernel"], get[f"{name}_bias"])

    def block(x: np.ndarray, name: str) -> np.ndarray:
        return np.maximum(x + apply(np.maximum(apply(x, f"{name}a"), 0.0), f"{name}b"), 0.0)

    x = correlate(np.pad(x, ((1, 1), (1, 1), (0, 0))), get["stem_kernel"], get["stem_bias"], "valid")[
        ::2, ::2
    ]
    x = np.maximum(x + context @ get["stem_context_kernel"] + get["stem_context_bias"], 0.0)
    kept = []
    for level, n_blocks in enumerate(shape.blocks):
        if level > 0:
            kept.append(x)
            down = f"down{level}"
            x = correlate(x, get[f"{down}_kernel"], get[f"{down}_bias"], "valid")[::2, ::2]
            x = np.maximum(x, 0.0)
        for i in range(n_blocks):
            x = block(x, f"down{level}_{i}")
    for level in range(len(shape.widths) - 2, -1, -1):
        kernel = get[f"up{level}_kernel"]
        larger = np.zeros_like(kept[level])
        for i, j in np.ndindex(2, 2):
            larger[i::2, j::2] = x @ kernel[i, j].T
        x = block(np.maximum(larger + get[f"up{level}_bias"] + kept[level], 0.0), f"up{level}_0")
    ny, nx = ((n + 1) // 2 for n in labels.shape)
    x = x[:ny, :nx]
    return np.maximum(apply(x, "embedding"), 0.0), apply(x, "tiles")


@pytest.mark.parametrize(
    ("shape", "ny", "nx"),
    [
        (SHAPE, 34, 41),
        (NetworkShape(widths=(3,), blocks=(1,), embedding=2, hidden=()), 17, 22),
        (NetworkShape(widths=(3, 17, 5), blocks=(2, 1, 1), embedding=2, hidden=(6, 5)), 25, 50),
    ],
)
def test_equals_layer_by_layer(shape: NetworkShape, ny: int, nx: int) -> None:
    arrays, image = make_arrays(shape), make_image(ny, nx)
    found, expected = run_all(shape, arrays, image), run_slowly(shape, arrays, image)
    for one, two in zip(found, expected, strict=True):
        assert one.shape == two.shape
        assert np.abs(one - two).max() < 1e-5 * np.abs(two).max()


@settings(max_examples=20)
@given(st.integers(1, 90), st.integers(1, 50), st.integers(0, 10**6))
def test_tiles_that_are_wanted(ny: int, nx: int, seed: int) -> None:
    """Only these are given, row by row, and are the same as among all."""
    arrays, image = make_arrays(SHAPE), make_image(ny, nx, seed)
    embedding, logits = run_all(SHAPE, arrays, image)
    wanted = np.random.default_rng(seed).random(logits.shape[:2]) < 0.3
    found = run_maps(MapWeights(SHAPE, arrays), *image, wanted)
    assert np.array_equal(found[0], embedding[wanted]) and np.array_equal(found[1], logits[wanted])


def test_rows_do_not_depend_on_those_far_below() -> None:
    """An image that goes on gives the same maps, but for what is near the end, and needs no more memory."""
    arrays = make_arrays(SHAPE)
    planes, labels, context = make_image(300, 40, seed=6)
    whole = run_all(SHAPE, arrays, (planes, labels, context))
    part = run_all(SHAPE, arrays, (planes[:200], labels[:200], context))
    for one, two in zip(whole, part, strict=True):
        # The network sees less than 64 pixels far.
        assert np.array_equal(one[:68], two[:68]) and not np.array_equal(one[68:100], two[68:])


def test_whole_tiles_of_sky_change_nothing() -> None:
    """Columns without light beside an image are what the network takes for its outside."""
    arrays = make_arrays(SHAPE)
    for name in arrays:
        if name.endswith("bias"):
            arrays[name][...] = 0.0
    planes, labels, context = make_image(40, 40, seed=7)
    more = [np.pad(a, ((0, 0), (0, 13), *[(0, 0)] * (a.ndim - 2))) for a in (planes, labels)]
    one = run_all(SHAPE, arrays, (planes, labels, 0.0 * context))
    two = run_all(SHAPE, arrays, (more[0], more[1], 0.0 * context))
    assert two[1][:, :10] == pytest.approx(one[1][:, :10], abs=1e-5)


def import_or_skip() -> Any:
    try:
        return import_keras()
    except MissingKerasError as err:
        pytest.skip(str(err))


def make_keras_maps(
    keras: Any, shape: NetworkShape, arrays: dict[str, np.ndarray]
) -> Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The same by Keras."""
    network = build_map_network(keras, shape)
    network.compile(jit_compile=False)
    set_arrays(network, arrays)

    def run(planes: np.ndarray, labels: np.ndarray, context: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ny, nx = labels.shape
        inputs = np.zeros((1, *(-(-n // shape.stride) * shape.stride for n in (ny, nx)), N_PLANES), "f4")
        inputs[0, :ny, :nx, :2], inputs[0, :ny, :nx, 2] = planes, labels > 0
        embedding, logits = network.predict_on_batch([inputs, context.astype("f4")[None]])
        half = np.s_[0, : (ny + 1) // 2, : (nx + 1) // 2]
        return np.asarray(embedding)[half], np.asarray(logits)[half]

    return run


def test_equals_keras() -> None:
    keras = import_or_skip()
    arrays, image = make_arrays(SHAPE), make_image(37, 50)
    expected = make_keras_maps(keras, SHAPE, arrays)(*image)
    for one, two in zip(run_all(SHAPE, arrays, image), expected, strict=True):
        assert np.abs(one - two).max() < 1e-5 * np.abs(two).max()


def test_shipped_network_equals_keras() -> None:
    keras = import_or_skip()
    arrays = ModelPackage.read("centers-i-1").arrays
    shape = NetworkShape()
    planes, labels, context = make_image(200, 333, seed=2)
    # As bright as galaxies are.
    planes[::11, ::7] += 4.0
    expected = make_keras_maps(keras, shape, arrays)(planes, labels, context)
    embedding, logits = run_all(shape, arrays, (planes, labels, context))
    assert np.abs(logits).max() > 5.0
    assert logits == pytest.approx(expected[1], abs=5e-5)
    assert embedding == pytest.approx(expected[0], abs=5e-5)

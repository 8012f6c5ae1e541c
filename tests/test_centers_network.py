# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lsst.meas.blendid.centers.candidates import count_probabilities, pool_maps, tile_labels
from lsst.meas.blendid.centers.inputs import CONTEXT_NAMES, SCALAR_NAMES
from lsst.meas.blendid.centers.maps import MapWeights, run_maps
from lsst.meas.blendid.centers.network import (
    IGNORED,
    NetworkShape,
    balanced_loss,
    build_head,
    build_map_network,
    build_training_network,
    head_layers,
    make_losses,
    pooled_size,
    weight_shapes,
)
from lsst.meas.blendid.networks import get_arrays, import_keras

SHAPE = NetworkShape(widths=(4, 6), blocks=(1, 2), embedding=3, hidden=(7,))


@pytest.fixture(scope="module")
def keras() -> Any:
    return import_keras()


def make_maps(keras: Any, shape: NetworkShape = SHAPE, *, seed: int = 1) -> Any:
    """A network none of whose weights is 0."""
    maps = build_map_network(keras, shape, seed=seed)
    rng = np.random.default_rng(seed)
    for weight in maps.weights:
        weight.assign(rng.normal(scale=0.3, size=weight.shape))
    maps.compile(jit_compile=False)
    return maps


def make_image(ny: int, nx: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.zeros((ny, nx), np.int32)
    labels[2:9, 3:9], labels[4:12, 12:20] = 1, 2
    return rng.normal(size=(ny, nx, 2)), labels, rng.normal(size=len(CONTEXT_NAMES))


@pytest.mark.parametrize(
    "shape",
    [
        NetworkShape(),
        SHAPE,
        NetworkShape(widths=(4,), blocks=(1,), embedding=2, hidden=()),
        NetworkShape(widths=(3, 4, 5), blocks=(2, 1, 1), embedding=2, hidden=(6, 5)),
    ],
)
def test_weight_shapes_are_those_of_keras(keras: Any, shape: NetworkShape) -> None:
    arrays = get_arrays(build_map_network(keras, shape)) | get_arrays(build_head(keras, shape))
    assert {name: array.shape for name, array in arrays.items()} == weight_shapes(shape)


def test_seed_makes_the_weights(keras: Any) -> None:
    one, two, other = (get_arrays(build_map_network(keras, SHAPE, seed=s)) for s in (1, 1, 2))
    assert all(np.array_equal(one[k], two[k]) for k in one)
    assert not np.array_equal(one["stem_kernel"], other["stem_kernel"])
    heads = [get_arrays(build_head(keras, SHAPE, seed=s)) for s in (1, 1, 2)]
    assert np.array_equal(heads[0]["count0_kernel"], heads[1]["count0_kernel"])
    assert not np.array_equal(heads[0]["count0_kernel"], heads[2]["count0_kernel"])


def test_mixed_precision_is_close(keras: Any) -> None:
    plain, mixed = make_maps(keras), build_map_network(keras, SHAPE, mixed=True)
    mixed.set_weights(plain.get_weights())
    planes, labels, context = make_image(16, 16)
    inputs = [np.concatenate([planes, labels[..., None] > 0], axis=-1)[None].astype("f4"), context[None]]
    one, two = plain.predict_on_batch(inputs), mixed.predict_on_batch(inputs)
    assert np.asarray(two[1]).dtype == np.float32
    assert not np.array_equal(one[1], two[1])
    assert np.abs(one[1] - two[1]).max() < 0.05 * np.abs(one[1]).max()


def test_training_network_counts_as_prediction_does(keras: Any) -> None:
    """Pooling and head of Keras are those of NumPy."""
    rng = np.random.default_rng(3)
    maps, head = make_maps(keras), build_head(keras, SHAPE)
    crop, n_segments, batch = 16, 4, 2
    network = build_training_network(keras, maps, head, batch=batch, crop=crop, n_segments=n_segments)
    images = []
    for k in range(batch):
        planes, labels, context = make_image(crop, 24, seed=k)
        planes = planes[:, k * 8 : k * 8 + crop].astype(np.float16)
        images.append((planes, labels[:, k * 8 : k * 8 + crop], context))
    scalars = rng.normal(size=(batch, n_segments, len(SCALAR_NAMES))).astype("f4")
    tiles = [tile_labels(a)[0] for _, a, _ in images]
    inputs = {
        "planes": np.stack(
            [np.concatenate([p.astype("f4"), (a > 0)[..., None]], axis=-1) for p, a, _ in images]
        ),
        "context": np.stack([c for _, _, c in images]),
        "segment": np.stack([np.where(t > 0, t - 1, n_segments) for t in tiles]),
        "inside": np.stack([tile_labels(a)[1] for _, a, _ in images]),
        "scalars": scalars,
    }
    network.compile(jit_compile=False)
    outputs = network.predict_on_batch(inputs)
    arrays, weights = get_arrays(head), MapWeights(SHAPE, get_arrays(maps))
    layers = [(arrays[f"{name}_kernel"], arrays[f"{name}_bias"]) for name in head_layers(SHAPE)]
    for k, (planes, labels, context) in enumerate(images):
        wanted = np.ones((crop // 2, crop // 2), dtype=bool)
        embedding, logits = (
            array.reshape(*wanted.shape, -1) for array in run_maps(weights, planes, labels, context, wanted)
        )
        assert logits == pytest.approx(outputs["tiles"][k], abs=1e-4)
        pooled = pool_maps(embedding, logits, *tile_labels(labels), 2)
        row = np.hstack([pooled, scalars[k, :2], np.tile(context, (2, 1))])
        assert row.shape[1] == pooled_size(SHAPE)
        odds = np.exp(outputs["counts"][k, :2].astype(float))
        there = [label in labels for label in (1, 2)]
        expected = (odds / odds.sum(axis=1, keepdims=True))[there]
        assert count_probabilities(row, layers)[there] == pytest.approx(expected, abs=1e-4)


def test_losses(keras: Any) -> None:
    rng = np.random.default_rng(8)
    losses = make_losses(keras, blended_weight=0.5)
    states = rng.integers(5, size=(2, 4, 4))
    logits = rng.normal(size=(2, 4, 4, 5)).astype("f4")
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    chosen = np.take_along_axis(log_p, states[..., None], axis=-1)
    expected = -chosen.sum() / (np.count_nonzero(states) + 10.0)
    assert float(losses["tiles"](states.astype("f4"), logits)) == pytest.approx(expected, rel=1e-5)
    classes = np.array([[0, 2, 4], [1, IGNORED, IGNORED]])
    weights = np.array([[1.0, 2.0, 1.0], [0.5, 7.0, -1.0]])
    logits = rng.normal(size=(2, 3, 5)).astype("f4")
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    total = 0.0
    for (i, j), k in np.ndenumerate(classes):
        if k != IGNORED:
            blended = p[i, j, 2:].sum()
            total -= weights[i, j] * (np.log(p[i, j, k]) + 0.5 * np.log(blended if k > 1 else 1 - blended))
    truth = np.stack([classes, weights], axis=-1).astype("f4")
    assert float(losses["counts"](truth, logits)) == pytest.approx(total / 4.5, rel=1e-5)
    none = np.full((1, 3, 2), -1.0, "f4")
    assert float(losses["counts"](none, logits[:1])) == 0.0


def test_balanced_loss_is_that_at_even_prior() -> None:
    counts = np.array([0, 1, 1, 1, 2, 0])
    p = np.array([0.9, 0.2, 0.3, 0.1, 0.6, 0.5])
    even = [(q / 0.25) / (q / 0.25 + (1 - q) / 0.75) for q in p]
    expected = -0.5 * np.mean(np.log([1 - even[1], 1 - even[2], 1 - even[3]])) - 0.5 * np.log(even[4])
    assert balanced_loss(p, counts) == pytest.approx(expected)
    assert balanced_loss(p[:4], counts[:4]) == pytest.approx(-np.mean(np.log(1 - p[1:4])))
    assert balanced_loss(p[:1], counts[:1]) == 0.0

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of running networks on inputs of any size."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from lsst.meas.blendid.networks import NetworkRunner, import_keras


@pytest.fixture(scope="module")
def keras() -> Any:
    return import_keras()


def make_network(keras: Any, seed: int = 1) -> Any:
    """Two inputs, the sides of the first of which are free, and two outputs."""
    layers = keras.layers
    image, number = keras.Input((None, None, 2)), keras.Input((3,))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="a")(image)
    x = layers.Dropout(0.5, seed=seed)(x)
    y = layers.Dense(4, name="b")(number)
    network = keras.Model([image, number], [layers.Conv2D(1, 1, name="c")(x), y])
    rng = np.random.default_rng(seed)
    for weight in network.weights:
        if "seed" not in weight.path:
            weight.assign(rng.normal(size=weight.shape))
    network.compile(jit_compile=False)
    return network


def make_inputs(side: int, n: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(side)
    return [rng.normal(size=(n, side, side + 1, 2)), rng.normal(size=(n, 3)).astype("f4")]


def test_it_gives_what_keras_gives_for_all_sizes(keras: Any) -> None:
    network = make_network(keras)
    runner = NetworkRunner(network)
    for side, n in ((5, 1), (8, 3), (5, 2)):
        inputs = make_inputs(side, n)
        found, expected = runner.predict_on_batch(inputs), network.predict_on_batch(inputs)
        assert len(found) == 2
        for one, two in zip(found, expected, strict=True):
            assert isinstance(one, np.ndarray) and one.dtype == np.float32
            np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_later_weights_are_used(keras: Any) -> None:
    network = make_network(keras)
    runner = NetworkRunner(network)
    before = runner.predict_on_batch(make_inputs(6))[0]
    network.get_layer("c").kernel.assign(2.0 * np.asarray(network.get_layer("c").kernel))
    network.get_layer("c").bias.assign(2.0 * np.asarray(network.get_layer("c").bias))
    np.testing.assert_allclose(runner.predict_on_batch(make_inputs(6))[0], 2.0 * before, rtol=1e-5)


def test_one_input_and_one_output(keras: Any) -> None:
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    x = np.ones((3, 4), np.float32)
    found = NetworkRunner(network).predict_on_batch(x)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, network.predict_on_batch(x), rtol=1e-6)


def test_many_networks_and_sizes_are_silent(keras: Any, caplog: pytest.LogCaptureFixture) -> None:
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow warns of compiling often")
    logger = logging.getLogger("tensorflow")
    logger.addHandler(caplog.handler)
    try:
        for seed in range(7):
            runner = NetworkRunner(make_network(keras, seed))
            for side in (4 + seed, 5 + 2 * seed):
                runner.predict_on_batch(make_inputs(side))
    finally:
        logger.removeHandler(caplog.handler)
    assert not [record for record in caplog.records if "retracing" in record.getMessage()]

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
from lsst.meas.blendid.classifiers._cnn_networks import (
    CutoutNetwork,
    build_modern_network,
    build_paper_network,
    modern_shapes,
    paper_shapes,
)
from lsst.meas.blendid.classifiers.cnn import CnnClassifier
from lsst.meas.blendid.model_package import ModelPackage
from lsst.meas.blendid.networks import MissingKerasError, import_keras, set_arrays
from scipy.signal import correlate2d
from scipy.special import softmax


def make_arrays(shapes: dict[str, tuple[int, ...]], seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    arrays = {
        name: rng.normal(scale=1.5 / np.sqrt(max(np.prod(sizes[:-1]), 9.0)), size=sizes)
        for name, sizes in shapes.items()
    }
    return {name: array.astype("f4") for name, array in arrays.items()}


def make_images(n: int, side: int, channels: int, seed: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(n, side, side, channels))
    # The last one is a mask.
    images[..., -1] = images[..., -1] > 0.5
    return images.astype("f2")


def run_slowly(architecture: str, get: dict[str, np.ndarray], x: np.ndarray, features: np.ndarray) -> Any:
    """One cutout, layer by layer, in double precision."""
    is_modern = architecture == "modern"
    mask = x[..., -1].astype(float)

    def convolve(x: np.ndarray, name: str) -> np.ndarray:
        kernel, mode = get[f"{name}_kernel"].astype(float), "same" if is_modern else "valid"
        planes = [
            sum(correlate2d(x[..., c], kernel[..., c, k], mode=mode) for c in range(x.shape[2]))
            for k in range(kernel.shape[3])
        ]
        return np.maximum(np.stack(planes, axis=-1) + get[f"{name}_bias"], 0.0)

    def halve(x: np.ndarray) -> np.ndarray:
        n = x.shape[0] // 2
        return x[: 2 * n, : 2 * n].reshape(n, 2, n, 2, -1).max(axis=(1, 3))

    x = halve(convolve(halve(convolve(x.astype(float), "conv_1")), "conv_2"))
    if is_modern:
        x = convolve(convolve(x, "conv_3"), "conv_4")
        inside = np.array(
            [
                [mask[4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean() for j in range(x.shape[1])]
                for i in range(x.shape[0])
            ]
        )
        inside = x * inside[..., None]
        v = np.concatenate([inside.max((0, 1)), inside.mean((0, 1)), x.mean((0, 1)), features])
    else:
        v = np.concatenate([x.ravel(), features])
    for name in ("dense_1", "dense_2", "dense_3"):
        if f"{name}_kernel" in get:
            v = np.maximum(v @ get[f"{name}_kernel"] + get[f"{name}_bias"], 0.0)
    return softmax(v @ get["output_kernel"] + get["output_bias"])


@pytest.mark.parametrize(("side", "width", "k"), [(16, 3, 0), (19, 16, 2), (33, 4, 5)])
def test_modern_network_equals_layer_by_layer(side: int, width: int, k: int) -> None:
    arrays = make_arrays(modern_shapes(3, k, 5, width=width))
    images, features = make_images(3, side, 3), np.random.default_rng(3).normal(size=(3, k)).astype("f4")
    found = CutoutNetwork("modern", arrays).run(images, features)
    expected = [run_slowly("modern", arrays, *one) for one in zip(images, features, strict=True)]
    assert found == pytest.approx(np.array(expected), abs=2e-6)
    assert found.std(axis=0).min() > 1e-4


def test_paper_network_equals_layer_by_layer() -> None:
    arrays, images = make_arrays(paper_shapes()), make_images(2, 23, 1)
    none = np.zeros((2, 0), "f4")
    found = CutoutNetwork("buchanan2022", arrays).run(images, none)
    expected = [run_slowly("buchanan2022", arrays, *one) for one in zip(images, none, strict=True)]
    assert found == pytest.approx(np.array(expected), abs=2e-6)


def test_cutouts_do_not_depend_on_each_other() -> None:
    arrays = make_arrays(modern_shapes(3, 2, 5, width=8))
    images, features = make_images(150, 17, 3), np.ones((150, 2), "f4")
    network = CutoutNetwork("modern", arrays)
    whole = network.run(images, features)
    assert whole.shape == (150, 5) and whole.sum(axis=1) == pytest.approx(1.0)
    order = np.random.default_rng(4).permutation(150)[:101]
    assert network.run(images[order], features[order]) == pytest.approx(whole[order], abs=1e-6)
    assert network.run(images[:0], features[:0]).shape == (0, 5)


@pytest.mark.parametrize("architecture", ["modern", "buchanan2022", "shipped"])
def test_equals_keras(architecture: str) -> None:
    try:
        keras = import_keras()
    except MissingKerasError as err:
        pytest.skip(str(err))
    if architecture == "shipped":
        classifier = CnnClassifier.from_package(ModelPackage.read("cnn-i-1"))
        network = classifier._build(0)
        arrays = {k.removeprefix("weights_"): v for k, v in classifier._learned().items()}
        images, k = make_images(70, classifier.settings.cutout.size, 3), len(classifier.settings.features)
    elif architecture == "modern":
        network, arrays = build_modern_network(33, 3, 4, 5, 1), make_arrays(modern_shapes(3, 4, 5, width=16))
        images, k = make_images(70, 33, 3), 4
    else:
        network, arrays = build_paper_network(1), make_arrays(paper_shapes())
        images, k = make_images(70, 23, 1), 0
    set_arrays(network, arrays)
    features = np.random.default_rng(5).normal(size=(len(images), k)).astype("f4")
    feed = [images.astype("f4"), features] if k else images.astype("f4")
    # What goes into the probabilities, up to a constant.
    expected = np.log(np.asarray(keras.ops.convert_to_numpy(network(feed, training=False)), dtype=float))
    name = "buchanan2022" if architecture == "buchanan2022" else "modern"
    found = np.log(CutoutNetwork(name, arrays).run(images, features))
    likely = expected > -10.0
    assert found[likely] == pytest.approx(expected[likely], abs=5e-5)

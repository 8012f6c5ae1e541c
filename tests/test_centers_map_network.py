# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the map network: turned and mirrored images, and what is read once for all that ask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lsst.meas.blendid.centers import MapNetwork, MapReading, NetworkShape, weight_shapes
from lsst.meas.blendid.centers.candidates import tile_labels
from lsst.meas.blendid.centers.inputs import CONTEXT_NAMES, SCALAR_NAMES
from lsst.meas.blendid.centers.map_network import N_VIEWS, join_maps, run_view
from lsst.meas.blendid.centers.network import N_PLANES, build_map_network, pooled_size
from lsst.meas.blendid.classifiers.centers import CentersClassifier
from lsst.meas.blendid.model_package import ModelPackage
from lsst.meas.blendid.networks import MissingKerasError, import_keras, set_arrays
from lsst.meas.blendid.samples import FootprintSamples
from scipy.special import softmax
from toy_centers import make_scenes
from toy_samples import make_result


class Network:
    """Says of each tile what its pixels are, however the image is turned."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def run(
        self, _weights: Any, planes: np.ndarray, labels: np.ndarray, _context: Any, wanted: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        even = [(0, n % 2) for n in labels.shape]
        planes, labels = np.pad(planes[..., 0].astype("f4"), even), np.pad(labels, even)
        self.seen.append(planes)
        pixels = [planes[y::2, x::2] for y in range(2) for x in range(2)]
        total, inside = sum(pixels), labels[::2, ::2]
        embedding = np.stack([total, inside], axis=-1).astype("f4")
        return embedding[wanted], np.stack([0.5 * total, *pixels], axis=-1)[wanted]


@pytest.mark.parametrize(("ny", "nx"), [(16, 24), (17, 30), (13, 15)])
def test_views_are_turned_back(ny: int, nx: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(ny)
    planes = rng.normal(size=(ny, nx, 2)).astype(np.float16)
    labels = np.zeros((ny, nx), np.int32)
    # Whole tiles, so that the mask of one pixel is that of the tile.
    labels[2:8, 4:10], labels[10:12, 2:6] = 1, 2
    wanted = tile_labels(labels)[0] > 0
    network, context = Network(), np.zeros(len(CONTEXT_NAMES))
    monkeypatch.setattr("lsst.meas.blendid.centers.map_network.run_maps", network.run)
    weights: Any = None
    first = run_view(weights, planes, labels, context, wanted)
    assert first[0].shape == (np.count_nonzero(wanted), 2)
    for view in range(N_VIEWS):
        embedding, logits = run_view(weights, planes, labels, context, wanted, view)
        assert embedding.shape == first[0].shape and logits.shape == first[1].shape
        assert np.allclose(embedding, first[0], atol=1e-5) and np.allclose(logits, first[1], atol=1e-5)
    # No two of them are the same, and the first four keep the shape.
    shown = {(array.shape, array.tobytes()) for array in network.seen[1:]}
    assert len(shown) == N_VIEWS
    shape = network.seen[0].shape
    assert all(array.shape == shape for array in network.seen[1:5])


def test_join_maps_takes_the_mean_of_probabilities() -> None:
    one, two = np.random.default_rng(1).normal(size=(2, 4, 5, 5)).astype(np.float32)
    joined = softmax(join_maps(softmax(one, axis=-1) + softmax(two, axis=-1), 2), axis=-1)
    assert joined == pytest.approx(0.5 * (softmax(one, axis=-1) + softmax(two, axis=-1)), abs=1e-6)


SHAPE = NetworkShape(widths=(4, 6), blocks=(1, 1), embedding=3, hidden=(7,))


def make_arrays(seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = weight_shapes(SHAPE)
    arrays = {name: rng.normal(scale=0.25, size=sizes) for name, sizes in shapes.items()}
    for name, n in (("context", len(CONTEXT_NAMES)), ("scalars", len(SCALAR_NAMES))):
        arrays[f"{name}_center"], arrays[f"{name}_scale"] = rng.normal(size=n), rng.uniform(1.0, 2.0, n)
    return {name: array.astype("f4") for name, array in arrays.items()}


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Views that are run, in order."""
    seen: list[int] = []

    def run(*args: Any) -> Any:
        seen.append(args[-1])
        return run_view(*args)

    monkeypatch.setattr("lsst.meas.blendid.centers.map_network.run_view", run)
    return seen


def assert_equal(one: MapReading, two: MapReading) -> None:
    assert np.array_equal(one.inputs, two.inputs) and np.array_equal(one.sums, two.sums)
    for name, values in vars(one.candidates).items():
        assert np.array_equal(values, getattr(two.candidates, name)), name


def test_no_view_is_run_twice(runs: list[int]) -> None:
    samples = make_scenes(2, n_side=3)[0]
    network = MapNetwork(SHAPE, make_arrays())
    readings = {n: network.read(samples, n_views=n) for n in (1, 4, 2, 3)}
    # Nobody had asked for three: that is the one that starts anew.
    assert runs == [0, 0, 1, 2, 3, 1, 2, 3, 0, 1, 2, 0, 1, 2]
    for n, found in readings.items():
        fresh = network.read_once(samples, n_views=n)
        for i, (one, two) in enumerate(zip(found, fresh, strict=True)):
            assert_equal(one, two)
            rows = int(np.diff(samples.offsets)[i])
            assert one.inputs.shape == (n, rows, pooled_size(SHAPE)) and one.sums.shape == (rows, 3)
    runs.clear()
    same = MapNetwork(SHAPE, make_arrays() | {"count0_bias": np.ones(7, "f4")})
    assert same.digest == network.digest
    one = same.read(samples.alone(1), n_views=4)[0]
    two = same.read(FootprintSamples.join([samples.without_images()]), n_views=4)[1]
    assert not runs
    assert one is two is readings[4][1]


@pytest.mark.parametrize("name", ["stem_kernel", "up0_bias", "context_center", "scalars_scale"])
def test_other_networks_read_for_themselves(name: str, runs: list[int]) -> None:
    samples = make_scenes(1, n_side=3)[0]
    arrays = make_arrays()
    one = MapNetwork(SHAPE, arrays)
    two = MapNetwork(SHAPE, arrays | {name: arrays[name] + np.float32(0.1)})
    assert one.digest != two.digest
    first, second = (network.read(samples, n_views=1)[0] for network in (one, two))
    assert runs == [0, 0] and not np.array_equal(first.inputs, second.inputs)


def test_other_footprints_are_read_anew(runs: list[int]) -> None:
    samples = make_scenes(1, n_side=3)[0]
    network = MapNetwork(SHAPE, make_arrays())
    (whole,) = network.read(samples, n_views=1)
    rows = np.arange(len(samples)) % 2 == 0
    (some,) = network.read(samples.select(rows), n_views=1)
    assert runs == [0, 0]
    # The others are still in the planes.
    assert some.inputs == pytest.approx(whole.inputs[:, rows], abs=1e-6)
    assert some.candidates.start[-1] == sum(
        whole.candidates.start[1:][rows] - whole.candidates.start[:-1][rows]
    )


def test_nothing_is_run_without_footprints(runs: list[int]) -> None:
    empty = FootprintSamples([make_result(np.ones((30, 21)), np.zeros((30, 21), int))])
    (reading,) = MapNetwork(SHAPE, make_arrays()).read(empty, n_views=4)
    assert not runs
    assert reading.inputs.shape == (4, 0, pooled_size(SHAPE)) and reading.sums.shape == (0, 3)
    assert np.array_equal(reading.candidates.start, [0])


def test_missing_array() -> None:
    arrays = make_arrays()
    del arrays["down0_0a_kernel"]
    with pytest.raises(KeyError, match="down0_0a_kernel"):
        MapNetwork(SHAPE, arrays)


def test_shipped_model_says_the_same_by_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        keras = import_keras()
    except MissingKerasError as err:
        pytest.skip(str(err))
    package = ModelPackage.read("centers-i-1")
    network = build_map_network(keras, NetworkShape())
    network.compile(jit_compile=False)
    set_arrays(network, package.arrays)

    def run(
        _weights: Any, planes: np.ndarray, labels: np.ndarray, context: np.ndarray, wanted: np.ndarray
    ) -> list[np.ndarray]:
        ny, nx = labels.shape
        inputs = np.zeros((1, *(-(-n // 16) * 16 for n in (ny, nx)), N_PLANES), "f4")
        inputs[0, :ny, :nx, :2], inputs[0, :ny, :nx, 2] = planes, labels > 0
        maps = network.predict_on_batch([inputs, context[None]])
        return [np.asarray(array)[0, : wanted.shape[0], : wanted.shape[1]][wanted] for array in maps]

    classifier = CentersClassifier.from_package(package)
    samples = make_scenes(2, n_side=7)[0]
    p_n, (found, _) = classifier.predict(samples), classifier.find_candidates(samples)
    fresh = make_scenes(2, n_side=7)[0]
    monkeypatch.setattr("lsst.meas.blendid.centers.map_network.run_maps", run)
    assert p_n == pytest.approx(classifier.predict(fresh), abs=3e-6)
    expected, _ = classifier.find_candidates(fresh)
    assert len(found.row) > 30
    assert np.array_equal(found.row, expected.row) and np.array_equal(found.start, expected.start)
    for name in ("x", "y", "probability"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-4)

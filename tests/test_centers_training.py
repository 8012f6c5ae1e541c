# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the training of the centre network, and of the fine-tuning of its head."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lsst.meas.blendid.centers.candidates import count_probabilities
from lsst.meas.blendid.centers.crops import CropMaker
from lsst.meas.blendid.centers.inputs import (
    compute_context,
    compute_scalars,
    keep_labels,
    keep_numbers,
    keep_planes,
)
from lsst.meas.blendid.centers.network import NetworkShape, build_head, build_map_network, weight_shapes
from lsst.meas.blendid.centers.training import (
    TrainingSettings,
    _loss,
    _pack,
    _unpack,
    learning_rates,
    train_network,
    tune_head,
)
from lsst.meas.blendid.networks import CheckpointError, TrainingError, import_keras
from lsst.meas.blendid.networks.loop import read_checkpoint, write_checkpoint
from scipy.optimize import approx_fprime
from toy_centers import make_scenes

RNG = np.random.default_rng(1)
LAYERS = [(RNG.normal(size=(3, 6)), RNG.normal(size=6)), (RNG.normal(size=(6, 5)), np.zeros(5))]


def draw(p: np.ndarray, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random((len(p), 1)) > p.cumsum(axis=1)).sum(axis=1)


def cross_entropy(p: np.ndarray, classes: np.ndarray) -> float:
    return -float(np.log(p[np.arange(len(p)), classes]).mean())


def test_gradient() -> None:
    inputs, classes = RNG.normal(size=(20, 3)), RNG.integers(5, size=20)
    weights = RNG.uniform(0.5, 2.0, size=20)
    start, shapes = _pack(LAYERS), [k.shape for k, _ in LAYERS]
    theta = start + RNG.normal(scale=0.1, size=start.size)
    arguments = (start, shapes, inputs, classes, weights, 3.0)
    numeric = approx_fprime(theta, lambda t: _loss(t, *arguments)[0], 1e-7)
    assert _loss(theta, *arguments)[1] == pytest.approx(numeric, abs=1e-3)
    assert all(
        np.array_equal(a, b)
        for one, two in zip(LAYERS, _unpack(start, shapes), strict=True)
        for a, b in zip(one, two, strict=True)
    )


def test_tuning_wins_back_a_shifted_prior() -> None:
    shifted = [LAYERS[0], (LAYERS[1][0], np.array([0.0, -2.0, 1.0, 0.0, 0.5]))]
    inputs = RNG.normal(size=(400, 3))
    classes = draw(count_probabilities(inputs, shifted), 3)
    tuned, history = tune_head(LAYERS, inputs, classes, say=lambda _line: None)
    fresh = RNG.normal(size=(4000, 3))
    truth = count_probabilities(fresh, shifted)
    labels = draw(truth, 4)
    before, after, best = (
        cross_entropy(count_probabilities(fresh, m), labels) for m in (LAYERS, tuned, shifted)
    )
    assert best < after < best + 0.3 * (before - best)
    assert history["freedom"][0] == 0.0 and history["freedom"][1] == pytest.approx(1 / 3000)
    assert min(history["cross_validation_loss"]) < history["cross_validation_loss"][0]
    assert all(np.isfinite(curve).all() for curve in history.values())


def test_tuning_does_little_where_there_is_nothing_to_learn() -> None:
    inputs = RNG.normal(size=(200, 3))
    classes = draw(count_probabilities(inputs, LAYERS), 5)
    tuned, _ = tune_head(LAYERS, inputs, classes, say=lambda _line: None)
    fresh = RNG.normal(size=(4000, 3))
    labels = draw(count_probabilities(fresh, LAYERS), 6)
    before, after = (cross_entropy(count_probabilities(fresh, m), labels) for m in (LAYERS, tuned))
    assert after < before + 0.01


def test_weights_are_repeats() -> None:
    inputs, classes = RNG.normal(size=(30, 3)), RNG.integers(5, size=30)
    start, shapes = _pack(LAYERS), [k.shape for k, _ in LAYERS]
    theta = start + 0.05
    twice = _loss(theta, start, shapes, np.repeat(inputs, 2, 0), np.repeat(classes, 2), np.ones(60), 1.0)
    weighted = _loss(theta, start, shapes, inputs, classes, np.full(30, 2.0), 1.0)
    assert weighted[0] == pytest.approx(twice[0])
    assert weighted[1] == pytest.approx(twice[1])


def test_lines_and_reproducibility() -> None:
    inputs, classes = RNG.normal(size=(30, 3)), RNG.integers(5, size=30)
    lines: list[str] = []
    one, _ = tune_head(LAYERS, inputs, classes, seed=2, say=lines.append)
    two, _ = tune_head(LAYERS, inputs, classes, seed=2, say=lines.append)
    assert lines[0].startswith("penalty 3000: cross-entropy ")
    assert lines[-1].startswith(("kept", "tuned with penalty"))
    assert all(np.array_equal(a, b) for m, n in zip(one, two, strict=True) for a, b in zip(m, n, strict=True))


SHAPE = NetworkShape(widths=(6,), blocks=(1,), embedding=4, hidden=(8,))
SETTINGS = TrainingSettings(
    steps=12, steps_per_epoch=4, warmup_steps=2, restarts=(6,), learning_rate=0.01, averaging=0.9
)
SHORT = dataclasses.replace(SETTINGS, steps=1, steps_per_epoch=1, warmup_steps=0)


@pytest.fixture(scope="module")
def keras() -> Any:
    return import_keras()


def make_crops() -> CropMaker:
    samples, counts, centers = make_scenes(2, n_side=4)
    offsets, scalars = samples.offsets, compute_scalars(samples)
    rows = [slice(a, b) for a, b in zip(offsets, offsets[1:], strict=False)]
    corners = [np.array(r.xy0) for r in samples.results]
    return CropMaker(
        keep_planes(samples),
        keep_labels(samples),
        keep_numbers(samples),
        [samples.bbox[r] - np.tile(c, 2) for r, c in zip(rows, corners, strict=True)],
        [counts[r] for r in rows],
        [np.ones(len(counts[r])) for r in rows],
        [scalars[r] for r in rows],
        np.nan_to_num(compute_context(samples)),
        [table - np.append(c, 0) for table, c in zip(centers, corners, strict=True)],
        batch=2,
        crop=32,
        n_segments=8,
    )


def train(keras: Any, **changes: Any) -> tuple[dict[str, np.ndarray], dict[str, list[float]]]:
    values: dict[str, Any] = {
        "settings": SETTINGS,
        "identity": {"seed": 3},
        "say": lambda _line: None,
    } | changes
    crops = values.pop("crops", None) or make_crops()
    maps, head = build_map_network(keras, SHAPE, seed=3), build_head(keras, SHAPE, seed=3)
    return train_network(keras, maps, head, crops, values.pop("settings"), 3, **values)


def test_loss_falls(keras: Any) -> None:
    settings = dataclasses.replace(SETTINGS, steps=60, steps_per_epoch=20)
    lines: list[str] = []
    weights, history = train(keras, settings=settings, say=lines.append)
    assert {name: array.shape for name, array in weights.items()} == weight_shapes(SHAPE)
    assert len(lines) == 3 and lines[2].startswith("epoch 3/3: loss ")
    for name in ("loss", "counts_loss", "tiles_loss"):
        assert len(history[name]) == 3 and history[name][2] < 0.8 * history[name][0]


class KilledError(Exception):
    """Somebody kills a training."""


def test_goes_on_after_a_kill(keras: Any, tmp_path: Path) -> None:
    whole, history = train(keras)

    def kill_after_two(line: str) -> None:
        if line.startswith("epoch 2/3"):
            raise KilledError

    with pytest.raises(KilledError):
        train(keras, folder=tmp_path, say=kill_after_two)
    lines: list[str] = []
    rest, rest_history = train(keras, folder=tmp_path, say=lines.append)
    assert lines[0].startswith("going on after epoch 2") and len(lines) == 2
    for name, curve in history.items():
        # Sums over threads come in any order.
        assert rest_history[name] == pytest.approx(curve, rel=1e-3)
    for name, array in whole.items():
        assert np.allclose(rest[name], array, atol=2e-3), name
    again, _ = train(keras, folder=tmp_path)
    assert all(np.array_equal(rest[name], again[name]) for name in rest)


def test_best_weights_are_kept(keras: Any, tmp_path: Path) -> None:
    seen: list[dict[str, np.ndarray]] = []
    losses = iter([0.5, 0.3, 0.4])

    def validate(weights: dict[str, np.ndarray]) -> float:
        seen.append({name: array.copy() for name, array in weights.items()})
        return next(losses)

    best, history = train(keras, validate=validate, folder=tmp_path)
    assert history["validation_loss"] == [0.5, 0.3, 0.4]
    assert all(np.array_equal(best[name], seen[1][name]) for name in best)
    assert not np.array_equal(best["stem_kernel"], seen[2]["stem_kernel"])


@pytest.fixture(scope="module")
def begun(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a training of one epoch."""
    folder = tmp_path_factory.mktemp("begun")
    train(keras, folder=folder, settings=dataclasses.replace(SETTINGS, steps=4))
    return folder


def test_checkpoint_of_another_training_is_refused(keras: Any, begun: Path, tmp_path: Path) -> None:
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    with pytest.raises(CheckpointError, match="another training"):
        train(keras, folder=tmp_path, identity={"seed": 4})


@pytest.mark.parametrize("group", ["variables", "best", "optimizer"])
def test_checkpoint_of_another_network_is_named(keras: Any, begun: Path, tmp_path: Path, group: str) -> None:
    state = read_checkpoint(begun, {"seed": 3})
    assert state is not None
    setattr(state, group, getattr(state, group)[:-1])
    write_checkpoint(tmp_path, state, {"seed": 3})
    with pytest.raises(CheckpointError, match=r"checkpoint\.npz does not fit the .*; give another folder"):
        train(keras, folder=tmp_path)


def test_loss_that_is_not_finite(keras: Any, tmp_path: Path) -> None:
    crops = make_crops()
    make = crops.make
    calls = []

    def broken(rng: np.random.Generator) -> Any:
        calls.append(1)
        inputs, truth = make(rng)
        if len(calls) == 6:
            truth["counts"][..., 1] = np.nan
        return inputs, truth

    crops.make = broken  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match=r"not finite after 6 steps; lower training\.learning_rate"):
        train(keras, crops=crops, folder=tmp_path)
    lines: list[str] = []
    train(keras, folder=tmp_path, say=lines.append)
    assert lines[0].startswith("going on after epoch 1")


def test_weights_that_are_not_finite(keras: Any, tmp_path: Path) -> None:
    # The loss of the only step is that of the weights before it.
    settings = dataclasses.replace(SHORT, learning_rate=3e38, weight_decay=1e3)
    with pytest.raises(TrainingError, match="weights are not finite after 1 steps"):
        train(keras, settings=settings, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_validation_loss_that_is_not_finite(keras: Any) -> None:
    with pytest.raises(TrainingError, match="validation loss is not finite after 1 steps"):
        train(keras, settings=SHORT, validate=lambda _weights: float("nan"))


def test_learning_rates(keras: Any) -> None:
    """Each part is what Keras makes of one training."""
    settings = TrainingSettings(steps=50, learning_rate=0.3, warmup_steps=4, restarts=(30,))
    expected = []
    for steps in (30, 20):
        decay = keras.optimizers.schedules.CosineDecay(0.0, steps - 4, warmup_target=0.3, warmup_steps=4)
        expected += [float(decay(step)) for step in range(steps)]
    assert learning_rates(settings) == pytest.approx(np.array(expected), rel=1e-5, abs=1e-7)
    once = dataclasses.replace(settings, restarts=())
    for restarts in [(50,), (80,)]:
        none = dataclasses.replace(settings, restarts=restarts)
        assert np.array_equal(learning_rates(none), learning_rates(once))
    short = TrainingSettings(steps=5, learning_rate=0.3, warmup_steps=4, restarts=(3, 4))
    assert learning_rates(short) == pytest.approx([0.0, 0.15, 0.3, 0.3, 0.3])


def test_no_warmup(keras: Any) -> None:
    _, history = train(keras, settings=dataclasses.replace(SETTINGS, warmup_steps=0, steps=4))
    assert np.isfinite(history["loss"]).all()

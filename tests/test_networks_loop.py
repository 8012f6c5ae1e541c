# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of training: early stopping, checkpoints, and going on from them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lsst.meas.blendid.networks import CheckpointError, TrainingError, fit_network, get_arrays, import_keras

_RNG = np.random.default_rng(1)
X = _RNG.normal(size=(96, 4)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > 0.0).astype(np.int64)


def make_network(*, units: int = 6, rate: float = 0.01) -> Any:
    """A small network whose first weights and dropout are fixed."""
    keras = import_keras()
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((4,), name="input"),
            layers.Dense(
                units,
                activation="relu",
                kernel_initializer=keras.initializers.GlorotUniform(seed=3),
                name="dense",
            ),
            layers.BatchNormalization(name="norm"),
            layers.Dropout(0.2, seed=5, name="dropout"),
            layers.Dense(
                2,
                activation="softmax",
                kernel_initializer=keras.initializers.GlorotUniform(seed=4),
                name="output",
            ),
        ]
    )
    network.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", weighted_metrics=[])
    return network


def batches(epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    order = np.random.default_rng([7, epoch]).permutation(len(X))
    for first in range(0, len(X), 32):
        rows = order[first : first + 32]
        yield X[rows], Y[rows]


def stop_after(n: int) -> Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]]:
    """Batches of a training that the user ends in the middle of an epoch."""

    def interrupted(epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for i, batch in enumerate(batches(epoch)):
            if epoch == n and i == 1:
                raise KeyboardInterrupt
            yield batch

    return interrupted


def losses_of(network: Any) -> Callable[[], dict[str, float]]:
    def validate() -> dict[str, float]:
        p = np.asarray(network.predict_on_batch(X))
        return {"val_loss": float(-np.log(p[np.arange(len(Y)), Y]).mean())}

    return validate


def run(network: Any, folder: Path | None = None, **options: Any) -> dict[str, list[float]]:
    arguments: dict[str, Any] = {"epochs": 6, "validate": losses_of(network), "monitor": "val_loss"}
    return fit_network(network, **({"batches": batches} | arguments | options | {"folder": folder}))


def assert_same(network: Any, other: Any) -> None:
    expected = get_arrays(other)
    for name, value in get_arrays(network).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-6, atol=1e-7, err_msg=name)


def test_loss_falls_and_curves_are_complete() -> None:
    lines: list[str] = []
    history = run(make_network(), epochs=20, report=lines.append)
    assert set(history) == {"loss", "val_loss"} and {len(v) for v in history.values()} == {20}
    assert history["loss"][-1] < 0.9 * history["loss"][0]
    assert len(lines) == 20 and lines[3].startswith("epoch 4/20: loss ")


def test_loss_of_an_epoch_is_the_mean_of_its_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    network = make_network()
    losses = []
    train = network.train_on_batch

    def spy(*batch: Any, **options: Any) -> dict[str, float]:
        losses.append(train(*batch, **options))
        return losses[-1]

    monkeypatch.setattr(network, "train_on_batch", spy)
    history = run(network, epochs=2)
    each = [float(step["loss"]) for step in losses]
    assert len(each) == 6 and np.ptp(each) > 0.0
    np.testing.assert_allclose(history["loss"], [np.mean(each[:3]), np.mean(each[3:])], rtol=1e-6)


def test_learning_rate_is_that_of_the_epoch() -> None:
    network = make_network()
    seen = []

    def spy(epoch: int) -> Iterator[Any]:
        seen.append(float(np.asarray(network.optimizer.learning_rate)))
        return batches(epoch)

    run(network, batches=spy, epochs=3, learning_rate=lambda epoch: 0.1 / (epoch + 1))
    np.testing.assert_allclose(seen, [0.1, 0.05, 0.1 / 3], rtol=1e-6)


def test_early_stopping_restores_the_best_weights() -> None:
    network, other = make_network(), make_network()
    curve = iter([3.0, 1.0, 2.0, 1.5, 1.0, 0.1])
    history = run(network, epochs=10, validate=lambda: {"val_loss": next(curve)}, patience=3)
    # Equal is not better.
    assert history["val_loss"] == [3.0, 1.0, 2.0, 1.5, 1.0]
    run(other, epochs=2, validate=None, monitor=None)
    assert_same(network, other)


def test_best_weights_are_restored_without_patience_too() -> None:
    network, other = make_network(), make_network()
    curve = iter([3.0, 2.0, 4.0, float("nan")])
    run(network, epochs=4, validate=lambda: {"val_loss": next(curve)})
    run(other, epochs=2, validate=None, monitor=None)
    assert_same(network, other)


@pytest.mark.parametrize("epoch", [0, 1, 4])
def test_resumed_training_is_the_uninterrupted_one(tmp_path: Path, epoch: int) -> None:
    whole, broken, resumed = make_network(), make_network(), make_network()
    expected = run(whole)
    with pytest.raises(KeyboardInterrupt):
        run(broken, tmp_path / "made", batches=stop_after(epoch))
    lines: list[str] = []
    history = run(resumed, tmp_path / "made", report=lines.append)
    assert (len(lines), lines[0].startswith("going on after epoch")) == (6 - epoch + (epoch > 0), epoch > 0)
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-6)
    assert_same(resumed, whole)
    # Nothing is left to do: the next call gives the same network at once.
    again = make_network()
    assert run(again, tmp_path / "made") == history
    assert_same(again, whole)


_KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from test_networks_loop import batches, make_network, run
from pathlib import Path
def killed(epoch):
    for i, batch in enumerate(batches(epoch)):
        if epoch == 3 and i == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        yield batch
run(make_network(), Path({folder!r}), batches=killed)
"""


def test_killed_training_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    program = _KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == -signal.SIGKILL
    assert len(json.loads((tmp_path / "history.json").read_text())["loss"]) == 3
    resumed, whole = make_network(), make_network()
    history, expected = run(resumed, tmp_path), run(whole)
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-4)
    for name, value in get_arrays(whole).items():
        np.testing.assert_allclose(get_arrays(resumed)[name], value, atol=1e-4, err_msg=name)


def test_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    run(make_network(), tmp_path, epochs=1, settings={"seed": 1, "size": (2, 3)})
    with pytest.raises(CheckpointError, match=r"of another training \(seed was 1 and is 2\); give another"):
        run(make_network(), tmp_path, settings={"seed": 2, "size": (2, 3)})
    with pytest.raises(CheckpointError, match=r"checkpoint\.npz does not fit the network"):
        run(make_network(units=7), tmp_path, settings={"seed": 1, "size": (2, 3)})
    run(make_network(), tmp_path, epochs=1, settings={"seed": 1, "size": (2, 3)})


def test_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    run(make_network(), tmp_path, epochs=1)
    path = tmp_path / "checkpoint.npz"
    data = path.read_bytes()
    for damaged in (b"", b"no zip", data[: len(data) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"checkpoint\.npz is not a checkpoint or is dam") as err:
            run(make_network(), tmp_path)
        assert "pickle" not in str(err.value)


def test_interrupted_write_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(make_network(), tmp_path, epochs=1)
    before = (tmp_path / "checkpoint.npz").read_bytes()

    def fail(*_args: object, **_kwargs: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", fail)
        with pytest.raises(OSError, match="No space left"):
            run(make_network(), tmp_path, epochs=2)
    assert (tmp_path / "checkpoint.npz").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.npz", "history.json"]


def test_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    def broken(epoch: int) -> Iterator[tuple[np.ndarray, ...]]:
        for x, y in batches(epoch):
            yield x, y, np.full(len(y), np.nan if epoch == 2 else 1.0, dtype=np.float32)

    with pytest.raises(TrainingError, match=r"loss of epoch 3 is nan: lower the learning rate"):
        run(make_network(), tmp_path, batches=broken)
    assert len(json.loads((tmp_path / "history.json").read_text())["loss"]) == 2


def test_weights_that_are_not_finite_end_the_training(tmp_path: Path) -> None:
    # The loss of the only step of an epoch is that of the weights before it.
    options = {"batches": lambda _epoch: [(X, Y)], "validate": None, "monitor": None}
    rates = [0.01, float("inf")]
    with pytest.raises(TrainingError, match="weights after epoch 2 are not finite"):
        run(make_network(), tmp_path, learning_rate=lambda epoch: rates[epoch], epochs=2, **options)
    assert len(json.loads((tmp_path / "history.json").read_text())["loss"]) == 1


def test_validation_that_gives_no_number_ends_the_training() -> None:
    with pytest.raises(TrainingError, match="'val_loss' was finite in no epoch"):
        run(make_network(), validate=lambda: {"val_loss": float("nan")}, epochs=5, patience=1)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"epochs": 0}, "must be at least 1"),
        ({"patience": 0}, "must be at least 1"),
        ({"validate": None}, "cannot be monitored without validation"),
        ({"monitor": "luck"}, "gives loss, val_loss, and not 'luck'"),
        ({"batches": lambda _epoch: []}, "no batches"),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        run(make_network(), **options)

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Training of a network, epoch by epoch: early stopping, checkpoints, and going on from them.

A checkpoint is a zip of .npy arrays without pickle (``numpy.savez``), one of which holds a JSON text.  It is
written beside the old one and renamed, so that there is a complete one at any time.
"""

from __future__ import annotations

__all__ = (
    "Checkpoint",
    "CheckpointError",
    "TrainingError",
    "fingerprint",
    "fit_network",
    "read_checkpoint",
    "require_shapes",
    "restore",
    "write_checkpoint",
)

import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .._files import atomic_path
from .backend import read_variable

FILE_NAME = "checkpoint.npz"
HISTORY_NAME = "history.json"
_FORMAT = "lsst.meas.blendid training checkpoint 1"
_GROUPS = ("variables", "optimizer", "best")


class CheckpointError(ValueError):
    """A checkpoint that is damaged or of another training."""


@dataclass
class Checkpoint:
    """How far a training has come.

    Parameters
    ----------
    epoch
        Number of epochs that are complete.
    best_epoch
        Number of the best of them, from 1; 0 if none was looked at.
    best_value
        What was to be small, in that epoch.
    history
        Curves by name, one number for each epoch.
    variables, optimizer, best
        Variables of the network (the states of its random numbers included), of its
        optimiser, and the variables of the network after the best epoch.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_value: float = float("inf")
    history: dict[str, list[float]] = field(default_factory=dict)
    variables: list[np.ndarray] = field(default_factory=list)
    optimizer: list[np.ndarray] = field(default_factory=list)
    best: list[np.ndarray] = field(default_factory=list)


def fingerprint(*arrays: np.ndarray) -> str:
    """Checksum of types, shapes and numbers of arrays, as short text; not safe against intent."""
    value = 0
    for array in arrays:
        value = zlib.crc32(f"{array.shape} {array.dtype.str}".encode(), value)
        value = zlib.crc32(np.ascontiguousarray(array).tobytes(), value)
    return f"{value:08x}"


def write_checkpoint(folder: Path, checkpoint: Checkpoint, settings: Mapping[str, Any]) -> None:
    """Write a checkpoint in place of the last one, with JSON-compatible facts that make it this training."""
    facts = {
        "format": _FORMAT,
        "settings": settings,
        "epoch": checkpoint.epoch,
        "best_epoch": checkpoint.best_epoch,
        "best_value": checkpoint.best_value if np.isfinite(checkpoint.best_value) else None,
        "history": checkpoint.history,
    }
    arrays = {
        f"{group}_{i:04d}": array for group in _GROUPS for i, array in enumerate(getattr(checkpoint, group))
    }
    arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / FILE_NAME) as path, path.open("wb") as stream:
        np.savez(stream, **arrays, allow_pickle=False)
    with atomic_path(folder / HISTORY_NAME) as path:
        path.write_text(json.dumps(checkpoint.history, indent=1) + "\n", encoding="utf-8")


def read_checkpoint(folder: Path, settings: Mapping[str, Any]) -> Checkpoint | None:
    """Read the checkpoint of a folder, which need not exist; `None` if there is none yet.

    `CheckpointError` if the file is damaged, or of a training with other settings than `write_checkpoint`
    got.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    try:
        if not zipfile.is_zipfile(path):
            # NumPy would take it for a pickle.
            raise ValueError("it is no zip file")
        # NumPy leaves a damaged file open unless it is handed the stream.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            facts = json.loads(file["facts"].tobytes())
            if facts["format"] != _FORMAT:
                raise ValueError(f"format {facts['format']!r}")
            arrays = {
                group: [file[name] for name in sorted(file.files) if name.startswith(f"{group}_")]
                for group in _GROUPS
            }
        best_value = float("inf") if facts["best_value"] is None else float(facts["best_value"])
        history = {str(k): [float(v) for v in values] for k, values in facts["history"].items()}
        checkpoint = Checkpoint(int(facts["epoch"]), int(facts["best_epoch"]), best_value, history, **arrays)
        found = facts["settings"]
    except Exception as err:
        # Damage surfaces in zipfile, NumPy and json, as errors of many kinds.
        reason = " ".join(str(err).split())[:200] or type(err).__name__
        raise CheckpointError(
            f"{path} is not a checkpoint or is damaged ({reason}); remove it to start anew"
        ) from None
    # As JSON makes it: tuples become lists.
    wanted = json.loads(json.dumps(settings))
    if found != wanted:
        different = sorted(k for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k))
        listed = "; ".join(f"{k} was {found.get(k)!r} and is {wanted.get(k)!r}" for k in different)
        raise CheckpointError(
            f"{path} is of another training ({listed}); give another folder, or remove it to start anew"
        )
    return checkpoint


def require_shapes(
    variables: Sequence[Any], arrays: Sequence[np.ndarray], what: str, folder: Path | None = None
) -> None:
    """Refuse arrays of a checkpoint that do not fit variables: `CheckpointError` names what they are of."""
    if [tuple(v.shape) for v in variables] != [a.shape for a in arrays]:
        name = "the checkpoint" if folder is None else str(Path(folder) / FILE_NAME)
        raise CheckpointError(
            f"{name} does not fit the {what}: it is of another network; give another folder, or remove it to "
            "start anew"
        )


def restore(
    variables: Sequence[Any], arrays: Sequence[np.ndarray], what: str, folder: Path | None = None
) -> None:
    """Give Keras variables the values of a checkpoint, once they fit (`require_shapes`)."""
    require_shapes(variables, arrays, what, folder)
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


class TrainingError(ArithmeticError):
    """A training that went astray: a loss or weights that are not finite."""


def fit_network(
    model: Any,
    batches: Callable[[int], Iterable[Any]],
    *,
    epochs: int,
    validate: Callable[[], Mapping[str, float]] | None = None,
    monitor: str | None = None,
    patience: int | None = None,
    learning_rate: Callable[[int], float] | None = None,
    folder: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    report: Callable[[str], None] | None = None,
) -> dict[str, list[float]]:
    """Train a network, or go on with its training.

    The same call gives the same network, whether it ran through or was killed
    and called again, as long as ``batches`` depends on nothing but the number
    of the epoch and the layers have seeds.

    Parameters
    ----------
    model
        A compiled Keras model; any backend.
    batches
        Gives the batches of an epoch, counted from 0: tuples of inputs, targets and, if there are
        any, weights of samples.
    epochs
        Number of epochs at most.
    validate
        Called after each epoch; gives numbers that go into the history.
    monitor
        Name of the one of them that is to be small.  The network ends with the weights of the epoch
        where it was smallest; those of the last epoch if `None`.
    patience
        Stop after so many epochs that brought no smaller one; never if `None`.
    learning_rate
        Learning rate of an epoch; that of the optimiser if `None`.
    folder
        Where a checkpoint is kept, written after each epoch.  A training that finds there one of its
        own goes on from it.
    settings
        JSON-compatible facts that make it this training, such as settings of the network and a hash
        of the data; a checkpoint of others is refused.
    report
        Called with one line about each epoch.

    Returns
    -------
    history
        Curves by name, one number for each epoch: ``loss`` and those of ``validate``.

    Raises
    ------
    ValueError
        Raised if the settings make no sense or ``validate`` does not give ``monitor``.
    CheckpointError
        Raised if the folder has a checkpoint that is damaged or of another training.
    TrainingError
        Raised if the loss of an epoch or the weights after it are not finite, and then the checkpoint is that
        of the epoch before; or if what is monitored never was a number.
    """
    if epochs < 1 or (patience is not None and patience < 1):
        raise ValueError(f"epochs ({epochs}) and patience ({patience}) must be at least 1")
    if monitor is not None and validate is None:
        raise ValueError(f"{monitor!r} cannot be monitored without validation")
    say = report if report is not None else lambda _line: None
    settings = dict(settings or {})
    model.optimizer.build(model.trainable_variables)
    state = Checkpoint()
    if folder is not None and (found := read_checkpoint(folder, settings)) is not None:
        state = found
        restore(model.variables, state.variables, "network", folder)
        restore(model.optimizer.variables, state.optimizer, "optimiser", folder)
        if state.best:
            require_shapes(model.variables, state.best, "network", folder)
        say(f"going on after epoch {state.epoch} of the checkpoint in {folder}")
    while state.epoch < epochs and not _is_over(state, monitor, patience):
        if learning_rate is not None:
            model.optimizer.learning_rate = learning_rate(state.epoch)
        numbers = {"loss": _run_epoch(model, batches(state.epoch))}
        if not np.isfinite(numbers["loss"]):
            raise TrainingError(
                f"the loss of epoch {state.epoch + 1} is {numbers['loss']}: "
                "lower the learning rate or look at the inputs"
            )
        # The loss of a batch does not tell what its step did to the weights.
        if not all(np.isfinite(value).all() for value in _copy(model.trainable_variables)):
            raise TrainingError(
                f"the weights after epoch {state.epoch + 1} are not finite: "
                "lower the learning rate or look at the inputs"
            )
        if validate is not None:
            numbers |= {str(k): float(v) for k, v in validate().items()}
        _record(state, numbers, model, monitor)
        if folder is not None:
            state.variables = _copy(model.variables)
            state.optimizer = _copy(model.optimizer.variables)
            write_checkpoint(folder, state, settings)
        listed = ", ".join(f"{name} {value:.4f}" for name, value in numbers.items())
        star = " *" if state.best_epoch == state.epoch else ""
        say(f"epoch {state.epoch}/{epochs}: {listed}{star}")
    if monitor is not None and not state.best:
        raise TrainingError(f"{monitor!r} was finite in no epoch: look at the validation data")
    if state.best:
        restore(model.variables, state.best, "network")
    return state.history


def _is_over(state: Checkpoint, monitor: str | None, patience: int | None) -> bool:
    """Whether no epoch was better for too long."""
    return monitor is not None and patience is not None and state.epoch - state.best_epoch >= patience


def _run_epoch(model: Any, batches: Iterable[Any]) -> float:
    """Learn from the batches of an epoch; mean of their losses."""
    losses = [float(model.train_on_batch(*batch, return_dict=True)["loss"]) for batch in batches]
    if not losses:
        raise ValueError("an epoch has no batches: there is nothing to learn from")
    return float(np.mean(losses))


def _record(state: Checkpoint, numbers: Mapping[str, float], model: Any, monitor: str | None) -> None:
    """Count an epoch, and keep the network if it is the best so far."""
    if monitor is not None and monitor not in numbers:
        raise ValueError(f"validation gives {', '.join(numbers)}, and not {monitor!r}, which is monitored")
    state.epoch += 1
    for name, value in numbers.items():
        state.history.setdefault(name, []).append(value)
    if monitor is not None and numbers[monitor] < state.best_value:
        state.best_epoch, state.best_value = state.epoch, numbers[monitor]
        state.best = _copy(model.variables)


def _copy(variables: Iterable[Any]) -> list[np.ndarray]:
    """Values of variables."""
    return [read_variable(variable) for variable in variables]

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The state of a training in one file, from which it can be resumed.

The file is a zip of .npy arrays without pickle (``numpy.savez``); one of them
holds a JSON text.  It is written beside the old one and renamed, so that there
is a complete one at any time.
"""

from __future__ import annotations

__all__ = (
    "Checkpoint",
    "CheckpointError",
    "fingerprint",
    "read_checkpoint",
    "require_shapes",
    "restore",
    "write_checkpoint",
)

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .._files import atomic_path

FILE_NAME = "checkpoint.npz"
HISTORY_NAME = "history.json"
_FORMAT = "lsst.meas.blendid training checkpoint 1"


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


_GROUPS = ("variables", "optimizer", "best")


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

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What ``blendid train`` tells while it works, and leaves for whoever asks later or repeats it."""

from __future__ import annotations

__all__ = ("TrainingLog", "check_checkpoints")

import contextlib
import datetime
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._common import CommandError, announce, make_output_folder

if TYPE_CHECKING:
    from ..model_package import ModelPackage

_RUN_FILE = "run.json"


class TrainingLog:
    """Shows lines on standard error, and keeps them in a file if there is a folder for it.

    Parameters
    ----------
    name
        Name of the model.
    folder
        Folder of the file; `None` for none.
    options
        What was asked for.
    """

    def __init__(self, name: str, folder: Path | None, options: dict[str, Any]) -> None:
        self._path = None if folder is None else folder / f"{name}.log.jsonl"
        self._figure = None if folder is None else folder / f"{name}.loss.png"
        self._start = time.perf_counter()
        self.seconds: dict[str, float] = {}
        """Duration of each stage, seconds."""
        if folder is not None:
            make_output_folder(folder)
        self._write(event="start", options=options)

    def _write(self, **record: Any) -> None:
        if self._path is None:
            return
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        record = {"time": now, "seconds": round(time.perf_counter() - self._start, 2)} | record
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")

    def say(self, line: str) -> None:
        """Show a line.

        Parameters
        ----------
        line
            The line.
        """
        announce(line, err=True)
        self._write(event="report", message=line)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Take the time of a stage.

        Parameters
        ----------
        name
            Name of the stage.
        """
        start = time.perf_counter()
        self._write(event=name)
        yield
        self.seconds[name] = round(time.perf_counter() - start, 1)

    def finish(self, package: ModelPackage) -> None:
        """Keep what the package tells, and draw its loss curves.

        Parameters
        ----------
        package
            The model.
        """
        if self._path is None or self._figure is None:
            return
        training = {k: v for k, v in package.metadata["training"].items() if k != "scenes"}
        validation = {k: v for k, v in package.metadata["validation"].items() if k != "scenes"}
        self._write(
            event="end", training=training, validation=validation, versions=package.metadata["versions"]
        )
        history = training.get("history")
        if not history:
            return
        try:
            from ..evaluation.plots import loss_curves

            loss_curves(history).savefig(self._figure, dpi=120)
        except ImportError as err:
            self.say(f"the loss curves were not drawn ({err}); install lsst-meas-blendid[plots]")


def check_checkpoints(folder: Path, options: dict[str, Any]) -> bool:
    """Make a folder for checkpoints, or see whether those in it are of the same command.

    Parameters
    ----------
    folder
        The folder.
    options
        What was asked for.

    Returns
    -------
    resumed
        Whether a command with these options was there before.

    Raises
    ------
    CommandError
        Raised if the checkpoints are of other options, or the folder cannot be used.
    """
    file = folder / _RUN_FILE
    if file.exists():
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as err:
            raise CommandError(f"{file} cannot be read ({err}); give another folder --checkpoints") from None
        now = json.loads(json.dumps(options))
        different = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
        if different:
            raise CommandError(
                f"the checkpoints in {folder} are of a command with another {', '.join(different)}; "
                "repeat that one, or give another folder --checkpoints"
            )
        return True
    make_output_folder(folder)
    file.write_text(json.dumps(options, indent=1) + "\n", encoding="utf-8")
    return False

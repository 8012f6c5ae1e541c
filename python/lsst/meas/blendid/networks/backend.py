# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Keras: which backend it runs on, and its networks as named arrays."""

from __future__ import annotations

__all__ = (
    "MissingKerasError",
    "get_arrays",
    "import_keras",
    "read_variable",
    "set_arrays",
)

import importlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .._arrays import check_array

_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_CPP_MAX_VLOG_LEVEL": "-1"}
"""Settings of TensorFlow's log that are made unless the user made some: exceptions tell of errors."""


class MissingKerasError(ImportError):
    """Keras or its backend, optional dependencies, are needed and not installed."""


def import_keras() -> Any:
    """Import the module ``keras`` where it is needed; `MissingKerasError` if it or its backend is not there.

    The backend is the one of ``$KERAS_BACKEND`` or of Keras' own settings, TensorFlow by default; a GPU is
    used if the backend finds one.
    """
    if "keras" in sys.modules and sys.modules["keras"] is not None:
        return sys.modules["keras"]
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        if os.environ["TF_CPP_MIN_LOG_LEVEL"] == _QUIET["TF_CPP_MIN_LOG_LEVEL"]:
            with _silence_stderr():
                return importlib.import_module("keras")
        return importlib.import_module("keras")
    except (ImportError, ValueError) as err:
        raise MissingKerasError(_describe(err)) from err


def _describe(err: Exception) -> str:
    """What is missing, and the remedy."""
    name = err.name if isinstance(err, ImportError) else None
    if name == "keras":
        reason = "which is not installed"
    elif name is not None:
        reason = f"whose backend {_backend_name()!r} cannot be imported ({' '.join(str(err).split())[:200]})"
    else:
        reason = f"which cannot be imported ({' '.join(str(err).split())[:200]})"
    if _backend_name() == "tensorflow":
        remedy = "pip install 'lsst-meas-blendid[tensorflow]'"
    else:
        remedy = (
            f"install the backend {_backend_name()!r}, or unset KERAS_BACKEND and "
            "pip install 'lsst-meas-blendid[tensorflow]'"
        )
    return f"neural networks need Keras, {reason}: {remedy}"


def _backend_name() -> str:
    """Backend that Keras would use."""
    if name := os.environ.get("KERAS_BACKEND"):
        return name
    home = os.environ.get("KERAS_HOME")
    path = (Path(home) if home else Path.home() / ".keras") / "keras.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8")).get("backend") or "tensorflow")
    except (OSError, ValueError, AttributeError):
        return "tensorflow"


@contextmanager
def _silence_stderr() -> Iterator[None]:
    """Keep what libraries write to the file descriptor of stderr; show it only if something fails.

    While it is loaded, TensorFlow's C++ code logs what no setting can switch off.
    """
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (AttributeError, OSError, ValueError):
        # No stderr, no chatter.
        yield
        return
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except ImportError:
            # The error itself says what there is to say.
            raise
        except BaseException:
            os.dup2(saved, 2)
            kept.seek(0)
            os.write(2, kept.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def read_variable(variable: Any) -> np.ndarray:
    """Copy the value of a Keras variable, of any backend, to the host."""
    ops = import_keras().ops
    # A copy is a plain tensor, which all backends convert without warnings.
    return np.array(ops.convert_to_numpy(ops.copy(variable)))


def _names(model: Any, prefix: str) -> list[str]:
    """Name of each weight: the path of its layer and its own name, joined by underscores."""
    # Keras may put the name of the model itself first, which is a counter unless it was given.
    paths = [weight.path.removeprefix(f"{model.name}/") for weight in model.weights]
    names = [prefix + re.sub(r"\W+", "_", path) for path in paths]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"weights share the names {', '.join(twice)}; give each layer a name of its own")
    return names


def get_arrays(model: Any, *, prefix: str = "", half: bool = False) -> dict[str, np.ndarray]:
    """Copy the weights of a network, statistics of normalisations included: float32 arrays by name.

    Its layers must have been given names, before which ``prefix`` is put; `ValueError` if two weights have
    one name. With ``half`` numbers have 16 bits, as far as none overflows: half the size, with eleven
    significant bits.
    """
    arrays = {}
    for name, weight in zip(_names(model, prefix), model.weights, strict=True):
        value = read_variable(weight).astype(np.float32)
        small = np.abs(value[np.isfinite(value)]).max(initial=0.0) <= np.finfo(np.float16).max
        arrays[name] = value.astype(np.float16) if half and small else value
    return arrays


def set_arrays(model: Any, arrays: Mapping[str, np.ndarray], *, prefix: str = "") -> None:
    """Give a network the weights of `get_arrays`; arrays of other names are not looked at.

    `KeyError` names a weight that is missing, `ValueError` an array of another shape than the weight, or
    that is not finite.  The network is then as it was.
    """
    values = []
    for name, weight in zip(_names(model, prefix), model.weights, strict=True):
        value = np.asarray(arrays[name]).astype(np.float32)
        check_array(name, value, tuple(weight.shape))
        values.append(value)
    for weight, value in zip(model.weights, values, strict=True):
        weight.assign(value)

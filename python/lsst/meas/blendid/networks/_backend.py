# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Keras and its backend, imported where they are needed and without their chatter."""

from __future__ import annotations

__all__ = ("MissingKerasError", "import_keras")

import importlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_CPP_MAX_VLOG_LEVEL": "-1"}
"""Settings of TensorFlow's log that are made unless the user made some: exceptions tell of errors."""


class MissingKerasError(ImportError):
    """Keras or its backend, optional dependencies, are needed and not installed."""


def import_keras() -> Any:
    """Import Keras where it is needed.

    The backend is the one of ``$KERAS_BACKEND`` or of Keras' own settings,
    TensorFlow by default; a GPU is used if the backend finds one.

    Returns
    -------
    module
        The module ``keras``.

    Raises
    ------
    MissingKerasError
        Raised if Keras or its backend cannot be imported.
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

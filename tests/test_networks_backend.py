# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the import of Keras: what is missing, and silence."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from lsst.meas.blendid.networks import MissingKerasError, import_keras

_HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {name!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
"""

_IMPORT = """
from lsst.meas.blendid.networks import MissingKerasError, import_keras
try:
    import_keras()
except MissingKerasError as err:
    print(err)
else:
    print("imported")
"""


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own, with none of the settings of this one."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "KERAS_"))}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=mine | environment,
        capture_output=True,
        text=True,
        check=True,
    )


def test_keras_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(MissingKerasError, match=r"need Keras, which is not installed: pip install '") as err:
        import_keras()
    assert str(err.value).endswith("'lsst-meas-blendid[tensorflow]'") and "\n" not in str(err.value)
    assert isinstance(err.value, ImportError)


def test_backend_is_not_installed() -> None:
    done = run(_HIDE.format(name="tensorflow") + _IMPORT)
    assert "whose backend 'tensorflow' cannot be imported" in done.stdout
    assert "pip install 'lsst-meas-blendid[tensorflow]'" in done.stdout and done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_backend_of_the_environment_is_not_installed() -> None:
    done = run(_HIDE.format(name="jax") + _IMPORT, KERAS_BACKEND="jax")
    assert "whose backend 'jax' cannot be imported" in done.stdout
    assert "install the backend 'jax', or unset KERAS_BACKEND" in done.stdout


def test_unknown_backend() -> None:
    done = run(_IMPORT, KERAS_BACKEND="abacus")
    assert "abacus" in done.stdout and "unset KERAS_BACKEND" in done.stdout
    assert done.stdout.count("\n") == 1


def test_import_and_use_are_silent() -> None:
    done = run(
        "from lsst.meas.blendid.networks import import_keras\n"
        "keras = import_keras()\n"
        "assert import_keras() is keras\n"
        "m = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])\n"
        "m.compile('sgd', 'mse')\n"
        "m.train_on_batch(keras.ops.ones((3, 2)), keras.ops.ones((3, 1)))\n"
        "m.predict_on_batch(keras.ops.ones((3, 2)))\n"
        "import sys; print('shown', file=sys.stderr)\n"
    )
    assert (done.stdout, done.stderr) == ("", "shown\n")


@pytest.mark.parametrize(("mine", "used"), [({}, "3"), ({"TF_CPP_MIN_LOG_LEVEL": "0"}, "0")])
def test_settings_of_the_user_are_kept(mine: dict[str, str], used: str) -> None:
    program = _HIDE.format(name="keras") + _IMPORT + "import os; print(os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    done = run(program, **mine)
    assert done.stdout.splitlines()[1] == used

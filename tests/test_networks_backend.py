# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of Keras and its backends, and of the arrays of its networks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from lsst.meas.blendid.networks import MissingKerasError, get_arrays, import_keras, set_arrays

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


def make_network(seed: int = 1, *, names: tuple[str, str] = ("conv-1", "norm")) -> Any:
    keras = import_keras()
    return keras.Sequential(
        [
            keras.Input((5, 5, 2), name="input"),
            keras.layers.Conv2D(
                3, 3, kernel_initializer=keras.initializers.GlorotUniform(seed=seed), name=names[0]
            ),
            keras.layers.BatchNormalization(name=names[1]),
        ]
    )


def test_round_trip() -> None:
    network, other = make_network(1), make_network(2)
    arrays = get_arrays(network, prefix="w_")
    assert {name: value.shape for name, value in arrays.items()} == {
        "w_conv_1_kernel": (3, 3, 2, 3),
        "w_conv_1_bias": (3,),
        "w_norm_gamma": (3,),
        "w_norm_beta": (3,),
        "w_norm_moving_mean": (3,),
        "w_norm_moving_variance": (3,),
    }
    assert all(re.fullmatch(r"\w+", name) and value.dtype == np.float32 for name, value in arrays.items())
    arrays["w_norm_moving_mean"] = np.array([1.0, 2.0, 3.0])
    set_arrays(other, arrays | {"something_else": np.zeros(2)}, prefix="w_")
    for name, value in get_arrays(other, prefix="w_").items():
        np.testing.assert_array_equal(value, arrays[name])


def test_arrays_are_copies() -> None:
    network = make_network()
    arrays = get_arrays(network)
    before = arrays["conv_1_bias"].copy()
    set_arrays(network, arrays | {"conv_1_bias": before + 1.0})
    np.testing.assert_array_equal(arrays["conv_1_bias"], before)


def test_half_precision_unless_it_overflows() -> None:
    network = make_network()
    set_arrays(network, get_arrays(network) | {"norm_beta": np.array([0.0, 1e5, 1.0])})
    arrays = get_arrays(network, half=True)
    assert arrays["conv_1_kernel"].dtype == np.float16 and arrays["norm_beta"].dtype == np.float32
    exact = get_arrays(network)["conv_1_kernel"]
    np.testing.assert_allclose(arrays["conv_1_kernel"], exact, rtol=2.0**-11)
    set_arrays(network, arrays)
    assert get_arrays(network)["norm_beta"][1] == 1e5


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"conv_1_bias": np.zeros(4)}, ValueError, r"conv_1_bias has shape \(4,\), not \(3,\)"),
        ({"norm_gamma": np.array([1.0, np.nan, 1.0])}, ValueError, "norm_gamma is not finite"),
        ({"norm_gamma": None}, KeyError, "norm_gamma"),
    ],
)
def test_arrays_that_do_not_fit(change: dict[str, Any], error: type[Exception], match: str) -> None:
    network = make_network()
    before = get_arrays(network)
    arrays = {k: v for k, v in (before | change).items() if v is not None}
    arrays["conv_1_kernel"] = arrays["conv_1_kernel"] + 1.0
    with pytest.raises(error, match=match):
        set_arrays(network, arrays)
    for name, value in get_arrays(network).items():
        np.testing.assert_array_equal(value, before[name])


def test_weights_of_one_name_are_refused() -> None:
    network = make_network(names=("a-b", "norm"))
    keras = import_keras()
    network.add(keras.layers.Conv2D(1, 1, name="a_b"))
    with pytest.raises(ValueError, match="share the names a_b_bias, a_b_kernel; give each layer a name"):
        get_arrays(network)

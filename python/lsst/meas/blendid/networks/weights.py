# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Weights of a network as named arrays, which is how model packages keep them."""

from __future__ import annotations

__all__ = ("get_arrays", "read_variable", "set_arrays")

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._arrays import check_array
from ._backend import import_keras


def read_variable(variable: Any) -> np.ndarray:
    """Copy the value of a variable to the host.

    Parameters
    ----------
    variable
        A Keras variable, of any backend.

    Returns
    -------
    value : `numpy.ndarray`
        Its value.
    """
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
    """Copy the weights of a network.

    Parameters
    ----------
    model
        A Keras model, built, whose layers were given names.
    prefix
        Put before each name.
    half
        Keep numbers of 16 bits, as far as none overflows: half the size, with
        eleven significant bits.

    Returns
    -------
    arrays : `dict` [`str`, `numpy.ndarray`]
        A float32 (or float16) array for each weight, the statistics of normalisations included.

    Raises
    ------
    ValueError
        Raised if two weights have one name.
    """
    arrays = {}
    for name, weight in zip(_names(model, prefix), model.weights, strict=True):
        value = read_variable(weight).astype(np.float32)
        small = np.abs(value[np.isfinite(value)]).max(initial=0.0) <= np.finfo(np.float16).max
        arrays[name] = value.astype(np.float16) if half and small else value
    return arrays


def set_arrays(model: Any, arrays: Mapping[str, np.ndarray], *, prefix: str = "") -> None:
    """Give a network the weights of `get_arrays`.

    Parameters
    ----------
    model
        A Keras model, built.
    arrays
        Arrays by name; those that are none of its weights are not looked at.
    prefix
        As it was for `get_arrays`.

    Raises
    ------
    KeyError
        Raised with the name of a weight that is missing.
    ValueError
        Raised if an array has another shape than the weight or is not finite.
        The network is then as it was.
    """
    values = []
    for name, weight in zip(_names(model, prefix), model.weights, strict=True):
        value = np.asarray(arrays[name]).astype(np.float32)
        check_array(name, value, tuple(weight.shape))
        values.append(value)
    for weight, value in zip(model.weights, values, strict=True):
        weight.assign(value)

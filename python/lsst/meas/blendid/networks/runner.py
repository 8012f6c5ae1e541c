# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Running a network on inputs of any size, without compiling it for each."""

from __future__ import annotations

__all__ = ("NetworkRunner",)

import importlib
from typing import Any

import numpy as np

from ._backend import import_keras


class NetworkRunner:
    """Runs a network.

    Parameters
    ----------
    model
        A Keras model, kept as ``model``.  Weights that it is given later are used.

    Notes
    -----
    With TensorFlow the network is compiled once, for all sizes.  ``predict_on_batch`` compiles it for the
    first size, for all of them at the second, and counts that over all networks of a process: with several
    of them TensorFlow warns of "retracing".
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._compiled: Any = None

    def predict_on_batch(self, inputs: Any) -> Any:
        """Run the network.

        Parameters
        ----------
        inputs
            An array, or a list of them, as the model takes.

        Returns
        -------
        outputs
            An array, or a list of them, as the model gives.
        """
        if import_keras().backend.backend() != "tensorflow":
            return self.model.predict_on_batch(inputs)
        tensorflow = importlib.import_module("tensorflow")
        several = isinstance(inputs, list | tuple)
        if self._compiled is None:
            specs = [tensorflow.TensorSpec(one.shape, one.dtype) for one in self.model.inputs]

            def run(*tensors: Any) -> Any:
                return self.model(list(tensors) if several else tensors[0], training=False)

            # A function for these and no other shapes: None of the model's inputs stays None.
            self._compiled = tensorflow.function(run, autograph=False).get_concrete_function(*specs)
        arrays = inputs if several else [inputs]
        tensors = [
            tensorflow.convert_to_tensor(array, one.dtype)
            for array, one in zip(arrays, self.model.inputs, strict=True)
        ]
        outputs = self._compiled(*tensors)
        if isinstance(outputs, list | tuple):
            return [np.asarray(output) for output in outputs]
        return np.asarray(outputs)

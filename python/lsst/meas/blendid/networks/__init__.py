# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Neural networks: training by Keras, weights as plain arrays, and prediction without Keras."""

from __future__ import annotations

__all__ = (
    "CheckpointError",
    "MissingKerasError",
    "TrainingError",
    "fit_network",
    "get_arrays",
    "import_keras",
    "read_variable",
    "set_arrays",
)

from .backend import MissingKerasError, get_arrays, import_keras, read_variable, set_arrays
from .loop import CheckpointError, TrainingError, fit_network

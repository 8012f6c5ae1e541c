# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Fitting classifiers to scenes whose true galaxies are known."""

from __future__ import annotations

__all__ = (
    "FileScene",
    "LabelledScenes",
    "Scene",
    "SceneSource",
    "SimulatedScene",
    "clipped_footprints",
    "label_scenes",
    "read_truth",
    "shipped_scenes",
    "simulated_scenes",
    "train_classifier",
    "train_shipped_models",
)

from .scenes import FileScene, LabelledScenes, Scene, SceneSource, SimulatedScene, label_scenes, read_truth
from .shipped import shipped_scenes, train_shipped_models
from .train import clipped_footprints, simulated_scenes, train_classifier

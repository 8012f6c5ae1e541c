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
    "ANY_BAND",
    "ButlerScene",
    "DomainRanges",
    "FileScene",
    "LabelConfig",
    "LabelledScenes",
    "Scene",
    "SceneData",
    "SceneRecipe",
    "SceneSource",
    "SimulatedScene",
    "StampData",
    "TrainingConfig",
    "choose_settings",
    "clipped_footprints",
    "randomized_scenes",
    "find_butler_scenes",
    "fine_tune",
    "footprint_settings",
    "label_scenes",
    "like_scenes",
    "measure_coadd",
    "read_labels",
    "read_truth",
    "settings_of_image",
    "settings_of_model",
    "simulated_scenes",
    "train_classifier",
    "train_localizer",
)

from .coadds import ButlerScene, FileScene, find_butler_scenes, read_truth
from .config import LabelConfig, TrainingConfig
from .data import SceneData, StampData
from .domain import DomainRanges
from .fine_tuning import fine_tune
from .label_tables import read_labels
from .labelling import label_scenes
from .localizers import train_localizer
from .scene_recipe import SceneRecipe
from .scenes import LabelledScenes, Scene, SceneSource
from .settings import (
    choose_settings,
    clipped_footprints,
    footprint_settings,
    settings_of_image,
    settings_of_model,
)
from .simulated import (
    ANY_BAND,
    SimulatedScene,
    like_scenes,
    measure_coadd,
    randomized_scenes,
    simulated_scenes,
)
from .train import train_classifier

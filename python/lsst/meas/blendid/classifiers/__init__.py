# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Classifiers of footprints, and their registry."""

from __future__ import annotations

__all__ = (
    "ENTRY_POINT_GROUP",
    "N_CLASSES",
    "BlendClassifier",
    "BlendClassifierConfig",
    "CentersClassifier",
    "CentersConfig",
    "CentersSettings",
    "CnnClassifier",
    "CnnConfig",
    "CnnSettings",
    "EnsembleClassifier",
    "EnsembleConfig",
    "EnsembleSettings",
    "FeaturesClassifier",
    "FeaturesConfig",
    "FeaturesSettings",
    "FitOptions",
    "HierarchyClassifier",
    "HierarchySettings",
    "LabelledSamples",
    "LogisticClassifier",
    "LogisticConfig",
    "LogisticSettings",
    "MuyGpsClassifier",
    "MuyGpsConfig",
    "MuyGpsSettings",
    "PeaksClassifier",
    "PeaksConfig",
    "PeaksSettings",
    "SepClassifier",
    "SepSettings",
    "TreeSettings",
    "classifier_registry",
    "find_classifier",
    "paper_settings",
    "split_probabilities",
)

from .base import (
    ENTRY_POINT_GROUP,
    N_CLASSES,
    BlendClassifier,
    BlendClassifierConfig,
    classifier_registry,
    find_classifier,
    split_probabilities,
)
from .centers import CentersClassifier, CentersConfig, CentersSettings
from .cnn import CnnClassifier, CnnConfig, CnnSettings, paper_settings
from .ensemble import EnsembleClassifier, EnsembleConfig, EnsembleSettings
from .features import FeaturesClassifier, FeaturesConfig, FeaturesSettings
from .fitting import FitOptions, LabelledSamples
from .hierarchy import HierarchyClassifier, HierarchySettings
from .logistic import LogisticClassifier, LogisticConfig, LogisticSettings
from .muygps import MuyGpsClassifier, MuyGpsConfig, MuyGpsSettings
from .peaks import PeaksClassifier, PeaksConfig, PeaksSettings
from .sep_peaks import SepClassifier, SepSettings
from .trees import TreeSettings

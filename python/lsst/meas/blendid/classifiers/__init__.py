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
    "CnnClassifier",
    "CnnConfig",
    "EnsembleClassifier",
    "EnsembleConfig",
    "FeaturesClassifier",
    "FeaturesConfig",
    "FitOptions",
    "HierarchyClassifier",
    "HierarchyConfig",
    "LabelledSamples",
    "LogisticClassifier",
    "LogisticConfig",
    "MuyGpsClassifier",
    "MuyGpsConfig",
    "PeaksClassifier",
    "PeaksConfig",
    "SepClassifier",
    "SepConfig",
    "classifier_registry",
    "find_classifier",
    "split_probabilities",
)

from .base import N_CLASSES, BlendClassifier, BlendClassifierConfig, split_probabilities
from .centers import CentersClassifier, CentersConfig
from .cnn import CnnClassifier, CnnConfig
from .ensemble import EnsembleClassifier, EnsembleConfig
from .features import FeaturesClassifier, FeaturesConfig
from .fit_options import FitOptions, LabelledSamples
from .hierarchy import HierarchyClassifier, HierarchyConfig
from .logistic import LogisticClassifier, LogisticConfig
from .muygps import MuyGpsClassifier, MuyGpsConfig
from .peaks import PeaksClassifier, PeaksConfig
from .registry import ENTRY_POINT_GROUP, classifier_registry, find_classifier
from .sep_peaks import SepClassifier, SepConfig

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The registry of classifiers, and the plugins that other packages add to it."""

from __future__ import annotations

__all__ = ("ENTRY_POINT_GROUP", "classifier_registry", "find_classifier")

from .._suggest import did_you_mean
from ..model_package import ModelPackage, ModelPackageError
from ..plugin_registry import PluginRegistry
from .base import BlendClassifier, BlendClassifierConfig

ENTRY_POINT_GROUP = "lsst.meas.blendid.classifiers"
"""Entry-point group of classifiers; the name of an entry point is that of the
classifier, its object a subclass of `BlendClassifier`."""

classifier_registry: PluginRegistry[BlendClassifier] = PluginRegistry(
    "classifier",
    BlendClassifier,  # type: ignore[type-abstract]
    BlendClassifierConfig,
    ENTRY_POINT_GROUP,
)
"""Classifiers that tell whether a footprint is blended, by name."""


def find_classifier(package: ModelPackage) -> type[BlendClassifier]:
    """Find the classifier that a model is one of.

    Parameters
    ----------
    package
        The trained model.

    Returns
    -------
    classifier
        Its class.

    Raises
    ------
    ModelPackageError
        Raised if it is a model of something else, or the classifier is not installed.
    """
    name = package.classifier
    if package.kind != "classifier":
        raise ModelPackageError(
            f"model {package.source} is one of the {package.kind} {name!r}; one of a classifier is needed"
        )
    if name not in classifier_registry:
        raise ModelPackageError(
            f"model {package.source} needs the classifier {name!r}, which is not there"
            f"{did_you_mean(name, classifier_registry)}: install the package that it comes with"
        )
    return classifier_registry[name]

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The registry of localisers, and the plugins that other packages add to it."""

from __future__ import annotations

__all__ = ("ENTRY_POINT_GROUP", "find_localizer", "localizer_registry")

from .._suggest import did_you_mean
from ..model_package import ModelPackage, ModelPackageError
from ..plugin_registry import PluginRegistry
from .base import BlendLocalizer, BlendLocalizerConfig

ENTRY_POINT_GROUP = "lsst.meas.blendid.localizers"
"""Entry-point group of localisers; the name of an entry point is that of the
localiser, its object a subclass of `BlendLocalizer`."""

localizer_registry: PluginRegistry[BlendLocalizer] = PluginRegistry(
    "localizer",
    BlendLocalizer,  # type: ignore[type-abstract]
    BlendLocalizerConfig,
    ENTRY_POINT_GROUP,
)
"""Localisers that tell where objects are, by name."""


def find_localizer(package: ModelPackage) -> type[BlendLocalizer]:
    """Find the localiser that a model is one of.

    Parameters
    ----------
    package
        The trained model.

    Returns
    -------
    localizer
        Its class.

    Raises
    ------
    ModelPackageError
        Raised if it is a model of something else, or the localiser is not installed.
    """
    name = package.classifier
    if package.kind != "localizer":
        raise ModelPackageError(
            f"model {package.source} is one of the {package.kind} {name!r}; one of a localizer is needed"
        )
    if name not in localizer_registry:
        raise ModelPackageError(
            f"model {package.source} needs the localizer {name!r}, which is not there"
            f"{did_you_mean(name, localizer_registry)}: install the package that it comes with"
        )
    return localizer_registry[name]

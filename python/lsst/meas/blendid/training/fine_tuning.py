# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Going on from a trained model with a few labels of other data."""

from __future__ import annotations

__all__ = ("check_tunable", "fine_tune")

import dataclasses

from ..classifiers import BlendClassifier, FitOptions, find_classifier
from ..model_package import ModelPackage, ModelPackageError
from ..model_settings import ModelSettings
from .scenes import LabelledScenes
from .settings import check_start


def fine_tune(
    start: ModelPackage,
    labelled: LabelledScenes,
    *,
    validation: LabelledScenes | None = None,
    settings: ModelSettings | None = None,
    options: FitOptions | None = None,
) -> BlendClassifier:
    """Adapt a trained model to other data.

    Parameters
    ----------
    start
        The model.
    labelled
        Labelled footprints, a few hundred of them say.
    validation
        Others, for early stopping.
    settings
        Its settings, with others of those that may be
        (`~lsst.meas.blendid.classifiers.BlendClassifier.tunable`); the same if `None`.
    options
        Seed and the like.

    Returns
    -------
    classifier
        The fine-tuned model (`~lsst.meas.blendid.classifiers.BlendClassifier.fine_tune`).

    Raises
    ------
    ModelPackageError
        Raised if the model cannot be used, or not for these bands, footprint settings or settings.
    ValueError
        Raised if the labels are of one kind only.
    """
    check_start(start, labelled)
    classifier = find_classifier(start).from_package(start)
    if settings is not None:
        classifier.settings = check_tunable(start, settings)
    classifier.fine_tune(labelled, validation, options)
    return classifier


def check_tunable(start: ModelPackage, settings: ModelSettings) -> ModelSettings:
    """Make sure that a model can be fine-tuned with other settings.

    Parameters
    ----------
    start
        The model.
    settings
        The settings.

    Returns
    -------
    settings
        The same.

    Raises
    ------
    ModelPackageError
        Raised if others of them differ from those of the model than may.
    """
    cls = find_classifier(start)
    trained = cls.settings_from_package(start)
    # Also what a package does not keep, such as where the members of an ensemble lie.
    names = [field.name for field in dataclasses.fields(settings) if field.name not in cls.tunable]
    if different := [name for name in names if getattr(settings, name) != getattr(trained, name)]:
        free = f", only {', '.join(cls.tunable)}," if cls.tunable else ""
        raise ModelPackageError(
            f"{', '.join(different)}: other settings than those that {start.source} was trained with; of a "
            f"{cls.name!r} model none{free} can be set when it is fine-tuned"
        )
    return settings

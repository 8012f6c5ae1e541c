# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Going on from a trained model with a few labels of other data."""

from __future__ import annotations

__all__ = ("check_start", "check_tunable", "choose_settings", "fine_tune", "settings_of_model")

from ..classifiers import BlendClassifier, FitOptions, find_classifier
from ..footprints import FootprintConfig
from ..model_package import ModelPackage, ModelPackageError
from ..model_settings import ModelSettings
from .scenes import LabelledScenes
from .settings import VARIANT_FIELDS, footprint_settings


def settings_of_model(package: ModelPackage) -> list[FootprintConfig]:
    """Make the settings of footprints that a model was trained with.

    Parameters
    ----------
    package
        The model.

    Returns
    -------
    settings
        One for each combination that it holds for; `footprint_settings` for both kinds of noise, with the
        other settings of the model, if it does not tell.

    Raises
    ------
    ModelPackageError
        Raised if it tells settings that this release does not know.
    """
    common = package.inputs.get("footprints") or {}
    variants = package.inputs.get("footprint_variants")
    settings = [FootprintConfig() for _ in variants] if variants else footprint_settings()
    for config, variant in zip(settings, variants or [{}] * len(settings), strict=True):
        try:
            config.update(**{**common, **variant})
            config.validate()
        except (AttributeError, KeyError, TypeError, ValueError) as err:
            # Errors of pex_config go on for several lines.
            text = " ".join(str(err).split("\nFor more information")[0].split())
            reason = f"no field {text}" if isinstance(err, KeyError) else text
            raise ModelPackageError(
                f"{package.source} was trained on footprints of settings that this release does not have "
                f"({reason}): upgrade lsst-meas-blendid, or start from another model"
            ) from None
    return settings


def choose_settings(package: ModelPackage, settings: FootprintConfig, name: str) -> FootprintConfig:
    """Take the settings of footprints of a model with another noise and background, if it holds for these.

    Parameters
    ----------
    package
        The model.
    settings
        Settings whose noise and background are those of an image.
    name
        The image, for messages.

    Returns
    -------
    settings
        The settings of the model.

    Raises
    ------
    ModelPackageError
        Raised if there are none.
    """
    known = settings_of_model(package)
    chosen: FootprintConfig = known[0].copy()  # type: ignore[assignment]
    for field in VARIANT_FIELDS:
        setattr(chosen, field, getattr(settings, field))
    # As 'run' will judge them.
    if not package.footprint_differences(chosen.toDict()):
        return chosen
    wanted, noise = (
        ", ".join(f"{field}={getattr(one, field)!r}" for field in VARIANT_FIELDS)
        for one in (settings, known[0])
    )
    raise ModelPackageError(
        f"{package.source} was trained on other footprints ({noise}) than those that 'run' finds in {name} "
        f"({wanted}): start from another model, or keep to its footprints with --noise {known[0].noiseSource}"
    )


def check_start(package: ModelPackage, labelled: LabelledScenes) -> None:
    """Make sure that a model can be gone on from with some footprints.

    Parameters
    ----------
    package
        The model.
    labelled
        The footprints.

    Raises
    ------
    ModelPackageError
        Raised if it is for other bands, or was trained on footprints of other settings.
    """
    for context in labelled.samples.contexts:
        if context.band is not None and not package.supports_band(context.band):
            raise ModelPackageError(
                f"{package.source} is a model for band {', '.join(package.bands)}, the labels are of band "
                f"{context.band}: start from another model, or train one from nothing"
            )
    for settings in labelled.footprints:
        if differences := package.footprint_differences(settings.toDict()):
            raise ModelPackageError(
                f"{package.source} was trained on other footprints ({'; '.join(differences)}): "
                "use its settings, or start from another model"
            )


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
    trained, wanted = cls.settings_from_package(start).to_dict(), settings.to_dict()
    if different := [name for name in wanted if wanted[name] != trained[name] and name not in cls.tunable]:
        free = f", only {', '.join(cls.tunable)}," if cls.tunable else ""
        raise ModelPackageError(
            f"{', '.join(different)}: other settings than those that {start.source} was trained with; of a "
            f"{cls.name!r} model none{free} can be set when it is fine-tuned"
        )
    return settings

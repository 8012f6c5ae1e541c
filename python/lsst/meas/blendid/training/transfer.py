# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Going on from a trained model with a few labels of other data."""

from __future__ import annotations

__all__ = ("check_start", "choose_settings", "fine_tune", "read_start", "settings_of_model")

from typing import Any

from ..calibration import fit_calibration
from ..classifiers import BlendClassifier, BlendClassifierConfig, FitOptions, split_probabilities
from ..classifiers.weighting import check_counts
from ..footprints import FootprintConfig
from ..model_package import ModelPackage, ModelPackageError
from .scenes import LabelledScenes
from .settings import VARIANT_FIELDS, footprint_settings

_FEW = 1000
"""With fewer footprints Platt's calibration with two parameters is fitted, otherwise beta's with three."""


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


def read_start(
    cls: type[BlendClassifier], config: BlendClassifierConfig, package: ModelPackage
) -> BlendClassifier:
    """Read a model that is to be gone on from.

    Parameters
    ----------
    cls
        Class of the classifier.
    config
        The config of the fit.
    package
        The model.

    Returns
    -------
    classifier
        The classifier as it was trained.

    Raises
    ------
    ModelPackageError
        Raised if the model is of another classifier, has another config (but for ``cls.start_fields``), or
        cannot be used.
    """
    if cls.start_fields and package.classifier == cls.name:
        wanted: Any = config.copy()
        trained = cls.config_from_package(package)
        for name in cls.start_fields:
            setattr(wanted, name, getattr(trained, name))
        return cls.from_package(package, wanted)
    return cls.from_package(package, config)


def fine_tune(
    cls: type[BlendClassifier],
    config: BlendClassifierConfig,
    labelled: LabelledScenes,
    options: FitOptions,
) -> BlendClassifier:
    """Fit a classifier, starting from a trained model.

    Parameters
    ----------
    cls
        Class of the classifier.
    config
        Its config, which has to be that of the model.
    labelled
        Labelled footprints, a few hundred of them say.
    options
        Options with the model as ``start``.

    Returns
    -------
    classifier
        The fine-tuned one if its class can go on from a model
        (`~lsst.meas.blendid.classifiers.BlendClassifier.can_start`).  For the others it is the old
        model with another calibration: P(blended) is mapped to what fits the labels (Platt's map, or
        beta's from 1000 footprints on), which mends a shifted or stretched probability, and
        leaves the order of the footprints as it was.

    Raises
    ------
    ModelPackageError
        Raised if the model does not fit classifier, config, bands or footprint settings.
    ValueError
        Raised if the labels are of one kind only.
    """
    assert options.start is not None
    check_start(options.start, labelled)
    classifier = read_start(cls, config, options.start)
    if cls.can_start:
        start, classifier = classifier, cls(config)
        classifier.fit(labelled.samples, labelled.counts, options=options)
        # Large numbers of galaxies are too rare among a few footprints.
        classifier.take_counts(start)
        return classifier
    counts = check_counts(labelled.samples, labelled.counts, None)
    raw, _ = split_probabilities(classifier.predict(labelled.samples))
    method = "platt" if len(counts) < _FEW else "beta"
    classifier.calibration = fit_calibration(raw, counts > 1, method)
    options.say(f"{cls.name} cannot be fitted further: its probabilities are calibrated anew ({method})")
    return classifier

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Settings of the footprints that are learned from, and those that a model holds for."""

from __future__ import annotations

__all__ = (
    "VARIANT_FIELDS",
    "check_start",
    "choose_settings",
    "clipped_footprints",
    "footprint_settings",
    "settings_of_image",
    "settings_of_model",
)


from ..footprints import FootprintConfig, adapt_to_image
from ..model_package import ModelPackage, ModelPackageError
from .scenes import LabelledScenes

VARIANT_FIELDS = ("noiseSource", "doSubtractBackground")
"""Settings that a model may hold for in several combinations; all that it was trained with are kept."""


def clipped_footprints() -> FootprintConfig:
    """Make the settings of Buchanan et al. 2022.

    Returns
    -------
    config
        Noise from the clipped variance of the image, estimated background
        subtracted.
    """
    return settings_of_image(has_variance=False)


def settings_of_image(*, has_variance: bool, has_sky: bool | None = None) -> FootprintConfig:
    """Make the settings that ``blendid run`` takes for an image.

    Parameters
    ----------
    has_variance
        Whether the image has a variance plane.
    has_sky
        Whether the sky background may still be in it; by default where it has no variance plane.

    Returns
    -------
    config
        The settings (`.footprints.adapt_to_image`).
    """
    config = FootprintConfig()
    adapt_to_image(config, has_variance=has_variance, has_sky=has_sky)
    return config


def footprint_settings(noise: str = "both") -> list[FootprintConfig]:
    """Make the settings of footprints to train with.

    Parameters
    ----------
    noise
        "clipped" for those that are used with images without variance plane (`clipped_footprints`),
        "variance" for those that are used with coadds that have one, or "both".

    Returns
    -------
    settings
        Settings to deal out to scenes in turn.  Of "both" each twice, since of the scenes of
        `.simulated.randomized_scenes` every other one is of the same kind.

    Raises
    ------
    ValueError
        Raised for anything else.
    """
    if noise not in ("clipped", "variance", "both"):
        raise ValueError(f"noise is {noise!r}; it can be 'clipped', 'variance' or 'both'")
    clipped, variance = clipped_footprints(), FootprintConfig()
    variance.noiseSource = "variance"
    variance.doSubtractBackground = False
    if noise == "both":
        return [clipped, clipped, variance, variance]
    return [clipped if noise == "clipped" else variance]


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

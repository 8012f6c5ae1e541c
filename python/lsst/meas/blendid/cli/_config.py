# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The config of the task from what the user gave on the command line."""

from __future__ import annotations

__all__ = ("apply_file", "apply_options", "find_implicit_classifiers", "make_config", "validate_config")

import os
import re
from collections.abc import Collection, Sequence

from lsst.pex.config import Config
from lsst.pipe.base.configOverrides import ConfigOverrides

from .._config_options import ConfigOptionError, apply_option, describe_field_error, split_option
from .._files import irregular_kind
from ..blend_identification import BlendIdentificationConfig
from ..classifiers import classifier_registry, find_classifier
from ..footprints import adapt_to_image
from ..localizers import find_localizer, localizer_registry
from ..model_package import ModelPackage
from ._common import CommandError, MisuseError, describe_error

_PIPELINE_FIELDS = {
    "useLegacyCoadd": "files of lsst.afw are recognised without it",
    "useButlerModelPackages": "there is no Butler to take models from (--model names one)",
    "useSkyMap": "there is no Butler to take the skymap from",
}
"""Fields that only choose what is read from a Butler, and what makes them void without one."""

_OF_CLASSIFIER = re.compile(
    r"classifiers(?:\.(?P<attribute>[\w-]+)|\[(?P<quote>['\"])(?P<key>[\w-]+)(?P=quote)\])(?:\.(?P<rest>.+))?"
)
"""Name of a field of a classifier's config."""
_OF_LOCALIZER = re.compile(r"localizer(?:\[(?P<quote>['\"])(?P<key>[\w-]+)(?P=quote)\])?\.(?P<rest>.+)")
"""Name of a field of the config of the localiser that runs, or of the named one."""


def make_config(
    *,
    files: Sequence[str] = (),
    options: Sequence[str] = (),
    classifiers: Sequence[str] = (),
    models: Sequence[str] = (),
    localizer: str | None = None,
    any_band: bool = False,
    left_out: Collection[str] = (),
    has_variance: bool = True,
    has_sky: bool | None = None,
) -> BlendIdentificationConfig:
    """Make the config of one kind of input.

    Parameters
    ----------
    files
        Override files, Python code run with ``config`` as ``pipetask`` does.
    options
        Overrides ``field=value`` as for ``pipetask``; applied last.
    classifiers
        Classifiers to run instead of the configured ones; the first one is
        the primary.
    models
        Model packages as ``NAME``, ``PATH`` or ``CLASSIFIER=NAME``; a localiser runs if it is the model of
        one.  Without ``classifiers``, those of the
        models run instead of the configured ones if one of them is not among these.
    localizer
        Localiser to run instead of the configured one; "none" for none.
    any_band
        Whether models are applied to images of any band.
    left_out
        Classifiers that do not run, of those of `find_implicit_classifiers`.
    has_variance
        Whether the images have a variance plane.  Without one, the noise is
        estimated from the pixels, as in ``config/buchanan2022.py``, unless
        files or options set otherwise.
    has_sky
        Whether the sky background may still be in them, so that it is
        subtracted unless files or options set otherwise; by default where
        they have no variance plane.

    Returns
    -------
    config
        A validated config.

    Raises
    ------
    MisuseError
        Raised if an option or a name of a classifier is not understood, or if
        a field is set that has a meaning in pipelines only.
    CommandError
        Raised if a file cannot be read or the result does not work.
    """
    config = BlendIdentificationConfig()
    adapt_to_image(config.footprints, has_variance=has_variance, has_sky=has_sky)
    for file in files:
        apply_file(config, file)
    if classifiers:
        for name in classifiers:
            if name not in classifier_registry:
                raise MisuseError(classifier_registry.describe_unknown(name))
        config.classifiers.names = list(dict.fromkeys(classifiers))
        config.primaryClassifier = classifiers[0]
    packages = []
    for source, package in map(_read_model, models):
        if package.kind == "localizer":
            _use_localizer(config, source, package)
        else:
            packages.append((source, package))
    if localizer is not None:
        _choose_localizer(config, localizer)
    wanted = list(dict.fromkeys(package.classifier for _, package in packages))
    if not classifiers and not set(wanted) <= set(config.classifiers.names):
        config.classifiers.names = wanted
        if config.primaryClassifier not in wanted:
            config.primaryClassifier = wanted[0]
    for source, package in packages:
        _use_model(config, source, package)
    if any_band:
        config.allowAnyBand = True
    apply_options(config, options)
    if left_out:
        config.classifiers.names = [name for name in config.classifiers.names if name not in left_out]
        if config.primaryClassifier in left_out:
            config.primaryClassifier = wanted[0]
    for field, reason in _PIPELINE_FIELDS.items():
        if getattr(config, field):
            raise MisuseError(f"{field} works in pipelines only, since {reason}; leave it False here")
    validate_config(config)
    if not has_variance and config.footprints.noiseSource == "variance":
        raise CommandError(
            "the config takes the noise from the variance plane, but the image has none; "
            "use --config-option footprints.noiseSource=clipped"
        )
    return config


def _choose_localizer(config: BlendIdentificationConfig, name: str) -> None:
    """Run a localiser, or none."""
    if name != "none" and name not in localizer_registry:
        raise MisuseError(f"{localizer_registry.describe_unknown(name)}, or none")
    if config.localizer.name != name:
        config.localizer.name = None if name == "none" else name


def find_implicit_classifiers(
    config: BlendIdentificationConfig, *, classifiers: Sequence[str], models: Sequence[str]
) -> tuple[str, ...]:
    """Find the classifiers of a config that run by default only, beside one that the user named.

    They must not keep the named ones from running.  The other arguments are those of `make_config`.
    """
    usual = set(BlendIdentificationConfig().classifiers.names)
    named = [package for _, package in map(_read_model, models) if package.kind == "classifier"]
    if classifiers or not named or set(config.classifiers.names) != usual:
        return ()
    return tuple(sorted(usual - {package.classifier for package in named}))


def apply_file(config: Config, file: str) -> None:
    """Apply a file of overrides, Python code that is run with ``config``, which is changed in place.

    Raises `CommandError` if the file cannot be read, or fails in any way.
    """
    if os.path.isdir(file):
        raise CommandError(f"config file {file}: is a folder; give a file")
    if kind := irregular_kind(file):
        raise CommandError(f"config file {file}: is {kind}, which may have no end; give a file")
    overrides = ConfigOverrides()
    overrides.addFileOverride(file)
    try:
        overrides.applyTo(config)
    except FileNotFoundError as err:
        raise CommandError(f"config file {file}: no such file") from err
    except SystemExit as err:  # Not an Exception, and it would end the command without a word.
        raise CommandError(f"config file {file}: ends the program (sys.exit); remove that") from err
    except Exception as err:  # The file is code and may fail in any way.
        raise CommandError(f"config file {file}: {type(err).__name__}: {describe_field_error(err)}") from err


def validate_config(config: Config) -> None:
    """See whether a config works; raises `CommandError` if not."""
    try:
        config.validate()
    except ValueError as err:
        raise CommandError(f"the config does not work: {describe_error(err)}") from err


def apply_options(config: Config, options: Sequence[str]) -> None:
    """Apply overrides ``field=value`` in place, parsed as ``pipetask`` does, which runs no code.

    Lists may be written without brackets and quotes, separated by commas.  A field of a classifier is
    ``classifiers.NAME.FIELD`` or, as in Python, ``classifiers['NAME'].FIELD``.  Raises `MisuseError` for what
    is none.
    """
    for option in options:
        try:
            owner, field = _find_owner(config, split_option(option)[0])
            apply_option(owner, option, field=field)
        except ConfigOptionError as err:
            raise MisuseError(str(err)) from err


def _find_owner(config: Config, field: str) -> tuple[Config, str]:
    """Config that a field belongs to and its name there; overrides cannot step into a registry themselves."""
    match = None if field == "localizer.name" else _OF_LOCALIZER.fullmatch(field)
    if match is not None and isinstance(config, BlendIdentificationConfig):
        name = match["key"] or config.localizer.name
        if name is None:
            raise MisuseError(f"config option {field!r}: no localizer runs; choose one with --localizer")
        if name not in localizer_registry:
            known = ", ".join(sorted(localizer_registry))
            raise MisuseError(f"config option {field!r}: there is no such localizer; known are {known}")
        return config.localizer[name], match["rest"]
    match = None if field == "classifiers.names" else _OF_CLASSIFIER.fullmatch(field)
    if match is None or not isinstance(config, BlendIdentificationConfig):
        return config, field
    name = match["attribute"] or match["key"]
    if name not in classifier_registry:
        raise MisuseError(f"config option {field!r}: {classifier_registry.describe_unknown(name)}")
    if match["rest"] is None:
        example = next(iter(config.classifiers[name]._fields))
        raise MisuseError(
            f"config option {field!r}: {field} is a group of fields; name one of them, as {field}.{example}"
        )
    return config.classifiers[name], match["rest"]


def _read_model(model: str) -> tuple[str, ModelPackage]:
    """Read ``NAME``, ``PATH`` or ``CLASSIFIER=NAME``; the name or path, and the package."""
    classifier, separator, source = model.partition("=")
    if not separator or classifier not in classifier_registry:
        classifier, source = "", model
    package = ModelPackage.read(source)
    if classifier and package.classifier != classifier:
        raise MisuseError(
            f"model {source} is one of the classifier {package.classifier!r}, not {classifier!r}"
        )
    if package.kind == "localizer":
        find_localizer(package)
    else:
        find_classifier(package)
    return source, package


def _use_localizer(config: BlendIdentificationConfig, source: str, package: ModelPackage) -> None:
    """Run the localiser that a model package is of."""
    config.localizer.name = package.classifier
    config.localizer[package.classifier].modelPackage = source


def _use_model(config: BlendIdentificationConfig, source: str, package: ModelPackage) -> None:
    """Use a model package."""
    classifier = package.classifier
    if classifier not in config.classifiers.names:
        raise MisuseError(
            f"model {source} is for the classifier {classifier!r}, which does not run; "
            f"add --classifier {classifier}"
        )
    config.classifiers[classifier].modelPackage = source

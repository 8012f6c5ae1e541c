# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Which model a classifier or the localiser uses in which band."""

from __future__ import annotations

__all__ = ("BandModels",)

from collections.abc import Iterator, Mapping
from typing import Any

from .blend_identification_config import BlendIdentificationConfig
from .classifiers import BlendClassifier, classifier_registry
from .errors import NoModelError
from .localizers import BlendLocalizer, localizer_registry
from .model_package import ModelPackage, ModelPackageError
from .trained_plugin import TrainedPlugin


class _Choice[Plugin: TrainedPlugin]:
    """A classifier or localiser with its model of each band.

    ``usual`` is for bands that have no entry of their own in ``by_band``, where `None` leaves it out.
    """

    def __init__(
        self,
        cls: type[Plugin],
        config: Any,
        field: str,
        allow_any_band: bool,
        *,
        package: ModelPackage | None,
        from_butler: bool,
    ) -> None:
        self._allow_any_band = allow_any_band
        self.usual: Plugin | None = None
        if package is not None or not cls.needs_package or (not from_butler and config.modelPackage):
            self.usual = cls(config, package=package)
        self.by_band: dict[str, Plugin | None] = {
            band: self._read(cls, config, f"{field}.modelPackages['{band}']", band, source)
            if source
            else None
            for band, source in config.modelPackages.items()
            if not (from_butler and source)
        }

    def _read(self, cls: type[Plugin], config: Any, field: str, band: str, source: str) -> Plugin:
        """Make what one entry of ``modelPackages`` names."""
        try:
            package = ModelPackage.read(source)
            if (package.kind, package.classifier) != (cls.kind, cls.name):
                raise ModelPackageError(
                    f"{package.source} is a model of {package.kind} {package.classifier!r}"
                )
            plugin = cls(config, package=package)
        except ModelPackageError as err:
            raise ModelPackageError(f"{field}: {err}") from None
        if not (self._allow_any_band or plugin.supports_band(band)):
            raise ModelPackageError(
                f"{field}: {package.name} is for band {', '.join(package.bands)}; name one for {band}, or "
                "set allowAnyBand to use it there all the same"
            )
        return plugin

    def __iter__(self) -> Iterator[Plugin]:
        """All that there is, one for each model."""
        yield from (plugin for plugin in (self.usual, *self.by_band.values()) if plugin is not None)

    def find(self, band: str | None) -> Plugin | None:
        """Find what is used in a band; `None` if it is left out there, or has no model."""
        if band in self.by_band:
            return self.by_band[band]
        if self.usual is None or band is None or self._allow_any_band or self.usual.supports_band(band):
            return self.usual
        return None


class BandModels:
    """The classifiers and the localiser of a task, each with its model of each band.

    Parameters
    ----------
    config
        Config of the task.
    packages
        Models by classifier name, instead of those that the config names.
    localizer_package
        Model of the localiser, with ``packages``.

    Raises
    ------
    ModelPackageError
        Raised if a model cannot be read or used, or is named for a band that it is not for.
    """

    def __init__(
        self,
        config: BlendIdentificationConfig,
        packages: Mapping[str, ModelPackage] | None = None,
        localizer_package: ModelPackage | None = None,
    ) -> None:
        self._config = config
        self._from_butler = packages is not None
        packages = {} if packages is None else packages
        # The registry keeps names as a set; the columns follow their sorted order.
        self._classifiers: dict[str, _Choice[BlendClassifier]] = {
            name: _Choice(
                classifier_registry[name],
                config.classifiers[name],
                f"classifiers['{name}']",
                config.allowAnyBand,
                package=packages.get(name),
                from_butler=self._from_butler,
            )
            for name in sorted(config.classifiers.names)
        }
        self._localizer: _Choice[BlendLocalizer] | None = None
        if (localizer := config.localizer.name) is not None:
            self._localizer = _Choice(
                localizer_registry[localizer],
                config.localizer.active,
                f"localizer['{localizer}']",
                config.allowAnyBand,
                package=localizer_package,
                from_butler=self._from_butler,
            )

    def __iter__(self) -> Iterator[tuple[str, TrainedPlugin]]:
        """All classifiers and localisers with what they are called, one for each model."""
        for name, choice in self._classifiers.items():
            yield from ((f"classifier '{name}'", classifier) for classifier in choice)
        if self._localizer is not None:
            yield from ((f"localizer '{localizer.name}'", localizer) for localizer in self._localizer)

    def has_model(self, name: str, band: str | None) -> bool:
        """Tell whether a classifier can be used.

        Parameters
        ----------
        name
            Name of the classifier.
        band
            The band, if known.

        Returns
        -------
        usable
            Whether it has a model, or needs none.
        """
        return self._classifiers[name].find(band) is not None

    def select_localizer(self, band: str | None) -> BlendLocalizer | None:
        """Choose the localiser that runs in a band.

        Parameters
        ----------
        band
            The band; if it is not known, it is assumed to be that of the model.

        Returns
        -------
        localizer
            The localiser; `None` if the config has none, leaves it out in the band, or names no model for it.
        """
        return None if self._localizer is None else self._localizer.find(band)

    def select(self, band: str | None) -> dict[str, BlendClassifier]:
        """Choose the classifiers that run in a band.

        Parameters
        ----------
        band
            The band; if it is not known, it is assumed to be that of the models.

        Returns
        -------
        classifiers
            Classifiers by name, without those that the config leaves out in this band.

        Raises
        ------
        NoModelError
            Raised if one of the others has no model for the band, or the primary classifier is left out.
        """
        chosen: dict[str, BlendClassifier] = {}
        for name, choice in self._classifiers.items():
            classifier = choice.find(band)
            if classifier is not None:
                chosen[name] = classifier
            elif band not in choice.by_band:
                raise self._missing(name, band)
        primary = self._config.primaryClassifier
        if primary not in chosen:
            raise NoModelError(
                f"band {band} is left out, as classifiers['{primary}'].modelPackages['{band}'] is empty",
                remedy="name a model there to have it",
            )
        return chosen

    def _missing(self, name: str, band: str | None) -> NoModelError:
        """Say that a classifier has no model."""
        usual = self._classifiers[name].usual
        package = None if usual is None else usual.package
        known = "" if package is None else f" ({package.name} is for {', '.join(package.bands)})"
        field = f"classifiers['{name}'].modelPackages"
        if self._from_butler:
            remedy = "add it to the dataset blend_model_packages of that band"
        elif band is None:
            remedy = f"set classifiers['{name}'].modelPackage"
        else:
            remedy = f"name one in {field}['{band}']"
        if band is not None:
            remedy += f", leave the classifier out there with {field}['{band}'] = ''"
            remedy += ", or set allowAnyBand" if package is not None else ""
        where = "an image of unknown band" if band is None else f"band {band}"
        return NoModelError(f"classifier '{name}' has no model for {where}{known}", remedy=remedy)

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Which model a classifier uses in which band."""

from __future__ import annotations

__all__ = ("BandModels",)

from collections.abc import Iterator, Mapping

from .blend_identification_config import BlendIdentificationConfig
from .classifiers import BlendClassifier, classifier_registry
from .errors import NoModelError
from .model_package import ModelPackage, ModelPackageError


class BandModels:
    """The classifiers of a task, each with its model of each band.

    Parameters
    ----------
    config
        Config of the task.
    packages
        Models by classifier name, instead of those that the config names.

    Raises
    ------
    ModelPackageError
        Raised if a model cannot be read, does not fit the config, or is named for a band that it is not for.
    """

    def __init__(
        self, config: BlendIdentificationConfig, packages: Mapping[str, ModelPackage] | None = None
    ) -> None:
        self._config = config
        self._from_butler = packages is not None
        # The registry keeps names as a set; the columns follow their sorted order.
        self._names = sorted(config.classifiers.names)
        self._usual: dict[str, BlendClassifier] = {}
        """By classifier, for bands that have no entry of their own."""
        self._by_band: dict[str, dict[str, BlendClassifier | None]] = {}
        """By classifier and band; `None` where the classifier is left out."""
        for name in self._names:
            cls, own = classifier_registry[name], config.classifiers[name]
            package = None if packages is None else packages.get(name)
            if package is not None or not cls.needs_package or (packages is None and own.modelPackage):
                self._usual[name] = cls(own, package=package)
            self._by_band[name] = {
                band: self._read(name, band, source) if source else None
                for band, source in own.modelPackages.items()
                if packages is None or not source
            }

    def _read(self, name: str, band: str, source: str) -> BlendClassifier:
        """Make the classifier of one entry of ``modelPackages``."""
        cls, field = classifier_registry[name], f"classifiers['{name}'].modelPackages['{band}']"
        try:
            package = ModelPackage.read(source)
            if package.classifier != name:
                raise ModelPackageError(f"{package.source} is a model of classifier {package.classifier!r}")
            classifier = cls(cls.config_for_package(package, self._config.classifiers[name]), package=package)
        except ModelPackageError as err:
            raise ModelPackageError(f"{field}: {err}") from None
        if not (self._config.allowAnyBand or classifier.supports_band(band)):
            raise ModelPackageError(
                f"{field}: {package.name} is for band {', '.join(package.bands)}; name one for {band}, or "
                "set allowAnyBand to use it there all the same"
            )
        return classifier

    def __iter__(self) -> Iterator[tuple[str, BlendClassifier]]:
        """All classifiers with their names, one for each model."""
        for name in self._names:
            if name in self._usual:
                yield name, self._usual[name]
            for classifier in self._by_band[name].values():
                if classifier is not None:
                    yield name, classifier

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
        if band in self._by_band[name]:
            return self._by_band[name][band] is not None
        usual = self._usual.get(name)
        return usual is not None and (band is None or self._config.allowAnyBand or usual.supports_band(band))

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
        for name in self._names:
            by_band = self._by_band[name]
            if band in by_band:
                classifier = by_band[band]
                if classifier is not None:
                    chosen[name] = classifier
            elif self.has_model(name, band):
                chosen[name] = self._usual[name]
            else:
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
        usual = self._usual.get(name)
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

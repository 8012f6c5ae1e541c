# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Positions from the map of a centre network.

The map of a model of the classifier ``centers`` has candidates for the centres of galaxies; what is detected
there, around them and in the image says how probable each is, and how well its position is known.
"""

from __future__ import annotations

__all__ = ("CentersLocalizer", "CentersLocalizerConfig", "CentersLocalizerSettings")

from dataclasses import dataclass
from typing import Any, ClassVar

from lsst.pex.config import Field, registerConfigurable

from ..centers import Candidates, MapNetwork
from ..classifiers import CentersClassifier
from ..model_package import ModelPackage, ModelPackageError
from ..model_settings import ModelSettings, setting
from ..samples import FootprintSamples
from .base import BlendLocalizerConfig, localizer_registry
from .object_localizer import ObjectLocalizer, ObjectLocalizerSettings


class CentersLocalizerConfig(BlendLocalizerConfig):
    """Config of `CentersLocalizer`."""

    mapPackage: Field[str] = Field(
        doc="Model of the classifier centers whose map is used: name of a shipped one, path or URI.  It must "
        "be the one that the localiser was trained with.",
        dtype=str,
        default="centers-i-1",
        optional=False,
    )

    def setDefaults(self) -> None:
        super().setDefaults()
        self.modelPackage = "centers-localizer-i-1"


@dataclass(frozen=True, kw_only=True)
class CentersLocalizerSettings(ObjectLocalizerSettings):
    """Settings of `CentersLocalizer`."""

    views: int = setting(
        1,
        "Turned and mirrored images that the map is the mean of (test-time augmentation).",
        choices=(1, 2, 4, 8),
    )


@registerConfigurable("centers", localizer_registry)
class CentersLocalizer(ObjectLocalizer):
    """Positions from a map of the centres of galaxies.

    Parameters
    ----------
    *args, **kwargs
        As of `BlendLocalizer`.

    Raises
    ------
    ModelPackageError
        Raised, beside what `BlendLocalizer` raises it for, if the model of the map cannot be used or is not
        the one that the localiser was trained with.
    """

    ConfigClass: ClassVar[type[BlendLocalizerConfig]] = CentersLocalizerConfig
    SettingsClass: ClassVar[type[ModelSettings]] = CentersLocalizerSettings
    name: ClassVar[str] = "centers"

    _network: MapNetwork | None = None

    @property
    def network(self) -> MapNetwork:
        """The network that makes the map; its model is read when it is first asked for."""
        if self._network is None:
            package = ModelPackage.read(self.config.mapPackage)
            if (package.kind, package.classifier) != ("classifier", CentersClassifier.name):
                raise ModelPackageError(
                    f"mapPackage {self.config.mapPackage!r} is a model of {package.kind} "
                    f"{package.classifier!r}; name one of the classifier 'centers'"
                )
            self._network = CentersClassifier.from_package(package).network
        return self._network

    def check_fit(self, *, goes_on: bool = False) -> None:
        assert self.network is not None

    def _key(self) -> tuple[object, ...]:
        return (*super()._key(), self.network.digest, self.settings.views)

    def find_candidates(self, samples: FootprintSamples) -> tuple[Candidates | None, ...]:
        readings = self.network.read(samples, n_views=self.settings.views)
        return tuple(reading.candidates for reading in readings)

    def _get_metadata(self) -> dict[str, Any]:
        return super()._get_metadata() | {"map": self.network.digest}

    def _set_metadata(self, metadata: dict[str, Any]) -> None:
        super()._set_metadata(metadata)
        if metadata.get("map") != self.network.digest:
            raise ModelPackageError(
                f"model {metadata['name']!r} was trained with the map of another model than "
                f"{self.config.mapPackage!r}; name that one in mapPackage"
            )

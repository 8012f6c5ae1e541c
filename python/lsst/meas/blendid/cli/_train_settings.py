# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What ``blendid train`` does with a scene, such that other processes can get it."""

from __future__ import annotations

__all__ = ("Preparation", "SettingsOfRun", "apply_overrides")

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..footprints import FootprintConfig
    from ..model_package import ModelPackage
    from ..model_settings import ModelSettings
    from ..samples import FootprintSamples
    from ..trained_plugin import TrainedPlugin
    from ..training import Scene


def apply_overrides(config: Any, options: Sequence[str]) -> None:
    """Apply options to a config and see whether it works.

    Parameters
    ----------
    config
        Changed in place.
    options
        Overrides ``field=value``.

    Raises
    ------
    CommandError
        Raised if the result does not work.
    """
    from ._config import apply_options, validate_config

    apply_options(config, options)
    validate_config(config)


@dataclass(frozen=True)
class SettingsOfRun:
    """Gives the settings of footprints of a scene: those that ``blendid run`` takes for its image.

    Parameters
    ----------
    options
        Overrides of single fields.
    start
        Model that is gone on from, whose other settings are taken.
    """

    options: tuple[str, ...]
    start: ModelPackage | None

    def __call__(self, scene: Scene) -> FootprintConfig:
        """Give the settings of a scene."""
        return self.choose(scene.name, has_variance=scene.has_variance, has_sky=scene.has_sky)

    def choose(self, name: str, *, has_variance: bool, has_sky: bool | None) -> FootprintConfig:
        """Give the settings of an image.

        Parameters
        ----------
        name
            Its name, for messages.
        has_variance
            Whether it has a variance plane.
        has_sky
            Whether the sky background may still be in it.

        Returns
        -------
        settings
            The settings.
        """
        from ..training import choose_settings, settings_of_image

        settings = settings_of_image(has_variance=has_variance, has_sky=has_sky)
        if self.start is not None:
            settings = choose_settings(self.start, settings, name)
        apply_overrides(settings, self.options)
        return settings

    def check(self) -> None:
        """Refuse bad options before any coadd is read."""
        from ..training import settings_of_image

        apply_overrides(settings_of_image(has_variance=True), self.options)


class Preparation:
    """Computes what is needed of the pixels of a scene; another process makes the plugin anew.

    Parameters
    ----------
    plugin
        The classifier or localiser before its fit.
    """

    def __init__(self, plugin: TrainedPlugin) -> None:
        self._plugin = plugin

    def __call__(self, samples: FootprintSamples) -> bool:
        """Prepare the footprints of a scene."""
        return self._plugin.prepare(samples)

    def __reduce__(self) -> tuple[Any, ...]:
        plugin = self._plugin
        return _make_preparation, (plugin.kind, plugin.name, plugin.config, plugin.settings)


def _make_preparation(kind: str, name: str, config: Any, settings: ModelSettings) -> Preparation:
    from ..classifiers import classifier_registry
    from ..localizers import localizer_registry

    cls: Any = (classifier_registry if kind == "classifier" else localizer_registry)[name]
    return Preparation(cls(config, settings=settings))

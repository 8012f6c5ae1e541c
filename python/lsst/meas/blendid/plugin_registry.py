# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Registries that other packages add plugins to."""

from __future__ import annotations

__all__ = ("PluginRegistry",)

import importlib.metadata
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from lsst.pex.config import Config, Registry

from ._suggest import did_you_mean
from .model_package import ModelPackage, ModelPackageError


class PluginRegistry[Plugin](Registry):
    """Classes by name: those of this package, and those behind entry points of other packages.

    Parameters
    ----------
    what
        What they are, for messages.
    base
        Class that all of them inherit from.
    config
        Class that all of their configs inherit from.
    group
        Group of the entry points; the name of one is that of its plugin, its object the class.

    Notes
    -----
    Plugins are loaded when somebody first looks into the registry, not when its module is imported: a
    plugin imports that module itself.
    """

    def __init__(self, what: str, base: type[Plugin], config: type[Config], group: str) -> None:
        super().__init__(config)
        self.what = what
        self.group = group
        self._base = base
        self._looked_for_plugins = False

    def _load_plugins(self) -> None:
        if not self._looked_for_plugins:
            self._looked_for_plugins = True
            self.register_entry_points()

    def __getitem__(self, key: str) -> type[Plugin]:
        if key not in self._dict:
            self._load_plugins()
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        if key not in self._dict:
            self._load_plugins()
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        self._load_plugins()
        return super().__iter__()

    def __len__(self) -> int:
        self._load_plugins()
        return super().__len__()

    def describe_unknown(self, name: str) -> str:
        """Say that there is no plugin of a name, and what somebody may have meant.

        Parameters
        ----------
        name
            The unknown name.

        Returns
        -------
        text
            The beginning of a message, without a full stop.
        """
        return f"unknown {self.what} {name!r}{did_you_mean(name, self)}; known are {', '.join(sorted(self))}"

    def find(self, package: ModelPackage) -> type[Plugin]:
        """Find the class that a model is one of.

        Parameters
        ----------
        package
            The trained model.

        Returns
        -------
        plugin
            Its class.

        Raises
        ------
        ModelPackageError
            Raised if it is a model of something else, or its class is not installed.
        """
        name = package.classifier
        if package.kind != self.what:
            raise ModelPackageError(
                f"model {package.source} is one of the {package.kind} {name!r}; one of a {self.what} is "
                "needed"
            )
        if name not in self:
            raise ModelPackageError(
                f"model {package.source} needs the {self.what} {name!r}, which is not there"
                f"{did_you_mean(name, self)}: install the package that it comes with"
            )
        return self[name]

    def register_entry_points(
        self, entry_points: Iterable[importlib.metadata.EntryPoint] | None = None
    ) -> tuple[str, ...]:
        """Register the plugins of other packages.

        One that cannot be loaded is left out with a warning that names it, so that
        a broken plugin breaks only those who ask for it.

        Parameters
        ----------
        entry_points
            Entry points; those of the registry's group if `None`.

        Returns
        -------
        names
            Names that were added.
        """
        if entry_points is None:
            entry_points = importlib.metadata.entry_points(group=self.group)
        added = []
        for entry_point in sorted(entry_points, key=lambda e: (e.name, e.value)):
            try:
                plugin: Any = entry_point.load()
                if not (isinstance(plugin, type) and issubclass(plugin, self._base)):
                    raise TypeError(f"it is not a subclass of {self._base.__name__}")
                if plugin.name != entry_point.name:  # type: ignore[attr-defined]
                    raise ValueError(f"its class calls itself {plugin.name!r}")  # type: ignore[attr-defined]
                if self.get(entry_point.name) is plugin:
                    continue
                self.register(entry_point.name, plugin)
            except (Exception, SystemExit) as err:
                # A module may end the program when it is imported, which is none of its business here.
                what = "it ends the program (sys.exit)" if isinstance(err, SystemExit) else str(err)
                warnings.warn(
                    f"blend {self.what} plugin {entry_point.name!r} ({entry_point.value}) was left out: "
                    f"{type(err).__name__}: {what}",
                    RuntimeWarning,
                    stacklevel=2,
                )
            else:
                added.append(entry_point.name)
        return tuple(added)

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The registry of classifiers, and the plugins that other packages add to it."""

from __future__ import annotations

__all__ = ("ENTRY_POINT_GROUP", "ClassifierRegistry", "classifier_registry", "register_entry_points")

import importlib.metadata
import warnings
from collections.abc import Iterable, Iterator

from lsst.pex.config import Registry

from .base import BlendClassifier, BlendClassifierConfig

ENTRY_POINT_GROUP = "lsst.meas.blendid.classifiers"
"""Entry-point group of classifiers; the name of an entry point is that of the
classifier, its object a subclass of `BlendClassifier`."""


class ClassifierRegistry(Registry):
    """Classifiers that tell whether a footprint is blended, by name.

    Plugins are loaded when somebody first looks into the registry, not when
    this module is imported: a plugin imports this module itself.
    """

    def __init__(self) -> None:
        super().__init__(BlendClassifierConfig)
        self._looked_for_plugins = False

    def _load_plugins(self) -> None:
        if not self._looked_for_plugins:
            self._looked_for_plugins = True
            register_entry_points()

    def __getitem__(self, key: str) -> type[BlendClassifier]:
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


classifier_registry = ClassifierRegistry()


def register_entry_points(
    entry_points: Iterable[importlib.metadata.EntryPoint] | None = None,
) -> tuple[str, ...]:
    """Register the classifiers of other packages.

    One that cannot be loaded is left out with a warning that names it, so that
    a broken plugin breaks only those who ask for it.

    Parameters
    ----------
    entry_points
        Entry points; those of `ENTRY_POINT_GROUP` if `None`.

    Returns
    -------
    names
        Names that were added.
    """
    if entry_points is None:
        entry_points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    added = []
    for entry_point in sorted(entry_points, key=lambda e: (e.name, e.value)):
        try:
            classifier = entry_point.load()
            if not (isinstance(classifier, type) and issubclass(classifier, BlendClassifier)):
                raise TypeError("it is not a subclass of BlendClassifier")
            if classifier.name != entry_point.name:
                raise ValueError(f"its class calls itself {classifier.name!r}")
            if classifier_registry.get(entry_point.name) is classifier:
                continue
            classifier_registry.register(entry_point.name, classifier)
        except (Exception, SystemExit) as err:
            # A module may end the program when it is imported, which is none of its business here.
            what = "it ends the program (sys.exit)" if isinstance(err, SystemExit) else str(err)
            warnings.warn(
                f"blend classifier plugin {entry_point.name!r} ({entry_point.value}) was left out: "
                f"{type(err).__name__}: {what}",
                RuntimeWarning,
                stacklevel=2,
            )
        else:
            added.append(entry_point.name)
    return tuple(added)

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What classifiers and localisers share: a config, a trained model and the range that it holds for."""

from __future__ import annotations

__all__ = ("TrainedPlugin", "TrainedPluginConfig", "UnknownColumnError")

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lsst.pex.config import Config, DictField, Field

from ._arrays import check_array
from ._package_format import shorten
from ._suggest import did_you_mean
from .model_package import ModelPackage, ModelPackageError, RangeViolation, point_source_depth
from .model_settings import ModelSettings, SettingsError
from .samples import FootprintSamples, SceneContext

if TYPE_CHECKING:
    from .footprints import DetectionResult


class UnknownColumnError(ValueError):
    """A model looks at a column that this release does not have: a newer one made it."""


class TrainedPluginConfig(Config):
    """Config of everything that has models."""

    modelPackage: Field[str] = Field(
        doc="Trained model: the name of one that is shipped, a path, or a URI; empty for none.",
        dtype=str,
        default="",
        optional=False,
    )
    modelPackages: DictField[str, str] = DictField(
        doc="Models of bands that another one than modelPackage is for, by name of the band. An empty "
        "one leaves the classifier out in that band.",
        keytype=str,
        itemtype=str,
        default={},
    )


class TrainedPlugin:
    """Base class of what is trained on footprints and runs in the task.

    Parameters
    ----------
    config
        An instance of ``ConfigClass``: what can be chosen when it runs; the default one if `None`.
    settings
        An instance of ``SettingsClass``: what is fixed when it is trained.  With them there is no model, and
        a fit is to follow; a model brings its own.
    package
        The trained model; if `None`, and there are no settings, the one that ``config.modelPackage``
        names, and none if that is empty.

    Raises
    ------
    ModelPackageError
        Raised if the package cannot be read, is one of another plugin, or was
        trained with settings that there are not, or on other inputs.
    ValueError
        Raised if both settings and a package are given.

    Notes
    -----
    A subclass has a ``name``, and if need be a ``ConfigClass`` and a ``SettingsClass``.  What it learns are
    arrays: `_shapes` names them and gives their shapes, a fit puts them into ``_state``, and all that
    uses them gets them from `_learned`; with that it is written into packages and read again.
    """

    kind: ClassVar[str] = "plugin"
    """What it is, in packages and messages."""
    ConfigClass: ClassVar[type[TrainedPluginConfig]] = TrainedPluginConfig
    SettingsClass: ClassVar[type[ModelSettings]] = ModelSettings
    name: ClassVar[str] = ""
    needs_package: ClassVar[bool] = True
    """Whether it can predict only with a trained model."""
    needs_band: ClassVar[bool] = True
    """Whether a model holds only for the bands that it was trained in."""
    positive: ClassVar[tuple[str, ...]] = ()
    """Learned arrays that have positive values only."""
    inputs_version: ClassVar[int] = 1
    """Version of what it computes from footprints.  A class counts it up when
    the same settings give other inputs; older models are then refused."""
    known_columns: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Columns that it computes whatever its settings, in groups: a new model looks at all of them."""

    _state: dict[str, np.ndarray] | None = None
    """Learned arrays by name; `None` before a fit."""

    def __init__(
        self,
        config: TrainedPluginConfig | None = None,
        *,
        settings: ModelSettings | None = None,
        package: ModelPackage | None = None,
    ) -> None:
        self.config: Any = self.ConfigClass() if config is None else config
        if settings is not None and package is not None:
            raise ValueError("a model has the settings that it was trained with; give no others beside it")
        if package is None and settings is None and self.config.modelPackage:
            package = ModelPackage.read(self.config.modelPackage)
        self.package = package
        self.columns: dict[str, tuple[str, ...]] = dict(self.known_columns)
        """Those of `known_columns` that the model looks at, in its order: a package names them, so that a
        release may have more."""
        self.settings: Any = self.SettingsClass() if settings is None else settings
        self._prior: dict[str, Any] = {}
        self.history: dict[str, list[float]] = {}
        """Curves of the last fit by name, such as the loss of each epoch."""
        if package is not None:
            self._load(package)

    def _check_package(self, package: ModelPackage) -> None:
        """Refuse the model of another plugin, or of other inputs."""
        if (package.kind, package.classifier) != (self.kind, self.name):
            wanted = repr(self.name) if package.kind == self.kind else f"the {self.kind} {self.name!r}"
            raise ModelPackageError(
                f"{package.source} is a model of {package.kind} {package.classifier!r}, not of {wanted}; "
                f"choose that {package.kind} or another model"
            )
        version = package.inputs.get("version", 1)
        if version != self.inputs_version:
            raise ModelPackageError(
                f"{package.source} was trained on version {version} of the inputs of {self.name!r}, "
                f"this release has version {self.inputs_version}: train it anew or use an older release"
            )

    def _load(self, package: ModelPackage) -> None:
        """Take what a package holds."""
        self._check_package(package)
        self.settings = self.settings_from_package(package)
        self._prior = dict(package.metadata["prior"])
        with self._reading(package):
            self.columns = self._choose_columns(package.metadata.get("columns"))
            self._set_metadata(package.metadata)
            self._set_state(package.arrays)

    @contextmanager
    def _reading(self, package: ModelPackage) -> Iterator[None]:
        """What cannot be taken out of a package becomes an error that names it and the remedy."""
        try:
            yield
        except ModelPackageError:
            # Of another model that this one needs, with its own remedy.
            raise
        except UnknownColumnError as err:
            raise ModelPackageError(
                f"{package.source}: {err}. Upgrade lsst-meas-blendid or train it anew"
            ) from None
        except KeyError as err:
            raise ModelPackageError(f"{package.source} lacks array {err}; train it anew") from None
        except ValueError as err:
            raise ModelPackageError(f"{package.source} has unusable arrays ({err}); train it anew") from None

    @contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        """What fails within leaves everything as it was, calibration and learned arrays included."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    def _choose_columns(self, named: object) -> dict[str, tuple[str, ...]]:
        """Columns that a package names.  One made before packages did looks at all that there were then."""
        if named is None:
            return dict(self.known_columns)
        if not isinstance(named, dict) or set(named) != set(self.known_columns):
            raise ValueError(f"its columns are not groups {', '.join(self.known_columns)}")
        for group, names in named.items():
            if not isinstance(names, list) or len(set(map(str, names))) != len(names):
                raise ValueError(f"its columns of {group} are not a list of different names")
            if unknown := [str(name) for name in names if name not in self.known_columns[group]]:
                near = did_you_mean(unknown[0], self.known_columns[group])
                raise UnknownColumnError(f"this release has no column {shorten(unknown[0])} of {group}{near}")
        return {group: tuple(named[group]) for group in self.known_columns}

    @classmethod
    def settings_from_package(cls, package: ModelPackage) -> Any:
        """Make the settings that a model was trained with.

        Parameters
        ----------
        package
            The trained model.

        Returns
        -------
        settings
            An instance of ``SettingsClass``.

        Raises
        ------
        ModelPackageError
            Raised if the package has settings that this release does not know.
        """
        try:
            if package.settings is not None:
                return cls.SettingsClass.from_dict(package.settings)
            return cls.SettingsClass.from_config(package.metadata.get("config", {}))
        except SettingsError as err:
            raise ModelPackageError(
                f"{package.source} has settings that {cls.__name__} does not: {err}. Upgrade "
                "lsst-meas-blendid or the plugin that it comes from, or train it anew"
            ) from None

    def check_fit(self, *, goes_on: bool = False) -> None:
        """Make sure that ``fit`` will have all that it needs beside data, before anybody makes these.

        Parameters
        ----------
        goes_on
            Whether it will be fine-tuned, and not fitted.

        Raises
        ------
        ImportError
            Raised if a library that it is fitted with is not installed.
        ModelPackageError
            Raised if a model that it looks at cannot be used.
        ValueError
            Raised if the settings lack something that a fit needs.
        """

    def prepare(self, samples: FootprintSamples) -> bool:
        """Compute, and keep in the samples, all that is needed of pixels.

        Parameters
        ----------
        samples
            Footprints of an image.

        Returns
        -------
        prepared
            Whether the images may be forgotten now.  Here they may not.
        """
        return False

    def supports_band(self, band: str) -> bool:
        """Tell whether the model was made for a band.

        Parameters
        ----------
        band
            Name of the band.

        Returns
        -------
        supported
            `True` also without a model, or for a classifier that needs no band.
        """
        return not self.needs_band or self.package is None or self.package.supports_band(band)

    def find_violations(self, result: DetectionResult, context: SceneContext) -> tuple[RangeViolation, ...]:
        """Find how an image is unlike those that the model was trained on.

        Parameters
        ----------
        result
            The image with its footprints.
        context
            What is known beside.

        Returns
        -------
        violations
            Quantities that are outside the range of the model; none without a model.
        """
        if self.package is None:
            return ()
        depth = None
        if context.zero_point is not None:
            depth = point_source_depth(result.noise.sigma, result.psf.image, context.zero_point)
        return self.package.find_violations(psf_sigma=result.psf.sigma, depth=depth)

    def find_flags(self, samples: FootprintSamples) -> dict[str, np.ndarray]:
        """Find what to beware of.

        Parameters
        ----------
        samples
            The n footprints.

        Returns
        -------
        flags : `dict` [`str`, `numpy.ndarray`]
            Bool arrays of shape (n,) by flag name (`.flags.FLAGS`, without
            prefix).  Here ``outside_model_range`` and ``other_band``; subclasses add theirs.
        """
        images = list(zip(samples.results, samples.contexts, strict=True))
        outside = np.array([bool(self.find_violations(*image)) for image in images], dtype=bool)
        other = np.array(
            [c.band is not None and not self.supports_band(c.band) for _, c in images], dtype=bool
        )
        return {
            "outside_model_range": outside[samples.scene_index],
            "other_band": other[samples.scene_index],
        }

    def _get_metadata(self) -> dict[str, Any]:
        """Facts that a package takes along beside the arrays, JSON-compatible."""
        return {}

    def _set_metadata(self, metadata: dict[str, Any]) -> None:
        """Take them; `ValueError` means a damaged package."""

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays that are learned, by name, as the settings have them."""
        return {}

    def _get_state(self) -> dict[str, np.ndarray]:
        """Arrays that were learned, by name."""
        return dict(self._learned())

    def _set_state(self, arrays: dict[str, np.ndarray]) -> None:
        """Take arrays that were learned; `KeyError` and `ValueError` mean a damaged package."""
        shapes = self._shapes()
        state = {name: arrays[name] for name in shapes}
        for name, shape in shapes.items():
            check_array(name, state[name], shape, positive=name in self.positive)
        self._state = state

    def to_package(
        self,
        name: str = "unnamed",
        *,
        inputs: dict[str, Any] | None = None,
        training: dict[str, Any] | None = None,
        validation: dict[str, Any] | None = None,
        versions: dict[str, str] | None = None,
    ) -> ModelPackage:
        """Put what was learned into a package.

        Parameters
        ----------
        name
            Name of the model.
        inputs, training, validation, versions
            Metadata, see `.model_package.ModelPackage`; without ``inputs`` the
            model holds for any band, PSF and depth.

        Returns
        -------
        package
            The package.
        """
        metadata = {
            "name": name,
            # What is not named is a classifier: there was nothing else when the format was made.
            **({} if self.kind == "classifier" else {"kind": self.kind}),
            "classifier": self.name,
            "settings": self.settings.to_dict(),
            "inputs": {"bands": [], "footprints": {}, "psf_sigma": None, "depth": None}
            | (inputs or {})
            | {"version": self.inputs_version},
            **(
                {"columns": {group: list(names) for group, names in self.columns.items()}}
                if self.columns
                else {}
            ),
            "prior": self._prior,
            **self._get_metadata(),
            "training": training or {},
            "validation": validation or {},
            "versions": versions or {},
        }
        return ModelPackage(self.name, metadata, self._get_state())

    @classmethod
    def from_package(cls, package: ModelPackage, config: TrainedPluginConfig | None = None) -> Self:
        """Make one from a package.

        Parameters
        ----------
        package
            The trained model.
        config
            What is chosen beside it; the default if `None`.

        Returns
        -------
        plugin
            The classifier or localiser.

        Raises
        ------
        ModelPackageError
            Raised if the package is one of another plugin, or cannot be used.
        """
        return cls(config, package=package)

    def _learned(self) -> dict[str, np.ndarray]:
        """What was learned; `RuntimeError` without a model."""
        if self._state is None:
            raise RuntimeError(
                f"{self.kind} {self.name!r} has no model: set config.modelPackage, or fit it first"
            )
        return self._state

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What a classifier is.

A classifier turns footprints into probabilities of being blended.  Packages
can add their own: a subclass of `BlendClassifier` behind an entry point of the
group ``lsst.meas.blendid.classifiers``.
"""

from __future__ import annotations

__all__ = (
    "N_CLASSES",
    "BlendClassifier",
    "BlendClassifierConfig",
    "split_probabilities",
)

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lsst.pex.config import Config, DictField, Field, RangeField

from .._package_format import shorten
from ..calibration import (
    Calibration,
    calibration_from_dict,
    fit_calibration,
    move_prior,
    replace_blended,
)
from ..labels import N_CLASSES
from ..model_package import ModelPackage, ModelPackageError, RangeViolation, point_source_depth
from ..samples import FootprintSamples, SceneContext
from .fit_options import FitOptions

if TYPE_CHECKING:
    from ..footprints import DetectionResult

_MOST_LISTED = 6
"""Settings that differ are named, at most so many."""


class BlendClassifierConfig(Config):
    """Config that all classifiers have."""

    modelPackage: Field[str] = Field(
        doc="Trained model: the name of one that is shipped, a path, or a URI; empty for none.",
        dtype=str,
        default="",
        optional=False,
    )
    modelPackages: DictField[str, str] = DictField(
        doc="Models of bands that another one than modelPackage is for, by name of the band; each has the "
        "settings that it was trained with. An empty one leaves the classifier out in that band.",
        keytype=str,
        itemtype=str,
        default={},
    )
    priorBlended = RangeField(
        doc="Share of blended footprints that probabilities are to refer to; by default the natural one of "
        "the scenes that the model was trained on.",
        dtype=float,
        default=None,
        optional=True,
        min=0.0,
        max=1.0,
        inclusiveMin=False,
        inclusiveMax=False,
    )
    doCalibrate: Field[bool] = Field(
        doc="Apply the calibration that comes with the model, if one does?",
        dtype=bool,
        default=True,
        optional=False,
    )


def split_probabilities(prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Split what a classifier predicts into P(blended) and P(N).

    Parameters
    ----------
    prediction : `numpy.ndarray`, shape (n,) or (n, 5)
        P(blended) or P(N).

    Returns
    -------
    p_blended : `numpy.ndarray`, shape (n,), float64
        P(N >= 2); NaN in rows that could not be classified.
    p_n : `numpy.ndarray`, shape (n, 5), float64, or `None`
        P(N = 0, 1, 2, 3, >= 4), if the classifier gives it.

    Raises
    ------
    ValueError
        Raised if the shape is neither, or a probability is not in [0, 1], or a
        row of P(N) does not sum to 1.
    """
    prediction = np.asarray(prediction, dtype=np.float64)
    if prediction.ndim not in (1, 2) or (prediction.ndim == 2 and prediction.shape[1] != N_CLASSES):
        raise ValueError(
            f"probabilities have shape {prediction.shape}; (n,) or (n, {N_CLASSES}) was expected"
        )
    # Rounding may carry a probability a little over the edge; more is an error of the classifier.
    if np.any((prediction < -1e-6) | (prediction > 1.0 + 1e-6)):
        raise ValueError("some probabilities are not in [0, 1]")
    prediction = np.clip(prediction, 0.0, 1.0)
    if prediction.ndim == 1:
        return np.where(np.isfinite(prediction), prediction, np.nan), None
    total = prediction.sum(axis=1, keepdims=True)
    good = np.isfinite(total)
    if np.any(np.abs(total[good] - 1.0) > 1e-3):
        raise ValueError("some rows of P(N) do not sum to 1")
    p_n = np.where(good, prediction / total, np.nan)
    return p_n[:, 2:].sum(axis=1), p_n


class BlendClassifier(ABC):
    """Base class of classifiers.

    Parameters
    ----------
    config
        An instance of ``ConfigClass``; the default one if `None`.
    package
        The trained model; if `None`, the one that ``config.modelPackage``
        names, and none if that is empty.

    Raises
    ------
    ModelPackageError
        Raised if the package cannot be read, is one of another classifier, or
        was trained with another config or other inputs.

    Notes
    -----
    A subclass has a ``ConfigClass``, a ``name``, `fit` and `predict`; one that
    learns something also has `_get_state` and `_set_state`.  What users see is
    `probabilities`: the predictions, calibrated, for the configured prior.
    """

    ConfigClass: ClassVar[type[BlendClassifierConfig]] = BlendClassifierConfig
    name: ClassVar[str] = ""
    needs_package: ClassVar[bool] = True
    """Whether it can predict only with a trained model."""
    needs_planes: ClassVar[bool] = False
    """Whether it looks at other images than the one that cutouts are made of."""
    needs_centers: ClassVar[bool] = False
    """Whether `fit`, unless it goes on from a model, needs the places of galaxies in all of an image."""
    can_start: ClassVar[bool] = False
    """Whether `fit` goes on from the model that its options have as ``start``."""
    start_fields: ClassVar[tuple[str, ...]] = ()
    """Fields of the config that it may then have set otherwise than the model."""
    untrained_fields: ClassVar[tuple[str, ...]] = (
        "modelPackage",
        "modelPackages",
        "priorBlended",
        "doCalibrate",
    )
    """Fields of the config that change what is done with a model, not what it is."""
    needs_band: ClassVar[bool] = True
    """Whether a model holds only for the bands that it was trained in."""
    inputs_version: ClassVar[int] = 1
    """Version of what it computes from footprints.  A class counts it up when
    the same config gives other inputs; older models are then refused."""

    def __init__(
        self, config: BlendClassifierConfig | None = None, *, package: ModelPackage | None = None
    ) -> None:
        self.config: Any = self.ConfigClass() if config is None else config
        if package is None and self.config.modelPackage:
            package = ModelPackage.read(self.config.modelPackage)
        self.package = package
        self._prior: dict[str, Any] = {}
        self.calibration: Calibration | None = None
        self.history: dict[str, list[float]] = {}
        """Curves of the last fit by name, such as the loss of each epoch."""
        if package is not None:
            self._load(package)

    def _load(self, package: ModelPackage) -> None:
        if package.classifier != self.name:
            raise ModelPackageError(
                f"{package.source} is a model of classifier {package.classifier!r}, not of {self.name!r}; "
                "choose that classifier or another model"
            )
        version = package.inputs.get("version", 1)
        if version != self.inputs_version:
            raise ModelPackageError(
                f"{package.source} was trained on version {version} of the inputs of {self.name!r}, "
                f"this release has version {self.inputs_version}: train it anew or use an older release"
            )
        mine, trained = self.describe_config(), package.config
        different = sorted(key for key in mine.keys() | trained.keys() if mine.get(key) != trained.get(key))
        if different:
            listed = "; ".join(
                f"{shorten(k)[1:-1]} is {shorten(mine.get(k))}, trained with {shorten(trained.get(k))}"
                for k in different[:_MOST_LISTED]
            )
            listed += f" and {len(different) - _MOST_LISTED} more" if len(different) > _MOST_LISTED else ""
            raise ModelPackageError(
                f"{package.source} does not fit the config of {self.name!r}: {listed}. "
                "Set the config to what it was trained with, or train a new model"
            )
        self._validate_config(self.config, package)
        self._prior = dict(package.metadata["prior"])
        try:
            if calibration := package.metadata.get("calibration"):
                self.calibration = calibration_from_dict(calibration)
            self._set_state(package.arrays)
        except KeyError as err:
            raise ModelPackageError(f"{package.source} lacks array {err}; train it anew") from None
        except ValueError as err:
            raise ModelPackageError(f"{package.source} has unusable arrays ({err}); train it anew") from None

    @classmethod
    def _validate_config(cls, config: BlendClassifierConfig, package: ModelPackage) -> None:
        """Refuse a package whose settings cannot work, before anything is made of their sizes."""
        try:
            config.validate()
        except ModelPackageError:
            raise
        except Exception as err:  # Checks of fields compute with values, and a package may have any.
            reason = str(err).split("\nFor more information")[0].split("\n")[-1]
            raise ModelPackageError(
                f"{package.source} has settings that {cls.__name__} cannot work with ({reason}); "
                "train it anew"
            ) from None

    def describe_config(self) -> dict[str, Any]:
        """Flatten the part of the config that a model depends on.

        Returns
        -------
        description
            All fields but `untrained_fields`, nested ones joined by dots.
        """
        flat: dict[str, Any] = {}

        def visit(prefix: str, values: dict[str, Any]) -> None:
            for key, value in values.items():
                if isinstance(value, dict):
                    visit(f"{prefix}{key}.", value)
                else:
                    flat[prefix + key] = list(value) if isinstance(value, tuple) else value

        visit("", self.config.toDict())
        return {key: value for key, value in flat.items() if key.split(".")[0] not in self.untrained_fields}

    def check_fit(self, *, goes_on: bool = False) -> None:
        """Make sure that `fit` will have all that it needs beside data, before anybody makes these.

        Parameters
        ----------
        goes_on
            Whether it will go on from a model.

        Raises
        ------
        ImportError
            Raised if a library that it is fitted with is not installed.
        ValueError
            Raised if the config lacks something that a fit needs.
        """

    @abstractmethod
    def fit(
        self,
        samples: FootprintSamples,
        counts: np.ndarray,
        *,
        weights: np.ndarray | None = None,
        options: FitOptions | None = None,
    ) -> None:
        """Learn from labelled footprints.

        Parameters
        ----------
        samples
            The n footprints, with the natural shares of blended, unblended and
            empty ones.
        counts : `numpy.ndarray`, shape (n,)
            Number of galaxies in each.
        weights : `numpy.ndarray`, shape (n,), optional
            Weights of the footprints, such as for balancing.  They say what the
            fit has to get right, and never what share is blended: probabilities
            refer to the shares in the footprints without weights
            (`.classifiers.weighting.prior_correction`).
        options
            Validation data, seed, checkpoints and more, for those that use it.

        Raises
        ------
        ValueError
            Raised if the labels or weights do not fit, or have one class only.
        """

    @abstractmethod
    def predict(self, samples: FootprintSamples) -> np.ndarray:
        """Give probabilities.

        Parameters
        ----------
        samples
            The n footprints.

        Returns
        -------
        probabilities : `numpy.ndarray`, shape (n,) or (n, 5)
            P(blended), or P(N = 0, 1, 2, 3, >= 4) with rows that sum to 1; NaN
            where a footprint cannot be classified.

        Raises
        ------
        RuntimeError
            Raised if there is no model.
        """

    def prepare(self, samples: FootprintSamples) -> bool:
        """Compute, and keep in the samples, all that `fit` and `predict` need of pixels.

        Parameters
        ----------
        samples
            Footprints of an image.

        Returns
        -------
        prepared
            Whether the images may be forgotten now (`FootprintSamples.without_images`).
            Here they may not.
        """
        return False

    def probabilities(self, samples: FootprintSamples) -> np.ndarray:
        """Give calibrated probabilities for the configured prior.

        Parameters
        ----------
        samples
            The n footprints.

        Returns
        -------
        probabilities : `numpy.ndarray`, shape (n,) or (n, 5)
            As of `predict`.

        Raises
        ------
        RuntimeError
            Raised if there is no model.
        ValueError
            Raised if a prior is configured and that of the model is not known.
        """
        prediction = np.asarray(self.predict(samples))
        if self.calibration is not None and self.config.doCalibrate:
            blended, _ = split_probabilities(prediction)
            prediction = replace_blended(prediction, self.calibration.apply(blended))
        if self.config.priorBlended is not None:
            trained = self._natural_share()
            if trained is None:
                raise ValueError(
                    f"the model of classifier {self.name!r} does not tell its prior; leave out priorBlended"
                )
            prediction = move_prior(prediction, trained, self.config.priorBlended)
        return prediction

    def fit_calibration(
        self,
        samples: FootprintSamples,
        counts: np.ndarray,
        *,
        method: str = "beta",
        weights: np.ndarray | None = None,
    ) -> Calibration:
        """Calibrate on footprints that nothing was learned from; a package takes the calibration along.

        Parameters
        ----------
        samples
            The n footprints, with the natural shares of blended and other ones.
        counts : `numpy.ndarray`, shape (n,)
            Number of galaxies in each.
        method
            One of `.calibration.CALIBRATION_METHODS`.
        weights : `numpy.ndarray`, shape (n,), optional
            Weights of the footprints.

        Returns
        -------
        calibration
            The calibration, which `probabilities` applies from now on.

        Raises
        ------
        RuntimeError
            Raised if there is no model.
        ValueError
            Raised if there is no such method, lengths differ, or all footprints or none are blended.
        """
        blended, _ = split_probabilities(self.predict(samples))
        self.calibration = fit_calibration(blended, np.asarray(counts) > 1, method, weights=weights)
        return self.calibration

    def _natural_share(self) -> float | None:
        """Share of blended footprints that probabilities refer to without `priorBlended`, if known."""
        if self.calibration is not None and self.config.doCalibrate and self.calibration.blended_share:
            return self.calibration.blended_share
        share = self._prior.get("blended")
        return float(share) if share else None

    def describe_probabilities(self) -> dict[str, str | float]:
        """Say what `probabilities` mean.

        Returns
        -------
        description
            ``prior``: "natural" (that of the scenes that the model was trained on, or calibrated on) or
            "stated" (`priorBlended`); ``prior_blended``: that share of blended footprints, if it is known;
            ``calibration``: the method, or "none".
        """
        calibration = self.calibration if self.config.doCalibrate else None
        stated = self.config.priorBlended
        share = self._natural_share() if stated is None else stated
        description: dict[str, str | float] = {
            "prior": "natural" if stated is None else "stated",
            "calibration": "none" if calibration is None else calibration.method,
        }
        return description if share is None else description | {"prior_blended": round(float(share), 6)}

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

    def _get_state(self) -> dict[str, np.ndarray]:
        """Arrays that were learned, by name."""
        return {}

    def _set_state(self, arrays: dict[str, np.ndarray]) -> None:
        """Take arrays that were learned; `KeyError` and `ValueError` mean a damaged package."""

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
            "classifier": self.name,
            "config": self.describe_config(),
            "inputs": {"bands": [], "footprints": {}, "psf_sigma": None, "depth": None}
            | (inputs or {})
            | {"version": self.inputs_version},
            "prior": self._prior,
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "training": training or {},
            "validation": validation or {},
            "versions": versions or {},
        }
        return ModelPackage(self.name, metadata, self._get_state())

    @classmethod
    def from_package(cls, package: ModelPackage, config: BlendClassifierConfig | None = None) -> Self:
        """Make a classifier from a package.

        Parameters
        ----------
        package
            The trained model.
        config
            A config that must agree with it; if `None`, the one that it was
            trained with.

        Returns
        -------
        classifier
            The classifier.

        Raises
        ------
        ModelPackageError
            Raised if the package is one of another classifier or config.
        """
        return cls(cls.config_from_package(package) if config is None else config, package=package)

    @classmethod
    def config_from_package(cls, package: ModelPackage) -> BlendClassifierConfig:
        """Make the config that a model was trained with.

        Parameters
        ----------
        package
            The trained model.

        Returns
        -------
        config
            The config, with an empty ``modelPackage``.

        Raises
        ------
        ModelPackageError
            Raised if the package has settings that this release does not know.
        """
        config = cls.ConfigClass()
        config.modelPackage = ""
        for key, value in package.config.items():
            *path, last = key.split(".")
            target: Any = config
            try:
                for part in path:
                    target = getattr(target, part)
                if key.split(".")[0] in cls.untrained_fields or last not in target.toDict():
                    raise AttributeError(f"no field {key}")
                setattr(target, last, value)
            except Exception as err:  # Checks of fields compute with values, and a package may have any.
                reason = str(err).split("\nFor more information")[0].split("\n")[-1]
                raise ModelPackageError(
                    f"{package.source}: setting {shorten(key)[1:-1]} = {shorten(value)} is not one of "
                    f"{cls.__name__} ({shorten(reason)}); upgrade lsst-meas-blendid or train it anew"
                ) from None
        cls._validate_config(config, package)
        return config

    @classmethod
    def config_for_package(
        cls, package: ModelPackage, config: BlendClassifierConfig
    ) -> BlendClassifierConfig:
        """Make the config that a model was trained with, but for what is chosen when it runs.

        Parameters
        ----------
        package
            The trained model.
        config
            Has the `untrained_fields` that are to be kept.

        Returns
        -------
        config
            The config, with an empty ``modelPackage`` and no ``modelPackages``.

        Raises
        ------
        ModelPackageError
            As `config_from_package` does.
        """
        trained = cls.config_from_package(package)
        for name in set(cls.untrained_fields) - {"modelPackage", "modelPackages"}:
            setattr(trained, name, getattr(config, name))
        return trained

    def _record_prior(self, counts: np.ndarray) -> None:
        """Note the shares of the classes that the probabilities refer to."""
        share = np.bincount(np.minimum(counts, N_CLASSES - 1), minlength=N_CLASSES) / len(counts)
        self._prior = {"n": [round(float(s), 6) for s in share], "blended": round(float(share[2:].sum()), 6)}

    def _require_model(self, fitted: bool) -> None:
        if not fitted:
            raise RuntimeError(
                f"classifier {self.name!r} has no model: set config.modelPackage, or fit it first"
            )

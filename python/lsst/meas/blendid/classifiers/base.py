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
    "ENTRY_POINT_GROUP",
    "classifier_registry",
    "find_classifier",
    "N_CLASSES",
    "BlendClassifier",
    "BlendClassifierConfig",
    "split_probabilities",
)

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from lsst.pex.config import Field, RangeField

from ..calibration import (
    Calibration,
    calibration_from_dict,
    fit_calibration,
    move_prior,
    replace_blended,
)
from ..features.facts import FACT_NAMES, measure_facts
from ..labels import N_CLASSES
from ..model_package import ModelPackage
from ..model_settings import ModelSettings
from ..plugin_registry import PluginRegistry
from ..samples import FootprintSamples
from ..trained_plugin import TrainedPlugin, TrainedPluginConfig
from .count_model import FIRST_OF_TAIL, ShareModel, TailModel, tail_inputs
from .fitting import FitOptions, LabelledSamples
from .novelty import NoveltyModel, measure_columns, novelty_columns

_FEW = 1000
"""With fewer footprints Platt's calibration with two parameters is fitted, otherwise beta's with three."""


class BlendClassifierConfig(TrainedPluginConfig):
    """Config that all classifiers have."""

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


class BlendClassifier(TrainedPlugin, ABC):
    """Base class of classifiers.

    Parameters
    ----------
    config
        What can be chosen when it runs, an instance of ``ConfigClass``; the default one if `None`.
    settings
        What is fixed when it is trained, an instance of ``SettingsClass``, for a fit; a model brings its own.
    package
        The trained model; if `None`, and there are no settings, the one that ``config.modelPackage``
        names, and none if that is empty.

    Raises
    ------
    ModelPackageError
        Raised if the package cannot be read, is one of another classifier, or
        was trained with settings that there are not, or on other inputs.

    Notes
    -----
    A subclass has a ``name``, `_fit` and `predict`; one that learns something also `_shapes`, and one that
    can be set in some way a ``ConfigClass`` or a ``SettingsClass``.  What users see is `probabilities`: the
    predictions, calibrated, for the configured prior.
    """

    kind: ClassVar[str] = "classifier"
    known_columns: ClassVar[Mapping[str, tuple[str, ...]]] = {"facts": FACT_NAMES}
    ConfigClass: ClassVar[type[BlendClassifierConfig]] = BlendClassifierConfig
    needs_planes: ClassVar[bool] = False
    """Whether it looks at other images than the one that cutouts are made of."""
    needs_centers: ClassVar[bool] = False
    """Whether `fit` needs the places of galaxies in all of an image."""
    tunable: ClassVar[tuple[str, ...]] = ()
    """Settings that `fine_tune` may have otherwise than the model."""

    def __init__(
        self,
        config: TrainedPluginConfig | None = None,
        *,
        settings: ModelSettings | None = None,
        package: ModelPackage | None = None,
    ) -> None:
        self.calibration: Calibration | None = None
        self.tail_model: TailModel | None = None
        self.share_model: ShareModel | None = None
        self.novelty_model: NoveltyModel | None = None
        super().__init__(config, settings=settings, package=package)

    @property
    def gives_counts(self) -> bool:
        """Whether `predict` gives P(N); if it gives P(blended) alone, `fit_counts` learns to divide that."""
        return True

    def _get_metadata(self) -> dict[str, Any]:
        counts = {
            "tail": None if self.tail_model is None else self.tail_model.to_dict(),
            "shares": None if self.share_model is None else self.share_model.to_dict(),
        }
        return {
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "counts": {key: value for key, value in counts.items() if value is not None} or None,
            "novelty": None if self.novelty_model is None else list(self.novelty_model.columns),
        }

    def _set_metadata(self, metadata: dict[str, Any]) -> None:
        if calibration := metadata.get("calibration"):
            self.calibration = calibration_from_dict(calibration)
        counts = metadata.get("counts") or {}
        if not isinstance(counts, dict) or not all(isinstance(value, dict) for value in counts.values()):
            raise ValueError("what it tells of the numbers of galaxies is no dict")
        self.tail_model = TailModel.from_dict(counts["tail"]) if "tail" in counts else None
        self.share_model = ShareModel.from_dict(counts["shares"]) if "shares" in counts else None

    def _load(self, package: ModelPackage) -> None:
        super()._load(package)
        with self._reading(package):
            columns = package.metadata.get("novelty")
            self.novelty_model = (
                None if columns is None else NoveltyModel.from_package(columns, package.arrays)
            )

    def to_package(self, name: str = "unnamed", **metadata: Any) -> ModelPackage:
        package = super().to_package(name, **metadata)
        if self.novelty_model is not None:
            package.arrays.update(self.novelty_model.to_arrays())
        return package

    def fit(
        self,
        train: LabelledSamples,
        validation: LabelledSamples | None = None,
        options: FitOptions | None = None,
    ) -> None:
        """Learn from labelled footprints.

        Parameters
        ----------
        train
            Footprints to learn from.
        validation
            Labelled footprints of other sky: for early stopping, and never to learn from.
        options
            Seed, checkpoints and the like; the default ones if `None`.

        Raises
        ------
        ImportError
            Raised if a library that it is fitted with is not installed.
        ValueError
            Raised if the labels have one class only, or too few footprints are usable.
        """
        train.require_both()
        with self._unchanged_on_error():
            self.calibration = self.tail_model = self.share_model = self.novelty_model = self.package = None
            self.history = {}
            used = self._fit(train, validation, FitOptions() if options is None else options)
            self._record_prior(train.counts if used is None else train.counts[used])

    @abstractmethod
    def _fit(
        self, train: LabelledSamples, validation: LabelledSamples | None, options: FitOptions
    ) -> np.ndarray | None:
        """Learn from footprints of both kinds.

        What is learned goes into ``_state``.  What is returned tells the footprints whose shares of the
        classes probabilities refer to, bool of shape (n,); all of them if `None`.
        """

    def fine_tune(
        self,
        train: LabelledSamples,
        validation: LabelledSamples | None = None,
        options: FitOptions | None = None,
    ) -> None:
        """Adapt a trained model to footprints of other data, of which a few hundred do.

        Parameters
        ----------
        train
            Footprints to learn from.
        validation
            Labelled footprints of other sky, for early stopping.
        options
            As of `fit`.

        Raises
        ------
        RuntimeError
            Raised if there is no model.
        ValueError
            Raised if the labels have one class only, or none of the footprints is usable.

        Notes
        -----
        Of a classifier that cannot go on learning (those that can have a `_fine_tune`) the probabilities are
        calibrated anew, by Platt's map or from 1000 footprints on by a beta calibration: that mends a shifted
        or stretched probability, and leaves the order of the footprints as it was.  What it knows of large
        numbers of galaxies, which are rare among a few footprints, stays.
        """
        self._learned()
        train.require_both()
        with self._unchanged_on_error():
            self.history, self.calibration = {}, None
            self._fine_tune(train, validation, FitOptions() if options is None else options)
            # It is another model now.
            self.package = None

    def _fine_tune(
        self, train: LabelledSamples, validation: LabelledSamples | None, options: FitOptions
    ) -> None:
        """Go on learning, and note the prior with `_record_prior`; here only calibrate anew."""
        method = "platt" if len(train.counts) < _FEW else "beta"
        self.fit_calibration(train.samples, train.counts, method=method)
        options.say(f"{self.name} cannot be fitted further: its probabilities are calibrated anew ({method})")

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
        if prediction.ndim == 1 and self.share_model is not None:
            prediction = self.share_model.divide(prediction, self.count_inputs(samples))
        return prediction

    def count_inputs(self, samples: FootprintSamples) -> np.ndarray:
        """Give what P(blended) is divided among the numbers of galaxies by, if `predict` gives nothing else.

        Parameters
        ----------
        samples
            The n footprints.

        Returns
        -------
        inputs : `numpy.ndarray`, shape (n, k), float64
            Numbers that tell the footprints apart.  Here what is known without their pixels.
        """
        return measure_facts(samples, self.columns["facts"])

    def fit_counts(self, train: LabelledSamples) -> None:
        """Learn what `fit` does not: the mean of N if it is at least 4, and P(N) where it is not given.

        Parameters
        ----------
        train
            Footprints with the natural shares of all numbers; those that it was fitted to will do.

        Raises
        ------
        RuntimeError
            Raised if there is no model.
        """
        samples, counts, weights = train.samples, train.counts, train.weights
        self.tail_model = TailModel.fit(tail_inputs(samples), counts, weights)
        self.share_model = None
        if not self.gives_counts:
            self.share_model = ShareModel.fit(self.count_inputs(samples), counts, weights)

    def tail_mean(self, samples: FootprintSamples) -> np.ndarray:
        """Expect the number of galaxies of footprints with at least 4 of them.

        Parameters
        ----------
        samples
            The n footprints, all of each image.

        Returns
        -------
        mean : `numpy.ndarray`, shape (n,), float64
            Mean of N given N >= 4.  Of a model that does not tell: the number of peaks, or 4.
        """
        if self.tail_model is None:
            return np.maximum(samples.n_peaks, FIRST_OF_TAIL).astype(np.float64)
        return self.tail_model.mean(tail_inputs(samples, self.tail_model.columns))

    @property
    def novelty_columns(self) -> tuple[str, ...]:
        """Columns of footprints that novelty is judged by; here those that are known without pixels."""
        return novelty_columns((), self.columns["facts"])

    def _measure_novelty(self, samples: FootprintSamples, columns: Sequence[str]) -> np.ndarray:
        """Values of columns of `novelty_columns` of n footprints, float64 (n, columns)."""
        return measure_columns(samples, columns)

    def fit_novelty(self, train: LabelledSamples, seed: int = 0) -> None:
        """Remember what training footprints are like, so that `novelty` can tell what they are not like.

        Parameters
        ----------
        train
            Footprints of several pieces of sky, those that it was fitted to.
        seed
            Of the choice of footprints that are kept.

        Notes
        -----
        With less than two pieces of sky, or less than 200 footprints in half of them, there is no novelty.
        """
        self.novelty_model = NoveltyModel.fit(
            self._measure_novelty(train.samples, self.novelty_columns),
            self.novelty_columns,
            train.samples.scene_index if train.sky is None else train.sky,
            np.random.default_rng(seed),
        )

    def novelty(self, samples: FootprintSamples) -> np.ndarray:
        """Tell how unlike the footprints of training footprints are.

        Parameters
        ----------
        samples
            The n footprints.

        Returns
        -------
        novelty : `numpy.ndarray`, shape (n,), float64
            Minus the logarithm, to base 10, of the share of training footprints that are as unusual; NaN for
            a model that does not know, and for footprints that cannot be measured.
        """
        if self.novelty_model is None:
            return np.full(len(samples), np.nan)
        return self.novelty_model.judge(self._measure_novelty(samples, self.novelty_model.columns))

    def fit_calibration(
        self, samples: FootprintSamples, counts: np.ndarray, *, method: str = "beta"
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
        self.calibration = fit_calibration(blended, np.asarray(counts) > 1, method)
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

    def _record_prior(self, counts: np.ndarray) -> None:
        """Note the shares of the classes that the probabilities refer to."""
        share = np.bincount(np.minimum(counts, N_CLASSES - 1), minlength=N_CLASSES) / len(counts)
        self._prior = {"n": [round(float(s), 6) for s in share], "blended": round(float(share[2:].sum()), 6)}


ENTRY_POINT_GROUP = "lsst.meas.blendid.classifiers"
"""Entry-point group of classifiers; the name of an entry point is that of the classifier, its object
a subclass of `BlendClassifier`."""

classifier_registry: PluginRegistry[BlendClassifier] = PluginRegistry(
    "classifier",
    BlendClassifier,  # type: ignore[type-abstract]
    BlendClassifierConfig,
    ENTRY_POINT_GROUP,
)
"""Classifiers that tell whether a footprint is blended, by name."""

find_classifier = classifier_registry.find
"""Find the classifier that a model is one of (`.plugin_registry.PluginRegistry.find`)."""

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Convolutional networks on cutouts, trained by Keras.

The network of Buchanan et al. 2022, and a smaller one that sees more: larger
cutouts with the smoothed image and the footprint's mask beside the pixels, and
numbers that describe the footprint and its field.
"""

from __future__ import annotations

__all__ = (
    "CnnClassifier",
    "CnnConfig",
    "CnnSettings",
    "CnnTrainingSettings",
    "paper_settings",
)

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lsst.pex.config import ChoiceField, registerConfigurable

from ..cutouts import CutoutSettings
from ..features import CONTEXT_FEATURES, FEATURE_NAMES, FEATURES_VERSION, REFERENCE_FEATURES
from ..model_settings import ModelSettings, SettingsError, setting
from ..networks import fit_network, get_arrays, import_keras, read_variable, set_arrays
from ..networks.loop import fingerprint
from ..samples import FootprintSamples
from ._cnn_inputs import CHANNELS, VIEWS, CnnInputs, Scaling, read_inputs, turn, turn_at_random
from ._cnn_networks import (
    PAPER_SIZE,
    CutoutNetwork,
    build_modern_network,
    build_paper_network,
    modern_shapes,
    paper_shapes,
)
from .base import N_CLASSES, BlendClassifier, BlendClassifierConfig, classifier_registry
from .fitting import FitOptions, LabelledSamples, prior_correction
from .novelty import novelty_columns

_LEAST_SIZE = 16
"""Least side of the modern network's cutouts, pixels."""
_IMAGES_VERSION = 1
"""Counted up when the same config gives other images."""
_PREFIX = "weights_"
"""Put before the names of weights in a package."""
_HELD_OUT = 0.1
"""Share of the images that are held out for early stopping if there is no validation."""
_TUNING_RATE = 0.1
"""Factor on the learning rate when a trained network is adapted."""
_TUNING_STEPS = 8
"""Least steps of an epoch then."""


class CnnConfig(BlendClassifierConfig):
    """Config of `CnnClassifier`."""

    views: ChoiceField[int] = ChoiceField(
        doc="Flips and turns of a cutout that a probability is the mean of (test-time augmentation).",
        dtype=int,
        default=1,
        optional=False,
        allowed={1: "As it is.", 2: "And turned by 180 degrees.", 4: "All flips.", 8: "All flips and turns."},
    )

    def setDefaults(self) -> None:
        super().setDefaults()
        self.modelPackage = "cnn-i-1"


@dataclass(frozen=True, kw_only=True)
class CnnTrainingSettings(ModelSettings):
    """How a network is trained; nothing of it changes the form of the weights."""

    dropout: float = setting(
        0.2,
        "Share of the outputs of dense layers that are dropped in training.",
        at_least=0.0,
        at_most=0.9,
    )
    augment: bool = setting(True, "Whether cutouts are flipped and turned at random.")
    balance: bool = setting(
        False,
        "Whether blended and other footprints have the same weight.  Probabilities are moved back to the "
        "natural shares.",
    )
    batch_size: int = setting(200, "Footprints in a step.", at_least=1)
    epochs: int = setting(12, "Number of epochs at most.", at_least=1)
    patience: int = setting(
        4, "Stop after so many epochs that did not lower the cross-entropy of the validation.", at_least=1
    )
    learning_rate: float = setting(1e-3, "Learning rate of Adam, at the start.", more_than=0.0)
    schedule: str = setting(
        "cosine",
        "How the learning rate changes: not at all (constant), or it falls to zero as half a cosine over the "
        "epochs (cosine).",
        choices=("constant", "cosine"),
    )
    storage: str = setting(
        "float16",
        "Numbers that weights are kept as: half precision, half the size, or single precision.",
        choices=("float16", "float32"),
    )


@dataclass(frozen=True, kw_only=True)
class CnnSettings(ModelSettings):
    """Settings of `CnnClassifier`."""

    old_names: ClassVar[Mapping[str, str | None]] = {
        "batchSize": "training.batch_size",
        "learningRate": "training.learning_rate",
        "views": None,
    } | {
        name: f"training.{name}"
        for name in ("augment", "balance", "dropout", "epochs", "patience", "schedule", "storage")
    }

    architecture: str = setting(
        "modern",
        "Which network: that of Buchanan et al. 2022 on cutouts of 23x23 pixels, P(blended) (buchanan2022), "
        "or a smaller one on cutouts with smoothed image and mask, and on features, P(N) (modern).",
        choices=("buchanan2022", "modern"),
    )
    cutout: CutoutSettings = setting(
        CutoutSettings(size=33, normalization="asinh", zero_outside=False), "How cutouts are made."
    )
    features: tuple[str, ...] = setting(
        (*REFERENCE_FEATURES, *CONTEXT_FEATURES),
        "Numbers that the modern network takes beside cutouts, of those in FEATURE_DOCS.",
        choices=FEATURE_NAMES,
        unique=True,
    )
    width: int = setting(
        16,
        "Kernels of the first convolution of the modern network; the other layers are in proportion.",
        at_least=1,
    )
    training: CnnTrainingSettings = setting(CnnTrainingSettings(), "How the network is trained.")

    def check(self) -> None:
        if self.architecture == "buchanan2022":
            if self.cutout.size != PAPER_SIZE or len(self.features):
                raise SettingsError(
                    f"architecture 'buchanan2022' takes cutouts of {PAPER_SIZE} pixels and no features: set "
                    f"cutout.size={PAPER_SIZE} and features= as well (from Python: paper_settings()), or "
                    "choose 'modern'"
                )
        elif self.cutout.size < _LEAST_SIZE:
            raise SettingsError(
                f"cutout.size is {self.cutout.size}; architecture 'modern' needs at least {_LEAST_SIZE}"
            )


def paper_settings() -> CnnSettings:
    """Make the settings of the network and the training of Buchanan et al. 2022.

    Returns
    -------
    settings
        The settings.  The cutouts keep the absolute signal-to-noise ratio, which those of the paper, of norm
        one (``normalization="l2"``), did not.
    """
    return CnnSettings(
        architecture="buchanan2022",
        cutout=CutoutSettings(size=PAPER_SIZE, normalization="asinh"),
        features=(),
        training=CnnTrainingSettings(augment=False, schedule="constant"),
    )


@registerConfigurable("cnn", classifier_registry)
class CnnClassifier(BlendClassifier):
    """A convolutional network.

    Parameters
    ----------
    *args, **kwargs
        As of `BlendClassifier`.

    Notes
    -----
    A footprint with pixels that are not finite gets NaN.  Only `fit` needs Keras.
    """

    ConfigClass: ClassVar[type[BlendClassifierConfig]] = CnnConfig
    name: ClassVar[str] = "cnn"
    SettingsClass: ClassVar[type[ModelSettings]] = CnnSettings
    tunable: ClassVar[tuple[str, ...]] = ("training",)
    needs_planes: ClassVar[bool] = True
    positive: ClassVar[tuple[str, ...]] = ("prior_factors",)
    inputs_version: ClassVar[int] = 100 * _IMAGES_VERSION + FEATURES_VERSION

    _network: CutoutNetwork
    _scaling: Scaling
    _prior_factors: np.ndarray

    @property
    def gives_counts(self) -> bool:
        """Whether the network has a class for each number."""
        return self._n_outputs == N_CLASSES

    @property
    def _n_outputs(self) -> int:
        """Number of classes: unblended and blended, or P(N)."""
        return 2 if self.settings.architecture == "buchanan2022" else N_CLASSES

    def _labels(self, counts: np.ndarray) -> np.ndarray:
        """Classes of counts: int64 of shape (n,)."""
        return (counts > 1).astype(np.int64) if self._n_outputs == 2 else np.minimum(counts, N_CLASSES - 1)

    def _build(self, seed: int) -> Any:
        """Make the network."""
        settings: CnnSettings = self.settings
        if settings.architecture == "buchanan2022":
            return build_paper_network(seed, dropout=settings.training.dropout)
        return build_modern_network(
            settings.cutout.size,
            CHANNELS[settings.architecture],
            len(settings.features),
            N_CLASSES,
            seed,
            width=settings.width,
            dropout=settings.training.dropout,
        )

    def _feed(self, images: np.ndarray, features: np.ndarray) -> Any:
        """What the network takes."""
        images = np.ascontiguousarray(images, dtype=np.float32)
        return [images, self._scaling.apply(features)] if len(self.settings.features) else images

    def _read(self, samples: FootprintSamples) -> CnnInputs:
        """What the network sees of n footprints."""
        settings: CnnSettings = self.settings
        return read_inputs(samples, settings.architecture, settings.cutout, settings.features)

    def check_fit(self, *, goes_on: bool = False) -> None:
        # Whether there is a backend shows only when it is imported, which will be needed anyhow.
        import_keras()

    def prepare(self, samples: FootprintSamples) -> bool:
        self._read(samples)
        return True

    # Training.

    def _fit(
        self, train: LabelledSamples, validation: LabelledSamples | None, options: FitOptions
    ) -> np.ndarray:
        return self._train(train, validation, options, tuned=False)

    def _fine_tune(
        self, train: LabelledSamples, validation: LabelledSamples | None, options: FitOptions
    ) -> None:
        """Train the dense layers further, slowly."""
        self._record_prior(train.counts[self._train(train, validation, options, tuned=True)])

    def _train(
        self,
        labelled: LabelledSamples,
        validation: LabelledSamples | None,
        options: FitOptions,
        *,
        tuned: bool,
    ) -> np.ndarray:
        """Train a new network, or tune the one that is there; returns the footprints that it learned from."""
        training: CnnTrainingSettings = self.settings.training
        counts = labelled.counts
        keras = import_keras()
        inputs = self._read(labelled.samples)
        train = np.flatnonzero(inputs.finite())
        held_out: tuple[CnnInputs, np.ndarray] | None = None
        if validation is not None:
            others = self._read(validation.samples)
            good = np.flatnonzero(others.finite())
            if not len(good):
                raise ValueError("none of the validation footprints is usable: use other validation scenes")
            held_out = others.take(good), validation.blended[good]
        elif not tuned:
            groups = labelled.group_by_sky(round(1.0 / _HELD_OUT))
            chosen = _hold_out(groups[train], options.seed)
            train, rows = train[~chosen], train[chosen]
            held_out = inputs.take(rows), labelled.blended[rows]
        batch = training.batch_size
        if tuned:
            batch = min(batch, max(len(train) // _TUNING_STEPS, 1))
        if len(train) < 2 * batch:
            raise ValueError(
                f"{len(train)} usable footprints are too few to train a network in batches of {batch}: "
                "use more scenes or a smaller training.batch_size"
            )
        if len(set(labelled.blended[train].tolist())) < 2:
            raise ValueError("the usable training footprints are all of one kind: use more scenes")
        weights = self._weigh(counts, train, labelled.weights)
        labels = self._labels(counts)
        factors = prior_correction(labels[train], None if weights is None else weights[train])
        model = self._build(options.seed)
        rate = training.learning_rate
        identity = {
            "classifier": self.name,
            "settings": self.settings.to_dict(),
            "version": self.inputs_version,
            "seed": options.seed,
            "data": inputs.digest(train, labels, np.zeros(0) if weights is None else weights),
            "validation": None if held_out is None else held_out[0].digest(held_out[1]),
        }
        if tuned:
            rate *= _TUNING_RATE
            identity["start"] = fingerprint(*(array for _, array in sorted(self._learned().items())))
            self._start_from_model(model)
        else:
            self._scaling = Scaling.fit(inputs.features[train])
        self._prior_factors = factors[: self._n_outputs]
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", weighted_metrics=[])

        def batches(epoch: int) -> Iterator[tuple[Any, ...]]:
            rng = np.random.default_rng([options.seed, epoch])
            order = rng.permutation(train)
            # What is left over comes in another epoch: a backend compiles for each size of batches.
            for first in range(0, len(order) - batch + 1, batch):
                rows = np.sort(order[first : first + batch])
                images = inputs.images[rows]
                if training.augment:
                    images = turn_at_random(images, rng)
                feed = self._feed(images, inputs.features[rows]), labels[rows]
                yield feed if weights is None else (*feed, weights[rows])

        validate = None if held_out is None else self._validation(model, *held_out)
        self.history = fit_network(
            model,
            batches,
            epochs=training.epochs,
            validate=validate,
            monitor=None if validate is None else "val_loss",
            patience=None if validate is None else training.patience,
            learning_rate=self._schedule(rate),
            folder=options.folder,
            settings=identity,
            report=options.report,
        )
        # What predicts is what a package keeps.
        weights_now = get_arrays(model, prefix=_PREFIX, half=training.storage == "float16")
        self._take({"prior_factors": self._prior_factors, **self._scaling.to_arrays(), **weights_now})
        used = np.zeros(len(counts), dtype=bool)
        used[train] = True
        return used

    def _weigh(self, counts: np.ndarray, train: np.ndarray, weights: np.ndarray | None) -> np.ndarray | None:
        """Weights of the footprints, of mean 1, float32 of shape (n,); `None` if all are the same."""
        if weights is None and not self.settings.training.balance:
            return None
        chosen = np.zeros(len(counts))
        chosen[train] = 1.0 if weights is None else np.asarray(weights, dtype=np.float64)[train]
        if self.settings.training.balance:
            for kind in (counts > 1, counts <= 1):
                chosen[kind] /= max(chosen[kind].sum(), 1e-300)
        if not chosen.sum() > 0.0:
            raise ValueError("all training footprints have weight 0")
        return (chosen * (len(train) / chosen.sum())).astype(np.float32)

    def _schedule(self, rate: float) -> Callable[[int], float]:
        """Learning rate of each epoch."""
        if self.settings.training.schedule == "constant":
            return lambda _epoch: rate
        # Half a cosine (Loshchilov & Hutter 2017, arXiv:1608.03983), without restarts.
        return lambda epoch: rate * 0.5 * (1.0 + float(np.cos(np.pi * epoch / self.settings.training.epochs)))

    def _validation(
        self, model: Any, inputs: CnnInputs, blended: np.ndarray
    ) -> Callable[[], dict[str, float]]:
        """Scores on footprints that are not learned from."""

        def validate() -> dict[str, float]:
            network = CutoutNetwork(self.settings.architecture, get_arrays(model))
            p = self._run(network, inputs, VIEWS[:1])
            q = np.clip(p[:, 1] if p.shape[1] == 2 else p[:, 2:].sum(axis=1), 1e-7, 1.0 - 1e-7)
            loss = -np.where(blended, np.log(q), np.log1p(-q)).mean()
            return {"val_loss": float(loss), "val_accuracy": float(np.mean((q > 0.5) == blended))}

        return validate

    def _start_from_model(self, model: Any) -> None:
        """Give a network the learned weights, of which only those of dense layers will change."""
        set_arrays(model, self._learned(), prefix=_PREFIX)
        # The correction of the prior goes into the network, where more training can move it.
        bias = model.get_layer("output").bias
        bias.assign(read_variable(bias) + np.log(self._prior_factors).astype(np.float32))
        for layer in model.layers:
            layer.trainable = layer.name.startswith(("dense", "output"))

    # Prediction.

    def _take(self, state: dict[str, np.ndarray]) -> None:
        """Use other learned arrays."""
        self._prior_factors = state["prior_factors"]
        self._scaling = Scaling.from_arrays(state, len(self.settings.features))
        weights = {k.removeprefix(_PREFIX): v for k, v in state.items() if k.startswith(_PREFIX)}
        self._network = CutoutNetwork(self.settings.architecture, weights)
        self._state = state

    def _run(
        self, network: CutoutNetwork, inputs: CnnInputs, views: tuple[tuple[bool, bool, bool], ...]
    ) -> np.ndarray:
        """Probabilities for the natural prior, float64 of shape (n, outputs), of rows that are finite."""
        features = self._scaling.apply(inputs.features)
        p = np.zeros((len(features), self._n_outputs))
        for view in views:
            p += network.run(turn(inputs.images, view), features)
        p *= self._prior_factors
        return p / p.sum(axis=1, keepdims=True)

    @property
    def novelty_columns(self) -> tuple[str, ...]:
        return novelty_columns(self.settings.features, self.columns["facts"])

    def predict(self, samples: FootprintSamples) -> np.ndarray:
        self._learned()
        inputs = self._read(samples)
        good = inputs.finite()
        p = np.full((len(samples), self._n_outputs), np.nan)
        p[good] = self._run(
            self._network, inputs if good.all() else inputs.take(good), VIEWS[: self.config.views]
        )
        return p[:, 1] if self._n_outputs == 2 else p

    def find_flags(self, samples: FootprintSamples) -> dict[str, np.ndarray]:
        return super().find_flags(samples) | samples.cutout_flags(self.settings.cutout)

    # Packages.

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        settings: CnnSettings = self.settings
        weights = (
            paper_shapes()
            if settings.architecture == "buchanan2022"
            else modern_shapes(
                CHANNELS[settings.architecture], len(settings.features), N_CLASSES, width=settings.width
            )
        )
        return {"prior_factors": (self._n_outputs,)} | {_PREFIX + k: shape for k, shape in weights.items()}

    def _set_state(self, arrays: dict[str, np.ndarray]) -> None:
        super()._set_state(arrays)
        scaling = Scaling.from_arrays(arrays, len(self.settings.features))
        self._take(self._learned() | scaling.to_arrays())


def _hold_out(scene: np.ndarray, seed: int) -> np.ndarray:
    """Choose what early stopping looks at: whole pieces of sky or images, or footprints if they are few."""
    rng = np.random.default_rng([seed, 2**31])
    scenes = np.unique(scene)
    if len(scenes) >= 1.0 / _HELD_OUT:
        return np.isin(scene, rng.permutation(scenes)[: round(_HELD_OUT * len(scenes))])
    return rng.permutation(len(scene)) < _HELD_OUT * len(scene)

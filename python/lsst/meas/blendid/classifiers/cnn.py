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

__all__ = ("CnnClassifier", "CnnConfig")

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from lsst.pex.config import registerConfigurable

from .._arrays import check_array
from ..features import FEATURES_VERSION
from ..model_package import ModelPackage, ModelPackageError
from ..networks import fit_network, get_arrays, import_keras, read_variable, set_arrays
from ..samples import FootprintSamples
from ._cnn_config import TRAINING_FIELDS, CnnConfig
from ._cnn_inputs import CHANNELS, VIEWS, CnnInputs, Scaling, read_inputs, turn, turn_at_random
from ._cnn_networks import build_modern_network, build_paper_network, modern_shapes, paper_shapes
from ._cnn_prediction import CutoutNetwork
from .base import N_CLASSES, BlendClassifier, BlendClassifierConfig
from .fit_options import FitOptions
from .registry import classifier_registry
from .weighting import check_counts, prior_correction

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
    can_start: ClassVar[bool] = True
    start_fields: ClassVar[tuple[str, ...]] = TRAINING_FIELDS
    needs_planes: ClassVar[bool] = True
    inputs_version: ClassVar[int] = 100 * _IMAGES_VERSION + FEATURES_VERSION

    _weights: Mapping[str, np.ndarray] | None = None
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
        return 2 if self.config.architecture == "buchanan2022" else N_CLASSES

    def _labels(self, counts: np.ndarray) -> np.ndarray:
        """Classes of counts: int64 of shape (n,)."""
        return (counts > 1).astype(np.int64) if self._n_outputs == 2 else np.minimum(counts, N_CLASSES - 1)

    def _build(self, seed: int) -> Any:
        """Make the network."""
        config = self.config
        if config.architecture == "buchanan2022":
            return build_paper_network(seed, dropout=config.dropout)
        return build_modern_network(
            config.cutout.size,
            CHANNELS[config.architecture],
            len(config.features),
            N_CLASSES,
            seed,
            width=config.width,
            dropout=config.dropout,
        )

    def _feed(self, images: np.ndarray, features: np.ndarray) -> Any:
        """What the network takes."""
        images = np.ascontiguousarray(images, dtype=np.float32)
        return [images, self._scaling.apply(features)] if len(self.config.features) else images

    def check_fit(self, *, goes_on: bool = False) -> None:
        # Whether there is a backend shows only when it is imported, which will be needed anyhow.
        import_keras()

    def prepare(self, samples: FootprintSamples) -> bool:
        read_inputs(samples, self.config)
        return True

    # Training.

    def fit(
        self,
        samples: FootprintSamples,
        counts: np.ndarray,
        *,
        weights: np.ndarray | None = None,
        options: FitOptions | None = None,
    ) -> None:
        options = FitOptions() if options is None else options
        self.config.validate()
        counts = check_counts(samples, counts, weights)
        keras = import_keras()
        inputs = read_inputs(samples, self.config)
        train = np.flatnonzero(inputs.finite())
        held_out: tuple[CnnInputs, np.ndarray] | None = None
        if options.validation is not None:
            others = read_inputs(options.validation.samples, self.config)
            good = np.flatnonzero(others.finite())
            if not len(good):
                raise ValueError("none of the validation footprints is usable: use other validation scenes")
            held_out = others.take(good), np.asarray(options.validation.counts)[good] > 1
        elif options.start is None:
            groups = options.deal_by(samples, round(1.0 / _HELD_OUT))
            chosen = _hold_out(groups[train], options.seed)
            train, rows = train[~chosen], train[chosen]
            held_out = inputs.take(rows), counts[rows] > 1
        batch = self.config.batchSize
        if options.start is not None:
            batch = min(batch, max(len(train) // _TUNING_STEPS, 1))
        if len(train) < 2 * batch:
            raise ValueError(
                f"{len(train)} usable footprints are too few to train a network in batches of {batch}: "
                "use more scenes or a smaller batchSize"
            )
        if len(set((counts[train] > 1).tolist())) < 2:
            raise ValueError("the usable training footprints are all of one kind: use more scenes")
        weights = self._weigh(counts, train, weights)
        labels = self._labels(counts)
        factors = prior_correction(labels[train], None if weights is None else weights[train])
        model = self._build(options.seed)
        rate = self.config.learningRate
        settings = {
            "classifier": self.name,
            "config": self.describe_config(),
            "version": self.inputs_version,
            "seed": options.seed,
            "data": inputs.digest(train, labels, np.zeros(0) if weights is None else weights),
            "validation": None if held_out is None else held_out[0].digest(held_out[1]),
        }
        if options.start is None:
            self._scaling = Scaling.fit(inputs.features[train])
        else:
            rate *= _TUNING_RATE
            settings["start"] = hashlib.blake2b(options.start.to_bytes(), digest_size=16).hexdigest()
            self._start_from(model, options.start)
        self._prior_factors = factors[: self._n_outputs]
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", weighted_metrics=[])

        def batches(epoch: int) -> Iterator[tuple[Any, ...]]:
            rng = np.random.default_rng([options.seed, epoch])
            order = rng.permutation(train)
            # What is left over comes in another epoch: a backend compiles for each size of batches.
            for first in range(0, len(order) - batch + 1, batch):
                rows = np.sort(order[first : first + batch])
                images = inputs.images[rows]
                if self.config.augment:
                    images = turn_at_random(images, rng)
                feed = self._feed(images, inputs.features[rows]), labels[rows]
                yield feed if weights is None else (*feed, weights[rows])

        validate = None if held_out is None else self._validation(model, *held_out)
        self.history = fit_network(
            model,
            batches,
            epochs=self.config.epochs,
            validate=validate,
            monitor=None if validate is None else "val_loss",
            patience=None if validate is None else self.config.patience,
            learning_rate=self._schedule(rate),
            folder=options.folder,
            settings=settings,
            report=options.report,
        )
        # What predicts is what a package keeps.
        self._take_weights(get_arrays(model, half=self.config.storage == "float16"))
        self._record_prior(counts[train])

    def _weigh(self, counts: np.ndarray, train: np.ndarray, weights: np.ndarray | None) -> np.ndarray | None:
        """Weights of the footprints, of mean 1, float32 of shape (n,); `None` if all are the same."""
        if weights is None and not self.config.balance:
            return None
        chosen = np.zeros(len(counts))
        chosen[train] = 1.0 if weights is None else np.asarray(weights, dtype=np.float64)[train]
        if self.config.balance:
            for kind in (counts > 1, counts <= 1):
                chosen[kind] /= max(chosen[kind].sum(), 1e-300)
        if not chosen.sum() > 0.0:
            raise ValueError("all training footprints have weight 0")
        return (chosen * (len(train) / chosen.sum())).astype(np.float32)

    def _schedule(self, rate: float) -> Callable[[int], float]:
        """Learning rate of each epoch."""
        if self.config.schedule == "constant":
            return lambda _epoch: rate
        return lambda epoch: rate * 0.5 * (1.0 + float(np.cos(np.pi * epoch / self.config.epochs)))

    def _validation(
        self, model: Any, inputs: CnnInputs, blended: np.ndarray
    ) -> Callable[[], dict[str, float]]:
        """Scores on footprints that are not learned from."""

        def validate() -> dict[str, float]:
            network = CutoutNetwork(str(self.config.architecture), get_arrays(model))
            p = self._run(network, inputs, VIEWS[:1])
            q = np.clip(p[:, 1] if p.shape[1] == 2 else p[:, 2:].sum(axis=1), 1e-7, 1.0 - 1e-7)
            loss = -np.where(blended, np.log(q), np.log1p(-q)).mean()
            return {"val_loss": float(loss), "val_accuracy": float(np.mean((q > 0.5) == blended))}

        return validate

    def _start_from(self, model: Any, package: ModelPackage) -> None:
        """Take the weights of a trained network, of which only dense layers will change."""
        mine, theirs = self.describe_config(), package.config
        keys = (mine.keys() | theirs.keys()) - set(self.start_fields)
        different = sorted(key for key in keys if mine.get(key) != theirs.get(key))
        version = package.inputs.get("version", 1)
        if package.classifier != self.name:
            reason = f"is a model of classifier {package.classifier!r}"
        elif version != self.inputs_version:
            reason = f"was trained on version {version} of the inputs, this release has {self.inputs_version}"
        elif different:
            reason = f"has another {', '.join(different)}"
        else:
            try:
                set_arrays(model, package.arrays, prefix=_PREFIX)
                self._take_facts(package.arrays)
            except (KeyError, ValueError) as err:
                raise ModelPackageError(f"{package.source} has unusable arrays ({err})") from None
            # Its correction of the prior goes into the network, where more training can move it.
            bias = model.get_layer("output").bias
            bias.assign(read_variable(bias) + np.log(self._prior_factors).astype(np.float32))
            for layer in model.layers:
                layer.trainable = layer.name.startswith(("dense", "output"))
            return
        raise ModelPackageError(f"{package.source} {reason}: the fit cannot start from it")

    # Prediction.

    def _take_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        self._weights = weights
        self._network = CutoutNetwork(str(self.config.architecture), weights)

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

    def predict(self, samples: FootprintSamples) -> np.ndarray:
        self._require_model(self._weights is not None)
        inputs = read_inputs(samples, self.config)
        good = inputs.finite()
        p = np.full((len(samples), self._n_outputs), np.nan)
        p[good] = self._run(
            self._network, inputs if good.all() else inputs.take(good), VIEWS[: self.config.views]
        )
        return p[:, 1] if self._n_outputs == 2 else p

    def find_flags(self, samples: FootprintSamples) -> dict[str, np.ndarray]:
        return super().find_flags(samples) | samples.cutout_flags(self.config.cutout)

    # Packages.

    def _get_state(self) -> dict[str, np.ndarray]:
        self._require_model(self._weights is not None)
        assert self._weights is not None
        weights = {_PREFIX + name: array for name, array in self._weights.items()}
        return {"prior_factors": self._prior_factors, **self._scaling.to_arrays(), **weights}

    def _take_facts(self, arrays: dict[str, np.ndarray]) -> None:
        """Take what belongs to a network beside its weights."""
        factors = arrays["prior_factors"]
        check_array("prior_factors", factors, (self._n_outputs,), positive=True)
        self._prior_factors, self._scaling = factors, Scaling.from_arrays(arrays, len(self.config.features))

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights."""
        config = self.config
        if config.architecture == "buchanan2022":
            return paper_shapes()
        return modern_shapes(
            CHANNELS[config.architecture], len(config.features), N_CLASSES, width=config.width
        )

    def _set_state(self, arrays: dict[str, np.ndarray]) -> None:
        weights = {}
        for name, shape in self._shapes().items():
            weights[name] = arrays[_PREFIX + name]
            check_array(_PREFIX + name, weights[name], shape)
        self._take_facts(arrays)
        self._take_weights(weights)


def _hold_out(scene: np.ndarray, seed: int) -> np.ndarray:
    """Choose what early stopping looks at: whole pieces of sky or images, or footprints if they are few."""
    rng = np.random.default_rng([seed, 2**31])
    scenes = np.unique(scene)
    if len(scenes) >= 1.0 / _HELD_OUT:
        return np.isin(scene, rng.permutation(scenes)[: round(_HELD_OUT * len(scenes))])
    return rng.permutation(len(scene)) < _HELD_OUT * len(scene)

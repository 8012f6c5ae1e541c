# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""P(N) from a network that looks for the centres of galaxies over the whole image.

A small U-Net runs once over an image.  It sees far beyond a cutout, and gives for each tile of 2 x 2 pixels
the probability that a galaxy's centre is there; a head turns what it says of the tiles of a footprint into
P(N) (see `.centers`).  Training needs the true positions of galaxies beside their numbers.
"""

from __future__ import annotations

__all__ = ("CentersClassifier", "CentersConfig", "CentersSettings")

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lsst.pex.config import ChoiceField, registerConfigurable

from ..centers import (
    CENTER_COLUMNS,
    CONTEXT_NAMES,
    SCALAR_NAMES,
    Candidates,
    CropMaker,
    MapNetwork,
    MapReading,
    NetworkSettings,
    NetworkShape,
    TrainingSettings,
    build_head,
    build_map_network,
    compute_context,
    compute_scalars,
    count_probabilities,
    describe_candidates,
    keep_labels,
    keep_numbers,
    keep_planes,
    train_network,
    tune_head,
    weight_shapes,
)
from ..centers.crops import check_centers
from ..centers.inputs import standard_scale, standardize
from ..centers.network import balanced_loss, head_layers, pooled_size
from ..centers.training import describe_data
from ..labels import N_CLASSES
from ..model_settings import ModelSettings, SettingsError, setting
from ..networks import import_keras
from ..networks.loop import fingerprint
from ..samples import FootprintSamples
from .base import BlendClassifier, BlendClassifierConfig, classifier_registry
from .fitting import FitOptions, LabelledSamples, prior_correction


class CentersConfig(BlendClassifierConfig):
    """Config of `CentersClassifier`."""

    views: ChoiceField[int] = ChoiceField(
        doc="Turned and mirrored images that predictions are averaged over (test-time augmentation).",
        dtype=int,
        allowed={
            1: "the image as it is",
            2: "and turned by half and mirrored",
            4: "and mirrored, and turned by half",
            8: "all, with quarter turns",
        },
        default=2,
        optional=False,
    )

    def setDefaults(self) -> None:
        super().setDefaults()
        self.modelPackage = "centers-i-1"


@dataclass(frozen=True, kw_only=True)
class CentersSettings(ModelSettings):
    """Settings of `CentersClassifier`."""

    old_names: ClassVar[Mapping[str, str | None]] = {
        "widths": "network.widths",
        "blocks": "network.blocks",
        "embedding": "network.embedding",
        "hidden": "network.hidden",
        "steps": "training.steps",
        "stepsPerEpoch": "training.steps_per_epoch",
        "batchSize": "training.batch_size",
        "cropSize": "training.crop_size",
        "maxFootprints": "training.max_footprints",
        "learningRate": "training.learning_rate",
        "warmupSteps": "training.warmup_steps",
        "restarts": "training.restarts",
        "weightDecay": "training.weight_decay",
        "averaging": "training.averaging",
        "tileWeight": "training.tile_weight",
        "blendedWeight": "training.blended_weight",
        "doMixedPrecision": "training.mixed_precision",
    }

    network: NetworkSettings = setting(NetworkSettings(), "Size of the network.")
    training: TrainingSettings = setting(TrainingSettings(), "How it is trained.")

    def check(self) -> None:
        if self.training.crop_size % self.network.stride:
            raise SettingsError(
                f"training.crop_size is {self.training.crop_size}, not a multiple of {self.network.stride}"
            )


@registerConfigurable("centers", classifier_registry)
class CentersClassifier(BlendClassifier):
    """P(N) from a map of the centres of galaxies.

    Parameters
    ----------
    *args, **kwargs
        As of `BlendClassifier`.

    Notes
    -----
    `fit` needs the true objects (``LabelledSamples.centers``); `fine_tune` does not: only the head that
    counts is tuned then, which needs few footprints.
    """

    ConfigClass: ClassVar[type[BlendClassifierConfig]] = CentersConfig
    SettingsClass: ClassVar[type[ModelSettings]] = CentersSettings
    name: ClassVar[str] = "centers"
    needs_centers: ClassVar[bool] = True
    needs_planes: ClassVar[bool] = True
    positive: ClassVar[tuple[str, ...]] = ("context_scale", "scalars_scale", "class_factors")
    known_columns: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **BlendClassifier.known_columns,
        "description": CENTER_COLUMNS,
        "images": CONTEXT_NAMES,
        "footprints": SCALAR_NAMES,
    }

    _network: MapNetwork | None = None

    @property
    def _shape(self) -> NetworkShape:
        network: NetworkSettings = self.settings.network
        columns = self.columns["images"], self.columns["footprints"]
        return NetworkShape(network.widths, network.blocks, network.embedding, network.hidden, *columns)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        n_context, n_scalars = len(self._shape.context), len(self._shape.scalars)
        return weight_shapes(self._shape) | {
            "context_center": (n_context,),
            "context_scale": (n_context,),
            "scalars_center": (n_scalars,),
            "scalars_scale": (n_scalars,),
            "class_factors": (N_CLASSES,),
        }

    def check_fit(self, *, goes_on: bool = False) -> None:
        # Whether there is a backend shows only when it is imported, which will be needed anyhow.  Only the
        # head of a model is tuned, without it.
        if not goes_on:
            import_keras()

    def prepare(self, samples: FootprintSamples) -> bool:
        keep_planes(samples)
        keep_labels(samples)
        keep_numbers(samples)
        compute_context(samples)
        return True

    def _take(self, state: dict[str, np.ndarray]) -> None:
        """Use other learned arrays."""
        self._state, self._network = state, MapNetwork(self._shape, state)

    def _fit(self, train: LabelledSamples, validation: LabelledSamples | None, options: FitOptions) -> None:
        samples, counts, weights = train.samples, train.counts, train.weights
        centers = check_centers(train.centers)
        keras = import_keras()
        settings = self.settings
        context, scalars = compute_context(samples), compute_scalars(samples)
        state = {"class_factors": prior_correction(counts, weights)}
        state["context_center"], state["context_scale"] = standard_scale(context)
        state["scalars_center"], state["scalars_scale"] = standard_scale(scalars)
        crops = self._make_crops(train, centers, state)
        mixed = settings.training.mixed_precision
        maps = build_map_network(keras, self._shape, seed=options.seed, mixed=mixed)
        head = build_head(keras, self._shape, seed=options.seed)
        options.say(f"{maps.count_params() + head.count_params()} weights, {len(samples)} footprints")
        identity: dict[str, Any] = {
            "classifier": self.name,
            "settings": settings.to_dict(),
            "seed": options.seed,
            "data": describe_data(samples, counts),
            "centers": fingerprint(*(np.asarray(table, np.float32) for table in centers)),
            "weights": None if weights is None else fingerprint(weights),
            "validation": None,
        }
        validate = None
        if validation is not None:
            identity["validation"] = describe_data(validation.samples, validation.counts)
            validate = self._make_validation(validation, state)
        learned, self.history = train_network(
            keras,
            maps,
            head,
            crops,
            settings.training,
            options.seed,
            identity=identity,
            validate=validate,
            folder=options.folder,
            say=options.say,
        )
        self._take(state | learned)

    def _make_validation(
        self, held_out: LabelledSamples, state: dict[str, np.ndarray]
    ) -> Callable[[dict[str, np.ndarray]], float]:
        """Make the function that scores weights: the mean of `balanced_loss` over images."""
        offsets, counts = held_out.samples.offsets, held_out.counts
        rows = [slice(a, b) for a, b in zip(offsets, offsets[1:], strict=False) if a < b]
        if not rows:
            raise ValueError("the validation images have no footprints; use others, or none")

        def validate(learned: dict[str, np.ndarray]) -> float:
            self._take(state | learned)
            # One view is enough to tell which weights are the best, and faster; nobody else will ask for it.
            readings = self.network.read_once(held_out.samples, n_views=1)
            inputs = np.concatenate([reading.inputs for reading in readings], axis=1)
            blended = self._count(inputs)[:, 2:].sum(axis=1)
            return float(np.mean([balanced_loss(blended[r], counts[r]) for r in rows]))

        return validate

    def _make_crops(
        self, train: LabelledSamples, centers: tuple[np.ndarray, ...], state: dict[str, np.ndarray]
    ) -> CropMaker:
        """Prepare the training images."""
        samples, counts = train.samples, train.counts
        context, scalars = standardize(samples, state)
        offsets, bbox = samples.offsets, samples.bbox
        rows = [slice(a, b) for a, b in zip(offsets, offsets[1:], strict=False)]
        corners = [np.asarray(result.xy0, dtype=np.int64) for result in samples.results]
        weight = np.ones(len(samples)) if train.weights is None else train.weights
        return CropMaker(
            keep_planes(samples),
            keep_labels(samples),
            keep_numbers(samples),
            [bbox[r] - np.tile(corner, 2) for r, corner in zip(rows, corners, strict=True)],
            [np.minimum(counts[r], N_CLASSES - 1) for r in rows],
            [weight[r] for r in rows],
            [scalars[r] for r in rows],
            context,
            # In double precision: parent coordinates may be large.
            [np.asarray(t, "f8") - np.append(c, 0) for t, c in zip(centers, corners, strict=True)],
            batch=self.settings.training.batch_size,
            crop=self.settings.training.crop_size,
            n_segments=self.settings.training.max_footprints,
        )

    def _fine_tune(
        self, train: LabelledSamples, validation: LabelledSamples | None, options: FitOptions
    ) -> None:
        """Tune the head."""
        samples, counts, weights = train.samples, train.counts, train.weights
        state = dict(self._learned())
        classes = np.minimum(counts, N_CLASSES - 1)
        names = head_layers(self._shape)
        layers = [(state[f"{name}_kernel"], state[f"{name}_bias"]) for name in names]
        # What was corrected after the fit goes into the head, so that tuning starts from the same P(N).
        factors = np.log(np.maximum(state["class_factors"], 1e-12)).astype(np.float32)
        layers[-1] = (layers[-1][0], layers[-1][1] + factors)
        tuned, self.history = tune_head(
            layers, self._inputs(samples)[0], classes, weights, seed=options.seed, say=options.say
        )
        for name, (kernel, bias) in zip(names, tuned, strict=True):
            state |= {f"{name}_kernel": kernel, f"{name}_bias": bias}
        state["class_factors"] = prior_correction(counts, weights)
        self._take(state)
        self._record_prior(counts)

    @property
    def network(self) -> MapNetwork:
        """The part that runs over images.

        Raises
        ------
        RuntimeError
            Raised if there is no model.
        """
        self._learned()
        assert self._network is not None
        return self._network

    def _read(self, samples: FootprintSamples) -> tuple[MapReading, ...]:
        """What the map network reads in each image."""
        return self.network.read(samples, n_views=self.config.views)

    def _inputs(self, samples: FootprintSamples) -> np.ndarray:
        """Inputs of the head from each view, float32 of shape (views, n, k)."""
        empty = np.zeros((self.config.views, 0, pooled_size(self._shape)), np.float32)
        return np.concatenate([empty, *(reading.inputs for reading in self._read(samples))], axis=1)

    def _count(self, inputs: np.ndarray) -> np.ndarray:
        """P(N) of shape (n, 5), the geometric mean over views (views, n, k)."""
        state = self._learned()
        layers = [(state[f"{name}_kernel"], state[f"{name}_bias"]) for name in head_layers(self._shape)]
        views = np.stack([count_probabilities(rows, layers) for rows in inputs])
        # The mean of logits: a view that is sure of something counts for more than by the mean of P(N).
        p_n = np.exp(np.log(np.maximum(views, 1e-12)).mean(axis=0)) * state["class_factors"]
        return p_n / p_n.sum(axis=1, keepdims=True)

    def predict(self, samples: FootprintSamples) -> np.ndarray:
        return self._count(self._inputs(samples))

    def find_candidates(self, samples: FootprintSamples) -> tuple[Candidates, ...]:
        """Find where galaxies probably are.

        Parameters
        ----------
        samples
            Footprints of images.

        Returns
        -------
        candidates
            For each image its candidates, in parent pixels.

        Raises
        ------
        RuntimeError
            Raised if there is no model.
        """
        return tuple(reading.candidates for reading in self._read(samples))

    def describe(self, samples: FootprintSamples) -> np.ndarray:
        """Describe footprints by their candidates, for classifiers that build on this one.

        Parameters
        ----------
        samples
            The n footprints.

        Returns
        -------
        columns : `numpy.ndarray`, shape (n, columns), float32
            Those of `.centers.CENTER_COLUMNS` that there were when the model was trained
            (``columns["description"]``); separations are NaN where there are not as many candidates.

        Raises
        ------
        RuntimeError
            Raised if there is no model.
        """
        p_n = self.predict(samples)
        parts = [np.zeros((0, len(CENTER_COLUMNS)), np.float32)]
        for i, reading in enumerate(self._read(samples)):
            rows, sigma = p_n[slice(*samples.offsets[i : i + 2])], samples.results[i].psf.sigma
            parts.append(describe_candidates(reading.candidates, reading.sums, rows, psf_sigma=sigma))
        return np.concatenate(parts)[:, [CENTER_COLUMNS.index(n) for n in self.columns["description"]]]

    def _set_state(self, arrays: dict[str, np.ndarray]) -> None:
        super()._set_state(arrays)
        self._take(self._learned())

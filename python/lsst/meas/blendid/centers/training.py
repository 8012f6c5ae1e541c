# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Training of the centre network from nothing, and fine-tuning of its head on few footprints."""

from __future__ import annotations

__all__ = (
    "TrainingSettings",
    "describe_data",
    "learning_rates",
    "train_network",
    "tune_head",
)

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..model_settings import ModelSettings, SettingsError, setting
from ..networks import TrainingError, get_arrays, read_variable
from ..networks.loop import (
    Checkpoint,
    fingerprint,
    read_checkpoint,
    require_shapes,
    restore,
    write_checkpoint,
)
from ..samples import FootprintSamples
from .candidates import count_probabilities
from .crops import CropMaker
from .network import build_training_network, make_losses

_AVERAGE_EVERY = 10
"""Steps between two updates of the averaged weights."""
_LARGEST_GRADIENT = 1.0
"""Longer gradients of a weight array are shortened to this."""

Weights = dict[str, np.ndarray]
_PENALTIES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
"""Strengths of the pull towards the weights that it starts from, weakest first."""
_FOLDS = 5
"""Parts of the cross-validation."""
_SURE = 1.5
"""Standard errors that tuning has to gain; measured: 1 does harm with 60 footprints, 2 leaves out gains."""
_LARGEST = 20_000
"""Most footprints that the strength is chosen on."""
Layers = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(ModelSettings):
    """How a network is trained."""

    steps: int = setting(32_000, "Number of training steps.", at_least=1)
    steps_per_epoch: int = setting(
        1000, "Steps between checkpoints, and between looks at the validation data.", at_least=1
    )
    batch_size: int = setting(6, "Crops in a training step.", at_least=1)
    crop_size: int = setting(
        256, "Side of a crop [pixel], a multiple of 2 to the number of resolutions.", at_least=2
    )
    max_footprints: int = setting(128, "Most footprints of a crop that are learned from.", at_least=1)
    learning_rate: float = setting(
        1.5e-3,
        "Largest learning rate; it rises to it in the first steps and falls to 0 by a cosine.",
        more_than=0.0,
    )
    warmup_steps: int = setting(300, "Steps until the largest learning rate.", at_least=0)
    restarts: tuple[int, ...] = setting(
        (16_000,),
        "Steps after which the learning rate, which falls to 0, rises and falls anew.",
        at_least=1,
    )
    weight_decay: float = setting(0.01, "Decay of the weights, times the learning rate.", at_least=0.0)
    averaging: float = setting(
        0.999, "Momentum of the running mean of the weights, for each step, less than 1.", at_least=0.0
    )
    tile_weight: float = setting(
        0.2,
        "Weight of the loss of the places of centres, beside that of the numbers in footprints.",
        at_least=0.0,
    )
    blended_weight: float = setting(
        1.0, "Weight of the cross-entropy of blended or not, beside that of P(N).", at_least=0.0
    )
    mixed_precision: bool = setting(
        True,
        "Whether the inner layers are trained in bfloat16, nearly twice as fast on processors that have it; "
        "prediction has 32 bits in any case.",
    )

    def check(self) -> None:
        if self.warmup_steps >= self.steps:
            raise SettingsError(f"warmup_steps is {self.warmup_steps}, not less than steps, {self.steps}")
        if self.averaging >= 1.0:
            raise SettingsError(f"averaging is {self.averaging}; it has to be less than 1")


def describe_data(samples: FootprintSamples, counts: np.ndarray) -> str:
    """Number and checksum of footprints and their labels, by integers alone: the same on all processors."""
    numbers = (counts, samples.bbox, samples.area, samples.n_peaks)
    return f"{len(samples)} footprints, {fingerprint(*(np.asarray(n, dtype=np.int64) for n in numbers))}"


def learning_rates(settings: TrainingSettings) -> np.ndarray:
    """Learning rate of each step, float32 (steps,): a linear rise and half a cosine to 0, at each restart.

    Loshchilov & Hutter 2017 (arXiv:1608.03983).
    """
    edges = sorted({0, *(step for step in settings.restarts if 0 < step < settings.steps)})
    rates = []
    for start, stop in zip(edges, [*edges[1:], settings.steps], strict=True):
        step = np.arange(stop - start)
        warmup = min(settings.warmup_steps, stop - start - 1)
        falling = 0.5 + 0.5 * np.cos(np.pi * np.clip(step - warmup, 0, None) / (stop - start - warmup))
        rates.append(settings.learning_rate * np.where(step < warmup, step / max(warmup, 1), falling))
    return np.concatenate(rates).astype(np.float32)


def _compile(keras: Any, maps: Any, head: Any, crops: CropMaker, settings: TrainingSettings) -> Any:
    """Join both parts, with an optimiser."""
    network = build_training_network(
        keras, maps, head, batch=crops.batch, crop=crops.crop, n_segments=crops.n_segments
    )
    optimizer = keras.optimizers.AdamW(
        settings.learning_rate, weight_decay=settings.weight_decay, clipnorm=_LARGEST_GRADIENT
    )
    network.compile(
        optimizer=optimizer,
        loss=make_losses(keras, blended_weight=settings.blended_weight),
        loss_weights={"tiles": settings.tile_weight, "counts": 1.0},
        # On CPUs the compiled convolutions of XLA are the slower ones.
        jit_compile=False,
    )
    optimizer.build(network.trainable_variables)
    return network


def _copy(variables: Any) -> list[np.ndarray]:
    """Values of variables."""
    return [read_variable(variable) for variable in variables]


def _require_finite(arrays: list[np.ndarray], what: str, step: int) -> None:
    """Refuse to go on with numbers that are not finite."""
    if not all(np.isfinite(array).all() for array in arrays):
        raise TrainingError(f"{what} not finite after {step} steps; lower training.learning_rate")


def train_network(
    keras: Any,
    maps: Any,
    head: Any,
    crops: CropMaker,
    settings: TrainingSettings,
    seed: int,
    *,
    identity: dict[str, Any],
    validate: Callable[[Weights], float] | None = None,
    folder: Path | None = None,
    say: Callable[[str], None],
) -> tuple[Weights, dict[str, list[float]]]:
    """Train both parts of the network; gives the best averaged weights by name, and curves by epoch.

    Parameters
    ----------
    keras
        The module.
    maps, head
        The two parts, with the weights to start from.
    crops
        Makes the batches.
    settings
        How.
    seed
        Seed of the crops.
    identity
        What is trained, JSON-compatible; a checkpoint of another training is refused.
    validate
        Gives the loss of weights on data that are not learned from; the weights at its least value are
        the result.  Without it, the last averaged weights are.
    folder
        Folder of the checkpoint, which is written after each epoch and gone on from.
    say
        Called with a line for each epoch.

    Raises
    ------
    CheckpointError
        Raised if the checkpoint is damaged or one of another training.
    TrainingError
        Raised if the loss, the weights or the validation loss are not finite any more; the checkpoint is
        that of the epoch before.

    Notes
    -----
    The weights that are validated and returned are exponential running means over the steps (Polyak &
    Juditsky 1992).  In the beginning the mean is a short one, so that it forgets the random start.
    """
    network = _compile(keras, maps, head, crops, settings)
    optimizer = network.optimizer
    variables = [*maps.weights, *head.weights]
    names = [*get_arrays(maps), *get_arrays(head)]
    state, average = Checkpoint(), _copy(variables)
    if folder is not None and (found := read_checkpoint(Path(folder), identity)) is not None:
        state = found
        for arrays in (state.variables[len(variables) :], state.best):
            require_shapes(variables, arrays, "network", folder)
        restore(variables, state.variables[: len(variables)], "network", folder)
        average = [array.copy() for array in state.variables[len(variables) :]]
        restore(optimizer.variables, state.optimizer, "optimiser", folder)
        say(f"going on after epoch {state.epoch} of the checkpoint in {folder}")
    n_epochs, rates = -(-settings.steps // settings.steps_per_epoch), learning_rates(settings)
    decay = settings.averaging**_AVERAGE_EVERY
    while state.epoch < n_epochs:
        # Each epoch has random numbers of its own, so that one that is gone on with has the same.
        rng = np.random.default_rng([seed, state.epoch])
        losses = []
        first = state.epoch * settings.steps_per_epoch
        for step in range(first, min(first + settings.steps_per_epoch, settings.steps)):
            optimizer.learning_rate = rates[step]
            values = network.train_on_batch(*crops.make(rng), return_dict=True)
            # Keras gives means since the last reset.
            network.reset_metrics()
            losses.append([float(values[k]) for k in ("loss", "counts_loss", "tiles_loss")])
            _require_finite([np.array(losses[-1])], "the loss is", step + 1)
            if (step + 1) % _AVERAGE_EVERY == 0:
                # Of n updates the mean is one over about n / 10, until it has the full length: as of
                # TensorFlow's ExponentialMovingAverage, (1 + n) / (10 + n).
                keep = min(decay, (step + 1) / (step + 1 + 9.0 * _AVERAGE_EVERY))
                for mean, array in zip(average, _copy(variables), strict=True):
                    mean += np.float32(1.0 - keep) * (array - mean)
        # The loss of a step does not tell what the step did to the weights.
        current, done = _copy(variables), min(first + settings.steps_per_epoch, settings.steps)
        _require_finite([*current, *average], "the weights are", done)
        row = dict(zip(("loss", "counts_loss", "tiles_loss"), np.mean(losses, axis=0).tolist(), strict=True))
        if validate is not None:
            row["validation_loss"] = validate(dict(zip(names, average, strict=True)))
            _require_finite([np.array(row["validation_loss"])], "the validation loss is", done)
        for name, value in row.items():
            state.history.setdefault(name, []).append(float(value))
        state.epoch += 1
        if validate is None or row["validation_loss"] < state.best_value or not state.best:
            state.best_epoch, state.best_value = state.epoch, row.get("validation_loss", float("inf"))
            state.best = [array.copy() for array in average]
        if folder is not None:
            state.variables = [*current, *average]
            state.optimizer = _copy(optimizer.variables)
            write_checkpoint(Path(folder), state, identity)
        numbers = ", ".join(f"{name} {value:.4f}" for name, value in row.items())
        say(f"epoch {state.epoch}/{n_epochs}: {numbers}{' *' if state.best_epoch == state.epoch else ''}")
    return dict(zip(names, state.best, strict=True)), state.history


def _loss(
    theta: np.ndarray,
    start: np.ndarray,
    shapes: list[tuple[int, int]],
    inputs: np.ndarray,
    classes: np.ndarray,
    weights: np.ndarray,
    penalty: float,
) -> tuple[float, np.ndarray]:
    """Cross-entropy of all footprints and the penalty, and its gradient."""
    layers = _unpack(theta, shapes)
    values = [inputs]
    for i, (kernel, bias) in enumerate(layers):
        x = values[-1] @ kernel + bias
        values.append(np.maximum(x, 0.0) if i + 1 < len(layers) else x)
    logits = values.pop()
    log_p = logits - logits.max(axis=1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    rows = np.arange(len(classes))
    away = theta - start
    loss = -float(weights @ log_p[rows, classes]) + 0.5 * penalty * float(away @ away)
    back = np.exp(log_p)
    back[rows, classes] -= 1.0
    back *= weights[:, None]
    parts: list[np.ndarray] = []
    for (kernel, _), x in zip(reversed(layers), reversed(values), strict=True):
        parts = [(x.T @ back).ravel(), back.sum(axis=0), *parts]
        back = (back @ kernel.T) * (x > 0.0)
    return loss, np.concatenate(parts) + penalty * away


def _pack(layers: Layers) -> np.ndarray:
    return np.concatenate([a.ravel().astype(np.float64) for layer in layers for a in layer])


def _unpack(theta: np.ndarray, shapes: list[tuple[int, int]]) -> Layers:
    layers, at = [], 0
    for rows, columns in shapes:
        kernel = theta[at : at + rows * columns].reshape(rows, columns)
        at += rows * columns
        layers.append((kernel, theta[at : at + columns]))
        at += columns
    return layers


def tune_head(
    layers: Layers,
    inputs: np.ndarray,
    classes: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    seed: int = 1,
    say: Callable[[str], None],
) -> tuple[Layers, dict[str, list[float]]]:
    """Fine-tune the head on inputs (n, k) of footprints of some classes, (n,) min(N, 4).

    ``layers`` has kernel and bias of each layer to start from; the tuned ones are given, and curves:
    ``freedom``, the inverse strengths of the penalty, and the ``cross_validation_loss`` of each; the first,
    0, is the start itself. The squared distance to the weights of the start is penalised, as by a Gaussian
    prior around them; its strength is chosen by cross-validation.  Nothing is changed unless that gains
    more than 1.5 standard errors, so that a few footprints of the same kind do no harm.
    """
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    inputs = np.asarray(inputs, dtype=np.float64)
    weights = np.ones(len(classes)) if weights is None else np.asarray(weights, dtype=np.float64)
    start, shapes = _pack(layers), [kernel.shape for kernel, _ in layers]

    def fit(chosen: np.ndarray, penalty: float) -> np.ndarray:
        arguments = (start, shapes, inputs[chosen], classes[chosen], weights[chosen], penalty)
        return minimize(_loss, start, args=arguments, jac=True, method="L-BFGS-B", options={"maxiter": 100}).x

    def score(theta: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        p = count_probabilities(inputs[chosen], _unpack(theta, shapes))
        return -weights[chosen] * np.log(np.maximum(p[np.arange(len(chosen)), classes[chosen]], 1e-12))

    rows = np.random.default_rng(seed).permutation(len(classes))
    parts = np.array_split(rows[:_LARGEST], min(_FOLDS, len(classes)))
    used = np.concatenate(parts)
    mean_weight = max(float(weights[used].mean()), 1e-12)
    # Cross-entropy of each footprint, by penalty; without any freedom it is that of the start.
    each = {float("inf"): score(start, used) / mean_weight}
    losses = {float("inf"): float(each[float("inf")].mean())}
    with threadpool_limits(limits=1):
        # From the strongest on, as long as weaker ones are not clearly worse: weak ones take the longest.
        for penalty in reversed(_PENALTIES):
            folds = [score(fit(np.setdiff1d(used, part), penalty), part) for part in parts]
            each[penalty] = np.concatenate(folds) / mean_weight
            losses[penalty] = float(each[penalty].mean())
            say(f"penalty {penalty:g}: cross-entropy {losses[penalty]:.4f} in cross-validation")
            if losses[penalty] > min(losses.values()) + 0.01:
                break
        best = min(losses, key=lambda k: losses[k])
        gains = each[float("inf")] - each[best]
        if not gains.mean() > _SURE * gains.std() / np.sqrt(len(gains)):
            best = float("inf")
        theta = fit(rows, best) if np.isfinite(best) else start
    say("kept as it was" if np.isinf(best) else f"tuned with penalty {best:g}")
    tuned = [(k.astype(np.float32), b.astype(np.float32)) for k, b in _unpack(theta, shapes)]
    return tuned, {"freedom": [1.0 / k for k in losses], "cross_validation_loss": list(losses.values())}

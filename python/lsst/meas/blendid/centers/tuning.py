# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Fine-tuning of the counting head on few footprints."""

from __future__ import annotations

__all__ = ("tune_head",)

from collections.abc import Callable

import numpy as np

from .pooling import count_probabilities

_PENALTIES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
"""Strengths of the pull towards the weights that it starts from, weakest first."""
_FOLDS = 5
"""Parts of the cross-validation."""
_SURE = 1.5
"""Standard errors that tuning has to gain; measured: 1 does harm with 60 footprints, 2 leaves out gains."""
_LARGEST = 20_000
"""Most footprints that the strength is chosen on."""

Layers = list[tuple[np.ndarray, np.ndarray]]


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
    """Fine-tune the head.

    Parameters
    ----------
    layers
        Kernel and bias of each layer, to start from.
    inputs : `numpy.ndarray`, shape (n, inputs)
        Inputs of the head.
    classes : `numpy.ndarray`, shape (n,), int
        min(N, 4) of each footprint.
    weights : `numpy.ndarray`, shape (n,), optional
        Weights of the footprints.
    seed
        Seed of the parts of the cross-validation.
    say
        Called with a line for each strength of the penalty.

    Returns
    -------
    layers
        The tuned layers.
    history : `dict` [`str`, `list` [`float`]]
        ``freedom``, the inverse strengths of the penalty, and the ``cross_validation_loss`` of each; the
        first, 0, is the start itself.

    Notes
    -----
    The squared distance to the weights of the start is penalised, as by a Gaussian prior around them; its
    strength is chosen by cross-validation.  Nothing is changed unless that gains more than 1.5
    standard errors, so that a few footprints of the same kind do no harm.
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

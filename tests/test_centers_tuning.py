# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

from __future__ import annotations

import numpy as np
import pytest
from lsst.meas.blendid.centers.pooling import count_probabilities
from lsst.meas.blendid.centers.tuning import _loss, _pack, _unpack, tune_head
from scipy.optimize import approx_fprime

RNG = np.random.default_rng(1)
LAYERS = [(RNG.normal(size=(3, 6)), RNG.normal(size=6)), (RNG.normal(size=(6, 5)), np.zeros(5))]


def draw(p: np.ndarray, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random((len(p), 1)) > p.cumsum(axis=1)).sum(axis=1)


def cross_entropy(p: np.ndarray, classes: np.ndarray) -> float:
    return -float(np.log(p[np.arange(len(p)), classes]).mean())


def test_gradient() -> None:
    inputs, classes = RNG.normal(size=(20, 3)), RNG.integers(5, size=20)
    weights = RNG.uniform(0.5, 2.0, size=20)
    start, shapes = _pack(LAYERS), [k.shape for k, _ in LAYERS]
    theta = start + RNG.normal(scale=0.1, size=start.size)
    arguments = (start, shapes, inputs, classes, weights, 3.0)
    numeric = approx_fprime(theta, lambda t: _loss(t, *arguments)[0], 1e-7)
    assert _loss(theta, *arguments)[1] == pytest.approx(numeric, abs=1e-3)
    assert all(
        np.array_equal(a, b)
        for one, two in zip(LAYERS, _unpack(start, shapes), strict=True)
        for a, b in zip(one, two, strict=True)
    )


def test_tuning_wins_back_a_shifted_prior() -> None:
    shifted = [LAYERS[0], (LAYERS[1][0], np.array([0.0, -2.0, 1.0, 0.0, 0.5]))]
    inputs = RNG.normal(size=(400, 3))
    classes = draw(count_probabilities(inputs, shifted), 3)
    tuned, history = tune_head(LAYERS, inputs, classes, say=lambda _line: None)
    fresh = RNG.normal(size=(4000, 3))
    truth = count_probabilities(fresh, shifted)
    labels = draw(truth, 4)
    before, after, best = (
        cross_entropy(count_probabilities(fresh, m), labels) for m in (LAYERS, tuned, shifted)
    )
    assert best < after < best + 0.3 * (before - best)
    assert history["freedom"][0] == 0.0 and history["freedom"][1] == pytest.approx(1 / 3000)
    assert min(history["cross_validation_loss"]) < history["cross_validation_loss"][0]
    assert all(np.isfinite(curve).all() for curve in history.values())


def test_tuning_does_little_where_there_is_nothing_to_learn() -> None:
    inputs = RNG.normal(size=(200, 3))
    classes = draw(count_probabilities(inputs, LAYERS), 5)
    tuned, _ = tune_head(LAYERS, inputs, classes, say=lambda _line: None)
    fresh = RNG.normal(size=(4000, 3))
    labels = draw(count_probabilities(fresh, LAYERS), 6)
    before, after = (cross_entropy(count_probabilities(fresh, m), labels) for m in (LAYERS, tuned))
    assert after < before + 0.01


def test_weights_are_repeats() -> None:
    inputs, classes = RNG.normal(size=(30, 3)), RNG.integers(5, size=30)
    start, shapes = _pack(LAYERS), [k.shape for k, _ in LAYERS]
    theta = start + 0.05
    twice = _loss(theta, start, shapes, np.repeat(inputs, 2, 0), np.repeat(classes, 2), np.ones(60), 1.0)
    weighted = _loss(theta, start, shapes, inputs, classes, np.full(30, 2.0), 1.0)
    assert weighted[0] == pytest.approx(twice[0])
    assert weighted[1] == pytest.approx(twice[1])


def test_lines_and_reproducibility() -> None:
    inputs, classes = RNG.normal(size=(30, 3)), RNG.integers(5, size=30)
    lines: list[str] = []
    one, _ = tune_head(LAYERS, inputs, classes, seed=2, say=lines.append)
    two, _ = tune_head(LAYERS, inputs, classes, seed=2, say=lines.append)
    assert lines[0].startswith("penalty 3000: cross-entropy ")
    assert lines[-1].startswith(("kept", "tuned with penalty"))
    assert all(np.array_equal(a, b) for m, n in zip(one, two, strict=True) for a, b in zip(m, n, strict=True))

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of SEP as the baseline of BlendHunter."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from benchmark_programs import load_benchmark
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.simulation.stamps import StampSetError
from toy_stamps import toy_stamps

program = load_benchmark("blendhunter_sep")
MISSED, SepBaseline = program.MISSED, program.SepBaseline
score_sep, sep_baseline, _label = program.score_sep, program.sep_baseline, program._label

ONE = np.array([[20.0, 20.0]])
TWO = np.array([[20.0, 20.0], [30.0, 20.0]])


@pytest.mark.parametrize(
    ("truth", "found", "split_off", "label"),
    [
        # Nothing found is neither.
        (ONE, np.zeros((0, 2)), [], MISSED),
        (TWO, np.zeros((0, 2)), [], MISSED),
        # A lone galaxy found once; also when it is off, which matters for blends alone.
        (ONE, [[20.5, 20.5]], [False], 0),
        (ONE, [[30.0, 20.0]], [False], 0),
        # Both galaxies of a blend found where they are, or one of them elsewhere.
        (TWO, [[20.5, 20.0], [29.5, 20.0]], [False, False], 1),
        (TWO, [[20.5, 20.0], [26.0, 20.0]], [False, False], 0),
        # The position check is passed by one object that was split off another.
        (TWO, [[20.5, 20.0], [26.0, 20.0]], [True, True], 1),
        (TWO, [[10.5, 20.0], [26.0, 20.0]], [True, True], 0),
        # One object for two galaxies is none, whatever its flag.
        (TWO, [[20.5, 20.0]], [False], 0),
        (TWO, [[20.5, 20.0]], [True], 0),
        (ONE, [[20.5, 20.0]], [True], 1),
        # A galaxy beside which something else was found is called a blend.
        (ONE, [[20.5, 20.0], [40.0, 40.0]], [False, False], 1),
        (ONE, [[25.5, 20.0], [40.0, 40.0]], [False, False], 0),
        # An object belongs to one galaxy only.
        (np.array([[20.0, 20.0], [21.0, 20.0]]), [[20.5, 20.0], [40.0, 40.0]], [False, False], 0),
        (TWO, [[20.0, 20.0], [30.0, 20.0], [5.0, 5.0]], [False] * 3, 1),
    ],
)
def test_rules(truth: np.ndarray, found: object, split_off: list[bool], label: int) -> None:
    positions = np.asarray(found, dtype=np.float64).reshape(-1, 2)
    assert _label(truth, positions, np.array(split_off, dtype=bool), 2.0) == label


@given(st.integers(1, 2), st.integers(0, 4), st.integers(0, 2**31))
def test_rules_do_not_depend_on_the_frame(n_true: int, n_found: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, found = rng.uniform(0, 8, (n_true, 2)), rng.uniform(0, 8, (n_found, 2))
    flags = rng.random(n_found) < 0.5
    label = _label(truth, found, flags, 2.0)
    assert label == _label(truth + 100.0, found + 100.0, flags, 2.0)
    assert label == _label(truth[:, ::-1], found[:, ::-1], flags, 2.0)
    assert (label == MISSED) == (n_found == 0)


def test_bright_galaxies_far_apart_are_told_right() -> None:
    stamps = toy_stamps(20, size=51, flux=20000.0, separation=16.0).padded().with_noise(10.0)
    baseline = sep_baseline(stamps)
    scores = score_sep(stamps, baseline)
    assert scores.isolated == 1.0 and scores.distant == 1.0 and scores.everything == 1.0
    assert np.isnan(scores.close) and scores.missed == 0.0
    assert np.array_equal(baseline.n_detected == 2, stamps.is_blended)


def test_galaxies_on_top_of_each_other_are_not() -> None:
    stamps = toy_stamps(20, separation=1.0).with_noise(10.0)
    scores = score_sep(stamps, sep_baseline(stamps))
    assert scores.isolated == 1.0 and scores.close == 0.0 and np.isnan(scores.distant)


def test_what_is_lost_in_noise_is_missed() -> None:
    stamps = toy_stamps(10, flux=10.0).with_noise(10.0)
    baseline = sep_baseline(stamps)
    assert score_sep(stamps, baseline).missed == np.mean(baseline.label == MISSED) > 0.5


def test_scores_of_given_labels() -> None:
    stamps = toy_stamps(8, separation=5.0)
    label = np.array([0, 1, 0, 0, 1, 1, MISSED, MISSED], dtype=np.int8)
    scores = score_sep(stamps, SepBaseline(label, np.zeros(8, dtype=np.int32)))
    assert (scores.everything, scores.isolated, scores.blended) == (0.5, 0.5, 0.5)
    assert (scores.close, scores.missed) == (0.5, 0.25)
    assert score_sep(stamps, SepBaseline(label, label), close=4.0).distant == 0.5


def test_progress_and_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    sep_baseline(toy_stamps(3).with_noise(5.0), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3, 3)
    with pytest.raises(StampSetError, match="have no noise"):
        sep_baseline(toy_stamps(3))
    monkeypatch.setitem(sys.modules, "sep", None)
    with pytest.raises(ImportError, match="pip install"):
        sep_baseline(toy_stamps(3).with_noise(5.0))

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The program that scores deblended blends, on blends that were made up."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from benchmark_programs import load_benchmark
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays


@pytest.fixture(scope="module")
def deblend() -> ModuleType:
    return load_benchmark("deblend")


def sources(*found: tuple[float, int], e: float = 0.1) -> dict[str, Any]:
    """Make sources of (flux, galaxy), all of one ellipticity."""
    return {
        "flux": [flux for flux, _ in found],
        "e": [[e, 0.0] for _ in found],
        "galaxy": [galaxy for _, galaxy in found],
    }


def record(n_peaks: int, flux: list[float], separation: float, **sets: dict[str, Any]) -> dict[str, Any]:
    x = [10.0] + [10.0 + separation] * (len(flux) - 1)
    names = dict(zip(("detected", "ours", "true"), ("5σ peaks", "our peaks", "true positions"), strict=True))
    return {
        "n_peaks": n_peaks,
        "x": x,
        "y": [5.0] * len(flux),
        "flux": flux,
        "e": [[0.1, 0.3]] + [[0.1, 0.0]] * (len(flux) - 1),
        "sets": {names[key]: value for key, value in sets.items()},
    }


RECORDS = [
    # One peak takes all the light; with ours the two are told apart.
    record(
        1,
        [100.0, 60.0],
        4.0,
        detected=sources((158.4893192, 0)),
        ours=sources((100.0, 0), (50.0, 1)),
        true=sources((100.0, 0), (60.0, 1)),
    ),
    # Two peaks, in the other order, and a third one that is nothing; ours miss one of three galaxies.
    record(
        2,
        [200.0, 40.0, 20.0],
        9.0,
        detected=sources((15.0, 1), (200.0, 0), (5.0, -1)),
        ours=sources((240.0, 0), (40.0, 1)),
        true=sources((200.0, 0), (40.0, 1), (20.0, 2)),
    ),
]


def test_scores_are_those_by_hand(deblend: ModuleType) -> None:
    outcomes = deblend.Outcomes.from_records(RECORDS)
    assert outcomes.blend.tolist() == [0, 0, 1, 1, 1] and outcomes.rank.tolist() == [0, 1, 0, 1, 2]
    assert outcomes.separation.tolist() == [0.0, 4.0, 0.0, 9.0, 9.0]
    assert outcomes.one_peak.tolist() == [True, False]
    even = np.ones(2)
    detected = deblend.score(outcomes, deblend.DETECTED, even)
    # Of the fifteen and forty the magnitudes differ by 1.06.
    assert detected == pytest.approx(
        {
            "found": 3 / 5,
            "lost": 3 / 5,
            "missed_flux": 80 / 420,
            "bias": -0.25,
            "scatter": 0.5 * 0.5,
            "error": 0.25,
            "wrong": 0.0,
            "shape": 0.3,
            "second_found": 0.5,
            "second_recovered": 0.0,
            "second_bias": -2.5 * np.log10(15 / 40),
            "second_scatter": 0.0,
            "spurious": 0.5,
        },
        abs=0.005,
    )
    ours = deblend.score(outcomes, deblend.OURS, even)
    assert ours["found"] == pytest.approx(4 / 5) and ours["lost"] == pytest.approx(1 / 5)
    assert ours["missed_flux"] == pytest.approx(20 / 420) and ours["spurious"] == 0.0
    assert ours["second_found"] == ours["second_recovered"] == 1.0
    true = deblend.score(outcomes, deblend.TRUE, even)
    assert true["found"] == true["second_recovered"] == 1.0
    assert true["lost"] == true["missed_flux"] == true["bias"] == true["error"] == 0.0


def test_weights_choose_blends(deblend: ModuleType) -> None:
    outcomes = deblend.Outcomes.from_records(RECORDS)
    first = deblend.score(outcomes, deblend.DETECTED, np.array([1.0, 0.0]))
    alone = deblend.score(deblend.Outcomes.from_records(RECORDS[:1]), deblend.DETECTED, np.ones(1))
    assert first == pytest.approx(alone, nan_ok=True)
    assert first["second_found"] == 0.0 and np.isnan(first["second_bias"])
    assert first["missed_flux"] == pytest.approx(60 / 160)


def test_wrong_flux_of_the_brightest(deblend: ModuleType) -> None:
    both = sources((210.0, 0))
    outcomes = deblend.Outcomes.from_records(
        [record(1, [100.0, 99.0], 2.0, detected=both, ours=both, true=both)]
    )
    scores = deblend.score(outcomes, deblend.OURS, np.ones(1))
    assert scores["wrong"] == 1.0 and scores["lost"] == 1.0 and scores["found"] == 0.5


def test_report_pairs_the_sets(deblend: ModuleType) -> None:
    outcomes = deblend.Outcomes.from_records(RECORDS * 6)
    text, numbers = deblend.report(outcomes, 20)
    assert list(numbers) == ["all blends", "blends with one 5σ peak", "blends with more 5σ peaks"]
    for own in numbers.values():
        for key in deblend.ROWS:
            difference = own[deblend.OURS][key][0] - own[deblend.DETECTED][key][0]
            assert own["ours - 5σ"][key][0] == pytest.approx(difference, nan_ok=True)
    # All blends with one peak are the same here, so that nothing scatters.
    assert numbers["blends with one 5σ peak"]["ours - 5σ"]["missed_flux"] == pytest.approx([-0.375, 0.0])
    assert numbers["all blends"][deblend.DETECTED]["found"][1] > 0.0
    assert "blends with one 5σ peak: 6 with 12 galaxies" in text
    pytest.importorskip("matplotlib", reason="matplotlib, which draws, is not installed")
    assert len(deblend.draw(outcomes, RECORDS * 6).axes) == 2


@given(
    arrays(np.float64, 7, elements=st.floats(-5, 5)),
    arrays(np.float64, 7, elements=st.floats(0.1, 3)),
    st.floats(0.05, 0.95),
    st.randoms(use_true_random=False),
)
def test_quantile(
    deblend: ModuleType, values: np.ndarray, weights: np.ndarray, q: float, random: Any
) -> None:
    quantile = deblend.quantile
    result = quantile(values, weights, q)
    assert values.min() <= result <= values.max()
    order = np.array(random.sample(range(7), 7))
    assert quantile(values[order], 2.0 * weights[order], q) == pytest.approx(result, abs=1e-9)
    assert quantile(np.append(values, np.nan), np.append(weights, 9.0), q) == pytest.approx(result)
    assert quantile(np.append(values, 99.0), np.append(weights, 0.0), q) == pytest.approx(result)
    assert quantile(values, np.ones(7), 0.5) == pytest.approx(np.median(values))


def test_ellipticity_is_that_of_a_gaussian(deblend: ModuleType) -> None:
    rows, columns = np.indices((41, 41), dtype=float)
    dx, dy = columns - 20.3, rows - 19.6
    inverse = np.linalg.inv([[5.0, 1.0], [1.0, 3.0]])
    image = np.exp(-0.5 * (inverse[0, 0] * dx**2 + 2 * inverse[0, 1] * dx * dy + inverse[1, 1] * dy**2))
    # The weight narrows it: inverse covariances add up.
    xx, yy, xy = np.linalg.inv(inverse + np.eye(2) / 2.4**2)[[0, 1, 0], [0, 1, 1]]
    expected = (xx - yy) / (xx + yy), 2 * xy / (xx + yy)
    assert deblend.weighted_ellipticity(image, 20.3, 19.6, 2.4) == pytest.approx(expected, abs=1e-6)


def test_a_run_goes_on_where_it_was_stopped(deblend: ModuleType, tmp_path: Path) -> None:
    path, settings = tmp_path / "records.jsonl", {"seed": 1}
    assert deblend.read_records(path, settings) == []
    lines = [json.dumps(line) for line in (settings, *RECORDS)]
    path.write_text("\n".join(lines) + "\n" + lines[1][:30])
    assert deblend.read_records(path, settings) == RECORDS
    with pytest.raises(SystemExit, match="other settings"):
        deblend.read_records(path, {"seed": 2})


def test_blends_of_a_scene_end_to_end(
    deblend: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("galsim", reason="GalSim, which draws the galaxies, is not installed")
    pytest.importorskip("scarlet2", reason="scarlet2, of the extra deblend, is not installed")
    records, figure = tmp_path / "records.jsonl", tmp_path / "figure.png"
    options = [
        "--size",
        "192",
        "--seed",
        "3",
        "--steps",
        "60",
        "--bootstrap",
        "10",
        "--records",
        str(records),
    ]
    monkeypatch.setattr(sys, "argv", ["deblend.py", "--blends", "2", *options])
    assert deblend.main() == 0
    first = records.read_text()
    kept = [json.loads(line) for line in first.splitlines()[1:]]
    assert len(kept) == 2
    for one in kept:
        true = one["sets"][deblend.TRUE]
        # Sources at the true places are found there, with about their flux.
        assert sorted(true["galaxy"]) == list(range(len(one["flux"])))
        total = sum(one["flux"])
        assert sum(true["flux"]) == pytest.approx(total, rel=0.3)
        assert len(one["sets"][deblend.DETECTED]["flux"]) == one["n_peaks"]
    monkeypatch.setattr(sys, "argv", ["deblend.py", "--blends", "2", *options, "--figure", str(figure)])
    assert deblend.main() == 0
    assert records.read_text() == first and figure.stat().st_size > 5000
    assert "all blends: 2" in capsys.readouterr().out

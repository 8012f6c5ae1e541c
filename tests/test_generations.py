# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The program that sets models for any band beside those before them and beside specialists."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from benchmark_programs import load_benchmark


@pytest.fixture(scope="module")
def program() -> ModuleType:
    return load_benchmark("generations")


def test_models_are_set_beside_those_before_them(program: ModuleType) -> None:
    models = ["features-i-1", "features-2", "logistic-2"]
    assert program.find_before("features-2", models) == "features-i-1"
    assert program.find_before("features-i-1", models) is None
    # Whose predecessor is not asked for.
    assert program.find_before("logistic-2", models) is None


def test_tables(
    program: ModuleType,
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = tmp_path / "tables.txt"
    options = ["--truths", shared_data, "--split", "validation", "--models", "logistic-i-1", "logistic-2"]
    options += ["--sizes", "1.6x", "--bands", "g", "--size", "400", "--draws", "1", "--train-draws", "1"]
    options += ["--bootstrap", "20", "--text", text]
    monkeypatch.setattr(sys, "argv", ["generations.py", *map(str, options)])
    assert program.main() == 0
    lines = text.read_text().splitlines()
    assert capsys.readouterr().out.strip() == "\n".join(lines).strip()
    assert lines[0].startswith("i, 1.6x: ")
    one, two = (line for line in lines[2:4])
    assert one.startswith("logistic-i-1") and two.startswith("logistic-2")
    # A change in per cent and its interval stand behind the second alone.
    assert "[" in two and "[" not in one
    for row in (one, two):
        assert 0.0 < float(row.split()[1]) < 1.0
    of_g = next(i for i, line in enumerate(lines) if line.startswith("g (specialist: 24 scenes"))
    assert lines[of_g + 2].startswith("specialist for g")
    # Both are set beside the specialist.
    for line, name in zip(lines[of_g + 3 :], ("logistic-i-1", "logistic-2"), strict=False):
        assert line.startswith(name) and "[" in line
    assert lines[-1].startswith("validation sky, ")


def test_without_truths_is_one_line(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["generations.py", "--truths", str(tmp_path), "--models", "peaks-i-1"])
    assert program.main() == 1
    assert "are not at hand" in capsys.readouterr().err

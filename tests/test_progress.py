# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The progress bar."""

from __future__ import annotations

import sys

import pytest
from lsst.meas.blendid import _progress as progress_module
from lsst.meas.blendid._progress import part_of
from lsst.meas.blendid.simulation import stderr_progress


def test_no_bar_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert stderr_progress("Galaxies") is None


def test_bar_ends_full(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress_module, "_PAUSE", 0.0)
    progress = stderr_progress("Galaxies")
    assert progress is not None
    for done in (0, 5, 10, 10):
        progress(done, 10)
    lines = capsys.readouterr().err.split("\r")
    assert lines[2].startswith("Galaxies |" + "█" * 15 + " ")
    assert "  50 %, " in lines[2] and " s left" in lines[2]
    assert "100 %" in lines[-1] and lines[-1].endswith("\n") and "█" * 30 in lines[-1]


def test_bar_is_not_drawn_all_the_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress_module, "_PAUSE", 1e6)
    progress = stderr_progress("Galaxies")
    assert progress is not None
    for done in range(1001):
        progress(done, 1000)
    assert capsys.readouterr().err.count("\r") == 2


@pytest.mark.parametrize(("seconds", "text"), [(12.3, "12 s"), (140.0, "2 min"), (7500.0, "2 h 5 min")])
def test_time_left_is_readable(seconds: float, text: str) -> None:
    assert progress_module._describe(seconds) == text


def test_parts_share_a_bar() -> None:
    calls: list[tuple[int, int]] = []
    for i in range(2):
        part = part_of(lambda done, total: calls.append((done, total)), i, 2)
        assert part is not None
        part(1, 4)
        part(4, 4)
    assert calls == [(250, 2000), (1000, 2000), (1250, 2000), (2000, 2000)]
    assert part_of(None, 0, 2) is None

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the progress bar."""

from __future__ import annotations

import sys

import pytest
from lsst.meas.blendid.simulation import stderr_progress


def test_no_bar_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert stderr_progress("Galaxies") is None


def test_bar_ends_full(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress = stderr_progress("Galaxies")
    assert progress is not None
    for done in (0, 5, 10):
        progress(done, 10)
    lines = capsys.readouterr().err.split("\r")
    assert lines[2].startswith("Galaxies |" + "█" * 15 + " ")
    assert "10/10" in lines[-1] and lines[-1].endswith("\n") and "█" * 30 in lines[-1]

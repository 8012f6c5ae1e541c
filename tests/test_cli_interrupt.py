# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

from __future__ import annotations

import ctypes
import signal
import sys
import time
from typing import Any

import click
import pytest
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.cli._interrupt import keep_interrupts

pytestmark = pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) is not signal.default_int_handler, reason="Ctrl-C is not Python's here"
)


def interrupt_in_callback() -> None:
    """Raise an interrupt where Python can only print it: called by compiled code."""

    def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)

    ctypes.CFUNCTYPE(None)(interrupt)()


def wait() -> None:
    for _ in range(500):
        time.sleep(0.01)


def test_an_interrupt_in_a_callback_comes_again() -> None:
    hook = sys.unraisablehook
    with pytest.raises(KeyboardInterrupt), keep_interrupts():
        interrupt_in_callback()
        wait()
    assert sys.unraisablehook is hook


def test_one_that_is_swallowed_twice() -> None:
    seen = []

    class Deaf:
        def __del__(self) -> None:
            seen.append(True)
            wait()

    with pytest.raises(KeyboardInterrupt), keep_interrupts():
        interrupt_in_callback()
        # The second comes while this is deleted.
        thing: Deaf | None = Deaf()
        thing = None
        assert thing is None
        wait()
    assert seen == [True]


def test_nothing_comes_after_the_end() -> None:
    with keep_interrupts():
        interrupt_in_callback()
    time.sleep(0.2)


def test_other_errors_are_shown_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", shown.append)

    def fail() -> None:
        raise ValueError("broken")

    with keep_interrupts():
        ctypes.CFUNCTYPE(None)(fail)()
    assert [unraisable.exc_type for unraisable in shown] == [ValueError]


def test_a_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit status and the message are those of any Ctrl-C."""

    @click.command()
    def stuck() -> None:
        interrupt_in_callback()
        wait()

    monkeypatch.setattr(type(main), "get_command", lambda *_args: stuck)
    with pytest.raises(SystemExit) as caught:
        main(["run"])
    assert caught.value.code == 130
    assert "Interrupted" in capsys.readouterr().err

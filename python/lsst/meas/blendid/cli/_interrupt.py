# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Ctrl-C that is not lost."""

from __future__ import annotations

__all__ = ("keep_interrupts",)

import _thread
import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

_DELAY = 0.05
"""Time until an interrupt comes again [s]: what swallowed it should have returned by then."""


@contextlib.contextmanager
def keep_interrupts() -> Iterator[None]:
    """Interrupt again where an interrupt was swallowed.

    Python can only print an exception that is raised in a callback from compiled code, as LLVM makes while
    loops are compiled, or while an object is deleted; a `KeyboardInterrupt` there would stop nothing.
    """
    before = sys.unraisablehook
    timers: list[threading.Timer] = []

    def hook(unraisable: Any) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            before(unraisable)
            return
        timer = threading.Timer(_DELAY, _thread.interrupt_main)
        timer.daemon = True
        timers.append(timer)
        timer.start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
        for timer in timers:
            timer.cancel()

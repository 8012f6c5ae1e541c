# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""How far work is: stages told to whoever listens, and bars on standard error, when that is a terminal."""

from __future__ import annotations

__all__ = ("ProgressCallback", "listen_to_progress", "part_of", "report_progress", "stderr_progress")

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

type ProgressCallback = Callable[[int, int], None]
"""Called with how much is done and how much there is: galaxies, exposures, jobs."""

_STEPS = 1000
_PAUSE = 0.1


def stderr_progress(label: str) -> ProgressCallback | None:
    """Make a progress callback that draws a bar.

    Parameters
    ----------
    label
        What is being done.

    Returns
    -------
    progress
        The callback; `None` if standard error is not a terminal.
    """
    if not sys.stderr.isatty():
        return None
    start = time.monotonic()
    shown = start - 1.0
    finished = False

    def show(done: int, total: int) -> None:
        nonlocal shown, finished
        now = time.monotonic()
        if finished or (now - shown < _PAUSE and 0 < done < total):
            return
        shown, finished = now, done >= total
        share = done / total if total else 1.0
        bar = "█" * round(30 * share)
        elapsed = now - start
        left = f"{_describe(elapsed * (1.0 - share) / share)} left" if share > 0 else "…"
        end = "\n" if done >= total else ""
        text = f"\r{label} |{bar:<30}| {100.0 * share:3.0f} %, {left:<16}"
        print(text, end=end, file=sys.stderr, flush=True)

    return show


def _describe(seconds: float) -> str:
    """Duration to read."""
    if seconds < 100.0:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60.0)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def part_of(progress: ProgressCallback | None, index: int, count: int) -> ProgressCallback | None:
    """Make the callback of one of several pieces of work that share a bar, if there is one."""
    if progress is None:
        return None

    def show(done: int, total: int) -> None:
        share = done / total if total else 1.0
        progress(round(_STEPS * (index + share)), _STEPS * count)

    return show


_listener: ContextVar[Callable[[str, float], None] | None] = ContextVar("_listener", default=None)


def report_progress(stage: str, done: float = 0.0) -> None:
    """Tell that a stage has begun, or which share of it is done."""
    if (listener := _listener.get()) is not None:
        listener(stage, done)


@contextmanager
def listen_to_progress(listener: Callable[[str, float], None]) -> Iterator[None]:
    """Have a function called with the name of each stage and the share of it that is done."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What is being done to an image, on the terminal."""

from __future__ import annotations

__all__ = ("show_stages",)

import multiprocessing
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .._progress import listen_to_progress

_SHARES = {"features": (0.25, 0.45), "pairs of sources": (0.45, 0.95)}
"""Where the stages that take longest, and say how far they are, begin and end in the time of an image."""

_PATIENCE = 2.0
"""Seconds before anything is shown: most images are done sooner."""

_PAUSE = 0.2


@contextmanager
def show_stages(name: str) -> Iterator[None]:
    """Show the stage of the work on an image, and a time left, if standard error is a terminal.

    Parameters
    ----------
    name
        Name of the image.
    """
    # Of several processes none has the line for itself.
    if not sys.stderr.isatty() or multiprocessing.parent_process() is not None:
        yield
        return
    start = time.monotonic()
    last = ("", start)

    def show(stage: str, done: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - start < _PATIENCE or (stage == last[0] and now - last[1] < _PAUSE):
            return
        last = (stage, now)
        left = ""
        if stage in _SHARES and done > 0.0:
            low, high = _SHARES[stage]
            share = low + done * (high - low)
            left = f", about {(now - start) * (1.0 - share) / share:.0f} s left"
        sys.stderr.write(f"\r\033[K{name}: {stage}{left}")
        sys.stderr.flush()

    try:
        with listen_to_progress(show):
            yield
    finally:
        if last[0]:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Stages of the work on an image, told to whoever listens."""

from __future__ import annotations

__all__ = ("listen_to_progress", "report_progress")

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

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

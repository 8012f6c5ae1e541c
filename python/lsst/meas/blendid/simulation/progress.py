# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""A progress bar on standard error, when that is a terminal."""

from __future__ import annotations

__all__ = ("stderr_progress",)

import sys
import time

from .render import ProgressCallback


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

    def show(done: int, total: int) -> None:
        share = done / total if total else 1.0
        bar = "█" * round(30 * share)
        elapsed = time.monotonic() - start
        left = elapsed * (1.0 - share) / share if share > 0 else 0.0
        end = "\n" if done >= total else ""
        print(
            f"\r{label} |{bar:<30}| {done}/{total}, {left:4.0f} s left", end=end, file=sys.stderr, flush=True
        )

    return show

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What somebody may have meant who gave a name that there is not."""

from __future__ import annotations

__all__ = ("did_you_mean",)

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest the known name that is most like an unknown one, as the end of a message; empty if none is."""
    lower: dict[str, str] = {}
    for one in known:
        lower.setdefault(one.lower(), one)
    wanted = name.lower()
    near = difflib.get_close_matches(wanted, lower, n=1, cutoff=0.6)
    if not near and len(wanted) >= 3:
        # A part of a long name: its beginning, or a word of it.
        near = sorted((one for one in lower if wanted in one), key=len)[:1]
    return f" (did you mean {lower[near[0]]!r}?)" if near else ""

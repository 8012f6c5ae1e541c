# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Pages that need nothing from outside: templates filled with text, tables and figures."""

from __future__ import annotations

__all__ = ("Cell", "render_page")

import base64
from pathlib import Path
from typing import Any, NamedTuple

from .drawing import BLENDED, GRID, INK, MUTED, PAPER, SINGLE

_TEMPLATES = Path(__file__).with_name("templates")
_COLOURS = {
    "single": SINGLE,
    "blended": BLENDED,
    "ink": INK,
    "muted": MUTED,
    "grid": GRID,
    "paper": PAPER,
}


class Cell(NamedTuple):
    """A cell of a table that is more than a text."""

    text: str
    error: str = ""
    """Error of the number, without sign."""
    kind: str = ""
    """``single`` or ``blended``, for the colour of that class."""
    strong: bool = False


def render_page(template: str, **values: Any) -> str:
    """Fill a template of the folder ``templates``: text is escaped, and a value that lacks is an error."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["base64"] = lambda png: base64.b64encode(png).decode("ascii")
    environment.globals["colours"] = _COLOURS
    return environment.get_template(template).render(values)

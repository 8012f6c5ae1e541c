# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Pages from templates."""

from __future__ import annotations

import jinja2
import pytest
from html_pages import parse
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.evaluation.pages import Cell, render_page


def fill(text: str) -> str:
    """A page with the same text in all places."""
    return render_page(
        "image.html",
        title=text,
        lede=text,
        footer=text,
        numbers=[(text, text)],
        whole=None,
        overlay=b"x",
        size=text,
        has_inferred=False,
        histogram=None,
        assumptions=[[text, Cell(text, error=text), Cell(text, kind="single"), Cell(text, strong=True)]],
        notes=[text],
        flags=[[text] * 4],
        files=text,
    )


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=40))
def test_any_text_can_be_written(text: str) -> None:
    parser = parse(fill(text))
    allowed = (
        "html head meta link title style body main header h1 h2 p span b div table thead tbody tr th td "
        "figure img figcaption pre code ul li footer"
    )
    assert {tag for tag, _ in parser.seen} <= set(allowed.split())


def test_text_is_escaped_and_cells_are_marked() -> None:
    page = fill('a < b & "c"')
    assert "<h1>a &lt; b &amp; &#34;c&#34;</h1>" in page
    assert '<span class="error">± a &lt; b' in page and '<span class="single">a &lt; b' in page
    assert "<td><b>a &lt; b" in page
    # As often as it was given, the title twice.
    assert parse(page).text.count('a < b & "c"') == 2 + 2 + 2 + 1 + 5 + 1 + 4 + 1


def test_what_lacks_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="'lede' is undefined"):
        render_page("base.html", title="t", footer="f")

# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""A small builder of self-contained HTML pages: text is escaped, figures are embedded."""

from __future__ import annotations

__all__ = ("Page",)

import base64
import html
from collections.abc import Sequence

from ._style import BLENDED, GRID, INK, MUTED, PAPER, SINGLE

_STYLE = f"""
:root {{ color-scheme: light; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: {PAPER}; color: {INK};
  font: 17px/1.6 Inter, "Source Sans 3", "Helvetica Neue", Arial, "Liberation Sans", sans-serif;
  -webkit-font-smoothing: antialiased; }}
main {{ max-width: 60rem; margin: 0 auto; padding: 3.5rem 1.5rem 4rem; }}
header {{ border-top: 6px solid; border-image: linear-gradient(90deg, {SINGLE} 62%, {BLENDED} 62%) 1;
  padding-top: 1.6rem; }}
h1 {{ font-size: 2.3rem; line-height: 1.15; letter-spacing: -0.02em; margin: 0 0 0.8rem; }}
h2 {{ font-size: 1.4rem; line-height: 1.25; letter-spacing: -0.01em; margin: 3.2rem 0 0.6rem; }}
h3 {{ font-size: 1.08rem; line-height: 1.3; margin: 2rem 0 0.4rem; }}
p {{ margin: 0 0 1rem; max-width: 44rem; }}
.lede {{ font-size: 1.2rem; line-height: 1.5; color: {MUTED}; }}
.single {{ color: {SINGLE}; font-weight: 600; }} .blended {{ color: {BLENDED}; font-weight: 600; }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(8.6rem, 1fr)); gap: 0;
  margin: 2rem 0 0; border: 1px solid {GRID}; border-radius: 10px; overflow: hidden; }}
.tile {{ padding: 1rem 1.1rem 0.9rem; box-shadow: 1px 1px 0 {GRID}; }}
.tile b {{ display: block; font-size: 1.65rem; line-height: 1.2; letter-spacing: -0.02em;
  font-variant-numeric: tabular-nums; }}
.tile span {{ display: block; color: {MUTED}; font-size: 0.82rem; line-height: 1.35; margin-top: 0.25rem; }}
figure {{ margin: 1.4rem 0 1.8rem; }}
figure img {{ display: block; width: 100%; height: auto; }}
figcaption {{ margin-top: 0.6rem; font-size: 0.88rem; line-height: 1.5; color: {MUTED}; max-width: 48rem; }}
figcaption b {{ color: {INK}; }}
.pair {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 0 2rem; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; margin: 1rem 0 1.4rem; font-size: 0.92rem;
  font-variant-numeric: tabular-nums; }}
th, td {{ text-align: right; padding: 0.42rem 0.6rem; border-bottom: 1px solid {GRID};
  vertical-align: baseline; }}
th {{ color: {MUTED}; font-weight: 600; line-height: 1.3; }}
th:first-child, td:first-child {{ text-align: left; white-space: nowrap; padding-left: 0; }}
.error {{ display: block; color: {MUTED}; font-size: 0.8rem; font-weight: 400; white-space: nowrap; }}
td {{ line-height: 1.35; }}
tr.strong td {{ font-weight: 600; }}
table.text th, table.text td {{ text-align: left; }} table.text td:first-child {{ color: {MUTED}; }}
table.cutouts td {{ vertical-align: middle; }} table.cutouts img {{ display: block; width: 7.5rem; }}
ul.notes {{ margin: 0 0 1.4rem; padding: 0.8rem 1.1rem 0.8rem 2rem; max-width: 48rem; font-size: 0.92rem;
  background: #fff7ed; border-left: 4px solid {BLENDED}; border-radius: 0 8px 8px 0; }}
pre {{ background: #f5f7f9; border: 1px solid {GRID}; border-radius: 8px; padding: 0.9rem 1.1rem;
  overflow-x: auto;
  font: 0.82rem/1.55 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }}
footer {{ margin-top: 3rem; padding-top: 1rem; border-top: 1px solid {GRID};
  color: {MUTED}; font-size: 0.85rem; }}
@media print {{ main {{ max-width: none; padding: 0; }} figure, table {{ break-inside: avoid; }} }}
"""


class Page:
    """A page that is written from top to bottom.

    All text is escaped. Two marks are understood in paragraphs and captions:
    ``**bold**``; ``{single|text}`` or ``{blended|text}`` for text in the
    colour of that class; ``{error|text}`` for the error of a number in a table.

    Parameters
    ----------
    title
        Title of the page.
    lede
        A sentence or two below it.
    """

    def __init__(self, title: str, lede: str) -> None:
        self._title = title
        self._parts = [f'<header><h1>{html.escape(title)}</h1><p class="lede">{_inline(lede)}</p></header>']

    def heading(self, text: str) -> None:
        """Start a section.

        Parameters
        ----------
        text
            Its heading.
        """
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def paragraph(self, text: str) -> None:
        """Add a paragraph.

        Parameters
        ----------
        text
            Its text.
        """
        self._parts.append(f"<p>{_inline(text)}</p>")

    def tiles(self, tiles: Sequence[tuple[str, str]]) -> None:
        """Add a row of key numbers.

        Parameters
        ----------
        tiles
            Number and what it is, for each.
        """
        cells = (
            f'<div class="tile"><b>{html.escape(n)}</b><span>{_inline(t)}</span></div>' for n, t in tiles
        )
        self._parts.append(f'<div class="tiles">{"".join(cells)}</div>')

    def figures(self, figures: Sequence[tuple[bytes, str, str]]) -> None:
        """Add figures side by side, or one over the whole width.

        Parameters
        ----------
        figures
            PNG file, caption and alternative text of each.
        """
        blocks = (
            f'<figure><img alt="{html.escape(alt)}" src="data:image/png;base64,'
            f'{base64.b64encode(png).decode("ascii")}"><figcaption>{_inline(caption)}</figcaption></figure>'
            for png, caption, alt in figures
        )
        joined = "".join(blocks)
        self._parts.append(f'<div class="pair">{joined}</div>' if len(figures) > 1 else joined)

    def table(
        self, header: Sequence[str], rows: Sequence[Sequence[str]], *, strong: int | None = None
    ) -> None:
        """Add a table.

        Parameters
        ----------
        header
            Names of the columns.
        rows
            Cells of each row.
        strong
            Row to set off from the others.
        """
        head = "".join(f'<th scope="col">{_inline(cell)}</th>' for cell in header)
        body = ""
        for index, row in enumerate(rows):
            cells = "".join(f"<td>{_inline(cell)}</td>" for cell in row)
            body += f"<tr class='strong'>{cells}</tr>" if index == strong else f"<tr>{cells}</tr>"
        self._parts.append(
            f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )

    def facts(self, rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> None:
        """Add a table of words, which stand at the left of their columns.

        Parameters
        ----------
        rows
            Cells of each row; the first is what it is about.
        header
            Names of the columns, if they need any.
        """
        head = "".join(f'<th scope="col">{_inline(cell)}</th>' for cell in header)
        body = "".join(f"<tr>{''.join(f'<td>{_inline(cell)}</td>' for cell in row)}</tr>" for row in rows)
        self._parts.append(
            f'<div class="scroll"><table class="text">{f"<thead><tr>{head}</tr></thead>" if head else ""}'
            f"<tbody>{body}</tbody></table></div>"
        )

    def cutouts(self, header: Sequence[str], rows: Sequence[tuple[bytes, str, Sequence[str]]]) -> None:
        """Add a table whose rows begin with a picture.

        Parameters
        ----------
        header
            Names of the columns, that of the pictures included.
        rows
            PNG file, its alternative text, and the other cells of each row.
        """
        head = "".join(f'<th scope="col">{_inline(cell)}</th>' for cell in header)
        body = "".join(
            f'<tr><td><img alt="{html.escape(alt)}" src="data:image/png;base64,'
            f'{base64.b64encode(png).decode("ascii")}"></td>'
            + "".join(f"<td>{_inline(cell)}</td>" for cell in cells)
            + "</tr>"
            for png, alt, cells in rows
        )
        self._parts.append(
            f'<div class="scroll"><table class="cutouts"><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def subheading(self, text: str) -> None:
        """Start a part of a section.

        Parameters
        ----------
        text
            Its heading.
        """
        self._parts.append(f"<h3>{html.escape(text)}</h3>")

    def notes(self, lines: Sequence[str]) -> None:
        """Add a list of remarks.

        Parameters
        ----------
        lines
            The remarks; nothing is added if there is none.
        """
        if lines:
            items = "".join(f"<li>{_inline(line)}</li>" for line in lines)
            self._parts.append(f'<ul class="notes">{items}</ul>')

    def code(self, text: str) -> None:
        """Add code, as it is.

        Parameters
        ----------
        text
            The code.
        """
        self._parts.append(f"<pre><code>{html.escape(text)}</code></pre>")

    def footer(self, text: str) -> None:
        """Add the last line.

        Parameters
        ----------
        text
            Its text.
        """
        self._parts.append(f"<footer>{_inline(text)}</footer>")

    def render(self) -> str:
        """Make the page.

        Returns
        -------
        text
            The complete document, which refers to nothing outside of itself.
        """
        # The empty icon keeps browsers from asking a server for one.
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<link rel="icon" href="data:,">\n<title>{html.escape(self._title)}</title>\n'
            f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
            + "\n".join(self._parts)
            + "\n</main>\n</body>\n"
            "</html>\n"
        )


def _inline(text: str) -> str:
    """Escape a text and turn its marks into elements."""
    escaped = html.escape(text)
    pieces = escaped.split("**")
    # An odd number of pieces is a closed set of marks; others are literal asterisks.
    if len(pieces) % 2:
        escaped = "".join(f"<b>{piece}</b>" if i % 2 else piece for i, piece in enumerate(pieces))
    for kind in ("single", "blended", "error"):
        start = f"{{{kind}|"
        while (begin := escaped.find(start)) >= 0 and (end := escaped.find("}", begin)) >= 0:
            inside = escaped[begin + len(start) : end]
            escaped = f'{escaped[:begin]}<span class="{kind}">{inside}</span>{escaped[end + 1 :]}'
    return escaped

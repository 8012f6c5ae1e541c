# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Cards of FITS headers as bytes, as cfitsio writes them for lsst.afw.

Astropy would format new cards its own way, and breaks long texts at words.
"""

from __future__ import annotations

__all__ = (
    "Entry",
    "find_value",
    "format_integer",
    "format_string",
    "join_entries",
    "renumber",
    "split_header",
    "with_integer",
)

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import astropy.io.fits

_CARD, _BLOCK = 80, 2880

_TEXT = 68
"""Characters of a text that fit into one card."""

_VALUE = 20
"""Width of the field of a value, after which a comment begins."""


@dataclass(frozen=True)
class Entry:
    """A keyword with its value: one card, or several where a long text is continued.

    Parameters
    ----------
    keyword
        The keyword; that of ``HIERARCH`` cards without this word; empty for blank cards.
    cards
        The cards, 80 characters each.
    """

    keyword: str
    cards: tuple[str, ...]

    @property
    def value(self) -> object:
        """The value: text, number or bool, `None` for those without."""
        value = astropy.io.fits.Card.fromstring("".join(self.cards)).value
        return None if isinstance(value, astropy.io.fits.card.Undefined) else value


def split_header(header: str) -> list[Entry]:
    """Split the text of a header into its entries before ``END``."""
    grouped: list[tuple[str, list[str]]] = []
    for start in range(0, len(header), _CARD):
        card = header[start : start + _CARD]
        keyword = card[:8].rstrip()
        if keyword == "END":
            break
        if keyword == "CONTINUE" and grouped:
            grouped[-1][1].append(card)
            continue
        if keyword == "HIERARCH":
            keyword = card[8:].partition("=")[0].strip()
        grouped.append((keyword, [card]))
    return [Entry(keyword, tuple(cards)) for keyword, cards in grouped]


def join_entries(entries: Iterable[Entry]) -> bytes:
    """Put a header together from its entries without ``END``, filled up to a multiple of 2880 bytes."""
    text = "".join(card for entry in entries for card in entry.cards) + "END".ljust(_CARD)
    return text.ljust(-(-len(text) // _BLOCK) * _BLOCK).encode("ascii")


def find_value(entries: Sequence[Entry], keyword: str) -> object:
    """Return the value of the first entry with a keyword, `None` if there is none."""
    return next((entry.value for entry in entries if entry.keyword == keyword), None)


def format_integer(keyword: str, value: int, comment: str) -> Entry:
    """Make an entry with an integer; the keyword has at most eight characters."""
    return Entry(keyword, (f"{keyword:<8}= {value:>{_VALUE}} / {comment}"[:_CARD].ljust(_CARD),))


def with_integer(entry: Entry, value: int) -> Entry:
    """Replace the integer of an entry in the fixed format; its comment stays."""
    (card,) = entry.cards
    return Entry(entry.keyword, (f"{card[:10]}{value:>{_VALUE}}{card[10 + _VALUE :]}",))


def format_string(keyword: str, text: str, comment: str = "") -> Entry:
    """Make an entry with a text, on as many cards as it needs; what is not ASCII becomes question marks."""
    text = text.encode("ascii", "replace").decode("ascii")
    cards = []
    for first, part in _continue_text(text):
        quoted = part.replace("'", "''")
        if first:
            card = f"{keyword:<8}= '{quoted:<8}'"
            card = f"{card:<{10 + _VALUE}} / {comment}" if comment else card
        else:
            card = f"CONTINUE  '{quoted}'"
        cards.append(card[:_CARD].ljust(_CARD))
    return Entry(keyword, tuple(cards))


def _continue_text(text: str) -> Iterator[tuple[bool, str]]:
    """Parts of a text that fit into a card with doubled quotes, all but the last with an ampersand."""
    start = 0
    while True:
        # Quotes are counted over all that would fit without any, as cfitsio does.
        room = _TEXT - text[start : start + _TEXT].count("'")
        if len(text) - start <= room:
            yield start == 0, text[start:]
            return
        yield start == 0, text[start : start + room - 1] + "&"
        start += room - 1


def renumber(entry: Entry, prefix: str, number: int) -> Entry:
    """Give an entry about a column, such as ``TTYPE3``, another number."""
    keyword = f"{prefix}{number}"
    return Entry(keyword, (f"{keyword:<8}{entry.cards[0][8:]}", *entry.cards[1:]))

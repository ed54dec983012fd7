"""Measure the width of text before anything is drawn, to make room for the text."""

from __future__ import annotations

import html
import re
import unicodedata

_WIDTHS = {
    191: "'", 222: "ijl", 260: "|", 278: " !,./:;I[\\]ft", 333: "()-`r", 334: "{}", 355: '"',
    389: "*", 469: "^", 500: "ckszJvxy", 556: "#$0123456789?L_abdeghnopqu", 584: "+<=>~",
    611: "FTZ", 667: "&ABEKPSVXY", 722: "CDHNRUw", 778: "GOQ", 833: "Mm", 889: "%", 944: "W",
    1015: "@",
}  # fmt: skip
"""Advance widths of Helvetica in thousandths of its size (Adobe's metrics; those of Arial and
Liberation Sans are the same)."""

_WIDTH = {letter: width / 1000 for width, letters in _WIDTHS.items() for letter in letters}

BREAK = "<br>"
"""A line break in the markup of plotly."""


def lines(text: str) -> list[str]:
    """Split a text in plotly's markup into its lines, and remove the markup."""
    plain = (re.sub(r"<[^>]*>", "", line) for line in re.split(r"<br\s*/?>", str(text)))
    return [html.unescape(line) for line in plain]


def width(text: str, size: float) -> float:
    """Return the width in pixels of the longest line of a text in plotly's markup, at a font size
    in pixels.

    A letter that is missing in Helvetica's metrics counts as an average letter, and a wide letter,
    as in Chinese and Japanese, as a whole em.
    """
    return size * max((sum(map(_advance, line)) for line in lines(text)), default=0.0)


def wrap_text(text: str, size: float, room: float) -> str:
    """Break a text between words where a line would be wider than the given room."""
    done = ""
    for word in str(text).replace(BREAK, " ").split(" "):
        longer = f"{done} {word}" if done else word
        too_wide = width(longer.rpartition(BREAK)[2], size) > room
        done = f"{done}{BREAK}{word}" if done and too_wide else longer
    return done


def _advance(letter: str) -> float:
    if letter in _WIDTH:
        return _WIDTH[letter]
    if unicodedata.combining(letter):
        return 0.0
    plain = unicodedata.normalize("NFD", letter)[0]
    wide = unicodedata.east_asian_width(letter) in "WF"
    return 1.0 if wide else _WIDTH.get(plain, 0.58)

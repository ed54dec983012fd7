"""Check that HTML is well formed, for tests of pages and of notebooks."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source",
        "track", "wbr", "line", "rect"}  # fmt: skip
"""Elements without an end tag, with those of SVG that are empty here."""


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read_html(text: str) -> _Reader:
    """Read a fragment or page, and check that its elements are closed in order.

    Returns:
        What was read: ``tags``, ``attributes`` as element, name and value, and ``text``.
    """
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert not reader.open, f"never closed: {reader.open}"
    return reader


def check_harmless(text: str) -> _Reader:
    """Check that a text is well formed, and that no part of it runs or loads."""
    reader = read_html(text)
    assert "script" not in reader.tags and "iframe" not in reader.tags
    for tag, name, value in reader.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in ("src", "href", "srcset", "action"), (tag, name)
        assert "url(" not in value and "javascript:" not in value.lower()
    return reader


class Loads(HTMLParser):
    """Collector of the addresses that a page would load: every attribute that loads."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            local = not value or value.startswith("#")
            if name in ("src", "srcset", "data", "poster", "action") and not local:
                self.fetched.append(f"{tag} {value}")
            if name == "href" and not local:
                self.fetched.append(f"{tag} {value}")
            if name == "style" and value and "url(" in value:
                self.fetched.append(value)


def assert_opens_offline(page: str) -> None:
    loads = Loads()
    loads.feed(page)
    assert not loads.fetched
    outside_scripts = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert "://" not in outside_scripts and "@import" not in outside_scripts
    assert page.count("Plotly.newPlot") >= 1

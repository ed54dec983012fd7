"""The tutorial runs, on a machine with no browser and no network, and shows what it did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat

from docs.hooks.notebooks import as_page, executed

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.ipynb"


def kinds(cell: Any) -> list[str]:
    """What a cell shows, without what is said on stderr."""
    shown = [one for one in cell.outputs if one.get("name") != "stderr"]
    return list(dict.fromkeys(one.output_type for one in shown))


def test_the_tutorial_runs_and_shows_what_it_shows_here() -> None:
    stored = nbformat.read(TUTORIAL, as_version=4)
    ran = executed(TUTORIAL)
    for before, after in zip(stored.cells, ran.cells, strict=True):
        if before.cell_type == "code":
            assert kinds(before) == kinds(after), before.source


def test_the_tutorial_is_a_page_with_its_pictures() -> None:
    text, pictures = as_page(TUTORIAL)
    assert pictures and all(f"({name})" in text for name in pictures)
    assert all(data.startswith(b"\x89PNG") for data in pictures.values())

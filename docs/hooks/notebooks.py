"""A notebook as a page: its text, its code, and what it printed and drew when it was run."""

from __future__ import annotations

from pathlib import Path

from nbconvert import MarkdownExporter


def as_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook's Markdown, and the pictures that it shows, by file name.

    Args:
        path: of the notebook, with its outputs.
    """
    exporter = MarkdownExporter()
    text, resources = exporter.from_filename(str(path))
    pictures = {f"{path.stem}_{name}": data for name, data in resources["outputs"].items()}
    for name in resources["outputs"]:
        text = text.replace(f"({name})", f"({path.stem}_{name})")
    return text, pictures

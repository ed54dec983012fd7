"""Write a page of all figures of the results below a root: small, and large on a click.

``python -m figures.pages.gallery results/ --out results/gallery.html`` writes one file that opens
with no network. Figures are grouped by analysis, and a figure is drawn when it comes into view.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from figures.command_line import read_runs, run_command
from figures.pages.page import figures_of, question_of, write_page
from figures.pages.report import provenance_line
from interp_steer.errors import FigureError
from interp_steer.results import Results

FOOTER = (
    "Made by figures.pages.gallery from finished results folders, whose checksums were verified "
    "as they were read. This page loads nothing from the network."
)


def write_gallery(
    runs: Sequence[Results], path: str | Path, title: str, *, match: str = "*"
) -> Path:
    """Write the figures of finished runs as one page of thumbnails.

    Args:
        runs: finished results folders, in the order of the page; runs of one analysis are
            grouped.
        path: the file of the page; its folder is created.
        title: title of the page.
        match: pattern of the names of the figures.

    Returns:
        The path.

    Raises:
        FigureError: when no figure has such a name, or a figure is damaged.
        RunError: when the page cannot be written.
    """
    figures = [one for one in figures_of(runs) if fnmatch.fnmatch(one["name"], match)]
    if not figures:
        raise FigureError(f"no figure of {len(runs)} results folders is called {match!r}.")
    for number, figure in enumerate(figures, start=1):
        run = runs[figure["run"]]
        figure.update(
            number=number,
            label=figure["name"].replace("_", " "),
            model=run.model or "no model",
            source=provenance_line(run),
        )
    return write_page(
        path,
        "gallery.html.j2",
        runs,
        figures,
        title=title,
        groups=_groups(runs, figures),
        footer=FOOTER,
    )


def _groups(runs: Sequence[Results], figures: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Group the figures by analysis, in the order of the analyses."""
    groups: dict[str, dict[str, Any]] = {}
    for figure in figures:
        run = runs[figure["run"]]
        group = groups.setdefault(
            run.analysis,
            {
                "id": f"group-{len(groups) + 1}",
                "analysis": run.analysis,
                "question": question_of(run)[0],
                "figures": [],
            },
        )
        group["figures"].append(figure)
    for group in groups.values():
        models = list(dict.fromkeys(figure["model"] for figure in group["figures"]))
        group["models"] = ", ".join(models)
        group["several"] = len(models) > 1
    return list(groups.values())


@dataclass(frozen=True)
class Config:
    """Show the figures of all results folders below a root in one offline HTML page."""

    root: tyro.conf.Positional[Path] = Path("results")
    """Folder to look for results folders in."""
    out: Path | None = None
    """File of the page; by default gallery.html in the root."""
    title: str = "Gallery"
    """Title of the page."""
    match: str = "*"
    """Pattern of the names of the figures, such as accuracy_*."""


def main(config: Config) -> Path:
    """Write the gallery of every finished folder below the root, and return its path.

    Raises:
        RunError: when no folder can be read.
        FigureError: when no folder has a figure.
    """
    path = config.out or config.root / "gallery.html"
    return write_gallery(read_runs(config.root), path, config.title, match=config.match)


if __name__ == "__main__":
    run_command(Config, main, "figures.pages.gallery")

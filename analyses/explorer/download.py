"""Print a figure of the page into a file for a paper."""

from __future__ import annotations

import json
import tempfile
import threading
from pathlib import Path
from typing import Any

import plotly.io

from analyses.explorer.jobs import ExplorerError
from analyses.explorer.workspace import Workspace
from figures.printing.export import FORMATS, print_drawing
from figures.style.drawing import Drawing

_PRINTER = threading.Lock()
"""One headless browser prints at a time, for all tabs."""


def print_figure(drawing: Drawing, name: str, kind: str, workspace: Workspace) -> bytes:
    """Return the content of a figure's file, with the model's name and fingerprint in it.

    Args:
        drawing: the figure and its caption.
        name: the figure's name.
        kind: one of :data:`figures.printing.export.FORMATS`.
        workspace: the workspace of the model that the figure shows.

    Raises:
        ExplorerError: if the kind is unknown.
        FigureError: if no browser is installed to print with.
    """
    if kind not in FORMATS:
        raise ExplorerError(f"Figures are saved as {', '.join(FORMATS)}, not as {kind[:20]!r}.")
    figure: Any = json.loads(str(plotly.io.to_json(drawing.figure, engine="json")))
    model = workspace.model
    with _PRINTER, tempfile.TemporaryDirectory() as folder:
        path = print_drawing(
            figure,
            Path(folder) / f"{name}.{kind}",
            caption=drawing.caption,
            analysis="explore",
            model=model.name,
            fingerprint=model.fingerprint,
        )
        return path.read_bytes()

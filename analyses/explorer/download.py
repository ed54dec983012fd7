"""A figure of the page as a file for a paper."""

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

_ONE = threading.Lock()
"""A browser prints; one is enough for all tabs."""


def printed(drawing: Drawing, name: str, kind: str, shelf: Workspace) -> bytes:
    """The file of a figure, stamped with the model that it is of.

    Args:
        drawing: what is printed.
        name: of the figure.
        kind: one of :data:`figures.printing.export.FORMATS`.
        shelf: whose model it shows.

    Raises:
        ExplorerError: for another kind.
        FigureError: when there is no browser to print with.
    """
    if kind not in FORMATS:
        raise ExplorerError(f"Figures are saved as {', '.join(FORMATS)}, not as {kind[:20]!r}.")
    figure: Any = json.loads(str(plotly.io.to_json(drawing.figure, engine="json")))
    model = shelf.model
    with _ONE, tempfile.TemporaryDirectory() as folder:
        path = print_drawing(
            figure,
            Path(folder) / f"{name}.{kind}",
            caption=drawing.caption,
            analysis="explore",
            model=model.name,
            fingerprint=model.fingerprint,
        )
        return path.read_bytes()

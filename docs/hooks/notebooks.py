"""A notebook as a page: its text, its code, and what it printed and drew when it was run.

``python docs/hooks/notebooks.py docs/tutorial.ipynb`` runs it anew and keeps what it shows.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

from figures.printing.export import print_figures


def as_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook's Markdown, and the pictures that it shows, by file name.

    Args:
        path: of the notebook, with its outputs.
    """
    text, resources = MarkdownExporter().from_filename(str(path))
    pictures = {}
    for name, data in resources["outputs"].items():
        pictures[f"{path.stem}_{name}"] = data
        text = text.replace(f"![png]({name})", f"![What the cell drew]({path.stem}_{name})")
    return _PRINTED.sub(_as_output, text), pictures


_PRINTED = re.compile(r"(?:^ {4}.*\n|^\s*\n(?=\s*^ {4}))+", re.M)
"""What nbconvert makes of a cell's output: an indented block."""


def _as_output(found: re.Match[str]) -> str:
    """A printed output as a block that looks other than code; code in fences stays as it is."""
    text = found.string
    if text.count("\n```", 0, found.start()) % 2 or not found[0].strip():
        return found[0]
    said = textwrap.dedent(found[0]).strip("\n")
    return f"\n``` {{ .text .output .no-copy }}\n{said}\n```\n"


def executed(path: Path) -> Any:
    """A notebook, run in a kernel of its own at the root of the checkout.

    Args:
        path: of the notebook. Its figures are left as plotly's own data, for which no browser is
            needed.

    Raises:
        nbclient.exceptions.CellExecutionError: when a cell does.
    """
    notebook = nbformat.read(path, as_version=4)
    quiet = {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1"}
    environment = os.environ | quiet | {"PLOTLY_RENDERER": "plotly_mimetype"}
    client = NotebookClient(notebook, timeout=600, kernel_name="python3")
    client.execute(cwd=str(path.parents[1]), env=environment)
    return notebook


def kept(notebook: Any) -> Any:
    """With figures as pictures, and without what a reader does not need: warnings, and plain texts
    of what is shown better.

    Raises:
        ValueError: when there is no browser to print figures with, which it says on stderr.
    """
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        outputs: list[Any] = []
        for one in cell.get("outputs", []):
            data = one.get("data", {})
            if "text/html" in data:
                data.pop("text/plain", None)
            if _PLOTLY in data:
                one.data = {"image/png": _printed(data[_PLOTLY])}
            if outputs and one.get("name") == outputs[-1].get("name") == "stdout":
                outputs[-1].text += one.text
            elif one.get("name") != "stderr":
                outputs.append(one)
        if "outputs" in cell:
            cell.outputs = outputs
    return notebook


_PLOTLY = "application/vnd.plotly.v1+json"


def _printed(figure: dict[str, Any]) -> str:
    """A figure as a PNG, the way notebooks hold one."""
    with tempfile.TemporaryDirectory() as aside:
        drawn = {key: figure[key] for key in ("data", "layout")}
        (Path(aside) / "figure.json").write_text(json.dumps(drawn), "utf-8")
        (picture,) = print_figures(aside, ("png",))
        return base64.b64encode(picture.read_bytes()).decode()


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        nbformat.write(kept(executed(Path(argument).resolve())), argument)

"""PDF, SVG and PNG of figures, through one headless browser for all of them."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FORMATS = ("pdf", "svg", "png")
PNG_SCALE = 3
"""Pixels of a PNG per pixel of the figure: 288 per inch."""

_said: set[str] = set()


def browser() -> str | None:
    """Path of a Chrome or Chromium that can print figures, or None."""
    if importlib.util.find_spec("kaleido") is None:
        return None
    from choreographer.browsers.chromium import Chromium

    named = os.environ.get("BROWSER_PATH")
    if named:
        return named if Path(named).is_file() else None
    return Chromium.find_browser(skip_local=False)


def print_figures(folder: str | Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Print every figure of a folder (its plotly ``.json``) beside it.

    Where there is no browser, or it fails, a line says so once and the HTML figures stand alone:
    a run is never lost for want of a PDF.

    Args:
        folder: holds ``<name>.json`` figures.
        formats: of ``pdf``, ``svg`` and ``png``.

    Returns:
        The files written.
    """
    figures = [path for path in sorted(Path(folder).glob("*.json")) if path.stem != "captions"]
    path = browser()
    if path is None:
        _say(
            "figures are HTML only: PDF, SVG and PNG need kaleido and a Chrome or Chromium "
            "(pip install kaleido; then apt-get install chromium, or kaleido_get_chrome)"
        )
        return []
    import plotly.io

    jobs: list[dict[str, Any]] = []
    for file in figures:
        figure = plotly.io.from_json(file.read_text("utf-8"), skip_invalid=True)
        for kind in formats:
            scale = PNG_SCALE if kind == "png" else 1
            opts = {"format": kind, "scale": scale}
            jobs.append({"fig": figure, "path": str(file.with_suffix(f".{kind}")), "opts": opts})
    if not jobs:
        return []
    failure = _print(jobs, timeout=30 + 10 * len(jobs))
    if failure:
        _say(f"figures are HTML only: {path} could not print them ({failure})")
    return [Path(job["path"]) for job in jobs if Path(job["path"]).is_file()]


def _print(jobs: list[dict[str, Any]], timeout: float) -> str | None:
    """Print all jobs in one browser; returns what went wrong, if anything did.

    In a thread of its own, since a notebook's event loop is already running in this one, and with
    a time limit, since a browser that cannot start may never answer.
    """
    import kaleido

    outcome: list[str | None] = [f"no answer within {timeout:.0f} s"]

    async def work() -> None:
        # MathJax would be fetched from a content network; no figure here uses it.
        options = {"mathjax": False, "n": 1}
        task = kaleido.write_fig_from_object(jobs, kopts=options)  # type: ignore[arg-type]
        await asyncio.wait_for(task, timeout)

    def thread() -> None:
        try:
            asyncio.run(work())
            outcome[0] = None
        except Exception as error:
            outcome[0] = (
                f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            )

    worker = threading.Thread(target=thread, daemon=True)
    worker.start()
    worker.join(timeout + 5)
    return outcome[0]


def _say(line: str) -> None:
    """Say a line once on stderr, however many folders meet the same want."""
    if line not in _said:
        _said.add(line)
        print(line, file=sys.stderr)

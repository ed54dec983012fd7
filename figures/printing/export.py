"""Print figures as PDF, SVG and PNG, with one headless browser for all of them.

``python -m figures.printing.export RESULTS --format pdf svg --column single`` prints every figure
of one results folder, or of all below a root, for one or two columns of a page: the width is the
column's, text keeps its 8 to 9 points, fonts are embedded, maps are drawn without pixels, the page
ends where the figure does, and each file says in its metadata where its numbers are from.
``python -m figures.printing.export --stamp FILE`` reads this metadata back.
"""

from __future__ import annotations

import asyncio
import fnmatch
import hashlib
import importlib.util
import json
import os
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from tqdm import tqdm

from figures.command_line import read_runs, run_command
from figures.printing.column_width import TooNarrow, fit_to_column
from figures.printing.heatmap_cells import draw_rectangles
from figures.printing.stamps import Stamp, add_stamp, need_pypdf, read_stamp, stamp_of
from figures.style.plotly_layout import Figure, read_figure
from interp_steer.errors import FigureError, InterpSteerError, RunError
from interp_steer.results import Results, explain_write_errors
from interp_steer.storage import write_atomically

FORMATS = ("pdf", "svg", "png")
PNG_SCALE = 3
"""Pixels of a PNG per pixel of the figure, which gives 288 per inch."""

STARTING, PRINTING = 40, 60
"""Seconds that a browser may take to start, and to print one figure."""

MISSING = (
    "PDF, SVG and PNG need kaleido and a Chrome or Chromium "
    "(pip install 'interp_steer[export]'; then apt-get install chromium, or kaleido_get_chrome)"
)

_LINES_PRINTED: set[str] = set()


@dataclass(frozen=True)
class Sheet:
    """Figure to print, with the path and the stamp of its file."""

    figure: Figure
    path: Path
    stamp: Stamp

    @property
    def kind(self) -> str:
        return self.path.suffix[1:]


def browser() -> str | None:
    """Return the path of a Chrome or Chromium that can print figures, or None."""
    if importlib.util.find_spec("kaleido") is None:
        return None
    from choreographer.browsers.chromium import Chromium

    named = os.environ.get("BROWSER_PATH")
    if named:
        return named if Path(named).is_file() else None
    return Chromium.find_browser(skip_local=False)


def print_figures(folder: str | Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Print every figure of a folder (its plotly ``.json``) into the folder, at its own size.

    When the browser is missing or fails, one line on stderr says so and only the HTML figures
    remain: a run never fails because of a PDF.

    Args:
        folder: the folder of the ``<name>.json`` figures.
        formats: some of ``pdf``, ``svg`` and ``png``.

    Returns:
        The files written.
    """
    files = [path for path in sorted(Path(folder).glob("*.json")) if path.stem != "captions"]
    if not files:
        return []
    if browser() is None:
        _say(f"figures are HTML only: {MISSING}")
        return []
    sheets: list[Sheet] = []
    for file in files:
        try:
            figure, stamp = draw_rectangles(read_figure(file)), stamp_of(file)
        except InterpSteerError as error:
            _say(f"a figure was not printed: {error}")
            continue
        sheets += [Sheet(figure, file.with_suffix(f".{kind}"), stamp) for kind in formats]
    written, failures = _print_all(sheets)
    for failure in failures:
        _say(f"figures are HTML only: {browser()} could not print them ({failure})")
    return written


def export(
    runs: Iterable[Results],
    formats: Sequence[str] = ("pdf",),
    columns: Sequence[str] = ("single",),
    *,
    match: str = "*",
    out: Path | None = None,
    root: Path | None = None,
) -> list[Path]:
    """Print the figures of results folders for columns of a page.

    A figure that has no room in one column is printed across two columns, and a figure that has no
    room there at its own width; a line on stderr says so.

    Args:
        runs: finished results folders.
        formats: some of ``pdf``, ``svg`` and ``png``.
        columns: some of ``single`` and ``double``.
        match: pattern of the names of the figures.
        out: folder of the files, with one folder per results folder; by default ``print/`` in each
            results folder.
        root: folder to which the names of the folders below ``out`` are relative.

    Returns:
        The files, ``<column>/<figure>.<format>``.

    Raises:
        FigureError: when the browser is missing or fails, a figure is damaged, or no figure has
            such a name.
        RunError: when a file cannot be written.
    """
    if browser() is None:
        raise FigureError(f"nothing can be printed: {MISSING}.")
    sheets: list[Sheet] = []
    for run in runs:
        home = run.path / "print" if out is None else out / run.path.relative_to(root or run.path)
        for name in fnmatch.filter(run.captions, match):
            file = run.figure(name)
            figure, stamp = read_figure(file), stamp_of(file)
            for column, set_again in _fit_columns(figure, columns, file).items():
                folder = home / column
                with explain_write_errors(folder):
                    folder.mkdir(parents=True, exist_ok=True)
                drawn = draw_rectangles(set_again)
                sheets += [Sheet(drawn, folder / f"{name}.{kind}", stamp) for kind in formats]
    if not sheets:
        raise FigureError(f"no figure is called {match!r}; figures/captions.json names them.")
    written, failures = _print_all(sheets)
    if failures:
        raise FigureError(f"{browser()} could not print {'; '.join(failures[:3])}.")
    for path in written:
        _check_fonts(path)
    return written


def print_drawing(figure: Figure, path: Path, **origin: Any) -> Path:
    """Print one figure from outside of a results folder, at its own size.

    Args:
        figure: the figure in the form of plotly's JSON.
        path: the file, whose suffix is its format.
        origin: fields of its :class:`figures.printing.stamps.Stamp`, such as ``model`` and
            ``caption``.

    Returns:
        The path.

    Raises:
        FigureError: when the browser is missing or fails.
        RunError: when the file cannot be written.
    """
    if browser() is None:
        raise FigureError(f"nothing can be printed: {MISSING}.")
    drawing = hashlib.sha256(json.dumps(figure, sort_keys=True).encode()).hexdigest()
    sheet = Sheet(draw_rectangles(figure), path, Stamp(path.stem, drawing, **origin))
    _, failures = _print_all([sheet])
    if failures:
        raise FigureError(f"{browser()} could not print {failures[0]}.")
    return path


def _fit_columns(figure: Figure, columns: Sequence[str], file: Path) -> dict[str, Figure]:
    """Return the figure for each column that has room for it."""
    figures: dict[str, Figure] = {}
    for asked in columns:
        column = asked
        while column not in figures:
            try:
                figures[column] = fit_to_column(figure, column)
            except TooNarrow as error:
                if column == "double":
                    _say(f"{file}: set at its own width, since {error}")
                    figures[column] = figure
                else:
                    _say(f"{file}: set across two columns, since {error}")
                    column = "double"
    return figures


def fonts(path: str | Path) -> dict[str, tuple[str, bool]]:
    """Return the fonts of a PDF: by name, the kind of each font and whether the font is embedded.

    Type 3 fonts, which journals refuse, are drawings of letters instead of a font.

    Raises:
        FigureError: when pypdf is not installed.
    """
    by_name = {}
    for page in need_pypdf().PdfReader(path).pages:
        resources = page["/Resources"].get_object()
        for name, reference in resources.get("/Font", {}).items():
            font = reference.get_object()
            inner = [one.get_object() for one in font.get("/DescendantFonts", [])] or [font]
            files = ("/FontFile", "/FontFile2", "/FontFile3")
            described = [one.get("/FontDescriptor", {}).get_object() for one in inner]
            embedded = all(any(key in one for key in files) for one in described)
            kind = str(inner[0].get("/Subtype", "")).lstrip("/")
            by_name[str(font.get("/BaseFont", name)).lstrip("/")] = (kind, embedded)
    return by_name


def _check_fonts(path: Path) -> None:
    if path.suffix != ".pdf":
        return
    for name, (kind, embedded) in fonts(path).items():
        if kind == "Type3" or not embedded:
            how = "as drawings (Type 3)" if kind == "Type3" else "by name only"
            _say(
                f"{path}: the font {name} is included {how}; install Liberation Sans or another "
                "TrueType font (apt-get install fonts-liberation) and print again"
            )


def _print_all(sheets: Sequence[Sheet]) -> tuple[list[Path], list[str]]:
    """Print all sheets in one browser, and return the files and the failures.

    Printing has a separate thread, because the event loop of a notebook runs in this one, and a
    time limit, because a browser that cannot start may never answer.
    """
    written: list[Path] = []
    failures: list[str] = []
    if not sheets:
        return written, failures

    def thread() -> None:
        try:
            asyncio.run(_print_sheets(sheets, written, failures))
        except RunError as error:
            failures.append(str(error))
        except Exception as error:
            failures.append(_words(error))

    worker = threading.Thread(target=thread, daemon=True)
    worker.start()
    worker.join(STARTING + PRINTING * len(sheets) + 5)
    if worker.is_alive():
        failures.append("no answer")
    return written, list(dict.fromkeys(failures))


async def _print_sheets(sheets: Sequence[Sheet], written: list[Path], failures: list[str]) -> None:
    import kaleido

    printer = kaleido.Kaleido(n=1, timeout=PRINTING, page_generator=_Page())  # type: ignore[arg-type]
    try:
        await asyncio.wait_for(printer.open(), STARTING)
        for sheet in tqdm(sheets, desc="printing", unit="file", disable=None):
            scale = PNG_SCALE if sheet.kind == "png" else 1
            try:
                opts: Any = {"format": sheet.kind, "scale": scale}
                file = await printer.calc_fig(sheet.figure, opts)
            except Exception as error:
                failures.append(f"{sheet.path.name}: {_words(error)}")
                continue
            with explain_write_errors(sheet.path), write_atomically(sheet.path) as aside:
                aside.write_bytes(add_stamp(file, sheet.kind, sheet.stamp, scale))
            written.append(sheet.path)
    finally:
        await asyncio.wait_for(printer.close(), STARTING)


class _Page:
    """Page of kaleido without margins, which would shrink a PDF and its text."""

    def generate_index(self) -> str:
        import kaleido

        # MathJax would be loaded from the network; no figure uses MathJax.
        index = kaleido.PageGenerator(mathjax=False).generate_index()
        style = "<style>@page { margin: 0; } img { display: block; }</style>"
        return index.replace("</head>", f"{style}</head>")


def _words(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _say(line: str) -> None:
    """Print a line on stderr, but only once in the process."""
    if line not in _LINES_PRINTED:
        _LINES_PRINTED.add(line)
        print(line, file=sys.stderr)


@dataclass(frozen=True)
class Config:
    """Print the figures of results folders for one or two columns of a page."""

    results: tyro.conf.Positional[Path] = Path("results")
    """A results folder, or a folder to look for results folders in."""
    format: tuple[Literal["pdf", "svg", "png"], ...] = ("pdf",)
    """Formats of the files."""
    column: tuple[Literal["single", "double"], ...] = ("single",)
    """Widths: one column of a page (3.4 inches), two (7 inches), or both."""
    match: str = "*"
    """Pattern of the names of the figures, such as accuracy_*."""
    out: Path | None = None
    """Folder of the files; by default print/ in each results folder."""
    stamp: Path | None = None
    """Instead of printing, show the origin of the numbers of this printed figure."""


def main(config: Config) -> str:
    """Print the figures of the config, or read a stamp; return the text for stdout."""
    if config.stamp is not None:
        return json.dumps(asdict(read_stamp(config.stamp)), indent=2, ensure_ascii=False)
    written = export(
        read_runs(config.results),
        config.format,
        config.column,
        match=config.match,
        out=config.out,
        root=config.results,
    )
    return "\n".join(map(str, written))


if __name__ == "__main__":
    run_command(Config, main, "figures.printing.export")

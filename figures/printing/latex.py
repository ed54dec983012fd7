"""Write LaTeX tables of the numbers of analyses, with the rules of booktabs.

``python -m figures.printing.latex RESULTS --match 'accuracy.*'`` writes, for each results folder,
its summary as a table: name, value and interval; and, where its records are those of
`figures.accuracy_table`, that table too. A document includes the files by ``\\input``; the
comments at the top of a file give the origin of its numbers and the packages that it needs.
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from figures.command_line import read_runs, run_command
from figures.steering.accuracy_table import (
    COLUMNS,
    accuracy_caption,
    accuracy_lines,
    is_accuracy_table,
)
from interp_steer.errors import FigureError
from interp_steer.results import Number, Results, Row, explain_write_errors, number_text, rows
from interp_steer.storage import write_atomically

LONG = 40
"""Number of rows from which on a table may break over pages."""

_WORDS = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''",
    "\u2212": "$-$", "\u2264": r"$\le$", "\u2265": r"$\ge$", "\u00b7": r"$\cdot$",
    "\u00d7": r"$\times$", "\u00b1": r"$\pm$", "\u2192": r"$\to$", "\u2026": r"\dots{}",
    "\u2013": "--", "\u2014": "---", "\u2018": "`", "\u2019": "'", "\u201c": "``",
    "\u201d": "''", "\u00a0": "~",
    **{letter: f"\\{letter}" for letter in "{}$&#_%"},
}  # fmt: skip
"""Replacements of letters that LaTeX interprets, or that its fonts lack."""

_GREEK = {
    chr(code): unicodedata.name(chr(code)).rsplit(" ", 1)[-1].lower()
    for code in range(0x3B1, 0x3CA)
    if code != 0x3C2
}
"""Names of small Greek letters, which LaTeX shares except for lamda and omicron."""


def escape_latex(text: str) -> str:
    """Escape a text letter by letter, so that LaTeX prints the text as it is.

    Letters of western European languages stay; any other letter that LaTeX's standard fonts lack
    is written as its code point, such as U+4E2D.
    """
    return "".join(map(_letter, " ".join(text.split())))


def _letter(letter: str) -> str:
    if letter in _WORDS:
        return _WORDS[letter]
    if letter in _GREEK:
        name = _GREEK[letter]
        return "o" if name == "omicron" else f"$\\{'lambda' if name == 'lamda' else name}$"
    if letter.isascii():
        return letter if letter.isprintable() else ""
    western = unicodedata.category(letter)[0] == "L" and ord(letter) < 0x100
    western = western and letter not in "\u00d0\u00f0\u00de\u00fe\u00aa\u00ba\u00b5"
    return letter if western else f"U+{ord(letter):04X}"


def summary_table(run: Results, match: str = "*") -> str:
    """Write the numbers of a summary as a LaTeX table.

    Names with the same beginning, up to the first dot, are grouped under it; names keep their
    order.

    Args:
        run: a finished results folder.
        match: pattern of the names of the numbers.

    Returns:
        A ``tabular``, or a ``longtable`` for many rows, under comments with the provenance.

    Raises:
        FigureError: when no number has such a name.
    """
    numbers = [row for row in rows(run.summary) if fnmatch.fnmatchcase(row.name, match)]
    if not numbers:
        some = ", ".join(row.name for row in rows(run.summary)[:4]) or "none"
        raise FigureError(
            f"{run.path} has no number called {match!r}; it has {len(rows(run.summary))}, such as "
            f"{some}."
        )
    sizes = {name: one.get("n") for name, one in (run.provenance.get("estimates") or {}).items()}
    counted = any(sizes.get(row.name) for row in numbers)
    header = ["quantity", "value", r"95\,\% interval", *(["$n$"] if counted else [])]
    body: list[str] = []
    for group, members in _groups(numbers).items():
        if group:
            body.append(_line([rf"\emph{{{escape_latex(group)}}}", *[""] * (len(header) - 1)]))
        for row in members:
            name = escape_latex(row.name.removeprefix(f"{group}.") if group else row.name)
            size = sizes.get(row.name)
            cells = [rf"\quad {name}" if group else name, _number(row.value), _interval(row)]
            body.append(_line([*cells, *([f"{size:,}" if size else ""] if counted else [])]))
    columns = "@{}lr" + "l" + "r" * counted + "@{}"
    return _comment(run, len(body)) + _table(columns, [_line(header)], body)


def accuracy_booktabs(run: Results) -> str:
    """Write the table of `figures.accuracy_table` in LaTeX.

    Args:
        run: a finished results folder whose records are an accuracy table.

    Raises:
        FigureError: when the records are of another form.
    """
    records = run.records()
    if records is None or not is_accuracy_table(records):
        raise FigureError(
            f"the records of {run.path} do not form an accuracy table; run instruction_table."
        )
    body: list[str] = []
    models = accuracy_lines(records)
    shown = [c for c in COLUMNS if any(line.get(c) for lines in models.values() for line in lines)]
    for model, lines in models.items():
        if body:
            body.append(r"\addlinespace")
        name = escape_latex(model.rpartition("/")[2])
        body.append(rf"\multicolumn{{{len(shown)}}}{{@{{}}l}}{{\textbf{{{name}}}}} \\")
        body += [_line([_typeset_cell(line.get(column, "")) for column in shown]) for line in lines]
    header = _line([escape_latex(COLUMNS[column][0]) for column in shown])
    caption = f"% {' '.join(accuracy_caption(records).split())}\n"
    columns = "@{}l" + "r" * (len(shown) - 1) + "@{}"
    return _comment(run, len(body)) + caption + _table(columns, [header], body)


def write_tables(run: Results, folder: Path, match: str = "*") -> list[Path]:
    """Write the tables of a results folder.

    Args:
        run: a finished results folder.
        folder: folder of ``summary.tex``, and of ``accuracy.tex`` if the records are an accuracy
            table.
        match: see :func:`summary_table`.

    Returns:
        The files.

    Raises:
        FigureError: when no number of the summary has such a name.
        RunError: when a file cannot be written.
    """
    tables = {"summary": summary_table(run, match)}
    records = run.records()
    if records is not None and is_accuracy_table(records):
        tables["accuracy"] = accuracy_booktabs(run)
    written = []
    for name, table in tables.items():
        path = folder / f"{name}.tex"
        with explain_write_errors(path):
            folder.mkdir(parents=True, exist_ok=True)
            with write_atomically(path) as aside:
                aside.write_text(table, "utf-8")
        written.append(path)
    return written


def _groups(numbers: Sequence[Row]) -> dict[str, list[Row]]:
    """Group rows by the beginning of their names; rows that stand alone come first, under no
    name."""
    beginnings = [row.name.partition(".")[0] for row in numbers]
    groups: dict[str, list[Row]] = {"": []}
    for row, begins in zip(numbers, beginnings, strict=True):
        alone = beginnings.count(begins) == 1 or row.name == begins
        groups.setdefault("" if alone else begins, []).append(row)
    return {name: members for name, members in groups.items() if members}


def _number(value: Number) -> str:
    """Return a number as the report has it, with its sign and power in the notation of LaTeX."""
    text = number_text(value)
    power = re.fullmatch(r"(-?[\d.]+)e([+-]\d+)", text)
    if power:
        return rf"${power[1]}\times 10^{{{int(power[2])}}}$"
    return text.replace("-", "$-$").replace(",", r"\,")


def _interval(row: Row) -> str:
    if row.low is None or row.high is None:
        return ""
    # In braces, because LaTeX reads a bracket after the end of a row as an argument.
    return f"{{[{_number(row.low)}, {_number(row.high)}]}}"


def _typeset_cell(text: str) -> str:
    """Convert a cell of words and numbers; a hyphen before a digit becomes a minus sign."""
    signed = re.sub(r"(?<![\w])-(?=\d)", "\u2212", text)
    return f"{{{escape_latex(signed)}}}" if text.startswith("[") else escape_latex(signed)


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells).rstrip() + r" \\"


def _table(columns: str, header: Sequence[str], body: Sequence[str]) -> str:
    """Write the environment, with the rules of booktabs."""
    long = len(body) > LONG
    opening = [r"\toprule", *header, r"\midrule", *([r"\endhead"] if long else [])]
    name = "longtable" if long else "tabular"
    inner = "\n".join(f"  {line}" for line in (*opening, *body, r"\bottomrule"))
    return f"\\begin{{{name}}}{{{columns}}}\n{inner}\n\\end{{{name}}}\n"


def _comment(run: Results, length: int) -> str:
    """Write where the numbers are from, and the packages that the document must load."""
    origin: Mapping[str, Any] = run.provenance
    source = origin.get("source") or {}
    dirty = " with local changes" if source.get("dirty") else ""
    needed = r"\usepackage{booktabs}" + r" \usepackage{longtable}" * (length > LONG)
    lines = [
        f"From {run.path.as_posix()}, by python -m figures.printing.latex",
        f"analysis {run.analysis}, config {run.path.name}, seed {run.seed}",
        f"model {run.model or 'none'}, fingerprint {origin['model'].get('fingerprint')}",
        *(f"data {name}: {value}" for name, value in (origin.get("data") or {}).items()),
        f"commit {source.get('commit')}{dirty}",
        f"needs {needed}",
    ]
    return "".join(f"% {' '.join(line.split())}\n" for line in lines)


@dataclass(frozen=True)
class Config:
    """Write the numbers of results folders as LaTeX tables."""

    results: tyro.conf.Positional[Path] = Path("results")
    """A results folder, or a folder to look for results folders in."""
    match: str = "*"
    """Pattern of the names of the numbers, such as accuracy.*."""
    out: Path | None = None
    """Folder of the files, with one folder per results folder; by default print/ in each results
    folder."""


def main(config: Config) -> str:
    """Write the tables, and return their paths, one per line."""
    written: list[Path] = []
    refused: list[FigureError] = []
    for run in read_runs(config.results):
        below = run.path.relative_to(config.results)
        folder = run.path / "print" if config.out is None else config.out / below
        try:
            written += write_tables(run, folder, config.match)
        except FigureError as error:
            refused.append(error)
    if not written:
        raise refused[0]
    return "\n".join(map(str, written))


if __name__ == "__main__":
    run_command(Config, main, "figures.printing.latex")

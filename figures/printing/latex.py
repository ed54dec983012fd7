"""LaTeX tables of what analyses found, with the rules of booktabs.

``python -m figures.printing.latex RESULTS --match 'accuracy.*'`` writes, for each results folder, its
summary as a table: name, value and interval; and, where its records are those of
`figures.accuracy_table`, that table too. The files go into a document by ``\\input``; each says in
comments at its top where its numbers are from and what the document must load.
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

from figures.command_line import command, gathered
from figures.steering.accuracy_table import COLUMNS, accuracy_caption, accuracy_lines, fits
from interp_steer.errors import FigureError
from interp_steer.results.finished import Results
from interp_steer.results.folders import explain_write_errors
from interp_steer.results.summary import Number, Row, number_text, rows
from interp_steer.storage.atomic import write_atomically

LONG = 40
"""Rows from which on a table may break over pages."""

_WORDS = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''",
    "\u2212": "$-$", "\u2264": r"$\le$", "\u2265": r"$\ge$", "\u00b7": r"$\cdot$",
    "\u00d7": r"$\times$", "\u00b1": r"$\pm$", "\u2192": r"$\to$", "\u2026": r"\dots{}",
    "\u2013": "--", "\u2014": "---", "\u2018": "`", "\u2019": "'", "\u201c": "``",
    "\u201d": "''", "\u00a0": "~",
    **{letter: f"\\{letter}" for letter in "{}$&#_%"},
}  # fmt: skip
"""Letters that LaTeX reads as something else, or that its fonts lack."""

_GREEK = {
    chr(code): unicodedata.name(chr(code)).rsplit(" ", 1)[-1].lower()
    for code in range(0x3B1, 0x3CA)
    if code != 0x3C2
}
"""Small Greek letters by their names, which are LaTeX's too but for lamda and omicron."""


def escaped(text: str) -> str:
    """A text as LaTeX prints it, letter by letter, whatever it holds.

    Letters of western European languages stay; any other that LaTeX's standard fonts lack is
    written as its code point, such as U+4E2D.
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
    """The numbers of a summary as a LaTeX table.

    Names that begin alike, up to their first dot, stand together under it; names keep their order.

    Args:
        run: a finished results folder.
        match: which numbers, by a pattern of their names.

    Returns:
        A ``tabular``, or a ``longtable`` of many rows, under comments with its provenance.

    Raises:
        FigureError: when no number has such a name.
    """
    found = [row for row in rows(run.summary) if fnmatch.fnmatchcase(row.name, match)]
    if not found:
        some = ", ".join(row.name for row in rows(run.summary)[:4]) or "none"
        raise FigureError(
            f"{run.path} has no number called {match!r}; it has {len(rows(run.summary))}, such as "
            f"{some}."
        )
    sizes = {name: one.get("n") for name, one in (run.provenance.get("estimates") or {}).items()}
    counted = any(sizes.get(row.name) for row in found)
    header = ["quantity", "value", r"95\,\% interval", *(["$n$"] if counted else [])]
    body: list[str] = []
    for group, members in _groups(found).items():
        if group:
            body.append(_line([rf"\emph{{{escaped(group)}}}", *[""] * (len(header) - 1)]))
        for row in members:
            name = escaped(row.name.removeprefix(f"{group}.") if group else row.name)
            size = sizes.get(row.name)
            cells = [rf"\quad {name}" if group else name, _number(row.value), _interval(row)]
            body.append(_line([*cells, *([f"{size:,}" if size else ""] if counted else [])]))
    columns = "@{}lr" + "l" + "r" * counted + "@{}"
    return _comment(run, len(body)) + _table(columns, [_line(header)], body)


def accuracy_booktabs(run: Results) -> str:
    """The table of `figures.accuracy_table` in LaTeX.

    Args:
        run: a finished results folder whose records are that table.

    Raises:
        FigureError: when they are not.
    """
    records = run.records()
    if records is None or not fits(records):
        raise FigureError(
            f"the records of {run.path} are no accuracy table; see instruction_table."
        )
    body: list[str] = []
    models = accuracy_lines(records)
    kept = [c for c in COLUMNS if any(line.get(c) for lines in models.values() for line in lines)]
    for model, lines in models.items():
        if body:
            body.append(r"\addlinespace")
        name = escaped(model.rpartition("/")[2])
        body.append(rf"\multicolumn{{{len(kept)}}}{{@{{}}l}}{{\textbf{{{name}}}}} \\")
        body += [_line([_typeset(line.get(column, "")) for column in kept]) for line in lines]
    header = _line([escaped(COLUMNS[column][0]) for column in kept])
    said = f"% {' '.join(accuracy_caption(records).split())}\n"
    columns = "@{}l" + "r" * (len(kept) - 1) + "@{}"
    return _comment(run, len(body)) + said + _table(columns, [header], body)


def write_tables(run: Results, folder: Path, match: str = "*") -> list[Path]:
    """Write the tables of a results folder.

    Args:
        run: a finished results folder.
        folder: where ``summary.tex`` goes, and ``accuracy.tex`` where the records are such a table.
        match: see :func:`summary_table`.

    Returns:
        The files.

    Raises:
        FigureError: when no number of the summary has such a name.
        RunError: when a file cannot be written.
    """
    tables = {"summary": summary_table(run, match)}
    records = run.records()
    if records is not None and fits(records):
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


def _groups(found: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by what their names begin with; those that stand alone come first, under no name."""
    beginnings = [row.name.partition(".")[0] for row in found]
    groups: dict[str, list[Row]] = {"": []}
    for row, begins in zip(found, beginnings, strict=True):
        alone = beginnings.count(begins) == 1 or row.name == begins
        groups.setdefault("" if alone else begins, []).append(row)
    return {name: members for name, members in groups.items() if members}


def _number(value: Number) -> str:
    """A number as the report has it, its sign and its power set as LaTeX does."""
    text = number_text(value)
    power = re.fullmatch(r"(-?[\d.]+)e([+-]\d+)", text)
    if power:
        return rf"${power[1]}\times 10^{{{int(power[2])}}}$"
    return text.replace("-", "$-$").replace(",", r"\,")


def _interval(row: Row) -> str:
    if row.low is None or row.high is None:
        return ""
    # In braces, since a bracket behind the end of a row is read as an argument of it.
    return f"{{[{_number(row.low)}, {_number(row.high)}]}}"


def _typeset(text: str) -> str:
    """A cell of words and numbers, hyphens before digits being signs."""
    signed = re.sub(r"(?<![\w])-(?=\d)", "\u2212", text)
    return f"{{{escaped(signed)}}}" if text.startswith("[") else escaped(signed)


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells).rstrip() + r" \\"


def _table(columns: str, header: Sequence[str], body: Sequence[str]) -> str:
    """The environment: its rules are those of booktabs."""
    long = len(body) > LONG
    opening = [r"\toprule", *header, r"\midrule", *([r"\endhead"] if long else [])]
    name = "longtable" if long else "tabular"
    inner = "\n".join(f"  {line}" for line in (*opening, *body, r"\bottomrule"))
    return f"\\begin{{{name}}}{{{columns}}}\n{inner}\n\\end{{{name}}}\n"


def _comment(run: Results, length: int) -> str:
    """Where the numbers are from, and what the document must load."""
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
    """Which numbers, by a pattern such as accuracy.*."""
    out: Path | None = None
    """Where the files go, each folder's in a folder of its own; print/ in each results folder when
    not given."""


def main(config: Config) -> str:
    """Write the tables; returns their paths, a line each."""
    written: list[Path] = []
    refused: list[FigureError] = []
    for run in gathered(config.results):
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
    command(Config, main, "figures.printing.latex")

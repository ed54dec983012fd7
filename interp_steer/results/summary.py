"""Collect and print the summary of a run: flat numbers by name, estimates with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from interp_steer.errors import RunError
from interp_steer.statistics.intervals import Interval

Number = int | float | None
"""A count, a measurement, or None where the number does not exist, such as the layer of a sweep
that chose nothing; a count stays a whole number in the file."""


class Row(NamedTuple):
    """A line of the summary: a number, and its interval when it is an estimate."""

    name: str
    value: Number
    low: Number
    high: Number


class Summary:
    """Numbers collected while an analysis runs.

    Attributes:
        numbers: finite numbers and None by name, estimates with their ``.low`` and ``.high``.
        estimates: the sample size and method behind each interval.
        undefined: the names of values that were not finite, which JSON and a table cannot hold.
    """

    def __init__(self) -> None:
        self.numbers: dict[str, Number] = {}
        self.estimates: dict[str, dict[str, Any]] = {}
        self.undefined: list[str] = []

    def add(self, name: str, value: Any) -> None:
        """Add a number, or an interval as three numbers.

        Raises:
            RunError: for a name added twice, or a value that is not a number.
        """
        if isinstance(value, Interval):
            self.add(name, value.value)
            self.add(f"{name}.low", value.low)
            self.add(f"{name}.high", value.high)
            self.estimates[name] = {"n": value.n, "method": value.method}
            return
        if name in self.numbers or name in self.undefined:
            raise RunError(f"summary number {name!r} was already left; give each its own name")
        if value is None:
            self.numbers[name] = None
            return
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise RunError(
                f"summary {name!r} is {value!r} ({type(value).__name__}); leave a number, an "
                "Interval, or None for nothing"
            ) from None
        if not math.isfinite(number):
            self.undefined.append(name)
        else:
            whole = not isinstance(value, float) and number.is_integer()
            self.numbers[name] = int(number) if whole else number


def rows(summary: Mapping[str, Number]) -> list[Row]:
    """Return the lines of a flat summary, each estimate joined with its bounds."""
    bounds = {
        f"{name}{end}" for name in summary for end in (".low", ".high") if f"{name}{end}" in summary
    }
    return [
        Row(name, value, summary.get(f"{name}.low"), summary.get(f"{name}.high"))
        for name, value in summary.items()
        if name not in bounds
    ]


def number_text(value: Number) -> str:
    """Format a number for a table: whole numbers whole, others with three significant decimals."""
    if value is None:
        return "none"
    if isinstance(value, int) or (float(value).is_integer() and abs(value) >= 10):
        return f"{int(value):,}"
    return f"{value:.3f}" if 0.001 <= abs(value) < 1000 or value == 0 else f"{value:.3g}"


def interval_text(row: Row) -> str:
    """Format the interval of an estimate for a table; empty without an interval."""
    if row.low is None or row.high is None:
        return ""
    return f"{number_text(row.low)} to {number_text(row.high)}"


NAME_WIDTH, NUMBER_WIDTH = 30, 23
"""The width of a name in characters, and of a number with its interval."""


def print_tables(summary: Mapping[str, Number], title: str) -> None:
    """Print a summary on stdout, with comparable numbers side by side.

    A name consists of the measure and, after the first point, its subject. Subjects with the same
    measures share a table if the terminal is wide enough; the other numbers stand one below another
    in the first table.
    """
    console = Console()
    room = max(1, (console.width - NAME_WIDTH) // NUMBER_WIDTH)
    of: dict[str, dict[str, Row]] = {}
    for row in rows(summary):
        measure, _, thing = row.name.partition(".")
        of.setdefault(thing, {})[measure] = row
    alike: dict[tuple[str, ...], list[str]] = {}
    for thing, measured in of.items():
        alike.setdefault(tuple(measured), []).append(thing)
    single, tables = [], []
    for measures, things in alike.items():
        cells = [[_cell(of[thing][measure]) for measure in measures] for thing in things]
        if len(things) > 1 and len(measures) <= room:
            tables.append(_table(measures, zip(things, cells, strict=True)))
        elif 1 < len(things) <= room:
            turned = map(list, zip(*cells, strict=True))
            tables.append(_table(things, zip(measures, turned, strict=True)))
        else:
            single += [(row.name, [_cell(row)]) for thing in things for row in of[thing].values()]
    if single or not tables:
        tables.insert(0, _table(["value"], single))
    console.print(Text(title, style="bold"))
    for table in tables:
        console.print(table)


def _table(columns: Sequence[str], lines: Iterable[tuple[str, Sequence[str]]]) -> Table:
    table = Table(header_style="bold")
    table.add_column("", overflow="fold")
    for column in columns:
        table.add_column(Text(column), justify="right", overflow="fold")
    for name, cells in lines:
        table.add_row(Text(name), *(Text(cell) for cell in cells))
    return table


def _cell(row: Row) -> str:
    value = number_text(row.value)
    if row.low is None or row.high is None:
        return value
    return f"{value} [{number_text(row.low)}, {number_text(row.high)}]"

"""The summary of a run: flat numbers by name, each estimate with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .errors import RunError
from .statistics import Interval

Number = int | float
"""A count or a measurement; a count stays a whole number in the file."""


class Row(NamedTuple):
    """A line of the summary: a number, and its interval when it is an estimate."""

    name: str
    value: Number
    low: Number | None
    high: Number | None


class Summary:
    """Numbers collected while an analysis runs.

    Attributes:
        numbers: finite numbers by name, estimates with ``.low`` and ``.high`` beside them.
        estimates: the sample size and method behind each interval.
        undefined: names whose value was not finite, which JSON and a table cannot hold.
    """

    def __init__(self) -> None:
        self.numbers: dict[str, Number] = {}
        self.estimates: dict[str, dict[str, Any]] = {}
        self.undefined: list[str] = []

    def add(self, name: str, value: Any) -> None:
        """Add a number, or an `Interval` as three.

        Raises:
            RunError: for a name added twice, or a value that is no number.
        """
        if isinstance(value, Interval):
            self.add(name, value.value)
            self.add(f"{name}.low", value.low)
            self.add(f"{name}.high", value.high)
            self.estimates[name] = {"n": value.n, "method": value.method}
            return
        if name in self.numbers or name in self.undefined:
            raise RunError(f"summary number {name!r} was already left; give each its own name.")
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise RunError(
                f"summary {name!r} is {value!r} ({type(value).__name__}); leave a number or an "
                "Interval."
            ) from None
        if not math.isfinite(number):
            self.undefined.append(name)
        else:
            whole = not isinstance(value, float) and number.is_integer()
            self.numbers[name] = int(number) if whole else number


def rows(summary: Mapping[str, Number]) -> list[Row]:
    """The lines of a flat summary, each estimate's bounds joined to it."""
    bounds = {
        f"{name}{end}" for name in summary for end in (".low", ".high") if f"{name}{end}" in summary
    }
    return [
        Row(name, value, summary.get(f"{name}.low"), summary.get(f"{name}.high"))
        for name, value in summary.items()
        if name not in bounds
    ]


def number_text(value: Number) -> str:
    """A number for a table: whole numbers whole, others with three significant decimals."""
    if isinstance(value, int) or (float(value).is_integer() and abs(value) >= 10):
        return f"{int(value):,}"
    return f"{value:.3f}" if 0.001 <= abs(value) < 1000 or value == 0 else f"{value:.3g}"


def print_table(summary: Mapping[str, Number], title: str) -> None:
    """Print a summary as a table on stdout."""
    table = Table(title=Text(title), title_justify="left", header_style="bold")
    table.add_column("number", overflow="fold")
    table.add_column("value", justify="right")
    table.add_column("interval", justify="right")
    for row in rows(summary):
        interval = ""
        if row.low is not None and row.high is not None:
            interval = f"{number_text(row.low)} to {number_text(row.high)}"
        table.add_row(Text(row.name), number_text(row.value), interval)
    Console().print(table)

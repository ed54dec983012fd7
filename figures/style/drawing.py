"""Keep a figure with its caption, and check and phrase what the figures share."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import plotly.io
import polars as pl

from interp_steer.errors import FigureError
from interp_steer.statistics import Interval
from interp_steer.storage import write_atomically

CONFIG = {"displayModeBar": False, "responsive": False}
"""plotly's options in a page. The tool bar would cover titles and offer to upload the figure."""

NO_ESTIMATE = "no estimate"
"""``meta`` of a trace that needs no interval: a mark, a reference line, a distribution."""


@dataclass(frozen=True)
class Drawing:
    """Figure with a caption that states its finding, with the numbers.

    Attributes:
        figure: the plotly figure, in the theme.
        caption: plain text: first the finding, then the drawn quantity and the number of measured
            examples.
    """

    figure: go.Figure
    caption: str

    def write(self, folder: Path, name: str) -> list[Path]:
        """Write ``<name>.html``, which opens with no network, and ``<name>.json``, plotly's own.

        Returns:
            The two paths. `figures.printing.export` makes PDF, SVG and PNG from the JSON.

        Raises:
            OSError: when the folder cannot be written.
        """
        page, data = folder / f"{name}.html", folder / f"{name}.json"
        with write_atomically(data) as path:
            path.write_text(str(plotly.io.to_json(self.figure, engine="json")), "utf-8")
        with write_atomically(page) as path:
            path.write_text(self._page(name), "utf-8")
        return [page, data]

    def _ipython_display_(self) -> None:
        """Show the figure in a notebook, as plotly's renderers say, and its caption under it."""
        # Only notebooks call this, and they have IPython.
        from IPython.display import HTML, display  # pyright: ignore[reportMissingImports]

        # The figure's own display would need nbformat.
        bundle = self.figure._repr_mimebundle_()
        if bundle:
            display(bundle, raw=True)
        else:  # a terminal, whose renderer opens a browser
            self.figure.show()
        display(HTML(f'<p style="max-width:46em">{html.escape(self.caption)}</p>'))

    def _page(self, name: str) -> str:
        body = plotly.io.to_html(
            self.figure,
            config=CONFIG,
            include_plotlyjs=True,
            include_mathjax=False,
            full_html=False,
            div_id="figure",
        )
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{html.escape(name)}</title>\n"
            "<style>body{margin:1.5rem;font:15px/1.5 Georgia,serif;color:#222}"
            "p{max-width:42rem}div{max-width:100%;overflow-x:auto}</style></head>\n"
            f"<body>{body}\n<p>{html.escape(self.caption)}</p></body></html>\n"
        )


def require_columns(records: pl.DataFrame, columns: Iterable[str], figure: str) -> None:
    """Check that records have rows, and the columns that a figure reads.

    Raises:
        FigureError: with the missing columns and the columns of the records.
    """
    missing = [column for column in columns if column not in records.columns]
    if missing:
        raise FigureError(
            f"{figure} needs the columns {', '.join(missing)}, and the records have "
            f"{', '.join(records.columns) or 'none'}; give the records of a scored run."
        )
    if records.is_empty():
        raise FigureError(f"{figure} was given no records; check the filter before it.")


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Shorten instruction ids to labels: the words after the colon, where these words are
    unique."""
    tails = {}
    for name in names:
        known, _, argument = name.partition("?")
        value = argument.partition("=")[2]
        tails[name] = known.rsplit(":", 1)[-1].replace("_", " ") + (f" ({value})" if value else "")
    return {n: t if list(tails.values()).count(t) == 1 else n for n, t in tails.items()}


def whiskers(intervals: Sequence[Interval], **look: Any) -> dict[str, Any]:
    """Return intervals as plotly's error bars.

    Args:
        intervals: in the order of the values.
        look: other properties, such as ``color``.
    """
    ends = {
        "array": [one.high - one.value for one in intervals],
        "arrayminus": [one.value - one.low for one in intervals],
    }
    return {"type": "data", "symmetric": False, **ends, "thickness": 1, "width": 2, **look}


def percent(value: float) -> str:
    """Return a share as a percentage, with one decimal where rounding would give 0% or 100%
    wrongly."""
    whole = f"{100 * value:.0f}%"
    return whole if whole not in ("0%", "100%") or value in (0, 1) else f"{100 * value:.1f}%"


def interval_text(interval: Interval) -> str:
    """Return a share with its interval, such as ``83% [64, 93]``."""
    return f"{percent(interval.value)} [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


def p_text(p_value: float) -> str:
    """Return a p-value with two significant digits, never as zero."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"


def list_words(words: Sequence[str]) -> str:
    """Join words to a list in a sentence."""
    return " and ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} and {words[-1]}"

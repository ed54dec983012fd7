"""Draw answers as text: tokens on lines, each shaded by a number."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from figures.style import theme

MONOSPACE = "DejaVu Sans Mono, Liberation Mono, Menlo, Consolas, monospace"
LINE = 21
"""Height in pixels of a line of text."""
LETTERS = 82
"""Number of letters of a line."""
GUTTER = 68
"""Width in pixels left of the text, for the answers' names."""


@dataclass(frozen=True)
class Placed:
    """Token with its place in the figure."""

    line: int
    column: int
    text: str
    value: float | None
    """Number that gives the shade; None for no shade."""
    step: int
    language: str | None


def place_tokens(rows: Iterable[Mapping[str, Any]], value: str, first: int) -> list[Placed]:
    """Place an answer's tokens on lines, with a break where a word would cross the end of the line.

    Args:
        rows: one row per token, with ``token``, ``step``, the column of the shade and perhaps
            ``language``.
        value: the column of the number that gives the shade.
        first: the line on which the answer begins.
    """
    placed: list[Placed] = []
    line, column = first, 0
    for row in rows:
        text = str(row["token"]).replace("\n", "\u21b5").replace("\t", " ")
        blank = len(text) - len(text.lstrip(" "))
        body = text.strip(" ") or "\u2423"  # a token of spaces only is a step too
        if column and column + blank + text_columns(body) > LETTERS:
            line, column = line + 1, 0
        column += min(blank, 1) if column else 0
        placed.append(Placed(line, column, body, row[value], row["step"], row.get("language")))
        column += text_columns(body)
        if text.endswith("\u21b5"):
            line, column = line + 1, 0
    return placed


def text_columns(text: str) -> int:
    """Count the columns that a text takes: two for a wide letter, as in Chinese and Japanese."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def text_figure(
    placed: Sequence[Placed],
    starts: Mapping[int, str],
    *,
    title: str,
    low: float,
    high: float,
    scale: str,
    top: int,
) -> go.Figure:
    """Draw text whose tokens are shaded, with the names of the answers at their first lines.

    Args:
        placed: the tokens.
        starts: names of the answers by their first lines.
        title: title of the colour scale.
        low: the value at the lower end of the scale.
        high: the value at the upper end of the scale.
        scale: ``"diverging"`` or ``"sequential"``.
        top: room above the text, in pixels.
    """
    lines = placed[-1].line + 1
    figure = theme.figure(theme.TWO_COLUMNS, top + 8 + LINE * lines)
    figure.add_trace(_shade_trace(placed, title, low, high, light_scale(scale), lines))
    figure.add_trace(_token_trace(placed))
    figure.update_layout(
        margin={"l": GUTTER, "r": 56, "t": top, "b": 8}, barmode="overlay", bargap=0
    )
    hidden = {"showgrid": False, "showline": False, "ticks": "", "automargin": False}
    figure.update_xaxes(**hidden, range=[-1, LETTERS], showticklabels=False)
    figure.update_yaxes(
        **hidden,
        range=[lines - 0.5, -0.5],
        tickvals=list(starts),
        ticktext=[_shorten(name) for name in starts.values()],
        tickfont={"size": theme.SMALL, "color": theme.MUTED},
    )
    return figure


def light_scale(name: str) -> list[list[float | str]]:
    """Return a colour scale without its darkest shades, which would hide letters."""
    colours = [str(colour) for _, colour in theme.scale(name)]
    lighter = colours[1:-1] if name == "diverging" else colours[:4]
    return [[at / (len(lighter) - 1), colour] for at, colour in enumerate(lighter)]


def _shade_trace(
    placed: Sequence[Placed],
    title: str,
    low: float,
    high: float,
    colours: list[list[float | str]],
    lines: int,
) -> go.Bar:
    shaded = [token for token in placed if token.value is not None]
    return go.Bar(
        base=[token.column for token in shaded],
        x=[text_columns(token.text) for token in shaded],
        y=[token.line for token in shaded],
        width=0.82,
        orientation="h",
        marker={
            "color": [token.value for token in shaded],
            "cmin": low,
            "cmax": high,
            "colorscale": colours,
            "line": {"width": 0.6, "color": "white"},
            "colorbar": {
                "title": {"text": title, "side": "right", "font": {"size": theme.SMALL}},
                "tickfont": {"size": theme.SMALL},
                "thickness": 10,
                "outlinewidth": 0,
                "nticks": 5,
                "lenmode": "pixels",
                "len": max(70, min(160, LINE * lines)),
                "y": 1,
                "yanchor": "top",
            },
        },
        customdata=[[token.step, html.escape(token.text)] for token in shaded],
        hovertemplate="step %{customdata[0]}: %{customdata[1]}, %{marker.color:.3g}<extra></extra>",
        showlegend=False,
    )


def _token_trace(placed: Sequence[Placed]) -> go.Scatter:
    return go.Scatter(
        x=[token.column + text_columns(token.text) / 2 for token in placed],
        y=[token.line for token in placed],
        # plotly interprets markup in a text, and an answer may contain markup.
        text=[html.escape(token.text, quote=False) for token in placed],
        mode="text",
        textfont={"family": MONOSPACE, "size": theme.SMALL, "color": theme.INK},
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
    )


def _shorten(name: str) -> str:
    short = name if len(name) <= 10 else f"{name[:9]}\u2026"
    return html.escape(short, quote=False)

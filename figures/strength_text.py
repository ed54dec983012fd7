"""Answers to read, each token coloured by the strength that it was steered with."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
import polars as pl

from figures import theme
from figures.drawing import Drawing, FigureError, need, percent
from figures.looks import language_name

MONOSPACE = "DejaVu Sans Mono, Liberation Mono, Menlo, Consolas, monospace"
LETTER = 6.03
"""Width in pixels of a letter of that font at ten pixels."""
LINE = 21
"""Height in pixels of a line of text."""
LETTERS = 92
"""Letters of a line."""
GUTTER = 62
"""Width in pixels left of the text, for the answers' names."""


@dataclass(frozen=True)
class _Placed:
    """A token where it stands."""

    line: int
    column: int
    text: str
    strength: float | None
    step: int
    language: str | None


def strength_text(frame: pl.DataFrame, answers: int = 4) -> Drawing:
    """The text of some answers, each token shaded by its strength ``a_i`` (paper B, section 2).

    Args:
        frame: columns ``answer_id``, ``step``, ``token`` and ``strength`` (null where nothing
            steers). With a column ``language`` (that the step is steered to) a line under the
            tokens has its colour.
        answers: how many are drawn, the first ones.

    Returns:
        The drawing; its caption says how much of the strength falls on the first tokens, over the
        answers that are drawn.

    Raises:
        FigureError: for a frame without these columns, with two tokens at one step of an answer, or
            where no token has a strength.

    Example:
        >>> strength_text(tokens.filter(pl.col("schedule") == "dynamic(0.5)"))
    """
    need(frame, ("answer_id", "step", "token", "strength"), "strength_text")
    names = frame["answer_id"].unique(maintain_order=True).to_list()[: max(1, answers)]
    shown = frame.filter(pl.col("answer_id").is_in(names))
    if "language" not in shown.columns:
        shown = shown.with_columns(pl.lit(None, pl.String).alias("language"))
    twice = shown.filter(shown.select("answer_id", "step").is_duplicated())
    if len(twice):
        row = twice.row(0, named=True)
        raise FigureError(
            f"strength_text has several tokens at step {row['step']} of answer {row['answer_id']}; "
            "give a row for each token of one setting."
        )
    known = shown["strength"].drop_nulls()
    if known.is_empty():
        raise FigureError("strength_text has no token with a strength; give steered answers.")
    placed: list[_Placed] = []
    starts: dict[int, str] = {}
    for name in names:
        first = placed[-1].line + 2 if placed else 0
        starts[first] = str(name)
        placed += _laid(shown.filter(pl.col("answer_id") == name).sort("step"), first)
    lines = placed[-1].line + 1
    codes = [code for code in dict.fromkeys(token.language for token in placed) if code is not None]
    top = 24 if codes else 6
    figure = theme.figure(theme.TWO_COLUMNS, top + 8 + LINE * lines)
    low, high = float(known.to_numpy().min()), float(known.to_numpy().max())
    figure.add_trace(_shades(placed, low, high, lines))
    figure.add_trace(_words(placed))
    for at, code in enumerate(codes):
        figure.add_trace(_underlines(placed, code, theme.QUALITATIVE[(at + 1) % 8]))
    figure.update_layout(
        margin={"l": GUTTER, "r": 52, "t": top, "b": 8}, barmode="overlay", bargap=0
    )
    hidden = {"showgrid": False, "showline": False, "ticks": "", "automargin": False}
    figure.update_xaxes(**hidden, range=[-1, LETTERS], showticklabels=False)
    figure.update_yaxes(
        **hidden,
        range=[lines - 0.5, -0.5],
        tickvals=list(starts),
        ticktext=[_cut(name) for name in starts.values()],
        tickfont={"size": 9, "color": theme.MUTED},
    )
    return Drawing(figure, _caption(shown, names, codes))


def _laid(rows: pl.DataFrame, first: int) -> list[_Placed]:
    """An answer's tokens on lines, from a line on, broken where a word would cross the end."""
    placed: list[_Placed] = []
    line, column = first, 0
    for row in rows.iter_rows(named=True):
        text = str(row["token"]).replace("\n", "\u21b5").replace("\t", " ")
        blank = len(text) - len(text.lstrip(" "))
        body = text.strip(" ") or "\u2423"  # a token of spaces alone is still a step
        if column and column + blank + _wide(body) > LETTERS:
            line, column = line + 1, 0
        column += min(blank, 1) if column else 0
        placed.append(_Placed(line, column, body, row["strength"], row["step"], row["language"]))
        column += _wide(body)
        if text.endswith("\u21b5"):
            line, column = line + 1, 0
    return placed


def _wide(text: str) -> int:
    """Columns that a text takes: two for a wide letter, as Chinese and Japanese ones are."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _shades(placed: Sequence[_Placed], low: float, high: float, lines: int) -> go.Bar:
    steered = [token for token in placed if token.strength is not None]
    both = low < 0
    most = max(abs(low), abs(high)) or 1.0
    return go.Bar(
        base=[token.column for token in steered],
        x=[_wide(token.text) for token in steered],
        y=[token.line for token in steered],
        width=0.82,
        orientation="h",
        marker={
            "color": [token.strength for token in steered],
            "cmin": -most if both else 0,
            "cmax": most,
            # The darkest shades would hide the letters.
            "colorscale": _light("diverging" if both else "sequential"),
            "line": {"width": 0.6, "color": "white"},
            "colorbar": {
                "title": {"text": "strength", "side": "right", "font": {"size": 11}},
                "tickfont": {"size": 10},
                "thickness": 10,
                "outlinewidth": 0,
                "nticks": 5,
                "lenmode": "pixels",
                "len": max(70, min(160, LINE * lines)),
                "y": 1,
                "yanchor": "top",
            },
        },
        customdata=[[token.step, html.escape(token.text)] for token in steered],
        hovertemplate="step %{customdata[0]}: %{customdata[1]}, %{marker.color:.3g}<extra></extra>",
        showlegend=False,
    )


def _light(name: str) -> list[list[float | str]]:
    colours = [str(colour) for _, colour in theme.scale(name)]
    kept = colours[1:-1] if name == "diverging" else colours[:4]
    return [[at / (len(kept) - 1), colour] for at, colour in enumerate(kept)]


def _words(placed: Sequence[_Placed]) -> go.Scatter:
    return go.Scatter(
        x=[token.column + _wide(token.text) / 2 for token in placed],
        y=[token.line for token in placed],
        # plotly reads markup in a text, and an answer may hold some.
        text=[html.escape(token.text, quote=False) for token in placed],
        mode="text",
        textfont={"family": MONOSPACE, "size": 10, "color": theme.INK},
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
    )


def _underlines(placed: Sequence[_Placed], code: str, colour: str) -> go.Scatter:
    """A line under every token of a language, joined where they follow each other."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    for token in placed:
        if token.language == code:
            end = token.column + _wide(token.text)
            xs += [token.column, end, None]
            ys += [token.line + 0.45, token.line + 0.45, None]
    return go.Scatter(
        x=xs,
        y=ys,
        mode="lines",
        line={"color": colour, "width": 2.4},
        name=f"steered to {language_name(code)}",
        hoverinfo="skip",
    )


def _cut(name: str) -> str:
    short = name if len(name) <= 10 else f"{name[:9]}\u2026"
    return html.escape(short, quote=False)


def _caption(shown: pl.DataFrame, names: Sequence[object], codes: Sequence[str]) -> str:
    first = 5
    whole = shown.with_columns(pl.col("strength").abs().fill_null(0.0))
    total = float(whole["strength"].sum())
    begun = whole.group_by("answer_id").agg(pl.col("step").min().alias("begin"))
    early = whole.join(begun, on="answer_id").filter(pl.col("step") < pl.col("begin") + first)
    tokens = percent(len(early) / len(whole))
    said = (
        "No token is steered."
        if not total
        else (
            f"The first {first} tokens, {tokens} of all, have "
            f"{percent(float(early['strength'].sum()) / total)} of the strength."
        )
    )
    switched = " The line under a token is the language that it was steered to." if codes else ""
    number = "One answer" if len(names) == 1 else f"{len(names)} answers"
    return (
        f"{said} {number}, each token shaded by the strength it was steered with; unshaded tokens "
        f"have none.{switched}"
    )

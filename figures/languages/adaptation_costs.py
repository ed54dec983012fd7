"""Draw the benefits and costs of steering and of other methods that adapt a model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from figures.style import theme
from figures.style.drawing import Drawing, interval_text, list_words, require_columns
from figures.style.settings import setting_looks
from interp_steer.errors import FigureError
from interp_steer.statistics import Interval

MARKS = ("circle", "square", "diamond", "triangle-up", "star")
"""Marks by rising number of examples; a method without examples has an open circle."""

LEARN = "operations to learn and choose"
ANSWER = "operations an answer"

MEASURES = {
    "in_target": "target language",
    "sound": "... and fluent",
    "fluent": "fluent",
    "kept": "content kept",
    "facts": "facts known",
}
"""Titles of the measures, in the order of their panels."""

LOOKS = {
    "system prompt": theme.Style("system prompt", theme.ORANGE, "circle"),
    "few-shot": theme.Style("few-shot", theme.VERMILLION, "circle"),
    "lora": theme.Style("LoRA", theme.WINE, "circle"),
    "prefix tuning": theme.Style("prefix tuning", theme.TEAL, "circle"),
}
"""Colours of the methods other than steering; the mark shows the number of examples."""

Rows = Sequence[Mapping[str, Any]]


def benefit_against_cost(frame: pl.DataFrame) -> Drawing:
    """Draw the share that each method reaches against the operations to learn it and the operations
    of an answer.

    Args:
        frame: a row for each method and number of examples ``n`` (0 for a method without examples):
            ``method``, ``n``, ``value``, ``low``, ``high`` (a share, with its
            interval), ``learn_flops``, and ``answer_flops`` with ``answer_flops_low`` and
            ``answer_flops_high``.

    Returns:
        The drawing; its caption gives each share with both costs.

    Raises:
        FigureError: for a frame without these columns, or in which no answer takes operations.
    """
    answer = [f"answer_flops{end}" for end in ("", "_low", "_high")]
    require_columns(
        frame,
        ("method", "n", "value", "low", "high", "learn_flops", *answer),
        "benefit_against_cost",
    )
    if not frame["answer_flops"].max():
        raise FigureError(
            "benefit_against_cost was given no operations; count the operations of the answers."
        )
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.04)
    figure = theme.figure(theme.TWO_COLUMNS, 330, figure)
    paid = [value for value in frame["learn_flops"] if value > 0]
    free = 10 ** (math.floor(math.log10(min(paid, default=10.0))) - 1)
    for method, style in _looks(frame).items():
        rows = frame.filter(pl.col("method") == method).sort("n").rows(named=True)
        learned = [max(row["learn_flops"], free) for row in rows]
        figure.add_trace(_points(rows, learned, style, frame, first=True), 1, 1)
        spent = [row["answer_flops"] for row in rows]
        trace = _points(rows, spent, style, frame, first=False)
        trace.error_x = _whiskers(spent, rows, "answer_flops_low", "answer_flops_high", style)
        figure.add_trace(trace, 1, 2)
    ticks, words = _ticks([free, *paid], (1,))
    words = ["none" if tick == free else word for tick, word in zip(ticks, words, strict=True)]
    figure.update_xaxes(type="log", title_text=LEARN, tickvals=ticks, ticktext=words, row=1, col=1)
    ticks, words = _ticks([value for name in answer for value in frame[name]], (1, 2, 5))
    figure.update_xaxes(type="log", title_text=ANSWER, tickvals=ticks, ticktext=words, row=1, col=2)
    figure.update_yaxes(range=[-0.03, 1.03], tickformat=".0%")
    figure.update_yaxes(title_text="sound answers", row=1, col=1)
    figure.update_layout(margin={"t": 52})
    return Drawing(figure, _cost_caption(frame))


def adaptation_shares(frame: pl.DataFrame) -> Drawing:
    """Draw each measure of each method, with a panel for each measure.

    Args:
        frame: columns ``method``, ``n`` (examples; 0 for a method without examples), ``measure``
            (of :data:`MEASURES`), ``value``, ``low`` and ``high``.

    Returns:
        The drawing; its caption gives the first measure of every method.

    Raises:
        FigureError: for a frame without these columns, or with an unknown measure.
    """
    require_columns(frame, ("method", "n", "measure", "value", "low", "high"), "adaptation_shares")
    unknown = set(frame["measure"]) - set(MEASURES)
    if unknown:
        raise FigureError(
            f"adaptation_shares has no panel for {list_words(sorted(unknown))}; it draws "
            f"{list_words(list(MEASURES))}."
        )
    names = [name for name in MEASURES if name in set(frame["measure"])]
    looks = _looks(frame)
    numbers = sorted(set(frame["n"]))
    figure = make_subplots(
        1,
        len(names),
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=[MEASURES[name] for name in names],
    )
    figure = theme.figure(theme.TWO_COLUMNS, 90 + 30 * len(looks), figure)
    for column, name in enumerate(names, start=1):
        for n in numbers:
            rows = frame.filter((pl.col("measure") == name) & (pl.col("n") == n)).rows(named=True)
            figure.add_trace(_dots(rows, n, numbers, looks), 1, column)
        figure.update_xaxes(
            range=[-0.1, 1.1],
            tickvals=[0, 0.5, 1],
            ticktext=["0", "50", "100%"],
            showgrid=True,
            col=column,
        )
    for n in numbers:
        figure.add_trace(_key(n, numbers), 1, 1)
    places = list(range(len(looks)))
    figure.update_yaxes(
        range=[len(looks) - 0.5, -0.5],
        tickvals=places,
        ticktext=[style.label for style in looks.values()],
        ticks="",
        showgrid=False,
    )
    figure.update_annotations(font_size=11)
    figure.update_layout(margin={"t": 56})
    return Drawing(figure, _shares_caption(frame, names, looks))


def _looks(frame: pl.DataFrame) -> dict[str, theme.Style]:
    """Return the style of each method, in drawing order."""
    styles = setting_looks(frame["method"].to_list())
    return {method: LOOKS.get(method, style) for method, style in styles.items()}


def _points(
    rows: Rows, x: Sequence[float], style: theme.Style, frame: pl.DataFrame, *, first: bool
) -> go.Scatter:
    numbers = sorted(set(frame["n"]))
    return go.Scatter(
        x=list(x),
        y=[row["value"] for row in rows],
        error_y=_whiskers([row["value"] for row in rows], rows, "low", "high", style),
        mode="markers+lines+text" if len(rows) > 1 else "markers",
        line={"color": theme.add_opacity(style.colour, 0.4), "width": 1},
        marker={
            "size": 9,
            "color": style.colour,
            "symbol": [_mark(row["n"], numbers) for row in rows],
            "line": {"width": 1.2, "color": style.colour},
        },
        text=[str(row["n"] or "") for row in rows],
        textposition=["middle right" if row is rows[-1] else "middle left" for row in rows],
        textfont={"size": theme.SMALL, "color": theme.MUTED},
        cliponaxis=False,
        name=style.label,
        showlegend=first,
        hovertemplate="%{text} examples: %{y:.2f} at %{x:.2g}<extra>" + style.label + "</extra>",
    )


def _dots(
    rows: Rows,
    n: int,
    numbers: Sequence[int],
    looks: Mapping[str, theme.Style],
) -> go.Scatter:
    places = list(looks)
    used = [one for one in numbers if one]
    apart = 0.0 if not n else 0.32 * ((used.index(n) + 0.5) / len(used) - 0.5) * len(used)
    values = [row["value"] for row in rows]
    colours = [looks[row["method"]].colour for row in rows]
    return go.Scatter(
        x=values,
        y=[places.index(row["method"]) + apart for row in rows],
        error_x={**_whiskers(values, rows, "low", "high", None), "color": theme.GREY},
        mode="markers",
        marker={
            "size": 7,
            "color": colours,
            "symbol": _mark(n, numbers),
            "line": {"width": 1.2, "color": colours},
        },
        showlegend=False,
        hovertemplate=f"%{{x:.2f}}<extra>{n} examples</extra>",
    )


def _ticks(values: Sequence[float], steps: Sequence[int]) -> tuple[list[float], list[str]]:
    """Return round values of a logarithmic axis within the decades of the values, with their
    texts."""
    powers = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    marks = [(step, power) for power in powers for step in steps]
    texts = [f"{'' if step == 1 else f'{step}·'}10<sup>{power}</sup>" for step, power in marks]
    return [step * 10.0**power for step, power in marks], texts


def _key(n: int, numbers: Sequence[int]) -> go.Scatter:
    """Return the legend's entry for a number of examples, whose mark all methods share."""
    return go.Scatter(
        x=[None],
        y=[None],
        mode="markers",
        marker={"size": 7, "color": theme.GREY, "symbol": _mark(n, numbers)},
        name=f"{n} examples" if n else "no examples",
    )


def _mark(n: int, numbers: Sequence[int]) -> str:
    used = [one for one in numbers if one]
    return MARKS[used.index(n) % len(MARKS)] if n else "circle-open"


def _whiskers(
    values: Sequence[float], rows: Rows, low: str, high: str, style: theme.Style | None
) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [row[high] - value for value, row in zip(values, rows, strict=True)],
        "arrayminus": [value - row[low] for value, row in zip(values, rows, strict=True)],
        "thickness": 0.8,
        "width": 0,
        "color": theme.add_opacity(style.colour, 0.6) if style else theme.GREY,
    }


def _cost_caption(frame: pl.DataFrame) -> str:
    looks = _looks(frame)
    costs = []
    for method, style in looks.items():
        for row in frame.filter(pl.col("method") == method).sort("n").iter_rows(named=True):
            share = interval_text(Interval.of(row))
            learned = f"{row['learn_flops']:.2g} to learn, " if row["learn_flops"] else ""
            costs.append(
                f"{_method_name(style.label, row['n'])} {share} "
                f"({learned}{row['answer_flops']:.2g} an answer)"
            )
    return (
        f"{'; '.join(costs)}. Share of answers that are in the target language and fluent, "
        "against floating-point operations; learning includes all candidates that were tried on "
        "the select examples. Numbers are examples learned from; whiskers are 95% intervals."
    )


def _shares_caption(
    frame: pl.DataFrame, names: Sequence[str], looks: Mapping[str, theme.Style]
) -> str:
    rows = frame.filter(pl.col("measure") == names[0])
    shares = [
        f"{_method_name(looks[row['method']].label, row['n'])} " + interval_text(Interval.of(row))
        for row in rows.iter_rows(named=True)
    ]
    return (
        f"{MEASURES[names[0]].capitalize()}: {list_words(shares)}. Shares by method and number of "
        "examples learned from; whiskers are 95% intervals."
    )


def _method_name(label: str, n: int) -> str:
    return f"{label} (n = {n})" if n else label

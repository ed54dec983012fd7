"""Draw the main table of language steering: benchmarks by settings, with intervals."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
import polars as pl

from figures.style import theme
from figures.style.drawing import Drawing, interval_text, list_words, percent, require_columns
from figures.style.settings import ORIGINAL, setting_look, setting_looks
from interp_steer.errors import FigureError
from interp_steer.statistics import Interval

MEASURES = {"accuracy": "accuracy", "in_language": "language", "parses": "parses"}
"""Known measures, in the order of the columns, and their headers."""

COLUMNS = (
    "model", "setting", "benchmark", "measure", "value", "low", "high", "published",
)  # fmt: skip

NAME, CELL, ROOM = 122, 60, 96
"""Widths in pixels: of the settings' column, and the least and the greatest of a cell."""
HEAD, MODEL, ROW = 42, 24, 34
"""Heights in pixels: of the header, of a model's name, and of a row."""

Cell = tuple[str, str, str, str]
"""Model, setting, benchmark and measure."""


@dataclass(frozen=True)
class _Text:
    """Words of the table, at a place in pixels from the left and from the top."""

    x: float
    y: float
    words: str
    colour: str = theme.INK
    left: bool = False
    """Whether the words begin at ``x``; they are centred otherwise."""


def benchmark_table(frame: pl.DataFrame) -> Drawing:
    """Draw every setting of every model on every benchmark, each number over its interval.

    Args:
        frame: a row for each number: ``model``, ``setting``, ``benchmark``, ``measure``
            ("accuracy", "in_language", "parses"), ``value``, ``low`` and ``high`` (shares, with
            their 95% intervals) and ``published`` (null where no value is published).

    Returns:
        The drawing, with the largest value of each model in bold and published values in brown; its
        caption names the most accurate setting of each model on each benchmark.

    Raises:
        FigureError: for a frame without these columns, or with two rows of one number.

    Example::

        benchmark_table(numbers).write(run.path, "benchmarks")
    """
    require_columns(frame, COLUMNS, "benchmark_table")
    cells = _cells(frame)
    models = _distinct_values(frame, "model")
    groups = {
        benchmark: _measures(frame.filter(pl.col("benchmark") == benchmark))
        for benchmark in _distinct_values(frame, "benchmark")
    }
    n = sum(len(of) for of in groups.values())
    cell = max(CELL, min(ROOM, (theme.TWO_COLUMNS - NAME) // n))
    width = NAME + cell * n
    rows = {
        model: setting_looks(_distinct_values(frame.filter(pl.col("model") == model), "setting"))
        for model in models
    }
    texts = _header(groups, cell)
    figure = theme.figure(width, HEAD + sum(MODEL + ROW * len(of) for of in rows.values()) + 6)
    top = HEAD
    for model, settings in rows.items():
        _band(figure, top, width)
        name = html.escape(model.rpartition("/")[2], quote=False)
        texts.append(_Text(6, top + MODEL / 2, f"<b>{name}</b>", left=True))
        top += MODEL
        for setting, look in settings.items():
            texts.append(_Text(6, top + ROW / 2, html.escape(look.label, quote=False), left=True))
            columns = [
                (benchmark, measure) for benchmark in groups for measure in groups[benchmark]
            ]
            for at, column in enumerate(columns):
                centre = NAME + cell * (at + 0.5)
                texts += _number(cells, (model, setting, *column), centre, top)
            top += ROW
    at = NAME
    for of in groups.values():
        _rule(figure, at + 5, at + cell * len(of) - 5)
        at += cell * len(of)
    figure.add_traces([_text_trace(texts, left=True), _text_trace(texts, left=False)])
    figure.update_layout(margin={"l": 0, "r": 0, "t": 0, "b": 0})
    figure.update_xaxes(visible=False, range=[0, width])
    figure.update_yaxes(visible=False, range=[figure.layout.height, 0])  # type: ignore[union-attr]
    return Drawing(figure, _caption(cells, frame, models, list(groups)))


def _cells(frame: pl.DataFrame) -> dict[Cell, dict[str, Any]]:
    key = ["model", "setting", "benchmark", "measure"]
    twice = frame.filter(frame.select(key).is_duplicated())
    if len(twice):
        row = twice.row(0, named=True)
        raise FigureError(
            f"benchmark_table has several values of {row['measure']} of {row['model']}, "
            f"{row['setting']}, on {row['benchmark']}; keep one."
        )
    return {tuple(row[name] for name in key): row for row in frame.iter_rows(named=True)}


def _distinct_values(frame: pl.DataFrame, column: str) -> list[str]:
    return frame[column].unique(maintain_order=True).to_list()


def _measures(rows: pl.DataFrame) -> list[str]:
    there = _distinct_values(rows, "measure")
    return [m for m in MEASURES if m in there] + [m for m in there if m not in MEASURES]


def _header(groups: Mapping[str, Sequence[str]], cell: int) -> list[_Text]:
    """Return the texts of the header: the benchmarks over their measures."""
    texts: list[_Text] = []
    at = NAME
    for benchmark, of in groups.items():
        texts.append(_Text(at + cell * len(of) / 2, 10, html.escape(benchmark, quote=False)))
        for k, measure in enumerate(of):
            words = html.escape(MEASURES.get(measure, measure.replace("_", " ")), quote=False)
            texts.append(_Text(at + cell * (k + 0.5), 31, words, colour=theme.MUTED))
        at += cell * len(of)
    return texts


def _number(
    cells: Mapping[Cell, Mapping[str, Any]], key: Cell, centre: float, top: float
) -> list[_Text]:
    """Return the texts of a number over its interval, in bold for the largest number of the
    model."""
    row = cells.get(key)
    if row is None or row["value"] is None:
        return []
    rivals = [
        other["value"]
        for (model, _, *column), other in cells.items()
        if (model, *column) == (key[0], *key[2:]) and other["value"] is not None
    ]
    number = percent(row["value"])
    if row["value"] == max(rivals) and min(rivals) < row["value"]:
        number = f"<b>{number}</b>"
    ends = f"[{100 * row['low']:.0f}, {100 * row['high']:.0f}]"
    texts = [_Text(centre, top + 10, number), _Text(centre, top + 23, ends, colour=theme.MUTED)]
    if row["published"] is None:
        return texts
    beside = _Text(centre + 15, top + 10, f"{100 * row['published']:.1f}", colour=theme.BROWN)
    return [_Text(centre - 13, top + 10, number), texts[1], beside]


def _text_trace(texts: Sequence[_Text], *, left: bool) -> go.Scatter:
    mine = [text for text in texts if text.left == left]
    return go.Scatter(
        x=[text.x for text in mine],
        y=[text.y for text in mine],
        text=[text.words for text in mine],
        mode="text",
        textposition="middle right" if left else "middle center",
        textfont={
            "size": theme.SMALL,
            "color": [text.colour for text in mine],
        },
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
    )


def _band(figure: go.Figure, top: float, width: float) -> None:
    """Draw the band behind a model's name."""
    figure.add_shape(
        type="rect",
        x0=0,
        x1=width,
        y0=top,
        y1=top + MODEL,
        fillcolor=theme.GRID,
        line={"width": 0},
        layer="below",
    )


def _rule(figure: go.Figure, left: float, right: float) -> None:
    """Draw the line under a benchmark's name."""
    rule = {"color": theme.INK, "width": 0.8}
    figure.add_shape(type="line", x0=left, x1=right, y0=20, y1=20, line=rule)


def _caption(
    cells: Mapping[Cell, Mapping[str, Any]],
    frame: pl.DataFrame,
    models: Sequence[str],
    benchmarks: Sequence[str],
) -> str:
    winners = [_winners(cells, model, benchmarks) for model in models]
    known = frame.filter(pl.col("published").is_not_null() & pl.col("value").is_not_null())
    beside = ""
    if len(known):
        within = known.filter(pl.col("published").is_between("low", "high"))
        beside = (
            f" Of {len(known)} published values (brown) {len(within)} "
            f"({percent(len(within) / len(known))}) lie within our intervals."
        )
    return (
        f"{' '.join(part for part in winners if part)}{beside} Percentages over their 95% "
        "intervals: accuracy, answers in the language, answers that parse; the largest of a "
        "model is bold."
    ).strip()


def _winners(cells: Mapping[Cell, Mapping[str, Any]], model: str, benchmarks: Sequence[str]) -> str:
    """Describe which settings of a model are the most accurate on which benchmarks."""
    benchmarks_won: dict[str, list[str]] = {}
    for benchmark in benchmarks:
        rows = {
            setting: Interval.of(row)
            for (of, setting, on, measure), row in cells.items()
            if (of, on, measure) == (model, benchmark, "accuracy") and row["value"] is not None
        }
        if not rows:
            continue
        top = max(rows, key=lambda setting: rows[setting].value)
        base = next((name for name in ORIGINAL if name in rows), None)
        against = (
            f" against {percent(rows[base].value)} {setting_look(base).label}"
            if base is not None and base != top
            else ""
        )
        label = setting_look(top).label
        benchmarks_won.setdefault(label, []).append(
            f"{benchmark} ({interval_text(rows[top])}{against})"
        )
    won = [f"{label} on {list_words(where)}" for label, where in benchmarks_won.items()]
    return f"{model.rpartition('/')[2]}: most accurate is {'; '.join(won)}." if won else ""

"""What steering gains against what it breaks."""

from __future__ import annotations

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from figures import theme
from figures.drawing import Drawing, need, percent


def damage_scatter(records: pl.DataFrame, *, outcome: str = "strict") -> Drawing:
    """Accuracy against the share of degenerate answers, a point for every setting of a search.

    Args:
        records: columns ``instruction`` (a panel each), ``setting``, ``operation`` and ``layer``
            and ``strength`` (null where unsteered), ``degenerate`` and ``outcome``.
        outcome: what counts as success.

    Returns:
        The drawing; its caption names the best setting that breaks nothing.

    Raises:
        FigureError: for records without these columns.
    """
    columns = ("instruction", "setting", "operation", "layer", "strength", "degenerate", outcome)
    need(records, columns, "damage_scatter")
    names = records["instruction"].unique(maintain_order=True).to_list()
    figure = make_subplots(1, len(names), shared_yaxes=True, subplot_titles=names)
    operations = records["operation"].drop_nulls().unique(maintain_order=True).to_list()
    named: set[str] = set()
    for column, name in enumerate(names, start=1):
        rows = records.filter(pl.col("instruction") == name)
        for at, operation in enumerate(operations):
            points = _points(rows.filter(pl.col("operation") == operation), outcome)
            if len(points):
                colour = theme.QUALITATIVE[at % len(theme.QUALITATIVE)]
                first = operation not in named
                figure.add_trace(_scatter(points, outcome, operation, colour, first), 1, column)
                named.add(operation)
        plain = rows.filter(pl.col("setting") == "none")
        figure.add_trace(_cross(plain, outcome, column == 1), 1, column)
    theme.figure(theme.TWO_COLUMNS, 300, figure)
    figure.update_layout(margin={"t": 62})
    figure.update_annotations(font_size=12)
    figure.update_xaxes(
        title_text="share of degenerate answers", tickformat=".0%", range=[-0.05, 1.05]
    )
    figure.update_yaxes(tickformat=".0%", range=[-0.05, 1.05])
    figure.update_yaxes(title_text="accuracy", col=1)
    said = " ".join(
        _best(records.filter(pl.col("instruction") == name), name, outcome) for name in names
    )
    return Drawing(
        figure,
        f"{said} Accuracy against the share of degenerate answers, a point for every layer and "
        "weight; larger points have larger weights, the cross is the plain model.",
    )


def _points(rows: pl.DataFrame, outcome: str) -> pl.DataFrame:
    return (
        rows.group_by("operation", "layer", "strength", maintain_order=True)
        .agg(pl.col(outcome).mean(), pl.col("degenerate").mean())
        .sort("layer", "strength")
    )


def _scatter(points: pl.DataFrame, outcome: str, name: str, colour: str, first: bool) -> go.Scatter:
    weights = points["strength"].abs()
    largest = float(weights.max() or 1.0)  # type: ignore[arg-type]
    return go.Scatter(
        x=points["degenerate"].to_list(),
        y=points[outcome].to_list(),
        mode="markers",
        name=name,
        legendgroup=name,
        showlegend=first,
        marker={
            "size": [5 + 7 * weight / largest for weight in weights],
            "color": theme.translucent(colour, 0.7),
            "line": {"width": 1, "color": colour},
        },
        customdata=points.select("layer", "strength").rows(),
        hovertemplate="layer %{customdata[0]}, weight %{customdata[1]:.1f}: %{y:.2f}",
    )


def _cross(plain: pl.DataFrame, outcome: str, first: bool) -> go.Scatter:
    return go.Scatter(
        x=[plain["degenerate"].mean()],
        y=[plain[outcome].mean()],
        mode="markers",
        name="no steering",
        legendgroup="none",
        showlegend=first,
        marker={"symbol": "x", "size": 9, "color": theme.INK},
    )


def _best(rows: pl.DataFrame, name: str, outcome: str) -> str:
    plain = rows.filter(pl.col("setting") == "none")
    points = _points(rows.filter(pl.col("setting") == "steered"), outcome)
    sound = points.filter(pl.col("degenerate") <= plain["degenerate"].mean())
    start = percent(float(plain[outcome].mean() or 0.0))  # type: ignore[arg-type]
    if sound.is_empty():
        return f"{name.capitalize()}: every setting leaves more degenerate answers than none does."
    top = sound.sort(outcome, descending=True).row(0, named=True)
    return (
        f"{name.capitalize()}: from {start} to {percent(top[outcome])} at layer {top['layer']}, "
        f"weight {top['strength']:g} ({top['operation']}), with nothing more degenerate."
    )

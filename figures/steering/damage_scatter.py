"""Draw the accuracy that steering gains against the damage that it does."""

from __future__ import annotations

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from figures.style import theme
from figures.style.drawing import Drawing, interval_text, require_columns, whiskers
from interp_steer.statistics import Interval, share_of


def damage_scatter(records: pl.DataFrame, *, outcome: str = "strict") -> Drawing:
    """Draw accuracy against the share of degenerate answers, a point for every setting of a search.

    Args:
        records: columns ``instruction`` (a panel each), ``setting``, ``operation`` and ``layer``
            and ``strength`` (null where unsteered), ``query``, ``degenerate`` and ``outcome``.
        outcome: the column of success.

    Returns:
        The drawing; its caption names the best setting without additional degenerate answers.

    Raises:
        FigureError: for records without these columns.
    """
    columns = ("instruction", "setting", "operation", "layer", "strength", "query", "degenerate")
    require_columns(records, (*columns, outcome), "damage_scatter")
    names = records["instruction"].unique(maintain_order=True).to_list()
    figure = make_subplots(
        1, len(names), shared_yaxes=True, subplot_titles=names, horizontal_spacing=0.08
    )
    operations = records["operation"].drop_nulls().unique(maintain_order=True).to_list()
    named: set[str] = set()
    findings = []
    for column, name in enumerate(names, start=1):
        rows = records.filter(pl.col("instruction") == name)
        all_points = _settings(rows.filter(pl.col("operation").is_not_null()), outcome)
        for at, operation in enumerate(operations):
            points = {key: both for key, both in all_points.items() if key[0] == operation}
            if points:
                figure.add_trace(_scatter(points, at, operation not in named), 1, column)
                named.add(operation)
        plain = _both_shares(rows.filter(pl.col("setting") == "none"), outcome)
        figure.add_trace(_cross(plain, column == 1), 1, column)
        steered = rows.filter(pl.col("setting") == "steered")
        findings.append(_describe_best(_settings(steered, outcome), plain, name))
    theme.figure(theme.TWO_COLUMNS, 300, figure)
    figure.update_layout(margin={"t": 62})
    figure.update_annotations(font_size=12)
    figure.update_xaxes(
        title_text="share of degenerate answers",
        tickformat=".0%",
        tickvals=[0, 0.5, 1],
        range=[-0.05, 1.05],
    )
    figure.update_yaxes(tickformat=".0%", range=[-0.05, 1.05])
    figure.update_yaxes(title_text="accuracy", col=1)
    sizes = records.group_by("instruction", "operation", "layer", "strength").len()["len"]
    return Drawing(
        figure,
        f"{' '.join(findings)} Accuracy against the share of degenerate answers, a point for "
        "every layer and weight; larger points have larger weights, the cross is the unsteered "
        f"model, bars are 95% intervals, of at least {sizes.min()} answers each.",
    )


Setting = tuple[str, int, float]
"""An operation, a layer and a weight."""

Shares = tuple[Interval, Interval]
"""The share of degenerate answers, and the accuracy."""


def _settings(rows: pl.DataFrame, outcome: str) -> dict[Setting, Shares]:
    """Compute both shares of every setting, by operation, layer and weight."""
    by = ["operation", "layer", "strength"]
    return {
        key: _both_shares(each, outcome)  # type: ignore[misc]
        for key, each in rows.sort("layer", "strength").group_by(by, maintain_order=True)
    }


def _both_shares(rows: pl.DataFrame, outcome: str) -> Shares:
    return share_of(rows, "degenerate"), share_of(rows, outcome)


def _scatter(points: dict[Setting, Shares], at: int, first: bool) -> go.Scatter:
    colour = theme.QUALITATIVE[at % len(theme.QUALITATIVE)]
    name = next(iter(points))[0]
    weights = [abs(weight) for _, _, weight in points]
    largest = max(weights) or 1.0
    return _marks(list(points.values()), theme.add_opacity(colour, 0.4)).update(
        name=name,
        legendgroup=name,
        showlegend=first,
        marker={
            "size": [5 + 7 * weight / largest for weight in weights],
            "symbol": theme.SYMBOLS[at % len(theme.SYMBOLS)],
            "color": theme.add_opacity(colour, 0.7),
            "line": {"width": 1, "color": colour},
        },
        customdata=[[layer, weight] for _, layer, weight in points],
        hovertemplate="layer %{customdata[0]}, weight %{customdata[1]:.1f}: %{y:.2f}",
    )


def _cross(plain: Shares, first: bool) -> go.Scatter:
    return _marks([plain], theme.INK).update(
        name="no steering",
        legendgroup="none",
        showlegend=first,
        marker={"symbol": "x", "size": 9, "color": theme.INK},
    )


def _marks(points: list[Shares], colour: str) -> go.Scatter:
    """Draw points with the intervals of both shares."""
    damage, accuracy = ([point[side] for point in points] for side in (0, 1))
    return go.Scatter(
        x=[share.value for share in damage],
        y=[share.value for share in accuracy],
        error_x=whiskers(damage, color=colour, thickness=0.8, width=0),
        error_y=whiskers(accuracy, color=colour, thickness=0.8, width=0),
        mode="markers",
    )


def _describe_best(points: dict[Setting, Shares], plain: Shares, name: str) -> str:
    """Describe the most accurate of the settings that leave no more degenerate answers than the
    plain model."""
    sound = {key: both for key, both in points.items() if both[0].value <= plain[0].value}
    start = interval_text(plain[1])
    if not sound:
        return (
            f"{name.capitalize()}: every setting has more degenerate answers than without steering."
        )
    operation, layer, weight = top = max(sound, key=lambda key: sound[key][1].value)
    return (
        f"{name.capitalize()}: from {start} to {interval_text(sound[top][1])} at layer {layer}, "
        f"weight {weight:g} ({operation}), without more degenerate answers."
    )

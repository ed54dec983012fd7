"""What an answer becomes under a growing weight: means with intervals, and distributions."""

from __future__ import annotations

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from figures import theme
from figures.drawing import Drawing, listed, need
from figures.panels import Grid, curve
from interp_steer.statistics import Interval, bootstrap_mean

COLUMNS = ("instruction", "setting", "strength", "query")


def dose_curve(records: pl.DataFrame, quantity: str) -> Drawing:
    """The mean of a quantity against the weight of a vector, a panel per vector.

    Args:
        records: columns ``instruction`` (the vector), ``setting`` (none, steered or random),
            ``strength`` (0 where unsteered), ``query`` and the quantity.
        quantity: a column of numbers, such as ``words``.

    Returns:
        The drawing; its caption gives the mean at no weight and at the largest.

    Raises:
        FigureError: for records without these columns.
    """
    need(records, (*COLUMNS, quantity), "dose_curve")
    names = records["instruction"].unique(maintain_order=True).to_list()
    grid = Grid(names, columns=2)
    found = {
        (name, setting): _means(records, name, setting, quantity)
        for name in names
        for setting in ("steered", "random")
    }
    for panel, name in enumerate(names):
        for setting in ("steered", "random"):
            style = theme.setting_style(setting)
            look = {"band": 0.16, "symbol": style.symbol}
            for trace in curve(found[name, setting], style.label, style.colour, **look):
                grid.add(trace, panel)
    highest = max(i.high for points in found.values() for i in points.values())
    figure = grid.finish(
        legend_rows=1,
        layers=[0, 1],
        x_title="weight (of the vector's norm)",
        y_title=f"mean {quantity}",
        y_range=(0, 1.05 * highest),
    )
    weights = sorted(records["strength"].drop_nulls().unique().to_list())
    figure.update_xaxes(range=[-0.1, weights[-1] + 0.1], tickvals=weights)
    said = [_finding(name, found[name, "steered"], quantity) for name in names]
    return Drawing(
        figure,
        f"{' '.join(said)} Mean {quantity} of an answer against the weight with which a vector is "
        "added, without a text instruction, and a random direction of the same norm; bands are 95% "
        "bootstrap intervals.",
    )


def _means(records: pl.DataFrame, name: str, setting: str, quantity: str) -> dict[float, Interval]:
    rows = records.filter(
        (pl.col("instruction") == name) & pl.col("setting").is_in(["none", setting])
    ).sort("strength")
    return {
        weight: bootstrap_mean(each[quantity].to_list(), each["query"].to_list())
        for (weight,), each in rows.group_by("strength", maintain_order=True)
    }


def _finding(name: str, points: dict[float, Interval], quantity: str) -> str:
    first, last = points[min(points)], points[max(points)]
    return (
        f"{name.capitalize()}: {first.value:.0f} {quantity} unsteered [{first.low:.0f}, "
        f"{first.high:.0f}], {last.value:.0f} [{last.low:.0f}, {last.high:.0f}] at weight "
        f"{max(points):g}."
    )


def dose_boxes(records: pl.DataFrame, quantity: str) -> Drawing:
    """How a quantity is distributed under each weight: a box beside every answer.

    Args:
        records: as for :func:`dose_curve`.
        quantity: a column of numbers.

    Returns:
        The drawing.

    Raises:
        FigureError: for records without these columns.
    """
    need(records, (*COLUMNS, quantity), "dose_boxes")
    names = records["instruction"].unique(maintain_order=True).to_list()
    figure = make_subplots(
        1, len(names), shared_yaxes=True, subplot_titles=names, horizontal_spacing=0.03
    )
    steered = records.filter(pl.col("setting").is_in(["none", "steered"])).sort("strength")
    for column, name in enumerate(names, start=1):
        rows = steered.filter(pl.col("instruction") == name)
        for (weight,), each in rows.group_by("strength", maintain_order=True):
            style = theme.setting_style("steered" if weight else "none")
            figure.add_trace(
                go.Box(
                    y=each[quantity].to_list(),
                    name=f"{weight:g}",
                    boxpoints="all",
                    jitter=0.5,
                    pointpos=0,
                    marker={"size": 2.5, "color": style.colour, "opacity": 0.5},
                    line={"color": style.colour, "width": 1.2},
                    fillcolor=theme.translucent(style.colour, 0.15),
                    showlegend=False,
                ),
                1,
                column,
            )
    theme.figure(theme.TWO_COLUMNS, 260, figure)
    figure.update_layout(margin={"t": 28})
    figure.update_annotations(font_size=12)
    figure.update_xaxes(title_text="weight (of the vector's norm)", type="category")
    figure.update_yaxes(title_text=quantity, rangemode="tozero", col=1)
    n = steered.group_by("instruction", "strength").len()["len"]
    medians = [
        f"{name} {_median(steered, name, 0.0, quantity):.0f} to "
        f"{_median(steered, name, None, quantity):.0f}"
        for name in names
    ]
    return Drawing(
        figure,
        f"From no weight to the largest the median goes: {listed(medians)} {quantity}. Boxes are "
        f"quartiles, points are answers, {n.min()} for each weight.",
    )


def _median(rows: pl.DataFrame, name: str, weight: float | None, quantity: str) -> float:
    """The median at a weight, or at the largest."""
    of = rows.filter(pl.col("instruction") == name)
    at = of["strength"].max() if weight is None else weight
    return float(of.filter(pl.col("strength") == at)[quantity].median() or 0.0)  # type: ignore[arg-type]

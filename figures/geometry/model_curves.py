"""Draw several models on one axis: a curve for each model, and a dotted curve for its control."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go
import polars as pl

from figures.style import theme
from figures.style.drawing import Drawing, list_words, require_columns, short_names
from figures.style.small_multiples import Grid, curve
from interp_steer.errors import FigureError
from interp_steer.statistics import Interval


def model_curves(frame: pl.DataFrame, x: str, x_title: str, y_title: str, *, about: str) -> Drawing:
    """Draw a number of several models against a shared axis, such as the relative depth.

    Args:
        frame: columns ``model``, ``instruction`` (a panel each), ``setting`` (vector or random),
            ``x``, ``value``, ``low`` and ``high``.
        x: the column of the x axis.
        x_title: title of the x axis.
        y_title: title of the y axis.
        about: a sentence about the drawn numbers, for the caption.

    Returns:
        The drawing; its caption gives the greatest value of each model's curve and its place, in
        the mean over the panels.

    Raises:
        FigureError: for a frame without these columns, or undefined values.

    Example::

        model_curves(curves, "depth", "relative depth", "AUROC", about="...")
    """
    require_columns(
        frame, ("model", "instruction", "setting", x, "value", "low", "high"), "model_curves"
    )
    undefined = frame.filter(~pl.all_horizontal(pl.col(x, "value", "low", "high").is_finite()))
    if len(undefined):
        raise FigureError(f"model_curves has {len(undefined)} undefined rows; leave them out.")
    names = short_names(frame["instruction"].unique(maintain_order=True).to_list())
    models = frame["model"].unique(maintain_order=True).to_list()
    colours = [colour for colour in theme.QUALITATIVE if colour != theme.GREY]
    grid = Grid(list(names.values()), columns=3)
    for panel, name in enumerate(names):
        for at, model in enumerate(models):
            colour, symbol = colours[at % len(colours)], theme.SYMBOLS[at % len(theme.SYMBOLS)]
            for setting in ("random", "vector"):
                rows = frame.filter(
                    (pl.col("instruction") == name)
                    & (pl.col("model") == model)
                    & (pl.col("setting") == setting)
                ).sort(x)
                points = {row[x]: Interval.of(row) for row in rows.iter_rows(named=True)}
                own = setting == "vector"
                look: dict[str, Any] = (
                    {"symbol": symbol} if own else {"dash": "dot", "mode": "lines", "small": True}
                )
                if points:
                    label = model if own else ""
                    for trace in curve(points, label, colour, band=0.14 if own else 0.05, **look):
                        grid.add(trace, panel)
    if "random" in frame["setting"].to_list():
        dotted = {"color": theme.GREY, "dash": "dot", "width": 1.2}
        legend_line = go.Scatter(
            x=[None], y=[None], mode="lines", line=dotted, name="random directions"
        )
        grid.add(legend_line, 0)
    low, high = float(frame["low"].to_numpy().min()), float(frame["high"].to_numpy().max())
    margin = 0.05 * (high - low or 1)
    figure = grid.finish(
        legend_rows=math.ceil((len(models) + 1) / (3 if grid.columns > 1 else 2)),
        layers=[0, 1],
        x_title=x_title,
        y_title=y_title,
        y_range=(low - margin, high + margin),
    )
    places = sorted(frame[x].unique().to_list())
    reach = 0.04 * (places[-1] - places[0] or 1)
    figure.update_xaxes(
        range=[places[0] - reach, places[-1] + reach], tickvals=None, tickmode="auto", nticks=6
    )
    return Drawing(figure, f"{_peaks(frame, x, x_title, y_title)} {about}")


def _peaks(frame: pl.DataFrame, x: str, x_title: str, y_title: str) -> str:
    """Describe the greatest value of each model in the mean over panels, and its place."""
    peaks = []
    own = frame.filter(pl.col("setting") == "vector")
    for (model,), rows in own.group_by("model", maintain_order=True):
        means = rows.group_by(x, maintain_order=True).agg(pl.col("value").mean())
        best = means.sort("value", descending=True, maintain_order=True).row(0, named=True)
        peaks.append(f"{best['value']:.2f} for {model} (at {best[x]:.2f})")
    return (
        f"The greatest {y_title} is {list_words(peaks)}, against {x_title}; bands are 95% "
        "intervals, dotted curves are random directions."
    )

"""Draw how answers change with a growing weight: means with intervals, and distributions."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots
from scipy.stats import gaussian_kde

from figures.style import theme
from figures.style.drawing import NO_ESTIMATE, Drawing, list_words, require_columns
from figures.style.small_multiples import Grid, curve
from interp_steer.statistics import Interval, bootstrap_mean

COLUMNS = ("instruction", "setting", "strength", "query")

BINS = 24
"""Number of bins of a histogram, over the range of all its panels."""


def dose_curve(records: pl.DataFrame, quantity: str) -> Drawing:
    """Draw the mean of a quantity against the weight of a vector, a panel per vector.

    Args:
        records: columns ``instruction`` (the vector), ``setting`` (none, steered or random),
            ``strength`` (0 where unsteered), ``query`` and the quantity.
        quantity: a column of numbers, such as ``words``.

    Returns:
        The drawing; its caption gives the mean without steering and at the largest weight.

    Raises:
        FigureError: for records without these columns.
    """
    require_columns(records, (*COLUMNS, quantity), "dose_curve")
    names = records["instruction"].unique(maintain_order=True).to_list()
    grid = Grid(names, columns=2)
    means = {
        (name, setting): _means(records, name, setting, quantity)
        for name in names
        for setting in ("steered", "random")
    }
    for panel, name in enumerate(names):
        for setting in ("steered", "random"):
            style = theme.setting_style(setting)
            look = {"band": 0.16, "symbol": style.symbol}
            for trace in curve(means[name, setting], style.label, style.colour, **look):
                grid.add(trace, panel)
    highest = max(i.high for points in means.values() for i in points.values())
    figure = grid.finish(
        legend_rows=1,
        layers=[0, 1],
        x_title="weight (of the vector's norm)",
        y_title=f"mean {quantity}",
        y_range=(0, 1.05 * highest),
    )
    weights = sorted(records["strength"].drop_nulls().unique().to_list())
    figure.update_xaxes(range=[-0.1, weights[-1] + 0.1], tickvals=weights)
    findings = [_finding(name, means[name, "steered"], quantity) for name in names]
    return Drawing(
        figure,
        f"{' '.join(findings)} Mean {quantity} of an answer against the weight with which a "
        "vector is added, without a text instruction, and a random direction of the same norm; "
        "bands are 95% bootstrap intervals.",
    )


def _means(records: pl.DataFrame, name: str, setting: str, quantity: str) -> dict[float, Interval]:
    rows = records.filter(
        (pl.col("instruction") == name) & pl.col("setting").is_in(["none", setting])
    ).sort("strength")
    return {
        weight: bootstrap_mean(answers[quantity].to_list(), answers["query"].to_list())
        for (weight,), answers in rows.group_by("strength", maintain_order=True)
    }


def _finding(name: str, points: dict[float, Interval], quantity: str) -> str:
    first, last = points[min(points)], points[max(points)]
    return (
        f"{name.capitalize()}: {first.value:.0f} {quantity} unsteered [{first.low:.0f}, "
        f"{first.high:.0f}], {last.value:.0f} [{last.low:.0f}, {last.high:.0f}] at weight "
        f"{max(points):g}."
    )


def dose_boxes(records: pl.DataFrame, quantity: str) -> Drawing:
    """Draw the distribution of a quantity under each weight: a box and every answer.

    Args:
        records: as for :func:`dose_curve`.
        quantity: a column of numbers.

    Returns:
        The drawing.

    Raises:
        FigureError: for records without these columns.
    """
    require_columns(records, (*COLUMNS, quantity), "dose_boxes")
    names = records["instruction"].unique(maintain_order=True).to_list()
    figure = make_subplots(
        1, len(names), shared_yaxes=True, subplot_titles=names, horizontal_spacing=0.03
    )
    steered = records.filter(pl.col("setting").is_in(["none", "steered"])).sort("strength")
    for column, name in enumerate(names, start=1):
        rows = steered.filter(pl.col("instruction") == name)
        for (weight,), answers in rows.group_by("strength", maintain_order=True):
            style = theme.setting_style("steered" if weight else "none")
            figure.add_trace(
                go.Box(
                    y=answers[quantity].to_list(),
                    name=f"{weight:g}",
                    boxpoints="all",
                    jitter=0.5,
                    pointpos=0,
                    marker={"size": 2.5, "color": style.colour, "opacity": 0.5},
                    line={"color": style.colour, "width": 1.2},
                    fillcolor=theme.add_opacity(style.colour, 0.15),
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
        f"From no weight to the largest the median changes: {list_words(medians)} {quantity}. "
        f"Boxes are quartiles, points are answers, {n.min()} for each weight.",
    )


def _median(rows: pl.DataFrame, name: str, weight: float | None, quantity: str) -> float:
    """Return the median at a weight, or at the largest weight."""
    of = rows.filter(pl.col("instruction") == name)
    at = of["strength"].max() if weight is None else weight
    return float(of.filter(pl.col("strength") == at)[quantity].median() or 0.0)  # type: ignore[arg-type]


def dose_density(records: pl.DataFrame, quantity: str) -> Drawing:
    """Draw the distribution of a quantity under each weight: a histogram under a kernel density.

    There is a row of panels for each vector and a panel for each weight, with one common x axis.
    Every histogram has the area 1, and every panel has a separate y axis. A panel whose answers are
    all equal has a single bar without a density.

    Args:
        records: as for :func:`dose_curve`.
        quantity: a column of numbers.

    Returns:
        The drawing; its caption gives the middle half of the answers.

    Raises:
        FigureError: for records without these columns.
    """
    require_columns(records, (*COLUMNS, quantity), "dose_density")
    names = records["instruction"].unique(maintain_order=True).to_list()
    weights = sorted(records["strength"].drop_nulls().unique().to_list())
    edges = _edges(records[quantity].drop_nulls().to_numpy())
    figure = make_subplots(
        len(names),
        len(weights),
        column_titles=[f"weight {weight:g}" for weight in weights],
        horizontal_spacing=0.015,
        vertical_spacing=0.08,
    )
    named: set[str] = set()
    for row, name in enumerate(names, start=1):
        for column, weight in enumerate(weights, start=1):
            setting = "steered" if weight else "none"
            values = _values(records, name, setting, weight, quantity)
            random = _values(records, name, "random", weight, quantity)
            figure.add_traces(_histogram(values, edges, setting), row, column)
            for line in (*_density(values, edges, setting), *_density(random, edges, "random")):
                label = str(line.name)  # in the legend once for all panels
                figure.add_trace(line.update(showlegend=label not in named), row, column)
                named.add(label)
    theme.figure(theme.TWO_COLUMNS, 100 + 110 * len(names), figure)
    figure.update_layout(margin={"t": 50, "l": 30, "b": 40}, bargap=0, barmode="overlay")
    figure.update_annotations(font_size=11)
    figure.update_yaxes(showticklabels=False, ticks="", showgrid=False, rangemode="tozero")
    figure.update_xaxes(range=[edges[0], edges[-1]], tickvals=_ticks(edges), showticklabels=False)
    figure.update_xaxes(showticklabels=True, title_text=quantity, row=len(names))
    for row, name in enumerate(names, start=1):
        figure.update_yaxes(title_text=name, row=row, col=1)
    steered = records.filter(pl.col("setting").is_in(["none", "steered"]))
    n = steered.group_by("instruction", "strength").len()["len"]
    findings = " ".join(_middle_half(steered, name, quantity) for name in names)
    return Drawing(
        figure,
        f"{findings} Histograms of {quantity} with kernel densities under each weight, each of "
        f"area 1, {n.min()} answers each; the dotted line is the density under a random direction "
        "of the same norm.",
    )


def _values(
    records: pl.DataFrame, name: str, setting: str, weight: float, quantity: str
) -> np.ndarray:
    rows = records.filter(
        (pl.col("instruction") == name)
        & (pl.col("setting") == setting)
        & (pl.col("strength") == weight)
    )
    return rows[quantity].drop_nulls().to_numpy().astype(float)


def _edges(values: np.ndarray) -> np.ndarray:
    """Return the edges of the bins, from zero over all values; for zeros alone, half a unit to
    either side."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    return np.linspace(low, high, BINS + 1) if low < high else np.array([low - 0.5, low + 0.5])


def _ticks(edges: np.ndarray) -> list[float]:
    """Return two or three round numbers, none so near the end that it meets the next panel's first
    number."""
    low, span = float(edges[0]), float(edges[-1] - edges[0])
    power = 10.0 ** math.floor(math.log10(span))
    step = max(power * share for share in (0.1, 0.2, 0.5, 1.0) if power * share <= 0.45 * span)
    first = math.ceil(low / step) * step
    return [at for at in (first + n * step for n in range(4)) if at <= low + 0.8 * span]


def _histogram(values: np.ndarray, edges: np.ndarray, setting: str) -> list[go.Bar]:
    """Draw bars of area 1; an empty list without values."""
    if not len(values):
        return []
    heights, _ = np.histogram(values, edges, density=True)
    colour = theme.setting_style(setting).colour
    return [
        go.Bar(
            x=((edges[:-1] + edges[1:]) / 2).tolist(),
            y=heights.tolist(),
            width=float(edges[1] - edges[0]),
            meta=NO_ESTIMATE,
            marker={"color": theme.add_opacity(colour, 0.35), "line": {"width": 0}},
            showlegend=False,
            hovertemplate="%{x:.0f}: %{y:.3f}<extra></extra>",
        )
    ]


def _density(values: np.ndarray, edges: np.ndarray, setting: str) -> list[go.Scatter]:
    """Draw the kernel density as a line; an empty list without two different values."""
    if len(np.unique(values)) < 2:
        return []
    style = theme.setting_style(setting)
    at = np.linspace(edges[0], edges[-1], 120)
    dotted = setting == "random"
    return [
        go.Scatter(
            x=at.tolist(),
            y=gaussian_kde(values)(at).tolist(),
            mode="lines",
            line={
                "color": style.colour,
                "width": 1.3 if dotted else 1.6,
                "dash": "dot" if dotted else "solid",
                "simplify": False,
            },
            name=style.label,
            legendgroup=setting,
            meta=NO_ESTIMATE,
            hoverinfo="skip",
        )
    ]


def _middle_half(steered: pl.DataFrame, name: str, quantity: str) -> str:
    rows = steered.filter(pl.col("instruction") == name)
    largest = float(rows["strength"].max() or 0.0)  # type: ignore[arg-type]
    ends = []
    for weight in (0.0, largest):
        values = rows.filter(pl.col("strength") == weight)[quantity].drop_nulls().to_numpy()
        low, high = np.quantile(values, [0.25, 0.75])
        ends.append(f"{low:.0f} to {high:.0f}")
    return (
        f"{name.capitalize()}: half of the answers have {ends[0]} {quantity} unsteered, and "
        f"{ends[1]} at weight {largest:g}."
    )

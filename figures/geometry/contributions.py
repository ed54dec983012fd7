"""Draw the values, shares and effects of single heads and MLPs: maps by head, stacked shares,
curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from figures.style import theme
from figures.style.drawing import NO_ESTIMATE, Drawing, require_columns
from figures.style.small_multiples import LEGEND_ROW, Grid, curve
from interp_steer.errors import FigureError
from interp_steer.statistics import Interval

COLUMNS = 3
"""Most panels side by side."""

LONG = 30
"""Letters of the longest title beyond which only two panels stand side by side."""

PARTS = {
    "embedding": theme.Style("embedding", theme.GREY, "square", "/"),
    "attention": theme.Style("attention", theme.BLUE, "circle"),
    "mlp": theme.Style("MLP", theme.ORANGE, "diamond", "."),
}
"""Parts that write into the residual stream, in the order of the stack."""


def head_values(
    frame: pl.DataFrame, column: str, title: str, *, middle: float, reach: float | None = None
) -> Drawing:
    """Draw a number of every head of every layer, below or above a middle value: a map for each
    panel.

    See `head_map` for norms, which have no sign.

    Args:
        frame: columns ``layer``, ``head``, ``panel`` and ``column``, each head once a panel; with
            ``low`` and ``high``, heads whose interval excludes the middle are ringed.
        column: the column of the number.
        title: title of the colour scale.
        middle: the value that is drawn white, such as the value of chance.
        reach: distance from the middle to either end of the scale; by default, to the most
            distant value.

    Returns:
        The drawing; its caption names the head with the greatest distance from the middle in each
        panel.

    Raises:
        FigureError: for a frame without these columns, heads that occur twice, or undefined
            values.

    Example::

        head_values(heads, "auroc", "AUROC", middle=0.5, reach=0.5).caption
    """
    require_columns(frame, ("layer", "head", "panel", column), "head_values")
    _check_defined(frame, [column], "head_values")
    panels = frame["panel"].unique(maintain_order=True).to_list()
    twice = frame.select("panel", "layer", "head").is_duplicated().sum()
    if twice:
        raise FigureError(
            f"head_values has {twice} rows for heads that occur twice in a panel; give one "
            "row for each head, layer and panel."
        )
    columns = min(COLUMNS if max(map(len, panels)) <= LONG else 2, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = make_subplots(
        rows,
        columns,
        shared_yaxes=True,
        subplot_titles=panels,
        horizontal_spacing=0.04,
        vertical_spacing=0.3 / (rows + 1),
    )
    known = {"low", "high"} <= set(frame.columns)
    for at, panel in enumerate(panels):
        here = frame.filter(pl.col("panel") == panel)
        row, column_at = at // columns + 1, at % columns + 1
        figure.add_trace(_head_cells(here, column), row, column_at)
        if known:
            apart = here.filter((pl.col("low") > middle) | (pl.col("high") < middle))
            figure.add_trace(_rings(apart, shown=at == 0), row, column_at)
    heads, layers = frame["head"].n_unique(), frame["layer"].n_unique()
    height = min(240, max(110, 15 * layers))
    width = theme.TWO_COLUMNS if columns > 1 else theme.ONE_COLUMN
    theme.figure(width, 26 + 50 + LEGEND_ROW * known + rows * (height + 34), figure)
    if reach is None:
        reach = max(abs(float(v) - middle) for v in frame[column]) or 1.0
    figure.update_layout(
        margin={"t": 26 + LEGEND_ROW * known, "b": 46, "r": 74},
        coloraxis=_diverging_axis(title, middle, reach),
    )
    figure.update_annotations(font_size=11, yshift=1)
    plain = {"ticks": "", "showgrid": False, "showline": False}
    figure.update_xaxes(**plain, dtick=max(1, -(-heads // 6)), range=_axis_range(frame["head"]))
    figure.update_yaxes(**plain, dtick=max(1, -(-layers // 6)), range=_axis_range(frame["layer"]))
    figure.update_yaxes(title_text="layer", col=1)
    _title_lowest(figure, "head", len(panels), columns)
    return Drawing(figure, _map_caption(frame, column, title, middle, known))


def _head_cells(rows: pl.DataFrame, column: str) -> go.Heatmap:
    """Draw the number of every head of one panel as a cell."""
    return go.Heatmap(
        x=rows["head"].to_list(),
        y=rows["layer"].to_list(),
        z=rows[column].to_list(),
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
        hovertemplate="layer %{y}, head %{x}: %{z:.3f}<extra></extra>",
    )


def _diverging_axis(title: str, middle: float, reach: float) -> dict[str, Any]:
    """Return plotly's colour axis from ``middle - reach`` to ``middle + reach``."""
    return {
        "colorscale": theme.scale("diverging"),
        "cmin": middle - reach,
        "cmax": middle + reach,
        "colorbar": {
            "title": {"text": title, "side": "right", "font": {"size": 11}},
            "tickfont": {"size": theme.SMALL},
            "thickness": 10,
            "outlinewidth": 0,
            "nticks": 5,
        },
    }


def share_bars(frame: pl.DataFrame) -> Drawing:
    """Draw the shares that embedding, attention and MLPs contribute to the direction at each layer.

    Args:
        frame: columns ``layer`` (of the direction), ``writer`` (``embedding``, ``attention`` or
            ``mlp``, each summed up to the layer), ``share``, ``low``, ``high`` and ``panel``.

    Returns:
        The drawing: stacked shares that sum to 1, with their intervals; its caption names the
        greatest share of the last layer's direction.

    Raises:
        FigureError: for a frame without these columns, unknown writers, or undefined shares.
    """
    require_columns(frame, ("layer", "writer", "share", "low", "high", "panel"), "share_bars")
    _check_defined(frame, ["share", "low", "high"], "share_bars")
    unknown = sorted(set(frame["writer"]) - set(PARTS))
    if unknown:
        raise FigureError(
            f"share_bars does not know the writers {', '.join(unknown)}; it stacks "
            f"{', '.join(PARTS)}: sum the heads of a layer first."
        )
    panels = frame["panel"].unique(maintain_order=True).to_list()
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = make_subplots(
        rows,
        columns,
        shared_yaxes=True,
        shared_xaxes=True,
        subplot_titles=panels if len(panels) > 1 else None,
        horizontal_spacing=0.03,
        vertical_spacing=0.26 / (rows + 1),
    )
    for at, panel in enumerate(panels):
        for writer, style in PARTS.items():
            here = frame.filter((pl.col("panel") == panel) & (pl.col("writer") == writer))
            figure.add_trace(
                _writer_bars(here, style, writer, in_legend=at == 0),
                row=at // columns + 1,
                col=at % columns + 1,
            )
    width = theme.TWO_COLUMNS if columns > 1 else 420
    titled = 22 if len(panels) > 1 else 6
    theme.figure(width, LEGEND_ROW + titled + 50 + 180 * rows, figure)
    figure.update_layout(barmode="relative", margin={"t": LEGEND_ROW + titled})
    figure.update_annotations(font_size=11, yshift=1)
    _title_lowest(figure, "layer of the direction", len(panels), columns)
    figure.update_xaxes(
        dtick=max(1, -(-frame["layer"].n_unique() // 9)), range=_axis_range(frame["layer"])
    )
    figure.update_yaxes(title_text="share", col=1)
    return Drawing(figure, _share_caption(frame))


def _writer_bars(rows: pl.DataFrame, style: theme.Style, writer: str, *, in_legend: bool) -> go.Bar:
    """Draw the shares of one writer at each layer, with their intervals."""
    return go.Bar(
        x=rows["layer"].to_list(),
        y=rows["share"].to_list(),
        name=style.label,
        legendgroup=writer,
        showlegend=in_legend,
        marker={
            "color": style.colour,
            "pattern": {
                "shape": style.pattern,
                "size": 5,
                "fillmode": "overlay",
                "fgcolor": "white",
                "solidity": 0.2,
            },
            "line": {"width": 0},
        },
        error_y={
            "array": (rows["high"] - rows["share"]).to_list(),
            "arrayminus": (rows["share"] - rows["low"]).to_list(),
            "thickness": 0.9,
            "width": 2,
            "color": theme.INK,
        },
        hovertemplate=f"layer %{{x}}, {style.label}: %{{y:.3f}}<extra></extra>",
    )


def interval_curves(
    frame: pl.DataFrame, x: str, x_title: str, y_title: str, *, chance: str | None = None
) -> Drawing:
    """Draw curves with their intervals against a whole number, in one or several panels.

    Args:
        frame: columns ``x``, ``series``, ``value``, ``low`` and ``high``; with ``panel``, one
            panel for each value.
        x: the column of the x axis, such as a layer, or a number of heads.
        x_title: title of the x axis.
        y_title: title of the y axis.
        chance: the series that is a control, which is drawn dotted and grey.

    Returns:
        The drawing; its caption gives the value of every series at the last place.

    Raises:
        FigureError: for a frame without these columns, or undefined values.
    """
    require_columns(frame, (x, "series", "value", "low", "high"), "interval_curves")
    _check_defined(frame, ["value", "low", "high"], "interval_curves")
    if "panel" not in frame.columns:
        frame = frame.with_columns(pl.lit("").alias("panel"))
    panels = frame["panel"].unique(maintain_order=True).to_list()
    series = frame["series"].unique(maintain_order=True).to_list()
    grid = Grid(panels, columns=COLUMNS)
    free = [colour for colour in theme.QUALITATIVE if colour != theme.GREY]
    for at, panel in enumerate(panels):
        for number, name in enumerate(series):
            here = frame.filter((pl.col("panel") == panel) & (pl.col("series") == name)).sort(x)
            points = {row[x]: Interval.of(row) for row in here.iter_rows(named=True)}
            control = name == chance
            for trace in curve(
                points,
                name,
                theme.GREY if control else free[number % len(free)],
                band=0.14,
                dash="dot" if control else "solid",
                symbol=theme.SYMBOLS[number % len(theme.SYMBOLS)],
            ):
                grid.add(trace, at)
    low, high = float(frame["low"].to_numpy().min()), float(frame["high"].to_numpy().max())
    margin = 0.05 * (high - low or 1)
    figure = grid.finish(
        legend_rows=math.ceil(len(series) / (4 if grid.columns > 1 else 2)),
        layers=frame[x].to_list(),
        x_title=x_title,
        y_title=y_title,
        y_range=(low - margin, high + margin),
    )
    return Drawing(figure, _curve_caption(frame, x, x_title, y_title))


def _title_lowest(figure: go.Figure, title: str, panels: int, columns: int) -> None:
    """Write the title of the x axis under the lowest panel of each column."""
    for at in range(max(0, panels - columns), panels):
        figure.update_xaxes(
            title_text=title, showticklabels=True, row=at // columns + 1, col=at % columns + 1
        )


def _axis_range(places: pl.Series) -> list[float]:
    """Return the range of an axis on which every whole number has a cell."""
    return [float(places.to_numpy().min()) - 0.5, float(places.to_numpy().max()) + 0.5]


def _check_defined(frame: pl.DataFrame, columns: Sequence[str], figure: str) -> None:
    for column in columns:
        values = frame[column].cast(pl.Float64)
        lost = len(values) - int(values.is_finite().fill_null(False).sum())
        if lost:
            raise FigureError(
                f"{figure} has {lost} rows whose {column!r} is undefined; leave these rows out."
            )


def _rings(heads: pl.DataFrame, *, shown: bool) -> go.Scatter:
    return go.Scatter(
        x=heads["head"].to_list() or [None],
        y=heads["layer"].to_list() or [None],
        mode="markers",
        marker={"symbol": "circle", "size": 3, "color": theme.INK},
        name="interval excludes the middle of the scale",
        meta=NO_ESTIMATE,
        showlegend=shown,
        hoverinfo="skip",
    )


def _map_caption(frame: pl.DataFrame, column: str, title: str, middle: float, known: bool) -> str:
    heads = []
    for (panel,), here in frame.group_by("panel", maintain_order=True):
        row = here.sort((pl.col(column) - middle).abs(), descending=True).row(0, named=True)
        ends = f" [{row['low']:.2f}, {row['high']:.2f}]" if known else ""
        place = f" in {panel}" if panel else ""
        heads.append(f"{row['layer']}.{row['head']} ({row[column]:.2f}{ends}){place}")
    return (
        f"Furthest from {middle:g} (as layer.head): {'; '.join(heads)}. "
        f"{title[0].upper()}{title[1:]} of each head of each layer; all panels share one scale."
    )


def _share_caption(frame: pl.DataFrame) -> str:
    last = int(frame["layer"].to_numpy().max())
    findings = []
    for (panel,), here in frame.filter(pl.col("layer") == last).group_by(
        "panel", maintain_order=True
    ):
        row = here.sort("share", descending=True).row(0, named=True)
        name = PARTS[row["writer"]].label
        findings.append(
            f"{name} writes {row['share']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
            + (f" of {panel}" if panel else "")
        )
    return (
        f"At layer {last}, {'; '.join(findings)}. Shares of the direction that all attention "
        "layers, all MLPs and the embedding write, summed up to each of "
        f"{frame['layer'].n_unique()} layers. Shares sum to 1; a negative share is written against "
        "the direction. Whiskers are 95% intervals."
    )


def _curve_caption(frame: pl.DataFrame, x: str, x_title: str, y_title: str) -> str:
    last = int(frame[x].to_numpy().max())
    ends = frame.filter(pl.col(x) == last)
    means = [
        f"{name} {here['value'].to_numpy().mean():.2f}"
        for (name,), here in ends.group_by("series", maintain_order=True)
    ]
    over = "" if frame["panel"].n_unique() == 1 else ", averaged over panels"
    return (
        f"With {x_title} at {last}{over}: {', '.join(means)}. {y_title.capitalize()} against "
        f"{x_title}; bands are 95% intervals."
    )

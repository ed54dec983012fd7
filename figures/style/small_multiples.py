"""Draw small multiples against the layer: a grid of panels with shared axes, and curves with
bands."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from figures.style import theme
from figures.style.plotly_layout import layout_of, left_margin
from figures.style.plotly_layout import legend_rows as rows_of_legend
from interp_steer.statistics import Interval

LEGEND_ROW = 18
"""Height in pixels of a row of the legend."""


def curve(
    points: Mapping[Any, Interval],
    name: str,
    colour: str,
    *,
    band: float,
    dash: str = "solid",
    symbol: str = "circle",
    mode: str = "lines+markers",
    small: bool = False,
) -> list[go.Scatter]:
    """Draw a curve over its interval, which is a band of the same colour.

    Args:
        points: an interval per place on the axis, in the order of the places.
        name: name in the legend.
        colour: colour as ``#rrggbb``.
        band: opacity of the band.
        dash: dash of the line.
        symbol: symbol of the marks.
        mode: mode of plotly, ``"lines"`` or ``"lines+markers"``.
        small: whether lines are thin and marks small, for a small panel.
    """
    x = list(points)
    low, high = [i.low for i in points.values()], [i.high for i in points.values()]
    shade = go.Scatter(
        x=x + x[::-1],
        y=high + low[::-1],
        fill="toself",
        fillcolor=theme.add_opacity(colour, band),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
    )
    line = go.Scatter(
        x=x,
        y=[i.value for i in points.values()],
        customdata=[[i.low, i.high] for i in points.values()],
        name=name,
        mode=mode,
        line={"color": colour, "width": 1.2 if small else 1.8, "dash": dash},
        marker={"symbol": symbol, "size": 3 if small else 5, "color": colour},
        hovertemplate="at %{x}: %{y:.2f} [%{customdata[0]:.2f}, %{customdata[1]:.2f}]",
    )
    return [shade, line]


def log_ticks(numbers: Sequence[int]) -> list[int]:
    """Choose the numbers that have room for their labels on a logarithmic axis.

    Args:
        numbers: the numbers at which something is drawn, in ascending order.
    """
    shown: list[int] = []
    for n in numbers:
        if not shown or n / shown[-1] >= (numbers[-1] / numbers[0]) ** 0.09:
            shown.append(n)
    return shown


def legend_height(figure: go.Figure) -> int:
    """Return the height in pixels of the horizontal legend of a figure that has its theme and
    traces."""
    plain = figure.to_plotly_json()
    margin = layout_of(plain)["margin"]
    room = plain["layout"]["width"] - left_margin(plain) - margin["r"]
    return LEGEND_ROW * rows_of_legend(plain, room)


class Grid:
    """Panels with shared axes, filled row by row.

    Args:
        labels: a title per panel; the title of a single panel is not shown.
        columns: greatest number of panels side by side.
    """

    def __init__(self, labels: Sequence[str], columns: int) -> None:
        self.n = len(labels)
        self.columns = min(self.n, columns)
        self.rows = math.ceil(self.n / self.columns)
        self._named: set[str] = set()
        self._figure = make_subplots(
            self.rows,
            self.columns,
            subplot_titles=list(labels) if self.n > 1 else None,
            horizontal_spacing=0.03,
            vertical_spacing=0.26 / (self.rows + 1),
        )

    def add(self, trace: go.Scatter, panel: int) -> None:
        """Add a trace to a panel; traces of one name share a legend entry over all panels."""
        name = str(trace.name) if trace.name else ""
        trace.update(legendgroup=name, showlegend=bool(name) and name not in self._named)
        self._named.add(name)
        self._figure.add_trace(trace, panel // self.columns + 1, panel % self.columns + 1)

    def finish(
        self,
        *,
        legend_rows: int,
        layers: Sequence[int],
        x_title: str,
        y_title: str,
        y_range: tuple[float, float],
    ) -> go.Figure:
        """Return the figure at its size, with one axis title per row and column.

        Args:
            legend_rows: least room for the legend, in rows.
            layers: layers, or other whole numbers, that the x axis spans.
            x_title: title under the lowest panel of each column.
            y_title: title beside the first panel of each row.
            y_range: range of the y axis of every panel.
        """
        width = theme.TWO_COLUMNS if self.columns > 1 else 420
        figure = theme.figure(width, 300, self._figure)
        legend = max(LEGEND_ROW * legend_rows, legend_height(figure))
        top = legend + (26 if self.n > 1 else 8)
        height = 150 if self.rows > 1 else 200
        figure.update_layout(height=top + 50 + height * self.rows)
        figure.update_layout(margin={"t": top})
        figure.update_annotations(font_size=12, yshift=1)
        first, last = min(layers), max(layers)
        step = max(1, math.ceil((last - first + 1) / 9))
        for row in range(1, self.rows + 1):
            for column in range(1, self.columns + 1):
                at = (row - 1) * self.columns + column
                lowest = at <= self.n < at + self.columns
                empty = at > self.n
                figure.update_xaxes(
                    range=[first - 0.4, last + 0.4],
                    tickvals=list(range(first, last + 1, step)),
                    showticklabels=lowest,
                    title_text=x_title if lowest else None,
                    visible=not empty,
                    row=row,
                    col=column,
                )
                figure.update_yaxes(
                    range=list(y_range),
                    showticklabels=column == 1,
                    ticks="outside" if column == 1 else "",
                    title_text=y_title if column == 1 else None,
                    visible=not empty,
                    row=row,
                    col=column,
                )
        return figure

"""Draw horizontal bars with intervals, as several figures show them."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from figures.style import theme
from figures.style.drawing import whiskers
from interp_steer.statistics import Interval


def horizontal_bars(values: Mapping[str, Interval], style: theme.Style) -> go.Bar:
    """Draw the horizontal bars of one setting, with their intervals.

    Args:
        values: the interval by label, in the order of the labels.
        style: colour, fill pattern and name of the setting.
    """
    intervals = list(values.values())
    return go.Bar(
        y=list(values),
        x=[i.value for i in intervals],
        orientation="h",
        name=style.label,
        marker={
            "color": style.colour,
            "line": {"width": 0},
            "pattern": {
                "shape": style.pattern,
                "fillmode": "overlay",
                "fgcolor": "white",
                "size": 5,
                "solidity": 0.3,
            },
        },
        error_x=whiskers(intervals, color=theme.INK),
        customdata=[[i.low, i.high, i.n] for i in intervals],
        hovertemplate="%{y}: %{x:.2f} [%{customdata[0]:.2f}, %{customdata[1]:.2f}], "
        "n = %{customdata[2]}<extra>" + style.label + "</extra>",
    )

"""Draw what the differences of pairs share, and what remains after centring."""

from __future__ import annotations

import math

import plotly.graph_objects as go
import polars as pl

from figures.style import theme
from figures.style.drawing import NO_ESTIMATE, Drawing, list_words, require_columns
from figures.style.small_multiples import Grid
from interp_steer.errors import FigureError

COLUMNS = 3
"""Most panels side by side."""


def pair_shifts(frame: pl.DataFrame) -> Drawing:
    """Draw the difference of each pair on two axes: along the mean difference, and along the first
    principal axis of the centred differences.

    Principal axes of centred differences describe the cloud around its own mean. The distance of
    the cloud from the origin, which is the shift, does not enter them.

    Args:
        frame: columns ``panel``, ``shift`` and ``spread``: the coordinate of each difference along
            the mean difference, and along the first axis of the centred differences, in units of
            the length of the mean.

    Returns:
        The drawing; its caption gives mean and deviation along the centred axis.

    Raises:
        FigureError: for a frame without these columns, without rows, or with undefined
            values.

    Example::

        pair_shifts(frame).caption
    """
    require_columns(frame, ("panel", "shift", "spread"), "pair_shifts")
    lost = frame.filter(~pl.all_horizontal(pl.col("shift", "spread").is_finite()))
    if frame.is_empty() or len(lost):
        raise FigureError(
            f"pair_shifts has {len(frame)} differences, {len(lost)} of them undefined; give finite "
            "differences."
        )
    panels = frame["panel"].unique(maintain_order=True).to_list()
    grid = Grid(panels, columns=COLUMNS)
    for at, panel in enumerate(panels):
        here = frame.filter(pl.col("panel") == panel)
        mean = here.select(pl.col("shift", "spread").mean()).row(0)
        grid.add(_points(here["shift"].to_list(), here["spread"].to_list()), at)
        grid.add(_mean(mean), at)
    spread = float(frame["spread"].abs().to_numpy().max())
    far = frame["shift"].to_numpy()
    low, high = min(0.0, float(far.min())), float(far.max())
    figure = grid.finish(
        legend_rows=1,
        layers=[math.floor(low), math.ceil(high)],
        x_title="along the mean difference (its lengths)",
        y_title="along the centred axis",
        y_range=(-1.1 * spread, 1.1 * spread),
    )
    room = 0.08 * (high - low or 1)
    line = {"zeroline": True, "zerolinecolor": theme.GREY, "zerolinewidth": 1}
    figure.update_xaxes(range=[low - room, high + room], tickvals=None, nticks=5, **line)
    figure.update_yaxes(**line)
    return Drawing(figure, _caption(frame, panels))


def _points(shifts: list[float], spreads: list[float]) -> go.Scatter:
    return go.Scatter(
        x=shifts,
        y=spreads,
        mode="markers",
        name="difference of a pair",
        meta=NO_ESTIMATE,
        marker={
            "size": 5,
            "symbol": "circle",
            "color": theme.add_opacity(theme.BLUE, 0.55),
            "line": {"width": 0.6, "color": theme.BLUE},
        },
        hovertemplate="%{x:.2f} along the mean, %{y:.2f} along the centred axis<extra></extra>",
    )


def _mean(mean: tuple[float, float]) -> go.Scatter:
    """Draw the line from the origin to the mean of the differences, which centring removes."""
    return go.Scatter(
        x=[0.0, mean[0]],
        y=[0.0, mean[1]],
        mode="lines+markers",
        name="mean difference, which centring removes",
        meta=NO_ESTIMATE,
        line={"color": theme.VERMILLION, "width": 2},
        marker={"symbol": ["circle-open", "diamond"], "size": [6, 9], "color": theme.VERMILLION},
        hoverinfo="skip",
    )


def _caption(frame: pl.DataFrame, panels: list[str]) -> str:
    """Describe how far the differences spread along the centred axis."""
    spreads = []
    for panel in panels:
        here = frame.filter(pl.col("panel") == panel)
        mean, deviation = (
            float(here.select(value).item() or 0.0)
            for value in (pl.col("spread").mean(), pl.col("spread").std())
        )
        spreads.append(f"a mean of {mean:.2f} and a deviation of {deviation:.2f} ({panel})")
    return (
        "Along the first principal axis of the centred differences, held-out pairs have "
        f"{list_words(spreads)}, in units of the length of the mean difference. A point is one of "
        f"{len(frame) // len(panels)} held-out pairs: its difference along the mean difference of "
        "the fitted pairs, and along the first principal axis of their centred differences. "
        "Centring removes the shift from the origin to the diamond."
    )

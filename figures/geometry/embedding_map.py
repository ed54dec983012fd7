"""Draw points on a map of two dimensions, such as a t-SNE, coloured by their labels."""

from __future__ import annotations

import math

import plotly.graph_objects as go
import polars as pl

from figures.style import theme
from figures.style.drawing import NO_ESTIMATE, Drawing, interval_text, percent, require_columns
from figures.style.text_width import width
from interp_steer.errors import FigureError
from interp_steer.statistics import Interval

SIDE = 360
"""Side of the map in pixels."""


def embedding_map(
    records: pl.DataFrame, *, nearest: Interval | None = None, chance: float | None = None
) -> Drawing:
    """Draw a map of points, with a colour and a mark for each label.

    Args:
        records: columns ``x``, ``y`` and ``label``, in the order of the legend.
        nearest: the share of points whose nearest other point has the same label, in the space
            that the map was computed from. A map alone proves nothing.
        chance: the same share when the other point is drawn at random.

    Returns:
        The drawing; its caption says how well the labels separate in the original space.

    Raises:
        FigureError: for records without these columns, or points that are not finite.
    """
    require_columns(records, ("x", "y", "label"), "embedding_map")
    lost = records.filter(~(pl.col("x").is_finite() & pl.col("y").is_finite()))
    if len(lost):
        raise FigureError(
            f"embedding_map has {len(lost)} points that are not finite, the first of "
            f"{lost['label'][0]!r}; leave them out."
        )
    labels = records["label"].unique(maintain_order=True).to_list()
    beside = 44 + max(width(str(label), theme.SMALL) for label in labels)
    figure = theme.figure(math.ceil(SIDE + 24 + beside), max(SIDE + 24, 40 + 19 * len(labels)))
    for at, label in enumerate(labels):
        rows = records.filter(pl.col("label") == label)
        colour = theme.QUALITATIVE[at % len(theme.QUALITATIVE)]
        figure.add_trace(
            go.Scatter(
                x=rows["x"].to_list(),
                y=rows["y"].to_list(),
                mode="markers",
                name=str(label),
                meta=NO_ESTIMATE,
                marker={
                    "symbol": theme.SYMBOLS[at % len(theme.SYMBOLS)],
                    "size": 6,
                    "color": theme.add_opacity(colour, 0.75),
                    "line": {"width": 0.8, "color": colour},
                },
                hovertemplate="%{x:.1f}, %{y:.1f}",
            )
        )
    bare = {"showticklabels": False, "ticks": "", "showgrid": False, "mirror": True}
    figure.update_xaxes(**bare)
    figure.update_yaxes(**bare)
    # The legend stands beside the map: above it, many labels would leave no room for the map.
    figure.update_layout(
        margin={"l": 12, "b": 12, "t": 12, "r": beside + 12},
        legend={"orientation": "v", "x": 1.01, "xref": "paper", "y": 1, "yref": "paper"},
    )
    return Drawing(figure, _caption(records, len(labels), nearest, chance))


def _caption(
    records: pl.DataFrame, kinds: int, nearest: Interval | None, chance: float | None
) -> str:
    drawn = (
        f"{len(records)} points of {kinds} kinds on a map that keeps neighbours together; "
        "distances between groups are not meaningful, and the axes have no unit."
    )
    if nearest is None:
        return drawn
    against = "" if chance is None else f", against {percent(chance)} by chance"
    return (
        f"In the space that the map was computed from, the nearest other point is of the same kind "
        f"for {interval_text(nearest)} of the points{against}. {drawn}"
    )

"""Draw how stable the choice of a layer is when the prompts are resampled."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from figures.style import theme
from figures.style.drawing import NO_ESTIMATE, Drawing, percent, short_names
from interp_steer.errors import FigureError


def selection_map(
    chosen: Mapping[str, int | None], frequency: Mapping[str, Mapping[int | None, float]]
) -> Drawing:
    """Draw how often each layer is chosen when the prompts of a sweep are resampled.

    Args:
        chosen: the chosen layer by instruction; None stands for no steering.
        frequency: the share of draws that choose each layer, by instruction.

    Returns:
        The drawing, with a ring around the chosen layer; its caption says how often that layer is
        chosen again.

    Raises:
        FigureError: without an instruction.
    """
    if not frequency:
        raise FigureError("selection_map was given no instruction; give the frequencies of one.")
    names = short_names(list(frequency))
    layers = sorted({at for each in frequency.values() for at in each if at is not None})
    columns = [None, *layers]
    labels = ["none", *map(str, layers)]
    figure = theme.figure(theme.TWO_COLUMNS, 90 + 22 * len(names))
    figure.add_trace(
        go.Heatmap(
            z=[[frequency[name].get(at, 0.0) for at in columns] for name in names],
            x=labels,
            y=list(names.values()),
            zmin=0,
            zmax=1,
            colorscale=theme.scale("sequential"),
            xgap=1,
            ygap=1,
            colorbar={"title": {"text": "share of draws", "side": "right"}, "tickformat": ".0%"},
            hovertemplate="%{y}, layer %{x}: %{z:.0%}<extra></extra>",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=[labels[columns.index(chosen[name])] for name in names],
            y=list(names.values()),
            mode="markers",
            marker={"symbol": "circle-open", "size": 11, "color": theme.VERMILLION},
            showlegend=False,
            meta=NO_ESTIMATE,
            hoverinfo="skip",
        )
    )
    figure.update_layout(margin={"t": 10, "b": 44})
    figure.update_xaxes(title_text="layer chosen", type="category", ticks="", showline=False)
    figure.update_yaxes(autorange="reversed", ticks="", showgrid=False, showline=False)
    again = {name: frequency[name].get(chosen[name], 0.0) for name in names}
    firm = sum(share >= 0.9 for share in again.values())
    least = min(again, key=lambda name: again[name])
    return Drawing(
        figure,
        f"The chosen layer (rings) is chosen again in {percent(_mean(again))} of draws on "
        f"average, in at least 90% for {firm} of {len(names)} instructions, least often for "
        f"{names[least]} ({percent(again[least])}). Share of bootstrap draws of the prompts in "
        "which the paper's rule chooses each layer; \u201cnone\u201d stands for no steering.",
    )


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values)

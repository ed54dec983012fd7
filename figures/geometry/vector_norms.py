"""Draw the length of a vector at each layer, and the projection of prompts with its property."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from figures.style import theme
from figures.style.drawing import NO_ESTIMATE, Drawing
from interp_steer.errors import FigureError


def vector_norms(
    layers: Sequence[int],
    norms: Sequence[float],
    targets: Sequence[float] | None,
    *,
    n: int,
    name: str,
) -> Drawing:
    """Draw the length of a vector's direction at each layer, with its target projection.

    Args:
        layers: the layers of the vector.
        norms: length of the direction at each layer.
        targets: mean projection of prompts with the property at each layer; None when it was not
            measured.
        n: number of pairs of the fit.
        name: name of the vector.

    Returns:
        The drawing; its caption gives the length at the first and the last layer.

    Raises:
        FigureError: when the numbers do not match the layers.
    """
    if not layers or len(norms) != len(layers) or len(targets or norms) != len(layers):
        raise FigureError(
            f"vector_norms has {len(layers)} layers, {len(norms)} norms and "
            f"{len(targets or norms)} targets; give one of each for every layer."
        )
    figure = theme.figure(theme.TWO_COLUMNS, 220)
    curves = [("length of the direction", norms, theme.BLUE, "circle")]
    if targets is not None:
        curves.append(("projection of prompts with the property", targets, theme.ORANGE, "diamond"))
    for label, values, colour, symbol in curves:
        figure.add_trace(
            go.Scatter(
                x=list(layers),
                y=list(values),
                mode="lines+markers",
                name=label,
                line={"color": colour, "width": 1.8},
                marker={"symbol": symbol, "size": 7, "color": colour},
                meta=NO_ESTIMATE,
                hovertemplate="layer %{x}: %{y:.3g}<extra></extra>",
            )
        )
    figure.update_layout(showlegend=True, margin={"t": 30, "b": 44})
    figure.update_xaxes(title_text="layer", dtick=max(1, -(-len(layers) // 16)))
    figure.update_yaxes(title_text="activation units", rangemode="tozero")
    return Drawing(
        figure,
        f"The length of {name} is {norms[0]:.3g} at layer {layers[0]} and {norms[-1]:.3g} at layer "
        f"{layers[-1]}. Length of the direction at each layer, and mean projection on the "
        f"direction for prompts with the property; fitted on {n} pairs.",
    )

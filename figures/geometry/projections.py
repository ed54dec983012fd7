"""Draw the projections of both sides of contrast sets on their directions, and cosines between
layers."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from figures.geometry.similarity import CELL, similarity_map
from figures.style import theme
from figures.style.drawing import Drawing, require_columns, short_names
from interp_steer.errors import FigureError

MOST_LAYERS = 12
"""Most layers that a panel has room for."""

SIDES = {
    "absent": ("without the property", theme.GREY, "negative"),
    "present": ("with the property", theme.BLUE, "positive"),
}


def projection_violins(records: pl.DataFrame, overlaps: pl.DataFrame) -> Drawing:
    """Draw the projections of prompts with and without a property on its direction, layer by layer.

    Args:
        records: columns ``instruction``, ``layer``, ``side`` (present or absent) and ``scaled``:
            the projection, where 0 and 1 are the means of the two sides of the fit. A panel per
            instruction; of many layers, evenly spaced layers are drawn.
        overlaps: columns ``instruction``, ``layer`` and ``value``, the overlap of the two sides.

    Returns:
        The drawing; its caption gives the layer where the sides of each instruction overlap least.

    Raises:
        FigureError: for frames without these columns.

    Example::

        run.draw("projections", projection_violins(projections, overlaps))
    """
    require_columns(records, ("instruction", "layer", "side", "scaled"), "projection_violins")
    require_columns(overlaps, ("instruction", "layer", "value"), "projection_violins")
    names = short_names(records["instruction"].unique(maintain_order=True).to_list())
    every = records["layer"].unique().sort().to_list()
    at = np.linspace(0, len(every) - 1, min(len(every), MOST_LAYERS)).round().astype(int)
    layers = [every[index] for index in at]
    place = {layer: str(layer) for layer in layers}
    panels = make_subplots(
        len(names), 1, shared_xaxes=True, vertical_spacing=0.14 / len(names),
        subplot_titles=list(names.values()),
    )  # fmt: skip
    shown = records.filter(pl.col("layer").is_in(layers))
    low, high = shown.select(pl.col("scaled").min(), pl.col("scaled").max().alias("high")).row(0)
    margin = 0.1 * (high - low)
    for row, name in enumerate(names, start=1):
        drawn = shown.filter(pl.col("instruction") == name)
        for side in SIDES:
            for layer in layers:  # a trace for each, since the widest would make the others thin
                prompts = drawn.filter((pl.col("side") == side) & (pl.col("layer") == layer))
                trace = _half_violin(prompts["scaled"].to_list(), side, place[layer]).update(
                    showlegend=row == 1 and layer == layers[0],
                    scalegroup=f"{row}/{side}/{layer}",
                )
                panels.add_trace(trace, row, 1)
        shared = overlaps.filter(pl.col("instruction") == name)
        of = dict(zip(shared["layer"].to_list(), shared["value"].to_list(), strict=True))
        for layer in layers:
            panels.add_annotation(
                x=place[layer], y=high + 2.2 * margin, text=f"{of[layer]:.2f}", showarrow=False,
                font={"size": theme.SMALL, "color": theme.MUTED}, bgcolor="rgba(255,255,255,0.8)",
                row=row, col=1,
            )  # fmt: skip
    figure = theme.figure(theme.TWO_COLUMNS, 70 + 150 * len(names), panels)
    figure.update_layout(violinmode="overlay", violingap=0, margin={"t": 46, "b": 44})
    figure.update_annotations(selector={"xref": "paper"}, font_size=12)
    figure.update_xaxes(categoryorder="array", categoryarray=list(place.values()), type="category")
    figure.update_xaxes(title_text="layer", row=len(names), col=1)
    figure.update_yaxes(range=[low - margin, high + 3.2 * margin], title_text="projection")
    least = [_least_overlap(overlaps, name, label) for name, label in names.items()]
    n = records.filter((pl.col("instruction") == next(iter(names))) & (pl.col("side") == "absent"))
    return Drawing(
        figure,
        f"Least overlap: {'; '.join(least)}. Projections of {n['scaled'].len() // len(every)} "
        "held-out prompts with and without each instruction on the unit direction of its vector; 0 "
        "and 1 are the means of the prompts of the fit. The numbers above are the area that the "
        "densities of the two sides share.",
    )


def _half_violin(projections: list[float], side: str, layer: str) -> go.Violin:
    """Draw the projections of one side at one layer: half a violin, and a point for each prompt."""
    label, colour, half = SIDES[side]
    return go.Violin(
        x=[layer] * len(projections),
        y=projections,
        side=half,
        name=label,
        legendgroup=side,
        line={"color": colour, "width": 1},
        fillcolor=theme.add_opacity(colour, 0.3),
        points="all",
        pointpos=-0.25 if half == "negative" else 0.25,
        jitter=0.3,
        marker={"size": 2, "color": colour, "opacity": 0.6},
        width=0.95,
        spanmode="hard",
        hoverinfo="y",
    )


def _least_overlap(overlaps: pl.DataFrame, name: str, label: str) -> str:
    rows = overlaps.filter(pl.col("instruction") == name).sort("value", "layer")
    return f"{label} {rows['value'][0]:.2f} at layer {rows['layer'][0]}"


def layer_cosines(frame: pl.DataFrame) -> Drawing:
    """Draw the cosine between the directions of every two layers, in the mean over vectors.

    Args:
        frame: columns ``instruction``, ``layer_a``, ``layer_b`` and ``cosine``, a row for each pair
            of layers in either order.

    Returns:
        The drawing; its caption gives the cosine of neighbouring layers and of the two ends.

    Raises:
        FigureError: for a frame without these columns, or with a pair of layers missing.
    """
    require_columns(frame, ("instruction", "layer_a", "layer_b", "cosine"), "layer_cosines")
    layers = frame["layer_a"].unique().sort().to_list()
    of = {
        (a, b): cosine
        for a, b, cosine in frame.group_by("layer_a", "layer_b")
        .agg(pl.col("cosine").mean())
        .iter_rows()
    }
    missing = [(a, b) for a in layers for b in layers if (a, b) not in of]
    if missing:
        raise FigureError(
            f"layer_cosines lacks {len(missing)} pairs of layers, such as {missing[0]}; give every "
            "pair, in both orders."
        )
    matrix = np.array([[of[a, b] for b in layers] for a in layers])
    figure = similarity_map(matrix, [str(layer) for layer in layers]).figure
    figure.update_xaxes(title_text="layer", tickangle=0, type="category")
    figure.update_yaxes(title_text="layer", type="category")
    side = max(CELL * len(layers), 150)
    theme.figure(side + 130, side + 54, figure).update_layout(margin={"t": 10, "b": 44, "l": 50})
    beside, n = float(np.diagonal(matrix, offset=1).mean()), frame["instruction"].n_unique()
    over = "of the vector" if n == 1 else f"of a vector, in the mean over {n} vectors,"
    return Drawing(
        figure,
        f"Neighbouring layers have a cosine of {beside:.2f} in the mean, the first and the last of "
        f"{matrix[0, -1]:.2f}. Cosine between the directions {over} at every two layers.",
    )

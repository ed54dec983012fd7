"""Draw how similar activations and vectors are: against the layer, and for every two vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy.typing import ArrayLike

from figures.style import theme
from figures.style.drawing import Drawing, require_columns, short_names
from figures.style.small_multiples import Grid, curve
from interp_steer.errors import FigureError
from interp_steer.statistics import Interval

CELL = 32
"""Side of a cell of a map in pixels."""
READABLE = 14
"""Most names for which a cell of a map has room for its number."""


def similarity_by_layer(frame: pl.DataFrame) -> Drawing:
    """Draw the mean cosine similarity against the layer, a curve per comparison.

    Args:
        frame: columns ``layer``, ``comparison`` (such as "same instruction, different queries"),
            ``cosine``, ``low`` and ``high`` (ends of its interval); with a column ``instruction``,
            one panel for each instruction.

    Returns:
        The drawing; its caption gives the layer where the first two comparisons differ most.

    Raises:
        FigureError: for a frame without these columns, or with undefined numbers.
    """
    require_columns(frame, ("layer", "comparison", "cosine", "low", "high"), "similarity_by_layer")
    for column in ("cosine", "low", "high"):
        undefined = frame.filter(pl.col(column).is_null() | pl.col(column).is_nan())
        if len(undefined):
            raise FigureError(
                f"similarity_by_layer has {len(undefined)} rows whose {column!r} is undefined, the "
                f"first at layer {undefined['layer'][0]}; leave them out."
            )
    if "instruction" not in frame.columns:
        frame = frame.with_columns(pl.lit("").alias("instruction"))
    names = short_names(frame["instruction"].unique(maintain_order=True).to_list())
    kinds = frame["comparison"].unique(maintain_order=True).to_list()
    grid = Grid(list(names.values()), columns=3)
    for i, name in enumerate(names):
        for k, kind in enumerate(kinds):
            wanted = (pl.col("instruction") == name) & (pl.col("comparison") == kind)
            points = {
                row["layer"]: Interval(row["cosine"], row["low"], row["high"], 0, "")
                for row in frame.filter(wanted).sort("layer").iter_rows(named=True)
            }
            colour = theme.QUALITATIVE[k % len(theme.QUALITATIVE)]
            symbol = theme.SYMBOLS[k % len(theme.SYMBOLS)]
            for trace in curve(
                points, kind, colour, band=0.16, symbol=symbol, small=len(names) > 3
            ):
                grid.add(trace, i)
    low, high = float(frame["low"].to_numpy().min()), float(frame["high"].to_numpy().max())
    margin = 0.04 * (high - low or 1)
    figure = grid.finish(
        legend_rows=len(kinds) if grid.columns == 1 else (len(kinds) + 2) // 3,
        layers=frame["layer"].to_list(),
        x_title="layer",
        y_title="cosine similarity",
        y_range=(low - margin, high + margin),
    )
    return Drawing(figure, _curve_caption(frame, kinds))


def _curve_caption(frame: pl.DataFrame, kinds: Sequence[str]) -> str:
    drawn = "Mean cosine similarity by layer; bands are 95% intervals."
    if len(kinds) < 2:
        return drawn
    first, second = kinds[:2]
    gaps = (
        frame.group_by("layer", "comparison")
        .agg(pl.col("cosine").mean())
        .pivot(on="comparison", index="layer", values="cosine")
        .drop_nulls([first, second])
        .with_columns((pl.col(first) - pl.col(second)).alias("gap"))
        .sort("gap", "layer", descending=[True, False])
    )
    if gaps.is_empty():
        return drawn
    top = gaps.row(0, named=True)
    over = "" if frame["instruction"].n_unique() == 1 else ", averaged over instructions"
    return (
        f"At layer {top['layer']} \u201c{first}\u201d exceeds \u201c{second}\u201d most: "
        f"{top[first]:.2f} against {top[second]:.2f}{over}. {drawn}"
    )


def similarity_map(matrix: ArrayLike, names: Sequence[str], layer: int | None = None) -> Drawing:
    """Draw the cosine similarity of every two vectors.

    Args:
        matrix: square, its entries in [-1, 1], in the order of ``names``.
        names: one name per row; instruction ids are shortened where they stay unique.
        layer: the layer of the vectors, for the caption.

    Returns:
        The drawing; its caption names the most and the least similar pairs.

    Raises:
        FigureError: for a matrix that is not square, named or finite.
    """
    values = np.asarray(matrix, dtype=float)
    n = len(names)
    if values.shape != (n, n) or n < 2:
        raise FigureError(
            f"similarity_map has a matrix of shape {values.shape} for {n} names; give one row and "
            "one column per name, two at least."
        )
    if not np.isfinite(values).all() or np.abs(values).max() > 1 + 1e-3:
        raise FigureError(
            f"similarity_map takes cosines, in [-1, 1]; the matrix has {np.nanmin(values):.3g} to "
            f"{np.nanmax(values):.3g} and {int((~np.isfinite(values)).sum())} undefined entries."
        )
    labels = list(short_names(names).values())
    side = max(n * CELL, 150)
    labelled = max(len(label) for label in labels) * 6 + 10
    figure = theme.figure(side + labelled + 80, side + labelled + 10)
    figure.add_trace(
        go.Heatmap(
            z=values,
            x=labels,
            y=labels,
            zmin=-1,
            zmax=1,
            colorscale=theme.scale("diverging"),
            xgap=1,
            ygap=1,
            texttemplate="%{z:.2f}" if n <= READABLE else None,
            textfont={"size": theme.SMALL},
            colorbar={
                "title": {"text": "cosine", "side": "right", "font": {"size": 11}},
                "tickvals": [-1, -0.5, 0, 0.5, 1],
                "tickfont": {"size": theme.SMALL},
            },
            hovertemplate="%{y}, %{x}: %{z:.3f}<extra></extra>",
        )
    )
    plain = {"showline": False, "ticks": "", "showgrid": False, "automargin": False}
    figure.update_xaxes(**plain, tickangle=-90, side="bottom")
    figure.update_yaxes(**plain, autorange="reversed")
    figure.update_layout(margin={"t": 10, "b": labelled, "l": labelled, "r": 80})
    return Drawing(figure, _map_caption(values, labels, layer))


def _map_caption(values: np.ndarray, labels: Sequence[str], layer: int | None) -> str:
    rows, columns = np.triu_indices(len(labels), k=1)
    pairs = values[rows, columns]
    most, least = int(pairs.argmax()), int(pairs.argmin())

    def pair(at: int) -> str:
        return f"{labels[rows[at]]} and {labels[columns[at]]} ({pairs[at]:.2f})"

    alike = f"Most similar are {pair(most)}"
    if len(pairs) > 1:
        alike += f", least similar {pair(least)}; "
        alike += f"the mean of the {len(pairs)} pairs is {pairs.mean():.2f}"
    at = "" if layer is None else f" at layer {layer}"
    return f"{alike}. Cosine similarity of steering vectors{at}."

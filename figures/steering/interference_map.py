"""Draw the effect of each vector, and of every two vectors together, on every property."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
import polars as pl

from figures.style import theme
from figures.style.drawing import Drawing, percent, require_columns, short_names


def interference_map(table: pl.DataFrame, names: Sequence[str]) -> Drawing:
    """Draw the share of answers with each property, with a row for no vector, each vector and every
    two vectors.

    Args:
        table: columns ``vectors``, ``property`` and ``share``; a pair of vectors is joined by
            " + ", and the row without a vector is called none.
        names: the properties, in the order of the columns.

    Returns:
        The drawing; its caption gives the share of properties that pairs of vectors keep.

    Raises:
        FigureError: for a table without these columns.
    """
    require_columns(table, ("vectors", "property", "share"), "interference_map")
    labels: dict[str, str] = short_names(names)
    rows: list[str] = table["vectors"].unique(maintain_order=True).to_list()
    of = {(v, p): value for v, p, value in table.select("vectors", "property", "share").iter_rows()}
    shown = [" + ".join(labels.get(part, part) for part in row.split(" + ")) for row in rows]
    columns = [*names, "degenerate"]
    figure = theme.figure(theme.TWO_COLUMNS, 130 + 20 * len(rows))
    figure.add_trace(
        go.Heatmap(
            z=[[of[row, column] for column in columns] for row in rows],
            x=[*(labels[name] for name in names), "degenerate"],
            y=shown,
            zmin=0,
            zmax=1,
            colorscale=theme.scale("sequential"),
            texttemplate="%{z:.0%}",
            textfont={"size": theme.SMALL},
            xgap=1,
            ygap=1,
            colorbar={"title": {"text": "share of answers", "side": "right"}, "tickformat": ".0%"},
            hovertemplate="%{y}: %{x} %{z:.0%}<extra></extra>",
        )
    )
    plain = {"ticks": "", "showgrid": False, "showline": False}
    figure.update_xaxes(**plain, tickangle=-30)
    figure.update_yaxes(**plain, autorange="reversed")
    figure.update_layout(margin={"t": 10})
    pairs = [row for row in rows if " + " in row]
    keeps = [of[pair, name] >= 0.8 * of[name, name] for pair in pairs for name in pair.split(" + ")]
    share = percent(sum(keeps) / len(keeps)) if keeps else "0%"
    return Drawing(
        figure,
        f"In {share} of {len(keeps)} cases a property under two vectors keeps at least 80% of its "
        "share under its own vector alone. Share of answers to the same requests that have each "
        "property (columns) under each vector and every two vectors (rows).",
    )

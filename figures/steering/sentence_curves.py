"""Draw how often answers keep to a number of sentences, against the requested number."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import polars as pl

from figures.style import theme
from figures.style.drawing import NO_ESTIMATE, Drawing, interval_text, require_columns
from figures.style.small_multiples import Grid, curve
from interp_steer.statistics import Interval, compare, share_of


def sentence_curves(
    records: pl.DataFrame, reported: Mapping[tuple[str, str, int], float] | None = None
) -> Drawing:
    """Draw the share of answers with the requested number of sentences, by that number.

    Args:
        records: columns ``relation`` (a panel each), ``setting``, ``k``, ``key``, ``query``,
            ``instruction`` and ``strict``.
        reported: the shares that a paper reports of the same model, by relation, setting and ``k``.

    Returns:
        The drawing; its caption compares the settings of each relation.

    Raises:
        FigureError: for records without these columns.
    """
    columns = ("relation", "setting", "k", "key", "query", "instruction", "strict")
    require_columns(records, columns, "sentence_curves")
    relations = records["relation"].unique(maintain_order=True).to_list()
    settings = theme.order_settings(records["setting"].unique().to_list())
    grid = Grid([f"{relation} k sentences" for relation in relations], columns=2)
    lowest = 0.4
    for panel, relation in enumerate(relations):
        for setting in settings:
            style = theme.setting_style(setting)
            rows = records.filter((pl.col("relation") == relation) & (pl.col("setting") == setting))
            points: dict[int, Interval] = {
                k: share_of(answers, "strict")
                for (k,), answers in rows.sort("k").group_by("k", maintain_order=True)
            }
            lowest = min([lowest, *(interval.low for interval in points.values())])
            for trace in curve(points, style.label, style.colour, band=0.16, symbol=style.symbol):
                grid.add(trace, panel)
            marks = {
                k: v for (r, s, k), v in (reported or {}).items() if (r, s) == (relation, setting)
            }
            if marks:
                grid.add(_rings(marks, style.colour), panel)
    figure = grid.finish(
        legend_rows=1,
        layers=records["k"].to_list(),
        x_title="k",
        y_title="share of answers",
        y_range=(lowest - 0.02, 1.02),
    )
    figure.update_yaxes(tickformat=".0%")
    rings = " Rings: published." if reported else ""
    findings = " ".join(_sentence(records, relation) for relation in relations)
    return Drawing(
        figure,
        f"{findings} Share of answers that have the requested number of sentences; bands are 95% "
        f"intervals.{rings}",
    )


def _rings(marks: Mapping[int, float], colour: str) -> go.Scatter:
    return go.Scatter(
        x=list(marks),
        y=list(marks.values()),
        mode="markers",
        marker={"symbol": "circle-open", "size": 11, "color": colour, "line": {"width": 1.4}},
        name="published",
        meta=NO_ESTIMATE,
    )


def _sentence(records: pl.DataFrame, relation: str) -> str:
    rows = records.filter(pl.col("relation") == relation)
    kinds = {
        s: share_of(rows.filter(pl.col("setting") == s), "strict") for s in ("instruction", "both")
    }
    gain = compare(rows, "instruction", "both", "strict")
    change = ""
    if gain is not None:
        difference = gain.difference
        change = (
            f", {100 * difference.value:+.0f} points "
            f"[{100 * difference.low:+.0f}, {100 * difference.high:+.0f}]"
        )
    return (
        f"\u201c{relation.capitalize()} k\u201d is kept by {interval_text(kinds['both'])} of "
        f"steered answers and {interval_text(kinds['instruction'])} of unsteered answers with the "
        f"same instruction{change}."
    )

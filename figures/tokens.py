"""Tokens that vectors raise and lower, as a table shaded by how much."""

from __future__ import annotations

import html

import plotly.graph_objects as go
import polars as pl

from figures import theme
from figures.drawing import Drawing, listed, need, short_names
from figures.lettering import width


def token_table(records: pl.DataFrame) -> Drawing:
    """The tokens that each vector raises most, a row per vector.

    Args:
        records: columns ``instruction``, ``layer`` (one), ``side`` (raised or lowered), ``rank``
            from 1, ``token`` and ``score``, in standard deviations over the vocabulary.

    Returns:
        The drawing; its caption names the vector whose first token stands out most.

    Raises:
        FigureError: for records without these columns.
    """
    need(records, ("instruction", "layer", "side", "rank", "token", "score"), "token_table")
    raised = records.filter(pl.col("side") == "raised").sort("rank")
    names = short_names(raised["instruction"].unique(maintain_order=True).to_list())
    rows = {name: raised.filter(pl.col("instruction") == name) for name in names}
    n = raised["rank"].n_unique()
    labels = list(names.values())
    beside = max(width(label, theme.SMALL) for label in labels) + 90  # the names, and the scale
    room = (theme.TWO_COLUMNS - beside) / n - 6
    figure = theme.figure(theme.TWO_COLUMNS, max(80 + 24 * len(names), 170))
    figure.add_trace(
        go.Heatmap(
            z=[rows[name]["score"].to_list() for name in names],
            x=list(range(1, n + 1)),
            y=labels,
            text=[[_cut(_shown(token), room) for token in rows[name]["token"]] for name in names],
            texttemplate="%{text}",
            textfont={"size": theme.SMALL},
            zmin=0,
            colorscale=theme.scale("light"),
            xgap=2,
            ygap=2,
            colorbar={"title": {"text": "standard deviations", "side": "right"}},
            hovertemplate="%{y}: %{text} %{z:.1f}<extra></extra>",
        )
    )
    figure.update_layout(margin={"t": 10, "b": 44})
    figure.update_xaxes(title_text="rank", tickmode="linear", ticks="", showline=False)
    figure.update_yaxes(autorange="reversed", ticks="", showgrid=False, showline=False)
    first = {name: rows[name].row(0, named=True) for name in names}
    most = sorted(names, key=lambda name: -first[name]["score"])[:3]
    said = listed(
        [f"{names[k]} ({_shown(first[k]['token'])}, {first[k]['score']:.1f})" for k in most]
    )
    return Drawing(
        figure,
        f"Most pronounced are {said}. Tokens that the steering vectors of layer "
        f"{raised['layer'][0]} raise most when the head reads them as the residual stream, in "
        "standard deviations over the vocabulary.",
    )


def _shown(token: str) -> str:
    """A token as it can be read: spaces and line breaks made visible."""
    shown = html.escape(token, quote=False)
    return shown.replace(" ", "\u2423").replace("\n", "\u21b5") or "(none)"


def _cut(shown: str, room: float) -> str:
    """A token that has room in its cell, its end left out if it must be."""
    if width(shown, theme.SMALL) <= room:
        return shown
    whole = html.unescape(shown)
    cuts = (html.escape(whole[:at], quote=False) + "\u2026" for at in range(len(whole), 0, -1))
    return next((cut for cut in cuts if width(cut, theme.SMALL) <= room), "\u2026")

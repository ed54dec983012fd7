"""Draw the tokens that vectors raise or lower most, as a table shaded by the score."""

from __future__ import annotations

import html
from typing import Literal

import plotly.graph_objects as go
import polars as pl

from figures.style import theme
from figures.style.drawing import Drawing, list_words, require_columns, short_names
from figures.style.text_width import width


def token_table(records: pl.DataFrame) -> Drawing:
    """Draw the tokens that each vector raises most, a row per vector.

    Args:
        records: columns ``instruction``, ``layer`` (one), ``side`` (raised or lowered), ``rank``
            from 1, ``token`` and ``score``, in standard deviations over the vocabulary.

    Returns:
        The drawing; its caption names the vector whose first token stands out most.

    Raises:
        FigureError: for records without these columns.
    """
    require_columns(
        records, ("instruction", "layer", "side", "rank", "token", "score"), "token_table"
    )
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
            text=[
                [_shorten(_visible_text(token), room) for token in rows[name]["token"]]
                for name in names
            ],
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
    strongest = list_words(
        [f"{names[k]} ({_visible_text(first[k]['token'])}, {first[k]['score']:.1f})" for k in most]
    )
    return Drawing(
        figure,
        f"The highest scores have {strongest}. Tokens that the steering vectors of layer "
        f"{raised['layer'][0]} raise most when the unembedding reads them as the residual stream, "
        "in standard deviations over the vocabulary.",
    )


def _visible_text(token: str) -> str:
    """Return a token with visible spaces and line breaks."""
    shown = html.escape(token, quote=False)
    return shown.replace(" ", "\u2423").replace("\n", "\u21b5") or "(none)"


def _shorten(shown: str, room: float) -> str:
    """Return a token that fits into its cell, without its end if necessary."""
    if width(shown, theme.SMALL) <= room:
        return shown
    whole = html.unescape(shown)
    cuts = (html.escape(whole[:at], quote=False) + "\u2026" for at in range(len(whole), 0, -1))
    return next((cut for cut in cuts if width(cut, theme.SMALL) <= room), "\u2026")


Side = Literal["raised", "lowered"]


def layer_tokens(frame: pl.DataFrame, name: str, side: Side = "raised") -> Drawing:
    """Draw the tokens that a vector raises or lowers most, a row per layer, with the last layer on
    top.

    See `token_table` for several vectors at one layer, and `lens_tokens` for later layers.

    Args:
        frame: columns ``layer``, ``side`` (raised or lowered), ``rank`` from 1, ``token`` and
            ``score``, in standard deviations over the vocabulary, of one vector.
        name: name of the vector, for the caption.
        side: the tokens that are drawn: raised or lowered.

    Returns:
        The drawing; its caption names the token that stands out most.

    Raises:
        FigureError: for a frame without these columns, or without a token of that side.
    """
    require_columns(frame, ("layer", "side", "rank", "token", "score"), "layer_tokens")
    rows = frame.filter(pl.col("side") == side)
    require_columns(rows, ("layer",), "layer_tokens")
    rows = rows.sort("layer", "rank", descending=[True, False]).with_columns(
        pl.format("layer {}", "layer").alias("instruction"),
        pl.lit("raised").alias("side"),
        pl.col("score").abs(),
    )
    top = rows.sort("score", descending=True).row(0, named=True)
    does = "raises" if side == "raised" else "lowers"
    return Drawing(
        token_table(rows).figure,
        f"{name} {does} {top['token']!r} most, at layer {top['layer']}, by {top['score']:.1f} "
        f"standard deviations. Tokens that the vector of each layer {does} most when the "
        "unembedding reads the vector as the residual stream (the logit lens), in standard "
        "deviations over the vocabulary.",
    )

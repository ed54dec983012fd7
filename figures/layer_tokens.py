"""What the logit lens reads in a vector at each layer."""

from __future__ import annotations

from typing import Literal

import polars as pl

from figures.drawing import Drawing, need
from figures.tokens import token_table

Side = Literal["raised", "lowered"]


def layer_tokens(frame: pl.DataFrame, name: str, side: Side = "raised") -> Drawing:
    """The tokens that a vector raises or lowers most, a row per layer, the last one on top.

    `token_table` draws several vectors at one layer, `lens_tokens` what an addition does later.

    Args:
        frame: columns ``layer``, ``side`` (raised or lowered), ``rank`` from 1, ``token`` and
            ``score``, in standard deviations over the vocabulary, of one vector.
        name: of the vector, for the caption.
        side: which tokens.

    Returns:
        The drawing; its caption names the token that stands out most.

    Raises:
        FigureError: for a frame without these columns, or without a token of that side.
    """
    need(frame, ("layer", "side", "rank", "token", "score"), "layer_tokens")
    rows = frame.filter(pl.col("side") == side)
    need(rows, ("layer",), "layer_tokens")
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
        f"standard deviations. Tokens that the vector of each layer {does} most when the head "
        "reads it as the residual stream (the logit lens), in standard deviations over the "
        "vocabulary.",
    )

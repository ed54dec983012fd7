"""Draw quantities of vectors and of random directions against the layer, and tokens of the logit
lens."""

from __future__ import annotations

import polars as pl

from figures.geometry.token_table import token_table
from figures.style import theme
from figures.style.drawing import Drawing, list_words, require_columns, short_names
from figures.style.small_multiples import Grid, curve
from interp_steer.errors import FigureError
from interp_steer.statistics import Interval

DASHES = {"vector": "solid", "random": "dot"}


def layer_quantity(frame: pl.DataFrame, title: str, *, about: str) -> Drawing:
    """Draw a number against the layer, for vectors and for random directions, with a panel per
    vector.

    Args:
        frame: columns ``instruction``, ``layer``, ``setting`` (vector or random), ``value``,
            ``low`` and ``high`` (ends of its interval); with a column ``strength``, one colour
            for each strength. Rows with an undefined value are left out.
        title: title of the y axis.
        about: a sentence about the drawn numbers, for the caption.

    Returns:
        The drawing; its caption begins with the last layer's numbers.

    Raises:
        FigureError: for a frame without these columns, or without a defined row.

    Example::

        layer_quantity(ranks, "effective rank", about="Ranks of differences.")
    """
    require_columns(
        frame, ("instruction", "layer", "setting", "value", "low", "high"), "layer_quantity"
    )
    frame = frame.filter(pl.all_horizontal(pl.col("value", "low", "high").is_finite()))
    if frame.is_empty():
        raise FigureError(
            f"layer_quantity has no row whose {title} is defined; draw another quantity."
        )
    if "strength" not in frame.columns:
        frame = frame.with_columns(pl.lit(None, pl.Float64).alias("strength"))
    names = short_names(frame["instruction"].unique(maintain_order=True).to_list())
    strengths = frame["strength"].unique().sort().to_list()
    settings = [one for one in DASHES if one in frame["setting"].to_list()]
    grid = Grid(list(names.values()), columns=3)
    for panel, name in enumerate(names):
        for setting in settings:
            for k, strength in enumerate(strengths):
                rows = frame.filter(
                    (pl.col("instruction") == name)
                    & (pl.col("setting") == setting)
                    & pl.col("strength").eq_missing(pl.lit(strength))
                ).sort("layer")
                points = {row["layer"]: Interval.of(row) for row in rows.iter_rows(named=True)}
                if points:
                    look = {"dash": DASHES[setting], "small": len(names) > 3}
                    label, colour, symbol = _look(setting, strength, k)
                    for trace in curve(points, label, colour, band=0.14, symbol=symbol, **look):
                        grid.add(trace, panel)
    low, high = float(frame["low"].min()), float(frame["high"].max())  # type: ignore[arg-type]
    margin = 0.05 * (high - low or 1)
    figure = grid.finish(
        legend_rows=len(settings) if len(strengths) > 1 else 1,
        layers=frame["layer"].to_list(),
        x_title="layer",
        y_title=title,
        y_range=(low - margin, high + margin),
    )
    if len(strengths) > 1:  # a row of the legend for the vector, and one for random directions
        figure.update_layout(
            legend={"entrywidthmode": "fraction", "entrywidth": 0.9 / len(strengths)}
        )
    return Drawing(figure, f"{_finding(frame, title, strengths)} {about} Bands are 95% intervals.")


def _look(setting: str, strength: float | None, k: int) -> tuple[str, str, str]:
    """Return name, colour and mark of a curve."""
    style = theme.setting_style("random" if setting == "random" else "steered")
    if strength is None:
        return ("vector" if setting == "vector" else style.label), style.colour, style.symbol
    colour = theme.QUALITATIVE[k % len(theme.QUALITATIVE)]
    return f"{setting}, {strength:g}", colour, style.symbol


def _finding(frame: pl.DataFrame, title: str, strengths: list[float | None]) -> str:
    """Describe the numbers at the last layer and the largest strength, in the mean over the
    vectors."""
    last = int(frame["layer"].max())  # type: ignore[arg-type]
    rows = frame.filter(
        (pl.col("layer") == last) & pl.col("strength").eq_missing(pl.lit(strengths[-1]))
    )
    numbers = []
    for setting, what in (("vector", "for the vector"), ("random", "for a random direction")):
        values = rows.filter(pl.col("setting") == setting)["value"]
        if len(values):
            numbers.append(f"{values.mean():.2f} {what}")
    at = f"At layer {last}" + ("" if strengths[-1] is None else f", strength {strengths[-1]:g},")
    return f"{at} the {title} is {list_words(numbers)}."


def lens_tokens(frame: pl.DataFrame) -> Drawing:
    """Draw the tokens whose probability rises most under the logit lens, a row per layer.

    Args:
        frame: columns ``layer``, ``side`` (raised or lowered), ``rank`` from 1, ``token`` and
            ``score``, of one addition.

    Returns:
        The drawing; its caption names the first token at the last layer.

    Raises:
        FigureError: for a frame without these columns.
    """
    require_columns(frame, ("layer", "side", "rank", "token", "score"), "lens_tokens")
    rows = frame.sort("layer", descending=True).with_columns(
        pl.format("layer {}", "layer").alias("instruction")
    )
    last = frame["layer"].max()
    first = frame.filter(
        (pl.col("layer") == last) & (pl.col("rank") == 1) & (pl.col("side") == "raised")
    )["token"][0]
    return Drawing(
        token_table(rows).figure,
        f"At layer {last} the token that rises most is {first!r}. Tokens whose probability under "
        "the logit lens rises most at each layer after the addition, in standard deviations over "
        "the vocabulary of the mean change of log-probability.",
    )

"""Draw how certain vectors are: cosines against the number of pairs or queries of a vector."""

from __future__ import annotations

import math
from dataclasses import replace

import polars as pl

from figures.geometry.contributions import interval_curves
from figures.style import theme
from figures.style.drawing import Drawing, list_words, require_columns, short_names
from figures.style.small_multiples import log_ticks
from interp_steer.statistics import Interval, find_stable_size
from interp_steer.statistics.sample_size import STABLE_COSINE

ROOM = 1.3
"""Factor by which the axis extends beyond its first and last number."""


def cosines_by_number(
    frame: pl.DataFrame, x: str, x_title: str, *, about: str, chance: str | None = None
) -> Drawing:
    """Draw cosines with their intervals against a number that doubles, with a line at 0.9.

    Args:
        frame: columns ``x`` (whole numbers above 0), ``series``, ``value``, ``low`` and ``high``;
            with ``instruction``, one panel for each instruction.
        x: the column of the axis, such as a number of pairs.
        x_title: title of the x axis.
        about: a sentence about the drawn cosines, for the caption.
        chance: the series of the control, which is drawn dotted and grey.

    Returns:
        The drawing; its caption gives the number from which on the interval of the first series is
        above 0.9.

    Raises:
        FigureError: see `interval_curves`.

    Example::

        cosines_by_number(frame, "at", "pairs", about="Cosines of vectors of N pairs.")
    """
    require_columns(frame, (x, "series", "value", "low", "high"), "cosines_by_number")
    if "instruction" in frame.columns:
        names = short_names(frame["instruction"].unique(maintain_order=True).to_list())
        panel = pl.col("instruction").replace_strict(names).alias("panel")
        frame = frame.with_columns(panel)
    drawing = interval_curves(frame, x, x_title, "cosine", chance=chance)
    numbers = frame[x].unique().sort().to_list()
    reach = [math.log10(numbers[0] / ROOM), math.log10(numbers[-1] * ROOM)]
    drawing.figure.update_xaxes(
        type="log", range=reach, tickvals=log_ticks(numbers), minor={"ticks": ""}
    )
    rule = {"color": theme.GREY, "width": 1, "dash": "dash"}
    drawing.figure.add_hline(y=STABLE_COSINE, line=rule)  # type: ignore[arg-type]
    return replace(drawing, caption=f"{_finding(frame, x, x_title)} {about}")


def _finding(frame: pl.DataFrame, x: str, x_title: str) -> str:
    first = frame["series"][0]
    sizes = []
    panels = ["panel"] if "panel" in frame.columns else []
    rows = frame.filter(pl.col("series") == first).sort(x)
    for key, here in rows.group_by(panels or ["series"], maintain_order=True):
        points = {row[x]: Interval.of(row) for row in here.iter_rows(named=True)}
        n = find_stable_size(points)
        at = points[max(points) if n is None else n]
        when = f"at no number up to {max(points)}" if n is None else f"from {n} {x_title} on"
        whose = f" for {key[0]}" if panels else ""
        sizes.append(f"{when}{whose} ({at.value:.2f} [{at.low:.2f}, {at.high:.2f}])")
    return f"The interval of \u201c{first}\u201d is above {STABLE_COSINE:g} {list_words(sizes)}."

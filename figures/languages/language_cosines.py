"""Draw the cosines between the vectors of languages, with intervals."""

from __future__ import annotations

import plotly.graph_objects as go
import polars as pl

from figures.style import theme
from figures.style.drawing import Drawing, require_columns
from figures.style.settings import language_name
from interp_steer.errors import FigureError

SIDE = 66
"""Side in pixels of a cell, which holds a number over its interval."""


def language_cosines(frame: pl.DataFrame) -> Drawing:
    """Draw the cosine between the vectors of every two languages, each number over its interval.

    See `similarity_map` for cosines without intervals.

    Args:
        frame: columns ``language_a``, ``language_b``, ``cosine``, ``low`` and ``high`` (ends of the
            95% interval), a row for each pair, in either order; a pair of a language with itself is
            ignored.

    Returns:
        The drawing; its caption names the most and the least similar pairs, and counts the pairs
        whose interval excludes zero.

    Raises:
        FigureError: for a frame without these columns, with a missing pair, or with undefined
            cosines.

    Example::

        language_cosines(cosines).write(run.path, "language_cosines")
    """
    require_columns(
        frame, ("language_a", "language_b", "cosine", "low", "high"), "language_cosines"
    )
    frame = frame.filter(pl.col("language_a") != pl.col("language_b"))
    undefined = frame.filter(
        ~pl.all_horizontal(pl.col("cosine", "low", "high").is_between(-1.001, 1.001)).fill_null(
            False
        )
    )
    if len(undefined):
        row = undefined.row(0, named=True)
        raise FigureError(
            f"language_cosines takes cosines, in [-1, 1]; that of {row['language_a']} and "
            f"{row['language_b']} is {row['cosine']} [{row['low']}, {row['high']}]."
        )
    of = {(row["language_a"], row["language_b"]): row for row in frame.iter_rows(named=True)}
    codes = list(dict.fromkeys(code for pair in of for code in pair))
    pairs = [(a, b) for at, a in enumerate(codes) for b in codes[at + 1 :]]
    missing = [f"{a} and {b}" for a, b in pairs if (a, b) not in of and (b, a) not in of]
    if missing or not pairs:
        raise FigureError(
            "language_cosines needs every pair of two languages or more; missing: "
            f"{', '.join(missing) or 'any pair'}."
        )
    cosines = {pair: of.get(pair) or of[pair[::-1]] for pair in pairs}
    labels = [language_name(code) for code in codes]
    labelled = max(len(label) for label in labels) * 6 + 12
    upright = labelled > SIDE + 10
    below = labelled if upright else 26
    side = SIDE * len(codes)
    figure = theme.figure(side + labelled + 62, side + below + 10)
    figure.add_trace(
        go.Heatmap(
            z=[[_cell(cosines, a, b, "cosine") for a in codes] for b in codes],
            text=[[_text(cosines, a, b) for a in codes] for b in codes],
            x=labels,
            y=labels,
            zmin=-1,
            zmax=1,
            colorscale=theme.scale("diverging"),
            xgap=1,
            ygap=1,
            texttemplate="%{text}",
            textfont={"size": 11},
            colorbar={
                "title": {"text": "cosine", "side": "right", "font": {"size": 11}},
                "tickvals": [-1, -0.5, 0, 0.5, 1],
                "tickfont": {"size": theme.SMALL},
            },
            hovertemplate="%{y}, %{x}: %{z:.3f}<extra></extra>",
        )
    )
    plain = {"showline": False, "ticks": "", "showgrid": False, "automargin": False}
    figure.update_xaxes(**plain, tickangle=-90 if upright else 0)
    figure.update_yaxes(**plain, autorange="reversed")
    figure.update_layout(margin={"t": 10, "b": below, "l": labelled, "r": 62})
    return Drawing(figure, _caption(cosines))


def _cell(cosines: dict, a: str, b: str, column: str) -> float | None:
    return None if a == b else (cosines.get((a, b)) or cosines[b, a])[column]


def _text(cosines: dict, a: str, b: str) -> str:
    if a == b:
        return ""
    row = cosines.get((a, b)) or cosines[b, a]
    return (
        f"{row['cosine']:.2f}<br><span style='font-size:{theme.SMALL}px'>{row['low']:.2f}, "
        f"{row['high']:.2f}</span>"
    )


def _caption(cosines: dict) -> str:
    def describe(pair: tuple[str, str]) -> str:
        row = cosines[pair]
        return (
            f"{language_name(pair[0])} and {language_name(pair[1])} ({row['cosine']:.2f} "
            f"[{row['low']:.2f}, {row['high']:.2f}])"
        )

    most = max(cosines, key=lambda pair: cosines[pair]["cosine"])
    least = min(cosines, key=lambda pair: cosines[pair]["cosine"])
    apart = sum(row["low"] > 0 or row["high"] < 0 for row in cosines.values())
    alike = f"Most similar are {describe(most)}" + (
        f", least {describe(least)}" if len(cosines) > 1 else ""
    )
    return (
        f"{alike}; the intervals of {apart} of {len(cosines)} pairs exclude zero. Cosine between "
        "the vectors of two languages, with the ends of its 95% interval below."
    )

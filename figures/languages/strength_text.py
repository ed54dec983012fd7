"""Draw answers as text, each token coloured by the strength of its steering."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
import polars as pl

from figures.style import theme
from figures.style.drawing import NO_ESTIMATE, Drawing, percent, require_columns
from figures.style.settings import language_name
from figures.style.token_text import Placed, place_tokens, text_columns, text_figure
from interp_steer.errors import FigureError


def strength_text(frame: pl.DataFrame, answers: int = 4) -> Drawing:
    """Draw the text of some answers, each token shaded by its strength ``a_i`` (paper B, section
    2).

    Args:
        frame: columns ``answer_id``, ``step``, ``token`` and ``strength`` (null without
            steering). With a column ``language`` (the target of the steering at the step) a line
            under the tokens has the language's colour.
        answers: number of answers that are drawn, from the first.

    Returns:
        The drawing; its caption gives the share of the strength on the first tokens, over the drawn
        answers.

    Raises:
        FigureError: for a frame without these columns, with two tokens at one step of an answer, or
            without a token that has a strength.

    Example::

        strength_text(tokens.filter(pl.col("schedule") == "dynamic(0.5)"))
    """
    require_columns(frame, ("answer_id", "step", "token", "strength"), "strength_text")
    names = frame["answer_id"].unique(maintain_order=True).to_list()[: max(1, answers)]
    shown = frame.filter(pl.col("answer_id").is_in(names))
    if "language" not in shown.columns:
        shown = shown.with_columns(pl.lit(None, pl.String).alias("language"))
    twice = shown.filter(shown.select("answer_id", "step").is_duplicated())
    if len(twice):
        row = twice.row(0, named=True)
        raise FigureError(
            f"strength_text has several tokens at step {row['step']} of answer {row['answer_id']}; "
            "give a row for each token of one setting."
        )
    known = shown["strength"].drop_nulls()
    if known.is_empty():
        raise FigureError("strength_text has no token with a strength; give steered answers.")
    placed: list[Placed] = []
    starts: dict[int, str] = {}
    for name in names:
        first = placed[-1].line + 2 if placed else 0
        starts[first] = str(name)
        rows = shown.filter(pl.col("answer_id") == name).sort("step").iter_rows(named=True)
        placed += place_tokens(rows, "strength", first)
    codes = [code for code in dict.fromkeys(token.language for token in placed) if code is not None]
    low, high = float(known.to_numpy().min()), float(known.to_numpy().max())
    most = max(abs(low), abs(high)) or 1.0
    figure = text_figure(
        placed,
        starts,
        title="strength",
        low=-most if low < 0 else 0.0,
        high=most,
        scale="diverging" if low < 0 else "sequential",
        top=24 if codes else 6,
    )
    for at, code in enumerate(codes):
        figure.add_trace(_underlines(placed, code, theme.QUALITATIVE[(at + 1) % 8]))
    return Drawing(figure, _caption(shown, names, codes))


def _underlines(placed: Sequence[Placed], code: str, colour: str) -> go.Scatter:
    """Draw a line under every token of a language, without a gap between neighbours."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    for token in placed:
        if token.language == code:
            end = token.column + text_columns(token.text)
            xs += [token.column, end, None]
            ys += [token.line + 0.45, token.line + 0.45, None]
    return go.Scatter(
        x=xs,
        y=ys,
        mode="lines",
        line={"color": colour, "width": 2.4},
        name=f"steered to {language_name(code)}",
        meta=NO_ESTIMATE,
        hoverinfo="skip",
    )


def _caption(shown: pl.DataFrame, names: Sequence[object], codes: Sequence[str]) -> str:
    first = 5
    whole = shown.with_columns(pl.col("strength").abs().fill_null(0.0))
    total = float(whole["strength"].sum())
    begun = whole.group_by("answer_id").agg(pl.col("step").min().alias("begin"))
    early = whole.join(begun, on="answer_id").filter(pl.col("step") < pl.col("begin") + first)
    tokens = percent(len(early) / len(whole))
    finding = (
        "No token is steered."
        if not total
        else (
            f"The first {first} tokens, {tokens} of all, have "
            f"{percent(float(early['strength'].sum()) / total)} of the strength."
        )
    )
    switched = " The line under a token shows the language of its steering." if codes else ""
    number = "One answer" if len(names) == 1 else f"{len(names)} answers"
    return (
        f"{finding} {number}, each token shaded by the strength of its steering; unshaded tokens "
        f"are not steered.{switched}"
    )

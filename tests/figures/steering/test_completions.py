"""Figures of single answers, and of a sweep while it runs: what they draw and what they refuse."""

from __future__ import annotations

import html
import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from figures.geometry.projection_text import Shades, projection_text
from figures.geometry.token_table import layer_tokens
from figures.languages.answer_steps import answer_steps
from figures.steering.dose_map import dose_map
from figures.style.token_text import LETTERS
from interp_steer.errors import FigureError
from tests.support.drawings import answer_tokens, lens_frame, steps_of_an_answer, sweep_map

finite = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(finite, min_size=1), finite, st.none() | finite)
def test_shades_hold_every_value_with_the_middle_white(
    values: list[float], middle: float, target: float | None
) -> None:
    shades = Shades.over(pl.Series(values), middle, target)
    for value in [*values, *([] if target is None else [target])]:
        assert -1e-6 <= shades.place(value) <= 1 + 1e-6
        assert shades.colour(value).startswith("rgb(")
    white = shades.colour(middle)
    assert len({*map(int, white[4:-1].split(","))}) == 1  # no hue
    assert shades.gradient().count("%") == 7


def test_a_text_is_drawn_whole_and_escaped() -> None:
    frame = answer_tokens("<script>")
    drawing = projection_text(frame, middle=0.5, along="case at layer 5")
    bars, words = drawing.figure.data
    assert list(bars.marker.color) == frame["projection"].to_list()
    assert bars.marker.cmax - 0.5 == pytest.approx(0.5 - bars.marker.cmin)
    assert max(start + width for start, width in zip(bars.base, bars.x, strict=True)) <= LETTERS
    assert not any("<" in text for text in words.text)
    assert "<script>" in map(html.unescape, words.text)
    assert "over 44 tokens" in drawing.caption
    with pytest.raises(FigureError, match="several tokens at one step"):
        projection_text(pl.concat([frame, frame]), along="x")
    with pytest.raises(FigureError, match="undefined"):
        projection_text(frame.with_columns(pl.lit(math.nan).alias("projection")), along="x")


def test_a_sweep_is_drawn_while_it_runs() -> None:
    drawing = sweep_map()
    grid = drawing.figure.data[0]
    empty = [(y, x) for y, row in enumerate(grid.z) for x, cell in enumerate(row) if cell is None]
    assert empty == [(7, 4)]  # what was not measured yet
    assert len(drawing.figure.layout.shapes) == 1  # the choice
    best = max(cell for row in grid.z for cell in row if cell is not None)
    assert f"{best:.0%}" in drawing.caption and "10% without steering" in drawing.caption
    cells = pl.DataFrame(
        {"layer": [1, 1], "strength": [2.0, 2.0], "value": 0.5, "low": 0.4, "high": 0.6, "n": 3}
    )
    with pytest.raises(FigureError, match="twice"):
        dose_map(cells, "x")
    with pytest.raises(FigureError, match="undefined"):
        dose_map(cells[:1].with_columns(pl.lit(math.nan).alias("value")), "x")


@pytest.mark.parametrize("properties", [1, 3])
def test_every_property_has_a_line_and_every_step_a_bar(properties: int) -> None:
    drawing = steps_of_an_answer(properties)
    lines = [trace for trace in drawing.figure.data if trace.type == "scatter"]
    bars = [trace for trace in drawing.figure.data if trace.type == "bar"]
    assert len(lines) == properties and len(bars) == 1
    assert len(bars[0].x) == len(lines[0].x) == 40
    assert "step 0" in drawing.caption
    with pytest.raises(FigureError, match="kl"):
        answer_steps(pl.DataFrame({"step": [0], "token": "a", "property": "b", "strength": 1.0}))


def test_tokens_stand_by_layer_the_last_on_top() -> None:
    drawing = layer_tokens(lens_frame(), "lowercase")
    labels = list(drawing.figure.data[0].y)
    assert labels == [f"layer {layer}" for layer in reversed(range(8))]
    assert "lowercase raises ' the'" in drawing.caption and "at layer 7" in drawing.caption
    with pytest.raises(FigureError, match="no records"):
        layer_tokens(lens_frame(), "lowercase", side="lowered")

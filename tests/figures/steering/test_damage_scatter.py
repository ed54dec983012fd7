"""Figures of what steering gains against what it costs, on records made by hand."""

from __future__ import annotations

import polars as pl
import pytest

from figures import FigureError, pareto, weight_curves
from tests.support.synthetic import settings_frame, weights_frame


def test_the_front_holds_what_nothing_beats_at_less_divergence() -> None:
    drawing = pareto(settings_frame())
    front = next(t for t in drawing.figure.data if t.name == "Pareto front")
    assert list(front.x) == pytest.approx([0.02, 0.1, 0.5])
    assert list(front.y) == [1 / 8, 5 / 8, 6 / 8]
    points = {t.name: t for t in drawing.figure.data if t.mode == "markers+text"}
    assert list(points["project"].text) == ["2", "5"]
    assert "project at layer 2: 75%" in drawing.caption
    assert "12% unsteered" in drawing.caption
    assert "add:2 at layer 2" in drawing.caption and "62% at 0.1" in drawing.caption


def test_a_setting_that_moves_nothing_has_a_place_on_the_axis() -> None:
    records = settings_frame().with_columns(pl.col("kl") * 0.0)
    points = [t for t in pareto(records).figure.data if t.mode == "markers+text"]
    assert all(x > 0 for trace in points for x in trace.x)


def test_records_without_a_steered_setting_are_refused() -> None:
    with pytest.raises(FigureError, match="no record of a steered setting"):
        pareto(settings_frame().filter(pl.col("layer").is_null()))


def test_weights_are_drawn_without_their_sign_and_the_caption_says_gain_and_cost() -> None:
    drawing = weight_curves(weights_frame())
    lines = {t.name: t for t in drawing.figure.data if t.name}
    assert list(lines["accuracy, without the text"].x) == [0.0, 1.0, 3.0]
    assert list(lines["accuracy, without the text"].y) == [0.4, 0.6, 1.0]
    assert lines["quality, with the text"].y[2] == pytest.approx(0.6)
    assert "accuracy 40% to 100% at weight 3, quality 0.90 to 0.60" in drawing.caption


def test_without_a_judge_only_accuracy_is_drawn() -> None:
    drawing = weight_curves(weights_frame(judged=False))
    assert "quality" not in drawing.caption.split(". Accuracy")[0]
    assert all(
        len(t.x or ()) == 0 for t in drawing.figure.data if (t.name or "").startswith("qual")
    )

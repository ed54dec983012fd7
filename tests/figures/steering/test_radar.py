"""The radar, the densities under a growing weight, and maps of points, on records made by hand."""
# plotly declares no types for what its figures hold.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from figures import FigureError, dose_density, embedding_map, settings_radar
from figures.style.drawing import interval_text
from figures.style.theme import SETTINGS
from interp_steer.statistics.intervals import wilson
from tests.support.synthetic import radar_frame, settings_records


def test_a_radar_has_a_spoke_for_each_instruction_in_the_order_of_its_gain() -> None:
    drawing = settings_radar(radar_frame())
    lines = {trace.name: trace for trace in drawing.figure.data if trace.showlegend is not False}
    assert set(lines) == {SETTINGS[s].label for s in ("none", "steered", "instruction", "both")}
    steered = lines["steered"]
    assert list(steered.r) == [0.9, 0.4, 0.0, 0.1, 0.9]  # closed: the first comes again
    axis = drawing.figure.layout.polar.angularaxis
    assert list(axis.ticktext) == ["low", "phrase", "title", "comma"]
    assert list(axis.tickvals) == [0, 90, 180, 270]
    expected = wilson(9, 10)
    assert list(steered.customdata[0]) == pytest.approx([expected.low, expected.high])


def test_the_caption_of_a_radar_names_what_gains_most_and_how_many_do_not() -> None:
    caption = settings_radar(radar_frame()).caption
    alone = f"low (0% to {interval_text(wilson(9, 10))}) and phrase (10% to"
    assert alone in caption
    beside = f"low (50% to {interval_text(wilson(10, 10))}) and phrase (60% to"
    assert caption.count("2 of 4") == 2 and beside in caption
    none = radar_frame().with_columns(pl.col("strict") & (pl.col("setting") != "steered"))
    assert "no instruction of 4" in settings_radar(none).caption


def test_whiskers_of_settings_stand_beside_each_other() -> None:
    figure = settings_radar(radar_frame()).figure
    whiskers = [trace for trace in figure.data if trace.showlegend is False]
    first = [trace.theta[0] for trace in whiskers]
    assert len(set(first)) == 4 and abs(sum(first)) < 1e-9
    both = whiskers[-1]
    interval = wilson(10, 10)
    assert list(both.r[:2]) == pytest.approx([interval.low, interval.high]) and both.r[2] is None


def test_a_radar_of_two_instructions_is_refused() -> None:
    with pytest.raises(FigureError, match="needs three instructions"):
        settings_radar(settings_records(2))
    with pytest.raises(FigureError, match="loose"):
        settings_radar(radar_frame(), outcome="loose")


def doses(values: dict[tuple[str, float], list[int]]) -> pl.DataFrame:
    rows = [
        {
            "instruction": "conciseness",
            "setting": setting,
            "strength": weight,
            "query": f"q{n}",
            "words": words,
        }
        for (setting, weight), each in values.items()
        for n, words in enumerate(each)
    ]
    return pl.DataFrame(rows)


SPREAD = [20, 24, 28, 30, 32, 36, 40, 44]


def test_histograms_and_densities_have_the_area_one() -> None:
    frame = doses({("none", 0.0): SPREAD, ("steered", 1.0): [8, 9, 10, 12, 30, 31, 33, 35]})
    figure = dose_density(frame, "words").figure
    bars = [trace for trace in figure.data if trace.type == "bar"]
    lines = [trace for trace in figure.data if trace.type == "scatter"]
    assert len(bars) == len(lines) == 2
    for bar in bars:
        assert sum(bar.y) * bar.width == pytest.approx(1.0)
    assert np.trapezoid(lines[1].y, lines[1].x) == pytest.approx(1.0, abs=0.1)
    assert [trace.name for trace in lines] == ["no instruction", "steered"]


def test_answers_that_are_all_alike_have_a_bar_and_no_density() -> None:
    frame = doses({("none", 0.0): SPREAD, ("steered", 2.0): [3] * 8, ("random", 2.0): SPREAD})
    drawing = dose_density(frame, "words")
    bars = [trace for trace in drawing.figure.data if trace.type == "bar"]
    assert sum(height > 0 for height in bars[1].y) == 1
    named = [trace.name for trace in drawing.figure.data if trace.showlegend]
    assert named == ["no instruction", "random direction"]
    assert "half of the answers have 27 to 37 words unsteered, and 3 to 3 at weight 2" in (
        drawing.caption
    )


@pytest.mark.parametrize("value", [0, 7])
def test_one_value_everywhere_can_be_drawn(value: int) -> None:
    frame = doses({("none", 0.0): [value] * 4, ("steered", 1.0): [value]})
    figure = dose_density(frame, "words").figure
    assert all(trace.type == "bar" for trace in figure.data)
    low, high = figure.layout.xaxis.range
    assert low <= value <= high and low < high
    with pytest.raises(FigureError, match="letters"):
        dose_density(frame, "letters")


def points_frame() -> pl.DataFrame:
    return pl.DataFrame(
        {"x": [0.0, 1.0, 5.0], "y": [0.0, 1.0, 5.0], "label": ["2 sentences", "2 sentences", "1"]}
    )


def test_a_map_has_a_colour_and_a_mark_for_each_label() -> None:
    drawing = embedding_map(points_frame(), nearest=wilson(3, 4), chance=0.25)
    traces = drawing.figure.data
    assert [trace.name for trace in traces] == ["2 sentences", "1"]
    assert list(traces[0].x) == [0.0, 1.0]
    assert len({trace.marker.symbol for trace in traces}) == 2
    assert f"{interval_text(wilson(3, 4))} " in drawing.caption
    assert "25% by chance" in drawing.caption


def test_a_map_without_a_number_claims_nothing() -> None:
    caption = embedding_map(points_frame()).caption
    assert "3 points of 2 kinds" in caption and "nearest" not in caption


def test_points_that_are_nowhere_are_refused() -> None:
    lost = points_frame().with_columns(pl.lit(float("nan")).alias("x"))
    with pytest.raises(FigureError, match="3 points that are not finite"):
        embedding_map(lost)
    with pytest.raises(FigureError, match="label"):
        embedding_map(points_frame().drop("label"))

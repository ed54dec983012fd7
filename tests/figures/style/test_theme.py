"""Colours stay apart whoever looks, and what has a look has it everywhere."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from figures.geometry import contributions
from figures.languages import adaptation_costs
from figures.style import settings, theme
from tests.support.drawings import labelled_map, read_drawing
from tests.support.vision import DICHROMACIES, SIGHTS, ciede2000, closest_pair, lab

APART = 10
"""Least difference by CIEDE2000 of two colours that stand in one figure. Two patches side by side
are told apart from about 1 on, thin lines and small marks from several."""

TOGETHER = {
    "settings": [style.colour for style in theme.SETTINGS.values()] + [theme.DEGENERATE.colour],
    "palette": theme.QUALITATIVE,
    "schedules": [style.colour for style in settings.SCHEDULES.values()]
    + [theme.SETTINGS[name].colour for name in ("none", "random", "instruction")],
    "parts": [style.colour for style in contributions.PARTS.values()],
    "adaptations": [style.colour for style in adaptation_costs.LOOKS.values()]
    + [theme.SETTINGS[name].colour for name in ("none", "steered")],
}

PUBLISHED = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0),
    ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
    ((50, 2.5, 0), (58, 24, 15), 19.4535),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]
"""Pairs of colours and their difference, of table 1 of Sharma, Wu and Dalal (2005)."""


@pytest.mark.parametrize(("first", "second", "difference"), PUBLISHED)
def test_the_difference_of_colours_is_the_published_one(first, second, difference) -> None:
    one, other = np.array(first, float), np.array(second, float)
    assert ciede2000(one, other) == pytest.approx(difference, abs=1e-4)
    assert ciede2000(other, one) == pytest.approx(difference, abs=1e-4)
    assert ciede2000(one, one) == 0


@pytest.mark.parametrize("sight", DICHROMACIES)
def test_simulated_sight_leaves_greys_alone(sight: str) -> None:
    for grey in ("#000000", "#777777", "#ffffff"):
        assert ciede2000(lab(grey), lab(grey, sight)) < 1
    assert ciede2000(lab("#ff0000", "protanopia"), lab("#00a000", "protanopia")) < ciede2000(
        lab("#ff0000"), lab("#00a000")
    )


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("name", TOGETHER)
def test_colours_that_stand_together_stay_apart(name: str, sight: str) -> None:
    difference, one, other = closest_pair(TOGETHER[name], sight)
    assert difference > APART, f"{one} and {other} come within {difference:.1f} in {sight}"


@pytest.mark.parametrize("sight", SIGHTS)
def test_scales_are_read_by_their_lightness(sight: str) -> None:
    for scale in (theme.SEQUENTIAL, theme.LIGHT):
        lightness = [lab(colour, sight)[0] for colour in scale]
        assert all(b < a - 5 for a, b in pairwise(lightness))
    both = [lab(colour, sight)[0] for colour in theme.DIVERGING]
    middle = len(both) // 2
    assert both[middle] == max(both)
    assert all(b > a for a, b in pairwise(both[: middle + 1]))
    assert all(b < a for a, b in pairwise(both[middle:]))
    ends = ciede2000(lab(theme.DIVERGING[0], sight), lab(theme.DIVERGING[-1], sight))
    assert ends > 3 * APART


@pytest.mark.parametrize("styles", [theme.SETTINGS, settings.SCHEDULES])
def test_styles_differ_in_more_than_colour(styles: dict[str, theme.Style]) -> None:
    for of in (lambda s: s.colour, lambda s: s.symbol):
        assert len({of(style) for style in styles.values()}) == len(styles)


def test_schedules_look_the_same_in_bars_and_curves() -> None:
    bars, curves = (
        {trace["name"]: trace for trace in read_drawing(name)[0]["data"] if trace.get("name")}
        for name in ("schedules_in_bars", "schedules")
    )
    for name in ("fixed", "diminishing", "dynamic"):
        line = (curves[name].get("line") or curves[name]["marker"])["color"]
        assert bars[name]["marker"]["color"].lower() == line.lower()
        assert line.lower() == settings.SCHEDULES[name].colour.lower()
    assert bars["no instruction"]["marker"]["color"] == theme.SETTINGS["none"].colour
    order = [trace["name"] for trace in read_drawing("schedules_in_bars")[0]["data"]]
    assert order == ["no instruction", "instruction", "fixed", "diminishing", "dynamic"]


def test_many_labels_leave_the_map_its_room() -> None:
    for labels in (2, 12, 24):
        figure = labelled_map(labels).figure
        margin = figure.layout.margin
        assert figure.layout.width - margin.l - margin.r >= 350
        assert figure.layout.height - margin.t - margin.b >= 350
        assert figure.layout.height >= 19 * labels  # of the legend beside it
        assert figure.layout.width <= 670

"""Refit a drawn figure to one or two columns of a page: panels wrap, and text keeps its size.

Only widths change, and the parts that depend on widths: the number of panels side by side, the rows
of the legend, the ticks with numbers, the breaks of titles. A figure that has no room in a column,
such as a table, is refused.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from figures.printing.heatmap_cells import cells_of
from figures.printing.wrap_panels import BETWEEN, SHORTEST, rearrange_panels, thin_ticks, turn_names
from figures.style import theme
from figures.style.plotly_layout import (
    Figure,
    Panel,
    layout_of,
    left_margin,
    legend_rows,
    panel_rows,
    panel_titles,
    panels,
    right_margin,
    shows_labels,
    traces_of,
    values,
)
from figures.style.small_multiples import LEGEND_ROW
from figures.style.text_width import width
from interp_steer.errors import FigureError

INCHES = {"single": 3.4, "double": 7.0}
"""Widths of the columns of a page."""

PIXELS = 96
"""Pixels of an inch."""

TALLEST = 9 * PIXELS
"""Greatest height of a figure on a page, in pixels."""

LEAST, LEAST_WORDED, LEAST_ROUND = 72, 110, 210
"""Least width in pixels of a panel: in general, with words, and with a circle."""

THINNEST = 6
"""Least height of a bar in pixels, including the space between bars."""

WORDS = 8
"""Number of words in a plot without numbers below it, from which on the words are running text."""


class TooNarrow(FigureError):
    """Error for a figure that has no room in a column at the size of its text."""


def fit_to_column(figure: Figure, column: str) -> Figure:
    """Fit a figure to a column of a page.

    Args:
        figure: the figure in the form of plotly's JSON, which is not changed.
        column: ``single`` (3.4 inches) or ``double`` (7 inches).

    Returns:
        The figure at the width of the column, with the same size of text.

    Raises:
        TooNarrow: when its words, numbers or panels do not fit.
    """
    figure = copy.deepcopy(figure)
    own, to = figure["layout"], INCHES[column] * PIXELS
    drawn, height = float(own.get("width") or 700), float(own.get("height") or 450)
    own["margin"] = {**layout_of(figure)["margin"]}
    before = _legend_rows(figure, drawn - left_margin(figure) - right_margin(figure))
    own["width"] = round(to, 1)
    if to < drawn:
        if _has_fixed_words(figure):
            raise TooNarrow(f"its text is set for {drawn / PIXELS:.1f} inches")
        _legend_above(figure)
    room = to - left_margin(figure) - right_margin(figure)
    if "polar" in own and room < min(LEAST_ROUND, drawn - own["margin"]["l"] - own["margin"]["r"]):
        raise TooNarrow(f"its circle would be {room / PIXELS:.1f} inches wide")
    all_panels = panels(figure)
    own["height"] = height
    if all_panels and to < drawn:
        height += rearrange_panels(figure, _count_across(figure, all_panels, room), room)
        for panel in panels(figure):
            _drop_numbers(figure, panel, room)
            thin_ticks(figure, panel, room)
        height += max(turn_names(figure, panel, room) for panel in panels(figure))
    height += _legend_room(figure, room, before)
    if height > TALLEST and _may_shrink(figure, height - TALLEST, height):
        height = TALLEST
    own["height"] = round(height, 1)
    if height > TALLEST and to < drawn:
        raise TooNarrow(f"it would be {height / PIXELS:.1f} inches high")
    return figure


def _may_shrink(figure: Figure, by: float, height: float) -> bool:
    """Determine whether a figure may lose height: its panels must stay high, and its bars thick,
    enough."""
    margin = figure["layout"]["margin"]
    plot = height - by - margin["t"] - margin["b"]
    for panel in panels(figure):
        high = (panel.top - panel.bottom) * plot
        bars = [t for t in traces_of(figure, panel) if t.get("type") == "bar"]
        lying = sum(len(values(t.get("y"))) for t in bars if t.get("orientation") == "h")
        if high < max(SHORTEST, THINNEST * lying):
            return False
    return True


def _has_fixed_words(figure: Figure) -> bool:
    """Determine whether words stand at places that were measured for one width, as in tables and
    text."""
    if any(trace.get("type") == "table" for trace in figure["data"]):
        return True
    for panel in panels(figure):
        words = [
            t for t in traces_of(figure, panel) if "text" in str(t.get("mode")) and "text" in t
        ]
        if not shows_labels(figure, panel.x) and sum(len(values(t["text"])) for t in words) > WORDS:
            return True
    return False


def _legend_above(figure: Figure) -> None:
    """Move a legend from beside the plot to above it."""
    own = figure["layout"]
    if (layout_of(figure).get("legend") or {}).get("orientation") == "v":
        own["legend"] = {key: own["legend"][key] for key in own["legend"] if key == "font"}
        own["margin"]["r"] = 12


def _legend_room(figure: Figure, room: float, before: int) -> float:
    """Make room for the additional rows of the legend, and return that room in pixels."""
    own = figure["layout"]
    legend = layout_of(figure).get("legend") or {}
    if legend.get("entrywidthmode") == "fraction":
        needed = 44 + max(width(str(t.get("name") or ""), theme.SMALL) for t in figure["data"])
        if needed > (legend.get("entrywidth") or 0) * room:
            own["legend"] = {k: v for k, v in own["legend"].items() if "entrywidth" not in k}
    more = LEGEND_ROW * (_legend_rows(figure, room) - before)
    own["margin"]["t" if legend.get("y", 1) > 0.5 else "b"] += more
    return float(more)


def _legend_rows(figure: Figure, room: float) -> int:
    """Count the rows of a horizontal legend; a legend beside the plot takes none."""
    beside = (layout_of(figure).get("legend") or {}).get("orientation") == "v"
    return 0 if beside else legend_rows(figure, room)


def _count_across(figure: Figure, all_panels: Sequence[Panel], room: float) -> int:
    """Determine how many panels fit side by side."""
    rows = panel_rows(all_panels)
    most = max(len(row) for row in rows)
    least = max(_least_width(figure, panel) for panel in all_panels)
    if min(panel.right - panel.left for panel in all_panels) * room >= 0.9 * least:
        return most
    if len(rows) > 1 and len(panel_titles(figure, all_panels)) < len(all_panels):
        raise TooNarrow("its rows and columns of panels belong together")
    for across in range(most - 1, 0, -1):
        if (room - BETWEEN * (across - 1)) / across >= least:
            return across
    margins = figure["layout"]["width"] - room
    raise TooNarrow(f"it needs {(least + margins) / PIXELS:.1f} inches at the size of its text")


def _least_width(figure: Figure, panel: Panel) -> float:
    """Return the smallest width of a panel in pixels."""
    least = float(LEAST)
    for trace in traces_of(figure, panel):
        x = list(dict.fromkeys(map(str, values(trace.get("x")))))
        if trace.get("type") == "heatmap":
            cells = cells_of(trace)
            n = len({cell[0] for cell in cells})
            if _repeats_colours(trace) or not trace.get("texttemplate"):
                # Names stand upright, and every name needs a line; some numbers may be left out.
                least = max(least, n * (5 if all(map(_is_number, x)) else theme.SMALL + 2))
            else:
                least = max(least, n * _cell_width(trace))
        elif "text" in str(trace.get("mode")):
            least = max(least, LEAST_WORDED)
        elif trace.get("type") == "violin":
            names = {
                t.get("x", [""])[0] for t in traces_of(figure, panel) if t.get("type") == "violin"
            }
            least = max(least, 30 * len(names))
    return least


def _repeats_colours(trace: Mapping[str, Any]) -> bool:
    """Determine whether the words in a map's cells repeat what the colours show."""
    return "%{z" in str(trace.get("texttemplate"))


def _cell_width(trace: Mapping[str, Any]) -> float:
    """Return the width in pixels that the words in a map's cells need."""
    size = (trace.get("textfont") or {}).get("size", theme.NORMAL)
    return 4 + max(width(text, size) for *_, text in cells_of(trace))


def _drop_numbers(figure: Figure, panel: Panel, room: float) -> None:
    """Remove the numbers in a map's cells where they have no room; the colours still show them."""
    for trace in traces_of(figure, panel):
        if trace.get("type") == "heatmap" and _repeats_colours(trace):
            n = len({cell[0] for cell in cells_of(trace)})
            if n * _cell_width(trace) > (panel.right - panel.left) * room:
                del trace["texttemplate"]


def _is_number(text: str) -> bool:
    return text.lstrip("-").replace(".", "", 1).isdigit()

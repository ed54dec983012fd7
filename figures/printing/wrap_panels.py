"""Rearrange small multiples with fewer panels side by side, without repeated axis labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from figures.style import theme
from figures.style.plotly_layout import (
    Figure,
    Panel,
    axis,
    axis_title,
    panel_rows,
    panel_titles,
    panels,
    panels_in_line,
    scale_of,
    shows_labels,
    traces_of,
    values,
)
from figures.style.text_width import BREAK, width, wrap_text

LINE = 14
"""Height in pixels of a line of a title."""

NUMBERS = 20
"""Height in pixels of the numbers under an axis; numbers beside an axis take ten pixels more."""

BETWEEN = 14
"""Pixels between panels side by side that share an axis; other panels need room for labels too."""

SHORTEST = 84
"""Least height in pixels of panels when many must fit on a page."""

FULL_PAGE = 690
"""Height in pixels of all panels together, above which the panels shrink."""


def rearrange_panels(figure: Figure, across: int, room: float) -> float:
    """Rearrange panels with fewer side by side, and break titles that are too wide for a panel.

    Args:
        figure: changed in place.
        across: greatest number of panels side by side.
        room: width of the plot in pixels.

    Returns:
        The additional height of the figure in pixels.
    """
    all_panels = panels(figure)
    rows, titles = panel_rows(all_panels), panel_titles(figure, all_panels)
    own, margin = figure["layout"], figure["layout"]["margin"]
    plot = own["height"] - margin["t"] - margin["b"]
    stays = across == max(len(row) for row in rows)
    labels = {side: _AxisLabels(figure, all_panels, side) for side in ("x", "y")}
    apart = BETWEEN
    if not labels["y"].shared:
        apart += NUMBERS + 10 + (LINE + 6) * labels["y"].titled
    wide = {panel: (panel.right - panel.left) * room for panel in all_panels}
    if not stays:
        wide = dict.fromkeys(all_panels, (room - apart * (across - 1)) / across)
    over = {p: _break(note, wide[p] + apart - 4) for p, note in titles.items()}
    under = max(
        _break_title(figure, panel.x, labels["x"].titles[panel], wide[panel] + apart - 4)
        for panel in all_panels
    )
    top = max((over.get(panel, 0) for panel in all_panels[:across]), default=0)
    margin["t"] += LINE * top
    margin["b"] += LINE * under
    taller = float(LINE * (top + under))
    if stays and (len(rows) == 1 or not any(over.values())):
        return taller
    titled = (LINE + 8) * bool(titles) + LINE * max(over.values(), default=0)
    between = titled + (8 if labels["x"].shared else NUMBERS + (LINE + 6) * labels["x"].titled)
    n = math.ceil(len(all_panels) / across)
    high = max(panel.top - panel.bottom for panel in all_panels) * plot
    high = min(high, max(FULL_PAGE / n - between, SHORTEST))
    whole = n * high + (n - 1) * between
    share = (room - apart * (across - 1)) / across / room
    for index, panel in enumerate(all_panels):
        row, column = divmod(index, across)
        left = column * (share + apart / room)
        ceiling = 1 - row * (high + between) / whole
        _place(figure, panel.x, (left, left + share))
        _place(figure, panel.y, (max(0.0, ceiling - high / whole), ceiling))
        _label_axis(figure, panel.x, labels["x"], panel, lasts=index + across >= len(all_panels))
        _label_axis(figure, panel.y, labels["y"], panel, lasts=column == 0)
        if panel in titles:
            titles[panel].update(x=left + share / 2, y=ceiling)
    return taller + whole - plot


class _AxisLabels:
    """Titles and ticks of the axes of one direction, by panel.

    Attributes:
        titles: title of each panel's axis, or of the axis that shows its numbers.
        ticks: side of the ticks of the same axis.
        shown: whether any axis of this direction shows its numbers.
        shared: whether all panels have the same scale and title, so that one axis may serve
            several.
        titled: whether any axis has a title.
    """

    def __init__(self, figure: Figure, all_panels: Sequence[Panel], side: str) -> None:
        self.titles: dict[Panel, str] = {}
        self.ticks: dict[Panel, Any] = {}
        scales = set()
        for panel in all_panels:
            speaker = _speaker(figure, all_panels, panel, side)
            self.titles[panel] = axis_title(figure, speaker)
            self.ticks[panel] = axis(figure, speaker).get("ticks")
            scales.add((scale_of(figure, getattr(panel, side)), self.titles[panel]))
        self.shown = any(shows_labels(figure, getattr(panel, side)) for panel in all_panels)
        self.shared = len(scales) == 1
        self.titled = any(self.titles.values())


def _speaker(figure: Figure, all_panels: Sequence[Panel], panel: Panel, side: str) -> str:
    """Return the axis that shows the numbers of a panel: its own, the first of its row, or the
    lowest of its column."""
    own = getattr(panel, side)
    if shows_labels(figure, own):
        return own
    beside = panels_in_line(all_panels, panel, side)[:: 1 if side == "y" else -1]
    speaking = [name for other in beside if shows_labels(figure, name := getattr(other, side))]
    return speaking[0] if speaking else own


def _place(figure: Figure, name: str, domain: tuple[float, float]) -> None:
    figure["layout"][name] = {**figure["layout"].get(name, {}), "domain": list(domain)}


def _label_axis(
    figure: Figure, name: str, labels: _AxisLabels, panel: Panel, *, lasts: bool
) -> None:
    """Show an axis' title and numbers where no other axis shows them."""
    if not labels.shown:
        return
    own, shown = figure["layout"][name], lasts or not labels.shared
    own["showticklabels"] = shown
    own["title"] = {**(own.get("title") or {}), "text": labels.titles[panel] if shown else ""}
    if shown and labels.ticks[panel] is not None:
        own["ticks"] = labels.ticks[panel]


def _break(note: dict[str, Any], room: float) -> int:
    """Break an annotation's text that is too wide; return the number of additional lines."""
    size = (note.get("font") or {}).get("size", theme.NORMAL)
    before = note["text"].count(BREAK)
    note["text"] = wrap_text(note["text"], size, room)
    return note["text"].count(BREAK) - before


def _break_title(figure: Figure, name: str, title: str, room: float) -> int:
    """Break an axis' title that is too wide; return the number of additional lines."""
    if width(title, theme.NORMAL) <= room or not axis_title(figure, name):
        return 0
    own = figure["layout"][name]
    own["title"] = {**own["title"], "text": wrap_text(title, theme.NORMAL, room)}
    return own["title"]["text"].count(BREAK) - title.count(BREAK)


def thin_ticks(figure: Figure, panel: Panel, room: float) -> None:
    """Leave out ticks of a panel's x axis whose numbers would overlap.

    Args:
        figure: changed in place.
        panel: the panel in its new place.
        room: width of the plot in pixels.
    """
    own = figure["layout"].get(panel.x) or {}
    whole_axis, wide = axis(figure, panel.x), (panel.right - panel.left) * room
    if whole_axis.get("type") == "category" or whole_axis.get("tickangle"):
        return
    if whole_axis.get("dtick") and isinstance(whole_axis["dtick"], (int, float)):
        drawn = [x for t in traces_of(figure, panel) for x in values(t.get("x")) if _number(x)]
        span = max(drawn) - min(drawn) + 1 if drawn else 1
        own["dtick"] = max(whole_axis["dtick"], math.ceil(span * NUMBERS / wide))
        return
    places, ends = values(whole_axis.get("tickvals")), whole_axis.get("range")
    if len(places) < 2 or not ends or not all(map(_number, places)):
        return
    texts = values(whole_axis.get("ticktext")) or [_text(place, whole_axis) for place in places]
    if any(text and not _like_number(str(text)) for text in texts):
        return
    scaled = [math.log10(at) for at in places] if whole_axis.get("type") == "log" else places
    size = (whole_axis.get("tickfont") or {}).get("size", theme.SMALL)
    for step in range(1, len(places) + 1):
        indices = range(0, len(places), step)
        if _leave_room([(scaled[k], width(str(texts[k]), size)) for k in indices], ends, wide):
            break
    own["tickvals"] = [places[k] for k in indices]
    if whole_axis.get("ticktext"):
        own["ticktext"] = [texts[k] for k in indices]


def turn_names(figure: Figure, panel: Panel, room: float) -> float:
    """Turn the names under a panel upright where the names would overlap.

    Args:
        figure: changed in place.
        panel: the panel in its new place.
        room: width of the plot in pixels.

    Returns:
        The additional height of the figure in pixels.
    """
    whole_axis = axis(figure, panel.x)
    names = {x for t in traces_of(figure, panel) for x in values(t.get("x")) if isinstance(x, str)}
    if (
        not names
        or not shows_labels(figure, panel.x)
        or abs(whole_axis.get("tickangle") or 0) == 90
    ):
        return 0.0
    size = (whole_axis.get("tickfont") or {}).get("size", theme.SMALL)
    longest = max(width(name, size) for name in names)
    share = (panel.right - panel.left) * room / len(names)
    if longest + 4 <= share or share >= 2 * NUMBERS:
        return 0.0
    own = figure["layout"].setdefault(panel.x, {})
    own.update(tickangle=-90, tickmode="linear", dtick=1)  # every name, even without room
    leaning = max(figure["layout"]["margin"]["b"], longest / 2 + 10)
    return max(0.0, longest + 10 - leaning)


def _leave_room(ticks: Sequence[tuple[float, float]], ends: Sequence[float], wide: float) -> bool:
    """Determine whether the numbers of neighbouring ticks leave room between them."""
    pixel = wide / abs(ends[1] - ends[0])
    return all(
        abs(at - before) * pixel >= (one + other) / 2 + 5
        for (before, one), (at, other) in pairwise(ticks)
    )


def _text(place: float, whole_axis: Mapping[str, Any]) -> str:
    share = str(whole_axis.get("tickformat") or "").endswith("%")
    return f"{place:.0%}" if share else f"{place:g}"


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _like_number(text: str) -> bool:
    return text[:1].isdigit() or text[:1] in "-\u2212.+"

"""Read the parts of a figure from plotly's JSON: panels, axes, legend, numbers."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from figures.style.text_width import width
from interp_steer.errors import FigureError

Figure = dict[str, Any]
"""Figure in the form of plotly's JSON: ``data``, a list of traces, and ``layout``."""

KEY, ENTRY_GAP = 40, 5
"""Pixels that plotly puts before the words of a legend's entry, and between two entries."""

TITLE, SCALE = 20, 74
"""Pixels that the title beside an axis takes, and a colour scale with its title."""


@dataclass(frozen=True)
class Panel:
    """Pair of axes with its edges, as shares of the plot from the left and from the bottom."""

    x: str
    """Name of the x axis in the layout, such as ``xaxis2``."""
    y: str
    left: float
    right: float
    bottom: float
    top: float


def read_figure(path: str | Path) -> Figure:
    """Read a figure from its JSON file.

    Raises:
        FigureError: when the file is missing, is not JSON, or does not hold a figure of plotly.
    """
    again = "run the analysis again, or copy its folder again from its origin"
    try:
        figure = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise FigureError(f"{path} cannot be read as a figure ({error}); {again}.") from None
    whole = (
        isinstance(figure, dict)
        and isinstance(figure.get("layout"), dict)
        and isinstance(figure.get("data"), list)
        and all(isinstance(trace, dict) for trace in figure["data"])
    )
    if not whole:
        raise FigureError(
            f"{path} does not hold a figure of plotly, with data and layout; {again}."
        )
    return figure


def values(array: Any) -> list[Any]:
    """Return the values of an array of plotly's JSON, which may be stored as bytes."""
    if isinstance(array, Mapping) and "bdata" in array:
        decoded = np.frombuffer(base64.b64decode(array["bdata"]), dtype=np.dtype(array["dtype"]))
        shape = [int(n) for n in str(array.get("shape", len(decoded))).split(",")]
        return decoded.reshape(shape).tolist()
    return list(array) if array is not None else []


def merge_values(base: Any, own: Any) -> Any:
    """Merge the value of a template with the figure's own value, which takes precedence."""
    if isinstance(base, Mapping) and isinstance(own, Mapping):
        return {**base, **{key: merge_values(base.get(key), value) for key, value in own.items()}}
    return base if own is None else own


def layout_of(figure: Figure) -> dict[str, Any]:
    """Return the layout with the values of the template filled in (for axes, see :func:`axis`)."""
    own = figure["layout"]
    template = (own.get("template") or {}).get("layout") or {}
    return merge_values(template, {key: value for key, value in own.items() if key != "template"})


def axis(figure: Figure, name: str) -> dict[str, Any]:
    """Return an axis with the values of the template filled in."""
    template = (figure["layout"].get("template") or {}).get("layout") or {}
    return merge_values(template.get(name[:5]) or {}, figure["layout"].get(name) or {})


def axis_title(figure: Figure, name: str) -> str:
    """Return the title of an axis; empty without a title."""
    return str((axis(figure, name).get("title") or {}).get("text") or "")


def shows_labels(figure: Figure, name: str) -> bool:
    """Determine whether an axis shows the labels of its ticks."""
    whole = axis(figure, name)
    return (
        whole.get("visible", True) is not False and whole.get("showticklabels", True) is not False
    )


def scale_of(figure: Figure, name: str) -> Any:
    """Return the type and range of an axis, or the name of the axis that it follows. Two axes that
    show the same values have the same result."""
    whole = axis(figure, name)
    while whole.get("matches") and not whole.get("range"):
        name = f"{name[0]}axis{whole['matches'][1:]}"
        whole = axis(figure, name)
    return (whole.get("type"), *whole["range"]) if whole.get("range") else name


def panels_in_line(all_panels: Sequence[Panel], panel: Panel, side: str) -> list[Panel]:
    """Return the panels whose labels may serve for a panel: those of its row for y, of its column
    for x."""
    if side == "y":
        return [other for other in all_panels if abs(other.top - panel.top) < 0.01]
    return [other for other in all_panels if abs(other.left - panel.left) < 0.01]


def traces_of(figure: Figure, panel: Panel) -> Iterator[dict[str, Any]]:
    """Yield the traces of a panel."""
    for trace in figure["data"]:
        if _axes(trace) == (panel.x, panel.y):
            yield trace


def panels(figure: Figure) -> list[Panel]:
    """Return the panels that have traces, in reading order."""
    all_panels = []
    for x, y in dict.fromkeys(axes for trace in figure["data"] if (axes := _axes(trace))):
        left, right = axis(figure, x).get("domain") or (0.0, 1.0)
        bottom, top = axis(figure, y).get("domain") or (0.0, 1.0)
        all_panels.append(Panel(x, y, left, right, bottom, top))
    return sorted(all_panels, key=lambda panel: (-round(panel.top, 3), panel.left))


def panel_rows(all_panels: Sequence[Panel]) -> list[list[Panel]]:
    """Group panels by row."""
    rows: dict[float, list[Panel]] = {}
    for panel in all_panels:
        rows.setdefault(round(panel.top, 3), []).append(panel)
    return list(rows.values())


def panel_titles(figure: Figure, all_panels: Sequence[Panel]) -> dict[Panel, dict[str, Any]]:
    """Return the annotation over each panel that has a title."""
    titles = {}
    for note in figure["layout"].get("annotations") or []:
        if note.get("xref") != "paper" or note.get("yref") != "paper" or note.get("showarrow"):
            continue
        for panel in all_panels:
            beside = abs(note["x"] - (panel.left + panel.right) / 2) < 0.02
            if beside and abs(note["y"] - panel.top) < 0.02:
                titles[panel] = note
    return titles


def legend_traces(figure: Figure) -> list[dict[str, Any]]:
    """Return the traces that have an entry in the legend."""
    layout = layout_of(figure)
    shown = [
        trace
        for trace in figure["data"]
        if trace.get("name")
        and trace.get("showlegend", True) is not False
        and trace.get("visible", True) is True
        and trace.get("type") not in ("heatmap", "table")
    ]
    if layout.get("showlegend") is False:
        return []
    alone = len(shown) == 1 and layout.get("showlegend") is None
    return [] if alone and shown[0].get("showlegend") is None else shown


def left_margin(figure: Figure) -> float:
    """Return the margin in pixels that the labels of the first panel of each row need."""
    needed = [float((layout_of(figure).get("margin") or {}).get("l", 54))]
    for panel in (row[0] for row in panel_rows(panels(figure))):
        whole_axis = axis(figure, panel.y)
        if whole_axis.get("automargin") and shows_labels(figure, panel.y):
            titled = TITLE if axis_title(figure, panel.y) else 0
            needed.append(_labels_width(figure, panel) + 8 + titled)
    return max(needed)


def right_margin(figure: Figure) -> float:
    """Return the margin in pixels right of the plot, a colour scale included."""
    own = float((layout_of(figure).get("margin") or {}).get("r", 12))
    beside = any(bar.get("x", 1.02) >= 1 for bar in scales(figure))
    return max(own, SCALE) if beside else own


def scales(figure: Figure) -> Iterator[Mapping[str, Any]]:
    """Yield the colour scales that are drawn beside a figure, as plotly's ``colorbar``."""
    for key, value in figure["layout"].items():
        if key.startswith("coloraxis"):
            yield value.get("colorbar") or {}
    for trace in figure["data"]:
        of_map = trace.get("type") == "heatmap" and not trace.get("coloraxis")
        if of_map and trace.get("showscale", True):
            yield trace.get("colorbar") or {}
        marker = trace.get("marker") or {}
        if isinstance(marker.get("colorbar"), Mapping):
            yield marker["colorbar"]


def _labels_width(figure: Figure, panel: Panel) -> float:
    whole_axis = axis(figure, panel.y)
    texts = values(whole_axis.get("ticktext"))
    if not texts:
        drawn = [y for trace in traces_of(figure, panel) for y in values(trace.get("y"))]
        texts = [y for y in drawn if isinstance(y, str)] or ["100%"]
    size = (whole_axis.get("tickfont") or {}).get("size", 12)
    return max(width(str(text), size) for text in texts)


def legend_rows(figure: Figure, room: float) -> int:
    """Count the rows that a horizontal legend takes in a given width in pixels, as plotly lays it
    out."""
    legend = layout_of(figure).get("legend") or {}
    size = (legend.get("font") or {}).get("size", 12)
    entries = legend_traces(figure)
    widths = [KEY + width(trace["name"], size) for trace in entries]
    if not widths:
        return 0
    if legend.get("entrywidthmode") == "fraction" and legend.get("entrywidth"):
        return -(-len(widths) // max(1, int(1.001 / legend["entrywidth"])))
    if not any(trace.get("legendgroup") for trace in entries):
        if sum(widths) + ENTRY_GAP * (len(widths) - 1) <= room:
            return 1
        return -(-len(widths) // max(1, int((room + ENTRY_GAP) // (max(widths) + ENTRY_GAP))))
    rows, used = 1, 0.0
    for entry in widths:
        if used and used + entry > room:
            rows, used = rows + 1, 0.0
        used += entry + ENTRY_GAP
    return rows


def _axes(trace: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the names of a trace's axes in the layout; None for a trace without such axes."""
    if trace.get("type") in ("table", "scatterpolar"):
        return None
    return "xaxis" + trace.get("xaxis", "x")[1:], "yaxis" + trace.get("yaxis", "y")[1:]

"""Draw heatmaps as rectangles: plotly paints a heatmap as a picture, which is coarse on paper."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from plotly.colors import sample_colorscale

from figures.style import theme
from figures.style.plotly_layout import Figure, axis, layout_of, merge_values, values

FORMATTED = re.compile(r"%\{z(?::([^}]*))?\}")
"""Place of the number in the template of a cell."""

LIGHT = 0.45
"""Luminance of a colour above which its words are dark."""

Cell = tuple[Any, Any, float, str]
"""Place on the x axis, place on the y axis, number and words of a cell."""


def draw_rectangles(figure: Figure) -> Figure:
    """Replace the heatmaps of a figure by rectangles, words and a scale, which print without
    pixels.

    Args:
        figure: the figure in the form of plotly's JSON, which is not changed.
    """
    if not any(trace.get("type") == "heatmap" for trace in figure["data"]):
        return figure
    figure = copy.deepcopy(figure)
    drawn: list[dict[str, Any]] = []
    shapes = figure["layout"].setdefault("shapes", [])
    scaled: set[str] = set()
    for trace in figure["data"]:
        if trace.get("type") != "heatmap":
            drawn.append(trace)
            continue
        trace = merge_values(_template(figure), trace)
        scale = _scale(figure, trace)
        cells = cells_of(trace)
        across, up = (_edges(figure, trace, side) for side in ("x", "y"))
        for x, y, z, _ in cells:
            shapes.append(_rectangle(trace, across[x], up[y], colour_at(scale, z)))
        drawn += [_words(trace, cells, scale)]
        name = str(trace.get("coloraxis") or id(trace))
        if name not in scaled and trace.get("showscale", True):
            drawn.append(_bar(trace, cells, scale))
        scaled.add(name)
    figure["data"] = drawn
    return figure


def cells_of(trace: Mapping[str, Any]) -> list[Cell]:
    """Return the cells of a heatmap that have a number."""
    z, texts = values(trace.get("z")), values(trace.get("text"))
    x, y = places(trace).values()
    if z and not isinstance(z[0], list):  # a number for each place instead of a matrix
        raw_cells = list(zip(x, y, z, texts or [""] * len(z), strict=True))
    else:
        raw_cells = [
            (x[c], y[r], z[r][c], texts[r][c] if texts else "")
            for r in range(len(z))
            for c in range(len(z[r]))
        ]
    template = str(trace.get("texttemplate") or "")
    return [
        (at, of, n, _cell_text(template, n, text)) for at, of, n, text in raw_cells if n is not None
    ]


def places(trace: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the values at the columns (``x``) and rows (``y``) of a heatmap."""
    z = values(trace.get("z"))
    matrix = bool(z) and isinstance(z[0], list)
    return {
        "x": values(trace.get("x")) or list(range(len(z[0]) if matrix else 0)),
        "y": values(trace.get("y")) or list(range(len(z))),
    }


def _cell_text(template: str, number: float, text: Any) -> str:
    """Return the words of a cell."""

    def formatted(field: re.Match[str]) -> str:
        return format(number, field[1] or "g").replace("-", "\u2212")

    return FORMATTED.sub(formatted, template).replace("%{text}", str(text))


def colour_at(scale: Mapping[str, Any], number: float) -> str:
    """Return the colour of a number on a scale with ``colorscale``, ``cmin`` and ``cmax``."""
    span = scale["cmax"] - scale["cmin"]
    share = min(1.0, max(0.0, (number - scale["cmin"]) / span if span else 0.0))
    (parts,) = sample_colorscale(scale["colorscale"], [share], colortype="tuple")
    return "#" + "".join(f"{round(255 * float(part)):02x}" for part in parts)


def _template(figure: Figure) -> Mapping[str, Any]:
    data = (figure["layout"].get("template") or {}).get("data") or {}
    return (data.get("heatmap") or [{}])[0]


def _scale(figure: Figure, trace: Mapping[str, Any]) -> dict[str, Any]:
    """Return the colours, ends and bar of a trace's scale, which may be shared by several
    traces."""
    whole = layout_of(figure)
    shared = whole.get(trace.get("coloraxis") or "") or {}
    numbers = [z for _, _, z, _ in cells_of(trace)]
    colours = shared.get("colorscale") or trace.get("colorscale")
    whole_scale = isinstance(colours, str) or (colours and colours[-1][0] == 1)
    return {
        # plotly ignores a colour scale that does not end at 1.
        "colorscale": colours if whole_scale else whole["colorscale"]["sequential"],
        "cmin": shared.get("cmin", trace.get("zmin", min(numbers))),
        "cmax": shared.get("cmax", trace.get("zmax", max(numbers))),
        "colorbar": shared.get("colorbar") or trace.get("colorbar") or {},
    }


def _edges(figure: Figure, trace: Mapping[str, Any], side: str) -> dict[Any, tuple[float, float]]:
    """Return the edges of each place on an axis, and give the axis the range that the map had."""
    name = f"{side}axis" + trace.get(f"{side}axis", side)[1:]
    own = figure["layout"].setdefault(name, {})
    whole = axis(figure, name)
    at = list(dict.fromkeys(places(trace)[side]))
    if whole.get("type") == "category" or any(isinstance(one, str) for one in at):
        own.update(type="category", categoryorder="array", categoryarray=at)
        middles = {one: float(index) for index, one in enumerate(at)}
    else:
        middles = {one: float(one) for one in at}
    ordered = sorted(middles.values())
    step = min((b - a for a, b in pairwise(ordered)), default=1.0)
    if "range" not in own:
        ends = [ordered[0] - step / 2, ordered[-1] + step / 2]
        own["range"] = ends[::-1] if own.pop("autorange", None) == "reversed" else ends
    return {one: (middle - step / 2, middle + step / 2) for one, middle in middles.items()}


def _rectangle(
    trace: Mapping[str, Any], x: tuple[float, float], y: tuple[float, float], colour: str
) -> dict[str, Any]:
    gap = float(trace.get("xgap") or 0)
    # Without a gap, a line in the cell's colour prevents white lines between neighbours.
    line = {"color": "white", "width": gap} if gap else {"color": colour, "width": 0.5}
    return {
        "type": "rect",
        "xref": trace.get("xaxis", "x"),
        "yref": trace.get("yaxis", "y"),
        "x0": x[0], "x1": x[1], "y0": y[0], "y1": y[1],
        "fillcolor": colour,
        "line": line,
        "layer": "below",
    }  # fmt: skip


def _words(
    trace: Mapping[str, Any], cells: Sequence[Cell], scale: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the words of the cells, dark on light colours and light on dark colours."""

    def ink(number: float) -> str:
        colour = colour_at(scale, number)
        red, green, blue = ((int(colour[at : at + 2], 16) / 255) ** 2.2 for at in (1, 3, 5))
        luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        return theme.INK if luminance > LIGHT**2.2 else "#ffffff"

    return _scatter(trace, cells) | {
        "mode": "text",
        "text": [text for *_, text in cells],
        "textfont": {**(trace.get("textfont") or {}), "color": [ink(z) for _, _, z, _ in cells]},
    }


def _bar(
    trace: Mapping[str, Any], cells: Sequence[Cell], scale: Mapping[str, Any]
) -> dict[str, Any]:
    """Draw an invisible point that carries the scale."""
    return _scatter(trace, cells[:1]) | {
        "mode": "markers",
        "opacity": 0,
        "marker": {"color": [cells[0][2]], "showscale": True, "size": 1, **scale},
    }


def _scatter(trace: Mapping[str, Any], cells: Sequence[Cell]) -> dict[str, Any]:
    axes = {key: trace[key] for key in ("xaxis", "yaxis") if key in trace}
    return {
        "type": "scatter",
        "x": [x for x, *_ in cells],
        "y": [y for _, y, *_ in cells],
        "showlegend": False,
        "hoverinfo": "skip",
        **axes,
    }

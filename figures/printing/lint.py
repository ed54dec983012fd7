"""Check what a figure lacks before it can be printed.

``python -m figures.printing.lint results/`` checks every figure of the results below a root: axes
with titles, panels that share their axes, intervals around estimates, text of 8 to 9 points, room
for the legend, and a caption with numbers and the number of measured examples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from figures.command_line import read_runs, run_command
from figures.style import theme
from figures.style.drawing import NO_ESTIMATE
from figures.style.plotly_layout import (
    Figure,
    Panel,
    axis,
    axis_title,
    layout_of,
    left_margin,
    legend_rows,
    panel_titles,
    panels,
    panels_in_line,
    read_figure,
    right_margin,
    scale_of,
    scales,
    shows_labels,
    traces_of,
    values,
)
from figures.style.small_multiples import LEGEND_ROW
from interp_steer.errors import FigureError

SMALLEST, LARGEST = 10.6, 12.1
"""Least and greatest size of text in pixels: 8 and 9 points, at 96 pixels per inch."""

COUNTED = re.compile(
    r"\bn = \d|\b(?:\d[\d,]*|one|two|three)\W+(?:[\w'-]+\W+){0,4}?"
    r"(?:prompts?|quer(?:y|ies)|answers?|requests?|pairs?|draws?|points?|examples?|instructions?|"
    r"texts?|tokens?|heads?|vectors?|models?|values?|cases|words|questions?|layers?|seeds?|"
    r"splits?|permutations?|runs?|sentences?|directions?|properties|languages?)\b",
    re.I,
)
"""Ways in which a caption gives the number of measured examples."""


def complaints(figure: Figure, caption: str) -> list[str]:
    """Return what a figure lacks.

    Args:
        figure: the figure in the form of plotly's JSON.
        caption: the caption of the figure.

    Returns:
        A sentence for each defect; an empty list for a figure that can be printed.
    """
    all_panels = panels(figure)
    return [
        *_about_caption(caption),
        *_about_text(figure),
        *(defect for panel in all_panels for defect in _about_axes(figure, all_panels, panel)),
        *_about_sharing(figure, all_panels),
        *_about_intervals(figure, all_panels),
        *_about_legend(figure, all_panels),
    ]


def _about_caption(caption: str) -> Iterator[str]:
    if not caption.endswith("."):
        yield "its caption does not end with a full stop"
    if not re.search(r"\d", caption):
        yield "its caption has no number"
    if not COUNTED.search(caption):
        yield "its caption does not give the number of measured examples"
    if re.search(r"\bnan\b|\binf\b", caption, re.I):
        yield "its caption has an undefined number"


def _about_text(figure: Figure) -> Iterator[str]:
    """Check the sizes of all text."""
    for where, size in _sizes(figure):
        if not SMALLEST <= size <= LARGEST:
            yield f"the text of {where} has {0.75 * size:.2g} points, and not 8 to 9"


def _sizes(figure: Figure) -> Iterator[tuple[str, float]]:
    whole = layout_of(figure)
    for panel in panels(figure):
        for name in (panel.x, panel.y):
            own_axis = axis(figure, name)
            if shows_labels(figure, name) and "tickfont" in own_axis:
                yield f"the ticks of {name}", own_axis["tickfont"].get("size", theme.SMALL)
            if axis_title(figure, name):
                yield f"the title of {name}", _size(own_axis["title"])
    if legend_rows(figure, 1e6):
        yield "the legend", _size(whole.get("legend") or {})
    for note in figure["layout"].get("annotations") or []:
        if note.get("text"):
            yield "a note", _size(note)
    for trace in figure["data"]:
        if "text" in str(trace.get("mode")) or trace.get("texttemplate"):
            size = (trace.get("textfont") or {}).get("size", theme.NORMAL)
            for number in values(size) if isinstance(size, (list, Mapping)) else [size]:
                yield f"the words of {trace.get('name') or 'a trace'}", number
        for text in map(str, values(trace.get("text")) if _is_list(trace.get("text")) else []):
            for inline in re.findall(r"font-size:\s*([\d.]+)px", text):
                yield "words in a trace", float(inline)
    for bar in scales(figure):
        for part in (bar, bar.get("title") or {}):
            font = part.get("tickfont") or part.get("font")
            if font:
                yield "a scale", font.get("size", theme.NORMAL)


def _size(part: Mapping[str, Any]) -> float:
    return (part.get("font") or {}).get("size", theme.NORMAL)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple, Mapping))


def _about_axes(figure: Figure, all_panels: list[Panel], panel: Panel) -> Iterator[str]:
    """Check that every axis with numbers has a title, on the axis itself or on a panel in line."""
    for side in ("x", "y"):
        name = getattr(panel, side)
        speaking = [
            own
            for other in panels_in_line(all_panels, panel, side)
            if shows_labels(figure, own := getattr(other, side))
            and scale_of(figure, own) == scale_of(figure, name)
        ]
        if not speaking or _has_words(figure, panel, side):
            continue  # without numbers, or with names, which explain themselves
        if not any(axis_title(figure, own) for own in (name, *speaking)):
            yield f"{name} has numbers and no title"


def _has_words(figure: Figure, panel: Panel, side: str) -> bool:
    """Determine whether an axis has words in place of numbers."""
    texts = values(axis(figure, getattr(panel, side)).get("ticktext"))
    if not texts:
        texts = [at for trace in traces_of(figure, panel) for at in values(trace.get(side))]
    return any(isinstance(text, str) and re.search(r"[^\W\d_]{2}", text) for text in texts)


def _about_sharing(figure: Figure, all_panels: list[Panel]) -> Iterator[str]:
    """Check that panels that measure the same have the same axis."""
    for side in ("x", "y"):
        scales: dict[str, set[Any]] = {}
        for panel in all_panels:
            name = getattr(panel, side)
            title = next(
                (
                    t
                    for p in panels_in_line(all_panels, panel, side)
                    if (t := axis_title(figure, getattr(p, side)))
                ),
                "",
            )
            speaks = any(
                shows_labels(figure, getattr(p, side))
                for p in panels_in_line(all_panels, panel, side)
            )
            if title and speaks and axis(figure, name).get("type") != "category":
                scales.setdefault(title, set()).add(scale_of(figure, name))
        for title, different in scales.items():
            if len(different) > 1:
                yield f"its panels have {len(different)} different {side} axes of {title!r}"


def _about_intervals(figure: Figure, all_panels: list[Panel]) -> Iterator[str]:
    """Check that every estimate has a whisker or a band."""
    for panel in all_panels:
        traces = list(traces_of(figure, panel))
        bands = {_rgb(t.get("fillcolor")) for t in traces if t.get("fill") == "toself"}
        for trace in traces:
            if _is_estimate(trace) and not _has_whiskers(trace) and _colour(trace) not in bands:
                yield f"{trace.get('name') or 'a trace'!r} has no intervals"
    polar = [trace for trace in figure["data"] if trace.get("type") == "scatterpolar"]
    whiskers = {_colour(trace) for trace in polar if trace.get("mode") == "lines"}
    for trace in polar:
        if trace.get("mode") != "lines" and _colour(trace) not in whiskers:
            yield f"{trace.get('name')!r} has no intervals"


def _is_estimate(trace: Mapping[str, Any]) -> bool:
    """Determine whether a trace draws numbers that were estimated."""
    if trace.get("meta") == NO_ESTIMATE or trace.get("fill") == "toself":
        return False
    marker = trace.get("marker") or {}
    if trace.get("type") == "bar":
        return "colorbar" not in marker  # such bars shade a text
    mode = str(trace.get("mode"))
    drawn = any(value is not None for value in values(trace.get("x")))
    return trace.get("type") == "scatter" and drawn and ("lines" in mode or "markers" in mode)


def _has_whiskers(trace: Mapping[str, Any]) -> bool:
    return any(values((trace.get(key) or {}).get("array")) for key in ("error_x", "error_y"))


def _colour(trace: Mapping[str, Any]) -> tuple[int, ...] | None:
    line, marker = trace.get("line") or {}, trace.get("marker") or {}
    return _rgb(line.get("color") or marker.get("color"))


def _rgb(colour: Any) -> tuple[int, ...] | None:
    """Return red, green and blue of a colour, without its opacity."""
    if not isinstance(colour, str):
        return None
    if colour.startswith("#"):
        return tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return tuple(int(part) for part in re.findall(r"\d+", colour)[:3])


def _about_legend(figure: Figure, all_panels: list[Panel]) -> Iterator[str]:
    """Check that the legend has room above the plot and its titles, or below the plot."""
    whole = layout_of(figure)
    legend, margin = whole.get("legend") or {}, whole["margin"]
    if legend.get("orientation") != "h":
        return
    rows = legend_rows(figure, whole.get("width", 700) - left_margin(figure) - right_margin(figure))
    above = legend.get("y", 1) > 0.5
    titled = bool(panel_titles(figure, all_panels)) and above
    needed = LEGEND_ROW * rows + (16 if titled else 0)
    if rows and margin["t" if above else "b"] < needed:
        yield f"its legend of {rows} rows runs into the {'titles' if titled else 'plot'}"


@dataclass(frozen=True)
class Config:
    """Check what the figures of results folders lack for print."""

    root: tyro.conf.Positional[Path] = Path("results")
    """A results folder, or a folder to look for results folders in."""


def main(config: Config) -> str:
    """Check every figure below the root, and return the text for stdout.

    Raises:
        FigureError: with the defects, one per line, if there are defects.
    """
    defects, n = [], 0
    for run in read_runs(config.root):
        for name, caption in run.captions.items():
            n += 1
            figure = read_figure(run.figure(name))
            defects += [
                f"{run.analysis}/{name}: {defect}" for defect in complaints(figure, caption)
            ]
    if defects:
        lines = "\n".join(defects)
        raise FigureError(f"{len(defects)} defects in {n} figures:\n{lines}")
    return f"{n} figures can be printed as they are"


if __name__ == "__main__":
    run_command(Config, main, "figures.printing.lint")

"""From what jobs have found to what the page shows of it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import polars as pl
from dash import html, set_props

import figures
from analyses.explorer.answer import SIDES, Told
from analyses.explorer.form import Source
from analyses.explorer.head_view import Heads
from analyses.explorer.jobs import ExplorerError, Job, Tab
from analyses.explorer.layout import VIEWS
from analyses.explorer.sweep_view import Swept
from analyses.explorer.views import Seen
from analyses.explorer.workspace import Workspace, label
from figures.style.drawing import Drawing

ENDINGS = {"stop": "ended by itself", "length": "cut at the most tokens", "settled": "settled"}


def job(
    tab: Tab, kind: str, found: Job, ahead: int, view: str, quantity: str, measure: str
) -> None:
    """Show a job: how far it is, what it has found, or what went wrong."""
    answering = kind == "answer"
    status, error = ("status", "error") if answering else ("view-status", "view-error")
    said = found.said if found.state == "running" else ""
    if found.state == "waiting":
        said = f"Waiting for {ahead} other{'s' * (ahead != 1)}" if ahead else "Waiting"
    set_props(status, {"children": said})
    if answering:
        set_props("page", {"className": "busy" if found.active else ""})
    if found.state == "failed":
        set_props(error, {"children": found.said, "hidden": False})
    if isinstance(found.found, Told):
        answer(tab, found.found, found)
    elif kind == "sweep":
        sweep(tab, measure)
    elif kind == "head" and isinstance(found.found, Seen):
        _seen(tab, "heads", found.found, VIEWS["heads"][2][1:])
    elif kind == "view" and view == "heads":
        heads(tab, quantity)
    elif kind == "view" and isinstance(found.found, Seen):
        _seen(tab, view, found.found, VIEWS[view][2])


# ------------------------------------------------------------------ answers
def answer(tab: Tab, told: Told, found: Job) -> None:
    """Both answers, their tokens coloured once projections are read, and what steered them."""
    for at, side in enumerate(SIDES):
        text: Any = told.texts[at]
        if told.tokens is not None:
            text = spans(told, side)
        writing = found.active and told.completions is None
        classes = "text writing" if writing else "text"
        set_props(f"text-{side}", {"children": text, "className": classes})
        about = ""
        if told.completions is not None:
            done = told.completions[at]
            n = len(done.tokens)
            ending = ENDINGS.get(done.finish_reason, done.finish_reason)
            about = f"{n} token{'s' * (n != 1)}, {ending}"
        set_props(f"about-{side}", {"children": about})
    if told.completions is not None:
        set_props("applied", {"children": told.completions[1].applied})
    if told.tokens is None or told.steps is None:
        return
    set_props("legend", {"children": legend(told), "data-answer": str(found.number)})
    set_props("python", {"data": told.code})
    set_props("code", {"children": told.code})
    set_props("code-block", {"hidden": False})
    set_props("copy", {"disabled": False, "children": "Copy as Python"})
    drawn(tab, "steps", figures.answer_steps(told.steps))
    tab.drawings["answers"] = figures.projection_text(
        told.tokens, middle=told.middle, target=told.target, along=told.along
    )


def spans(told: Told, side: str) -> list[Any]:
    """The tokens of an answer, coloured; their texts together are the answer."""
    assert told.tokens is not None
    shades = told.shades
    return [
        html.Span(
            row["token"],
            style={"backgroundColor": shades.colour(row["projection"])},
            title=f"step {row['step']}: projection {row['projection']:.3g}",
        )
        for row in told.tokens.filter(pl.col("answer_id") == side).iter_rows(named=True)
        if row["token"]
    ]


def legend(told: Told) -> list[Any]:
    """The scale of the colours, with the two sides that it lies between."""
    shades = told.shades
    low, high = shades.middle - shades.reach, shades.middle + shades.reach
    marks = [("without", shades.middle, "the mean of prompts without the property")]
    if told.target is not None:
        marks.append(("with", told.target, "the mean of prompts with the property"))
    return [
        html.Span(f"Projection on {told.along}", className="what"),
        html.Div(
            [
                html.Div(className="bar", style={"background": shades.gradient()}),
                *(
                    html.Span(
                        [html.I(), f"{name} {value:.3g}"],
                        className=f"mark {name}",
                        style={"left": f"{100 * shades.place(value):.4g}%"},
                        title=about,
                    )
                    for name, value, about in marks
                ),
                html.Span(f"{low:.3g}", className="end low"),
                html.Span(f"{high:.3g}", className="end high"),
            ],
            className="scale",
        ),
    ]


# ------------------------------------------------------------------ views
def sweep(tab: Tab, measure: str, chosen: tuple[int, float] | None = None) -> None:
    """The map of a sweep, as far as it has come."""
    swept = tab.keeps.get("sweep")
    if not isinstance(swept, Swept):
        return
    if chosen is not None:
        tab.keeps["cell"] = chosen
    note = ""
    if measure not in swept.measures:
        measure = "kl"
        note = "A saved vector comes without an instruction to obey; its damage is shown."
    drawing = swept.drawing(measure, tab.keeps.get("cell"))  # type: ignore[arg-type]
    _note("sweep", note)
    if drawing is not None:
        drawn(tab, "sweep", drawing)


def heads(tab: Tab, quantity: str) -> None:
    """The map of heads."""
    found = tab.keeps.get("heads")
    if isinstance(found, Heads):
        drawn(tab, "heads", found.drawing(quantity))


def _seen(tab: Tab, view: str, seen: Seen, names: Sequence[str]) -> None:
    for name in names:
        if name in seen.drawings:
            drawn(tab, name, seen.drawings[name])
        else:
            set_props(f"block-{name}", {"hidden": True})
            tab.drawings.pop(name, None)
    rows = [part for name, said in seen.facts for part in (html.Dt(name), html.Dd(said))]
    set_props(f"facts-{view}", {"children": rows, "hidden": not rows})
    _note(view, seen.note)


def _note(view: str, said: str) -> None:
    set_props(f"note-{view}", {"children": said, "hidden": not said})


def drawn(tab: Tab, name: str, drawing: Drawing) -> None:
    """Put a figure into its place, as wide as the page has room for."""
    tab.drawings[name] = drawing
    figure = go.Figure(drawing.figure)
    width = figure.layout.width
    figure.update_layout(width=None, autosize=True)
    style = {"height": f"{figure.layout.height}px", "maxWidth": f"{1.5 * width:.0f}px"}
    style["minWidth"] = f"{min(width, 480)}px" if width > 400 else "0px"
    set_props(name, {"figure": figure, "style": style})
    set_props(f"caption-{name}", {"children": drawing.caption})
    set_props(f"block-{name}", {"hidden": False})


def clicked_cell(swept: Swept, click: Mapping[str, Any]) -> tuple[int, float]:
    """The layer and strength of a cell of the sweep's map.

    Raises:
        ExplorerError: for a click that is none on a cell.
    """
    strengths = swept.records["strength"].unique().sort().to_list()
    try:
        point = click["points"][0]
        return int(point["y"]), strengths[int(point["x"])]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ExplorerError("That was no cell of the map; click one.") from error


# ------------------------------------------------------------------ files
def vector_file(shelf: Workspace, source: Source) -> tuple[str, bytes]:
    """A vector with its card, as the file that `SteeringVector.load` reads, and its name.

    Raises:
        ExplorerError: for a vector that was not fitted yet, since the model may be busy.
    """
    if not shelf.has(source):
        raise ExplorerError("That vector is not fitted yet: press Steer first.")
    vector = shelf.vector(source)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vector.safetensors"
        vector.save(path)
        name = label(source.name).replace(": ", "_").replace(" ", "_")
        return f"{name}.safetensors", path.read_bytes()

"""Show the results of jobs on the page."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import polars as pl
from dash import html, set_props

import figures
from analyses.explorer.answer import SIDES, AnswerPair
from analyses.explorer.form import Source
from analyses.explorer.head_view import Heads
from analyses.explorer.jobs import ExplorerError, Job, Tab
from analyses.explorer.layout import VIEWS
from analyses.explorer.sweep_view import SweepResult
from analyses.explorer.views import ViewResult
from analyses.explorer.workspace import Workspace, make_label
from figures.style.drawing import Drawing

ENDINGS = {
    "stop": "ended with an end token",
    "length": "stopped at the maximum of new tokens",
    "settled": "stopped early",
}
"""Finish reasons, as the page shows them."""


def show_job(
    tab: Tab, kind: str, job: Job, ahead: int, view: str, quantity: str, measure: str
) -> None:
    """Show a job's progress, its result so far, or its error."""
    answering = kind == "answer"
    status, error = ("status", "error") if answering else ("view-status", "view-error")
    message = job.message if job.state == "running" else ""
    if job.state == "waiting":
        message = f"Waiting for {ahead} other{'s' * (ahead != 1)}" if ahead else "Waiting"
    set_props(status, {"children": message})
    if answering:
        set_props("page", {"className": "busy" if job.active else ""})
    if job.state == "failed":
        set_props(error, {"children": job.message, "hidden": False})
    if isinstance(job.result, AnswerPair):
        show_answers(tab, job.result, job)
    elif kind == "sweep":
        show_sweep(tab, measure)
    elif kind == "head" and isinstance(job.result, ViewResult):
        _show_view(tab, "heads", job.result, VIEWS["heads"][2][1:])
    elif kind == "view" and view == "heads":
        show_heads(tab, quantity)
    elif kind == "view" and isinstance(job.result, ViewResult):
        _show_view(tab, view, job.result, VIEWS[view][2])


# ------------------------------------------------------------------ answers
def show_answers(tab: Tab, answers: AnswerPair, job: Job) -> None:
    """Show both answers; once they are traced, colour their tokens and show the steering."""
    for at, side in enumerate(SIDES):
        text: Any = answers.texts[at]
        if answers.tokens is not None:
            text = make_spans(answers, side)
        writing = job.active and answers.completions is None
        classes = "text writing" if writing else "text"
        set_props(f"text-{side}", {"children": text, "className": classes})
        about = ""
        if answers.completions is not None:
            done = answers.completions[at]
            n = len(done.tokens)
            ending = ENDINGS.get(done.finish_reason, done.finish_reason)
            about = f"{n} token{'s' * (n != 1)}, {ending}"
        set_props(f"about-{side}", {"children": about})
    if answers.completions is not None:
        set_props("applied", {"children": answers.completions[1].applied})
    if answers.tokens is None or answers.steps is None:
        return
    set_props("legend", {"children": make_legend(answers), "data-answer": str(job.number)})
    set_props("python", {"data": answers.code})
    set_props("code", {"children": answers.code})
    set_props("code-block", {"hidden": False})
    set_props("copy", {"disabled": False, "children": "Copy as Python"})
    show_figure(tab, "steps", figures.answer_steps(answers.steps))
    tab.drawings["answers"] = figures.projection_text(
        answers.tokens, middle=answers.middle, target=answers.target, along=answers.along
    )


def make_spans(answers: AnswerPair, side: str) -> list[Any]:
    """Return the coloured tokens of an answer; their texts joined are the answer."""
    assert answers.tokens is not None
    shades = answers.shades
    return [
        html.Span(
            row["token"],
            style={"backgroundColor": shades.colour(row["projection"])},
            title=f"step {row['step']}: projection {row['projection']:.3g}",
        )
        for row in answers.tokens.filter(pl.col("answer_id") == side).iter_rows(named=True)
        if row["token"]
    ]


def make_legend(answers: AnswerPair) -> list[Any]:
    """Return the colour scale, marked with the mean projections of both sides."""
    shades = answers.shades
    low, high = shades.middle - shades.reach, shades.middle + shades.reach
    marks = [("without", shades.middle, "mean of prompts without the property")]
    if answers.target is not None:
        marks.append(("with", answers.target, "mean of prompts with the property"))
    return [
        html.Span(f"Projection on {answers.along}", className="what"),
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
def show_sweep(tab: Tab, measure: str, chosen: tuple[int, float] | None = None) -> None:
    """Show the map of a sweep with the layers that are done."""
    result = tab.keeps.get("sweep")
    if not isinstance(result, SweepResult):
        return
    if chosen is not None:
        tab.keeps["cell"] = chosen
    note = ""
    if measure not in result.measures:
        measure = "kl"
        note = "A saved vector has no instruction to follow, so that its KL damage is shown."
    drawing = result.drawing(measure, tab.keeps.get("cell"))  # type: ignore[arg-type]
    _show_note("sweep", note)
    if drawing is not None:
        show_figure(tab, "sweep", drawing)


def show_heads(tab: Tab, quantity: str) -> None:
    """Show the map of heads."""
    result = tab.keeps.get("heads")
    if isinstance(result, Heads):
        show_figure(tab, "heads", result.drawing(quantity))


def _show_view(tab: Tab, view: str, result: ViewResult, names: Sequence[str]) -> None:
    for name in names:
        if name in result.drawings:
            show_figure(tab, name, result.drawings[name])
        else:
            set_props(f"block-{name}", {"hidden": True})
            tab.drawings.pop(name, None)
    rows = [part for name, value in result.facts for part in (html.Dt(name), html.Dd(value))]
    set_props(f"facts-{view}", {"children": rows, "hidden": not rows})
    _show_note(view, result.note)


def _show_note(view: str, note: str) -> None:
    set_props(f"note-{view}", {"children": note, "hidden": not note})


def show_figure(tab: Tab, name: str, drawing: Drawing) -> None:
    """Show a figure in its place, as wide as the page allows."""
    tab.drawings[name] = drawing
    figure = go.Figure(drawing.figure)
    width = figure.layout.width
    figure.update_layout(width=None, autosize=True)
    style = {"height": f"{figure.layout.height}px", "maxWidth": f"{1.5 * width:.0f}px"}
    style["minWidth"] = f"{min(width, 480)}px" if width > 400 else "0px"
    set_props(name, {"figure": figure, "style": style})
    set_props(f"caption-{name}", {"children": drawing.caption})
    set_props(f"block-{name}", {"hidden": False})


def find_clicked_cell(result: SweepResult, click: Mapping[str, Any]) -> tuple[int, float]:
    """Return the layer and strength of the clicked cell of a sweep's map.

    Raises:
        ExplorerError: if the click did not hit a cell.
    """
    strengths = result.records["strength"].unique().sort().to_list()
    try:
        point = click["points"][0]
        return int(point["y"]), strengths[int(point["x"])]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ExplorerError("The click did not hit a cell of the map; click a cell.") from error


# ------------------------------------------------------------------ files
def save_vector_file(workspace: Workspace, source: Source) -> tuple[str, bytes]:
    """Return the name and content of a vector's file, as `SteeringVector.load` reads it.

    Raises:
        ExplorerError: if the vector is not fitted yet; fitting must wait for the model.
    """
    if not workspace.has_vector(source):
        raise ExplorerError("The vector is not fitted yet: press Steer first.")
    vector = workspace.get_vector(source)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vector.safetensors"
        vector.save(path)
        name = make_label(source.name).replace(": ", "_").replace(" ", "_")
        return f"{name}.safetensors", path.read_bytes()

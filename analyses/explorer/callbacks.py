"""Connect the page to the model: a form becomes a job, and results appear as they arrive.

The page polls the server. A server that pushes needs one open connection per tab, and a browser
opens at most six connections to one server, so that the seventh tab would never load.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, dcc, set_props
from dash.exceptions import PreventUpdate

from analyses.explorer import render
from analyses.explorer.answer import AnswerPair, answer_request
from analyses.explorer.download import print_figure
from analyses.explorer.form import (
    MAX_VECTORS,
    Limits,
    SteeringChoice,
    parse_choice,
    parse_request,
    parse_source,
    parse_strengths,
    parse_whole_number,
)
from analyses.explorer.head_view import Heads, measure_heads, show_head
from analyses.explorer.jobs import ExplorerError, Job, JobQueue, describe_unexpected
from analyses.explorer.layout import BUSY, FIELDS, IDLE, VIEWS
from analyses.explorer.sweep_view import SweepResult, run_sweep
from analyses.explorer.views import VIEWS as DRAW
from analyses.explorer.workspace import Workspace
from interp_steer.errors import InterpSteerError

ANSWER, VIEW, SWEEP = range(3)
"""Ranks of jobs: an answer runs before a view, and a view before the next layer of a sweep."""

CARDS = {
    f"{name}-{at}": State(f"{name}-{at}", "value") for at in range(MAX_VECTORS) for name in FIELDS
}
FORM = {
    **{name: State(name, "value") for name in ("prompt", "max_new_tokens", "temperature", "seed")},
    "read_layer": State("read_layer", "value"),
    **CARDS,
}
SWEEP_FORM = {name: State(f"sweep-{name}", "value") for name in ("strengths", "unit", "prompts")}
TAB = {"tab": State("tab", "data")}
VECTOR_FIELDS = ("name", "layers", "operation", "component", "position", "estimator")
"""Fields of a card that change a view when they change."""


@dataclass(frozen=True)
class Explorer:
    """The workspace, the job queue and the limits that all tabs share."""

    workspace: Workspace
    queue: JobQueue
    limits: Limits

    # -------------------------------------------------------------- jobs of a tab
    def submit_answer(self, tab: str, form: Mapping[str, Any]) -> Job:
        """Put a prompt into the queue; the job replaces the tab's earlier answer job."""
        request = parse_request(group_cards(form), self.limits, self.workspace.model.n_layers)
        work = partial(answer_request, self.workspace, request)
        return self.queue.submit(tab, "answer", work, ANSWER)

    def submit_sweep(self, tab: str, form: Mapping[str, Any], sweep_form: Mapping[str, Any]) -> Job:
        """Put a sweep of the first vector over layers and strengths into the queue."""
        choice = self.read_choices(form)[0]
        work = partial(
            run_sweep,
            self.workspace,
            choice,
            parse_strengths(sweep_form["strengths"], sweep_form["unit"], self.limits),
            parse_whole_number(
                "The number of prompts", sweep_form["prompts"], 1, self.limits.prompts
            ),
            parse_whole_number(
                "The maximum of new tokens", form["max_new_tokens"], 1, self.limits.new_tokens
            ),
            self.limits.cells,
        )
        return self.queue.submit(tab, "sweep", work, SWEEP)

    def submit_view(self, tab: str, view: str, form: Mapping[str, Any]) -> Job:
        """Put a view of the chosen vectors into the queue."""
        choices = self.read_choices(form)
        if view == "heads":
            source = choices[0].source
            known = self.queue.tab(tab).keeps.get("heads")
            if isinstance(known, Heads) and known.source == source:
                return self.queue.submit(tab, "view", lambda _: iter(()), VIEW)
            work = partial(measure_heads, self.workspace, source)
        else:
            work = partial(DRAW[view], self.workspace, choices)
        return self.queue.submit(tab, "view", work, VIEW)

    def submit_head(self, tab: str, layer: int, head: int) -> Job:
        """Put the details of one head into the queue."""
        heads = self.queue.tab(tab).keeps.get("heads")
        if not isinstance(heads, Heads):
            raise ExplorerError("The heads are not measured yet; wait for their map.")
        return self.queue.submit(
            tab, "head", lambda job: show_head(self.workspace, heads, layer, head, job), VIEW
        )

    def read_choices(self, form: Mapping[str, Any]) -> tuple[SteeringChoice, ...]:
        """Return the choices on the cards of a form.

        Raises:
            ExplorerError: if no card names a vector.
        """
        cards = [card for card in group_cards(form)["steers"] if card["name"]]
        if not cards:
            raise ExplorerError("No vector is chosen. Choose a property under Steering.")
        n_layers = self.workspace.model.n_layers
        return tuple(parse_choice(card, self.limits, n_layers) for card in cards)


def group_cards(form: Mapping[str, Any]) -> dict[str, Any]:
    """Return a form in which the fields of each card are grouped under ``steers``."""
    cards = [{name: form.get(f"{name}-{at}") for name in FIELDS} for at in range(MAX_VECTORS)]
    plain = {name: value for name, value in form.items() if name not in CARDS}
    return {**plain, "steers": cards}


def show_error(error: Exception, where: str = "error") -> None:
    """Show an error on the page."""
    known = isinstance(error, InterpSteerError)
    message = str(error) if known else describe_unexpected(error)
    set_props(where, {"children": message, "hidden": False})


def clear_error(where: str) -> None:
    """Remove an error from the page."""
    set_props(where, {"children": "", "hidden": True})


# ------------------------------------------------------------------ answers
def start_answer(
    explorer: Explorer, go: int | None, clicked: Any, tab: str, form: dict[str, Any]
) -> int:
    """Answer the prompt; return the interval of polling in milliseconds."""
    if not go and not clicked:  # the page has just opened
        raise PreventUpdate
    clear_error("error")
    explorer.submit_answer(tab, form)
    set_props("status", {"children": "Waiting for the model"})
    return BUSY


def stop_jobs(explorer: Explorer, stop: int, tab: str) -> None:
    """Stop all jobs of a tab."""
    for job in explorer.queue.tab(tab).jobs.values():
        job.stop()
    set_props("status", {"children": "Stopped"})


def show_progress(
    explorer: Explorer,
    tick: int,
    tab: str,
    seen: dict[str, Any],
    quantity: str,
    measure: str,
    view: str,
) -> dict[str, Any]:
    """Show the jobs that have changed since the last poll; return what the page has now seen."""
    queue = explorer.queue
    own = queue.tab(tab)
    jobs = dict(own.jobs)
    for kind, job in jobs.items():
        ahead = queue.ahead(job) if job.state == "waiting" else 0
        now = [job.number, job.version, job.state, ahead]
        if seen.get(kind) == now:
            continue
        seen[kind] = now
        for name, result in (("heads", Heads), ("sweep", SweepResult), ("answers", AnswerPair)):
            if isinstance(job.result, result):
                own.keeps[name] = job.result
        render.show_job(own, kind, job, ahead, view, quantity, measure)
    busy = any(job.active for job in jobs.values())
    return {"interval": BUSY if busy else IDLE, "seen": seen}


# ------------------------------------------------------------------ views
def start_view(
    explorer: Explorer, view: str, go: int, chosen: Any, tab: str, form: dict[str, Any]
) -> int:
    """Show a view and start its job; return the interval of polling in milliseconds."""
    for name in VIEWS:
        set_props(f"view-{name}", {"hidden": name != view})
    clear_error("view-error")
    if view == "sweep":
        return BUSY
    try:
        explorer.submit_view(tab, view, form)
    except InterpSteerError as error:
        show_error(error, "view-error")
    return BUSY


def start_sweep(
    explorer: Explorer, go: int, tab: str, form: dict[str, Any], sweep_form: dict[str, Any]
) -> int:
    """Start a sweep; return the interval of polling in milliseconds."""
    clear_error("view-error")
    try:
        explorer.submit_sweep(tab, form, sweep_form)
    except InterpSteerError as error:
        show_error(error, "view-error")
    return BUSY


def redraw_map(explorer: Explorer, measure: str, quantity: str, tab: str) -> None:
    """Draw the map whose measure or quantity was changed."""
    own = explorer.queue.tab(tab)
    try:
        if ctx.triggered_id == "sweep-measure":
            render.show_sweep(own, measure)
        else:
            render.show_heads(own, quantity)
        clear_error("view-error")
    except InterpSteerError as error:
        show_error(error, "view-error")


def steer_with_cell(explorer: Explorer, click: Any, tab: str, measure: str) -> None:
    """Put the clicked cell of the sweep into the first card and answer the prompt with it."""
    own = explorer.queue.tab(tab)
    sweep = own.keeps.get("sweep")
    if not click or not isinstance(sweep, SweepResult):
        return
    layer, strength = render.find_clicked_cell(sweep, click)
    set_props("layers-0", {"value": [layer]})
    set_props("operation-0", {"value": sweep.choice.operation})
    if sweep.choice.operation != "ablate":
        set_props("strength-0", {"value": f"{strength:g}"})
        set_props("unit-0", {"value": sweep.unit})
    set_props("sweep", {"clickData": None})  # so that the same cell can be clicked again
    set_props("clicked", {"data": [layer, strength]})
    render.show_sweep(own, measure, (layer, strength))


def start_head(explorer: Explorer, click: Any, layer: str, head: str, tab: str) -> None:
    """Start the job of the clicked head, or of the head whose layer and number were typed."""
    clear_error("view-error")
    try:
        if ctx.triggered_id == "heads":
            if not click:
                return
            point = click["points"][0]
            layer, head = point["y"], point["x"]
            set_props("heads", {"clickData": None})
            set_props("head-layer", {"value": str(layer)})
            set_props("head-head", {"value": str(head)})
        elif layer in (None, "") or head in (None, ""):
            return
        model = explorer.workspace.model
        at = parse_whole_number("The layer", layer, 0, model.n_layers - 1)
        number = parse_whole_number("The head", head, 0, model.n_heads - 1)
        explorer.submit_head(tab, at, number)
        set_props("clock", {"interval": BUSY})
    except InterpSteerError as error:
        show_error(error, "view-error")


# ------------------------------------------------------------------ files
def save_figure(explorer: Explorer, clicks: list[int | None], tab: str) -> Any:
    """Send the figure whose button was clicked."""
    if not any(clicks) or ctx.triggered_id is None:
        return None
    name, kind = ctx.triggered_id["save"], ctx.triggered_id["kind"]
    drawing = explorer.queue.tab(tab).drawings.get(name)
    if drawing is None:
        raise ExplorerError("This figure is not drawn yet; wait until the page shows it.")
    content = print_figure(drawing, name, kind, explorer.workspace)
    return dcc.send_bytes(content, f"{name}.{kind}")


def save_vector(explorer: Explorer, click: int, form: dict[str, Any], *, at: int) -> Any:
    """Send the vector of one card."""
    card = group_cards(form)["steers"][at]
    if not card["name"]:
        raise ExplorerError("No property is chosen on this card; choose one first.")
    name, content = render.save_vector_file(explorer.workspace, parse_source(card))
    return dcc.send_bytes(content, name)


def open_vector(explorer: Explorer, content: str | None, name: str, tab: str) -> None:
    """Open an uploaded vector and choose it on the first card."""
    if not content:
        return
    clear_error("error")
    try:
        raw = base64.b64decode(content.partition(",")[2], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ExplorerError(f"{name} arrived incomplete; open it again.") from error
    key = explorer.workspace.open_file(name, raw)
    for at in range(MAX_VECTORS):
        set_props(f"name-{at}", {"options": explorer.workspace.list_options()})
    set_props("name-0", {"value": key})
    set_props("status", {"children": f"Opened {name}"})


# ------------------------------------------------------------------ cards
def show_cards(explorer: Explorer, more: int, removed: list[int], hidden: list[bool]) -> None:
    """Show one more card, or hide the card that was removed."""
    for at in range(1, MAX_VECTORS):
        if ctx.triggered_id == f"remove-{at}":
            hidden[at - 1] = True
            set_props(f"name-{at}", {"value": None})
            set_props(f"card-{at}", {"hidden": True})
    if ctx.triggered_id == "more" and True in hidden:
        at = hidden.index(True)
        hidden[at] = False
        set_props(f"card-{at + 1}", {"hidden": False})
    set_props("more", {"disabled": True not in hidden})


# ------------------------------------------------------------------ registration
@dataclass(frozen=True)
class Callback:
    """A function with the properties of the page that it reads and sets."""

    function: Callable[..., Any]
    """Called with the explorer, then with inputs and state by name."""
    inputs: Mapping[str, Any]
    """Properties whose change calls the function."""
    state: Mapping[str, Any] = field(default_factory=dict)
    """Properties that are read with them."""
    output: Any = None
    """Properties that are set to the returned value."""
    running: Any = None
    """Properties that are set while the function runs."""


BUSY_CLOCK = Output("clock", "interval", allow_duplicate=True)

CALLBACKS = (
    Callback(
        start_answer,
        {"go": Input("go", "n_clicks"), "clicked": Input("clicked", "data")},
        {**TAB, "form": FORM},
        BUSY_CLOCK,
    ),
    Callback(stop_jobs, {"stop": Input("stop", "n_clicks")}, TAB),
    Callback(
        show_progress,
        {"tick": Input("clock", "n_intervals")},
        {
            **TAB,
            "seen": State("seen", "data"),
            "quantity": State("head-quantity", "value"),
            "measure": State("sweep-measure", "value"),
            "view": State("view", "value"),
        },
        {"interval": Output("clock", "interval"), "seen": Output("seen", "data")},
        # A slow machine must not be polled again before it has replied.
        [(Output("clock", "disabled"), True, False)],
    ),
    Callback(
        start_view,
        {
            "view": Input("view", "value"),
            "go": Input("go", "n_clicks"),
            "chosen": {
                f"{name}-{at}": Input(f"{name}-{at}", "value")
                for at in range(MAX_VECTORS)
                for name in VECTOR_FIELDS
            },
        },
        {**TAB, "form": CARDS},
        BUSY_CLOCK,
    ),
    Callback(
        start_sweep,
        {"go": Input("sweep-go", "n_clicks")},
        {**TAB, "form": FORM, "sweep_form": SWEEP_FORM},
        BUSY_CLOCK,
    ),
    Callback(
        redraw_map,
        {
            "measure": Input("sweep-measure", "value"),
            "quantity": Input("head-quantity", "value"),
        },
        TAB,
    ),
    Callback(
        steer_with_cell,
        {"click": Input("sweep", "clickData")},
        {**TAB, "measure": State("sweep-measure", "value")},
    ),
    Callback(
        start_head,
        {
            "click": Input("heads", "clickData"),
            "layer": Input("head-layer", "value"),
            "head": Input("head-head", "value"),
        },
        TAB,
    ),
    Callback(
        save_figure,
        {"clicks": Input({"save": ALL, "kind": ALL}, "n_clicks")},
        TAB,
        Output("download", "data"),
    ),
    *(
        Callback(
            partial(save_vector, at=at),
            {"click": Input(f"save-vector-{at}", "n_clicks")},
            {"form": CARDS},
            Output("download", "data", allow_duplicate=True),
        )
        for at in range(MAX_VECTORS)
    ),
    Callback(
        show_cards,
        {
            "more": Input("more", "n_clicks"),
            "removed": [Input(f"remove-{at}", "n_clicks") for at in range(1, MAX_VECTORS)],
        },
        {"hidden": [State(f"card-{at}", "hidden") for at in range(1, MAX_VECTORS)]},
    ),
    Callback(
        open_vector,
        {"content": Input("upload", "contents")},
        {**TAB, "name": State("upload", "filename")},
    ),
)
"""Everything that the page asks of the server."""


def register_callbacks(app: Dash, explorer: Explorer) -> None:
    """Register all callbacks with the app."""
    for callback in CALLBACKS:
        app.callback(
            inputs=dict(callback.inputs),
            state=dict(callback.state),  # Dash adds the inputs to this mapping
            prevent_initial_call=True,
            **({} if callback.output is None else {"output": callback.output}),
            **({} if callback.running is None else {"running": callback.running}),
        )(partial(callback.function, explorer))
    app.clientside_callback(ClientsideFunction("explorer", "arrive"), Input("tab", "data"))
    app.clientside_callback(
        ClientsideFunction("explorer", "copy"),
        Output("copy", "children"),
        Input("copy", "n_clicks"),
        State("python", "data"),
        prevent_initial_call=True,
    )

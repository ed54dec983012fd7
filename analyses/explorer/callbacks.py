"""What the page does: a form becomes a job, and what jobs find is shown as it comes.

The server is asked again and again, rather than left to push: a browser keeps no more than six
connections to a server open, so that the seventh tab of a page that listens would never load.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, dcc, set_props
from dash.exceptions import PreventUpdate

from analyses.explorer import render
from analyses.explorer.answer import Told, answering
from analyses.explorer.download import printed
from analyses.explorer.form import (
    MOST_STEERS,
    Limits,
    Steer,
    ask_of,
    source_of,
    steer_of,
    strengths_of,
    whole,
)
from analyses.explorer.head_view import Heads, looking, measuring
from analyses.explorer.jobs import ExplorerError, Job, JobQueue, unforeseen
from analyses.explorer.layout import BUSY, FIELDS, IDLE, VIEWS
from analyses.explorer.sweep_view import Swept, sweeping
from analyses.explorer.views import VIEWS as DRAWN
from analyses.explorer.workspace import Workspace
from interp_steer.errors import InterpSteerError

ANSWER, VIEW, SWEEP = range(3)
"""Ranks: an answer goes before a view, and a view before the next layer of a sweep."""

CARDS = {
    f"{name}-{at}": State(f"{name}-{at}", "value") for at in range(MOST_STEERS) for name in FIELDS
}
FORM = {
    **{name: State(name, "value") for name in ("prompt", "max_new_tokens", "temperature", "seed")},
    "read_layer": State("read_layer", "value"),
    **CARDS,
}
SWEEP_FORM = {name: State(f"sweep-{name}", "value") for name in ("strengths", "unit", "prompts")}


@dataclass(frozen=True)
class Explorer:
    """What all tabs share."""

    shelf: Workspace
    line: JobQueue
    limits: Limits

    # -------------------------------------------------------------- asked by a tab
    def steer(self, tab: str, form: Mapping[str, Any]) -> Job:
        """Answer a prompt, in place of what the tab asked before."""
        ask = ask_of(nested(form), self.limits, self.shelf.model.n_layers)
        return self.line.submit(tab, "answer", partial(answering, self.shelf, ask), ANSWER)

    def sweep(self, tab: str, form: Mapping[str, Any], how: Mapping[str, Any]) -> Job:
        """Sweep the first vector over its layers."""
        steer = self.steers(form)[0]
        most = self.limits.new_tokens
        work = partial(
            sweeping,
            self.shelf,
            steer,
            strengths_of(how["strengths"], how["unit"], self.limits),
            whole("The number of prompts", how["prompts"], 1, self.limits.prompts),
            whole("The length of the answer", form["max_new_tokens"], 1, most),
            self.limits.cells,
        )
        return self.line.submit(tab, "sweep", work, SWEEP)

    def look(self, tab: str, view: str, form: Mapping[str, Any]) -> Job:
        """Draw a view of what is chosen."""
        steers = self.steers(form)
        if view == "heads":
            source = steers[0].source
            known = self.line.tab(tab).keeps.get("heads")
            if isinstance(known, Heads) and known.source == source:
                return self.line.submit(tab, "view", lambda _: iter(()), VIEW)
            work = partial(measuring, self.shelf, source)
        else:
            work = partial(DRAWN[view], self.shelf, steers)
        return self.line.submit(tab, "view", work, VIEW)

    def head(self, tab: str, layer: int, head: int) -> Job:
        """Show one head from near."""
        heads = self.line.tab(tab).keeps.get("heads")
        if not isinstance(heads, Heads):
            raise ExplorerError("The heads are not measured yet; wait for their map.")
        return self.line.submit(
            tab, "head", lambda job: looking(self.shelf, heads, layer, head, job), VIEW
        )

    def steers(self, form: Mapping[str, Any]) -> tuple[Steer, ...]:
        """What the cards of a form choose.

        Raises:
            ExplorerError: when none is chosen.
        """
        cards = [card for card in nested(form)["steers"] if card["name"]]
        if not cards:
            raise ExplorerError("No vector is chosen. Choose one under Steering.")
        return tuple(steer_of(card, self.limits, self.shelf.model.n_layers) for card in cards)


def nested(form: Mapping[str, Any]) -> dict[str, Any]:
    """A form with the fields of each card together."""
    cards = [{name: form.get(f"{name}-{at}") for name in FIELDS} for at in range(MOST_STEERS)]
    plain = {name: value for name, value in form.items() if name not in CARDS}
    return {**plain, "steers": cards}


def complain(error: Exception, where: str = "error") -> None:
    """Say on the page what went wrong, in words."""
    said = str(error) if isinstance(error, InterpSteerError) else unforeseen(error)
    set_props(where, {"children": said, "hidden": False})


def register(app: Dash, explorer: Explorer) -> None:
    """Let the page do things."""
    _answering(app, explorer)
    _views(app, explorer)
    _saving(app, explorer)
    _vectors(app, explorer)


# ------------------------------------------------------------------ answers
def _answering(app: Dash, explorer: Explorer) -> None:
    line = explorer.line

    @app.callback(
        Output("clock", "interval", allow_duplicate=True),
        inputs={"go": Input("go", "n_clicks"), "clicked": Input("clicked", "data")},
        state={"tab": State("tab", "data"), "form": FORM},
        prevent_initial_call=True,
    )
    def steer(go: int | None, clicked: Any, tab: str, form: dict[str, Any]) -> int:
        if not go and not clicked:  # the page has just opened
            raise PreventUpdate
        set_props("error", {"children": "", "hidden": True})
        explorer.steer(tab, form)
        set_props("status", {"children": "Waiting for the model"})
        return BUSY

    @app.callback(
        inputs={"stop": Input("stop", "n_clicks")},
        state={"tab": State("tab", "data")},
        prevent_initial_call=True,
    )
    def stop(stop: int, tab: str) -> None:
        for job in line.tab(tab).jobs.values():
            job.stop()
        set_props("status", {"children": "Stopped"})

    @app.callback(
        output={"interval": Output("clock", "interval"), "seen": Output("seen", "data")},
        inputs={"tick": Input("clock", "n_intervals")},
        state={
            "tab": State("tab", "data"),
            "seen": State("seen", "data"),
            "quantity": State("head-quantity", "value"),
            "measure": State("sweep-measure", "value"),
            "view": State("view", "value"),
        },
        # No second look before the first has come back, however slow the machine is.
        running=[(Output("clock", "disabled"), True, False)],
        prevent_initial_call=True,
    )
    def tick(
        tick: int, tab: str, seen: dict[str, Any], quantity: str, measure: str, view: str
    ) -> dict[str, Any]:
        own = line.tab(tab)
        jobs = dict(own.jobs)
        for kind, job in jobs.items():
            ahead = line.ahead(job) if job.state == "waiting" else 0
            now = [job.number, job.version, job.state, ahead]
            if seen.get(kind) == now:
                continue
            seen[kind] = now
            if isinstance(job.found, Heads):
                own.keeps["heads"] = job.found
            if isinstance(job.found, Swept):
                own.keeps["sweep"] = job.found
            if isinstance(job.found, Told):
                own.keeps["told"] = job.found
            render.job(own, kind, job, ahead, view, quantity, measure)
        busy = any(job.active for job in jobs.values())
        return {"interval": BUSY if busy else IDLE, "seen": seen}

    app.clientside_callback(ClientsideFunction("explorer", "arrive"), Input("tab", "data"))
    app.clientside_callback(
        ClientsideFunction("explorer", "copy"),
        Output("copy", "children"),
        Input("copy", "n_clicks"),
        State("python", "data"),
        prevent_initial_call=True,
    )


# ------------------------------------------------------------------ views
def _views(app: Dash, explorer: Explorer) -> None:
    line = explorer.line
    shaping = ("name", "layers", "operation", "component", "position", "estimator")
    chosen = {
        f"{name}-{at}": Input(f"{name}-{at}", "value")
        for at in range(MOST_STEERS)
        for name in shaping
    }

    @app.callback(
        Output("clock", "interval", allow_duplicate=True),
        inputs={"view": Input("view", "value"), "go": Input("go", "n_clicks"), "chosen": chosen},
        state={"tab": State("tab", "data"), "form": CARDS},
        prevent_initial_call=True,
    )
    def look(view: str, go: int, chosen: Any, tab: str, form: dict[str, Any]) -> int:
        for name in VIEWS:
            set_props(f"view-{name}", {"hidden": name != view})
        set_props("view-error", {"children": "", "hidden": True})
        if view == "sweep":
            return BUSY
        try:
            explorer.look(tab, view, form)
        except InterpSteerError as error:
            complain(error, "view-error")
        return BUSY

    @app.callback(
        Output("clock", "interval", allow_duplicate=True),
        inputs={"go": Input("sweep-go", "n_clicks")},
        state={"tab": State("tab", "data"), "form": FORM, "how": SWEEP_FORM},
        prevent_initial_call=True,
    )
    def sweep(go: int, tab: str, form: dict[str, Any], how: dict[str, Any]) -> int:
        set_props("view-error", {"children": "", "hidden": True})
        try:
            explorer.sweep(tab, form, how)
        except InterpSteerError as error:
            complain(error, "view-error")
        return BUSY

    @app.callback(
        inputs={
            "measure": Input("sweep-measure", "value"),
            "quantity": Input("head-quantity", "value"),
        },
        state={"tab": State("tab", "data")},
        prevent_initial_call=True,
    )
    def redraw(measure: str, quantity: str, tab: str) -> None:
        own = line.tab(tab)
        try:
            if ctx.triggered_id == "sweep-measure":
                render.sweep(own, measure)
            else:
                render.heads(own, quantity)
            set_props("view-error", {"children": "", "hidden": True})
        except InterpSteerError as error:
            complain(error, "view-error")

    @app.callback(
        inputs={"click": Input("sweep", "clickData")},
        state={"tab": State("tab", "data"), "measure": State("sweep-measure", "value")},
        prevent_initial_call=True,
    )
    def cell(click: Any, tab: str, measure: str) -> None:
        swept = line.tab(tab).keeps.get("sweep")
        if not click or not isinstance(swept, Swept):
            return
        layer, strength = render.clicked_cell(swept, click)
        set_props("layers-0", {"value": [layer]})
        set_props("operation-0", {"value": swept.steer.operation.value})
        if swept.steer.operation.parameter is not None:
            set_props("strength-0", {"value": f"{strength:g}"})
            set_props("unit-0", {"value": swept.unit})
        set_props("sweep", {"clickData": None})  # so that the same cell can be clicked again
        set_props("clicked", {"data": [layer, strength]})
        render.sweep(line.tab(tab), measure, (layer, strength))

    @app.callback(
        inputs={
            "click": Input("heads", "clickData"),
            "layer": Input("head-layer", "value"),
            "head": Input("head-head", "value"),
        },
        state={"tab": State("tab", "data")},
        prevent_initial_call=True,
    )
    def head(click: Any, layer: str, head: str, tab: str) -> None:
        set_props("view-error", {"children": "", "hidden": True})
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
            model = explorer.shelf.model
            at = whole("The layer", layer, 0, model.n_layers - 1)
            explorer.head(tab, at, whole("The head", head, 0, model.n_heads - 1))
            set_props("clock", {"interval": BUSY})
        except InterpSteerError as error:
            complain(error, "view-error")


# ------------------------------------------------------------------ saving
def _saving(app: Dash, explorer: Explorer) -> None:
    line = explorer.line

    @app.callback(
        Output("download", "data"),
        inputs={"clicks": Input({"save": ALL, "kind": ALL}, "n_clicks")},
        state={"tab": State("tab", "data")},
        prevent_initial_call=True,
    )
    def save(clicks: list[int | None], tab: str) -> Any:
        if not any(clicks) or ctx.triggered_id is None:
            return None
        name, kind = ctx.triggered_id["save"], ctx.triggered_id["kind"]
        drawing = line.tab(tab).drawings.get(name)
        if drawing is None:
            raise ExplorerError("There is no figure to save yet.")
        content = printed(drawing, name, kind, explorer.shelf)
        return dcc.send_bytes(content, f"{name}.{kind}")

    for at in range(MOST_STEERS):

        @app.callback(
            Output("download", "data", allow_duplicate=True),
            inputs={"click": Input(f"save-vector-{at}", "n_clicks")},
            state={"form": CARDS},
            prevent_initial_call=True,
        )
        def save_vector(click: int, form: dict[str, Any], at: int = at) -> Any:
            card = nested(form)["steers"][at]
            if not card["name"]:
                raise ExplorerError("No property is chosen on this card.")
            name, content = render.vector_file(explorer.shelf, source_of(card))
            return dcc.send_bytes(content, name)


# ------------------------------------------------------------------ vectors
def _vectors(app: Dash, explorer: Explorer) -> None:
    @app.callback(
        inputs={
            "more": Input("more", "n_clicks"),
            "removed": [Input(f"remove-{at}", "n_clicks") for at in range(1, MOST_STEERS)],
        },
        state={"hidden": [State(f"card-{at}", "hidden") for at in range(1, MOST_STEERS)]},
        prevent_initial_call=True,
    )
    def cards(more: int, removed: list[int], hidden: list[bool]) -> None:
        for at in range(1, MOST_STEERS):
            if ctx.triggered_id == f"remove-{at}":
                hidden[at - 1] = True
                set_props(f"name-{at}", {"value": None})
                set_props(f"card-{at}", {"hidden": True})
        if ctx.triggered_id == "more" and True in hidden:
            at = hidden.index(True)
            hidden[at] = False
            set_props(f"card-{at + 1}", {"hidden": False})
        set_props("more", {"disabled": True not in hidden})

    @app.callback(
        inputs={"content": Input("upload", "contents")},
        state={"name": State("upload", "filename"), "tab": State("tab", "data")},
        prevent_initial_call=True,
    )
    def upload(content: str | None, name: str, tab: str) -> None:
        if not content:
            return
        set_props("error", {"children": "", "hidden": True})
        try:
            raw = base64.b64decode(content.partition(",")[2], validate=True)
        except (binascii.Error, ValueError) as error:
            raise ExplorerError(f"{name} did not arrive whole; open it again.") from error
        key = explorer.shelf.keep(name, raw)
        for at in range(MOST_STEERS):
            set_props(f"name-{at}", {"options": explorer.shelf.options()})
        set_props("name-0", {"value": key})
        set_props("status", {"children": f"Opened {name}"})

"""Build the page: a form, two answers, and the views below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from dash import dcc, html

from analyses.explorer.form import MAX_VECTORS, OPERATIONS, POSITIONS, READS, Limits
from analyses.explorer.head_view import QUANTITIES
from analyses.explorer.widgets import (
    add_label,
    list_labelled,
    list_plain,
    make_dropdown,
    make_figure_block,
    make_number_field,
    make_save_buttons,
    make_segments,
    make_unit_field,
    set_aria_label,
    set_aria_live,
)
from analyses.explorer.workspace import Workspace
from interp_steer.interventions import Operation
from interp_steer.models import COMPONENTS, bundled
from interp_steer.vectors import ESTIMATORS

FIRST_VECTOR = "language:response_language?language=it"
FIRST_PROMPT = "Tell me about the castle."

BUSY, IDLE = 250, 2000
"""Milliseconds between two polls of the server, while jobs are active and otherwise."""

FIELDS = (
    "name", "layers", "operation", "strength", "unit", "schedule", "positions", "component",
    "position", "estimator",
)  # fmt: skip
"""Fields of a vector's card; the field of the first card has the id ``name-0``."""

SCHEDULES = (
    "fixed",
    "start",
    "diminishing(30)",
    "exponential(0.9)",
    "dynamic(0.5)",
    "steps(1;0.5;0)",
)
MEASURE_LABELS = {"follow": "Following", "kl": "KL damage"}
PLACES = {
    "all": "all tokens",
    "generated": "generated tokens",
    "prompt": "prompt tokens",
    "last": "last prompt token",
    "not_bos": "all but the first token",
}
READ_PLACES = {
    "last": "last prompt token",
    "all": "all prompt tokens",
    "generated": "generated tokens",
}

VIEWS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "sweep": (
        "Layer × strength",
        "Effect of steering with the first vector at every layer and strength. Click a cell to "
        "steer with it.",
        ("sweep",),
    ),
    "heads": (
        "Heads",
        "Attention heads whose outputs separate prompts with and without the first vector's "
        "property. Click a head to see its details.",
        ("heads", "head_sides", "head_raised", "head_lowered"),
    ),
    "propagation": (
        "Propagation",
        "How the injection at the first chosen layer changes the layers after it, compared with "
        "random directions of the same norm.",
        ("survival", "rotation", "toward_fitted", "inflation", "lens_kl", "lens_after"),
    ),
    "lens": (
        "Logit lens",
        "Tokens that the first vector raises and lowers most through the unembedding, layer by "
        "layer.",
        ("lens_raised", "lens_lowered"),
    ),
    "cosines": (
        "Cosines",
        "Cosine similarity between the chosen and the fitted vectors, and between the first "
        "vector's directions at different layers.",
        ("vector_cosines", "layer_cosines"),
    ),
    "card": (
        "Vector",
        "How the first vector was fitted, and its norm at each layer.",
        ("norms",),
    ),
}
"""Views by name: the title, the description, and the names of the figures."""


def build_page(workspace: Workspace, limits: Limits) -> html.Div:
    """Build the page of one tab, with a random name that identifies the tab."""
    return html.Div(
        [
            dcc.Store(id="tab", data=uuid4().hex),
            dcc.Store(id="seen", data={}),
            dcc.Store(id="python", data=""),
            dcc.Store(id="clicked", data=None),
            dcc.Interval(id="clock", interval=IDLE),
            dcc.Download(id="download"),
            _build_header(workspace),
            html.Main(
                [
                    html.Div([_build_form(workspace, limits), _build_answers()], className="bench"),
                    _build_views(workspace, limits),
                ]
            ),
        ],
        id="page",
    )


# ------------------------------------------------------------------ header
def _build_header(workspace: Workspace) -> html.Header:
    model = workspace.model
    name = workspace.fit_options.model
    facts = f"{model.n_layers} layers · {model.n_heads} heads · width {model.d_model}"
    note = "A bundled toy model: it tests the tools and is not evidence about large models."
    return html.Header(
        [
            html.H1(["interp_steer ", html.Span("explorer")]),
            html.P([html.Strong(name), html.Span(facts)], className="model"),
            html.P(note, className="toy") if name in bundled.BUNDLED_NAMES else None,
        ]
    )


# ------------------------------------------------------------------ form
def _build_form(workspace: Workspace, limits: Limits) -> html.Section:
    cards = [_build_card(workspace, at) for at in range(MAX_VECTORS)]
    prompt = dcc.Textarea(id="prompt", value=FIRST_PROMPT, rows=3, maxLength=limits.letters)
    return html.Section(
        [
            add_label("prompt", "Prompt", prompt),
            html.H2("Steering"),
            *cards,
            _build_vector_buttons(limits),
            _build_answer_options(workspace, limits),
            _build_actions(),
        ],
        className="form panel",
        **set_aria_label("Prompt and steering"),
    )


def _build_vector_buttons(limits: Limits) -> html.Div:
    return html.Div(
        [
            html.Button("Add a vector", id="more", className="quiet"),
            dcc.Upload(
                html.Button("Open a .safetensors file", className="quiet"),
                id="upload",
                accept=".safetensors",
                max_size=limits.file,
                className="upload",
            ),
        ],
        className="row",
    )


def _build_answer_options(workspace: Workspace, limits: Limits) -> html.Details:
    last_layer = workspace.model.n_layers - 1
    return _build_details(
        "Answer",
        make_number_field("max_new_tokens", "Max new tokens", 96, 1, limits.new_tokens),
        make_number_field("temperature", "Temperature", 0, 0, 10),
        make_number_field("seed", "Seed", 0, 0),
        make_number_field(
            "read_layer", "Projection layer", None, 0, last_layer, placeholder="next"
        ),
    )


def _build_actions() -> html.Div:
    return html.Div(
        [
            html.Div("", id="error", role="alert", className="error", hidden=True),
            html.Button("Steer", id="go", className="primary", title="Ctrl + Enter"),
            html.Button("Stop", id="stop", className="quiet"),
            html.P("", id="status", role="status", **set_aria_live("polite")),
        ],
        className="row actions",
    )


def _build_details(title: str, *fields: Any) -> html.Details:
    return html.Details([html.Summary(title), html.Div([*fields], className="grid")])


# ------------------------------------------------------------------ the card of one vector
def _build_card(workspace: Workspace, at: int) -> html.Fieldset:
    """Build the fields of one vector."""
    schedules = html.Datalist([html.Option(value=name) for name in SCHEDULES], id="schedules")
    return html.Fieldset(
        [
            html.Legend(f"Vector {at + 1}"),
            *_build_operation_fields(workspace, at),
            _build_schedule_fields(at),
            _build_fit_fields(at),
            html.Div(
                [
                    html.Button("Save vector", id=f"save-vector-{at}", className="quiet"),
                    html.Button("Remove", id=f"remove-{at}", className="quiet") if at else None,
                ],
                className="row",
            ),
            schedules if at == 0 else None,
        ],
        id=f"card-{at}",
        className="card",
        hidden=at > 0,
    )


def _build_operation_fields(workspace: Workspace, at: int) -> list[html.Div]:
    """Build the fields that say which vector acts, at which layers, how and how strongly."""
    first_layer = round(0.3 * (workspace.model.n_layers - 1))
    toy = workspace.fit_options.model in bundled.BUNDLED_NAMES
    layers = [{"label": str(layer), "value": layer} for layer in range(workspace.model.n_layers)]
    properties = make_dropdown(
        f"name-{at}",
        workspace.list_options(),
        FIRST_VECTOR if at == 0 else None,
        placeholder="choose a property",
        clearable=at > 0,
        searchable=True,
    )
    layer_choice = make_dropdown(f"layers-{at}", layers, [first_layer], multi=True, clearable=False)
    # Toy models need a strong push.
    strength = _build_text_input(f"strength-{at}", "3" if toy else "1", placeholder="fitted target")
    return [
        add_label(f"name-{at}", "Property", properties),
        html.Div(
            [
                add_label(f"layers-{at}", "Layers", layer_choice),
                make_segments(
                    f"operation-{at}",
                    "Operation",
                    {operation.value: operation.value.capitalize() for operation in OPERATIONS},
                    Operation.ADD.value,
                ),
            ],
            className="grid uneven",
        ),
        html.Div(
            [
                add_label(f"strength-{at}", "Strength", strength),
                make_unit_field(f"unit-{at}"),
            ],
            className="grid",
        ),
    ]


def _build_schedule_fields(at: int) -> html.Details:
    positions = make_dropdown(f"positions-{at}", list_labelled(PLACES, POSITIONS), "all")
    return _build_details(
        "Schedule and positions",
        add_label(
            f"schedule-{at}",
            "Schedule",
            _build_text_input(f"schedule-{at}", "fixed", list="schedules"),
        ),
        add_label(f"positions-{at}", "Positions", positions),
    )


def _build_fit_fields(at: int) -> html.Details:
    choices: Sequence[tuple[str, str, list[dict[str, str]], str]] = (
        ("component", "Component", list_plain(COMPONENTS), "resid_post"),
        ("position", "Fitted at", list_labelled(READ_PLACES, READS), "last"),
        ("estimator", "Estimator", list_plain(ESTIMATORS), "difference_in_means"),
    )
    return _build_details(
        "Fit",
        *(
            add_label(f"{name}-{at}", title, make_dropdown(f"{name}-{at}", options, value))
            for name, title, options, value in choices
        ),
    )


def _build_text_input(of: str, value: str, **more: Any) -> dcc.Input:
    return dcc.Input(id=of, type="text", value=value, debounce=True, autoComplete="off", **more)


# ------------------------------------------------------------------ answers
def _build_answers() -> html.Section:
    return html.Section(
        [
            html.Div(
                [
                    html.Article(
                        [
                            html.H2(side.capitalize()),
                            html.Div("", id=f"text-{side}", className="text", lang="", tabIndex=0,
                                     **set_aria_label(f"{side.capitalize()} answer")),
                            html.P("", id=f"about-{side}", className="about"),
                        ],
                        className=f"answer {side}",
                    )
                    for side in ("unsteered", "steered")
                ],
                className="pair",
            ),
            html.Div(
                [
                    html.Div("", id="legend", className="legend"),
                    html.Div(
                        [
                            html.Button(
                                "Copy as Python", id="copy", className="quiet", disabled=True
                            ),
                            make_save_buttons("answers"),
                        ],
                        className="row",
                    ),
                ],
                className="beneath",
            ),
            html.Code("", id="applied", className="applied"),
            make_figure_block("steps"),
            html.Details(
                [html.Summary("Python"), html.Pre(html.Code("", id="code"), tabIndex=0)],
                id="code-block",
                className="code",
                hidden=True,
            ),
        ],
        className="answers panel",
        **set_aria_label("Answers"),
    )  # fmt: skip


# ------------------------------------------------------------------ views
def _build_views(workspace: Workspace, limits: Limits) -> html.Section:
    controls = {"sweep": _build_sweep_controls(limits), "heads": _build_head_controls(workspace)}
    return html.Section(
        [
            dcc.RadioItems(
                id="view",
                options=[{"label": title, "value": name} for name, (title, *_) in VIEWS.items()],
                value="sweep",
                className="tabs",
            ),
            html.P(
                "", id="view-status", role="status", className="status", **set_aria_live("polite")
            ),
            html.Div("", id="view-error", role="alert", className="error", hidden=True),
            *(_build_view(name, controls.get(name)) for name in VIEWS),
        ],
        className="views panel",
        **set_aria_label("Views"),
    )


def _build_view(name: str, controls: html.Div | None) -> html.Div:
    """Build the panel of one view; a head's facts are between the map and the head's figures."""
    _, about, names = VIEWS[name]
    first = 1 if name == "heads" else 0
    return html.Div(
        [
            html.P(about, className="about"),
            controls,
            html.P("", id=f"note-{name}", className="note", hidden=True),
            _build_figures(names[:first]) if first else None,
            html.Dl([], id=f"facts-{name}", className="facts", hidden=True),
            _build_figures(names[first:]),
        ],
        id=f"view-{name}",
        hidden=name != "sweep",
    )


def _build_figures(names: Sequence[str]) -> html.Div:
    return html.Div([make_figure_block(name) for name in names], className="figures")


def _build_sweep_controls(limits: Limits) -> html.Div:
    return html.Div(
        [
            add_label(
                "sweep-strengths",
                "Strengths",
                _build_text_input("sweep-strengths", "0.5, 1, 2, 4"),
            ),
            make_unit_field("sweep-unit"),
            make_number_field("sweep-prompts", "Prompts", 8, 1, limits.prompts),
            make_segments("sweep-measure", "Show", MEASURE_LABELS, "follow"),
            html.Button("Sweep", id="sweep-go", className="primary"),
        ],
        className="controls",
    )


def _build_head_controls(workspace: Workspace) -> html.Div:
    return html.Div(
        [
            make_segments("head-quantity", "Show", QUANTITIES, "auroc"),
            make_number_field("head-layer", "Layer", None, 0, workspace.model.n_layers - 1),
            make_number_field("head-head", "Head", None, 0, workspace.model.n_heads - 1),
        ],
        className="controls",
    )

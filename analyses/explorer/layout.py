"""The page as it opens: a form, two answers, and views beneath."""

from __future__ import annotations

from uuid import uuid4

from dash import dcc, html

from analyses.explorer.form import MOST_STEERS, OPERATIONS, POSITIONS, READS, Limits
from analyses.explorer.head_view import QUANTITIES
from analyses.explorer.widgets import (
    block,
    called,
    choice,
    dropdown,
    field,
    live,
    named,
    number,
    plain,
    saves,
    unit,
)
from analyses.explorer.workspace import Workspace
from interp_steer.interventions.operations import Operation
from interp_steer.models import bundled
from interp_steer.models.sites import COMPONENTS
from interp_steer.vectors.estimators import ESTIMATORS

FIRST_VECTOR = "language:response_language?language=it"
FIRST_PROMPT = "Tell me about the castle."

BUSY, IDLE = 250, 2000
"""Milliseconds between two looks at what the server has found."""

FIELDS = (
    "name", "layers", "operation", "strength", "unit", "schedule", "positions", "component",
    "position", "estimator",
)  # fmt: skip
"""What a card of a vector asks for; the control of the first card is ``name-0``."""

SCHEDULES = (
    "fixed",
    "start",
    "diminishing(30)",
    "exponential(0.9)",
    "dynamic(0.5)",
    "steps(1;0.5;0)",
)
PLACES = {
    "all": "everywhere",
    "generated": "the answer",
    "prompt": "the prompt",
    "last": "the prompt's last token",
    "not_bos": "all but the first token",
}
READ_PLACES = {"last": "the prompt's last token", "all": "the whole prompt", "generated": "answers"}

VIEWS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "sweep": (
        "Layer × strength",
        "What steering with the first vector gives at every layer and strength. Click a cell to "
        "steer with it.",
        ("sweep",),
    ),
    "heads": (
        "Heads",
        "Which heads hold the first vector's property. Click one to see it from near.",
        ("heads", "head_sides", "head_raised", "head_lowered"),
    ),
    "propagation": (
        "Propagation",
        "What becomes of the present injection in the layers after it, beside random directions.",
        ("survival", "rotation", "toward_fitted", "inflation", "lens_kl", "lens_after"),
    ),
    "lens": (
        "Logit lens",
        "What the head of the model reads in the first vector, layer by layer.",
        ("lens_raised", "lens_lowered"),
    ),
    "cosines": (
        "Cosines",
        "How alike the vectors are that are chosen or were fitted, and each layer's direction to "
        "the others'.",
        ("vector_cosines", "layer_cosines"),
    ),
    "card": ("Vector", "Where the first vector comes from.", ("norms",)),
}
"""Views by name: what each is called, what it shows, and the names of its figures."""


def page(shelf: Workspace, limits: Limits) -> html.Div:
    """The page of one tab, which has a name that no other tab has."""
    return html.Div(
        [
            dcc.Store(id="tab", data=uuid4().hex),
            dcc.Store(id="seen", data={}),
            dcc.Store(id="python", data=""),
            dcc.Store(id="clicked", data=None),
            dcc.Interval(id="clock", interval=IDLE),
            dcc.Download(id="download"),
            _header(shelf),
            html.Main(
                [
                    html.Div([_form(shelf, limits), _answers()], className="bench"),
                    _views(shelf, limits),
                ]
            ),
        ],
        id="page",
    )


# ------------------------------------------------------------------ above
def _header(shelf: Workspace) -> html.Header:
    model = shelf.model
    facts = f"{model.n_layers} layers · {model.n_heads} heads · width {model.d_model}"
    toy = shelf.making.model in bundled.BUNDLED_NAMES
    note = "A bundled toy model: it proves the tools and says nothing about large models."
    return html.Header(
        [
            html.H1(["interp_steer ", html.Span("explorer")]),
            html.P([html.Strong(shelf.making.model), html.Span(facts)], className="model"),
            html.P(note, className="toy") if toy else None,
        ]
    )


# ------------------------------------------------------------------ the form
def _form(shelf: Workspace, limits: Limits) -> html.Section:
    cards = [_card(shelf, number) for number in range(MOST_STEERS)]
    return html.Section(
        [
            field(
                "prompt",
                "Prompt",
                dcc.Textarea(id="prompt", value=FIRST_PROMPT, rows=3, maxLength=limits.letters),
            ),
            html.H2("Steering"),
            *cards,
            html.Div(
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
            ),
            html.Details(
                [
                    html.Summary("Answer"),
                    html.Div(
                        [
                            number("max_new_tokens", "Most tokens", 96, 1, limits.new_tokens),
                            number("temperature", "Temperature", 0, 0, 10),
                            number("seed", "Seed", 0, 0),
                            number(
                                "read_layer",
                                "Colour by layer",
                                None,
                                0,
                                shelf.model.n_layers - 1,
                                placeholder="next",
                            ),
                        ],
                        className="grid",
                    ),
                ]
            ),
            html.Div(
                [
                    html.Div("", id="error", role="alert", className="error", hidden=True),
                    html.Button("Steer", id="go", className="primary", title="Ctrl + Enter"),
                    html.Button("Stop", id="stop", className="quiet"),
                    html.P("", id="status", role="status", **live("polite")),
                ],
                className="row actions",
            ),
        ],
        className="form panel",
        **named("What is asked"),
    )


def _card(shelf: Workspace, at: int) -> html.Fieldset:
    """The controls of one vector."""

    def of(name: str) -> str:
        return f"{name}-{at}"

    first = round(0.3 * (shelf.model.n_layers - 1))
    strength = 3 if shelf.making.model in bundled.BUNDLED_NAMES else 1  # toys need a strong push
    layers = [{"label": str(layer), "value": layer} for layer in range(shelf.model.n_layers)]
    return html.Fieldset(
        [
            html.Legend(f"Vector {at + 1}"),
            field(
                of("name"),
                "Property",
                dropdown(of("name"), shelf.options(), FIRST_VECTOR if at == 0 else None,
                         placeholder="choose one", clearable=at > 0, searchable=True),
            ),
            html.Div(
                [
                    field(of("layers"), "Layers", dropdown(
                        of("layers"), layers,
                        [first], multi=True, clearable=False)),
                    choice(
                        of("operation"),
                        "Operation",
                        {each.value: each.value.capitalize() for each in OPERATIONS},
                        Operation.ADD.value,
                    ),
                ],
                className="grid uneven",
            ),
            html.Div(
                [
                    field(of("strength"), "Strength", dcc.Input(
                        id=of("strength"), type="text", value=str(strength), debounce=True,
                        placeholder="own target", autoComplete="off")),
                    unit(of("unit")),
                ],
                className="grid",
            ),
            html.Details(
                [
                    html.Summary("When and where"),
                    html.Div(
                        [
                            field(of("schedule"), "Schedule", dcc.Input(
                                id=of("schedule"), type="text", value="fixed", list="schedules",
                                debounce=True, autoComplete="off")),
                            field(of("positions"), "Positions",
                                  dropdown(of("positions"), called(PLACES, POSITIONS), "all")),
                        ],
                        className="grid",
                    ),
                ]
            ),
            html.Details(
                [
                    html.Summary("How it is fitted"),
                    html.Div(
                        [
                            field(of("component"), "Component",
                                  dropdown(of("component"), plain(COMPONENTS), "resid_post")),
                            field(of("position"), "Read at",
                                  dropdown(of("position"), called(READ_PLACES, READS), "last")),
                            field(of("estimator"), "Estimator", dropdown(
                                of("estimator"), plain(ESTIMATORS), "difference_in_means")),
                        ],
                        className="grid",
                    ),
                ]
            ),
            html.Div(
                [
                    html.Button("Save vector", id=of("save-vector"), className="quiet"),
                    html.Button("Remove", id=of("remove"), className="quiet") if at else None,
                ],
                className="row",
            ),
            html.Datalist([html.Option(value=one) for one in SCHEDULES], id="schedules")
            if at == 0
            else None,
        ],
        id=f"card-{at}",
        className="card",
        hidden=at > 0,
    )  # fmt: skip


# ------------------------------------------------------------------ the answers
def _answers() -> html.Section:
    return html.Section(
        [
            html.Div(
                [
                    html.Article(
                        [
                            html.H2(side.capitalize()),
                            html.Div("", id=f"text-{side}", className="text", lang="", tabIndex=0,
                                     **named(f"{side.capitalize()} answer")),
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
                            saves("answers"),
                        ],
                        className="row",
                    ),
                ],
                className="beneath",
            ),
            html.Code("", id="applied", className="applied"),
            block("steps"),
            html.Details(
                [html.Summary("Python"), html.Pre(html.Code("", id="code"), tabIndex=0)],
                id="code-block",
                className="code",
                hidden=True,
            ),
        ],
        className="answers panel",
        **named("Answers"),
    )  # fmt: skip


# ------------------------------------------------------------------ the views
def _views(shelf: Workspace, limits: Limits) -> html.Section:
    controls = {"sweep": _sweep_controls(limits), "heads": _head_controls(shelf)}
    return html.Section(
        [
            dcc.RadioItems(
                id="view",
                options=[{"label": title, "value": name} for name, (title, *_) in VIEWS.items()],
                value="sweep",
                className="tabs",
            ),
            html.P("", id="view-status", role="status", className="status", **live("polite")),
            html.Div("", id="view-error", role="alert", className="error", hidden=True),
            *(
                html.Div(
                    [
                        html.P(about, className="about"),
                        controls.get(name),
                        html.P("", id=f"note-{name}", className="note", hidden=True),
                        html.Div([block(each) for each in names[:1]], className="figures")
                        if name == "heads"
                        else None,
                        html.Dl([], id=f"facts-{name}", className="facts", hidden=True),
                        html.Div(
                            [block(each) for each in names[1 if name == "heads" else 0 :]],
                            className="figures",
                        ),
                    ],
                    id=f"view-{name}",
                    hidden=name != "sweep",
                )
                for name, (_, about, names) in VIEWS.items()
            ),
        ],
        className="views panel",
        **named("Views"),
    )


def _sweep_controls(limits: Limits) -> html.Div:
    return html.Div(
        [
            field("sweep-strengths", "Strengths", dcc.Input(
                id="sweep-strengths", type="text", value="0.5, 1, 2, 4", debounce=True,
                autoComplete="off")),
            unit("sweep-unit"),
            number("sweep-prompts", "Prompts", 8, 1, limits.prompts),
            choice("sweep-measure", "Show", {"follow": "Obedience", "kl": "Damage"}, "follow"),
            html.Button("Sweep", id="sweep-go", className="primary"),
        ],
        className="controls",
    )  # fmt: skip


def _head_controls(shelf: Workspace) -> html.Div:
    return html.Div(
        [
            choice("head-quantity", "Show", QUANTITIES, "auroc"),
            number("head-layer", "Layer", None, 0, shelf.model.n_layers - 1),
            number("head-head", "Head", None, 0, shelf.model.n_heads - 1),
        ],
        className="controls",
    )

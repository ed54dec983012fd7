"""The page as it opens: a form, two answers, and views beneath."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args
from uuid import uuid4

from dash import dcc, html

from analyses.explorer.choices import MOST_STEERS, POSITIONS, READS, Limits
from analyses.explorer.head_views import QUANTITIES
from analyses.explorer.shelf import Shelf
from analyses.explorer.sweeps import MEASURES
from interp_steer import burattino
from interp_steer.estimators import ESTIMATORS
from interp_steer.sites import COMPONENTS
from interp_steer.strength import Unit

FIRST_VECTOR = "language:response_language?language=it"
FIRST_PROMPT = "Tell me about the castle."

BUSY, IDLE = 250, 2000
"""Milliseconds between two looks at what the server has found."""

FIELDS = (
    "name", "layers", "operation", "strength", "unit", "schedule", "positions", "component",
    "position", "estimator",
)  # fmt: skip
"""What a card of a vector asks for; the control of the first card is ``name-0``."""

UNITS = {
    "norm": "norms of the vector",
    "residual": "norms of the stream",
    "sd": "standard deviations",
    "kl": "nats a token (KL)",
    "ppl": "times the perplexity",
    "raw": "raw length",
}
OPERATIONS = {"project": "Project", "add": "Add", "ablate": "Ablate"}
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


def page(shelf: Shelf, limits: Limits) -> html.Div:
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
def _header(shelf: Shelf) -> html.Header:
    model = shelf.model
    facts = f"{model.n_layers} layers · {model.n_heads} heads · width {model.d_model}"
    toy = shelf.making.model in burattino.NAMES
    note = "A bundled toy model: it proves the tools and says nothing about large models."
    return html.Header(
        [
            html.H1(["interp_steer ", html.Span("explorer")]),
            html.P([html.Strong(shelf.making.model), html.Span(facts)], className="model"),
            html.P(note, className="toy") if toy else None,
        ]
    )


# ------------------------------------------------------------------ the form
def _form(shelf: Shelf, limits: Limits) -> html.Section:
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
                            number("temperature", "Temperature", 0, 0, 10, step="any"),
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
                    html.P("", id="status", role="status", **_live("polite")),
                ],
                className="row actions",
            ),
        ],
        className="form panel",
        **_named("What is asked"),
    )


def _card(shelf: Shelf, at: int) -> html.Fieldset:
    """The controls of one vector."""

    def of(name: str) -> str:
        return f"{name}-{at}"

    first = round(0.3 * (shelf.model.n_layers - 1))
    strength = 3 if shelf.making.model in burattino.NAMES else 1  # toys need a strong push
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
                    _choice(of("operation"), "Operation", OPERATIONS, "add"),
                ],
                className="grid two",
            ),
            html.Div(
                [
                    field(of("strength"), "Strength", dcc.Input(
                        id=of("strength"), type="text", value=str(strength), debounce=True,
                        placeholder="own target", autoComplete="off")),
                    _unit(of("unit")),
                ],
                className="grid two",
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
                                  dropdown(of("positions"), _options(PLACES, POSITIONS), "all")),
                        ],
                        className="grid two",
                    ),
                ]
            ),
            html.Details(
                [
                    html.Summary("How it is fitted"),
                    html.Div(
                        [
                            field(of("component"), "Component",
                                  dropdown(of("component"), _plain(COMPONENTS), "resid_post")),
                            field(of("position"), "Read at",
                                  dropdown(of("position"), _options(READ_PLACES, READS), "last")),
                            field(of("estimator"), "Estimator", dropdown(
                                of("estimator"), _plain(ESTIMATORS), "difference_in_means")),
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
                                     **_named(f"{side.capitalize()} answer")),
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
        **_named("Answers"),
    )  # fmt: skip


# ------------------------------------------------------------------ the views
def _views(shelf: Shelf, limits: Limits) -> html.Section:
    controls = {"sweep": _sweep_controls(limits), "heads": _head_controls(shelf)}
    return html.Section(
        [
            dcc.RadioItems(
                id="view",
                options=[{"label": called, "value": name} for name, (called, *_) in VIEWS.items()],
                value="sweep",
                className="tabs",
            ),
            html.P("", id="view-status", role="status", className="status", **_live("polite")),
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
        **_named("Views"),
    )


def _sweep_controls(limits: Limits) -> html.Div:
    return html.Div(
        [
            field("sweep-strengths", "Strengths", dcc.Input(
                id="sweep-strengths", type="text", value="0.5, 1, 2, 4", debounce=True,
                autoComplete="off")),
            _unit("sweep-unit"),
            number("sweep-prompts", "Prompts", 8, 1, limits.prompts),
            _choice("sweep-measure", "Show", {"follow": "Obedience", "kl": "Damage"}, "follow"),
            html.Button("Sweep", id="sweep-go", className="primary"),
        ],
        className="controls",
    )  # fmt: skip


def _head_controls(shelf: Shelf) -> html.Div:
    called = {"auroc": "AUROC", "norm": "Length", "share": "Share"}
    assert set(called) == set(QUANTITIES) and MEASURES
    return html.Div(
        [
            _choice("head-quantity", "Show", called, "auroc"),
            number("head-layer", "Layer", None, 0, shelf.model.n_layers - 1),
            number("head-head", "Head", None, 0, shelf.model.n_heads - 1),
        ],
        className="controls",
    )


# ------------------------------------------------------------------ parts
def block(name: str) -> html.Figure:
    """A figure with its caption and what saves it; hidden until it is drawn."""
    return html.Figure(
        [
            html.Div(
                dcc.Graph(id=name, config={"displayModeBar": False, "responsive": True}),
                className="graph",
                tabIndex=0,
            ),
            html.Figcaption("", id=f"caption-{name}"),
            saves(name),
        ],
        id=f"block-{name}",
        hidden=True,
    )


def saves(name: str) -> html.Div:
    """Buttons that save a figure."""
    return html.Div(
        [
            html.Span("Save figure"),
            *(
                html.Button(
                    kind.upper(),
                    id={"save": name, "kind": kind},
                    className="link",
                    **_named(f"Save {name.replace('_', ' ')} as {kind.upper()}"),
                )
                for kind in ("pdf", "svg", "png")
            ),
        ],
        className="saves",
    )


def field(of: str, label: str, control: Any) -> html.Div:
    """A control with its label."""
    return html.Div([html.Label(label, htmlFor=of, id=f"label-{of}"), control], className="field")


def number(
    of: str, label: str, value: float | None, least: float, most: float | None = None, **more: Any
) -> html.Div:
    """A number with its label; what is out of range is refused in words, and not thrown away."""
    bounds = f"{least:g} or more" if most is None else f"{least:g} to {most:g}"
    control = dcc.Input(
        id=of,
        type="text",
        value="" if value is None else f"{value:g}",
        debounce=True,
        autoComplete="off",
        **{"placeholder": bounds, **{k: v for k, v in more.items() if k != "step"}},
    )
    return field(of, label, control)


def dropdown(of: str, options: Sequence[Any], value: Any, **more: Any) -> dcc.Dropdown:
    """A list to choose from."""
    usual = {"clearable": False, "searchable": False}
    return dcc.Dropdown(id=of, options=list(options), value=value, **{**usual, **more})


def _unit(of: str) -> html.Div:
    return field(of, "in", dropdown(of, _options(UNITS, get_args(Unit)), "norm"))


def _choice(of: str, label: str, options: dict[str, str], value: str) -> html.Div:
    """A few options side by side."""
    return html.Div(
        [
            html.Span(label, className="label", id=f"label-{of}"),
            dcc.RadioItems(
                id=of,
                options=[{"label": said, "value": key} for key, said in options.items()],
                value=value,
                className="segments",
            ),
        ],
        className="field",
    )


def _options(called: dict[str, str], known: Sequence[str]) -> list[dict[str, str]]:
    return [{"label": called[name], "value": name} for name in known]


def _plain(known: Sequence[str] | dict[str, Any]) -> list[dict[str, str]]:
    return [{"label": name.replace("_", " "), "value": name} for name in known]


def _named(name: str) -> dict[str, Any]:
    return {"aria-label": name}


def _live(how: str) -> dict[str, Any]:
    return {"aria-live": how}

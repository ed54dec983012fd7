"""Parts of the page: controls with their labels, and figures with what saves them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from dash import dcc, html

from interp_steer.vectors.strength import Unit

UNITS = {
    "norm": "norms of the vector",
    "residual": "norms of the stream",
    "sd": "standard deviations",
    "kl": "nats a token (KL)",
    "ppl": "times the perplexity",
    "raw": "raw length",
}


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
                    **named(f"Save {name.replace('_', ' ')} as {kind.upper()}"),
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
        **{"placeholder": bounds, **more},
    )
    return field(of, label, control)


def dropdown(of: str, options: Sequence[Any], value: Any, **more: Any) -> dcc.Dropdown:
    """A list to choose from."""
    usual = {"clearable": False, "searchable": False}
    return dcc.Dropdown(id=of, options=list(options), value=value, **{**usual, **more})


def unit(of: str) -> html.Div:
    """The unit of a strength."""
    return field(of, "in", dropdown(of, called(UNITS, get_args(Unit)), "norm"))


def choice(of: str, label: str, options: dict[str, str], value: str) -> html.Div:
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


def called(names: dict[str, str], known: Sequence[str]) -> list[dict[str, str]]:
    """What can be chosen, under names of their own."""
    return [{"label": names[name], "value": name} for name in known]


def plain(known: Sequence[str] | dict[str, Any]) -> list[dict[str, str]]:
    """What can be chosen, under the names that the code has for it."""
    return [{"label": name.replace("_", " "), "value": name} for name in known]


def named(name: str) -> dict[str, Any]:
    """What a reader of screens calls it."""
    return {"aria-label": name}


def live(how: str) -> dict[str, Any]:
    """How a reader of screens tells of its changes."""
    return {"aria-live": how}

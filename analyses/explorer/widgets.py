"""Make the parts of the page: labelled controls, and figures with their save buttons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from dash import dcc, html

from interp_steer.vectors import Unit

UNITS = {
    "norm": "vector norms",
    "residual": "residual stream norms",
    "sd": "standard deviations",
    "kl": "nats per token (KL)",
    "ppl": "times the perplexity",
    "raw": "raw length",
}


def make_figure_block(name: str) -> html.Figure:
    """Make a figure with its caption and save buttons; the figure is hidden until it is drawn."""
    return html.Figure(
        [
            html.Div(
                dcc.Graph(id=name, config={"displayModeBar": False, "responsive": True}),
                className="graph",
                tabIndex=0,
            ),
            html.Figcaption("", id=f"caption-{name}"),
            make_save_buttons(name),
        ],
        id=f"block-{name}",
        hidden=True,
    )


def make_save_buttons(name: str) -> html.Div:
    """Make the buttons that save a figure."""
    return html.Div(
        [
            html.Span("Save figure"),
            *(
                html.Button(
                    kind.upper(),
                    id={"save": name, "kind": kind},
                    className="link",
                    **set_aria_label(f"Save {name.replace('_', ' ')} as {kind.upper()}"),
                )
                for kind in ("pdf", "svg", "png")
            ),
        ],
        className="saves",
    )


def add_label(of: str, label: str, control: Any) -> html.Div:
    """Add a label to a control."""
    return html.Div([html.Label(label, htmlFor=of, id=f"label-{of}"), control], className="field")


def make_number_field(
    of: str, label: str, value: float | None, least: float, most: float | None = None, **more: Any
) -> html.Div:
    """Make a labelled number field; the server explains values out of range."""
    bounds = f"{least:g} or more" if most is None else f"{least:g} to {most:g}"
    control = dcc.Input(
        id=of,
        type="text",
        value="" if value is None else f"{value:g}",
        debounce=True,
        autoComplete="off",
        **{"placeholder": bounds, **more},
    )
    return add_label(of, label, control)


def make_dropdown(of: str, options: Sequence[Any], value: Any, **more: Any) -> dcc.Dropdown:
    """Make a dropdown."""
    usual = {"clearable": False, "searchable": False}
    return dcc.Dropdown(id=of, options=list(options), value=value, **{**usual, **more})


def make_unit_field(of: str) -> html.Div:
    """Make the field for the unit of a strength."""
    return add_label(of, "Unit", make_dropdown(of, list_labelled(UNITS, get_args(Unit)), "norm"))


def make_segments(of: str, label: str, options: dict[str, str], value: str) -> html.Div:
    """Make a labelled choice of a few options, shown in one row."""
    return html.Div(
        [
            html.Span(label, className="label", id=f"label-{of}"),
            dcc.RadioItems(
                id=of,
                options=[{"label": title, "value": key} for key, title in options.items()],
                value=value,
                className="segments",
            ),
        ],
        className="field",
    )


def list_labelled(names: dict[str, str], known: Sequence[str]) -> list[dict[str, str]]:
    """Return the options of a dropdown with the given labels."""
    return [{"label": names[name], "value": name} for name in known]


def list_plain(known: Sequence[str] | dict[str, Any]) -> list[dict[str, str]]:
    """Return the options of a dropdown labelled with their own names."""
    return [{"label": name.replace("_", " "), "value": name} for name in known]


def set_aria_label(name: str) -> dict[str, Any]:
    """Return the attribute that names an element for screen readers."""
    return {"aria-label": name}


def set_aria_live(how: str) -> dict[str, Any]:
    """Return the attribute that lets screen readers announce an element's changes."""
    return {"aria-live": how}

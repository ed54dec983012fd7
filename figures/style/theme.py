"""Define one look for all figures: colours, sizes, fonts, axes.

Qualitative colours are Okabe and Ito's, which remain distinct under the common kinds of colour
blindness: the CIEDE2000 difference between any two colours of a figure is at least ten for every
viewer. A setting has the same colour and mark in every figure. Sizes are given at 96 pixels per
inch, so that a figure printed at its own size has text of eight and nine points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

ONE_COLUMN = 330
"""Width in pixels of a one-column figure: 3.4 inches."""
TWO_COLUMNS = 670
"""Width in pixels of a figure across the page: 7 inches."""

FONT = "Helvetica Neue, Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif"
SMALL, NORMAL = 11, 12
"""Sizes of text in pixels: 8.25 points for ticks, legends and text in a plot; 9 points
elsewhere."""

INK = "#222222"
MUTED = "#6b6b6b"
GRID = "#e6e6e6"

BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GREY = "#CC79A7", "#56B4E9", "#F0E442", "#6e6e6e"
DARK, BROWN = "#33235a", "#5f3413"
"""Colours of controls, in addition to the palette: dark shades of its purple and orange."""
TEAL, WINE = "#44AA99", "#882255"
"""Colours of further settings, once the palette is used up (Tol's, for the colour-blind)."""
QUALITATIVE = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, GREY, YELLOW)
"""Okabe and Ito's palette, the most distinct first."""

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")
"""Marks, the most distinct first."""

DIVERGING = (
    "#2166AC",
    "#4393C3",
    "#92C5DE",
    "#D1E5F0",
    "#F7F7F7",
    "#FDDBC7",
    "#F4A582",
    "#D6604D",
    "#B2182B",
)
"""Blue through white to red (Brewer), for values below and above a middle."""

SEQUENTIAL = ("#f7fbff", "#d2e3f3", "#9ac8e0", "#529dcc", "#1c6bb0", "#08306b")
"""White to dark blue (Brewer), for values from zero up."""

LIGHT = SEQUENTIAL[:4]
"""``SEQUENTIAL`` without its dark end, for cells that hold words."""


@dataclass(frozen=True)
class Style:
    """Look of a setting in every figure."""

    label: str
    colour: str
    symbol: str
    pattern: str = ""
    """Fill pattern of a bar, so that settings also differ in print without colour."""


SETTINGS = {
    "none": Style("no instruction", GREY, "square"),
    "random": Style("random direction", PURPLE, "x", "/"),
    "shuffled": Style("shuffled labels", DARK, "cross", "x"),
    "others": Style("other instructions", BROWN, "star", "."),
    "steered": Style("steered", BLUE, "circle"),
    "instruction": Style("instruction", ORANGE, "diamond"),
    "both": Style("instruction + steered", GREEN, "triangle-up"),
}
"""The settings of an experiment, in the order in which they are drawn."""

DEGENERATE = Style("degenerate outputs", VERMILLION, "circle-open")


def setting_style(setting: str, index: int = 0) -> Style:
    """Return the style of a setting. A setting that is missing in :data:`SETTINGS` takes the next
    free colour of the palette."""
    taken = {style.colour for style in SETTINGS.values()}
    free = [colour for colour in (*QUALITATIVE, TEAL, WINE) if colour not in taken]
    return SETTINGS.get(setting) or Style(setting, free[index % len(free)], "star")


def order_settings(settings: Sequence[str]) -> list[str]:
    """Return settings in drawing order, those that are missing in :data:`SETTINGS` last."""
    known = [name for name in SETTINGS if name in settings]
    return known + sorted(set(settings) - set(known))


def add_opacity(colour: str, alpha: float) -> str:
    """Return a ``#rrggbb`` colour with an opacity, for bands."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def template() -> go.layout.Template:
    """Return the plotly template of all figures."""
    axis = {
        "showline": True,
        "linecolor": INK,
        "linewidth": 1,
        "ticks": "outside",
        "ticklen": 3,
        "tickcolor": INK,
        "tickfont": {"size": SMALL},
        "title": {"font": {"size": NORMAL}, "standoff": 6},
        "gridcolor": GRID,
        "gridwidth": 1,
        "zeroline": False,
        "automargin": True,
    }
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": NORMAL, "color": INK},
            "colorway": list(QUALITATIVE),
            "colorscale": {"diverging": _scale(DIVERGING), "sequential": _scale(SEQUENTIAL)},
            "paper_bgcolor": "white",
            "plot_bgcolor": "white",
            "margin": {"l": 54, "r": 12, "t": 34, "b": 44},
            "xaxis": {**axis, "showgrid": False},
            "yaxis": axis,
            "legend": {
                "orientation": "h",
                "x": 0.01,
                "xref": "container",
                "xanchor": "left",
                "y": 1.0,
                "yref": "container",
                "yanchor": "top",
                "font": {"size": SMALL},
                "bgcolor": "rgba(0,0,0,0)",
                "itemsizing": "trace",
                "tracegroupgap": 0,
            },
            "hoverlabel": {"font": {"family": FONT, "size": NORMAL}, "bgcolor": "white"},
            "bargap": 0.3,
        },
        data={
            "heatmap": [
                {
                    "colorbar": {
                        "outlinewidth": 0,
                        "thickness": 10,
                        "ticks": "outside",
                        "tickfont": {"size": SMALL},
                        "title": {"font": {"size": SMALL}},
                    }
                }
            ]
        },
    )


def _scale(colours: Sequence[str]) -> list[list[float | str]]:
    return [[i / (len(colours) - 1), colour] for i, colour in enumerate(colours)]


def figure(width: int, height: int, figure: go.Figure | None = None) -> go.Figure:
    """Return an empty figure, or the given one, with this theme and this size in pixels."""
    figure = go.Figure() if figure is None else figure
    return figure.update_layout(template=template(), width=width, height=height)


def scale(name: str) -> list[list[float | str]]:
    """Return a plotly colour scale: ``"diverging"``, ``"sequential"`` or ``"light"``."""
    return _scale({"diverging": DIVERGING, "sequential": SEQUENTIAL, "light": LIGHT}[name])

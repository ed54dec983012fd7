"""Draw the accuracy of each setting on every instruction, as a radar chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap

import plotly.graph_objects as go
import polars as pl

from figures.style import theme
from figures.style.drawing import (
    Drawing,
    interval_text,
    list_words,
    percent,
    require_columns,
    short_names,
)
from interp_steer.errors import FigureError
from interp_steer.statistics import Interval, shares

SHOWN = ("none", "steered", "instruction", "both")
"""Settings that are drawn; controls would hide them."""

COMPARED = (
    ("none", "steered", "Steering alone"),
    ("instruction", "both", "Steering with the text instruction"),
)
"""Baseline, steered setting, and how the caption's sentence about it begins."""

NAMED = 3
"""Number of instructions with the largest gains that the caption names."""

APART = 2.4
"""Degrees between the whiskers of neighbouring settings."""

LINE = 18
"""Greatest number of letters of a line of a label."""

Accuracies = Mapping[tuple[str, ...], Interval]


def settings_radar(records: pl.DataFrame, *, outcome: str = "strict") -> Drawing:
    """Draw the accuracy of each instruction in the four settings, a spoke for each instruction.

    Args:
        records: columns ``instruction``, ``setting``, ``query`` and ``outcome``; one layer for
            each instruction and setting. Settings other than :data:`SHOWN` are left out.
        outcome: the check of success, ``strict`` or ``loose``.

    Returns:
        The drawing, with spokes in the order of the gain of steering alone; its caption names the
        instructions with the largest gains.

    Raises:
        FigureError: for records without these columns or settings, or of fewer than three
            instructions.
    """
    require_columns(records, ("instruction", "setting", "query", outcome), "settings_radar")
    shown = records.filter(pl.col("setting").is_in(SHOWN))
    accuracies = shares(shown, ["instruction", "setting"], outcome)
    names = short_names(shown["instruction"].unique(maintain_order=True).to_list())
    if len(names) < 3:
        raise FigureError(
            f"settings_radar needs three instructions in the settings {', '.join(SHOWN)}, and the "
            f"records have {len(names)}; use instruction_bars."
        )
    order = sorted(names, key=lambda name: -_gain(accuracies, name, "none", "steered"))
    angles = {name: 360 * at / len(order) for at, name in enumerate(order)}
    settings = [s for s in SHOWN if any((name, s) in accuracies for name in order)]
    figure = theme.figure(530, 450)
    for at, setting in enumerate(settings):
        style = theme.setting_style(setting)
        points = {n: accuracies[n, setting] for n in order if (n, setting) in accuracies}
        turned = APART * (at - (len(settings) - 1) / 2)
        figure.add_trace(_whiskers(points, angles, turned, style))
        figure.add_trace(_polygon(points, names, angles, turned, style))
    figure.update_layout(margin={"l": 105, "r": 105, "t": 66, "b": 30})
    figure.update_polars(
        bgcolor="white",
        radialaxis={
            "range": [0, 1.04],  # room for the marks of a share of 1
            "tickvals": [0.25, 0.5, 0.75, 1],
            "tickformat": ".0%",
            "tickfont": {"size": theme.SMALL, "color": theme.MUTED},
            "angle": 90 - 180 / len(order),  # between two spokes
            "tickangle": 0,
            "gridcolor": theme.GRID,
            "showline": False,
            "ticks": "",
        },
        angularaxis={
            "tickvals": list(angles.values()),
            "ticktext": [_break_label(names[name]) for name in order],
            "tickfont": {"size": 11},
            "rotation": 90,
            "direction": "clockwise",
            "gridcolor": theme.GRID,
            "linecolor": theme.GRID,
            "ticks": "",
        },
    )
    return Drawing(figure, _caption(accuracies, names, outcome))


def _polygon(
    points: Mapping[str, Interval],
    names: Mapping[str, str],
    angles: Mapping[str, float],
    turned: float,
    style: theme.Style,
) -> go.Scatterpolar:
    closed = [*points, next(iter(points))]
    return go.Scatterpolar(
        r=[points[name].value for name in closed],
        theta=[angles[name] + turned for name in closed],
        mode="lines+markers",
        name=style.label,
        line={"color": style.colour, "width": 1.5},
        marker={"symbol": style.symbol, "size": 6, "color": style.colour},
        cliponaxis=False,
        fill="toself",
        fillcolor=theme.add_opacity(style.colour, 0.07),
        text=[names[name] for name in closed],
        customdata=[[points[name].low, points[name].high] for name in closed],
        hovertemplate="%{text}: %{r:.2f} [%{customdata[0]:.2f}, %{customdata[1]:.2f}]",
    )


def _whiskers(
    points: Mapping[str, Interval], angles: Mapping[str, float], turned: float, style: theme.Style
) -> go.Scatterpolar:
    """Draw the interval of each share along its spoke, next to those of the other settings."""
    return go.Scatterpolar(
        r=[end for i in points.values() for end in (i.low, i.high, None)],
        theta=[at for name in points for at in (*[angles[name] + turned] * 2, None)],
        mode="lines",
        line={"color": theme.add_opacity(style.colour, 0.55), "width": 1.2},
        showlegend=False,
        hoverinfo="skip",
    )


def _break_label(label: str) -> str:
    """Break a label into lines that fit beside the circle."""
    return "<br>".join(wrap(label, LINE, break_long_words=False))


def _gain(accuracies: Accuracies, name: str, baseline: str, setting: str) -> float:
    before, after = accuracies.get((name, baseline)), accuracies.get((name, setting))
    return after.value - before.value if before and after else 0.0


def _caption(accuracies: Accuracies, names: Mapping[str, str], outcome: str) -> str:
    sentences = [
        sentence
        for baseline, setting, begins in COMPARED
        if (sentence := _sentence(accuracies, names, baseline, setting, begins))
    ]
    return (
        f"{' '.join(sentences)} Share of answers that pass the {outcome} check, a spoke for each "
        f"of {len(names)} instructions; whiskers are 95% intervals."
    ).strip()


def _sentence(
    accuracies: Accuracies, names: Mapping[str, str], baseline: str, setting: str, begins: str
) -> str:
    """Describe the instructions on which a setting gains most over its baseline."""
    both: Sequence[str] = [
        n for n in names if (n, baseline) in accuracies and (n, setting) in accuracies
    ]
    if not both:
        return ""
    gains = {name: _gain(accuracies, name, baseline, setting) for name in both}
    most = [n for n in sorted(both, key=lambda n: -gains[n])[:NAMED] if gains[n] > 0]
    if not most:
        return f"{begins} gains on no instruction of {len(both)}."
    largest = [
        f"{names[n]} ({percent(accuracies[n, baseline].value)} to "
        f"{interval_text(accuracies[n, setting])})"
        for n in most
    ]
    rest = sum(gain <= 0 for gain in gains.values())
    return f"{begins} gains most on {list_words(largest)}, and nothing on {rest} of {len(both)}."

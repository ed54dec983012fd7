"""Draw accuracy and damage against the steered layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
import polars as pl

from figures.style import theme
from figures.style.drawing import (
    NO_ESTIMATE,
    Drawing,
    interval_text,
    list_words,
    percent,
    require_columns,
    short_names,
)
from figures.style.small_multiples import Grid, curve
from interp_steer.errors import FigureError
from interp_steer.statistics import Interval, share_of, shares

RULES = {
    "paper": ("chosen (paper's rule)", "circle-open", 9),
    "interval": ("chosen (interval-aware rule)", "diamond-open", 13),
}
"""Label, mark and size of the mark of the layer that each rule of selection chooses."""

Chosen = Any
"""A layer, a `Choice` (anything with ``rule`` and ``layer``), several, or these by instruction."""


def layer_curve(
    records: pl.DataFrame, chosen: Chosen = None, *, outcome: str = "strict"
) -> Drawing:
    """Draw accuracy and the share of degenerate outputs against the steered layer.

    There is a panel per instruction, with shared axes. Each share has its 95% interval as a band;
    the unsteered model is a line with a band, and the random direction, if it was run, a curve.

    Args:
        records: of a layer sweep, with the columns ``instruction``, ``setting``, ``layer`` (null
            where unsteered), ``query``, ``degenerate`` and ``outcome``.
        chosen: the layer chosen: an int, a `Choice`, several of them, or a mapping from instruction
            to any of these. None stands for "no steering".
        outcome: the check of success, ``strict`` or ``loose``.

    Returns:
        The drawing; its caption gives the accuracy at the chosen layer and of the unsteered model.

    Raises:
        FigureError: for records without these columns, or without steered rows.
    """
    require_columns(
        records, ("instruction", "setting", "layer", "query", "degenerate", outcome), "layer_curve"
    )
    names = short_names(records["instruction"].unique(maintain_order=True).to_list())
    panels = [
        _panel(records.filter(pl.col("instruction") == name), name, label, outcome, chosen)
        for name, label in names.items()
    ]
    grid = Grid([panel.label for panel in panels], columns=4)
    for i, panel in enumerate(panels):
        for trace in _panel_traces(panel, small=len(panels) > 4):
            grid.add(trace, i)
    figure = grid.finish(
        legend_rows=4 if grid.columns == 1 else 2,
        layers=[layer for panel in panels for layer in panel.layers],
        x_title="layer steered",
        y_title="share of answers",
        y_range=(-0.03, 1.03),
    )
    figure.update_yaxes(tickformat=".0%", tickvals=[0, 0.25, 0.5, 0.75, 1])
    return Drawing(figure, _caption(panels, outcome))


@dataclass(frozen=True)
class _Panel:
    """Shares of one instruction.

    ``style`` is the style of the steered setting, and ``plain`` the name of the setting without
    steering. Both depend on whether the text instruction is in the prompt.
    """

    label: str
    style: theme.Style
    plain: str
    accuracy: dict[int, Interval]
    random: dict[int, Interval]
    degenerate: dict[int, Interval]
    unsteered: Interval | None
    unsteered_degenerate: Interval | None
    chosen: dict[str, int | None]

    @property
    def layers(self) -> list[int]:
        return sorted(self.accuracy)


def _panel(rows: pl.DataFrame, name: str, label: str, outcome: str, chosen: Chosen) -> _Panel:
    layered = rows.filter(pl.col("layer").is_not_null())
    control = pl.col("setting") == "random"
    steered, plain = layered.filter(~control), rows.filter(pl.col("layer").is_null())
    if steered.is_empty():
        raise FigureError(
            f"layer_curve has no steered rows for {name!r}: every layer is null or random; give "
            "the records of a sweep over layers."
        )
    known_damage = plain["degenerate"].is_not_null().any()
    return _Panel(
        label=label,
        style=theme.setting_style(steered["setting"][0]),
        plain="instruction alone" if steered["setting"][0] == "both" else "unsteered",
        accuracy=_by_layer(steered, outcome),
        random=_by_layer(layered.filter(control), outcome),
        degenerate=_by_layer(steered, "degenerate"),
        unsteered=share_of(plain, outcome) if len(plain) else None,
        unsteered_degenerate=share_of(plain, "degenerate") if known_damage else None,
        chosen=_layers_by_rule(chosen.get(name) if isinstance(chosen, Mapping) else chosen),
    )


def _by_layer(rows: pl.DataFrame, outcome: str) -> dict[int, Interval]:
    return {
        layer: found for (layer,), found in shares(rows.sort("layer"), ["layer"], outcome).items()
    }


def _layers_by_rule(chosen: Any) -> dict[str, int | None]:
    """Return the chosen layers by rule, from any form that `layer_curve` takes for an
    instruction."""
    if chosen is None:
        return {}
    if isinstance(chosen, Mapping):
        return {rule: getattr(layer, "layer", layer) for rule, layer in chosen.items()}
    if isinstance(chosen, Sequence):
        return {rule: layer for one in chosen for rule, layer in _layers_by_rule(one).items()}
    if isinstance(chosen, int):
        return {"paper": chosen}
    return {chosen.rule: chosen.layer}


def _panel_traces(panel: _Panel, small: bool) -> list[go.Scatter]:
    steered, random, damage = panel.style, theme.setting_style("random"), theme.DEGENERATE
    traces: list[go.Scatter] = []
    if panel.unsteered is not None:
        ends = dict.fromkeys((panel.layers[0] - 0.4, panel.layers[-1] + 0.4), panel.unsteered)
        traces += curve(ends, panel.plain, theme.GREY, band=0.16, dash="dash", mode="lines")
    if panel.random:
        look = {"symbol": random.symbol, "small": small}
        traces += curve(panel.random, random.label, random.colour, band=0.12, **look)
    look = {"symbol": damage.symbol, "dash": "dot", "small": small}
    traces += curve(panel.degenerate, damage.label, damage.colour, band=0.10, **look)
    accuracy = curve(
        panel.accuracy, f"accuracy, {steered.label}", steered.colour, band=0.20, small=small
    )
    traces += [trace.update(legendrank=1) for trace in accuracy]  # first in the legend, drawn last
    for rule, layer in panel.chosen.items():
        if layer in panel.accuracy:
            label, symbol, size = RULES.get(rule, (f"chosen ({rule})", "square-open", 12))
            mark = {"symbol": symbol, "size": size, "color": theme.INK, "line": {"width": 1.3}}
            y = panel.accuracy[layer].value
            traces.append(
                go.Scatter(
                    x=[layer], y=[y], mode="markers", marker=mark, name=label, meta=NO_ESTIMATE
                )
            )
    return traces


def _caption(panels: Sequence[_Panel], outcome: str) -> str:
    sizes = sorted({i.n for panel in panels for i in panel.accuracy.values()})
    n = f"n = {sizes[0]}" if len(sizes) == 1 else f"n = {sizes[0]} to {sizes[-1]}"
    instructed = panels[0].style == theme.setting_style("both")
    dashed = "the instruction without steering" if instructed else "the unsteered model"
    drawn = (
        f"Share of answers that follow the instruction ({outcome} check, solid) and share of "
        f"degenerate answers (dotted) against the layer steered, {n} prompts per layer; bands are "
        f"95% intervals, the dashed line is {dashed}"
        + (
            ", crosses are a random direction of the same norm"
            if any(p.random for p in panels)
            else ""
        )
        + "."
    )
    return f"{_finding(panels)} {drawn}"


def _finding(panels: Sequence[_Panel]) -> str:
    if len(panels) == 1:
        sentences = [_describe_panel(panels[0], rule, at) for rule, at in panels[0].chosen.items()]
        return " ".join(sentences) or _describe_peak(panels[0])
    rules = dict.fromkeys(rule for panel in panels for rule in panel.chosen)
    return " ".join(_describe_average(panels, rule) for rule in rules) or "No layer was chosen."


def _describe_average(panels: Sequence[_Panel], rule: str) -> str:
    """Describe what the layers of a rule achieve over all instructions."""
    marked = [
        (p, at) for p in panels if (at := p.chosen.get(rule)) in p.accuracy and at is not None
    ]
    none = [panel.label for panel in panels if panel.chosen.get(rule, -1) is None]
    unsteered = f" It prefers no steering for {list_words(none)}." if none else ""
    if not marked:
        return f"{_rule_name(rule).capitalize()} chooses no layer.{unsteered}"
    clear = sum(bool(p.unsteered) and p.accuracy[at].low > p.unsteered.high for p, at in marked)
    steered = sum(p.accuracy[at].value for p, at in marked) / len(marked)
    plain = [p.unsteered.value for p, _ in marked if p.unsteered]
    before = f" from {percent(sum(plain) / len(plain))} {panels[0].plain}" if plain else ""
    layers = list_words([f"{p.label} {at}" for p, at in marked])
    return (
        f"At the layers of {_rule_name(rule)} ({layers}) accuracy averages "
        f"{percent(steered)}{before}; its interval lies above the interval without steering for "
        f"{clear} of {len(panels)} instructions.{unsteered}"
    )


def _rule_name(rule: str) -> str:
    return {"paper": "the paper's rule", "interval": "the interval-aware rule"}.get(rule, rule)


def _describe_panel(panel: _Panel, rule: str, layer: int | None) -> str:
    if layer not in panel.accuracy:
        return f"{_rule_name(rule).capitalize()} prefers no steering at all for {panel.label}."
    before = f" from {interval_text(panel.unsteered)} {panel.plain}" if panel.unsteered else ""
    damage = panel.degenerate.get(layer)
    worse = f", with {interval_text(damage)} of outputs degenerate" if damage else ""
    return (
        f"Steering at layer {layer} ({_rule_name(rule)}) takes {panel.label} to "
        f"{interval_text(panel.accuracy[layer])}{before}{worse}."
    )


def _describe_peak(panel: _Panel) -> str:
    layer = max(panel.accuracy, key=lambda at: panel.accuracy[at].value)
    return (
        f"Accuracy on {panel.label} is highest at layer {layer}: "
        f"{interval_text(panel.accuracy[layer])}; no layer was chosen."
    )

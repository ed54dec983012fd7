"""Draw the accuracy that steering gains against the divergence that it causes: the Pareto front."""

from __future__ import annotations

import math

import plotly.graph_objects as go
import polars as pl

from figures.style import theme
from figures.style.drawing import (
    NO_ESTIMATE,
    Drawing,
    interval_text,
    percent,
    require_columns,
    whiskers,
)
from interp_steer.errors import FigureError
from interp_steer.statistics import Interval, share_of

FLOOR = 1e-4
"""Least divergence on the axis, in nats a token: a logarithmic axis has no zero."""


def pareto(records: pl.DataFrame, *, outcome: str = "strict") -> Drawing:
    """Draw accuracy against the divergence from the unsteered model, a point for every setting.

    Args:
        records: columns ``operation``, ``layer`` and ``strength`` (null where unsteered),
            ``query``, ``kl`` and ``outcome``; records of several instructions are pooled.
        outcome: the column of success.

    Returns:
        The drawing; its caption names the most accurate setting, and the setting with the least
        divergence that reaches 80% of its gain.

    Raises:
        FigureError: for records without these columns, or without a steered setting.
    """
    require_columns(records, ("operation", "layer", "strength", "query", "kl", outcome), "pareto")
    plain = records.filter(pl.col("layer").is_null())
    all_points = _settings(records.filter(pl.col("layer").is_not_null()), outcome)
    if not all_points:
        raise FigureError("pareto was given no record of a steered setting; check the filter.")
    figure = theme.figure(theme.TWO_COLUMNS, 330)
    operations = list(dict.fromkeys(operation for operation, _, _ in all_points))
    for at, operation in enumerate(operations):
        points = {key: point for key, point in all_points.items() if key[0] == operation}
        colour, symbol = theme.QUALITATIVE[at % 8], theme.SYMBOLS[at % len(theme.SYMBOLS)]
        figure.add_trace(_points(points, operation, colour, symbol))
    front = _front(all_points)
    figure.add_trace(
        go.Scatter(
            x=[max(kl, FLOOR) for kl, _ in front.values()],
            y=[share.value for _, share in front.values()],
            mode="lines",
            line={"color": theme.INK, "width": 1, "dash": "dot", "shape": "hv"},
            name="Pareto front",
            meta=NO_ESTIMATE,
            hoverinfo="skip",
        )
    )
    start = share_of(plain, outcome) if len(plain) else None
    if start is not None:
        figure.add_hline(y=start.value, line={"color": theme.GREY, "width": 1, "dash": "dash"})
    figure.update_xaxes(
        type="log",
        title_text="divergence from the unsteered model (nats a token)",
        tickvals=[n * 10.0**k for k in range(-4, 3) for n in (1, 3)],
    )
    highest = max(share.high for _, share in all_points.values())
    figure.update_yaxes(
        title_text="accuracy", tickformat=".0%", range=[-0.02, min(1.02, highest + 0.05)]
    )
    return Drawing(figure, _caption(all_points, front, start))


Setting = tuple[str, int, float | None]
"""An operation, a layer and a strength."""
Point = tuple[float, Interval]
"""Mean divergence, and accuracy."""


def _settings(steered: pl.DataFrame, outcome: str) -> dict[Setting, Point]:
    """Compute the divergence and accuracy of every setting; a setting without both is left out."""
    points: dict[Setting, Point] = {}
    by = ["operation", "layer", "strength"]
    for (operation, layer, strength), rows in steered.group_by(by, maintain_order=True):
        kl = rows["kl"].mean()
        if kl is not None and rows[outcome].is_not_null().any():
            key = (operation or "steered", int(layer), strength)  # type: ignore[call-overload]
            points[key] = (float(kl), share_of(rows, outcome))  # type: ignore[arg-type]
    return points


def _front(points: dict[Setting, Point]) -> dict[Setting, Point]:
    """Return the settings of the Pareto front, by rising divergence: no other setting has more
    accuracy at as little divergence."""
    best = -math.inf
    front: dict[Setting, Point] = {}
    for key, (kl, share) in sorted(points.items(), key=lambda one: (one[1][0], -one[1][1].value)):
        if share.value > best:
            best = share.value
            front[key] = (kl, share)
    return front


def _points(points: dict[Setting, Point], name: str, colour: str, symbol: str) -> go.Scatter:
    shares = [share for _, share in points.values()]
    return go.Scatter(
        x=[max(kl, FLOOR) for kl, _ in points.values()],
        y=[share.value for share in shares],
        error_y=whiskers(shares, color=theme.add_opacity(colour, 0.5), thickness=0.8, width=0),
        mode="markers+text",
        text=[str(layer) for _, layer, _ in points],
        textposition="middle right",
        textfont={"size": theme.SMALL, "color": theme.MUTED},
        marker={"size": 8, "symbol": symbol, "color": theme.add_opacity(colour, 0.8)},
        name=name,
        hovertemplate="layer %{text}: accuracy %{y:.2f} at %{x:.3f} nats a token",
    )


def _caption(
    points: dict[Setting, Point], front: dict[Setting, Point], start: Interval | None
) -> str:
    top = max(points, key=lambda key: points[key][1].value)
    kl, share = points[top]
    base = 0.0 if start is None else start.value
    enough = base + 0.8 * (share.value - base)
    cheap = next(key for key, point in front.items() if point[1].value >= enough)
    finding = (
        f"Most accurate is {_setting_name(top)}: {interval_text(share)} at {kl:.2g} nats a token"
    )
    if start is not None:
        finding += f", against {percent(start.value)} unsteered (dashed)"
    if cheap != top:
        near, less = points[cheap]
        finding += f"; {_setting_name(cheap)} has {percent(less.value)} at {near:.2g}"
    return (
        f"{finding}. Accuracy against the divergence from the unsteered predictions, along the "
        "unsteered model's answers to the same prompts; numbers are layers, bars are 95% "
        "intervals."
    )


def _setting_name(setting: Setting) -> str:
    operation, layer, strength = setting
    return f"{operation} at layer {layer}" + ("" if strength is None else f", weight {strength:g}")

"""Draw the language of an answer when the language of the steering changes on the way."""

from __future__ import annotations

import math
from collections.abc import Mapping

import polars as pl

from figures.style import theme
from figures.style.drawing import Drawing, percent, require_columns
from figures.style.settings import language_name
from figures.style.small_multiples import Grid, curve
from interp_steer.errors import FigureError
from interp_steer.statistics import Interval


def switch_curves(frame: pl.DataFrame) -> Drawing:
    """Draw the share of words in each language against the step, when the language of the steering
    is switched.

    Args:
        frame: columns ``step``, ``language`` (of the words), ``share``, ``low`` and ``high`` (ends
            of the 95% interval) and ``switched_at`` (the step; null without a switch).
            Each step of a switch has its panel.

    Returns:
        The drawing; its caption gives the step at which the language that gains most leads.

    Raises:
        FigureError: for a frame without these columns, or with several shares of one language at
            one step.

    Example::

        switch_curves(words).write(run.path, "switching")
    """
    require_columns(
        frame, ("step", "language", "share", "low", "high", "switched_at"), "switch_curves"
    )
    twice = frame.filter(frame.select("switched_at", "language", "step").is_duplicated())
    if len(twice):
        row = twice.row(0, named=True)
        raise FigureError(
            f"switch_curves has several shares of {row['language']!r} at step {row['step']}; give "
            "one setting, and the mean over its answers."
        )
    switches = frame["switched_at"].unique().sort(nulls_last=False).to_list()
    codes = frame["language"].unique(maintain_order=True).to_list()
    labels = ["not switched" if at is None else f"switched at step {at}" for at in switches]
    grid = Grid(labels, columns=2)
    points = {
        at: _points(frame.filter(pl.col("switched_at").eq_missing(pl.lit(at)))) for at in switches
    }
    for panel, at in enumerate(switches):
        for code, means in points[at].items():
            k = codes.index(code)
            look = {"symbol": theme.SYMBOLS[k % len(theme.SYMBOLS)], "small": len(means) > 12}
            colour = theme.QUALITATIVE[k % len(theme.QUALITATIVE)]
            for trace in curve(means, language_name(code), colour, band=0.16, **look):
                grid.add(trace, panel)
    figure = grid.finish(
        legend_rows=math.ceil(len(codes) / 4),
        layers=frame["step"].to_list(),
        x_title="step of the answer",
        y_title="share of words",
        y_range=(-0.02, 1.03),
    )
    figure.update_yaxes(tickformat=".0%")
    for panel, at in enumerate(switches):
        if at is not None:
            where = {"row": panel // grid.columns + 1, "col": panel % grid.columns + 1}
            # Half a step earlier: between the last token before the switch and the first after.
            rule = {"color": theme.INK, "width": 1, "dash": "dash"}
            figure.add_vline(x=at - 0.5, line=rule, **where)  # type: ignore[arg-type]
    figure.update_traces(
        hovertemplate="step %{x}: %{y:.0%} [%{customdata[0]:.0%}, %{customdata[1]:.0%}]",
        selector=lambda trace: trace.customdata is not None,
    )
    findings = " ".join(_finding(at, points[at]) for at in switches)
    return Drawing(
        figure,
        f"{findings} Share of an answer's words in each language by step; at the dashed line the "
        "language of the steering changes; bands are 95% intervals.",
    )


def _points(rows: pl.DataFrame) -> dict[str, dict[int, Interval]]:
    return {
        str(code): {
            row["step"]: Interval(row["share"], row["low"], row["high"], 0, "")
            for row in each.sort("step").iter_rows(named=True)
        }
        for (code,), each in rows.group_by("language", maintain_order=True)
    }


def _finding(at: int | None, points: Mapping[str, Mapping[int, Interval]]) -> str:
    steps = sorted({step for means in points.values() for step in means})
    if at is None:
        most = max(points, key=lambda code: _mean(points[code], steps))
        share = _mean(points[most], steps)
        return f"Not switched: {language_name(most)} has {percent(share)} of the words."
    before, after = [s for s in steps if s < at], [s for s in steps if s >= at]
    if not before or not after:
        return f"The switch at step {at} lies outside the steps that are drawn."
    gains = {code: _mean(points[code], after) - _mean(points[code], before) for code in points}
    new = max(gains, key=lambda code: gains[code])
    was, now = _mean(points[new], before), _mean(points[new], after)
    change = (
        f"Switched at step {at}: {language_name(new)} goes from {percent(was)} of the words before "
        f"to {percent(now)} after"
    )
    leads = next((step for step in after if _leads(new, points, step)), None)
    if leads is None:
        return f"{change}; at no step its interval lies above all others."
    return (
        f"{change}; its interval first lies above all others at step {leads} ({leads - at} later)."
    )


def _mean(means: Mapping[int, Interval], steps: list[int]) -> float:
    known = [means[step].value for step in steps if step in means]
    return sum(known) / len(known) if known else 0.0


def _leads(code: str, points: Mapping[str, Mapping[int, Interval]], step: int) -> bool:
    """Determine whether the interval of a language lies above those of all other languages at a
    step."""
    own = points[code].get(step)
    others = [means[step].high for name, means in points.items() if name != code and step in means]
    return own is not None and own.low > max(others, default=0.0)

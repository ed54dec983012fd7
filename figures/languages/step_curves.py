"""Draw a quantity at every step of the answers, in the mean over answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import polars as pl

from figures.style import theme
from figures.style.drawing import Drawing, require_columns
from figures.style.settings import language_name, schedule_looks, setting_looks
from figures.style.small_multiples import Grid, curve
from figures.style.theme import Style
from interp_steer.errors import FigureError
from interp_steer.statistics import Interval, mean_of

FEWEST = 3
"""Least number of queries of a step; fewer give no interval."""

TOLD = 4
"""Greatest number of curves whose ends the caption gives."""

QUANTITIES = {
    "surprise": "surprise (nats a token)",
    "strength": "strength",
    "kl": "divergence (nats a token)",
    "projection": "projection",
}
"""Title of the y axis, by quantity."""


def step_curves(frame: pl.DataFrame, quantity: str) -> Drawing:
    """Draw the mean of a quantity at each step of the answers: a curve for each setting and
    schedule.

    With several properties, each property has its curve, and each setting and schedule its panel
    (the strengths that dynamic composition gives each property, paper B, section 2).

    Args:
        frame: a row for each answer and step, columns ``step``, ``query``, ``setting`` and the
            quantity; ``schedule`` and ``property`` where they vary. After its end an answer has no
            row, or null.
        quantity: a column of numbers, such as ``strength``, ``kl`` or ``projection``.

    Returns:
        The drawing; its caption gives each curve's first and last value, and the number of
        queries there. Steps that fewer than three queries reach are left out.

    Raises:
        FigureError: for a frame without these columns, or without a step of three queries.

    Example::

        step_curves(strengths, "strength").write(run.path, "strength_by_step")
    """
    require_columns(frame, ("step", "query", "setting", quantity), "step_curves")
    absent = [name for name in ("schedule", "property") if name not in frame.columns]
    known = frame.with_columns(pl.lit(None, pl.String).alias(name) for name in absent).filter(
        pl.col(quantity).is_not_null()
    )
    several = known["property"].drop_nulls().n_unique() > 1
    whose = ["setting", "schedule"]
    names = known.select(whose).unique(maintain_order=True).rows()
    looks = _looks(names)
    properties: list[str | None] = [None]
    if several:
        properties = known["property"].drop_nulls().unique(maintain_order=True).to_list()
    grid = Grid([looks[name].label for name in looks] if several else [""], columns=2)
    points: dict[tuple[str, str], dict[int, Interval]] = {}
    for at, name in enumerate(looks):
        rows = known.filter(
            pl.col("setting").eq_missing(name[0]) & pl.col("schedule").eq_missing(name[1])
        )
        for k, of in enumerate(properties):
            mine = rows if of is None else rows.filter(pl.col("property") == of)
            means = _means(mine, quantity)
            if not means:
                continue
            look = _of_property(of, k) if of is not None else looks[name]
            points[looks[name].label, look.label if several else ""] = means
            shape = {"band": 0.14, "symbol": look.symbol, "small": len(means) > 12}
            for trace in curve(means, look.label, look.colour, **shape):
                grid.add(trace, at if several else 0)
    if not points:
        raise FigureError(
            f"step_curves has no step at which {FEWEST} queries have a value of {quantity!r}; give "
            "the steps of more answers."
        )
    every = [i for means in points.values() for i in means.values()]
    low, high = min(0.0, *(i.low for i in every)), max(i.high for i in every)
    entries = len(properties) if several else len(looks)
    figure = grid.finish(
        legend_rows=math.ceil(entries / (4 if grid.columns > 1 else 3)),
        layers=[step for means in points.values() for step in means],
        x_title="step of the answer",
        y_title=QUANTITIES.get(quantity, quantity.replace("_", " ")),
        y_range=(1.05 * low, 1.05 * high or 1.0),
    )
    figure.update_traces(
        hovertemplate="step %{x}: %{y:.3g} [%{customdata[0]:.3g}, %{customdata[1]:.3g}]",
        selector=lambda trace: trace.customdata is not None,
    )
    return Drawing(figure, _caption(points, quantity))


def _looks(names: Sequence[tuple[str, str | None]]) -> dict[tuple[str, str | None], Style]:
    """Return a style for each setting and schedule: the style of the schedule if there is a
    schedule."""
    settings = setting_looks([setting for setting, _ in names])
    steered = list(dict.fromkeys(setting for setting, schedule in names if schedule is not None))
    schedules = schedule_looks([schedule for _, schedule in names if schedule is not None])
    looks: dict[tuple[str, str | None], Style] = {}
    for setting, schedule in names:
        if schedule is None:
            looks[setting, schedule] = settings[setting]
            continue
        own = settings[setting]
        if len(steered) == 1:
            looks[setting, schedule] = schedules[schedule]
        elif len(schedules) == 1:
            looks[setting, schedule] = own
        else:
            label = f"{own.label}, {schedules[schedule].label}"
            at = len(looks)
            looks[setting, schedule] = Style(
                label, theme.QUALITATIVE[at % 8], theme.SYMBOLS[at % len(theme.SYMBOLS)]
            )
    return looks


def _of_property(name: str, at: int) -> Style:
    return Style(
        language_name(name), theme.QUALITATIVE[at % 8], theme.SYMBOLS[at % len(theme.SYMBOLS)]
    )


def _means(rows: pl.DataFrame, quantity: str) -> dict[int, Interval]:
    return {
        int(step): interval  # type: ignore[arg-type]
        for (step,), each in rows.sort("step").group_by("step", maintain_order=True)
        if each["query"].n_unique() >= FEWEST and (interval := mean_of(each, quantity))
    }


def _caption(points: Mapping[tuple[str, str], dict[int, Interval]], quantity: str) -> str:
    drops = {
        key: abs(_ends(means)[1].value - _ends(means)[0].value) for key, means in points.items()
    }
    largest = sorted(points, key=lambda key: -drops[key])[:TOLD]
    sentences = [_sentence(key, points[key]) for key in points if key in largest]
    some = f" (the {TOLD} of {len(points)} curves that change most)" if len(points) > TOLD else ""
    first = [_ends(means)[0].n for means in points.values()]
    last = [_ends(means)[1].n for means in points.values()]
    drawn = QUANTITIES.get(quantity, quantity.replace("_", " "))
    return (
        f"{'; '.join(sentences)}{some}. Mean {drawn} at each step of the answers; bands are 95% "
        f"intervals, {_range(first)} queries at the first step and {_range(last)} at the last."
    )


def _ends(means: Mapping[int, Interval]) -> tuple[Interval, Interval]:
    return means[min(means)], means[max(means)]


def _sentence(key: tuple[str, str], means: Mapping[int, Interval]) -> str:
    first, last = _ends(means)
    label = ", ".join(part for part in key if part)
    label = label[0].upper() + label[1:]
    if min(means) == max(means):
        return f"{label}: {_number(first)} at step {min(means)}"
    return f"{label}: {_number(first)} at step {min(means)}, {_number(last)} at step {max(means)}"


def _number(interval: Interval) -> str:
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"

"""Draw what each schedule of steering strengths achieves and damages, against the strength."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
import polars as pl

from figures.style import theme
from figures.style.drawing import Drawing, interval_text, list_words, require_columns, whiskers
from figures.style.settings import SCHEDULES, kind_of, language_name, schedule_looks, setting_look
from figures.style.small_multiples import Grid, curve
from figures.style.theme import Style
from interp_steer.errors import FigureError
from interp_steer.statistics import Interval, mean_of, share_of

OUTCOMES = {
    "in_language": "answers in the language",
    "in_language_langdetect": "answers in the language (langdetect)",
    "kept": "answers that keep the content",
    "names": "answers that name the subject",
    "sound": "sound answers",
    "garbled": "garbled answers",
    "degenerate": "degenerate answers",
    "perplexity": "perplexity (geometric mean)",
    "kl": "divergence (nats a token)",
}
"""Title of the y axis, by outcome."""

HARMS = ("garbled", "degenerate", "perplexity", "kl")
"""Outcomes for which less is better."""

GEOMETRIC = ("perplexity",)
"""Outcomes whose logarithms are averaged, and that are drawn on a logarithmic axis."""

SLOT = 0.17
"""Room of a schedule of one strength, as a share of the axis of strengths."""


@dataclass(frozen=True)
class _Panel:
    """Intervals that are drawn of one language."""

    swept: dict[str, dict[float, Interval]]
    """The outcome at each strength, by schedule, for schedules of several strengths."""
    single: dict[str, Interval]
    """The outcome by schedule, for schedules of one strength."""
    random: dict[float, Interval]
    """The outcome of random directions at each strength, over all swept schedules."""
    random_single: dict[str, Interval]
    """The outcome of random directions by schedule, for schedules of one strength."""
    level: dict[str, Interval]
    """The outcome by setting, for settings without a schedule."""

    def every(self) -> list[Interval]:
        """Return all intervals that are drawn."""
        return [
            *(i for points in self.swept.values() for i in points.values()),
            *self.single.values(),
            *self.random.values(),
            *self.random_single.values(),
            *self.level.values(),
        ]


def schedule_curves(records: pl.DataFrame, outcome: str = "in_language") -> Drawing:
    """Draw an outcome against the strength, with a curve per schedule (paper B, section 4).

    A schedule of one strength, such as a dynamic schedule, stands right of the strengths. Settings
    without a schedule (unsteered, in-context) are levels across the panel.

    Args:
        records: columns ``setting``, ``schedule`` and ``strength`` (null without steering),
            ``query`` and ``outcome``; of one model. With a column ``language``, one panel for each
            language. Curves are drawn of the settings ``steered`` and ``random``.
        outcome: a column of booleans, or of numbers; nulls are left out.

    Returns:
        The drawing; its caption names the best schedule and strength of each language, or the
        worst where less of the outcome is better.

    Raises:
        FigureError: for records without these columns, of several models, or without steering.

    Example::

        schedule_curves(run.records, "perplexity").write(run.path, "perplexity_by_schedule")
    """
    require_columns(
        records, ("setting", "schedule", "strength", "query", outcome), "schedule_curves"
    )
    _one_model(records)
    if "language" not in records.columns:
        records = records.with_columns(pl.lit("").alias("language"))
    languages = records["language"].drop_nulls().unique(maintain_order=True).to_list()
    steered = records.filter((pl.col("setting") == "steered") & pl.col(outcome).is_not_null())
    if steered["schedule"].drop_nulls().is_empty():
        there = records["setting"].drop_nulls().unique(maintain_order=True).to_list()
        raise FigureError(
            f"schedule_curves has no steered record with a schedule and a value of {outcome!r}; it "
            f"was given the settings {', '.join(there)}. Check the filter before it."
        )
    looks = schedule_looks(steered["schedule"].drop_nulls().unique(maintain_order=True).to_list())
    strengths = _strengths(steered)
    swept = [name for name in looks if len(strengths[name]) > 1]
    single = [name for name in looks if name not in swept]
    levels = list(
        dict.fromkeys(
            records.filter(pl.col("schedule").is_null())["setting"].drop_nulls().to_list()
        )
    )
    panels = {
        code: _panel(records.filter(pl.col("language") == code), outcome, swept, single, levels)
        for code in languages
    }
    drawn = {code: panel for code, panel in panels.items() if panel.swept or panel.single}
    ticks = sorted({s for name in swept for s in strengths[name]})
    places, ends = _places(single, ticks)
    grid = Grid([language_name(code) for code in drawn], columns=2)
    for at, panel in enumerate(drawn.values()):
        for trace in _traces(panel, looks, places, ends):
            grid.add(trace, at)
    dynamic = any(kind_of(name)[0] == "dynamic" for name in single)
    entries = len(levels) + ("random" in records["setting"]) + len(swept) + dynamic
    figure = grid.finish(
        legend_rows=math.ceil(entries / (5 if grid.columns > 1 else 3)),
        layers=[0, 1],
        x_title=_x_title(swept, single),
        y_title=OUTCOMES.get(outcome, outcome.replace("_", " ")),
        y_range=(0, 1),
    )
    share = records[outcome].dtype == pl.Boolean
    _y_axis(figure, share, outcome, list(drawn.values()))
    _x_axis(figure, looks, ticks, places, ends)
    figure.update_traces(
        hovertemplate="%{x}: %{y:.3g} [%{customdata[0]:.3g}, %{customdata[1]:.3g}]",
        selector=lambda trace: trace.customdata is not None,
    )
    if swept and single:
        rule = {"color": theme.GREY, "width": 1, "dash": "dot"}
        figure.add_vline(x=(ticks[-1] + min(places.values())) / 2, line=rule)
    return Drawing(figure, _caption(drawn, looks, outcome, share, strengths))


def _one_model(records: pl.DataFrame) -> None:
    models = records["model"].unique(maintain_order=True) if "model" in records.columns else []
    if len(models) > 1:
        raise FigureError(
            f"schedule_curves draws one model, and the records have {', '.join(map(str, models))}; "
            "keep one of them."
        )


def _strengths(steered: pl.DataFrame) -> dict[str, list[float]]:
    return {
        str(schedule): sorted(rows["strength"].drop_nulls().unique().to_list())
        for (schedule,), rows in steered.group_by("schedule", maintain_order=True)
    }


def _measure(rows: pl.DataFrame, outcome: str) -> Interval | None:
    """Compute the share of booleans, the mean of numbers, or the geometric mean of perplexities."""
    if rows[outcome].dtype == pl.Boolean:
        return share_of(rows, outcome) if rows[outcome].is_not_null().any() else None
    if outcome not in GEOMETRIC:
        return mean_of(rows, outcome)
    logs = mean_of(rows.with_columns(pl.col(outcome).log()), outcome)
    if logs is None:
        return None
    value, low, high = (math.exp(end) for end in (logs.value, logs.low, logs.high))
    return Interval(value, low, high, logs.n, logs.method)


def _panel(
    rows: pl.DataFrame,
    outcome: str,
    swept: Sequence[str],
    single: Sequence[str],
    levels: Sequence[str],
) -> _Panel:
    steered, random = (
        rows.filter((pl.col("setting") == setting) & pl.col("schedule").is_not_null())
        for setting in ("steered", "random")
    )
    by_schedule = {name: steered.filter(pl.col("schedule") == name) for name in (*swept, *single)}
    curves = {name: _by_strength(by_schedule[name], outcome) for name in swept}
    return _Panel(
        swept={name: points for name, points in curves.items() if points},
        single=_drop_unknown({name: _measure(by_schedule[name], outcome) for name in single}),
        random=_by_strength(random.filter(pl.col("schedule").is_in(swept)), outcome),
        random_single=_drop_unknown(
            {name: _measure(random.filter(pl.col("schedule") == name), outcome) for name in single}
        ),
        level=_drop_unknown(
            {
                setting: _measure(
                    rows.filter((pl.col("setting") == setting) & pl.col("schedule").is_null()),
                    outcome,
                )
                for setting in levels
            }
        ),
    )


def _by_strength(rows: pl.DataFrame, outcome: str) -> dict[float, Interval]:
    known = rows.filter(pl.col("strength").is_not_null()).sort("strength")
    return _drop_unknown(
        {
            float(strength): _measure(each, outcome)  # type: ignore[arg-type]
            for (strength,), each in known.group_by("strength", maintain_order=True)
        }
    )


def _drop_unknown(intervals: Mapping) -> dict:
    return {key: interval for key, interval in intervals.items() if interval is not None}


def _places(single: Sequence[str], ticks: Sequence[float]) -> tuple[dict[str, float], tuple]:
    """Return the places of the schedules of one strength, and the ends of the axis."""
    low, high = (ticks[0], ticks[-1]) if ticks else (0.0, 0.0)
    span = high - low or 1.0
    slot = SLOT * span
    first = high + 0.8 * slot if ticks else low
    places = {name: first + at * slot for at, name in enumerate(single)}
    last = max([high, *places.values()])
    return places, (low - 0.06 * span, last + 0.06 * span)


def _spaced_ticks(ticks: Sequence[float], ends: tuple[float, float]) -> list[float]:
    """Choose the strengths that have room for their numbers; the largest is always shown."""
    room = 0.06 * (ends[1] - ends[0])
    shown: list[float] = []
    for tick in reversed(ticks):
        if not shown or shown[-1] - tick >= room:
            shown.append(tick)
    return shown[::-1]


def _short_name(name: str, look: Style) -> str:
    """Return the name of a schedule under the axis: p for a dynamic schedule."""
    kind, inside = kind_of(name)
    return inside.partition(";")[0] if kind == "dynamic" and inside else look.label


def _x_title(swept: Sequence[str], single: Sequence[str]) -> str:
    alone = "p of dynamic" if all(kind_of(name)[0] == "dynamic" for name in single) else "schedule"
    if not swept:
        return alone
    return f"strength, and {alone}" if single else "strength"


def _traces(
    panel: _Panel, looks: Mapping[str, Style], places: Mapping[str, float], ends: tuple
) -> list[go.Scatter]:
    """Return the traces: levels first, then the control, then the schedules on top."""
    traces: list[go.Scatter] = []
    for at, (setting, level) in enumerate(panel.level.items()):
        style = setting_look(setting, at)
        across = {ends[0]: level, ends[1]: level}
        look = {"band": 0.12, "mode": "lines", "small": True}
        # Levels may coincide, such as two of zero: the lower line shows between another's dashes.
        dash = ("solid", "dash", "dot")[at % 3]
        traces += curve(across, style.label, style.colour, dash=dash, **look)
    control = setting_look("random")
    if panel.random:
        look = {"band": 0.12, "symbol": control.symbol, "dash": "dot"}
        traces += curve(panel.random, control.label, control.colour, **look)
    beside = 0.22 * SLOT * (ends[1] - ends[0])
    for name, level in panel.random_single.items():
        traces.append(_point(places[name] + beside, level, control, control.label))
    for name, points in panel.swept.items():
        look = {"band": 0.11, "symbol": looks[name].symbol}
        traces += curve(points, looks[name].label, looks[name].colour, **look)
    for name, level in panel.single.items():
        dynamic = kind_of(name)[0] == "dynamic"
        style = SCHEDULES["dynamic"] if dynamic else looks[name]
        # The others are named under the axis.
        traces.append(_point(places[name], level, style, "dynamic" if dynamic else ""))
    return traces


def _point(x: float, interval: Interval, style: Style, legend: str) -> go.Scatter:
    return go.Scatter(
        x=[x],
        y=[interval.value],
        customdata=[[interval.low, interval.high]],
        error_y=whiskers([interval], thickness=1.2),
        mode="markers",
        name=legend,
        marker={"symbol": style.symbol, "size": 7, "color": style.colour},
    )


def _x_axis(
    figure: go.Figure,
    looks: Mapping[str, Style],
    ticks: Sequence[float],
    places: Mapping[str, float],
    ends: tuple[float, float],
) -> None:
    """Label the x axis: the strengths, then the schedules of one strength."""
    figure.update_xaxes(
        range=list(ends),
        tickvals=[*_spaced_ticks(ticks, ends), *places.values()],
        ticktext=[
            *(f"{s:g}" for s in _spaced_ticks(ticks, ends)),
            *(_short_name(name, looks[name]) for name in places),
        ],
        tickangle=-40 if any(kind_of(name)[0] != "dynamic" for name in places) else 0,
    )


def _y_axis(figure: go.Figure, share: bool, outcome: str, panels: Sequence[_Panel]) -> None:
    drawn = [interval for panel in panels for interval in panel.every()]
    low, high = min(i.low for i in drawn), max(i.high for i in drawn)
    if share:
        # A harm is mostly rare; what succeeds is to be seen against all answers.
        top = min(1.03, 1.15 * high) if outcome in HARMS else 1.03
        figure.update_yaxes(range=[-0.02 * top, top], tickformat=".0%")
    elif outcome in GEOMETRIC:
        room = 0.05 * math.log10(high / low) + 0.02
        figure.update_yaxes(
            type="log",
            range=[math.log10(low) - room, math.log10(high) + room],
            tickvals=[digit * 10.0**power for power in range(-1, 7) for digit in (1, 2, 5)],
        )
    else:
        figure.update_yaxes(range=[min(0.0, 1.05 * low), 1.05 * high or 1.0])


def _caption(
    panels: Mapping[str, _Panel],
    looks: Mapping[str, Style],
    outcome: str,
    share: bool,
    strengths: Mapping[str, list[float]],
) -> str:
    findings = [
        _finding(code, panel, looks, outcome, share, strengths) for code, panel in panels.items()
    ]
    drawn = OUTCOMES.get(outcome, outcome.replace("_", " "))
    drawn = drawn[0].upper() + drawn[1:]
    queries = max(i.n for panel in panels.values() for i in panel.every())
    control = ""
    if any(panel.random or panel.random_single for panel in panels.values()):
        control = " Random directions have the norms of the vectors"
        several = any(panel.random and len(panel.swept) > 1 for panel in panels.values())
        control += "; random directions of all curves are pooled." if several else "."
    return (
        f"{' '.join(findings)} {drawn} against the strength, a curve for each schedule; bands and "
        f"whiskers are 95% intervals, from at most {queries} queries.{control}"
    )


def _finding(
    code: str,
    panel: _Panel,
    looks: Mapping[str, Style],
    outcome: str,
    share: bool,
    strengths: Mapping[str, list[float]],
) -> str:
    every = {
        **{(name, s): i for name, points in panel.swept.items() for s, i in points.items()},
        **{(name, None): i for name, i in panel.single.items()},
    }
    top = max(every, key=lambda key: every[key].value)
    best = every[top]
    level = [
        f"{setting_look(setting).label} {_text(interval, share)}"
        for setting, interval in panel.level.items()
    ]
    near = sum(key != top and interval.high >= best.low for key, interval in every.items())
    others = f" ({near} of {len(every) - 1} other intervals overlap)" if len(every) > 1 else ""
    word = "worst" if outcome in HARMS else "best"
    opening = f"{language_name(code)}: {word}" if code else word.capitalize()
    return (
        f"{opening} is {_setting_name(top, looks, strengths)}: {_text(best, share)}{others}"
        + (f", against {list_words(level)}" if level else "")
        + "."
    )


def _setting_name(
    key: tuple[str, float | None], looks: Mapping[str, Style], strengths: Mapping[str, list[float]]
) -> str:
    name, strength = key
    if strength is None and strengths[name] and kind_of(name)[0] != "dynamic":
        strength = strengths[name][0]
    label = name if kind_of(name)[0] == "dynamic" else looks[name].label
    return label if strength is None else f"{label} at strength {strength:g}"


def _text(interval: Interval, share: bool) -> str:
    number = f"{interval.value:.3g} [{interval.low:.3g}, {interval.high:.3g}]"
    return interval_text(interval) if share else number

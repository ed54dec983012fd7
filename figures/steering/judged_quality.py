"""Draw how good answers are, whatever their format: the cost of an instruction and of a vector."""

from __future__ import annotations

import math
from collections.abc import Mapping

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from figures.style import theme
from figures.style.drawing import (
    NO_ESTIMATE,
    Drawing,
    list_words,
    require_columns,
    short_names,
    whiskers,
)
from interp_steer.errors import FigureError
from interp_steer.statistics import Interval, bootstrap_mean, mean_gain

COMPARISONS = (("none", "steered"), ("instruction", "both"))
"""Settings that are compared, baseline first."""

EVERY = "all instructions"
BINS = tuple(n / 10 for n in range(11))
"""Middles of the bars of the histogram: a score is a share of at most five verdicts."""


def quality_deltas(
    records: pl.DataFrame, *, outcome: str = "quality", reported: Mapping[str, float] | None = None
) -> Drawing:
    """Draw how steering changes the quality of answers, by instruction and over all instructions.

    Args:
        records: columns ``instruction``, ``setting``, ``key``, ``query`` and ``outcome``.
        outcome: a score from 0 to 1, null where an answer could not be judged.
        reported: the mean scores that a paper reports of the same model, by setting; their
            differences are drawn as rings.

    Returns:
        The drawing: changes against the same prompts without steering, without and with the text
        instruction; instructions are in the order of their change without the text.

    Raises:
        FigureError: for records without these columns, or without two settings to compare.
    """
    require_columns(records, ("instruction", "setting", "key", "query", outcome), "quality_deltas")
    labels = short_names(records["instruction"].unique(maintain_order=True).to_list())
    by_pair = {
        pair: {
            name: change
            for name in labels
            if (change := mean_gain(_rows_of(records, name), *pair, outcome)) is not None
        }
        for pair in COMPARISONS
    }
    whole = {pair: mean_gain(records, *pair, outcome) for pair in COMPARISONS}
    drawn = [pair for pair in COMPARISONS if by_pair[pair]]
    if not drawn:
        pairs = list_words([f"{b} with {a}" for a, b in COMPARISONS])
        raise FigureError(
            f"quality_deltas compares {pairs} on the same prompts, and the records score no "
            "prompt in both; give the records of all settings."
        )
    order = sorted(labels, key=lambda name: _value(by_pair[drawn[0]].get(name)))
    rows = [*order, EVERY]
    figure = theme.figure(theme.TWO_COLUMNS, 96 + 24 * len(rows))
    figure.add_vline(x=0, line={"color": theme.GREY, "width": 1, "dash": "dash"})
    for at, pair in enumerate(drawn):
        changes = {name: by_pair[pair][name] for name in order if name in by_pair[pair]}
        if (change := whole[pair]) is not None:
            changes[EVERY] = change
        shift = 0.13 * (2 * at - 1) if len(drawn) > 1 else 0.0
        places = {name: rows.index(name) + shift for name in changes}
        figure.add_trace(_points(changes, places, pair))
        first, second = pair
        if reported and first in reported and second in reported:
            published = reported[second] - reported[first]
            figure.add_trace(_ring([published], [places[EVERY]], showlegend=at == 0))
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[labels.get(name, name) for name in rows],
        range=[len(rows) - 0.4, -0.6],
        ticks="",
        showgrid=False,
    )
    figure.add_hline(y=len(order) - 0.5, line={"color": theme.GRID, "width": 1})
    ends = [
        0.0,
        *(end for each in by_pair.values() for i in each.values() for end in (i.low, i.high)),
    ]
    room = 0.05 + 0.05 * (max(ends) - min(ends))
    figure.update_xaxes(
        title_text="change of quality", showgrid=True, range=[min(ends) - room, max(ends) + room]
    )
    findings = " ".join(_finding(pair, by_pair[pair], whole[pair], labels) for pair in drawn)
    rings = " Rings: published." if reported else ""
    return Drawing(
        figure,
        f"{findings} Mean change of the judged quality of an answer to the same prompt; whiskers "
        f"are 95% bootstrap intervals over queries.{rings}",
    )


def quality_histogram(
    records: pl.DataFrame, *, outcome: str = "quality", reported: Mapping[str, float] | None = None
) -> Drawing:
    """Draw the distribution of the quality of answers, with a panel for every setting.

    Args:
        records: columns ``setting``, ``query`` and ``outcome``.
        outcome: a score from 0 to 1, null where an answer could not be judged.
        reported: the mean scores that a paper reports of the same model, by setting.

    Returns:
        The drawing; its caption gives the mean of each setting with its interval.

    Raises:
        FigureError: for records without these columns, or without any score.
    """
    require_columns(records, ("setting", "query", outcome), "quality_histogram")
    known = records.filter(pl.col(outcome).is_not_null())
    if known.is_empty():
        raise FigureError(f"no record has a value of {outcome!r}; judge the answers first.")
    settings = theme.order_settings(known["setting"].unique().to_list())
    styles = {setting: theme.setting_style(setting, i) for i, setting in enumerate(settings)}
    columns = min(len(settings), 3)
    rows = math.ceil(len(settings) / columns)
    figure = make_subplots(
        rows,
        columns,
        shared_xaxes=True,
        shared_yaxes=True,
        subplot_titles=[style.label for style in styles.values()],
        horizontal_spacing=0.03,
        vertical_spacing=0.3 / (rows + 1),
    )
    scored = {setting: known.filter(pl.col("setting") == setting) for setting in settings}
    heights = {setting: _shares(rows[outcome].to_list()) for setting, rows in scored.items()}
    above = 1.12 * max(map(max, heights.values()))
    means: dict[str, Interval] = {}
    for panel, (setting, style) in enumerate(styles.items()):
        at = (panel // columns + 1, panel % columns + 1)
        answers = scored[setting]
        means[setting] = bootstrap_mean(answers[outcome].to_list(), answers["query"].to_list())
        figure.add_trace(_bars(heights[setting], style), *at)
        figure.add_trace(_mean(means[setting], above), *at)
        if reported and setting in reported:
            figure.add_trace(_ring([reported[setting]], [above]), *at)
        if panel + columns >= len(settings):
            figure.update_xaxes(title_text="quality", showticklabels=True, row=at[0], col=at[1])
        if at[1] == 1:
            figure.update_yaxes(title_text="answers", row=at[0], col=1)
    for panel in range(len(settings), rows * columns):
        row, column = panel // columns + 1, panel % columns + 1
        figure.update_xaxes(visible=False, row=row, col=column)
        figure.update_yaxes(visible=False, row=row, col=column)
    theme.figure(theme.TWO_COLUMNS, 74 + 130 * rows, figure)
    figure.update_layout(showlegend=False, margin={"t": 26}, bargap=0)
    figure.update_annotations(font_size=12, yshift=1)
    figure.update_xaxes(range=[-0.07, 1.07], tickvals=[0, 0.2, 0.4, 0.6, 0.8, 1])
    figure.update_yaxes(range=[0, 1.1 * above], nticks=4, tickformat=".0%")
    mean_texts = list_words(
        [f"{styles[s].label} {_interval_text(mean)}" for s, mean in means.items()]
    )
    left_out = records.height - known.height
    without = f" {left_out} of {records.height} answers had no valid verdict." if left_out else ""
    rings = " Rings: published." if reported else ""
    return Drawing(
        figure,
        f"Mean quality: {mean_texts}. Share of answers with each judged quality, by setting; "
        f"points are means with 95% bootstrap intervals over queries.{without}{rings}",
    )


def _rows_of(records: pl.DataFrame, name: str) -> pl.DataFrame:
    return records.filter(pl.col("instruction") == name)


def _value(change: Interval | None) -> float:
    return math.inf if change is None else change.value


def _points(
    changes: Mapping[str, Interval], places: Mapping[str, float], pair: tuple[str, str]
) -> go.Scatter:
    first, second = (theme.setting_style(setting) for setting in pair)
    intervals = list(changes.values())
    return go.Scatter(
        x=[i.value for i in intervals],
        y=[places[name] for name in changes],
        error_x=whiskers(intervals),
        mode="markers",
        name=f"{second.label}, against {first.label}",
        marker={"symbol": second.symbol, "size": 7, "color": second.colour},
        customdata=[[i.low, i.high, i.n] for i in intervals],
        hovertemplate="%{x:+.3f} [%{customdata[0]:+.3f}, %{customdata[1]:+.3f}], "
        "n = %{customdata[2]}",
    )


def _ring(x: list[float], y: list[float], showlegend: bool = False) -> go.Scatter:
    """Draw a number that a paper reports."""
    return go.Scatter(
        x=x,
        y=y,
        mode="markers",
        name="published",
        meta=NO_ESTIMATE,
        legendgroup="published",
        showlegend=showlegend,
        legendrank=2000,  # behind all settings
        marker={
            "symbol": "circle-open",
            "size": 11,
            "color": theme.INK,
            "line": {"width": 1.6},
        },
        hovertemplate="published: %{x:.3f}<extra></extra>",
    )


def _shares(scores: list[float]) -> list[float]:
    """Compute the share of scores in each bar."""
    nearest = [round(10 * value) for value in scores]
    return [nearest.count(n) / len(nearest) for n in range(len(BINS))]


def _bars(heights: list[float], style: theme.Style) -> go.Bar:
    return go.Bar(
        x=BINS,
        y=heights,
        width=0.08,
        name=style.label,
        meta=NO_ESTIMATE,
        marker={"color": style.colour, "line": {"width": 0}},
        hovertemplate="quality %{x:.1f}: %{y:.0%}",
    )


def _mean(mean: Interval, y: float) -> go.Scatter:
    return go.Scatter(
        x=[mean.value],
        y=[y],
        error_x=whiskers([mean]),
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 9, "color": theme.INK, "line": {"width": 2}},
        hovertemplate="mean %{x:.3f}<extra></extra>",
    )


def _finding(
    pair: tuple[str, str],
    changes: Mapping[str, Interval],
    whole: Interval | None,
    labels: Mapping[str, str],
) -> str:
    first, second = (theme.setting_style(setting).label for setting in pair)
    mean = "" if whole is None else f"{_signed_text(whole)}, {whole.n} requests"
    lower = sum(change.high < 0 for change in changes.values())
    least, most = (chosen(changes, key=lambda name: changes[name].value) for chosen in (min, max))
    lowest, highest = _signed_text(changes[least]), _signed_text(changes[most])
    ends = f" ({labels[least]} {lowest} to {labels[most]} {highest})"
    if lowest == highest:
        ends = ", the same for every instruction"
    return (
        f"{second.capitalize()} against {first} changes quality by {mean}{ends}; its interval lies "
        f"below zero for {lower} of {len(changes)} instructions."
    )


def _signed_text(change: Interval) -> str:
    return f"{change.value:+.2f} [{change.low:+.2f}, {change.high:+.2f}]"


def _interval_text(mean: Interval) -> str:
    return f"{mean.value:.2f} [{mean.low:.2f}, {mean.high:.2f}]"

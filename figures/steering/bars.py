"""Draw bars of what each setting achieves, over all instructions and for each instruction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from figures.style import theme
from figures.style.drawing import (
    NO_ESTIMATE,
    Drawing,
    interval_text,
    list_words,
    p_text,
    percent,
    require_columns,
    short_names,
)
from figures.style.interval_bars import horizontal_bars
from figures.style.settings import looks_of
from figures.style.small_multiples import legend_height
from interp_steer.errors import FigureError
from interp_steer.statistics import Comparison, Interval, compare, correct_p_values, shares

COMPARISONS = (("none", "steered"), ("random", "steered"), ("instruction", "both"))
"""Settings that are compared, baseline first."""


def settings_bars(
    records: pl.DataFrame,
    *,
    outcome: str = "strict",
    reported: Mapping[str, float] | None = None,
) -> Drawing:
    """Draw accuracy and the share of degenerate outputs in each setting, over all instructions.

    Args:
        records: columns ``instruction``, ``setting``, ``key``, ``query``, ``degenerate`` and
            ``outcome``; one layer per instruction and setting.
        outcome: the check of success, ``strict`` or ``loose``.
        reported: the shares that a paper reports of the same model, by setting, drawn as rings.

    Returns:
        The drawing; its caption gives each setting's share with its interval, and McNemar's tests
        of steering against its baselines, corrected by Holm's method.

    Raises:
        FigureError: for records without these columns, or with several layers of one setting.
    """
    require_columns(
        records, ("instruction", "setting", "key", "query", "degenerate", outcome), "settings_bars"
    )
    _one_layer_each(records, "settings_bars")
    settings = theme.order_settings(records["setting"].unique().to_list())
    panels = {"accuracy": outcome, "degenerate outputs": "degenerate"}
    panel_shares = {
        title: {s: i for (s,), i in shares(records, ["setting"], column).items()}
        for title, column in panels.items()
    }
    panel_shares = {title: values for title, values in panel_shares.items() if values}
    figure = make_subplots(
        1,
        len(panel_shares),
        shared_yaxes=True,
        horizontal_spacing=0.05,
        subplot_titles=list(panel_shares),
        column_widths=[3, 2][: len(panel_shares)],
    )
    for column, values in enumerate(panel_shares.values(), start=1):
        for i, setting in enumerate(settings):
            if setting in values:
                style = theme.setting_style(setting, i)
                figure.add_trace(horizontal_bars({style.label: values[setting]}, style), 1, column)
                figure.add_trace(_value(style.label, values[setting]), 1, column)
    marked = {s: value for s, value in (reported or {}).items() if s in settings}
    if marked:
        figure.add_trace(_marks(marked), 1, 1)
    theme.figure(theme.TWO_COLUMNS, 84 + 34 * len(settings), figure)
    figure.update_layout(
        showlegend=False, margin={"t": 28, "b": 44}, bargap=0.38, barmode="overlay"
    )
    figure.update_annotations(font_size=12, yshift=2)
    figure.update_yaxes(autorange="reversed", ticks="", showgrid=False)
    figure.update_xaxes(range=[0, 1.14], tickformat=".0%", showgrid=True, tickangle=0)
    figure.update_xaxes(tickvals=[0, 0.25, 0.5, 0.75, 1], col=1)
    figure.update_xaxes(tickvals=[0, 0.5, 1], col=2)
    figure.update_xaxes(title_text="share of answers")
    caption = _settings_caption(records, panel_shares["accuracy"], settings, outcome)
    if marked:
        values = [f"{theme.setting_style(s).label} {value:.3f}" for s, value in marked.items()]
        caption += f" Rings: published, {list_words(values)}."
    return Drawing(figure, caption)


def instruction_bars(records: pl.DataFrame, *, outcome: str = "strict") -> Drawing:
    """Draw the accuracy of each instruction in each setting.

    Args:
        records: columns ``instruction``, ``setting``, ``key``, ``query`` and ``outcome``; one
            layer per instruction and setting.
        outcome: the check of success, ``strict`` or ``loose``.

    Returns:
        The drawing; its caption names the largest and the smallest gain, and counts the significant
        gains.

    Raises:
        FigureError: for records without these columns, or with several layers of one setting.
    """
    require_columns(
        records, ("instruction", "setting", "key", "query", outcome), "instruction_bars"
    )
    _one_layer_each(records, "instruction_bars")
    names = short_names(records["instruction"].unique(maintain_order=True).to_list())
    looks = looks_of(records["setting"].unique(maintain_order=True).to_list())
    accuracies = shares(records, ["instruction", "setting"], outcome)
    by_gain = sorted(names, key=lambda name: -_gain(accuracies, name))
    figure = theme.figure(theme.TWO_COLUMNS, 84 + len(names) * (11 + 9 * len(looks)))
    for setting, style in looks.items():
        values = {names[n]: accuracies[n, setting] for n in by_gain if (n, setting) in accuracies}
        figure.add_trace(horizontal_bars(values, style))
    top = legend_height(figure) + 16
    figure.update_layout(
        barmode="group", bargap=0.22, bargroupgap=0.1, margin={"t": top}, legend_traceorder="normal"
    ).update_layout(height=top + 50 + len(names) * (11 + 9 * len(looks)))
    figure.update_yaxes(
        autorange="reversed",
        ticks="",
        showgrid=False,
        categoryorder="array",
        categoryarray=[names[n] for n in by_gain],
    )
    figure.update_xaxes(range=[0, 1.02], tickformat=".0%", showgrid=True)
    figure.update_xaxes(title_text="share of answers that follow the instruction")
    return Drawing(figure, _instruction_caption(records, accuracies, names, outcome))


def _marks(reported: Mapping[str, float]) -> go.Scatter:
    """Draw the numbers that a paper reports, as rings on the bars."""
    return go.Scatter(
        x=list(reported.values()),
        y=[theme.setting_style(setting).label for setting in reported],
        mode="markers",
        marker={
            "symbol": "circle-open",
            "size": 11,
            "color": theme.INK,
            "line": {"width": 1.6},
        },
        name="published",
        meta=NO_ESTIMATE,
        hovertemplate="published: %{x:.3f}<extra></extra>",
    )


def _value(label: str, interval: Interval) -> go.Scatter:
    """Write the share as text, right of its interval."""
    return go.Scatter(
        x=[interval.high],
        y=[label],
        text=[f" {percent(interval.value)}"],
        mode="text",
        textposition="middle right",
        textfont={"size": 11},
        hoverinfo="skip",
    )


def _one_layer_each(records: pl.DataFrame, figure: str) -> None:
    if "layer" not in records.columns:
        return
    asked = ["instruction", "setting", "key"]
    layers = records.group_by(asked).agg(pl.col("layer").n_unique().alias("n"))
    mixed = layers.filter(pl.col("n") > 1).sort(asked)
    if len(mixed):
        row = mixed.row(0, named=True)
        raise FigureError(
            f"{figure} compares settings, and the records hold {row['n']} layers of setting "
            f"{row['setting']!r} for a prompt of {row['instruction']!r}; keep the chosen layer of "
            "each instruction first."
        )


def _gain(accuracies: Mapping[tuple[str, ...], Interval], name: str) -> float:
    steered, plain = accuracies.get((name, "steered")), accuracies.get((name, "none"))
    return steered.value - plain.value if steered and plain else 0.0


def _settings_caption(
    records: pl.DataFrame, accuracy: Mapping[str, Interval], settings: Sequence[str], outcome: str
) -> str:
    labels = {s: theme.setting_style(s).label for s in settings}
    values = [f"{labels[s]} {interval_text(accuracy[s])}" for s in settings if s in accuracy]
    compared = {
        pair: comparison
        for pair in COMPARISONS
        if set(pair) <= set(settings) and (comparison := compare(records, *pair, outcome))
    }
    tested = [pair for pair, comparison in compared.items() if comparison.test]
    tests = [test for comparison in compared.values() if (test := comparison.test)]
    p_values = dict(zip(tested, correct_p_values(tests), strict=True))
    sentences = [
        f"{labels[b].capitalize()} against {labels[a]}: {_points(comparison)}"
        + (f", {p_text(p_values[a, b])}" if (a, b) in p_values else "")
        + f", n = {comparison.difference.n}."
        for (a, b), comparison in compared.items()
    ]
    how = (
        f"Share of answers that pass the {outcome} check over "
        f"{records['instruction'].n_unique()} instructions, and share of degenerate answers; "
        "whiskers are 95% intervals"
    )
    how += "; p-values are McNemar's, Holm-corrected." if tested else "."
    return " ".join([f"Accuracy: {list_words(values)}.", *sentences, how])


def _points(comparison: Comparison) -> str:
    gain = comparison.difference
    return f"{100 * gain.value:+.0f} points [{100 * gain.low:+.0f}, {100 * gain.high:+.0f}]"


def _instruction_caption(
    records: pl.DataFrame,
    accuracies: Mapping[tuple[str, ...], Interval],
    names: Mapping[str, str],
    outcome: str,
) -> str:
    how = (
        f"Share of answers that pass the {outcome} check, by instruction and setting; whiskers are "
        "95% intervals; instructions are in the order of their gain."
    )
    both = [n for n in names if (n, "none") in accuracies and (n, "steered") in accuracies]
    if not both:
        return how
    top, bottom = (
        max(both, key=lambda n: _gain(accuracies, n)),
        min(both, key=lambda n: _gain(accuracies, n)),
    )
    by_instruction = {n: records.filter(pl.col("instruction") == n) for n in both}
    tests = [
        c.test
        for n in both
        if (c := compare(by_instruction[n], "none", "steered", outcome)) and c.test
    ]
    significant = sum(
        p < 0.05 and t.only_b > t.only_a
        for t, p in zip(tests, correct_p_values(tests), strict=True)
    )
    counted = (
        f" Steering helps significantly on {significant} of {len(tests)} (McNemar, Holm-corrected)."
        if tests
        else ""
    )
    least = f", least on {names[bottom]} ({_change(accuracies, bottom)})" if bottom != top else ""
    best = f"{names[top]} ({_change(accuracies, top)})"
    return f"Steering alone gains most on {best}{least}.{counted} {how}"


def _change(accuracies: Mapping[tuple[str, ...], Interval], name: str) -> str:
    return (
        f"{percent(accuracies[name, 'none'].value)} to {interval_text(accuracies[name, 'steered'])}"
    )

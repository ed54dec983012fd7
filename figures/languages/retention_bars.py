"""Draw how much of its accuracy a model keeps under steering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
import polars as pl

from figures.style import theme
from figures.style.drawing import Drawing, interval_text, list_words, percent, require_columns
from figures.style.interval_bars import horizontal_bars
from figures.style.settings import ORIGINAL, setting_looks
from interp_steer.errors import FigureError
from interp_steer.statistics import Interval, mean_change

COLUMNS = ("setting", "benchmark", "value", "low", "high")


def retention_bars(frame: pl.DataFrame) -> Drawing:
    """Draw the accuracy on benchmarks that steering does not aim at, with the accuracy of the
    original model.

    Args:
        frame: columns ``setting`` (which include ``original`` or ``none``), ``benchmark``,
            ``value``, ``low`` and ``high`` (accuracy, with its 95% interval), of one model.

    Returns:
        The drawing, with the original's interval as a band behind the bars of each benchmark; its
        caption gives the share of the original's accuracy that each setting keeps, and the
        benchmarks on which a setting's interval does not overlap the original's.

    Raises:
        FigureError: for a frame without these columns or the original's rows, or with two rows of
            one setting and benchmark.

    Example::

        retention_bars(english).write(run.path, "english_kept")
    """
    require_columns(frame, COLUMNS, "retention_bars")
    twice = frame.filter(frame.select("setting", "benchmark").is_duplicated())
    if len(twice):
        row = twice.row(0, named=True)
        raise FigureError(
            f"retention_bars has several values of {row['setting']} on {row['benchmark']}; keep "
            "one measure of one model."
        )
    settings = frame["setting"].unique(maintain_order=True).to_list()
    base = next((name for name in ORIGINAL if name in settings), None)
    if base is None:
        raise FigureError(
            "retention_bars compares settings with the original or none, and the records have "
            f"{', '.join(settings)}."
        )
    benchmarks = frame["benchmark"].unique(maintain_order=True).to_list()
    accuracies = {
        (row["setting"], row["benchmark"]): Interval.of(row)
        for row in frame.filter(pl.col("value").is_not_null()).iter_rows(named=True)
    }
    looks = setting_looks(settings)
    height = 12 * len(looks) + 14
    figure = theme.figure(theme.TWO_COLUMNS, 84 + height * len(benchmarks))
    for setting, style in looks.items():
        figure.add_trace(_bars(setting, style, benchmarks, accuracies))
    for at, benchmark in enumerate(benchmarks):
        if (reference := accuracies.get((base, benchmark))) is not None:
            _reference(figure, at, reference)
    figure.update_layout(barmode="group", bargap=0.24, bargroupgap=0.12, legend_traceorder="normal")
    figure.update_yaxes(
        autorange="reversed",
        ticks="",
        showgrid=False,
        categoryorder="array",
        categoryarray=benchmarks,
    )
    most = max((interval.high for interval in accuracies.values()), default=1.0)
    figure.update_xaxes(
        range=[0, min(1.02, most + 0.06)], tickformat=".0%", showgrid=True, title_text="accuracy"
    )
    return Drawing(figure, _caption(accuracies, looks, base, benchmarks))


def _bars(
    setting: str,
    style: theme.Style,
    benchmarks: Sequence[str],
    accuracies: Mapping[tuple[str, str], Interval],
) -> go.Bar:
    known = {b: accuracies[setting, b] for b in benchmarks if (setting, b) in accuracies}
    return horizontal_bars(known, style).update(
        hovertemplate="%{y}: %{x:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]<extra>"
        + style.label
        + "</extra>"
    )


def _reference(figure: go.Figure, at: int, original: Interval) -> None:
    """Draw the original's interval and value, behind and across a benchmark's bars."""
    across = {"y0": at - 0.44, "y1": at + 0.44}
    figure.add_shape(
        type="rect",
        x0=original.low,
        x1=original.high,
        **across,
        fillcolor=theme.add_opacity(theme.GREY, 0.22),
        line={"width": 0},
        layer="below",
    )
    rule = {"color": theme.INK, "width": 1, "dash": "dot"}
    figure.add_shape(type="line", x0=original.value, x1=original.value, **across, line=rule)


def _caption(
    accuracies: Mapping[tuple[str, str], Interval],
    looks: Mapping[str, theme.Style],
    base: str,
    benchmarks: Sequence[str],
) -> str:
    findings = []
    for setting, style in looks.items():
        both = [b for b in benchmarks if (setting, b) in accuracies and (base, b) in accuracies]
        if setting == base or not both:
            continue
        change = mean_change([(accuracies[base, b], accuracies[setting, b]) for b in both])
        apart = [
            f"{b} ({interval_text(accuracies[setting, b])} against "
            f"{interval_text(accuracies[base, b])})"
            for b in both
            if accuracies[setting, b].high < accuracies[base, b].low
            or accuracies[setting, b].low > accuracies[base, b].high
        ]
        where = f"; intervals do not overlap on {list_words(apart)}" if apart else ""
        whole = sum(accuracies[base, b].value for b in both)
        remaining = sum(accuracies[setting, b].value for b in both)
        share = f"keeps {percent(remaining / whole)} of the accuracy, " if whole else ""
        findings.append(
            f"{style.label} {share}{100 * change.value:+.1f} points [{100 * change.low:+.1f}, "
            f"{100 * change.high:+.1f}] in the mean{where}"
        )
    opening = "; ".join(findings)
    opening = f"{opening[0].upper()}{opening[1:]}. " if opening else ""
    return (
        f"{opening}Accuracy on {len(benchmarks)} benchmarks by setting; whiskers are 95% "
        f"intervals; the dotted line and the band are the {looks[base].label} model's."
    )

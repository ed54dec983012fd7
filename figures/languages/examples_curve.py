"""Draw how many examples a vector needs."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
from plotly.subplots import make_subplots

from figures.style import theme
from figures.style.drawing import Drawing, interval_text, list_words, require_columns
from figures.style.settings import language_name
from figures.style.small_multiples import curve, log_ticks
from interp_steer.errors import FigureError
from interp_steer.statistics import Interval, find_stable_size
from interp_steer.statistics.sample_size import STABLE_COSINE

PANELS = {
    "in_language": "in the language",
    "cosine": "cosine",
}
"""The two quantities, from the top, and the titles of their axes."""


def examples_curve(frame: pl.DataFrame) -> Drawing:
    """Draw success, and the cosine with the vector of all examples, against the number of examples
    of a vector.

    Args:
        frame: columns ``n_examples``, ``quantity`` ("in_language", a share, or "cosine"),
            ``value``, ``low`` and ``high`` (ends of the 95% interval); with a column ``language``,
            one curve for each language. Either quantity may be absent.

    Returns:
        The drawing; its caption gives the number from which on the lower end of the cosine's
        interval is above 0.9.

    Raises:
        FigureError: for a frame without these columns or quantities, or two rows of one number.

    Example::

        examples_curve(stability).write(run.path, "examples")
    """
    require_columns(frame, ("n_examples", "quantity", "value", "low", "high"), "examples_curve")
    if "language" not in frame.columns:
        frame = frame.with_columns(pl.lit("").alias("language"))
    quantities = {
        quantity: points
        for quantity in PANELS
        if (points := _points(frame.filter(pl.col("quantity") == quantity)))
    }
    if not quantities:
        raise FigureError(
            f"examples_curve draws {' and '.join(PANELS)}, and the frame has "
            f"{', '.join(map(str, frame['quantity'].unique(maintain_order=True)))}."
        )
    codes = list(dict.fromkeys(code for points in quantities.values() for code in points))
    figure = make_subplots(len(quantities), 1, shared_xaxes=True, vertical_spacing=0.06)
    for row, points in enumerate(quantities.values(), start=1):
        for code, curve_points in points.items():
            at = codes.index(code)
            colour, symbol = theme.QUALITATIVE[at % 8], theme.SYMBOLS[at % len(theme.SYMBOLS)]
            for trace in curve(curve_points, language_name(code), colour, band=0.16, symbol=symbol):
                once = bool(trace.name) and row == 1 and len(codes) > 1
                figure.add_trace(trace.update(showlegend=once), row, 1)
    top = 18 * -(-len(codes) // 3) + 8 if len(codes) > 1 else 10
    theme.figure(theme.ONE_COLUMN, top + 48 + 140 * len(quantities), figure)
    figure.update_layout(margin={"t": top})
    numbers = sorted(
        {n for points in quantities.values() for each in points.values() for n in each}
    )
    figure.update_xaxes(type="log", tickvals=log_ticks(numbers), minor={"ticks": ""})
    figure.update_xaxes(title_text="examples", row=len(quantities))
    for row, quantity in enumerate(quantities, start=1):
        figure.update_yaxes(title_text=PANELS[quantity], row=row)
        if quantity == "in_language":
            figure.update_yaxes(range=[-0.03, 1.04], tickformat=".0%", row=row)
        else:
            rule = {"color": theme.GREY, "width": 1, "dash": "dash"}
            figure.add_hline(y=STABLE_COSINE, line=rule, row=row, col=1)  # type: ignore[arg-type]
            lowest = min(i.low for each in quantities[quantity].values() for i in each.values())
            room = 0.04 * (1.0 - min(lowest, 0.8))
            figure.update_yaxes(range=[min(lowest, 0.8) - room, 1.0 + room], row=row)
    figure.update_traces(
        hovertemplate="%{x} examples: %{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]",
        selector=lambda trace: trace.customdata is not None,
    )
    return Drawing(figure, _caption(quantities))


def _points(rows: pl.DataFrame) -> dict[str, dict[int, Interval]]:
    """Return a curve of intervals for each language."""
    twice = rows.filter(rows.select("language", "n_examples").is_duplicated())
    if len(twice):
        row = twice.row(0, named=True)
        raise FigureError(
            f"examples_curve has several values of {row['quantity']!r} at {row['n_examples']} "
            "examples; take their mean, or keep one of them."
        )
    return {
        str(code): {
            row["n_examples"]: Interval.of(row)
            for row in each.sort("n_examples").iter_rows(named=True)
        }
        for (code,), each in rows.group_by("language", maintain_order=True)
    }


def _caption(quantities: Mapping[str, Mapping[str, Mapping[int, Interval]]]) -> str:
    findings = [_describe_cosines(quantities["cosine"])] if "cosine" in quantities else []
    findings += (
        [_describe_success(quantities["in_language"])] if "in_language" in quantities else []
    )
    return (
        f"{' '.join(findings)} Share of answers in the language, and the cosine with the vector of "
        "all examples, against the number of examples of a vector; bands are 95% intervals."
    )


def _describe_cosines(curves: Mapping[str, Mapping[int, Interval]]) -> str:
    """Describe from which number of examples on the cosine is certainly high, for each language."""
    sizes = []
    for code, points in curves.items():
        whose = f" in {language_name(code)}" if len(curves) > 1 else ""
        first = find_stable_size(points)
        at = points[max(points) if first is None else first]
        when = f"at no number up to {max(points)}" if first is None else f"from {first} examples on"
        sizes.append(f"{when}{whose} ({at.value:.2f} [{at.low:.2f}, {at.high:.2f}])")
    return f"The lower end of the cosine's interval is above {STABLE_COSINE:g} {list_words(sizes)}."


def _describe_success(curves: Mapping[str, Mapping[int, Interval]]) -> str:
    changes = []
    for code, points in curves.items():
        first, last = min(points), max(points)
        whose = f" in {language_name(code)}" if len(curves) > 1 else ""
        changes.append(
            f"from {interval_text(points[first])} with {first} to {interval_text(points[last])} "
            f"with {last}{whose}"
        )
    return f"Success goes {list_words(changes)}."

"""Draw estimates side by side: a dot with its interval for each label, and for its control."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from figures.style import text_width, theme
from figures.style.drawing import Drawing, require_columns
from interp_steer.errors import FigureError

ROW = 17
"""Height in pixels of the row of a label."""

LONG = 140
"""Width in pixels of the longest label beyond which the figure is as wide as the page."""

CONTROLS = frozenset({"random", "shuffled", "others"})
"""Settings that fitted directions are compared with."""

REFERENCES = (0.0, 1.0)
"""Values with a reference line, if they lie on the axis: zero and the whole."""


def interval_dots(
    frame: pl.DataFrame,
    title: str,
    *,
    group: str | None = None,
    span: tuple[float, float] | None = None,
    about: str = "",
) -> Drawing:
    """Draw estimates with their intervals: a row for each label, and one or several panels.

    Args:
        frame: columns ``label``, ``panel``, ``setting`` (such as vector or random), ``value``,
            ``low`` and ``high``.
        title: title of the x axis.
        group: a column by which labels are grouped, with one group of panels below the other.
        span: the range of the axis; estimates beyond this range are arrows at its ends, with their
            number. By default the range of all estimates.
        about: a sentence about the drawn estimates, for the caption.

    Returns:
        The drawing; its caption gives, for each group, the label that exceeds its control most in
        the mean over the panels, with the estimates of every panel.

    Raises:
        FigureError: for a frame without these columns, a label that occurs twice in one panel and
            setting, or undefined values.

    Example::

        interval_dots(shares, "share of the effect", group="effect").caption
    """
    frame = _checked_frame(frame, group)
    panels, groups, settings = (
        frame[column].unique(maintain_order=True).to_list()
        for column in ("panel", "group", "setting")
    )
    labels = {
        name: frame.filter(pl.col("group") == name)["label"].unique(maintain_order=True).to_list()
        for name in groups
    }
    looks = {setting: _look(setting, at) for at, setting in enumerate(settings)}
    # A group is as tall as its labels need, and at least as its name, which stands upright.
    heights = [
        max(ROW * len(labels[name]), text_width.width(name, theme.NORMAL) + 10) for name in groups
    ]
    figure = make_subplots(
        len(groups),
        len(panels),
        shared_yaxes=True,
        shared_xaxes=True,
        column_titles=panels if len(panels) > 1 else None,
        row_heights=heights,
        horizontal_spacing=0.03,
        vertical_spacing=0.06,
    )
    low, high = span or (
        float(frame["low"].to_numpy().min()),
        float(frame["high"].to_numpy().max()),
    )
    _add_dots(figure, frame, panels, labels, looks, (low, high))
    margin = 0.04 * (high - low or 1)
    for at in REFERENCES:
        if low - margin <= at <= high + margin:
            figure.add_vline(
                x=at, line={"color": theme.GREY, "width": 1, "dash": "dot"}, layer="below"
            )
    figure.update_xaxes(range=[low - margin, high + margin], showgrid=True, nticks=6)
    longest = max(text_width.width(label, theme.SMALL) for label in frame["label"].unique())
    left = round(longest) + 12 + 22 * (group is not None)
    _set_size(figure, title, heights, len(panels), left, wide=len(panels) > 1 or longest > LONG)
    if group is not None:
        _name_groups(figure, groups, len(panels), aside=left - 10)
    figure.update_yaxes(automargin=False)
    return Drawing(figure, _caption(frame, title, about))


def _checked_frame(frame: pl.DataFrame, group: str | None) -> pl.DataFrame:
    """Check the estimates, and add the column ``group`` (empty without groups)."""
    require_columns(frame, ("label", "panel", "setting", "value", "low", "high"), "interval_dots")
    frame = frame.with_columns((pl.col(group) if group else pl.lit("")).alias("group"))
    cells = frame.select("group", "panel", "label", "setting")
    undefined = frame.filter(~pl.all_horizontal(pl.col("value", "low", "high").is_finite()))
    if cells.is_duplicated().any() or len(undefined):
        raise FigureError(
            f"interval_dots has {int(cells.is_duplicated().sum())} rows that occur twice and "
            f"{len(undefined)} that are undefined; give one finite estimate for each label, "
            "setting and panel."
        )
    return frame


def _add_dots(
    figure: go.Figure,
    frame: pl.DataFrame,
    panels: list[str],
    labels: Mapping[str, list[str]],
    looks: Mapping[str, theme.Style],
    span: tuple[float, float],
) -> None:
    """Add the dots of every setting to every panel of every group, and the labels of each group."""
    in_legend: set[str] = set()
    for row, (name, own_labels) in enumerate(labels.items(), start=1):
        for column, panel in enumerate(panels, start=1):
            arrows: Counter[tuple[str, int]] = Counter()
            for at, (setting, look) in enumerate(looks.items()):
                here = frame.filter(
                    (pl.col("group") == name)
                    & (pl.col("panel") == panel)
                    & (pl.col("setting") == setting)
                )
                aside = 0.3 * (at - (len(looks) - 1) / 2)
                places = [own_labels.index(label) + aside for label in here["label"]]
                trace = _dots(here, places, look, span, arrows)
                first = bool(len(here)) and setting not in in_legend
                trace.update(showlegend=first and len(looks) > 1)
                in_legend.update([setting] if first else [])
                figure.add_trace(trace, row, column)
        figure.update_yaxes(
            tickvals=list(range(len(own_labels))),
            ticktext=own_labels,
            range=[len(own_labels) - 0.4, -0.6],
            ticks="",
            showgrid=False,
            row=row,
        )


def _set_size(
    figure: go.Figure, title: str, heights: list[float], panels: int, left: int, *, wide: bool
) -> None:
    """Set the size and margins of the figure, and title the lowest axes.

    Args:
        figure: changed in place.
        title: of the axis, broken where a panel is too narrow.
        heights: of the groups, in pixels.
        panels: number of panels side by side.
        left: the left margin in pixels.
        wide: whether the figure is as wide as the page.
    """
    width, right = theme.TWO_COLUMNS if wide else theme.ONE_COLUMN, 12
    room = (width - left - right) * (1 - 0.03 * (panels - 1)) / panels
    wrapped_title = text_width.wrap_text(title, theme.NORMAL, room)
    figure.update_xaxes(title_text=wrapped_title, row=len(heights))
    top, bottom = 26 + 16 * (panels > 1), 36 + 14 * len(text_width.lines(wrapped_title))
    theme.figure(width, top + bottom + round(sum(heights)) + 14 * len(heights), figure)
    figure.update_layout(margin={"t": top, "l": left, "r": right, "b": bottom - 6})
    figure.update_annotations(font_size=theme.NORMAL)


def _name_groups(figure: go.Figure, groups: list[str], panels: int, aside: float) -> None:
    """Write the names of the groups at the left edge, upright and one below the other, at a fixed
    distance in pixels from the plot."""
    for row, name in enumerate(groups):
        axis: Any = figure.layout[f"yaxis{row * panels + 1}" if row else "yaxis"]
        low, high = axis.domain
        figure.add_annotation(
            text=name,
            x=0,
            xshift=-aside,
            y=(low + high) / 2,
            xref="paper",
            yref="paper",
            xanchor="center",
            yanchor="middle",
            textangle=-90,
            showarrow=False,
            font={"size": theme.NORMAL},
        )


def _look(setting: str, at: int) -> theme.Style:
    if setting == "vector":
        return replace(theme.setting_style("steered"), label="fitted direction")
    look = theme.setting_style(setting, at)
    own = setting not in theme.SETTINGS
    return replace(look, symbol=theme.SYMBOLS[at % len(theme.SYMBOLS)]) if own else look


def _dots(
    rows: pl.DataFrame,
    places: list[float],
    look: theme.Style,
    span: tuple[float, float],
    arrows: Counter[tuple[str, int]],
) -> go.Scatter:
    """Draw dots with whiskers; an arrow with its number for a value beyond the axis.

    ``arrows`` counts the arrows of the panel by label and side: the numbers of later settings stand
    further inwards, so that the numbers of one label do not overlap.
    """
    low, high = span
    beyond = [-1 if value < low else int(value > high) for value in rows["value"]]
    symbols = {-1: "triangle-left", 0: look.symbol, 1: "triangle-right"}
    inside = rows["value"].is_between(low, high).cast(pl.Float64)
    texts = []
    for label, value, side in zip(rows["label"], rows["value"], beyond, strict=True):
        texts.append(_number(value, side, arrows[label, side]))
        arrows[label, side] += 1
    return go.Scatter(
        x=rows["value"].clip(low, high).to_list(),
        y=places,
        mode="markers+text" if any(beyond) else "markers",
        marker={"color": look.colour, "symbol": [symbols[side] for side in beyond], "size": 6},
        text=texts,
        textposition=["middle left" if side > 0 else "middle right" for side in beyond],
        textfont={"size": theme.SMALL, "color": look.colour},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": ((rows["high"] - rows["value"]) * inside).to_list(),
            "arrayminus": ((rows["value"] - rows["low"]) * inside).to_list(),
            "thickness": 1,
            "width": 2,
            "color": look.colour,
        },
        customdata=rows.select("label", "value", "low", "high").rows(),
        hovertemplate="%{customdata[0]}: %{customdata[1]:.2f} [%{customdata[2]:.2f}, "
        "%{customdata[3]:.2f}]",
        name=look.label,
        legendgroup=look.label,
    )


def _number(value: float, side: int, before: int) -> str:
    """Return the number of an arrow, moved inwards by the room of the numbers of earlier
    settings."""
    room, number = 3 * before * "\N{EM SPACE}", f"{value:.1f}".replace("-", "\N{MINUS SIGN}")
    return {-1: room + number, 0: "", 1: number + room}[side]


def _caption(frame: pl.DataFrame, title: str, about: str) -> str:
    findings = []
    for (name,), rows in frame.group_by("group", maintain_order=True):
        best = _furthest_label(rows)
        by_setting = [
            f"{_look(str(setting), 0).label} "
            + ", ".join(
                f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
                + (f" ({row['panel']})" if frame["panel"].n_unique() > 1 else "")
                for row in each.iter_rows(named=True)
            )
            for (setting,), each in rows.filter(pl.col("label") == best).group_by(
                "setting", maintain_order=True
            )
        ]
        findings.append(f"{name + ': ' if name else ''}{best}, {'; '.join(by_setting)}")
    finding = ". ".join(part[0].upper() + part[1:] for part in findings)
    drawn = f"{title[0].upper()}{title[1:]}; whiskers are 95% intervals."
    return " ".join(part for part in (f"{finding}.", drawn, about) if part)


def _furthest_label(rows: pl.DataFrame) -> str:
    """Find the label whose value exceeds the absolute value of its control most.

    Values are means over panels. Without a control the label with the largest value wins.
    """
    fitted = "vector" if (rows["setting"] == "vector").any() else rows["setting"][0]
    means = rows.group_by("label", "setting", maintain_order=True).agg(pl.col("value").mean())
    own, control = (
        means.filter(pl.col("setting").is_in(settings)).select("label", "value")
        for settings in ([fitted], sorted(CONTROLS - {fitted}))
    )
    both = own.join(control, on="label", suffix="_control", maintain_order="left")
    ranked = (
        both.select("label", pl.col("value") - pl.col("value_control").abs()) if len(both) else own
    )
    return str(ranked.sort("value", descending=True, maintain_order=True)["label"][0])

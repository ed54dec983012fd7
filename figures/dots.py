"""Estimates side by side: a dot with its interval for each label, the control's beside it."""

from __future__ import annotations

from dataclasses import replace

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from figures import theme
from figures.drawing import Drawing, FigureError, need

ROW = 17
"""Height in pixels of a label."""

LONG = 24
"""Letters of a label beyond which the figure is as wide as the page."""

REFERENCES = (0.0, 1.0)
"""Values at which a line is drawn where the axis has them: nothing, and all of it."""


def interval_dots(frame: pl.DataFrame, title: str, *, group: str | None = None) -> Drawing:
    """Estimates with their intervals, a row for each label and a panel for each of several things.

    Args:
        frame: columns ``label``, ``panel``, ``setting`` (vector, random, or others), ``value``,
            ``low`` and ``high``.
        title: of the axis.
        group: a column by which labels are grouped, one group of panels under the other.

    Returns:
        The drawing; its caption gives, for each group, the label whose vector has the greatest
        mean over the panels, in every panel, beside its control.

    Raises:
        FigureError: for a frame without these columns, a label that is there twice in one panel and
            setting, or values that are undefined.

    Example:
        >>> interval_dots(shares, "share of the effect", group="effect").caption  # doctest: +SKIP
    """
    need(frame, ("label", "panel", "setting", "value", "low", "high"), "interval_dots")
    frame = frame.with_columns((pl.col(group) if group else pl.lit("")).alias("group"))
    cells = frame.select("group", "panel", "label", "setting")
    undefined = frame.filter(~pl.all_horizontal(pl.col("value", "low", "high").is_finite()))
    if cells.is_duplicated().any() or len(undefined):
        raise FigureError(
            f"interval_dots has {int(cells.is_duplicated().sum())} rows that are there twice and "
            f"{len(undefined)} that are undefined; give one finite estimate for each label, "
            "setting and panel."
        )
    panels, groups, settings = (
        frame[column].unique(maintain_order=True).to_list()
        for column in ("panel", "group", "setting")
    )
    labels = {
        name: frame.filter(pl.col("group") == name)["label"].unique(maintain_order=True).to_list()
        for name in groups
    }
    looks = {setting: _look(setting, at) for at, setting in enumerate(settings)}
    sizes = [len(labels[name]) for name in groups]
    figure = make_subplots(
        len(groups),
        len(panels),
        shared_yaxes=True,
        shared_xaxes=True,
        column_titles=panels if len(panels) > 1 else None,
        row_heights=sizes,
        horizontal_spacing=0.03,
        vertical_spacing=0.06,
    )
    for row, name in enumerate(groups, start=1):
        for column, panel in enumerate(panels, start=1):
            for at, (setting, look) in enumerate(looks.items()):
                here = frame.filter(
                    (pl.col("group") == name)
                    & (pl.col("panel") == panel)
                    & (pl.col("setting") == setting)
                )
                aside = 0.3 * (at - (len(looks) - 1) / 2)
                places = [labels[name].index(label) + aside for label in here["label"]]
                shown = row == column == 1
                figure.add_trace(_dots(here, places, look, shown), row, column)
        figure.update_yaxes(
            tickvals=list(range(len(labels[name]))),
            ticktext=labels[name],
            range=[len(labels[name]) - 0.4, -0.6],
            ticks="",
            showgrid=False,
            row=row,
        )
        if group is not None:
            figure.update_yaxes(title_text=name, row=row, col=1)
    low, high = float(frame["low"].to_numpy().min()), float(frame["high"].to_numpy().max())
    margin = 0.04 * (high - low or 1)
    for at in REFERENCES:
        if low - margin <= at <= high + margin:
            figure.add_vline(x=at, line={"color": theme.GREY, "width": 1, "dash": "dot"})
    figure.update_xaxes(range=[low - margin, high + margin], showgrid=True, nticks=6)
    figure.update_xaxes(title_text=title, row=len(groups), col=(len(panels) + 1) // 2)
    top = 26 + 16 * (len(panels) > 1)
    long = max(map(len, frame["label"].unique())) > LONG
    width = theme.TWO_COLUMNS if len(panels) > 1 or long else theme.ONE_COLUMN
    theme.figure(width, top + 50 + ROW * sum(sizes) + 14 * len(groups), figure)
    figure.update_layout(margin={"t": top})
    figure.update_annotations(font_size=11)
    return Drawing(figure, _caption(frame, title))


def _look(setting: str, at: int) -> theme.Style:
    if setting == "vector":
        return replace(theme.setting_style("steered"), label="fitted direction")
    return theme.setting_style(setting, at)


def _dots(rows: pl.DataFrame, places: list[float], look: theme.Style, shown: bool) -> go.Scatter:
    return go.Scatter(
        x=rows["value"].to_list(),
        y=places,
        mode="markers",
        marker={"color": look.colour, "symbol": look.symbol, "size": 6},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": (rows["high"] - rows["value"]).to_list(),
            "arrayminus": (rows["value"] - rows["low"]).to_list(),
            "thickness": 1,
            "width": 2,
            "color": look.colour,
        },
        customdata=rows.select("label", "low", "high").rows(),
        hovertemplate="%{customdata[0]}: %{x:.2f} [%{customdata[1]:.2f}, %{customdata[2]:.2f}]",
        name=look.label,
        legendgroup=look.label,
        showlegend=shown,
    )


def _caption(frame: pl.DataFrame, title: str) -> str:
    said = []
    for (name,), rows in frame.group_by("group", maintain_order=True):
        own = rows.filter(pl.col("setting") == rows["setting"][0])
        means = own.group_by("label", maintain_order=True).agg(pl.col("value").mean())
        best = means.sort("value", descending=True, maintain_order=True)["label"][0]
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
        said.append(f"{name + ': ' if name else ''}most has {best}, {'; '.join(by_setting)}")
    finding = ". ".join(part[0].upper() + part[1:] for part in said)
    return f"{finding}. {title[0].upper()}{title[1:]}; whiskers are 95% intervals."

"""Draw the main table of a comparison: models by settings, each number with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
import polars as pl

from figures.style import theme
from figures.style.drawing import Drawing, interval_text, list_words, percent, require_columns
from interp_steer.statistics import Interval, PairedTest, correct_p_values

SHARES = ("strict", "loose", "degenerate")
"""Columns of the table that are shares, each with its columns ``_low`` and ``_high``."""

KEYS = ("model", "setting", "at", "published")
"""Other columns that the table needs."""

TESTED = ("p_value", "only_baseline", "only_setting", "n")
"""Columns of McNemar's test against the baseline."""

COLUMNS = {
    "setting": ("", 158),
    "strict": ("strict", 88),
    "loose": ("loose", 88),
    "published": ("published", 72),
    "gain": ("gain", 96),
    "p_value": ("p", 60),
    "degenerate": ("degenerate", 92),
}
"""Header of each column, and its width in pixels."""

ROW = 23
"""Height of a row in pixels."""


def accuracy_table(records: pl.DataFrame) -> Drawing:
    """Draw strict and loose accuracy of every setting of every model, with the published accuracy.

    Args:
        records: a row for each model and setting: ``model``, ``setting``, ``at`` (empty, or the
            reason why the row is counted differently), ``strict``, ``loose`` and ``degenerate``
            with ``_low`` and ``_high`` of each, ``published`` (loose; null where no value is
            published), and, null without a baseline, ``gain`` (loose) with ``gain_low`` and
            ``gain_high``, and of McNemar's test ``p_value``, ``only_baseline``, ``only_setting``
            and ``n``.

    Returns:
        The drawing; its caption gives each model's accuracy, and the number of
        published values within the intervals. Tests are corrected by Holm's method over the whole
        table.

    Raises:
        FigureError: for records without these columns.
    """
    shares = [f"{name}{end}" for name in (*SHARES, "gain") for end in ("", "_low", "_high")]
    require_columns(records, (*KEYS, *shares, *TESTED), "accuracy_table")
    lines: list[dict[str, str]] = []
    shades: list[str] = []
    for model, own in accuracy_lines(records).items():
        lines += [{"setting": model.rpartition("/")[2]}, *own]
        shades += [theme.GRID, *["white"] * len(own)]
    figure = theme.figure(
        sum(width for _, width in COLUMNS.values()) + 4, ROW * (len(lines) + 1) + 12
    )
    align = ["left", *["right"] * (len(COLUMNS) - 1)]
    rule = {"color": "white", "width": 0}
    figure.add_trace(
        go.Table(
            columnwidth=[width for _, width in COLUMNS.values()],
            header={
                "values": [title for title, _ in COLUMNS.values()],
                "align": align,
                "height": ROW,
                "fill": {"color": "white"},
                "line": rule,
                "font": {"size": 11, "color": theme.MUTED},
            },
            cells={
                "values": [[line.get(column, "") for line in lines] for column in COLUMNS],
                "align": align,
                "height": ROW,
                "fill": {"color": [shades] * len(COLUMNS)},
                "line": rule,
                "font": {"size": 11, "color": theme.INK},
            },
        )
    )
    figure.update_layout(margin={"l": 2, "r": 2, "t": 2, "b": 2})
    return Drawing(figure, accuracy_caption(records))


def is_accuracy_table(records: pl.DataFrame) -> bool:
    """Determine whether records are those of an accuracy table."""
    return {*KEYS, *SHARES, *TESTED, "gain"} <= set(records.columns)


def accuracy_lines(records: pl.DataFrame) -> dict[str, list[dict[str, str]]]:
    """Return the words of an accuracy table: the rows of each model, by the columns of `COLUMNS`.

    Args:
        records: as for :func:`accuracy_table`.
    """
    rows = records.rows(named=True)
    tests = {at: _test(row) for at, row in enumerate(rows) if row["p_value"] is not None}
    p_values = dict(zip(tests, correct_p_values(list(tests.values())), strict=True))
    lines: dict[str, list[dict[str, str]]] = {}
    for at, row in enumerate(rows):
        lines.setdefault(row["model"], []).append(_cells(row, p_values.get(at)))
    return lines


def _cells(row: Mapping[str, Any], p_value: float | None) -> dict[str, str]:
    label = theme.setting_style(row["setting"]).label
    gain = "" if row["gain"] is None else _points(row)
    published = "" if row["published"] is None else f"{100 * row['published']:.1f}%"
    return {
        "setting": f"{label} *" if row["at"] else label,
        **{name: interval_text(_interval(row, name)) for name in SHARES},
        "published": published,
        "gain": gain,
        "p_value": "" if p_value is None else _p(p_value),
    }


def _interval(row: Mapping[str, Any], name: str) -> Interval:
    return Interval(row[name], row[f"{name}_low"], row[f"{name}_high"], 0, "")


def _points(row: Mapping[str, Any]) -> str:
    low, high = 100 * row["gain_low"], 100 * row["gain_high"]
    return f"{100 * row['gain']:+.0f} [{low:+.0f}, {high:+.0f}]"


def _p(p_value: float) -> str:
    """Return a p-value without the less-than sign, which a table would read as markup."""
    return "\u2264 0.001" if p_value <= 0.001 else f"{p_value:.2g}"


def _test(row: Mapping[str, Any]) -> PairedTest:
    return PairedTest(row["p_value"], row["only_baseline"], row["only_setting"], row["n"])


def accuracy_caption(records: pl.DataFrame) -> str:
    """Describe an accuracy table, with its numbers.

    Args:
        records: as for :func:`accuracy_table`.
    """
    sentences = []
    for model in records["model"].unique(maintain_order=True).to_list():
        rows = records.filter((pl.col("model") == model) & (pl.col("at") == ""))
        values = [
            f"{theme.setting_style(row['setting']).label} {interval_text(_interval(row, 'loose'))}"
            for row in rows.iter_rows(named=True)
        ]
        sentences.append(f"{model}: {list_words(values)}.")
    known = records.filter(pl.col("published").is_not_null())
    beside = ""
    if len(known):
        within = known.filter(pl.col("published").is_between("loose_low", "loose_high"))
        beside = (
            f" Of {len(known)} published values {len(within)} "
            f"({percent(len(within) / len(known))}) lie within our intervals."
        )
    starred = [at for at in records["at"].unique(maintain_order=True) if at]
    star = f" Rows with a star: {list_words(starred)}." if starred else ""
    return (
        f"Loose accuracy: {' '.join(sentences)}{beside} Brackets are 95% intervals. Gains are in "
        "points of loose accuracy over the same prompts without steering; p is McNemar's, "
        f"Holm-corrected.{star}"
    )

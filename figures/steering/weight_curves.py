"""Draw accuracy and quality against a growing weight, without and with the text instruction."""

from __future__ import annotations

import polars as pl

from figures.style import theme
from figures.style.drawing import Drawing, percent, require_columns
from figures.style.small_multiples import Grid, curve
from interp_steer.statistics import Interval, mean_of, share_of

LOOKS = {False: ("without the text", "solid", "circle"), True: ("with the text", "dash", "diamond")}


def weight_curves(records: pl.DataFrame, *, outcome: str = "strict") -> Drawing:
    """Draw accuracy and judged quality against the weight of a vector, a panel per task.

    Args:
        records: columns ``instruction`` (the task), ``instructed``, ``strength`` (0 where
            unsteered; its sign is ignored), ``query``, ``quality`` (null where not judged) and
            ``outcome``.
        outcome: the column of success.

    Returns:
        The drawing; its caption gives accuracy and quality at no weight and at the largest.

    Raises:
        FigureError: for records without these columns.
    """
    require_columns(
        records, ("instruction", "instructed", "strength", "query", "quality", outcome),
        "weight_curves",
    )  # fmt: skip
    records = records.with_columns(pl.col("strength").abs())
    names = records["instruction"].unique(maintain_order=True).to_list()
    grid = Grid(names, columns=2)
    findings = []
    for panel, name in enumerate(names):
        for instructed, (label, dash, symbol) in LOOKS.items():
            rows = records.filter(
                (pl.col("instruction") == name) & (pl.col("instructed") == instructed)
            )
            accuracy, quality = _by_weight(rows, outcome)
            look = {"band": 0.12, "dash": dash, "symbol": symbol}
            for trace in curve(accuracy, f"accuracy, {label}", theme.BLUE, **look):
                grid.add(trace, panel)
            for trace in curve(quality, f"quality, {label}", theme.ORANGE, **look):
                grid.add(trace, panel)
            if not instructed:
                findings.append(_finding(name, accuracy, quality))
    weights = sorted(records["strength"].unique().to_list())
    figure = grid.finish(
        legend_rows=2,
        layers=[0, 1],
        x_title="weight (of the vector's norm)",
        y_title="share or mean",
        y_range=(-0.02, 1.05),
    )
    figure.update_xaxes(range=[-0.1, weights[-1] + 0.1], tickvals=weights)
    return Drawing(
        figure,
        f"{' '.join(findings)} Accuracy, and mean quality of the answers, against the weight of "
        "each vector; bands are 95% intervals.",
    )


def _by_weight(
    rows: pl.DataFrame, outcome: str
) -> tuple[dict[float, Interval], dict[float, Interval]]:
    """Compute accuracy and quality at each weight; quality only where an answer was judged."""
    accuracy: dict[float, Interval] = {}
    quality: dict[float, Interval] = {}
    for (weight,), answers in rows.sort("strength").group_by("strength", maintain_order=True):
        at = float(weight)  # type: ignore[arg-type]
        accuracy[at] = share_of(answers, outcome)
        if judged := mean_of(answers, "quality"):
            quality[at] = judged
    return accuracy, quality


def _finding(name: str, accuracy: dict[float, Interval], quality: dict[float, Interval]) -> str:
    first, last = min(accuracy), max(accuracy)
    finding = (
        f"{name.capitalize()}: accuracy {percent(accuracy[first].value)} to "
        f"{percent(accuracy[last].value)} at weight {last:g}"
    )
    if first in quality and last in quality:
        finding += f", quality {quality[first].value:.2f} to {quality[last].value:.2f}"
    return f"{finding}, without the text."

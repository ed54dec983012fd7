"""Look up the numbers that the papers report, to draw them beside a run on the same model."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import polars as pl

TABLE = Path(__file__).with_suffix(".csv")

SCHEMA = {
    "model": pl.String,
    "experiment": pl.String,
    "setting": pl.String,
    "at": pl.String,
    "outcome": pl.String,
    "value": pl.Float64,
    "n": pl.Int64,
    "source": pl.String,
}
"""``at`` is the variable of an experiment: a weight, a number of sentences, an instruction, a
variant, a task; empty without a variable. ``outcome`` names the quantity of ``value``: a share
under the strict or loose check, mean words, judged quality, the accuracy of a benchmark, or the
chosen layer or weight, null where the paper chose not to steer. ``n`` is the number of prompts,
null where the paper does not state it."""

BASELINES = {"steered": "none", "both": "instruction"}
"""Baseline of each steered setting."""

OVERRIDDEN = ("detectable_format:title", "detectable_format:multiple_sections")
"""Instructions whose steered answers the published plot replaced by the baseline's answers."""

OVERRIDE = "unsteered title and sections"
"""``at`` of the numbers that are reported with this replacement."""


@cache
def published() -> pl.DataFrame:
    """Return the whole table."""
    return pl.read_csv(TABLE, schema=SCHEMA).with_columns(pl.col("at").fill_null(""))


def reported(model: str, experiment: str, outcome: str) -> dict[tuple[str, str], float]:
    """Return the numbers that a paper reports of a model.

    Args:
        model: a Hugging Face name.
        experiment: its name in the table.
        outcome: its name in the table.

    Returns:
        Values by setting and ``at``; empty for a model that no paper ran.
    """
    rows = published().filter(
        (pl.col("model") == model)
        & (pl.col("experiment") == experiment)
        & (pl.col("outcome") == outcome)
        & pl.col("value").is_not_null()
    )
    return {
        (setting, at): value
        for setting, at, value in rows.select("setting", "at", "value").iter_rows()
    }


def reported_sentences(model: str) -> dict[tuple[str, str, int], float]:
    """Return the reported shares for numbers of sentences, by relation, setting and number."""
    return {
        (relation, setting, int(k)): value
        for relation in ("at most", "exactly")
        for (setting, k), value in reported(model, f"{relation} k sentences", "strict").items()
    }


def as_plotted(records: pl.DataFrame) -> pl.DataFrame:
    """Return the records of the four settings as the published plot counts them: see
    :data:`OVERRIDDEN`.

    Args:
        records: columns ``instruction`` and ``setting``; an argument behind the name of an
            instruction (``?NAME=VALUE``) does not matter.
    """
    over = pl.col("instruction").str.replace(r"\?.*$", "").is_in(OVERRIDDEN)
    steered = pl.col("setting").is_in(list(BASELINES))
    replaced = [
        records.filter(over & (pl.col("setting") == baseline)).with_columns(
            pl.lit(setting).alias("setting")
        )
        for setting, baseline in BASELINES.items()
    ]
    return pl.concat([records.filter(~(over & steered)), *replaced])

"""Compute shares with intervals from records, and compare settings in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from interp_steer.arguments import check_list
from interp_steer.errors import StatisticsError
from interp_steer.statistics.intervals import Interval, bootstrap_mean, share, wilson
from interp_steer.statistics.paired import PairedTest, holm, mcnemar, paired_difference


def share_of(records: pl.DataFrame, outcome: str) -> Interval:
    """Return the share of records with an outcome, and its 95 % interval.

    The interval is Wilson's when every query has one record. When a query has several records (for
    several instructions, phrasings or seeds), they are not independent, and whole queries are
    resampled.

    Args:
        records: the records of one cell.
        outcome: a boolean column; nulls are left out.

    Raises:
        StatisticsError: when the outcome is null in every record.
    """
    known = records.filter(pl.col(outcome).is_not_null())
    if known.is_empty():
        raise StatisticsError(f"no record has a value of {outcome!r}; score the answers first.")
    values = known[outcome].to_list()
    queries = known["query"].to_list()
    n_queries = len(set(queries))
    if n_queries == len(queries):
        return share(values)
    if len(set(values)) == 1:
        # Resampling equal values would claim certainty: count the queries instead.
        return wilson(n_queries if values[0] else 0, n_queries)
    return bootstrap_mean([float(value) for value in values], clusters=queries)


def mean_of(records: pl.DataFrame, column: str) -> Interval | None:
    """Return the mean of a column of numbers, and its 95 % bootstrap interval over whole queries.

    Args:
        records: the records of one cell.
        column: a column of numbers; nulls are left out.

    Returns:
        None when no record has a value.
    """
    known = records.filter(pl.col(column).is_not_null())
    return bootstrap_mean(known[column], known["query"]) if len(known) else None


def shares(
    records: pl.DataFrame, by: Sequence[str], outcome: str
) -> dict[tuple[Any, ...], Interval]:
    """Return `share_of` for each combination of the columns ``by``, in the order of first
    appearance."""
    check_list("by", by, StatisticsError)
    cells = records.partition_by(list(by), as_dict=True, maintain_order=True)
    return {
        tuple(cell): share_of(rows, outcome)
        for cell, rows in cells.items()
        if rows[outcome].is_not_null().any()
    }


@dataclass(frozen=True)
class Comparison:
    """The comparison of two settings on the same prompts."""

    difference: Interval
    """The share under the second setting minus the share under the first."""
    test: PairedTest | None
    """McNemar's test; None when a prompt has several records, for which the test is not defined."""


def compare(records: pl.DataFrame, first: str, second: str, outcome: str) -> Comparison | None:
    """Compare two settings prompt by prompt.

    Args:
        records: with the columns ``instruction``, ``key``, ``setting`` and ``outcome``.
        first: the baseline.
        second: the setting compared with it.
        outcome: a boolean column.

    Returns:
        The second's gain over the first; None when they share no prompt. With several records of a
        prompt and setting (random directions of several seeds) its interval is a bootstrap over
        prompts.
    """
    on = ["instruction", "key"]
    sides = [
        records.filter((pl.col("setting") == setting) & pl.col(outcome).is_not_null())
        .group_by(on, maintain_order=True)
        .agg(pl.col(outcome).cast(pl.Float64).mean().alias("share"), pl.len().alias("n"))
        for setting in (first, second)
    ]
    paired = sides[0].join(sides[1], on=on, how="inner", suffix="_second")
    if paired.is_empty():
        return None
    a, b = paired["share"].to_list(), paired["share_second"].to_list()
    if paired["n"].max() == 1 and paired["n_second"].max() == 1:
        return Comparison(paired_difference(a, b), mcnemar(a, b))
    gains = [y - x for x, y in zip(a, b, strict=True)]
    return Comparison(bootstrap_mean(gains, clusters=paired["key"].to_list()), None)


def mean_gain(records: pl.DataFrame, first: str, second: str, outcome: str) -> Interval | None:
    """Compute how much a score is higher under one setting than under another, prompt by prompt.

    Args:
        records: columns ``instruction``, ``setting``, ``key``, ``query`` and ``outcome``; rows
            without a score are left out.
        first: the baseline.
        second: the setting compared with the baseline; of several answers to a prompt the mean
            score is taken.
        outcome: the column of the score.

    Returns:
        The mean difference, queries resampled whole; None when no prompt has a score in both.
    """
    on = ["instruction", "key", "query"]
    sides = [
        records.filter((pl.col("setting") == setting) & pl.col(outcome).is_not_null())
        .group_by(on, maintain_order=True)
        .agg(pl.col(outcome).mean().alias("score"))
        for setting in (first, second)
    ]
    paired = sides[0].join(sides[1], on=on, suffix="_second", maintain_order="left")
    if paired.is_empty():
        return None
    gains = paired["score_second"] - paired["score"]
    return bootstrap_mean(gains.to_list(), paired["query"].to_list())


def correct_p_values(tests: Sequence[PairedTest]) -> list[float]:
    """Return the Holm-corrected p-values of the tests of one figure."""
    return holm([test.p_value for test in tests]) if tests else []

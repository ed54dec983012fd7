"""Measure how English abilities suffer under steering towards Italian (paper B).

The interventions of language_benchmarks act while the model is asked in English: MMLU, HellaSwag
and ARC by the log-likelihoods of the options, and the likelihood of held-out English answers. The
model is asked as if it were steered by mistake: the loss is the price of steering where it is not
wanted. A model steered towards Italian should find English answers less likely. If it can no longer
choose the true English option, that is damage. Random directions of the same norms show how much of
either effect any displacement causes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

import figures
import interp_steer as ist
from analyses.languages import base
from analyses.languages.base import target_of
from analyses.languages.benchmark_runs import (
    Benchmark,
    Benchmarked,
    Setting,
    ask,
    choose_benchmarks,
    comparisons,
    settings,
)
from interp_steer.statistics import Interval, bootstrap_mean, share_of

BUNDLED = (
    Benchmark("MMLU", "burattino_mmlu_en"),
    Benchmark("HellaSwag", "burattino_hellaswag_en", continued=True),
    Benchmark("ARC", "burattino_arc_en"),
)
"""Benchmarks about the world of the bundled models."""

HUB = (
    Benchmark("MMLU", "m_mmlu_en", fewshot=5),
    Benchmark("HellaSwag", "hellaswag"),
    Benchmark("ARC", "arc_challenge"),
)
"""Benchmarks for any other model."""


@dataclass(frozen=True)
class Config(Benchmarked):
    """Options of the questions in English."""

    n_test: int = 48
    """Held-out questions whose English answers are scored."""


def main(config: Config, run: ist.Run) -> None:
    """Ask the original and the steered model the same questions, in English."""
    model = base.load(config)
    benchmarks = choose_benchmarks(config, BUNDLED, HUB)
    wanted = settings(config, model, run)

    records = ask(model, wanted, benchmarks, config, run.seed)
    run.write_records(records)
    run.leave(summary=numbers(records))
    run.draw("english_kept", figures.retention_bars(table(records)))

    likely = likelihoods(config, model, wanted, run.seed)
    run.write_records(likely, "likelihoods")
    run.leave(summary=perplexities(likely))


def likelihoods(
    config: Config, model: ist.HookedLM, wanted: Sequence[Setting], seed: int
) -> pl.DataFrame:
    """Return the log-probability per token of the answers in the language steered away from."""
    items = base.read_items(config, seed)
    by_key = {item.key: item for item in items}
    code = target_of(config.negative)
    pairs = base.language_set(config, items, seed).test
    asked = [(pair, setting) for setting in wanted for pair in pairs]
    scores = ist.logprobs(
        model,
        [pair.absent for pair, _ in asked],
        [by_key[pair.key].answer(code) for pair, _ in asked],
        [setting.steering for _, setting in asked],
    )
    return pl.DataFrame(
        [
            {
                "key": pair.key,
                "query": pair.query,
                "setting": setting.name,
                "positive": setting.positive,
                "draw": setting.draw,
                "answer": by_key[pair.key].answer(code),
                "n_tokens": len(score.tokens),
                "logprob": score.total / len(score.tokens),
            }
            for (pair, setting), score in zip(asked, scores, strict=True)
        ],
        schema_overrides={"positive": pl.String, "draw": pl.Int64},
    )


def table(records: pl.DataFrame) -> pl.DataFrame:
    """Return the accuracy of every setting on every benchmark."""
    rows = []
    for (setting, benchmark), answers in records.group_by(
        "setting", "benchmark", maintain_order=True
    ):
        value = share_of(answers, "correct")
        rows.append(
            {
                "setting": setting,
                "benchmark": benchmark,
                "value": value.value,
                "low": value.low,
                "high": value.high,
            }
        )
    return pl.DataFrame(rows)


def numbers(records: pl.DataFrame) -> dict[str, object]:
    """Return accuracies, and paired comparisons with the original and the random directions."""
    summary: dict[str, object] = {}
    for (task,), rows in records.group_by("asked_for", maintain_order=True):
        for (setting,), answers in rows.group_by("setting", maintain_order=True):
            summary[f"accuracy.{task}.{setting}"] = share_of(answers, "correct")
        summary |= comparisons(rows, "correct", f"accuracy.{task}")
    return summary


def perplexities(likely: pl.DataFrame) -> dict[str, object]:
    """Return the perplexity of the given answers in each setting, and its ratio to the original's.

    All answers have equal weight: the perplexity is the exponential of their mean loss per token.
    Its interval comes from resampling answers.
    """
    original = likely.filter(pl.col("setting") == "original").select("key", plain="logprob")
    summary: dict[str, object] = {}
    for (setting,), rows in likely.join(original, on="key").group_by(
        "setting", maintain_order=True
    ):
        keys = rows["key"]
        summary[f"perplexity.{setting}"] = _exponential(bootstrap_mean(-rows["logprob"], keys))
        if setting != "original":
            change = rows["plain"] - rows["logprob"]
            summary[f"perplexity_ratio.{setting}"] = _exponential(bootstrap_mean(change, keys))
    return summary


def _exponential(estimate: Interval) -> Interval:
    """Return the exponential of an estimate, with its interval."""
    value, low, high = (math.exp(end) for end in (estimate.value, estimate.low, estimate.high))
    return Interval(value, low, high, estimate.n, estimate.method)

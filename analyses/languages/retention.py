"""What steering towards Italian leaves of English abilities (paper B, retained performance).

The interventions of language_benchmarks act while the model is asked in English: MMLU, HellaSwag
and ARC by the log-likelihoods of the options, and how likely it finds held-out English answers. The
model is asked as if it were steered by mistake: what is lost is the price of steering where it is
not wanted. That a model steered towards Italian finds English answers less likely is what steering
is for; that it no longer knows which English option is true is damage. Random directions of the
same norms tell how much of either comes of being pushed at all.
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
    chosen_benchmarks,
    comparisons,
    settings,
)
from interp_steer.statistics.intervals import Interval, bootstrap_mean
from interp_steer.statistics.records import share_of

BUNDLED = (
    Benchmark("MMLU", "burattino_mmlu_en"),
    Benchmark("HellaSwag", "burattino_hellaswag_en", continued=True),
    Benchmark("ARC", "burattino_arc_en"),
)
"""About the world of the bundled models."""

HUB = (
    Benchmark("MMLU", "m_mmlu_en", fewshot=5),
    Benchmark("HellaSwag", "hellaswag"),
    Benchmark("ARC", "arc_challenge"),
)
"""For any other model."""


@dataclass(frozen=True)
class Config(Benchmarked):
    """What is asked in English, and under which steering."""

    n_test: int = 48
    """Held-out questions whose English answers are scored."""


def main(config: Config, run: ist.Run) -> None:
    """Ask the original and the steered model the same, in English."""
    model = base.load(config)
    benchmarks = chosen_benchmarks(config, BUNDLED, HUB)
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
    """Log-probability a token of the answers, in the language steered from, to test questions."""
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
    """Accuracy of every setting on every benchmark."""
    rows = []
    for (setting, benchmark), found in records.group_by(
        "setting", "benchmark", maintain_order=True
    ):
        value = share_of(found, "correct")
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
    """Accuracies, and paired comparisons with the original and the random directions."""
    found: dict[str, object] = {}
    for (task,), rows in records.group_by("asked_for", maintain_order=True):
        for (setting,), each in rows.group_by("setting", maintain_order=True):
            found[f"accuracy.{task}.{setting}"] = share_of(each, "correct")
        found |= comparisons(rows, "correct", f"accuracy.{task}")
    return found


def perplexities(likely: pl.DataFrame) -> dict[str, object]:
    """Perplexity of the given answers in each setting, and how many times the original's it is.

    Answers weigh alike: it is the exponential of their mean loss a token, whose interval comes
    from resampling answers.
    """
    original = likely.filter(pl.col("setting") == "original").select("key", plain="logprob")
    found: dict[str, object] = {}
    for (setting,), rows in likely.join(original, on="key").group_by(
        "setting", maintain_order=True
    ):
        keys = rows["key"]
        found[f"perplexity.{setting}"] = _exponential(bootstrap_mean(-rows["logprob"], keys))
        if setting != "original":
            change = rows["plain"] - rows["logprob"]
            found[f"perplexity_ratio.{setting}"] = _exponential(bootstrap_mean(change, keys))
    return found


def _exponential(of: Interval) -> Interval:
    """The interval of the exponential of an estimate."""
    return Interval(math.exp(of.value), math.exp(of.low), math.exp(of.high), of.n, of.method)

"""Ask Italian benchmarks of the original, steered and fine-tuned model (paper B, results table).

Vectors towards Italian act on every generated token while lm-evaluation-harness asks MMLU,
HellaSwag and ARC. One vector is fitted on English questions answered in Italian (EN-IT), the other
on Italian questions (IT-IT). Each benchmark is asked in two ways: by the log-likelihoods of the
options, and by generation. For a generated answer it is recorded whether it is in Italian and
whether it chooses an option at all. The steered settings are compared with the original model,
random directions of the same norms, and a model fine-tuned on Italian where one is named (the
bundled models have none). The bundled models are asked about their own world. They are also asked
once in English: steering should make them answer in Italian even then.

The share in Italian is that of answers of five words or more; a single letter belongs to no
language.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

import figures
import interp_steer as ist
from analyses.languages import base
from analyses.languages.benchmark_runs import (
    Benchmark,
    Benchmarked,
    Setting,
    ask,
    choose_benchmarks,
    comparisons,
    settings,
)
from figures.published import reported
from interp_steer.errors import OptionError
from interp_steer.statistics import share_of

MEASURES = {"accuracy": "correct", "in_language": "in_language", "parses": "parses"}
"""The measures, and the column of the records of which each is the share."""


BUNDLED = (
    Benchmark("MMLU", "burattino_mmlu_it"),
    Benchmark("HellaSwag", "burattino_hellaswag_it", continued=True),
    Benchmark("ARC", "burattino_arc_it"),
    Benchmark("MMLU", "burattino_mmlu_it_gen"),
    Benchmark("HellaSwag", "burattino_hellaswag_it_gen", continued=True),
    Benchmark("ARC", "burattino_arc_it_gen"),
    Benchmark("ARC asked in English", "burattino_arc_en_it_gen"),
)
"""Benchmarks about the world of the bundled models."""

HUB = (
    Benchmark("MMLU", "m_mmlu_it", fewshot=5),
    Benchmark("HellaSwag", "hellaswag_it"),
    Benchmark("ARC", "arc_it"),
    Benchmark("MMLU", "m_mmlu_it_gen"),
    Benchmark("HellaSwag", "hellaswag_it_gen"),
    Benchmark("ARC", "arc_it_gen"),
)
"""Benchmarks for any other model."""


@dataclass(frozen=True)
class Config(Benchmarked):
    """Options of the benchmarks."""

    models: tuple[str, ...] | None = None
    """Models to ask, one after the other. Default: only that of --model."""
    rivals: tuple[str, ...] = ()
    """Models that were fine-tuned on Italian, as MODEL=RIVAL."""
    n_test: int = 0
    """Held-out questions of the contrast sets. This analysis does not ask them."""


def main(config: Config, run: ist.Run) -> None:
    """Ask every model in every setting."""
    rivals = rivals_of(config)
    asked = []
    for name in config.models or (config.model,):
        own = replace(config, model=name)
        benchmarks = choose_benchmarks(own, BUNDLED, HUB)
        model = base.load(own)
        frames = [ask(model, settings(own, model, run), benchmarks, own, run.seed)]
        if (rival := rivals.get(name)) is not None:
            tuned = base.load(replace(config, model=rival))
            frames.append(ask(tuned, [Setting("fine-tuned")], benchmarks, own, run.seed))
        else:
            print(f"{name} is not compared with a fine-tuned model; name one by --rivals")
        asked.append(pl.concat(frames).with_columns(pl.lit(name).alias("model")))
        run.leave(summary=numbers(asked[-1]))
    records = pl.concat(asked)
    run.write_records(records)
    for (how,), rows in records.group_by("how", maintain_order=True):
        run.draw(f"benchmarks_by_{how}", figures.benchmark_table(table(rows)))


def rivals_of(config: Config) -> dict[str, str]:
    """Return the fine-tuned rival of each model that has one.

    Raises:
        OptionError: for a text other than MODEL=RIVAL, or a MODEL that is not asked.
    """
    rivals = {}
    for text in config.rivals:
        model, _, rival = text.partition("=")
        if not rival or model not in (config.models or (config.model,)):
            raise OptionError(
                f"rival {text!r}: write MODEL=RIVAL, where MODEL is one of "
                f"{', '.join(config.models or (config.model,))}"
            )
        rivals[model] = rival
    return rivals


def table(records: pl.DataFrame) -> pl.DataFrame:
    """Return the numbers of every model, setting, benchmark and measure, with published values."""
    rows = []
    by = ["model", "setting", "weights", "benchmark", "asked_for"]
    for cell, answers in records.group_by(by, maintain_order=True):
        model, setting, weights, benchmark, task = map(str, cell)
        published = reported(weights, "Italian benchmarks", "accuracy")
        for measure, column in MEASURES.items():
            if answers[column].is_null().all():
                continue
            value = share_of(answers, column)
            unsteered = measure == "accuracy" and setting in ("original", "fine-tuned")
            rows.append(
                {
                    "model": model,
                    "setting": setting,
                    "benchmark": benchmark,
                    "measure": measure,
                    "value": value.value,
                    "low": value.low,
                    "high": value.high,
                    "published": published.get(("original", task)) if unsteered else None,
                }
            )
    return pl.DataFrame(rows, schema_overrides={"published": pl.Float64})


def numbers(records: pl.DataFrame) -> dict[str, object]:
    """Return the shares of each setting of one model, and paired comparisons under steering."""
    summary: dict[str, object] = {}
    (model,) = records["model"].unique()
    for (task,), rows in records.group_by("asked_for", maintain_order=True):
        for measure, column in MEASURES.items():
            known = rows.filter(pl.col(column).is_not_null())
            for (setting,), answers in known.group_by("setting", maintain_order=True):
                summary[f"{measure}.{model}.{task}.{setting}"] = share_of(answers, column)
            if measure != "parses":
                summary |= comparisons(known, column, f"{measure}.{model}.{task}")
    return summary

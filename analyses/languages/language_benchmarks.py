"""Italian benchmarks: the original model, steered, and fine-tuned (paper B, table of results).

Vectors towards Italian, from English questions answered in Italian (EN-IT) and from Italian ones
(IT-IT), act on every generated token while lm-evaluation-harness asks MMLU, HellaSwag and ARC. Each
is asked in two ways: by the log-likelihoods of the options, and by an answer in words, of which is
recorded whether it is in Italian and chooses an option at all. Beside the steered settings stand
the original model, random directions of the same norms, and a model fine-tuned on Italian where one
is named (there is none of the bundled ones). The bundled models are asked about their own world,
and once in English as well: whether they answer in Italian then is what steering is for.

The share in Italian is that of answers of five words or more; a letter is in no language.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import polars as pl

import figures
import interp_steer as ist
from analyses.languages import base
from analyses.languages.benchmark_runs import (
    Benchmark,
    Benchmarked,
    Setting,
    ask,
    chosen_benchmarks,
    comparisons,
    settings,
)
from figures.published import reported
from interp_steer.errors import OptionError
from interp_steer.statistics.records import share_of

if TYPE_CHECKING:
    pass

MEASURES = {"accuracy": "correct", "in_language": "in_language", "parses": "parses"}
"""What is reported, and the column of the records that it is the share of."""


BUNDLED = (
    Benchmark("MMLU", "burattino_mmlu_it"),
    Benchmark("HellaSwag", "burattino_hellaswag_it", continued=True),
    Benchmark("ARC", "burattino_arc_it"),
    Benchmark("MMLU", "burattino_mmlu_it_gen"),
    Benchmark("HellaSwag", "burattino_hellaswag_it_gen", continued=True),
    Benchmark("ARC", "burattino_arc_it_gen"),
    Benchmark("ARC asked in English", "burattino_arc_en_it_gen"),
)
"""About the world of the bundled models."""

HUB = (
    Benchmark("MMLU", "m_mmlu_it", fewshot=5),
    Benchmark("HellaSwag", "hellaswag_it"),
    Benchmark("ARC", "arc_it"),
    Benchmark("MMLU", "m_mmlu_it_gen"),
    Benchmark("HellaSwag", "hellaswag_it_gen"),
    Benchmark("ARC", "arc_it_gen"),
)
"""For any other model."""


@dataclass(frozen=True)
class Config(Benchmarked):
    """Which models are asked, and how."""

    models: tuple[str, ...] | None = None
    """Models, one after the other; that of --model alone when not given."""
    rivals: tuple[str, ...] = ()
    """Models that were fine-tuned on Italian, as MODEL=RIVAL."""
    n_test: int = 0
    """Questions beside the benchmarks' own; none are asked."""


def main(config: Config, run: ist.Run) -> None:
    """Ask every model in every setting."""
    rivals = rivals_of(config)
    asked = []
    for name in config.models or (config.model,):
        own = replace(config, model=name)
        benchmarks = chosen_benchmarks(own, BUNDLED, HUB)
        model = base.load(own)
        found = [ask(model, settings(own, model, run), benchmarks, own, run.seed)]
        if (rival := rivals.get(name)) is not None:
            tuned = base.load(replace(config, model=rival))
            found.append(ask(tuned, [Setting("fine-tuned")], benchmarks, own, run.seed))
        else:
            print(f"no rival of {name} is named, and none is asked; name one by --rivals")
        asked.append(pl.concat(found).with_columns(pl.lit(name).alias("model")))
        run.leave(summary=numbers(asked[-1]))
    records = pl.concat(asked)
    run.write_records(records)
    for (how,), rows in records.group_by("how", maintain_order=True):
        run.draw(f"benchmarks_by_{how}", figures.benchmark_table(table(rows)))


def rivals_of(config: Config) -> dict[str, str]:
    """The fine-tuned rival of each model that has one.

    Raises:
        OptionError: for one that is not MODEL=RIVAL, or is of a model that is not asked.
    """
    found = {}
    for said in config.rivals:
        model, _, rival = said.partition("=")
        if not rival or model not in (config.models or (config.model,)):
            raise OptionError(
                f"rival {said!r}: write MODEL=RIVAL, where MODEL is one of "
                f"{', '.join(config.models or (config.model,))}"
            )
        found[model] = rival
    return found


def table(records: pl.DataFrame) -> pl.DataFrame:
    """The numbers of every model, setting, benchmark and measure, beside what is published."""
    rows = []
    by = ["model", "setting", "weights", "benchmark", "asked_for"]
    for cell, found in records.group_by(by, maintain_order=True):
        model, setting, weights, benchmark, task = map(str, cell)
        known = reported(weights, "Italian benchmarks", "accuracy")
        for measure, column in MEASURES.items():
            if found[column].is_null().all():
                continue
            value = share_of(found, column)
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
                    "published": known.get(("original", task)) if unsteered else None,
                }
            )
    return pl.DataFrame(rows, schema_overrides={"published": pl.Float64})


def numbers(records: pl.DataFrame) -> dict[str, object]:
    """Of one model: shares of each setting, and paired comparisons of those that are steered."""
    found: dict[str, object] = {}
    (model,) = records["model"].unique()
    for (task,), rows in records.group_by("asked_for", maintain_order=True):
        for measure, column in MEASURES.items():
            known = rows.filter(pl.col(column).is_not_null())
            for (setting,), each in known.group_by("setting", maintain_order=True):
                found[f"{measure}.{model}.{task}.{setting}"] = share_of(each, column)
            if measure != "parses":
                found |= comparisons(known, column, f"{measure}.{model}.{task}")
    return found

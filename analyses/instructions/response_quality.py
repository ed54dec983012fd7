"""Are answers still good when they are steered? A judge's yes-or-no questions (Stolfo et al. 2025).

A format can be followed by an answer that says nothing. So every answer that format_steering
leaves, in a results folder of its own, is judged: those of the four settings (none, steered,
instruction, both) and of a random direction. Up to five yes-or-no questions are written from the
request without its instruction. An answer's quality is the mean of its valid verdicts; how many
were valid is left with the numbers. The judge of the bundled world answers by rule; any other world
needs a model, at hand or behind an address that speaks the OpenAI chat format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

import figures
import interp_steer as ist
from analyses.instructions import format_steering
from analyses.kit.instruction_sets import contrast_sets
from analyses.kit.judges import judge_all, judge_of
from analyses.kit.parts import configured, performed
from figures.published import reported
from interp_steer.errors import ScoringError
from interp_steer.results.summary import Number
from interp_steer.scoring.judge import Judge, questions_of
from interp_steer.statistics.records import mean_gain, mean_of, share_of

COMPARISONS = (("none", "steered"), ("random", "steered"), ("instruction", "both"))
"""What steered answers are compared with, baseline first."""


@dataclass(frozen=True)
class Config(format_steering.Config):
    """What is judged, and by whom."""

    judge: str = "world"
    """Who judges: world, by rule, for the bundled world; local:MODEL, a model at hand (a bundled
    one, a Hugging Face name or a folder); or ADDRESS#MODEL, any endpoint that speaks the OpenAI
    chat format, such as https://api.openai.com/v1#gpt-4o."""
    judge_key: str = "OPENAI_API_KEY"
    """The environment variable that holds the endpoint's key; an empty text for a server that
    needs none."""
    draws: int = 1
    """Random directions that each vector is compared with."""
    controls: tuple[Literal["shuffled", "others"], ...] = ()
    """Other vectors that each is compared with."""


def main(config: Config, run: ist.Run) -> None:
    """Write the questions, take the answers of format_steering, judge every one of them."""
    model = ist.load(config.model)
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    sets = contrast_sets(config.instruction, run.seed, data=config.data, **sizes)
    run.used(model, *sets.values())
    judge = judge_of(config, run, model)
    ask_first(judge, sets, run)

    answered = performed(run, format_steering, configured(format_steering, config))
    records = answered.records()
    assert records is not None
    leave(run, *judge_all(records, judge), answered.summary, config)


def ask_first(judge: Judge, sets: Mapping[str, ist.ContrastSet], run: ist.Run) -> None:
    """Have the questions about every request written before anything is steered.

    A judge that cannot be asked, or does not know what a request is about, so costs no sweep.

    Raises:
        ScoringError: when the judge has no question about any request.
    """
    asked = questions_of(judge, [query for pairs in sets.values() for query in pairs.test.queries])
    without = [query for query, questions in asked.items() if not questions]
    if len(without) == len(asked):
        raise ScoringError(
            f"the judge {judge.name} has no question about any of {len(asked)} requests, such as "
            f"{without[0]!r}; give a judge that writes questions when it is asked to"
        )
    run.leave(summary={"requests": len(asked), "requests.without_questions": len(without)})


def leave(
    run: ist.Run,
    records: pl.DataFrame,
    verdicts: pl.DataFrame,
    steered: Mapping[str, Number],
    config: Config,
) -> None:
    """Records, verdicts, numbers and figures; a layer of None says that none was chosen."""
    run.write_records(records)
    run.write_records(verdicts, "verdicts")
    run.leave(summary={k: layer for k, layer in steered.items() if k.startswith("layer.")})
    run.leave(summary=qualities(records) | changes(records) | validity(records, verdicts))
    published = reported(config.model, "response quality", "quality")
    marks = {setting: value for (setting, _), value in published.items()}
    run.draw("quality_change_by_instruction", figures.quality_deltas(records, reported=marks))
    run.draw("quality_by_setting", figures.quality_histogram(records, reported=marks))


def qualities(records: pl.DataFrame) -> dict[str, object]:
    """Mean quality of each setting, and how often it is followed."""
    numbers: dict[str, object] = {}
    for setting in format_steering.of(records):
        rows = records.filter(pl.col("setting") == setting)
        if quality := mean_of(rows, "quality"):
            numbers[f"quality.{setting}"] = quality
        numbers[f"accuracy.{setting}"] = share_of(rows, "strict")
    return numbers


def changes(records: pl.DataFrame) -> dict[str, object]:
    """What steering changes in quality, over all instructions and for each."""
    numbers: dict[str, object] = {}
    for first, second in COMPARISONS:
        key = f"quality_change.{second}_over_{first}"
        if whole := mean_gain(records, first, second, "quality"):
            numbers[key] = whole
        for (name,), rows in records.group_by("instruction", maintain_order=True):
            if change := mean_gain(rows, first, second, "quality"):
                numbers[f"{key}.{name}"] = change
    return numbers


def validity(records: pl.DataFrame, verdicts: pl.DataFrame) -> dict[str, object]:
    """How many verdicts were asked for, how many were valid, and what could not be judged."""
    return {
        "verdicts.asked": verdicts.height,
        "verdicts.valid": verdicts.height - verdicts["verdict"].null_count(),
        "answers": records.height,
        "answers.not_judged": records["quality"].null_count(),
    }

"""Judge the quality of steered answers by yes-or-no questions (Stolfo et al. 2025).

An answer can follow a format and still say nothing. Therefore every answer of format_steering is
judged: the answers of the four settings (none, steered, instruction, both) and of a random
direction. format_steering is run first, into its own results folder. Up to five yes-or-no questions
are written from the request without its instruction. The quality of an answer is the mean of its
valid verdicts; the number of valid verdicts is recorded too. The judge of the bundled world answers
by rule. Other prompts need a model as judge: a local one, or one behind an address that speaks the
OpenAI chat format.
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
from analyses.kit.judges import judge_all, make_judge
from analyses.kit.parts import configure, run_once
from figures.published import reported
from interp_steer.errors import ScoringError
from interp_steer.results import Number
from interp_steer.scoring import Judge, list_questions
from interp_steer.statistics import mean_gain, mean_of, share_of

COMPARISONS = (("none", "steered"), ("random", "steered"), ("instruction", "both"))
"""Settings that are compared, baseline first."""


@dataclass(frozen=True)
class Config(format_steering.Config):
    """Options of the judgement."""

    judge: str = "world"
    """Judge of the answers. world: a judge by rule, for the bundled world. local:MODEL: a local
    model (a bundled one, a Hugging Face name or a folder). ADDRESS#MODEL: an endpoint that speaks
    the OpenAI chat format, such as https://api.openai.com/v1#gpt-4o."""
    judge_key: str = "OPENAI_API_KEY"
    """Environment variable that holds the endpoint's key. Give an empty text for a server that
    needs no key."""
    draws: int = 1
    """Random directions that each vector is compared with."""
    controls: tuple[Literal["shuffled", "others"], ...] = ()
    """Further controls that each vector is compared with; see format_steering."""


def main(config: Config, run: ist.Run) -> None:
    """Write the questions, take the answers of format_steering, and judge each of them."""
    model = ist.load(config.model)
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    sets = contrast_sets(config.instruction, run.seed, data=config.data, **sizes)
    run.used(model, *sets.values())
    judge = make_judge(config, run, model)
    write_questions(judge, sets, run)

    steered = run_once(run, format_steering, configure(format_steering, config))
    records = steered.records()
    assert records is not None
    write_results(run, *judge_all(records, judge), steered.summary, config)


def write_questions(judge: Judge, sets: Mapping[str, ist.ContrastSet], run: ist.Run) -> None:
    """Request the questions about every prompt before anything is steered.

    A judge that cannot be reached, or does not know the subject of a request, is thus noticed
    before any sweep is run.

    Raises:
        ScoringError: when the judge has no question about any request.
    """
    asked = list_questions(
        judge, [query for pairs in sets.values() for query in pairs.test.queries]
    )
    without = [query for query, questions in asked.items() if not questions]
    if len(without) == len(asked):
        raise ScoringError(
            f"the judge {judge.name} has no question about any of {len(asked)} requests, such as "
            f"{without[0]!r}; give a judge that writes questions"
        )
    run.leave(summary={"requests": len(asked), "requests.without_questions": len(without)})


def write_results(
    run: ist.Run,
    records: pl.DataFrame,
    verdicts: pl.DataFrame,
    steered: Mapping[str, Number],
    config: Config,
) -> None:
    """Write records, verdicts, numbers and figures. Layer None: no layer was chosen."""
    run.write_records(records)
    run.write_records(verdicts, "verdicts")
    run.leave(summary={k: layer for k, layer in steered.items() if k.startswith("layer.")})
    run.leave(summary=qualities(records) | changes(records) | validity(records, verdicts))
    published = reported(config.model, "response quality", "quality")
    marks = {setting: value for (setting, _), value in published.items()}
    run.draw("quality_change_by_instruction", figures.quality_deltas(records, reported=marks))
    run.draw("quality_by_setting", figures.quality_histogram(records, reported=marks))


def qualities(records: pl.DataFrame) -> dict[str, object]:
    """Return the mean quality of each setting, and its strict accuracy."""
    numbers: dict[str, object] = {}
    for (setting,), rows in records.group_by("setting", maintain_order=True):
        if quality := mean_of(rows, "quality"):
            numbers[f"quality.{setting}"] = quality
        numbers[f"accuracy.{setting}"] = share_of(rows, "strict")
    return numbers


def changes(records: pl.DataFrame) -> dict[str, object]:
    """Return how steering changes quality, over all instructions and for each instruction."""
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
    """Count the verdicts asked for, the valid ones, and the answers that were not judged."""
    return {
        "verdicts.asked": verdicts.height,
        "verdicts.valid": verdicts.height - verdicts["verdict"].null_count(),
        "answers": records.height,
        "answers.not_judged": records["quality"].null_count(),
    }

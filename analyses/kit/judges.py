"""Who judges answers, and the quality that records get from it."""

from __future__ import annotations

from typing import Protocol

import polars as pl

import interp_steer as ist
from interp_steer.errors import OptionError, ScoringError
from interp_steer.scoring.judge import EndpointJudge, Judge, LocalJudge, judge_exchanges
from interp_steer.world.judge import WorldJudge

VERDICTS = {
    "instruction": pl.String,
    "setting": pl.String,
    "draw": pl.Int64,
    "key": pl.String,
    "query": pl.String,
    "judge": pl.String,
    "question": pl.String,
    "verdict": pl.Boolean,
}
"""The columns of the table of verdicts, a row for every question about every answer."""


class Judges(Protocol):
    """A config that says who judges."""

    @property
    def model(self) -> str: ...

    @property
    def judge(self) -> str: ...

    @property
    def judge_key(self) -> str: ...


def judge_of(config: Judges, run: ist.Run, model: ist.HookedLM) -> Judge:
    """The judge that the config names; what a model replies is kept beside the answers.

    Raises:
        OptionError: for a name that is no judge.
    """
    kept = run.answers.with_name("judge.jsonl")
    kind, _, rest = config.judge.partition(":")
    url, _, name = config.judge.rpartition("#")
    if config.judge == "world":
        return WorldJudge()
    if kind == "local" and rest:
        return LocalJudge(model if rest == config.model else ist.load(rest), cache=kept)
    if kind in ("http", "https") and url and name:
        return EndpointJudge(url, name, cache=kept, key_variable=config.judge_key or None)
    raise OptionError(
        f"{config.judge!r} is no judge; write world, local:MODEL such as local:burattino-instruct, "
        "or ADDRESS#MODEL such as https://api.openai.com/v1#gpt-4o"
    )


def judge_all(records: pl.DataFrame, judge: Judge) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The records with their ``quality``, and a table of the verdicts that it is made of.

    Raises:
        ScoringError: when no verdict about any answer is valid.
    """
    found = judge_exchanges(judge, list(records.select("query", "answer").iter_rows()))
    if all(one.score is None for one in found):
        raise ScoringError(
            f"the judge {judge.name} gave no valid verdict on any of {len(found)} answers; give a "
            "judge that answers with yes or no when it is asked to"
        )
    of = records.select("instruction", "setting", "draw", "key", "query").rows(named=True)
    verdicts = [
        {**row, "judge": judge.name, "question": question, "verdict": verdict}
        for row, one in zip(of, found, strict=True)
        for question, verdict in zip(one.questions, one.verdicts, strict=True)
    ]
    scores = pl.Series("quality", [one.score for one in found], dtype=pl.Float64)
    return records.with_columns(scores), pl.DataFrame(verdicts, schema=VERDICTS)

"""Make the judge that a config names, and add the quality of answers to records."""

from __future__ import annotations

from typing import Protocol

import polars as pl

import interp_steer as ist
from interp_steer.errors import OptionError, ScoringError
from interp_steer.scoring import EndpointJudge, Judge, LocalJudge, judge_exchanges
from interp_steer.world import WorldJudge

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
"""The columns of the table of verdicts, which has one row for every question about every answer."""


class Judges(Protocol):
    """Config that names a judge."""

    @property
    def model(self) -> str: ...

    @property
    def judge(self) -> str: ...

    @property
    def judge_key(self) -> str: ...


def make_judge(config: Judges, run: ist.Run, model: ist.HookedLM) -> Judge:
    """Make the judge that the config names. The replies of a model are cached with the answers.

    Raises:
        OptionError: for an unknown name.
    """
    cache = run.answers.with_name("judge.jsonl")
    kind, _, rest = config.judge.partition(":")
    url, _, name = config.judge.rpartition("#")
    if config.judge == "world":
        return WorldJudge()
    if kind == "local" and rest:
        return LocalJudge(model if rest == config.model else ist.load(rest), cache=cache)
    if kind in ("http", "https") and url and name:
        return EndpointJudge(url, name, cache=cache, key_variable=config.judge_key or None)
    raise OptionError(
        f"unknown judge {config.judge!r}; write world, local:MODEL such as "
        "local:burattino-instruct, or ADDRESS#MODEL such as https://api.openai.com/v1#gpt-4o"
    )


def judge_all(records: pl.DataFrame, judge: Judge) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the records with their ``quality``, and a table of the verdicts behind it.

    Raises:
        ScoringError: when no verdict about any answer is valid.
    """
    judgements = judge_exchanges(judge, list(records.select("query", "answer").iter_rows()))
    if all(judgement.score is None for judgement in judgements):
        raise ScoringError(
            f"the judge {judge.name} gave no valid verdict on any of {len(judgements)} answers; "
            "give a judge that answers questions with yes or no"
        )
    rows = records.select("instruction", "setting", "draw", "key", "query").rows(named=True)
    verdicts = [
        {**row, "judge": judge.name, "question": question, "verdict": verdict}
        for row, judgement in zip(rows, judgements, strict=True)
        for question, verdict in zip(judgement.questions, judgement.verdicts, strict=True)
    ]
    scores = pl.Series("quality", [judgement.score for judgement in judgements], dtype=pl.Float64)
    return records.with_columns(scores), pl.DataFrame(verdicts, schema=VERDICTS)

"""Provide the questions, vectors and records that the analyses of paper B share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import Literal

import polars as pl

import interp_steer as ist
from analyses.kit.answer_options import AnswerOptions
from interp_steer.contrast import Pair, ParallelItem, question_blocks
from interp_steer.errors import OptionError
from interp_steer.interventions import AnySchedule
from interp_steer.models import PromptFormat, question_answer
from interp_steer.scoring import language
from interp_steer.sweeps import BROKEN, Cell, answer_cells, with_fluency
from interp_steer.world import check_content

STEPS = 30
"""``M`` of the paper: number of generated tokens over which vectors are read."""


@dataclass(frozen=True)
class LanguageConfig(AnswerOptions):
    """Options of asking questions in several languages, and of fitting vectors."""

    model: str = "burattino-instruct"
    """Model to steer: a bundled model, a Hugging Face name, or a folder."""
    data: str | None = None
    """Folder of parallel answers, with files such as ITA_train.json and ENG_train.json. Default:
    the bundled world, in five languages."""
    negative: str = "en-en"
    """Languages of the questions and the answers to steer away from."""
    positive: str = "it-it"
    """Languages of the questions and the answers to steer towards. en-it is the published contrast,
    with English questions."""
    style: Literal["chat", "qa", "published"] = "chat"
    """How prompts are written. chat: by the model's chat template. qa: as Q: and A:. published: as
    in the published code, with its number of examples, its BOS before every piece and its choice of
    questions."""
    shots: int = 4
    """Number of worked examples before each question on which vectors are fitted."""
    n_fit: int = 40
    """Questions on which vectors are fitted."""
    n_select: int = 24
    """Questions on which schedules and strengths are chosen."""
    n_test: int = 48
    """Questions in the test split, on which results are reported."""
    max_new_tokens: int = 48
    """Maximum number of new tokens per answer."""


def load(config: LanguageConfig) -> ist.HookedLM:
    """Load the model of a config, with the prompt format of its style."""
    model = ist.load(config.model)
    if config.style == "chat":
        return model
    if config.style == "qa":
        return ist.load(config.model, prompt_format=question_answer)
    blocks = partial(question_blocks, bos=str(model.tokenizer.bos_token or ""))
    return ist.load(config.model, prompt_format=PromptFormat("custom", blocks, ("Q:",)))


def read_items(config: LanguageConfig, seed: int) -> tuple[ParallelItem, ...]:
    """Read the parallel questions and answers of a config."""
    if config.data is not None:
        return ist.contrast.parallel.from_files(Path(config.data))
    return ist.world.parallel(n=400, seed=seed, kind="requests")


def language_set(
    config: LanguageConfig, items: Sequence[ParallelItem], seed: int, positive: str | None = None
) -> ist.ContrastSet:
    """Make the contrast set of a config, for its own target language or another.

    Args:
        config: the languages, the style and the sizes.
        items: the parallel questions and answers.
        seed: seed of the draw.
        positive: the languages to steer towards. Default: those of the config.
    """
    if config.style == "published":
        published = ist.contrast.languages.published_set(
            items,
            config.negative,
            positive or config.positive,
            shots=config.shots,
            fit=config.n_fit,
            test=config.n_select + config.n_test,
        )
        # The published code has no select split: its test questions are divided here.
        select = [
            replace(pair, split="select", phrasing=f"{pair.phrasing} (select)")
            for pair in published.test[: config.n_select]
        ]
        return ist.ContrastSet(
            published.name, (*published.fit, *select, *published.test[config.n_select :])
        )
    return ist.contrast.languages.language_set(
        items,
        config.negative,
        positive or config.positive,
        shots=config.shots,
        seed=seed,
        fit=config.n_fit,
        select=config.n_select,
        test=config.n_test,
    )


def target_of(positive: str) -> str:
    """Return the language in which a side answers."""
    return ist.contrast.languages.Side.of(positive).answer


def translate_questions(
    pairs: ist.ContrastSet, items: Iterable[ParallelItem], code: str
) -> list[Pair]:
    """Put the bare questions of pairs into another language; pairs that lack it are left out."""
    by_key = {item.key: item for item in items}
    return [
        replace(pair, absent=by_key[pair.key].question(code))
        for pair in pairs
        if code in by_key[pair.key].questions
    ]


def with_language(records: pl.DataFrame, code: str, column: str = "answer") -> pl.DataFrame:
    """Add the verdicts of two language detectors on the answers.

    Args:
        records: records with the answers in ``column``.
        code: the language that is steered towards.
        column: the column that is examined.

    Returns:
        The records with ``language``; ``in_language`` and ``detected`` by lingua; the same two by
        langdetect; and langdetect's ``probability`` of the language, which the published evaluation
        averages.
    """
    texts = records[column].to_list()
    distinct = dict.fromkeys(texts)
    by_text = dict(zip(distinct, language.detect_all(distinct), strict=True))
    detections = [by_text[text] for text in texts]
    return records.with_columns(
        pl.lit(code).alias("language"),
        pl.Series("detected", [one.lingua for one in detections], dtype=pl.String),
        pl.Series("in_language", [one.lingua == code for one in detections]),
        pl.Series("detected_langdetect", [one.langdetect for one in detections], dtype=pl.String),
        pl.Series("in_language_langdetect", [one.langdetect == code for one in detections]),
        pl.Series("probability", [one.probability.get(code, 0.0) for one in detections]),
    )


def with_content(records: pl.DataFrame, items: Iterable[ParallelItem]) -> pl.DataFrame:
    """Add whether answers keep their content; null for questions not about the bundled world.

    The columns are ``kept`` (the answer says more true than false facts about its subject, and
    names it), ``names``, ``true`` and ``false``.
    """
    subjects = {item.key: item.subject for item in items}
    checks = [
        check_content(answer, subject) if (subject := subjects.get(key)) else None
        for key, answer in records.select("key", "answer").iter_rows()
    ]
    return records.with_columns(
        pl.Series("kept", [c and c.is_preserved for c in checks], dtype=pl.Boolean),
        pl.Series("names", [c and c.names_subject for c in checks], dtype=pl.Boolean),
        pl.Series("true", [c and c.true for c in checks], dtype=pl.Int64),
        pl.Series("false", [c and c.false for c in checks], dtype=pl.Int64),
    )


def scheduled_cell(
    setting: str,
    vector: ist.SteppedVector,
    strength: float,
    schedule: AnySchedule,
    draw: int | None = None,
) -> Cell:
    """Return a cell that steers every layer and head by a schedule."""
    return Cell(
        setting,
        vector.shift(strength, schedule),
        strength=strength,
        operation=str(schedule),
        draw=draw,
    )


def record_answers(
    model: ist.HookedLM,
    grid: Sequence[Cell],
    pairs: ist.ContrastSet,
    code: str,
    items: Sequence[ParallelItem],
    reference: ist.HookedLM,
    **options: object,
) -> pl.DataFrame:
    """Answer every pair in every cell, and record language, content and fluency of the answers.

    In addition to the cells, the questions are asked in the language itself, unsteered (setting
    ``asked``), where they are known in it. This is the best that the model can do.

    An answer is garbled when it is harder to predict than all unsteered answers of the model, to
    questions in either language. Where no question is known in the other language, answers after
    worked examples count too.

    Args:
        model: the model that answers.
        grid: the cells; one of them neither steers nor instructs.
        pairs: the questions.
        code: the language that is steered towards.
        items: the source of the pairs.
        reference: the model whose perplexity shows which answers are degenerate or garbled.
        options: options of :func:`interp_steer.generate`.

    Returns:
        Records with a column ``schedule``, one row per cell and pair.
    """
    asked = translate_questions(pairs, items, code)
    rows: list[tuple[Cell, Pair]] = [(cell, pair) for cell in grid for pair in pairs]
    rows += [(Cell("asked"), pair) for pair in asked]
    records = answer_cells(model, rows, pairs.name, score=lambda *_: {}, **options)  # type: ignore[arg-type]
    records = with_fluency(with_content(with_language(records, code), items), reference)
    if asked:
        plain = records.filter(pl.col("setting").is_in(["none", "asked"]))
        worst = plain.select(pl.col("perplexity").max()).item()
        records = records.with_columns((pl.col("perplexity") > worst).alias("garbled"))
    return records.rename({"operation": "schedule"})


def best_cell(records: pl.DataFrame, rule: str = "sound") -> tuple[str, float]:
    """Return the schedule and strength with the most sound answers in the language.

    Of equals the smaller strength is taken, because it disturbs the model less.

    Args:
        records: records of the select split.
        rule: ``sound`` counts an answer that is degenerate or garbled as a failure; ``share`` does
            not, as in the paper.

    Raises:
        OptionError: for another rule, or records without a steered cell.
    """
    if rule not in ("sound", "share"):
        raise OptionError(f"rule {rule!r} is unknown; use 'sound' or 'share'")
    success = pl.col("in_language") & ~BROKEN if rule == "sound" else pl.col("in_language")
    table = (
        records.filter(pl.col("setting") == "steered")
        .group_by("schedule", "strength", maintain_order=True)
        .agg(success.mean().alias("success"))
        .sort(["success", "strength"], descending=[True, False], maintain_order=True)
    )
    if table.is_empty():
        raise OptionError("these records have no steered cell; give a grid with steered cells")
    return table["schedule"][0], float(table["strength"][0])


def mean_vector(vectors: Mapping[str, ist.SteppedVector]) -> ist.SteppedVector:
    """Return the mean of vectors."""
    return reduce(add, vectors.values()) * (1 / len(vectors))

"""What the analyses of paper B share: questions in several languages, vectors between languages,
and what is recorded of an answer."""

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
from interp_steer.contrast.languages import question_blocks
from interp_steer.contrast.pair import Pair
from interp_steer.contrast.parallel import ParallelItem
from interp_steer.errors import RunError
from interp_steer.interventions.schedules import AnySchedule
from interp_steer.models.prompts import PromptFormat, question_answer
from interp_steer.scoring import language
from interp_steer.sweeps.damage import BROKEN, with_fluency
from interp_steer.sweeps.grid import Cell, answer_cells
from interp_steer.world.content import check_content

STEPS = 30
"""``M`` of the paper: the generated tokens that vectors are read at."""


@dataclass(frozen=True)
class LanguageConfig(AnswerOptions):
    """What is asked, in which languages, and how vectors are fitted."""

    model: str = "burattino-instruct"
    """A bundled model, a Hugging Face name, or a folder."""
    data: str | None = None
    """A folder of parallel answers, such as ITA_train.json beside ENG_train.json; the bundled
    world in five languages when not given."""
    negative: str = "en-en"
    """Languages of the questions and the answers that are steered from."""
    positive: str = "it-it"
    """Those that are steered to; en-it is the published contrast, with English questions."""
    style: Literal["chat", "qa", "published"] = "chat"
    """How prompts are written: by the model's chat template, as Q: and A:, or as the published code
    does, with its count of examples, its BOS before every piece and its choice of questions."""
    shots: int = 4
    """Worked examples before each question that vectors are fitted on."""
    n_fit: int = 40
    """Questions that vectors are fitted on."""
    n_select: int = 24
    """Questions that schedules and strengths are chosen on."""
    n_test: int = 48
    """Questions that are reported."""
    max_new_tokens: int = 48
    """Where an answer is cut."""


def load(config: LanguageConfig) -> ist.HookedLM:
    """The model of a config, with the prompt format of its style."""
    model = ist.load(config.model)
    if config.style == "chat":
        return model
    if config.style == "qa":
        return ist.load(config.model, prompt_format=question_answer)
    blocks = partial(question_blocks, bos=str(model.tokenizer.bos_token or ""))
    return ist.load(config.model, prompt_format=PromptFormat("custom", blocks, ("Q:",)))


def read_items(config: LanguageConfig, seed: int) -> tuple[ParallelItem, ...]:
    """The parallel questions and answers of a config."""
    if config.data is not None:
        return ist.contrast.parallel.from_files(Path(config.data))
    return ist.world.parallel(n=400, seed=seed, kind="requests")


def language_set(
    config: LanguageConfig, items: Sequence[ParallelItem], seed: int, positive: str | None = None
) -> ist.ContrastSet:
    """Pairs of a config, to its own language or to another."""
    if config.style == "published":
        made = ist.contrast.languages.published_set(
            items,
            config.negative,
            positive or config.positive,
            shots=config.shots,
            fit=config.n_fit,
            test=config.n_select + config.n_test,
        )
        # The published code chooses nothing; what it reports on is halved here.
        apart = [
            replace(pair, split="select", phrasing=f"{pair.phrasing} (select)")
            for pair in made.test[: config.n_select]
        ]
        return ist.ContrastSet(made.name, (*made.fit, *apart, *made.test[config.n_select :]))
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
    """The language that a side answers in."""
    return ist.contrast.languages.Side.of(positive).answer


def asked_in(pairs: ist.ContrastSet, items: Iterable[ParallelItem], code: str) -> list[Pair]:
    """The pairs with their bare questions in another language; those that are known in it."""
    by_key = {item.key: item for item in items}
    return [
        replace(pair, absent=by_key[pair.key].question(code))
        for pair in pairs
        if code in by_key[pair.key].questions
    ]


def with_language(records: pl.DataFrame, code: str, column: str = "answer") -> pl.DataFrame:
    """Add what two detectors make of the answers.

    Args:
        records: with the answers in ``column``.
        code: the language that is steered to.
        column: what is looked at.

    Returns:
        The records with ``language``; ``in_language`` and ``detected`` by lingua, the same of
        langdetect, and its ``probability`` of the language, which the published evaluation
        averages.
    """
    texts = records[column].to_list()
    each = dict(zip(dict.fromkeys(texts), language.detections(dict.fromkeys(texts)), strict=True))
    found = [each[text] for text in texts]
    return records.with_columns(
        pl.lit(code).alias("language"),
        pl.Series("detected", [one.lingua for one in found], dtype=pl.String),
        pl.Series("in_language", [one.lingua == code for one in found]),
        pl.Series("detected_langdetect", [one.langdetect for one in found], dtype=pl.String),
        pl.Series("in_language_langdetect", [one.langdetect == code for one in found]),
        pl.Series("probability", [one.probability.get(code, 0.0) for one in found]),
    )


def with_content(records: pl.DataFrame, items: Iterable[ParallelItem]) -> pl.DataFrame:
    """Add ``kept`` (says more true than false of what was asked about, and names it), ``names``,
    ``true`` and ``false``; null where the questions are not about the bundled world."""
    subjects = {item.key: item.subject for item in items}
    found = [
        check_content(answer, subject) if (subject := subjects.get(key)) else None
        for key, answer in records.select("key", "answer").iter_rows()
    ]
    return records.with_columns(
        pl.Series("kept", [c and c.is_preserved for c in found], dtype=pl.Boolean),
        pl.Series("names", [c and c.names_subject for c in found], dtype=pl.Boolean),
        pl.Series("true", [c and c.true for c in found], dtype=pl.Int64),
        pl.Series("false", [c and c.false for c in found], dtype=pl.Int64),
    )


def scheduled(
    setting: str,
    vector: ist.SteppedVector,
    strength: float,
    schedule: AnySchedule,
    draw: int | None = None,
) -> Cell:
    """A cell that steers every layer and head by a schedule."""
    return Cell(
        setting,
        vector.shift(strength, schedule),
        strength=strength,
        operation=str(schedule),
        draw=draw,
    )


def recorded(
    model: ist.HookedLM,
    grid: Sequence[Cell],
    pairs: ist.ContrastSet,
    code: str,
    items: Sequence[ParallelItem],
    reference: ist.HookedLM,
    **options: object,
) -> pl.DataFrame:
    """Answer every pair in every cell, and record language, content and fluency of the answers.

    Beside the cells the questions are asked, unsteered, in the language itself (setting ``asked``),
    where they are known in it: that is the most that the model can do.

    An answer is garbled when it is harder to predict than all that the model says unsteered, when
    it is asked in the one language and in the other; where nothing is asked in the other, answers
    after worked examples count too.

    Args:
        model: the model that answers.
        grid: the cells; one of them neither steers nor instructs.
        pairs: the questions.
        code: the language that is steered to.
        items: where the pairs come from.
        reference: the model whose perplexity tells degenerate and garbled answers.
        options: for :func:`interp_steer.generate`.

    Returns:
        Records with a column ``schedule``, one row per cell and pair.
    """
    asked = asked_in(pairs, items, code)
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
    """The schedule and strength with most answers in the language that are sound.

    Ties go to the smaller strength: what disturbs the model less.

    Args:
        records: of the select split.
        rule: ``sound`` counts an answer that is degenerate or garbled as a failure; ``share`` does
            not, as in the paper.

    Raises:
        RunError: for another rule, or records without a steered cell.
    """
    if rule not in ("sound", "share"):
        raise RunError(f"rule {rule!r} is unknown; use 'sound' or 'share'")
    success = pl.col("in_language") & ~BROKEN if rule == "sound" else pl.col("in_language")
    table = (
        records.filter(pl.col("setting") == "steered")
        .group_by("schedule", "strength", maintain_order=True)
        .agg(success.mean().alias("success"))
        .sort(["success", "strength"], descending=[True, False], maintain_order=True)
    )
    if table.is_empty():
        raise RunError("no cell of these records is steered; give a grid with steered cells")
    return table["schedule"][0], float(table["strength"][0])


def mean_vector(vectors: Mapping[str, ist.SteppedVector]) -> ist.SteppedVector:
    """The sum of vectors, over how many they are."""
    return reduce(add, vectors.values()) * (1 / len(vectors))

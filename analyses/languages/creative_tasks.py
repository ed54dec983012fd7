"""Steer towards a language outside of benchmarks: letters, stories, advice, questions (paper B).

A vector is fitted on one mixture of requests and tried on tasks one by one. Some tasks are texts of
several kinds, which have no right answer. Other tasks are questions that have a right answer (of
fact, yes or no, multiple choice). Each task is asked unsteered, under the vector, under random
directions of the same norms, with worked examples of the same task in the prompt, and in the
language itself, which is the best that the model can do. The schedule and strength are chosen on
the select split of the requests. The prompts of the tasks were used neither to fit the vector nor
as worked examples.

For each answer the following is recorded: its language; whether it is right (for a text: whether it
names its subject and states more true than false facts about it); whether it is broken; its quality
according to a judge; its length; and how similar the answers to a task are. The language of an
answer without a word, such as a single letter, is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

import polars as pl
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.kit.answer_options import open_sweep_options
from analyses.kit.judges import VERDICTS, judge_all, make_judge
from analyses.languages import base
from analyses.languages.base import STEPS, LanguageConfig, scheduled_cell, target_of
from analyses.languages.creative_tasks_overlap import distinct, repeats, words_of
from figures.style.drawing import interval_text, list_words
from figures.style.settings import language_name
from interp_steer.contrast import ParallelItem
from interp_steer.errors import OptionError
from interp_steer.scoring import Judge
from interp_steer.statistics import Interval, compare, correct_p_values, mean_of, share_of
from interp_steer.sweeps import BROKEN, Cell
from interp_steer.world import (
    LANGUAGES,
    YES_NO,
    Fact,
    WorldJudge,
    choice_question,
    grammar,
    questionable_facts,
    read_claims,
)

QUESTIONS = ("fact", "yes_no", "choice")
"""Tasks that have a right answer."""

RIGHT = {
    "texts": "true to its subject: names it and states more true than false facts about it",
    "questions": "right",
}
"""The meaning of a right answer, in words."""

SHARES = ("in_language", "right", "names", "sound", "garbled", "degenerate")
"""Outcomes that are reported as shares of answers."""

MEANS = ("quality", "words", "repeats_others")
"""Quantities that are averaged over answers."""

SPARE = 24
"""Number of requests from which the worked examples of the vector's prompts are drawn."""


@dataclass(frozen=True)
class Config(LanguageConfig):
    """Options of the tasks and of steering."""

    tasks: tuple[str, ...] = (
        "letter",
        "story",
        "speech",
        "child",
        "reasons",
        "advice",
        "fact",
        "yes_no",
        "choice",
    )
    """Kinds of text (see interp_steer.world.grammar.QUERY_STYLES) and of question (fact, yes_no,
    choice)."""
    schedules: tuple[str, ...] = ("diminishing(30)",)
    """Schedules of the strength, of which the best is chosen; see
    interp_steer.interventions.schedules.parse."""
    strengths: tuple[float, ...] = (1.0, 1.5, 2.0)
    """Strengths in multiples of the vector, of which the best is chosen."""
    rule: str = "sound"
    """Rule that chooses schedule and strength. sound: an answer that is degenerate or garbled
    counts as a failure. share: it does not."""
    draws: int = 1
    """Random directions that the vector is compared with."""
    n_select: int = 16
    """Requests on which schedule and strength are chosen."""
    n_test: int = 12
    """Number of prompts of each task."""
    max_new_tokens: int = 64
    """Maximum number of new tokens per answer."""
    judge: str = "world"
    """Judge of the quality of answers: world, local:MODEL, or ADDRESS#MODEL. world judges texts and
    yes-or-no questions."""
    judge_key: str = ""
    """Environment variable that holds the key of the judge's address."""


def main(config: Config, run: ist.Run) -> None:
    """Fit and choose on requests, then try every task in every setting."""
    names = names_of(config)
    model, reference = base.load(config), ist.load(config.reference)
    code = target_of(config.positive)
    items = base.read_items(config, run.seed)
    apart = config.n_fit + config.n_select + config.shots + SPARE
    own, left = items[:apart], items[apart:]
    pairs = base.language_set(replace(config, n_test=0), own, run.seed)
    run.used(model, pairs)
    vector = ist.fit_steps(model, pairs, n_steps=STEPS)
    run.leave(vector, code)
    judge = make_judge(config, run, model)
    frames, verdicts = [], []
    with open_sweep_options(config, model, run) as options:
        select = base.record_answers(
            model, cells_to_try(config, vector), pairs.select, code, own, reference, **options
        )
        schedule, strength = base.best_cell(select, config.rule)
        run.leave(summary={"strength": strength})
        grid = settings(config, vector, schedule, strength, run.seed)
        for name in tqdm(names, desc="tasks", unit="task", disable=None):
            asked = task_items(name, config, left, run.seed)
            prompts = prompts_of(asked, config, run.seed)
            run.used(prompts)
            answers = base.record_answers(model, grid, prompts, code, asked, reference, **options)
            frame, task_verdicts = judge_task(add_outcomes(answers, name, asked), name, judge)
            frames.append(frame)
            verdicts.append(task_verdicts)
    records = pl.concat(frames)
    run.write_records(records)
    run.write_records(pl.concat(verdicts), "verdicts")
    table = measure_tasks(records)
    run.write_records(table, "tasks")
    run.leave(summary=numbers(records) | test_steering(records))
    language = language_name(code)
    for kind, rows in kinds(table).items():
        columns = {"in_language": "in_language", "right": "accuracy"}
        what = f"Share of answers in {language}, and share that is {RIGHT[kind]}."
        run.draw(kind, draw_table(rows, columns, config.model, what))
    what = "Share of answers that are neither garbled nor repetitive."
    run.draw("sound", draw_table(table, {"sound": "sound"}, config.model, what))
    what = (
        "Share of distinct pairs of words among all of a task, and share of sequences of four "
        "words that another answer has too."
    )
    alike = {"distinct_2": "distinct", "repeats_others": "repeated"}
    run.draw("alike", draw_table(kinds(table).get("texts", table), alike, config.model, what))


# ---------------------------------------------------------------------------- questions
def names_of(config: Config) -> tuple[str, ...]:
    """Return the tasks of a config; a folder of parallel answers is one task.

    Raises:
        OptionError: for an unknown task, or an empty list.
    """
    if config.data is not None:
        return ("questions",)
    known = (*grammar.QUERY_STYLES, *QUESTIONS)
    unknown = [name for name in config.tasks if name not in known]
    if unknown or not config.tasks:
        raise OptionError(
            f"unknown tasks {', '.join(unknown) or '(none given)'}; give some of {', '.join(known)}"
        )
    return config.tasks


def task_items(
    name: str, config: Config, left: Sequence[ParallelItem], seed: int
) -> tuple[ParallelItem, ...]:
    """Return the items that a task can ask, and take worked examples from.

    Args:
        name: one of :func:`names_of`.
        config: the number of prompts.
        left: the requests that the vector was not fitted or chosen on.
        seed: seed of the draw.
    """
    if name in grammar.QUERY_STYLES:
        return tuple(item for item in left if item.key.endswith(f"/{name}"))
    if name not in QUESTIONS:
        return tuple(left)
    n = config.n_test + config.shots + SPARE
    items = []
    for fact in Random(f"{seed}/{name}").sample(questionable_facts("held"), n):
        key = f"{name}/{fact.subject}/{fact.relation}"
        # One seed for all languages, so that the question and its right answer are the same.
        pairs_by_language = {
            code: question(name, fact, code, Random(f"{seed}/{key}")) for code in LANGUAGES
        }
        questions = {code: one for code, (one, _) in pairs_by_language.items()}
        answers = {code: one for code, (_, one) in pairs_by_language.items()}
        items.append(ParallelItem(key, questions, answers, fact.subject))
    return tuple(items)


def question(name: str, fact: Fact, language: str, rng: Random) -> tuple[str, str]:
    """Return a question about a fact, and its right answer."""
    if name == "choice":
        asked = choice_question(fact, language, rng)
        return asked.prompt, asked.letter
    if name == "fact":
        return grammar.fact_question(fact, language, rng), grammar.sentence(fact, language, rng)
    text, true = grammar.yes_no_question(fact, language, rng)
    return text, f"{YES_NO[language][not true]} {grammar.sentence(fact, language, rng)}"


def is_right(name: str, item: ParallelItem, answer: str) -> bool | None:
    """Return whether an answer to a question is right, in any language."""
    if name == "choice":
        first = re.match(r"\W*([A-D])\b", answer)
        return first is not None and first[1] == item.answer("en")
    if name == "yes_no":
        return WorldJudge().verdicts(item.question("en"), answer)[0]
    relation = item.key.rpartition("/")[2]
    claims = [one for one in read_claims(answer, item.subject) if one.fact.relation == relation]
    verdicts = [one.true for one in claims if one.fact.subject == item.subject]
    return bool(verdicts) and all(verdicts)


def prompts_of(items: Sequence[ParallelItem], config: Config, seed: int) -> ist.ContrastSet:
    """Return the bare questions of a task, and the same questions after worked examples."""
    return ist.contrast.languages.language_set(
        items,
        config.negative,
        config.positive,
        shots=config.shots,
        seed=seed,
        fit=0,
        select=0,
        test=config.n_test,
    )


# ---------------------------------------------------------------------------- steering
def cells_to_try(config: Config, vector: ist.SteppedVector) -> list[Cell]:
    """Return cells for every schedule at every strength, unsteered, and with worked examples."""
    schedules = [ist.schedules.parse(text) for text in config.schedules]
    return [
        Cell("none"),
        Cell("instruction", instructed=True),
        *(
            scheduled_cell("steered", vector, strength, schedule)
            for schedule in schedules
            for strength in config.strengths
        ),
    ]


def settings(
    config: Config, vector: ist.SteppedVector, schedule: str, strength: float, seed: int
) -> list[Cell]:
    """Return the cells unsteered, with worked examples, under the vector, and random directions."""
    how = ist.schedules.parse(schedule)
    controls = [vector.like_random(seed + draw) for draw in range(config.draws)]
    return [
        Cell("none"),
        Cell("instruction", instructed=True),
        scheduled_cell("steered", vector, strength, how),
        *(scheduled_cell("random", one, strength, how, draw) for draw, one in enumerate(controls)),
    ]


# ---------------------------------------------------------------------------- records
def add_outcomes(records: pl.DataFrame, name: str, items: Sequence[ParallelItem]) -> pl.DataFrame:
    """Add ``task``, ``right``, ``sound``, ``words`` and ``repeats_others``.

    ``repeats_others`` is the share of the answer's sequences of four words that another answer of
    the same setting has too; null for a shorter answer.
    """
    by_key = {item.key: item for item in items}
    texts = records["answer"].to_list()
    right = records["kept"].to_list()
    if name in QUESTIONS:
        asked = zip(records["key"], texts, strict=True)
        right = [is_right(name, by_key[key], text) for key, text in asked]
    worded = pl.Series([bool(re.search(r"[^\W\d_]{2}", text)) for text in texts])
    added = records.with_columns(
        pl.lit(name).alias("task"),
        pl.Series("right", right, dtype=pl.Boolean),
        (~BROKEN).alias("sound"),
        pl.Series("words", [len(words_of(text)) for text in texts], dtype=pl.Int64),
        pl.when(worded).then(pl.col("in_language")).alias("in_language"),
    )
    return pl.concat(
        cell.with_columns(
            pl.Series("repeats_others", repeats(cell["answer"].to_list()), dtype=pl.Float64)
        )
        for cell in added.partition_by("setting", "draw", maintain_order=True)
    )


def judge_task(records: pl.DataFrame, name: str, judge: Judge) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Add ``quality``, null where the judge has no question; and return the verdicts too."""
    if isinstance(judge, WorldJudge) and name not in (*grammar.QUERY_STYLES, "yes_no"):
        unknown = pl.lit(None, dtype=pl.Float64).alias("quality")
        return records.with_columns(unknown), pl.DataFrame(schema=VERDICTS)
    return judge_all(records, judge)


# ---------------------------------------------------------------------------- report
def measure_tasks(records: pl.DataFrame) -> pl.DataFrame:
    """Return a row for every task, setting and known quantity, with its interval."""
    rows: list[dict[str, object]] = []
    for (task, setting), frame in records.group_by("task", "setting", maintain_order=True):
        # Answers under several random directions are not one set of answers.
        texts = frame.filter(pl.col("draw").fill_null(0) == 0)["answer"].to_list()
        spread = {f"distinct_{n}": distinct(texts, n) for n in (1, 2)}
        for quantity, interval in (quantities(frame) | spread).items():
            if interval is not None:
                bounds = {
                    "value": interval.value,
                    "low": interval.low,
                    "high": interval.high,
                    "n": interval.n,
                }
                rows.append({"task": task, "setting": setting, "quantity": quantity, **bounds})
    return pl.DataFrame(rows)


def quantities(frame: pl.DataFrame) -> dict[str, Interval | None]:
    """Return the known quantities of some answers."""
    counted = {s: share_of(frame, s) for s in SHARES if frame[s].is_not_null().any()}
    return counted | {column: mean_of(frame, column) for column in MEANS}


def kinds(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the rows of all texts, and of all questions."""
    is_question = pl.col("task").is_in(QUESTIONS)
    both = {"texts": frame.filter(~is_question), "questions": frame.filter(is_question)}
    return {kind: rows for kind, rows in both.items() if len(rows)}


def numbers(records: pl.DataFrame) -> dict[str, object]:
    """Return the main quantities of each setting, over all texts and all questions."""
    summary: dict[str, object] = {}
    for kind, rows in kinds(records).items():
        for (setting,), frame in rows.group_by("setting", maintain_order=True):
            known = quantities(frame)
            for quantity in ("in_language", "right", "sound", "quality", "words"):
                if (interval := known.get(quantity)) is not None:
                    summary[f"{quantity}.{setting}.{kind}"] = interval
    return summary


def test_steering(records: pl.DataFrame) -> dict[str, object]:
    """Test how steering changes the shares in the language, right and sound, prompt by prompt.

    Steering is compared with no steering and with questions asked in the language. The p-values of
    McNemar's test are corrected by Holm's method over all tests.
    """
    summary: dict[str, object] = {}
    tests = {}
    for kind, rows in kinds(records).items():
        for outcome in ("in_language", "right", "sound"):
            for other in ("none", "asked"):
                change = compare(rows, other, "steered", outcome)
                name = f"{outcome}.steered_less_{other}.{kind}"
                if change is not None:
                    summary[name] = change.difference
                if change is not None and change.test is not None:
                    tests[name] = change.test
    p_values = zip(tests, correct_p_values(list(tests.values())), strict=True)
    return summary | {f"mcnemar_p.{name}": p_value for name, p_value in p_values}


def draw_table(
    table: pl.DataFrame, quantities: Mapping[str, str], model: str, what: str
) -> figures.Drawing:
    """Draw a table of some quantities by setting and task, each with its interval.

    Args:
        table: the table of :func:`measure_tasks`.
        quantities: each quantity with its header.
        model: the model that answered.
        what: the meaning of the numbers, for the caption. The caption also gives the first quantity
            of each steered task.
    """
    frame = table.filter(pl.col("quantity").is_in(list(quantities))).select(
        pl.lit(model).alias("model"),
        "setting",
        pl.col("task").str.replace_all("_", " ").alias("benchmark"),
        pl.col("quantity").replace_strict(dict(quantities)).alias("measure"),
        "value",
        "low",
        "high",
        pl.lit(None, dtype=pl.Float64).alias("published"),
    )
    header = next(iter(quantities.values()))
    rows = frame.filter((pl.col("setting") == "steered") & (pl.col("measure") == header))
    texts = [
        f"{task} {interval_text(Interval(value, low, high, 0, ''))}"
        for task, value, low, high in rows.select("benchmark", "value", "low", "high").iter_rows()
    ]
    caption = (
        f"Steered, {header.replace('_', ' ')}: {list_words(texts)}. {what} By setting and task, "
        "with "
        "95% intervals; the largest value of each column is bold."
    )
    return replace(figures.benchmark_table(frame), caption=caption)

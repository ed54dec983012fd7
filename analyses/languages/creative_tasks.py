"""What language steering does outside of benchmarks: letters, stories, advice, questions (paper B).

A vector that is read from one mixture of requests is tried on tasks one by one: texts of several
kinds, which have no right answer, and questions that have one (of fact, yes or no, multiple
choice). Each is asked without steering, under the vector, under random directions of the same
norms, with worked examples of the same task in the prompt, and in the language itself, which is the
most that the model can do. The schedule and strength are chosen on the select split of the
requests; no prompt of a task was seen by the vector, nor was it a worked example.

Recorded are the language, whether the answer is right (a text: whether it names its subject and
says more of it that is true than is false), whether it is broken, what a judge makes of it, its
length, and how much the answers to a task are alike. Language is not known of an answer without a
word, such as a letter.
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
from analyses.kit.answer_options import asking
from analyses.kit.judges import VERDICTS, judge_all, judge_of
from analyses.languages import base
from analyses.languages.base import STEPS, LanguageConfig, scheduled, target_of
from analyses.languages.creative_tasks_overlap import distinct, repeats, words_of
from figures.style.drawing import interval_text, list_words
from figures.style.settings import language_name
from interp_steer.contrast.parallel import ParallelItem
from interp_steer.errors import RunError
from interp_steer.scoring.judge import Judge
from interp_steer.statistics.intervals import Interval
from interp_steer.statistics.records import compare, correct_p_values, mean_of, share_of
from interp_steer.sweeps.damage import BROKEN
from interp_steer.sweeps.grid import Cell
from interp_steer.world import grammar
from interp_steer.world.chats import YES_NO
from interp_steer.world.facts import LANGUAGES, Fact
from interp_steer.world.judge import WorldJudge
from interp_steer.world.queries import questionable_facts
from interp_steer.world.random_choices import choice_question
from interp_steer.world.reading import read_claims

QUESTIONS = ("fact", "yes_no", "choice")
"""Tasks that have a right answer."""

RIGHT = {
    "texts": "true to its subject: names it and says more of it that is true than is false",
    "questions": "right",
}
"""What is counted as right, in words."""

SHARES = ("in_language", "right", "names", "sound", "garbled", "degenerate")
"""What is counted of the answers to a task in a setting."""

MEANS = ("quality", "words", "repeats_others")
"""What is averaged over them."""

SPARE = 24
"""Requests from which the worked examples of the vector's prompts are drawn."""


@dataclass(frozen=True)
class Config(LanguageConfig):
    """What is asked for, and what steers."""

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
    """Kinds of text (interp_steer.world.grammar.QUERY_STYLES), and of question: fact, yes_no,
    choice."""
    schedules: tuple[str, ...] = ("diminishing(30)",)
    """Schedules of the strength, of which one is chosen; see
    interp_steer.interventions.schedules.parse."""
    strengths: tuple[float, ...] = (1.0, 1.5, 2.0)
    """How many times the vector is added, of which one is chosen."""
    rule: str = "sound"
    """What is chosen by: sound, where an answer that is no language fails, or share."""
    draws: int = 1
    """Random directions that the vector is compared with."""
    n_select: int = 16
    """Requests that schedule and strength are chosen on."""
    n_test: int = 12
    """Prompts of each task."""
    max_new_tokens: int = 64
    """Where an answer is cut."""
    judge: str = "world"
    """Who judges: world, local:MODEL, or ADDRESS#MODEL; world judges texts and yes or no."""
    judge_key: str = ""
    """The environment variable with the key to the judge's address."""


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
    judge = judge_of(config, run, model)
    frames, verdicts = [], []
    with asking(config, model, run) as options:
        select = base.recorded(
            model, tried(config, vector), pairs.select, code, own, reference, **options
        )
        schedule, strength = base.best_cell(select, config.rule)
        run.leave(summary={"strength": strength})
        grid = settings(config, vector, schedule, strength, run.seed)
        for name in tqdm(names, desc="tasks", unit="task", disable=None):
            asked = task_items(name, config, left, run.seed)
            prompts = prompts_of(asked, config, run.seed)
            run.used(prompts)
            answers = base.recorded(model, grid, prompts, code, asked, reference, **options)
            frame, said = judged(described(answers, name, asked), name, judge)
            frames.append(frame)
            verdicts.append(said)
    records = pl.concat(frames)
    run.write_records(records)
    run.write_records(pl.concat(verdicts), "verdicts")
    table = measured(records)
    run.write_records(table, "tasks")
    run.leave(summary=numbers(records) | compared(records))
    language = language_name(code)
    for kind, rows in kinds(table).items():
        said = {"in_language": "in_language", "right": "accuracy"}
        what = f"Share of answers in {language}, and share that is {RIGHT[kind]}."
        run.draw(kind, tabulated(rows, said, config.model, what))
    what = "Share of answers that are neither garbled nor loops."
    run.draw("sound", tabulated(table, {"sound": "sound"}, config.model, what))
    what = (
        "Different pairs of words among all of a task, and share of runs of four words that "
        "another answer has too."
    )
    alike = {"distinct_2": "distinct", "repeats_others": "repeated"}
    run.draw("alike", tabulated(kinds(table).get("texts", table), alike, config.model, what))


# ---------------------------------------------------------------------------- what is asked
def names_of(config: Config) -> tuple[str, ...]:
    """The tasks of a config; files of one's own are one task.

    Raises:
        RunError: for a task that is unknown, or none.
    """
    if config.data is not None:
        return ("questions",)
    known = (*grammar.QUERY_STYLES, *QUESTIONS)
    unknown = [name for name in config.tasks if name not in known]
    if unknown or not config.tasks:
        raise RunError(
            f"tasks {', '.join(unknown) or 'of no name'} cannot be asked for; give some of "
            f"{', '.join(known)}"
        )
    return config.tasks


def task_items(
    name: str, config: Config, left: Sequence[ParallelItem], seed: int
) -> tuple[ParallelItem, ...]:
    """What a task can ask, and take worked examples from.

    Args:
        name: one of :func:`names_of`.
        config: says how many are asked.
        left: the requests that the vector has nothing to do with.
        seed: of the draw.
    """
    if name in grammar.QUERY_STYLES:
        return tuple(item for item in left if item.key.endswith(f"/{name}"))
    if name not in QUESTIONS:
        return tuple(left)
    n = config.n_test + config.shots + SPARE
    items = []
    for fact in Random(f"{seed}/{name}").sample(questionable_facts("held"), n):
        key = f"{name}/{fact.subject}/{fact.relation}"
        # From one seed, so that all languages ask the same and the same is right.
        said = {code: question(name, fact, code, Random(f"{seed}/{key}")) for code in LANGUAGES}
        asked = {code: one for code, (one, _) in said.items()}
        answers = {code: one for code, (_, one) in said.items()}
        items.append(ParallelItem(key, asked, answers, fact.subject))
    return tuple(items)


def question(name: str, fact: Fact, language: str, rng: Random) -> tuple[str, str]:
    """A question about a fact, and the right answer to it."""
    if name == "choice":
        asked = choice_question(fact, language, rng)
        return asked.prompt, asked.letter
    if name == "fact":
        return grammar.fact_question(fact, language, rng), grammar.sentence(fact, language, rng)
    text, true = grammar.yes_no_question(fact, language, rng)
    return text, f"{YES_NO[language][not true]} {grammar.sentence(fact, language, rng)}"


def is_right(name: str, item: ParallelItem, answer: str) -> bool | None:
    """Whether an answer to a question is the right one, in whatever language."""
    if name == "choice":
        first = re.match(r"\W*([A-D])\b", answer)
        return first is not None and first[1] == item.answer("en")
    if name == "yes_no":
        return WorldJudge().verdicts(item.question("en"), answer)[0]
    relation = item.key.rpartition("/")[2]
    about = [one for one in read_claims(answer, item.subject) if one.fact.relation == relation]
    said = [one.true for one in about if one.fact.subject == item.subject]
    return bool(said) and all(said)


def prompts_of(items: Sequence[ParallelItem], config: Config, seed: int) -> ist.ContrastSet:
    """The bare questions of a task, and the same behind worked examples of it."""
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


# ---------------------------------------------------------------------------- what steers
def tried(config: Config, vector: ist.SteppedVector) -> list[Cell]:
    """Every schedule at every strength, beside the unsteered model and worked examples."""
    schedules = [ist.schedules.parse(said) for said in config.schedules]
    return [
        Cell("none"),
        Cell("instruction", instructed=True),
        *(
            scheduled("steered", vector, strength, schedule)
            for schedule in schedules
            for strength in config.strengths
        ),
    ]


def settings(
    config: Config, vector: ist.SteppedVector, schedule: str, strength: float, seed: int
) -> list[Cell]:
    """Unsteered, worked examples, the vector, and random directions like it."""
    how = ist.schedules.parse(schedule)
    controls = [vector.like_random(seed + draw) for draw in range(config.draws)]
    return [
        Cell("none"),
        Cell("instruction", instructed=True),
        scheduled("steered", vector, strength, how),
        *(scheduled("random", one, strength, how, draw) for draw, one in enumerate(controls)),
    ]


# ---------------------------------------------------------------------------- what is recorded
def described(records: pl.DataFrame, name: str, items: Sequence[ParallelItem]) -> pl.DataFrame:
    """Add ``task``, ``right``, ``sound``, ``words`` and ``repeats_others``.

    ``repeats_others`` is the share of the answer's runs of four words that another answer
    of the same setting has too; null for a shorter answer.
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


def judged(records: pl.DataFrame, name: str, judge: Judge) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Add ``quality``, null where the judge has nothing to ask; and the verdicts."""
    if isinstance(judge, WorldJudge) and name not in (*grammar.QUERY_STYLES, "yes_no"):
        unknown = pl.lit(None, dtype=pl.Float64).alias("quality")
        return records.with_columns(unknown), pl.DataFrame(schema=VERDICTS)
    return judge_all(records, judge)


# ---------------------------------------------------------------------------- what is reported
def measured(records: pl.DataFrame) -> pl.DataFrame:
    """A row for every task, setting and quantity that is known there, with its interval."""
    rows: list[dict[str, object]] = []
    for (task, setting), frame in records.group_by("task", "setting", maintain_order=True):
        # Answers under several random directions are not one set of answers.
        texts = frame.filter(pl.col("draw").fill_null(0) == 0)["answer"].to_list()
        spread = {f"distinct_{n}": distinct(texts, n) for n in (1, 2)}
        for quantity, found in (quantities(frame) | spread).items():
            if found is not None:
                bounds = {"value": found.value, "low": found.low, "high": found.high, "n": found.n}
                rows.append({"task": task, "setting": setting, "quantity": quantity, **bounds})
    return pl.DataFrame(rows)


def quantities(frame: pl.DataFrame) -> dict[str, Interval | None]:
    """What is known of some answers."""
    counted = {s: share_of(frame, s) for s in SHARES if frame[s].is_not_null().any()}
    return counted | {column: mean_of(frame, column) for column in MEANS}


def kinds(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The rows of all texts, and of all questions."""
    of = pl.col("task").is_in(QUESTIONS)
    both = {"texts": frame.filter(~of), "questions": frame.filter(of)}
    return {kind: rows for kind, rows in both.items() if len(rows)}


def numbers(records: pl.DataFrame) -> dict[str, object]:
    """The main quantities of each setting, over all texts and all questions."""
    found: dict[str, object] = {}
    for kind, rows in kinds(records).items():
        for (setting,), frame in rows.group_by("setting", maintain_order=True):
            known = quantities(frame)
            for quantity in ("in_language", "right", "sound", "quality", "words"):
                if (interval := known.get(quantity)) is not None:
                    found[f"{quantity}.{setting}.{kind}"] = interval
    return found


def compared(records: pl.DataFrame) -> dict[str, object]:
    """By how much steering changes what is in the language, right and sound, prompt by prompt.

    Beside no steering and questions asked in the language; p-values of McNemar's test, corrected
    by Holm's method over all of them.
    """
    found: dict[str, object] = {}
    tests = {}
    for kind, rows in kinds(records).items():
        for outcome in ("in_language", "right", "sound"):
            for other in ("none", "asked"):
                change = compare(rows, other, "steered", outcome)
                name = f"{outcome}.steered_less_{other}.{kind}"
                if change is not None:
                    found[name] = change.difference
                if change is not None and change.test is not None:
                    tests[name] = change.test
    p_values = zip(tests, correct_p_values(list(tests.values())), strict=True)
    return found | {f"mcnemar_p.{name}": p_value for name, p_value in p_values}


def tabulated(
    table: pl.DataFrame, quantities: Mapping[str, str], model: str, what: str
) -> figures.Drawing:
    """Some quantities by setting and task, each number with its interval.

    Args:
        table: of :func:`measured`.
        quantities: each with its header.
        model: whose answers they are of.
        what: what the numbers are, for the caption; the first is told of each steered task.
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
    told = [
        f"{task} {interval_text(Interval(value, low, high, 0, ''))}"
        for task, value, low, high in rows.select("benchmark", "value", "low", "high").iter_rows()
    ]
    caption = (
        f"Steered, {header.replace('_', ' ')}: {list_words(told)}. {what} By setting and task, "
        "over 95% intervals; the largest of each column in bold."
    )
    return replace(figures.benchmark_table(frame), caption=caption)

"""Compare steering with LoRA, prefix tuning, system prompts and worked examples (paper B).

Every method shall make a model answer in another language than the language of the question. All
methods learn from the same examples: a question, its answer in the target language and (for
steering only) its answer in the language of the question. Each method's open choices (schedule and
strength, learning rate and epochs, number of worked examples, wording) are made on the same select
examples.

The main outcome is the share of answers in the target language. Further outcomes are the shares of
fluent answers and of answers that keep their content; the knowledge of facts in the language of the
question, which should not change (the most likely of four sentences is taken as the answer); the
perplexity of answers in the language of the question, which rises for a good reason in a model that
is meant to speak another language; and the costs of learning and answering. A random direction of
the same length as the steering vector shows the effect of a strong intervention alone.

Operations are counted rather than estimated by a formula (analyses/languages/adaptation_costs.py).
The operations of a generated answer are those of one pass over the prompt with its answer, which
agrees with cached decoding to within a few percent. Results of a bundled model say nothing about
large models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

import polars as pl
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.languages.adaptation_costs import Count, time_work
from analyses.languages.adaptation_methods import (
    LEARNERS,
    OUTCOME,
    Learned,
    Learning,
    Task,
    flops_of,
    score_answers,
)
from analyses.languages.adaptation_models import Prompted
from interp_steer.contrast import ParallelItem, from_files
from interp_steer.errors import OptionError
from interp_steer.statistics import Interval, bootstrap, mcnemar, paired_difference, share
from interp_steer.world import LETTERS, MultipleChoice, grammar, multiple_choice, parallel

Method = Literal["system prompt", "few-shot", "lora", "prefix tuning", "steered"]
METHODS: tuple[Method, ...] = ("system prompt", "few-shot", "lora", "prefix tuning", "steered")


@dataclass(frozen=True)
class Config(Learning):
    """Options of the comparison."""

    methods: tuple[Method, ...] = METHODS
    """Methods to compare with the original model. With steered, a random direction is included."""
    n: tuple[int, ...] = (8, 32)
    """Numbers of examples to learn from; smaller sets are subsets of larger ones."""
    n_select: int = 8
    """Examples on which the open choices are made."""
    n_test: int = 32
    """Questions in the test split, on which results are reported."""
    n_choices: int = 40
    """Number of questions of fact, each with four options."""
    n_timed: int = 3
    """Number of answers that are timed, one at a time."""


def main(config: Config, run: ist.Run) -> None:
    """Learn by every method from every number of examples, and ask all of them the same."""
    task, test = load_task(config, run.seed)
    choices = (
        [] if config.data else multiple_choice(config.question, n=config.n_choices, seed=run.seed)
    )
    run.used(task.model)
    jobs = [
        (name, n)
        for name in config.methods
        for n in (config.n if name != "system prompt" else (0,))
    ]
    bar = tqdm(jobs, desc="methods", unit="method", disable=None)
    original = Learned(Prompted("original", task.model), 0, "", 0.0, Count())
    frames, options, costs = [], [], []
    for learned in (original, *(new for name, n in bar for new in LEARNERS[name](task, n))):
        frames.append(answer_questions(task, test, learned))
        options.append(choose_options(task, choices, learned))
        costs.append(measure_costs(task, learned, frames[-1].head(config.n_timed)))
        if learned.vector is not None:
            run.leave(learned.vector, name=str(learned.n))
    answers, facts, spent = pl.concat(frames), pl.concat(options), pl.DataFrame(costs)
    run.write_records(answers)
    run.write_records(facts, "choices")
    run.write_records(spent, "costs")
    intervals = measures(answers, facts, run.seed)
    run.leave(summary={f"{what}.{method}.{n}": i for (method, n, what), i in intervals.items()})
    run.leave(summary=tests(answers, facts) | cost_numbers(spent))
    frame = pl.DataFrame(
        [(*key, i.value, i.low, i.high) for key, i in intervals.items()],
        ["method", "n", "measure", "value", "low", "high"],
        orient="row",
    )
    outcomes = frame.filter((pl.col("measure") == OUTCOME) & (pl.col("method") != "random"))
    outcomes = outcomes.join(spent, on=["method", "n"])
    run.draw("benefit_against_cost", figures.benefit_against_cost(outcomes))
    run.draw(
        "shares_by_method",
        figures.adaptation_shares(frame.filter(pl.col("measure") != "perplexity")),
    )


def load_task(config: Config, seed: int) -> tuple[Task, Sequence[ParallelItem]]:
    """Load the model, and draw the examples and the test questions; no question occurs twice.

    Raises:
        OptionError: for a folder with too few questions.
    """
    n_learn = config.n_select + max(config.n)
    if config.data is None:
        items = parallel(n_learn, seed=seed, split="train")
        test = parallel(config.n_test, seed=seed, split="held")
    else:
        items = from_files(config.data)
        if len(items) < n_learn + config.n_test:
            raise OptionError(
                f"{config.data} has {len(items)} questions, and {n_learn + config.n_test} are "
                "asked for; ask for fewer"
            )
        test = items[n_learn : n_learn + config.n_test]
    select, fit = items[: config.n_select], items[config.n_select : n_learn]
    model, reference = ist.load(config.model), ist.load(config.reference)
    return Task(config, model, fit, select, reference, seed), test


def answer_questions(task: Task, test: Sequence[ParallelItem], learned: Learned) -> pl.DataFrame:
    """Answer the test questions; return a row with scores for each answer."""
    asked = task.questions(test)
    answers = learned.adapted.answers(asked, task.config.max_new_tokens)
    plain = [item.answer(task.config.question) for item in test]
    logprobs = learned.adapted.logprobs(asked, plain)
    scored = score_answers(task, test, answers)
    rows = [
        {
            "method": learned.adapted.name,
            "n": learned.n,
            "key": item.key,
            "query": query,
            "answer": answer,
            **score,
            "loss": -logprob / n_tokens(task.model, known),
        }
        for item, query, answer, score, known, logprob in zip(
            test, asked, answers, scored, plain, logprobs, strict=True
        )
    ]
    return pl.DataFrame(rows, schema_overrides={"kept": pl.Boolean, "perplexity": pl.Float64})


def n_tokens(model: ist.HookedLM, text: str) -> int:
    """Count the tokens of a text, without special tokens."""
    return len(model.tokenizer(text, add_special_tokens=False)["input_ids"])


def choose_options(task: Task, choices: Sequence[MultipleChoice], learned: Learned) -> pl.DataFrame:
    """Choose the most likely of four sentences that answer each question of fact.

    A row of the result says whether this sentence is true.
    """
    sentences = [
        grammar.sentence(replace(choice.fact, value=value), task.config.question, Random(at))
        for at, choice in enumerate(choices)
        for value in choice.values
    ]
    asked = [choice.prompt.split("\n")[0] for choice in choices for _ in LETTERS]
    logprobs = learned.adapted.logprobs(asked, sentences) if asked else []
    rows = []
    for at, choice in enumerate(choices):
        values = logprobs[at * len(LETTERS) : (at + 1) * len(LETTERS)]
        letter = LETTERS[values.index(max(values))]
        asks = (learned.adapted.name, learned.n, at, asked[at * len(LETTERS)])
        rows.append(
            (*asks, sentences[at * len(LETTERS) + LETTERS.index(letter)], letter == choice.letter)
        )
    columns = {"method": pl.String, "n": pl.Int64, "key": pl.Int64, "query": pl.String}
    columns |= {"likeliest": pl.String, "right": pl.Boolean}
    return pl.DataFrame(rows, columns, orient="row")


def measure_costs(task: Task, learned: Learned, some: pl.DataFrame) -> dict[str, object]:
    """Measure the cost of learning, and the mean cost of an answer over some answers."""
    device, limit = task.model.device, task.config.max_new_tokens
    asked, answers = some["query"].to_list(), some["answer"].to_list()
    learned.adapted.answers(asked[:1], limit)  # warms up
    seconds = [time_work(lambda q=q: learned.adapted.answers([q], limit), device)[1] for q in asked]
    flops = flops_of(learned.adapted, asked, answers, device)
    row: dict[str, object] = {
        "method": learned.adapted.name,
        "n": learned.n,
        "chosen": learned.chosen,
        "stored": learned.adapted.stored,
        "learn_seconds": learned.seconds,
        "learn_flops": learned.count.flops,
        "learn_peak_bytes": learned.count.peak_bytes,
    }
    for name, values in (("answer_seconds", seconds), ("answer_flops", flops or [0.0])):
        mean = bootstrap(values, seed=task.seed)
        row |= {name: mean.value, f"{name}_low": mean.low, f"{name}_high": mean.high}
    return row


SHARES = ("in_target", OUTCOME, "fluent", "kept")
"""The outcomes that are reported as shares of answers."""


def measures(
    answers: pl.DataFrame, facts: pl.DataFrame, seed: int
) -> dict[tuple[str, int, str], Interval]:
    """Return every measure by method, number of examples and name, with its 95% interval."""
    intervals: dict[tuple[str, int, str], Interval] = {}
    for (method, n), rows in groups(answers).items():
        for name in SHARES:
            known = rows[name].drop_nulls()
            if len(known):
                intervals[method, n, name] = share(known)
        loss = bootstrap(rows["loss"], seed=seed)
        value, low, high = (math.exp(bound) for bound in (loss.value, loss.low, loss.high))
        intervals[method, n, "perplexity"] = Interval(value, low, high, loss.n, loss.method)
    for (method, n), rows in groups(facts).items():
        intervals[method, n, "facts"] = share(rows["right"])
    return intervals


def groups(records: pl.DataFrame) -> dict[tuple[str, int], pl.DataFrame]:
    """Group the records by method and number of examples."""
    parts = records.partition_by("method", "n", as_dict=True, maintain_order=True)
    return {(str(method), int(n)): rows for (method, n), rows in parts.items()}


def tests(answers: pl.DataFrame, facts: pl.DataFrame) -> dict[str, object]:
    """Test steering against each rival on the same questions, and the facts of each method.

    The facts of a method are tested against those of the original model. A gain is the difference
    of two shares; the test is McNemar's.
    """
    compared = []
    by_method = groups(answers)
    for (method, n), rows in by_method.items():
        for steered, ours in by_method.items():
            if steered[0] == "steered" and method != "steered" and n in (0, steered[1]):
                name = f"steered over {method}.{steered[1]}"
                compared += [
                    (f"{outcome}.{name}", rows[outcome], ours[outcome])
                    for outcome in ("in_target", OUTCOME)
                ]
    options = groups(facts)
    for (method, n), rows in options.items():
        if method != "original":
            plain = options["original", 0]["right"]
            compared.append((f"facts.{method} over original.{n}", plain, rows["right"]))
    numbers: dict[str, object] = {}
    for name, before, after in compared:
        numbers[f"gain.{name}"] = paired_difference(before, after)
        numbers[f"mcnemar_p.{name}"] = mcnemar(before, after).p_value
    return numbers


def cost_numbers(spent: pl.DataFrame) -> dict[str, object]:
    """Return the costs as summary numbers."""
    numbers: dict[str, object] = {}
    for row in spent.iter_rows(named=True):
        where = f"{row['method']}.{row['n']}"
        for name in ("stored", "learn_seconds", "learn_flops", "learn_peak_bytes"):
            numbers[f"{name}.{where}"] = row[name]
        for name in ("answer_seconds", "answer_flops"):
            bounds = (row[name], row[f"{name}_low"], row[f"{name}_high"])
            numbers[f"{name}.{where}"] = Interval(*bounds, 0, "bootstrap percentile 95%")
    return numbers

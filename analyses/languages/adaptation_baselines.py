"""Steering against LoRA, prefix tuning, a system prompt and worked examples (paper B, limitations).

All of them are to make a model answer in another language than it is asked in, and learn it from
the same examples: a question, its answer in the target language and (for steering alone) its answer
in the language of the question. What each leaves open (schedule and strength, learning rate and
epochs, the number of worked examples, the wording) is chosen on the same select examples.

Beside the share of answers in the target language stand how many are fluent and how many keep their
content; what is left of an ability that nothing was to change, to know facts in the language of the
question, by the likeliest of four sentences; the perplexity of answers in that language, which a
model that is to speak another one rightly finds less likely; and the costs of learning and of
answering. A random direction as long as the steering vector stands for what steering does by being
strong alone.

Operations are counted, not estimated from a formula (analyses/languages/adaptation_costs.py); those of
generated answers are those of one pass over each prompt with its answer, which decoding with a
cache comes to within a few percent. What a bundled model shows is no evidence about large ones.
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
from analyses.languages.adaptation_costs import Count, timed
from analyses.languages.adaptation_methods import (
    LEARNERS,
    OUTCOME,
    Learned,
    Learning,
    Task,
    flops_of,
    scores,
)
from analyses.languages.adaptation_models import Prompted
from interp_steer.contrast.parallel import ParallelItem, from_files
from interp_steer.errors import OptionError
from interp_steer.statistics.intervals import Interval, bootstrap, share
from interp_steer.statistics.paired import mcnemar, paired_difference
from interp_steer.world import grammar
from interp_steer.world.random_choices import LETTERS, MultipleChoice, multiple_choice
from interp_steer.world.translations import parallel

Method = Literal["system prompt", "few-shot", "lora", "prefix tuning", "steered"]
METHODS: tuple[Method, ...] = ("system prompt", "few-shot", "lora", "prefix tuning", "steered")


@dataclass(frozen=True)
class Config(Learning):
    """What is compared, and on how much."""

    methods: tuple[Method, ...] = METHODS
    """What is compared with the model as it is; a random direction comes with steered."""
    n: tuple[int, ...] = (8, 32)
    """Numbers of examples to learn from, the fewer among the more."""
    n_select: int = 8
    """Examples that the rest is chosen on."""
    n_test: int = 32
    """Questions that are reported."""
    n_choices: int = 40
    """Questions of fact with four options."""
    n_timed: int = 3
    """Answers that are timed, one at a time."""


def main(config: Config, run: ist.Run) -> None:
    """Learn by every method from every number of examples, then ask all of them the same."""
    task, test = drawn(config, run.seed)
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
    for one in (original, *(one for name, n in bar for one in LEARNERS[name](task, n))):
        frames.append(answered(task, test, one))
        options.append(chosen_options(task, choices, one))
        costs.append(cost_of(task, one, frames[-1].head(config.n_timed)))
        if one.vector is not None:
            run.leave(one.vector, name=str(one.n))
    answers, facts, spent = pl.concat(frames), pl.concat(options), pl.DataFrame(costs)
    run.write_records(answers)
    run.write_records(facts, "choices")
    run.write_records(spent, "costs")
    found = measures(answers, facts, run.seed)
    run.leave(summary={f"{what}.{method}.{n}": i for (method, n, what), i in found.items()})
    run.leave(summary=tests(answers, facts) | cost_numbers(spent))
    frame = pl.DataFrame(
        [(*key, i.value, i.low, i.high) for key, i in found.items()],
        ["method", "n", "measure", "value", "low", "high"],
        orient="row",
    )
    reached = frame.filter((pl.col("measure") == OUTCOME) & (pl.col("method") != "random"))
    reached = reached.join(spent, on=["method", "n"])
    run.draw("benefit_against_cost", figures.benefit_against_cost(reached))
    run.draw(
        "shares_by_method",
        figures.adaptation_shares(frame.filter(pl.col("measure") != "perplexity")),
    )


def drawn(config: Config, seed: int) -> tuple[Task, Sequence[ParallelItem]]:
    """Load the model, and draw the examples and the test questions, no question twice.

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


def answered(task: Task, test: Sequence[ParallelItem], one: Learned) -> pl.DataFrame:
    """The answers to the test questions, a row each, with their scores."""
    asked = task.asked(test)
    answers = one.adapted.answers(asked, task.config.max_new_tokens)
    plain = [item.answer(task.config.question) for item in test]
    logprobs = one.adapted.logprobs(asked, plain)
    scored = scores(task, test, answers)
    rows = [
        {
            "method": one.adapted.name,
            "n": one.n,
            "key": item.key,
            "query": query,
            "answer": answer,
            **found,
            "loss": -logprob / n_tokens(task.model, known),
        }
        for item, query, answer, found, known, logprob in zip(
            test, asked, answers, scored, plain, logprobs, strict=True
        )
    ]
    return pl.DataFrame(rows, schema_overrides={"kept": pl.Boolean, "perplexity": pl.Float64})


def n_tokens(model: ist.HookedLM, text: str) -> int:
    """How many tokens a text has, without special ones."""
    return len(model.tokenizer(text, add_special_tokens=False)["input_ids"])


def chosen_options(task: Task, choices: Sequence[MultipleChoice], one: Learned) -> pl.DataFrame:
    """Whether the likeliest of four sentences that answer each question of fact is the true one."""
    told = [
        grammar.sentence(replace(choice.fact, value=value), task.config.question, Random(at))
        for at, choice in enumerate(choices)
        for value in choice.values
    ]
    asked = [choice.prompt.split("\n")[0] for choice in choices for _ in LETTERS]
    found = one.adapted.logprobs(asked, told) if asked else []
    rows = []
    for at, choice in enumerate(choices):
        values = found[at * len(LETTERS) : (at + 1) * len(LETTERS)]
        letter = LETTERS[values.index(max(values))]
        asks = (one.adapted.name, one.n, at, asked[at * len(LETTERS)])
        rows.append(
            (*asks, told[at * len(LETTERS) + LETTERS.index(letter)], letter == choice.letter)
        )
    columns = {"method": pl.String, "n": pl.Int64, "key": pl.Int64, "query": pl.String}
    columns |= {"likeliest": pl.String, "right": pl.Boolean}
    return pl.DataFrame(rows, columns, orient="row")


def cost_of(task: Task, one: Learned, some: pl.DataFrame) -> dict[str, object]:
    """What an adaptation took to learn, and what an answer takes, in the mean over some of them."""
    device, limit = task.model.device, task.config.max_new_tokens
    asked, answers = some["query"].to_list(), some["answer"].to_list()
    one.adapted.answers(asked[:1], limit)  # warms up
    seconds = [timed(lambda q=q: one.adapted.answers([q], limit), device)[1] for q in asked]
    flops = flops_of(one.adapted, asked, answers, device)
    row: dict[str, object] = {
        "method": one.adapted.name,
        "n": one.n,
        "chosen": one.chosen,
        "stored": one.adapted.stored,
        "learn_seconds": one.seconds,
        "learn_flops": one.count.flops,
        "learn_peak_bytes": one.count.peak_bytes,
    }
    for name, values in (("answer_seconds", seconds), ("answer_flops", flops or [0.0])):
        found = bootstrap(values, seed=task.seed)
        row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    return row


SHARES = ("in_target", OUTCOME, "fluent", "kept")
"""What is measured of the answers as a share of them."""


def measures(
    answers: pl.DataFrame, facts: pl.DataFrame, seed: int
) -> dict[tuple[str, int, str], Interval]:
    """Every measure by method, number of examples and name, with its 95% interval."""
    found: dict[tuple[str, int, str], Interval] = {}
    for (method, n), rows in groups(answers).items():
        for name in SHARES:
            known = rows[name].drop_nulls()
            if len(known):
                found[method, n, name] = share(known)
        loss = bootstrap(rows["loss"], seed=seed)
        value, low, high = (math.exp(one) for one in (loss.value, loss.low, loss.high))
        found[method, n, "perplexity"] = Interval(value, low, high, loss.n, loss.method)
    for (method, n), rows in groups(facts).items():
        found[method, n, "facts"] = share(rows["right"])
    return found


def groups(records: pl.DataFrame) -> dict[tuple[str, int], pl.DataFrame]:
    """The records of each method and number of examples."""
    parts = records.partition_by("method", "n", as_dict=True, maintain_order=True)
    return {(str(method), int(n)): rows for (method, n), rows in parts.items()}


def tests(answers: pl.DataFrame, facts: pl.DataFrame) -> dict[str, object]:
    """Steering over each rival on the same questions, and each method's facts over the original's.

    A gain is the difference of two shares, its test McNemar's.
    """
    compared = []
    of = groups(answers)
    for (method, n), rows in of.items():
        for steered, ours in of.items():
            if steered[0] == "steered" and method != "steered" and n in (0, steered[1]):
                name = f"steered over {method}.{steered[1]}"
                compared += [(f"{o}.{name}", rows[o], ours[o]) for o in ("in_target", OUTCOME)]
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
    """The costs as summary numbers."""
    numbers: dict[str, object] = {}
    for row in spent.iter_rows(named=True):
        where = f"{row['method']}.{row['n']}"
        for name in ("stored", "learn_seconds", "learn_flops", "learn_peak_bytes"):
            numbers[f"{name}.{where}"] = row[name]
        for name in ("answer_seconds", "answer_flops"):
            bounds = (row[name], row[f"{name}_low"], row[f"{name}_high"])
            numbers[f"{name}.{where}"] = Interval(*bounds, 0, "bootstrap percentile 95%")
    return numbers

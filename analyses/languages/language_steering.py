"""Measure the share of answers in the target language by schedule and strength (paper B).

Vectors from one language to another are read at every head and every generated step, and added by
several schedules and strengths. The best combination is chosen on the select split, and all are
reported on the test split. They are compared with random directions of the same norms, with worked
examples in the prompt, and with questions asked in the language itself, which is the best that the
model can do. Further results are: the language according to two detectors, the fluency and the
content of all answers; the likelihood of given answers in each language; the number of examples
that a vector needs; and the heads in which the vector lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.kit.answer_options import open_sweep_options
from analyses.languages import base
from analyses.languages.base import STEPS, LanguageConfig, scheduled_cell, target_of
from analyses.languages.resampled_vectors import Examples
from interp_steer.contrast import ParallelItem
from interp_steer.interventions import Dynamic
from interp_steer.scoring import Detection, agreement
from interp_steer.statistics import Interval, bootstrap_mean, mcnemar, mean_of, share, share_of
from interp_steer.sweeps import Cell, with_divergence

OUTCOMES = ("in_language", "in_language_langdetect", "kept", "names", "garbled", "degenerate")
"""Outcomes that are reported as shares of answers."""


@dataclass(frozen=True)
class Config(LanguageConfig):
    """Options of the schedules and strengths."""

    others: tuple[str, ...] = ()
    """More languages to steer towards, such as fr-fr; each has its own vector."""
    schedules: tuple[str, ...] = (
        "start",
        "fixed",
        "diminishing(30)",
        "exponential(0.9)",
        "dynamic(0.5)",
    )
    """Schedules of the strength; see interp_steer.interventions.schedules.parse."""
    strengths: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0)
    """Strengths, in multiples of the vector; alpha of the paper."""
    dynamic_strengths: tuple[float, ...] = (0.5, 1.0)
    """Factors for the weights of dynamic schedules, which go up to 2; 1 in the paper."""
    n_examples: tuple[int, ...] = (5, 10, 20, 30, 50, 100)
    """Numbers of examples to fit vectors on, to find how many are needed. Give no number to leave
    this out."""
    draws: int = 2
    """Random directions that the vector is compared with."""
    rule: str = "sound"
    """Rule that chooses schedule and strength. sound: an answer that is degenerate or garbled
    counts as a failure. share: it does not, as in the paper."""


@dataclass(frozen=True, eq=False)
class Setup:
    """The models, questions and options of the analysis."""

    model: ist.HookedLM
    reference: ist.HookedLM
    """The model whose perplexity shows which answers are degenerate or garbled."""
    config: Config
    items: Sequence[ParallelItem]
    """The parallel questions and answers."""
    seed: int
    options: Mapping[str, Any]
    """Options of :func:`interp_steer.generate`."""

    def record(self, cells: Sequence[Cell], pairs: ist.ContrastSet, code: str) -> pl.DataFrame:
        """Answer pairs in every cell, and record the answers; see :func:`base.record_answers`."""
        return base.record_answers(
            self.model, cells, pairs, code, self.items, self.reference, **self.options
        )


@dataclass(frozen=True, eq=False)
class Chosen:
    """The vector of a language, with the schedule and strength that were chosen."""

    positive: str
    """The languages of the questions and answers that are steered towards."""
    pairs: ist.ContrastSet
    vector: ist.SteppedVector
    schedule: str
    strength: float

    @property
    def code(self) -> str:
        """Return the language of the answers."""
        return target_of(self.positive)

    @property
    def steering(self) -> ist.Intervention:
        """Return the intervention that was chosen."""
        return self.vector.shift(self.strength, ist.schedules.parse(self.schedule))


def main(config: Config, run: ist.Run) -> None:
    """Fit, choose and report for each language; then examples, heads, steps and given answers."""
    model, reference = base.load(config), ist.load(config.reference)
    items = base.read_items(config, run.seed)
    frames, likely, needed, steps = [], [], [], []
    with open_sweep_options(config, model, run) as options:
        setup = Setup(model, reference, config, items, run.seed, options)
        for positive in (config.positive, *config.others):
            chosen = choose(setup, positive, run)
            frames.append(answer_test_split(setup, chosen))
            run.leave(summary=numbers(frames[-1], chosen))
            run.leave(summary={f"strength.{chosen.code}": chosen.strength})

            likely.append(likelihoods(setup, chosen))
            run.leave(summary=gains(likely[-1], chosen.code))
            steps.append(trace_answers(setup, chosen))
            if config.n_examples:
                needed.append(vary_examples(setup, chosen))
            run.draw(f"heads_{chosen.code}", figures.head_map(head_norms(chosen.vector)))

    records, traced = pl.concat(frames), pl.concat(steps)
    run.write_records(records)
    run.write_records(pl.concat(likely), "likelihoods")
    run.write_records(traced, "steps")
    draw(run, records, traced, len(config.schedules))
    if needed:
        run.write_records(pl.concat(needed), "examples")
        run.draw("examples", figures.examples_curve(pl.concat(needed)))
        run.leave(summary=examples_needed(pl.concat(needed)))


def choose(setup: Setup, positive: str, run: ist.Run) -> Chosen:
    """Fit the vector of a language, and choose its schedule and strength on the select split."""
    code = target_of(positive)
    pairs = base.language_set(setup.config, setup.items, setup.seed, positive)
    run.used(setup.model, pairs)
    vector = ist.fit_steps(setup.model, pairs, n_steps=STEPS)
    run.leave(vector, code)
    tried = setup.record(grid(setup.config, vector), pairs.select, code)
    return Chosen(positive, pairs, vector, *base.best_cell(tried, setup.config.rule))


def draw(run: ist.Run, records: pl.DataFrame, steps: pl.DataFrame, n_schedules: int) -> None:
    """Draw the outcomes by schedule, and the traces by step."""
    for outcome in ("in_language", "kept", "names", "garbled", "perplexity"):
        if records[outcome].is_not_null().any():
            run.draw(f"{outcome}_by_schedule", figures.schedule_curves(records, outcome))
    for quantity in ("strength", "kl", "projection"):
        run.draw(f"{quantity}_by_step", figures.step_curves(steps, quantity))
    text = figures.strength_text(first_answers(steps), n_schedules)
    run.draw("strength_text", text)


def grid(config: Config, vector: ist.SteppedVector) -> list[Cell]:
    """Return cells for every schedule at every strength, unsteered, and with worked examples."""
    cells = [Cell("none"), Cell("instruction", instructed=True)]
    for text in config.schedules:
        schedule = ist.schedules.parse(text)
        strengths = config.strengths
        if isinstance(schedule, Dynamic):
            strengths = config.dynamic_strengths
            if config.style == "published":
                schedule = replace(schedule, reduction="mean")
        for strength in strengths:
            cells.append(scheduled_cell("steered", vector, strength, schedule))
    return cells


def answer_test_split(setup: Setup, chosen: Chosen) -> pl.DataFrame:
    """Answer the test split in the whole grid, and under controls of the chosen cell.

    The controls are random directions, the vector in only those heads that hold half of its squared
    norm (``half``), and the vector in as many other heads (``other heads``).
    """
    config, vector, test = setup.config, chosen.vector, chosen.pairs.test
    schedule, strength = ist.schedules.parse(chosen.schedule), chosen.strength
    cells = grid(config, vector)
    for number in range(config.draws):
        control = vector.like_random(setup.seed + number)
        cells.append(scheduled_cell("random", control, strength, schedule, number))
    strongest, others = strongest_heads(vector)
    for setting, heads in (("half", strongest), ("other heads", others)):
        if heads:
            cells.append(scheduled_cell(setting, vector.only(heads=heads), strength, schedule))
    records = setup.record(cells, test, chosen.code)
    asked = records.filter(pl.col("setting") == "asked")
    answers = with_divergence(
        records.filter(pl.col("setting") != "asked"), setup.model, cells, test
    )
    return pl.concat([answers, asked], how="diagonal")


def strongest_heads(
    vector: ist.SteppedVector,
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return the fewest heads that hold half of the squared norm, and the next as many."""
    squares = (vector.head_norms**2).sum(dim=0)
    order = squares.flatten().argsort(descending=True)
    cumulative = squares.flatten()[order].cumsum(0) / squares.sum()
    n_heads = int((cumulative < 0.5).sum()) + 1
    names = [(vector.layers[int(i) // squares.shape[1]], int(i) % squares.shape[1]) for i in order]
    return names[:n_heads], names[n_heads : 2 * n_heads]


def head_norms(vector: ist.SteppedVector) -> pl.DataFrame:
    """Return the norm of the vector at each step, layer and head."""
    norms = vector.head_norms
    return pl.DataFrame(
        [
            {"step": step, "layer": layer, "head": head, "norm": float(norms[step, row, head])}
            for step in range(vector.n_steps)
            for row, layer in enumerate(vector.layers)
            for head in range(norms.shape[2])
        ]
    )


def numbers(records: pl.DataFrame, chosen: Chosen) -> dict[str, object]:
    """Return the outcomes of each setting, and paired tests.

    Of the steered cells, only the chosen one counts as ``steered``.
    """
    code = chosen.code
    is_schedule, is_strength = (
        pl.col("schedule") == chosen.schedule,
        pl.col("strength") == chosen.strength,
    )
    at_choice = is_schedule & is_strength
    rows = {
        setting: records.filter(
            (pl.col("setting") == setting) & ((setting != "steered") | at_choice)
        )
        for setting in records["setting"].unique(maintain_order=True)
    }
    summary: dict[str, object] = {}
    for setting, frame in rows.items():
        for outcome in OUTCOMES:
            if frame[outcome].is_not_null().any():
                summary[f"{outcome}.{setting}.{code}"] = share_of(frame, outcome)
        for column in ("probability", "kl"):
            if column in frame.columns and (mean := mean_of(frame, column)):
                summary[f"{column}.{setting}.{code}"] = mean
        if frame["detected"].is_not_null().any():
            summary[f"agreement.{setting}.{code}"] = both_detectors(frame)
    for other in ("none", "random", "instruction"):
        first_draw = rows[other].filter(pl.col("draw").is_null() | (pl.col("draw") == 0))
        test = mcnemar(
            rows["steered"]["in_language"].to_list(), first_draw["in_language"].to_list()
        )
        summary[f"mcnemar_p.steered_over_{other}.{code}"] = test.p_value
    for schedule in records["schedule"].drop_nulls().unique(maintain_order=True):
        best = best_of(records.filter(pl.col("schedule") == schedule))
        summary[f"best_in_language.{schedule}.{code}"] = best
    return summary


def both_detectors(frame: pl.DataFrame) -> Interval:
    """Measure how often the two detectors agree."""
    columns = ("detected", "detected_langdetect")
    return agreement(
        [Detection(one, other, {}) for one, other in frame.select(columns).iter_rows()]
    )


def best_of(rows: pl.DataFrame) -> Interval:
    """Return the largest share in the language among the strengths of a schedule."""
    steered = rows.filter(pl.col("setting") == "steered")
    shares = [share_of(frame, "in_language") for _, frame in steered.group_by("strength")]
    return max(shares, key=lambda interval: interval.value)


def likelihoods(setup: Setup, chosen: Chosen) -> pl.DataFrame:
    """Return the log-probability per token of the parallel answers, unsteered and steered.

    The answers are those in the language steered away from, and in the language steered towards.
    """
    by_key = {item.key: item for item in setup.items}
    source, target = target_of(setup.config.negative), target_of(chosen.positive)
    asked = [
        (pair, code, setting, steering)
        for pair in chosen.pairs.test
        for code in (source, target)
        if code in by_key[pair.key].answers
        for setting, steering in (("none", ist.unsteered), ("steered", chosen.steering))
    ]
    scores = ist.logprobs(
        setup.model,
        [pair.absent for pair, *_ in asked],
        [by_key[pair.key].answer(code) for pair, code, *_ in asked],
        [steering for *_, steering in asked],
    )
    return pl.DataFrame(
        {
            "key": [pair.key for pair, *_ in asked],
            "query": [pair.query for pair, *_ in asked],
            "target": [target] * len(asked),
            "answered_in": [code for _, code, *_ in asked],
            "setting": [setting for *_, setting, _ in asked],
            "logprob": [score.total / len(score.tokens) for score in scores],
        }
    )


def gains(likely: pl.DataFrame, code: str) -> dict[str, object]:
    """Return the gain in log-probability of answers by steering, in nats per token."""
    wide = likely.pivot(on="setting", index=["key", "answered_in"], values="logprob")
    summary: dict[str, object] = {}
    for (language,), rows in wide.group_by("answered_in", maintain_order=True):
        change = (rows["steered"] - rows["none"]).to_list()
        summary[f"logprob_gain.{language}_answers.{code}"] = bootstrap_mean(change)
    return summary


def trace_answers(setup: Setup, chosen: Chosen, n: int = 12) -> pl.DataFrame:
    """Trace strength, divergence and projection at each step of ``n`` answers, by schedule."""
    config, model, test = setup.config, setup.model, chosen.pairs.test
    rows: list[dict[str, object]] = []
    prompts = [pair.absent for pair in test][:n]
    for text in tqdm(config.schedules, desc="traces", unit="schedule", disable=None):
        schedule = ist.schedules.parse(text)
        dynamic = isinstance(schedule, Dynamic)
        strength = config.dynamic_strengths[-1] if dynamic else chosen.strength
        steer = chosen.vector.shift(strength, schedule)
        answers = ist.generate(model, prompts, steer, **setup.options)
        traces = ist.trace(model, prompts, [answer.tokens for answer in answers], steer)
        for pair, trace in zip(test, traces, strict=False):
            for step, token in enumerate(trace.tokens):
                rows.append(
                    {
                        "answer_id": f"{text}: {pair.key}",
                        "query": pair.query,
                        "setting": "steered",
                        "schedule": text,
                        "property": trace.properties[0],
                        "step": step,
                        "token": model.decode([token]),
                        "strength": float(trace.strength[0, step]),
                        "probe_kl": float(trace.probe_kl[0, step]),
                        "kl": float(trace.kl[step]),
                        "projection": float(trace.projection[0, step]),
                    }
                )
    return pl.DataFrame(rows)


def first_answers(steps: pl.DataFrame) -> pl.DataFrame:
    """Return the first answer under each schedule, token by token."""
    first = steps.group_by("schedule", maintain_order=True).agg(pl.col("answer_id").first())
    answers = steps.filter(pl.col("answer_id").is_in(first["answer_id"].to_list()))
    return answers.with_columns(pl.col("schedule").alias("answer_id"))


def vary_examples(setup: Setup, chosen: Chosen) -> pl.DataFrame:
    """Fit vectors on the first N examples, and measure their success and stability."""
    config, model, pairs, code = setup.config, setup.model, chosen.pairs, chosen.code
    asked = {pair.key for pair in (*pairs.select, *pairs.test)}
    left = [item for item in setup.items if item.key not in asked]
    largest = replace(config, n_fit=max(config.n_examples), n_select=0, n_test=0)
    more = base.language_set(largest, left, setup.seed, chosen.positive)
    ist.contrast.languages.check_disjoint(more, [pair.query for pair in pairs.test])
    examples = Examples.read(model, more, STEPS)
    schedule = ist.schedules.parse(chosen.schedule)
    rows = []
    for n in tqdm(config.n_examples, desc="examples", unit="size", disable=None):
        steer = examples.first(n, chosen.vector).shift(chosen.strength, schedule)
        answers = ist.generate(model, pairs.test.absent, steer, **setup.options)
        frame = pl.DataFrame({"answer": [answer.text for answer in answers]})
        success = share(base.with_language(frame, code)["in_language"].to_list())
        for quantity, value in (
            ("in_language", success),
            ("cosine", examples.stability(n, draws=200, seed=setup.seed)),
        ):
            rows.append(
                {
                    "language": code,
                    "n_examples": n,
                    "quantity": quantity,
                    "value": value.value,
                    "low": value.low,
                    "high": value.high,
                }
            )
    return pl.DataFrame(rows)


def examples_needed(needed: pl.DataFrame) -> dict[str, object]:
    """Return the smallest number of examples whose vectors are stable.

    A vector is stable if the lower end of the interval of its cosine with the vector of all
    examples exceeds 0.9. The value is None where no number was enough.
    """
    summary: dict[str, object] = {}
    for (code,), rows in needed.filter(pl.col("quantity") == "cosine").group_by("language"):
        stable = rows.filter(pl.col("low") > 0.9)["n_examples"]
        summary[f"examples_needed.{code}"] = stable.min()
        for n, value, low, high in rows.select("n_examples", "value", "low", "high").iter_rows():
            summary[f"cosine_of_{n}.{code}"] = Interval(value, low, high, n, "bootstrap 95%")
    return summary

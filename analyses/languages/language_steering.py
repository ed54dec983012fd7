"""Share of answers in the target language against schedule and strength (paper B).

Vectors from one language to another are read at every head and every generated step, and added by
several schedules and strengths; the best is chosen on the select split and all are reported on the
test split, beside random directions of the same norms, worked examples in the prompt, and questions
asked in the language itself, which is the most that the model can do. Recorded are the language by
two detectors, fluency and content of all answers, how likely given answers in each language become,
how many examples a vector needs, and in which heads it lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.kit.answer_options import asking
from analyses.languages import base
from analyses.languages.base import STEPS, LanguageConfig, scheduled, target_of
from analyses.languages.resampled_vectors import Examples
from interp_steer.contrast.parallel import ParallelItem
from interp_steer.interventions.schedules import Dynamic
from interp_steer.scoring.language import Detection, agreement
from interp_steer.statistics.intervals import Interval, bootstrap_mean, share
from interp_steer.statistics.paired import mcnemar
from interp_steer.statistics.records import mean_of, share_of
from interp_steer.sweeps.damage import with_divergence
from interp_steer.sweeps.grid import Cell

OUTCOMES = ("in_language", "in_language_langdetect", "kept", "names", "garbled", "degenerate")
"""What is counted of every answer."""


@dataclass(frozen=True)
class Config(LanguageConfig):
    """What is tried, and on how much."""

    others: tuple[str, ...] = ()
    """More languages that are steered to, each with a vector of its own, such as fr-fr."""
    schedules: tuple[str, ...] = (
        "start",
        "fixed",
        "diminishing(30)",
        "exponential(0.9)",
        "dynamic(0.5)",
    )
    """Schedules of the strength; see interp_steer.interventions.schedules.parse."""
    strengths: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0)
    """How many times the vector is added, alpha of the paper."""
    dynamic_strengths: tuple[float, ...] = (0.5, 1.0)
    """What the weights that a dynamic schedule finds, 2 at most, are multiplied by; 1 in the
    paper."""
    n_examples: tuple[int, ...] = (5, 10, 20, 30, 50, 100)
    """How many examples vectors are fitted on, to see how many are needed; none to leave it out."""
    draws: int = 2
    """Random directions that the vector is compared with."""
    rule: str = "sound"
    """What is chosen by: sound, where an answer that is no language fails, or share, as in the
    paper."""


def main(config: Config, run: ist.Run) -> None:
    """Fit, choose and report for each language; then examples, heads, steps and given answers."""
    model, reference = base.load(config), ist.load(config.reference)
    items = base.read_items(config, run.seed)
    frames, likely, needed, steps = [], [], [], []
    with asking(config, model, run) as options:
        for positive in (config.positive, *config.others):
            code = target_of(positive)
            pairs = base.language_set(config, items, run.seed, positive)
            run.used(model, pairs)
            vector = ist.fit_steps(model, pairs, n_steps=STEPS)
            run.leave(vector, code)

            tried = base.recorded(
                model, grid(config, vector), pairs.select, code, items, reference, **options
            )
            schedule, strength = base.best_cell(tried, config.rule)
            records = report(
                model,
                config,
                vector,
                (schedule, strength),
                pairs,
                code,
                items,
                reference,
                run,
                options,
            )
            frames.append(records)
            chosen = vector.shift(strength, ist.schedules.parse(schedule))
            run.leave(summary=numbers(records, schedule, strength, code))
            run.leave(summary={f"strength.{code}": strength})

            likely.append(likelihoods(model, pairs, items, chosen, positive, config))
            run.leave(summary=gains(likely[-1], code))
            steps.append(traced(model, config, vector, pairs, (schedule, strength), options))
            if config.n_examples:
                needed.append(
                    examples(
                        model,
                        config,
                        vector,
                        pairs,
                        items,
                        positive,
                        (schedule, strength),
                        run.seed,
                        options,
                    )
                )
            run.draw(f"heads_{code}", figures.head_map(head_norms(vector)))

    records = pl.concat(frames)
    run.write_records(records)
    run.write_records(pl.concat(likely), "likelihoods")
    run.write_records(pl.concat(steps), "steps")
    for outcome in ("in_language", "kept", "names", "garbled", "perplexity"):
        if records[outcome].is_not_null().any():
            run.draw(f"{outcome}_by_schedule", figures.schedule_curves(records, outcome))
    taken = pl.concat(steps)
    for quantity in ("strength", "kl", "projection"):
        run.draw(f"{quantity}_by_step", figures.step_curves(taken, quantity))
    run.draw("strength_text", figures.strength_text(read_aloud(taken), len(config.schedules)))
    if needed:
        run.write_records(pl.concat(needed), "examples")
        run.draw("examples", figures.examples_curve(pl.concat(needed)))
        run.leave(summary=enough(pl.concat(needed)))


def grid(config: Config, vector: ist.SteppedVector) -> list[Cell]:
    """Every schedule at every strength, beside the unsteered model and worked examples."""
    cells = [Cell("none"), Cell("instruction", instructed=True)]
    for said in config.schedules:
        schedule = ist.schedules.parse(said)
        strengths = config.strengths
        if isinstance(schedule, Dynamic):
            strengths = config.dynamic_strengths
            if config.style == "published":
                schedule = replace(schedule, reduction="mean")
        for strength in strengths:
            cells.append(scheduled("steered", vector, strength, schedule))
    return cells


def report(
    model: ist.HookedLM,
    config: Config,
    vector: ist.SteppedVector,
    chosen: tuple[str, float],
    pairs: ist.ContrastSet,
    code: str,
    items: Sequence[ParallelItem],
    reference: ist.HookedLM,
    run: ist.Run,
    options: Mapping[str, Any],
) -> pl.DataFrame:
    """The whole grid on the test split, and the controls of the cell that was chosen.

    Besides random directions these are the vector in the heads that hold half of its squared norm
    alone (``half``), and in as many others (``other heads``).
    """
    schedule, strength = ist.schedules.parse(chosen[0]), chosen[1]
    cells = grid(config, vector)
    for draw in range(config.draws):
        control = vector.like_random(run.seed + draw)
        cells.append(scheduled("random", control, strength, schedule, draw))
    holding, others = strongest_heads(vector)
    for setting, heads in (("half", holding), ("other heads", others)):
        if heads:
            cells.append(scheduled(setting, vector.only(heads=heads), strength, schedule))
    records = base.recorded(model, cells, pairs.test, code, items, reference, **options)
    asked = records.filter(pl.col("setting") == "asked")
    measured = with_divergence(
        records.filter(pl.col("setting") != "asked"), model, cells, pairs.test
    )
    return pl.concat([measured, asked], how="diagonal")


def strongest_heads(
    vector: ist.SteppedVector,
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The fewest heads that hold half of the squared norm, and the next as many."""
    squares = (vector.head_norms**2).sum(dim=0)
    order = squares.flatten().argsort(descending=True)
    held = squares.flatten()[order].cumsum(0) / squares.sum()
    many = int((held < 0.5).sum()) + 1
    names = [(vector.layers[int(i) // squares.shape[1]], int(i) % squares.shape[1]) for i in order]
    return names[:many], names[many : 2 * many]


def head_norms(vector: ist.SteppedVector) -> pl.DataFrame:
    """Norm of the vector at each step, layer and head."""
    norms = vector.head_norms
    return pl.DataFrame(
        [
            {"step": step, "layer": layer, "head": head, "norm": float(norms[step, row, head])}
            for step in range(vector.n_steps)
            for row, layer in enumerate(vector.layers)
            for head in range(norms.shape[2])
        ]
    )


def numbers(records: pl.DataFrame, schedule: str, strength: float, code: str) -> dict[str, object]:
    """What was counted of each setting, the chosen cell being ``steered``; and paired tests."""
    at_choice = (pl.col("schedule") == schedule) & (pl.col("strength") == strength)
    rows = {
        setting: records.filter(
            (pl.col("setting") == setting) & ((setting != "steered") | at_choice)
        )
        for setting in records["setting"].unique(maintain_order=True)
    }
    found: dict[str, object] = {}
    for setting, frame in rows.items():
        for outcome in OUTCOMES:
            if frame[outcome].is_not_null().any():
                found[f"{outcome}.{setting}.{code}"] = share_of(frame, outcome)
        for column in ("probability", "kl"):
            if column in frame.columns and (mean := mean_of(frame, column)):
                found[f"{column}.{setting}.{code}"] = mean
        if frame["detected"].is_not_null().any():
            found[f"agreement.{setting}.{code}"] = both_detectors(frame)
    for other in ("none", "random", "instruction"):
        each = rows[other].filter(pl.col("draw").is_null() | (pl.col("draw") == 0))
        test = mcnemar(rows["steered"]["in_language"].to_list(), each["in_language"].to_list())
        found[f"mcnemar_p.steered_over_{other}.{code}"] = test.p_value
    for said in records["schedule"].drop_nulls().unique(maintain_order=True):
        best = best_of(records.filter(pl.col("schedule") == said))
        found[f"best_in_language.{said}.{code}"] = best
    return found


def both_detectors(frame: pl.DataFrame) -> Interval:
    """How often the two detectors agree."""
    columns = ("detected", "detected_langdetect")
    return agreement(
        [Detection(one, other, {}) for one, other in frame.select(columns).iter_rows()]
    )


def best_of(rows: pl.DataFrame) -> Interval:
    """The largest share in the language among the strengths of a schedule."""
    steered = rows.filter(pl.col("setting") == "steered")
    each = [share_of(frame, "in_language") for _, frame in steered.group_by("strength")]
    return max(each, key=lambda interval: interval.value)


def likelihoods(
    model: ist.HookedLM,
    pairs: ist.ContrastSet,
    items: Sequence[ParallelItem],
    chosen: ist.Intervention,
    positive: str,
    config: Config,
) -> pl.DataFrame:
    """Log-probability a token of the parallel answers in both languages, unsteered and steered."""
    by_key = {item.key: item for item in items}
    source, target = target_of(config.negative), target_of(positive)
    asked = [
        (pair, code, setting, steering)
        for pair in pairs.test
        for code in (source, target)
        if code in by_key[pair.key].answers
        for setting, steering in (("none", ist.unsteered), ("steered", chosen))
    ]
    scores = ist.logprobs(
        model,
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
    """By how much steering makes the answers of each language likelier, in nats a token."""
    wide = likely.pivot(on="setting", index=["key", "answered_in"], values="logprob")
    found: dict[str, object] = {}
    for (said,), rows in wide.group_by("answered_in", maintain_order=True):
        change = (rows["steered"] - rows["none"]).to_list()
        found[f"logprob_gain.{said}_answers.{code}"] = bootstrap_mean(change)
    return found


def traced(
    model: ist.HookedLM,
    config: Config,
    vector: ist.SteppedVector,
    pairs: ist.ContrastSet,
    chosen: tuple[str, float],
    options: Mapping[str, Any],
    n: int = 12,
) -> pl.DataFrame:
    """Strength, divergence and projection at each step of some answers, for each schedule."""
    rows: list[dict[str, object]] = []
    prompts = [pair.absent for pair in pairs.test][:n]
    for said in tqdm(config.schedules, desc="traces", unit="schedule", disable=None):
        schedule = ist.schedules.parse(said)
        strength = config.dynamic_strengths[-1] if isinstance(schedule, Dynamic) else chosen[1]
        steer = vector.shift(strength, schedule)
        answers = ist.generate(model, prompts, steer, **options)
        traces = ist.trace(model, prompts, [answer.tokens for answer in answers], steer)
        for number, one in enumerate(traces):
            for step, token in enumerate(one.tokens):
                rows.append(
                    {
                        "answer_id": f"{said}: {pairs.test[number].key}",
                        "query": pairs.test[number].query,
                        "setting": "steered",
                        "schedule": said,
                        "property": one.properties[0],
                        "step": step,
                        "token": model.decode([token]),
                        "strength": float(one.strength[0, step]),
                        "probe_kl": float(one.probe_kl[0, step]),
                        "kl": float(one.kl[step]),
                        "projection": float(one.projection[0, step]),
                    }
                )
    return pl.DataFrame(rows)


def read_aloud(steps: pl.DataFrame) -> pl.DataFrame:
    """One answer under each schedule, token by token."""
    first = steps.group_by("schedule", maintain_order=True).agg(pl.col("answer_id").first())
    told = steps.filter(pl.col("answer_id").is_in(first["answer_id"].to_list()))
    return told.with_columns(pl.col("schedule").alias("answer_id"))


def examples(
    model: ist.HookedLM,
    config: Config,
    vector: ist.SteppedVector,
    pairs: ist.ContrastSet,
    items: Sequence[ParallelItem],
    positive: str,
    chosen: tuple[str, float],
    seed: int,
    options: Mapping[str, Any],
) -> pl.DataFrame:
    """Success and stability of vectors of the first N examples, fitted anew."""
    code = target_of(positive)
    asked = {pair.key for pair in (*pairs.select, *pairs.test)}
    left = [item for item in items if item.key not in asked]
    many = replace(config, n_fit=max(config.n_examples), n_select=0, n_test=0)
    more = base.language_set(many, left, seed, positive)
    ist.contrast.languages.check_disjoint(more, [pair.query for pair in pairs.test])
    kept = Examples.read(model, more, STEPS)
    rows = []
    for n in tqdm(config.n_examples, desc="examples", unit="size", disable=None):
        steer = kept.first(n, vector).shift(chosen[1], ist.schedules.parse(chosen[0]))
        answers = ist.generate(model, pairs.test.absent, steer, **options)
        frame = pl.DataFrame({"answer": [answer.text for answer in answers]})
        success = share(base.with_language(frame, code)["in_language"].to_list())
        for quantity, value in (
            ("in_language", success),
            ("cosine", kept.stability(n, draws=200, seed=seed)),
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


def enough(needed: pl.DataFrame) -> dict[str, object]:
    """The least number of examples whose vectors are all but sure to lie within a cosine of 0.9.

    None where no number was enough.
    """
    found: dict[str, object] = {}
    for (code,), rows in needed.filter(pl.col("quantity") == "cosine").group_by("language"):
        stable = rows.filter(pl.col("low") > 0.9)["n_examples"]
        found[f"examples_needed.{code}"] = stable.min()
        for n, value, low, high in rows.select("n_examples", "value", "low", "high").iter_rows():
            found[f"cosine_of_{n}.{code}"] = Interval(value, low, high, n, "bootstrap 95%")
    return found

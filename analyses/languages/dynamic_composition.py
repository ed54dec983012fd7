"""A language and a format at once, by each schedule of strengths (Dynamic Activation Composition).

Each property has a vector for every generated step, read in all heads from the model's own answers:
the language from parallel questions and answers, the others from an instruction that stands in the
prompt. Vectors are added together, each by the schedule under study and with the strength that the
select split chooses for its property alone under that schedule; a dynamic schedule finds the weight
of each property by a probe of its own. On the test split each property alone and each together with
the language stand beside no steering, both asked for in words, and random directions of the same
norms. A sound answer has all properties asked for and is neither degenerate nor garbled.

IFEval's casing instructions want an English answer. Here an answer has the case where all its
letters do, in any language; asked for in words they still contradict the language. To IFEval any
JSON value is JSON, so that an answer in quotation marks may be that too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any

import polars as pl
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.kit.answer_options import asking
from analyses.languages import base
from analyses.languages.base import LanguageConfig, target_of
from analyses.languages.dynamic_composition_properties import (
    Combination,
    Setup,
    answered,
    apart,
    in_words,
)
from figures.style.drawing import interval_text, p_text, short_names
from figures.style.settings import kind_of, language_name
from interp_steer.interventions.schedules import AnySchedule, Dynamic
from interp_steer.statistics.paired import mcnemar, paired_difference
from interp_steer.statistics.records import mean_of, share_of
from interp_steer.sweeps.grid import Cell

Strengths = Mapping[tuple[str, str], float]
"""By property and schedule."""


@dataclass(frozen=True)
class Config(LanguageConfig):
    """What is combined, and how."""

    properties: tuple[str, ...] = (
        "change_case:english_capital",
        "detectable_format:json_format",
        "startend:quotation",
    )
    """IFEval ids of what the language is combined with, with ?ARGUMENT=VALUE behind one that is to
    have it."""
    schedules: tuple[str, ...] = ("start", "fixed", "diminishing(30)", "dynamic(0.5)")
    """Schedules of the strength; see interp_steer.interventions.schedules.parse."""
    strengths: tuple[float, ...] = (0.7, 1.0, 1.5, 4.0)
    """How many times a vector is added, of which one is chosen."""
    dynamic_strengths: tuple[float, ...] = (0.5, 1.0)
    """The same of dynamic schedules, whose weights go up to 2."""
    n_steps: int = 48
    """Generated tokens that vectors are read at, and act on."""
    n_select: int = 12
    """Questions that strengths are chosen on."""
    n_test: int = 24
    """Questions that are reported."""
    max_new_tokens: int = 80
    """Where an answer is cut."""


def main(config: Config, run: ist.Run) -> None:
    """Fit, choose each strength alone, then report each alone and with the language."""
    model, reference = base.load(config), ist.load(config.reference)
    pairs = base.language_set(config, base.read_items(config, run.seed), run.seed)
    code = target_of(config.positive)
    said = in_words(called(config), code, run.seed, select=config.n_select, test=config.n_test)
    contrasts = {language_name(code): pairs.fit} | {
        short: apart(name, pairs, config.n_fit, run.seed) for short, name in called(config).items()
    }
    run.used(model, pairs, *contrasts.values())
    vectors = {}
    for name, contrast in tqdm(contrasts.items(), desc="vectors", unit="vector", disable=None):
        vectors[name] = ist.fit_steps(model, contrast, n_steps=config.n_steps)
        run.leave(vectors[name], name)
    schedules = [ist.schedules.parse(text) for text in config.schedules]

    with asking(config, model, run) as options:
        setup = Setup(model, reference, code, pairs, said, options)
        tried = pl.concat(
            answered(setup, (name,), "select", alone(config, vector, schedules))
            for name, vector in vectors.items()
        )
        strengths = choose(tried)
        run.leave(summary={f"strength.{p}.{s}": value for (p, s), value in strengths.items()})
        cells = partial(together, vectors=vectors, schedules=schedules, strengths=strengths)
        combined = [(setup.language, name) for name in called(config)]
        every = [*((name,) for name in vectors), *combined]
        records = pl.concat(
            answered(setup, names, "test", cells(names, seed=run.seed), damage=True)
            for names in tqdm(every, desc="combinations", unit="combination", disable=None)
        )
        steps, moves = followed(setup, combined, cells, vectors)

    run.write_records(tried, "select")
    run.write_records(records)
    run.write_records(steps, "steps")
    run.write_records(moves, "properties_by_step")
    shares = shares_of(records, setup.names)
    run.write_records(shares, "shares")
    tests = compared(records)
    run.write_records(tests, "tests")
    run.leave(summary=numbers(records, setup.names))
    run.leave(
        summary={
            f"mcnemar_p.{label}.{one} and {other}": p_value
            for label, one, other, p_value in tests.select(
                "properties", "cell", "against", "p_value"
            ).iter_rows()
            if not other.endswith(", random")
        }
    )
    draw(run, tried, records, shares, steps, moves, setup.names)


def called(config: Config) -> dict[str, str]:
    """The properties of a config by the short names that figures and numbers have."""
    return {short: name for name, short in short_names(config.properties).items()}


def alone(
    config: Config, vector: ist.SteppedVector, schedules: Sequence[AnySchedule]
) -> list[Cell]:
    """Every strength of every schedule, of one property."""
    return [
        base.scheduled("steered", vector, strength, schedule)
        for schedule in schedules
        for strength in (
            config.dynamic_strengths if isinstance(schedule, Dynamic) else config.strengths
        )
    ]


def together(
    names: Combination,
    *,
    vectors: Mapping[str, ist.SteppedVector],
    schedules: Sequence[AnySchedule],
    strengths: Strengths,
    seed: int | None = None,
) -> list[Cell]:
    """The chosen strengths of some properties, added, by each schedule.

    Args:
        names: the properties.
        vectors: of all properties.
        schedules: each gives a cell.
        strengths: see :func:`choose`.
        seed: of the random directions that a further cell has in place of the vectors.
    """
    cells = []
    for schedule in schedules:
        for draw in (None,) if seed is None else (None, seed):
            chosen = [vectors[n] if draw is None else vectors[n].like_random(draw) for n in names]
            each = [strengths[name, str(schedule)] for name in names]
            cells.append(
                Cell(
                    "steered" if draw is None else "random",
                    ist.compose(
                        vector.shift(strength, schedule)
                        for vector, strength in zip(chosen, each, strict=True)
                    ),
                    strength=each[0] if len(each) == 1 else None,
                    operation=str(schedule),
                    draw=draw,
                )
            )
    return cells


def choose(tried: pl.DataFrame) -> dict[tuple[str, str], float]:
    """The strength with most sound answers of each property and schedule, of several the least."""
    table = (
        tried.filter(pl.col("setting") == "steered")
        .group_by("properties", "schedule", "strength", maintain_order=True)
        .agg(pl.col("sound").mean())
        .sort(["sound", "strength"], descending=[True, False], maintain_order=True)
        .unique(["properties", "schedule"], keep="first", maintain_order=True)
    )
    rows = table.select("properties", "schedule", "strength").iter_rows()
    return {(name, schedule): strength for name, schedule, strength in rows}


def followed(
    setup: Setup,
    combined: Sequence[Combination],
    cells: Callable[[Combination], list[Cell]],
    vectors: Mapping[str, ist.SteppedVector],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What happens at each step of the steered answers.

    Returns:
        A row for each answer and step, with ``kl`` from the unsteered prediction and ``surprise``,
        the nats in which the unsteered model finds the token unlikely (the logarithm of its
        perplexity there); and one for each property besides, with ``strength``, ``probe_kl`` and
        ``projection``.
    """
    of = {vector.name: name for name, vector in vectors.items()}
    questions = setup.questions.test
    steps: list[dict[str, Any]] = []
    moves: list[dict[str, Any]] = []
    rows = [(names, cell) for names in combined for cell in cells(names)]
    for names, cell in tqdm(rows, desc="steps", unit="cell", disable=None):
        # The answers are those of the records: the ledger has them.
        answers = ist.generate(setup.model, questions.absent, cell.steering, **setup.options)
        tokens = [answer.tokens for answer in answers]
        traces = ist.trace(setup.model, questions.absent, tokens, cell.steering)
        plain = ist.logprobs(setup.model, questions.absent, tokens)
        for pair, trace, expected in zip(questions, traces, plain, strict=True):
            what = {"properties": " + ".join(names), "setting": "steered"}
            what |= {"schedule": cell.operation, "key": pair.key, "query": pair.query}
            for step, token in enumerate(trace.tokens):
                steps.append(
                    what
                    | {
                        "step": step,
                        "token": setup.model.decode([token]),
                        "kl": float(trace.kl[step]),
                        "surprise": -float(expected.logprobs[step]),
                    }
                )
                moves += [
                    what
                    | {
                        "step": step,
                        "property": of[name],
                        "strength": float(trace.strength[at, step]),
                        "probe_kl": float(trace.probe_kl[at, step]),
                        "projection": float(trace.projection[at, step]),
                    }
                    for at, name in enumerate(trace.properties)
                ]
    return pl.DataFrame(steps), pl.DataFrame(moves).with_columns(pl.col("probe_kl").fill_nan(None))


def cells_of(records: pl.DataFrame) -> dict[tuple[str, str], pl.DataFrame]:
    """The records of each combination, and of each setting with its schedule."""
    named = pl.concat_str("schedule", "setting", separator=", ", ignore_nulls=True)
    steered = pl.col("setting") == "steered"
    rows = records.with_columns(
        pl.when(steered).then("schedule").otherwise(named).alias("cell")
    ).partition_by("properties", "cell", as_dict=True, maintain_order=True)
    return {(str(label), str(cell)): frame for (label, cell), frame in rows.items()}


def shares_of(records: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Share of answers with each property, all asked for, and of those that are broken."""
    rows = []
    for (label, cell), frame in cells_of(records).items():
        for measure in (*names, "all", "sound", "degenerate", "garbled"):
            if frame[measure].is_not_null().any():
                found = share_of(frame, measure)
                ends = (found.value, found.low, found.high, found.n)
                rows.append((label, cell, frame["setting"][0], measure, *ends))
    columns = ["vectors", "cell", "setting", "property", "share", "low", "high", "n"]
    return pl.DataFrame(rows, columns, orient="row")


def numbers(records: pl.DataFrame, names: Sequence[str]) -> dict[str, object]:
    """What was counted of each combination under each schedule, and what it costs."""
    found: dict[str, object] = {}
    for (label, cell), frame in cells_of(records).items():
        each = [name for name in names if name in label.split(" + ")] if " + " in label else []
        control = frame["setting"][0] == "random"
        measures = () if control else (*each, "sound", "degenerate", "garbled")
        for measure in ("all", *measures):
            if frame[measure].is_not_null().any():
                found[f"{measure}.{label}.{cell}"] = share_of(frame, measure)
        logs = frame.with_columns(pl.col("perplexity").log())
        for column, rows in (("kl", frame), ("perplexity", logs)):
            if cell != "none" and (mean := mean_of(rows, column)):
                name = "log_perplexity" if column == "perplexity" else column
                found[f"{name}.{label}.{cell}"] = mean
    return found


def compared(records: pl.DataFrame) -> pl.DataFrame:
    """Sound answers of each schedule against the others and random directions, by question."""
    found = []
    rows = cells_of(records)
    for label in records["properties"].unique(maintain_order=True):
        steered = [c for (of, c), rows in rows.items() if of == label and is_steered(rows)]
        against = [*combinations(steered, 2), *((one, f"{one}, random") for one in steered)]
        for one, other in against:
            a, b = (rows[label, cell]["sound"].to_list() for cell in (other, one))
            gain = paired_difference(a, b)
            ends = (gain.value, gain.low, gain.high, mcnemar(a, b).p_value)
            found.append((label, one, other, *ends))
    columns = ["properties", "cell", "against", "gain", "low", "high", "p_value"]
    return pl.DataFrame(found, columns, orient="row")


def is_steered(rows: pl.DataFrame) -> bool:
    """Whether the rows are of a vector, not of a control."""
    return rows["setting"][0] == "steered"


def winners(records: pl.DataFrame) -> str:
    """Which schedule brings most sound answers of what, against the next, as a sentence."""
    said = []
    rows = cells_of(records)
    for label in records["properties"].unique(maintain_order=True):
        found = {
            cell: share_of(frame, "sound")
            for (of, cell), frame in rows.items()
            if of == label and is_steered(frame)
        }
        best, *others = sorted(found, key=lambda cell: -found[cell].value)
        if found[best].value == 0:
            said.append(f"{label}: none")
            continue
        said.append(f"{label}: {best} {interval_text(found[best])}")
        if others:
            sides = [rows[label, cell]["sound"].to_list() for cell in (others[0], best)]
            next_best = f"{others[0]} {interval_text(found[others[0]])}"
            said[-1] += f" (next {next_best}, {p_text(mcnemar(*sides).p_value)})"
    return f"Schedule with most sound answers: {'; '.join(said)}."


def draw(
    run: ist.Run,
    tried: pl.DataFrame,
    records: pl.DataFrame,
    shares: pl.DataFrame,
    steps: pl.DataFrame,
    moves: pl.DataFrame,
    names: Sequence[str],
) -> None:
    """Draw what schedules bring, what properties do to each other, and what happens by step."""
    swept = tried.with_columns(pl.col("properties").alias("language"))
    run.draw("sound_by_strength", figures.schedule_curves(swept, "sound"))
    by_schedule = records.filter(pl.col("setting") != "random").with_columns(
        pl.col("properties").alias("instruction"),
        pl.when(pl.col("setting") == "steered")
        .then("schedule")
        .otherwise("setting")
        .alias("setting"),
    )
    bars = figures.instruction_bars(by_schedule, outcome="sound")
    run.draw("sound_by_schedule", replace(bars, caption=f"{winners(records)} {bars.caption}"))
    plain = shares.filter(pl.col("cell") == "none").unique("property", maintain_order=True)
    plain = plain.with_columns(pl.lit("none").alias("vectors"))
    for (cell,), rows in shares.filter(pl.col("setting") == "steered").group_by(
        "cell", maintain_order=True
    ):
        table = pl.concat([plain, rows])
        run.draw(f"interference_{kind_of(str(cell))[0]}", figures.interference_map(table, names))
    for frame, quantities in ((moves, ("strength", "projection")), (steps, ("kl", "surprise"))):
        for (label,), rows in frame.group_by("properties", maintain_order=True):
            for quantity in quantities:
                run.draw(
                    f"{quantity}_by_step.{str(label).split(' + ')[-1]}",
                    figures.step_curves(rows, quantity),
                )

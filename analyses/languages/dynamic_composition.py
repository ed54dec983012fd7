"""Combine a language and a format, by each schedule of strengths (Dynamic Activation Composition).

Each property has a vector for every generated step, read in all heads from the model's own answers.
The vector of the language is fitted on parallel questions and answers, the others on an instruction
in the prompt. Vectors are added together, each by the schedule under study, with the strength that
the select split chooses for this property alone under that schedule. A dynamic schedule sets the
weight of each property by a separate probe. On the test split, each property alone and each
property together with the language are compared with no steering, with both requested in words, and
with random directions of the same norms. A sound answer has all requested properties and is neither
degenerate nor garbled.

IFEval's casing instructions require an English answer. Here an answer has the case if all its
letters do, in any language; when requested in words, the casing instructions still contradict the
language. IFEval accepts any JSON value as JSON, so an answer in quotation marks may count as JSON
too.
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
from analyses.kit.answer_options import open_sweep_options
from analyses.languages import base
from analyses.languages.base import LanguageConfig, target_of
from analyses.languages.dynamic_composition_properties import (
    Combination,
    Setup,
    answer_cells,
    ask_in_words,
    draw_separate_pairs,
)
from figures.style.drawing import interval_text, p_text, short_names
from figures.style.settings import kind_of, language_name
from interp_steer.interventions import AnySchedule, Dynamic
from interp_steer.statistics import mcnemar, mean_of, paired_difference, share_of
from interp_steer.sweeps import Cell

Strengths = Mapping[tuple[str, str], float]
"""The strength by property and schedule."""


@dataclass(frozen=True)
class Config(LanguageConfig):
    """Options of the composition."""

    properties: tuple[str, ...] = (
        "change_case:english_capital",
        "detectable_format:json_format",
        "startend:quotation",
    )
    """IFEval ids of the properties to combine with the language. Append ?ARGUMENT=VALUE to fix an
    argument."""
    schedules: tuple[str, ...] = ("start", "fixed", "diminishing(30)", "dynamic(0.5)")
    """Schedules of the strength; see interp_steer.interventions.schedules.parse."""
    strengths: tuple[float, ...] = (0.7, 1.0, 1.5, 4.0)
    """Strengths to try, in multiples of the vector."""
    dynamic_strengths: tuple[float, ...] = (0.5, 1.0)
    """Strengths to try with dynamic schedules, whose weights go up to 2."""
    n_steps: int = 48
    """Number of generated tokens over which vectors are read and act."""
    n_select: int = 12
    """Questions on which strengths are chosen."""
    n_test: int = 24
    """Questions in the test split, on which results are reported."""
    max_new_tokens: int = 80
    """Maximum number of new tokens per answer."""


def main(config: Config, run: ist.Run) -> None:
    """Fit, choose each strength alone, then report each property alone and with the language."""
    model, reference = base.load(config), ist.load(config.reference)
    pairs = base.language_set(config, base.read_items(config, run.seed), run.seed)
    code = target_of(config.positive)
    in_words = ask_in_words(
        short_names_of(config), code, run.seed, select=config.n_select, test=config.n_test
    )
    contrasts = {language_name(code): pairs.fit} | {
        short: draw_separate_pairs(name, pairs, config.n_fit, run.seed)
        for short, name in short_names_of(config).items()
    }
    run.used(model, pairs, *contrasts.values())
    vectors = {}
    for name, contrast in tqdm(contrasts.items(), desc="vectors", unit="vector", disable=None):
        vectors[name] = ist.fit_steps(model, contrast, n_steps=config.n_steps)
        run.leave(vectors[name], name)
    schedules = [ist.schedules.parse(text) for text in config.schedules]

    with open_sweep_options(config, model, run) as options:
        setup = Setup(model, reference, code, pairs, in_words, options)
        tried = pl.concat(
            answer_cells(setup, (name,), "select", cells_alone(config, vector, schedules))
            for name, vector in vectors.items()
        )
        strengths = choose_strengths(tried)
        run.leave(summary={f"strength.{p}.{s}": value for (p, s), value in strengths.items()})
        cells = partial(cells_together, vectors=vectors, schedules=schedules, strengths=strengths)
        combined = [(setup.language, name) for name in short_names_of(config)]
        combinations_to_test = [*((name,) for name in vectors), *combined]
        records = pl.concat(
            answer_cells(setup, names, "test", cells(names, seed=run.seed), damage=True)
            for names in tqdm(
                combinations_to_test, desc="combinations", unit="combination", disable=None
            )
        )
        steps, moves = trace_steps(setup, combined, cells, vectors)

    run.write_records(tried, "select")
    run.write_records(records)
    run.write_records(steps, "steps")
    run.write_records(moves, "properties_by_step")
    shares = shares_of(records, setup.names)
    run.write_records(shares, "shares")
    tests = test_schedules(records)
    run.write_records(tests, "tests")
    run.leave(summary=numbers(records, setup.names))
    run.leave(
        summary={
            f"mcnemar_p.{label}.{cell} and {other}": p_value
            for label, cell, other, p_value in tests.select(
                "properties", "cell", "against", "p_value"
            ).iter_rows()
            if not other.endswith(", random")
        }
    )
    draw(run, tried, records, shares, steps, moves, setup.names)


def short_names_of(config: Config) -> dict[str, str]:
    """Return the properties of a config by the short names used in figures and numbers."""
    return {short: name for name, short in short_names(config.properties).items()}


def cells_alone(
    config: Config, vector: ist.SteppedVector, schedules: Sequence[AnySchedule]
) -> list[Cell]:
    """Return a cell for every strength of every schedule, for one property."""
    return [
        base.scheduled_cell("steered", vector, strength, schedule)
        for schedule in schedules
        for strength in (
            config.dynamic_strengths if isinstance(schedule, Dynamic) else config.strengths
        )
    ]


def cells_together(
    names: Combination,
    *,
    vectors: Mapping[str, ist.SteppedVector],
    schedules: Sequence[AnySchedule],
    strengths: Strengths,
    seed: int | None = None,
) -> list[Cell]:
    """Return a cell for each schedule, which adds some vectors with the chosen strengths.

    Args:
        names: the properties.
        vectors: the vectors of all properties.
        schedules: the schedules.
        strengths: see :func:`choose_strengths`.
        seed: seed of random directions; a further cell has these in place of the vectors.
    """
    cells = []
    for schedule in schedules:
        for draw in (None,) if seed is None else (None, seed):
            chosen = [vectors[n] if draw is None else vectors[n].like_random(draw) for n in names]
            strengths_of_cell = [strengths[name, str(schedule)] for name in names]
            cells.append(
                Cell(
                    "steered" if draw is None else "random",
                    ist.compose(
                        vector.shift(strength, schedule)
                        for vector, strength in zip(chosen, strengths_of_cell, strict=True)
                    ),
                    strength=strengths_of_cell[0] if len(strengths_of_cell) == 1 else None,
                    operation=str(schedule),
                    draw=draw,
                )
            )
    return cells


def choose_strengths(tried: pl.DataFrame) -> dict[tuple[str, str], float]:
    """Choose the strength with the most sound answers, for each property and schedule.

    Of equals the smallest is chosen.
    """
    table = (
        tried.filter(pl.col("setting") == "steered")
        .group_by("properties", "schedule", "strength", maintain_order=True)
        .agg(pl.col("sound").mean())
        .sort(["sound", "strength"], descending=[True, False], maintain_order=True)
        .unique(["properties", "schedule"], keep="first", maintain_order=True)
    )
    rows = table.select("properties", "schedule", "strength").iter_rows()
    return {(name, schedule): strength for name, schedule, strength in rows}


def trace_steps(
    setup: Setup,
    combined: Sequence[Combination],
    cells: Callable[[Combination], list[Cell]],
    vectors: Mapping[str, ist.SteppedVector],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Trace the steered answers step by step.

    Returns:
        A row for each answer and step, with ``kl`` from the unsteered prediction and ``surprise``,
        the negative log-probability of the token under the unsteered model in nats; and a row for
        each answer, step and property, with ``strength``, ``probe_kl`` and ``projection``.
    """
    name_of_vector = {vector.name: name for name, vector in vectors.items()}
    questions = setup.questions.test
    steps: list[dict[str, Any]] = []
    moves: list[dict[str, Any]] = []
    rows = [(names, cell) for names in combined for cell in cells(names)]
    for names, cell in tqdm(rows, desc="steps", unit="cell", disable=None):
        # The ledger has the answers already: they are those of the records.
        answers = ist.generate(setup.model, questions.absent, cell.steering, **setup.options)
        tokens = [answer.tokens for answer in answers]
        traces = ist.trace(setup.model, questions.absent, tokens, cell.steering)
        plain = ist.logprobs(setup.model, questions.absent, tokens)
        for pair, trace, expected in zip(questions, traces, plain, strict=True):
            columns = {"properties": " + ".join(names), "setting": "steered"}
            columns |= {"schedule": cell.operation, "key": pair.key, "query": pair.query}
            for step, token in enumerate(trace.tokens):
                steps.append(
                    columns
                    | {
                        "step": step,
                        "token": setup.model.decode([token]),
                        "kl": float(trace.kl[step]),
                        "surprise": -float(expected.logprobs[step]),
                    }
                )
                moves += [
                    columns
                    | {
                        "step": step,
                        "property": name_of_vector[name],
                        "strength": float(trace.strength[at, step]),
                        "probe_kl": float(trace.probe_kl[at, step]),
                        "projection": float(trace.projection[at, step]),
                    }
                    for at, name in enumerate(trace.properties)
                ]
    return pl.DataFrame(steps), pl.DataFrame(moves).with_columns(pl.col("probe_kl").fill_nan(None))


def cells_of(records: pl.DataFrame) -> dict[tuple[str, str], pl.DataFrame]:
    """Group the records by combination, and by setting with its schedule."""
    named = pl.concat_str("schedule", "setting", separator=", ", ignore_nulls=True)
    steered = pl.col("setting") == "steered"
    rows = records.with_columns(
        pl.when(steered).then("schedule").otherwise(named).alias("cell")
    ).partition_by("properties", "cell", as_dict=True, maintain_order=True)
    return {(str(label), str(cell)): frame for (label, cell), frame in rows.items()}


def shares_of(records: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return the share of answers with each property, with all requested, and of broken answers."""
    rows = []
    for (label, cell), frame in cells_of(records).items():
        for measure in (*names, "all", "sound", "degenerate", "garbled"):
            if frame[measure].is_not_null().any():
                interval = share_of(frame, measure)
                ends = (interval.value, interval.low, interval.high, interval.n)
                rows.append((label, cell, frame["setting"][0], measure, *ends))
    columns = ["vectors", "cell", "setting", "property", "share", "low", "high", "n"]
    return pl.DataFrame(rows, columns, orient="row")


def numbers(records: pl.DataFrame, names: Sequence[str]) -> dict[str, object]:
    """Return the shares of each combination under each schedule, and the cost of steering."""
    summary: dict[str, object] = {}
    for (label, cell), frame in cells_of(records).items():
        own = [name for name in names if name in label.split(" + ")] if " + " in label else []
        control = frame["setting"][0] == "random"
        measures = () if control else (*own, "sound", "degenerate", "garbled")
        for measure in ("all", *measures):
            if frame[measure].is_not_null().any():
                summary[f"{measure}.{label}.{cell}"] = share_of(frame, measure)
        logs = frame.with_columns(pl.col("perplexity").log())
        for column, rows in (("kl", frame), ("perplexity", logs)):
            if cell != "none" and (mean := mean_of(rows, column)):
                name = "log_perplexity" if column == "perplexity" else column
                summary[f"{name}.{label}.{cell}"] = mean
    return summary


def test_schedules(records: pl.DataFrame) -> pl.DataFrame:
    """Test the sound answers of each schedule against other schedules and random directions."""
    tests = []
    rows = cells_of(records)
    for label in records["properties"].unique(maintain_order=True):
        steered = [
            c
            for (combination, c), rows in rows.items()
            if combination == label and is_steered(rows)
        ]
        against = [*combinations(steered, 2), *((cell, f"{cell}, random") for cell in steered)]
        for cell, other in against:
            a, b = (rows[label, cell]["sound"].to_list() for cell in (other, cell))
            gain = paired_difference(a, b)
            ends = (gain.value, gain.low, gain.high, mcnemar(a, b).p_value)
            tests.append((label, cell, other, *ends))
    columns = ["properties", "cell", "against", "gain", "low", "high", "p_value"]
    return pl.DataFrame(tests, columns, orient="row")


def is_steered(rows: pl.DataFrame) -> bool:
    """Return whether the rows are those of a vector rather than a control."""
    return rows["setting"][0] == "steered"


def winners(records: pl.DataFrame) -> str:
    """Write a sentence that names the schedule with the most sound answers for each combination."""
    texts = []
    rows = cells_of(records)
    for label in records["properties"].unique(maintain_order=True):
        intervals = {
            cell: share_of(frame, "sound")
            for (combination, cell), frame in rows.items()
            if combination == label and is_steered(frame)
        }
        best, *others = sorted(intervals, key=lambda cell: -intervals[cell].value)
        if intervals[best].value == 0:
            texts.append(f"{label}: none")
            continue
        texts.append(f"{label}: {best} {interval_text(intervals[best])}")
        if others:
            sides = [rows[label, cell]["sound"].to_list() for cell in (others[0], best)]
            next_best = f"{others[0]} {interval_text(intervals[others[0]])}"
            texts[-1] += f" (next {next_best}, {p_text(mcnemar(*sides).p_value)})"
    return f"Schedule with most sound answers: {'; '.join(texts)}."


def draw(
    run: ist.Run,
    tried: pl.DataFrame,
    records: pl.DataFrame,
    shares: pl.DataFrame,
    steps: pl.DataFrame,
    moves: pl.DataFrame,
    names: Sequence[str],
) -> None:
    """Draw the effects of schedules, the interference of properties, and the traces by step."""
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

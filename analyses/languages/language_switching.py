"""Compare vectors of several languages, add them up, and switch languages within an answer.

A vector leads from the language of the questions to each of several languages. It is read in all
heads at every generated step. Four questions are studied. How similar are the vectors of two
languages, when the same questions are resampled for both? What is the effect of sums of vectors:
their mean, each vector without the mean, mixtures of two, and the difference of two when a question
is asked in the language that is subtracted? What becomes of an answer that is steered to two
languages at once? Does an answer change language when steering does so at step k? The schedule
starts again there, so that up to step k a switched answer has the same tokens as an answer that is
not switched.

Each vector has the strength that the select split chooses for it alone. The language of a word is
detected from the words around it, which blurs a switch over a few words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.kit.answer_options import open_sweep_options
from analyses.languages import base
from analyses.languages.base import LanguageConfig, mean_vector, scheduled_cell, target_of
from analyses.languages.language_switching_steps import (
    Steerer,
    languages_by_step,
    switch_numbers,
    word_shares,
)
from analyses.languages.resampled_vectors import Examples
from figures.style.settings import language_name
from interp_steer.contrast import Pair, ParallelItem
from interp_steer.errors import OptionError
from interp_steer.interventions import Schedule
from interp_steer.scoring import detect
from interp_steer.statistics import Interval, mcnemar, share_of
from interp_steer.sweeps import Cell, answer_cells, with_fluency

MIXTURES = (0.25, 0.5, 0.75)
"""Shares of the first of two languages in a mixture with the second."""


@dataclass(frozen=True)
class Config(LanguageConfig):
    """Options of the languages and the switches."""

    others: tuple[str, ...] = ("fr-fr", "es-es", "de-de")
    """More languages to steer towards, each with its own vector."""
    switches: tuple[str, ...] = ("en-it", "it-fr")
    """Switches from one language to another, two codes each. Before a switch from the language of
    the questions, nothing is steered."""
    switch_at: tuple[int, ...] = (12, 24)
    """Steps at which steering switches to the other language."""
    schedule: str = "diminishing(30)"
    """Schedule of the strength; it must be known beforehand."""
    strengths: tuple[float, ...] = (1.0, 1.5, 2.0)
    """Strengths in multiples of a vector, of which one is chosen for each language."""
    n_steps: int = 48
    """Number of generated tokens over which vectors are read and act."""
    window: int = 5
    """Number of words from which the language of the middle word is detected."""
    resamples: int = 200
    """Number of bootstrap vectors for the intervals of cosines."""
    shots: int = 2
    """Number of worked examples before each question on which vectors are fitted."""
    n_fit: int = 32
    """Questions on which vectors are fitted."""
    n_select: int = 12
    """Questions on which strengths are chosen."""
    n_test: int = 24
    """Questions in the test split, on which results are reported."""


def main(config: Config, run: ist.Run) -> None:
    """Fit all languages, compare and choose; then steer to each, to sums, and switch."""
    schedule = check_schedule(config)
    model, reference = base.load(config), ist.load(config.reference)
    items = base.read_items(config, run.seed)
    sets = {
        target_of(one): base.language_set(config, items, run.seed, one)
        for one in (config.positive, *config.others)
    }
    run.used(model, *sets.values())
    vectors, examples = {}, {}
    for code, pairs in tqdm(sets.items(), desc="vectors", unit="language", disable=None):
        vectors[code] = ist.fit_steps(model, pairs, n_steps=config.n_steps)
        examples[code] = Examples.read(model, pairs, config.n_steps)
        run.leave(vectors[code], code)

    cosines, parts = compare_vectors(examples, config.resamples, run.seed)
    run.write_records(cosines, "cosines")
    run.leave(summary=parts)
    run.draw("language_cosines", figures.language_cosines(cosines))

    with open_sweep_options(config, model, run) as options:
        strengths = {}
        for code, pairs in sets.items():
            grid = [Cell("none"), Cell("instruction", instructed=True)]
            grid += [
                scheduled_cell("steered", vectors[code], s, schedule) for s in config.strengths
            ]
            tried = base.record_answers(
                model, grid, pairs.select, code, items, reference, **options
            )
            strengths[code] = base.best_cell(tried)[1]
        run.leave(summary={f"strength.{code}": value for code, value in strengths.items()})
        steerer = Steerer(vectors, strengths, schedule)
        questions = next(iter(sets.values())).test
        rows = make_rows(config, steerer, questions, items, run.seed)
        records = answer_cells(model, rows, questions.name, score=lambda *_: {}, **options)
        steps = trace_switches(config, model, steerer, questions, options)

    labelled = base.with_content(base.with_language(records, next(iter(sets))), items)
    records = with_fluency(labelled, reference).rename({"operation": "vectors"})
    run.write_records(records)
    run.write_records(steps, "steps")
    codes = [target_of(config.negative), *sets]
    shares = shares_of(records, codes)
    run.write_records(shares, "shares")
    run.leave(summary=numbers(records, codes))
    run.leave(summary=switch_numbers(steps))
    shown = shares.filter(pl.col("setting").is_in(["none", "steered", "two at once"]))
    run.draw("interference", figures.interference_map(shown, list(map(language_name, codes))))
    for (switch,), steps_of_switch in steps.group_by("switch", maintain_order=True):
        run.draw(f"switching_{switch}", figures.switch_curves(word_shares(steps_of_switch)))
    run.draw("strength_text", figures.strength_text(first_answers(steps)))


def check_schedule(config: Config) -> Schedule:
    """Return the schedule of a config after checking the config.

    Raises:
        OptionError: for a dynamic schedule, fewer than two languages, or an impossible switch.
    """
    schedule = ist.schedules.parse(config.schedule)
    if not isinstance(schedule, Schedule):
        raise OptionError(
            f"schedule {config.schedule} is computed while the model generates, but a switch needs "
            "a schedule known beforehand; give start, fixed, diminishing(n) or exponential(r)"
        )
    known = [target_of(one) for one in (config.positive, *config.others)]
    sources = [target_of(config.negative), *known]
    for switch in config.switches:
        source, _, target = switch.partition("-")
        if source not in sources or target not in known or source == target:
            raise OptionError(
                f"invalid switch {switch!r}: it must lead from one of {', '.join(sources)} to "
                f"another of {', '.join(known)}; write two of these codes, such as "
                f"{sources[0]}-{known[0]}"
            )
    if len(set(known)) < 2 or len(set(known)) < len(known):
        raise OptionError(
            f"languages {', '.join(known)}: give two or more, each once, as --positive and --others"
        )
    return schedule


def compare_vectors(
    examples: Mapping[str, Examples], resamples: int, seed: int
) -> tuple[pl.DataFrame, dict[str, object]]:
    """Measure how similar the vectors of every two languages are, and how much all have in common.

    The same questions are drawn for all languages at once, because all vectors share the language
    that is steered away from and the subjects of the questions.

    Args:
        examples: the examples of each language, for the same questions.
        resamples: the number of times that questions are drawn with replacement.
        seed: seed of the draws.

    Returns:
        A row for every two languages with their ``cosine`` and its 95 % interval; and the numbers
        ``shared`` (squared norm of the mean vector, divided by the mean squared norm) and
        ``stability`` of each language (cosine of a resampled vector with the vector of all
        examples).
    """
    n = len(next(iter(examples.values())))
    rng = np.random.default_rng(seed)
    draws_of_examples = [torch.ones(n)]
    for _ in range(resamples):
        times = np.bincount(rng.integers(0, n, n), minlength=n)
        draws_of_examples.append(torch.from_numpy(times).float())
    cosines: dict[tuple[str, str], list[float]] = {}
    shared: list[float] = []
    for times in draws_of_examples:
        vectors = {code: one.vector(times).double() for code, one in examples.items()}
        for first, second in combinations(vectors, 2):
            value = cosine(vectors[first], vectors[second])
            cosines.setdefault((first, second), []).append(value)
        stacked = torch.stack(list(vectors.values()))
        shared.append(float(stacked.mean(0).square().sum() / stacked.square().sum((1, 2)).mean()))
    rows = [(*pair, *value_and_range(values)) for pair, values in cosines.items()]
    frame = pl.DataFrame(rows, ["language_a", "language_b", "cosine", "low", "high"], orient="row")
    numbers: dict[str, object] = {"shared": Interval(*value_and_range(shared), n, "bootstrap 95%")}
    for first, second, value, low, high in rows:
        numbers[f"cosine.{first}.{second}"] = Interval(value, low, high, n, "bootstrap 95%")
    for code, own in examples.items():
        numbers[f"stability.{code}"] = own.stability(n, resamples, seed)
    return frame, numbers


def cosine(first: Float[Tensor, "step width"], second: Float[Tensor, "step width"]) -> float:
    """Return the cosine of two vectors, over the steps that both reach."""
    both = first.any(dim=1) & second.any(dim=1)
    return float(torch.cosine_similarity(first[both].flatten(), second[both].flatten(), dim=0))


def value_and_range(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the first of some values, and the range that holds 95 % of the others.

    The first value is that of all examples; the others are those of resampled examples.
    """
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return values[0], min(float(low), values[0]), max(float(high), values[0])


def make_rows(
    config: Config,
    steerer: Steerer,
    questions: ist.ContrastSet,
    items: Sequence[ParallelItem],
    seed: int,
) -> list[tuple[Cell, Pair]]:
    """Return every cell with every question; and questions in other languages with their cells.

    The cells of a question in another language subtract that language. ``operation`` names the
    vectors that act.
    """
    names = {code: language_name(code) for code in steerer.vectors}
    mean = mean_vector(steerer.vectors)
    first, second = list(names)[:2]
    cells = [Cell("none", operation="none"), Cell("instruction", operation="none", instructed=True)]
    for code, name in names.items():
        own = steerer.along(steerer.vectors[code] - mean, code)
        cells += [
            Cell("steered", steerer.to(code), operation=name),
            Cell("random", steerer.to(code, seed=seed), operation=name, draw=seed),
            Cell("algebra", own, operation=f"{name} less the mean"),
        ]
    for one_code, other_code in combinations(names, 2):
        both = steerer.to(one_code) + steerer.to(other_code)
        label = f"{names[one_code]} + {names[other_code]}"
        cells.append(Cell("two at once", both, operation=label))
    cells.append(Cell("algebra", steerer.along(mean), operation="mean"))
    for part in MIXTURES:
        mixed = steerer.to(first, part) + steerer.to(second, 1 - part)
        label = f"{part:.0%} {names[first]}, {1 - part:.0%} {names[second]}"
        cells.append(Cell("algebra", mixed, operation=label))
    for source, target in (one.split("-") for one in config.switches):
        for at in config.switch_at:
            switched = steerer.switch(source, target, at)
            label = f"{language_name(source)} to {names[target]} at {at}"
            cells.append(Cell("switched", switched, operation=label))
    rows = [(cell, pair) for cell in cells for pair in questions]

    difference = steerer.vectors[first] - steerer.vectors[second]
    elsewhere = {
        second: {
            "none": ist.unsteered,
            f"{names[first]} less {names[second]}": steerer.along(difference, first),
            names[first]: steerer.to(first),
            "random": steerer.along(difference.like_random(seed), first),
        },
        first: {
            "none": ist.unsteered,
            f"less {names[first]}": steerer.along(-steerer.vectors[first], first),
        },
    }
    known = {item.key: item.questions for item in items}
    for code, steerings in elsewhere.items():
        if not any(code in known[pair.key] for pair in questions):
            continue  # some data have questions in only one language
        for label, steering in steerings.items():
            cell = Cell(f"asked in {names[code]}", steering, operation=label)
            rows += [(cell, pair) for pair in base.translate_questions(questions, items, code)]
    return rows


def trace_switches(
    config: Config,
    model: ist.HookedLM,
    steerer: Steerer,
    questions: ist.ContrastSet,
    options: Mapping[str, Any],
) -> pl.DataFrame:
    """Trace the language of every word, of switched answers and of answers that are not switched.

    Returns:
        A row for each switch, answer and step: ``token``; its ``language``; the language of the
        answer ``before`` and ``after`` step ``switched_at`` (null: not switched); and the
        ``strength`` of the language ``steered_to`` (null: no language).
    """
    names = {vector.name: code for code, vector in steerer.vectors.items()}
    known = [target_of(config.negative), *steerer.vectors]
    rows = []
    for switch in config.switches:
        source, target = switch.split("-")
        for at in (None, *config.switch_at):
            steering = steerer.to(source) if at is None else steerer.switch(source, target, at)
            # The ledger has these answers already.
            answers = ist.generate(model, questions.absent, steering, **options)
            tokens = [answer.tokens for answer in answers]
            traces = ist.trace(model, questions.absent, tokens, steering)
            for pair, trace in zip(questions, traces, strict=True):
                languages = languages_by_step(model, trace.tokens, config.window, known)
                halves = trace.tokens[:at], () if at is None else trace.tokens[at:]
                before, after = (detect(model.decode(list(half)), known) for half in halves)
                for step, token in enumerate(trace.tokens):
                    acting = {
                        names[name]: float(strength)
                        for name, strength in zip(
                            trace.properties, trace.strength[:, step], strict=True
                        )
                        if strength
                    }
                    code = next(iter(acting), None)
                    rows.append(
                        {
                            "switch": switch,
                            "switched_at": at,
                            "key": pair.key,
                            "query": pair.query,
                            "step": step,
                            "token": model.decode([token]),
                            "language": languages[step],
                            "before": before,
                            "after": after,
                            "steered_to": code,
                            "strength": None if code is None else acting[code],
                        }
                    )
    texts = ("language", "before", "after", "steered_to")
    types = dict.fromkeys(texts, pl.String) | {"switched_at": pl.Int64, "strength": pl.Float64}
    return pl.DataFrame(rows, schema_overrides=types)


def first_answers(steps: pl.DataFrame) -> pl.DataFrame:
    """Return the first answer of each switch at each step, token by token."""
    first = steps.filter(pl.col("switched_at").is_not_null())
    named = pl.format("{} @{}", "switch", "switched_at")
    answers = first.filter(pl.col("key") == first["key"][0]).with_columns(named.alias("answer_id"))
    return answers.select("answer_id", "step", "token", "strength", language="steered_to")


def shares_of(records: pl.DataFrame, codes: Sequence[str]) -> pl.DataFrame:
    """Return the share of answers in each language, and of broken answers, by setting."""
    rows = []
    for (setting, vectors), frame in records.group_by("setting", "vectors", maintain_order=True):
        detected = frame.with_columns(
            (pl.col("detected") == code).fill_null(False).alias(code) for code in codes
        )
        for measure in (*codes, "degenerate", "garbled"):
            if detected[measure].is_not_null().any():
                interval = share_of(detected, measure)
                name = language_name(measure)
                rows.append(
                    (
                        setting,
                        vectors,
                        name,
                        interval.value,
                        interval.low,
                        interval.high,
                        interval.n,
                    )
                )
    columns = ["setting", "vectors", "property", "share", "low", "high", "n"]
    return pl.DataFrame(rows, columns, orient="row")


def numbers(records: pl.DataFrame, codes: Sequence[str]) -> dict[str, object]:
    """Return the shares of answers in the intended languages, and tests of steering."""
    summary: dict[str, object] = {}
    table = shares_of(records, codes)
    for setting, vectors, measure, value, low, high, n in table.iter_rows():
        plain = setting.startswith("asked") or vectors in ("none", "mean")
        if plain or measure in vectors or measure in ("degenerate", "garbled"):
            where = f"{setting}.{vectors}" if vectors != "none" else setting
            summary[f"{measure}.{where}"] = Interval(value, low, high, n, "95%")
    for code in codes[1:]:
        rows = records.filter(pl.col("vectors") == language_name(code))
        outcomes = {
            setting: (rows.filter(pl.col("setting") == setting)["detected"] == code).fill_null(
                False
            )
            for setting in ("steered", "random")
        }
        test = mcnemar(outcomes["random"].to_list(), outcomes["steered"].to_list())
        summary[f"mcnemar_p.steered over random.{code}"] = test.p_value
    return summary

"""Several languages: how alike their vectors are, what their sums do, and switching on the way.

A vector leads from the language of the questions to each of several languages, read in all heads at
every generated step. Four things are asked of them. How alike are two of them, the same questions
being resampled for both? What do sums of them do: their mean, what each has beside it, mixtures of
two, and the difference of two when a question is asked in the one that is taken away? What becomes
of an answer that is steered to two at once? And does an answer go over to another language when
steering does so at step k? The schedule begins anew there, so that a switched answer has up to step
k the tokens of one that is not.

Each vector has the strength that the select split chooses for it alone. The language of a word is
that of the words around it, which smears a switch over a few words.
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
from analyses.kit.answer_options import asking
from analyses.languages import base
from analyses.languages.base import LanguageConfig, mean_vector, scheduled, target_of
from analyses.languages.language_switching_steps import (
    Steerer,
    languages_by_step,
    switch_numbers,
    word_shares,
)
from analyses.languages.resampled_vectors import Examples
from figures.style.settings import language_name
from interp_steer.contrast.pair import Pair
from interp_steer.contrast.parallel import ParallelItem
from interp_steer.errors import RunError
from interp_steer.interventions.schedules import Schedule
from interp_steer.scoring.language import detect
from interp_steer.statistics.intervals import Interval
from interp_steer.statistics.paired import mcnemar
from interp_steer.statistics.records import share_of
from interp_steer.sweeps.damage import with_fluency
from interp_steer.sweeps.grid import Cell, answer_cells

MIXTURES = (0.25, 0.5, 0.75)
"""How much of the first of two languages is in a mixture with the second."""


@dataclass(frozen=True)
class Config(LanguageConfig):
    """Which languages, and where they are switched."""

    others: tuple[str, ...] = ("fr-fr", "es-es", "de-de")
    """More languages that are steered to, each with a vector of its own."""
    switches: tuple[str, ...] = ("en-it", "it-fr")
    """From which language to which, two codes each; from that of the questions nothing steers."""
    switch_at: tuple[int, ...] = (12, 24)
    """Steps at which steering goes over to the other language."""
    schedule: str = "diminishing(30)"
    """Schedule of the strength, one that is known beforehand."""
    strengths: tuple[float, ...] = (1.0, 1.5, 2.0)
    """How many times a vector is added, of which one is chosen for each language."""
    n_steps: int = 48
    """Generated tokens that vectors are read at, and act on."""
    window: int = 5
    """Words that say which language the middle one is in."""
    resamples: int = 200
    """Bootstrap vectors behind the intervals of cosines."""
    shots: int = 2
    """Worked examples before each question that vectors are fitted on."""
    n_fit: int = 32
    """Questions that vectors are fitted on."""
    n_select: int = 12
    """Questions that strengths are chosen on."""
    n_test: int = 24
    """Questions that are reported."""


def main(config: Config, run: ist.Run) -> None:
    """Fit all languages, compare and choose; then steer to each, to sums of them, and switch."""
    schedule = checked(config)
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

    cosines, parts = alike(examples, config.resamples, run.seed)
    run.write_records(cosines, "cosines")
    run.leave(summary=parts)
    run.draw("language_cosines", figures.language_cosines(cosines))

    with asking(config, model, run) as options:
        strengths = {}
        for code, pairs in sets.items():
            grid = [Cell("none"), Cell("instruction", instructed=True)]
            grid += [scheduled("steered", vectors[code], s, schedule) for s in config.strengths]
            tried = base.recorded(model, grid, pairs.select, code, items, reference, **options)
            strengths[code] = base.best_cell(tried)[1]
        run.leave(summary={f"strength.{code}": value for code, value in strengths.items()})
        steerer = Steerer(vectors, strengths, schedule)
        questions = next(iter(sets.values())).test
        rows = asked(config, steerer, questions, items, run.seed)
        records = answer_cells(model, rows, questions.name, score=lambda *_: {}, **options)
        steps = followed(config, model, steerer, questions, options)

    told = base.with_content(base.with_language(records, next(iter(sets))), items)
    records = with_fluency(told, reference).rename({"operation": "vectors"})
    run.write_records(records)
    run.write_records(steps, "steps")
    codes = [target_of(config.negative), *sets]
    found = shares_of(records, codes)
    run.write_records(found, "shares")
    run.leave(summary=numbers(records, codes))
    run.leave(summary=switch_numbers(steps))
    shown = found.filter(pl.col("setting").is_in(["none", "steered", "two at once"]))
    run.draw("interference", figures.interference_map(shown, list(map(language_name, codes))))
    for (switch,), each in steps.group_by("switch", maintain_order=True):
        run.draw(f"switching_{switch}", figures.switch_curves(word_shares(each)))
    run.draw("strength_text", figures.strength_text(read_aloud(steps)))


def checked(config: Config) -> Schedule:
    """The schedule of a config that makes sense.

    Raises:
        RunError: for a dynamic schedule, fewer than two languages, or a switch that is none.
    """
    schedule = ist.schedules.parse(config.schedule)
    if not isinstance(schedule, Schedule):
        raise RunError(
            f"schedule {config.schedule} is found while the model generates, and a switch must be "
            "known beforehand; give start, fixed, diminishing(n) or exponential(r)"
        )
    known = [target_of(one) for one in (config.positive, *config.others)]
    sources = [target_of(config.negative), *known]
    for switch in config.switches:
        source, _, target = switch.partition("-")
        if source not in sources or target not in known or source == target:
            raise RunError(
                f"switch {switch!r} leads from none of {', '.join(sources)} to another of "
                f"{', '.join(known)}; write two of these codes, such as {sources[0]}-{known[0]}"
            )
    if len(set(known)) < 2 or len(set(known)) < len(known):
        raise RunError(
            f"languages {', '.join(known)}: give two or more, each once, as --positive and --others"
        )
    return schedule


def alike(
    examples: Mapping[str, Examples], resamples: int, seed: int
) -> tuple[pl.DataFrame, dict[str, object]]:
    """How alike the vectors of every two languages are, and how much all have in common.

    The same questions are drawn for all languages at once: what they are compared with, and what
    the questions are about, is shared by all of them.

    Args:
        examples: of each language, of the same questions.
        resamples: how many times questions are drawn with replacement.
        seed: of the draws.

    Returns:
        A row for every two languages with their ``cosine`` and its 95 % interval, and the numbers
        ``shared`` (squared norm of the mean vector, over the mean squared norm) and ``stability``
        of each language (cosine of a resampled vector with the vector of all examples).
    """
    many = len(next(iter(examples.values())))
    rng = np.random.default_rng(seed)
    drawn = [torch.ones(many)]
    for _ in range(resamples):
        times = np.bincount(rng.integers(0, many, many), minlength=many)
        drawn.append(torch.from_numpy(times).float())
    cosines: dict[tuple[str, str], list[float]] = {}
    shared: list[float] = []
    for times in drawn:
        each = {code: one.vector(times).double() for code, one in examples.items()}
        for one, other in combinations(each, 2):
            cosines.setdefault((one, other), []).append(cosine(each[one], each[other]))
        stacked = torch.stack(list(each.values()))
        shared.append(float(stacked.mean(0).square().sum() / stacked.square().sum((1, 2)).mean()))
    rows = [(*pair, *ends(values)) for pair, values in cosines.items()]
    frame = pl.DataFrame(rows, ["language_a", "language_b", "cosine", "low", "high"], orient="row")
    numbers: dict[str, object] = {"shared": Interval(*ends(shared), many, "bootstrap 95%")}
    for one, other, value, low, high in rows:
        numbers[f"cosine.{one}.{other}"] = Interval(value, low, high, many, "bootstrap 95%")
    for code, one in examples.items():
        numbers[f"stability.{code}"] = one.stability(many, resamples, seed)
    return frame, numbers


def cosine(one: Float[Tensor, "step width"], other: Float[Tensor, "step width"]) -> float:
    """The cosine of two vectors, over the steps that both reach."""
    both = one.any(dim=1) & other.any(dim=1)
    return float(torch.cosine_similarity(one[both].flatten(), other[both].flatten(), dim=0))


def ends(values: Sequence[float]) -> tuple[float, float, float]:
    """The first of some values, that of all examples, and the range that holds 95 % of the rest."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return values[0], min(float(low), values[0]), max(float(high), values[0])


def asked(
    config: Config,
    steerer: Steerer,
    questions: ist.ContrastSet,
    items: Sequence[ParallelItem],
    seed: int,
) -> list[tuple[Cell, Pair]]:
    """Every cell with every question, and those in other languages with what is taken away there.

    ``operation`` says which vectors act.
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
    for one, other in combinations(names, 2):
        both = steerer.to(one) + steerer.to(other)
        cells.append(Cell("two at once", both, operation=f"{names[one]} + {names[other]}"))
    cells.append(Cell("algebra", steerer.along(mean), operation="mean"))
    for part in MIXTURES:
        mixed = steerer.to(first, part) + steerer.to(second, 1 - part)
        said = f"{part:.0%} {names[first]}, {1 - part:.0%} {names[second]}"
        cells.append(Cell("algebra", mixed, operation=said))
    for source, target in (one.split("-") for one in config.switches):
        for at in config.switch_at:
            switched = steerer.switched(source, target, at)
            said = f"{language_name(source)} to {names[target]} at {at}"
            cells.append(Cell("switched", switched, operation=said))
    rows = [(cell, pair) for cell in cells for pair in questions]

    apart = steerer.vectors[first] - steerer.vectors[second]
    elsewhere = {
        second: {
            "none": ist.unsteered,
            f"{names[first]} less {names[second]}": steerer.along(apart, first),
            names[first]: steerer.to(first),
            "random": steerer.along(apart.like_random(seed), first),
        },
        first: {
            "none": ist.unsteered,
            f"less {names[first]}": steerer.along(-steerer.vectors[first], first),
        },
    }
    known = {item.key: item.questions for item in items}
    for code, acting in elsewhere.items():
        if not any(code in known[pair.key] for pair in questions):
            continue  # some data have their questions in one language
        for said, steering in acting.items():
            cell = Cell(f"asked in {names[code]}", steering, operation=said)
            rows += [(cell, pair) for pair in base.asked_in(questions, items, code)]
    return rows


def followed(
    config: Config,
    model: ist.HookedLM,
    steerer: Steerer,
    questions: ist.ContrastSet,
    options: Mapping[str, Any],
) -> pl.DataFrame:
    """The language of every word of the answers that are switched, and of those that are not.

    Returns:
        A row for each switch, answer and step: ``token``, its ``language`` and that which the
        answer is in ``before`` and ``after`` step ``switched_at`` (null: not switched), and the
        ``strength`` of the language ``steered_to`` (null: of none).
    """
    names = {vector.name: code for code, vector in steerer.vectors.items()}
    known = [target_of(config.negative), *steerer.vectors]
    rows = []
    for switch in config.switches:
        source, target = switch.split("-")
        for at in (None, *config.switch_at):
            steering = steerer.to(source) if at is None else steerer.switched(source, target, at)
            # The ledger has the answers of the records.
            answers = ist.generate(model, questions.absent, steering, **options)
            tokens = [answer.tokens for answer in answers]
            traces = ist.trace(model, questions.absent, tokens, steering)
            for pair, trace in zip(questions, traces, strict=True):
                said = languages_by_step(model, trace.tokens, config.window, known)
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
                            "language": said[step],
                            "before": before,
                            "after": after,
                            "steered_to": code,
                            "strength": None if code is None else acting[code],
                        }
                    )
    texts = ("language", "before", "after", "steered_to")
    types = dict.fromkeys(texts, pl.String) | {"switched_at": pl.Int64, "strength": pl.Float64}
    return pl.DataFrame(rows, schema_overrides=types)


def read_aloud(steps: pl.DataFrame) -> pl.DataFrame:
    """The first answer of each switch at each step, token by token."""
    first = steps.filter(pl.col("switched_at").is_not_null())
    named = pl.format("{} @{}", "switch", "switched_at")
    one = first.filter(pl.col("key") == first["key"][0]).with_columns(named.alias("answer_id"))
    return one.select("answer_id", "step", "token", "strength", language="steered_to")


def shares_of(records: pl.DataFrame, codes: Sequence[str]) -> pl.DataFrame:
    """Share of answers in each language, and of degenerate ones, by setting and vectors."""
    rows = []
    for (setting, vectors), frame in records.group_by("setting", "vectors", maintain_order=True):
        every = frame.with_columns(
            (pl.col("detected") == code).fill_null(False).alias(code) for code in codes
        )
        for measure in (*codes, "degenerate", "garbled"):
            if every[measure].is_not_null().any():
                found = share_of(every, measure)
                called = language_name(measure)
                rows.append((setting, vectors, called, found.value, found.low, found.high, found.n))
    columns = ["setting", "vectors", "property", "share", "low", "high", "n"]
    return pl.DataFrame(rows, columns, orient="row")


def numbers(records: pl.DataFrame, codes: Sequence[str]) -> dict[str, object]:
    """Shares of answers in the languages that vectors lead to; and each over a random direction."""
    found: dict[str, object] = {}
    table = shares_of(records, codes)
    for setting, vectors, measure, value, low, high, n in table.iter_rows():
        plain = setting.startswith("asked") or vectors in ("none", "mean")
        if plain or measure in vectors or measure in ("degenerate", "garbled"):
            where = f"{setting}.{vectors}" if vectors != "none" else setting
            found[f"{measure}.{where}"] = Interval(value, low, high, n, "95%")
    for code in codes[1:]:
        rows = records.filter(pl.col("vectors") == language_name(code))
        said = {
            setting: (rows.filter(pl.col("setting") == setting)["detected"] == code).fill_null(
                False
            )
            for setting in ("steered", "random")
        }
        test = mcnemar(said["random"].to_list(), said["steered"].to_list())
        found[f"mcnemar_p.steered over random.{code}"] = test.p_value
    return found

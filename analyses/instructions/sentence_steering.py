"""Does steering help to keep to a number of sentences? (Stolfo et al. 2025, length experiments)

Where the text asks for at most k sentences, the conciseness vector of length_steering is added, at
the layer that is chosen for it as there. Where the text asks for exactly k sentences, a vector for
that k is added, a difference in means of its own, at the layer and with the weight that do best on
the select split; they are chosen with and without the text. In both cases the share of answers that
have the number of sentences asked for is compared with that of the text alone, and with a random
direction of the same norm beside the text.

The differences that single prompts make, of which the vectors for exactly k are the means, are
mapped by t-SNE; how often the nearest other difference is of the same k stands beside what chance
would give.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import polars as pl

import figures
import interp_steer as ist
from analyses.instructions import layer_sweep
from analyses.instructions.format_steering import chosen_cell
from analyses.instructions.length_steering import (
    chosen_layer,
    displaced,
    measured,
    sets_of_length,
)
from analyses.kit.activation_differences import map_differences
from analyses.kit.answer_options import AnswerOptions, asking
from analyses.kit.operations import SteeringSpec
from analyses.kit.parts import configured
from figures.published import reported_sentences
from interp_steer.contrast.contrast_set import plain_text
from interp_steer.contrast.words_and_lengths import sentence_sets
from interp_steer.statistics.intervals import bootstrap_mean
from interp_steer.statistics.paired import mcnemar
from interp_steer.statistics.records import mean_of, share_of
from interp_steer.sweeps.damage import with_divergence, with_fluency
from interp_steer.world.queries import list_queries

CONTROL = "instruction + random"
"""The setting in which a random direction acts beside the text."""


@dataclass(frozen=True)
class Config(AnswerOptions):
    """What is asked for."""

    model: str = "burattino-instruct"
    """A bundled model, a Hugging Face name, or a folder."""
    at_most: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Numbers of sentences that are the most allowed."""
    exactly: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Numbers of sentences that are asked for exactly."""
    concise_weight: float = 1.0
    """Weight of the conciseness vector, in units of its own norm at the layer."""
    concise_layer: int | None = None
    """Layer of the conciseness vector; chosen on the select split when not given."""
    weights: tuple[float, ...] = (1.0, 2.0, 4.0)
    """Weights that are tried of the vectors for exactly k, in units of their own norm."""
    layers: tuple[int, ...] | None = None
    """Layers that are tried of the vectors for exactly k; every layer when not given."""
    rule: Literal["paper", "interval"] = "paper"
    """The rule that chooses the layer of a vector for exactly k; see layer_sweep."""
    n_fit: int = 64
    """Pairs of prompts that each vector is fitted on."""
    n_select: int = 12
    """Prompts that each layer is tried on."""
    n_test: int = 40
    """Prompts that each number is reported on."""
    max_new_tokens: int = 224
    """Where an answer is cut."""


def main(config: Config, run: ist.Run) -> None:
    """Fit the vectors, choose their layers, ask with and without them, count sentences."""
    model, reference = ist.load(config.model), ist.load(config.reference)
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    concise = sets_of_length(run.seed, **sizes)["conciseness"]
    world = [query.text for query in list_queries("held")]
    exact = sentence_sets(world, config.exactly, relation="exactly", seed=run.seed, **sizes)
    run.used(model, concise, *exact.values())
    with asking(config, model, run) as options:
        options |= {"score": measured}
        layer = config.concise_layer
        vector = ist.fit(model, concise, options=ist.capture.CaptureOptions(checkpoint=run.partial))
        if layer is None:
            layer = chosen_layer(vector, concise, model, reference, run.seed, options)
        run.leave(vector, name="conciseness", summary={"layer.conciseness": layer})
        answers = [
            *at_most(vector, layer, concise, config, model, run, options),
            *exactly(exact, config, model, reference, run, options),
        ]
    records = with_fluency(pl.concat(answers), reference)
    run.write_records(records)
    run.leave(summary=kept(records) | damages(records))
    published = reported_sentences(config.model)
    run.draw("sentences", figures.sentence_curves(records, published))
    fitted = {f"{k} {'sentence' if k == 1 else 'sentences'}": s.fit for k, s in exact.items()}
    map_differences(run, model, fitted, layer)


def at_most(
    vector: ist.SteeringVector,
    layer: int,
    concise: ist.ContrastSet,
    config: Config,
    model: ist.HookedLM,
    run: ist.Run,
    options: Mapping[str, Any],
) -> list[pl.DataFrame]:
    """Answers to every "at most k", with the conciseness vector.

    No query is asked that the vector was fitted on or its layer chosen on.
    """
    seen = {plain_text(query) for part in (concise.fit, concise.select) for query in part.queries}
    free = [query.text for query in list_queries("held") if plain_text(query.text) not in seen]
    sets = sentence_sets(
        free, config.at_most, relation="at most", seed=run.seed, fit=0, test=config.n_test
    )
    run.used(*sets.values())
    acting = {
        which: {
            "steering": displaced(one, layer, config.concise_weight),
            "layer": layer,
            "strength": config.concise_weight,
        }
        for which, one in (("own", vector), ("random", vector.like_random(run.seed)))
    }
    grid = settings(acting["own"], acting["own"], acting["random"])
    return [answered("at most", k, grid, pairs, model, options) for k, pairs in sets.items()]


def exactly(
    sets: Mapping[int, ist.ContrastSet],
    config: Config,
    model: ist.HookedLM,
    reference: ist.HookedLM,
    run: ist.Run,
    options: Mapping[str, Any],
) -> list[pl.DataFrame]:
    """Answers to every "exactly k", with a vector of its own where one helps on the select split.

    A layer of None in the summary says that it helps at none.
    """
    named = {pairs.name: pairs for pairs in sets.values()}
    operations = tuple(f"add:{weight:g}" for weight in config.weights)
    sweeping = configured(layer_sweep, config, operations=operations)
    steerers = layer_sweep.fitted(model, named, run, operations)
    choices = layer_sweep.choose(
        layer_sweep.search(model, reference, named, steerers, sweeping, options)
    )
    answers = []
    for k, pairs in sets.items():
        steerer = steerers[pairs.name]
        steerer.leave(run, f"exactly_{k}")
        plain, asked = (choices[pairs.name, text, config.rule] for text in (False, True))
        for picked, text in ((plain, "without_text"), (asked, "with_text")):
            found: dict[str, float | None] = {"layer": picked.layer}
            strength = SteeringSpec.parse(picked.operation).strength
            if picked.layer is not None and strength is not None:
                found["weight"] = strength.amount
            run.leave(summary={f"{what}.exactly_{k}.{text}": n for what, n in found.items()})
        random = partial(ist.SteeringVector.like_random, seed=run.seed)
        grid = settings(
            chosen_cell(steerer, plain),
            chosen_cell(steerer, asked),
            chosen_cell(steerer, asked, random),
        )
        answers.append(answered("exactly", k, grid, pairs, model, options))
    return answers


def settings(
    steered: Mapping[str, Any], both: Mapping[str, Any], random: Mapping[str, Any]
) -> list[ist.Cell]:
    """Without and with the text, unsteered and steered, and the control beside the text."""
    return [
        ist.Cell("none"),
        ist.Cell("steered", **steered),
        ist.Cell("instruction", instructed=True),
        ist.Cell("both", instructed=True, **both),
        ist.Cell(CONTROL, instructed=True, draw=0, **random),
    ]


def answered(
    relation: str,
    k: int,
    grid: list[ist.Cell],
    pairs: ist.ContrastSet,
    model: ist.HookedLM,
    options: Mapping[str, Any],
) -> pl.DataFrame:
    """Answers of the test split of one number, and how far each setting moves predictions."""
    asked = pairs.test
    records = with_divergence(ist.sweep(model, grid, asked, **options), model, grid, asked)
    return records.with_columns(pl.lit(relation).alias("relation"), pl.lit(k).alias("k"))


def kept(records: pl.DataFrame) -> dict[str, object]:
    """Shares of answers with the number of sentences asked for, and paired tests of steering.

    All numbers of a relation are asked of the same queries. These are resampled whole for shares
    and gains over all numbers; McNemar's test takes every prompt as one of its own.
    """
    numbers: dict[str, object] = {}
    for (relation,), rows in records.group_by("relation", maintain_order=True):
        name = str(relation).replace(" ", "_")
        of = {s: each for (s,), each in rows.group_by("setting", maintain_order=True)}
        for setting, each in of.items():
            numbers[f"sentences.{name}.{setting}"] = share_of(each, "strict")
        for one, other in (("steered", "none"), ("both", "instruction"), ("both", CONTROL)):
            after, before = of[one]["strict"], of[other]["strict"]
            gain = after.cast(pl.Int64) - before.cast(pl.Int64)
            numbers[f"gain.{name}.{one}_over_{other}"] = bootstrap_mean(gain, of[one]["query"])
            test = mcnemar(after.to_list(), before.to_list())
            numbers[f"mcnemar_p.{name}.{one}_over_{other}"] = test.p_value
        for (k, setting), each in rows.group_by("k", "setting", maintain_order=True):
            numbers[f"share.{name}_{k}.{setting}"] = share_of(each, "strict")
    return numbers


def damages(records: pl.DataFrame) -> dict[str, object]:
    """What each setting breaks: degenerate answers, and predictions that move."""
    numbers: dict[str, object] = {}
    for (relation, setting), rows in records.group_by("relation", "setting", maintain_order=True):
        name = f"{str(relation).replace(' ', '_')}.{setting}"
        numbers[f"degenerate.{name}"] = share_of(rows, "degenerate")
        moved = mean_of(rows, "kl")
        if moved and setting not in ("none", "instruction"):
            numbers[f"kl.{name}"] = moved
    return numbers

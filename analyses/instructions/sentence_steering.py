"""Steer towards a number of sentences, with and without the text (Stolfo et al. 2025).

This is a part of the paper's length experiments. Where the text asks for at most k sentences, the
conciseness vector of length_steering is added, at the layer that is chosen for this vector as in
length_steering. Where the text asks for exactly k sentences, a vector for this k is added, fitted
as a difference in means. Its layer and weight are those that do best on the select split; they are
chosen separately without and with the text. In both cases, the share of answers that have the
requested number of sentences is compared with the share under the text alone, and under the text
with a random direction of the same norm.

The activation differences of single prompts, whose means are the vectors for exactly k, are mapped
by t-SNE. The share of differences whose nearest neighbour is of the same k is reported with the
share expected by chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import polars as pl

import figures
import interp_steer as ist
from analyses.instructions.layer_search import (
    LayerSearchConfig,
    SteeringSetup,
    cell_arguments,
    choose_layers,
    fit_for_instructions,
    search_layers,
)
from analyses.instructions.lengths import (
    LengthSetup,
    choose_length_layer,
    length_shift,
    measure_length,
    sets_of_length,
)
from analyses.kit.activation_differences import map_differences
from analyses.kit.answer_options import AnswerOptions, open_sweep_options
from analyses.kit.operations import SteeringSpec
from figures.published import reported_sentences
from interp_steer.contrast import plain_text, sentence_sets
from interp_steer.statistics import bootstrap_mean, mcnemar, mean_of, share_of
from interp_steer.sweeps import with_divergence, with_fluency
from interp_steer.world import list_queries

CONTROL = "instruction + random"
"""The setting in which a random direction acts and the prompt has the text."""


@dataclass(frozen=True)
class Config(AnswerOptions):
    """Options of the sentence experiments."""

    model: str = "burattino-instruct"
    """Model to steer: a bundled model, a Hugging Face name, or a folder."""
    at_most: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Numbers k in requests for at most k sentences."""
    exactly: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Numbers k in requests for exactly k sentences."""
    concise_weight: float = 1.0
    """Weight of the conciseness vector, in units of its own norm at the layer."""
    concise_layer: int | None = None
    """Layer of the conciseness vector. Default: chosen on the select split."""
    weights: tuple[float, ...] = (1.0, 2.0, 4.0)
    """Weights to try for the vectors for exactly k, in units of their own norm."""
    layers: tuple[int, ...] | None = None
    """Layers to try for the vectors for exactly k. Default: every layer."""
    rule: Literal["paper", "interval"] = "paper"
    """Rule that chooses the layer of a vector for exactly k; see layer_sweep."""
    n_fit: int = 64
    """Pairs of prompts on which each vector is fitted."""
    n_select: int = 12
    """Prompts on which each layer is tried."""
    n_test: int = 40
    """Prompts in the test split, on which each number of sentences is reported."""
    max_new_tokens: int = 224
    """Maximum number of new tokens per answer."""


def main(config: Config, run: ist.Run) -> None:
    """Fit the vectors, choose their layers, generate answers, and count sentences."""
    model, reference = ist.load(config.model), ist.load(config.reference)
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    concise = sets_of_length(run.seed, **sizes)["conciseness"]
    world = [query.text for query in list_queries("held")]
    exact = sentence_sets(world, config.exactly, relation="exactly", seed=run.seed, **sizes)
    run.used(model, concise, *exact.values())
    with open_sweep_options(config, model, run) as options:
        setup = LengthSetup(model, reference, run.seed, options | {"score": measure_length})
        layer = config.concise_layer
        vector = ist.fit(model, concise, options=ist.capture.CaptureOptions(checkpoint=run.partial))
        if layer is None:
            layer = choose_length_layer(setup, vector, concise)
        run.leave(vector, name="conciseness", summary={"layer.conciseness": layer})
        answers = [
            *answer_at_most(setup, vector, layer, concise, config, run),
            *answer_exactly(setup, exact, config, run),
        ]
    records = with_fluency(pl.concat(answers), reference)
    run.write_records(records)
    run.leave(summary=shares_and_gains(records) | damages(records))
    published = reported_sentences(config.model)
    run.draw("sentences", figures.sentence_curves(records, published))
    fitted = {f"{k} {'sentence' if k == 1 else 'sentences'}": s.fit for k, s in exact.items()}
    map_differences(run, model, fitted, layer)


def answer_at_most(
    setup: LengthSetup,
    vector: ist.SteeringVector,
    layer: int,
    concise: ist.ContrastSet,
    config: Config,
    run: ist.Run,
) -> list[pl.DataFrame]:
    """Answer every request for at most k sentences, with the conciseness vector.

    The queries on which the vector was fitted or its layer chosen are left out.
    """
    seen = {plain_text(query) for part in (concise.fit, concise.select) for query in part.queries}
    free = [query.text for query in list_queries("held") if plain_text(query.text) not in seen]
    sets = sentence_sets(
        free, config.at_most, relation="at most", seed=run.seed, fit=0, test=config.n_test
    )
    run.used(*sets.values())
    acting = {
        which: {
            "steering": length_shift(direction, layer, config.concise_weight),
            "layer": layer,
            "strength": config.concise_weight,
        }
        for which, direction in (("own", vector), ("random", vector.like_random(run.seed)))
    }
    grid = settings(acting["own"], acting["own"], acting["random"])
    return [answer_number(setup, "at most", k, grid, pairs) for k, pairs in sets.items()]


def answer_exactly(
    setup: LengthSetup, sets: Mapping[int, ist.ContrastSet], config: Config, run: ist.Run
) -> list[pl.DataFrame]:
    """Answer every request for exactly k sentences, with the vector for this k.

    A layer of None in the summary says that the vector helps at no layer on the select split.
    """
    named = {pairs.name: pairs for pairs in sets.values()}
    operations = tuple(f"add:{weight:g}" for weight in config.weights)
    steerers = fit_for_instructions(setup.model, named, run, operations)
    searched = search_layers(
        SteeringSetup(setup.model, setup.reference, named, steerers, setup.options),
        LayerSearchConfig(layers=config.layers, operations=operations),
    )
    choices = choose_layers(searched)
    answers = []
    for k, pairs in sets.items():
        steerer = steerers[pairs.name]
        steerer.leave(run, f"exactly_{k}")
        plain, asked = (choices[pairs.name, text, config.rule] for text in (False, True))
        for picked, text in ((plain, "without_text"), (asked, "with_text")):
            choice: dict[str, float | None] = {"layer": picked.layer}
            strength = SteeringSpec.parse(picked.operation).strength
            if picked.layer is not None and strength is not None:
                choice["weight"] = strength.amount
            run.leave(summary={f"{what}.exactly_{k}.{text}": n for what, n in choice.items()})
        random = partial(ist.SteeringVector.like_random, seed=run.seed)
        grid = settings(
            cell_arguments(steerer, plain),
            cell_arguments(steerer, asked),
            cell_arguments(steerer, asked, random),
        )
        answers.append(answer_number(setup, "exactly", k, grid, pairs))
    return answers


def settings(
    steered: Mapping[str, Any], both: Mapping[str, Any], random: Mapping[str, Any]
) -> list[ist.Cell]:
    """Return the cells without and with the text, unsteered and steered, and the control."""
    return [
        ist.Cell("none"),
        ist.Cell("steered", **steered),
        ist.Cell("instruction", instructed=True),
        ist.Cell("both", instructed=True, **both),
        ist.Cell(CONTROL, instructed=True, draw=0, **random),
    ]


def answer_number(
    setup: LengthSetup, relation: str, k: int, grid: list[ist.Cell], pairs: ist.ContrastSet
) -> pl.DataFrame:
    """Answer the test split of one number of sentences, and measure how far predictions move."""
    asked = pairs.test
    answers = ist.sweep(setup.model, grid, asked, **setup.options)
    records = with_divergence(answers, setup.model, grid, asked)
    return records.with_columns(pl.lit(relation).alias("relation"), pl.lit(k).alias("k"))


def shares_and_gains(records: pl.DataFrame) -> dict[str, object]:
    """Return the share of answers with the requested number of sentences, and tests of steering.

    All numbers of a relation are requested with the same queries. These queries are resampled as a
    whole for shares and gains over all numbers. McNemar's test treats every prompt as independent.
    """
    numbers: dict[str, object] = {}
    for (relation,), rows in records.group_by("relation", maintain_order=True):
        name = str(relation).replace(" ", "_")
        by_setting = {s: part for (s,), part in rows.group_by("setting", maintain_order=True)}
        for setting, part in by_setting.items():
            numbers[f"sentences.{name}.{setting}"] = share_of(part, "strict")
        for first, second in (("steered", "none"), ("both", "instruction"), ("both", CONTROL)):
            after, before = by_setting[first]["strict"], by_setting[second]["strict"]
            gain, queries = after.cast(pl.Int64) - before.cast(pl.Int64), by_setting[first]["query"]
            numbers[f"gain.{name}.{first}_over_{second}"] = bootstrap_mean(gain, queries)
            test = mcnemar(after.to_list(), before.to_list())
            numbers[f"mcnemar_p.{name}.{first}_over_{second}"] = test.p_value
        for (k, setting), part in rows.group_by("k", "setting", maintain_order=True):
            numbers[f"share.{name}_{k}.{setting}"] = share_of(part, "strict")
    return numbers


def damages(records: pl.DataFrame) -> dict[str, object]:
    """Return the damage of each setting: degenerate answers, and how far predictions move."""
    numbers: dict[str, object] = {}
    for (relation, setting), rows in records.group_by("relation", "setting", maintain_order=True):
        name = f"{str(relation).replace(' ', '_')}.{setting}"
        numbers[f"degenerate.{name}"] = share_of(rows, "degenerate")
        moved = mean_of(rows, "kl")
        if moved and setting not in ("none", "instruction"):
            numbers[f"kl.{name}"] = moved
    return numbers

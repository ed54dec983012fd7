"""Fit vectors of answer length, choose their layer, and measure the length of answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

import interp_steer as ist
from interp_steer.contrast.instructions import WORDS
from interp_steer.scoring import count_sentences
from interp_steer.sweeps import follows_instruction, with_fluency

KINDS = {"conciseness": {"relation": "less than"}, "verbosity": {"relation": "at least"}}
"""The vectors of length, and the arguments of the instruction that each is fitted on."""

TRIAL_WEIGHT = 2.0
"""The weight at which layers are tried."""

TOLERANCE = 0.1
"""By how much the share of degenerate answers at a layer may exceed that of the unsteered model."""


@dataclass(frozen=True, eq=False)
class LengthSetup:
    """The models, the seed of random directions, and the options of the sweeps."""

    model: ist.HookedLM
    """The model that answers."""
    reference: ist.HookedLM
    """The model whose perplexity shows which answers are degenerate."""
    seed: int
    """Seed of the random direction."""
    options: Mapping[str, Any]
    """Options of :func:`interp_steer.sweep`."""


def sets_of_length(seed: int, *, fit: int, select: int, test: int) -> dict[str, ist.ContrastSet]:
    """Return the contrast set of each vector of length, in the world of the bundled models."""
    sizes = {"seed": seed, "fit": fit, "select": select, "test": test}
    return {
        kind: ist.world.instruction(WORDS, where=where, **sizes) for kind, where in KINDS.items()
    }


def measure_length(pair: ist.contrast.Pair, completion: ist.Completion) -> dict[str, Any]:
    """Count the words and sentences of an answer, and check it where the pair has an IFEval id."""
    verdict = follows_instruction(pair, completion) if pair.instruction_ids else {}
    return {
        **verdict,
        "words": len(completion.text.split()),
        "sentences": count_sentences(completion.text),
    }


def choose_length_layer(
    setup: LengthSetup, vector: ist.SteeringVector, pairs: ist.ContrastSet
) -> int:
    """Choose the layer where the vector changes the length of answers most, on the select split.

    Args:
        setup: the models and the options.
        vector: the vector of length.
        pairs: the contrast set; its select split is asked without the instruction.
    """
    random = vector.like_random(setup.seed)
    grid = [
        ist.Cell("none"),
        *(length_cell(vector, layer, TRIAL_WEIGHT) for layer in vector.layers),
        *(length_cell(random, layer, TRIAL_WEIGHT, "random") for layer in vector.layers),
    ]
    records = ist.sweep(setup.model, grid, pairs.select, **setup.options)
    return most_changed_layer(with_fluency(records, setup.reference))


def length_shift(vector: ist.SteeringVector, layer: int, weight: float) -> ist.Intervention:
    """Add the vector at every position, with a weight in units of its norm at the layer."""
    direction = vector.at(layer)
    return direction.add(weight * float(direction.vector.norm()))


def length_cell(
    vector: ist.SteeringVector, layer: int, weight: float, setting: str = "steered"
) -> ist.Cell:
    """Return a cell in which the vector is added, without the text instruction."""
    draw = 0 if setting == "random" else None
    steering = length_shift(vector, layer, weight)
    return ist.Cell(setting, steering, layer, draw=draw, strength=weight)


def most_changed_layer(records: pl.DataFrame) -> int:
    """Return the layer where the mean number of words changes most beyond the random direction.

    Layers with too many degenerate answers (see :data:`TOLERANCE`) are left out, unless all have
    too many.
    """
    means = records.group_by("setting", "layer").agg(pl.col("words", "degenerate").mean())
    by_setting = {setting: rows for (setting,), rows in means.group_by("setting")}
    plain = by_setting["none"].row(0, named=True)
    layers = by_setting["steered"].join(by_setting["random"], on="layer", suffix="_random")
    layers = layers.sort("layer")
    fluent = layers.filter(pl.col("degenerate") <= plain["degenerate"] + TOLERANCE)
    change, by_chance = ((pl.col(c) - plain["words"]).abs() for c in ("words", "words_random"))
    return (layers if fluent.is_empty() else fluent).sort(change - by_chance)["layer"][-1]

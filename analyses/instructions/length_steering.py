"""Answer length against the weight of a length vector (Stolfo et al. 2025, length experiments).

Two vectors are fitted as differences in means: conciseness (fewer words than so many) and
verbosity (at least so many). Each is added with a fixed weight at one layer: on the select split,
the one where it changes the number of words most, beyond what a random direction of the same norm
does, without more degenerate answers. On the test split the weight is varied, without any text
instruction: the dose response. A weight is in units of the vector's own norm there, so that 1
displaces an activation as much as the text instruction does in the mean; the random direction shows
what any displacement does.

The differences that single prompts make, of which the vectors are the means, are mapped by t-SNE.
A map shows groups even where there are none: how often the nearest other difference, in the space
of the model, is of the same kind stands beside what chance would give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

import figures
import interp_steer as ist
from analyses.kit.activation_differences import map_differences
from analyses.kit.answer_options import AnswerOptions, asking
from interp_steer.contrast.instructions import ifeval_rows
from interp_steer.contrast.instructions.registry import WORDS
from interp_steer.contrast.words_and_lengths import CONCISENESS, VERBOSITY, length_sets
from interp_steer.scoring.sentences import count_sentences
from interp_steer.statistics.intervals import bootstrap_mean
from interp_steer.statistics.records import mean_of, share_of
from interp_steer.sweeps.damage import with_divergence, with_fluency
from interp_steer.sweeps.grid import follows_instruction
from interp_steer.world.queries import list_queries

KINDS = {"conciseness": {"relation": "less than"}, "verbosity": {"relation": "at least"}}
"""The vectors of length, and the arguments of the instruction that each is fitted on."""

TRIED = 2.0
"""The weight at which layers are tried."""

TOLERATED = 0.1
"""How much larger a layer's share of degenerate answers may be than that of the plain model."""


@dataclass(frozen=True)
class Config(AnswerOptions):
    """What is varied."""

    model: str = "burattino-instruct"
    """A bundled model, a Hugging Face name, or a folder."""
    asked: Literal["limits", "classes"] = "limits"
    """How the prompts that vectors are fitted on ask for a length: by a number of words, or by the
    first and last of five classes, extremely concise to extremely verbose, as in the paper."""
    data: str | None = None
    """IFEval's requests for the classes; see layer_sweep. Those of the bundled world when not
    given."""
    weights: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 3.0)
    """Weights of the vectors, in units of their own norm at the layer."""
    layer: int | None = None
    """Layer to steer at; chosen on the select split when not given."""
    n_fit: int = 64
    """Pairs of prompts that each vector is fitted on."""
    n_select: int = 12
    """Prompts that each layer is tried on."""
    n_test: int = 40
    """Prompts that are reported."""
    max_new_tokens: int = 224
    """Where an answer is cut."""


def main(config: Config, run: ist.Run) -> None:
    """Fit, choose a layer, vary the weight; map what the vectors are the means of."""
    model, reference = ist.load(config.model), ist.load(config.reference)
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    if config.asked == "classes":
        sets = sets_of_classes(run.seed, data=config.data, **sizes)
    else:
        sets = sets_of_length(run.seed, **sizes)
    run.used(model, *sets.values())
    vectors = {
        kind: ist.fit(model, pairs, options=ist.capture.CaptureOptions(checkpoint=run.partial))
        for kind, pairs in sets.items()
    }
    with asking(config, model, run) as options:
        options |= {"score": measured}
        layers = {
            kind: chosen_layer(vectors[kind], pairs, model, reference, run.seed, options)
            if config.layer is None
            else config.layer
            for kind, pairs in sets.items()
        }
        doses = [
            dose_response(
                vectors[kind], layers[kind], pairs, config.weights, model, reference, run.seed,
                options,
            ).with_columns(pl.lit(kind).alias("instruction"))
            for kind, pairs in sets.items()
        ]  # fmt: skip
    records = pl.concat(doses)
    run.write_records(records)
    for kind, vector in vectors.items():
        run.leave(vector, name=kind, summary={f"layer.{kind}": layers[kind]})
    run.leave(summary=lengths(records))
    run.draw("words_by_weight", figures.dose_curve(records, "words"))
    run.draw("words_distribution", figures.dose_boxes(records, "words"))
    run.draw("words_density", figures.dose_density(records, "words"))
    fitted = {kind: pairs.fit for kind, pairs in sets.items()}
    map_differences(run, model, fitted, layers["conciseness"])


def sets_of_length(seed: int, *, fit: int, select: int, test: int) -> dict[str, ist.ContrastSet]:
    """The contrast set of each vector of length, in the world of the bundled models."""
    sizes = {"seed": seed, "fit": fit, "select": select, "test": test}
    return {
        kind: ist.world.instruction(WORDS, where=where, **sizes) for kind, where in KINDS.items()
    }


def sets_of_classes(
    seed: int, *, data: str | None, fit: int, select: int, test: int
) -> dict[str, ist.ContrastSet]:
    """The sets of the most concise and of the most verbose class."""
    if data is None:
        asked = [query.text for query in list_queries("held")]
    else:
        asked = [row.query for row in ifeval_rows.read(data) if row.query]
    classes = length_sets(asked, seed=seed, fit=fit, select=select, test=test)
    return {"conciseness": classes[CONCISENESS], "verbosity": classes[VERBOSITY]}


def measured(pair: ist.contrast.Pair, completion: ist.Completion) -> dict[str, Any]:
    """How long an answer is, and IFEval's verdict where the pair has an instruction of IFEval's."""
    verdict = follows_instruction(pair, completion) if pair.instruction_ids else {}
    return {
        **verdict,
        "words": len(completion.text.split()),
        "sentences": count_sentences(completion.text),
    }


def chosen_layer(
    vector: ist.SteeringVector,
    pairs: ist.ContrastSet,
    model: ist.HookedLM,
    reference: ist.HookedLM,
    seed: int,
    options: Mapping[str, Any],
) -> int:
    """The layer where the vector changes the length of answers most, on the select split."""
    random = vector.like_random(seed)
    tried = [
        ist.Cell("none"),
        *(added(vector, at, TRIED) for at in vector.layers),
        *(added(random, at, TRIED, "random") for at in vector.layers),
    ]
    return most_changed(with_fluency(ist.sweep(model, tried, pairs.select, **options), reference))


def dose_response(
    vector: ist.SteeringVector,
    layer: int,
    pairs: ist.ContrastSet,
    weights: Sequence[float],
    model: ist.HookedLM,
    reference: ist.HookedLM,
    seed: int,
    options: Mapping[str, Any],
) -> pl.DataFrame:
    """Answers of the test split under each weight of one vector, and of a random direction.

    Args:
        vector: fitted on the pairs, which may be any that differ in the length asked for.
        layer: where it is added.
        pairs: whose test split is asked, without the instruction.
        weights: in units of the vector's norm at the layer.
        model: the model that answers.
        reference: whose perplexity tells degenerate answers.
        seed: of the random direction.
        options: of the sweep.
    """
    random = vector.like_random(seed)
    grid = [
        ist.Cell("none", strength=0.0),
        *(added(vector, layer, weight) for weight in weights),
        *(added(random, layer, weight, "random") for weight in weights),
    ]
    answers = ist.sweep(model, grid, pairs.test, **options)
    return with_fluency(with_divergence(answers, model, grid, pairs.test), reference)


def displaced(vector: ist.SteeringVector, layer: int, weight: float) -> ist.Intervention:
    """The vector added at every position, with a weight in units of its norm at the layer."""
    direction = vector.at(layer)
    return direction.add(weight * float(direction.vector.norm()))


def added(
    vector: ist.SteeringVector, layer: int, weight: float, setting: str = "steered"
) -> ist.Cell:
    """A cell in which the vector is added, without any text."""
    draw = 0 if setting == "random" else None
    return ist.Cell(setting, displaced(vector, layer, weight), layer, draw=draw, strength=weight)


def most_changed(records: pl.DataFrame) -> int:
    """The layer where mean words change most beyond the control's, of those that stay fluent."""
    means = records.group_by("setting", "layer").agg(pl.col("words", "degenerate").mean())
    of = {setting: rows for (setting,), rows in means.group_by("setting")}
    plain = of["none"].row(0, named=True)
    beside = of["steered"].join(of["random"], on="layer", suffix="_random").sort("layer")
    fluent = beside.filter(pl.col("degenerate") <= plain["degenerate"] + TOLERATED)
    change, by_chance = ((pl.col(c) - plain["words"]).abs() for c in ("words", "words_random"))
    return (beside if fluent.is_empty() else fluent).sort(change - by_chance)["layer"][-1]


def lengths(records: pl.DataFrame) -> dict[str, object]:
    """Mean words and damage under each weight, and whether words change steadily with it."""
    numbers: dict[str, object] = {}
    for (kind, setting, weight), rows in records.group_by(
        "instruction", "setting", "strength", maintain_order=True
    ):
        name = f"{kind}.{setting}.{weight:g}"
        queries = rows["query"].to_list()
        numbers[f"words.{name}"] = bootstrap_mean(rows["words"].to_list(), queries)
        numbers[f"degenerate.{name}"] = share_of(rows, "degenerate")
        moved = mean_of(rows, "kl")
        if moved and setting != "none":
            numbers[f"kl.{name}"] = moved
    for kind in KINDS:
        dose = (
            records.filter((pl.col("instruction") == kind) & (pl.col("setting") != "random"))
            .group_by("strength")
            .agg(pl.col("words").mean())
            .sort("strength")["words"]
        )
        change = dose.diff().drop_nulls() * (-1 if kind == "conciseness" else 1)
        numbers[f"monotone_doses.{kind}"] = 1 + _leading(change.to_list())
    return numbers


def _leading(changes: Sequence[float]) -> int:
    """How many changes, from the first on, are in the direction asked for."""
    return next((n for n, change in enumerate(changes) if change <= 0), len(changes))

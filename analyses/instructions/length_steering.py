"""Vary the weight of a length vector and measure answer length (Stolfo et al. 2025).

Two vectors are fitted as differences in means: conciseness (fewer words than a limit) and verbosity
(at least as many words as a limit). Each vector is added at one layer. The layer is chosen on the
select split, at a fixed weight: it is the layer where the vector changes the number of words most,
beyond the change under a random direction of the same norm, and without more degenerate answers. On
the test split the weight is then varied, without any text instruction: this is the dose response. A
weight is in units of the vector's own norm at the layer, so that weight 1 displaces an activation
as much as the text instruction does on average. The random direction shows the effect of any
displacement of this size.

The activation differences of single prompts, whose means are the vectors, are mapped by t-SNE. Such
a map shows groups where the data have no groups. Therefore the share of differences whose nearest
neighbour, in the space of the model, is of the same kind is reported with the share expected by
chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

import figures
import interp_steer as ist
from analyses.instructions.lengths import (
    KINDS,
    LengthSetup,
    choose_length_layer,
    length_cell,
    measure_length,
    sets_of_length,
)
from analyses.kit.activation_differences import map_differences
from analyses.kit.answer_options import AnswerOptions, open_sweep_options
from interp_steer.contrast import CONCISENESS, VERBOSITY, length_sets
from interp_steer.contrast.instructions import ifeval_rows
from interp_steer.statistics import bootstrap_mean, mean_of, share_of
from interp_steer.sweeps import with_divergence, with_fluency
from interp_steer.world import list_queries


@dataclass(frozen=True)
class Config(AnswerOptions):
    """Options of the dose response."""

    model: str = "burattino-instruct"
    """Model to steer: a bundled model, a Hugging Face name, or a folder."""
    asked: Literal["limits", "classes"] = "limits"
    """How the prompts that vectors are fitted on ask for a length. limits: by a number of words.
    classes: by the first and the last of five classes, extremely concise to extremely verbose, as
    in the paper."""
    data: str | None = None
    """Source of IFEval's requests for the classes; see layer_sweep. Default: requests of the
    bundled world."""
    weights: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 3.0)
    """Weights of the vectors, in units of their own norm at the layer."""
    layer: int | None = None
    """Layer to steer at. Default: chosen on the select split."""
    n_fit: int = 64
    """Pairs of prompts on which each vector is fitted."""
    n_select: int = 12
    """Prompts on which each layer is tried."""
    n_test: int = 40
    """Prompts in the test split, on which results are reported."""
    max_new_tokens: int = 224
    """Maximum number of new tokens per answer."""


def main(config: Config, run: ist.Run) -> None:
    """Fit the vectors, choose a layer, vary the weight, and map the differences of prompts."""
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
    with open_sweep_options(config, model, run) as options:
        setup = LengthSetup(model, reference, run.seed, options | {"score": measure_length})
        layers = {
            kind: choose_length_layer(setup, vectors[kind], pairs)
            if config.layer is None
            else config.layer
            for kind, pairs in sets.items()
        }
        doses = [
            dose_response(setup, vectors[kind], layers[kind], pairs, config.weights).with_columns(
                pl.lit(kind).alias("instruction")
            )
            for kind, pairs in sets.items()
        ]
    records = pl.concat(doses)
    run.write_records(records)
    for kind, vector in vectors.items():
        run.leave(vector, name=kind, summary={f"layer.{kind}": layers[kind]})
    run.leave(summary=summarise_lengths(records))
    run.draw("words_by_weight", figures.dose_curve(records, "words"))
    run.draw("words_distribution", figures.dose_boxes(records, "words"))
    run.draw("words_density", figures.dose_density(records, "words"))
    fitted = {kind: pairs.fit for kind, pairs in sets.items()}
    map_differences(run, model, fitted, layers["conciseness"])


def sets_of_classes(
    seed: int, *, data: str | None, fit: int, select: int, test: int
) -> dict[str, ist.ContrastSet]:
    """Return the contrast sets of the most concise and the most verbose class."""
    if data is None:
        queries = [query.text for query in list_queries("held")]
    else:
        queries = [row.query for row in ifeval_rows.read(data) if row.query]
    classes = length_sets(queries, seed=seed, fit=fit, select=select, test=test)
    return {"conciseness": classes[CONCISENESS], "verbosity": classes[VERBOSITY]}


def dose_response(
    setup: LengthSetup,
    vector: ist.SteeringVector,
    layer: int,
    pairs: ist.ContrastSet,
    weights: Sequence[float],
) -> pl.DataFrame:
    """Answer the test split under each weight of one vector, and of a random direction.

    Args:
        setup: the models and the options.
        vector: fitted on pairs that differ in the length asked for.
        layer: where the vector is added.
        pairs: the contrast set; its test split is asked without the instruction.
        weights: in units of the vector's norm at the layer.
    """
    random = vector.like_random(setup.seed)
    grid = [
        ist.Cell("none", strength=0.0),
        *(length_cell(vector, layer, weight) for weight in weights),
        *(length_cell(random, layer, weight, "random") for weight in weights),
    ]
    answers = ist.sweep(setup.model, grid, pairs.test, **setup.options)
    return with_fluency(with_divergence(answers, setup.model, grid, pairs.test), setup.reference)


def summarise_lengths(records: pl.DataFrame) -> dict[str, object]:
    """Return mean words and damage under each weight, and how steadily words change with it."""
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
        numbers[f"monotone_doses.{kind}"] = 1 + _count_leading(change.to_list())
    return numbers


def _count_leading(changes: Sequence[float]) -> int:
    """Count how many changes, from the first on, have the direction asked for."""
    return next((n for n, change in enumerate(changes) if change <= 0), len(changes))

"""Steer a base model with vectors of its instruction-tuned sibling (Stolfo et al. 2025).

This is the paper's cross-model experiment. The base model is steered by vectors that were fitted on
its instruction-tuned sibling, with the sibling's targets, and by vectors fitted on the base model.
Each vector acts at the layer, and under the operation, that the select split chooses on the base
model. The base model is asked in its own format (``Q: ...``, ``A:``). The cosine of the two models'
vectors is reported for each layer, to help explain a transfer that fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import polars as pl
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.instructions.layer_search import (
    LayerSearchConfig,
    PickedLayers,
    SteeringSetup,
    cell_arguments,
    choose_layers,
    fit_for_instructions,
    search_layers,
)
from analyses.kit.answer_options import open_sweep_options
from analyses.kit.instruction_sets import contrast_sets
from analyses.kit.operations import Steerer
from interp_steer.statistics import Interval, bootstrap, mcnemar, mean_of, share_of
from interp_steer.sweeps import with_divergence, with_fluency

SOURCES = ("own", "sibling")
"""The models whose vectors steer the base model: the base model itself, and its sibling."""

Steerers = Mapping[str, Steerer]


@dataclass(frozen=True)
class Config(LayerSearchConfig):
    """Options of the comparison of two models."""

    model: str = "burattino-base"
    """Base model to steer."""
    sibling: str = "burattino-instruct"
    """Instruction-tuned model of the same shape, on which the other vectors are fitted."""
    operations: tuple[str, ...] = ("project", "generated/add:3")
    """Ways to steer, of which the best is chosen; see layer_sweep."""
    n_select: int = 8
    """Prompts on which each layer is tried."""
    n_test: int = 24
    """Prompts in the test split, on which results are reported."""
    max_new_tokens: int = 112
    """Maximum number of new tokens per answer."""


def main(config: Config, run: ist.Run) -> None:
    """Fit on both models, choose on the base, compare on the test split."""
    model, sibling = ist.load(config.model), ist.load(config.sibling)
    reference = ist.load(config.reference)
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    sets = contrast_sets(config.instruction, run.seed, data=config.data, **sizes)
    run.used(model, *sets.values())
    steerers: dict[str, Steerers] = {
        source: fit_for_instructions(fitted, sets, run, config.operations, steered=model)
        for source, fitted in zip(SOURCES, (model, sibling), strict=True)
    }
    with open_sweep_options(config, model, run) as options:
        setups = {
            source: SteeringSetup(model, reference, sets, steerers[source], options)
            for source in SOURCES
        }
        choices = {
            source: choose_layers(search_layers(setups[source], config)) for source in SOURCES
        }
        records = compare_sources(setups, choices, run.seed)
    run.write_records(records)
    similarity = cosines(steerers)
    run.write_records(similarity, "cosines")
    run.leave(summary=accuracies(records) | chosen_layers(choices))
    mean = mean_over_instructions(similarity, run.seed)
    run.leave(summary={f"cosine.{read}.{layer}": value for (read, layer), value in mean.items()})
    for source in SOURCES:
        for name, steerer in steerers[source].items():
            steerer.leave(run, f"{source}.{name}")
    run.draw("accuracy_by_setting", figures.settings_bars(records))
    run.draw("accuracy_by_instruction", figures.instruction_bars(records))
    curves = [
        (layer, f"vectors read at {read}", value.value, value.low, value.high)
        for (read, layer), value in mean.items()
    ]
    columns = ["layer", "comparison", "cosine", "low", "high"]
    frame = pl.DataFrame(curves, schema=columns, orient="row")
    run.draw("cosine_by_layer", figures.similarity_by_layer(frame))


def compare_sources(
    setups: Mapping[str, SteeringSetup], choices: Mapping[str, PickedLayers], seed: int
) -> pl.DataFrame:
    """Answer the test split unsteered and steered from both sources, without and with the text."""
    setup = setups["own"]
    model, frames = setup.model, []
    for name, pairs in tqdm(setup.sets.items(), desc="settings", unit="instruction", disable=None):
        grid = [ist.Cell("none"), ist.Cell("instruction", instructed=True)]
        for source in SOURCES:
            steerer = setups[source].steerers[name]
            plain, asked = (choices[source][name, text, "interval"] for text in (False, True))
            both = cell_arguments(steerer, asked)
            grid += [
                ist.Cell(f"{source} vector", **cell_arguments(steerer, plain)),
                ist.Cell(f"instruction + {source}", **both, instructed=True),
            ]
        random = partial(ist.SteeringVector.like_random, seed=seed)
        chosen = choices["sibling"][name, False, "interval"]
        steering = cell_arguments(setups["sibling"].steerers[name], chosen, random)
        grid.append(ist.Cell("random", **steering, draw=0))
        answers = ist.sweep(model, grid, pairs.test, **setup.options)
        records = with_divergence(answers, model, grid, pairs.test)
        frames.append(records.with_columns(pl.lit(name).alias("instruction")))
    return with_fluency(pl.concat(frames), setup.reference)


def cosines(steerers: Mapping[str, Steerers]) -> pl.DataFrame:
    """Return the cosine of the two models' vectors of an instruction, layer by layer."""
    rows = []
    for name, steerer in steerers["own"].items():
        for read, own in steerer.vectors.items():
            alike = own.cosine(steerers["sibling"][name].vectors[read])
            rows += [
                {"instruction": name, "read": read, "layer": layer, "cosine": float(value)}
                for layer, value in zip(own.layers, alike, strict=True)
            ]
    return pl.DataFrame(rows)


def mean_over_instructions(alike: pl.DataFrame, seed: int) -> dict[tuple[str, int], Interval]:
    """Average the cosines over instructions, by the position that was read and the layer."""
    return {
        (read, layer): bootstrap(rows["cosine"].to_list(), seed=seed)
        for (read, layer), rows in alike.group_by("read", "layer", maintain_order=True)
    }


def accuracies(records: pl.DataFrame) -> dict[str, object]:
    """Return strict accuracy and damage of each setting, and paired tests of steering."""
    by_setting = {
        setting: rows for (setting,), rows in records.group_by("setting", maintain_order=True)
    }
    numbers: dict[str, object] = {}
    for setting, rows in by_setting.items():
        numbers[f"accuracy.{setting}"] = share_of(rows, "strict")
        numbers[f"degenerate.{setting}"] = share_of(rows, "degenerate")
        moved = mean_of(rows, "kl")
        if moved and setting != "none":
            numbers[f"kl.{setting}"] = moved
    for source in SOURCES:
        for first, second in (
            (f"{source} vector", "none"),
            (f"instruction + {source}", "instruction"),
        ):
            test = mcnemar(
                by_setting[first]["strict"].to_list(), by_setting[second]["strict"].to_list()
            )
            numbers[f"mcnemar_p.{first} over {second}"] = test.p_value
    return numbers


def chosen_layers(choices: Mapping[str, PickedLayers]) -> dict[str, int | None]:
    """Return the layer of each vector on the base model; None where no layer beat no steering."""
    return {
        f"layer.{source}.{name}.{'with' if text else 'without'}_text": picked.layer
        for source in SOURCES
        for (name, text, _), picked in choices[source].items()
    }

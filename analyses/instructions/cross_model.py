"""Vectors of an instruction-tuned model on its base (Stolfo et al. 2025, cross-model experiment).

The base model is steered by vectors that were fitted on its instruction-tuned sibling, with the
sibling's targets, and by vectors of its own; each at the layer, and under the operation, that the
select split chooses on the base model. The base is asked in its own form (``Q: ...``, ``A:``). How
alike the two vectors are at each layer stands beside, so that a transfer that fails can be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.instructions import layer_sweep
from analyses.instructions.format_steering import chosen_cell
from analyses.instructions.layer_sweep import Chosen
from analyses.kit.answer_options import asking
from analyses.kit.instruction_sets import contrast_sets
from analyses.kit.operations import Steerer
from interp_steer.statistics.intervals import Interval, bootstrap
from interp_steer.statistics.paired import mcnemar
from interp_steer.statistics.records import mean_of, share_of
from interp_steer.sweeps.damage import with_divergence, with_fluency

SOURCES = ("own", "sibling")
"""Whose vectors steer the base model."""

Steerers = Mapping[str, Steerer]


@dataclass(frozen=True)
class Config(layer_sweep.Config):
    """What is compared."""

    model: str = "burattino-base"
    """The base model that is steered."""
    sibling: str = "burattino-instruct"
    """The instruction-tuned model of the same shape that vectors come from."""
    operations: tuple[str, ...] = ("project", "generated/add:3")
    """Ways to steer; see layer_sweep."""
    n_select: int = 8
    """Prompts that each layer is tried on."""
    n_test: int = 24
    """Prompts that are reported."""
    max_new_tokens: int = 112
    """Where an answer is cut."""


def main(config: Config, run: ist.Run) -> None:
    """Fit on both models, choose on the base, compare on the test split."""
    model, sibling = ist.load(config.model), ist.load(config.sibling)
    reference = ist.load(config.reference)
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    sets = contrast_sets(config.instruction, run.seed, data=config.data, **sizes)
    run.used(model, *sets.values())
    steerers: dict[str, Steerers] = {
        source: layer_sweep.fitted(one, sets, run, config.operations, steered=model)
        for source, one in zip(SOURCES, (model, sibling), strict=True)
    }
    with asking(config, model, run) as options:
        choices = {
            source: layer_sweep.choose(
                layer_sweep.search(model, reference, sets, steerers[source], config, options)
            )
            for source in SOURCES
        }
        records = compare(model, reference, sets, steerers, choices, run.seed, options)
    run.write_records(records)
    alike = cosines(steerers)
    run.write_records(alike, "cosines")
    run.leave(summary=accuracies(records) | chosen_layers(choices))
    mean = over_instructions(alike, run.seed)
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


def compare(
    model: ist.HookedLM,
    reference: ist.HookedLM,
    sets: Mapping[str, ist.ContrastSet],
    steerers: Mapping[str, Steerers],
    choices: Mapping[str, Chosen],
    seed: int,
    options: Mapping[str, Any],
) -> pl.DataFrame:
    """Answer the test split unsteered and steered from both sources, without and with the text."""
    frames = []
    for name, pairs in tqdm(sets.items(), desc="settings", unit="instruction", disable=None):
        grid = [ist.Cell("none"), ist.Cell("instruction", instructed=True)]
        for source in SOURCES:
            steerer = steerers[source][name]
            plain, asked = (choices[source][name, text, "interval"] for text in (False, True))
            grid += [
                ist.Cell(f"{source} vector", **chosen_cell(steerer, plain)),
                ist.Cell(f"instruction + {source}", **chosen_cell(steerer, asked), instructed=True),
            ]
        random = partial(ist.SteeringVector.like_random, seed=seed)
        chosen = choices["sibling"][name, False, "interval"]
        steering = chosen_cell(steerers["sibling"][name], chosen, random)
        grid.append(ist.Cell("random", **steering, draw=0))
        answers = ist.sweep(model, grid, pairs.test, **options)
        found = with_divergence(answers, model, grid, pairs.test)
        frames.append(found.with_columns(pl.lit(name).alias("instruction")))
    return with_fluency(pl.concat(frames), reference)


def cosines(steerers: Mapping[str, Steerers]) -> pl.DataFrame:
    """How alike the two models' vectors of an instruction are, layer by layer."""
    rows = []
    for name, steerer in steerers["own"].items():
        for read, own in steerer.vectors.items():
            alike = own.cosine(steerers["sibling"][name].vectors[read])
            rows += [
                {"instruction": name, "read": read, "layer": layer, "cosine": float(value)}
                for layer, value in zip(own.layers, alike, strict=True)
            ]
    return pl.DataFrame(rows)


def over_instructions(alike: pl.DataFrame, seed: int) -> dict[tuple[str, int], Interval]:
    """The mean cosine over instructions, by where the vectors were read and the layer."""
    return {
        (read, layer): bootstrap(rows["cosine"].to_list(), seed=seed)
        for (read, layer), rows in alike.group_by("read", "layer", maintain_order=True)
    }


def accuracies(records: pl.DataFrame) -> dict[str, object]:
    """Strict accuracy and damage of each setting, and paired tests against the plain ones."""
    of = {setting: rows for (setting,), rows in records.group_by("setting", maintain_order=True)}
    numbers: dict[str, object] = {}
    for setting, rows in of.items():
        numbers[f"accuracy.{setting}"] = share_of(rows, "strict")
        numbers[f"degenerate.{setting}"] = share_of(rows, "degenerate")
        moved = mean_of(rows, "kl")
        if moved and setting != "none":
            numbers[f"kl.{setting}"] = moved
    for source in SOURCES:
        for one, other in (
            (f"{source} vector", "none"),
            (f"instruction + {source}", "instruction"),
        ):
            test = mcnemar(of[one]["strict"].to_list(), of[other]["strict"].to_list())
            numbers[f"mcnemar_p.{one} over {other}"] = test.p_value
    return numbers


def chosen_layers(choices: Mapping[str, Chosen]) -> dict[str, int | None]:
    """The layer of each vector on the base model; None where none was better than no steering."""
    return {
        f"layer.{source}.{name}.{'with' if text else 'without'}_text": picked.layer
        for source in SOURCES
        for (name, text, _), picked in choices[source].items()
    }

"""Find the steering layer: accuracy and degenerate outputs by layer (Stolfo et al. 2025).

For each instruction, a difference-in-means vector is fitted on the fit split, at the last prompt
token of every layer. On the select split, each layer is steered in turn by projection: at every
position, the component of the activation along the unit direction is set to its mean over prompts
that carry the instruction. Other operations can be added to the sweep: addition with a given
weight; either operation at selected positions only; vectors read at other positions; or a strength
calibrated to a given change of the predictions.

Every layer is tried without and with the text instruction in the prompt. Two rules choose a layer,
and both choices are recorded: the paper's rule (the first maximum of the accuracy, where layers
with degenerate answers count as zero), and a rule that takes the uncertainty of the accuracy into
account. The damage of each layer is recorded with its accuracy: how far steering moves the
predictions on prompts that do not ask for the property.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

import figures
import interp_steer as ist
from analyses.instructions.layer_search import (
    LayerSearchConfig,
    PickedLayers,
    SteeringSetup,
    choose_layers,
    fit_for_instructions,
    operations_of,
    rows_of_operation,
    search_layers,
)
from analyses.kit.answer_options import open_sweep_options
from analyses.kit.instruction_sets import contrast_sets
from analyses.kit.operations import Steerer


@dataclass(frozen=True)
class Config(LayerSearchConfig):
    """Options of the layer sweep."""


def main(config: Config, run: ist.Run) -> None:
    """Fit, sweep every layer with and without the text, choose by both rules."""
    model, reference = ist.load(config.model), ist.load(config.reference)
    sizes = {"fit": config.n_fit, "select": config.n_select}
    sets = contrast_sets(config.instruction, run.seed, data=config.data, **sizes)
    run.used(model, *sets.values())

    steerers = fit_for_instructions(model, sets, run, config.operations)
    with open_sweep_options(config, model, run) as options:
        setup = SteeringSetup(model, reference, sets, steerers, options)
        records = search_layers(setup, config)
    write_results(run, records, steerers, choose_layers(records))


def write_results(
    run: ist.Run,
    records: pl.DataFrame,
    steerers: Mapping[str, Steerer],
    choices: PickedLayers,
) -> None:
    """Write records, vectors, choices and figures. Layer None: no layer was chosen."""
    run.write_records(records)
    for name, steerer in steerers.items():
        steerer.leave(run, name)
    for (name, instructed, rule), picked in choices.items():
        key = f"{name}.{'with' if instructed else 'without'}_text.{rule}"
        run.leave(summary={f"layer.{key}": picked.layer, f"accuracy.{key}": picked.choice.accuracy})
    operations = operations_of(records)
    for operation in operations:
        under = "" if len(operations) == 1 else f".{operation.translate(_IN_A_NAME)}"
        swept = rows_of_operation(records, operation)
        for instructed, suffix in ((False, ""), (True, "_with_text")):
            chosen = {
                name: [
                    picked.choice
                    for key, picked in choices.items()
                    if key[:2] == (name, instructed) and picked.operation == operation
                ]
                for name in steerers
            }
            rows = swept.filter(pl.col("instructed") == instructed)
            # No layer was tried where the text alone left nothing to gain: there would be no curve.
            steered = rows.filter(pl.col("layer").is_not_null())["instruction"].unique().to_list()
            if steered:
                shown = rows.filter(pl.col("instruction").is_in(steered))
                run.draw(f"accuracy_by_layer{suffix}{under}", figures.layer_curve(shown, chosen))
    if "kl" in records.columns:  # a race asks too few prompts to measure it
        run.draw(
            "accuracy_against_damage",
            figures.pareto(records.filter(~pl.col("instructed"))),
        )


_IN_A_NAME = str.maketrans({":": "_", "@": "_at_", "(": "_", ")": None, "/": "_"})
"""Replacements for the signs of an operation in the name of a file."""

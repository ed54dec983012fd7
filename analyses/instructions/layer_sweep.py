"""Accuracy and degenerate outputs against the steering layer (Stolfo et al. 2025).

For each instruction a difference-in-means vector is fitted on the fit split at the last prompt
token of every layer. On the select split each layer is then steered in turn by projection: at
every position the activation's component along the unit direction is set to its mean over prompts
that carry the instruction. Other operations may be tried beside: addition with a weight, or either
at some positions only. All is done with and without the text instruction in the prompt. Two
rules choose a layer: the paper's (first maximum of the accuracy, layers with degenerate answers
counting as zero) and one that knows its uncertainty; both choices are recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.asking import asking
from interp_steer.burattino.instructions import FORMAT_IDS
from interp_steer.errors import RunError
from interp_steer.grid import breaks_instruction, with_fluency
from interp_steer.selection import RULES, Choice


@dataclass(frozen=True)
class Config:
    """What is swept."""

    model: str = "burattino-instruct"
    """A bundled model, a Hugging Face name, or a folder."""
    instruction: tuple[str, ...] = FORMAT_IDS
    """IFEval ids of the instructions to steer towards."""
    layers: tuple[int, ...] | None = None
    """Layers to steer at; every layer when not given."""
    operations: tuple[str, ...] = ("project",)
    """Ways to steer: project, or add:WEIGHT, the weight in units of the vector's own norm; either
    with @POSITIONS behind it, such as project@generated or add:2@first(8). The best is chosen."""
    n_fit: int = 64
    """Pairs of prompts that each vector is fitted on."""
    n_select: int = 16
    """Prompts that each layer is tried on."""
    max_new_tokens: int = 160
    """Where an answer is cut."""
    batch_size: int = 192
    """Rows decoded at once."""
    reference: str = "burattino-base"
    """The model whose perplexity tells degenerate answers; gpt2 in the paper."""
    threshold: float | None = None
    """Perplexity below which an answer is degenerate; 2.5 in the paper, under GPT-2. When not
    given it is set just below the least perplexity of the plain answers."""
    search: Literal["whole", "early", "race"] = "whole"
    """Which answers the sweep asks for: whole ones; or, early, cut once they have failed for good;
    or, in a race, those of layers that can still win, cut as well. The paper's rule needs whole
    ones."""
    ray: str | None = None
    """The ray cluster that answers: local, or an address; this process when not given."""


@dataclass(frozen=True)
class Picked:
    """A layer that a rule chose, under the operation that does best there."""

    operation: str
    choice: Choice

    @property
    def layer(self) -> int | None:
        """None when the rule prefers the unsteered model."""
        return self.choice.layer

    @property
    def steered(self) -> int:
        """How many answers succeed and are not degenerate."""
        return next(sum(c.sound) for c in self.choice.candidates if c.layer == self.layer)


Chosen = Mapping[tuple[str, bool, str], Picked]
"""What is chosen by (instruction, whether the text instruction stands in the prompt, rule)."""


def main(config: Config, run: ist.Run) -> None:
    """Fit, sweep every layer with and without the text, choose by both rules."""
    model, reference = ist.load(config.model), ist.load(config.reference)
    sets = contrast_sets(config.instruction, run.seed, fit=config.n_fit, select=config.n_select)
    run.used(model, *sets.values())

    vectors = fitted(model, sets, run)
    with asking(config, model, run) as options:
        records = search(model, reference, sets, vectors, config, options)
    leave(run, records, vectors, choose(records))


def contrast_sets(
    instructions: Sequence[str], seed: int, *, fit: int, select: int, test: int = 48
) -> dict[str, ist.ContrastSet]:
    """The contrast set of each instruction, by its id."""
    return {
        name: ist.contrast.instruction(name, seed=seed, fit=fit, select=select, test=test)
        for name in instructions
    }


def fitted(
    model: ist.HookedLM, sets: Mapping[str, ist.ContrastSet], run: ist.Run
) -> dict[str, ist.SteeringVector]:
    """The vector of each instruction, fitted on the fit split."""
    return {
        name: ist.fit(model, pairs.fit, checkpoints=run.partial) for name, pairs in sets.items()
    }


def search(
    model: ist.HookedLM,
    reference: ist.HookedLM,
    sets: Mapping[str, ist.ContrastSet],
    vectors: Mapping[str, ist.SteeringVector],
    config: Config,
    options: Mapping[str, Any],
) -> pl.DataFrame:
    """Steer at every layer in turn, with and without the text instruction, on the select split."""
    settled = None if config.search == "whole" else breaks_instruction
    frames = []
    for name, pairs in tqdm(sets.items(), desc="layer sweep", unit="instruction", disable=None):
        vector = vectors[name]
        steered = [
            {
                "steering": steering(vector.at(layer), operation),
                "layer": layer,
                "operation": operation,
            }
            for operation in config.operations
            for layer in (vector.layers if config.layers is None else config.layers)
        ]
        grid = [
            ist.Cell("none"),
            *(ist.Cell("steered", **cell) for cell in steered),
            ist.Cell("instruction", instructed=True),
            *(ist.Cell("both", instructed=True, **cell) for cell in steered),
        ]
        if config.search == "race":
            raced = ist.race(
                model,
                grid,
                pairs.select,
                reference,
                threshold=config.threshold,
                settled=settled,
                **options,
            )
            frames.append(raced.records)
        else:
            frames.append(ist.sweep(model, grid, pairs.select, settled=settled, **options))
    if config.search == "race":
        return pl.concat(frames)
    return with_fluency(pl.concat(frames), reference, config.threshold)


def steering(direction: ist.Direction, operation: str) -> ist.Intervention:
    """What an operation of the config does along a direction.

    Raises:
        RunError: for an operation that is none.
    """
    how, _, positions = operation.partition("@")
    name, _, weight = how.partition(":")
    positions = positions or "all"
    try:
        if name == "project" and not weight:
            return direction.project(positions=positions)
        if name == "add":
            return direction.add(float(weight) * float(direction.vector.norm()), positions)
    except ValueError as error:
        raise RunError(
            f"operation {operation!r}: {error}; write add:2 or project@generated"
        ) from error
    raise RunError(f"{operation!r} is no operation; write project, add:2, or add:2@generated")


def choose(records: pl.DataFrame) -> Chosen:
    """The choice of each rule for each instruction, with and without the text.

    Each rule chooses a layer for every operation; of these the one with most answers that succeed
    and are not degenerate is picked, the first of equals. The paper's rule chooses where every
    answer is whole, and of a race those choose who stand.
    """
    whole = not records["degenerate"].has_nulls()
    if "standing" in records.columns:
        records, whole = records.filter("standing"), False
    return {
        (name, instructed, rule): max(
            (
                Picked(operation, ist.select_layer(of_operation(rows, operation), rule))
                for operation in rows["operation"].drop_nulls().unique(maintain_order=True)
            ),
            key=lambda picked: picked.steered,
        )
        for (name, instructed), rows in records.group_by(
            "instruction", "instructed", maintain_order=True
        )
        for rule in (RULES if whole else ("interval",))
    }


def of_operation(records: pl.DataFrame, operation: str) -> pl.DataFrame:
    """The rows that were steered so, and the unsteered ones."""
    return records.filter(pl.col("operation").is_null() | (pl.col("operation") == operation))


def leave(
    run: ist.Run,
    records: pl.DataFrame,
    vectors: Mapping[str, ist.SteeringVector],
    choices: Chosen,
) -> None:
    """Records, vectors, choices and the figure; a layer of -1 says that no layer was chosen."""
    run.write_records(records)
    for name, vector in vectors.items():
        run.leave(vector, name=name)
    for (name, instructed, rule), picked in choices.items():
        key = f"{name}.{'with' if instructed else 'without'}_text.{rule}"
        layer = -1 if picked.layer is None else picked.layer
        run.leave(summary={f"layer.{key}": layer, f"accuracy.{key}": picked.choice.accuracy})
    operations = records["operation"].drop_nulls().unique(maintain_order=True).to_list()
    for operation in operations:
        under = "" if len(operations) == 1 else f".{operation.translate(_IN_A_NAME)}"
        tried = of_operation(records, operation)
        for instructed, suffix in ((False, ""), (True, "_with_text")):
            chosen = {
                name: [
                    picked.choice
                    for key, picked in choices.items()
                    if key[:2] == (name, instructed) and picked.operation == operation
                ]
                for name in vectors
            }
            rows = tried.filter(pl.col("instructed") == instructed)
            run.draw(f"accuracy_by_layer{suffix}{under}", figures.layer_curve(rows, chosen))


_IN_A_NAME = str.maketrans({":": "_", "@": "_at_", "(": "_", ")": None})
"""What stands for the signs of an operation in the name of a file."""
